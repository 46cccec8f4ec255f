//! Pools that get more capacity, and where their space is.

use std::os::unix::fs::MetadataExt as _;

use bytes::Bytes;
use lunshadow_lun::{BlockCount, Lba, LunError, LunHandle, LunId, Outcome, Pool as _, PoolCare as _, SpaceLevel};
use lunshadow_store::{CheckOptions, EnlargeError, POOL_FILE, StoreConfig, StorePool};

use crate::check::{assert_clean, checked};
use crate::foreign::{rich_world, runtime};
use crate::model::{Action, World, observe, small_config, small_pool};
use crate::sim_media::{Attempt, Loss, SimMedia, after_power_cut};

const SMALL_BYTES: u64 = 28 << 20;

fn block(tag: u64) -> Bytes {
    Bytes::from([tag + 1; 512].iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<u8>>())
}

/// Writes blocks from `first` on until there are `end`, or the pool is full; how many there are.
async fn write_until(lun: &LunHandle, first: u64, end: u64) -> u64 {
    for number in first..end {
        match lun.write(Lba(number * 8), block(number)).await {
            Ok(()) => {}
            Err(LunError::OutOfSpace) => return number,
            Err(error) => panic!("{error}"),
        }
    }
    end
}

async fn expect_blocks(lun: &LunHandle, count: u64) {
    for number in 0..count {
        assert_eq!(lun.read(Lba(number * 8), BlockCount(8)).await.unwrap(), block(number), "block {number}");
    }
}

#[test]
fn a_full_pool_goes_on_when_it_gets_more_capacity() {
    runtime().block_on(async {
        let (media, pool) = small_pool(4096);
        let lun = pool.create(LunId::random(), BlockCount(1 << 20)).await.unwrap();
        assert_eq!(lun.space(), SpaceLevel::Plenty);
        let full = write_until(&lun, 0, u64::MAX).await;
        assert_eq!((lun.space(), pool.usage().available_bytes), (SpaceLevel::Full, 0));
        assert_eq!(pool.enlarge(SMALL_BYTES).await.unwrap(), Outcome::AlreadySo);
        let smaller = pool.enlarge(SMALL_BYTES - 4096).await;
        assert!(matches!(smaller, Err(EnlargeError::WouldShrink { .. })), "{smaller:?}");
        let absurd = pool.enlarge(u64::MAX).await;
        assert!(matches!(absurd, Err(EnlargeError::UnsupportedSize { .. })), "{absurd:?}");

        // A little first, so that the last region becomes longer, and then so much that the index of regions gets more pages.
        pool.enlarge(SMALL_BYTES + (1 << 20)).await.unwrap();
        let some = write_until(&lun, full, u64::MAX).await;
        assert!(some >= full + 128, "{some} blocks instead of {full}");
        let large_bytes = 5 << 30;
        assert_eq!(pool.enlarge(large_bytes).await.unwrap(), Outcome::Done);
        assert_eq!((pool.usage().capacity_bytes, lun.space()), (large_bytes, SpaceLevel::Plenty));
        let more = write_until(&lun, some, some + 3000).await;
        assert_eq!(more, some + 3000);
        lun.flush().await.unwrap();
        assert_clean(&media.image(), "an enlarged pool");
        expect_blocks(&lun, more).await;
        let id = lun.id();
        drop((lun, pool));
        let pool = StorePool::open_on(media.clone(), &small_config(64)).unwrap();
        assert_eq!(pool.usage().capacity_bytes, large_bytes);
        expect_blocks(&pool.open(id).unwrap(), more).await;
        pool.close().await.unwrap();
        let report = checked(&media.image(), &CheckOptions::default());
        assert_eq!(report.data_blocks, more);
    });
}

#[test]
fn a_pool_with_more_capacity_warns_earlier_unless_somebody_has_said_when() {
    runtime().block_on(async {
        let (_media, pool) = small_pool(4096);
        let small_low = pool.low_bytes();
        pool.enlarge(5 << 30).await.unwrap();
        let large_low = pool.low_bytes();
        assert!(large_low > 100 * small_low && large_low <= (5 << 30) / 10, "{small_low} bytes, then {large_low}");
        pool.warn_below(1 << 20);
        pool.enlarge(6 << 30).await.unwrap();
        assert_eq!(pool.low_bytes(), 1 << 20);
    });
}

#[test]
fn a_medium_without_room_leaves_the_pool_as_it_was() {
    runtime().block_on(async {
        let (media, pool) = small_pool(4096);
        let lun = pool.create(LunId::random(), BlockCount(1 << 14)).await.unwrap();
        media.fail_when(|attempt| (attempt == Attempt::SetLen).then(|| std::io::ErrorKind::StorageFull.into()));
        let refused = pool.enlarge(2 * SMALL_BYTES).await;
        assert!(matches!(refused, Err(EnlargeError::MediumFull { error: Some(_), .. })), "{refused:?}");
        media.fail_no_more();
        assert_eq!(pool.usage().capacity_bytes, SMALL_BYTES);
        assert_eq!(write_until(&lun, 0, 100).await, 100);
        lun.flush().await.unwrap();
    });
}

#[test]
fn a_power_cut_while_a_pool_grows_leaves_it_with_one_size_or_the_other() {
    runtime().block_on(async {
        let (media, mut world) = rich_world().await;
        world.act(Action::Checkpoint).await;
        let (start, old_model) = (media.image(), world.model.clone());
        media.clear_trace();
        world.pool.enlarge(2 * SMALL_BYTES).await.unwrap();
        let enlarged = media.trace_len();
        world.act(Action::Write { lun: 0, window: 0, at: 0, count: 40 }).await;
        world.act(Action::Flush { lun: 0 }).await;
        let (trace, model) = (media.trace(), world.model.clone());
        let mut start = start;
        // The length is set before anything is written; a medium that is longer than it has to be is fine.
        start.set_len_bytes(2 * SMALL_BYTES);
        let mut sizes = std::collections::BTreeSet::new();
        for cut in 0..=trace.len() {
            for loss in [Loss::Nothing, Loss::Everything, Loss::Random { seed: cut as u64 }] {
                let image = after_power_cut(&start, &trace, cut, loss);
                assert_clean(&image, &format!("cut behind {cut}, {loss:?}"));
                let pool = StorePool::open_on(SimMedia::with(image), &small_config(4096)).unwrap();
                let size = pool.usage().capacity_bytes;
                assert!(cut < enlarged || size == 2 * SMALL_BYTES, "cut behind {cut}: {size}");
                sizes.insert(size);
                let found = observe(&pool).await;
                assert!(found == old_model || cut > enlarged, "cut behind {cut}, {loss:?}");
                assert!(found == model || cut < trace.len(), "cut behind {cut}, {loss:?}");
            }
        }
        assert_eq!(sizes.into_iter().collect::<Vec<_>>(), [SMALL_BYTES, 2 * SMALL_BYTES]);
    });
}

/// What the pool says of its space adds up, and is what a walk of its medium finds.
async fn expect_sum(media: &SimMedia, world: &World) {
    let usage = world.pool.usage();
    let sum = usage.own_bytes + usage.map_bytes + usage.data_bytes + usage.freed_bytes;
    assert_eq!(sum, usage.used_bytes, "{usage:?}");
    assert!(usage.used_bytes + usage.available_bytes <= usage.capacity_bytes, "{usage:?}");
    let lengths: u64 = world.model.luns.values().map(|(length, _)| length * 512).sum();
    assert_eq!(usage.provisioned_bytes, lengths);
    world.pool.wait_reclaimed().await.unwrap();
    let report = checked(&media.image(), &CheckOptions::default());
    let usage = world.pool.usage();
    let found = (report.data_blocks * 4096, report.map_pages * 2 * 4096);
    assert_eq!((usage.data_bytes, usage.map_bytes, usage.freed_bytes), (found.0, found.1, 0));
    assert!(usage.mapped_bytes >= usage.data_bytes, "{usage:?}");
}

#[test]
fn space_adds_up_and_what_is_unique_comes_back() {
    runtime().block_on(async {
        let (media, mut world) = rich_world().await;
        world.act(Action::Discard { lun: 1, window: 1, at: 3, count: 70 }).await;
        world.act(Action::Revert { from: 5, to: 2, second: 2 }).await;
        expect_sum(&media, &world).await;
        while let Some(lun) = world.model.luns.keys().next().copied() {
            let unique = world.pool.unique_bytes(lun).await.unwrap();
            let before = world.pool.usage().used_bytes;
            world.act(Action::Delete { lun: 0 }).await;
            world.pool.wait_reclaimed().await.unwrap();
            assert_eq!(before - world.pool.usage().used_bytes, unique, "{lun}");
            expect_sum(&media, &world).await;
        }
        let usage = world.pool.usage();
        assert_eq!((usage.data_bytes, usage.map_bytes, usage.mapped_bytes), (0, 0, 0));
    });
}

#[test]
fn luns_say_when_the_pool_is_low_on_space() {
    runtime().block_on(async {
        let (_, pool) = small_pool(4096);
        let lun = pool.create(LunId::random(), BlockCount(1 << 16)).await.unwrap();
        let room = pool.usage().available_bytes;
        pool.warn_below(room / 2);
        assert_eq!(lun.space(), SpaceLevel::Plenty);
        write_until(&lun, 0, room / 2 / 4096 + 64).await;
        assert_eq!(lun.space(), SpaceLevel::Low);
        // A little more room than makes it low is not enough for it to be plenty again.
        lun.discard(Lba(0), BlockCount(8 * 80)).await.unwrap();
        pool.wait_reclaimed().await.unwrap();
        assert_eq!(lun.space(), SpaceLevel::Low);
        lun.discard(Lba(0), lun.block_count()).await.unwrap();
        pool.wait_reclaimed().await.unwrap();
        assert_eq!(lun.space(), SpaceLevel::Plenty);
    });
}

#[test]
fn a_preallocated_pool_has_all_its_space_at_once() {
    let config = StoreConfig { capacity_bytes: 24 << 20, log_bytes: 1 << 20, ..StoreConfig::default() };
    for preallocate in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        drop(StorePool::create(folder.path(), &StoreConfig { preallocate, ..config }).unwrap());
        let file = std::fs::metadata(folder.path().join(POOL_FILE)).unwrap();
        assert_eq!(file.len(), config.capacity_bytes);
        assert_eq!(file.blocks() * 512 >= file.len(), preallocate, "{} blocks of 512 bytes", file.blocks());
    }
}
