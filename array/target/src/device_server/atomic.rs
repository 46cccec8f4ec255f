//! COMPARE AND WRITE, ORWRITE, WRITE ATOMIC. The first two are commands that read, decide and write as one action. Other commands do not write to their blocks
//! meanwhile; see [`super::ranges`].

use bytes::Bytes;
use lunshadow_lun::{LOGICAL_BLOCK_BYTES, Lba, LunHandle, PHYSICAL_BLOCK_BYTES};
use lunshadow_scsi::vpd::AtomicLimits;
use lunshadow_scsi::{AdditionalSense, BlockRange, Sense, SenseKey};

use super::medium::{
    BLOCK_BYTES, Kind, Operation, TRANSFER_BLOCKS_MAX, blocks, check_range, range_of, report, start_transfer, written,
};
use super::read_write;
use super::unit::Disk;
use super::{illegal_request, invalid_field};

/// MAXIMUM COMPARE AND WRITE LENGTH: what the byte in the CDB counts.
pub(super) const COMPARE_AND_WRITE_BLOCKS_MAX: u8 = u8::MAX;

/// What WRITE ATOMIC begins at a multiple of, and writes a multiple of: a physical block.
const ATOMIC_GRANULARITY_BLOCKS: u32 = PHYSICAL_BLOCK_BYTES / LOGICAL_BLOCK_BYTES;

/// What WRITE ATOMIC can do on a LUN: as much as storage writes as one. There are no boundaries within a command.
pub(super) fn atomic_limits(lun: &LunHandle) -> AtomicLimits {
    let transfer_max = u32::try_from(lun.atomic_blocks().0).unwrap_or(u32::MAX).min(TRANSFER_BLOCKS_MAX);
    AtomicLimits {
        transfer_max: transfer_max - transfer_max % ATOMIC_GRANULARITY_BLOCKS,
        alignment: ATOMIC_GRANULARITY_BLOCKS,
        granularity: ATOMIC_GRANULARITY_BLOCKS,
        bounded_transfer_max: 0,
        boundary_max: 0,
    }
}

/// TRANSFER LENGTH of WRITE ATOMIC (16) has two bytes.
const _: () = assert!(TRANSFER_BLOCKS_MAX <= 0xffff);

impl Operation {
    pub(super) fn compare_and_write(disk: Disk, lba: u64, block_count: u8, fua: bool) -> Result<Self, Sense> {
        let (at, blocks) = (Lba(lba), u32::from(block_count));
        check_range(&disk.lun, at, super::medium::blocks(blocks))?;
        Ok(Self { disk, kind: Kind::CompareAndWrite { at, blocks, fua } })
    }

    /// The same as WRITE within the limits of page 0xB0, since storage then writes all of it or nothing; but it is not done with a part of the data.
    pub(super) fn write_atomic(
        disk: Disk,
        lba: u64,
        (boundary, block_count): (u16, u16),
        fua: bool,
    ) -> Result<Self, Sense> {
        let (at, blocks) = (Lba(lba), u32::from(block_count));
        check_range(&disk.lun, at, super::medium::blocks(blocks))?;
        if boundary != 0 {
            return Err(invalid_field(10));
        }
        let limits = atomic_limits(&disk.lun);
        if blocks > limits.transfer_max || !blocks.is_multiple_of(limits.granularity) {
            return Err(invalid_field(12));
        }
        if !lba.is_multiple_of(u64::from(limits.alignment)) {
            return Err(invalid_field(2));
        }
        Ok(Self { disk, kind: Kind::WriteAtomic { at, blocks, fua } })
    }

    pub(super) fn or_write(disk: Disk, range: BlockRange, fua: bool) -> Result<Self, Sense> {
        let (at, blocks) = start_transfer(&disk.lun, range)?;
        Ok(Self { disk, kind: Kind::Or { at, blocks, fua } })
    }
}

/// `data`: what has to be there, then what is written in its place.
pub(super) async fn compare_and_write(disk: &Disk, at: Lba, count: u32, fua: bool, data: Bytes) -> Result<(), Sense> {
    let len = count as usize * BLOCK_BYTES;
    if data.len() < 2 * len {
        // Half a comparison would be worse than none. NUMBER OF LOGICAL BLOCKS says more than came.
        return Err(illegal_request(AdditionalSense::INVALID_FIELD_IN_CDB));
    }
    if count == 0 {
        return Ok(());
    }
    let (expected, new) = (data.slice(..len), data.slice(len..2 * len));
    let _held = disk.state.ranges.exclusive(range_of(at, count)).await;
    let found = disk.lun.read(at, blocks(count)).await.map_err(|error| report(&disk.lun, &error))?;
    if let Some(differs) = found.iter().zip(&expected).position(|(found, expected)| found != expected) {
        // SBC-3 5.2: INFORMATION is the offset of the first byte that differs.
        let sense = Sense::new(SenseKey::MISCOMPARE, AdditionalSense::MISCOMPARE_DURING_VERIFY);
        return Err(sense.with_information(u64::try_from(differs).unwrap_or(u64::MAX)));
    }
    disk.lun.write(at, new).await.map_err(|error| report(&disk.lun, &error))?;
    written(disk, fua).await
}

pub(super) async fn write_atomic(disk: &Disk, at: Lba, count: u32, fua: bool, data: Bytes) -> Result<(), Sense> {
    if data.len() < count as usize * BLOCK_BYTES {
        // A part of it is what must not be written.
        return Err(illegal_request(AdditionalSense::INVALID_FIELD_IN_CDB));
    }
    read_write::write(disk, at, data, fua).await
}

pub(super) async fn or_write(disk: &Disk, at: Lba, count: u32, fua: bool, data: &[u8]) -> Result<(), Sense> {
    if data.len() < count as usize * BLOCK_BYTES {
        return Err(illegal_request(AdditionalSense::INVALID_FIELD_IN_CDB));
    }
    if count > 0 {
        let _held = disk.state.ranges.exclusive(range_of(at, count)).await;
        let found = disk.lun.read(at, blocks(count)).await.map_err(|error| report(&disk.lun, &error))?;
        let merged: Vec<u8> = found.iter().zip(data).map(|(found, new)| found | new).collect();
        disk.lun.write(at, merged.into()).await.map_err(|error| report(&disk.lun, &error))?;
    }
    written(disk, fua).await
}
