//! A host of the test bed: its provider, its view of the array by iSCSI, and what the catalog has of it.

use std::sync::Arc;

use anyhow::Context as _;
use lunshadow_catalog::Catalog;
use lunshadow_conform::{BedError, BelowVss, EventSink, Gravity, Ledger, TestHost};
use lunshadow_control::{HostId, InitiatorName, LunId, identity_of};
use lunshadow_coordinator::disk::DiskIo;
use lunshadow_coordinator::{IscsiAdapter, Platform as _, SimulatedHost, SystemClock};
use lunshadow_lun::BlockCount;
use lunshadow_provider::{Event, EventLog, Provider, ProviderConfig, Severity, lun_information};
use lunshadow_store::StorePool;
use lunshadow_target::Target;
use lunshadow_vss::{HardwareProvider, LunInformation};
use tokio::runtime::{Handle, Runtime};

use super::array::TroubledArray;
use super::bed::{IMAGE_BYTES, SCRATCH_BYTES};
use super::clock::JumpingClock;
use crate::array::TARGET_NAME;

/// A host.
pub(super) struct NativeHost {
    pub(super) id: HostId,
    pub(super) catalog: Arc<Catalog<StorePool>>,
    pub(super) array: TroubledArray,
    pub(super) clock: Arc<JumpingClock>,
    /// Its own LUNs.
    pub(super) luns: Vec<LunId>,
    /// The sources of all hosts, which are no shadow LUNs.
    pub(super) all_sources: Vec<LunId>,
    /// Its way to its disks, where it is logged in.
    pub(super) initiator: Option<Arc<Initiator>>,
    pub(super) runtime: Handle,
}

/// The initiator of a simulated host.
pub(super) struct Initiator {
    windows: Arc<SimulatedHost>,
    adapter: Arc<IscsiAdapter>,
}

impl Initiator {
    pub(super) fn log_in(target: &Target, name: &InitiatorName, runtime: &Runtime) -> anyhow::Result<Self> {
        let login = IscsiAdapter::log_in(target.local_addr(), name, TARGET_NAME);
        let adapter = Arc::new(runtime.block_on(login).context("a simulated host cannot log in")?);
        let windows = SimulatedHost::new(Arc::clone(&adapter) as _, runtime.handle().clone())
            .context("a simulated host cannot see its disks")?;
        Ok(Self { windows: Arc::new(windows), adapter })
    }

    fn disk(&self, lun: &LunInformation) -> Result<Option<Arc<dyn DiskIo>>, BedError> {
        let device = self.windows.look_for(lun).map_err(failed)?;
        device.map(|device| self.windows.disk_io(&device).map_err(failed)).transpose()
    }

    pub(super) fn log_out(&self, runtime: &Runtime) -> anyhow::Result<()> {
        Ok(runtime.block_on(self.adapter.log_out())?)
    }
}

/// The provider's log, for the suite.
struct Events(Arc<dyn EventSink>);

impl EventLog for Events {
    fn record(&self, event: Event) {
        let gravity = match event.severity() {
            Severity::Information => Gravity::Information,
            Severity::Warning => Gravity::Warning,
            Severity::Error => Gravity::Error,
        };
        self.0.event(gravity, &event.to_string());
    }
}

fn failed(error: impl std::fmt::Display) -> BedError {
    BedError(error.to_string())
}

impl NativeHost {
    fn initiator(&self) -> Result<&Initiator, BedError> {
        self.initiator.as_deref().ok_or_else(|| BedError("this host is not logged in".to_owned()))
    }

    fn serial(lun: LunId) -> String {
        identity_of(lun).serial
    }
}

impl TestHost for NativeHost {
    fn start_provider(&self, events: Arc<dyn EventSink>) -> Result<Arc<dyn HardwareProvider>, BedError> {
        let clock = Arc::clone(&self.clock);
        let now = Arc::new(move || lunshadow_coordinator::Clock::now(&*clock));
        let array = Arc::new(self.array.clone());
        Ok(Arc::new(Provider::new(array, Arc::new(Events(events)), now, ProviderConfig::default())))
    }

    fn sources(&self) -> Result<Vec<LunInformation>, BedError> {
        let Some(Initiator { windows, .. }) = self.initiator.as_deref() else {
            return Ok(self.luns.iter().map(|lun| lun_information(&identity_of(*lun))).collect());
        };
        let seen = |lun: &LunId| {
            let device = windows.device_by_serial_number(&Self::serial(*lun));
            let device = device.ok_or_else(|| BedError(format!("the host does not see its LUN {lun}")))?;
            Ok(windows.disk(&device).map_err(failed)?.lun)
        };
        self.luns.iter().map(seen).collect()
    }

    fn disk(&self, lun: &LunInformation) -> Result<Option<Arc<dyn DiskIo>>, BedError> {
        self.initiator()?.disk(lun)
    }

    fn seen(&self, lun: &LunInformation) -> Result<Option<LunInformation>, BedError> {
        let windows = &self.initiator()?.windows;
        let device = windows.look_for(lun).map_err(failed)?;
        device.map(|device| Ok(windows.disk(&device).map_err(failed)?.lun)).transpose()
    }

    fn grow(&self, source: &LunInformation, by_bytes: u64) -> Result<bool, BedError> {
        let is_it = |lun: &LunId| source.serial_number.as_ref() == Some(&Self::serial(*lun));
        let unknown = || BedError("the catalog has no such source".to_owned());
        let lun = self.luns.iter().copied().find(is_it).ok_or_else(unknown)?;
        let entry = self.catalog.luns().into_iter().find(|entry| entry.lun == lun).ok_or_else(unknown)?;
        let block_count = BlockCount::from_bytes(entry.block_count.bytes() + by_bytes);
        let block_count = block_count.ok_or_else(|| BedError("a LUN has whole blocks".to_owned()))?;
        self.runtime.block_on(self.catalog.grow_lun(lun, block_count)).map_err(failed)?;
        Ok(true)
    }

    fn scratch(&self) -> (u64, u64) {
        (IMAGE_BYTES, SCRATCH_BYTES)
    }

    fn below_vss(&self) -> Option<BelowVss> {
        let windows = &self.initiator.as_ref()?.windows;
        let volume = |lun: &LunId| {
            let device = windows.device_by_serial_number(&Self::serial(*lun))?;
            Some(windows.volumes(&device).ok()?.first()?.name.clone())
        };
        let volumes: Option<Vec<_>> = self.luns.iter().map(volume).collect();
        let clock = Arc::new(SystemClock::new());
        Some(BelowVss { platform: Arc::clone(windows) as _, volumes: volumes?, clock })
    }

    fn ledger(&self) -> Result<Ledger, BedError> {
        let luns = self.catalog.luns().into_iter().map(|entry| entry.lun);
        let (_, sets) = self.catalog.administered_sets();
        let mappings = self.catalog.mappings(self.id).map_err(failed)?;
        let is_unfinished = |phase| {
            use lunshadow_control::SetPhase;
            matches!(phase, SetPhase::Prepared | SetPhase::Armed | SetPhase::Committed)
        };
        Ok(Ledger {
            shadows: luns.filter(|lun| !self.all_sources.contains(lun)).map(Self::serial).collect(),
            mapped: mappings.into_iter().map(|(_, lun)| Self::serial(lun)).collect(),
            unfinished_sets: sets.iter().filter(|set| is_unfinished(set.summary.phase)).count(),
        })
    }
}
