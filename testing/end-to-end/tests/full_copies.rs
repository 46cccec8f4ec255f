//! Shadow LUNs that are full copies (VSS calls them plexes), on the embedded pool: what they hold, what they share, and what is left when
//! their making is cut off at any place.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use lunshadow_catalog::{Catalog, LunDeletion, Preparation, SetState, Settings};
use lunshadow_control::{HostId, LunId, LunQuery, ProblemCode, ShadowKind, ShadowSetId};
use lunshadow_lun::{BlockCount, Lba, LunHandle, LunOrigin, Pool};
use lunshadow_store::{StoreConfig, StorePool};
use uuid::Uuid;

const LUN_BLOCKS: BlockCount = BlockCount(8 * 2048);
const MIB_BLOCKS: u64 = 2048;
const MIB: usize = 1 << 20;
const AT_MOST: Duration = Duration::from_secs(120);

struct Array {
    catalog: Catalog<StorePool>,
    host: HostId,
    luns: [LunId; 2],
}

impl Array {
    async fn start(folder: &Path) -> Result<Self> {
        let config = StoreConfig {
            cache_bytes: 4 << 20,
            log_bytes: 1 << 20,
            capacity_bytes: 128 << 20,
            ..StoreConfig::default()
        };
        let began = Instant::now();
        let catalog = loop {
            match Self::open_catalog(folder, &config).await {
                Ok(catalog) => break catalog,
                // What an earlier run has left to its background may hold the pool for a moment longer.
                Err(error) if began.elapsed() > AT_MOST => return Err(error),
                Err(_) => tokio::task::yield_now().await,
            }
        };
        let host = catalog.add_host("host".parse()?, vec!["iqn.2026-11.org.example:host".parse()?]).await?.id;
        let data = catalog.create_lun("data".parse()?, LUN_BLOCKS).await?.id;
        let log = catalog.create_lun("log".parse()?, LUN_BLOCKS).await?.id;
        for lun in [data, log] {
            catalog.assign(host, lun).await?;
        }
        Ok(Self { catalog, host, luns: [data, log] })
    }

    async fn open_catalog(folder: &Path, config: &StoreConfig) -> Result<Catalog<StorePool>> {
        let pool = match StorePool::open(folder, config) {
            Ok(pool) => pool,
            Err(lunshadow_store::OpenError::NotAPool) => StorePool::create(folder, config)?,
            Err(error) => return Err(error.into()),
        };
        Ok(Catalog::open(Arc::new(pool), &folder.join("catalog"), Settings::default()).await?)
    }

    async fn stop(self) -> Result<()> {
        self.catalog.rest().await;
        self.catalog.pool().close().await?;
        Ok(())
    }

    fn open(&self, lun: LunId) -> Result<LunHandle> {
        Ok(self.catalog.pool().open(lun)?)
    }

    /// Writes a MiB of a byte to each LUN.
    async fn write(&self, at_mib: u64, byte: u8) -> Result<()> {
        for lun in self.luns {
            let handle = self.open(lun)?;
            handle.write(Lba(at_mib * MIB_BLOCKS), Bytes::from(vec![byte; MIB])).await?;
            handle.flush().await?;
        }
        Ok(())
    }

    /// The bytes that a LUN holds, one for each MiB; each MiB has to be of one byte.
    async fn content(&self, lun: LunId) -> Result<Vec<u8>> {
        let data = self.open(lun)?.read(Lba(0), LUN_BLOCKS).await?;
        let one_byte = |mib: &[u8]| mib.iter().all(|byte| *byte == mib[0]).then_some(mib[0]);
        data.chunks(MIB).map(one_byte).collect::<Option<_>>().context("a MiB holds a mixture")
    }

    async fn prepare(&self, kind: ShadowKind, set: ShadowSetId) -> Result<()> {
        self.catalog.prepare_as(kind, self.host, set, &self.luns).await?;
        ensure!(self.catalog.wait_prepared(self.host, set, AT_MOST).await? == Preparation::Ready);
        Ok(())
    }

    async fn commit(&self, set: ShadowSetId) -> Result<Vec<LunId>> {
        self.catalog.arm(self.host, set, None).await?;
        self.catalog.commit(self.host, set).await?;
        Ok(self.catalog.targets(self.host, set)?.into_iter().map(|target| target.shadow).collect())
    }

    /// What is in the pool beside the two LUNs and these.
    fn is_nothing_but(&self, shadows: &[LunId]) -> bool {
        let known = |lun: &LunId| self.luns.contains(lun) || shadows.contains(lun);
        self.catalog.pool().luns().iter().all(|summary| known(&summary.lun)) && self.catalog.orphans().is_empty()
    }

    /// Waits until what is removed in the background is gone.
    async fn is_soon_nothing_but(&self, shadows: &[LunId]) -> bool {
        let gone = async {
            while !self.is_nothing_but(shadows) {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(AT_MOST, gone).await.is_ok()
    }
}

fn set(number: u128) -> ShadowSetId {
    ShadowSetId(Uuid::from_u128(number))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_copy_is_of_the_instant_of_the_commit_and_shares_nothing() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let array = Array::start(folder.path()).await?;
    for at in 0..4 {
        array.write(at, 1).await?;
    }
    // Prepared, and changed after each step: once while it is waited for at the latest, and by VSS's own flags until the commit.
    array.catalog.prepare_as(ShadowKind::FullCopy, array.host, set(1), &array.luns).await?;
    array.write(1, 2).await?;
    ensure!(array.catalog.wait_prepared(array.host, set(1), AT_MOST).await? == Preparation::Ready);
    array.write(2, 3).await?;
    array.write(6, 3).await?;
    for lun in array.luns {
        array.open(lun)?.discard(Lba(0), BlockCount(MIB_BLOCKS)).await?;
    }
    let shadows = array.commit(set(1)).await?;
    array.write(3, 9).await?;
    let instant = [0, 2, 3, 1, 0, 0, 3, 0];
    for shadow in &shadows {
        ensure!(array.content(*shadow).await? == instant, "{:?}", array.content(*shadow).await?);
        let is_shadow = |origin| matches!(origin, LunOrigin::Shadow { set: of, .. } if of == set(1));
        ensure!(array.catalog.pool().summary(*shadow).is_some_and(|summary| is_shadow(summary.origin)));
    }
    ensure!(array.is_soon_nothing_but(&shadows).await, "a mirror is left");
    array.catalog.keep(array.host, set(1)).await?;
    array.catalog.pool().wait_reclaimed().await?;
    for shadow in &shadows {
        let mapped_bytes = array.open(*shadow)?.usage().context("the pool can tell")?.mapped_bytes;
        let own_bytes = array.catalog.pool().unique_bytes(*shadow).await?;
        ensure!(mapped_bytes == 4 << 20 && own_bytes >= mapped_bytes, "{own_bytes} of {mapped_bytes} are its own");
    }

    // The sources go, and the copies stay; over a restart too.
    let deletion = LunDeletion { unmap: true, keep_shadows: true };
    for lun in array.luns {
        array.catalog.delete_lun(lun, deletion).await?;
    }
    array.stop().await?;
    let array = Array::start(folder.path()).await?;
    for shadow in &shadows {
        ensure!(array.content(*shadow).await? == instant);
        array.catalog.release(array.host, *shadow).await?;
    }
    array.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn copies_that_share_do_so_still() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let array = Array::start(folder.path()).await?;
    array.write(0, 1).await?;
    array.prepare(ShadowKind::Sharing, set(1)).await?;
    let shadows = array.commit(set(1)).await?;
    let own_bytes = array.catalog.pool().unique_bytes(shadows[0]).await?;
    ensure!(own_bytes < 1 << 20, "{own_bytes} bytes are its own");
    array.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_left_of_full_copies_that_are_given_up() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let array = Array::start(folder.path()).await?;
    array.write(0, 1).await?;
    // As soon as it was asked for, when it is prepared, when it is armed, and when it is committed.
    array.catalog.prepare_as(ShadowKind::FullCopy, array.host, set(1), &array.luns).await?;
    array.catalog.abort(array.host, set(1)).await?;
    array.prepare(ShadowKind::FullCopy, set(2)).await?;
    array.catalog.abort(array.host, set(2)).await?;
    array.prepare(ShadowKind::FullCopy, set(3)).await?;
    array.catalog.arm(array.host, set(3), None).await?;
    array.catalog.abort(array.host, set(3)).await?;
    array.prepare(ShadowKind::FullCopy, set(4)).await?;
    array.commit(set(4)).await?;
    array.catalog.abort(array.host, set(4)).await?;
    ensure!(array.is_soon_nothing_but(&[]).await, "{:?}", array.catalog.pool().luns());

    // Two of them at the end of the program: one prepared, one being prepared.
    array.prepare(ShadowKind::FullCopy, set(5)).await?;
    array.catalog.prepare_as(ShadowKind::FullCopy, array.host, set(6), &array.luns).await?;
    array.stop().await?;
    let array = Array::start(folder.path()).await?;
    ensure!(array.is_nothing_but(&[]), "{:?}", array.catalog.pool().luns());
    ensure!(array.catalog.set_state(array.host, set(5))? == SetState::Aborted);
    array.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_without_room_for_full_copies_says_so_before() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let array = Array::start(folder.path()).await?;
    let can = || {
        let query = |lun: &LunId| LunQuery { serial: Some(lun.to_string()), designators: Vec::new() };
        let queries: Vec<_> = array.luns.iter().map(query).collect();
        let found = array.catalog.resolve(array.host, &queries)?;
        let found: Vec<_> = found.into_iter().flatten().map(|record| (record.can_shadow, record.can_copy)).collect();
        anyhow::Ok(found)
    };
    ensure!(can()? == [(true, true); 2]);
    let hog = array.catalog.create_lun("hog".parse()?, BlockCount(128 * MIB_BLOCKS)).await?.id;
    for at in 0..8 {
        array.write(at, 1).await?;
    }
    let hog = array.open(hog)?;
    for at in 0..84 {
        hog.write(Lba(at * MIB_BLOCKS), Bytes::from(vec![1; MIB])).await?;
    }
    ensure!(can()? == [(true, false); 2], "{:?} with {:?}", can()?, array.catalog.pool().usage());
    let refused = array.catalog.prepare_as(ShadowKind::FullCopy, array.host, set(1), &array.luns).await;
    ensure!(refused.is_err_and(|error| error.code() == ProblemCode::OutOfSpace));
    array.prepare(ShadowKind::Sharing, set(1)).await?;
    ensure!(array.is_nothing_but(&[hog.id()]));
    array.stop().await
}
