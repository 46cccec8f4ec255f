//! Processes that die in the middle of a call: the provider's, and the array's.
//!
//! These tests have a process of their own: Wine's COM may take a new server for a dead one that its client remembers.
#![cfg(windows)]

use lunshadow_vss::{HResult, Method, SnapshotSetId};
use lunshadow_windows::rig::{Activation, PERSISTENT, Stage, When, end_servers};
use parking_lot::Mutex;

#[test]
fn p_120_a_provider_that_is_killed_in_its_commit_harms_no_source() {
    let mut stage = Stage::new("killed", Activation::LocalServer, 2);
    let array = stage.array.clone();
    let coordinator = stage.hooked(move |when, method| {
        if (when, method) == (When::Before, Method::CommitSnapshots) {
            // The array stands still, so that the provider waits for it when it dies.
            array.pause();
            let array = array.clone();
            std::thread::spawn(move || {
                end_servers();
                array.resume();
            });
        }
        Ok(())
    });
    let (requester, set) = stage.host.begin(&coordinator, PERSISTENT, &stage.luns);
    let failure = requester.do_snapshot_set().expect_err("the provider's process is gone");
    assert_eq!(failure.code(), HResult::VSS_E_UNEXPECTED_PROVIDER_ERROR);
    drop((requester, coordinator));
    stage.assert_sources_are_free();
    stage.reconnect();
    stage.assert_next_set_works(4);
    assert!(stage.is_over(set) || stage.has_lease(set), "what the dead process has begun goes by itself");
}

/// Kills the array in the commit of a set of `coordinator`'s. The creation fails.
fn kill_array_in_commit(stage: &Stage, stands_still: bool) -> SnapshotSetId {
    let (array, killer) = (stage.array.clone(), Mutex::new(None));
    let coordinator = stage.hooked(move |when, method| {
        if (when, method) == (When::Before, Method::CommitSnapshots) {
            let array = array.clone();
            if stands_still {
                array.pause();
            }
            *killer.lock() = Some(std::thread::spawn(move || array.kill()));
        }
        // A commit that was faster: the array is gone before anything else is asked of it.
        if let (When::After, Method::CommitSnapshots, Some(killer)) = (when, method, killer.lock().take()) {
            killer.join().expect("the array is killed");
        }
        Ok(())
    });
    let (requester, set) = stage.host.begin(&coordinator, PERSISTENT, &stage.luns);
    requester.do_snapshot_set().expect_err("the array is gone, and the disks with it");
    set
}

#[test]
fn p_057_an_array_that_is_killed_in_a_commit_has_no_half_of_a_set() {
    let mut stage = Stage::new("array", Activation::LocalServer, 3);
    for round in 0..6_u8 {
        // The moment differs from round to round, and from run to run; whichever it is, it has to be right.
        let set = kill_array_in_commit(&stage, round % 3 == 0);
        stage.array.start();
        let counts = stage.shadow_counts();
        assert!(counts.iter().all(|count| *count == counts[0]), "round {round}: half of a set: {counts:?}");
        stage.reconnect();
        stage.assert_next_set_works(round);
        // Nobody could tell the array of the abort. What it had committed before it died goes when its lease ends.
        assert!(stage.is_over(set) || stage.has_lease(set), "round {round}");
    }
}
