//! `PreCommitSnapshots`, `CommitSnapshots`, `PostCommitSnapshots`: section 9.6, and the silence of P-15.

use std::time::Duration;

use lunshadow_control::{LunRole, ProblemCode, identity_of};
use lunshadow_provider::{EventId, lun_information};
use lunshadow_vss::{CreateSnapshotSet, HResult, SnapshotState};

use crate::fake_array::{Fault, Stage};
use crate::rig::{NEXT_SET, Rig, SET, Until, foreign, lun, luns, shadow_set, view};

#[test]
fn p_048_p_049_p_052_each_step_is_one_request_whatever_the_number_of_luns() {
    let rig = Rig::new(64);
    rig.create(SET, &luns(64), Until::Prepared);
    for (step, requests) in
        [(Until::PreCommitted, ["arm"]), (Until::Committed, ["commit"]), (Until::PostCommitted, ["keep"])]
    {
        rig.array.take_calls();
        rig.step(SET, step).unwrap();
        assert_eq!(rig.array.take_calls(), requests, "{step:?}");
    }
}

#[test]
fn p_015_p_050_a_failing_commit_says_nothing_until_writes_go_on() {
    for fault in [Fault::Unreachable, Fault::Refused(ProblemCode::DeadlinePassed), Fault::AnswerLost] {
        let rig = Rig::new(1);
        rig.create(SET, &luns(1), Until::PreCommitted);
        rig.array.take_calls();
        rig.array.fail("commit", fault);
        assert_eq!(rig.provider.commit_snapshots(SET), Err(HResult::VSS_E_PROVIDER_VETO));
        assert_eq!(rig.array.take_calls(), ["commit"], "nothing else is asked while writes are held");
        assert_eq!(rig.delete(&foreign()), Err(HResult::VSS_E_PROVIDER_VETO), "another call at the same time");
        assert_eq!(rig.take_events(), []);
        assert_eq!(rig.provider.abort_snapshots(SET), Ok(()));
        assert_eq!(rig.take_errors().len(), 2, "{fault:?}: one event per veto, P-14");
        assert_eq!(rig.array.ledger().shadows(), [], "{fault:?}");
    }
}

#[test]
fn p_015_the_events_of_a_commit_are_written_by_the_post_commit() {
    let rig = Rig::new(1);
    rig.create(SET, &luns(1), Until::Committed);
    assert_eq!(rig.delete(&foreign()), Err(HResult::VSS_E_PROVIDER_VETO));
    assert_eq!(rig.take_events(), []);
    rig.step(SET, Until::PostCommitted).unwrap();
    assert_eq!(rig.take_events(), [EventId::ForeignDisk]);
}

#[test]
fn p_015_events_are_not_lost_if_vss_never_comes_back() {
    let rig = Rig::new(1);
    rig.create(SET, &luns(1), Until::PreCommitted);
    rig.array.fail("commit", Fault::Unreachable);
    assert!(rig.provider.commit_snapshots(SET).is_err());
    rig.begin(NEXT_SET, 1, &luns(1)).unwrap();
    assert_eq!(rig.take_errors(), [EventId::ArrayUnreachable]);
    assert_eq!(rig.array.ledger().unfinished(), [shadow_set(NEXT_SET)]);
}

#[test]
fn p_014_p_015_p_017_a_panic_is_an_event_that_waits_for_writes_to_go_on() {
    let rig = Rig::new(1);
    rig.provider.record_panic("AreLunsSupported");
    assert_eq!(rig.take_events(), [EventId::Panicked]);
    rig.create(SET, &luns(1), Until::PreCommitted);
    rig.provider.record_panic("CommitSnapshots");
    rig.provider.record_panic("QueryStatus");
    assert_eq!(rig.take_events(), []);
    assert_eq!(rig.provider.abort_snapshots(SET), Ok(()));
    assert_eq!(rig.take_events(), [EventId::Panicked, EventId::Panicked]);
}

#[test]
fn p_051_a_commit_that_took_too_long_is_vetoed_and_removed() {
    let rig = Rig::new(1);
    rig.array.set_commit_takes(Duration::from_millis(8_001));
    rig.create(SET, &luns(1), Until::PreCommitted);
    assert_eq!(rig.provider.commit_snapshots(SET), Err(HResult::VSS_E_PROVIDER_VETO));
    assert_eq!(rig.array.ledger().shadows().len(), 1, "the array itself was content");
    assert_eq!(rig.take_events(), []);
    assert_eq!(rig.provider.abort_snapshots(SET), Ok(()));
    assert_eq!(rig.take_errors(), [EventId::CommitTooLate]);
    assert_eq!(rig.array.ledger().shadows(), []);
}

#[test]
fn p_051_a_late_commit_is_removed_without_an_abort_too() {
    let rig = Rig::new(1);
    rig.array.set_commit_takes(Duration::from_secs(9));
    rig.create(SET, &luns(1), Until::PreCommitted);
    assert!(rig.provider.commit_snapshots(SET).is_err());
    assert_eq!(rig.provider.post_commit_snapshots(SET, 1), Err(HResult::VSS_E_PROVIDER_VETO));
    rig.begin(NEXT_SET, 1, &luns(1)).unwrap();
    assert_eq!(rig.array.ledger().shadows(), []);
}

#[test]
fn p_051_a_commit_within_the_limit_counts() {
    let rig = Rig::new(1);
    rig.array.set_commit_takes(Duration::from_secs(8));
    rig.create(SET, &luns(1), Until::Created);
}

#[test]
fn p_015_p_051_a_slow_commit_is_a_warning_after_the_hold() {
    for (took_ms, events) in [(3_000, vec![]), (3_001, vec![EventId::CommitSlow])] {
        let rig = Rig::new(2);
        rig.array.set_commit_takes(Duration::from_millis(took_ms));
        rig.create(SET, &luns(2), Until::Committed);
        assert_eq!(rig.take_events(), []);
        rig.step(SET, Until::PostCommitted).unwrap();
        assert_eq!(rig.take_events(), events);
        rig.step(SET, Until::PreFinal).unwrap();
        rig.step(SET, Until::Created).unwrap();
        let texts = rig.take_texts();
        assert!(texts[0].contains(&format!(": 2 LUNs, committed in {took_ms} ms.")), "{texts:?}");
    }
}

#[test]
fn p_055_calls_out_of_order_veto_and_discard_the_set() {
    let steps = &Until::ALL[1..];
    for until in Until::ALL {
        for step in steps.iter().copied().filter(|step| *step as usize != until as usize + 1) {
            let rig = Rig::new(1);
            rig.create(SET, &luns(1), until);
            rig.take_events();
            assert_eq!(rig.step(SET, step), Err(HResult::VSS_E_PROVIDER_VETO), "{step:?} after {until:?}");
            assert_eq!(rig.provider.abort_snapshots(SET), Ok(()));
            assert_eq!(rig.take_errors(), [EventId::CallOutOfOrder], "{step:?} after {until:?}");
            let shadow_count = usize::from(!until.is_unfinished());
            assert_eq!(rig.array.ledger().shadows().len(), shadow_count, "{step:?} after {until:?}");
            assert_eq!(rig.array.ledger().unfinished(), [], "{step:?} after {until:?}");
            rig.create(NEXT_SET, &luns(1), Until::Created);
        }
    }
}

#[test]
fn p_055_a_commit_out_of_order_writes_no_event_and_asks_nothing() {
    let rig = Rig::new(1);
    rig.create(SET, &luns(1), Until::Prepared);
    rig.array.take_calls();
    assert!(rig.provider.commit_snapshots(SET).is_err());
    assert_eq!((rig.take_events(), rig.array.take_calls()), (vec![], vec![]));
}

#[test]
fn p_056_any_count_is_accepted() {
    for count in [0, 1, 64, i32::MAX, -1] {
        let rig = Rig::new(2);
        rig.create(SET, &luns(2), Until::Committed);
        assert_eq!(rig.provider.post_commit_snapshots(SET, count), Ok(()));
    }
}

#[test]
fn p_057_a_failed_commit_leaves_nothing_after_the_abort() {
    let rig = Rig::new(3);
    rig.create(SET, &luns(3), Until::PreCommitted);
    rig.array.fail("commit", Fault::AnswerLost);
    assert!(rig.provider.commit_snapshots(SET).is_err());
    assert_eq!(rig.provider.abort_snapshots(SET), Ok(()));
    assert_eq!(rig.array.ledger().shadows(), []);
    assert_eq!(rig.array.ledger().unfinished(), []);
}

#[test]
fn p_058_the_source_stays_what_it_is() {
    let rig = Rig::new(1);
    let canonical = lun_information(&identity_of(lun(1)));
    for step in Until::ALL {
        rig.step(SET, step).unwrap();
        let mut seen = view(lun(1));
        assert_eq!(rig.fill_in(&mut seen), (HResult::S_OK, true));
        assert!(seen.matches_strictly(&canonical));
        assert_eq!(rig.array.ledger().luns[&lun(1)], LunRole::Source);
    }
}

#[test]
fn a_post_commit_that_fails_removes_the_set() {
    for fault in [Fault::Unreachable, Fault::Refused(ProblemCode::Internal), Fault::AnswerLost] {
        let rig = Rig::new(1);
        rig.create(SET, &luns(1), Until::Committed);
        rig.array.fail("keep", fault);
        assert_eq!(rig.provider.post_commit_snapshots(SET, 1), Err(HResult::VSS_E_PROVIDER_VETO));
        assert_eq!(rig.take_errors().len(), 1, "{fault:?}");
        assert_eq!(rig.provider.current_set(), Some((SET, SnapshotState::ABORTED)));
        assert_eq!(rig.provider.abort_snapshots(SET), Ok(()));
        assert_eq!(rig.array.ledger().shadows(), [], "{fault:?}");
        assert_eq!(rig.array.ledger().sets[&shadow_set(SET)].stage, Stage::Aborted, "{fault:?}");
    }
}
