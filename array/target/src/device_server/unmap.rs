//! UNMAP: giving blocks back.

use bytes::Bytes;
use lunshadow_lun::{BlockCount, LOGICAL_BLOCK_BYTES, Lba};
use lunshadow_scsi::{AdditionalSense, FieldPointer, Sense, UnmapListError, UnmapRange};

use super::medium::{Kind, Operation, check_range, range_of, report, written};
use super::unit::Disk;
use super::{illegal_request, invalid_field, invalid_parameter};

/// MAXIMUM UNMAP LBA COUNT: 512 MiB, over all descriptors of a command, so that none takes long.
pub const UNMAP_BLOCKS_MAX: u32 = 1 << 20;
/// MAXIMUM UNMAP BLOCK DESCRIPTOR COUNT: what the list can hold.
pub const UNMAP_DESCRIPTORS_MAX: u32 = 4095;
/// OPTIMAL UNMAP GRANULARITY: 64 KiB. Windows 11 does not trim with less than 32 KiB.
pub const UNMAP_GRANULARITY_BLOCKS: u32 = 64 * 1024 / LOGICAL_BLOCK_BYTES;

impl Operation {
    pub(super) fn unmap(disk: Disk, anchor: bool, parameter_len: u16) -> Result<Self, Sense> {
        if anchor {
            return Err(invalid_field(1));
        }
        Ok(Self { disk, kind: Kind::Unmap { parameter_len } })
    }
}

/// Nothing is given back unless the whole list is right.
pub(super) async fn unmap(disk: &Disk, parameter_list: Bytes) -> Result<(), Sense> {
    let lun = &disk.lun;
    let ranges = UnmapRange::parse_list(&parameter_list).map_err(sense_of_list)?;
    let block_count: u64 = ranges.iter().map(|range| u64::from(range.block_count)).sum();
    if block_count > u64::from(UNMAP_BLOCKS_MAX) {
        return Err(invalid_parameter(FieldPointer::byte(FIRST_DESCRIPTOR + 8)));
    }
    for range in &ranges {
        check_range(lun, Lba(range.lba), BlockCount(u64::from(range.block_count)))?;
    }
    for range in ranges.iter().filter(|range| range.block_count > 0) {
        let (at, count) = (Lba(range.lba), BlockCount(u64::from(range.block_count)));
        let _held = disk.state.ranges.shared(range_of(at, range.block_count)).await;
        lun.discard(at, count).await.map_err(|error| report(lun, &error))?;
    }
    written(disk, false).await
}

/// Where the descriptors begin in the parameter list.
const FIRST_DESCRIPTOR: usize = 8;

fn sense_of_list(error: UnmapListError) -> Sense {
    match error {
        UnmapListError::NoHeader(_) => illegal_request(AdditionalSense::PARAMETER_LIST_LENGTH_ERROR),
        UnmapListError::InvalidLength(field) => invalid_parameter(field),
    }
}
