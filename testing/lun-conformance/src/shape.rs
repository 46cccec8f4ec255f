//! LUNs that grow, go back to what they were, and shadow LUNs that become LUNs like any other.

use anyhow::{Result, ensure};
use lunshadow_lun::{BlockCount, Lba, LunError, LunId, LunOrigin, Outcome, Pool as _, PoolError, RevertPair};

use crate::{SMALL, Subject, blocks, capture, expect, small_lun};

/// A LUN grows under its open handles; what is new reads as zeros, and shadow LUNs keep their length.
///
/// # Errors
/// The promise that was broken.
pub async fn luns_grow(subject: &impl Subject) -> Result<()> {
    let pool = subject.make().await?;
    let lun = small_lun(&pool).await?;
    let id = lun.id();
    lun.write(Lba(0), blocks(1, 0, SMALL.0)).await?;
    let shadow = capture(&pool, &[id]).await?[0];
    let mut expected = blocks(1, 0, SMALL.0).to_vec();
    for length in [BlockCount(SMALL.0 + 2), BlockCount(3 * SMALL.0), BlockCount(40 * SMALL.0)] {
        ensure!(pool.grow(id, length).await? == Outcome::Done, "growing to {length} did nothing");
        ensure!(pool.grow(id, length).await? == Outcome::AlreadySo, "growing to {length} twice did something");
        ensure!(lun.block_count() == length, "an open handle has {} instead of {length}", lun.block_count());
        expected.resize(usize::try_from(length.bytes())?, 0);
        expect(&lun, &expected, "a LUN that grew").await?;
        let last = Lba(length.0 - 1);
        lun.write(last, blocks(2, last.0, 1)).await?;
        let at = expected.len() - 512;
        expected[at..].copy_from_slice(&blocks(2, last.0, 1));
    }
    let shorter = pool.grow(id, SMALL).await;
    ensure!(matches!(shorter, Err(PoolError::UnsupportedSize(of)) if of == SMALL), "a LUN shrank: {shorter:?}");
    let impossible = pool.grow(id, BlockCount(u64::MAX)).await;
    ensure!(matches!(impossible, Err(PoolError::UnsupportedSize(_))), "a LUN grew beyond measure: {impossible:?}");
    let unknown = pool.grow(LunId::random(), SMALL).await;
    ensure!(matches!(unknown, Err(PoolError::UnknownLun(_))), "an unknown LUN grew: {unknown:?}");
    expect(&pool.open(shadow)?, &blocks(1, 0, SMALL.0), "the shadow of a LUN that grew").await?;
    drop(lun);
    let pool = subject.reopen(pool).await?;
    let lun = pool.open(id)?;
    ensure!(lun.block_count() == BlockCount(40 * SMALL.0), "the new length was forgotten");
    // The last write was not flushed, and may be there or not.
    expected.truncate(usize::try_from(BlockCount(3 * SMALL.0).bytes())?);
    let found = lun.read(Lba(0), BlockCount(3 * SMALL.0)).await?;
    ensure!(found == expected, "a LUN that grew has other content after reopening");
    Ok(())
}

/// A revert gives LUNs the content and the length of others at one instant; both sides go their own ways afterwards.
///
/// # Errors
/// The promise that was broken.
pub async fn luns_are_reverted(subject: &impl Subject) -> Result<()> {
    let pool = subject.make().await?;
    let (one, two) = (small_lun(&pool).await?, small_lun(&pool).await?);
    one.write(Lba(0), blocks(1, 0, SMALL.0)).await?;
    two.write(Lba(0), blocks(2, 0, SMALL.0)).await?;
    let shadows = capture(&pool, &[one.id(), two.id()]).await?;
    pool.grow(one.id(), BlockCount(2 * SMALL.0)).await?;
    one.write(Lba(SMALL.0), blocks(3, SMALL.0, SMALL.0)).await?;
    two.write(Lba(7), blocks(3, 7, 100)).await?;
    let pairs = [RevertPair { from: shadows[0], to: one.id() }, RevertPair { from: shadows[1], to: two.id() }];
    pool.revert(&pairs).await?;
    ensure!(one.block_count() == SMALL, "a reverted LUN has {}", one.block_count());
    expect(&one, &blocks(1, 0, SMALL.0), "the first after the revert").await?;
    expect(&two, &blocks(2, 0, SMALL.0), "the second after the revert").await?;
    let beyond = one.read(SMALL_END, BlockCount(1)).await;
    ensure!(
        matches!(beyond, Err(LunError::OutOfRange { .. })),
        "what a reverted LUN does not have is read: {beyond:?}"
    );

    one.write(Lba(0), blocks(4, 0, SMALL.0)).await?;
    expect(&pool.open(shadows[0])?, &blocks(1, 0, SMALL.0), "the shadow after a write to the reverted LUN").await?;
    // Each gets what the other has at the instant of the revert, and a LUN that is reverted to itself stays.
    let swapped = [RevertPair { from: one.id(), to: two.id() }, RevertPair { from: two.id(), to: one.id() }];
    pool.revert(&swapped).await?;
    pool.revert(&[RevertPair { from: one.id(), to: one.id() }]).await?;
    expect(&one, &blocks(2, 0, SMALL.0), "the first after the swap").await?;
    expect(&two, &blocks(4, 0, SMALL.0), "the second after the swap").await?;

    let twice = pool.revert(&[RevertPair { from: shadows[0], to: one.id() }; 2]).await;
    ensure!(matches!(twice, Err(PoolError::LunExists(of)) if of == one.id()), "a LUN was reverted twice: {twice:?}");
    let missing = LunId::random();
    let half = [RevertPair { from: shadows[0], to: one.id() }, RevertPair { from: missing, to: two.id() }];
    let unknown = pool.revert(&half).await;
    ensure!(matches!(unknown, Err(PoolError::UnknownLun(of)) if of == missing), "an unknown LUN: {unknown:?}");
    expect(&one, &blocks(2, 0, SMALL.0), "a LUN of a revert that failed").await?;

    let ids = [one.id(), two.id()];
    drop((one, two));
    let pool = subject.reopen(pool).await?;
    expect(&pool.open(ids[0])?, &blocks(2, 0, SMALL.0), "the first after reopening").await?;
    expect(&pool.open(ids[1])?, &blocks(4, 0, SMALL.0), "the second after reopening").await
}

const SMALL_END: Lba = Lba(SMALL.0);

/// A promoted shadow LUN keeps content and handles, and is nobody's shadow any more, for good.
///
/// # Errors
/// The promise that was broken.
pub async fn shadows_are_promoted(subject: &impl Subject) -> Result<()> {
    let pool = subject.make().await?;
    let lun = small_lun(&pool).await?;
    lun.write(Lba(0), blocks(1, 0, SMALL.0)).await?;
    let id = capture(&pool, &[lun.id()]).await?[0];
    let shadow = pool.open(id)?;
    ensure!(pool.promote(id).await? == Outcome::Done, "the promotion did nothing");
    ensure!(pool.promote(id).await? == Outcome::AlreadySo, "the second promotion did something");
    ensure!(pool.promote(lun.id()).await? == Outcome::AlreadySo, "a LUN was promoted");
    let unknown = pool.promote(LunId::random()).await;
    ensure!(matches!(unknown, Err(PoolError::UnknownLun(_))), "an unknown LUN was promoted: {unknown:?}");
    pool.delete(lun.id()).await?;
    shadow.write(Lba(0), blocks(2, 0, 8)).await?;
    shadow.flush().await?;
    drop((lun, shadow));
    let pool = subject.reopen(pool).await?;
    let summaries = pool.luns();
    ensure!(
        summaries.len() == 1 && summaries[0].lun == id && summaries[0].origin == LunOrigin::Empty,
        "the LUNs are {summaries:?}"
    );
    let mut expected = blocks(1, 0, SMALL.0).to_vec();
    expected[..4096].copy_from_slice(&blocks(2, 0, 8));
    expect(&pool.open(id)?, &expected, "the promoted LUN").await
}
