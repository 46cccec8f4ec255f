//! Scattered data that is put in order.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use lunshadow_lun::{BlockCount, Lba, LunHandle, LunId, Pool as _, ShadowMember, ShadowSetId};
use lunshadow_store::{StoreConfig, StorePool};
use rand::rngs::SmallRng;
use rand::seq::SliceRandom as _;
use rand::{RngExt as _, SeedableRng as _};

use crate::check::assert_clean;
use crate::model::{small_config, small_pool};
use crate::sim_media::{Attempt, SimMedia};

/// Two leaves of the map, and a block that the LUN's end cuts.
const BLOCKS: u64 = 2 * 512 + 1;
const LENGTH: BlockCount = BlockCount(BLOCKS * 8 - 3);

/// A LUN whose blocks hold what they were given, written in any order.
struct Scattered {
    media: SimMedia,
    pool: StorePool,
    lun: LunHandle,
    length: BlockCount,
    tags: Vec<u8>,
    random: SmallRng,
}

impl Scattered {
    async fn new(seed: u64) -> Self {
        let (media, pool) = small_pool(4096);
        Self::on(media, pool, seed).await
    }

    async fn on(media: SimMedia, pool: StorePool, seed: u64) -> Self {
        Self::of_length(media, pool, seed, LENGTH).await
    }

    async fn of_length(media: SimMedia, pool: StorePool, seed: u64, length: BlockCount) -> Self {
        let lun = pool.create(LunId::random(), length).await.unwrap();
        let blocks = length.0.div_ceil(8);
        let (tags, random) = (vec![0; usize::try_from(blocks).unwrap()], SmallRng::seed_from_u64(seed));
        let mut this = Self { media, pool, lun, length, tags, random };
        this.overwrite(0..blocks).await;
        this
    }

    /// Writes all of these blocks, one by one in any order.
    async fn overwrite(&mut self, blocks: std::ops::Range<u64>) {
        let mut blocks: Vec<u64> = blocks.collect();
        blocks.shuffle(&mut self.random);
        self.write_each(blocks).await;
    }

    /// Writes blocks that are drawn anew each time, as a database does: some are written often, and some are left for long.
    async fn overwrite_any(&mut self, count: usize) {
        let blocks = self.length.0.div_ceil(8);
        let drawn = (0..count).map(|_| self.random.random_range(0..blocks)).collect();
        self.write_each(drawn).await;
    }

    async fn write_each(&mut self, blocks: Vec<u64>) {
        for block in blocks {
            let tag = self.random.random_range(1..=255);
            self.tags[usize::try_from(block).unwrap()] = tag;
            let sectors = usize::try_from((self.length.0 - block * 8).min(8)).unwrap();
            self.lun.write(Lba(block * 8), Bytes::from(vec![tag; sectors * 512])).await.unwrap();
        }
    }

    /// Reads the LUN in order, and looks at it; how many pieces of the medium were read.
    async fn read(&self, lun: &LunHandle) -> usize {
        let reads = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&reads);
        self.media.fail_when(move |attempt| {
            counter.fetch_add(usize::from(matches!(attempt, Attempt::Read { .. })), Ordering::Relaxed);
            None
        });
        let content = lun.read(Lba(0), self.length).await.unwrap();
        self.media.fail_no_more();
        for (block, (bytes, tag)) in content.chunks(4096).zip(&self.tags).enumerate() {
            assert!(bytes.iter().all(|byte| byte == tag), "block {block}");
        }
        reads.load(Ordering::Relaxed)
    }

    async fn snapshot(&self) -> LunHandle {
        let shadow = LunId::random();
        let set = ShadowSetId(uuid::Uuid::new_v4());
        self.pool.prepare(set, &[ShadowMember { source: self.lun.id(), shadow }]).await.unwrap();
        self.pool.commit(set, Duration::from_secs(60)).await.unwrap();
        self.pool.open(shadow).unwrap()
    }

    async fn used_bytes(&self) -> u64 {
        self.pool.wait_reclaimed().await.unwrap();
        self.pool.usage().used_bytes
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scattered_data_is_put_in_order_and_stays_what_it_is() {
    let scattered = Scattered::new(1).await;
    let used_bytes = scattered.used_bytes().await;
    let before = scattered.read(&scattered.lun).await;
    assert!(before > 900, "{before} pieces");
    scattered.pool.wait_defragmented().await.unwrap();
    let after = scattered.read(&scattered.lun).await;
    assert!(after <= 3, "{after} pieces");
    assert_eq!(scattered.used_bytes().await, used_bytes, "where it was before is free again");

    // It is durable as everything else.
    scattered.lun.flush().await.unwrap();
    let Scattered { media, pool, lun, length, tags, random } = scattered;
    let id = lun.id();
    drop((pool, lun));
    assert_clean(&media.image(), "after a move");
    let media = SimMedia::with(media.image());
    let pool = StorePool::open_on(media.clone(), &small_config(4096)).unwrap();
    let lun = pool.open(id).unwrap();
    let again = Scattered { media, pool, lun, length, tags, random };
    assert!(again.read(&again.lun).await < 20, "a few pages of the map are read, too");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_in_memory_stays_there_when_it_is_put_in_order() {
    let (media, pool) = small_pool(4096);
    pool.close().await.unwrap();
    drop(pool);
    let config = StoreConfig { read_cache_bytes: 16 << 20, ..small_config(4096) };
    let pool = StorePool::open_on(media.clone(), &config).unwrap();
    let mut scattered = Scattered::on(media, pool, 5).await;
    assert_eq!(scattered.read(&scattered.lun).await, 0, "all of it was written lately");
    scattered.pool.wait_defragmented().await.unwrap();
    assert_eq!(scattered.read(&scattered.lun).await, 0);
    // What others hold in the old places now is not taken for it.
    scattered.overwrite_any(3000).await;
    scattered.pool.wait_defragmented().await.unwrap();
    assert_eq!(scattered.read(&scattered.lun).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_read_finds_what_is_scattered() {
    let scattered = Scattered::new(2).await;
    scattered.pool.close().await.unwrap();
    let Scattered { media, pool, lun, length, tags, random } = scattered;
    let id = lun.id();
    drop((pool, lun));
    // What was remembered is forgotten.
    let media = SimMedia::with(media.image());
    let pool = StorePool::open_on(media.clone(), &small_config(4096)).unwrap();
    let lun = pool.open(id).unwrap();
    let again = Scattered { media, pool, lun, length, tags, random };
    again.pool.wait_defragmented().await.unwrap();
    assert!(again.read(&again.lun).await > 900);
    again.pool.wait_defragmented().await.unwrap();
    assert!(again.read(&again.lun).await <= 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_happens_by_itself_when_nobody_has_written_for_a_while() {
    let media = SimMedia::default();
    let config = StoreConfig { defragment_after: Some(Duration::ZERO), ..small_config(4096) };
    let pool = StorePool::create_on(media.clone(), &config).unwrap();
    let scattered = Scattered::on(media, pool, 3).await;
    // It may have begun between two writes: then a leaf that is left in 16 pieces is good enough. All of them are more than 900 pieces.
    while scattered.read(&scattered.lun).await > 2 * 16 + 1 {
        tokio::task::yield_now().await;
    }
    let never = StoreConfig { defragment_after: None, ..small_config(4096) };
    let media = SimMedia::default();
    let pool = StorePool::create_on(media.clone(), &never).unwrap();
    let scattered = Scattered::on(media, pool, 3).await;
    scattered.pool.wait_defragmented().await.unwrap();
    assert!(scattered.read(&scattered.lun).await > 900, "unless it is not wanted");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_no_run_is_free_one_is_made() {
    // More than a quarter of the pool.
    let blocks = 4 * 512;
    for seed in 10..13 {
        let (media, pool) = small_pool(4096);
        let mut scattered = Scattered::of_length(media, pool, seed, BlockCount(blocks * 8)).await;
        // The free blocks lie as scattered as the data does.
        scattered.overwrite_any(30_000).await;
        let used_bytes = scattered.used_bytes().await;
        scattered.pool.wait_defragmented().await.unwrap();
        let after = scattered.read(&scattered.lun).await;
        // As good as in order: four leaves. If no region is cleared, nothing is.
        assert!(after <= 40, "seed {seed}: {after} pieces");
        assert_eq!(scattered.used_bytes().await, used_bytes, "seed {seed}");
        scattered.pool.close().await.unwrap();
        assert_clean(&scattered.media.image(), "after a clearing");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_snapshot_shares_stays_where_it_is() {
    let mut scattered = Scattered::new(4).await;
    let shadow = scattered.snapshot().await;
    let used_bytes = scattered.used_bytes().await;
    scattered.pool.wait_defragmented().await.unwrap();
    assert_eq!(scattered.used_bytes().await, used_bytes);
    assert!(scattered.read(&shadow).await > 900);

    // What was written since is the LUN's alone.
    let tags = scattered.tags.clone();
    scattered.overwrite(100..200).await;
    let used_bytes = scattered.used_bytes().await;
    let before = scattered.read(&scattered.lun).await;
    scattered.pool.wait_defragmented().await.unwrap();
    let after = scattered.read(&scattered.lun).await;
    assert!(after + 95 <= before, "{before} pieces, then {after}");
    assert_eq!(scattered.used_bytes().await, used_bytes);
    let now = std::mem::replace(&mut scattered.tags, tags);
    scattered.read(&shadow).await;
    scattered.tags = now;

    // All of it is, when the snapshot is gone.
    scattered.pool.delete(shadow.id()).await.unwrap();
    scattered.used_bytes().await;
    scattered.read(&scattered.lun).await;
    scattered.pool.wait_defragmented().await.unwrap();
    assert!(scattered.read(&scattered.lun).await <= 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_and_snapshots_overtake_a_move() {
    for is_snapshot in [false, true] {
        let mut scattered = Scattered::new(5).await;
        let used_bytes = scattered.used_bytes().await;
        scattered.media.hang_next_read();
        let (moved, shadow) = tokio::join!(scattered.pool.wait_defragmented(), async {
            let media = scattered.media.clone();
            tokio::task::spawn_blocking(move || media.wait_for_hanging_read()).await.unwrap();
            let shadow = if is_snapshot {
                Some(scattered.snapshot().await)
            } else {
                let write = scattered.lun.write(Lba(300 * 8), Bytes::from(vec![0x77; 4096]));
                write.await.unwrap();
                None
            };
            scattered.media.let_read_go();
            shadow
        });
        moved.unwrap();
        if let Some(shadow) = shadow {
            // The second leaf is shared, too, by the time that it is looked at.
            assert_eq!(scattered.used_bytes().await, used_bytes, "nothing was moved");
            assert!(scattered.read(&shadow).await > 900);
        } else {
            scattered.tags[300] = 0x77;
            scattered.read(&scattered.lun).await;
            scattered.pool.wait_defragmented().await.unwrap();
            assert!(scattered.read(&scattered.lun).await <= 3, "the next one is not overtaken");
            assert_eq!(scattered.used_bytes().await, used_bytes);
        }
        drop(scattered.pool);
        assert_clean(&scattered.media.image(), "after a move that was overtaken");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failing_medium_leaves_data_where_it_is() {
    let scattered = Scattered::new(6).await;
    let used_bytes = scattered.used_bytes().await;
    // Reads fail first, then everything that is written to the data area; the log and checkpoints are not asked for anything.
    for is_read in [true, false] {
        scattered.media.fail_when(move |attempt| match attempt {
            Attempt::Read { .. } if is_read => Some(io::Error::from_raw_os_error(5)),
            Attempt::Write { .. } if !is_read => Some(io::Error::from_raw_os_error(5)),
            _ => None,
        });
        scattered.pool.wait_defragmented().await.unwrap();
        scattered.media.fail_no_more();
        // It finds what is scattered.
        assert!(scattered.read(&scattered.lun).await > 900);
    }
    assert_eq!(scattered.used_bytes().await, used_bytes, "what was taken for it is free again");
    scattered.pool.wait_defragmented().await.unwrap();
    assert!(scattered.read(&scattered.lun).await <= 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pool_that_is_low_on_space_keeps_its_room() {
    let scattered = Scattered::new(7).await;
    scattered.pool.warn_below(1 << 40);
    scattered.pool.wait_defragmented().await.unwrap();
    assert!(scattered.read(&scattered.lun).await > 900);

    // With room for one leaf at a time, what was moved before comes back first.
    let available_bytes = scattered.lun.usage().unwrap().available_bytes;
    scattered.pool.warn_below(available_bytes - 600 * 4096);
    scattered.pool.wait_defragmented().await.unwrap();
    assert!(scattered.read(&scattered.lun).await <= 3);
}
