//! Breaks: section 4(f) of the contract, with the identities of disks (sections 3.13 and 5.4).

use lunshadow_coordinator::{BackupDocument, BreakError, DiskIdentity, Requester, Settings, SnapshotProperties};
use lunshadow_vss::{BreakOptions, HResult, Method};

use crate::support::{HostStep, Reaction, Stage, provider_id, restarted};
use crate::transport::{imported, importer, transported};

#[test]
fn a_break_does_what_its_options_say_and_nothing_else() {
    let of_provider = |stage: &Stage, from: usize| -> Vec<String> {
        stage.journal.lines()[from..].iter().filter(|line| *line != "rescan").cloned().collect()
    };
    let read_write = ["P.OnLunStateChange [P-L1,P-L2] 0x100", "remove flags P-L1,P-L2"];
    let mask = ["dismount P-L1", "dismount P-L2", "P.OnLunStateChange [P-L1,P-L2] 0x800"];
    let both = [read_write.as_slice(), &mask].concat();
    let cases: [(BreakOptions, &[&str]); 7] = [
        (BreakOptions::empty(), &[]),
        (BreakOptions::REVERT_IDENTITY_NONE, &[]),
        (BreakOptions::MAKE_READ_WRITE, &read_write),
        (BreakOptions::MASK_LUNS, &mask),
        // The tool vshadow does not combine these (section 3.11). VSS is not known to refuse it, and what is masked can be writable.
        (BreakOptions::MAKE_READ_WRITE | BreakOptions::MASK_LUNS, &both),
        (BreakOptions::REVERT_IDENTITY_NONE | BreakOptions::MASK_LUNS, &mask),
        (BreakOptions::REVERT_IDENTITY_NONE | BreakOptions::MAKE_READ_WRITE, &read_write),
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
fn a_legacy_provider_is_told_nothing_and_masks_nothing() {
    let stage = Stage::new(Settings::default());
    let (requester, copies) = imported(&stage);
    stage.provider.state().is_legacy = true;
    let masked = BreakOptions::MAKE_READ_WRITE | BreakOptions::MASK_LUNS;
    let refused = requester.break_set(copies[0].set, masked).unwrap_err();
    assert_eq!(refused.code(), HResult::VSS_E_LEGACY_PROVIDER);
    assert_eq!(stage.coordinator.query().len(), copies.len(), "nothing was done of what can be done");
    requester.break_set(copies[0].set, BreakOptions::MAKE_READ_WRITE).unwrap();
    assert!(!stage.journal.lines().iter().any(|line| line.contains("OnLunStateChange")));
    assert_eq!(stage.journal.count("remove flags P-L1,P-L2"), 1);
}

/// A set of two volumes on a GPT disk with two partitions and an MBR disk, imported beside them.
fn imported_beside_originals(stage: &Stage) -> (Requester, BackupDocument, [DiskIdentity; 2]) {
    stage.host.identify("L1", 0xa1, &[0xb1, 0xb2]);
    stage.host.identify("L2", 0xa2, &[]);
    let document = transported(stage);
    let requester = importer(stage, &document);
    requester.import_snapshots().unwrap();
    let originals = ["L1", "L2"].map(|name| stage.host.identity_of(name));
    for (name, original) in ["P-L1", "P-L2"].into_iter().zip(&originals) {
        let drawn = stage.host.identity_of(name);
        assert_ne!(drawn.signature, original.signature);
        assert!(drawn.partition_ids.iter().all(|(number, id)| original.partition_ids[number] != *id));
    }
    (requester, document, originals)
}

fn take_away(stage: &Stage, names: &[&str]) {
    stage.host.state().disks.retain(|disk| !names.contains(&disk.device.0.as_str()));
}

fn identities(stage: &Stage) -> [DiskIdentity; 2] {
    ["P-L1", "P-L2"].map(|name| stage.host.identity_of(name))
}

#[test]
fn identities_are_reverted_all_or_none() {
    let stage = Stage::new(Settings::default());
    let (requester, document, originals) = imported_beside_originals(&stage);
    let set = document.set;
    // One original is there, of two.
    take_away(&stage, &["L1"]);
    let drawn = identities(&stage);
    let present = requester.break_set(set, BreakOptions::REVERT_IDENTITY_ALL).unwrap_err();
    assert_eq!(present.code(), HResult::VSS_E_BREAK_REVERT_ID_FAILED);
    assert_eq!(identities(&stage), drawn, "none was changed");
    assert_eq!(stage.coordinator.query().len(), 2, "the set exists as before");
    take_away(&stage, &["L2"]);
    requester.break_set(set, BreakOptions::REVERT_IDENTITY_ALL).unwrap();
    assert_eq!(identities(&stage), originals, "the signatures and the ids of the partitions");

    let stage = Stage::new(Settings::default());
    let (requester, document, _) = imported_beside_originals(&stage);
    take_away(&stage, &["L1", "L2"]);
    let drawn = identities(&stage);
    requester.break_set(document.set, BreakOptions::REVERT_IDENTITY_NONE).unwrap();
    assert_eq!(identities(&stage), drawn);
}

#[test]
fn a_failed_revert_can_be_repeated() {
    let stage = Stage::new(Settings::default());
    let (requester, document, originals) = imported_beside_originals(&stage);
    take_away(&stage, &["L1", "L2"]);
    stage.host.fail_at(HostStep::Signature);
    let failure = requester.break_set(document.set, BreakOptions::REVERT_IDENTITY_ALL).unwrap_err();
    assert_eq!(failure.code(), HResult::VSS_E_BREAK_REVERT_ID_FAILED);
    assert_eq!(stage.coordinator.query().len(), 2, "the set exists as before");
    requester.break_set(document.set, BreakOptions::REVERT_IDENTITY_ALL).unwrap();
    assert_eq!(identities(&stage), originals);
}

#[test]
fn the_host_remembers_identities_over_a_later_import_and_a_restart() {
    let stage = Stage::new(Settings::default());
    let (requester, document, originals) = imported_beside_originals(&stage);
    // Masked and imported once more, the disks have no identities that would have to be changed.
    requester.break_set(document.set, BreakOptions::MASK_LUNS).unwrap();
    let again = importer(&stage, &document);
    again.import_snapshots().unwrap();
    assert_eq!(stage.journal.lines().iter().filter(|line| line.starts_with("new identity")).count(), 2);
    take_away(&stage, &["L1", "L2"]);
    let kept = stage.coordinator.query();

    // A service that knows nothing of the first import cannot know the ids of the partitions, and changes nothing.
    let coordinator = restarted(&stage);
    let requester = coordinator.requester();
    requester.load_document(document.clone());
    requester.import_snapshots().unwrap();
    let drawn = identities(&stage);
    let unknown = requester.break_set(document.set, BreakOptions::REVERT_IDENTITY_ALL).unwrap_err();
    assert!(matches!(&unknown, BreakError::OriginalUnknown { device } if device.0 == "P-L1"), "{unknown:?}");
    assert_eq!(unknown.code(), HResult::VSS_E_BREAK_REVERT_ID_FAILED);
    assert_eq!(identities(&stage), drawn);

    // One that has taken over the shadow copies does.
    let coordinator = restarted(&stage);
    assert_eq!(coordinator.adopt(kept).unwrap(), []);
    coordinator.requester().break_set(document.set, BreakOptions::REVERT_IDENTITY_ALL).unwrap();
    assert_eq!(identities(&stage), originals);
}

#[test]
fn the_host_remembers_identities_over_an_import_that_failed() {
    let stage = Stage::new(Settings::default());
    stage.host.identify("L1", 0xa1, &[0xb1, 0xb2]);
    stage.host.identify("L2", 0xa2, &[]);
    let mut document = transported(&stage);
    document.snapshots.remove(0);
    stage.provider.state().lost.insert("P-L2".to_owned());
    let requester = importer(&stage, &document);
    assert_eq!(requester.import_snapshots().unwrap_err().code(), HResult::VSS_E_NO_SNAPSHOTS_IMPORTED);
    let original = stage.host.identity_of("L1");
    assert_ne!(stage.host.identity_of("P-L1"), original, "the disk that did arrive is not the original's twin");
    stage.provider.state().lost.clear();
    requester.import_snapshots().unwrap();
    let originals = [original, stage.host.identity_of("L2")];
    take_away(&stage, &["L1", "L2"]);
    requester.break_set(document.set, BreakOptions::REVERT_IDENTITY_ALL).unwrap();
    assert_eq!(identities(&stage), originals);
}

#[test]
fn a_disk_that_kept_its_identity_keeps_the_ids_of_its_partitions() {
    let stage = Stage::new(Settings::default());
    stage.host.identify("L1", 0xa1, &[0xb1, 0xb2]);
    stage.host.identify("L2", 0xa2, &[]);
    let document = transported(&stage);
    let originals = ["L1", "L2"].map(|name| stage.host.identity_of(name));
    take_away(&stage, &["L1", "L2"]);
    let requester = importer(&stage, &document);
    requester.import_snapshots().unwrap();
    requester.break_set(document.set, BreakOptions::REVERT_IDENTITY_ALL).unwrap();
    assert_eq!(identities(&stage), originals);
}

#[test]
fn identities_come_before_what_the_provider_hears_of() {
    let revert = BreakOptions::REVERT_IDENTITY_ALL;
    let signatures = ["signature P-L1 a1", "signature P-L2 a2"];
    let read_write = ["P.OnLunStateChange [P-L1,P-L2] 0x100", "remove flags P-L1,P-L2"];
    let mask = ["dismount P-L1", "dismount P-L2", "P.OnLunStateChange [P-L1,P-L2] 0x800"];
    let cases: [(BreakOptions, Vec<&str>); 3] = [
        (revert | BreakOptions::MAKE_READ_WRITE, [signatures, read_write].concat()),
        (revert | BreakOptions::MASK_LUNS, [signatures.as_slice(), &mask].concat()),
        (
            revert | BreakOptions::MAKE_READ_WRITE | BreakOptions::MASK_LUNS,
            [&signatures[..], &read_write, &mask].concat(),
        ),
    ];
    for (options, expected) in cases {
        let stage = Stage::new(Settings::default());
        let (requester, document, originals) = imported_beside_originals(&stage);
        // While an original is there nothing at all is done, whatever else is wanted.
        let from = stage.journal.lines().len();
        let present = requester.break_set(document.set, options).unwrap_err();
        assert_eq!(present.code(), HResult::VSS_E_BREAK_REVERT_ID_FAILED, "{options:?}");
        assert_eq!(stage.journal.lines()[from..], ["rescan"], "{options:?}");
        take_away(&stage, &["L1", "L2"]);
        let from = stage.journal.lines().len();
        requester.break_set(document.set, options).unwrap();
        let lines: Vec<_> = stage.journal.lines().drain(from..).filter(|line| line != "rescan").collect();
        assert_eq!(lines, expected, "{options:?}");
        assert_eq!(identities(&stage), originals, "{options:?}");
    }
}

#[test]
fn identities_cannot_be_reverted_and_kept() {
    let contradiction = BreakOptions::REVERT_IDENTITY_ALL | BreakOptions::REVERT_IDENTITY_NONE;
    for options in [BreakOptions::empty(), BreakOptions::MAKE_READ_WRITE, BreakOptions::MASK_LUNS] {
        let stage = Stage::new(Settings::default());
        let (requester, copies) = imported(&stage);
        let from = stage.journal.lines().len();
        let refused = requester.break_set(copies[0].set, contradiction | options).unwrap_err();
        assert_eq!(refused.code(), HResult::E_INVALIDARG, "{options:?}");
        assert_eq!(stage.journal.lines()[from..], [""; 0], "{options:?}");
        assert_eq!(stage.coordinator.query().len(), 2, "{options:?}");
    }
}

#[test]
fn a_provider_that_fails_or_is_not_there_leaves_the_set() {
    let stage = Stage::new(Settings::default());
    let (requester, copies) = imported(&stage);
    stage.provider.react(Method::OnLunStateChange, Reaction::Answer(HResult::VSS_E_PROVIDER_VETO));
    let vetoed = requester.break_set(copies[0].set, BreakOptions::MAKE_READ_WRITE).unwrap_err();
    assert_eq!(vetoed.code(), HResult::VSS_E_PROVIDER_VETO);
    assert_eq!(stage.journal.count("remove flags P-L1,P-L2"), 0);
    let kept = stage.coordinator.query();
    assert_eq!(kept.len(), 2);

    // After a restart, what was another provider's is known, and nobody is there who could be told.
    let coordinator = restarted(&stage);
    let of_another = kept.into_iter().map(|copy| SnapshotProperties { provider: provider_id(9), ..copy }).collect();
    coordinator.adopt(of_another).unwrap();
    let unregistered = coordinator.requester().break_set(copies[0].set, BreakOptions::MASK_LUNS).unwrap_err();
    assert_eq!(unregistered.code(), HResult::VSS_E_PROVIDER_NOT_REGISTERED);
    assert_eq!(coordinator.query().len(), 2);
}
