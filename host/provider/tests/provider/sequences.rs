//! Calls in any order, with an array that fails now and then, against the table in section 2.0.7.

use std::collections::HashSet;

use lunshadow_control::ProblemCode;
use lunshadow_provider::Severity;
use lunshadow_vss::{CreateSnapshotSet, HResult, HardwareProvider, Method, SnapshotSetId, SnapshotState, is_legal};
use proptest::prelude::*;
use uuid::Uuid;

use crate::fake_array::{Fault, Stage};
use crate::faults::REQUESTS;
use crate::rig::{Rig, Until, lun, luns, shadow_set, view};

#[derive(Clone, Debug)]
enum Op {
    Begin { set: u8, lun: u128 },
    Step { set: u8, step: Until },
    Targets,
    Locate,
    Delete,
    Abort { set: u8 },
    Unload,
    Fail { request: &'static str, fault: Fault },
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let set = 0..3_u8;
    let steps = proptest::sample::select(&Until::ALL[1..]);
    let faults = proptest::sample::select(vec![
        Fault::Unreachable,
        Fault::AnswerLost,
        Fault::Refused(ProblemCode::Internal),
        Fault::Refused(ProblemCode::OutOfSpace),
    ]);
    let op = prop_oneof![
        4 => (set.clone(), 1..4_u128).prop_map(|(set, lun)| Op::Begin { set, lun }),
        2 => (set.clone(), steps).prop_map(|(set, step)| Op::Step { set, step }),
        2 => Just(Op::Targets),
        1 => Just(Op::Locate),
        1 => Just(Op::Delete),
        2 => set.prop_map(|set| Op::Abort { set }),
        1 => Just(Op::Unload),
        2 => (proptest::sample::select(&REQUESTS[..]), faults).prop_map(|(request, fault)| Op::Fail { request, fault }),
    ];
    // Random steps seldom make a whole creation, so whole ones are mixed in.
    let creation = (0..3_u8, 1..4_u128, 1..8_usize).prop_map(|(set, lun, length)| {
        let steps = Until::ALL.into_iter().skip(1).map(move |step| Op::Step { set, step });
        std::iter::once(Op::Begin { set, lun }).chain(steps).take(length).collect::<Vec<_>>()
    });
    let piece = prop_oneof![3 => op.prop_map(|op| vec![op]), 1 => creation];
    proptest::collection::vec(piece, 1..20).prop_map(|pieces| pieces.concat())
}

/// VSS never uses a set id again after the set has ended, so each ended set is followed by a fresh id.
#[derive(Default)]
struct Ids {
    generation: [u128; 3],
}

impl Ids {
    fn set(&self, slot: u8) -> SnapshotSetId {
        SnapshotSetId(Uuid::from_u128(u128::from(slot) + 1 + (self.generation[usize::from(slot)] << 32)))
    }
}

fn run(rig: &Rig, ids: &mut Ids, op: &Op) -> Option<(Method, HResult)> {
    let code = |answer: Result<(), HResult>| answer.err().unwrap_or(HResult::S_OK);
    let shadow = || rig.array.ledger().shadows().first().copied().map(view);
    let done = match op {
        Op::Begin { set, lun: number } => {
            if rig.array.ledger().sets.get(&shadow_set(ids.set(*set))).is_some_and(|set| set.stage == Stage::Aborted) {
                ids.generation[usize::from(*set)] += 1;
            }
            (Method::BeginPrepareSnapshot, code(rig.begin(ids.set(*set), *number, &[lun(*number)])))
        }
        Op::Step { set, step } => {
            let method = match step {
                Until::Begun => Method::BeginPrepareSnapshot,
                Until::Prepared => Method::EndPrepareSnapshots,
                Until::PreCommitted => Method::PreCommitSnapshots,
                Until::Committed => Method::CommitSnapshots,
                Until::PostCommitted => Method::PostCommitSnapshots,
                Until::PreFinal => Method::PreFinalCommitSnapshots,
                Until::Created => Method::PostFinalCommitSnapshots,
            };
            (method, code(rig.step(ids.set(*set), *step)))
        }
        Op::Targets => (Method::GetTargetLuns, code(rig.targets(&luns(1)).map(drop))),
        Op::Locate => (Method::LocateLuns, code(rig.provider.locate_luns(&Vec::from_iter(shadow())))),
        Op::Delete => (Method::OnLunEmpty, code(rig.provider.on_lun_empty(None, shadow().as_ref()))),
        Op::Abort { set } => (Method::AbortSnapshots, code(rig.provider.abort_snapshots(ids.set(*set)))),
        Op::Unload => (Method::OnUnload, code(rig.provider.on_unload(true))),
        Op::Fail { request, fault } => {
            rig.array.fail(request, *fault);
            return None;
        }
    };
    Some(done)
}

fn is_unfinished(state: SnapshotState) -> bool {
    [SnapshotState::PREPARING, SnapshotState::PREPARED, SnapshotState::PRECOMMITTED, SnapshotState::COMMITTED]
        .contains(&state)
}

/// Whether `op` is an abort of another set than `current`.
fn aborts_other(op: &Op, ids: &Ids, current: SnapshotSetId) -> bool {
    matches!(op, Op::Abort { set } if ids.set(*set) != current)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    /// No sequence yields an illegal code; each veto has its event; a kept set stays unless the provider failed it; and when the array
    /// is well again, an abort or a new set leaves nothing of any unfinished set.
    #[test]
    fn p_012_p_014_p_040_p_082_p_113_random_calls(ops in ops()) {
        let (rig, mut ids) = (Rig::new(3), Ids::default());
        let (mut vetoes, mut errors) = (0, 0);
        let mut kept: HashSet<SnapshotSetId> = HashSet::new();
        for op in &ops {
            let before = rig.provider.current_set();
            let Some((method, code)) = run(&rig, &mut ids, op) else { continue };
            prop_assert!(is_legal(method, code), "{op:?}: {code}");
            vetoes += usize::from(code == HResult::VSS_E_PROVIDER_VETO);
            errors += usize::from(code.is_failure());
            match (method, rig.provider.current_set()) {
                (Method::PostCommitSnapshots, Some((set, _))) if code == HResult::S_OK => drop(kept.insert(set)),
                // From here on the set may be withdrawn.
                (Method::GetTargetLuns | Method::LocateLuns, Some((set, _))) if code.is_failure() => {
                    kept.remove(&set);
                }
                (Method::AbortSnapshots, Some((set, state))) if before == Some((set, state)) => {
                    prop_assert!(!is_unfinished(state) || aborts_other(op, &ids, set), "{op:?} left {state}");
                }
                _ => {}
            }
        }
        rig.array.heal();
        let last = SnapshotSetId(Uuid::from_u128(0xffff));
        rig.begin(last, 1, &luns(1)).expect("a healthy array");
        let ledger = rig.array.ledger();
        prop_assert_eq!(ledger.unfinished(), [shadow_set(last)]);
        for set in kept {
            prop_assert_eq!(ledger.sets[&shadow_set(set)].stage, Stage::Kept);
        }
        let written = rig.take_events().into_iter().filter(|id| id.severity() == Severity::Error).count();
        prop_assert!(vetoes <= written && written <= errors, "{vetoes} vetoes, {written} events, {errors} failures");
        rig.provider.abort_snapshots(last).expect("a healthy array");
        prop_assert_eq!(rig.array.ledger().unfinished(), []);
    }
}
