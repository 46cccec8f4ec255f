//! The machine against the table in docs/vss_lifecycle.md, which is that of section 2.0.7: every call in every state, for the current set and for
//! another one.

use SnapshotState as S;
use uuid::Uuid;

use super::*;

const CURRENT: SnapshotSetId = SnapshotSetId(Uuid::from_u128(1));
const OTHER: SnapshotSetId = SnapshotSetId(Uuid::from_u128(2));

/// The states in the order in which a set passes through them; the columns of the table.
const STATES: [SnapshotState; 16] = [
    S::UNKNOWN,
    S::PREPARING,
    S::PROCESSING_PREPARE,
    S::PREPARED,
    S::PROCESSING_PRECOMMIT,
    S::PRECOMMITTED,
    S::PROCESSING_COMMIT,
    S::COMMITTED,
    S::PROCESSING_POSTCOMMIT,
    S::POSTCOMMITTED,
    S::PROCESSING_PREFINALCOMMIT,
    S::PREFINALCOMMITTED,
    S::PROCESSING_POSTFINALCOMMIT,
    S::CREATED,
    S::ABORTED,
    S::DELETED,
];

/// The page whose table the machine has to keep to. It says what its marks mean.
const PAGE: &str = include_str!("../../../../docs/vss_lifecycle.md");

/// The rows of the page's table: a call, which set, and a mark per state.
fn table() -> Vec<Vec<&'static str>> {
    let table = PAGE.split("```text\n").find(|part| part.starts_with("call  ")).expect("the page has the table");
    let (table, _) = table.split_once("```").expect("the table ends");
    table.lines().skip(4).filter(|line| !line.is_empty()).map(|line| line.split_whitespace().collect()).collect()
}

/// A machine whose current set is in a state.
const fn at(state: SnapshotState) -> Lifecycle {
    Lifecycle { current: Some((CURRENT, state)), sequence: 0 }
}

fn call_named(name: &str, set: SnapshotSetId) -> Call {
    match name {
        "BeginPrepare" => Call::BeginPrepareSnapshot(set),
        "EndPrepare" => Call::EndPrepareSnapshots(set),
        "PreCommit" => Call::PreCommitSnapshots(set),
        "Commit" => Call::CommitSnapshots(set),
        "PostCommit" => Call::PostCommitSnapshots(set),
        "PreFinalCommit" => Call::PreFinalCommitSnapshots(set),
        "PostFinalCommit" => Call::PostFinalCommitSnapshots(set),
        "Abort" => Call::AbortSnapshots(set),
        "GetTargetLuns" => Call::GetTargetLuns,
        "OnUnload" => Call::OnUnload,
        other => panic!("no call is named {other}"),
    }
}

fn mark(verdict: Verdict, state: SnapshotState) -> char {
    match verdict {
        Verdict::Proceed(_) => '>',
        Verdict::DiscardFirst { discarded: CURRENT, luns: ShadowLuns::Discard, .. } => 'D',
        Verdict::DiscardFirst { discarded: CURRENT, luns: ShadowLuns::Keep, .. } => 'K',
        Verdict::OutOfOrder { then: S::ABORTED, luns: ShadowLuns::Discard } => 'X',
        Verdict::OutOfOrder { then, luns: ShadowLuns::Keep } if then == state => 'V',
        Verdict::ObjectNotFound => 'N',
        Verdict::NotCurrent => '-',
        Verdict::Review => '?',
        other => panic!("no row of the table says {other:?}"),
    }
}

#[test]
fn every_call_in_every_state_is_answered_as_the_table_says() {
    let rows = table();
    assert_eq!(rows.len(), 18);
    for row in rows {
        let call = call_named(row[0], if row[1] == "other" { OTHER } else { CURRENT });
        let marks = &row[2..];
        assert_eq!(marks.len(), STATES.len(), "{call:?}");
        for (state, expected) in STATES.into_iter().zip(marks) {
            let machine = at(state);
            assert_eq!(mark(machine.verdict(call), state).to_string(), *expected, "{call:?} in {state}");
        }
    }
}

#[test]
fn without_a_current_set_only_a_new_one_proceeds() {
    let nothing = Lifecycle::new();
    assert_eq!(nothing.state(), S::UNKNOWN);
    let verdict = |name| nothing.verdict(call_named(name, CURRENT));
    assert_eq!(verdict("BeginPrepare"), Verdict::Proceed(nothing.ending(S::PREPARING)));
    for name in ["EndPrepare", "PreCommit", "Commit", "PostCommit"] {
        assert_eq!(verdict(name), Verdict::ObjectNotFound, "{name}");
    }
    for name in ["PreFinalCommit", "PostFinalCommit", "Abort"] {
        assert_eq!(verdict(name), Verdict::NotCurrent, "{name}");
    }
    assert_eq!(verdict("GetTargetLuns"), Verdict::OutOfOrder { then: S::UNKNOWN, luns: ShadowLuns::Keep });
    assert_eq!(verdict("OnUnload"), Verdict::Proceed(nothing.ending(S::UNKNOWN)));
}

/// The states during, after the success and after the failure of each step of a creation, in the order of the calls.
#[test]
fn a_creation_passes_through_the_states_of_the_table() {
    let steps: [(&str, [SnapshotState; 3]); 7] = [
        ("BeginPrepare", [S::PREPARING, S::PREPARING, S::PREPARING]),
        ("EndPrepare", [S::PROCESSING_PREPARE, S::PREPARED, S::ABORTED]),
        ("PreCommit", [S::PROCESSING_PRECOMMIT, S::PRECOMMITTED, S::ABORTED]),
        ("Commit", [S::PROCESSING_COMMIT, S::COMMITTED, S::ABORTED]),
        ("PostCommit", [S::PROCESSING_POSTCOMMIT, S::POSTCOMMITTED, S::ABORTED]),
        ("PreFinalCommit", [S::PROCESSING_PREFINALCOMMIT, S::PREFINALCOMMITTED, S::POSTCOMMITTED]),
        ("PostFinalCommit", [S::PROCESSING_POSTFINALCOMMIT, S::CREATED, S::PREFINALCOMMITTED]),
    ];
    let mut machine = Lifecycle::new();
    for (name, [during, succeeded, failed]) in steps {
        let Verdict::Proceed(transition) = machine.begin(call_named(name, CURRENT)) else { panic!("{name}") };
        assert_eq!(machine.state(), during);
        let mut failing = machine;
        assert!(failing.end(CURRENT, transition, false));
        assert_eq!(failing.state(), failed);
        assert!(machine.end(CURRENT, transition, true));
        assert_eq!(machine.state(), succeeded);
    }
}

#[test]
fn an_abort_in_between_makes_the_end_of_a_call_void() {
    let mut machine = at(S::PREPARING);
    let Verdict::Proceed(transition) = machine.begin(Call::EndPrepareSnapshots(CURRENT)) else { panic!("legal") };
    machine.begin(Call::AbortSnapshots(CURRENT));
    assert!(!machine.end(CURRENT, transition, true));
    assert!(machine.is_at(CURRENT, S::ABORTED));
}

#[test]
fn a_new_set_in_between_makes_the_end_of_a_call_void() {
    let mut machine = at(S::PRECOMMITTED);
    let Verdict::Proceed(transition) = machine.begin(Call::CommitSnapshots(CURRENT)) else { panic!("legal") };
    machine.begin(Call::BeginPrepareSnapshot(OTHER));
    assert!(!machine.end(CURRENT, transition, true));
    assert!(machine.is_at(OTHER, S::PREPARING));
}

/// The same set in the same state is not the same sequence.
#[test]
fn a_call_does_not_count_in_a_later_sequence_of_its_set() {
    let mut machine = at(S::PREPARING);
    let Verdict::Proceed(outlived) = machine.begin(Call::EndPrepareSnapshots(CURRENT)) else { panic!("legal") };
    machine.begin(Call::AbortSnapshots(CURRENT));
    machine.begin(Call::BeginPrepareSnapshot(CURRENT));
    let Verdict::Proceed(transition) = machine.begin(Call::EndPrepareSnapshots(CURRENT)) else { panic!("legal") };
    assert!(!machine.end(CURRENT, outlived, true));
    assert!(machine.end(CURRENT, transition, true));
}

#[test]
fn a_call_out_of_order_takes_effect_on_the_state() {
    let mut machine = at(S::PREPARED);
    machine.begin(Call::CommitSnapshots(CURRENT));
    assert!(machine.is_at(CURRENT, S::ABORTED));
    let mut kept = at(S::CREATED);
    kept.begin(Call::EndPrepareSnapshots(CURRENT));
    assert!(kept.is_at(CURRENT, S::CREATED));
}

#[test]
fn only_the_current_set_can_be_withdrawn() {
    let mut machine = at(S::POSTCOMMITTED);
    machine.withdrawn(OTHER);
    assert!(machine.is_at(CURRENT, S::POSTCOMMITTED));
    machine.withdrawn(CURRENT);
    assert!(machine.is_at(CURRENT, S::ABORTED));
}

#[test]
fn unloading_forgets_the_set() {
    let mut machine = at(S::PREPARED);
    machine.begin(Call::OnUnload);
    assert_eq!(machine.current(), None);
}
