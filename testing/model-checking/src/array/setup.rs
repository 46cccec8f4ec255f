//! What an array is made of: two hosts, three LUNs of which both see the middle one, and a set for each host.

use std::sync::Arc;
use std::time::Duration;

use lunshadow_catalog::{Catalog, LeaseTimes, Limits, ManualClock, Settings};
use lunshadow_control::{HostId, InitiatorName, LunId};
use lunshadow_lun::BlockCount;
use tokio::runtime::{Builder, Runtime};

use super::counting::Counting;
use super::parking::Parking;
use super::planted::Fault;
use super::pool::{self, ModelPool};
use super::records::{self, ModelRecords};
use super::request::Request;

/// The leases: of a set that is committed, and of one that is prepared, which no way is long enough to use up in small steps.
pub(crate) const COMMITTED_LEASE: Duration = Duration::from_secs(600);
pub(crate) const PREPARED_LEASE: Duration = Duration::from_secs(600 * 1000);

/// A set that a host makes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetPlan {
    /// The host.
    pub host: u8,
    /// The LUNs.
    pub luns: Vec<u8>,
}

/// What is in the pool and in the records at the beginning.
#[derive(Debug, Clone, Default)]
struct Content {
    pool: pool::Content,
    records: records::Content,
    last_id: u64,
}

/// How much of everything there is.
#[derive(Debug, Clone)]
pub struct Setup {
    /// How many hosts: one or two.
    pub hosts: u8,
    /// The sets.
    pub sets: Vec<SetPlan>,
    /// What hosts ask.
    pub requests: Vec<Request>,
    /// How many requests can be under way at a time, with those that were given up and that the array is still at work on.
    pub at_once: usize,
    /// How often the array crashes.
    pub crashes: u8,
    /// How often the pool fails.
    pub failures: u8,
    /// Whether what the pool has done can stay without an answer although the array does not crash.
    pub lateness: bool,
    /// Whether transactions can be held back, so that the array can crash before they are durable.
    pub holds_records: bool,
    /// What the array does wrong, if that is what the search has to find.
    pub fault: Option<Fault>,
    pub(crate) sources: Vec<LunId>,
    pub(crate) host_ids: Vec<HostId>,
    content: Content,
}

impl Setup {
    /// One or two hosts with a set of two LUNs each, three LUNs in all. Nothing fails, and nothing crashes.
    ///
    /// # Errors
    /// If the array cannot be set up.
    pub fn new(sets: u8) -> anyhow::Result<Self> {
        let hosts = 2;
        let all = [SetPlan { host: 0, luns: vec![0, 1] }, SetPlan { host: 1, luns: vec![1, 2] }];
        let mut setup = Self {
            hosts,
            sets: all.into_iter().take(usize::from(sets)).collect(),
            requests: Request::LIFE.to_vec(),
            at_once: 1,
            crashes: 0,
            failures: 0,
            lateness: false,
            holds_records: false,
            fault: None,
            sources: Vec::new(),
            host_ids: Vec::new(),
            content: Content::default(),
        };
        let (pool, ids) = (Arc::new(ModelPool::new(pool::Content::default(), None)), Arc::default());
        let records = Arc::new(ModelRecords::new(records::Content::default(), None));
        runtime(pool.parking()).block_on(setup.fill(&pool, &records, &ids))?;
        setup.content = Content { pool: pool.content(), records: records.content(), last_id: ids.last() };
        Ok(setup)
    }

    async fn fill(
        &mut self,
        pool: &Arc<ModelPool>,
        records: &Arc<ModelRecords>,
        ids: &Arc<Counting>,
    ) -> anyhow::Result<()> {
        let catalog = Catalog::open_on(Arc::clone(pool), records.clone(), settings(&Arc::default(), ids)).await?;
        for host in 0..self.hosts {
            let made = catalog.add_host(format!("host-{host}").parse()?, vec![initiator(host)]).await?;
            self.host_ids.push(made.id);
        }
        // What the array does LUN by LUN it does in the order of their ids: the shared one is to be the last for both sets.
        let [mut first, mut last, mut shared] = [LunId::from_u128(0); 3];
        for (lun, name) in [(&mut first, "first"), (&mut last, "last"), (&mut shared, "shared")] {
            *lun = catalog.create_lun(name.parse()?, BlockCount(8)).await?.id;
        }
        self.sources = vec![first, shared, last];
        for (source, lun) in self.sources.iter().enumerate() {
            for (host, id) in self.host_ids.iter().enumerate() {
                if source.abs_diff(host) < 2 && source >= host {
                    catalog.assign(*id, *lun).await?;
                }
            }
        }
        Ok(())
    }

    /// What is in the pool and in the records at the beginning.
    pub(super) fn content(&self) -> (pool::Content, records::Content) {
        (self.content.pool.clone(), self.content.records.clone())
    }

    /// The last id that was given to any of it.
    pub(super) const fn last_id(&self) -> u64 {
        self.content.last_id
    }

    /// A pool, records and the source of ids as they are at the beginning.
    pub(crate) fn parts(&self) -> (Arc<ModelPool>, Arc<ModelRecords>, Arc<Counting>) {
        let (pool, records) = self.content();
        let (pool, records) = (ModelPool::new(pool, self.fault), ModelRecords::new(records, self.fault));
        (Arc::new(pool), Arc::new(records), Arc::new(Counting::after(self.last_id())))
    }

    /// The source LUNs that a host sees.
    pub(super) fn sources_of(&self, host: u8) -> [u8; 2] {
        [host, host + 1]
    }
}

/// A runtime of one thread, whose time stands still unless everything waits. Calls that may block run one after another, and when there is nothing
/// else to do, so that what comes of them comes in the same order each time.
pub(super) fn runtime(parking: &Arc<Parking>) -> Runtime {
    let (begins, ends) = (Arc::clone(parking), Arc::clone(parking));
    let mut builder = Builder::new_current_thread();
    builder.enable_time().start_paused(true).max_blocking_threads(1);
    builder.on_thread_park(move || begins.begin()).on_thread_unpark(move || ends.end());
    builder.build().expect("a runtime of one thread without I/O needs nothing that can be missing")
}

pub(super) fn settings(clock: &Arc<ManualClock>, ids: &Arc<Counting>) -> Settings {
    let leases = LeaseTimes { prepared: PREPARED_LEASE, committed: COMMITTED_LEASE };
    Settings {
        limits: Limits::default(),
        leases,
        clock: Arc::<ManualClock>::clone(clock),
        ids: Arc::<Counting>::clone(ids),
    }
}

/// The name by which a host logs in.
pub(super) fn initiator(host: u8) -> InitiatorName {
    format!("iqn.2026-11.org.example:host-{host}").parse().expect("a valid name")
}
