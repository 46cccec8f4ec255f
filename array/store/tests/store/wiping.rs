//! What LUNs held before is not on the medium any more once it has been wiped.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use lunshadow_lun::{BlockCount, Lba, LunHandle, LunId, Pool as _, ShadowMember, ShadowSetId};
use lunshadow_store::{FileMedia, IoMode, StoreConfig, StorePool};

use crate::check::assert_clean;
use crate::sim_media::SimMedia;

/// What a test looks for on the medium.
const SECRET: &[u8; 32] = b"nobody is to find this any more!";
const LENGTH: BlockCount = BlockCount(4096);

fn config() -> StoreConfig {
    StoreConfig { cache_bytes: 4 << 20, log_bytes: 1 << 20, capacity_bytes: 64 << 20, ..StoreConfig::default() }
}

fn secret() -> Bytes {
    Bytes::from(SECRET.repeat(4096 / SECRET.len()))
}

fn places_of_secret(bytes: &[u8]) -> usize {
    bytes.chunks_exact(4096).filter(|block| block.starts_with(SECRET)).count()
}

fn on(media: &SimMedia) -> usize {
    let image = media.image();
    let mut block = vec![0; 4096];
    let is_there = |number: &u64| {
        image.read(number * 4096, &mut block);
        places_of_secret(&block) > 0
    };
    image.filled().into_iter().filter(is_there).count()
}

async fn write_secret(lun: &LunHandle) {
    for block in 0..64 {
        lun.write(Lba(block * 8), secret()).await.unwrap();
    }
    lun.flush().await.unwrap();
}

#[tokio::test]
async fn overwritten_and_discarded_blocks_are_wiped_and_shared_ones_stay() {
    let media = SimMedia::default();
    let pool = Arc::new(StorePool::create_on(media.clone(), &config()).unwrap());
    let lun = pool.create(LunId::random(), LENGTH).await.unwrap();
    write_secret(&lun).await;
    write_secret(&lun).await;
    assert_eq!(on(&media), 128, "once more for what was written over");
    lun.wipe_unused().await.unwrap();
    assert_eq!(on(&media), 64, "what the LUN has stays");
    assert_eq!(lun.read(Lba(63 * 8), BlockCount(8)).await.unwrap(), secret());

    let (set, shadow) = (ShadowSetId(uuid::Uuid::new_v4()), LunId::random());
    pool.prepare(set, &[ShadowMember { source: lun.id(), shadow }]).await.unwrap();
    pool.commit(set, Duration::from_secs(10)).await.unwrap();
    lun.discard(Lba(0), LENGTH).await.unwrap();
    lun.wipe_unused().await.unwrap();
    assert_eq!(on(&media), 64, "the shadow LUN has them");
    assert_eq!(pool.open(shadow).unwrap().read(Lba(8), BlockCount(8)).await.unwrap(), secret());

    // What a token would bring back counts, too.
    let pin = pool.open(shadow).unwrap().pin().await.unwrap();
    pool.delete(shadow).await.unwrap();
    lun.wipe_unused().await.unwrap();
    assert_eq!(on(&media), 64);
    drop(pin);
    lun.wipe_unused().await.unwrap();
    assert_eq!(on(&media), 0);
    assert_eq!(lun.read(Lba(0), LENGTH).await.unwrap(), vec![0; 2 << 20]);
    pool.close().await.unwrap();
    assert_clean(&media.image(), "a pool that was wiped");
}

#[tokio::test]
async fn others_write_while_it_is_wiped() {
    let media = SimMedia::default();
    let pool = StorePool::create_on(media.clone(), &config()).unwrap();
    let (old, new) = (LunId::random(), LunId::random());
    let old = pool.create(old, LENGTH).await.unwrap();
    let new = pool.create(new, LENGTH).await.unwrap();
    write_secret(&old).await;
    old.discard(Lba(0), LENGTH).await.unwrap();
    let writes = async {
        for round in 0..8_u8 {
            for block in 0..64 {
                new.write(Lba(block * 8), Bytes::from(vec![round + 1; 4096])).await.unwrap();
            }
        }
    };
    let (wiped, ()) = tokio::join!(old.wipe_unused(), writes);
    wiped.unwrap();
    assert_eq!(on(&media), 0);
    assert_eq!(new.read(Lba(0), BlockCount(512)).await.unwrap(), vec![8; 512 * 512]);
    pool.close().await.unwrap();
    assert_clean(&media.image(), "a pool that was wiped under writes");
}

#[tokio::test]
async fn files_are_wiped_where_they_were_written_and_stay_sparse() {
    use std::os::unix::fs::MetadataExt as _;

    let folder = tempfile::tempdir().unwrap();
    for mode in [IoMode::Threads, IoMode::Buffered] {
        let path = folder.path().join(format!("{mode:?}"));
        drop(FileMedia::create(&path).unwrap());
        let pool = StorePool::create_on(FileMedia::open_as(&path, mode).unwrap(), &config()).unwrap();
        let lun = pool.create(LunId::random(), LENGTH).await.unwrap();
        write_secret(&lun).await;
        lun.discard(Lba(0), LENGTH).await.unwrap();
        lun.wipe_unused().await.unwrap();
        // Again, over what was forgotten.
        lun.wipe_unused().await.unwrap();
        pool.close().await.unwrap();
        drop((lun, pool));
        let content = std::fs::read(&path).unwrap();
        assert_eq!(places_of_secret(&content), 0, "{mode:?}");
        let taken = std::fs::metadata(&path).unwrap().blocks() * 512;
        assert!(taken < 16 << 20, "{mode:?}: {taken} of {} bytes are taken", content.len());
    }
}
