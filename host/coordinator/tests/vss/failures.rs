//! What remains after a failure at each stage: nothing (section 4(d)), and which code the requester gets (section 2.0.3).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, OnceLock};

use lunshadow_coordinator::{Activity, HostDisk, Phase, Requester, Settings};
use lunshadow_vss::{Context, HResult, MatchLevel, Method, legal_codes};

use crate::support::{HostStep, Reaction, Stage, device, lun, volume};

/// The methods between `DoSnapshotSet` and its end, in their order.
const CREATION: [Method; 8] = [
    Method::EndPrepareSnapshots,
    Method::PreCommitSnapshots,
    Method::CommitSnapshots,
    Method::PostCommitSnapshots,
    Method::GetTargetLuns,
    Method::LocateLuns,
    Method::PreFinalCommitSnapshots,
    Method::PostFinalCommitSnapshots,
];

/// A set over two providers, of which the second (`Q`) gets `reaction` in `method`. Afterwards nothing of it is left, and the next
/// set succeeds.
fn fail_in(settings: Settings, method: Method, reaction: Reaction) -> (Stage, HResult) {
    let stage = Stage::new(settings);
    let other = stage.second_provider();
    stage.provider.state().supported = Some(["L1".to_owned()].into());
    stage.host.state().volumes.get_mut(&volume(2)).unwrap().remove(0);
    other.react(method, reaction);
    let (requester, result) = stage.create();
    let failure = result.unwrap_err();
    stage.assert_host_is_free();
    assert!(stage.coordinator.query().is_empty(), "{method}");
    for provider in [&stage.provider, &other] {
        assert_eq!(provider.state().shadows, BTreeSet::new(), "{method} leaves shadow LUNs of {}", provider.name);
    }
    drop(requester);
    let aborts: Vec<_> = stage.journal.lines().into_iter().filter(|line| line.ends_with("AbortSnapshots")).collect();
    stage.create().1.unwrap_or_else(|failure| panic!("after {method}: {:?}", failure.error));
    assert_eq!(aborts, ["P.AbortSnapshots", "Q.AbortSnapshots"], "{method}");
    (stage, failure.code())
}

#[test]
fn a_veto_at_any_stage_undoes_everything_everywhere() {
    for method in CREATION {
        let veto = HResult::VSS_E_PROVIDER_VETO;
        assert_eq!(fail_in(Settings::default(), method, Reaction::Answer(veto)).1, veto, "{method}");
        assert_eq!(fail_in(Settings::default(), method, Reaction::ComplyButAnswer(veto)).1, veto, "{method}");
    }
}

#[test]
fn a_panic_at_any_stage_is_an_unexpected_provider_error() {
    for method in CREATION {
        let (stage, code) = fail_in(Settings::default(), method, Reaction::Panic);
        assert_eq!(code, HResult::VSS_E_UNEXPECTED_PROVIDER_ERROR, "{method}");
        let timeline = stage.coordinator.timeline();
        assert!(
            timeline
                .entries
                .iter()
                .any(|entry| entry.activity.to_string().starts_with(method.name()) && !entry.ending.is_ok())
        );
    }
}

#[test]
fn codes_reach_the_requester_as_the_methods_page_allows() {
    let suspects = [
        HResult::S_OK,
        HResult::S_FALSE,
        HResult::E_FAIL,
        HResult::E_UNEXPECTED,
        HResult::E_ABORT,
        HResult::E_NOTIMPL,
        HResult::VSS_E_BAD_STATE,
        HResult::E_OUTOFMEMORY,
        HResult::E_INVALIDARG,
        HResult::E_ACCESSDENIED,
        HResult::VSS_E_OBJECT_NOT_FOUND,
        HResult::VSS_E_INSUFFICIENT_STORAGE,
        HResult::VSS_E_PROVIDER_VETO,
        HResult::VSS_E_HOLD_WRITES_TIMEOUT,
    ];
    for method in CREATION {
        for answered in suspects {
            let is_legal = legal_codes(method).contains(&answered) && answered.is_failure();
            let expected = if is_legal { answered } else { HResult::VSS_E_UNEXPECTED_PROVIDER_ERROR };
            let (_, code) = fail_in(Settings::default(), method, Reaction::Answer(answered));
            assert_eq!(code, expected, "{method} answered {answered}");
        }
    }
}

#[test]
fn codes_before_the_creation_fail_only_the_volume() {
    for method in [Method::OnLoad, Method::AreLunsSupported, Method::BeginPrepareSnapshot] {
        for answered in [HResult::E_FAIL, HResult::S_FALSE, HResult::VSS_E_PROVIDER_VETO, HResult::E_OUTOFMEMORY] {
            let stage = Stage::new(Settings::default());
            let requester = stage.coordinator.requester();
            requester.start_snapshot_set().unwrap();
            stage.provider.react(method, Reaction::Answer(answered));
            let code = requester.add_to_snapshot_set(&volume(1), None).unwrap_err().code();
            let is_legal = legal_codes(method).contains(&answered);
            assert_eq!(code, if is_legal { answered } else { HResult::VSS_E_UNEXPECTED_PROVIDER_ERROR }, "{method}");
            requester.add_to_snapshot_set(&volume(2), None).unwrap();
            let copies = requester.do_snapshot_set().unwrap();
            assert_eq!(copies.iter().map(|copy| &copy.volume).collect::<Vec<_>>(), [&volume(2)], "{method}");
        }
    }
}

#[test]
fn an_abort_that_fails_changes_nothing() {
    for reaction in [Reaction::ComplyButAnswer(HResult::E_FAIL), Reaction::Panic] {
        let stage = Stage::new(Settings::default());
        stage.provider.react(Method::CommitSnapshots, Reaction::Answer(HResult::VSS_E_PROVIDER_VETO));
        stage.provider.react(Method::AbortSnapshots, reaction);
        assert_eq!(stage.create().1.unwrap_err().code(), HResult::VSS_E_PROVIDER_VETO);
        stage.create().1.unwrap();
    }
}

#[test]
fn each_step_of_the_host_can_fail_and_leaves_nothing() {
    // Writers are told of an abort from the beginning of their preparation to the end of their thaw.
    let steps = [
        (HostStep::SetFlags, HResult::VSS_E_UNEXPECTED, 0),
        (HostStep::PREPARE, HResult::VSS_E_WRITERERROR_NONRETRYABLE, 1),
        (HostStep::FREEZE, HResult::VSS_E_WRITERERROR_NONRETRYABLE, 1),
        (HostStep::FlushTimeout, HResult::VSS_E_FLUSH_WRITES_TIMEOUT, 1),
        (HostStep::Flush, HResult::VSS_E_UNEXPECTED, 1),
        (HostStep::ClearFlags, HResult::VSS_E_UNEXPECTED, 1),
        (HostStep::THAW, HResult::VSS_E_WRITERERROR_NONRETRYABLE, 1),
        (HostStep::Rescan, HResult::VSS_E_UNEXPECTED, 0),
        (HostStep::NewIdentity, HResult::VSS_E_CANNOT_REVERT_DISKID, 0),
        (HostStep::POST_SNAPSHOT, HResult::VSS_E_WRITERERROR_NONRETRYABLE, 0),
    ];
    for (step, code, writers_aborts) in steps {
        let stage = Stage::new(Settings::default());
        stage.host.fail_at(step);
        let (requester, result) = stage.create();
        assert_eq!(result.unwrap_err().code(), code, "{step:?}");
        stage.assert_host_is_free();
        assert_eq!(stage.journal.count("P.AbortSnapshots"), 1, "{step:?}");
        assert_eq!(stage.journal.count("writers Abort"), writers_aborts, "{step:?}");
        assert_eq!(stage.provider.state().shadows, BTreeSet::new(), "{step:?}");
        drop(requester);
        stage.create().1.unwrap_or_else(|failure| panic!("after {step:?}: {:?}", failure.error));
    }
}

#[test]
fn after_a_failure_writes_go_first_then_flags_then_writers_then_providers() {
    let stage = Stage::new(Settings::default());
    stage.provider.react(Method::CommitSnapshots, Reaction::Answer(HResult::VSS_E_PROVIDER_VETO));
    stage.create().1.unwrap_err();
    let lines = stage.journal.lines();
    let from = stage.journal.position("P.CommitSnapshots");
    assert_eq!(lines[from + 1..], ["release", "clear flags L1,L2", "writers Abort", "P.AbortSnapshots"]);
}

#[test]
fn whether_aborts_come_after_the_post_commit_is_a_knob() {
    for (method, aborts) in [(Method::PostCommitSnapshots, 1), (Method::GetTargetLuns, 0)] {
        let stage = Stage::new(Settings { abort_after_postcommit: false, ..Settings::default() });
        stage.provider.react(method, Reaction::Answer(HResult::VSS_E_PROVIDER_VETO));
        stage.create().1.unwrap_err();
        assert_eq!(stage.journal.count("P.AbortSnapshots"), aborts, "{method}");
    }
}

#[test]
fn seen_luns_of_a_failed_set_are_given_back_by_on_lun_empty() {
    let stage = Stage::new(Settings::default());
    stage.provider.react(Method::PostFinalCommitSnapshots, Reaction::Answer(HResult::VSS_E_PROVIDER_VETO));
    let failure = stage.create().1.unwrap_err();
    assert!(failure.unreclaimed.is_empty());
    let from = stage.journal.position("P.AbortSnapshots");
    let expected = [
        "P.AbortSnapshots",
        "dismount P-L1",
        "P.FillInLunInfo P-L1",
        "P.OnLunEmpty P-L1",
        "dismount P-L2",
        "P.FillInLunInfo P-L2",
        "P.OnLunEmpty P-L2",
        "rescan",
    ];
    assert_eq!(stage.journal.lines()[from..], expected);
}

#[test]
fn a_cancellation_ends_a_providers_wait_by_an_abort_from_another_thread() {
    let stage = Stage::new(Settings::default());
    let requester = Arc::new(stage.prepared(Context::CTX_BACKUP));
    let canceller: Arc<OnceLock<Arc<Requester>>> = Arc::default();
    canceller.set(requester.clone()).ok().unwrap();
    let (journal, seen) = (stage.journal.clone(), Arc::new(Mutex::new(0)));
    let aborts = seen.clone();
    let cancel = move || {
        let requester = canceller.get().unwrap().clone();
        std::thread::spawn(move || requester.cancel()).join().unwrap();
        *aborts.lock().unwrap() = journal.count("P.AbortSnapshots");
    };
    stage.provider.react(Method::EndPrepareSnapshots, Reaction::Also(Arc::new(cancel)));
    let failure = requester.do_snapshot_set().unwrap_err();
    assert_eq!(failure.code(), HResult::VSS_S_ASYNC_CANCELLED);
    assert_eq!(*seen.lock().unwrap(), 1, "the abort came while EndPrepareSnapshots ran");
    assert_eq!(stage.journal.count("P.PreCommitSnapshots"), 0);
    stage.assert_host_is_free();
    // The wish is spent: the same requester can create a set.
    requester.start_snapshot_set().unwrap();
    requester.add_to_snapshot_set(&volume(1), None).unwrap();
    requester.do_snapshot_set().unwrap();
}

#[test]
fn a_requester_that_goes_before_the_creation_goes_silently() {
    let stage = Stage::new(Settings::default());
    drop(stage.prepared(Context::CTX_BACKUP));
    let aborted = stage.prepared(Context::CTX_BACKUP);
    aborted.abort_backup();
    stage.create().1.unwrap();
    assert_eq!(stage.journal.count("P.AbortSnapshots"), 0);
    assert_eq!(aborted.do_snapshot_set().unwrap_err().code(), HResult::VSS_E_BAD_STATE);
}

#[test]
fn arrived_disks_are_matched_on_the_surest_level_there_is() {
    type Mangle = fn(&mut HostDisk);
    let cases: [(Mangle, Option<MatchLevel>); 5] = [
        (|_| (), Some(MatchLevel::Strict)),
        (|disk| disk.lun.product_revision = Some("2".into()), Some(MatchLevel::Page83)),
        (|disk| disk.lun.serial_number = Some("x".into()), Some(MatchLevel::Page83)),
        (|disk| disk.lun.identifiers.clear(), Some(MatchLevel::Page80)),
        (|disk| disk.lun = lun("another"), None),
    ];
    for (mangle, level) in cases {
        let stage = Stage::new(Settings::default());
        stage.provider.state().mangle = Some(mangle);
        stage.provider.state().fills_in_nothing = true;
        let (_requester, result) = stage.create();
        match (result, level) {
            (Ok(copies), Some(level)) => {
                assert!(copies.iter().flat_map(|copy| &copy.luns).all(|lun| lun.match_level == level), "{level:?}");
                let arrival = Activity::Phase { phase: Phase::Arrival };
                assert!(stage.coordinator.timeline().entries.iter().any(|entry| entry.activity == arrival));
            }
            (Err(failure), None) => assert_eq!(failure.code(), HResult::VSS_E_MISSING_DISK),
            (result, level) => panic!("{:?} where {level:?} was expected", result.map_err(|failure| failure.error)),
        }
    }
    // A provider that knows its LUN makes up for what the host's storage stack does to it.
    let stage = Stage::new(Settings::default());
    stage.provider.state().mangle = Some(|disk| disk.lun.identifiers.clear());
    let (_requester, result) = stage.create();
    assert!(result.unwrap().iter().flat_map(|copy| &copy.luns).all(|lun| lun.match_level == MatchLevel::Strict));
}

#[test]
fn a_disk_without_the_volumes_is_not_the_shadow() {
    let bends: [fn(&mut HostDisk); 3] = [
        |disk| disk.volumes.clear(),
        |disk| disk.volumes.iter_mut().for_each(|volume| volume.offset_bytes += 512),
        |disk| disk.len_bytes = 1 << 10,
    ];
    for bend in bends {
        let stage = Stage::new(Settings::default());
        stage.provider.state().mangle = Some(bend);
        let (_requester, result) = stage.create();
        assert_eq!(result.unwrap_err().code(), HResult::VSS_E_MISSING_HIDDEN_VOLUME);
        assert!(stage.provider.state().shadows.is_empty(), "it was seen, so it is given back");
    }
}

#[test]
fn foreign_disks_may_arrive_meanwhile() {
    let stage = Stage::new(Settings::default());
    stage.provider.state().late.insert("P-L1".to_owned());
    let foreign = HostDisk {
        device: device("F"),
        lun: lun("F"),
        len_bytes: 4 << 20,
        volumes: Vec::new(),
        partition_ids: BTreeMap::new(),
    };
    stage.host.state().arriving_late.push(foreign);
    let (_requester, result) = stage.create();
    result.unwrap();
    assert_eq!(stage.journal.count("P.FillInLunInfo F"), 1);
    assert_eq!(stage.journal.count("new identity F"), 0);
    assert_eq!(stage.journal.count("P.FillInLunInfo L1"), 0, "disks that were there before did not arrive");
}

#[test]
fn targets_that_contradict_the_contract_fail_the_set() {
    let bends: [fn(&mut Vec<lunshadow_vss::LunInformation>); 4] = [
        Vec::clear,
        |targets| targets.push(lun("one too many")),
        // The shared LUN has the first place in both answers.
        |targets| targets[0] = lun(&format!("{} targets", targets.len())),
        |targets| targets[0] = lun("L1"),
    ];
    for bend in bends {
        let stage = Stage::new(Settings::default());
        stage.provider.state().bend_targets = Some(bend);
        let (_requester, result) = stage.create();
        assert_eq!(result.unwrap_err().code(), HResult::VSS_E_UNEXPECTED_PROVIDER_ERROR);
        assert!(stage.provider.state().shadows.is_empty());
    }
}
