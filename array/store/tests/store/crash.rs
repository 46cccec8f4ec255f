//! Power cuts: a history's trace is cut behind every operation, and what was not synced is lost, torn or reordered.
//!
//! `LUNSHADOW_STORE_STEPS` is the number of steps, `LUNSHADOW_STORE_SEED` the first seed, `LUNSHADOW_STORE_SEEDS` how many
//! histories there are.

use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};

use lunshadow_store::StorePool;

use crate::check::assert_clean;
use crate::model::{Action, Model, World, observe, small_config, small_pool};
use crate::sim_media::{Image, Loss, Operation, SimMedia, after_power_cut};

/// A step of a history, and when it was between.
struct Lived {
    /// What the pool held after it.
    model: Model,
    /// How long the trace was when it began.
    began: usize,
    /// How long it was when this step, and so all before it, were known to be durable.
    durable: Option<usize>,
}

struct History {
    seed: u64,
    cache_pages: u64,
    start: Image,
    trace: Vec<Operation>,
    lived: Vec<Lived>,
}

pub(crate) fn from_environment(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}

/// How many cases a test of random cases has: fewer than usual, unless somebody says how many.
pub(crate) fn cases(default: u32) -> u32 {
    u32::try_from(from_environment("PROPTEST_CASES", default.into())).expect("a number of cases")
}

pub(crate) fn random_action(random: &mut SmallRng) -> Action {
    let (lun, window, at, count) = random.random();
    match random.random_range(0..52) {
        0 | 1 => Action::Create { length: lun },
        2..=15 => Action::Write { lun, window, at, count },
        16 => Action::WriteZeros { lun, window, at, count },
        17 | 18 => Action::Discard { lun, window, at, count },
        19 => Action::DiscardAll { lun },
        20 => Action::PrepareAndAbort { mask: lun },
        21..=25 => Action::Flush { lun },
        26..=29 => Action::Snapshot { mask: lun },
        30..=32 => Action::Delete { lun },
        33..=35 => Action::Revert { from: window, to: lun, second: count },
        36 | 37 => Action::Grow { lun, length: window },
        38 => Action::Promote { lun },
        39 | 40 => Action::Defragment,
        41 | 42 => Action::Pin { lun },
        43 => Action::Unpin,
        44..=48 => Action::Share { from: lun ^ window, to: lun, window, at, count },
        49 | 50 => Action::Wipe { lun },
        _ => Action::Checkpoint,
    }
}

async fn live(seed: u64, cache_pages: u64, is_lazy: bool) -> History {
    let (media, pool) = small_pool(cache_pages);
    media.be_lazy(is_lazy);
    pool.wait_reclaimed().await.unwrap();
    let start = media.image();
    media.clear_trace();
    let mut world = World::new(pool);
    let mut lived = vec![Lived { model: Model::default(), began: 0, durable: Some(0) }];
    let mut random = SmallRng::seed_from_u64(seed);
    let first = [Action::Create { length: 0 }, Action::Create { length: 1 }, Action::Create { length: 2 }];
    let later = std::iter::repeat_with(|| random_action(&mut random));
    let steps = usize::try_from(from_environment("LUNSHADOW_STORE_STEPS", 70)).unwrap();
    for action in first.into_iter().chain(later).take(steps) {
        let began = media.trace_len();
        let durable = world.act(action).await.then(|| media.trace_len());
        lived.extend(world.passed.drain(..).map(|model| Lived { model, began, durable: None }));
        lived.push(Lived { model: world.model.clone(), began, durable });
    }
    drop(world);
    History { seed, cache_pages, start, trace: media.trace(), lived }
}

impl History {
    /// The models of which the pool must hold one after a cut.
    fn possible(&self, cut: usize) -> Vec<&Model> {
        let durable = self.lived.iter().rposition(|step| step.durable.is_some_and(|durable| durable <= cut)).unwrap();
        self.lived[durable..]
            .iter()
            .enumerate()
            .filter(|(number, step)| *number == 0 || step.began <= cut)
            .map(|(_, step)| &step.model)
            .collect()
    }

    fn open(&self, image: Image) -> (SimMedia, StorePool) {
        let media = SimMedia::with(image);
        let pool = StorePool::open_on(media.clone(), &small_config(self.cache_pages)).unwrap();
        (media, pool)
    }

    async fn check(&self, cut: usize, loss: Loss) {
        let what = format!("seed {}, cut behind {cut} of {}, {loss:?}", self.seed, self.trace.len());
        let image = after_power_cut(&self.start, &self.trace, cut, loss);
        assert_clean(&image, &what);
        let (media, pool) = self.open(image.clone());
        let recovery = media.trace();
        let found = observe(&pool).await;
        assert!(
            self.possible(cut).contains(&&found),
            "{what}: the pool holds {found:?}, possible were {:?}",
            self.possible(cut)
        );
        self.go_on(pool, found.clone()).await;

        // The power fails again while the pool recovers. Every eighth cut is enough to see all of recovery's steps.
        if cut.is_multiple_of(8) {
            for again in 0..recovery.len() {
                let image = after_power_cut(&image, &recovery, again, loss);
                let (_, pool) = self.open(image);
                assert_eq!(observe(&pool).await, found, "{what}, and again behind {again} of recovery");
            }
        }
    }

    /// After recovery everything works, and no space is lost.
    async fn go_on(&self, pool: StorePool, found: Model) {
        let mut world = World::continued(pool, found, 1 << 20);
        for at in 0..3 {
            world.act(Action::Write { lun: 0, window: 1, at: at * 50, count: 30 }).await;
        }
        world.act(Action::Snapshot { mask: 0xff }).await;
        world.act(Action::Write { lun: 1, window: 0, at: 0, count: 60 }).await;
        world.act(Action::Flush { lun: 0 }).await;
        world.act(Action::Delete { lun: 2 }).await;
        assert_eq!(observe(&world.pool).await, world.model, "seed {}: the pool did not go on", self.seed);
        world.delete_all().await;
    }
}

async fn cut_everywhere(first_seed: u64, cache_pages: u64, is_lazy: bool) {
    let first_seed = from_environment("LUNSHADOW_STORE_SEED", first_seed);
    for seed in first_seed..first_seed + from_environment("LUNSHADOW_STORE_SEEDS", 1) {
        let history = live(seed, cache_pages, is_lazy).await;
        for cut in 0..=history.trace.len() {
            history.check(cut, Loss::Nothing).await;
            history.check(cut, Loss::Everything).await;
            for random in 0..2 {
                let seed = (seed << 32) + (cut as u64) * 4 + random;
                history.check(cut, Loss::Random { seed }).await;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn power_cuts_lose_nothing_that_was_durable() {
    cut_everywhere(1, 4096, false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn power_cuts_lose_nothing_with_a_small_cache() {
    cut_everywhere(2, 64, false).await;
}

/// What was answered gets to the medium as late as possible, behind the records of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn power_cuts_lose_nothing_that_was_answered_early() {
    cut_everywhere(3, 4096, true).await;
}
