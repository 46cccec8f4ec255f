//! A whole array in this process: an embedded pool, its catalog, and the iSCSI target in front of them.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use lunshadow_catalog::{Catalog, Name, Reaper, Settings};
pub use lunshadow_control::TARGET_NAME;
use lunshadow_control::{HostId, InitiatorName, LunId};
use lunshadow_lun::{BlockCount, LunMap, LunNumber, Pool as _};
use lunshadow_store::{FileMedia, IoMode, OpenError, POOL_FILE, StoreConfig, StorePool};
use lunshadow_target::{ConnectionThreads, Limits, NetworkPortal, Target, TargetConfig};
use tokio::runtime::Handle;

use crate::access::OpenAccess;
use crate::location::Location;

/// The catalog's file in the pool's folder.
const CATALOG_FILE: &str = "catalog.redb";

/// Who may log in.
#[derive(Debug, Clone)]
pub enum Admission {
    /// The hosts of the catalog.
    KnownHosts,
    /// Everybody: strangers see what this initiator sees.
    Everybody(InitiatorName),
}

/// A pool with its catalog.
pub struct Storage {
    /// The pool.
    pub pool: Arc<StorePool>,
    /// The catalog.
    pub catalog: Arc<Catalog<StorePool>>,
    /// Where they are.
    pub location: Location,
    reaper: Reaper,
    /// Where connections are served, unless it is on the runtime of everything else.
    threads: Option<Arc<ConnectionThreads>>,
}

/// The kernel ends the rings of a process that was killed in the background, and holds the pool's file until then: who starts the program again
/// at once waits for that.
const FREE_WITHIN: Duration = Duration::from_secs(2);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Memory that outlives the program and not the machine (shm_overview(7)).
pub const TAIL_FOLDER: &str = "/dev/shm";

impl Storage {
    /// Opens the pool in a folder or on a device.
    ///
    /// # Errors
    /// If there is none, or another process has it open, or it is damaged.
    pub async fn open(pool: &Path) -> anyhow::Result<Self> {
        let tail = Some(Path::new(TAIL_FOLDER));
        Self::open_with(pool, &StoreConfig::default(), IoMode::default(), tail, Settings::default(), None).await
    }

    /// Opens the pool in a folder or on a device, and says how it is to be run, where what was answered outlives the program, and on which threads
    /// its LUNs are served.
    ///
    /// # Errors
    /// As [`Storage::open`].
    pub async fn open_with(
        pool: &Path,
        config: &StoreConfig,
        mode: IoMode,
        tail: Option<&Path>,
        settings: Settings,
        threads: Option<Arc<ConnectionThreads>>,
    ) -> anyhow::Result<Self> {
        let location = Location::of(pool)?;
        let until = Instant::now() + FREE_WITHIN;
        let opened = loop {
            match StorePool::open_outliving(&location.pool, config, mode, tail) {
                Err(OpenError::InUse) if Instant::now() < until => tokio::time::sleep(LOOK_EVERY).await,
                opened => break opened,
            }
        };
        let pool = opened.with_context(|| format!("cannot open the pool in {}", location.pool.display()))?;
        // Where those are who wait for storage, so that they go on without a switch of threads.
        let runtime = threads.as_ref().map_or_else(Handle::current, |threads| threads.runtime().clone());
        runtime.spawn(pool.driver());
        Self::with_catalog(pool, location, settings, threads).await
    }

    /// Makes an empty pool in `folder`.
    ///
    /// # Errors
    /// If there is one already, or the folder cannot be written.
    pub async fn create(folder: &Path, config: &StoreConfig) -> anyhow::Result<Self> {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
        let pool =
            StorePool::create(folder, config).with_context(|| format!("cannot make a pool in {}", folder.display()))?;
        Self::with_catalog(pool, Location::of(folder)?, Settings::default(), None).await
    }

    /// Makes an empty pool on a block device, whatever that holds. Its records are kept in `records`, or else in a folder
    /// that is found by the pool's id.
    ///
    /// # Errors
    /// If the device is in use, too small or cannot be written, or the folder of records cannot be made.
    pub async fn create_on_device(device: &Path, config: &StoreConfig, records: Option<&Path>) -> anyhow::Result<Self> {
        let made =
            FileMedia::open(device).map_err(OpenError::from).and_then(|media| StorePool::create_on(media, config));
        let pool = made.map_err(|error| match error {
            OpenError::InUse => anyhow::anyhow!("{} is mounted, served, or part of something else", device.display()),
            error => anyhow::Error::new(error).context(format!("cannot make a pool on {}", device.display())),
        })?;
        Self::with_catalog(pool, Location::furnish(device, records)?, Settings::default(), None).await
    }

    /// Opens the pool in `folder`, or makes one there that may grow to `capacity_bytes`.
    ///
    /// # Errors
    /// If the folder cannot be made, or holds a pool that cannot be opened.
    pub async fn open_or_create(folder: &Path, capacity_bytes: u64) -> anyhow::Result<Self> {
        if folder.join(POOL_FILE).exists() {
            return Self::open(folder).await;
        }
        Self::create(folder, &StoreConfig { capacity_bytes, ..StoreConfig::default() }).await
    }

    async fn with_catalog(
        pool: StorePool,
        location: Location,
        settings: Settings,
        threads: Option<Arc<ConnectionThreads>>,
    ) -> anyhow::Result<Self> {
        let pool = Arc::new(pool);
        let file = location.records.join(CATALOG_FILE);
        let catalog = Catalog::open(Arc::clone(&pool), &file, settings)
            .await
            .with_context(|| format!("cannot open the catalog in {}", location.records.display()))?;
        let reaper = catalog.spawn_reaper();
        Ok(Self { pool, catalog: Arc::new(catalog), location, reaper, threads })
    }

    /// The host of that name and initiator, made if there is none.
    ///
    /// # Errors
    /// If the name or the initiator belongs to another host.
    pub async fn host(&self, name: &str, initiator: &InitiatorName) -> anyhow::Result<HostId> {
        if let Some(host) = self.catalog.host_of(initiator) {
            return Ok(host);
        }
        let made = self.catalog.add_host(name.parse::<Name>()?, vec![initiator.clone()]).await;
        Ok(made.with_context(|| format!("cannot make the host {name} known"))?.id)
    }

    /// A new LUN with the first free name among `name`, `name-2`, `name-3` …, mapped to `host`.
    ///
    /// # Errors
    /// If the pool is full or the host has no LUN number left.
    pub async fn new_lun(
        &self,
        name: &str,
        blocks: BlockCount,
        host: HostId,
    ) -> anyhow::Result<(LunId, Name, LunNumber)> {
        let names = std::iter::once(name.to_owned()).chain((2..).map(|n| format!("{name}-{n}")));
        for name in names {
            let name: Name = name.parse()?;
            if self.catalog.lun_named(&name).is_some() {
                continue;
            }
            let lun = self.catalog.create_lun(name.clone(), blocks).await.context("cannot make a LUN")?.id;
            let number = self.catalog.assign(host, lun).await.context("cannot map the LUN")?.number;
            return Ok((lun, name, number));
        }
        anyhow::bail!("no name is free")
    }

    /// Starts to serve.
    ///
    /// # Errors
    /// If an address cannot be listened on.
    pub async fn serve(&self, listen: &[NetworkPortal], admission: Admission) -> anyhow::Result<Target> {
        let hosts = Arc::clone(&self.catalog);
        let map: Arc<dyn LunMap> = match admission {
            Admission::KnownHosts => hosts,
            Admission::Everybody(guest) => Arc::new(OpenAccess { hosts, guest }),
        };
        let config = TargetConfig {
            listen: listen.to_vec(),
            name: TARGET_NAME.to_owned(),
            alias: Some("Lunshadow".to_owned()),
            limits: Limits::default(),
        };
        let bound = match &self.threads {
            Some(threads) => Target::bind_on(config, map, Arc::clone(threads)).await,
            None => Target::bind(config, map).await,
        };
        bound.context("cannot serve")
    }

    /// Makes everything durable. The pool can be opened again afterwards.
    ///
    /// # Errors
    /// If the medium fails.
    pub async fn close(self) -> anyhow::Result<()> {
        drop(self.reaper);
        self.catalog.rest().await;
        self.pool.close().await.context("the pool could not be closed cleanly")
    }
}
