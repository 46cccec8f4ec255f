//! The catalog's main flow over the embedded pool, asked by a host in the same process, with restarts in between.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use lunshadow::in_process::InProcessArray;
use lunshadow_array_client::{Array, Preparation};
use lunshadow_catalog::{Catalog, SetState, Settings};
use lunshadow_control::{HostId, LunId, LunQuery, Outcome, ProblemCode, ShadowSetId, identity_of};
use lunshadow_lun::{BlockCount, InitiatorName, Lba, LunHandle, LunMap, Pool};
use lunshadow_store::{StoreConfig, StorePool};
use tokio::runtime::Runtime;
use uuid::Uuid;

const LUN_BLOCKS: BlockCount = BlockCount(2048);

/// The array in a folder, and what its one host is.
struct RunningArray {
    runtime: Runtime,
    catalog: Arc<Catalog<StorePool>>,
    host: HostId,
    luns: [LunId; 2],
}

impl RunningArray {
    /// Starts the array; things that are there already are found again, since every action can be repeated.
    fn start(folder: &Path) -> Result<Self> {
        let runtime = Runtime::new()?;
        let config = StoreConfig {
            cache_bytes: 4 << 20,
            log_bytes: 1 << 20,
            capacity_bytes: 256 << 20,
            ..StoreConfig::default()
        };
        let (catalog, host, luns) = runtime.block_on(async {
            let pool = match StorePool::open(folder, &config) {
                Ok(pool) => pool,
                Err(lunshadow_store::OpenError::NotAPool) => StorePool::create(folder, &config)?,
                Err(error) => return Err(anyhow::Error::new(error)),
            };
            let path = folder.join("catalog");
            let catalog = Arc::new(Catalog::open(Arc::new(pool), &path, Settings::default()).await?);
            let host = catalog.add_host("host".parse()?, vec![initiator()?]).await?.id;
            let data = catalog.create_lun("data".parse()?, LUN_BLOCKS).await?.id;
            let log = catalog.create_lun("log".parse()?, LUN_BLOCKS).await?.id;
            for lun in [data, log] {
                catalog.assign(host, lun).await?;
            }
            anyhow::Ok((catalog, host, [data, log]))
        })?;
        Ok(Self { runtime, catalog, host, luns })
    }

    fn array(&self) -> InProcessArray<StorePool> {
        InProcessArray::new(Arc::clone(&self.catalog), self.runtime.handle().clone(), self.host)
    }

    /// Stops as a program does that was asked to.
    fn stop(self) -> Result<()> {
        let Self { runtime, catalog, .. } = self;
        runtime.block_on(catalog.pool().close())?;
        drop(catalog);
        drop(runtime);
        Ok(())
    }

    /// The LUN as the target would serve it to the host.
    fn served(&self, lun: LunId) -> Result<LunHandle> {
        let inventory = self.catalog.inventory(&initiator()?).context("the host is known")?;
        inventory.luns.values().find(|handle| handle.id() == lun).cloned().context("the LUN is mapped")
    }

    /// Fills both LUNs with a byte, through the handles that the target would use.
    fn fill(&self, byte: u8) -> Result<()> {
        for lun in self.luns {
            let data = Bytes::from(vec![byte; usize::try_from(LUN_BLOCKS.bytes())?]);
            let handle = self.served(lun)?;
            self.runtime.block_on(async {
                handle.write(Lba(0), data).await?;
                handle.flush().await
            })?;
        }
        Ok(())
    }

    fn holds(&self, lun: LunId, byte: u8) -> Result<bool> {
        let data = self.runtime.block_on(self.served(lun)?.read(Lba(0), LUN_BLOCKS))?;
        Ok(data.iter().all(|found| *found == byte))
    }

    /// Captures both LUNs as a provider does.
    fn capture(&self, set: ShadowSetId) -> Result<Vec<LunId>> {
        let array = self.array();
        for lun in self.luns {
            ensure!(array.prepare(set, &[lun])? == Outcome::Done);
        }
        ensure!(array.wait_prepared(set, Duration::from_secs(60))? == Preparation::Ready);
        let mut channel = array.open_commit_channel(set)?;
        channel.arm(Duration::from_secs(5))?;
        channel.commit()?;
        let targets = array.targets(set)?;
        ensure!(targets.iter().map(|target| target.source).eq(self.luns), "the targets are those of the sources");
        Ok(targets.into_iter().map(|target| target.shadow).collect())
    }
}

fn initiator() -> Result<InitiatorName> {
    Ok("iqn.2026-11.org.example:host".parse()?)
}

fn set(number: u128) -> ShadowSetId {
    ShadowSetId(Uuid::from_u128(number))
}

#[test]
fn a_kept_set_lives_through_a_restart_until_it_is_released() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let running = RunningArray::start(folder.path())?;
    ensure!(running.array().who_am_i()?.name == "host");
    let queries = running.luns.map(|lun| LunQuery { serial: None, designators: identity_of(lun).designators });
    for (found, lun) in running.array().resolve(&queries)?.into_iter().zip(running.luns) {
        let found = found.context("the host finds its LUN")?;
        ensure!(found.lun == lun && found.can_shadow);
    }
    running.fill(1)?;
    let shadows = running.capture(set(1))?;
    running.fill(2)?;
    ensure!(running.array().keep(set(1))? == Outcome::Done);
    ensure!(running.array().map(&shadows)? == [Outcome::Done, Outcome::Done]);
    for (source, shadow) in running.luns.into_iter().zip(&shadows) {
        ensure!(running.holds(source, 2)? && running.holds(*shadow, 1)?, "the shadow LUN holds the instant");
    }
    running.stop()?;

    let running = RunningArray::start(folder.path())?;
    for (source, shadow) in running.luns.into_iter().zip(&shadows) {
        ensure!(running.holds(source, 2)? && running.holds(*shadow, 1)?, "a restart changed something");
    }
    let used_before = running.catalog.pool().usage().used_bytes;
    for shadow in &shadows {
        ensure!(running.array().release(*shadow)? == Outcome::Done);
        ensure!(running.array().release(*shadow)? == Outcome::AlreadySo);
    }
    running.runtime.block_on(running.catalog.pool().wait_reclaimed())?;
    let used_after = running.catalog.pool().usage().used_bytes;
    ensure!(used_after + 2 * LUN_BLOCKS.bytes() <= used_before, "{used_after} of {used_before} bytes are still used");
    ensure!(running.catalog.orphans().is_empty() && running.catalog.luns().len() == 2);
    running.stop()
}

#[test]
fn sets_that_nobody_kept_are_sorted_out_by_a_restart() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let running = RunningArray::start(folder.path())?;
    running.fill(1)?;
    let committed = running.capture(set(1))?;
    let aborted = running.capture(set(2))?;
    ensure!(running.array().abort(set(2))? == Outcome::Done);
    ensure!(running.array().prepare(set(3), &running.luns)? == Outcome::Done);
    running.stop()?;

    let running = RunningArray::start(folder.path())?;
    let state = |number| running.catalog.set_state(running.host, set(number));
    ensure!(state(1)? == SetState::Committed && state(2)? == SetState::Aborted && state(3)? == SetState::Aborted);
    ensure!(running.array().targets(set(1))?.iter().map(|target| target.shadow).eq(committed.iter().copied()));
    let refused = running.array().map(&aborted).expect_err("an aborted set is gone");
    ensure!(refused.code() == Some(ProblemCode::SetAborted));
    ensure!(running.array().withdraw(set(1))? == Outcome::Done);
    ensure!(running.catalog.pool().luns().len() == 2, "shadow LUNs stayed in the pool");
    running.stop()
}
