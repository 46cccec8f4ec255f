//! Creations that are given up, and an array that is away.

use std::sync::{Arc, OnceLock};

use lunshadow_control::{SetPhase, ShadowSetId};
use lunshadow_coordinator::{CreationError, Requester};
use lunshadow_vss::{Context, HResult, Method, SnapshotSetId};
use lunshadow_windows::rig::{Activation, PERSISTENT, Stage, When};

const VETO: HResult = HResult::VSS_E_PROVIDER_VETO;

/// Creates a set that a failure of another participant ends, before or after our provider's part in a method.
fn give_up(stage: &Stage, when: When, method: Method) -> SnapshotSetId {
    let fails = move |at, called| if (at, called) == (when, method) { Err(VETO) } else { Ok(()) };
    let coordinator = stage.hooked(fails);
    let (requester, set) = stage.host.begin(&coordinator, PERSISTENT, &stage.luns);
    assert_eq!(requester.do_snapshot_set().expect_err("somebody fails").code(), VETO, "{when:?} {method}");
    assert!(coordinator.timeline().methods().contains(&"AbortSnapshots"), "{when:?} {method}");
    set
}

#[test]
fn p_113_an_abort_at_each_stage_leaves_nothing() {
    let stage = Stage::new("aborts", Activation::LocalServer, 2);
    let methods =
        [Method::EndPrepareSnapshots, Method::PreCommitSnapshots, Method::CommitSnapshots, Method::PostCommitSnapshots];
    for method in methods {
        for when in [When::Before, When::After] {
            // After its PostCommitSnapshots a set is complete for the provider, and no abort takes it away.
            if (when, method) != (When::After, Method::PostCommitSnapshots) {
                let set = give_up(&stage, when, method);
                stage.assert_nothing_is_left(set, &format!("{when:?} {method}"));
            }
        }
    }
    stage.assert_next_set_works(2);
}

#[test]
fn p_116_an_abort_after_the_post_commit_gives_back_what_had_arrived() {
    let stage = Stage::new("late", Activation::LocalServer, 2);
    for method in [Method::PreFinalCommitSnapshots, Method::PostFinalCommitSnapshots] {
        for when in [When::Before, When::After] {
            let set = give_up(&stage, when, method);
            // VSS has seen the disks and gives them back by OnLunEmpty; the abort itself deletes nothing.
            stage.assert_nothing_is_left(set, &format!("{when:?} {method}"));
        }
    }
    // Before anything was mapped there is no disk to give back: the shadow LUNs stay, and the array lists them.
    let set = give_up(&stage, When::After, Method::GetTargetLuns);
    let listed = stage.array.set(ShadowSetId(set.0)).expect("the array knows the set");
    assert_eq!(listed.summary.phase, SetPhase::Kept);
    assert_eq!(stage.shadow_counts(), [1, 1]);
}

#[test]
fn a_cancelled_creation_leaves_nothing() {
    let stage = Stage::new("cancelled", Activation::Service, 2);
    let slot = Arc::new(OnceLock::<Requester>::new());
    let cancels = Arc::clone(&slot);
    let coordinator = stage.hooked(move |when, method| {
        if let (When::After, Method::PreCommitSnapshots, Some(requester)) = (when, method, cancels.get()) {
            requester.cancel();
        }
        Ok(())
    });
    let (requester, set) = stage.host.begin(&coordinator, PERSISTENT, &stage.luns);
    let failure = slot.get_or_init(|| requester).do_snapshot_set().expect_err("it is cancelled");
    assert!(matches!(failure.error, CreationError::Cancelled), "{:?}", failure.error);
    stage.assert_nothing_is_left(set, "a cancellation");
    stage.assert_next_set_works(3);
}

#[test]
fn p_028_p_030_p_031_p_032_support_depends_on_the_context_and_on_the_array() {
    let mut stage = Stage::new("support", Activation::Service, 1);
    let device = stage.host.device_of(stage.luns[0]);
    let lun = stage.host.lun_of(&device);
    let is_supported = |stage: &Stage, context| {
        let mut luns = [lun.clone()];
        let answer = stage.provider.are_luns_supported(context, std::slice::from_ref(&device), &mut luns);
        assert!(luns[0].matches_strictly(&lun), "the question changes nothing");
        answer.expect("the question is never a failure")
    };
    for context in [Context::CTX_BACKUP, PERSISTENT, PERSISTENT | Context::TRANSPORTABLE] {
        assert!(is_supported(&stage, context), "{context:?}");
    }
    for context in [Context::CTX_CLIENT_ACCESSIBLE, Context::FILE_SHARE] {
        assert!(!is_supported(&stage, context), "{context:?}");
    }
    stage.array.kill();
    assert!(!is_supported(&stage, PERSISTENT), "an array that is away is no failure");
    stage.array.start();
    assert!(is_supported(&stage, PERSISTENT), "it is asked again");
    stage.reconnect();
    stage.assert_next_set_works(5);
}
