//! A host that dies in the middle: the array's leases do what nobody is left to do.

use std::time::Duration;

use lunshadow_catalog::{Moment, SetState};
use lunshadow_vss::{Context, SnapshotId, SnapshotSetId};
use uuid::Uuid;

use crate::rig::Rig;

/// How far a host comes before it dies.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Until {
    Begin,
    EndPrepare,
    PreCommit,
    Commit,
    PostCommit,
}

/// The calls of a set up to some step, after which nothing comes any more.
fn die_after(rig: &Rig, until: Until) -> SnapshotSetId {
    let set = SnapshotSetId(Uuid::new_v4());
    let provider = &rig.provider;
    for (index, device) in rig.devices.iter().enumerate() {
        use lunshadow_coordinator::Platform as _;
        let snapshot = SnapshotId(Uuid::from_u128(index as u128));
        let mut luns = [rig.host.disk(device).unwrap().lun];
        let devices = std::slice::from_ref(device);
        provider.begin_prepare_snapshot(set, snapshot, Context::CTX_BACKUP, devices, &mut luns).unwrap();
    }
    if until >= Until::EndPrepare {
        provider.end_prepare_snapshots(set).unwrap();
    }
    if until >= Until::PreCommit {
        provider.pre_commit_snapshots(set).unwrap();
    }
    if until >= Until::Commit {
        provider.commit_snapshots(set).unwrap();
    }
    if until >= Until::PostCommit {
        provider.post_commit_snapshots(set, 2).unwrap();
    }
    set
}

#[test]
fn a_set_of_a_dead_host_goes_with_its_lease_unless_it_is_kept() {
    for until in [Until::Begin, Until::EndPrepare, Until::PreCommit, Until::Commit, Until::PostCommit] {
        let rig = Rig::new();
        let set = die_after(&rig, until);
        assert_eq!(rig.shadows().len(), if until >= Until::Commit { 2 } else { 0 }, "{until:?}");
        let long_after = Moment(Duration::from_secs(365 * 24 * 60 * 60));
        let ended = rig.runtime.block_on(rig.array.catalog().reap(long_after)).unwrap();
        if until == Until::PostCommit {
            // The copies may be described in a saved document: they are kept until somebody deletes them.
            assert!(ended.is_empty());
            assert_eq!(rig.set_state(set), Some(SetState::Kept));
            let left = rig.shadows();
            assert_eq!(left.len(), 2);
            rig.delete_as_administrator(&left);
        } else {
            assert_eq!(ended.len(), 1, "{until:?}");
            assert_eq!(rig.set_state(set), Some(SetState::Aborted), "{until:?}");
        }
        rig.assert_nothing_is_left(set, &format!("{until:?}"));
    }
}
