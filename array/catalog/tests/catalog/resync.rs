//! Resyncs: who may, what becomes of them, and what is known afterwards.

use std::time::Duration;

use lunshadow_control::{LunId, Outcome, ProblemCode, ResyncId, ResyncPair, ResyncState, ShadowUse};
use lunshadow_lun::{BlockCount, LunMap, UnitRecord};
use uuid::Uuid;

use crate::fake_pool::Fault;
use crate::setup::{TestArray, code, name};

const LONG: Duration = Duration::from_secs(60);

fn resync(number: u128) -> ResyncId {
    ResyncId(Uuid::from_u128(number))
}

fn pair(shadow: LunId, target: LunId) -> ResyncPair {
    ResyncPair { shadow, target }
}

/// The array with a kept set, and its shadow LUNs.
async fn array() -> (TestArray, Vec<LunId>) {
    let array = TestArray::new().await;
    let set = array.kept(1).await;
    let shadows = array.shadows_of(set);
    (array, shadows)
}

#[tokio::test(start_paused = true)]
async fn all_targets_are_reverted_at_once_and_only_once() {
    let (array, shadows) = array().await;
    let pairs = [pair(shadows[0], array.sources[0]), pair(shadows[1], array.sources[1])];
    for _ in 0..2 {
        array.catalog.start_resync(array.host, resync(1), &pairs).await.unwrap();
        let ended = array.catalog.resync_state(array.host, resync(1), LONG).await.unwrap();
        assert_eq!(ended, ResyncState::Finished);
    }
    let expected = [(shadows[0], array.sources[0]), (shadows[1], array.sources[1])];
    assert_eq!(array.pool.reverted(), expected, "the repetition is known again");
    assert_eq!(array.catalog.cancel_resync(array.host, resync(1)).await.unwrap(), ResyncState::Finished);
    array.catalog.start_resync(array.host, resync(2), &pairs).await.unwrap();
    array.catalog.resync_state(array.host, resync(2), LONG).await.unwrap();
    assert_eq!(array.pool.reverted().len(), 4, "the same shadow LUNs serve again");
}

#[tokio::test(start_paused = true)]
async fn what_a_host_may_not_do_is_refused_before_anything_happens() {
    let (array, shadows) = array().await;
    let (shadow, target) = (shadows[0], array.sources[0]);
    let own = array.committed(2).await;
    let other_shadow = array.shadows_of(own)[0];
    let unprepared = array.prepared(3).await;
    let start = |host, pairs: Vec<ResyncPair>| {
        let catalog = &array.catalog;
        async move { code(catalog.start_resync(host, resync(9), &pairs).await) }
    };
    let host = array.host;
    assert_eq!(start(array.stranger, vec![pair(shadow, target)]).await, ProblemCode::UnknownLun);
    assert_eq!(start(host, vec![pair(target, target)]).await, ProblemCode::WrongRole);
    assert_eq!(start(host, vec![pair(shadow, other_shadow)]).await, ProblemCode::WrongRole);
    assert_eq!(start(host, vec![pair(shadow, LunId::random())]).await, ProblemCode::UnknownLun);
    let twice = vec![pair(shadow, target), pair(other_shadow, target)];
    assert_eq!(start(host, twice).await, ProblemCode::InvalidRequest);
    array.catalog.abort(host, unprepared).await.unwrap();
    array.catalog.assign(array.stranger, target).await.unwrap();
    assert_eq!(start(host, vec![pair(shadow, target)]).await, ProblemCode::InUse);
    assert!(array.pool.reverted().is_empty());
    assert_eq!(code(array.catalog.resync_state(host, resync(9), LONG).await), ProblemCode::UnknownSet);
    let unmapped = array.catalog.create_lun(name("unmapped"), BlockCount(8)).await.unwrap().id;
    assert_eq!(start(host, vec![pair(shadow, unmapped)]).await, ProblemCode::UnknownLun);
}

#[tokio::test(start_paused = true)]
async fn a_lun_that_is_protected_or_being_sanitized_keeps_its_content() {
    let array = TestArray::new().await;
    let set = array.kept(1).await;
    let targets = array.catalog.targets(array.host, set).unwrap();
    let (shadow, target) = (targets[0].shadow, targets[0].source);
    let other = pair(targets[1].shadow, targets[1].source);
    let store = array.catalog.unit_store().expect("the catalog keeps records");
    for sanitized in [false, true] {
        if sanitized {
            store.keep(target, UnitRecord::Sanitize, Some("a record".into())).await.unwrap();
        } else {
            array.catalog.present_lun(target, None, Some(true)).await.unwrap();
        }
        let expected = if sanitized { "is being sanitized" } else { "is write protected" };
        // All of a resync or nothing of it.
        let pairs = [other, pair(shadow, target)];
        for refused in [
            array.catalog.start_resync(array.host, resync(7), &pairs).await.unwrap_err(),
            array.catalog.revert_lun(target, shadow, true).await.unwrap_err(),
        ] {
            assert_eq!(refused.code(), ProblemCode::WrongState);
            assert!(refused.to_string().contains(expected), "{refused}");
        }
        if sanitized {
            store.keep(target, UnitRecord::Sanitize, None).await.unwrap();
        } else {
            array.catalog.present_lun(target, None, Some(false)).await.unwrap();
        }
    }
    assert!(array.pool.reverted().is_empty());
    array.catalog.revert_lun(target, shadow, true).await.unwrap();
    assert_eq!(array.pool.reverted(), [(shadow, target)]);
}

#[tokio::test(start_paused = true)]
async fn what_begins_to_be_sanitized_while_its_resync_waits_gets_no_other_content() {
    let (array, shadows) = array().await;
    array.pool.switch(|faults| faults.revert_hangs = true);
    let pairs = [1, 0].map(|place| pair(shadows[place], array.sources[place]));
    array.catalog.start_resync(array.host, resync(1), &pairs[..1]).await.unwrap();
    array.pool.wait_revert_begun(1).await;
    // They wait in this order for the first one.
    let store = array.catalog.unit_store().expect("the catalog keeps records");
    let mut sanitize = store.keep(array.sources[0], UnitRecord::Sanitize, Some("a record".into()));
    let waits = tokio::time::timeout(Duration::from_millis(10), &mut sanitize).await;
    assert!(waits.is_err(), "it does not begin while LUNs get other content");
    array.catalog.start_resync(array.host, resync(2), &pairs[1..]).await.unwrap();
    array.pool.switch(|faults| faults.revert_hangs = false);
    sanitize.await.unwrap();
    let ended = array.catalog.resync_state(array.host, resync(2), LONG).await.unwrap();
    assert!(matches!(ended, ResyncState::Failed { code: ProblemCode::WrongState, .. }), "{ended:?}");
    assert_eq!(array.pool.reverted(), [(shadows[1], array.sources[1])]);
}

#[tokio::test(start_paused = true)]
async fn a_failure_of_the_pool_is_the_end_of_the_resync() {
    let (array, shadows) = array().await;
    array.pool.switch(|faults| faults.revert_fails = Some(Fault::OutOfSpace));
    let pairs = [pair(shadows[0], array.sources[0])];
    array.catalog.start_resync(array.host, resync(1), &pairs).await.unwrap();
    let ended = array.catalog.resync_state(array.host, resync(1), LONG).await.unwrap();
    assert!(matches!(ended, ResyncState::Failed { code: ProblemCode::OutOfSpace, .. }), "{ended:?}");
}

#[tokio::test(start_paused = true)]
async fn a_resync_is_cancelled_until_the_pool_has_it() {
    let (array, shadows) = array().await;
    array.pool.switch(|faults| faults.revert_hangs = true);
    let pairs = [pair(shadows[0], array.sources[0])];
    array.catalog.start_resync(array.host, resync(1), &pairs).await.unwrap();
    array.pool.wait_revert_begun(1).await;
    array.catalog.start_resync(array.host, resync(2), &pairs).await.unwrap();
    assert_eq!(array.catalog.cancel_resync(array.host, resync(1)).await.unwrap(), ResyncState::Running);
    assert_eq!(array.catalog.cancel_resync(array.host, resync(2)).await.unwrap(), ResyncState::Cancelled);
    let waiting = array.catalog.resync_state(array.host, resync(1), Duration::from_millis(10)).await.unwrap();
    assert_eq!(waiting, ResyncState::Running);
    assert_eq!(code(array.catalog.cancel_resync(array.stranger, resync(1)).await), ProblemCode::UnknownSet);
    array.pool.switch(|faults| faults.revert_hangs = false);
    let ended = array.catalog.resync_state(array.host, resync(1), LONG).await.unwrap();
    assert_eq!(ended, ResyncState::Finished);
    array.background().await;
    assert_eq!(array.pool.reverted().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_length_of_a_reverted_lun_is_that_of_its_shadow() {
    let (array, shadows) = array().await;
    let target = array.sources[0];
    array.pool.resize(target, BlockCount(64));
    array.catalog.start_resync(array.host, resync(1), &[pair(shadows[0], target)]).await.unwrap();
    array.catalog.resync_state(array.host, resync(1), LONG).await.unwrap();
    let length = |array: &TestArray| array.catalog.administered_luns()[0].block_count;
    assert_eq!(length(&array), BlockCount(8));
    array.pool.resize(target, BlockCount(16));
    let array = array.reopen().await;
    assert_eq!(length(&array), BlockCount(16), "after a crash the pool is right");
}

#[tokio::test(start_paused = true)]
async fn a_broken_off_lun_can_be_a_target() {
    let (array, shadows) = array().await;
    array.catalog.map(array.host, &shadows[1..]).await.unwrap();
    let broken_off = array.catalog.note_use(array.host, &shadows[1..], ShadowUse::ReadWrite).await.unwrap();
    assert_eq!(broken_off, [Outcome::Done]);
    array.catalog.start_resync(array.host, resync(1), &[pair(shadows[0], shadows[1])]).await.unwrap();
    let ended = array.catalog.resync_state(array.host, resync(1), LONG).await.unwrap();
    assert_eq!(ended, ResyncState::Finished);
}

#[tokio::test(start_paused = true)]
async fn resyncs_are_forgotten_when_there_are_many() {
    let (array, shadows) = array().await;
    let pairs = [pair(shadows[0], array.sources[0])];
    for number in 0..300 {
        array.catalog.start_resync(array.host, resync(number), &pairs).await.unwrap();
        array.catalog.resync_state(array.host, resync(number), LONG).await.unwrap();
    }
    assert_eq!(code(array.catalog.resync_state(array.host, resync(0), LONG).await), ProblemCode::UnknownSet);
    assert!(array.catalog.resync_state(array.host, resync(299), LONG).await.is_ok());
}
