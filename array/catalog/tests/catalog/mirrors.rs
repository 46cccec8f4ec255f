//! Shadow LUNs that are full copies: what a crash or a failure in the middle of their commit makes of their set. What they hold is for
//! tests on a pool with content.

use std::sync::Arc;
use std::time::Duration;

use lunshadow_catalog::{Catalog, SetState};
use lunshadow_control::{HostId, LunId, Outcome, ProblemCode, ShadowKind, ShadowSetId};
use lunshadow_lun::{BlockCount, Pool as _};
use tokio::task::JoinHandle;

use crate::durability::{HeldRecords, settings};
use crate::fake_pool::{FakePool, Fault, Faults, shared};
use crate::setup::{code, initiator, name, set};

/// How long anything takes at most here that is waited for.
const AT_MOST: Duration = Duration::from_secs(60);

struct Copying {
    pool: Arc<FakePool>,
    records: Arc<HeldRecords>,
    catalog: Arc<Catalog<FakePool>>,
    host: HostId,
    sources: Vec<LunId>,
    set: ShadowSetId,
}

impl Copying {
    /// A set of full copies of two LUNs that is armed.
    async fn armed() -> Self {
        let (pool, records, set) = (shared(), Arc::new(HeldRecords::default()), set(1));
        let catalog = Arc::new(Catalog::open_on(Arc::clone(&pool), records.clone(), settings()).await.unwrap());
        let host = catalog.add_host(name("host"), vec![initiator("host")]).await.unwrap().id;
        let mut sources = Vec::new();
        for lun in ["data", "log"] {
            let lun = catalog.create_lun(name(lun), BlockCount(8)).await.unwrap().id;
            catalog.assign(host, lun).await.unwrap();
            sources.push(lun);
        }
        catalog.prepare_as(ShadowKind::FullCopy, host, set, &sources).await.unwrap();
        catalog.wait_prepared(host, set, AT_MOST).await.unwrap();
        assert_eq!(pool.luns().len(), 6, "two LUNs, two mirrors and what they hold, frozen");
        catalog.arm(host, set, None).await.unwrap();
        Self { pool, records, catalog, host, sources, set }
    }

    fn commit(&self) -> JoinHandle<Result<Outcome, lunshadow_catalog::CatalogError>> {
        let (catalog, host, set) = (Arc::clone(&self.catalog), self.host, self.set);
        tokio::spawn(async move { catalog.commit(host, set).await })
    }

    /// The array after a crash, as far as the records and the pool have it.
    async fn after_a_crash(&self) -> Catalog<FakePool> {
        let records = self.records.cut_off();
        self.pool.restart();
        Catalog::open_on(Arc::clone(&self.pool), records, settings()).await.unwrap()
    }

    fn has_nothing_but_its_sources(&self) -> bool {
        self.pool.luns().iter().map(|summary| summary.lun).all(|lun| self.sources.contains(&lun))
    }
}

#[tokio::test(start_paused = true)]
async fn a_crash_before_the_copies_have_blocks_of_their_own_ends_the_set() {
    let array = Copying::armed().await;
    array.pool.switch(|faults| faults.revert_hangs = true);
    let _commit = array.commit();
    array.pool.wait_revert_begun(1).await;
    assert_eq!(array.pool.shadows().len(), 4, "the point in time is fixed, by shadow LUNs that share still");
    let again = array.after_a_crash().await;
    assert_eq!(again.set_state(array.host, array.set).unwrap(), SetState::Aborted);
    assert_eq!(code(again.commit(array.host, array.set).await), ProblemCode::SetAborted);
    assert!(array.has_nothing_but_its_sources() && again.orphans().is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_answered_commit_is_there_after_a_crash() {
    let array = Copying::armed().await;
    array.commit().await.unwrap().unwrap();
    // Before the records have what has become of the mirrors.
    let again = array.after_a_crash().await;
    assert_eq!(again.set_state(array.host, array.set).unwrap(), SetState::Committed);
    assert_eq!(again.commit(array.host, array.set).await.unwrap(), Outcome::AlreadySo);
    let shadows: Vec<LunId> =
        again.targets(array.host, array.set).unwrap().into_iter().map(|target| target.shadow).collect();
    assert_eq!(array.pool.reverted().iter().map(|(_, to)| *to).collect::<Vec<_>>(), shadows, "each has got its copy");
    assert_eq!(array.pool.luns().len(), 4, "the mirrors are used up");
    assert!(again.orphans().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_copy_that_does_not_come_to_its_end_in_time_fails_the_commit() {
    let array = Copying::armed().await;
    array.pool.switch(|faults| faults.revert_hangs = true);
    let began = tokio::time::Instant::now();
    assert_eq!(code(array.commit().await.unwrap()), ProblemCode::DeadlinePassed);
    assert!(began.elapsed() <= lunshadow_catalog::COMMIT_WITHIN_MAX, "after {:?}", began.elapsed());
    array.pool.switch(|faults| faults.revert_hangs = false);
    tokio::time::sleep(AT_MOST).await;
    assert_eq!(array.catalog.set_state(array.host, array.set).unwrap(), SetState::Aborted);
    assert!(array.has_nothing_but_its_sources() && array.catalog.orphans().is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_fails_while_copies_are_made_fails_the_set_and_leaves_nothing() {
    type Switch = fn(&mut Faults);
    let cases: [(Switch, ProblemCode); 3] = [
        (|faults| faults.revert_fails = Some(Fault::OutOfSpace), ProblemCode::OutOfSpace),
        (|faults| faults.commit_fails = Some(Fault::OutOfSpace), ProblemCode::OutOfSpace),
        (|faults| faults.delete_fails = Some(Fault::Io), ProblemCode::Internal),
    ];
    for (fault, expected) in cases {
        let array = Copying::armed().await;
        array.pool.switch(fault);
        assert_eq!(code(array.commit().await.unwrap()), expected);
        array.pool.switch(|faults| *faults = Faults::default());
        // What could not be deleted is deleted when the array is started again.
        let again = array.after_a_crash().await;
        assert_eq!(again.set_state(array.host, array.set).unwrap(), SetState::Aborted);
        assert!(array.has_nothing_but_its_sources() && again.orphans().is_empty(), "{expected:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_copy_that_cannot_be_begun_leaves_the_set_as_it_was() {
    for fault in [
        (|faults: &mut Faults| faults.create_fails = Some(Fault::OutOfSpace)) as fn(&mut Faults),
        |faults| faults.prepare_fails = Some(Fault::OutOfSpace),
        |faults| faults.commit_fails = Some(Fault::OutOfSpace),
    ] {
        let array = Copying::armed().await;
        array.catalog.abort(array.host, array.set).await.unwrap();
        array.pool.switch(fault);
        let refused = array.catalog.prepare_as(ShadowKind::FullCopy, array.host, set(2), &array.sources).await;
        assert_eq!(code(refused), ProblemCode::OutOfSpace);
        array.pool.switch(|faults| *faults = Faults::default());
        assert!(array.has_nothing_but_its_sources() && array.catalog.orphans().is_empty());
        array.catalog.prepare_as(ShadowKind::FullCopy, array.host, set(2), &array.sources).await.unwrap();
        array.catalog.wait_prepared(array.host, set(2), AT_MOST).await.unwrap();
        array.catalog.arm(array.host, set(2), None).await.unwrap();
        array.catalog.commit(array.host, set(2)).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn only_the_set_that_is_prepared_ends_with_the_program() {
    let array = Copying::armed().await;
    array.commit().await.unwrap().unwrap();
    array.catalog.prepare_as(ShadowKind::FullCopy, array.host, set(2), &array.sources).await.unwrap();
    array.catalog.rest().await;
    assert_eq!(array.catalog.set_state(array.host, array.set).unwrap(), SetState::Committed);
    assert_eq!(array.catalog.set_state(array.host, set(2)).unwrap(), SetState::Aborted);
    assert_eq!(array.pool.luns().len(), 4);
}
