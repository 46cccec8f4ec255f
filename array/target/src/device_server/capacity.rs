//! READ CAPACITY and GET LBA STATUS.

use lunshadow_lun::{BlockCount, LOGICAL_BLOCK_BYTES, Lba, LunHandle, PHYSICAL_BLOCK_BYTES};
use lunshadow_scsi::{Capacity10, Capacity16, LbaExtent, LbaStatus, ProvisioningStatus, Sense};

use super::medium::check_range;

pub(super) fn read_capacity_10(lun: &LunHandle) -> Vec<u8> {
    Capacity10::of(lun.block_count().0, LOGICAL_BLOCK_BYTES).to_bytes()
}

pub(super) fn read_capacity_16(lun: &LunHandle) -> Vec<u8> {
    let capacity = Capacity16 {
        last_lba: lun.block_count().0.saturating_sub(1),
        block_bytes: LOGICAL_BLOCK_BYTES,
        physical_exponent: PHYSICAL_EXPONENT,
        lowest_aligned_lba: 0,
        thin: true,
        unmapped_reads_zeros: true,
    };
    capacity.to_bytes()
}

/// All blocks from `lba` on count as mapped or unknown, which SBC-3 5.5 has one status for: a LUN does not tell which of its blocks
/// have space. Initiators then read to find zeros, instead of reporting an error.
pub(super) fn get_lba_status(lun: &LunHandle, lba: u64) -> Result<Vec<u8>, Sense> {
    check_range(lun, Lba(lba), BlockCount(1))?;
    let block_count = u32::try_from(lun.block_count().0.saturating_sub(lba)).unwrap_or(u32::MAX);
    let extent = LbaExtent { lba, block_count, status: ProvisioningStatus::MAPPED };
    Ok(LbaStatus { extents: vec![extent] }.to_bytes())
}

/// Logical blocks in a physical block, as a power of two.
const PHYSICAL_EXPONENT: u8 = 3;
const _: () = assert!(PHYSICAL_BLOCK_BYTES == LOGICAL_BLOCK_BYTES << PHYSICAL_EXPONENT);
