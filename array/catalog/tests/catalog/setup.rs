//! An array with two LUNs that are mapped to one host, and a second host that sees nothing.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use lunshadow_catalog::{
    Catalog, CatalogError, DatabaseError, LeaseTimes, Limits, ManualClock, Name, OpenError, Settings,
};
use lunshadow_control::{HostId, InitiatorName, LunId, ProblemCode, ShadowSetId};
use lunshadow_lun::{BlockCount, Inventory, LunMap};
use tempfile::TempDir;
use uuid::Uuid;

use crate::fake_pool::{FakePool, shared};

pub(crate) const PREPARED_LEASE: Duration = Duration::from_secs(3600);
pub(crate) const COMMITTED_LEASE: Duration = Duration::from_secs(600);

pub(crate) struct TestArray {
    folder: TempDir,
    pub(crate) pool: Arc<FakePool>,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) limits: Limits,
    pub(crate) catalog: Arc<Catalog<FakePool>>,
    pub(crate) host: HostId,
    pub(crate) stranger: HostId,
    pub(crate) sources: Vec<LunId>,
}

impl TestArray {
    pub(crate) async fn new() -> Self {
        Self::with_limits(Limits::default()).await
    }

    pub(crate) async fn with_limits(limits: Limits) -> Self {
        let (pool, clock) = (shared(), Arc::new(ManualClock::default()));
        let folder = tempfile::tempdir().unwrap();
        let settings = settings(&clock, limits);
        let catalog =
            Arc::new(Catalog::open(Arc::clone(&pool), &folder.path().join("catalog"), settings).await.unwrap());
        let host = catalog.add_host(name("host"), vec![initiator("host")]).await.unwrap().id;
        let stranger = catalog.add_host(name("stranger"), vec![initiator("stranger")]).await.unwrap().id;
        let mut sources = Vec::new();
        for lun in ["data", "log"] {
            let lun = catalog.create_lun(name(lun), BlockCount(8)).await.unwrap().id;
            catalog.assign(host, lun).await.unwrap();
            sources.push(lun);
        }
        Self { folder, pool, clock, limits, catalog, host, stranger, sources }
    }

    pub(crate) fn database(&self) -> PathBuf {
        self.folder.path().join("catalog")
    }

    /// Stops the array and starts it again. A catalog whose background work is under way lives on until that ends.
    pub(crate) async fn reopen(self) -> Self {
        let Self { folder, pool, clock, limits, catalog, host, stranger, sources } = self;
        drop(catalog);
        let path = folder.path().join("catalog");
        let until = tokio::time::Instant::now() + Duration::from_secs(60);
        let catalog = loop {
            match Catalog::open(Arc::clone(&pool), &path, settings(&clock, limits)).await {
                Ok(catalog) => break Arc::new(catalog),
                Err(OpenError::Database(DatabaseError::Redb(redb::Error::DatabaseAlreadyOpen))) => {
                    assert!(tokio::time::Instant::now() < until, "the catalog is still open");
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                Err(error) => panic!("{error}"),
            }
        };
        // Only now is the old catalog's background work over for certain; the pool forgets what that prepared last.
        pool.restart();
        Self { folder, pool, clock, limits, catalog, host, stranger, sources }
    }

    pub(crate) async fn prepared(&self, number: u128) -> ShadowSetId {
        let set = set(number);
        self.catalog.prepare(self.host, set, &self.sources).await.unwrap();
        set
    }

    pub(crate) async fn armed(&self, number: u128) -> ShadowSetId {
        let set = self.prepared(number).await;
        self.catalog.arm(self.host, set, None).await.unwrap();
        set
    }

    pub(crate) async fn committed(&self, number: u128) -> ShadowSetId {
        let set = self.armed(number).await;
        self.catalog.commit(self.host, set).await.unwrap();
        set
    }

    pub(crate) async fn kept(&self, number: u128) -> ShadowSetId {
        let set = self.committed(number).await;
        self.catalog.keep(self.host, set).await.unwrap();
        set
    }

    pub(crate) fn shadows_of(&self, set: ShadowSetId) -> Vec<LunId> {
        self.catalog.targets(self.host, set).unwrap().into_iter().map(|target| target.shadow).collect()
    }

    pub(crate) fn inventory(&self) -> Arc<Inventory> {
        self.catalog.inventory(&initiator("host")).unwrap()
    }

    /// The LUNs that the host sees.
    pub(crate) fn seen(&self) -> Vec<LunId> {
        self.inventory().luns.values().map(lunshadow_lun::LunHandle::id).collect()
    }

    /// Waits for what goes on in the background, by letting the paused clock run when everything else is idle.
    pub(crate) async fn background(&self) {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

fn settings(clock: &Arc<ManualClock>, limits: Limits) -> Settings {
    let clock: Arc<ManualClock> = Arc::clone(clock);
    let leases = LeaseTimes { prepared: PREPARED_LEASE, committed: COMMITTED_LEASE };
    Settings { limits, leases, clock, ..Settings::default() }
}

pub(crate) fn name(text: &str) -> Name {
    text.parse().unwrap()
}

pub(crate) fn initiator(text: &str) -> InitiatorName {
    format!("iqn.2026-11.org.example:{text}").parse().unwrap()
}

pub(crate) fn set(number: u128) -> ShadowSetId {
    ShadowSetId(Uuid::from_u128(number))
}

/// The code of what has to be an error.
#[track_caller]
pub(crate) fn code<T: std::fmt::Debug>(result: Result<T, CatalogError>) -> ProblemCode {
    result.expect_err("this must not succeed").code()
}
