//! Writers whose writes depend on each other across LUNs, and group snapshots that must not break a chain.
//!
//! A writer writes number `n` only after `n - 1` was answered, each on the next one of 16 LUNs. So at any moment the LUNs together
//! hold all numbers up to some `n`, and a snapshot of the group, or a pool after a crash, that lacks one in between is not a moment. `LUNSHADOW_STORE_SNAPSHOTS`
//! is the number of snapshots.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use lunshadow_lun::{BlockCount, Lba, LunHandle, LunId, Pool as _, ShadowMember, ShadowSetId};
use lunshadow_store::StorePool;

use crate::check::assert_clean;
use crate::crash::from_environment;
use crate::model::{small_config, small_pool};
use crate::sim_media::{Loss, SimMedia, after_power_cut};

const LUNS: u64 = 16;
const WRITERS: u64 = 6;

/// Where a writer has its number in each LUN: blocks that lie in different leaves, some beside those of another writer.
fn place(writer: u64) -> Lba {
    Lba((writer / 2 * 700 + writer % 2) * 8)
}

fn numbered(number: u64) -> Bytes {
    Bytes::from(number.to_le_bytes().repeat(512))
}

async fn write_chain(luns: Arc<Vec<LunHandle>>, writer: u64, stop: Arc<AtomicBool>, written: Arc<AtomicU64>) {
    for number in 1.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let lun = &luns[usize::try_from(number % LUNS).unwrap()];
        lun.write(place(writer), numbered(number)).await.unwrap();
        written.fetch_add(1, Ordering::Relaxed);
        if number % 64 == writer {
            lun.flush().await.unwrap();
        }
    }
}

/// Expects LUNs to hold a moment of all chains; how far these are in all.
async fn expect_moment(luns: &[LunHandle], what: &str) -> u64 {
    let mut sum = 0;
    for writer in 0..WRITERS {
        let mut found = Vec::new();
        for lun in luns {
            let block = lun.read(place(writer), BlockCount(8)).await.unwrap();
            let number = u64::from_le_bytes(*block.first_chunk().unwrap());
            assert_eq!(block, numbered(number), "{what}: a write of writer {writer} is torn");
            found.push(number);
        }
        let last = *found.iter().max().unwrap();
        // On each LUN the newest number that belongs there, if the chain has come so far.
        let expected = (0..LUNS).map(|lun| last.saturating_sub((last + LUNS - lun) % LUNS));
        let expected: Vec<u64> =
            expected.zip(0..).map(|(number, lun)| if number % LUNS == lun { number } else { 0 }).collect();
        assert_eq!(found, expected, "{what}: writer {writer} has written {last}, and not all before it is there");
        sum += last;
    }
    sum
}

async fn snapshot(pool: &StorePool, luns: &[LunHandle]) -> Vec<LunId> {
    let set = ShadowSetId(uuid::Uuid::new_v4());
    let members: Vec<_> = luns.iter().map(|lun| ShadowMember { source: lun.id(), shadow: LunId::random() }).collect();
    pool.prepare(set, &members).await.unwrap();
    pool.commit(set, Duration::from_secs(60)).await.unwrap();
    members.into_iter().map(|member| member.shadow).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_group_snapshot_is_a_moment_of_dependent_writes() {
    let (media, pool) = small_pool(4096);
    let mut luns = Vec::new();
    for _ in 0..LUNS {
        luns.push(pool.create(LunId::random(), BlockCount(8 * 2048)).await.unwrap());
    }
    pool.close().await.unwrap();
    let mut start = media.image();
    media.clear_trace();
    let luns = Arc::new(luns);
    let (stop, written) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..WRITERS {
        writers.spawn(write_chain(Arc::clone(&luns), writer, Arc::clone(&stop), Arc::clone(&written)));
    }
    let (mut kept, mut sums): (Vec<Vec<LunId>>, Vec<u64>) = (Vec::new(), Vec::new());
    for number in 0..from_environment("LUNSHADOW_STORE_SNAPSHOTS", 60) {
        let before = written.load(Ordering::Relaxed);
        let shadows = snapshot(&pool, &luns).await;
        let handles: Vec<_> = shadows.iter().map(|shadow| pool.open(*shadow).unwrap()).collect();
        let sum = expect_moment(&handles, &format!("snapshot {number}")).await;
        assert!(sum >= before, "snapshot {number} lacks writes that were answered before it: {sum} of {before}");
        kept.push(shadows);
        sums.push(sum);
        if kept.len() > 3 {
            // An older one still is what it was.
            let shadows = kept.remove(0);
            let handles: Vec<_> = shadows.iter().map(|shadow| pool.open(*shadow).unwrap()).collect();
            assert_eq!(expect_moment(&handles, "an older snapshot").await, sums.remove(0));
            for shadow in shadows {
                pool.delete(shadow).await.unwrap();
            }
            // The trace is needed since the last checkpoint only.
            if number % 10 == 0 {
                pool.close().await.unwrap();
                start = media.restart_trace();
            }
        }
    }
    // The power fails while all of this goes on.
    let trace = media.trace();
    stop.store(true, Ordering::Relaxed);
    while let Some(ended) = writers.join_next().await {
        ended.unwrap();
    }
    let total = written.load(Ordering::Relaxed);
    assert!(total > 10 * LUNS, "{total} writes");
    for loss in [Loss::Nothing, Loss::Everything, Loss::Random { seed: 5 }] {
        let image = after_power_cut(&start, &trace, trace.len(), loss);
        assert_clean(&image, "after a power cut under load");
        let pool = StorePool::open_on(SimMedia::with(image), &small_config(4096)).unwrap();
        let luns: Vec<_> = luns.iter().map(|lun| pool.open(lun.id()).unwrap()).collect();
        expect_moment(&luns, &format!("after a power cut with {loss:?}")).await;
    }
}
