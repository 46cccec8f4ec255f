//! Transportable sets: metadata, import, restore, resync.

use lunshadow_diskshadow::{Fault, StateError};

use crate::fake::Rig;

/// A rig with the metadata of a set of C: and D:, created with writers.
fn transported() -> Rig {
    let mut rig = Rig::default();
    rig.succeed(
        "set context persistent\nset option transportable\nset metadata set.cab\nadd alias Job nightly\n\
         add volume c: alias System\nadd volume d: alias Data\ncreate",
    );
    assert!(rig.vss.shadows.is_empty(), "nothing is here before an import");
    rig
}

#[test]
fn aliases_travel_with_the_metadata_and_the_set_is_imported() {
    let mut rig = transported();
    rig.succeed("load metadata set.cab\nimport\nlist shadows set %VSS_SHADOW_SET%\nexpose %data% /mnt/%job%\nbreak writable %VSS_SHADOW_SET%");
    assert_eq!(rig.calls("break"), ["0x2"]);
    assert_eq!(rig.calls("unexpose").len(), 1, "what is exposed is so no longer before the set is broken");
    assert!(rig.has_said(&["attributes", "transportable", "imported"]), "{:#?}", rig.said);
    assert!(rig.has_said(&["is at /mnt/nightly"]));
    assert!(rig.has_said(&["shadow copy {", "%System%"]));
}

#[test]
fn what_has_not_arrived_is_named() {
    let mut rig = transported();
    rig.vss.failing.insert("half");
    rig.succeed("load metadata set.cab\nimport");
    assert!(rig.has_said(&["has not arrived"]));
}

#[test]
fn metadata_has_to_be_there_and_of_the_right_kind() {
    let mut rig = transported();
    assert_eq!(rig.fault("load metadata other.cab").to_string(), "there is no file other.cab");
    rig.vss.failing.insert("load");
    assert!(matches!(rig.fault("load metadata set.cab"), Fault::Vss(_)));
    rig.vss.failing.clear();
    rig.succeed("set metadata plain.cab\nset context persistent\nadd volume c:\ncreate");
    for command in ["import", "add shadow %VSS_SHADOW_1%", "resync"] {
        let fault = rig.fault(&format!("load metadata plain.cab\n{command}"));
        assert_eq!(fault, Fault::State(StateError::NotTransportable), "{command}");
    }
    // For a restore it does not matter whether it can be imported.
    rig.succeed("load metadata plain.cab\nsimulate restore\nbegin restore\nend restore");
    assert_eq!(rig.calls("notify"), ["PreRestore", "PostRestore"]);
}

#[test]
fn a_restore_excludes_a_backup_and_needs_its_writers() {
    let mut rig = transported();
    for (command, state) in [
        ("begin backup", StateError::RestoreBegun),
        ("begin restore", StateError::RestoreBegun),
        ("import", StateError::RestoreBegun),
        ("add volume c:\ncreate", StateError::RestoreBegun),
        ("end backup", StateError::NoBackup),
    ] {
        let fault = rig.fault(&format!("load metadata set.cab\nbegin restore\n{command}"));
        assert_eq!(fault, Fault::State(state), "{command}");
    }
    rig.machine.files.get_mut("set.cab").unwrap().writers.push("Exchange".into());
    for command in ["simulate restore", "begin restore"] {
        let fault = rig.fault(&format!("load metadata set.cab\n{command}"));
        assert_eq!(fault, Fault::State(StateError::WritersGone("Exchange".into())), "{command}");
    }
}

#[test]
fn a_resync_brings_back_what_was_added() {
    let mut rig = transported();
    assert_eq!(rig.fault("load metadata set.cab\nresync"), Fault::State(StateError::NothingToResync));
    rig.succeed("load metadata set.cab\nbegin restore\nadd shadow %System%\nadd shadow %Data% e:\nresync revertsig novolcheck\nend restore");
    let added = rig.calls("recovery of");
    assert!(added[0].ends_with("to its volume") && added[1].ends_with("to volume-E"), "{added:?}");
    assert_eq!(rig.calls("recover "), ["0x300"]);
    // A failed one can be tried again.
    rig.vss.failing.insert("recover");
    let lines = ["load metadata set.cab", "add shadow %System%", "resync", "resync"];
    let answers = rig.prompt(&lines);
    assert!(answers[2] == answers[3] && matches!(answers[3], Err(Fault::Vss(_))), "{answers:?}");
}
