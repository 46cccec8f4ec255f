//! A whole array in this process: the embedded pool in a temporary folder, the catalog, and the iSCSI target on a loopback port.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use bytes::Bytes;
use lunshadow_catalog::{Catalog, Preparation, Settings};
use lunshadow_control::HostId;
use lunshadow_lun::{BlockCount, InitiatorName, Lba, LunId, LunNumber, Pool, ShadowSetId};
use lunshadow_store::{StoreConfig, StorePool};
use lunshadow_target::{Limits, NetworkPortal, Target, TargetConfig};
use tempfile::TempDir;
use uuid::Uuid;

/// The initiator name that the tests' host logs in with.
pub const INITIATOR: &str = "iqn.2026-01.com.example:host";

/// The iSCSI name of the target.
const TARGET: &str = "iqn.2026-01.com.example:array";

/// The name that QEMU's initiator has when nobody gives it one.
const QEMU_INITIATOR: &str = "iqn.2008-11.org.linux-kvm";

/// How long the preparation of a set may take.
const PREPARE_AT_MOST: Duration = Duration::from_secs(10);

/// How much is written to a LUN at once.
const IMPORT_BYTES: usize = 1 << 20;

/// A LUN of the array, mapped to the tests' host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ArrayLun {
    /// Its id.
    pub id: LunId,
    /// The number under which the host sees it.
    pub number: LunNumber,
}

/// An array that runs until it is stopped or dropped.
pub struct TestArray {
    catalog: Arc<Catalog<StorePool>>,
    host: HostId,
    target: Target,
    folder: TempDir,
}

impl TestArray {
    /// Starts an array with an empty pool, one host and one portal.
    ///
    /// # Errors
    /// If a part of it does not start.
    pub async fn start() -> anyhow::Result<Self> {
        Self::start_on(vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()]).await
    }

    /// The same with these portals.
    ///
    /// # Errors
    /// If a part of it does not start.
    pub async fn start_on(listen: Vec<NetworkPortal>) -> anyhow::Result<Self> {
        Self::start_with(listen, |folder| Ok(StorePool::create(folder, &StoreConfig::default())?)).await
    }

    /// The same with a pool that is made in a folder like this.
    ///
    /// # Errors
    /// If a part of it does not start.
    pub async fn start_with(
        listen: Vec<NetworkPortal>,
        make: impl FnOnce(&Path) -> anyhow::Result<StorePool>,
    ) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let pool = Arc::new(make(folder.path())?);
        let catalog = Catalog::open(pool, &folder.path().join("catalog.redb"), Settings::default()).await?;
        let catalog = Arc::new(catalog);
        let initiators = [INITIATOR, QEMU_INITIATOR].map(str::parse);
        let initiators = initiators.into_iter().collect::<Result<Vec<InitiatorName>, _>>()?;
        let host = catalog.add_host("host".parse()?, initiators).await?.id;
        let config = TargetConfig { listen, name: TARGET.to_owned(), alias: None, limits: Limits::default() };
        let target = Target::bind(config, Arc::<Catalog<StorePool>>::clone(&catalog)).await?;
        Ok(Self { catalog, host, target, folder })
    }

    /// Makes an empty LUN and maps it to the host.
    ///
    /// # Errors
    /// What the catalog says.
    pub async fn add_lun(&self, name: &str, len_bytes: u64) -> anyhow::Result<ArrayLun> {
        let block_count = BlockCount::from_bytes(len_bytes).context("a LUN has whole blocks")?;
        let id = self.catalog.create_lun(name.parse()?, block_count).await?.id;
        let number = self.catalog.assign(self.host, id).await?.number;
        Ok(ArrayLun { id, number })
    }

    /// Makes a LUN with this content.
    ///
    /// # Errors
    /// What the catalog or the pool says.
    pub async fn import(&self, name: &str, content: &[u8]) -> anyhow::Result<ArrayLun> {
        let lun = self.add_lun(name, u64::try_from(content.len())?).await?;
        let handle = self.catalog.pool().open(lun.id)?;
        let mut at = Lba(0);
        for piece in content.chunks(IMPORT_BYTES) {
            handle.write(at, Bytes::copy_from_slice(piece)).await?;
            let count = BlockCount::from_bytes(u64::try_from(piece.len())?).context("a LUN has whole blocks")?;
            at = at.checked_add(count).context("images are small")?;
        }
        handle.flush().await?;
        Ok(lun)
    }

    /// What a LUN holds, past the target.
    ///
    /// # Errors
    /// What the pool says.
    pub async fn content(&self, lun: ArrayLun) -> anyhow::Result<Bytes> {
        let handle = self.catalog.pool().open(lun.id)?;
        Ok(handle.read(Lba(0), handle.block_count()).await?)
    }

    /// Takes a shadow copy of LUNs at one instant, keeps it and maps the shadow LUNs to the host: element *i* belongs to LUN *i*.
    ///
    /// # Errors
    /// What the catalog says.
    pub async fn shadow(&self, luns: &[ArrayLun]) -> anyhow::Result<Vec<ArrayLun>> {
        let set = ShadowSetId(Uuid::new_v4());
        let sources: Vec<LunId> = luns.iter().map(|lun| lun.id).collect();
        self.catalog.prepare(self.host, set, &sources).await?;
        let preparation = self.catalog.wait_prepared(self.host, set, PREPARE_AT_MOST).await?;
        ensure!(preparation == Preparation::Ready, "the preparation takes longer than {PREPARE_AT_MOST:?}");
        self.catalog.arm(self.host, set, None).await?;
        self.catalog.commit(self.host, set).await?;
        self.catalog.keep(self.host, set).await?;
        let targets = self.catalog.targets(self.host, set)?;
        let mut shadows = Vec::new();
        for source in sources {
            let target = targets.iter().find(|target| target.source == source).context("a source has no shadow LUN")?;
            let number = self.catalog.assign(self.host, target.shadow).await?.number;
            shadows.push(ArrayLun { id: target.shadow, number });
        }
        Ok(shadows)
    }

    /// The array's use cases.
    #[must_use]
    pub fn catalog(&self) -> &Arc<Catalog<StorePool>> {
        &self.catalog
    }

    /// The tests' host.
    #[must_use]
    pub fn host(&self) -> HostId {
        self.host
    }

    /// Where the target listens.
    #[must_use]
    pub fn portal(&self) -> SocketAddr {
        self.target.local_addr()
    }

    /// All portals.
    #[must_use]
    pub fn portals(&self) -> &[NetworkPortal] {
        self.target.portals()
    }

    /// The target's iSCSI name.
    #[must_use]
    pub fn target_name(&self) -> &str {
        self.target.name()
    }

    /// A LUN as libiscsi and QEMU name it.
    #[must_use]
    pub fn url(&self, lun: ArrayLun) -> String {
        self.url_through(self.portal(), lun)
    }

    /// The same by another portal.
    #[must_use]
    pub fn url_through(&self, portal: SocketAddr, lun: ArrayLun) -> String {
        format!("iscsi://{portal}/{}/{}", self.target_name(), lun.number.0)
    }

    /// Stops the target, closes the pool and opens it again: all of its LUNs have to be there.
    ///
    /// # Errors
    /// If something does not end as it should.
    pub async fn stop(self) -> anyhow::Result<()> {
        let Self { catalog, host: _, target, folder } = self;
        target.shutdown().await;
        let pool = Arc::clone(catalog.pool());
        let luns = pool.luns();
        drop(catalog);
        pool.close().await?;
        drop(pool);
        let reopened = StorePool::open(folder.path(), &StoreConfig::default())?;
        ensure!(reopened.luns() == luns, "the pool has other LUNs after it was opened again");
        Ok(())
    }
}
