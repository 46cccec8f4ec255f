//! The array stops in every state of a set and starts again.

use std::time::Duration;

use lunshadow_catalog::{Clock, SetState};
use lunshadow_control::{Outcome, ProblemCode};
use lunshadow_lun::LunOrigin;

use crate::fake_pool::Fault;
use crate::setup::{COMMITTED_LEASE, TestArray, code};

#[tokio::test(start_paused = true)]
async fn prepared_and_armed_sets_are_over() {
    let array = TestArray::new().await;
    let prepared = array.prepared(1).await;
    let armed = array.armed(2).await;
    let array = array.reopen().await;
    for set in [prepared, armed] {
        assert_eq!(array.catalog.set_state(array.host, set).unwrap(), SetState::Aborted);
        let error = array.catalog.commit(array.host, set).await.unwrap_err();
        assert_eq!(error.code(), ProblemCode::SetAborted);
        assert!(error.to_string().contains("restarted"), "{error}");
    }
    assert_eq!(array.seen(), array.sources);
    array.committed(3).await;
}

#[tokio::test(start_paused = true)]
async fn a_committed_set_gets_a_fresh_lease() {
    let array = TestArray::new().await;
    let [set, other] = [array.committed(1).await, array.committed(2).await];
    let targets = array.catalog.targets(array.host, set).unwrap();
    array.clock.advance(COMMITTED_LEASE - Duration::from_secs(1));
    let array = array.reopen().await;
    assert_eq!(array.catalog.targets(array.host, set).unwrap(), targets);
    assert_eq!(array.catalog.commit(array.host, set).await.unwrap(), Outcome::AlreadySo);
    array.clock.advance(COMMITTED_LEASE - Duration::from_secs(1));
    assert!(array.catalog.reap(array.clock.now()).await.unwrap().is_empty());
    assert_eq!(array.catalog.keep(array.host, set).await.unwrap(), Outcome::Done);
    array.clock.advance(Duration::from_secs(1));
    assert_eq!(array.catalog.reap(array.clock.now()).await.unwrap(), [other]);
    assert_eq!(array.catalog.targets(array.host, set).unwrap(), targets);
}

#[tokio::test(start_paused = true)]
async fn a_kept_set_is_as_it_was() {
    let array = TestArray::new().await;
    let never_mapped = array.kept(2).await;
    let set = array.kept(1).await;
    let targets = array.catalog.targets(array.host, set).unwrap();
    array.catalog.map(array.host, &array.shadows_of(set)).await.unwrap();
    let (seen, numbers) = (array.seen(), array.catalog.mappings(array.host).unwrap());
    let array = array.reopen().await;
    assert_eq!(array.catalog.set_state(array.host, set).unwrap(), SetState::Kept);
    assert_eq!(array.catalog.set_state(array.host, never_mapped).unwrap(), SetState::Kept);
    assert_eq!(array.catalog.targets(array.host, set).unwrap(), targets);
    assert_eq!(array.seen(), seen);
    assert_eq!(array.catalog.mappings(array.host).unwrap(), numbers);
    assert_eq!(code(array.catalog.withdraw(array.host, set).await), ProblemCode::WrongState);
    assert!(array.catalog.orphans().is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_an_aborted_set_left_behind_is_deleted() {
    let array = TestArray::new().await;
    let set = array.committed(1).await;
    let shadows = array.shadows_of(set);
    array.catalog.map(array.host, &shadows).await.unwrap();
    array.pool.switch(|faults| faults.delete_fails = Some(Fault::Io));
    array.catalog.abort(array.host, set).await.unwrap();
    array.background().await;
    assert_eq!(array.pool.shadows().len(), 2);
    array.pool.switch(|faults| faults.delete_fails = None);
    let array = array.reopen().await;
    assert!(array.pool.shadows().is_empty());
    assert_eq!(array.seen(), array.sources);
    assert_eq!(code(array.catalog.targets(array.host, set)), ProblemCode::SetAborted);
    assert_eq!(code(array.catalog.map(array.host, &shadows).await), ProblemCode::SetAborted);
}

#[tokio::test(start_paused = true)]
async fn a_part_of_a_set_that_nobody_has_kept_is_deleted() {
    let array = TestArray::new().await;
    let [set, kept] = [array.committed(1).await, array.kept(2).await];
    array.pool.lose(array.shadows_of(set)[0]);
    let left = array.shadows_of(kept)[1];
    array.pool.lose(array.shadows_of(kept)[0]);
    let array = array.reopen().await;
    assert_eq!(array.catalog.set_state(array.host, set).unwrap(), SetState::Aborted);
    assert_eq!(array.catalog.set_state(array.host, kept).unwrap(), SetState::Kept);
    assert_eq!(array.pool.shadows(), [left]);
}

#[tokio::test(start_paused = true)]
async fn a_commit_that_the_array_did_not_live_to_answer_is_found() {
    let array = TestArray::new().await;
    let set = array.armed(1).await;
    // The pool made it durable; the catalog stopped before it could tell anybody.
    array.pool.switch(|faults| faults.commit_hangs = true);
    let commit = tokio::time::timeout(Duration::from_secs(1), array.catalog.commit(array.host, set));
    assert!(commit.await.is_err());
    array.pool.switch(|faults| faults.commit_hangs = false);
    let array = array.reopen().await;
    assert_eq!(array.catalog.set_state(array.host, set).unwrap(), SetState::Committed);
    assert_eq!(array.shadows_of(set).len(), 2);
    array.clock.advance(COMMITTED_LEASE);
    assert_eq!(array.catalog.reap(array.clock.now()).await.unwrap(), [set]);
    assert!(array.pool.shadows().is_empty());
}

#[tokio::test(start_paused = true)]
async fn shadow_luns_of_an_unknown_set_are_orphans() {
    let array = TestArray::new().await;
    let stray = lunshadow_control::LunId::random();
    let set = crate::setup::set(77);
    array.pool.put(stray, LunOrigin::Shadow { source: array.sources[0], set });
    let array = array.reopen().await;
    assert_eq!(array.catalog.orphans(), [stray]);
    assert_eq!(code(array.catalog.set_state(array.host, set)), ProblemCode::UnknownSet);
    assert!(array.pool.has(stray));
}
