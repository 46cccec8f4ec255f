//! Whatever a pool's file holds: a clean error, a damaged block, but never wrong data and never a panic.

use lunshadow_lun::{BlockCount, Lba, LunError, LunId, Pool as _};
use lunshadow_store::{OpenError, POOL_FILE, StorePool};
use proptest::prelude::{ProptestConfig, any, proptest};
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};

use crate::crash::cases;
use crate::model::{Action, World, mark_of, observe, small_config, small_pool, windows};
use crate::ordeal::put_through;
use crate::sim_media::{Attempt, Image, SimMedia};

const SUPERBLOCKS: [u64; 4] = [0, 1, 4, 5];
/// The first block behind the log in these pools.
const LOG_END_BLOCK: u64 = 8 + 64;

pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("two threads")
}

/// A pool with LUNs of all kinds, and shadows.
pub(crate) async fn rich_world() -> (SimMedia, World) {
    let (media, pool) = small_pool(4096);
    let mut world = World::new(pool);
    for length in 0..3 {
        world.act(Action::Create { length }).await;
    }
    for round in 0..6_u16 {
        for lun in 0..3 {
            for window in 0..4 {
                world.act(Action::Write { lun, window, at: round * 37, count: 60 }).await;
            }
        }
        if round % 2 == 1 {
            world.act(Action::Snapshot { mask: 7 }).await;
        }
    }
    (media, world)
}

/// Reads everything; damaged blocks are an answer, wrong ones are not. The LUNs and first sectors of the damaged ones, in order.
pub(crate) async fn damaged_or_right(pool: &StorePool, world: &World) -> Vec<(LunId, u64)> {
    let mut damaged = Vec::new();
    for (id, (length, content)) in &world.model.luns {
        let lun = pool.open(*id).unwrap();
        let mut requests = windows(*length);
        while let Some(request) = requests.pop() {
            match lun.read(Lba(request.start), BlockCount(request.end - request.start)).await {
                Ok(found) => {
                    for (number, sector) in request.zip(found.chunks_exact(512)) {
                        assert_eq!(mark_of(sector), content.get(&number).copied(), "sector {number} of {id}");
                    }
                }
                Err(LunError::Damaged { at }) => {
                    assert!(request.contains(&at.0), "{at} is not in the request");
                    damaged.push((*id, at.0 / 8 * 8));
                    // What is beside the damaged block is still to be read.
                    let block = at.0 / 8 * 8;
                    requests.extend(
                        [request.start..block, block + 8..request.end].into_iter().filter(|rest| !rest.is_empty()),
                    );
                }
                Err(error) => panic!("{error}"),
            }
        }
    }
    damaged.sort_unstable();
    damaged
}

#[test]
fn a_flipped_bit_in_any_block_is_never_wrong_data() {
    runtime().block_on(async {
        let (media, world) = rich_world().await;
        world.pool.close().await.unwrap();
        let image = media.image();
        let mut random = SmallRng::seed_from_u64(5);
        let (mut healed, mut damaged, mut unharmed) = (0, 0, 0);
        for block in image.filled() {
            let mut flipped = image.clone();
            flipped.flip(block * 4096 + random.random_range(0..4096), random.random_range(0..8));
            let media = SimMedia::with(flipped);
            let pool = StorePool::open_on(media.clone(), &small_config(4096))
                .unwrap_or_else(|error| panic!("one damaged block, {block}, keeps the pool from opening: {error}"));
            if !damaged_or_right(&pool, &world).await.is_empty() {
                assert!(holds_data(&image, block), "block {block} is metadata, which has a second copy");
                damaged += 1;
            } else if pool.healed_pages() > 0 {
                assert_eq!(pool.healed_pages(), 1);
                let content = |image: &Image| {
                    let mut bytes = [0; 4096];
                    image.read(block * 4096, &mut bytes);
                    bytes
                };
                assert_eq!(content(&media.image()), content(&image), "block {block}");
                healed += 1;
            } else {
                unharmed += 1;
            }
        }
        assert!(healed > 5 && damaged > 50 && unharmed > 0, "{healed} {damaged} {unharmed}");
    });
}

#[test]
fn an_unreadable_block_anywhere_is_like_a_damaged_one() {
    runtime().block_on(async {
        let (media, world) = rich_world().await;
        world.pool.close().await.unwrap();
        let image = media.image();
        let (mut refused, mut damaged, mut unharmed) = (0, 0, 0);
        for block in image.filled() {
            let media = SimMedia::with(image.clone());
            media.fail_when(move |attempt| match attempt {
                Attempt::Read { offset_bytes, len_bytes } => (offset_bytes..offset_bytes + len_bytes)
                    .contains(&(block * 4096))
                    .then(|| std::io::Error::other("an unreadable block")),
                _ => None,
            });
            match StorePool::open_on(media.clone(), &small_config(4096)) {
                Ok(pool) if damaged_or_right(&pool, &world).await.is_empty() => unharmed += 1,
                Ok(_) => {
                    assert!(holds_data(&image, block), "block {block} is metadata, which has a second copy");
                    damaged += 1;
                }
                // What the log held there is not known.
                Err(OpenError::Io(_)) if (8..LOG_END_BLOCK).contains(&block) => refused += 1,
                Err(error) => panic!("one unreadable block, {block}, keeps the pool from opening: {error}"),
            }
        }
        assert!(refused > 0 && damaged > 50 && unharmed > 10, "{refused} {damaged} {unharmed}");
        media.fail_when(|attempt| {
            matches!(attempt, Attempt::Read { .. }).then(|| std::io::Error::other("nothing can be read"))
        });
        let opened = StorePool::open_on(media, &small_config(4096)).map(drop);
        assert!(matches!(opened, Err(OpenError::Io(_))), "{opened:?}");
    });
}

/// Whether some sector of a block is one that a test wrote.
fn holds_data(image: &Image, block: u64) -> bool {
    let mut bytes = [0; 4096];
    image.read(block * 4096, &mut bytes);
    let written = |sector: &[u8]| sector[12] != 0 && sector[12..].iter().all(|byte| *byte == sector[12]);
    bytes.chunks_exact(512).any(written)
}

#[test]
fn a_map_page_without_a_whole_copy_is_damage_of_its_luns_only() {
    runtime().block_on(async {
        let (media, world) = rich_world().await;
        world.pool.close().await.unwrap();
        let image = media.image();
        // Map pages are the blocks of which there are two.
        let mut copies: std::collections::BTreeMap<Vec<u8>, Vec<u64>> = std::collections::BTreeMap::new();
        for block in image.filled().into_iter().filter(|block| *block > LOG_END_BLOCK && !holds_data(&image, *block)) {
            let mut bytes = vec![0; 4096];
            image.read(block * 4096, &mut bytes);
            copies.entry(bytes).or_default().push(block);
        }
        let (mut damaged, mut unharmed) = (0, 0);
        for blocks in copies.into_values().filter(|blocks| blocks.len() == 2) {
            let mut flipped = image.clone();
            blocks.iter().for_each(|block| flipped.flip(block * 4096 + 16, 1));
            match StorePool::open_on(SimMedia::with(flipped), &small_config(4096)) {
                Ok(pool) if damaged_or_right(&pool, &world).await.is_empty() => unharmed += 1,
                Ok(_) => damaged += 1,
                // The two copies of a page of the index of regions, or of the table of LUNs or its index.
                Err(OpenError::Damaged { what: "index of regions" | "table of LUNs", .. }) => {}
                Err(error) => panic!("blocks {blocks:?}: {error}"),
            }
        }
        assert!(damaged > 5, "{damaged} {unharmed}");
    });
}

#[test]
fn losing_the_newest_superblock_is_noticed() {
    runtime().block_on(async {
        let (media, mut world) = rich_world().await;
        world.act(Action::Checkpoint).await;
        world.act(Action::Write { lun: 0, window: 0, at: 0, count: 1 }).await;
        world.act(Action::Flush { lun: 0 }).await;
        let image = media.image();
        let newest = {
            let generation = |block: u64| {
                let mut bytes = [0; 8];
                image.read(block * 4096 + 40, &mut bytes);
                u64::from_le_bytes(bytes)
            };
            if generation(0) > generation(1) { [0, 4] } else { [1, 5] }
        };
        let mut lost = image.clone();
        newest.iter().for_each(|block| lost.write(block * 4096, &[0; 4096]));
        let opened = StorePool::open_on(SimMedia::with(lost), &small_config(4096));
        assert!(matches!(opened, Err(OpenError::DamagedSuperblocks)));

        let mut one_copy = image;
        one_copy.write(newest[0] * 4096, &[0; 4096]);
        let pool = StorePool::open_on(SimMedia::with(one_copy), &small_config(4096)).unwrap();
        assert_eq!(observe(&pool).await, world.model);
    });
}

/// A superblock field that was changed, with the checksum made to fit.
fn forged(image: &Image, offset_bytes: u64, value: &[u8]) -> Image {
    let mut image = image.clone();
    for block in SUPERBLOCKS {
        let mut bytes = [0; 4096];
        image.read(block * 4096, &mut bytes);
        let at = usize::try_from(offset_bytes).expect("in the block");
        bytes[at..at + value.len()].copy_from_slice(value);
        let crc = crc32c::crc32c(&bytes[..4092]);
        bytes[4092..].copy_from_slice(&crc.to_le_bytes());
        image.write(block * 4096, &bytes);
    }
    image
}

#[test]
fn newer_versions_and_unknown_features_are_refused() {
    let (media, pool) = small_pool(64);
    drop(pool);
    let open = |image| StorePool::open_on(SimMedia::with(image), &small_config(64)).map(drop);
    let newer = open(forged(&media.image(), 8, &[4]));
    assert!(matches!(newer, Err(OpenError::UnsupportedVersion { found: 4, supported: 3 })), "{newer:?}");
    let featured = open(forged(&media.image(), 16, &[4]));
    assert!(matches!(featured, Err(OpenError::UnknownFeatures { bits: 4 })), "{featured:?}");
    open(media.image()).unwrap();
}

#[test]
fn directories_without_a_pool_and_pools_in_use_are_told_apart() {
    runtime().block_on(async {
        let directory = tempfile::tempdir().unwrap();
        let config = small_config(64);
        let open = || StorePool::open(directory.path(), &config).map(drop);
        assert!(matches!(open(), Err(OpenError::NotAPool)));
        let pool = StorePool::create(directory.path(), &config).unwrap();
        assert!(matches!(open(), Err(OpenError::InUse)));
        let lun = pool.create(LunId::random(), BlockCount(100)).await.unwrap();
        drop(pool);
        assert!(matches!(open(), Err(OpenError::InUse)), "a handle is still held");
        drop(lun);
        open().unwrap();
        assert!(matches!(StorePool::create(directory.path(), &config).map(drop), Err(OpenError::Exists)));
        std::fs::write(directory.path().join(POOL_FILE), "something else").unwrap();
        assert!(matches!(open(), Err(OpenError::NotAPool)));
        let tiny = lunshadow_store::StoreConfig { capacity_bytes: 1 << 20, ..config };
        let refused = StorePool::create(&directory.path().join("tiny"), &tiny).map(drop);
        assert!(matches!(refused, Err(OpenError::UnsupportedSize { .. })), "{refused:?}");
    });
}

async fn try_all(image: Image) {
    put_through(|| SimMedia::with(image.clone()), &small_config(64)).await;
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(64), ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_bytes_are_no_pool(bytes: Vec<u8>, len_blocks in 0_u64..3000) {
        let mut image = Image::zeros(len_blocks * 4096);
        image.write(0, &bytes);
        image.write(4096, &bytes);
        let opened = StorePool::open_on(SimMedia::with(image), &small_config(64)).map(drop);
        assert!(matches!(opened, Err(OpenError::NotAPool | OpenError::DamagedSuperblocks)), "{opened:?}");
    }

    #[test]
    fn a_forged_superblock_never_panics(offset in 24_u64..1200, value in any::<u64>(), small: bool) {
        runtime().block_on(async {
            let (media, world) = rich_world().await;
            drop(world);
            let value = if small { value % 5000 } else { value };
            let image = forged(&media.image(), offset, &value.to_le_bytes());
            try_all(image).await;
        });
    }

    #[test]
    fn a_pool_full_of_damage_never_panics(seed: u64, damages in 1..200) {
        runtime().block_on(async {
            let (media, world) = rich_world().await;
            if seed % 2 == 0 {
                world.pool.close().await.unwrap();
            }
            drop(world);
            let mut image = media.image();
            let blocks: Vec<u64> = image.filled().into_iter().filter(|block| !SUPERBLOCKS.contains(block)).collect();
            let mut random = SmallRng::seed_from_u64(seed);
            for _ in 0..damages {
                let block = blocks[random.random_range(0..blocks.len())];
                let garbage: Vec<u8> = (0..random.random_range(1..64)).map(|_| random.random()).collect();
                image.write(block * 4096 + random.random_range(0..4000), &garbage);
            }
            try_all(image).await;
        });
    }
}
