//! Leases, the reaper, and what it tidies up.

use std::sync::Arc;
use std::time::Duration;

use lunshadow_catalog::{Catalog, Clock, Limits, SetState, Settings};
use lunshadow_control::ProblemCode;

use crate::fake_pool::Fault;
use crate::setup::{COMMITTED_LEASE, PREPARED_LEASE, TestArray, code, initiator, name};

const MOMENT: Duration = Duration::from_nanos(1);

#[tokio::test(start_paused = true)]
async fn a_prepared_set_ends_with_its_lease() {
    let array = TestArray::new().await;
    let prepared = array.prepared(1).await;
    let armed = array.armed(2).await;
    array.clock.advance(PREPARED_LEASE - MOMENT);
    assert!(array.reap().await.is_empty());
    array.clock.advance(MOMENT);
    assert_eq!(array.reap().await, [prepared, armed]);
    assert!(array.reap().await.is_empty());
    assert_eq!(array.pool.prepared_sets(), 0);
    assert_eq!(code(array.catalog.commit(array.host, armed).await), ProblemCode::SetAborted);
}

#[tokio::test(start_paused = true)]
async fn a_later_preparation_renews_the_lease() {
    let array = TestArray::new().await;
    let set = crate::setup::set(1);
    array.catalog.prepare(array.host, set, &array.sources[..1]).await.unwrap();
    array.clock.advance(PREPARED_LEASE - MOMENT);
    array.catalog.prepare(array.host, set, &array.sources[1..]).await.unwrap();
    array.clock.advance(PREPARED_LEASE - MOMENT);
    assert!(array.reap().await.is_empty());
    array.clock.advance(MOMENT);
    assert_eq!(array.reap().await, [set]);
}

#[tokio::test(start_paused = true)]
async fn a_committed_set_that_nobody_keeps_is_removed() {
    let array = TestArray::new().await;
    let set = array.committed(1).await;
    let kept = array.kept(2).await;
    array.catalog.map(array.host, &array.shadows_of(set)).await.unwrap();
    array.clock.advance(COMMITTED_LEASE);
    assert_eq!(array.reap().await, [set]);
    assert_eq!(array.seen(), array.sources);
    assert_eq!(array.pool.shadows().len(), 2);
    array.clock.advance(PREPARED_LEASE * 1000);
    assert!(array.reap().await.is_empty());
    assert_eq!(array.shadows_of(kept).len(), 2);
}

#[tokio::test(start_paused = true)]
async fn the_reaper_wakes_when_a_lease_ends() {
    let array = TestArray::new().await;
    let reaper = array.catalog.spawn_reaper();
    array.background().await;
    let committed = array.committed(1).await;
    let prepared = array.prepared(2).await;
    array.background().await;
    array.clock.advance(COMMITTED_LEASE - MOMENT);
    array.background().await;
    assert_eq!(array.state(committed), SetState::Committed);
    array.clock.advance(MOMENT);
    array.background().await;
    assert_eq!(array.state(committed), SetState::Aborted);
    assert_eq!(array.state(prepared), SetState::Prepared);
    assert!(array.pool.shadows().is_empty());
    array.clock.advance(PREPARED_LEASE - COMMITTED_LEASE);
    array.background().await;
    assert_eq!(array.state(prepared), SetState::Aborted);

    let last = array.prepared(3).await;
    drop(reaper);
    array.clock.advance(PREPARED_LEASE * 2);
    array.background().await;
    assert_eq!(array.state(last), SetState::Prepared);
}

#[tokio::test(start_paused = true)]
async fn the_system_clock_wakes_the_reaper_too() {
    let array = TestArray::new().await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("catalog");
    let catalog = Catalog::open(Arc::clone(&array.pool), &path, Settings::default()).await.unwrap();
    let _reaper = catalog.spawn_reaper();
    let host = catalog.add_host(name("host"), vec![initiator("host")]).await.unwrap().id;
    let lun = catalog.create_lun(name("lun"), lunshadow_lun::BlockCount(8)).await.unwrap().id;
    catalog.assign(host, lun).await.unwrap();
    let set = crate::setup::set(1);
    catalog.prepare(host, set, &[lun]).await.unwrap();
    tokio::time::sleep(Duration::from_secs(3599)).await;
    assert_eq!(catalog.set_state(host, set).unwrap(), SetState::Prepared);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(catalog.set_state(host, set).unwrap(), SetState::Aborted);
}

#[tokio::test(start_paused = true)]
async fn a_removal_that_failed_is_tried_again() {
    let array = TestArray::new().await;
    let _reaper = array.catalog.spawn_reaper();
    let set = array.committed(1).await;
    array.pool.switch(|faults| faults.delete_fails = Some(Fault::Io));
    array.catalog.abort(array.host, set).await.unwrap();
    assert_eq!(code(array.catalog.targets(array.host, set)), ProblemCode::SetAborted);
    assert_eq!(array.pool.shadows().len(), 2);
    array.pool.switch(|faults| faults.delete_fails = None);
    array.background().await;
    array.clock.advance(Duration::from_secs(30));
    array.background().await;
    assert!(array.pool.shadows().is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_is_long_over_is_forgotten() {
    let array = TestArray::with_limits(Limits { ended_sets: 2, ..Limits::default() }).await;
    let kept = array.kept(1).await;
    let mut ended = Vec::new();
    for number in 2..7 {
        let set = array.prepared(number).await;
        array.catalog.abort(array.host, set).await.unwrap();
        ended.push(set);
    }
    array.reap().await;
    let array = array.reopen().await;
    let known = |set: &_| array.catalog.set_state(array.host, *set).is_ok();
    assert_eq!(ended.iter().map(known).collect::<Vec<_>>(), [false, false, false, true, true]);
    assert!(known(&kept));
}

impl TestArray {
    async fn reap(&self) -> Vec<lunshadow_control::ShadowSetId> {
        self.catalog.reap(self.clock.now()).await.unwrap()
    }

    fn state(&self, set: lunshadow_control::ShadowSetId) -> SetState {
        self.catalog.set_state(self.host, set).unwrap()
    }
}
