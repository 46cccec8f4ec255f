//! Creations, backups, `exec`: which commands go with what, and where a script stops.

use lunshadow_diskshadow::{Fault, Flow, StateError};
use lunshadow_vss::Context;

use crate::fake::{PROVIDER, Rig};

#[test]
fn a_backup_as_administrators_write_it() {
    let mut rig = Rig::default();
    rig.succeed(
        "# a backup\nset context persistent\nset metadata a.cab\nset verbose on\nbegin backup\nadd volume %systemdrive% alias System\n\
         add volume d:\nwriter exclude stock\nwriter verify {1}\ncreate\nexec copy-0\nexpose %SYSTEM% x:\nend backup\n\
         delete shadows exposed X:\nexit\nnonsense\n",
    );
    assert_eq!(rig.calls("create"), ["full 0x9 volume-C+volume-D without [stock]"]);
    assert_eq!(rig.calls("notify"), ["BackupComplete"]);
    assert_eq!(rig.calls("delete").len(), 1);
    assert_eq!(rig.vss.shadows.len(), 1, "the persistent copy of D: stays");
    let (file, variables) = &rig.machine.runs[0];
    let names: Vec<_> = variables.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!((file.as_str(), names), ("copy-0", vec!["System", "VSS_SHADOW_2", "VSS_SHADOW_SET"]));
    assert_eq!(variables[1].1, rig.vss.shadows[0].id.to_string());
    let metadata = &rig.machine.files["a.cab"];
    assert_eq!((metadata.document.as_ref(), &metadata.aliases), (None, variables));
    assert_eq!(metadata.writers, ["SqlServerWriter", "System Writer"]);
    assert!(rig.has_said(&["number of shadow copies listed: 2"]), "{:#?}", rig.said);
    assert!(rig.has_said(&["original volume", "volume-C [C:]"]));
    assert!(rig.has_said(&["writer SqlServerWriter takes part"]) && rig.has_said(&["stock is excluded"]));
}

#[test]
fn volatile_copies_end_with_the_program_and_with_reset() {
    let mut rig = Rig::default();
    rig.succeed("add volume c:\ncreate");
    assert_eq!(rig.calls("create"), ["copy 0x0 volume-C without []"]);
    assert!(rig.vss.shadows.is_empty());
    let answers = rig.prompt(&["add volume c:", "create", "reset", "delete shadows id %VSS_SHADOW_1%", "set", "exit"]);
    assert!(answers[3].is_err(), "reset forgets aliases: {answers:?}");
    assert!(rig.vss.shadows.is_empty());
    assert!(rig.has_said(&["context   volatile"]));
}

#[test]
fn contexts_and_options_come_to_their_bits() {
    for (settings, bits) in [
        ("set context clientaccessible", Context::CTX_CLIENT_ACCESSIBLE),
        ("set context persistent", Context::CTX_APP_ROLLBACK),
        ("set context persistent nowriters", Context::CTX_NAS_ROLLBACK),
        ("set context volatile", Context::CTX_BACKUP),
        ("set context volatile nowriters", Context::CTX_FILE_SHARE_BACKUP),
        ("set option differential", Context::DIFFERENTIAL),
        ("set option plex transportable", Context::PLEX | Context::TRANSPORTABLE),
        ("set option rollbackrecover txfrecover", Context::ROLLBACK_RECOVERY | Context::TXF_RECOVERY),
        ("set option plex\nset option noautorecover", Context::NO_AUTORECOVERY),
    ] {
        let mut rig = Rig::default();
        rig.succeed(&format!("{settings}\nadd volume c: provider {PROVIDER}\ncreate"));
        assert_eq!(rig.calls("check"), [format!("volume-C {:#x} by {PROVIDER}", bits.bits())], "{settings}");
        assert_eq!(rig.calls("create"), [format!("copy {:#x} volume-C without []", bits.bits())], "{settings}");
    }
}

#[test]
fn what_comes_too_early_or_too_late_is_refused() {
    let cases = [
        ("create", StateError::NoVolumes),
        ("add volume c:\nadd volume C:", StateError::VolumeAdded("volume-C [C:]".into())),
        ("add volume c: alias a\nadd volume d: alias A", StateError::AliasTaken("A".into())),
        ("add volume c:\ncreate\ncreate", StateError::NoVolumes),
        (
            "set context clientaccessible\nset option transportable\nadd volume c:\ncreate",
            StateError::OptionsOfClientAccessible,
        ),
        ("begin backup\nbegin backup", StateError::BackupBegun),
        ("begin backup\nbegin restore", StateError::BackupBegun),
        ("begin backup\nload metadata a.cab", StateError::BackupBegun),
        ("begin backup\nimport", StateError::BackupBegun),
        ("begin backup\nsimulate restore", StateError::BackupBegun),
        ("begin backup\nadd volume c:\ncreate\nadd volume d:\ncreate", StateError::BackupHasSet),
        ("end backup", StateError::NoBackup),
        ("begin backup\nreset\nend backup", StateError::NoBackup),
        ("end restore", StateError::NoRestore),
        ("import", StateError::NothingLoaded),
        ("begin restore", StateError::NothingLoaded),
        ("simulate restore", StateError::NothingLoaded),
        ("resync", StateError::NothingLoaded),
        ("add shadow {00000000-0000-0000-0000-000000000001}", StateError::NothingLoaded),
        ("writer verify Nobody", StateError::NoSuchWriter("Nobody".into())),
        ("writer exclude Nobody", StateError::NoSuchWriter("Nobody".into())),
        (
            "writer verify {1}\nwriter exclude sqlserverwriter\nadd volume c:\ncreate",
            StateError::WriterMissing("{1}".into()),
        ),
        (
            "writer verify accounts\nwriter exclude ACCOUNTS\nadd volume c:\ncreate",
            StateError::WriterMissing("accounts".into()),
        ),
        (
            "set context volatile nowriters\nwriter verify accounts\nadd volume c:\ncreate",
            StateError::WriterMissing("accounts".into()),
        ),
    ];
    for (script, state) in cases {
        let mut rig = Rig::default();
        assert_eq!(rig.fault(script), Fault::State(state), "{script}");
    }
}

#[test]
fn volumes_must_exist_and_be_supported() {
    let mut rig = Rig::default();
    let fault = rig.fault("add volume x:");
    assert_eq!(fault.to_string(), "there is no volume x: [VSS_E_OBJECT_NOT_FOUND (0x80042308)]");
    rig.vss.failing.insert("check");
    assert_eq!(rig.fault("add volume c:").to_string(), "check failed [VSS_E_PROVIDER_VETO (0x80042306)]");
}

#[test]
fn a_script_stops_at_its_first_fault_and_a_prompt_goes_on() {
    let mut rig = Rig::default();
    let error = rig.script("add volume c:\n\n# no\nmake\ncreate").unwrap_err();
    assert_eq!(error.to_string(), "line 4: there is no command \"make\"; `help` lists all");
    assert!(rig.calls("create").is_empty());
    let answers = rig.prompt(&["add volume c:", "make", "create", "exit", "create"]);
    assert_eq!(answers.len(), 4);
    assert!(answers[1].is_err() && answers[2].is_ok() && answers[3] == Ok(Flow::Exit));
}

#[test]
fn a_failed_creation_keeps_the_volumes_for_another_attempt() {
    let mut rig = Rig::default();
    rig.vss.failing.insert("create");
    let answers = rig.prompt(&["add volume c:", "create", "create"]);
    assert_eq!(rig.calls("create").len(), 2, "{answers:?}");
    assert!(rig.machine.files.is_empty());
}

#[test]
fn a_program_that_fails_ends_even_a_prompt() {
    let mut rig = Rig::default();
    let answers = rig.prompt(&["exec backup-0", "exec nowhere", "exec backup-3", "exit"]);
    assert_eq!(answers.len(), 3, "{answers:?}");
    assert_eq!(answers[1].as_ref().unwrap_err().to_string(), "nowhere cannot be started");
    assert_eq!(answers[2], Err(Fault::Program { file: "backup-3".into(), status: 3 }));
}

#[test]
fn metadata_that_cannot_be_written_keeps_a_set_from_being_created() {
    let mut rig = Rig::default();
    rig.machine.is_read_only = true;
    let script = "set option transportable\nadd volume c:\ncreate";
    assert_eq!(rig.fault(script).to_string(), "cannot write by-itself.cab");
    assert!(rig.calls("create").is_empty());
    // Room can still run out in between; then somebody has to know of the set.
    rig.machine.is_read_only = false;
    rig.machine.is_full = true;
    let fault = rig.fault(script);
    assert!(matches!(fault, Fault::MetadataLost { .. }) && !fault.ends_prompt(), "{fault}");
}

#[test]
fn help_and_settings_tell_what_there_is() {
    let mut rig = Rig::default();
    rig.succeed(
        "help\nset option plex txfrecover\nset metadata a.cab\nset\nadd\nadd alias A b\nadd volume c: alias Sys\nadd\n\
         list providers\nlist writers\nlist writers detailed\nlist shadows all",
    );
    for said in [
        "revert SHADOW-ID",
        "options   plex txfrecover",
        "metadata  a.cab",
        "no volumes are added",
        "volume volume-C [C:]  alias Sys",
        "alias %A% = b",
        "Lunshadow",
        "number of writers listed: 2",
        "component  accounts",
        "state      stable",
        "number of shadow copies listed: 0",
    ] {
        assert!(rig.has_said(&[said]), "{said}: {:#?}", rig.said);
    }
}
