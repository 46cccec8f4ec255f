//! Imports of transportable sets, and what can be done with what was imported: sections 4(c), 4(e), 4(f) and 4(k) of the contract.

use lunshadow_coordinator::{BackupDocument, Deletion, Requester, Settings, SnapshotProperties};
use lunshadow_vss::{BreakOptions, Context, HResult};

use crate::support::{Stage, device};

/// A transportable set of both volumes, by its document.
fn transported(stage: &Stage) -> BackupDocument {
    let requester = stage.prepared(Context::TRANSPORTABLE);
    let copies = requester.do_snapshot_set().unwrap();
    assert!(copies.iter().all(|copy| copy.attributes.contains(Context::NOT_SURFACED) && copy.luns.is_empty()));
    let document = requester.document().unwrap();
    requester.release().unwrap();
    assert!(!stage.provider.state().shadows.is_empty(), "the importing side owns the deletion");
    let text = document.to_xml();
    assert_eq!(BackupDocument::from_xml(&text).unwrap(), document);
    document
}

fn importer(stage: &Stage, document: &BackupDocument) -> Requester {
    let requester = stage.coordinator.requester();
    requester.load_document(document.clone());
    requester
}

fn imported(stage: &Stage) -> (Requester, Vec<SnapshotProperties>) {
    let requester = importer(stage, &transported(stage));
    let copies = requester.import_snapshots().unwrap().copies;
    (requester, copies)
}

#[test]
fn shared_and_spanned_luns_arrive_once_and_go_volume_by_volume() {
    let stage = Stage::new(Settings::default());
    let (requester, copies) = imported(&stage);
    assert_eq!(stage.journal.count("P.LocateLuns [P-L1,P-L1,P-L2]"), 1);
    assert_eq!(stage.journal.count("P.FillInLunInfo P-L1"), 1);
    let disks: Vec<Vec<_>> =
        copies.iter().map(|copy| copy.luns.iter().map(|lun| lun.device.clone()).collect()).collect();
    assert_eq!(disks, [vec![device("P-L1")], vec![device("P-L1"), device("P-L2")]]);
    assert!(copies.iter().all(|copy| copy.attributes.contains(Context::IMPORTED)));

    // The first volume's LUN is one of the second's too.
    assert_eq!(requester.delete_snapshots(Deletion::Snapshot(copies[0].snapshot)).unwrap(), 1);
    assert_eq!(stage.journal.count("P.OnLunEmpty P-L1"), 0);
    assert_eq!(requester.delete_snapshots(Deletion::Snapshot(copies[1].snapshot)).unwrap(), 1);
    assert_eq!((stage.journal.count("P.OnLunEmpty P-L1"), stage.journal.count("P.OnLunEmpty P-L2")), (1, 1));
    assert!(stage.provider.state().shadows.is_empty());
}

#[test]
fn imports_can_follow_one_another() {
    let stage = Stage::new(Settings::default());
    let document = transported(&stage);
    // What does not arrive the first time is missing, and arrives the second time.
    stage.provider.state().lost.insert("P-L2".to_owned());
    let first = importer(&stage, &document);
    let partial = first.import_snapshots().unwrap();
    assert_eq!(partial.code(), HResult::VSS_S_SOME_SNAPSHOTS_NOT_IMPORTED);
    assert_eq!(partial.missing, [document.snapshots[1].snapshot]);
    stage.provider.state().lost.clear();
    let rest = first.import_snapshots().unwrap();
    assert_eq!((rest.copies.len(), rest.code()), (1, HResult::VSS_S_ASYNC_FINISHED));
    let again = first.import_snapshots().unwrap_err();
    assert_eq!(again.code(), HResult::VSS_E_OBJECT_ALREADY_EXISTS);

    // Masked, the copies are forgotten here and live on: they can be imported again.
    first.break_set(document.set, BreakOptions::MASK_LUNS).unwrap();
    assert!(stage.coordinator.query().is_empty());
    let host = &stage.host;
    host.state().disks.retain(|disk| !disk.device.0.starts_with("P-"));
    let second = importer(&stage, &document);
    assert_eq!(second.import_snapshots().unwrap().copies.len(), 2);
    assert_eq!(second.release().unwrap(), 2);
    // What the owner deleted cannot be imported any more.
    stage.provider.state().lost.extend(["P-L1".to_owned(), "P-L2".to_owned()]);
    let third = importer(&stage, &document).import_snapshots().unwrap_err();
    assert_eq!(third.code(), HResult::VSS_E_NO_SNAPSHOTS_IMPORTED);
}

#[test]
fn a_break_does_what_its_options_say_and_nothing_else() {
    let of_provider = |stage: &Stage, from: usize| -> Vec<String> {
        stage.journal.lines()[from..].iter().filter(|line| *line != "rescan").cloned().collect()
    };
    let cases: [(BreakOptions, &[&str]); 4] = [
        (BreakOptions::empty(), &[]),
        (BreakOptions::REVERT_IDENTITY_NONE, &[]),
        (BreakOptions::MAKE_READ_WRITE, &["P.OnLunStateChange [P-L1,P-L2] 0x100", "remove flags P-L1,P-L2"]),
        (BreakOptions::MASK_LUNS, &["dismount P-L1", "dismount P-L2", "P.OnLunStateChange [P-L1,P-L2] 0x800"]),
    ];
    for (options, expected) in cases {
        let stage = Stage::new(Settings::default());
        let (requester, copies) = imported(&stage);
        let from = stage.journal.lines().len();
        requester.break_set(copies[0].set, options).unwrap();
        assert_eq!(of_provider(&stage, from), expected, "{options:?}");
        assert!(stage.coordinator.query().is_empty(), "{options:?}: the set is none any more");
        let from = stage.journal.lines().len();
        assert_eq!(requester.release().unwrap(), 0, "{options:?}");
        assert_eq!(of_provider(&stage, from), [""; 0], "{options:?}: nobody deletes a LUN of a broken set");
        let again = stage.coordinator.requester().break_set(copies[0].set, options).unwrap_err();
        assert_eq!(again.code(), HResult::VSS_E_OBJECT_NOT_FOUND);
    }
}

#[test]
fn identities_are_reverted_all_or_none() {
    let stage = Stage::new(Settings::default());
    let (requester, copies) = imported(&stage);
    let set = copies[0].set;
    let both = BreakOptions::REVERT_IDENTITY_ALL | BreakOptions::REVERT_IDENTITY_NONE;
    assert_eq!(requester.break_set(set, both).unwrap_err().code(), HResult::E_INVALIDARG);
    // One original is there, of two.
    let mut disks = std::mem::take(&mut stage.host.state().disks);
    disks.retain(|disk| disk.device != device("L1"));
    stage.host.state().disks = disks;
    let present = requester.break_set(set, BreakOptions::REVERT_IDENTITY_ALL).unwrap_err();
    assert_eq!(present.code(), HResult::VSS_E_BREAK_REVERT_ID_FAILED);
    assert!(stage.journal.lines().iter().all(|line| !line.starts_with("signature")), "none was changed");
    assert_eq!(stage.coordinator.query().len(), 2, "the set exists as before");
    stage.host.state().disks.retain(|disk| disk.device != device("L2"));
    requester.break_set(set, BreakOptions::REVERT_IDENTITY_ALL).unwrap();
    assert_eq!((stage.journal.count("signature P-L1 0"), stage.journal.count("signature P-L2 0")), (1, 1));
}
