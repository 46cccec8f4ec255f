//! What a requester may ask, and what it is told otherwise (section 2.9 of the contract); the choice of providers (section 1.4).

use lunshadow_coordinator::{Deletion, ProviderRegistration, Settings, VOLUMES_PER_SET_MAX};
use lunshadow_vss::{Context, HResult, Method, SnapshotId};
use uuid::Uuid;

use crate::support::{Reaction, Stage, provider_id, volume};

#[test]
fn operations_out_of_order_are_bad_states() {
    let stage = Stage::new(Settings::default());
    let requester = stage.coordinator.requester();
    assert_eq!(requester.add_to_snapshot_set(&volume(1), None).unwrap_err().code(), HResult::VSS_E_BAD_STATE);
    assert_eq!(requester.do_snapshot_set().unwrap_err().code(), HResult::VSS_E_BAD_STATE);
    requester.start_snapshot_set().unwrap();
    // The default context was taken with the start.
    assert_eq!(requester.set_context(Context::CTX_BACKUP).unwrap_err().code(), HResult::VSS_E_BAD_STATE);
    // An empty set is none, and its end lets another begin.
    assert_eq!(requester.do_snapshot_set().unwrap_err().code(), HResult::VSS_E_BAD_STATE);
    requester.start_snapshot_set().unwrap();
    assert!(stage.journal.lines().is_empty(), "no provider heard of this");
}

#[test]
fn a_context_is_set_once_and_must_be_one_for_hardware_providers() {
    let stage = Stage::new(Settings::default());
    let requester = stage.coordinator.requester();
    for context in [
        Context::CTX_CLIENT_ACCESSIBLE,
        Context::CTX_CLIENT_ACCESSIBLE_WRITERS,
        Context::FILE_SHARE,
        Context::DIFFERENTIAL | Context::PLEX,
    ] {
        let code = requester.set_context(context).unwrap_err().code();
        assert_eq!(code, HResult::VSS_E_UNSUPPORTED_CONTEXT, "{context:?}");
    }
    requester.set_context(Context::CTX_BACKUP | Context::DIFFERENTIAL).unwrap();
    assert_eq!(requester.set_context(Context::CTX_BACKUP).unwrap_err().code(), HResult::VSS_E_BAD_STATE);
}

#[test]
fn one_creation_at_a_time() {
    let stage = Stage::new(Settings::default());
    let first = stage.prepared(Context::CTX_BACKUP);
    let second = stage.coordinator.requester();
    for requester in [&first, &second] {
        let code = requester.start_snapshot_set().unwrap_err().code();
        assert_eq!(code, HResult::VSS_E_SNAPSHOT_SET_IN_PROGRESS);
    }
    first.do_snapshot_set().unwrap();
    second.start_snapshot_set().unwrap();
    // A requester that goes takes its unfinished set along.
    drop(second);
    first.start_snapshot_set().unwrap();
}

#[test]
fn a_volume_is_in_a_set_once_and_a_set_is_full_with_64() {
    let stage = Stage::new(Settings::default());
    let of_first = stage.host.state().volumes[&volume(1)].clone();
    for number in 10..80 {
        stage.host.state().volumes.insert(volume(number), of_first.clone());
    }
    let requester = stage.coordinator.requester();
    requester.start_snapshot_set().unwrap();
    for number in 10..74 {
        requester.add_to_snapshot_set(&volume(number), None).unwrap();
    }
    let code = |number| requester.add_to_snapshot_set(&volume(number), None).unwrap_err().code();
    assert_eq!(code(10), HResult::VSS_E_OBJECT_ALREADY_EXISTS);
    assert_eq!(code(74), HResult::VSS_E_MAXIMUM_NUMBER_OF_VOLUMES_REACHED);
    assert_eq!(requester.do_snapshot_set().unwrap().len(), VOLUMES_PER_SET_MAX);
    assert_eq!(stage.journal.count("P.PostCommitSnapshots 64"), 1);
    assert_eq!(stage.journal.count("P.FillInLunInfo P-L1"), 1, "64 volumes on one LUN have one shadow LUN");
}

#[test]
fn every_provider_is_asked_and_the_first_that_agrees_is_chosen() {
    let stage = Stage::new(Settings::default());
    let _other = stage.second_provider();
    let requester = stage.coordinator.requester();
    requester.start_snapshot_set().unwrap();
    requester.add_to_snapshot_set(&volume(1), None).unwrap();
    assert_eq!(stage.journal.count("P.AreLunsSupported [L1]"), 1);
    assert_eq!(stage.journal.count("Q.AreLunsSupported [L1]"), 1);
    assert_eq!(stage.journal.count("P.BeginPrepareSnapshot [L1]"), 1);
    assert_eq!(stage.journal.count("Q.BeginPrepareSnapshot [L1]"), 0);
    // A spanned volume needs a provider for all of its LUNs.
    stage.provider.state().supported = Some(["L1".to_owned()].into());
    requester.add_to_snapshot_set(&volume(2), None).unwrap();
    assert_eq!(stage.journal.count("Q.BeginPrepareSnapshot [L1,L2]"), 1);
}

#[test]
fn a_wanted_provider_is_the_only_one_asked() {
    let stage = Stage::new(Settings::default());
    let other = stage.second_provider();
    let requester = stage.coordinator.requester();
    requester.start_snapshot_set().unwrap();
    let code = |id| requester.add_to_snapshot_set(&volume(1), Some(provider_id(id))).unwrap_err().code();
    assert_eq!(code(7), HResult::VSS_E_PROVIDER_NOT_REGISTERED);
    other.state().supported = Some([].into());
    assert_eq!(code(2), HResult::VSS_E_VOLUME_NOT_SUPPORTED_BY_PROVIDER);
    stage.provider.state().supported = Some([].into());
    let nobody = requester.add_to_snapshot_set(&volume(1), None).unwrap_err();
    assert_eq!(nobody.code(), HResult::VSS_E_VOLUME_NOT_SUPPORTED);
    other.state().supported = None;
    requester.add_to_snapshot_set(&volume(1), Some(provider_id(2))).unwrap();
    let unknown = requester.add_to_snapshot_set(&volume(9), None).unwrap_err();
    assert_eq!(unknown.code(), HResult::VSS_E_OBJECT_NOT_FOUND);
}

#[test]
fn ids_are_registered_once() {
    let stage = Stage::new(Settings::default());
    let again = ProviderRegistration { id: provider_id(1), name: "again".into(), provider: stage.provider.clone() };
    let code = stage.coordinator.register_provider(again).unwrap_err().code();
    assert_eq!(code, HResult::VSS_E_OBJECT_ALREADY_EXISTS);
}

#[test]
fn failed_sets_are_not_to_be_seen() {
    let stage = Stage::new(Settings::default());
    stage.provider.react(Method::PostFinalCommitSnapshots, Reaction::Answer(HResult::VSS_E_PROVIDER_VETO));
    let (requester, result) = stage.create();
    result.unwrap_err();
    assert!(stage.coordinator.query().is_empty());
    let unknown = SnapshotId(Uuid::from_u128(1));
    assert_eq!(requester.get_snapshot_properties(unknown), None);
    let code = requester.delete_snapshots(Deletion::Snapshot(unknown)).unwrap_err().code();
    assert_eq!(code, HResult::VSS_E_OBJECT_NOT_FOUND);
}
