//! `AbortSnapshots`, loading and unloading: section 9.12.

use std::thread;

use lunshadow_control::ProblemCode;
use lunshadow_provider::EventId;
use lunshadow_vss::{CreateSnapshotSet, HResult, HardwareProvider, SnapshotSetId, SnapshotState};
use uuid::Uuid;

use crate::fake_array::{Fault, Moment, Stage};
use crate::rig::{NEXT_SET, Rig, SET, Until, foreign, lun, luns, shadow_set};

#[test]
fn p_113_p_123_an_abort_removes_every_object_of_an_unfinished_set() {
    for until in Until::ALL.into_iter().filter(|until| until.is_unfinished()) {
        let rig = Rig::new(2);
        rig.create(SET, &luns(2), until);
        assert_eq!(rig.provider.abort_snapshots(SET), Ok(()), "{until:?}");
        assert_eq!(rig.array.ledger().unfinished(), [], "{until:?}");
        assert_eq!(rig.array.ledger().shadows(), [], "{until:?}");
        assert_eq!(rig.provider.current_set(), Some((SET, SnapshotState::ABORTED)));
        assert_eq!(rig.take_events(), []);
        rig.create(NEXT_SET, &luns(2), Until::Created);
    }
}

#[test]
fn p_044_p_113_an_abort_overtakes_every_step() {
    let steps = [
        (Until::Begun, "prepare"),
        (Until::Prepared, "wait_prepared"),
        (Until::Prepared, "open_commit_channel"),
        (Until::PreCommitted, "arm"),
        (Until::Committed, "commit"),
        (Until::PostCommitted, "keep"),
    ];
    for ((step, request), moment) in
        steps.into_iter().flat_map(|step| [(step, Moment::BeforeTheWork), (step, Moment::BeforeTheAnswer)])
    {
        let case = format!("{request}, {moment:?}");
        let rig = Rig::new(1);
        if let Some(before) = Until::ALL.into_iter().rfind(|before| *before < step) {
            rig.create(SET, &luns(1), before);
        }
        rig.array.hold(Some((request, moment)));
        thread::scope(|scope| {
            let overtaken = scope.spawn(|| rig.step(SET, step));
            rig.array.await_waiting();
            assert_eq!(rig.provider.abort_snapshots(SET), Ok(()), "{case}");
            rig.array.hold(None);
            assert_eq!(overtaken.join().unwrap(), Err(HResult::VSS_E_PROVIDER_VETO), "{case}");
        });
        assert_eq!(rig.array.ledger().unfinished(), [], "{case}");
        assert_eq!(rig.array.ledger().shadows(), [], "{case}");
        assert_eq!(rig.provider.current_set(), Some((SET, SnapshotState::ABORTED)), "{case}");
        rig.begin(NEXT_SET, 1, &luns(1)).unwrap();
        assert_eq!(rig.take_errors().len(), 1, "{case}: one veto, one event");
    }
}

#[test]
fn p_114_an_abort_can_be_repeated_and_unknown_sets_are_harmless() {
    let rig = Rig::new(1);
    assert_eq!(rig.provider.abort_snapshots(SET), Ok(()), "without any set");
    rig.create(SET, &luns(1), Until::Committed);
    assert_eq!(rig.provider.abort_snapshots(SnapshotSetId(Uuid::from_u128(99))), Ok(()));
    assert_eq!(rig.array.ledger().shadows().len(), 1);
    for _ in 0..3 {
        assert_eq!(rig.provider.abort_snapshots(SET), Ok(()));
        assert_eq!(rig.array.ledger().shadows(), []);
    }
    assert_eq!(rig.take_events(), []);
}

#[test]
fn p_115_an_abort_of_another_set_does_not_disturb_the_current_one() {
    for until in Until::ALL {
        let rig = Rig::new(2);
        rig.create(SET, &[lun(1)], Until::Committed);
        rig.create(NEXT_SET, &[lun(2)], until);
        let ledger = rig.array.ledger();
        assert_eq!(rig.provider.abort_snapshots(SET), Ok(()));
        assert_eq!(rig.array.ledger(), ledger, "{until:?}");
        for step in Until::ALL.into_iter().filter(|step| *step > until) {
            rig.step(NEXT_SET, step).unwrap();
        }
    }
}

#[test]
fn p_015_p_115_an_abort_of_another_set_does_not_break_the_silence() {
    let rig = Rig::new(1);
    rig.create(SET, &luns(1), Until::PreCommitted);
    assert!(rig.delete(&foreign()).is_err());
    assert_eq!(rig.provider.abort_snapshots(NEXT_SET), Ok(()));
    assert_eq!(rig.take_events(), []);
}

#[test]
fn p_116_p_125_a_kept_set_survives_an_abort_and_is_listed_once() {
    for until in [Until::PostCommitted, Until::PreFinal, Until::Created] {
        let rig = Rig::new(1);
        rig.create(SET, &luns(1), until);
        rig.take_events();
        let ledger = rig.array.ledger();
        for _ in 0..2 {
            assert_eq!(rig.provider.abort_snapshots(SET), Ok(()), "{until:?}");
        }
        assert_eq!(rig.array.ledger(), ledger, "{until:?}");
        assert_eq!(rig.take_events(), [EventId::OrphanCandidate], "{until:?}");
    }
}

#[test]
fn p_116_a_kept_set_that_the_provider_failed_is_withdrawn() {
    type Failing = fn(&Rig);
    let failures: [Failing; 2] = [
        |rig| {
            rig.array.fail("targets", Fault::Unreachable);
            assert!(rig.targets(&luns(1)).is_err());
        },
        |rig| {
            let shadows = rig.targets(&luns(1)).unwrap();
            rig.array.fail("map", Fault::Refused(ProblemCode::LimitReached));
            assert!(rig.provider.locate_luns(&shadows).is_err());
        },
    ];
    for fail in failures {
        let rig = Rig::new(1);
        rig.create(SET, &luns(1), Until::PostCommitted);
        fail(&rig);
        rig.take_events();
        assert_eq!(rig.provider.abort_snapshots(SET), Ok(()));
        assert_eq!(rig.array.ledger().shadows(), []);
        assert_eq!(rig.provider.current_set(), Some((SET, SnapshotState::ABORTED)));
        assert_eq!(rig.take_events(), []);
        assert_eq!(rig.provider.abort_snapshots(SET), Ok(()));
    }
}

#[test]
fn p_116_a_set_that_somebody_has_seen_is_never_withdrawn() {
    let rig = Rig::new(1);
    rig.create(SET, &luns(1), Until::PostCommitted);
    let shadows = rig.targets(&luns(1)).unwrap();
    rig.provider.locate_luns(&shadows).unwrap();
    rig.array.fail("targets", Fault::Unreachable);
    assert!(rig.targets(&luns(1)).is_err());
    rig.array.take_calls();
    assert_eq!(rig.provider.abort_snapshots(SET), Ok(()));
    assert!(!rig.array.take_calls().contains(&"withdraw"));
    assert_eq!(rig.array.ledger().shadows().len(), 1);
}

#[test]
fn p_116_a_set_that_another_host_has_seen_is_kept_by_the_array() {
    let rig = Rig::new(1);
    rig.create(SET, &luns(1), Until::PostCommitted);
    let shadows = rig.targets(&luns(1)).unwrap();
    Rig::on(rig.array.clone()).provider.locate_luns(&shadows).unwrap();
    rig.array.fail("targets", Fault::Unreachable);
    assert!(rig.targets(&luns(1)).is_err());
    rig.take_events();
    assert_eq!(rig.provider.abort_snapshots(SET), Ok(()));
    assert_eq!(rig.take_events(), [EventId::OrphanCandidate]);
    assert_eq!(rig.array.ledger().shadows().len(), 1);
}

#[test]
fn p_116_a_failure_of_an_older_set_is_not_held_against_the_current_one() {
    let rig = Rig::new(1);
    rig.create(SET, &luns(1), Until::Created);
    let older = rig.targets(&luns(1)).unwrap();
    rig.create(NEXT_SET, &luns(1), Until::PostCommitted);
    rig.targets(&luns(1)).unwrap();
    rig.array.fail("map", Fault::Unreachable);
    assert!(rig.provider.locate_luns(&older).is_err());
    assert_eq!(rig.provider.abort_snapshots(NEXT_SET), Ok(()));
    assert_eq!(rig.array.ledger().sets[&shadow_set(NEXT_SET)].stage, Stage::Kept);
}

#[test]
fn an_abort_that_does_not_reach_the_array_is_made_up_for() {
    for until in Until::ALL.into_iter().filter(|until| until.is_unfinished()) {
        let rig = Rig::new(1);
        rig.create(SET, &luns(1), until);
        rig.array.fail("abort", Fault::Unreachable);
        assert_eq!(rig.provider.abort_snapshots(SET), Err(HResult::VSS_E_PROVIDER_VETO));
        assert_eq!(rig.take_errors(), [EventId::ArrayUnreachable]);
        assert_eq!(rig.array.ledger().unfinished(), [shadow_set(SET)]);
        rig.begin(NEXT_SET, 1, &luns(1)).unwrap();
        assert_eq!(rig.array.ledger().unfinished(), [shadow_set(NEXT_SET)], "{until:?}");
        assert_eq!(rig.array.ledger().shadows(), [], "{until:?}");
    }
}

#[test]
fn a_set_that_cannot_be_discarded_yet_is_reported_and_removed_later() {
    let rig = Rig::new(1);
    rig.create(SET, &luns(1), Until::Prepared);
    rig.array.fail_times("abort", Fault::Unreachable, 2);
    rig.begin(NEXT_SET, 1, &luns(1)).unwrap();
    assert_eq!(rig.take_events(), [EventId::RemovalPending]);
    rig.begin(NEXT_SET, 2, &luns(1)).unwrap();
    assert_eq!(rig.array.ledger().unfinished(), [shadow_set(NEXT_SET)]);
}

#[test]
fn p_117_unloading_by_force_removes_an_unfinished_set() {
    for until in Until::ALL {
        let rig = Rig::new(1);
        rig.create(SET, &luns(1), until);
        rig.take_events();
        assert_eq!(rig.provider.on_unload(true), Ok(()), "{until:?}");
        assert_eq!(rig.array.ledger().unfinished(), [], "{until:?}");
        assert_eq!(rig.array.ledger().shadows().len(), usize::from(!until.is_unfinished()), "{until:?}");
        assert_eq!(rig.provider.current_set(), None);
        assert_eq!(rig.take_errors(), []);
    }
}

#[test]
fn p_117_unloading_by_force_succeeds_without_the_array() {
    let rig = Rig::new(1);
    rig.create(SET, &luns(1), Until::Committed);
    rig.array.fail_times("abort", Fault::Unreachable, 2);
    assert_eq!(rig.provider.on_unload(true), Ok(()));
    assert_eq!(rig.take_events(), [EventId::RemovalPending]);
    assert_eq!(rig.provider.on_load(), Ok(()));
    assert_eq!(rig.array.ledger().unfinished(), [], "P-120: removed when it is loaded again");
}

#[test]
fn p_119_loading_and_unloading_changes_nothing() {
    let rig = Rig::new(1);
    let ledger = rig.array.ledger();
    for _ in 0..100 {
        assert_eq!(rig.provider.on_load(), Ok(()));
        assert_eq!(rig.provider.on_unload(false), Ok(()));
    }
    assert_eq!(rig.array.ledger(), ledger);
    rig.create(SET, &luns(1), Until::Created);
}

#[test]
fn p_120_a_process_that_begins_anew_finds_no_object_and_harms_nothing() {
    for until in Until::ALL {
        let rig = Rig::new(1);
        rig.create(SET, &luns(1), until);
        let fresh = Rig::on(rig.array.clone());
        let ledger = rig.array.ledger();
        for step in [Until::Prepared, Until::PreCommitted, Until::Committed, Until::PostCommitted] {
            assert_eq!(fresh.step(SET, step), Err(HResult::VSS_E_OBJECT_NOT_FOUND), "{step:?} after {until:?}");
        }
        assert_eq!(fresh.array.ledger(), ledger);
        assert_eq!(fresh.provider.abort_snapshots(SET), Ok(()));
        assert_eq!(fresh.array.ledger().unfinished(), [], "{until:?}");
        assert_eq!(fresh.array.ledger().shadows().len(), usize::from(!until.is_unfinished()), "{until:?}");
    }
}
