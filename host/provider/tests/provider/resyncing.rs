//! `ResyncLuns` and its object: section 9.11.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use lunshadow_control::{ProblemCode, ResyncState};
use lunshadow_provider::EventId;
use lunshadow_vss::{Async, AsyncStatus, HResult, HardwareProvider, LunInformation};

use crate::fake_array::{Fault, Moment};
use crate::rig::{RESYNC_LOST_AT_MOST, Rig, SET, Until, foreign, lun, luns, view, views};

const NO_TIME: Option<Duration> = Some(Duration::ZERO);

/// A rig with a complete set of `count` LUNs, whose resyncs run until they are ended; and its shadow LUNs.
fn running(count: u128) -> (Rig, Vec<LunInformation>) {
    let rig = Rig::new(count);
    rig.create(SET, &luns(count), Until::Created);
    let shadows = rig.targets(&luns(count)).unwrap();
    rig.array.set_resyncs_take();
    rig.take_events();
    (rig, shadows)
}

fn begin(rig: &Rig, shadows: &[LunInformation]) -> Arc<dyn Async> {
    let targets = views(&luns(u128::try_from(shadows.len()).unwrap()));
    Arc::from(rig.provider.resync_luns(shadows, &targets).unwrap())
}

#[test]
fn p_099_p_106_the_call_returns_at_once_and_the_object_follows() {
    let (rig, shadows) = running(3);
    let operation = begin(&rig, &shadows);
    assert_eq!(operation.query_status(), AsyncStatus::Pending);
    assert!(rig.array.ledger().reverted.is_empty());
    rig.array.end_resyncs(&ResyncState::Finished);
    assert_eq!(operation.wait(None), AsyncStatus::Finished);
    assert_eq!(operation.query_status(), AsyncStatus::Finished);
    let ledger = rig.array.ledger();
    let set = ledger.sets.values().next().unwrap();
    assert_eq!(ledger.reverted, set.members, "each LUN from its own shadow LUN");
    let texts = rig.take_texts();
    assert!(matches!(&texts[..], [text] if text.contains(&format!("LUN {} from shadow LUN", lun(2)))), "{texts:?}");
}

#[test]
fn p_099_an_array_that_is_done_at_once_needs_no_waiting() {
    let rig = Rig::new(1);
    rig.create(SET, &luns(1), Until::Created);
    let shadows = rig.targets(&luns(1)).unwrap();
    rig.take_events();
    let operation = begin(&rig, &shadows);
    assert_eq!(operation.query_status(), AsyncStatus::Finished);
    assert_eq!(operation.wait(None), AsyncStatus::Finished);
    drop(operation);
    assert_eq!(rig.take_events(), [EventId::ResyncFinished]);
    assert_eq!(rig.provider.on_unload(false), Ok(()));
}

#[test]
fn p_100_p_102_p_103_nothing_but_the_resync_is_asked_for_and_it_can_be_repeated() {
    let (rig, shadows) = running(1);
    let before = rig.array.ledger();
    for round in 1..=2 {
        rig.array.take_calls();
        let operation = begin(&rig, &shadows);
        rig.array.end_resyncs(&ResyncState::Finished);
        assert_eq!(operation.wait(None), AsyncStatus::Finished);
        let calls = rig.array.take_calls();
        let allowed = ["resolve", "start_resync", "resync_state"];
        assert!(calls.iter().all(|call| allowed.contains(call)), "round {round}: {calls:?}");
        let after = rig.array.ledger();
        assert_eq!(
            (after.luns, after.mapped, after.sets),
            (before.luns.clone(), before.mapped.clone(), before.sets.clone())
        );
    }
}

#[test]
fn p_099_p_105_what_does_not_fit_together_is_vetoed_at_once() {
    let (rig, shadows) = running(2);
    let targets = views(&luns(2));
    let mut contradicting = targets[0].clone();
    contradicting.serial_number = Some("0815".to_owned());
    let gone = view(lun(99));
    let cases: [(&[LunInformation], &[LunInformation], EventId); 9] = [
        (&[], &[], EventId::CallMalformed),
        (&shadows, &targets[..1], EventId::CallMalformed),
        (&shadows[..1], &[], EventId::CallMalformed),
        (&shadows, &[targets[0].clone(), targets[0].clone()], EventId::CallMalformed),
        (&targets[..1], &targets[1..], EventId::NotAShadowLun),
        (&[foreign()], &targets[..1], EventId::ForeignDisk),
        (&shadows[..1], &[foreign()], EventId::ForeignDisk),
        (&shadows[..1], &[gone], EventId::UnknownLun),
        (&shadows[..1], &[contradicting], EventId::ForeignDisk),
    ];
    for (shadows, targets, event) in cases {
        let answer = rig.provider.resync_luns(shadows, targets).map(drop);
        assert_eq!(answer, Err(HResult::VSS_E_PROVIDER_VETO), "{event:?}");
        assert_eq!(rig.take_events(), [event]);
    }
    assert!(!rig.array.take_calls().contains(&"start_resync"));
}

#[test]
fn p_099_a_pair_that_two_volumes_share_is_resynced_once() {
    let (rig, shadows) = running(1);
    let twice = [shadows[0].clone(), shadows[0].clone()];
    let operation = rig.provider.resync_luns(&twice, &views(&[lun(1), lun(1)])).unwrap();
    rig.array.end_resyncs(&ResyncState::Finished);
    assert_eq!(operation.wait(None), AsyncStatus::Finished);
    assert_eq!(rig.array.ledger().reverted.len(), 1);
}

#[test]
fn p_105_lack_of_space_is_named_by_the_call_itself() {
    let (rig, shadows) = running(1);
    rig.array.set_full();
    let answer = rig.provider.resync_luns(&shadows, &views(&luns(1))).map(drop);
    assert_eq!(answer, Err(HResult::VSS_E_INSUFFICIENT_STORAGE));
    assert_eq!(rig.take_events(), [EventId::OutOfSpace]);
    assert_eq!(rig.provider.on_unload(false), Ok(()), "nothing runs");
}

#[test]
fn p_107_a_later_failure_is_told_by_the_object() {
    let veto = HResult::VSS_E_PROVIDER_VETO;
    for (code, answered, event) in [
        (ProblemCode::Internal, veto, EventId::ArrayFailed),
        (ProblemCode::InUse, veto, EventId::LunInUse),
        (ProblemCode::OutOfSpace, HResult::VSS_E_INSUFFICIENT_STORAGE, EventId::OutOfSpace),
    ] {
        let (rig, shadows) = running(1);
        let operation = begin(&rig, &shadows);
        rig.array.end_resyncs(&ResyncState::Failed { code, detail: "it broke".to_owned() });
        assert_eq!(operation.wait(None), AsyncStatus::Failed(answered));
        assert_eq!(operation.cancel(), AsyncStatus::Failed(answered), "too late");
        assert_eq!(rig.take_events(), [event]);
    }
}

#[test]
fn p_108_waiting_is_for_any_time_and_for_any_number() {
    let (rig, shadows) = running(1);
    let operation = begin(&rig, &shadows);
    assert_eq!(operation.wait(NO_TIME), AsyncStatus::Pending);
    assert_eq!(operation.wait(Some(Duration::from_millis(1))), AsyncStatus::Pending);
    thread::scope(|scope| {
        let wait = |at_most| {
            let operation = &operation;
            scope.spawn(move || operation.wait(at_most))
        };
        let waiters = [wait(None), wait(None), wait(Some(Duration::from_secs(600)))];
        rig.array.end_resyncs(&ResyncState::Finished);
        for waiter in waiters {
            assert_eq!(waiter.join().unwrap(), AsyncStatus::Finished);
        }
    });
}

#[test]
fn p_109_a_cancellation_stops_it_and_is_remembered() {
    let (rig, shadows) = running(1);
    let operation = begin(&rig, &shadows);
    thread::scope(|scope| {
        let waiter = scope.spawn(|| operation.wait(None));
        assert_eq!(operation.cancel(), AsyncStatus::Cancelled);
        assert_eq!(waiter.join().unwrap(), AsyncStatus::Cancelled);
    });
    rig.array.end_resyncs(&ResyncState::Finished);
    assert_eq!(operation.cancel(), AsyncStatus::Cancelled);
    assert!(rig.array.ledger().reverted.is_empty());
    assert_eq!(rig.take_events(), [EventId::ResyncCancelled]);
}

#[test]
fn p_109_a_cancellation_that_comes_too_late_or_does_not_arrive_stops_nothing() {
    let (rig, shadows) = running(1);
    let operation = begin(&rig, &shadows);
    rig.array.fail("cancel_resync", Fault::Unreachable);
    assert_eq!(operation.cancel(), AsyncStatus::Pending);
    rig.array.end_resyncs(&ResyncState::Finished);
    assert_eq!(operation.wait(None), AsyncStatus::Finished);
    assert_eq!(operation.cancel(), AsyncStatus::Finished);
    assert_eq!(rig.take_events(), [EventId::ResyncFinished]);
}

#[test]
fn p_111_letting_go_of_the_object_stops_nothing_and_is_logged() {
    let (rig, shadows) = running(1);
    let operation = begin(&rig, &shadows);
    // A second one, to learn of the end by.
    let other = begin(&rig, &shadows);
    drop(operation);
    assert_eq!(rig.take_events(), [EventId::ResyncUnobserved]);
    rig.array.end_resyncs(&ResyncState::Finished);
    assert_eq!(other.wait(None), AsyncStatus::Finished);
    let ended = || rig.provider.on_unload(false).is_ok();
    while !ended() {
        thread::yield_now();
    }
    assert_eq!(rig.take_events(), [EventId::ResyncFinished, EventId::ResyncFinished]);
    assert_eq!(rig.array.ledger().reverted.len(), 1);
}

#[test]
fn p_118_unloading_waits_for_resyncs_unless_it_is_forced() {
    let (rig, shadows) = running(1);
    let operation = begin(&rig, &shadows);
    assert_eq!(rig.provider.on_unload(false), Err(HResult::S_FALSE));
    assert_eq!(rig.provider.on_unload(true), Ok(()));
    rig.array.end_resyncs(&ResyncState::Finished);
    assert_eq!(operation.wait(None), AsyncStatus::Finished);
    assert_eq!(rig.provider.on_unload(false), Ok(()));
}

#[test]
fn a_lost_connection_is_survived() {
    let (rig, shadows) = running(1);
    rig.array.set_unanswered_takes(Duration::from_secs(1));
    rig.array.fail_times("resync_state", Fault::Unreachable, 59);
    let operation = begin(&rig, &shadows);
    rig.array.end_resyncs(&ResyncState::Finished);
    assert_eq!(operation.wait(None), AsyncStatus::Finished);
    assert_eq!(rig.take_events(), [EventId::ResyncFinished]);
}

#[test]
fn an_array_that_stays_away_is_given_up() {
    let (rig, shadows) = running(1);
    rig.array.set_unanswered_takes(RESYNC_LOST_AT_MOST / 4);
    rig.array.fail_times("resync_state", Fault::Unreachable, 1000);
    let operation = begin(&rig, &shadows);
    assert_eq!(operation.wait(None), AsyncStatus::Failed(HResult::VSS_E_PROVIDER_VETO));
    assert_eq!(rig.take_events(), [EventId::ResyncLost]);
}

#[test]
fn an_array_that_has_forgotten_the_resync_ends_it() {
    let (rig, shadows) = running(1);
    let operation = begin(&rig, &shadows);
    rig.array.forget_resyncs();
    assert_eq!(operation.wait(None), AsyncStatus::Failed(HResult::VSS_E_PROVIDER_VETO));
    assert_eq!(rig.take_events(), [EventId::ResyncLost]);
}

#[test]
fn a_beginning_whose_answer_was_lost_is_not_a_second_beginning() {
    let (rig, shadows) = running(1);
    rig.array.fail("start_resync", Fault::AnswerLost);
    let operation = begin(&rig, &shadows);
    assert_eq!(rig.array.resync_count(), 1);
    rig.array.end_resyncs(&ResyncState::Finished);
    assert_eq!(operation.wait(None), AsyncStatus::Finished);
}

#[test]
fn p_108_a_question_that_hangs_delays_nobody() {
    let (rig, shadows) = running(1);
    rig.array.hold(Some(("resync_state", Moment::BeforeTheWork)));
    rig.array.take_calls();
    let operation = begin(&rig, &shadows);
    rig.array.await_call("resync_state");
    assert_eq!(operation.query_status(), AsyncStatus::Pending);
    assert_eq!(operation.wait(NO_TIME), AsyncStatus::Pending);
    assert_eq!(operation.cancel(), AsyncStatus::Cancelled);
    assert_eq!(operation.wait(None), AsyncStatus::Cancelled);
    rig.array.hold(None);
}
