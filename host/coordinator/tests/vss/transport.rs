//! Imports of transportable sets, and what can be done with what was imported: sections 4(c), 4(e) and 4(k) of the contract.

use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use lunshadow_coordinator::{BackupDocument, Deletion, ImportError, Requester, Settings, SnapshotProperties};
use lunshadow_vss::{BreakOptions, Context, HResult, Method};

use crate::support::{Reaction, Stage, device, provider_id};

/// A transportable set of both volumes, by its document.
pub(crate) fn transported(stage: &Stage) -> BackupDocument {
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

pub(crate) fn importer(stage: &Stage, document: &BackupDocument) -> Requester {
    let requester = stage.coordinator.requester();
    requester.load_document(document.clone());
    requester
}

pub(crate) fn imported(stage: &Stage) -> (Requester, Vec<SnapshotProperties>) {
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
fn what_cannot_be_imported_is_refused_before_a_provider_hears_of_it() {
    let stage = Stage::new(Settings::default());
    let nothing_loaded = stage.coordinator.requester().import_snapshots().unwrap_err();
    assert_eq!(nothing_loaded.code(), HResult::VSS_E_BAD_STATE);
    let document = transported(&stage);
    let from = stage.journal.lines().len();
    let of_one_host = BackupDocument { context: document.context - Context::TRANSPORTABLE, ..document.clone() };
    let refused = importer(&stage, &of_one_host).import_snapshots().unwrap_err();
    assert!(matches!(refused, ImportError::NotTransportable), "{refused:?}");
    assert_eq!(refused.code(), HResult::VSS_E_NONTRANSPORTABLE_BCD);
    let mut of_another = document.clone();
    of_another.snapshots[1].provider = provider_id(9);
    let unregistered = importer(&stage, &of_another).import_snapshots().unwrap_err();
    assert_eq!(unregistered.code(), HResult::VSS_E_PROVIDER_NOT_REGISTERED);
    assert_eq!(stage.journal.lines()[from..], [""; 0]);
    assert_eq!(importer(&stage, &document).import_snapshots().unwrap().copies.len(), 2);
}

#[test]
fn one_import_runs_at_a_time() {
    let stage = Stage::new(Settings::default());
    let document = transported(&stage);
    let (first, second) = (importer(&stage, &document), importer(&stage, &document));
    let (tell, told) = mpsc::channel();
    let (begin, began) = mpsc::channel();
    // The first import is in the middle, and stays there for as long as a second one could need to get that far.
    let meanwhile = Mutex::new((begin, told));
    let stay = move || {
        let (begin, told) = &*meanwhile.lock().unwrap();
        begin.send(()).unwrap();
        let ended = told.recv_timeout(Duration::from_millis(300));
        assert_eq!(ended, Err(mpsc::RecvTimeoutError::Timeout), "the second import did not wait");
    };
    stage.provider.react(Method::LocateLuns, Reaction::Also(Arc::new(stay)));
    std::thread::scope(|scope| {
        let other = scope.spawn(move || {
            began.recv_timeout(Duration::from_secs(60)).unwrap();
            let result = second.import_snapshots();
            // Nobody listens any more where the first import has ended before.
            let _ = tell.send(());
            result.map(|imported| imported.copies.len()).map_err(|error| error.code())
        });
        assert_eq!(first.import_snapshots().unwrap().copies.len(), 2);
        assert_eq!(other.join().unwrap(), Err(HResult::VSS_E_OBJECT_ALREADY_EXISTS));
    });
    assert_eq!(stage.coordinator.query().len(), 2);
    assert_eq!(stage.journal.count("P.LocateLuns [P-L1,P-L1,P-L2]"), 1);
}
