//! Contents that are kept for copies, and blocks that lie at several places.

use bytes::Bytes;
use lunshadow_lun::{BlockCount, Lba, LunId, Pool as _, copy_blocks};
use lunshadow_store::{StoreConfig, StorePool};

use crate::check::assert_clean;
use crate::sim_media::SimMedia;

fn config() -> StoreConfig {
    StoreConfig { cache_bytes: 4 << 20, log_bytes: 1 << 20, capacity_bytes: 128 << 20, ..StoreConfig::default() }
}
/// 4 MiB and a physical block.
const LENGTH: BlockCount = BlockCount(8192 + 8);

fn pool() -> (SimMedia, StorePool) {
    let media = SimMedia::default();
    let pool = StorePool::create_on(media.clone(), &config()).expect("a medium in memory");
    (media, pool)
}

fn pattern(seed: u8, len: usize) -> Bytes {
    (0..len).map(|at| seed ^ at.to_le_bytes()[0] ^ at.to_le_bytes()[1] | 1).collect()
}

#[tokio::test]
async fn a_copy_takes_no_space_for_data_and_moves_none() {
    let (media, pool) = pool();
    let (from, to) = (LunId::random(), LunId::random());
    let (from, to) = (pool.create(from, LENGTH).await.unwrap(), pool.create(to, LENGTH).await.unwrap());
    let content = pattern(1, 4 << 20);
    from.write(Lba(0), content.clone()).await.unwrap();
    let before = pool.usage().data_bytes;
    let pin = from.pin().await.unwrap().unwrap();
    from.write(Lba(0), pattern(2, 1 << 20)).await.unwrap();
    let moved = copy_blocks((&pin, Lba(0)), (&to, Lba(8)), BlockCount(8192)).await.unwrap();
    assert_eq!(moved, 0, "all of it was aligned");
    assert_eq!(pool.usage().data_bytes, before + (1 << 20), "only what was written anew has taken space");
    assert_eq!(to.read(Lba(8), BlockCount(8192)).await.unwrap(), content);
    drop(pin);
    to.flush().await.unwrap();
    pool.wait_reclaimed().await.unwrap();
    assert_eq!(to.read(Lba(8), BlockCount(8192)).await.unwrap(), content);
    assert_clean(&media.image(), "a pool with copies");
    for lun in [from.id(), to.id()] {
        pool.delete(lun).await.unwrap();
    }
    pool.wait_reclaimed().await.unwrap();
    assert_eq!(pool.usage().data_bytes, 0);
}

#[tokio::test]
async fn a_block_lies_at_many_places_and_is_copied_once_there_are_too_many() {
    let (media, pool) = pool();
    let lun = pool.create(LunId::random(), LENGTH).await.unwrap();
    let block = pattern(7, 4096);
    lun.write(Lba(0), block.clone()).await.unwrap();
    let mut moved = 0;
    for place in 1..1000 {
        moved += copy_blocks((&lun, Lba(0)), (&lun, Lba(place * 8)), BlockCount(8)).await.unwrap();
    }
    assert_eq!(moved, (1000 - 256) * 4096, "256 places share the first block");
    lun.discard(Lba(0), BlockCount(8)).await.unwrap();
    for place in 1..1000 {
        assert_eq!(lun.read(Lba(place * 8), BlockCount(8)).await.unwrap(), block, "place {place}");
    }
    lun.flush().await.unwrap();
    assert_clean(&media.image(), "a block at many places");
    drop(lun);
    drop(pool);
    let pool = StorePool::open_on(SimMedia::with(media.image()), &config()).unwrap();
    let lun = pool.luns()[0].lun;
    let lun = pool.open(lun).unwrap();
    for place in 1..1000 {
        assert_eq!(lun.read(Lba(place * 8), BlockCount(8)).await.unwrap(), block, "place {place} after reopening");
    }
    pool.delete(lun.id()).await.unwrap();
    pool.wait_reclaimed().await.unwrap();
    assert_eq!(pool.usage().data_bytes, 0);
}

#[tokio::test]
async fn what_is_kept_for_copies_goes_with_the_process() {
    let (media, pool) = pool();
    let lun = pool.create(LunId::random(), LENGTH).await.unwrap();
    lun.write(Lba(0), pattern(1, 1 << 20)).await.unwrap();
    let pins = [lun.pin().await.unwrap().unwrap(), lun.pin().await.unwrap().unwrap()];
    lun.write(Lba(0), pattern(2, 1 << 20)).await.unwrap();
    // One pin is part of a checkpoint, the other only of the log.
    pool.close().await.unwrap();
    let late = lun.pin().await.unwrap().unwrap();
    lun.write(Lba(0), pattern(3, 1 << 20)).await.unwrap();
    lun.flush().await.unwrap();
    let image = media.image();
    assert_clean(&image, "a pool with contents that are kept");
    let again = StorePool::open_on(SimMedia::with(image), &config()).unwrap();
    again.wait_reclaimed().await.unwrap();
    assert_eq!(again.luns().len(), 1);
    assert_eq!(again.usage().data_bytes, 1 << 20, "what was kept is given back");
    let found = again.open(lun.id()).unwrap().read(Lba(0), BlockCount(2048)).await.unwrap();
    assert_eq!(found, pattern(3, 1 << 20));
    // In the pool that goes on, they are still there.
    for (pin, seed) in pins.iter().zip([1, 1]).chain([(&late, 2)]) {
        assert_eq!(pin.read(Lba(0), BlockCount(2048)).await.unwrap(), pattern(seed, 1 << 20));
    }
}
