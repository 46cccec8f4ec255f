//! The commit: its deadline, its watchdog, its quiet, its failures.

use std::sync::Arc;
use std::time::Duration;

use lunshadow_catalog::{COMMIT_WITHIN_DEFAULT, COMMIT_WITHIN_MAX, LunDeletion, SetState};
use lunshadow_control::{Outcome, ProblemCode};
use lunshadow_lun::BlockCount;
use tokio::time::Instant;

use crate::fake_pool::Fault;
use crate::setup::{TestArray, code, name};

#[tokio::test(start_paused = true)]
async fn the_pool_gets_a_deadline_that_vss_can_live_with() {
    let array = TestArray::new().await;
    let asked = [None, Some(Duration::from_secs(2)), Some(Duration::from_secs(9)), Some(Duration::MAX)];
    for (number, commit_within) in (1..).zip(asked) {
        let set = array.prepared(number).await;
        array.catalog.arm(array.host, set, commit_within).await.unwrap();
        array.catalog.commit(array.host, set).await.unwrap();
    }
    let expected = [COMMIT_WITHIN_DEFAULT, Duration::from_secs(2), COMMIT_WITHIN_MAX, COMMIT_WITHIN_MAX];
    assert_eq!(array.pool.commit_times(), expected);
    assert_eq!((COMMIT_WITHIN_DEFAULT.as_secs(), COMMIT_WITHIN_MAX.as_secs()), (5, 8));
}

#[tokio::test(start_paused = true)]
async fn the_watchdog_answers_for_a_pool_that_hangs() {
    for (commit_within, answer_by) in [(2, 2.5), (8, 8.01), (60, 8.01)] {
        let array = TestArray::new().await;
        let (catalog, host) = (&array.catalog, array.host);
        let set = array.prepared(1).await;
        array.pool.switch(|faults| faults.commit_hangs = true);
        catalog.arm(host, set, Some(Duration::from_secs(commit_within))).await.unwrap();
        let began = Instant::now();
        assert_eq!(code(catalog.commit(host, set).await), ProblemCode::DeadlinePassed);
        let answered = began.elapsed().as_secs_f64();
        assert!(answered <= answer_by, "the answer to {commit_within} s came after {answered} s");
        assert_eq!(code(catalog.targets(host, set)), ProblemCode::SetAborted);
        assert_eq!(code(catalog.keep(host, set).await), ProblemCode::SetAborted);
        array.background().await;

        // The pool comes back and commits what nobody waits for any more.
        array.pool.switch(|faults| faults.commit_hangs = false);
        array.background().await;
        assert!(array.pool.shadows().is_empty(), "a late shadow LUN stayed");
        assert_eq!(array.pool.prepared_sets(), 0);
        assert_eq!(array.seen(), array.sources);
        assert_eq!(code(catalog.commit(host, set).await), ProblemCode::SetAborted);
        let array = array.reopen().await;
        assert_eq!(code(array.catalog.targets(host, set)), ProblemCode::SetAborted);
        assert!(array.catalog.orphans().is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn a_failed_commit_leaves_nothing() {
    for (fault, expected) in [
        (Fault::OutOfSpace, ProblemCode::OutOfSpace),
        (Fault::Poisoned, ProblemCode::PoolReadOnly),
        (Fault::Io, ProblemCode::Internal),
    ] {
        let array = TestArray::new().await;
        let set = array.armed(1).await;
        array.pool.switch(|faults| faults.commit_fails = Some(fault));
        assert_eq!(code(array.catalog.commit(array.host, set).await), expected);
        assert_eq!(code(array.catalog.commit(array.host, set).await), ProblemCode::SetAborted);
        array.background().await;
        let array = array.reopen().await;
        assert_eq!(array.catalog.set_state(array.host, set).unwrap(), SetState::Aborted);
        assert!(array.pool.shadows().is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn a_deleted_source_fails_the_commit() {
    let array = TestArray::new().await;
    let set = array.prepared(1).await;
    let lun = array.sources[0];
    array.catalog.unassign(array.host, lun).await.unwrap();
    array.catalog.delete_lun(lun, LunDeletion { keep_shadows: true, ..LunDeletion::default() }).await.unwrap();
    array.catalog.arm(array.host, set, None).await.unwrap();
    assert_eq!(code(array.catalog.commit(array.host, set).await), ProblemCode::UnknownLun);
    array.background().await;
    assert!(array.pool.shadows().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_commit_asked_for_twice_at_once_happens_once() {
    let array = TestArray::new().await;
    let set = array.armed(1).await;
    array.pool.switch(|faults| faults.commit_hangs = true);
    let commit = || {
        let (catalog, host) = (Arc::clone(&array.catalog), array.host);
        tokio::spawn(async move { catalog.commit(host, set).await })
    };
    let first = commit();
    array.pool.wait_commit_begun(1).await;
    let second = commit();
    tokio::task::yield_now().await;
    assert_eq!(array.catalog.set_state(array.host, set).unwrap(), SetState::Committing);
    array.pool.switch(|faults| faults.commit_hangs = false);
    assert_eq!(first.await.unwrap().unwrap(), Outcome::Done);
    assert_eq!(second.await.unwrap().unwrap(), Outcome::AlreadySo);
    assert_eq!(array.pool.commit_times().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_abort_during_the_commit_wins() {
    let array = TestArray::new().await;
    let set = array.armed(1).await;
    array.pool.switch(|faults| faults.commit_hangs = true);
    let commit = tokio::spawn({
        let (catalog, host) = (Arc::clone(&array.catalog), array.host);
        async move { catalog.commit(host, set).await }
    });
    array.pool.wait_commit_begun(1).await;
    assert_eq!(array.catalog.abort(array.host, set).await.unwrap(), Outcome::Done);
    array.pool.switch(|faults| faults.commit_hangs = false);
    assert_eq!(code(commit.await.unwrap()), ProblemCode::SetAborted);
    array.background().await;
    assert!(array.pool.shadows().is_empty());
    assert_eq!(code(array.catalog.targets(array.host, set)), ProblemCode::SetAborted);
}

#[tokio::test(start_paused = true)]
async fn a_commit_whose_caller_goes_away_runs_to_its_end() {
    let array = TestArray::new().await;
    let set = array.armed(1).await;
    array.pool.switch(|faults| faults.commit_hangs = true);
    let gone = tokio::time::timeout(Duration::from_secs(1), array.catalog.commit(array.host, set)).await;
    assert!(gone.is_err());
    array.pool.switch(|faults| faults.commit_hangs = false);
    array.background().await;
    assert_eq!(array.catalog.set_state(array.host, set).unwrap(), SetState::Committed);
    assert_eq!(array.shadows_of(set).len(), 2);
}

#[tokio::test(start_paused = true)]
async fn the_database_is_not_written_between_arm_and_the_answer() {
    let array = TestArray::new().await;
    let set = array.armed(1).await;
    // Later than this the quiet of the arming alone would be over before the commit is.
    tokio::time::sleep(Duration::from_secs(7)).await;
    let before = std::fs::read(array.database()).unwrap();
    let creation = tokio::spawn({
        let catalog = Arc::clone(&array.catalog);
        async move { catalog.create_lun(name("meanwhile"), BlockCount(8)).await }
    });
    array.background().await;
    array.pool.switch(|faults| faults.commit_hangs = true);
    let commit = tokio::spawn({
        let (catalog, host) = (Arc::clone(&array.catalog), array.host);
        async move { catalog.commit(host, set).await }
    });
    array.pool.wait_commit_begun(1).await;
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert!(!creation.is_finished());
    assert!(std::fs::read(array.database()).unwrap() == before, "the database was written");
    array.pool.switch(|faults| faults.commit_hangs = false);
    commit.await.unwrap().unwrap();
    creation.await.unwrap().unwrap();
    assert!(std::fs::read(array.database()).unwrap() != before);
}

#[tokio::test(start_paused = true)]
async fn a_host_that_arms_and_dawdles_does_not_stop_the_array() {
    let array = TestArray::new().await;
    let set = array.armed(1).await;
    let began = Instant::now();
    array.catalog.create_lun(name("meanwhile"), BlockCount(8)).await.unwrap();
    let waited = began.elapsed();
    assert!((9..=11).contains(&waited.as_secs()), "the creation took {waited:?}");
    array.catalog.commit(array.host, set).await.unwrap();
}
