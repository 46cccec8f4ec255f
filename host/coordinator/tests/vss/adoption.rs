//! Persistent shadow copies are known again after a restart of the service, whatever their disks are called then.

use lunshadow_coordinator::{Deletion, HostDisk, Settings};
use lunshadow_vss::{Context, DeviceName, HResult, SnapshotId};
use uuid::Uuid;

use crate::support::{Stage, device, provider_id, restarted, volume};

/// Renames the disks of this host, or takes them away.
fn rename(stage: &Stage, name: impl Fn(&DeviceName) -> Option<DeviceName>) {
    let renamed = |disk: HostDisk| Some(HostDisk { device: name(&disk.device)?, ..disk });
    let disks = std::mem::take(&mut stage.host.state().disks);
    stage.host.state().disks = disks.into_iter().filter_map(renamed).collect();
}

#[test]
fn copies_are_found_by_the_identities_of_their_disks() {
    let stage = Stage::new(Settings::default());
    let requester = stage.prepared(Context::CTX_APP_ROLLBACK);
    let created = requester.do_snapshot_set().unwrap();
    requester.release().unwrap();
    rename(&stage, |old| Some(device(&format!("{old}, renamed"))));

    let coordinator = restarted(&stage);
    assert_eq!(coordinator.adopt(created.clone()).unwrap(), []);
    let adopted = coordinator.query();
    assert_eq!(adopted.len(), created.len());
    for (copy, before) in adopted.iter().zip(&created) {
        assert_eq!((copy.snapshot, copy.set, copy.created), (before.snapshot, before.set, before.created));
        for (lun, before) in copy.luns.iter().zip(&before.luns) {
            assert_eq!(lun.device, device(&format!("{}, renamed", before.device)));
            assert_eq!(lun.source_device, device(&format!("{}, renamed", before.source_device)));
        }
    }
}

#[test]
fn a_copy_without_all_of_its_disks_is_given_back() {
    let stage = Stage::new(Settings::default());
    let requester = stage.prepared(Context::CTX_APP_ROLLBACK);
    let created = requester.do_snapshot_set().unwrap();
    requester.release().unwrap();
    // The second copy lies on both shadow disks, the first one on one of them.
    let gone = created[1].luns[1].device.clone();
    rename(&stage, |old| (*old != gone).then(|| old.clone()));

    let coordinator = restarted(&stage);
    let absent: Vec<SnapshotId> =
        coordinator.adopt(created.clone()).unwrap().iter().map(|copy| copy.snapshot).collect();
    assert_eq!(absent, [created[1].snapshot]);
    assert_eq!(coordinator.query().len(), 1);
    // What was taken over can be deleted like any other.
    assert_eq!(coordinator.requester().delete_snapshots(Deletion::Set(created[0].set)).unwrap(), 1);
}

#[test]
fn a_volume_is_asked_for_before_there_is_a_set() {
    let stage = Stage::new(Settings::default());
    let names: Vec<_> =
        stage.coordinator.providers().into_iter().map(|provider| (provider.id, provider.name)).collect();
    assert_eq!(names, [(provider_id(1), "P".to_owned())]);
    let requester = stage.coordinator.requester();
    requester.is_volume_supported(&volume(1), None).unwrap();
    requester.is_volume_supported(&volume(2), Some(provider_id(1))).unwrap();
    let code = |name: u32, wanted: Option<u128>| {
        let wanted = wanted.map(|id| lunshadow_vss::ProviderId(Uuid::from_u128(id)));
        requester.is_volume_supported(&volume(name), wanted).unwrap_err().code()
    };
    assert_eq!(code(9, None), HResult::VSS_E_OBJECT_NOT_FOUND);
    assert_eq!(code(1, Some(9)), HResult::VSS_E_PROVIDER_NOT_REGISTERED);
    // Nothing was begun by asking.
    requester.start_snapshot_set().unwrap();
}
