//! Full pools and full media: what is refused changes nothing, everything else works, and writes go on when space comes back.
//!
//! `PROPTEST_CASES` is ten times the number of histories.

use bytes::Bytes;
use lunshadow_lun::{BlockCount, Lba, LunError, LunId, Pool as _, SpaceLevel};
use lunshadow_store::StorePool;
use proptest::prelude::{ProptestConfig, any, proptest};

use crate::check::assert_clean;
use crate::crash::cases;
use crate::foreign::runtime;
use crate::model::{assert_empty, small_config};
use crate::sim_media::{Loss, SimMedia, after_power_cut};
use crate::tolerant::{Answer, Contents, Deed, Tolerant, content, contents, deed};

/// Fills the pool to its last block with a LUN of its own.
async fn fill_up(pool: &StorePool) -> LunId {
    let filler = pool.create(LunId::random(), BlockCount(1 << 20)).await.unwrap();
    let mut at = 0;
    for count in [256, 1] {
        loop {
            match filler.write(Lba(at * 8), Bytes::from(vec![7; count * 4096])).await {
                Ok(()) => at += count as u64,
                Err(LunError::OutOfSpace) => break,
                Err(error) => panic!("{error}"),
            }
        }
    }
    assert_eq!(filler.space(), SpaceLevel::Full);
    filler.id()
}

/// Runs a history in a pool that is full most of the time. Deletion, snapshots, reverts, flushes and checkpoints are never refused.
async fn run_on_full_pool(history: &[Deed], cache_pages: u64, crash: Option<u64>) {
    let media = SimMedia::default();
    let pool = StorePool::create_on(media.clone(), &small_config(cache_pages)).unwrap();
    let start = media.image();
    media.clear_trace();
    let mut world = Tolerant::new(pool, Contents::new(), 0);
    world.act(Deed::Create).await;
    let mut refused = 0;
    for deed in history {
        match world.act(*deed).await {
            Answer::Full => {
                assert!(matches!(deed, Deed::Write { .. } | Deed::Discard { .. }), "{deed:?} was refused");
                refused += 1;
            }
            Answer::Failed => panic!("{deed:?} failed on a medium that is whole"),
            Answer::Done | Answer::Durable => {}
        }
    }
    assert_eq!(contents(&world.pool).await, world.now);
    if let Some(seed) = crash {
        let (possible, stamps, trace) = (world.possible.clone(), world.stamps(), media.trace());
        drop(world);
        let image = after_power_cut(&start, &trace, trace.len(), Loss::Random { seed });
        assert_clean(&image, "a full pool after a power cut");
        let pool = StorePool::open_on(SimMedia::with(image), &small_config(cache_pages)).unwrap();
        let found = contents(&pool).await;
        assert!(possible.contains(&found), "the pool holds something else after a power cut");
        world = Tolerant::new(pool, found, stamps);
    }
    // From here on to the last block.
    let luns: Vec<LunId> = world.now.keys().copied().collect();
    let filler = fill_up(&world.pool).await;
    assert_eq!(contents_without(&world.pool, filler).await, world.now, "{refused} were refused before");
    for lun in luns {
        world.pool.delete(lun).await.unwrap();
    }
    world.pool.delete(filler).await.unwrap();
    world.pool.wait_reclaimed().await.unwrap();
    assert_empty(&world.pool);
    let mut world = Tolerant::new(world.pool, Contents::new(), 1 << 20);
    assert_eq!(world.act(Deed::Create).await, Answer::Durable);
    assert_eq!(world.act(Deed::Write { lun: 0, at: 0, count: 1200 }).await, Answer::Done);
    assert_eq!(contents(&world.pool).await, world.now);
}

async fn contents_without(pool: &StorePool, filler: LunId) -> Contents {
    // Its blocks hold something that no history writes.
    let mut luns = Contents::new();
    for summary in pool.luns().into_iter().filter(|summary| summary.lun != filler) {
        luns.insert(summary.lun, content(&pool.open(summary.lun).unwrap()).await);
    }
    luns
}

/// A medium that takes a part of the pool's capacity only. Whatever is refused, the pool comes back when there is room, with everything
/// that was answered.
async fn run_on_full_medium(history: &[Deed], room_blocks: usize, hides_room: bool) {
    let media = SimMedia::default();
    if hides_room {
        media.hide_room();
    }
    let pool = StorePool::create_on(media.clone(), &small_config(4096)).unwrap();
    media.limit_room(Some(room_blocks));
    let mut world = Tolerant::new(pool, Contents::new(), 0);
    for deed in std::iter::once(&Deed::Create).chain(history) {
        let answer = world.act(*deed).await;
        assert_ne!(answer, Answer::Failed, "{deed:?} failed on a medium that is only full");
    }
    assert_eq!(contents(&world.pool).await, world.now);
    media.limit_room(None);
    // The first request after that lets what waits be tried again.
    world.pool.wait_reclaimed().await.unwrap();
    assert_eq!(world.act(Deed::Write { lun: 0, at: 0, count: 600 }).await, Answer::Done);
    assert_eq!(world.act(Deed::Checkpoint).await, Answer::Durable);
    assert_clean(&media.image(), "a pool whose medium was full");
    let now = world.now.clone();
    drop(world);
    let pool = StorePool::open_on(media, &small_config(4096)).unwrap();
    assert_eq!(contents(&pool).await, now);
    for lun in now.into_keys() {
        pool.delete(lun).await.unwrap();
    }
    pool.wait_reclaimed().await.unwrap();
    assert_empty(&pool);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(60).div_ceil(10), ..ProptestConfig::default() })]

    #[test]
    fn a_full_pool_refuses_writes_and_nothing_else(
        history in proptest::collection::vec(deed(), 20..90),
        small_cache: bool,
        crash in any::<Option<u64>>(),
    ) {
        runtime().block_on(run_on_full_pool(&history, if small_cache { 64 } else { 4096 }, crash));
    }

    #[test]
    fn a_full_medium_loses_nothing_that_was_answered(
        history in proptest::collection::vec(deed(), 20..70),
        room_blocks in 20..2000_usize,
        hides_room: bool,
    ) {
        runtime().block_on(run_on_full_medium(&history, room_blocks, hides_room));
    }
}

#[test]
fn a_full_medium_says_so_when_the_log_is_full_too() {
    runtime().block_on(async {
        let media = SimMedia::default();
        let pool = StorePool::create_on(media.clone(), &small_config(4096)).unwrap();
        let mut world = Tolerant::new(pool, Contents::new(), 0);
        world.act(Deed::Create).await;
        world.act(Deed::Checkpoint).await;
        // The next checkpoint needs room for the map.
        world.act(Deed::Write { lun: 0, at: 0, count: 100 }).await;
        media.limit_room(Some(0));
        // Snapshots and deletions go to the log, which has its room; it ends when no checkpoint can be written.
        let mut rounds = 0;
        while world.act(Deed::Snapshot { mask: 1 }).await == Answer::Durable {
            while world.now.len() > 1 {
                world.act(Deed::Delete { lun: 1 }).await;
            }
            rounds += 1;
            assert!(rounds < 100, "the log has no end");
        }
        assert!(rounds > 10, "{rounds}");
        let lun = *world.now.keys().next().unwrap();
        assert!(matches!(world.pool.open(lun).unwrap().flush().await, Err(LunError::OutOfSpace)));
        media.limit_room(None);
        while world.act(Deed::Flush { lun: 0 }).await == Answer::Full {}
        assert_eq!(world.act(Deed::Write { lun: 0, at: 50, count: 100 }).await, Answer::Done);
        assert_eq!(world.act(Deed::Checkpoint).await, Answer::Durable);
        assert_eq!(contents(&world.pool).await, world.now);
        assert_eq!(u64::try_from(world.now[&lun].len()).unwrap(), 150);
        assert_clean(&media.image(), "afterwards");
    });
}
