//! What one LUN promises about its data.

use anyhow::{Result, ensure};
use bytes::Bytes;
use lunshadow_lun::{BlockCount, Extent, Lba, LunError, LunHandle, finish_up};
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};

use crate::{SMALL, Subject, blocks, expect, small_lun};

/// Each request is checked against the length of the LUN, and changes nothing if it does not fit.
///
/// # Errors
/// The promise that was broken.
pub async fn requests_outside_a_lun_are_refused(subject: &impl Subject) -> Result<()> {
    let pool = subject.make().await?;
    let lun = small_lun(&pool).await?;
    ensure!(lun.block_count() == SMALL, "the LUN has another length than was asked for");
    for (at, count) in [(SMALL.0, 1), (SMALL.0 - 1, 2), (u64::MAX, 1), (u64::MAX - 1, 2), (0, SMALL.0 + 1)] {
        let (at, count) = (Lba(at), BlockCount(count));
        ensure!(matches!(lun.read(at, count).await, Err(LunError::OutOfRange { .. })), "read of {count} at {at}");
        ensure!(matches!(lun.discard(at, count).await, Err(LunError::OutOfRange { .. })), "discard of {count} at {at}");
        ensure!(matches!(lun.extent(at, count).await, Err(LunError::OutOfRange { .. })), "extent of {count} at {at}");
        ensure!(lun.read_now(at, count).is_none(), "read of {count} at {at}, at once");
        if count.0 <= 2 {
            let data = blocks(1, 0, count.0);
            ensure!(lun.write_now(at, data.clone()).is_err(), "write of {count} at {at}, at once");
            ensure!(matches!(lun.write(at, data).await, Err(LunError::OutOfRange { .. })), "write of {count} at {at}");
        }
    }
    let odd = lun.write(Lba(0), Bytes::from_static(&[1; 511])).await;
    ensure!(matches!(odd, Err(LunError::NotWholeBlocks { byte_len: 511 })), "a write of 511 bytes: {odd:?}");
    ensure!(lun.read(SMALL_END, BlockCount(0)).await?.is_empty(), "a read of nothing at the end");
    lun.write(SMALL_END, Bytes::new()).await?;
    expect(&lun, &vec![0; usize::try_from(SMALL.bytes())?], "a LUN that was never written").await
}

const SMALL_END: Lba = Lba(SMALL.0);

/// Writes of all alignments and lengths are read as they were written, and nothing else changes, whether they are waited for or not.
///
/// # Errors
/// The promise that was broken.
pub async fn data_is_read_as_it_was_written(subject: &impl Subject) -> Result<()> {
    let pool = subject.make().await?;
    let lun = small_lun(&pool).await?;
    let mut model = vec![0; usize::try_from(SMALL.bytes())?];
    let mut random = SmallRng::seed_from_u64(1);
    for round in 0..200_u8 {
        let at = random.random_range(0..SMALL.0);
        let count = random.random_range(1..=(SMALL.0 - at).min(if round % 10 == 0 { 1024 } else { 24 }));
        let data = blocks(round, at, count);
        if lun.write_now(Lba(at), data.clone()).is_ok() {
            model[range(at, count)?].copy_from_slice(&data);
        } else {
            write(&lun, &mut model, at, &data).await?;
        }
        if round % 3 == 0 {
            finish_up();
        }
        if round % 50 == 0 {
            lun.flush().await?;
        }
        let from = random.random_range(0..SMALL.0);
        let len = random.random_range(1..=(SMALL.0 - from).min(64));
        let found = lun.read(Lba(from), BlockCount(len)).await?;
        ensure!(found[..] == model[range(from, len)?], "{len} blocks at {from} differ in round {round}");
        if let Some(found) = lun.read_now(Lba(from), BlockCount(len)) {
            ensure!(found[..] == model[range(from, len)?], "{len} blocks at {from} differ in round {round}, at once");
        }
    }
    let zeros = Bytes::from(vec![0; 64 * 512]);
    write(&lun, &mut model, 100, &zeros).await?;
    expect(&lun, &model, "a LUN after many writes").await
}

/// Discarded blocks read as zeros, their neighbours stay, whatever the alignment.
///
/// # Errors
/// The promise that was broken.
pub async fn discarded_blocks_are_zeros(subject: &impl Subject) -> Result<()> {
    let pool = subject.make().await?;
    let lun = small_lun(&pool).await?;
    let mut model = vec![0; usize::try_from(SMALL.bytes())?];
    write(&lun, &mut model, 0, &blocks(7, 0, SMALL.0)).await?;
    for (at, count) in [(8, 8), (17, 1), (30, 3), (41, 30), (100, 0), (128, 512), (SMALL.0 - 5, 5), (SMALL.0 - 1, 1)] {
        lun.discard(Lba(at), BlockCount(count)).await?;
        model[range(at, count)?].fill(0);
        expect(&lun, &model, &format!("after a discard of {count} blocks at {at}")).await?;
    }
    // What was discarded in whole physical blocks has no space, and what was written and not discarded has.
    let (at, count) = (Lba(128), BlockCount(512));
    let extent = lun.extent(at, count).await?;
    ensure!(extent == Extent { count, mapped: false }, "discarded blocks are reported as {extent:?}");
    let extent = lun.extent(Lba(50), BlockCount(6)).await?;
    let before = lun.extent(Lba(SMALL.0 - 16), BlockCount(8)).await?;
    ensure!(before == Extent { count: BlockCount(8), mapped: true }, "written blocks are reported as {before:?}");
    ensure!((1..=6).contains(&extent.count.0), "an extent of {extent:?} in a range of 6 blocks");
    lun.discard(Lba(0), SMALL).await?;
    model.fill(0);
    expect(&lun, &model, "after a discard of everything").await?;
    write(&lun, &mut model, 3, &blocks(8, 3, 20)).await?;
    expect(&lun, &model, "written again").await
}

/// Writers of different parts of one physical block do not undo each other.
///
/// # Errors
/// The promise that was broken.
pub async fn concurrent_writers_of_one_block_both_survive(subject: &impl Subject) -> Result<()> {
    let pool = subject.make().await?;
    let lun = small_lun(&pool).await?;
    for round in 0..20_u8 {
        let writers: Vec<_> = (0..16_u64)
            .map(|at| {
                let lun = lun.clone();
                tokio::spawn(async move { lun.write(Lba(at), blocks(round, at, 1)).await })
            })
            .collect();
        for writer in writers {
            writer.await??;
        }
        let found = lun.read(Lba(0), BlockCount(16)).await?;
        ensure!(found == blocks(round, 0, 16), "a write was undone by its neighbour in round {round}");
    }
    Ok(())
}

async fn write(lun: &LunHandle, model: &mut [u8], at: u64, data: &Bytes) -> Result<()> {
    lun.write(Lba(at), data.clone()).await?;
    let start = usize::try_from(at * 512)?;
    model[start..start + data.len()].copy_from_slice(data);
    Ok(())
}

fn range(at: u64, count: u64) -> Result<std::ops::Range<usize>> {
    Ok(usize::try_from(at * 512)?..usize::try_from((at + count) * 512)?)
}
