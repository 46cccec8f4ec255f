//! The limits of time: 10 s for held writes, 60 s for frozen writers, and the patience for arriving disks (section 7).

use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lunshadow_coordinator::{Clock, CreationError, ManualClock, Settings, SystemClock, Window};
use lunshadow_vss::{Context, HResult, Method};

use crate::support::{HostStep, Reaction, Stage, volume};

/// A reaction that lets time pass, then runs `then`.
fn after(stage: &Stage, by: Duration, then: impl Fn() + Send + Sync + 'static) -> Reaction {
    let clock = stage.clock.clone();
    Reaction::Also(Arc::new(move || {
        clock.advance(by);
        then();
    }))
}

#[test]
fn an_expired_hold_is_released_while_the_provider_still_commits() {
    let stage = Stage::new(Settings::default());
    let held_after = Arc::new(Mutex::new(Vec::new()));
    let other = stage.second_provider();
    for (provider, seconds) in [(&stage.provider, 9), (&other, 2)] {
        let (host, held) = (stage.host.clone(), held_after.clone());
        let note = move || held.lock().unwrap().push(host.state().is_held);
        provider.react(Method::CommitSnapshots, after(&stage, Duration::from_secs(seconds), note));
    }
    stage.provider.state().supported = Some(["L1".to_owned()].into());
    stage.host.state().volumes.get_mut(&volume(2)).unwrap().remove(0);
    let (_requester, result) = stage.create();
    let failure = result.unwrap_err();
    assert_eq!(failure.code(), HResult::VSS_E_HOLD_WRITES_TIMEOUT);
    // Nine seconds into the hold writes are held; eleven seconds into it they are not, though the second provider is not done.
    assert_eq!(*held_after.lock().unwrap(), [true, false]);
    assert_eq!(stage.journal.count("P.PostCommitSnapshots 2"), 0);
    for provider in ["P", "Q"] {
        assert_eq!(stage.journal.count(&format!("{provider}.AbortSnapshots")), 1);
    }
    assert!(stage.provider.state().shadows.is_empty(), "what was committed is deleted");
    stage.assert_host_is_free();
    let hold = stage.coordinator.timeline().window(Window::Hold).cloned().unwrap();
    assert!(!hold.ending.is_ok());
}

#[test]
fn exactly_the_limit_is_in_time() {
    let stage = Stage::new(Settings::default());
    stage.provider.react(Method::CommitSnapshots, after(&stage, Duration::from_millis(9_999), || ()));
    stage.create().1.unwrap();
    assert_eq!(stage.coordinator.timeline().window(Window::Hold).unwrap().duration_us, 9_999_000);
}

#[test]
fn an_expired_hold_outweighs_the_providers_own_failure() {
    let stage = Stage::new(Settings::default());
    let clock = stage.clock.clone();
    let stall_and_fail = move || {
        clock.advance(Duration::from_secs(11));
        std::panic::panic_any("told so");
    };
    stage.provider.react(Method::CommitSnapshots, Reaction::Also(Arc::new(stall_and_fail)));
    let (_requester, result) = stage.create();
    assert!(matches!(result.unwrap_err().error, CreationError::HoldExpired { .. }));
}

#[test]
fn a_flush_that_takes_the_whole_hold_is_a_flush_timeout() {
    let stage = Stage::new(Settings::default());
    stage.host.state().flush_takes = Duration::from_secs(11);
    let (_requester, result) = stage.create();
    assert_eq!(result.unwrap_err().code(), HResult::VSS_E_FLUSH_WRITES_TIMEOUT);
    assert_eq!(stage.journal.count("P.CommitSnapshots"), 0);
    assert_eq!(stage.journal.count("P.AbortSnapshots"), 1);
    stage.assert_host_is_free();
}

#[test]
fn the_hold_clock_begins_before_the_flush() {
    let stage = Stage::new(Settings::default());
    stage.host.state().flush_takes = Duration::from_secs(6);
    stage.provider.react(Method::CommitSnapshots, after(&stage, Duration::from_secs(6), || ()));
    let (_requester, result) = stage.create();
    assert_eq!(result.unwrap_err().code(), HResult::VSS_E_HOLD_WRITES_TIMEOUT);
}

#[test]
fn expired_writers_are_let_go_at_once_and_fail_the_set() {
    for method in [Method::PreCommitSnapshots, Method::PostCommitSnapshots] {
        let stage = Stage::new(Settings::default());
        let frozen = Arc::new(Mutex::new(None));
        let (host, seen) = (stage.host.clone(), frozen.clone());
        let look = move || *seen.lock().unwrap() = Some(host.state().is_frozen);
        stage.provider.react(method, after(&stage, Duration::from_secs(61), look));
        let (_requester, result) = stage.create();
        assert_eq!(result.unwrap_err().code(), HResult::VSS_E_WRITERERROR_TIMEOUT, "{method}");
        assert_eq!(*frozen.lock().unwrap(), Some(false), "{method}: writers go on while the provider is busy");
        assert_eq!(stage.journal.count("P.AbortSnapshots"), 1, "{method}");
        assert_eq!(stage.journal.count("writers Thaw"), 0, "{method}: they were told of the abort instead");
        let commits = usize::from(method == Method::PostCommitSnapshots);
        assert_eq!(stage.journal.count("P.CommitSnapshots"), commits, "{method}: there is no use in a late commit");
        assert!(stage.provider.state().shadows.is_empty());
        stage.assert_host_is_free();
    }
}

#[test]
fn writers_are_frozen_for_no_longer_than_the_knob_and_the_least_patient_of_them_allow() {
    let seconds = Duration::from_secs;
    // What the knob says, what a writer says, and what counts.
    let cases = [
        (seconds(60), None, seconds(60)),
        (seconds(30), None, seconds(30)),
        (seconds(90), None, seconds(90)),
        (seconds(60), Some(seconds(20)), seconds(20)),
        (seconds(15), Some(seconds(20)), seconds(15)),
    ];
    for (freeze_limit, freeze_at_most, limit) in cases {
        let a_moment = Duration::from_millis(1);
        for (takes, is_in_time) in [(limit - a_moment, true), (limit + a_moment, false)] {
            let stage = Stage::new(Settings { freeze_limit, ..Settings::default() });
            stage.host.state().freeze_at_most = freeze_at_most;
            stage.provider.react(Method::PostCommitSnapshots, after(&stage, takes, || ()));
            let (_requester, result) = stage.create();
            let told = result.err().map(|failure| match failure.error {
                CreationError::FreezeExpired { limit } => limit,
                error => panic!("{error:?}"),
            });
            assert_eq!(told, (!is_in_time).then_some(limit), "{freeze_limit:?}, {freeze_at_most:?}");
            stage.assert_host_is_free();
        }
    }
}

#[test]
fn without_writers_nobody_is_impatient() {
    let stage = Stage::new(Settings::default());
    stage.host.state().freeze_at_most = Some(Duration::from_secs(20));
    stage.provider.react(Method::PostCommitSnapshots, after(&stage, Duration::from_secs(21), || ()));
    stage.prepared(Context::CTX_NAS_ROLLBACK).do_snapshot_set().unwrap();
}

#[test]
fn an_old_alarm_does_not_touch_the_next_set() {
    let stage = Stage::new(Settings::default());
    let (requester, result) = stage.create();
    result.unwrap();
    drop(requester);
    // The second hold begins one second before the first would have expired.
    stage.clock.advance(Duration::from_secs(9));
    let held = Arc::new(Mutex::new(None));
    let (host, seen) = (stage.host.clone(), held.clone());
    let look = move || *seen.lock().unwrap() = Some(host.state().is_held);
    stage.provider.react(Method::CommitSnapshots, after(&stage, Duration::from_secs(5), look));
    stage.create().1.unwrap();
    assert_eq!(*held.lock().unwrap(), Some(true));
}

#[test]
fn the_machines_clock_releases_a_hold_from_a_thread_of_its_own() {
    let limit = Duration::from_millis(20);
    let stage = Stage::with_clock(
        Settings { hold_limit: limit, ..Settings::default() },
        Arc::new(ManualClock::new()),
        Arc::new(SystemClock::new()),
    );
    // The provider blocks until writes are released, as one does that itself writes to a held volume.
    let (released, release) = mpsc::channel();
    stage.host.on_release(move || released.send(()).unwrap());
    let release = Mutex::new(release);
    let wait = move || release.lock().unwrap().recv_timeout(Duration::from_secs(60)).unwrap();
    stage.provider.react(Method::CommitSnapshots, Reaction::Also(Arc::new(wait)));
    let (_requester, result) = stage.create();
    assert_eq!(result.unwrap_err().code(), HResult::VSS_E_HOLD_WRITES_TIMEOUT);
    stage.assert_host_is_free();
}

#[test]
fn a_disk_may_arrive_late_but_not_too_late() {
    let stage = Stage::new(Settings::default());
    stage.provider.state().late.insert("P-L2".to_owned());
    let (_requester, result) = stage.create();
    result.unwrap();
    assert_eq!(
        stage.journal.count("P.FillInLunInfo P-L1"),
        1,
        "a disk is asked for once, however often the host looks"
    );

    let stage = Stage::new(Settings::default());
    stage.provider.state().lost.insert("P-L2".to_owned());
    let before = stage.clock.now();
    let (_requester, result) = stage.create();
    let failure = result.unwrap_err();
    assert_eq!(failure.code(), HResult::VSS_E_MISSING_DISK);
    assert_eq!(stage.clock.now() - before, Settings::default().arrival_timeout);
    // The LUN that was seen is given back; the other is named, since nobody on this host can delete it.
    assert_eq!(stage.journal.count("P.OnLunEmpty P-L1"), 1);
    let unreclaimed: Vec<_> = failure.unreclaimed.iter().map(|lun| lun.serial_number.as_deref().unwrap()).collect();
    assert_eq!(unreclaimed, ["P-L2"]);
    stage.assert_host_is_free();
}

#[test]
fn a_failed_flush_leaves_the_next_set_possible() {
    let stage = Stage::new(Settings::default());
    stage.host.fail_at(HostStep::Flush);
    let requester = stage.prepared(Context::CTX_BACKUP);
    assert_eq!(requester.do_snapshot_set().unwrap_err().code(), HResult::VSS_E_UNEXPECTED);
    stage.create().1.unwrap();
}
