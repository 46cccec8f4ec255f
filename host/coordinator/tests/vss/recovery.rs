//! LUN resync: section 4(g) of the contract, over a provider whose copies go as the tests want.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use lunshadow_coordinator::{RecoveryError, Requester, Settings};
use lunshadow_vss::{AsyncStatus, Context, DiskSignature, HResult, RecoveryOptions};
use uuid::Uuid;

use crate::support::{HostStep, Resync, Stage, device, volume};

const SIGNATURE: u128 = 0xabc;

/// A requester with both volumes of a transportable set in its recovery set.
fn recovering(stage: &Stage) -> Requester {
    for disk in &mut stage.host.state().disks {
        disk.lun.disk_signature = DiskSignature(Uuid::from_u128(SIGNATURE));
    }
    let requester = stage.prepared(Context::TRANSPORTABLE);
    let copies = requester.do_snapshot_set().unwrap();
    for copy in &copies {
        requester.add_to_recovery_set(copy.snapshot, None).unwrap();
    }
    let again = requester.add_to_recovery_set(copies[0].snapshot, None).unwrap_err();
    assert_eq!(again.code(), HResult::VSS_E_OBJECT_ALREADY_EXISTS);
    requester
}

/// The lines since a place, without those about looking.
fn lines_from(stage: &Stage, from: usize) -> Vec<String> {
    stage.journal.lines()[from..].iter().filter(|line| *line != "rescan").cloned().collect()
}

#[test]
fn a_resync_is_followed_to_its_end_and_the_destination_keeps_its_identity() {
    let stage = Stage::new(Settings { resync_poll: Duration::from_millis(7), ..Settings::default() });
    let requester = recovering(&stage);
    stage.provider.state().resync = Some(Resync { pending: 3, ..Resync::ending(AsyncStatus::Finished) });
    let from = stage.journal.lines().len();
    requester.recover(RecoveryOptions::empty()).unwrap();
    let expected = [
        "dismount L1",
        "dismount L2",
        // A LUN of two volumes is copied once.
        "P.ResyncLuns [P-L1,P-L2] to [L1,L2]",
        "wait Some(7ms)",
        "wait Some(7ms)",
        "wait Some(7ms)",
        "remove flags L1",
        "signature L1 abc",
        "remove flags L1",
        "signature L1 abc",
        "remove flags L2",
        "signature L2 abc",
    ];
    assert_eq!(lines_from(&stage, from), expected);
    assert_eq!(requester.recover(RecoveryOptions::empty()).unwrap_err().code(), HResult::VSS_E_BAD_STATE);
    assert!(!stage.provider.state().shadows.is_empty(), "it can be resynced from again");
}

#[test]
fn a_resync_is_cancelled_where_the_array_can_stop() {
    for (is_cancellable, expected) in [(true, HResult::VSS_S_ASYNC_CANCELLED), (false, HResult::VSS_S_ASYNC_FINISHED)] {
        let stage = Stage::new(Settings::default());
        let requester = Arc::new(recovering(&stage));
        let canceller: Arc<OnceLock<Arc<Requester>>> = Arc::default();
        canceller.set(requester.clone()).ok().unwrap();
        let cancel = move || canceller.get().unwrap().cancel();
        stage.provider.state().resync =
            Some(Resync { pending: 3, end: AsyncStatus::Finished, is_cancellable, at_first: Some(Box::new(cancel)) });
        let code = requester.recover(RecoveryOptions::empty()).err().map_or(HResult::VSS_S_ASYNC_FINISHED, |error| {
            assert!(matches!(error, RecoveryError::Cancelled), "{error:?}");
            error.code()
        });
        assert_eq!(code, expected);
        assert_eq!(stage.journal.count("cancel"), 1, "the provider is told once");
        // A recovery that was stopped can be tried again.
        assert_eq!(requester.recover(RecoveryOptions::empty()).is_ok(), is_cancellable);
    }
}

#[test]
fn a_resync_that_breaks_off_in_the_middle_is_an_error_and_can_be_repeated() {
    for code in [HResult::VSS_E_PROVIDER_VETO, HResult::VSS_E_INSUFFICIENT_STORAGE] {
        let stage = Stage::new(Settings::default());
        let requester = recovering(&stage);
        stage.provider.state().resync = Some(Resync { pending: 1, ..Resync::ending(AsyncStatus::Failed(code)) });
        assert_eq!(requester.recover(RecoveryOptions::empty()).unwrap_err().code(), code);
        assert!(stage.journal.lines().iter().all(|line| !line.starts_with("signature")), "nothing is settled");
        requester.recover(RecoveryOptions::empty()).unwrap();
    }
}

#[test]
fn what_would_be_replaced_unasked_has_to_be_allowed() {
    let stage = Stage::new(Settings::default());
    let requester = stage.prepared(Context::TRANSPORTABLE);
    let copies = requester.do_snapshot_set().unwrap();
    // The first volume alone: its LUN has a part of the second.
    requester.add_to_recovery_set(copies[0].snapshot, None).unwrap();
    let unselected = requester.recover(RecoveryOptions::empty()).unwrap_err();
    assert_eq!(unselected.code(), HResult::VSS_E_UNSELECTED_VOLUME);
    assert!(stage.journal.lines().iter().all(|line| !line.starts_with("P.ResyncLuns")));
    requester.recover(RecoveryOptions::NO_VOLUME_CHECK).unwrap();
    assert_eq!(stage.journal.count("P.ResyncLuns [P-L1] to [L1]"), 1);
    // A volume with another number of LUNs is no destination.
    let other = requester.add_to_recovery_set(copies[0].snapshot, Some(&volume(2))).unwrap_err();
    assert_eq!(other.code(), HResult::VSS_E_VOLUME_NOT_SUPPORTED);
}

#[test]
fn a_destination_that_does_not_come_back_or_cannot_be_settled_is_told() {
    let stage = Stage::new(Settings::default());
    let requester = recovering(&stage);
    let host = stage.host.clone();
    let lose = move || host.state().disks.retain(|disk| disk.device != device("L2"));
    stage.provider.state().resync =
        Some(Resync { at_first: Some(Box::new(lose)), ..Resync::ending(AsyncStatus::Finished) });
    assert_eq!(requester.recover(RecoveryOptions::empty()).unwrap_err().code(), HResult::VSS_E_MISSING_DISK);

    let stage = Stage::new(Settings::default());
    let requester = recovering(&stage);
    stage.host.fail_at(HostStep::Signature);
    let failure = requester.recover(RecoveryOptions::empty()).unwrap_err();
    assert_eq!(failure.code(), HResult::VSS_E_CANNOT_REVERT_DISKID);
    requester.recover(RecoveryOptions::empty()).unwrap();
}
