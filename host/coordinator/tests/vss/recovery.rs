//! LUN resync: section 4(g) of the contract, over a provider whose copies go as the tests want.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use lunshadow_coordinator::{Clock, RecoveryError, Requester, Settings};
use lunshadow_vss::{AsyncStatus, Context, DiskSignature, HResult, Method, RecoveryOptions, SnapshotId};
use uuid::Uuid;

use crate::support::{HostStep, Reaction, Resync, Stage, device, provider_id, volume};

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

#[test]
fn one_resync_runs_at_a_time() {
    let stage = Stage::new(Settings::default());
    let (requester, other) = (recovering(&stage), stage.coordinator.requester());
    let document = requester.document().unwrap();
    let snapshot = document.snapshots[0].snapshot;
    other.load_document(document);
    other.add_to_recovery_set(snapshot, None).unwrap();
    let seen = Arc::new(OnceLock::new());
    let told = seen.clone();
    let meanwhile = move || {
        let added = other.add_to_recovery_set(snapshot, None).unwrap_err().code();
        let recovered = other.recover(RecoveryOptions::NO_VOLUME_CHECK).unwrap_err().code();
        told.set((added, recovered, other)).ok().unwrap();
    };
    stage.provider.state().resync = Some(Resync {
        at_first: Some(Box::new(meanwhile)),
        ..Resync::ending(AsyncStatus::Failed(HResult::VSS_E_PROVIDER_VETO))
    });
    assert_eq!(requester.recover(RecoveryOptions::empty()).unwrap_err().code(), HResult::VSS_E_PROVIDER_VETO);
    let (added, recovered, other) = seen.get().expect("the resync has begun");
    assert_eq!((*added, *recovered), (HResult::VSS_E_RESYNC_IN_PROGRESS, HResult::VSS_E_RESYNC_IN_PROGRESS));
    assert_eq!(stage.journal.lines().iter().filter(|line| line.starts_with("P.ResyncLuns")).count(), 1);
    // It is over, though it failed.
    other.recover(RecoveryOptions::NO_VOLUME_CHECK).unwrap();
}

#[test]
fn what_cannot_be_found_is_not_added() {
    let stage = Stage::new(Settings::default());
    let requester = stage.prepared(Context::TRANSPORTABLE);
    requester.do_snapshot_set().unwrap();
    let document = requester.document().unwrap();
    let [first, second] = [0, 1].map(|at: usize| document.snapshots[at].snapshot);
    let refused = |requester: &Requester, snapshot, destination| {
        let error = requester.add_to_recovery_set(snapshot, destination).unwrap_err();
        (error.code(), error)
    };
    let nothing_loaded = refused(&stage.coordinator.requester(), first, None);
    assert_eq!(nothing_loaded.0, HResult::VSS_E_BAD_STATE);
    let strange = refused(&requester, SnapshotId(Uuid::from_u128(5)), None);
    assert_eq!(strange.0, HResult::VSS_E_SNAPSHOT_NOT_IN_SET);
    let unknown = volume(9);
    let no_volume = refused(&requester, first, Some(&unknown));
    assert_eq!(no_volume.0, HResult::VSS_E_OBJECT_NOT_FOUND);
    let mut of_another = document.clone();
    of_another.snapshots[0].provider = provider_id(9);
    let importer = stage.coordinator.requester();
    importer.load_document(of_another);
    assert_eq!(refused(&importer, first, None).0, HResult::VSS_E_PROVIDER_NOT_REGISTERED);

    // The original of the second volume's second LUN has gone; the first volume's is there.
    stage.host.state().disks.retain(|disk| disk.device != device("L2"));
    let (code, missing) = refused(&requester, second, None);
    assert_eq!(code, HResult::VSS_E_OBJECT_NOT_FOUND);
    assert!(matches!(missing, RecoveryError::OriginalMissing { source_device } if source_device == device("L2")));
    requester.add_to_recovery_set(first, None).unwrap();
    assert!(stage.journal.lines().iter().all(|line| !line.starts_with("P.ResyncLuns")));
}

#[test]
fn a_legacy_provider_resyncs_nothing() {
    let stage = Stage::new(Settings::default());
    let requester = stage.prepared(Context::TRANSPORTABLE);
    let copies = requester.do_snapshot_set().unwrap();
    stage.provider.state().is_legacy = true;
    let refused = requester.add_to_recovery_set(copies[0].snapshot, None).unwrap_err();
    assert!(matches!(refused, RecoveryError::LegacyProvider(id) if id == copies[0].provider), "{refused:?}");
    assert_eq!(refused.code(), HResult::VSS_E_LEGACY_PROVIDER);
    stage.provider.state().is_legacy = false;
    requester.add_to_recovery_set(copies[0].snapshot, None).unwrap();
}

#[test]
fn destinations_are_opened_exclusively_and_tried_for_five_seconds() {
    for (busy, is_had) in [(4_999, true), (5_000, true), (5_001, false), (60_000, false)] {
        let stage = Stage::new(Settings::default());
        let requester = recovering(&stage);
        stage.host.state().in_use.insert(device("L2"), Duration::from_millis(busy));
        let (host, during) = (stage.host.clone(), Arc::new(OnceLock::new()));
        let seen = during.clone();
        let look = move || seen.set(host.state().exclusive.clone()).unwrap();
        stage.provider.state().resync =
            Some(Resync { at_first: Some(Box::new(look)), ..Resync::ending(AsyncStatus::Finished) });
        let (from, before) = (stage.journal.lines().len(), stage.clock.now());
        let result = requester.recover(RecoveryOptions::empty());
        assert_eq!(stage.clock.now() - before, Duration::from_millis(busy.min(5_000)));
        if is_had {
            result.unwrap();
            assert_eq!(*during.get().unwrap(), [device("L1"), device("L2")].into(), "for as long as the array copies");
        } else {
            let failure = result.unwrap_err();
            assert_eq!(failure.code(), HResult::VSS_E_UNEXPECTED);
            assert!(matches!(failure, RecoveryError::NotExclusive { device, .. } if device.0 == "L2"));
            assert_eq!(lines_from(&stage, from), [""; 0], "no provider is called, and no volume dismounted");
        }
        assert!(stage.host.state().exclusive.is_empty(), "the other destination is let go too");
        stage.host.state().in_use.clear();
        assert_eq!(requester.recover(RecoveryOptions::empty()).is_ok(), !is_had, "it can be tried again");
    }
}

#[test]
fn destinations_are_let_go_however_a_resync_ends() {
    let stage = Stage::new(Settings::default());
    let requester = recovering(&stage);
    stage.provider.react(Method::ResyncLuns, Reaction::Answer(HResult::VSS_E_PROVIDER_VETO));
    assert_eq!(requester.recover(RecoveryOptions::empty()).unwrap_err().code(), HResult::VSS_E_PROVIDER_VETO);
    assert!(stage.host.state().exclusive.is_empty());
    requester.recover(RecoveryOptions::empty()).unwrap();
}
