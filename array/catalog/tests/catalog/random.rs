//! Random operations against what must always hold.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use lunshadow_catalog::{Clock, SetState};
use lunshadow_control::{LunId, ShadowSetId, ShadowTarget};
use proptest::prelude::{Just, Strategy, any, prop_oneof};
use proptest::test_runner::{Config, TestCaseError, TestRunner};

use crate::fake_pool::Fault;
use crate::setup::{COMMITTED_LEASE, PREPARED_LEASE, TestArray, set};

#[derive(Debug, Clone)]
enum Step {
    Prepare { set: u128, both: bool },
    Arm(u128),
    Commit(u128),
    Keep(u128),
    Abort(u128),
    Withdraw(u128),
    Map(u128),
    Unmap(u128),
    Release { set: u128, index: usize },
    CommitFails(bool),
    PrepareFails(bool),
    DeleteFails(bool),
    CommitHangs(bool),
    TimePasses { secs: u64 },
    Reap,
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    let set = 1..5_u128;
    prop_oneof![
        6 => (set.clone(), any::<bool>()).prop_map(|(set, both)| Step::Prepare { set, both }),
        6 => set.clone().prop_map(Step::Arm),
        8 => set.clone().prop_map(Step::Commit),
        4 => set.clone().prop_map(Step::Keep),
        2 => set.clone().prop_map(Step::Abort),
        1 => set.clone().prop_map(Step::Withdraw),
        4 => set.clone().prop_map(Step::Map),
        2 => set.clone().prop_map(Step::Unmap),
        2 => (set, 0..2_usize).prop_map(|(set, index)| Step::Release { set, index }),
        1 => any::<bool>().prop_map(Step::CommitFails),
        1 => any::<bool>().prop_map(Step::PrepareFails),
        1 => any::<bool>().prop_map(Step::DeleteFails),
        1 => any::<bool>().prop_map(Step::CommitHangs),
        1 => (1..4000_u64).prop_map(|secs| Step::TimePasses { secs }),
        1 => Just(Step::Reap),
        1 => Just(Step::Reopen),
    ]
}

/// What was ever observed, against which everything later is checked.
#[derive(Default)]
struct Seen {
    targets: BTreeMap<ShadowSetId, Vec<ShadowTarget>>,
    aborted: BTreeSet<ShadowSetId>,
}

#[test]
fn what_must_always_hold_holds() {
    let config = Config { cases: 96, failure_persistence: None, ..Config::default() };
    let strategy = proptest::collection::vec(step(), 1..60);
    TestRunner::new(config)
        .run(&strategy, |steps| {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
            runtime.block_on(play(steps))
        })
        .unwrap();
}

async fn play(steps: Vec<Step>) -> Result<(), TestCaseError> {
    let mut array = TestArray::new().await;
    let mut seen = Seen::default();
    for step in steps {
        array = take(array, &step).await;
        check(&array, &mut seen).map_err(|broken| TestCaseError::fail(format!("after {step:?}: {broken}")))?;
    }
    // In the end everything works again and all leases pass: only what is kept has shadow LUNs.
    array.pool.switch(|faults| *faults = Default::default());
    array.background().await;
    array.clock.advance(PREPARED_LEASE.max(COMMITTED_LEASE));
    array.catalog.reap(array.clock.now()).await.unwrap();
    array.background().await;
    check(&array, &mut seen).map_err(TestCaseError::fail)?;
    let kept = (1..5).map(set).filter(|set| array.catalog.set_state(array.host, *set).ok() == Some(SetState::Kept));
    let mut owned: Vec<LunId> = kept.flat_map(|set| array.shadows_of(set)).collect();
    owned.sort();
    if array.pool.shadows() != owned {
        return Err(TestCaseError::fail("a shadow LUN has no owner after all leases have passed"));
    }
    if array.pool.prepared_sets() != 0 {
        return Err(TestCaseError::fail("a preparation outlived its lease"));
    }
    Ok(())
}

/// Takes one step. Whether it is refused is for other tests; here only what holds afterwards counts.
async fn take(array: TestArray, step: &Step) -> TestArray {
    let (catalog, host) = (&array.catalog, array.host);
    let targets = |number| catalog.targets(host, set(number)).unwrap_or_default();
    let shadows = |number| -> Vec<LunId> { targets(number).iter().map(|target| target.shadow).collect() };
    let fault = |on: bool| on.then_some(Fault::OutOfSpace);
    match *step {
        Step::Prepare { set: number, both } => {
            let _ = catalog.prepare(host, set(number), &array.sources[..1 + usize::from(both)]).await;
        }
        Step::Arm(number) => drop(catalog.arm(host, set(number), Some(Duration::from_secs(1))).await),
        Step::Commit(number) => drop(catalog.commit(host, set(number)).await),
        Step::Keep(number) => drop(catalog.keep(host, set(number)).await),
        Step::Abort(number) => drop(catalog.abort(host, set(number)).await),
        Step::Withdraw(number) => drop(catalog.withdraw(host, set(number)).await),
        Step::Map(number) => drop(catalog.map(host, &shadows(number)).await),
        Step::Unmap(number) => drop(catalog.unmap(host, &shadows(number)).await),
        Step::Release { set: number, index } => {
            if let Some(shadow) = shadows(number).get(index) {
                let _ = catalog.release(host, *shadow).await;
            }
        }
        Step::CommitFails(on) => array.pool.switch(|faults| faults.commit_fails = fault(on)),
        Step::PrepareFails(on) => array.pool.switch(|faults| faults.prepare_fails = fault(on)),
        Step::DeleteFails(on) => array.pool.switch(|faults| faults.delete_fails = fault(on)),
        Step::CommitHangs(on) => array.pool.switch(|faults| faults.commit_hangs = on),
        Step::TimePasses { secs } => array.clock.advance(Duration::from_secs(secs)),
        Step::Reap => drop(catalog.reap(array.clock.now()).await),
        Step::Reopen => {
            // A process that stops takes the pool's hanging calls with it.
            array.pool.switch(|faults| faults.commit_hangs = false);
            array.background().await;
            return array.reopen().await;
        }
    }
    array
}

fn check(array: &TestArray, seen: &mut Seen) -> Result<(), String> {
    let mappings = array.catalog.mappings(array.host).unwrap();
    let luns: BTreeSet<LunId> = mappings.iter().map(|(_, lun)| *lun).collect();
    if luns.len() != mappings.len() || mappings.iter().any(|(number, _)| number.0 == 0) {
        return Err(format!("LUN numbers are wrong: {mappings:?}"));
    }
    let served: Vec<_> = array.inventory().luns.iter().map(|(number, lun)| (*number, lun.id())).collect();
    if served != mappings {
        return Err(format!("{served:?} are served where {mappings:?} are mapped"));
    }
    let mut reachable: BTreeSet<LunId> = array.sources.iter().copied().collect();
    for set in (1..5).map(set) {
        match array.catalog.set_state(array.host, set) {
            Ok(SetState::Aborted) => {
                seen.aborted.insert(set);
            }
            _ if seen.aborted.contains(&set) => return Err(format!("{set} came back from its end")),
            _ => {}
        }
        let Ok(targets) = array.catalog.targets(array.host, set) else { continue };
        reachable.extend(targets.iter().map(|target| target.shadow));
        let before = seen.targets.entry(set).or_insert_with(|| targets.clone());
        // Releases take targets away; nothing else changes them.
        if targets.iter().any(|target| !before.contains(target)) {
            return Err(format!("the targets of {set} were {before:?} and are {targets:?}"));
        }
        *before = targets;
    }
    match luns.is_subset(&reachable) {
        true => Ok(()),
        false => Err(format!("{luns:?} are mapped, and only {reachable:?} exist")),
    }
}
