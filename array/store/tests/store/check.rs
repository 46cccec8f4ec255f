//! The offline check: clean pools are clean, damage is named exactly, and what follows from something else is repaired.

use lunshadow_lun::Pool as _;
use lunshadow_store::{CheckOptions, CheckReport, OpenError, Repair, StorePool, check_on};

use crate::foreign::{damaged_or_right, rich_world, runtime};
use crate::model::{Action, World, observe, small_config};
use crate::sim_media::{Image, SimMedia};

pub(crate) fn checked(image: &Image, options: &CheckOptions) -> CheckReport {
    check_on(SimMedia::with(image.clone()), options, &mut |_| ()).unwrap()
}

/// Checks the pool on a medium without changing that, and expects nothing to be found.
pub(crate) fn assert_clean(image: &Image, what: &str) {
    let report = checked(image, &CheckOptions::default());
    assert!(report.is_clean(), "{what}: {report:?}");
}

fn repairing() -> CheckOptions {
    CheckOptions { repair: true, ..CheckOptions::default() }
}

/// Repairs a copy of a pool; the report and the copy.
fn repaired(image: &Image) -> (CheckReport, SimMedia) {
    let media = SimMedia::with(image.clone());
    let report = check_on(media.clone(), &repairing(), &mut |_| ()).unwrap();
    (report, media)
}

#[test]
fn a_pool_is_clean_and_a_check_changes_nothing() {
    runtime().block_on(async {
        let (media, mut world) = rich_world().await;
        world.act(Action::Delete { lun: 1 }).await;
        drop(world.pool);
        let before = media.image();
        media.clear_trace();
        let mut steps = 0;
        let report = check_on(media.clone(), &CheckOptions::default(), &mut |_| steps += 1).unwrap();
        assert!(report.is_clean(), "{report:?}");
        assert!(media.trace().is_empty(), "a check wrote something");
        // What is deleted counts until it is given back, which is done in the background and may have come to its end.
        assert!((10..=11).contains(&report.luns), "{report:?}");
        assert!(steps > 10 && report.map_pages > 10 && report.data_blocks > 100, "{report:?}");
        // The smallest amount of memory leads to many walks, and to the same.
        let frugal = CheckOptions { memory_bytes: 1, ..CheckOptions::default() };
        let again = checked(&before, &frugal);
        assert_eq!(format!("{again:?}"), format!("{report:?}"));
    });
}

#[test]
fn a_check_names_exactly_the_blocks_that_cannot_be_read() {
    runtime().block_on(async {
        let (media, world) = rich_world().await;
        world.pool.close().await.unwrap();
        let image = media.image();
        let (mut named, mut copies) = (0, 0);
        for block in image.filled() {
            let mut flipped = image.clone();
            flipped.flip(block * 4096 + 77, 2);
            let report = checked(&flipped, &CheckOptions::default());
            let pool = StorePool::open_on(SimMedia::with(flipped), &small_config(4096)).unwrap();
            let found = damaged_or_right(&pool, &world).await;
            let mut expected = Vec::new();
            for damage in &report.damage {
                expected.extend((damage.at.0..damage.at.0 + damage.count.0).step_by(8).map(|at| (damage.lun, at)));
            }
            assert_eq!(found, expected, "block {block}: {report:?}");
            named += usize::from(!found.is_empty());
            copies += report.damaged_copies;
        }
        assert!(named > 50 && copies > 5, "{named} {copies}");
    });
}

/// The newest superblock's slot in an image.
fn newest_slot(image: &Image) -> u64 {
    let generation = |slot: u64| {
        let mut bytes = [0; 8];
        image.read(slot * 4096 + 40, &mut bytes);
        u64::from_le_bytes(bytes)
    };
    u64::from(generation(1) > generation(0))
}

fn entry(image: &Image, offset_bytes: u64) -> u64 {
    let mut bytes = [0; 8];
    image.read(offset_bytes, &mut bytes);
    u64::from_le_bytes(bytes) >> 28
}

/// Gives an entry the check that the block has which it refers to.
fn seal(image: &mut Image, offset_bytes: u64) {
    let block = entry(image, offset_bytes);
    let mut bytes = [0; 4096];
    image.read(block * 4096, &mut bytes);
    let sealed = (block << 28) | u64::from(crc32c::crc32c(&bytes) & 0xfff_ffff);
    image.write(offset_bytes, &sealed.to_le_bytes());
}

/// Changes the reference count of a block of the first region, with all checks made to fit.
fn forge_count(image: &mut Image, at: u64, change: impl Fn(u16) -> u16) {
    let slot = newest_slot(image);
    let level_2 = entry(image, slot * 4096 + 104);
    let level_1 = entry(image, level_2 * 4096);
    let counts = entry(image, level_1 * 4096);
    let mut count = [0; 2];
    image.read(counts * 4096 + at * 2, &mut count);
    image.write(counts * 4096 + at * 2, &change(u16::from_le_bytes(count)).to_le_bytes());
    seal(image, level_1 * 4096);
    copy(image, level_1, level_1 + 4);
    seal(image, level_2 * 4096);
    copy(image, level_2, level_2 + 4);
    seal(image, slot * 4096 + 104);
    let mut bytes = [0; 4096];
    image.read(slot * 4096, &mut bytes);
    let crc = crc32c::crc32c(&bytes[..4092]);
    image.write(slot * 4096 + 4092, &crc.to_le_bytes());
    copy(image, slot, slot + 4);
}

fn copy(image: &mut Image, from: u64, to: u64) {
    let mut bytes = [0; 4096];
    image.read(from * 4096, &mut bytes);
    image.write(to * 4096, &bytes);
}

/// A pool, and the places in the first region of a block that is free and of one that is used once.
async fn pool_with_places() -> (Image, World, u64, u64) {
    let (media, world) = rich_world().await;
    world.pool.close().await.unwrap();
    let image = media.image();
    let counts = {
        let level_2 = entry(&image, newest_slot(&image) * 4096 + 104);
        entry(&image, entry(&image, level_2 * 4096) * 4096)
    };
    let place = |wanted: u16| {
        (10..2048).rev().find(|at| {
            let mut count = [0; 2];
            image.read(counts * 4096 + at * 2, &mut count);
            u16::from_le_bytes(count) == wanted
        })
    };
    let (free, used) = (place(0).unwrap(), place(1).unwrap());
    (image, world, free, used)
}

#[test]
fn leaks_and_wrong_counts_are_found_and_repaired() {
    runtime().block_on(async {
        let (image, world, free, used) = pool_with_places().await;
        assert_clean(&image, "before");
        let mut wrong = image.clone();
        forge_count(&mut wrong, free, |_| 3);
        let report = checked(&wrong, &CheckOptions::default());
        assert_eq!((report.leaked_blocks, report.overcounted_blocks, report.undercounted_blocks), (1, 0, 0));
        forge_count(&mut wrong, used, |count| count + 1);
        let report = checked(&wrong, &CheckOptions::default());
        assert_eq!((report.leaked_blocks, report.overcounted_blocks, report.undercounted_blocks), (1, 1, 0));
        forge_count(&mut wrong, used, |_| 0);
        let report = checked(&wrong, &CheckOptions::default());
        assert_eq!((report.leaked_blocks, report.overcounted_blocks, report.undercounted_blocks), (1, 0, 1));
        assert!(report.is_repairable() && !report.is_clean() && report.damage.is_empty());

        let (report, media) = repaired(&wrong);
        assert_eq!(report.repair, Some(Repair::Done), "{report:?}");
        assert_clean(&media.image(), "after the repair");
        let pool = StorePool::open_on(media, &small_config(4096)).unwrap();
        assert_eq!(observe(&pool).await, world.model);
        let (_, again) = repaired(&image);
        let report = check_on(again, &repairing(), &mut |_| ()).unwrap();
        assert_eq!(report.repair, Some(Repair::NotNeeded));
    });
}

#[test]
fn counts_and_their_index_are_made_anew_from_the_maps() {
    runtime().block_on(async {
        let (image, world, ..) = pool_with_places().await;
        let level_2 = entry(&image, newest_slot(&image) * 4096 + 104);
        let level_1 = entry(&image, level_2 * 4096);
        let counts = entry(&image, level_1 * 4096);
        for lost in [vec![counts], vec![level_1, level_1 + 4], vec![level_2, level_2 + 4], vec![counts, level_2 + 4]] {
            let mut damaged = image.clone();
            lost.iter().for_each(|block| damaged.write(block * 4096, &[0x55; 4096]));
            let report = checked(&damaged, &CheckOptions::default());
            assert!(report.is_repairable() && report.damage.is_empty(), "{lost:?}: {report:?}");
            let opens = StorePool::open_on(SimMedia::with(damaged.clone()), &small_config(4096)).is_ok();
            assert_eq!(report.unopenable.is_none(), opens, "{lost:?}: {report:?}");
            let (report, media) = repaired(&damaged);
            assert_eq!(report.repair, Some(Repair::Done), "{lost:?}: {report:?}");
            assert_clean(&media.image(), "after the repair");
            let pool = StorePool::open_on(media.clone(), &small_config(4096)).unwrap();
            assert_eq!(observe(&pool).await, world.model, "{lost:?}");
            let mut world = World::continued(pool, world.model.clone(), 1 << 20);
            world.act(Action::Write { lun: 0, window: 0, at: 0, count: 60 }).await;
            world.act(Action::Snapshot { mask: 0xff }).await;
            world.delete_all().await;
        }
    });
}

#[test]
fn opening_brings_back_damaged_superblocks() {
    runtime().block_on(async {
        let (image, world, ..) = pool_with_places().await;
        for lost in [vec![0], vec![1], vec![4], vec![5], vec![0, 5]] {
            let mut damaged = image.clone();
            lost.iter().for_each(|block| damaged.flip(block * 4096 + 3000, 1));
            let media = SimMedia::with(damaged);
            let pool = StorePool::open_on(media.clone(), &small_config(4096)).unwrap();
            assert_eq!(observe(&pool).await, world.model, "{lost:?}");
            drop(pool);
            for slot in [0, 1] {
                let content = |block: u64| {
                    let mut bytes = [0; 4096];
                    media.image().read(block * 4096, &mut bytes);
                    bytes
                };
                assert_eq!(content(slot), content(slot + 4), "{lost:?}");
                let crc = crc32c::crc32c(&content(slot)[..4092]);
                assert_eq!(content(slot)[4092..], crc.to_le_bytes(), "{lost:?}");
            }
        }
    });
}

#[test]
fn nothing_is_freed_as_long_as_a_map_is_unreadable() {
    runtime().block_on(async {
        let (image, world, free, _) = pool_with_places().await;
        let mut wrong = image.clone();
        forge_count(&mut wrong, free, |_| 1);
        // The table's only page, with all its places and copies.
        let root = entry(&image, newest_slot(&image) * 4096 + 96);
        let lower = entry(&image, root * 4096);
        let places: Vec<u64> = (0..4).map(|at| entry(&image, lower * 4096 + at * 8)).collect();
        places.iter().for_each(|block| wrong.write(block * 4096, &[0x55; 4096]));
        let (report, media) = repaired(&wrong);
        assert_eq!(report.repair, Some(Repair::CountsUnknown), "{report:?}");
        assert!(report.metadata.iter().any(|damage| damage.what == "table of LUNs"), "{report:?}");
        assert!(report.leaked_blocks > 1, "what the lost LUNs have looks leaked");
        // With the table back, everything is there.
        let mut healed = media.image();
        for block in places {
            let mut bytes = [0; 4096];
            image.read(block * 4096, &mut bytes);
            healed.write(block * 4096, &bytes);
        }
        let pool = StorePool::open_on(SimMedia::with(healed), &small_config(4096)).unwrap();
        assert_eq!(observe(&pool).await, world.model);
    });
}

#[test]
fn what_is_no_pool_is_not_checked() {
    let refused = check_on(SimMedia::with(Image::zeros(1 << 24)), &CheckOptions::default(), &mut |_| ());
    assert!(matches!(refused, Err(OpenError::NotAPool)), "{refused:?}");
}
