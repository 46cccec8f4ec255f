//! `BeginPrepareSnapshot` and `EndPrepareSnapshots`: section 9.5.

use std::sync::Arc;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use lunshadow_control::ProblemCode;
use lunshadow_provider::{EventId, ProviderConfig};
use lunshadow_vss::{Context, CreateSnapshotSet, HResult, Method, SnapshotState};

use crate::fake_array::{Fault, Stage};
use crate::rig::{NEXT_SET, Rig, SET, Until, lun, luns, shadow_set};

/// Long enough for any machine; only a call that hangs takes it.
const HANGS_AFTER: Duration = Duration::from_secs(20);

#[test]
fn p_037_begin_prepare_does_not_wait_for_the_preparation() {
    let rig = Rig::new(1);
    rig.array.set_preparing(true);
    rig.begin(SET, 1, &luns(1)).unwrap();
    // The first set of a process first ends what an earlier one may have begun of it.
    assert_eq!(rig.array.take_calls(), ["abort", "resolve", "prepare"]);
}

#[test]
fn p_038_end_prepare_waits_until_every_lun_is_ready() {
    let rig = Rig::new(2);
    rig.array.set_preparing(true);
    rig.create(SET, &luns(2), Until::Begun);
    let (done, answer) = mpsc::channel();
    let provider = Arc::clone(&rig.provider);
    thread::spawn(move || done.send(provider.end_prepare_snapshots(SET)));
    rig.array.await_waiting();
    assert_eq!(answer.try_recv(), Err(mpsc::TryRecvError::Empty));
    assert_eq!(rig.provider.current_set(), Some((SET, SnapshotState::PROCESSING_PREPARE)));
    rig.array.set_preparing(false);
    assert_eq!(answer.recv_timeout(HANGS_AFTER), Ok(Ok(())));
    assert_eq!(rig.provider.current_set(), Some((SET, SnapshotState::PREPARED)));
}

#[test]
fn p_039_one_lun_of_two_volumes_has_one_shadow_lun() {
    let rig = Rig::new(2);
    rig.begin(SET, 1, &[lun(1)]).unwrap();
    rig.begin(SET, 2, &[lun(1), lun(2)]).unwrap();
    for step in [Until::Prepared, Until::PreCommitted, Until::Committed, Until::PostCommitted] {
        rig.step(SET, step).unwrap();
    }
    assert_eq!(rig.array.ledger().shadows().len(), 2);
    let (first, second) = (rig.targets(&[lun(1)]).unwrap(), rig.targets(&[lun(1), lun(2)]).unwrap());
    assert_eq!(first[0], second[0]);
}

#[test]
fn p_040_a_new_set_ends_an_unfinished_one_and_keeps_a_finished_one() {
    for until in Until::ALL {
        let rig = Rig::new(2);
        rig.create(SET, &[lun(1)], until);
        rig.take_events();
        rig.begin(NEXT_SET, 1, &[lun(2)]).unwrap();
        let stage = rig.array.ledger().sets[&shadow_set(SET)].stage;
        assert_eq!(stage == Stage::Kept, !until.is_unfinished(), "{until:?}: {stage:?}");
        assert_eq!(rig.array.ledger().shadows().len(), usize::from(!until.is_unfinished()), "{until:?}");
        assert_eq!(rig.array.ledger().unfinished(), [shadow_set(NEXT_SET)], "{until:?}");
        let to_review = matches!(until, Until::PostCommitted | Until::PreFinal);
        assert_eq!(rig.take_events().contains(&EventId::OrphanCandidate), to_review, "{until:?}");
        for step in Until::ALL.into_iter().skip(1) {
            rig.step(NEXT_SET, step).unwrap();
        }
    }
}

#[test]
fn p_041_a_snapshot_that_fails_leaves_the_others() {
    let rig = Rig::new(2);
    rig.begin(SET, 1, &[lun(1)]).unwrap();
    rig.array.fail("prepare", Fault::Refused(ProblemCode::OutOfSpace));
    assert_eq!(rig.begin(SET, 2, &[lun(2)]), Err(HResult::VSS_E_PROVIDER_VETO));
    assert_eq!(rig.take_errors(), [EventId::OutOfSpace]);
    assert_eq!(rig.begin(SET, 3, &[lun(77)]), Err(HResult::VSS_E_VOLUME_NOT_SUPPORTED_BY_PROVIDER));
    for step in Until::ALL.into_iter().skip(1) {
        rig.step(SET, step).unwrap();
    }
    assert_eq!(rig.array.ledger().shadows().len(), 1);
}

#[test]
fn p_042_p_054_steps_of_an_unknown_set_find_no_object() {
    for until in Until::ALL {
        let rig = Rig::new(1);
        rig.create(SET, &luns(1), until);
        let ledger = rig.array.ledger();
        for step in [Until::Prepared, Until::PreCommitted, Until::Committed, Until::PostCommitted] {
            assert_eq!(rig.step(NEXT_SET, step), Err(HResult::VSS_E_OBJECT_NOT_FOUND), "{step:?}");
        }
        assert_eq!(rig.array.ledger(), ledger, "the current set is not touched");
        rig.go_on(until);
    }
}

#[test]
fn p_043_lack_of_space_is_named() {
    let rig = Rig::new(1);
    rig.create(SET, &luns(1), Until::Begun);
    rig.array.fail("wait_prepared", Fault::Refused(ProblemCode::OutOfSpace));
    assert_eq!(rig.provider.end_prepare_snapshots(SET), Err(HResult::VSS_E_INSUFFICIENT_STORAGE));
    assert_eq!(rig.take_errors(), [EventId::OutOfSpace]);
    assert_eq!(rig.array.ledger().unfinished(), []);
}

#[test]
fn p_044_an_abort_ends_the_wait() {
    for deaf in [false, true] {
        let rig = Rig::new(1);
        rig.array.set_preparing(true);
        if deaf {
            rig.array.set_deaf_to_aborts();
        }
        rig.create(SET, &luns(1), Until::Begun);
        let (done, answer) = mpsc::channel();
        let provider = Arc::clone(&rig.provider);
        thread::spawn(move || done.send(provider.end_prepare_snapshots(SET)));
        rig.array.await_waiting();
        assert_eq!(rig.provider.abort_snapshots(SET), Ok(()));
        assert_eq!(answer.recv_timeout(HANGS_AFTER), Ok(Err(HResult::VSS_E_PROVIDER_VETO)));
        assert_eq!(rig.take_errors(), [EventId::SetAborted]);
        assert_eq!(rig.array.ledger().unfinished(), []);
        assert_eq!(rig.provider.current_set(), Some((SET, SnapshotState::ABORTED)));
    }
}

#[test]
fn p_045_sixty_four_volumes_and_no_more() {
    let rig = Rig::new(65);
    rig.create(SET, &luns(64), Until::Begun);
    assert_eq!(rig.begin(SET, 65, &[lun(65)]), Err(HResult::VSS_E_MAXIMUM_NUMBER_OF_VOLUMES_REACHED));
    rig.begin(SET, 64, &[lun(64)]).expect("a volume that is in the set already");
    for step in Until::ALL.into_iter().skip(1) {
        rig.step(SET, step).unwrap();
    }
    assert_eq!(rig.array.ledger().shadows().len(), 64);
}

#[test]
fn p_046_nothing_is_captured_before_the_commit() {
    let rig = Rig::new(1);
    rig.create(SET, &luns(1), Until::PreCommitted);
    assert!(!rig.array.take_calls().contains(&"commit"));
    assert_eq!(rig.array.ledger().shadows(), []);
}

#[test]
fn p_029_the_array_is_asked_for_the_kind_of_copy_that_the_context_says() {
    for (context, is_copied) in [
        (Context::CTX_BACKUP, false),
        (Context::DIFFERENTIAL, false),
        (Context::PLEX, true),
        (Context::CTX_NAS_ROLLBACK | Context::PLEX | Context::TRANSPORTABLE, true),
    ] {
        let rig = Rig::new(1);
        rig.begin_in(context, SET, 1, &luns(1)).expect("BeginPrepareSnapshot");
        let ledger = rig.array.ledger();
        let set = ledger.sets.values().next().expect("the set");
        assert_eq!(set.copied.contains(&lun(1)), is_copied, "{context:?}");
    }
}

#[test]
fn p_047_contexts_and_luns_have_codes_of_their_own() {
    let rig = Rig::new(1);
    let both = Context::PLEX | Context::DIFFERENTIAL;
    for context in [both, Context::CTX_CLIENT_ACCESSIBLE, Context::FILE_SHARE] {
        assert_eq!(rig.begin_in(context, SET, 1, &luns(1)), Err(HResult::VSS_E_UNSUPPORTED_CONTEXT), "{context:?}");
    }
    assert_eq!(rig.begin(SET, 1, &[lun(1), lun(9)]), Err(HResult::VSS_E_VOLUME_NOT_SUPPORTED_BY_PROVIDER));
    assert_eq!(rig.array.ledger().sets.len(), 0);
    assert_eq!(rig.take_events(), []);
}

#[test]
fn an_unfinished_set_that_begins_again_is_discarded_first() {
    let rig = Rig::new(1);
    rig.create(SET, &luns(1), Until::Prepared);
    // The array does not take an aborted set again, which is its right: the call fails as a whole, with one event.
    assert_eq!(rig.begin(SET, 1, &luns(1)), Err(HResult::VSS_E_PROVIDER_VETO));
    assert_eq!(rig.take_errors(), [EventId::SetAborted]);
    assert_eq!(rig.array.ledger().unfinished(), []);
}

#[test]
fn a_kept_set_that_begins_again_is_left_alone() {
    let rig = Rig::new(1);
    rig.create(SET, &luns(1), Until::PostCommitted);
    let ledger = rig.array.ledger();
    assert_eq!(rig.begin(SET, 1, &luns(1)), Err(HResult::VSS_E_PROVIDER_VETO));
    assert_eq!(rig.take_errors(), [EventId::CallOutOfOrder]);
    assert_eq!(rig.array.ledger(), ledger);
    rig.targets(&luns(1)).expect("the set is still current");
}

#[test]
fn other_limits_hold_from_the_next_call_on() {
    let rig = Rig::new(3);
    rig.begin(SET, 1, &[lun(1)]).unwrap();
    rig.provider.reconfigure(ProviderConfig { volumes_at_most: 2, ..ProviderConfig::default() });
    rig.begin(SET, 2, &[lun(2)]).unwrap();
    assert_eq!(rig.begin(SET, 3, &[lun(3)]), Err(HResult::VSS_E_MAXIMUM_NUMBER_OF_VOLUMES_REACHED));
}

#[test]
fn what_others_note_waits_while_writers_are_frozen() {
    let rig = Rig::new(1);
    rig.create(SET, &luns(1), Until::PreCommitted);
    rig.provider.note(EventId::SettingsRefused, Method::AreLunsSupported, Some("line 3".into()));
    assert_eq!(rig.take_events(), []);
    rig.step(SET, Until::Committed).unwrap();
    rig.step(SET, Until::PostCommitted).unwrap();
    let texts = rig.take_texts();
    assert!(texts[0].starts_with("AreLunsSupported: the settings") && texts[0].contains(": line 3."), "{texts:?}");
}

impl Rig {
    /// Completes a creation from where it is.
    fn go_on(&self, from: Until) {
        for step in Until::ALL.into_iter().filter(|step| *step > from) {
            self.step(SET, step).unwrap();
        }
    }
}

#[test]
fn what_an_earlier_process_has_prepared_is_not_committed_with_the_rest() {
    let first = Rig::new(2);
    first.begin(SET, 1, &[lun(1)]).expect("BeginPrepareSnapshot");
    // The process ends before VSS hears of its success; the next volume comes to another one.
    let next = Rig::on(first.array.clone());
    next.array.fail("abort", Fault::Unreachable);
    assert_eq!(next.begin(SET, 2, &[lun(2)]), Err(HResult::VSS_E_PROVIDER_VETO));
    assert_eq!(next.begin(SET, 2, &[lun(2)]), Err(HResult::VSS_E_PROVIDER_VETO), "the set is over");
    assert_eq!(next.array.ledger().unfinished(), [shadow_set(SET)], "the array's lease ends it");
    next.create(NEXT_SET, &luns(2), Until::Created);
    assert_eq!(next.array.ledger().shadows().len(), 2);
}
