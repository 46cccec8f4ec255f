//! UNMAP: giving blocks back.

use bytes::Bytes;
use lunshadow_lun::{BlockCount, LOGICAL_BLOCK_BYTES, Lba, LunHandle};
use lunshadow_scsi::{AdditionalSense, FieldPointer, Sense, SenseKey, SensePointer, UnmapListError, UnmapRange};

use super::medium::{check_range, report};

/// MAXIMUM UNMAP LBA COUNT: 512 MiB, over all descriptors of a command, so that none takes long.
pub const UNMAP_BLOCKS_MAX: u32 = 1 << 20;
/// MAXIMUM UNMAP BLOCK DESCRIPTOR COUNT: what the list can hold.
pub const UNMAP_DESCRIPTORS_MAX: u32 = 4095;
/// OPTIMAL UNMAP GRANULARITY: 64 KiB. Windows 11 does not trim with less than 32 KiB.
pub const UNMAP_GRANULARITY_BLOCKS: u32 = 64 * 1024 / LOGICAL_BLOCK_BYTES;

/// Nothing is given back unless the whole list is right.
pub(super) async fn unmap(lun: &LunHandle, parameter_list: Bytes) -> Result<(), Sense> {
    let ranges = UnmapRange::parse_list(&parameter_list).map_err(sense_of_list)?;
    let block_count: u64 = ranges.iter().map(|range| u64::from(range.block_count)).sum();
    if block_count > u64::from(UNMAP_BLOCKS_MAX) {
        return Err(invalid_parameter(FieldPointer::byte(FIRST_DESCRIPTOR + 8)));
    }
    for range in &ranges {
        check_range(lun, Lba(range.lba), BlockCount(u64::from(range.block_count)))?;
    }
    for range in ranges.iter().filter(|range| range.block_count > 0) {
        let count = BlockCount(u64::from(range.block_count));
        lun.discard(Lba(range.lba), count).await.map_err(|error| report(lun, &error))?;
    }
    Ok(())
}

/// Where the descriptors begin in the parameter list.
const FIRST_DESCRIPTOR: usize = 8;

fn sense_of_list(error: UnmapListError) -> Sense {
    match error {
        UnmapListError::NoHeader(_) => {
            Sense::new(SenseKey::ILLEGAL_REQUEST, AdditionalSense::PARAMETER_LIST_LENGTH_ERROR)
        }
        UnmapListError::InvalidLength(field) => invalid_parameter(field),
    }
}

fn invalid_parameter(field: FieldPointer) -> Sense {
    Sense::new(SenseKey::ILLEGAL_REQUEST, AdditionalSense::INVALID_FIELD_IN_PARAMETER_LIST)
        .with_pointer(SensePointer::ParameterList(field))
}
