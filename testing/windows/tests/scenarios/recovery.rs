//! LUNs that go back to the content of their shadow LUNs, by `ResyncLuns` and its `IVssAsync` over COM.

use lunshadow_coordinator::Requester;
use lunshadow_vss::{Context, LunInformation, RecoveryOptions, SnapshotId};
use lunshadow_windows::rig::{Activation, PERSISTENT, RECORD_AT_BYTES, Stage};

/// Creates a transportable set, spoils the sources, and recovers them.
fn spoil_and_recover(stage: &Stage, options: RecoveryOptions) -> (Requester, Vec<SnapshotId>) {
    let context = PERSISTENT | Context::TRANSPORTABLE;
    let (requester, _) = stage.host.begin(&stage.coordinator, context, &stage.luns);
    let copies = requester.do_snapshot_set().expect("nothing is in the way");
    let snapshots: Vec<SnapshotId> = copies.iter().map(|copy| copy.snapshot).collect();
    spoil(stage);
    recover(&requester, &snapshots, options);
    (requester, snapshots)
}

/// Overwrites the volumes' beginnings and the records.
fn spoil(stage: &Stage) {
    for lun in &stage.luns {
        let disk = stage.host.disk(&stage.host.device_of(*lun));
        disk.write_at(2 << 20, &vec![0xbd; 1 << 20]).expect("it can be written");
        disk.write_at(RECORD_AT_BYTES, &[0xbd; 512]).expect("it can be written");
    }
}

fn recover(requester: &Requester, snapshots: &[SnapshotId], options: RecoveryOptions) {
    for snapshot in snapshots {
        requester.add_to_recovery_set(*snapshot, None).expect("the original is on this host");
    }
    requester.recover(options).expect("the array brings the content back");
}

fn identities(stage: &Stage) -> Vec<LunInformation> {
    stage.luns.iter().map(|lun| stage.host.lun_of(&stage.host.device_of(*lun))).collect()
}

/// All of the sources, from the volume on: the table is VSS's to write.
fn contents(stage: &Stage) -> Vec<Vec<u8>> {
    let content = |lun: &_| stage.host.whole(&stage.host.device_of(*lun)).split_off(1 << 20);
    let mut contents: Vec<Vec<u8>> = stage.luns.iter().map(content).collect();
    for content in &mut contents {
        content.truncate(content.len() - (1 << 20));
    }
    contents
}

#[test]
fn p_103_recovered_luns_have_their_content_back_and_keep_their_identities() {
    let stage = Stage::new("resync", Activation::LocalServer, 2);
    stage.write_records(7);
    let (before, content) = (identities(&stage), contents(&stage));
    spoil_and_recover(&stage, RecoveryOptions::empty());
    assert_eq!(identities(&stage), before, "page 0x83, the serial number and the signature are what they were");
    assert!(contents(&stage) == content, "each block is what it was at the instant");
    stage.assert_sources_are_free();
}

#[test]
fn p_112_either_signature_can_be_written_after_the_recovery() {
    let stage = Stage::new("revert", Activation::Service, 1);
    let original = identities(&stage);
    let (requester, snapshots) = spoil_and_recover(&stage, RecoveryOptions::empty());
    assert_eq!(identities(&stage), original);
    // The destination's own signature is another one now, so that going back to the copied disk's shows.
    let device = stage.host.device_of(stage.luns[0]);
    lunshadow_coordinator::Platform::assign_new_identity(&*stage.host.windows, &device).expect("it can be written");
    let renewed = identities(&stage);
    assert_ne!(renewed, original);
    spoil(&stage);
    recover(&requester, &snapshots, RecoveryOptions::empty());
    assert_eq!(identities(&stage), renewed, "without a wish the destination keeps its signature");
    recover(&requester, &snapshots, RecoveryOptions::REVERT_IDENTITY_ALL);
    assert_eq!(identities(&stage), original, "the signature is that of the disk that was copied");
}

#[test]
fn p_102_a_second_recovery_gives_the_same_content() {
    let stage = Stage::new("twice", Activation::LocalServer, 1);
    let content = contents(&stage);
    let (requester, snapshots) = spoil_and_recover(&stage, RecoveryOptions::empty());
    assert!(contents(&stage) == content);
    spoil(&stage);
    assert!(contents(&stage) != content);
    recover(&requester, &snapshots, RecoveryOptions::empty());
    assert!(contents(&stage) == content);
}
