//! The order of calls in a successful life of a set: sections 4(a), 4(e), 4(j) and 4(k) of the contract.

use crate::support::{HostStep, Reaction, Stage, device, volume};
use lunshadow_coordinator::{
    Activity, Deletion, FinalOrder, LocateArray, Phase, Settings, TransportableRecovery, Window,
};
use lunshadow_vss::{Context, HResult, MatchLevel, Method};

/// Steps 1 to 4.10, with the volumes of 4(k).
const UP_TO_THAW: [&str; 18] = [
    "P.OnLoad",
    "P.AreLunsSupported [L1]",
    "P.BeginPrepareSnapshot [L1]",
    "P.AreLunsSupported [L1,L2]",
    "P.BeginPrepareSnapshot [L1,L2]",
    "P.EndPrepareSnapshots",
    "set flags L1,L2",
    "writers PrepareSnapshot",
    "writers Freeze",
    "P.PreCommitSnapshots",
    "hold 2",
    "P.CommitSnapshots",
    "release",
    "clear flags L1,L2",
    "P.PostCommitSnapshots 2",
    "writers Thaw",
    "P.GetTargetLuns [L1]",
    "P.GetTargetLuns [L1,L2]",
];

/// Steps 4.12 to 4.14.
const IMPORT: [&str; 7] = [
    "rescan",
    "P.LocateLuns [P-L1,P-L1,P-L2]",
    "rescan",
    "P.FillInLunInfo P-L1",
    "P.FillInLunInfo P-L2",
    "new identity P-L1",
    "new identity P-L2",
];

/// Steps 4.15 to 4.17.
const FINISH: [&str; 3] = ["P.PreFinalCommitSnapshots", "writers PostSnapshot", "P.PostFinalCommitSnapshots"];

#[test]
fn the_diagrams_order_is_kept_exactly() {
    let stage = Stage::new(Settings::default());
    let (_requester, result) = stage.create();
    let copies = result.unwrap();
    assert_eq!(stage.journal.lines(), [&UP_TO_THAW[..], &IMPORT, &FINISH].concat());
    stage.assert_host_is_free();
    assert_eq!(stage.provider.state().shadows.len(), 2);

    assert_eq!(copies.len(), 2);
    assert_eq!(copies[0].volume, volume(1));
    assert_eq!(copies[0].luns.len(), 1);
    let of_second: Vec<_> = copies[1].luns.iter().map(|lun| (&lun.source_device, &lun.device)).collect();
    assert_eq!(of_second, [(&device("L1"), &device("P-L1")), (&device("L2"), &device("P-L2"))]);
    assert_eq!(copies[0].luns[0].shadow, copies[1].luns[0].shadow, "one shadow LUN serves both volumes");
    assert!(copies.iter().flat_map(|copy| &copy.luns).all(|lun| lun.match_level == MatchLevel::Strict));
    assert!(copies[0].attributes.contains(Context::HARDWARE_ASSISTED));
    assert_eq!(stage.coordinator.query(), copies);
}

#[test]
fn the_texts_order_is_kept_exactly() {
    let stage = Stage::new(Settings { final_order: FinalOrder::Text, ..Settings::default() });
    let (_requester, result) = stage.create();
    result.unwrap();
    let (before, targets) = UP_TO_THAW.split_at(16);
    assert_eq!(stage.journal.lines(), [before, &FINISH, targets, &IMPORT].concat());
}

#[test]
fn shared_luns_are_located_once_where_duplicates_are_not_wanted() {
    let stage = Stage::new(Settings { locate_array: LocateArray::Deduplicated, ..Settings::default() });
    let (_requester, result) = stage.create();
    result.unwrap();
    assert_eq!(stage.journal.count("P.LocateLuns [P-L1,P-L2]"), 1);
}

#[test]
fn without_writers_there_are_no_writer_events_and_no_freeze() {
    let stage = Stage::new(Settings::default());
    let requester = stage.prepared(Context::CTX_FILE_SHARE_BACKUP);
    requester.do_snapshot_set().unwrap();
    assert!(stage.journal.lines().iter().all(|line| !line.starts_with("writers")));
    assert_eq!(stage.coordinator.timeline().window(Window::Freeze), None);
    assert!(stage.coordinator.timeline().window(Window::Hold).is_some());
}

#[test]
fn recovery_is_told_around_the_writers_post_snapshot() {
    // The requester's wish, and a writer's.
    for (context, writers_recover) in [(Context::ROLLBACK_RECOVERY, false), (Context::CTX_BACKUP, true)] {
        let stage = Stage::new(Settings::default());
        stage.host.state().writers_recover = writers_recover;
        let requester = stage.prepared(context);
        let copies = requester.do_snapshot_set().unwrap();
        assert_eq!(copies[0].attributes.contains(Context::AUTORECOVER), writers_recover);
        let lines = stage.journal.lines();
        let expected = [
            "P.PreFinalCommitSnapshots",
            "writable P-L1,P-L1,P-L2",
            "P.OnLunStateChange [P-L1,P-L2] 0x200",
            "writers PostSnapshot",
            "read-only",
            "P.OnLunStateChange [P-L1,P-L2] 0x400",
            "P.PostFinalCommitSnapshots",
        ];
        assert_eq!(lines[lines.len() - expected.len()..], expected);
    }
}

#[test]
fn a_transportable_set_is_here_for_its_writers_only() {
    let settings = Settings { transportable_recovery: TransportableRecovery::OnCreatingHost, ..Settings::default() };
    let stage = Stage::new(settings.clone());
    stage.host.state().writers_recover = true;
    let requester = stage.prepared(Context::TRANSPORTABLE);
    let copies = requester.do_snapshot_set().unwrap();
    assert!(copies.iter().all(|copy| copy.luns.is_empty() && copy.attributes.contains(Context::NOT_SURFACED)));
    let lines = stage.journal.lines();
    let from = stage.journal.position("P.PreFinalCommitSnapshots");
    assert!(stage.journal.position("P.LocateLuns [P-L1,P-L1,P-L2]") < from);
    let expected = [
        "P.PreFinalCommitSnapshots",
        "writable P-L1,P-L1,P-L2",
        "P.OnLunStateChange [P-L1,P-L2] 0x200",
        "writers PostSnapshot",
        "read-only",
        "P.OnLunStateChange [P-L1,P-L2] 0x400",
        "P.PostFinalCommitSnapshots",
        "dismount P-L1",
        "dismount P-L2",
        "P.OnLunStateChange [P-L1,P-L2] 0x800",
        "rescan",
    ];
    assert_eq!(lines[from..], expected);
    assert_eq!(requester.release().unwrap(), 0, "whoever imports it deletes it");
    assert_eq!(stage.provider.state().shadows.len(), 2);

    // Where nobody has anything to recover, nothing comes in.
    let stage = Stage::new(settings.clone());
    stage.prepared(Context::TRANSPORTABLE).do_snapshot_set().unwrap();
    assert_eq!(stage.journal.count("rescan"), 0);

    // One that fails is gone.
    let stage = Stage::new(settings);
    stage.host.state().writers_recover = true;
    stage.host.fail_at(HostStep::POST_SNAPSHOT);
    stage.prepared(Context::TRANSPORTABLE).do_snapshot_set().unwrap_err();
    assert!(stage.provider.state().shadows.is_empty());
}

#[test]
fn what_suppresses_recovery_gives_writers_nothing() {
    for (context, order) in [
        (Context::CTX_BACKUP | Context::NO_AUTORECOVERY | Context::ROLLBACK_RECOVERY, FinalOrder::Diagram),
        (Context::CTX_FILE_SHARE_BACKUP, FinalOrder::Diagram),
        (Context::TRANSPORTABLE, FinalOrder::Diagram),
        // Nothing has arrived yet that could be changed.
        (Context::CTX_BACKUP, FinalOrder::Text),
    ] {
        let stage = Stage::new(Settings { final_order: order, ..Settings::default() });
        stage.host.state().writers_recover = true;
        stage.prepared(context).do_snapshot_set().unwrap();
        assert_eq!(stage.journal.lines().iter().filter(|line| line.starts_with("writable")).count(), 0, "{context:?}");
        assert_eq!(stage.journal.count("read-only"), 0, "{context:?}");
    }
}

#[test]
fn a_recovery_that_fails_leaves_nothing_writable() {
    for (step, code, closes) in [
        (HostStep::Recovery, HResult::VSS_E_AUTORECOVERY_FAILED, 0),
        (HostStep::POST_SNAPSHOT, HResult::VSS_E_WRITERERROR_NONRETRYABLE, 1),
    ] {
        let stage = Stage::new(Settings::default());
        stage.host.fail_at(step);
        let failure = stage.prepared(Context::TXF_RECOVERY).do_snapshot_set().unwrap_err();
        assert_eq!(failure.code(), code);
        assert_eq!(stage.journal.count("read-only"), closes);
        assert!(stage.provider.state().shadows.is_empty());
    }
}

#[test]
fn two_providers_share_one_hold() {
    let stage = Stage::new(Settings::default());
    let other = stage.second_provider();
    stage.provider.state().supported = Some(["L1".to_owned()].into());
    stage.host.state().volumes.get_mut(&volume(2)).unwrap().remove(0);
    let (requester, result) = stage.create();
    result.unwrap();
    let lines = stage.journal.lines();
    let from = stage.journal.position("hold 2");
    assert_eq!(lines[from..from + 4], ["hold 2", "P.CommitSnapshots", "Q.CommitSnapshots", "release"]);
    // Each is asked for its own LUNs only, and about every disk that arrives.
    assert_eq!(stage.journal.count("P.LocateLuns [P-L1]"), 1);
    assert_eq!(stage.journal.count("Q.LocateLuns [Q-L2]"), 1);
    assert_eq!(stage.journal.count("P.FillInLunInfo Q-L2"), 1);
    assert_eq!(requester.release().unwrap(), 2);
    assert!(stage.provider.state().shadows.is_empty());
    assert!(other.state().shadows.is_empty());
}

#[test]
fn a_lun_goes_back_with_the_last_copy_on_it() {
    let stage = Stage::new(Settings::default());
    let (requester, result) = stage.create();
    let copies = result.unwrap();
    let from = stage.journal.lines().len();
    assert_eq!(requester.delete_snapshots(Deletion::Snapshot(copies[0].snapshot)).unwrap(), 1);
    assert_eq!(stage.journal.lines()[from..], ["rescan"], "the other copy still needs the LUN");
    assert_eq!(requester.get_snapshot_properties(copies[0].snapshot), None);

    assert_eq!(requester.delete_snapshots(Deletion::Snapshot(copies[1].snapshot)).unwrap(), 1);
    let expected = [
        "dismount P-L1",
        "P.FillInLunInfo P-L1",
        "P.OnLunEmpty P-L1",
        "dismount P-L2",
        "P.FillInLunInfo P-L2",
        "P.OnLunEmpty P-L2",
        "rescan",
    ];
    assert_eq!(stage.journal.lines()[from + 1..], expected);
    assert!(stage.provider.state().shadows.is_empty());
    assert!(stage.coordinator.query().is_empty());
}

#[test]
fn a_set_with_a_shared_lun_gives_it_back_once() {
    let stage = Stage::new(Settings::default());
    let (requester, result) = stage.create();
    let set = result.unwrap()[0].set;
    assert_eq!(requester.delete_snapshots(Deletion::Set(set)).unwrap(), 2);
    assert_eq!(stage.journal.count("P.OnLunEmpty P-L1"), 1);
    assert_eq!(stage.journal.count("P.OnLunEmpty P-L2"), 1);
}

#[test]
fn a_deletion_that_fails_names_the_copy_and_goes_on_later() {
    let stage = Stage::new(Settings::default());
    let (requester, result) = stage.create();
    let copies = result.unwrap();
    // The first LUN of the second copy is deleted, its second is refused.
    stage.provider.react(Method::OnLunEmpty, Reaction::Comply);
    stage.provider.react(Method::OnLunEmpty, Reaction::Answer(HResult::VSS_E_PROVIDER_VETO));
    let failure = requester.delete_snapshots(Deletion::Set(copies[0].set)).unwrap_err();
    assert_eq!(failure.code(), HResult::VSS_E_PROVIDER_VETO);
    assert_eq!((failure.deleted, failure.undeleted), (1, Some(copies[1].snapshot)));
    assert_eq!(stage.coordinator.query().len(), 1);

    assert_eq!(requester.delete_snapshots(Deletion::Set(copies[0].set)).unwrap(), 1);
    assert_eq!(stage.journal.count("P.OnLunEmpty P-L1"), 1, "what is gone is not deleted twice");
    assert!(stage.provider.state().shadows.is_empty());
    let failure = requester.delete_snapshots(Deletion::Set(copies[0].set)).unwrap_err();
    assert_eq!(failure.code(), HResult::VSS_E_OBJECT_NOT_FOUND);
}

#[test]
fn a_deletion_whose_answer_was_lost_is_repeated_without_the_disk() {
    let stage = Stage::new(Settings::default());
    let (requester, result) = stage.create();
    let set = result.unwrap()[0].set;
    stage.provider.react(Method::OnLunEmpty, Reaction::ComplyButAnswer(HResult::VSS_E_PROVIDER_VETO));
    requester.delete_snapshots(Deletion::Set(set)).unwrap_err();
    assert_eq!(requester.delete_snapshots(Deletion::Set(set)).unwrap(), 1, "the first copy of two needed no LUN");
    assert_eq!(stage.journal.count("P.OnLunEmpty without a disk, P-L1"), 1);
    assert!(stage.provider.state().shadows.is_empty());
}

#[test]
fn a_disk_that_the_provider_does_not_recognise_is_not_deleted() {
    let stage = Stage::new(Settings::default());
    let (requester, result) = stage.create();
    let copies = result.unwrap();
    stage.provider.state().shadows.clear();
    let failure = requester.delete_snapshots(Deletion::Set(copies[0].set)).unwrap_err();
    assert_eq!(failure.code(), HResult::VSS_E_OBJECT_NOT_FOUND);
    assert!(stage.journal.lines().iter().all(|line| !line.starts_with("P.OnLunEmpty")));
}

#[test]
fn a_requesters_end_deletes_what_is_not_persistent() {
    let stage = Stage::new(Settings::default());
    let (requester, result) = stage.create();
    result.unwrap();
    drop(requester);
    assert!(stage.provider.state().shadows.is_empty());

    let requester = stage.prepared(Context::CTX_APP_ROLLBACK);
    requester.do_snapshot_set().unwrap();
    assert_eq!(requester.release().unwrap(), 0);
    assert_eq!(stage.coordinator.query().len(), 2, "persistent copies stay");
}

#[test]
fn the_timeline_has_every_call_phase_and_window() {
    let stage = Stage::new(Settings::default());
    let clock = stage.clock.clone();
    let passes = move || clock.advance(std::time::Duration::from_millis(3));
    stage.provider.react(Method::CommitSnapshots, Reaction::Also(std::sync::Arc::new(passes)));
    let (_requester, result) = stage.create();
    result.unwrap();
    let timeline = stage.coordinator.timeline();
    let calls: Vec<String> = stage.journal.lines().into_iter().filter(|line| line.starts_with("P.")).collect();
    assert_eq!(timeline.methods().len(), calls.len());
    for (method, call) in timeline.methods().iter().zip(&calls) {
        assert!(call.starts_with(&format!("P.{method}")), "{method} is not {call}");
    }
    let commit = timeline.entries.iter().find(|entry| entry.activity.to_string() == "CommitSnapshots").unwrap();
    assert_eq!(commit.duration_us, 3000);
    assert_eq!(timeline.window(Window::Hold).unwrap().duration_us, 3000);
    assert_eq!(timeline.window(Window::Freeze).unwrap().duration_us, 3000);
    let phases: Vec<Phase> = timeline
        .entries
        .iter()
        .filter_map(|entry| match entry.activity {
            Activity::Phase { phase } => Some(phase),
            _ => None,
        })
        .collect();
    for phase in [Phase::SetSourceFlags, Phase::FlushAndHold, Phase::ReleaseWrites, Phase::Arrival] {
        assert!(phases.contains(&phase), "{phase:?} is missing");
    }
}

#[test]
fn providers_are_loaded_once_and_may_decline_to_be_unloaded() {
    let stage = Stage::new(Settings::default());
    let (requester, result) = stage.create();
    result.unwrap();
    drop(requester);
    stage.create().1.unwrap();
    assert_eq!(stage.journal.count("P.OnLoad"), 1);
    stage.provider.react(Method::OnUnload, Reaction::Answer(HResult::S_FALSE));
    assert!(!stage.coordinator.unload_providers(false));
    assert!(stage.coordinator.unload_providers(true));
    assert!(stage.coordinator.unload_providers(true), "there is nothing left to unload");
    assert_eq!(stage.journal.count("P.OnUnload true"), 1);
}
