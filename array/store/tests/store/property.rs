//! Random histories against the model, with clean and unclean ends in between.
//!
//! `LUNSHADOW_STORE_STEPS` is the number of steps of a history, `PROPTEST_CASES` the number of histories. A failure prints the
//! shortest history that still fails, and its seed.

use proptest::prelude::{Just, ProptestConfig, Strategy, any, prop_oneof, proptest};
use proptest::test_runner::TestCaseError;

use lunshadow_lun::Pool as _;
use lunshadow_store::{StoreConfig, StorePool};

use crate::check::assert_clean;
use crate::crash::cases;
use crate::model::{Action, Model, World, observe, small_config};
use crate::sim_media::{Loss, SimMedia, after_power_cut};

#[derive(Debug, Clone, Copy)]
enum Step {
    Act(Action),
    /// The pool is closed and opened again.
    Reopen,
    /// The process dies: what was written stays.
    Die,
    /// The power fails: what was not synced is lost in part.
    PowerCut(u64),
}

fn action() -> impl Strategy<Value = Action> {
    let place = || (any::<u8>(), any::<u8>(), any::<u16>(), any::<u8>());
    prop_oneof![
        2 => any::<u8>().prop_map(|length| Action::Create { length }),
        14 => place().prop_map(|(lun, window, at, count)| Action::Write { lun, window, at, count }),
        2 => place().prop_map(|(lun, window, at, count)| Action::WriteZeros { lun, window, at, count }),
        3 => place().prop_map(|(lun, window, at, count)| Action::Discard { lun, window, at, count }),
        1 => any::<u8>().prop_map(|lun| Action::DiscardAll { lun }),
        3 => any::<u8>().prop_map(|lun| Action::Read { lun }),
        4 => any::<u8>().prop_map(|lun| Action::Flush { lun }),
        3 => any::<u8>().prop_map(|mask| Action::Snapshot { mask }),
        1 => any::<u8>().prop_map(|mask| Action::PrepareAndAbort { mask }),
        2 => any::<u8>().prop_map(|lun| Action::Delete { lun }),
        2 => (any::<u8>(), any::<u8>(), any::<u8>())
            .prop_map(|(from, to, second)| Action::Revert { from, to, second }),
        1 => (any::<u8>(), any::<u8>()).prop_map(|(lun, length)| Action::Grow { lun, length }),
        1 => any::<u8>().prop_map(|lun| Action::Promote { lun }),
        2 => any::<u8>().prop_map(|lun| Action::Pin { lun }),
        1 => Just(Action::Unpin),
        6 => (any::<u8>(), place()).prop_map(|(from, (to, window, at, count))| Action::Share { from, to, window, at, count }),
        1 => Just(Action::Checkpoint),
        1 => Just(Action::Reclaim),
        1 => any::<u8>().prop_map(|lun| Action::Wipe { lun }),
        2 => Just(Action::Defragment),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        30 => action().prop_map(Step::Act),
        1 => Just(Step::Reopen),
        1 => Just(Step::Die),
        2 => any::<u64>().prop_map(Step::PowerCut),
    ]
}

fn steps() -> usize {
    std::env::var("LUNSHADOW_STORE_STEPS").ok().and_then(|steps| steps.parse().ok()).unwrap_or(120)
}

fn history() -> impl Strategy<Value = Vec<Step>> {
    proptest::collection::vec(step(), 1..=steps())
}

/// Runs a history, and checks after each end that the pool holds what some step since the last durable one left.
fn run(history: &[Step], config: &StoreConfig, is_lazy: bool) -> Result<(), TestCaseError> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let mut media = SimMedia::default();
        media.be_lazy(is_lazy);
        let pool = StorePool::create_on(media.clone(), config).unwrap();
        pool.wait_reclaimed().await.unwrap();
        media.clear_trace();
        let mut base = media.image();
        let mut world = World::new(pool);
        world.act(Action::Create { length: 0 }).await;
        let mut possible: Vec<Model> = vec![world.model.clone()];
        for step in history {
            if let Step::Act(action) = step {
                let durable = world.act(*action).await;
                possible.append(&mut world.passed);
                if durable {
                    possible.clear();
                }
                possible.push(world.model.clone());
                continue;
            }
            if matches!(step, Step::Reopen) {
                world.pool.close().await.unwrap();
                possible = vec![world.model.clone()];
            }
            let stamps = world.stamps();
            let image = match step {
                Step::PowerCut(seed) => {
                    let trace = media.trace();
                    after_power_cut(&base, &trace, trace.len(), Loss::Random { seed: *seed })
                }
                _ => {
                    drop(world);
                    media.image()
                }
            };
            base = image.clone();
            media = SimMedia::with(image);
            media.be_lazy(is_lazy);
            let pool = StorePool::open_on(media.clone(), config).unwrap();
            let found = observe(&pool).await;
            assert!(possible.contains(&found), "after {step:?} the pool holds {found:?}, possible were {possible:?}");
            possible = vec![found.clone()];
            world = World::continued(pool, found, stamps);
        }
        assert_eq!(observe(&world.pool).await, world.model);
        assert_clean(&media.image(), "a medium of a pool that is in use");
        world.delete_all().await;
    });
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(24), ..ProptestConfig::default() })]

    #[test]
    fn a_pool_is_its_model(history in history(), is_lazy: bool) {
        run(&history, &small_config(4096), is_lazy)?;
    }

    #[test]
    fn a_pool_with_a_cache_of_64_pages_is_its_model(history in history()) {
        run(&history, &small_config(64), false)?;
    }

    /// Of some blocks what is read comes from memory, of others from the medium.
    #[test]
    fn a_pool_that_keeps_data_in_memory_is_its_model(history in history(), is_lazy: bool) {
        run(&history, &StoreConfig { read_cache_bytes: 1 << 20, ..small_config(4096) }, is_lazy)?;
    }
}
