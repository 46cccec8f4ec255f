//! What was answered, and a crash before the records have it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use lunshadow_catalog::{
    Catalog, CatalogError, ManualClock, Record, RecordChange, RecordKey, RecordStore, SetState, Settings, Storing,
};
use lunshadow_control::{HostId, Outcome, ProblemCode, ShadowSetId};
use lunshadow_lun::BlockCount;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::fake_pool::{FakePool, shared};
use crate::setup::{code, initiator, name, set};

/// Records in memory, whose transactions can be held back.
#[derive(Debug, Default)]
pub(crate) struct HeldRecords {
    content: Mutex<BTreeMap<RecordKey, Vec<u8>>>,
    pub(crate) held: watch::Sender<bool>,
}

impl HeldRecords {
    async fn apply(&self, changes: Vec<RecordChange>) {
        self.held.subscribe().wait_for(|held| !held).await.unwrap();
        let mut content = self.content.lock();
        for change in changes {
            match change {
                RecordChange::Put(record) => content.insert(record.key, record.value),
                RecordChange::Drop(key) => content.remove(&key),
            };
        }
    }

    /// What a crash now would leave.
    pub(crate) fn cut_off(&self) -> Arc<Self> {
        Arc::new(Self { content: Mutex::new(self.content.lock().clone()), held: watch::Sender::new(false) })
    }
}

impl RecordStore for HeldRecords {
    fn load(&self) -> Storing<'_, Vec<Record>> {
        let content = self.content.lock();
        let records = content.iter().map(|(key, value)| Record { key: *key, value: value.clone() }).collect();
        Box::pin(std::future::ready(Ok(records)))
    }

    fn write(&self, changes: Vec<RecordChange>) -> Storing<'_, ()> {
        Box::pin(async move {
            self.apply(changes).await;
            Ok(())
        })
    }
}

/// A set whose commit hangs in the pool, and that is aborted while the records take nothing.
struct Aborting {
    pool: Arc<FakePool>,
    records: Arc<HeldRecords>,
    host: HostId,
    set: ShadowSetId,
    commit: JoinHandle<Result<Outcome, CatalogError>>,
    catalog: Arc<Catalog<FakePool>>,
}

pub(crate) fn settings() -> Settings {
    Settings { clock: Arc::new(ManualClock::default()), ..Settings::default() }
}

async fn soon() {
    tokio::time::sleep(Duration::from_millis(20)).await;
}

impl Aborting {
    async fn new() -> Self {
        let (pool, records, set) = (shared(), Arc::new(HeldRecords::default()), set(1));
        let catalog = Arc::new(Catalog::open_on(Arc::clone(&pool), records.clone(), settings()).await.unwrap());
        let host = catalog.add_host(name("host"), vec![initiator("host")]).await.unwrap().id;
        let lun = catalog.create_lun(name("data"), BlockCount(8)).await.unwrap().id;
        catalog.assign(host, lun).await.unwrap();
        catalog.prepare(host, set, &[lun]).await.unwrap();
        catalog.arm(host, set, None).await.unwrap();
        pool.switch(|faults| faults.commit_hangs = true);
        let commit = tokio::spawn({
            let catalog = Arc::clone(&catalog);
            async move { catalog.commit(host, set).await }
        });
        pool.wait_commit_begun(1).await;
        records.held.send_replace(true);
        tokio::spawn({
            let catalog = Arc::clone(&catalog);
            async move { catalog.abort(host, set).await }
        });
        soon().await;
        pool.switch(|faults| faults.commit_hangs = false);
        soon().await;
        Self { pool, records, host, set, commit, catalog }
    }

    /// How the set stands after a crash.
    async fn after_a_crash(&self) -> SetState {
        let records = self.records.cut_off();
        self.pool.restart();
        let catalog = Catalog::open_on(Arc::clone(&self.pool), records, settings()).await.unwrap();
        catalog.set_state(self.host, self.set).unwrap()
    }
}

#[tokio::test(start_paused = true)]
async fn a_set_is_called_over_when_the_records_say_so_too() {
    let array = Aborting::new().await;
    assert_eq!(array.catalog.set_state(array.host, array.set).unwrap(), SetState::Aborted);
    assert!(!array.commit.is_finished(), "a crash now would bring the set back");
    array.records.held.send_replace(false);
    soon().await;
    assert!(array.commit.is_finished());
    assert_eq!(array.after_a_crash().await, SetState::Aborted);
    assert_eq!(code(array.commit.await.unwrap()), ProblemCode::SetAborted);
}

#[tokio::test(start_paused = true)]
async fn a_host_that_holds_its_writes_does_not_wait_long_for_the_records() {
    let array = Aborting::new().await;
    tokio::time::sleep(Duration::from_millis(250)).await;
    assert!(array.commit.is_finished());
    assert_eq!(code(array.commit.await.unwrap()), ProblemCode::SetAborted);
}

#[tokio::test(start_paused = true)]
async fn a_set_is_refused_to_be_kept_when_the_records_say_so_too() {
    let array = Aborting::new().await;
    let keep = tokio::spawn({
        let (catalog, host, set) = (Arc::clone(&array.catalog), array.host, array.set);
        async move { catalog.keep(host, set).await }
    });
    soon().await;
    assert!(!keep.is_finished());
    array.records.held.send_replace(false);
    soon().await;
    assert_eq!(code(keep.await.unwrap()), ProblemCode::SetAborted);
    assert_eq!(array.after_a_crash().await, SetState::Aborted);
}
