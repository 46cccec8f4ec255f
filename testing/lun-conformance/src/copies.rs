//! Contents that are kept for copies, and copies of blocks. A pool need not be able to share; what it shares is a copy like any other.

use anyhow::{Result, ensure};
use bytes::Bytes;
use lunshadow_lun::{BlockCount, Copier, Lba, LunError, LunHandle, LunId, Pool as _, copy_blocks};

use crate::{SMALL, Subject, blocks, capture, expect, small_lun};

/// Enough for a map of several levels: 24 MiB, and a bit.
const LARGE: BlockCount = BlockCount((24 << 11) + 5);

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

/// What a comparison calls the same is the same; and a copy that only takes what has changed since the last one is as good as a whole one,
/// also when the LUN has grown.
///
/// # Errors
/// The promise that was broken.
pub async fn changes_are_found_and_copied(subject: &impl Subject) -> Result<()> {
    let pool = subject.make().await?;
    let lun = pool.create(LunId::random(), LARGE).await?;
    let copy = pool.create(LunId::random(), LARGE).await?;
    for at in (0..LARGE.0).step_by(3000) {
        lun.write(Lba(at), blocks(1, at, 40)).await?;
    }
    let frozen = capture(&pool, &[lun.id()]).await?;
    let mut base = pool.open(frozen[0])?;
    let mut copier = Copier::new(base.clone(), copy.clone(), Lba(0));
    while copier.step().await?.is_some() {}
    expect(&copy, &base.read(Lba(0), LARGE).await?, "a whole copy").await?;

    for (tag, grown) in [(2, LARGE), (3, BlockCount(LARGE.0 + 5000))] {
        // Written anew, written where nothing was, discarded, written with zeros, and written with what was there.
        lun.write(Lba(3000), blocks(tag, 3000, 11)).await?;
        lun.write(Lba(LARGE.0 / 2), blocks(tag, 7, 100)).await?;
        lun.discard(Lba(6000), BlockCount(64)).await?;
        lun.write(Lba(9000), Bytes::from(vec![0; 20 * 512])).await?;
        lun.write(Lba(12_000), blocks(1, 12_000, 8)).await?;
        pool.grow(lun.id(), grown).await?;
        lun.write(Lba(grown.0 - 9), blocks(tag, 1, 9)).await?;
        let frozen = capture(&pool, &[lun.id()]).await?;
        let now = pool.open(frozen[0])?;
        same_means_same(&now, &base).await?;
        pool.grow(copy.id(), grown).await?;
        let mut copier = Copier::catching_up(now.clone(), base, copy.clone());
        while copier.step().await?.is_some() {}
        expect(&copy, &now.read(Lba(0), grown).await?, "a copy that has caught up").await?;
        base = now;
    }
    let beyond = base.compare(Lba(base.block_count().0), BlockCount(1), &lun).await;
    ensure!(matches!(beyond, Err(LunError::OutOfRange { .. })), "compared beyond the end: {beyond:?}");
    Ok(())
}

/// Compares all of a LUN with a shorter or equal one.
async fn same_means_same(lun: &LunHandle, base: &LunHandle) -> Result<()> {
    let mut at = 0;
    while at < lun.block_count().0 {
        let rest = BlockCount(lun.block_count().0 - at);
        let compared = lun.compare(Lba(at), rest, base).await?;
        ensure!(compared.count.0 > 0 && compared.count <= rest, "compared {} of {rest}", compared.count);
        let in_base = BlockCount(compared.count.0.min(base.block_count().0.saturating_sub(at)));
        if compared.same && in_base.0 > 0 {
            let (found, held) = (lun.read(Lba(at), in_base).await?, base.read(Lba(at), in_base).await?);
            ensure!(found == held, "{} at {at} are called the same", compared.count);
        }
        at += compared.count.0;
    }
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
