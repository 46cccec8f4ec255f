//! Giving back what deleted LUNs had: in the background, and at once when somebody needs it.

use bytes::Bytes;
use lunshadow_lun::{BlockCount, Lba, LunError, LunId, Pool as _};
use lunshadow_store::{StoreConfig, StorePool};

use crate::foreign::runtime;
use crate::model::small_config;
use crate::sim_media::SimMedia;

/// A pool in which reclaiming waits 99 times as long as it works, as long as there are requests.
fn slow_config() -> StoreConfig {
    StoreConfig { background_percent: 1, ..small_config(4096) }
}

fn filled(tag: u8) -> Bytes {
    Bytes::from(vec![tag; 4096])
}

#[test]
fn a_write_waits_for_what_is_being_reclaimed() {
    runtime().block_on(async {
        let media = SimMedia::default();
        let pool = StorePool::create_on(media.clone(), &slow_config()).unwrap();
        let (old, new) = (LunId::random(), LunId::random());
        let lun = pool.create(old, BlockCount(1 << 20)).await.unwrap();
        let mut count = 0;
        while lun.write(Lba(count * 8), filled(1)).await.is_ok() {
            count += 1;
        }
        // The new one may find the blocks for its map in other places, and not all of those that were taken in advance.
        count -= 64;
        let other = pool.create(new, BlockCount(1 << 20)).await.unwrap();
        pool.close().await.unwrap();
        drop((lun, other, pool));

        let pool = StorePool::open_on(media.clone(), &slow_config()).unwrap();
        let lun = pool.open(new).unwrap();
        // What was taken in advance is free again.
        let mut written = 0;
        while lun.write(Lba(written * 8), filled(2)).await.is_ok() {
            written += 1;
        }
        lun.flush().await.unwrap();
        media.hang_next_read();
        pool.delete(old).await.unwrap();
        // The deleted LUN's map is not in memory. Until it is, nothing comes back.
        media.wait_for_hanging_read();
        let write = tokio::spawn({
            let lun = lun.clone();
            async move {
                for block in written..count {
                    lun.write(Lba(block * 8), filled(3)).await?;
                }
                Ok::<_, LunError>(())
            }
        });
        for _ in 0..100 {
            lun.flush().await.unwrap();
            assert!(!write.is_finished(), "nothing can have been written yet");
        }
        media.let_read_go();
        write.await.unwrap().unwrap();
        for block in 0..count {
            let expected = filled(if block < written { 2 } else { 3 });
            assert_eq!(lun.read(Lba(block * 8), BlockCount(8)).await.unwrap(), expected, "block {block}");
        }
        let refused = lun.write(Lba(1 << 19), Bytes::from(vec![4; 8 << 20])).await;
        assert!(matches!(refused, Err(LunError::OutOfSpace)), "nothing is being reclaimed any more: {refused:?}");
    });
}

#[test]
fn deletion_is_answered_before_anything_is_given_back() {
    runtime().block_on(async {
        let media = SimMedia::default();
        let pool = StorePool::create_on(media.clone(), &slow_config()).unwrap();
        let lun = pool.create(LunId::random(), BlockCount(1 << 20)).await.unwrap();
        for leaf in 0..6 {
            lun.write(Lba(leaf * 4096), filled(1)).await.unwrap();
        }
        let id = lun.id();
        pool.close().await.unwrap();
        drop((lun, pool));
        let pool = StorePool::open_on(media.clone(), &slow_config()).unwrap();
        let before = pool.usage();
        media.hang_next_read();
        pool.delete(id).await.unwrap();
        media.wait_for_hanging_read();
        let after = pool.usage();
        assert_eq!((after.data_bytes, after.reclaiming_bytes), (before.data_bytes, before.data_bytes));
        // Others are not concerned: they are made, written and flushed while the reclaim waits for the medium.
        let other = pool.create(LunId::random(), BlockCount(1 << 20)).await.unwrap();
        for block in 0..200 {
            other.write(Lba(block * 8), filled(2)).await.unwrap();
        }
        other.flush().await.unwrap();
        media.let_read_go();
        pool.wait_reclaimed().await.unwrap();
        let end = pool.usage();
        assert_eq!((end.data_bytes, end.reclaiming_bytes), (200 * 4096, 0));
    });
}
