//! READ CAPACITY and GET LBA STATUS.

use bytes::Bytes;
use lunshadow_lun::{BlockCount, LOGICAL_BLOCK_BYTES, Lba, LunHandle, PHYSICAL_BLOCK_BYTES};
use lunshadow_scsi::{Capacity10, Capacity16, LbaExtent, LbaStatus, ProvisioningStatus, Sense};

use super::medium::{Kind, Operation, check_range, report};
use super::unit::Disk;

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

impl Operation {
    pub(super) fn get_lba_status(disk: Disk, lba: u64, allocation_len: u32) -> Result<Self, Sense> {
        check_range(&disk.lun, Lba(lba), BlockCount(1))?;
        Ok(Self { disk, kind: Kind::LbaStatus { at: Lba(lba), allocation_len } })
    }
}

/// As many extents as the allocation length has room for, and as can be looked at in a short time: whoever wants more asks again from
/// where these end (SBC-3 5.5.2).
pub(super) async fn get_lba_status(disk: &Disk, at: Lba, allocation_len: u32) -> Result<Bytes, Sense> {
    let room = (allocation_len.saturating_sub(LBA_STATUS_HEADER_BYTES) / LBA_STATUS_BYTES).clamp(1, EXTENTS_MAX);
    let end = disk.lun.block_count().0.min(at.0.saturating_add(SCANNED_BLOCKS_MAX));
    let (mut at, mut extents) = (at.0, Vec::new());
    while at < end && extents.len() < room as usize {
        let asked = BlockCount(end - at);
        let extent = disk.lun.extent(Lba(at), asked).await.map_err(|error| report(&disk.lun, &error))?;
        let block_count = u32::try_from(extent.count.0).unwrap_or(u32::MAX);
        let status = if extent.mapped { ProvisioningStatus::MAPPED } else { ProvisioningStatus::DEALLOCATED };
        extents.push(LbaExtent { lba: at, block_count, status });
        at += u64::from(block_count);
    }
    let mut data = LbaStatus { extents }.to_bytes();
    data.truncate(allocation_len as usize);
    Ok(data.into())
}

const LBA_STATUS_HEADER_BYTES: u32 = 8;
const LBA_STATUS_BYTES: u32 = 16;
/// Extents in one answer.
const EXTENTS_MAX: u32 = 256;
/// The longest answer.
pub(super) const LBA_STATUS_BYTES_MAX: u32 = LBA_STATUS_HEADER_BYTES + EXTENTS_MAX * LBA_STATUS_BYTES;
/// 8 GiB in one answer.
const SCANNED_BLOCKS_MAX: u64 = 1 << 24;

/// Logical blocks in a physical block, as a power of two.
const PHYSICAL_EXPONENT: u8 = 3;
const _: () = assert!(PHYSICAL_BLOCK_BYTES == LOGICAL_BLOCK_BYTES << PHYSICAL_EXPONENT);
