//! Reads through rings, where this machine has them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use lunshadow_lun::{BlockCount, Lba, LunError, LunHandle, LunId, Pool as _, PoolCare as _, ShadowMember, ShadowSetId};
use lunshadow_store::{IoMode, POOL_FILE, StoreConfig, StorePool};
use std::os::unix::fs::FileExt as _;
use tempfile::TempDir;
use tokio::task::JoinSet;
use uuid::Uuid;

const BLOCK: usize = 4096;
/// Two leaves of the map, and a part of a block.
const LENGTH: BlockCount = BlockCount(1024 * 8 + 3);

fn config() -> StoreConfig {
    StoreConfig { capacity_bytes: 64 << 20, log_bytes: 1 << 20, ..StoreConfig::default() }
}

async fn new_pool() -> (TempDir, LunId) {
    let directory = tempfile::tempdir().unwrap();
    let pool = StorePool::create(directory.path(), &config()).unwrap();
    let lun = pool.create(LunId::random(), LENGTH).await.unwrap();
    for block in 0..16_u8 {
        // Written out of order, and with holes, so that neighbours do not lie side by side.
        let block = u64::from(block * 7 % 16);
        if !block.is_multiple_of(5) {
            lun.write(Lba(block * 8), Bytes::from(vec![0xa0 | u8::try_from(block).unwrap(); BLOCK])).await.unwrap();
        }
    }
    // Over the border of two leaves.
    lun.write(Lba(510 * 8), Bytes::from(vec![0xb1; 4 * BLOCK])).await.unwrap();
    let id = lun.id();
    drop(lun);
    pool.close().await.unwrap();
    (directory, id)
}

fn open(directory: &TempDir, lun: LunId) -> (StorePool, LunHandle) {
    let pool = StorePool::open_with(directory.path(), &config(), IoMode::Uring).unwrap();
    let lun = pool.open(lun).unwrap();
    (pool, lun)
}

fn expected(block: usize) -> u8 {
    match block {
        0..16 if !block.is_multiple_of(5) => 0xa0 | u8::try_from(block).unwrap(),
        510..514 => 0xb1,
        _ => 0,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scattered_blocks_holes_and_parts_are_read() {
    let (directory, id) = new_pool().await;
    let (_pool, lun) = open(&directory, id);
    // The first time, pages of the map are not in memory.
    for _ in 0..2 {
        for (at, count) in [(0, 128), (3, 7), (9, 1), (5 * 8, 16), (505 * 8 + 1, 70), (1023 * 8, 11), (0, LENGTH.0)] {
            let content = lun.read(Lba(at), BlockCount(count)).await.unwrap();
            assert_eq!(content.len() as u64, count * 512);
            for (sector, bytes) in (at..).zip(content.chunks(512)) {
                let block = usize::try_from(sector / 8).unwrap();
                assert!(bytes.iter().all(|byte| *byte == expected(block)), "sector {sector} of {count} at {at}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_block_is_named_and_harms_no_others() {
    let (directory, id) = new_pool().await;
    let file = std::fs::File::options().read(true).write(true).open(directory.path().join(POOL_FILE)).unwrap();
    let mut block = [0; BLOCK];
    let len = file.metadata().unwrap().len();
    let is_there = |offset: &u64| {
        file.read_exact_at(&mut block, *offset).unwrap();
        block == [0xa3; BLOCK]
    };
    let offset = (0..len).step_by(BLOCK).find(is_there).unwrap();
    file.write_all_at(&[0xff], offset + 100).unwrap();
    file.sync_all().unwrap();
    let (_pool, lun) = open(&directory, id);
    let mut reads = JoinSet::new();
    for at in 0..16_u64 {
        let lun = lun.clone();
        reads.spawn(async move { (at, lun.read(Lba(at * 8), BlockCount(8)).await) });
    }
    while let Some(read) = reads.join_next().await {
        let (at, read) = read.unwrap();
        assert_eq!(read.is_ok(), at != 3, "block {at}: {read:?}");
    }
    let error = lun.read(Lba(8), BlockCount(8 * 8)).await.unwrap_err();
    assert!(matches!(error, LunError::Damaged { at: Lba(24) }), "{error:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_read_or_written_lately_is_in_memory() {
    let (directory, id) = new_pool().await;
    let config = StoreConfig { read_cache_bytes: 16 << 20, ..config() };
    let pool = StorePool::open_with(directory.path(), &config, IoMode::Threads).unwrap();
    let lun = pool.open(id).unwrap();
    assert_eq!(lun.read(Lba(8), BlockCount(8)).await.unwrap()[..], [0xa1; BLOCK]);
    lun.write(Lba(900 * 8), Bytes::from(vec![0xc1; 2 * BLOCK])).await.unwrap();
    lun.flush().await.unwrap();
    // From here on the medium has something else everywhere.
    let file = std::fs::File::options().read(true).write(true).open(directory.path().join(POOL_FILE)).unwrap();
    let mut image = std::fs::read(directory.path().join(POOL_FILE)).unwrap();
    let data =
        image.chunks_exact_mut(BLOCK).filter(|block| block[0] > 0xa0 && block.iter().all(|byte| *byte == block[0]));
    data.for_each(|block| block[7] ^= 1);
    file.write_all_at(&image, 0).unwrap();
    assert_eq!(lun.read(Lba(8 + 3), BlockCount(2)).await.unwrap()[..], [0xa1; 1024]);
    assert_eq!(lun.read(Lba(900 * 8), BlockCount(16)).await.unwrap()[..], [0xc1; 2 * BLOCK]);
    assert_eq!(
        lun.read(Lba(899 * 8), BlockCount(16)).await.unwrap()[BLOCK..],
        [0xc1; BLOCK],
        "the other one is a hole"
    );
    for at in [8, 900 * 8] {
        let past_memory = lun.read_medium(Lba(at), BlockCount(8)).await;
        assert!(matches!(past_memory, Err(LunError::Damaged { at: Lba(damaged) }) if damaged == at), "{past_memory:?}");
    }
    let never_read = lun.read(Lba(16), BlockCount(8)).await;
    assert!(matches!(never_read, Err(LunError::Damaged { .. })), "{never_read:?}");
    // What is written over is not what was there.
    lun.write(Lba(8), Bytes::from(vec![0xc2; BLOCK])).await.unwrap();
    assert_eq!(lun.read(Lba(8), BlockCount(8)).await.unwrap()[..], [0xc2; BLOCK]);
    // Unused content is unreadable in memory, too, and nothing is in memory then.
    lun.wipe_unused().await.unwrap();
    let damaged = lun.read(Lba(900 * 8), BlockCount(8)).await;
    assert!(matches!(damaged, Err(LunError::Damaged { .. })), "{damaged:?}");
}

/// What was overwritten is on the medium for the shadow LUNs, which are seldom read, but not in memory. What is overwritten through a shadow LUN is
/// its source's still.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_for_data_does_not_grow_with_snapshots() {
    const BLOCKS: u64 = 200;
    let directory = tempfile::tempdir().unwrap();
    let config = StoreConfig { read_cache_bytes: 16 << 20, ..config() };
    let pool = StorePool::create(directory.path(), &config).unwrap();
    let id = LunId::random();
    let lun = pool.create(id, LENGTH).await.unwrap();
    let write = async |lun: &LunHandle, value: u8| {
        for block in 0..BLOCKS {
            lun.write(Lba(block * 8), Bytes::from(vec![value; BLOCK])).await.unwrap();
        }
    };
    let is = async |lun: &LunHandle, value: u8| {
        let content = lun.read(Lba(0), BlockCount(BLOCKS * 8)).await.unwrap();
        content.iter().all(|byte| *byte == value)
    };
    let kept_blocks = || pool.read_cache().kept_bytes / 4096;
    write(&lun, 0xa0).await;
    assert_eq!(kept_blocks(), BLOCKS);
    let snapshot = async || {
        let (set, shadow) = (ShadowSetId(Uuid::new_v4()), LunId::random());
        pool.prepare(set, &[ShadowMember { source: id, shadow }]).await.unwrap();
        pool.commit(set, Duration::from_secs(10)).await.unwrap();
        pool.open(shadow).unwrap()
    };
    let mut shadows = Vec::new();
    for value in 0xa1..0xa5 {
        shadows.push(snapshot().await);
        write(&lun, value).await;
        assert_eq!(kept_blocks(), BLOCKS, "after {value:x}");
    }
    assert!(is(&shadows[0], 0xa0).await && is(&shadows[3], 0xa3).await && is(&lun, 0xa4).await);
    assert_eq!(kept_blocks(), 3 * BLOCKS, "what is read is kept, whoever reads it");
    write(&snapshot().await, 0xa5).await;
    assert_eq!(kept_blocks(), 4 * BLOCKS);
    assert!(is(&lun, 0xa4).await && is(&shadows[2], 0xa2).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_that_nobody_waits_for_any_more_harm_nothing() {
    let (directory, id) = new_pool().await;
    let (_pool, lun) = open(&directory, id);
    for _ in 0..50 {
        let lun = lun.clone();
        let read = tokio::spawn(async move { lun.read(Lba(0), BlockCount(128)).await });
        tokio::task::yield_now().await;
        read.abort();
        // It may have come to its end before that.
        if let Ok(read) = read.await {
            assert_eq!(read.unwrap()[8 * 512], 0xa1);
        }
    }
    assert_eq!(lun.read(Lba(8), BlockCount(8)).await.unwrap()[..], [0xa1; BLOCK]);
}

/// Reads a block until the writers are done; what is read is never older than what was answered before, and never of another LUN.
async fn watch(lun: LunHandle, block: u64, answered: Arc<[AtomicU64]>, is_over: Arc<AtomicBool>) -> u64 {
    let mut count = 0;
    while !is_over.load(Ordering::Acquire) {
        let at_least = answered[usize::try_from(block).unwrap()].load(Ordering::Acquire);
        let content = lun.read(Lba(block * 8), BlockCount(8)).await.unwrap();
        let (owner, found) = content.split_at(16);
        let found = u64::from_le_bytes(*found.first_chunk().unwrap());
        assert_eq!(owner, lun.id().as_u128().to_le_bytes(), "block {block}");
        assert!(found >= at_least, "block {block} is {found}, {at_least} was answered before");
        count += 1;
        tokio::task::yield_now().await;
    }
    count
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_beside_writes_moves_and_checkpoints_are_never_stale() {
    const BLOCKS: u64 = 64;
    let (_media, pool) = crate::model::small_pool(4096);
    let is_over = Arc::new(AtomicBool::new(false));
    let (mut writers, mut readers) = (JoinSet::new(), JoinSet::new());
    for number in 0..3_u64 {
        let lun = pool.create(LunId::random(), BlockCount(BLOCKS * 8)).await.unwrap();
        let answered: Arc<[AtomicU64]> = (0..BLOCKS).map(|_| AtomicU64::new(0)).collect();
        let write = |lun: LunHandle, block: u64, value: u64| async move {
            let mut content = lun.id().as_u128().to_le_bytes().to_vec();
            content.extend(value.to_le_bytes());
            content.resize(BLOCK, 1);
            lun.write(Lba(block * 8), Bytes::from(content)).await.unwrap();
        };
        for block in 0..BLOCKS {
            write(lun.clone(), block, 0).await;
        }
        for first in [0, 1] {
            let (lun, answered) = (lun.clone(), Arc::clone(&answered));
            writers.spawn(async move {
                for value in 1..=20 {
                    for block in (first..BLOCKS).step_by(2).map(|block| (block * 29 + number) % BLOCKS) {
                        write(lun.clone(), block, value).await;
                        answered[usize::try_from(block).unwrap()].store(value, Ordering::Release);
                    }
                }
            });
        }
        for block in [0, 17, BLOCKS - 1] {
            readers.spawn(watch(lun.clone(), block, Arc::clone(&answered), Arc::clone(&is_over)));
        }
    }
    while !writers.is_empty() {
        pool.wait_defragmented().await.unwrap();
        pool.close().await.unwrap();
        while let Some(written) = writers.try_join_next() {
            written.unwrap();
        }
    }
    is_over.store(true, Ordering::Release);
    while let Some(count) = readers.join_next().await {
        assert!(count.unwrap() > 0);
    }
}
