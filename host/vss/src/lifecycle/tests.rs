//! The machine against the table of section 2.0.7: every call in every state, for the current set and for another one.

use SnapshotState as S;
use uuid::Uuid;

use super::*;

const CURRENT: SnapshotSetId = SnapshotSetId(Uuid::from_u128(1));
const OTHER: SnapshotSetId = SnapshotSetId(Uuid::from_u128(2));

/// The states in the order in which a set passes through them; the columns of the table below.
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

/// A row per call, for the set that is current and for another one; a mark per state. `>` proceed; `D` discard the current set and
/// its LUNs first; `K` discard the set, keep its LUNs; `X` out of order, the set is aborted and its LUNs discarded; `V` out of order,
/// nothing changes; `N` object not found; `-` not current; `?` review. `p` before a state: the call that leads there or on runs.
const TABLE: &str = "
    call             set     Unknown        Prepared       Committed       Prefinalcommitted
                               Preparing      pPrecommit     pPostcommit       pPostfinal
                                 pPrepare       Precommitted   Postcommitted     Created
                                                  pCommit        pPrefinal         Aborted Deleted

    BeginPrepare     current   > > D D D D D D D   V V V V V   > >
    BeginPrepare     other     > D D D D D D D D   K K K K K   > >
    EndPrepare       current   V > X X X X X X X   V V V V V   V V
    EndPrepare       other     N N N N N N N N N   N N N N N   N N
    PreCommit        current   V X X > X X X X X   V V V V V   V V
    PreCommit        other     N N N N N N N N N   N N N N N   N N
    Commit           current   V X X X X > X X X   V V V V V   V V
    Commit           other     N N N N N N N N N   N N N N N   N N
    PostCommit       current   V X X X X X X > X   V V V V V   V V
    PostCommit       other     N N N N N N N N N   N N N N N   N N
    PreFinalCommit   current   V X X X X X X X X   > V V V V   V V
    PreFinalCommit   other     - - - - - - - - -   - - - - -   - -
    PostFinalCommit  current   V X X X X X X X X   V V > V V   V V
    PostFinalCommit  other     - - - - - - - - -   - - - - -   - -
    Abort            current   - > > > > > > > >   ? ? ? ? ?   > -
    Abort            other     - - - - - - - - -   - - - - -   - -
    GetTargetLuns    any       V V V V V V V V V   > > > > >   V V
    OnUnload         any       > D D D D D D D D   K K K K K   > >
";

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
    let rows: Vec<Vec<&str>> = TABLE.lines().skip(6).map(|line| line.split_whitespace().collect()).collect();
    let rows: Vec<_> = rows.into_iter().filter(|row| !row.is_empty()).collect();
    assert_eq!(rows.len(), 18);
    for row in rows {
        let call = call_named(row[0], if row[1] == "other" { OTHER } else { CURRENT });
        let marks = &row[2..];
        assert_eq!(marks.len(), STATES.len(), "{call:?}");
        for (state, expected) in STATES.into_iter().zip(marks) {
            let machine = Lifecycle { current: Some((CURRENT, state)) };
            assert_eq!(mark(machine.verdict(call), state).to_string(), *expected, "{call:?} in {state}");
        }
    }
}

#[test]
fn without_a_current_set_only_a_new_one_proceeds() {
    let nothing = Lifecycle::new();
    assert_eq!(nothing.state(), S::UNKNOWN);
    let verdict = |name| nothing.verdict(call_named(name, CURRENT));
    assert_eq!(verdict("BeginPrepare"), Verdict::Proceed(moving(S::PREPARING)));
    for name in ["EndPrepare", "PreCommit", "Commit", "PostCommit"] {
        assert_eq!(verdict(name), Verdict::ObjectNotFound, "{name}");
    }
    for name in ["PreFinalCommit", "PostFinalCommit", "Abort"] {
        assert_eq!(verdict(name), Verdict::NotCurrent, "{name}");
    }
    assert_eq!(verdict("GetTargetLuns"), Verdict::OutOfOrder { then: S::UNKNOWN, luns: ShadowLuns::Keep });
    assert_eq!(verdict("OnUnload"), Verdict::Proceed(moving(S::UNKNOWN)));
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
    let mut machine = Lifecycle { current: Some((CURRENT, S::PREPARING)) };
    let Verdict::Proceed(transition) = machine.begin(Call::EndPrepareSnapshots(CURRENT)) else { panic!("legal") };
    machine.begin(Call::AbortSnapshots(CURRENT));
    assert!(!machine.end(CURRENT, transition, true));
    assert!(machine.is_at(CURRENT, S::ABORTED));
}

#[test]
fn a_new_set_in_between_makes_the_end_of_a_call_void() {
    let mut machine = Lifecycle { current: Some((CURRENT, S::PRECOMMITTED)) };
    let Verdict::Proceed(transition) = machine.begin(Call::CommitSnapshots(CURRENT)) else { panic!("legal") };
    machine.begin(Call::BeginPrepareSnapshot(OTHER));
    assert!(!machine.end(CURRENT, transition, true));
    assert!(machine.is_at(OTHER, S::PREPARING));
}

#[test]
fn a_call_out_of_order_takes_effect_on_the_state() {
    let mut machine = Lifecycle { current: Some((CURRENT, S::PREPARED)) };
    machine.begin(Call::CommitSnapshots(CURRENT));
    assert!(machine.is_at(CURRENT, S::ABORTED));
    let mut kept = Lifecycle { current: Some((CURRENT, S::CREATED)) };
    kept.begin(Call::EndPrepareSnapshots(CURRENT));
    assert!(kept.is_at(CURRENT, S::CREATED));
}

#[test]
fn only_the_current_set_can_be_withdrawn() {
    let mut machine = Lifecycle { current: Some((CURRENT, S::POSTCOMMITTED)) };
    machine.withdrawn(OTHER);
    assert!(machine.is_at(CURRENT, S::POSTCOMMITTED));
    machine.withdrawn(CURRENT);
    assert!(machine.is_at(CURRENT, S::ABORTED));
}

#[test]
fn unloading_forgets_the_set() {
    let mut machine = Lifecycle { current: Some((CURRENT, S::PREPARED)) };
    machine.begin(Call::OnUnload);
    assert_eq!(machine, Lifecycle::new());
}
