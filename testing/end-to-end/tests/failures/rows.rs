//! The rows of the table in section 4(d), one test each.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use lunshadow_catalog::SetState;
use lunshadow_control::ProblemCode;
use lunshadow_coordinator::{CreationError, Mangling, MatchMode, Settings, StandInFault, StandInProvider, WriterEvent};
use lunshadow_provider::EventId;
use lunshadow_vss::{HResult, MatchLevel, Method};

use crate::faulty_array::{Request, refused, unreachable};
use crate::faulty_host::Step;
use crate::plan::Fault;
use crate::rig::Rig;

const VETO: HResult = HResult::VSS_E_PROVIDER_VETO;

#[test]
fn a_declined_or_failed_are_luns_supported_leaves_no_state() {
    for error in [refused(ProblemCode::NotAllowed), unreachable()] {
        let rig = Rig::new();
        let requester = rig.coordinator.requester();
        let set = requester.start_snapshot_set().unwrap();
        rig.array_script.plan.add(Request::Resolve, Fault::Refuse(error));
        let declined = requester.add_to_snapshot_set(&rig.volume(0), None).unwrap_err();
        assert_eq!(declined.code(), HResult::VSS_E_VOLUME_NOT_SUPPORTED);
        rig.provider_plan.add(Method::AreLunsSupported, Fault::Refuse(VETO));
        assert_eq!(requester.add_to_snapshot_set(&rig.volume(0), None).unwrap_err().code(), VETO);
        assert_eq!(rig.set_state(set), None, "the array never heard of the set");
        drop(requester);
        rig.assert_nothing_is_left(set, "AreLunsSupported");
    }
}

#[test]
fn a_failed_begin_prepare_fails_its_volume_only() {
    let rig = Rig::new();
    let requester = rig.coordinator.requester();
    let set = requester.start_snapshot_set().unwrap();
    requester.add_to_snapshot_set(&rig.volume(0), None).unwrap();
    rig.array_script.plan.add(Request::Prepare, Fault::Refuse(refused(ProblemCode::OutOfSpace)));
    assert_eq!(requester.add_to_snapshot_set(&rig.volume(1), None).unwrap_err().code(), VETO);
    let copies = requester.do_snapshot_set().unwrap();
    assert_eq!(copies.len(), 1);
    assert_eq!(rig.shadows().len(), 1, "the LUN of the failed volume is not captured");
    drop(requester);
    rig.assert_nothing_is_left(set, "BeginPrepareSnapshot");
}

#[test]
fn a_requester_that_goes_early_leaves_a_lease_that_the_next_set_ends() {
    for aborts_backup in [false, true] {
        let rig = Rig::new();
        let (requester, set) = rig.prepared();
        assert_eq!(rig.set_state(set), Some(SetState::Prepared));
        if aborts_backup {
            requester.abort_backup();
        }
        drop(requester);
        // The provider was told nothing: it is the next set's first preparation that ends this one.
        assert_eq!(rig.set_state(set), Some(SetState::Prepared));
        rig.assert_sources_are_free("a requester that goes");
        rig.assert_next_set_succeeds("a requester that goes");
        rig.assert_array_is_clean(set, "a requester that goes");
    }
}

#[test]
fn a_cancellation_ends_the_wait_for_the_preparation_at_once() {
    let rig = Rig::new();
    let (requester, set) = rig.prepared();
    rig.array_script.prepares_for_ever.store(true, Ordering::SeqCst);
    let (failure, timeline) = std::thread::scope(|scope| {
        let creation = scope.spawn(|| requester.do_snapshot_set().unwrap_err());
        while rig.array_script.waits.load(Ordering::SeqCst) == 0 {
            std::thread::yield_now();
        }
        requester.cancel();
        (creation.join().unwrap(), rig.coordinator.timeline())
    });
    rig.array_script.prepares_for_ever.store(false, Ordering::SeqCst);
    assert!(matches!(failure.error, CreationError::Cancelled), "{:?}", failure.error);
    assert!(!timeline.methods().contains(&"PreCommitSnapshots"));
    drop(requester);
    rig.assert_nothing_is_left(set, "a cancellation");
}

#[test]
fn each_of_the_providers_methods_can_fail_up_to_the_post_commit() {
    let methods =
        [Method::EndPrepareSnapshots, Method::PreCommitSnapshots, Method::CommitSnapshots, Method::PostCommitSnapshots];
    for method in methods {
        let rig = Rig::new();
        let unexpected = HResult::VSS_E_UNEXPECTED_PROVIDER_ERROR;
        let faults =
            [(Fault::Refuse(VETO), VETO), (Fault::Refuse(HResult::E_FAIL), unexpected), (Fault::Panic, unexpected)];
        for (fault, code) in faults {
            rig.provider_plan.add(method, fault);
            let (requester, set, result) = rig.create();
            assert_eq!(result.unwrap_err().code(), code, "{method}");
            drop(requester);
            rig.assert_nothing_is_left(set, method.name());
        }
    }
}

#[test]
fn a_commit_whose_answer_is_lost_is_undone() {
    for method in [Method::EndPrepareSnapshots, Method::PreCommitSnapshots, Method::CommitSnapshots] {
        let rig = Rig::new();
        rig.provider_plan.add(method, Fault::LoseAnswer(VETO));
        let (_requester, set, result) = rig.create();
        assert_eq!(result.unwrap_err().code(), VETO);
        rig.assert_nothing_is_left(set, method.name());
    }
}

#[test]
fn another_providers_failed_commit_undoes_ours() {
    for method in [Method::EndPrepareSnapshots, Method::PreCommitSnapshots, Method::CommitSnapshots] {
        let rig = Rig::new();
        // A LUN that this provider may not see is the other's: the provider declines it.
        let foreign = StandInProvider::taking([rig.luns[1].id.to_string()]);
        foreign.fail_in(method, StandInFault::Answer(VETO));
        rig.register("Foreign", 2, Arc::new(foreign));
        let requester = rig.coordinator.requester();
        let set = requester.start_snapshot_set().unwrap();
        requester.add_to_snapshot_set(&rig.volume(0), None).unwrap();
        let foreign = lunshadow_vss::ProviderId(uuid::Uuid::from_u128(2));
        requester.add_to_snapshot_set(&rig.volume(1), Some(foreign)).unwrap();
        assert_eq!(requester.do_snapshot_set().unwrap_err().code(), VETO);
        let methods = rig.coordinator.timeline().methods();
        assert_eq!(methods.iter().filter(|name| **name == "AbortSnapshots").count(), 2, "both are told");
        let commits = methods.iter().filter(|name| **name == "CommitSnapshots").count();
        assert_eq!(commits, if method == Method::CommitSnapshots { 2 } else { 0 });
        drop(requester);
        rig.assert_nothing_is_left(set, method.name());
    }
}

#[test]
fn each_step_of_the_host_before_the_thaw_can_fail() {
    let steps = [
        (Step::SetFlags, HResult::VSS_E_UNEXPECTED),
        (Step::Writers(WriterEvent::PrepareSnapshot), HResult::VSS_E_WRITERERROR_NONRETRYABLE),
        (Step::Writers(WriterEvent::Freeze), HResult::VSS_E_WRITERERROR_NONRETRYABLE),
        (Step::FlushTimeout, HResult::VSS_E_FLUSH_WRITES_TIMEOUT),
        (Step::Flush, HResult::VSS_E_UNEXPECTED),
        (Step::ClearFlags, HResult::VSS_E_UNEXPECTED),
    ];
    let rig = Rig::new();
    for (step, code) in steps {
        rig.host_script.fail_at(step);
        let (requester, set, result) = rig.create();
        assert_eq!(result.unwrap_err().code(), code, "{step:?}");
        drop(requester);
        rig.assert_nothing_is_left(set, &format!("{step:?}"));
    }
}

#[test]
fn a_hold_that_expires_deletes_what_was_committed() {
    let limit = Duration::from_millis(300);
    let rig = Rig::with_settings(Settings { hold_limit: limit, ..Settings::default() });
    let (requester, set) = rig.prepared();
    // The commit is stuck until a write that was held comes through, which only the expired limit can bring about.
    let (disk, runtime) = (rig.host.application_disk(&rig.devices[1]).unwrap(), rig.runtime.handle().clone());
    let stuck = move || {
        runtime.block_on(disk.write_at(0, bytes::Bytes::from_static(&[0xee; 512]))).unwrap();
    };
    rig.provider_plan.add(Method::CommitSnapshots, Fault::First(Box::new(stuck)));
    let failure = requester.do_snapshot_set().unwrap_err();
    assert_eq!(failure.code(), HResult::VSS_E_HOLD_WRITES_TIMEOUT);
    let timeline = rig.coordinator.timeline();
    let commit = timeline.entries.iter().find(|entry| entry.activity.to_string() == "CommitSnapshots").unwrap();
    assert!(commit.ending.is_ok(), "the provider itself has nothing to reproach itself with: {:?}", commit.ending);
    assert_eq!(rig.host.gate_counts().delayed, 1);
    drop(requester);
    rig.assert_nothing_is_left(set, "an expired hold");
}

#[test]
fn writers_that_fail_in_the_thaw_leave_orphan_candidates() {
    let rig = Rig::new();
    rig.host_script.fail_at(Step::Writers(WriterEvent::Thaw));
    let (requester, _, result) = rig.create();
    assert_eq!(result.unwrap_err().code(), HResult::VSS_E_WRITERERROR_NONRETRYABLE);
    drop(requester);
    assert_left_for_review(&rig, "the thaw");
}

/// The policy of section 2.1.7: an abort after PostCommitSnapshots may be the echo of a requester that is done, so a provider that
/// did not fail itself keeps the LUNs and tells the administrator. Nobody is let near them until he has decided.
fn assert_left_for_review(rig: &Rig, after: &str) {
    let left = rig.shadows();
    assert_eq!(left.len(), 2, "{after}");
    assert!(rig.events.has(EventId::OrphanCandidate), "{after}");
    assert_eq!(rig.array.catalog().mappings(rig.array.host()).unwrap().len(), 2, "{after}: nobody sees them");
    rig.assert_sources_are_free(after);
    rig.assert_next_set_succeeds(after);
    assert_eq!(rig.shadows(), left, "{after}");
    rig.delete_as_administrator(&left);
    assert_eq!(rig.shadows(), [], "{after}");
}

#[test]
fn a_failed_keep_in_the_post_commit_deletes_the_copies() {
    let rig = Rig::new();
    for fault in [Fault::Refuse(unreachable()), Fault::LoseAnswer(unreachable())] {
        rig.array_script.plan.add(Request::Keep, fault);
        let (requester, set, result) = rig.create();
        assert_eq!(result.unwrap_err().code(), VETO);
        drop(requester);
        rig.assert_nothing_is_left(set, "keep");
    }
}

#[test]
fn our_own_failure_in_get_target_luns_deletes_the_copies() {
    let rig = Rig::new();
    for fault in [Fault::Refuse(unreachable()), Fault::Refuse(refused(ProblemCode::Internal))] {
        rig.array_script.plan.add(Request::Targets, fault);
        let (requester, set, result) = rig.create();
        assert_eq!(result.unwrap_err().code(), VETO);
        drop(requester);
        rig.assert_nothing_is_left(set, "GetTargetLuns");
    }
}

#[test]
fn a_failed_set_whose_luns_nobody_saw_and_we_did_not_fail_is_left_for_review() {
    for method in [Method::GetTargetLuns, Method::LocateLuns] {
        let rig = Rig::new();
        rig.provider_plan.add(method, Fault::Refuse(VETO));
        let (requester, _, result) = rig.create();
        let failure = result.unwrap_err();
        assert_eq!(failure.code(), VETO, "{method}");
        assert_eq!(failure.unreclaimed.len(), if method == Method::LocateLuns { 2 } else { 0 }, "{method}");
        drop(requester);
        assert_left_for_review(&rig, method.name());
    }
}

#[test]
fn our_own_failure_in_locate_luns_takes_the_mappings_back_and_deletes_the_copies() {
    let rig = Rig::new();
    let faults = [Fault::Refuse(refused(ProblemCode::LimitReached)), Fault::LoseAnswer(unreachable())];
    for fault in faults {
        rig.array_script.plan.add(Request::Map, fault);
        let (requester, set, result) = rig.create();
        assert_eq!(result.unwrap_err().code(), VETO);
        drop(requester);
        rig.assert_nothing_is_left(set, "LocateLuns");
    }
}

#[test]
fn luns_that_were_located_although_locate_luns_failed_are_given_back() {
    let rig = Rig::new();
    rig.provider_plan.add(Method::LocateLuns, Fault::LoseAnswer(VETO));
    let (requester, set, result) = rig.create();
    let failure = result.unwrap_err();
    assert_eq!(failure.code(), VETO);
    assert!(failure.unreclaimed.is_empty(), "the host has seen them and given them back");
    drop(requester);
    rig.assert_nothing_is_left(set, "LocateLuns");
}

#[test]
fn disks_that_do_not_arrive_fail_the_set() {
    let rig = Rig::new();
    rig.provider_plan.add(Method::LocateLuns, Fault::Lie);
    let (requester, _, result) = rig.create();
    let failure = result.unwrap_err();
    assert_eq!(failure.code(), HResult::VSS_E_MISSING_DISK);
    assert_eq!(failure.unreclaimed.len(), 2, "nobody on this host can give them back");
    drop(requester);
    assert_left_for_review(&rig, "no arrival");
}

#[test]
fn each_step_after_the_arrival_can_fail_and_the_luns_are_given_back() {
    let rig = Rig::new();
    let methods = [Method::PreFinalCommitSnapshots, Method::PostFinalCommitSnapshots];
    for method in methods {
        for fault in [Fault::Refuse(VETO), Fault::LoseAnswer(VETO)] {
            rig.provider_plan.add(method, fault);
            let (requester, set, result) = rig.create();
            assert_eq!(result.unwrap_err().code(), VETO, "{method}");
            drop(requester);
            rig.assert_nothing_is_left(set, method.name());
        }
    }
    let steps = [
        (Step::NewIdentity, HResult::VSS_E_CANNOT_REVERT_DISKID),
        (Step::Writers(WriterEvent::PostSnapshot), HResult::VSS_E_WRITERERROR_NONRETRYABLE),
    ];
    for (step, code) in steps {
        rig.host_script.fail_at(step);
        let (requester, set, result) = rig.create();
        assert_eq!(result.unwrap_err().code(), code, "{step:?}");
        drop(requester);
        rig.assert_nothing_is_left(set, &format!("{step:?}"));
    }
}

#[test]
fn an_abort_that_does_not_reach_the_array_is_made_up_for() {
    for fault in [Fault::Refuse(unreachable()), Fault::LoseAnswer(unreachable())] {
        let rig = Rig::new();
        rig.provider_plan.add(Method::CommitSnapshots, Fault::LoseAnswer(VETO));
        // The first one is that with which a set begins.
        rig.array_script.plan.add(Request::Abort, Fault::First(Box::new(|| ())));
        rig.array_script.plan.add(Request::Abort, fault);
        let (requester, set, result) = rig.create();
        assert_eq!(result.unwrap_err().code(), VETO);
        drop(requester);
        rig.assert_sources_are_free("a lost abort");
        // The provider owes the array the abort, and pays before the next set begins.
        rig.assert_next_set_succeeds("a lost abort");
        rig.assert_array_is_clean(set, "a lost abort");
    }
}

#[test]
fn a_deletion_that_fails_can_be_repeated() {
    let rig = Rig::new();
    let (requester, set, result) = rig.create();
    result.unwrap();
    let deletion = lunshadow_coordinator::Deletion::Set(set);
    rig.array_script.plan.add(Request::Release, Fault::Refuse(unreachable()));
    let failure = requester.delete_snapshots(deletion).unwrap_err();
    assert_eq!((failure.code(), failure.deleted), (VETO, 0));
    assert_eq!(rig.shadows().len(), 2);
    rig.array_script.plan.add(Request::Release, Fault::LoseAnswer(unreachable()));
    assert_eq!(requester.delete_snapshots(deletion).unwrap_err().code(), VETO);
    assert_eq!(rig.shadows().len(), 1, "the answer was lost, the LUN was deleted");
    assert_eq!(requester.delete_snapshots(deletion).unwrap(), 2, "a disk that is gone is no obstacle");
    rig.assert_nothing_is_left(set, "a deletion");
}

#[test]
fn what_a_hosts_storage_stack_makes_of_descriptions_is_made_up_for() {
    let mut manglings: Vec<Vec<Mangling>> = Mangling::ALL.iter().map(|mangling| vec![*mangling]).collect();
    manglings.push(vec![Mangling::Uppercase, Mangling::Padding, Mangling::MoreIdentifiers, Mangling::AnotherBus]);
    manglings.push(vec![Mangling::Uppercase, Mangling::Padding, Mangling::NoIdentifiers]);
    for mangle in manglings {
        let rig = Rig::with_settings(Settings {
            mangle: mangle.clone(),
            fill_extra: 2,
            match_mode: MatchMode::AllFields,
            ..Settings::default()
        });
        let (requester, set, result) = rig.create();
        let copies = result.unwrap_or_else(|failure| panic!("{mangle:?}: {:?}", failure.error));
        let mut levels = copies.iter().flat_map(|copy| &copy.luns).map(|lun| lun.match_level);
        assert!(levels.all(|level| level == MatchLevel::Strict), "{mangle:?}");
        assert_eq!(requester.release().unwrap(), 2, "{mangle:?}");
        rig.assert_array_is_clean(set, &format!("{mangle:?}"));
    }
}
