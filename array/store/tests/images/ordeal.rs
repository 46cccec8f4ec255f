//! What a pool is put through that may hold anything at all. The fuzz targets in `fuzz/` and several tests include this file.

use bytes::Bytes;
use lunshadow_lun::{BlockCount, Lba, Pool as _};
use lunshadow_store::{CheckOptions, Media, Repair, ScrubOptions, StoreConfig, StorePool, check_on};

/// How many LUNs are used at most. More of them would show nothing else.
const LUNS_USED: usize = 40;

/// Opens, uses, scrubs, checks and repairs a pool as far as that goes. What a repair leaves is not to be repaired again. `media` makes a medium
/// with the same content each time.
pub(crate) async fn put_through<M: Media + Clone>(media: impl Fn() -> M, config: &StoreConfig) {
    let options = CheckOptions { memory_bytes: 1 << 14, ..CheckOptions::default() };
    drop(check_on(media(), &options, &mut |_| ()));
    let repaired = media();
    if let Ok(report) = check_on(repaired.clone(), &CheckOptions { repair: true, ..options }, &mut |_| ())
        && report.repair == Some(Repair::Done)
        && let Ok(left) = check_on(repaired, &options, &mut |_| ())
    {
        assert!(!left.is_repairable(), "{left:?} is left of {report:?}");
    }
    if let Ok(pool) = StorePool::open_on(media(), config) {
        use_pool(&pool).await;
    }
}

async fn use_pool(pool: &StorePool) {
    drop(pool.scrub(ScrubOptions::default(), |_| ()).await);
    for summary in pool.luns().into_iter().take(LUNS_USED) {
        let Ok(lun) = pool.open(summary.lun) else { continue };
        drop(pool.unique_bytes(summary.lun).await);
        for at in [0, 8 * 510, 8 * 4990, summary.block_count.0.saturating_sub(64)] {
            if at.saturating_add(64) <= lun.block_count().0 {
                drop(lun.read(Lba(at), BlockCount(64)).await);
                drop(lun.write(Lba(at), Bytes::from_static(&[1; 512])).await);
                drop(lun.write(Lba(at), Bytes::from_static(&[1; 8192])).await);
                drop(lun.discard(Lba(at), BlockCount(24)).await);
            }
        }
        drop(lun.flush().await);
        drop(pool.delete(summary.lun).await);
    }
    drop(pool.wait_reclaimed().await);
}
