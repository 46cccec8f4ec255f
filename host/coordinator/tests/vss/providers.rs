//! Who is chosen for a volume (section 1.4 of the contract), and sets over providers of several kinds (section 4(j)).

use std::sync::Arc;

use lunshadow_coordinator::{
    CreationError, Deletion, Settings, SoftwareKind, SoftwareProvider, SoftwareRegistration, StandInFault,
    StandInProvider,
};
use lunshadow_vss::{BreakOptions, Context, HResult, Method, ProviderId};

use crate::support::{Reaction, Stage, provider_id, register_stand_in, volume};

/// The ids of the providers beside `P` (1) and `Q` (2).
const SYSTEM: u128 = 3;
const SOFTWARE: u128 = 4;

/// A stage with a software provider and the system provider, registered before each other and after `P`.
fn stage_with_all_kinds(settings: Settings) -> (Stage, Arc<StandInProvider>, Arc<StandInProvider>) {
    let stage = Stage::new(settings);
    let (system, software) = (Arc::new(StandInProvider::taking_all()), Arc::new(StandInProvider::taking_all()));
    for (id, kind, provider) in [(SYSTEM, SoftwareKind::System, &system), (SOFTWARE, SoftwareKind::Software, &software)]
    {
        let provider: Arc<dyn SoftwareProvider> = provider.clone();
        let registration = SoftwareRegistration { id: provider_id(id), name: format!("{kind:?}"), kind, provider };
        stage.coordinator.register_software_provider(registration).unwrap();
    }
    (stage, system, software)
}

/// Which provider a volume gets, by the properties of a copy of it.
fn chosen_for(stage: &Stage, context: Context, number: u32) -> Result<ProviderId, HResult> {
    let requester = stage.coordinator.requester();
    requester.set_context(context).map_err(|error| error.code())?;
    requester.start_snapshot_set().unwrap();
    requester.add_to_snapshot_set(&volume(number), None).map_err(|error| error.code())?;
    let copies = requester.do_snapshot_set().unwrap();
    assert_eq!(copies.len(), 1);
    let provider = copies[0].provider;
    requester.delete_snapshots(Deletion::Set(copies[0].set)).ok();
    Ok(provider)
}

#[test]
fn hardware_comes_before_software_and_that_before_the_system() {
    let (stage, _system, software) = stage_with_all_kinds(Settings::default());
    assert_eq!(chosen_for(&stage, Context::CTX_BACKUP, 1), Ok(provider_id(1)));
    // One LUN of two is not enough (rule 6), and the software provider is registered after the system provider.
    stage.provider.state().supported = Some(["L1".to_owned()].into());
    assert_eq!(chosen_for(&stage, Context::CTX_BACKUP, 1), Ok(provider_id(1)));
    assert_eq!(chosen_for(&stage, Context::CTX_BACKUP, 2), Ok(provider_id(SOFTWARE)));
    assert!(software.copies().is_empty(), "it was deleted by its provider");
    let only_system = Stage::new(Settings::default());
    only_system.provider.state().supported = Some([].into());
    let system = Arc::new(StandInProvider::taking([volume(1).0]));
    only_system
        .coordinator
        .register_software_provider(SoftwareRegistration {
            id: provider_id(SYSTEM),
            name: "system".into(),
            kind: SoftwareKind::System,
            provider: system,
        })
        .unwrap();
    assert_eq!(chosen_for(&only_system, Context::CTX_BACKUP, 1), Ok(provider_id(SYSTEM)));
    assert_eq!(chosen_for(&only_system, Context::CTX_BACKUP, 2), Err(HResult::VSS_E_VOLUME_NOT_SUPPORTED));
}

#[test]
fn a_wanted_provider_has_no_fallback_whatever_its_kind() {
    let (stage, _system, _software) = stage_with_all_kinds(Settings::default());
    let requester = stage.coordinator.requester();
    requester.start_snapshot_set().unwrap();
    requester.add_to_snapshot_set(&volume(1), Some(provider_id(SYSTEM))).unwrap();
    stage.provider.state().supported = Some([].into());
    let refused = requester.add_to_snapshot_set(&volume(2), Some(provider_id(1))).unwrap_err();
    assert_eq!(refused.code(), HResult::VSS_E_VOLUME_NOT_SUPPORTED_BY_PROVIDER);
    let copies = requester.do_snapshot_set().unwrap();
    assert_eq!(copies.iter().map(|copy| copy.provider).collect::<Vec<_>>(), [provider_id(SYSTEM)]);
}

#[test]
fn every_context_has_the_providers_that_it_is_for() {
    let system = provider_id(SYSTEM);
    let hardware = provider_id(1);
    for (context, expected) in [
        (Context::CTX_BACKUP, Ok(hardware)),
        (Context::CTX_FILE_SHARE_BACKUP, Ok(hardware)),
        (Context::CTX_NAS_ROLLBACK, Ok(hardware)),
        (Context::CTX_APP_ROLLBACK, Ok(hardware)),
        (Context::CTX_CLIENT_ACCESSIBLE, Ok(system)),
        (Context::CTX_CLIENT_ACCESSIBLE_WRITERS, Ok(system)),
        (Context::all(), Err(HResult::VSS_E_UNSUPPORTED_CONTEXT)),
        (Context::CTX_CLIENT_ACCESSIBLE | Context::DIFFERENTIAL, Err(HResult::VSS_E_UNSUPPORTED_CONTEXT)),
        (Context::CTX_CLIENT_ACCESSIBLE | Context::TRANSPORTABLE, Err(HResult::VSS_E_UNSUPPORTED_CONTEXT)),
        (Context::CTX_BACKUP | Context::FILE_SHARE, Err(HResult::VSS_E_UNSUPPORTED_CONTEXT)),
        (Context::DIFFERENTIAL, Ok(hardware)),
        (Context::PLEX, Ok(hardware)),
        (Context::DIFFERENTIAL | Context::PLEX, Err(HResult::VSS_E_UNSUPPORTED_CONTEXT)),
        (Context::TRANSPORTABLE, Ok(hardware)),
        (Context::CTX_APP_ROLLBACK | Context::PLEX | Context::NO_AUTORECOVERY | Context::NOT_TRANSACTED, Ok(hardware)),
        (Context::ROLLBACK_RECOVERY | Context::TXF_RECOVERY, Ok(hardware)),
    ] {
        let (stage, ..) = stage_with_all_kinds(Settings::default());
        assert_eq!(chosen_for(&stage, context, 1), expected, "{context:?}");
    }
    // What only LUNs can do falls back to nobody.
    let (stage, ..) = stage_with_all_kinds(Settings::default());
    stage.provider.state().supported = Some([].into());
    let nobody = chosen_for(&stage, Context::TRANSPORTABLE, 1);
    assert_eq!(nobody, Err(HResult::VSS_E_VOLUME_NOT_SUPPORTED));
}

#[test]
fn a_volume_that_hardware_declines_is_copied_in_software_at_the_same_instant() {
    let (stage, _system, software) = stage_with_all_kinds(Settings::default());
    stage.provider.state().supported = Some(["L1".to_owned()].into());
    let (requester, result) = stage.create();
    let copies = result.unwrap();
    assert_eq!(copies[0].provider, provider_id(1));
    assert_eq!(copies[1].provider, provider_id(SOFTWARE));
    assert!(copies[0].attributes.contains(Context::HARDWARE_ASSISTED));
    assert!(!copies[1].attributes.contains(Context::HARDWARE_ASSISTED) && copies[1].luns.is_empty());
    let only_creation = ["BeginPrepareSnapshot", "EndPrepareSnapshots", "PreCommitSnapshots", "CommitSnapshots"];
    let calls = software.calls();
    assert_eq!(calls[..4], only_creation);
    assert!(!calls.contains(&"GetTargetLuns") && !calls.contains(&"LocateLuns"), "these are for hardware providers");
    let methods = stage.coordinator.timeline().methods();
    let commits: Vec<usize> =
        methods.iter().enumerate().filter(|(_, name)| **name == "CommitSnapshots").map(|(at, _)| at).collect();
    assert_eq!(commits[1] - commits[0], 1, "nothing comes between the commits of one hold");
    // A set that is not of LUNs alone cannot be broken.
    let broken = requester.break_set(copies[0].set, BreakOptions::empty()).unwrap_err();
    assert_eq!(broken.code(), HResult::E_INVALIDARG);
    assert_eq!(requester.release().unwrap(), 2);
    assert!(software.copies().is_empty() && stage.provider.state().shadows.is_empty());
}

#[test]
fn the_order_of_providers_is_a_knob() {
    for (order, first) in [(Vec::new(), "P"), (vec![provider_id(2), provider_id(1)], "Q")] {
        let stage = Stage::new(Settings { order_of_providers: order, ..Settings::default() });
        let other = stage.second_provider();
        let (_requester, result) = stage.create();
        assert_eq!(result.unwrap()[0].provider, if first == "P" { provider_id(1) } else { provider_id(2) });
        drop(other);
    }
    // Where each has a volume of its own, it is the order of the calls.
    for (order, commits) in [
        (Vec::new(), ["P.CommitSnapshots", "Q.CommitSnapshots"]),
        (vec![provider_id(2)], ["Q.CommitSnapshots", "P.CommitSnapshots"]),
    ] {
        let stage = Stage::new(Settings { order_of_providers: order, ..Settings::default() });
        let other = stage.second_provider();
        stage.provider.state().supported = Some(["L1".to_owned()].into());
        other.state().supported = Some(["L2".to_owned()].into());
        stage.host.state().volumes.get_mut(&volume(2)).unwrap().remove(0);
        stage.create().1.unwrap();
        let from = stage.journal.position("hold 2");
        assert_eq!(stage.journal.lines()[from + 1..from + 3], commits);
    }
}

/// The methods that every provider of a set has.
const STEPS: [Method; 6] = [
    Method::EndPrepareSnapshots,
    Method::PreCommitSnapshots,
    Method::CommitSnapshots,
    Method::PostCommitSnapshots,
    Method::PreFinalCommitSnapshots,
    Method::PostFinalCommitSnapshots,
];

#[test]
fn a_failure_anywhere_aborts_everywhere_whatever_the_kinds() {
    let veto = HResult::VSS_E_PROVIDER_VETO;
    let faults = [StandInFault::Answer(veto), StandInFault::LoseAnswer(veto), StandInFault::Panic];
    for method in STEPS {
        for fault in faults {
            let (stage, _system, software) = stage_with_all_kinds(Settings::default());
            stage.provider.state().supported = Some(["L1".to_owned()].into());
            software.fail_in(method, fault);
            let (requester, result) = stage.create();
            let failure = result.unwrap_err();
            assert!(matches!(failure.error, CreationError::Provider(_)), "{method}: {:?}", failure.error);
            stage.assert_host_is_free();
            assert!(software.copies().is_empty(), "{method}, {fault:?}");
            assert!(stage.provider.state().shadows.is_empty(), "{method}, {fault:?}");
            assert_eq!(stage.journal.count("P.AbortSnapshots"), 1, "{method}, {fault:?}");
            assert!(software.calls().contains(&"AbortSnapshots"), "{method}, {fault:?}");
            drop(requester);
            stage.create().1.unwrap_or_else(|failure| panic!("after {method}: {:?}", failure.error));
        }
    }
}

#[test]
fn a_post_commit_comes_only_after_all_commits() {
    let (stage, _system, software) = stage_with_all_kinds(Settings::default());
    stage.provider.state().supported = Some(["L1".to_owned()].into());
    software.fail_in(Method::CommitSnapshots, StandInFault::Answer(HResult::VSS_E_PROVIDER_VETO));
    stage.create().1.unwrap_err();
    assert!(stage.journal.lines().iter().all(|line| !line.starts_with("P.PostCommitSnapshots")));

    // And the other way round: what the second has done is undone when the first fails.
    let (stage, _system, software) = stage_with_all_kinds(Settings::default());
    stage.provider.state().supported = Some(["L1".to_owned()].into());
    stage.provider.react(Method::PostCommitSnapshots, Reaction::Answer(HResult::VSS_E_PROVIDER_VETO));
    stage.create().1.unwrap_err();
    assert!(software.copies().is_empty());
}

#[test]
fn a_transportable_set_can_be_of_two_hardware_providers() {
    let stage = Stage::new(Settings::default());
    let other = Arc::new(StandInProvider::taking(["L2".to_owned()]));
    register_stand_in(&stage.coordinator, 5, &other);
    stage.provider.state().supported = Some(["L1".to_owned()].into());
    stage.host.state().volumes.get_mut(&volume(2)).unwrap().remove(0);
    let requester = stage.prepared(Context::TRANSPORTABLE);
    let set = requester.do_snapshot_set().unwrap()[0].set;
    let document = requester.document().unwrap();
    let providers: Vec<_> = document.snapshots.iter().map(|snapshot| snapshot.provider).collect();
    assert_eq!(providers, [provider_id(1), provider_id(5)]);
    assert_eq!(document.snapshots[1].luns[0].shadow.serial_number.as_deref(), Some("stand-in-L2"));
    assert_eq!(other.commits_of(set), 1);
}

#[test]
fn a_set_of_two_hardware_providers_is_imported_and_deleted_over_both() {
    let stage = Stage::new(Settings::default());
    let other = stage.second_provider();
    stage.provider.state().supported = Some(["L1".to_owned()].into());
    other.state().supported = Some(["L2".to_owned()].into());
    stage.host.state().volumes.get_mut(&volume(2)).unwrap().remove(0);
    let requester = stage.prepared(Context::TRANSPORTABLE);
    requester.do_snapshot_set().unwrap();
    let document = requester.document().unwrap();
    requester.release().unwrap();

    let requester = stage.coordinator.requester();
    requester.load_document(document.clone());
    let imported = requester.import_snapshots().unwrap();
    let providers: Vec<_> = imported.copies.iter().map(|copy| copy.provider).collect();
    assert_eq!(providers, [provider_id(1), provider_id(2)]);
    for line in ["P.LocateLuns [P-L1]", "Q.LocateLuns [Q-L2]"] {
        assert_eq!(stage.journal.count(line), 1, "{line}");
    }
    assert_eq!(requester.delete_snapshots(Deletion::Set(document.set)).unwrap(), 2);
    for (line, provider) in [("P.OnLunEmpty P-L1", &stage.provider), ("Q.OnLunEmpty Q-L2", &other)] {
        assert_eq!(stage.journal.count(line), 1, "{line}");
        assert!(provider.state().shadows.is_empty());
    }
}
