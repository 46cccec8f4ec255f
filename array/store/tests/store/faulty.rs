//! Each operation of a history on the medium fails in turn, once or from then on: nobody waits for ever, what was read is right, and what was
//! durable is there when the pool is opened again.
//!
//! `LUNSHADOW_STORE_SEED` is the first seed, `LUNSHADOW_STORE_SEEDS` the number of histories of each kind.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use lunshadow_lun::Pool as _;
use lunshadow_store::StorePool;
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};

use crate::check::assert_clean;
use crate::crash::from_environment;
use crate::foreign::runtime;
use crate::model::small_config;
use crate::sim_media::{Attempt, Image, Loss, SimMedia, after_power_cut};
use crate::tolerant::{Answer, Contents, Deed, Tolerant, contents};

/// No history takes that long. Whoever waits longer waits for ever.
const WATCHDOG: Duration = Duration::from_secs(120);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Which {
    Read,
    Write,
    Sync,
}

#[derive(Debug, Clone, Copy)]
struct Plan {
    which: Which,
    kind: io::ErrorKind,
    /// Every operation from the chosen one on fails, not only that.
    lasts: bool,
}

const PLANS: [Plan; 6] = [
    Plan { which: Which::Read, kind: io::ErrorKind::Other, lasts: false },
    Plan { which: Which::Write, kind: io::ErrorKind::Other, lasts: false },
    Plan { which: Which::Write, kind: io::ErrorKind::Other, lasts: true },
    Plan { which: Which::Write, kind: io::ErrorKind::StorageFull, lasts: false },
    Plan { which: Which::Sync, kind: io::ErrorKind::Other, lasts: false },
    Plan { which: Which::Sync, kind: io::ErrorKind::Other, lasts: true },
];

fn random_deed(random: &mut SmallRng) -> Deed {
    let (lun, at, to) = random.random();
    match random.random_range(0..16) {
        0..=5 => Deed::Write { lun, at, count: random.random_range(1..700) },
        6 | 7 => Deed::Discard { lun, at, count: random.random_range(1..700) },
        8..=10 => Deed::Snapshot { mask: lun },
        11 => Deed::Delete { lun },
        12 => Deed::Revert { from: lun, to },
        13 | 14 => Deed::Flush { lun },
        _ => Deed::Checkpoint,
    }
}

/// What came before the history, durable.
struct Before {
    image: Image,
    contents: Contents,
    stamps: u32,
}

async fn before() -> Before {
    let media = SimMedia::default();
    let pool = StorePool::create_on(media.clone(), &small_config(64)).unwrap();
    let mut world = Tolerant::new(pool, Contents::new(), 0);
    for deed in [
        Deed::Create,
        Deed::Create,
        Deed::Write { lun: 0, at: 400, count: 300 },
        Deed::Write { lun: 1, at: 0, count: 40 },
        Deed::Snapshot { mask: 3 },
        Deed::Write { lun: 2, at: 500, count: 30 },
    ] {
        world.act(deed).await;
    }
    world.act(Deed::Checkpoint).await;
    let (contents, stamps) = (world.now.clone(), world.stamps());
    drop(world);
    Before { image: media.image(), contents, stamps }
}

/// Lives a history with a fault at the operation number `at`. False if there are not so many operations.
async fn fail_at(before: &Before, seed: u64, plan: Plan, at: usize) -> bool {
    let what = format!("seed {seed}, {plan:?} at {at}");
    let media = SimMedia::with(before.image.clone());
    let pool = StorePool::open_on(media.clone(), &small_config(64)).unwrap();
    let start = media.image();
    media.clear_trace();
    let (count, struck) = (AtomicUsize::new(0), Arc::new(AtomicBool::new(false)));
    media.fail_when({
        let struck = Arc::clone(&struck);
        move |attempt| {
            let concerned = match attempt {
                Attempt::Read { .. } => plan.which == Which::Read,
                Attempt::Write { .. } => plan.which == Which::Write,
                Attempt::Sync => plan.which == Which::Sync,
                Attempt::SetLen => false,
            };
            let number = count.fetch_add(usize::from(concerned), Ordering::Relaxed);
            let strikes = concerned && (number == at || (plan.lasts && number > at));
            struck.fetch_or(strikes, Ordering::Relaxed);
            strikes.then(|| plan.kind.into())
        }
    });
    let mut world = Tolerant::new(pool, before.contents.clone(), before.stamps);
    let mut random = SmallRng::seed_from_u64(seed);
    for _ in 0..25 {
        let answer = world.act(random_deed(&mut random)).await;
        assert!(answer != Answer::Failed || struck.load(Ordering::Relaxed), "{what}: failed without a fault");
    }
    media.fail_no_more();
    // Whatever has happened, what is read is right.
    assert_eq!(contents(&world.pool).await, world.now, "{what}");
    let (possible, stamps) = (std::mem::take(&mut world.possible), world.stamps());
    drop(world);
    let trace = media.trace();
    let image = after_power_cut(&start, &trace, trace.len(), Loss::Random { seed });
    assert_clean(&image, &what);
    let pool = StorePool::open_on(SimMedia::with(image), &small_config(64)).unwrap();
    let found = contents(&pool).await;
    assert!(possible.contains(&found), "{what}: the pool holds something else afterwards");
    let mut world = Tolerant::new(pool, found, stamps);
    let write = Deed::Write { lun: 0, at: 300, count: 300 };
    let written = world.act(write).await;
    assert!(world.now.is_empty() || written == Answer::Done, "{what}: the pool does not go on");
    world.pool.close().await.unwrap();
    assert_eq!(contents(&world.pool).await, world.now, "{what}");
    struck.load(Ordering::Relaxed)
}

#[test]
fn a_fault_at_any_operation_loses_nothing_that_was_durable() {
    let seeds = from_environment("LUNSHADOW_STORE_SEEDS", 0);
    // In short runs every few operations are enough.
    let stride = if seeds == 0 { 11 } else { 1 };
    runtime().block_on(async {
        let before = before().await;
        let first = from_environment("LUNSHADOW_STORE_SEED", 11);
        for seed in first..first + seeds.max(1) {
            for plan in PLANS {
                let mut at = usize::try_from(seed).unwrap() % stride;
                let mut struck = 0;
                while tokio::time::timeout(WATCHDOG, fail_at(&before, seed, plan, at)).await.unwrap() {
                    at += stride;
                    struck += 1;
                }
                assert!(struck > 0, "seed {seed}, {plan:?}: no operation was concerned");
            }
        }
    });
}
