//! LUNs come, stay and go.

use anyhow::{Result, ensure};
use lunshadow_lun::{BlockCount, Lba, LunError, LunId, Outcome, Pool as _, PoolError};

use crate::{SMALL, Subject, blocks, capture, expect, small_lun};

/// Deletion can be repeated; open handles answer that the LUN is gone; the id can be used again.
///
/// # Errors
/// The promise that was broken.
pub async fn deleted_luns_are_gone(subject: &impl Subject) -> Result<()> {
    let pool = subject.make().await?;
    let lun = small_lun(&pool).await?;
    let id = lun.id();
    let taken = pool.create(id, SMALL).await;
    ensure!(matches!(taken, Err(PoolError::LunExists(of)) if of == id), "an id was given twice: {taken:?}");
    for impossible in [0, u64::MAX] {
        let refused = pool.create(LunId::random(), BlockCount(impossible)).await;
        ensure!(matches!(refused, Err(PoolError::UnsupportedSize(_))), "a LUN of {impossible} blocks: {refused:?}");
    }
    lun.write(Lba(0), blocks(1, 0, 100)).await?;
    ensure!(pool.delete(id).await? == Outcome::Done, "the first deletion did nothing");
    ensure!(pool.delete(id).await? == Outcome::AlreadySo, "the second deletion did something");
    ensure!(pool.delete(LunId::random()).await? == Outcome::AlreadySo, "an unknown LUN was deleted");
    ensure!(matches!(lun.read(Lba(0), BlockCount(1)).await, Err(LunError::Gone)), "a deleted LUN can be read");
    ensure!(matches!(lun.write(Lba(0), blocks(1, 0, 8)).await, Err(LunError::Gone)), "a deleted LUN can be written");
    ensure!(matches!(lun.write(Lba(0), blocks(1, 0, 1)).await, Err(LunError::Gone)), "a deleted LUN can be patched");
    ensure!(matches!(lun.discard(Lba(0), BlockCount(8)).await, Err(LunError::Gone)), "a deleted LUN can be discarded");
    ensure!(matches!(lun.flush().await, Err(LunError::Gone)), "a deleted LUN can be flushed");
    ensure!(matches!(pool.open(id), Err(PoolError::UnknownLun(of)) if of == id), "a deleted LUN can be opened");
    ensure!(pool.luns().is_empty(), "a deleted LUN is listed");

    let again = pool.create(id, SMALL).await?;
    ensure!(matches!(lun.read(Lba(0), BlockCount(1)).await, Err(LunError::Gone)), "an old handle reads a new LUN");
    expect(&again, &vec![0; usize::try_from(SMALL.bytes())?], "a new LUN with an old id").await
}

/// What was flushed, created, captured and deleted is so after the pool was opened again.
///
/// # Errors
/// The promise that was broken.
pub async fn luns_survive_reopening(subject: &impl Subject) -> Result<()> {
    let pool = subject.make().await?;
    let mut ids = Vec::new();
    for tag in 1..=3 {
        let lun = small_lun(&pool).await?;
        lun.write(Lba(0), blocks(tag, 0, SMALL.0)).await?;
        lun.flush().await?;
        ids.push(lun.id());
    }
    let shadows = capture(&pool, &ids).await?;
    pool.open(ids[0])?.write(Lba(0), blocks(9, 0, SMALL.0)).await?;
    pool.open(ids[0])?.flush().await?;
    pool.delete(ids[1]).await?;
    let before = pool.luns();
    let pool = subject.reopen(pool).await?;
    ensure!(pool.luns() == before, "the LUNs are {:?} instead of {before:?}", pool.luns());
    expect(&pool.open(ids[0])?, &blocks(9, 0, SMALL.0), "a flushed LUN").await?;
    for (tag, shadow) in (1..).zip(shadows) {
        expect(&pool.open(shadow)?, &blocks(tag, 0, SMALL.0), "a shadow LUN").await?;
    }
    ensure!(matches!(pool.open(ids[1]), Err(PoolError::UnknownLun(_))), "a deleted LUN is back");
    pool.close().await?;
    let pool = subject.reopen(pool).await?;
    expect(&pool.open(ids[2])?, &blocks(3, 0, SMALL.0), "a LUN after a clean end").await
}

/// Deleting everything that was made brings the usage back to where it was, however much was shared.
///
/// # Errors
/// The promise that was broken.
pub async fn space_comes_back(subject: &impl Subject) -> Result<()> {
    const LENGTH: BlockCount = BlockCount(16 << 11);
    let pool = subject.make().await?;
    subject.reclaimed(&pool).await?;
    let empty = pool.usage();
    ensure!(empty.used_bytes <= empty.capacity_bytes, "an empty pool uses more than it has: {empty:?}");
    let lun = pool.create(LunId::random(), LENGTH).await?;
    let mut shadows = Vec::new();
    for round in 0..4_u8 {
        for at in (0..LENGTH.0).step_by(1024) {
            if round == 0 || (at / 1024) % 4 == u64::from(round) {
                lun.write(Lba(at), blocks(round, at, 1024)).await?;
            }
        }
        shadows.extend(capture(&pool, &[lun.id()]).await?);
    }
    subject.reclaimed(&pool).await?;
    let full = pool.usage().used_bytes - empty.used_bytes;
    ensure!(full >= LENGTH.bytes() * 7 / 4, "{full} bytes are less than what was written");
    ensure!(full <= LENGTH.bytes() * 2, "{full} bytes are more than what was written and a reasonable map");
    pool.delete(shadows[1]).await?;
    subject.reclaimed(&pool).await?;
    let less = pool.usage().used_bytes - empty.used_bytes;
    ensure!(less < full, "deleting a shadow LUN brought nothing back");
    pool.delete(lun.id()).await?;
    for shadow in shadows {
        pool.delete(shadow).await?;
    }
    subject.reclaimed(&pool).await?;
    let after = pool.usage();
    ensure!(after.used_bytes == empty.used_bytes, "{after:?} after everything was deleted, {empty:?} before");
    ensure!(after.reclaiming_bytes == 0, "{after:?}: nothing is left to give back");
    Ok(())
}
