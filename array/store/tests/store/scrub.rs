//! The scrub: finds what the offline check finds, while the pool is used.

use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use lunshadow_lun::{BlockCount, Lba, LunId, Pool as _, ShadowMember, ShadowSetId};
use lunshadow_store::{CheckOptions, ScrubError, ScrubOptions, ScrubReport, StorePool};

use crate::check::checked;
use crate::foreign::{rich_world, runtime};
use crate::model::{observe, small_config, small_pool};
use crate::sim_media::SimMedia;

/// The first block that can hold data in these pools.
const FIRST_DATA_BLOCK: u64 = 8 + 64 + 10;

async fn scrubbed(pool: &StorePool) -> ScrubReport {
    pool.scrub(ScrubOptions::default(), |_| ()).await.unwrap()
}

#[test]
fn a_scrub_reads_all_that_there_is_once() {
    runtime().block_on(async {
        let (media, world) = rich_world().await;
        world.pool.close().await.unwrap();
        let expected = checked(&media.image(), &CheckOptions::default());
        let report = scrubbed(&world.pool).await;
        assert_eq!((report.map_pages, report.data_blocks), (expected.map_pages, expected.data_blocks));
        assert_eq!(
            report,
            ScrubReport { map_pages: report.map_pages, data_blocks: report.data_blocks, ..Default::default() }
        );
        assert_eq!(scrubbed(&world.pool).await, report, "a second one begins from the beginning");
    });
}

#[test]
fn a_scrub_names_what_a_check_names_and_heals_the_rest() {
    runtime().block_on(async {
        let (media, world) = rich_world().await;
        world.pool.close().await.unwrap();
        let image = media.image();
        let (mut named, mut healed) = (0, 0);
        for block in image.filled().into_iter().step_by(3) {
            let mut flipped = image.clone();
            flipped.flip(block * 4096 + 99, 5);
            let expected = checked(&flipped, &CheckOptions::default());
            let media = SimMedia::with(flipped);
            let pool = StorePool::open_on(media.clone(), &small_config(64)).unwrap();
            let report = scrubbed(&pool).await;
            assert_eq!(report.damage, expected.damage, "block {block}");
            named += report.damage.len();
            healed += report.healed_copies;
            pool.close().await.unwrap();
            let after = checked(&media.image(), &CheckOptions::default());
            // The scrub does not look at the pool's own tables, which lie in front of these.
            assert!(after.damaged_copies == 0 || block < FIRST_DATA_BLOCK, "block {block}: {after:?}");
            assert_eq!(after.damage, expected.damage);
            if report.damage.is_empty() {
                assert_eq!(observe(&pool).await, world.model);
            }
        }
        assert!(named > 20 && healed > 2, "{named} {healed}");
    });
}

#[test]
fn what_is_stopped_goes_on_after_reopening() {
    runtime().block_on(async {
        let (media, world) = rich_world().await;
        let all = scrubbed(&world.pool).await;
        let half = {
            // The first steps stop the scrub by dropping it.
            let (send, mut stop) = tokio::sync::mpsc::unbounded_channel();
            let slow = ScrubOptions { bytes_per_second: NonZeroU64::new(1), resume: false };
            let scrub = world.pool.scrub(slow, |report| send.send(report.clone()).unwrap());
            tokio::select! {
                ended = scrub => panic!("{ended:?}"),
                first = stop.recv() => first.unwrap(),
            }
        };
        assert!(half.at.is_some() && half.data_blocks < all.data_blocks, "{half:?}");
        world.pool.close().await.unwrap();
        drop(world);
        let pool = StorePool::open_on(media.clone(), &small_config(64)).unwrap();
        let mut visited = Vec::new();
        let resume = ScrubOptions { resume: true, ..ScrubOptions::default() };
        let rest = pool.scrub(resume, |report| visited.extend(report.at)).await.unwrap();
        assert!(visited.iter().all(|lun| Some(*lun) >= half.at), "{visited:?} begins before {half:?}");
        assert!(rest.data_blocks + half.data_blocks >= all.data_blocks, "{half:?} and {rest:?} are not {all:?}");
        assert_eq!(rest.at, None);
        // What is done is done, for good.
        pool.close().await.unwrap();
        drop(pool);
        let pool = StorePool::open_on(media, &small_config(64)).unwrap();
        let anew = pool.scrub(ScrubOptions { resume: true, ..ScrubOptions::default() }, |_| ()).await.unwrap();
        assert_eq!(anew.data_blocks, all.data_blocks);
    });
}

#[test]
fn there_is_one_scrub_at_a_time() {
    runtime().block_on(async {
        let (_, world) = rich_world().await;
        let slow = ScrubOptions { bytes_per_second: NonZeroU64::new(1), resume: false };
        let (send, mut begun) = tokio::sync::mpsc::unbounded_channel();
        let scrub = world.pool.scrub(slow, |_| send.send(()).unwrap());
        tokio::select! {
            ended = scrub => panic!("{ended:?}"),
            _ = async {
                begun.recv().await.unwrap();
                let second = world.pool.scrub(ScrubOptions::default(), |_| ()).await;
                assert!(matches!(second, Err(ScrubError::Running)), "{second:?}");
            } => {}
        }
        scrubbed(&world.pool).await;
    });
}

#[tokio::test]
async fn a_scrub_keeps_its_rate() {
    let (_, world) = rich_world().await;
    tokio::time::pause();
    let begin = tokio::time::Instant::now();
    let rate = ScrubOptions { bytes_per_second: NonZeroU64::new(4096 * 10), resume: false };
    let report = world.pool.scrub(rate, |_| ()).await.unwrap();
    let at_least = Duration::from_millis(report.data_blocks * 100);
    assert!(begin.elapsed() >= at_least, "{:?} instead of {at_least:?} or more", begin.elapsed());
}

#[test]
fn a_scrub_finds_nothing_wrong_with_a_pool_that_is_busy() {
    runtime().block_on(async {
        let (_, world) = rich_world().await;
        let pool = Arc::new(world.pool);
        let sources: Vec<LunId> = pool.luns().iter().map(|summary| summary.lun).collect();
        let busy = tokio::spawn({
            let pool = Arc::clone(&pool);
            async move {
                for round in 0..400_u64 {
                    let source = sources[usize::try_from(round).unwrap() % sources.len()];
                    let lun = pool.open(source).unwrap();
                    lun.write(Lba(round % 5 * 8), Bytes::from(vec![round.to_le_bytes()[0] | 1; 8192])).await.unwrap();
                    if round % 7 == 0 {
                        let (set, shadow) = (ShadowSetId(uuid::Uuid::new_v4()), LunId::random());
                        pool.prepare(set, &[ShadowMember { source, shadow }]).await.unwrap();
                        pool.commit(set, Duration::from_secs(60)).await.unwrap();
                        lun.write(Lba(8), Bytes::from(vec![7; 4096])).await.unwrap();
                        pool.delete(shadow).await.unwrap();
                    }
                    if round % 20 == 0 {
                        pool.close().await.unwrap();
                    }
                }
            }
        });
        let mut scrubs = 0;
        while !busy.is_finished() || scrubs == 0 {
            let report = scrubbed(&pool).await;
            assert!(report.damage.is_empty() && report.healed_copies == 0, "{report:?}");
            scrubs += 1;
        }
        busy.await.unwrap();
    });
}

/// A pool that was just opened, with two LUNs of two leaves each. Of the one that is first in the order of ids, the root has changed since and the
/// first leaf is on the medium only.
async fn changed_root() -> (SimMedia, StorePool, [LunId; 2]) {
    let (media, pool) = small_pool(4096);
    let mut luns = [LunId::random(), LunId::random()];
    luns.sort_unstable();
    for id in luns {
        let lun = pool.create(id, BlockCount(8 * 5000)).await.unwrap();
        for block in [0, 600] {
            lun.write(Lba(block * 8), Bytes::from(vec![9; 4096])).await.unwrap();
        }
    }
    pool.close().await.unwrap();
    drop(pool);
    let pool = StorePool::open_on(media.clone(), &small_config(4096)).unwrap();
    pool.open(luns[0]).unwrap().write(Lba(600 * 8), Bytes::from(vec![10; 4096])).await.unwrap();
    (media, pool, luns)
}

#[test]
fn a_lun_that_goes_while_the_scrub_reads_its_map_is_not_damaged() {
    runtime().block_on(async {
        let (media, pool, luns) = changed_root().await;
        let pool = Arc::new(pool);
        media.hang_next_read();
        let scrub = tokio::spawn({
            let pool = Arc::clone(&pool);
            async move { scrubbed(&pool).await }
        });
        // It has looked the root up, which is in memory only, and reads the leaf.
        media.wait_for_hanging_read();
        pool.delete(luns[0]).await.unwrap();
        let other_bytes = 2 * 4096;
        while pool.usage().data_bytes > other_bytes {
            // A checkpoint comes between two steps of reclaiming.
            pool.close().await.unwrap();
        }
        // The LUN's slot is used again, and its root's block is nobody's.
        let heir = pool.create(LunId::random(), BlockCount(8 * 5000)).await.unwrap();
        for block in 0..900 {
            heir.write(Lba(block * 8), Bytes::from(vec![11; 4096])).await.unwrap();
        }
        media.let_read_go();
        let report = scrub.await.unwrap();
        assert_eq!((report.damage.as_slice(), report.healed_copies), (&[][..], 0), "{report:?}");
    });
}
