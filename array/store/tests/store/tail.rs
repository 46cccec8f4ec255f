//! A process that is killed behind any step leaves all that was answered to the next one.
//!
//! `LUNSHADOW_STORE_STEPS` is the number of steps of a history, `LUNSHADOW_STORE_SEED` the first seed, `LUNSHADOW_STORE_SEEDS` how many
//! histories there are.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rand::SeedableRng as _;
use rand::rngs::SmallRng;

use lunshadow_lun::{BlockCount, Lba, LunId, Pool as _};
use lunshadow_store::{CheckOptions, IoMode, POOL_FILE, StoreConfig, StorePool, check};

use crate::check::assert_clean;
use crate::crash::{from_environment, random_action};
use crate::model::{Action, World, observe, small_config};
use crate::sim_media::{Image, SimMedia};

/// The only file in a folder.
fn file_in(folder: &Path) -> PathBuf {
    let mut files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let file = files.next().expect("there is a file");
    assert_eq!(files.next(), None);
    file
}

/// What a process leaves that is killed now: its file, and what the medium has. The file first: what gets to the medium meanwhile is then in both.
fn kill(media: &SimMedia, tail: &Path) -> (tempfile::TempDir, Image) {
    let left = tempfile::tempdir().unwrap();
    let file = file_in(tail);
    fs::copy(&file, left.path().join(file.file_name().unwrap())).unwrap();
    (left, media.image())
}

fn open(media: &SimMedia, config: &StoreConfig, tail: &Path) -> StorePool {
    StorePool::open_outliving_on(media.clone(), config, Some(tail)).unwrap()
}

async fn empty_pool(config: &StoreConfig) -> SimMedia {
    let media = SimMedia::default();
    StorePool::create_on(media.clone(), config).unwrap().close().await.unwrap();
    media
}

async fn live(seed: u64, is_lazy: bool) {
    let config = small_config(4096);
    let media = empty_pool(&config).await;
    let tail = tempfile::tempdir().unwrap();
    let pool = open(&media, &config, tail.path());
    media.be_lazy(is_lazy);
    let mut world = World::new(pool);
    let mut random = SmallRng::seed_from_u64(seed);
    let first = [Action::Create { length: 0 }, Action::Create { length: 1 }, Action::Create { length: 2 }];
    let later = std::iter::repeat_with(|| random_action(&mut random));
    let steps = usize::try_from(from_environment("LUNSHADOW_STORE_STEPS", 70)).unwrap();
    for (number, action) in first.into_iter().chain(later).take(steps).enumerate() {
        world.act(action).await;
        let (left, image) = kill(&media, tail.path());
        let media = SimMedia::with(image);
        let pool = open(&media, &config, left.path());
        let found = observe(&pool).await;
        assert!(
            found == world.model,
            "seed {seed}, killed behind step {number}, {action:?}: {found:?} instead of {:?}",
            world.model
        );
        // Who is killed then leaves it all the same.
        let (left, image) = kill(&media, left.path());
        drop(pool);
        let media = SimMedia::with(image);
        let pool = open(&media, &config, left.path());
        assert!(observe(&pool).await == world.model, "seed {seed}, killed again behind step {number}, {action:?}");
        pool.close().await.unwrap();
        drop(pool);
        assert_eq!(fs::read_dir(left.path()).unwrap().count(), 0, "what was closed leaves nothing");
        assert_clean(&media.image(), &format!("seed {seed}, killed behind step {number}, {action:?}"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_is_killed_leaves_what_was_answered() {
    let (seed, seeds) = (from_environment("LUNSHADOW_STORE_SEED", 1), from_environment("LUNSHADOW_STORE_SEEDS", 2));
    for seed in seed..seed + seeds {
        for is_lazy in [false, true] {
            live(seed, is_lazy).await;
        }
    }
}

/// A pool with a LUN whose content was answered and not flushed, and what a process has left of it that is killed then.
async fn left_behind(config: &StoreConfig) -> (World, tempfile::TempDir, Image) {
    let media = empty_pool(config).await;
    let tail = tempfile::tempdir().unwrap();
    let mut world = World::new(open(&media, config, tail.path()));
    world.act(Action::Create { length: 1 }).await;
    media.be_lazy(true);
    for at in 0..10 {
        world.act(Action::Write { lun: 0, window: 0, at, count: 9 }).await;
    }
    let (left, image) = kill(&media, tail.path());
    (world, left, image)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_left_is_of_no_use_when_somebody_else_has_opened_the_pool() {
    let config = small_config(4096);
    let (world, left, image) = left_behind(&config).await;
    let media = SimMedia::with(image);
    let without = StorePool::open_on(media.clone(), &config).unwrap();
    let found = observe(&without).await;
    assert!(found != world.model, "something was not durable");
    drop(without);
    let pool = open(&media, &config, left.path());
    assert!(observe(&pool).await == found);
    pool.close().await.unwrap();
    drop(pool);
    assert_clean(&media.image(), "a medium whose pool was opened by another process");
}

/// Writes a file that nobody else may read.
fn write_alone(file: &Path, bytes: &[u8]) {
    let mut file = fs::File::options().create_new(true).write(true).mode(0o600).open(file).unwrap();
    file.write_all(bytes).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_is_not_as_it_was_written_does_no_harm() {
    let config = small_config(4096);
    let (world, left, image) = left_behind(&config).await;
    let file = file_in(left.path());
    let whole = fs::read(&file).unwrap();
    fs::remove_file(&file).unwrap();
    let mut taken_over = 0;
    for number in 0..64_usize {
        let mut bytes = whole.clone();
        match number {
            0 => bytes.truncate(5000),
            1 => bytes.clear(),
            // The header, the records, and the blocks.
            _ => bytes[[number * 8, 4096 + number * 8, (8 << 20) + 4096 + number * 8][number % 3]] ^= 0x11,
        }
        write_alone(&file, &bytes);
        let media = SimMedia::with(image.clone());
        let pool = open(&media, &config, left.path());
        taken_over += usize::from(observe(&pool).await == world.model);
        pool.close().await.unwrap();
        drop(pool);
        assert_clean(&media.image(), &format!("change {number}"));
    }
    assert!(taken_over > 10, "most of the file is not in use: {taken_over}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_check_counts_what_was_left() {
    let (folder, tail) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let directory = folder.path().join("pool");
    let config = small_config(4096);
    StorePool::create(&directory, &config).unwrap().close().await.unwrap();
    let pool = StorePool::open_outliving(&directory, &config, IoMode::default(), Some(tail.path())).unwrap();
    let lun = pool.create(LunId::random(), BlockCount(8 * 1024)).await.unwrap();
    lun.write(Lba(0), vec![7; 16 * 4096].into()).await.unwrap();
    // The copies are what is left of a process that is killed now. The file first, as above.
    let (left, copy) = (tempfile::tempdir().unwrap(), folder.path().join("copy"));
    let file = file_in(tail.path());
    let left_file = left.path().join(file.file_name().unwrap());
    fs::copy(&file, &left_file).unwrap();
    fs::create_dir(&copy).unwrap();
    fs::copy(directory.join(POOL_FILE), copy.join(POOL_FILE)).unwrap();
    let counted = |tail: Option<&Path>, repair: bool| {
        let options = CheckOptions { repair, ..CheckOptions::default() };
        let report = check(&copy, tail, &options, &mut |_| ()).unwrap();
        assert!(report.is_clean(), "{report:?}");
        report.data_blocks
    };
    assert_eq!(counted(None, false), 0, "nothing of it is durable");
    for _ in 0..2 {
        assert_eq!(counted(Some(left.path()), false), 16);
        assert!(left_file.exists(), "a check changes nothing");
    }
    assert_eq!(counted(Some(left.path()), true), 16);
    assert!(!left_file.exists(), "a repair has taken it over");
    assert_eq!(counted(None, false), 16);
}
