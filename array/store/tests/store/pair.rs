//! Writes of several blocks are seen whole or not at all, wherever they begin: by readers, by snapshots and after a power cut.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use lunshadow_lun::{BlockCount, Lba, LunHandle, LunId, Pool as _, ShadowMember, ShadowSetId};
use lunshadow_store::{IoMode, StoreConfig, StorePool};

use crate::check::assert_clean;
use crate::model::{small_config, small_pool};
use crate::sim_media::{Loss, after_power_cut};

/// Physical blocks across the border of two leaves, one that is that of two pages above them as well, and within a leaf.
const PLACES: [(u64, u64); 3] = [(508, 8), (512 * 256 - 3, 6), (700, 32)];
const LENGTH: BlockCount = BlockCount(8 * (512 * 256 + 30));
const ROUNDS: u8 = 100;

fn content(stamp: u8, blocks: u64) -> Bytes {
    Bytes::from(vec![stamp; usize::try_from(blocks * 4096).unwrap()])
}

async fn write(lun: &LunHandle, (first, blocks): (u64, u64), stamp: u8) {
    lun.write(Lba(first * 8), content(stamp, blocks)).await.unwrap();
}

/// The stamp of a place, all of which has to be of one write.
async fn stamp(lun: &LunHandle, (first, blocks): (u64, u64), what: &str) -> u8 {
    let found = lun.read(Lba(first * 8), BlockCount(blocks * 8)).await.unwrap();
    assert_eq!(found, content(found[0], blocks), "{what}: the write at {first} is torn");
    found[0]
}

async fn look_all_the_time(lun: LunHandle, stop: Arc<AtomicBool>) -> usize {
    let mut looks = 0;
    let mut last = [0; PLACES.len()];
    while !stop.load(Ordering::Relaxed) {
        for (last, place) in last.iter_mut().zip(PLACES) {
            let found = stamp(&lun, place, "a reader").await;
            assert!(found >= *last, "{found} after {last}");
            *last = found;
            looks += 1;
        }
    }
    looks
}

async fn write_under_readers(pool: &StorePool) {
    let lun = pool.create(LunId::random(), LENGTH).await.unwrap();
    assert!(PLACES.iter().all(|(_, blocks)| blocks * 8 <= lun.atomic_blocks().0));
    let stop = Arc::new(AtomicBool::new(false));
    let readers: Vec<_> = (0..3).map(|_| tokio::spawn(look_all_the_time(lun.clone(), stop.clone()))).collect();
    let mut shadows = Vec::new();
    for round in 1..=ROUNDS {
        for place in PLACES {
            write(&lun, place, round).await;
        }
        if round.is_multiple_of(20) {
            let (set, shadow) = (ShadowSetId(uuid::Uuid::new_v4()), LunId::random());
            pool.prepare(set, &[ShadowMember { source: lun.id(), shadow }]).await.unwrap();
            let writing = {
                let lun = lun.clone();
                tokio::spawn(async move { write(&lun, PLACES[0], round).await })
            };
            pool.commit(set, Duration::from_secs(60)).await.unwrap();
            writing.await.unwrap();
            shadows.push(pool.open(shadow).unwrap());
        }
    }
    stop.store(true, Ordering::Relaxed);
    for reader in readers {
        assert!(reader.await.unwrap() > 0);
    }
    for shadow in &shadows {
        for place in PLACES {
            stamp(shadow, place, "a shadow LUN").await;
        }
    }
}

/// With room for all that is ever written, so that nothing depends on when it comes back.
async fn write_in(mode: IoMode) {
    let directory = tempfile::tempdir().unwrap();
    let config = StoreConfig { capacity_bytes: 256 << 20, log_bytes: 1 << 20, ..StoreConfig::default() };
    drop(StorePool::create(directory.path(), &config).unwrap());
    let pool = StorePool::open_with(directory.path(), &config, mode).unwrap();
    write_under_readers(&pool).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_and_snapshots_see_all_of_a_write_or_nothing() {
    write_in(IoMode::Threads).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn so_do_readers_through_rings() {
    write_in(IoMode::Uring).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_power_cut_leaves_all_of_a_write_or_nothing() {
    let (media, pool) = small_pool(64);
    let lun = pool.create(LunId::random(), LENGTH).await.unwrap();
    lun.flush().await.unwrap();
    let start = media.image();
    media.clear_trace();
    // Batches of the log end at any moment, because somebody else wants everything durable all the time.
    let stop = Arc::new(AtomicBool::new(false));
    let flushing = {
        let (lun, stop) = (lun.clone(), stop.clone());
        tokio::spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                lun.flush().await.unwrap();
                tokio::task::yield_now().await;
            }
        })
    };
    for round in 1..=6 {
        for place in PLACES {
            write(&lun, place, round).await;
        }
        // Half of the blocks lie elsewhere then, so that there are many runs to log.
        write(&lun, (510, 1), round).await;
        write(&lun, PLACES[0], round).await;
    }
    stop.store(true, Ordering::Relaxed);
    flushing.await.unwrap();
    let (id, trace) = (lun.id(), media.trace());
    drop((lun, pool));
    for cut in 0..=trace.len() {
        let seed = u64::try_from(cut).unwrap();
        for loss in [Loss::Nothing, Loss::Everything, Loss::Random { seed }] {
            let what = format!("cut behind {cut} of {}, {loss:?}", trace.len());
            let image = after_power_cut(&start, &trace, cut, loss);
            assert_clean(&image, &what);
            let pool = StorePool::open_on(crate::sim_media::SimMedia::with(image), &small_config(64)).unwrap();
            let lun = pool.open(id).unwrap();
            for place in PLACES {
                stamp(&lun, place, &what).await;
            }
        }
    }
}
