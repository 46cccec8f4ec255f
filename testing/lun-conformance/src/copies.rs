//! Contents that are kept for copies, and copies of blocks. A pool need not be able to share; what it shares is a copy like any other.

use anyhow::{Result, ensure};
use bytes::Bytes;
use lunshadow_lun::{BlockCount, Lba, LunError, LunHandle, Pool as _, copy_blocks};

use crate::{SMALL, Subject, blocks, expect, small_lun};

/// What is pinned stays as it was, whatever becomes of its LUN, and cannot be changed.
///
/// # Errors
/// The promise that was broken.
pub async fn pinned_contents_stay(subject: &impl Subject) -> Result<()> {
    let pool = subject.make().await?;
    let lun = small_lun(&pool).await?;
    lun.write(Lba(0), blocks(1, 0, SMALL.0)).await?;
    let Some(pin) = lun.pin().await? else { return Ok(()) };
    let luns = pool.luns().len();
    ensure!(luns == 1, "a content that is pinned is one of {luns} LUNs");
    lun.write(Lba(5), blocks(2, 5, 30)).await?;
    lun.discard(Lba(100), BlockCount(800)).await?;
    expect(&pin, &blocks(1, 0, SMALL.0), "what was pinned, after writes").await?;
    let second = lun.pin().await?;
    ensure!(
        matches!(pin.write(Lba(0), blocks(3, 0, 8)).await, Err(LunError::ReadOnly)),
        "a pinned content was written"
    );
    let discarded = pin.discard(Lba(0), BlockCount(8)).await;
    ensure!(matches!(discarded, Err(LunError::ReadOnly)), "a pinned content was discarded");
    pool.delete(lun.id()).await?;
    subject.reclaimed(&pool).await?;
    expect(&pin, &blocks(1, 0, SMALL.0), "what was pinned, after the deletion of its LUN").await?;
    ensure!(matches!(lun.pin().await, Err(LunError::Gone)), "a deleted LUN was pinned");
    if let Some(second) = second {
        let found = second.read(Lba(5), BlockCount(30)).await?;
        ensure!(found == blocks(2, 5, 30), "a second pin has another content than its LUN had");
    }
    Ok(())
}

/// Blocks are copied to any place, aligned or not, of the same LUN and of others, in one piece and over what is there; both sides go their
/// own ways afterwards.
///
/// # Errors
/// The promise that was broken.
pub async fn blocks_are_copied(subject: &impl Subject) -> Result<()> {
    let pool = subject.make().await?;
    let (one, two) = (small_lun(&pool).await?, small_lun(&pool).await?);
    one.write(Lba(0), blocks(1, 0, SMALL.0)).await?;
    one.discard(Lba(64), BlockCount(64)).await?;
    let original = one.read(Lba(0), SMALL).await?;
    let mut expected = blocks(2, 0, SMALL.0).to_vec();
    two.write(Lba(0), blocks(2, 0, SMALL.0)).await?;
    let other_pool = subject.make().await?;
    let elsewhere = small_lun(&other_pool).await?;
    elsewhere.write(Lba(0), blocks(2, 0, SMALL.0)).await?;
    // Aligned, shifted by whole physical blocks, shifted by less, within one, and up to the end, which cuts a physical block.
    let ranges = [(0, 0, 256), (8, 800, 160), (3, 11, 70), (40, 900, 61), (1, 1, 3), (2000, 2000, 51), (5, 1000, 40)];
    for (from, to, count) in ranges {
        for target in [&two, &elsewhere] {
            copy_blocks((&one, Lba(from)), (target, Lba(to)), BlockCount(count)).await?;
        }
        let (from, to, len) = (index(from), index(to), index(count));
        expected[to..to + len].copy_from_slice(&original[from..from + len]);
        expect(&two, &expected, "a copy in the pool").await?;
        expect(&elsewhere, &expected, "a copy in another pool").await?;
    }
    one.write(Lba(0), blocks(3, 0, 300)).await?;
    expect(&two, &expected, "a copy after its origin was written").await?;
    two.write(Lba(801), blocks(4, 801, 5)).await?;
    expected[index(801)..index(806)].copy_from_slice(&blocks(4, 801, 5));
    expect(&two, &expected, "a copy that was written").await?;
    let found = one.read(Lba(8), BlockCount(16)).await?;
    ensure!(found == blocks(3, 8, 16), "the origin of a copy that was written");
    within_a_lun(&two, &mut expected).await?;
    let outside = two.share(Lba(SMALL.0 - 4), &one, Lba(0), BlockCount(8)).await;
    ensure!(
        matches!(outside, Ok(BlockCount(0)) | Err(LunError::OutOfRange { .. })),
        "shared beyond the end: {outside:?}"
    );
    let beyond = two.share(Lba(0), &one, Lba(SMALL.0 + 8), BlockCount(8)).await;
    ensure!(matches!(beyond, Ok(BlockCount(0)) | Err(LunError::OutOfRange { .. })), "shared from beyond: {beyond:?}");
    drop((one, two));
    Ok(())
}

/// Moves blocks of a LUN over themselves, by way of a pin.
async fn within_a_lun(lun: &LunHandle, expected: &mut [u8]) -> Result<()> {
    let Some(pin) = lun.pin().await? else { return Ok(()) };
    for (from, to, count) in [(0, 8, 1024), (24, 0, 512), (7, 16, 200)] {
        copy_blocks((&pin, Lba(from)), (lun, Lba(to)), BlockCount(count)).await?;
        let old = pin.read(Lba(from), BlockCount(count)).await?;
        expected[index(to)..index(to) + old.len()].copy_from_slice(&old);
        expect(lun, expected, "a copy within a LUN").await?;
    }
    lun.flush().await?;
    lun.write(Lba(0), Bytes::from(vec![0; 4096])).await?;
    expected[..4096].fill(0);
    expect(lun, expected, "a LUN that was copied within").await
}

fn index(blocks: u64) -> usize {
    usize::try_from(blocks * 512).expect("a small LUN")
}
