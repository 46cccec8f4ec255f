//! A revert costs what has changed since, however long the LUN is.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use lunshadow_lun::{BlockCount, Lba, LunId, Pool as _, RevertPair, ShadowMember, ShadowSetId};
use lunshadow_store::StorePool;

use crate::foreign::runtime;
use crate::model::small_config;
use crate::sim_media::SimMedia;

/// Blocks of data in one leaf of a LUN's map, and sectors in a block.
const LEAF_BLOCKS: u64 = 512;
const SECTORS: u64 = 8;

/// What is asked of the medium to revert a LUN whose map has so many leaves, after a block was overwritten in some, until all is given back that the LUN had
/// alone.
fn cost(leaves: u64, changed: u64) -> usize {
    runtime().block_on(async {
        let media = SimMedia::default();
        let config = small_config(4096);
        let pool = StorePool::create_on(media.clone(), &config).unwrap();
        let (id, shadow, set) = (LunId::random(), LunId::random(), ShadowSetId(uuid::Uuid::new_v4()));
        let lun = pool.create(id, BlockCount(leaves * LEAF_BLOCKS * SECTORS)).await.unwrap();
        let leaf = |number: u64| Lba(number * LEAF_BLOCKS * SECTORS);
        for number in 0..leaves {
            lun.write(leaf(number), Bytes::from(vec![1; 4096])).await.unwrap();
        }
        pool.prepare(set, &[ShadowMember { source: id, shadow }]).await.unwrap();
        pool.commit(set, Duration::from_secs(60)).await.unwrap();
        for number in 0..changed {
            lun.write(leaf(number), Bytes::from(vec![2; 4096])).await.unwrap();
        }
        pool.close().await.unwrap();
        drop((lun, pool));
        // Nothing of the map is in memory now.
        let pool = StorePool::open_on(media.clone(), &config).unwrap();
        let count = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&count);
        media.fail_when(move |_| {
            counter.fetch_add(1, Ordering::Relaxed);
            None
        });
        pool.revert(&[RevertPair { from: shadow, to: id }]).await.unwrap();
        pool.wait_reclaimed().await.unwrap();
        let operations = count.load(Ordering::Relaxed);
        media.fail_no_more();
        let reverted = pool.open(id).unwrap();
        for number in [0, leaves - 1] {
            assert_eq!(reverted.read(leaf(number), BlockCount(SECTORS)).await.unwrap(), vec![1; 4096]);
        }
        operations
    })
}

#[test]
fn a_revert_costs_what_was_changed_and_not_what_is_there() {
    const LEAVES: u64 = 512;
    // How it meets with batches of the log and with checkpoints differs from run to run, by some twenty operations.
    const SLACK: usize = 60;
    let (short, long, much) = (cost(2, 1), cost(LEAVES, 1), cost(LEAVES, LEAVES));
    assert!(long <= short + SLACK, "{short} and {long}");
    assert!(much > long + 256, "what was changed is given back: {long} and {much}");
}
