//! The test bed for our own provider: a pool with its catalog and target in this process, and three hosts.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use lunshadow_catalog::LunDeletion;
use lunshadow_conform::{BedError, ComClass, Condition, TestBed, TestHost};
use lunshadow_control::{HostId, InitiatorName, LunId, SetPhase};
use lunshadow_coordinator::Clock;
use lunshadow_coordinator::disk::make_sample_disk;
use lunshadow_lun::{BlockCount, Pool as _};
use lunshadow_target::Target;
use tokio::runtime::{Handle, Runtime};

use super::array::{Trouble, TroubledArray};
use super::clock::{JumpingClock, Timing};
use super::host::{Initiator, NativeHost};
use crate::array::{Admission, Storage};
use crate::image::Image;
use crate::import::import;
use crate::in_process::InProcessArray;

/// The length of the volume on each source, and of the room behind it that the suite writes to.
pub(super) const IMAGE_BYTES: u64 = 16 << 20;
pub(super) const SCRATCH_BYTES: u64 = 4 << 20;

/// How many LUNs the crowded host has, and how long each is.
const CROWD: usize = 64;
const CROWD_BYTES: u64 = 1 << 20;

const POOL_BYTES: u64 = 4 << 30;

/// The bed.
pub struct NativeBed {
    storage: Storage,
    target: Target,
    runtime: Handle,
    clock: Arc<JumpingClock>,
    trouble: Arc<Trouble>,
    host: Arc<NativeHost>,
    importer: Arc<NativeHost>,
    crowded: Arc<NativeHost>,
    initiators: [Arc<Initiator>; 2],
}

impl NativeBed {
    /// Makes a pool in `folder`, serves it on a loopback address, and logs the hosts in. Blocks.
    ///
    /// # Errors
    /// If the folder cannot be written, or no port is to be had.
    pub fn set_up(folder: &Path, runtime: &Runtime, timing: Timing) -> anyhow::Result<Self> {
        let names: [InitiatorName; 3] = [
            "iqn.2026-11.org.lunshadow:conform-host".parse()?,
            "iqn.2026-11.org.lunshadow:conform-importer".parse()?,
            "iqn.2026-11.org.lunshadow:conform-crowd".parse()?,
        ];
        let storage = runtime.block_on(Storage::open_or_create(&folder.join("pool"), POOL_BYTES))?;
        let (ids, luns, crowd) = runtime.block_on(populate(&storage, folder, &names))?;
        let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let target = runtime.block_on(storage.serve(&[listen.into()], Admission::KnownHosts))?;
        let log_in = |name| Initiator::log_in(&target, name, runtime).map(Arc::new);
        let initiators = [log_in(&names[0])?, log_in(&names[1])?];
        let clock = Arc::new(JumpingClock::new(timing));
        let trouble = Arc::new(Trouble::new(Arc::clone(&clock)));
        let all_sources: Vec<LunId> = luns.iter().chain(&crowd).copied().collect();
        let host = |id: HostId, luns: Vec<LunId>, initiator: Option<&Arc<Initiator>>| {
            let array = InProcessArray::new(Arc::clone(&storage.catalog), runtime.handle().clone(), id);
            Arc::new(NativeHost {
                id,
                catalog: Arc::clone(&storage.catalog),
                array: TroubledArray { array: Arc::new(array), trouble: Arc::clone(&trouble) },
                clock: Arc::clone(&clock),
                luns,
                all_sources: all_sources.clone(),
                initiator: initiator.cloned(),
                runtime: runtime.handle().clone(),
            })
        };
        let (main, importer) =
            (host(ids[0], luns, Some(&initiators[0])), host(ids[1], Vec::new(), Some(&initiators[1])));
        let crowded = host(ids[2], crowd, None);
        let runtime = runtime.handle().clone();
        Ok(Self { storage, target, runtime, clock, trouble, host: main, importer, crowded, initiators })
    }

    /// Logs the hosts out and closes the pool. Blocks.
    ///
    /// # Errors
    /// If somebody still uses the bed, or the pool's medium fails.
    pub fn tear_down(self: Arc<Self>, runtime: &Runtime) -> anyhow::Result<()> {
        let bed = Arc::into_inner(self).context("the test bed is still in use")?;
        for initiator in &bed.initiators {
            initiator.log_out(runtime)?;
        }
        runtime.block_on(async {
            bed.target.shutdown().await;
            bed.storage.close().await
        })
    }

    async fn clean_up_async(&self) -> anyhow::Result<()> {
        let catalog = &self.storage.catalog;
        for set in catalog.administered_sets().1 {
            if set.summary.phase != SetPhase::Aborted {
                catalog.delete_set(set.summary.set).await?;
            }
        }
        // Shadow LUNs that a host made read-write are LUNs of their own.
        for entry in catalog.luns() {
            if !self.host.all_sources.contains(&entry.lun) {
                catalog.delete_lun(entry.lun, LunDeletion { unmap: true, keep_shadows: false }).await?;
            }
        }
        Ok(())
    }
}

/// Makes the hosts, and their LUNs: two with a volume each, and a crowd of small ones.
async fn populate(
    storage: &Storage,
    folder: &Path,
    names: &[InitiatorName; 3],
) -> anyhow::Result<([HostId; 3], Vec<LunId>, Vec<LunId>)> {
    let mut ids = Vec::new();
    for (name, initiator) in ["host", "importer", "crowd"].into_iter().zip(names) {
        ids.push(storage.host(name, initiator).await?);
    }
    let ids: [HostId; 3] = ids.try_into().ok().context("there are three hosts")?;
    storage.catalog.set_imports(ids[1], vec![ids[0]]).await?;
    let mut luns = Vec::new();
    for seed in 1..=2 {
        let path = folder.join(format!("sample-{seed}.img"));
        make_sample_disk(&path, IMAGE_BYTES, seed)?;
        let block_count = BlockCount::from_bytes(IMAGE_BYTES + SCRATCH_BYTES).context("whole blocks")?;
        let (lun, _, _) = storage.new_lun("source", block_count, ids[0]).await?;
        import(&Image::open(&path)?, &storage.pool.open(lun)?, |_| ()).await?;
        luns.push(lun);
    }
    let mut crowd = Vec::new();
    for number in 1..=CROWD {
        let block_count = BlockCount::from_bytes(CROWD_BYTES).context("whole blocks")?;
        crowd.push(storage.new_lun(&format!("crowd-{number}"), block_count, ids[2]).await?.0);
    }
    Ok((ids, luns, crowd))
}

impl TestBed for NativeBed {
    fn host(&self) -> Arc<dyn TestHost> {
        Arc::clone(&self.host) as _
    }

    fn importer(&self) -> Option<Arc<dyn TestHost>> {
        Some(Arc::clone(&self.importer) as _)
    }

    fn crowded_host(&self) -> Option<Arc<dyn TestHost>> {
        Some(Arc::clone(&self.crowded) as _)
    }

    fn clock(&self) -> Arc<dyn Clock> {
        Arc::clone(&self.clock) as _
    }

    fn hears_events(&self) -> bool {
        true
    }

    fn com_class(&self) -> Option<Arc<dyn ComClass>> {
        None
    }

    /// The provider is in the suite's own process.
    fn provider_memory_bytes(&self) -> Option<u64> {
        None
    }

    fn pass(&self, time: Duration) {
        self.clock.jump(time);
    }

    fn set_condition(&self, condition: Condition) -> bool {
        self.trouble.set(condition);
        true
    }

    fn clean_up(&self) -> Result<(), BedError> {
        self.trouble.set(Condition::Sound);
        self.runtime.block_on(self.clean_up_async()).map_err(|error| BedError(format!("{error:#}")))
    }
}
