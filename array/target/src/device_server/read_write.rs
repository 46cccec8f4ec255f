//! READ, WRITE, WRITE AND VERIFY, VERIFY, PRE-FETCH.

use bytes::Bytes;
use lunshadow_lun::{BlockCount, Lba};
use lunshadow_scsi::{AdditionalSense, BlockRange, ByteCheck, Sense, SenseKey};

use super::medium::{
    BLOCK_BYTES, Kind, Operation, PIECE_BLOCKS, TRANSFER_BLOCKS_MAX, blocks, flush, range_of, report, start,
    start_transfer, written,
};
use super::unit::Disk;

impl Operation {
    pub(super) fn read(disk: Disk, range: BlockRange, fua: bool) -> Result<Self, Sense> {
        let (at, blocks) = start_transfer(&disk.lun, range)?;
        Ok(Self { disk, kind: Kind::Read { at, blocks, fua } })
    }

    pub(super) fn write(disk: Disk, range: BlockRange, fua: bool) -> Result<Self, Sense> {
        let (at, blocks) = start_transfer(&disk.lun, range)?;
        Ok(Self { disk, kind: Kind::Write { at, blocks, fua } })
    }

    pub(super) fn write_and_verify(disk: Disk, range: BlockRange, check: ByteCheck) -> Result<Self, Sense> {
        let (at, blocks) = start_transfer(&disk.lun, range)?;
        Ok(Self { disk, kind: Kind::WriteAndVerify { at, blocks, check } })
    }

    pub(super) fn verify(disk: Disk, range: BlockRange, check: ByteCheck) -> Result<Self, Sense> {
        let at = match check {
            ByteCheck::Blocks => start_transfer(&disk.lun, range)?.0,
            ByteCheck::Medium | ByteCheck::OneBlock => start(&disk.lun, range)?,
        };
        Ok(Self { disk, kind: Kind::Verify { at, blocks: range.block_count(), check } })
    }

    /// Reads as much as one READ could, and promises no more than GOOD does: that not all blocks are in the cache. IMMED would
    /// allow to answer earlier.
    pub(super) fn pre_fetch(disk: Disk, range: BlockRange) -> Result<Self, Sense> {
        let at = start(&disk.lun, range)?;
        let up_to_end = u32::try_from(disk.lun.block_count().0 - at.0).unwrap_or(u32::MAX);
        let blocks = if range.block_count() == 0 { up_to_end } else { range.block_count() };
        Ok(Self { disk, kind: Kind::PreFetch { at, blocks: blocks.min(TRANSFER_BLOCKS_MAX) } })
    }
}

pub(super) async fn read(disk: &Disk, at: Lba, count: u32, fua: bool) -> Result<Bytes, Sense> {
    // FUA: what is read is what is on the medium, so what is newer has to get there first (SBC-3 4.15).
    if fua {
        flush(&disk.lun).await?;
    }
    if count == 0 {
        return Ok(Bytes::new());
    }
    let count = blocks(count);
    let read = if fua { disk.lun.read_medium(at, count).await } else { disk.lun.read(at, count).await };
    read.map_err(|error| report(&disk.lun, &error))
}

/// [`read`] without FUA, if that takes no waiting.
pub(super) fn read_now(disk: &Disk, at: Lba, count: u32) -> Option<Bytes> {
    if count > 0 { disk.lun.read_now(at, blocks(count)) } else { None }
}

/// [`write`] without FUA, if that takes no waiting; the data again, if not.
pub(super) fn write_now(disk: &Disk, at: Lba, data: Bytes) -> Result<(), Bytes> {
    let data = whole_blocks(data);
    if data.is_empty() || disk.writes_through(false) {
        return Err(data);
    }
    match disk.state.ranges.shared_now(range_of(at, block_count(&data))) {
        Some(_held) => disk.lun.write_now(at, data),
        None => Err(data),
    }
}

/// The initiator may have had less to give than the CDB says; a part of a block cannot be written.
fn whole_blocks(mut data: Bytes) -> Bytes {
    data.truncate(data.len() - data.len() % BLOCK_BYTES);
    data
}

fn block_count(data: &Bytes) -> u32 {
    u32::try_from(data.len() / BLOCK_BYTES).expect("at most what the CDB says")
}

pub(super) async fn write(disk: &Disk, at: Lba, data: Bytes, fua: bool) -> Result<(), Sense> {
    let data = whole_blocks(data);
    if !data.is_empty() {
        let _held = disk.state.ranges.shared(range_of(at, block_count(&data))).await;
        disk.lun.write(at, data).await.map_err(|error| report(&disk.lun, &error))?;
    }
    written(disk, fua).await
}

/// What is verified is what is on the medium, so it has to get there first.
pub(super) async fn write_and_verify(
    disk: &Disk,
    at: Lba,
    count: u32,
    check: ByteCheck,
    data: Bytes,
) -> Result<(), Sense> {
    write(disk, at, data.clone(), true).await?;
    verify(disk, at, count, check, &data).await
}

pub(super) async fn verify(disk: &Disk, at: Lba, count: u32, check: ByteCheck, data: &[u8]) -> Result<(), Sense> {
    let mut expected = data.chunks_exact(BLOCK_BYTES);
    let one_block = data.get(..BLOCK_BYTES);
    for (at, count) in pieces(at, count) {
        let found = disk.lun.read_medium(at, count).await.map_err(|error| report(&disk.lun, &error))?;
        let matches = found.chunks_exact(BLOCK_BYTES).all(|found| match check {
            ByteCheck::Medium => true,
            // Blocks that the initiator had no data for are not compared.
            ByteCheck::Blocks => expected.next().is_none_or(|expected| expected == found),
            ByteCheck::OneBlock => one_block.is_none_or(|expected| expected == found),
        });
        if !matches {
            return Err(Sense::new(SenseKey::MISCOMPARE, AdditionalSense::MISCOMPARE_DURING_VERIFY));
        }
    }
    Ok(())
}

pub(super) async fn pre_fetch(disk: &Disk, at: Lba, count: u32) -> Result<(), Sense> {
    for (at, count) in pieces(at, count) {
        disk.lun.read(at, count).await.map_err(|error| report(&disk.lun, &error))?;
    }
    Ok(())
}

/// A range in pieces that are not too long to be held at once.
pub(super) fn pieces(at: Lba, count: u32) -> impl Iterator<Item = (Lba, BlockCount)> {
    let begins = (0..count).step_by(PIECE_BLOCKS as usize);
    begins.map(move |begin| (Lba(at.0 + u64::from(begin)), blocks(PIECE_BLOCKS.min(count - begin))))
}
