//! READ CAPACITY.

use lunshadow_lun::{LOGICAL_BLOCK_BYTES, LunHandle, PHYSICAL_BLOCK_BYTES};
use lunshadow_scsi::{Capacity10, Capacity16};

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

/// Logical blocks in a physical block, as a power of two.
const PHYSICAL_EXPONENT: u8 = 3;
const _: () = assert!(PHYSICAL_BLOCK_BYTES == LOGICAL_BLOCK_BYTES << PHYSICAL_EXPONENT);
