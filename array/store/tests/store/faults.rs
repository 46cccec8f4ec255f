//! Failing, hanging, full and flipping media.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use lunshadow_lun::{
    BlockCount, CommitError, Lba, LunError, LunHandle, LunId, Outcome, Pool as _, PoolError, ShadowMember, ShadowSetId,
};
use lunshadow_store::{OpenError, StoreConfig, StorePool};

use crate::model::{patient_pool, small_config, small_pool};
use crate::sim_media::{Attempt, Operation, SimMedia};

const LENGTH: BlockCount = BlockCount(8 * 1024);
const AT_MOST: Duration = Duration::from_secs(60);
/// Where the log begins in a pool with this file's geometry, and where it ends.
const LOG_BYTES: std::ops::Range<u64> = 8 * 4096..72 * 4096;

fn filled(tag: u8, blocks: usize) -> Bytes {
    Bytes::from(vec![tag; blocks * 4096])
}

async fn lun_with(pool: &StorePool, tag: u8, blocks: usize) -> LunHandle {
    let lun = pool.create(LunId::random(), LENGTH).await.unwrap();
    lun.write(Lba(0), filled(tag, blocks)).await.unwrap();
    lun.flush().await.unwrap();
    lun
}

fn random_set() -> ShadowSetId {
    ShadowSetId(uuid::Uuid::new_v4())
}

async fn prepared(pool: &StorePool, source: &LunHandle) -> (ShadowSetId, LunId) {
    let (set, shadow) = (random_set(), LunId::random());
    pool.prepare(set, &[ShadowMember { source: source.id(), shadow }]).await.unwrap();
    (set, shadow)
}

/// Where the medium has a block that is filled with `tag`.
fn place_of(media: &SimMedia, tag: u8) -> u64 {
    let written = media.trace().into_iter().find_map(|operation| match operation {
        Operation::Write { offset_bytes, data } if data[..4096] == [tag; 4096] => Some(offset_bytes),
        _ => None,
    });
    written.unwrap()
}

fn broken() -> io::Error {
    io::Error::other("the medium is broken")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_sync_poisons_the_pool_until_it_is_reopened() {
    let (media, pool) = small_pool(4096);
    let lun = lun_with(&pool, 1, 4).await;
    let (set, _) = prepared(&pool, &lun).await;
    media.fail_when(|attempt| (attempt == Attempt::Sync).then(broken));
    lun.write(Lba(0), filled(2, 1)).await.unwrap();
    assert!(matches!(lun.flush().await, Err(LunError::Poisoned)));
    media.fail_no_more();

    assert_eq!(lun.read(Lba(8), BlockCount(8)).await.unwrap(), filled(1, 1));
    assert!(matches!(lun.flush().await, Err(LunError::Poisoned)), "a flush is not retried");
    assert!(matches!(lun.write(Lba(0), filled(3, 1)).await, Err(LunError::Poisoned)));
    assert!(matches!(lun.write(Lba(0), Bytes::from_static(&[3; 512])).await, Err(LunError::Poisoned)));
    assert!(matches!(lun.discard(Lba(0), LENGTH).await, Err(LunError::Poisoned)));
    assert!(matches!(pool.commit(set, AT_MOST).await, Err(CommitError::Poisoned)));
    assert!(matches!(pool.create(LunId::random(), LENGTH).await, Err(PoolError::Poisoned)));
    assert!(matches!(pool.delete(lun.id()).await, Err(PoolError::Poisoned)));
    assert!(matches!(pool.close().await, Err(PoolError::Poisoned)));
    assert!(matches!(pool.wait_reclaimed().await, Err(PoolError::Poisoned)));
    assert_eq!(pool.luns().len(), 1);

    let id = lun.id();
    drop((lun, pool));
    let pool = StorePool::open_on(media, &small_config(4096)).unwrap();
    let lun = pool.open(id).unwrap();
    assert_eq!(lun.read(Lba(8), BlockCount(24)).await.unwrap(), filled(1, 3));
    lun.write(Lba(0), filled(4, 4)).await.unwrap();
    lun.flush().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_cannot_be_written_poisons_the_pool() {
    let (media, pool) = small_pool(4096);
    let lun = lun_with(&pool, 1, 4).await;
    let in_log = |attempt| matches!(attempt, Attempt::Write { offset_bytes } if LOG_BYTES.contains(&offset_bytes));
    media.fail_when(move |attempt| in_log(attempt).then(broken));
    lun.write(Lba(0), filled(2, 1)).await.unwrap();
    assert!(matches!(lun.flush().await, Err(LunError::Poisoned)));
    assert_eq!(lun.read(Lba(0), BlockCount(8)).await.unwrap(), filled(2, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unreadable_block_concerns_nothing_but_its_readers() {
    let (media, pool) = small_pool(4096);
    media.clear_trace();
    let lun = lun_with(&pool, 1, 4).await;
    let bad = place_of(&media, 1) + 2 * 4096;
    media.fail_when(move |attempt| match attempt {
        Attempt::Read { offset_bytes, len_bytes } => {
            (offset_bytes..offset_bytes + len_bytes).contains(&bad).then(broken)
        }
        _ => None,
    });
    let found = lun.read(Lba(8), BlockCount(16)).await;
    assert!(matches!(found, Err(LunError::Damaged { at: Lba(16) })), "{found:?}");
    let patched = lun.write(Lba(17), Bytes::from_static(&[2; 512])).await;
    assert!(matches!(patched, Err(LunError::Damaged { at: Lba(17) })), "{patched:?}");
    assert_eq!(lun.read(Lba(24), BlockCount(8)).await.unwrap(), filled(1, 1));
    lun.write(Lba(16), filled(2, 1)).await.unwrap();
    assert_eq!(lun.read(Lba(16), BlockCount(8)).await.unwrap(), filled(2, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn data_that_cannot_be_written_leaves_everything_as_it_was() {
    let (media, pool) = patient_pool(4096);
    let lun = lun_with(&pool, 1, 4).await;
    pool.wait_reclaimed().await.unwrap();
    let used_bytes = pool.usage().used_bytes;
    for (kind, full) in [(io::ErrorKind::Other, false), (io::ErrorKind::StorageFull, true)] {
        let data = |attempt| matches!(attempt, Attempt::Write { offset_bytes } if offset_bytes >= LOG_BYTES.end);
        media.fail_when(move |attempt| data(attempt).then(|| kind.into()));
        let written = lun.write(Lba(0), filled(2, 2)).await;
        assert!(
            matches!((&written, full), (Err(LunError::Io(_)), false) | (Err(LunError::OutOfSpace), true)),
            "{written:?}"
        );
        media.fail_no_more();
        assert_eq!(lun.read(Lba(0), BlockCount(32)).await.unwrap(), filled(1, 4));
    }
    lun.write(Lba(0), filled(3, 4)).await.unwrap();
    lun.flush().await.unwrap();
    pool.wait_reclaimed().await.unwrap();
    assert_eq!(pool.usage().used_bytes, used_bytes, "the blocks of failed writes are lost");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_checkpoint_waits_for_a_full_medium() {
    let (media, pool) = patient_pool(4096);
    let lun = lun_with(&pool, 1, 4).await;
    lun.write(Lba(0), filled(2, 4)).await.unwrap();
    let not_log = |attempt| matches!(attempt, Attempt::Write { offset_bytes } if !LOG_BYTES.contains(&offset_bytes));
    media.fail_when(move |attempt| not_log(attempt).then(|| io::ErrorKind::StorageFull.into()));
    assert!(matches!(pool.close().await, Err(PoolError::OutOfSpace)));
    lun.flush().await.unwrap();
    let (set, shadow) = prepared(&pool, &lun).await;
    assert_eq!(pool.commit(set, AT_MOST).await.unwrap(), Outcome::Done, "the log has its space already");
    assert!(matches!(lun.write(Lba(0), filled(3, 1)).await, Err(LunError::OutOfSpace)));
    media.fail_no_more();
    pool.close().await.unwrap();
    lun.write(Lba(0), filled(4, 4)).await.unwrap();
    assert_eq!(pool.open(shadow).unwrap().read(Lba(0), BlockCount(32)).await.unwrap(), filled(2, 4));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_answers_in_time_although_the_medium_hangs() {
    let (media, pool) = small_pool(4096);
    let lun = lun_with(&pool, 1, 4).await;
    pool.wait_reclaimed().await.unwrap();
    let used_bytes = pool.usage().used_bytes;
    media.hang_syncs(true);
    let (set, shadow) = prepared(&pool, &lun).await;
    let late = pool.commit(set, Duration::from_millis(50)).await;
    assert!(matches!(late, Err(CommitError::DeadlinePassed(_))), "{late:?}");
    assert!(matches!(pool.open(shadow), Err(PoolError::UnknownLun(_))));
    assert_eq!(pool.luns().len(), 1, "a set that failed is listed");
    assert!(matches!(pool.commit(set, AT_MOST).await, Err(CommitError::UnknownSet(_))));
    assert_eq!(pool.abort(set).unwrap(), Outcome::AlreadySo);
    lun.write(Lba(0), filled(2, 4)).await.unwrap();
    assert_eq!(lun.read(Lba(0), BlockCount(32)).await.unwrap(), filled(2, 4), "writes go on");

    media.hang_syncs(false);
    pool.wait_reclaimed().await.unwrap();
    assert_eq!(pool.usage().used_bytes, used_bytes, "the set that failed still has space");
    pool.prepare(set, &[ShadowMember { source: lun.id(), shadow }]).await.unwrap();
    assert_eq!(pool.commit(set, AT_MOST).await.unwrap(), Outcome::Done, "the same set can be made again");
    assert_eq!(pool.open(shadow).unwrap().read(Lba(0), BlockCount(32)).await.unwrap(), filled(2, 4));
    drop((lun, pool));
    let pool = StorePool::open_on(media, &small_config(4096)).unwrap();
    assert_eq!(pool.luns().len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_set_can_be_aborted_while_its_commit_hangs() {
    let (media, pool) = small_pool(4096);
    let pool = std::sync::Arc::new(pool);
    let lun = lun_with(&pool, 1, 4).await;
    let (set, shadow) = prepared(&pool, &lun).await;
    media.hang_syncs(true);
    let commit = tokio::spawn({
        let pool = std::sync::Arc::clone(&pool);
        async move { pool.commit(set, AT_MOST).await }
    });
    media.wait_for_hanging_sync();
    assert!(matches!(pool.open(shadow), Err(PoolError::UnknownLun(_))), "a capture that is not durable can be opened");
    assert_eq!(pool.abort(set).unwrap(), Outcome::Done);
    media.hang_syncs(false);
    let aborted = commit.await.unwrap();
    assert!(matches!(aborted, Err(CommitError::UnknownSet(_))), "{aborted:?}");
    assert_eq!(pool.luns().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_whose_caller_went_away_still_ends() {
    let (media, pool) = small_pool(4096);
    let pool = std::sync::Arc::new(pool);
    let lun = lun_with(&pool, 1, 4).await;
    let (set, _) = prepared(&pool, &lun).await;
    media.hang_syncs(true);
    let commit = tokio::spawn({
        let pool = std::sync::Arc::clone(&pool);
        async move { pool.commit(set, AT_MOST).await }
    });
    media.wait_for_hanging_sync();
    commit.abort();
    assert!(commit.await.unwrap_err().is_cancelled());
    media.hang_syncs(false);
    // The repetition waits for the one that is under way.
    assert_eq!(pool.commit(set, AT_MOST).await.unwrap(), Outcome::AlreadySo);
    assert_eq!(pool.luns().len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flushes_that_wait_share_one_sync() {
    let (media, pool) = small_pool(4096);
    let lun = lun_with(&pool, 1, 4).await;
    lun.write(Lba(0), filled(2, 1)).await.unwrap();
    media.hang_syncs(true);
    let mut flushes = tokio::task::JoinSet::new();
    let flush = |lun: LunHandle| async move { lun.flush().await };
    flushes.spawn(flush(lun.clone()));
    media.wait_for_hanging_sync();
    let before = syncs(&media);
    for at in 0..50 {
        lun.write(Lba(at * 8), filled(3, 1)).await.unwrap();
        flushes.spawn(flush(lun.clone()));
    }
    // One for the flush that hung, one for all the others, whenever they come to ask.
    media.hang_syncs(false);
    while let Some(flushed) = flushes.join_next().await {
        flushed.unwrap().unwrap();
    }
    let taken = syncs(&media) - before;
    assert!(taken <= 2, "{taken} syncs for 51 flushes");
}

fn syncs(media: &SimMedia) -> usize {
    media.trace().iter().filter(|operation| matches!(operation, Operation::Sync { .. })).count()
}

/// Writes block after block until the pool is full; how many the LUN has then.
async fn fill(lun: &LunHandle, mut written: u64) -> u64 {
    loop {
        match lun.write(Lba(written * 8), filled(1, 1)).await {
            Ok(()) => written += 1,
            Err(LunError::OutOfSpace) => return written,
            Err(error) => panic!("{error}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_pool_says_so_and_recovers() {
    let (media, pool) = small_pool(64);
    pool.wait_reclaimed().await.unwrap();
    let empty = pool.usage();
    let lun = pool.create(LunId::random(), BlockCount(64 << 11)).await.unwrap();
    let other = pool.create(LunId::random(), BlockCount(64 << 11)).await.unwrap();
    let mut written = fill(&lun, 0).await;
    let usable = empty.capacity_bytes - empty.used_bytes;
    assert!(written * 4096 > usable * 3 / 4, "full after {written} blocks of {usable} bytes");
    // Everything that frees space, and captures, still works.
    let (set, shadow) = prepared(&pool, &lun).await;
    pool.commit(set, AT_MOST).await.unwrap();
    lun.flush().await.unwrap();
    let id = lun.id();
    drop((lun, other, pool));
    let pool = StorePool::open_on(media, &small_config(64)).unwrap();
    let lun = pool.open(id).unwrap();
    // What had been taken in advance is free again, so that a few more blocks fit.
    written = fill(&lun, written).await;
    assert!(matches!(lun.write(Lba(0), filled(2, 1)).await, Err(LunError::OutOfSpace)));
    assert_eq!(lun.read(Lba(0), BlockCount(8)).await.unwrap(), filled(1, 1), "a refused write changed something");
    pool.delete(shadow).await.unwrap();
    pool.wait_reclaimed().await.unwrap();
    lun.discard(Lba(0), BlockCount(written / 2 * 8)).await.unwrap();
    for block in 0..written / 4 {
        lun.write(Lba(block * 8), filled(3, 1)).await.unwrap();
    }
    let last = lun.read(Lba((written - 1) * 8), BlockCount(8)).await.unwrap();
    assert_eq!(last, filled(1, 1));
    pool.delete(id).await.unwrap();
    pool.wait_reclaimed().await.unwrap();
    assert!(pool.usage().used_bytes <= empty.used_bytes);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn readers_never_see_a_block_that_was_taken_for_something_else() {
    let (_media, pool) = small_pool(64);
    let pool = std::sync::Arc::new(pool);
    let lun = lun_with(&pool, 1, 4).await;
    let writer = tokio::spawn({
        let (lun, pool) = (lun.clone(), std::sync::Arc::clone(&pool));
        async move {
            for round in 0..1500_u32 {
                // The pool is so small that blocks come round again many times.
                lun.write(Lba(0), filled(round.to_le_bytes()[0] | 1, 64)).await.unwrap();
                if round % 16 == 0 {
                    pool.close().await.unwrap();
                }
            }
        }
    });
    let mut readers = Vec::new();
    for _ in 0..3 {
        let lun = lun.clone();
        readers.push(tokio::spawn(async move {
            loop {
                let found = lun.read(Lba(0), BlockCount(32)).await.unwrap();
                for block in found.chunks_exact(4096) {
                    assert!(block[0] & 1 == 1 && block.iter().all(|byte| *byte == block[0]));
                }
            }
        }));
    }
    writer.await.unwrap();
    for reader in readers {
        assert!(!reader.is_finished(), "a reader failed");
        reader.abort();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_log_is_not_taken_for_a_short_one() {
    let (media, pool) = small_pool(4096);
    media.clear_trace();
    let lun = lun_with(&pool, 1, 4).await;
    for tag in 2..6 {
        lun.write(Lba(0), filled(tag, 1)).await.unwrap();
        lun.flush().await.unwrap();
    }
    drop((lun, pool));
    let batches = media.trace().into_iter().filter_map(|operation| match operation {
        Operation::Write { offset_bytes, .. } if LOG_BYTES.contains(&offset_bytes) => Some(offset_bytes),
        _ => None,
    });
    let batches: Vec<u64> = batches.collect();
    assert_eq!(batches.len(), 6, "creation and five flushes");
    for batch in &batches[..5] {
        let mut image = media.image();
        image.flip(batch + 80, 3);
        let opened = StorePool::open_on(SimMedia::with(image), &small_config(4096));
        assert!(matches!(opened, Err(OpenError::Damaged { what: "log", .. })), "batch at {batch}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn counts_are_brought_in_before_they_are_looked_at() {
    // So small that pages of the map, their copies, and what is taken next have their counts in one page.
    let config = StoreConfig { capacity_bytes: 24 << 20, ..small_config(4096) };
    let media = SimMedia::default();
    let pool = StorePool::create_on(media.clone(), &config).unwrap();
    let lun = lun_with(&pool, 1, 4).await;
    let id = lun.id();
    pool.close().await.unwrap();
    drop((lun, pool));
    // Nothing is in memory: neither the pages of the map nor their counts.
    let pool = StorePool::open_on(media, &config).unwrap();
    let lun = pool.open(id).unwrap();
    lun.write(Lba(8), filled(2, 1)).await.unwrap();
    assert_eq!(lun.read(Lba(0), BlockCount(16)).await.unwrap(), [filled(1, 1), filled(2, 1)].concat());
}
