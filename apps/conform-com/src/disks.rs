//! The LUNs of a host: by iSCSI, as a simulated host sees them, or described.

use std::sync::Arc;

use anyhow::Context as _;
use lunshadow_conform::{BedError, BelowVss};
use lunshadow_control::InitiatorName;
use lunshadow_coordinator::disk::DiskIo;
use lunshadow_coordinator::{Clock, IscsiAdapter, Platform as _, SimulatedHost};
use lunshadow_vss::{DeviceName, LunInformation};
use tokio::runtime::Runtime;

use crate::description::{Description, Iscsi};

/// The LUNs that are copied, and those that arrive.
#[derive(Clone)]
pub(crate) enum Disks {
    /// Disks that are read and written.
    Attached(Attached),
    /// LUNs of which no more is known than how they look.
    Described(Vec<LunInformation>),
}

#[derive(Clone)]
pub(crate) struct Attached {
    windows: Arc<SimulatedHost>,
    adapter: Arc<IscsiAdapter>,
    sources: Vec<String>,
    scratch_bytes: (u64, u64),
    clock: Arc<dyn Clock>,
}

fn failed(error: impl std::fmt::Display) -> BedError {
    BedError(error.to_string())
}

impl Disks {
    pub(crate) fn open(description: &Description, runtime: &Runtime, clock: &Arc<dyn Clock>) -> anyhow::Result<Self> {
        match &description.iscsi {
            Some(iscsi) => {
                Ok(Self::Attached(Attached::log_in(iscsi, &iscsi.initiator, &iscsi.sources, runtime, clock)?))
            }
            None => Ok(Self::Described(description.luns()?)),
        }
    }

    /// What the second host sees, if there is one. Nothing there is copied.
    pub(crate) fn of_importer(
        description: &Description,
        runtime: &Runtime,
        clock: &Arc<dyn Clock>,
    ) -> anyhow::Result<Option<Self>> {
        let Some(importer) = &description.importer else { return Ok(None) };
        let Some((iscsi, initiator)) = description.iscsi.as_ref().zip(importer.initiator.as_ref()) else {
            return Ok(Some(Self::Described(Vec::new())));
        };
        let attached = Attached::log_in(iscsi, initiator, &[], runtime, clock).context("as the second host")?;
        Ok(Some(Self::Attached(attached)))
    }

    /// The LUNs for sets of many, if there are any: seen by the same host, or described.
    pub(crate) fn crowd(&self, description: &Description) -> anyhow::Result<Option<Self>> {
        let described = description.crowd()?;
        if !described.is_empty() {
            return Ok(Some(Self::Described(described)));
        }
        match (self, &description.iscsi) {
            (Self::Attached(attached), Some(iscsi)) if !iscsi.crowd.is_empty() => {
                let crowd = Attached { sources: iscsi.crowd.clone(), ..attached.clone() };
                crowd.sources().context("the crowd is not complete")?;
                Ok(Some(Self::Attached(crowd)))
            }
            _ => Ok(None),
        }
    }

    fn attached(&self) -> Result<&Attached, BedError> {
        match self {
            Self::Attached(attached) => Ok(attached),
            Self::Described(_) => Err(BedError("the file describes LUNs and no way to their content".to_owned())),
        }
    }

    pub(crate) fn sources(&self) -> Result<Vec<LunInformation>, BedError> {
        match self {
            Self::Attached(attached) => attached.sources(),
            Self::Described(luns) => Ok(luns.clone()),
        }
    }

    pub(crate) fn disk(&self, lun: &LunInformation) -> Result<Option<Arc<dyn DiskIo>>, BedError> {
        let attached = self.attached()?;
        let device = attached.device_of(lun)?;
        device.map(|device| attached.windows.disk_io(&device).map_err(failed)).transpose()
    }

    pub(crate) fn seen(&self, lun: &LunInformation) -> Result<Option<LunInformation>, BedError> {
        let attached = self.attached()?;
        let device = attached.device_of(lun)?;
        device.map(|device| Ok(attached.windows.disk(&device).map_err(failed)?.lun)).transpose()
    }

    pub(crate) fn scratch(&self) -> (u64, u64) {
        self.attached().map_or((0, 1 << 20), |attached| attached.scratch_bytes)
    }

    pub(crate) fn below_vss(&self) -> Option<BelowVss> {
        let attached = self.attached().ok()?;
        let volume = |serial: &String| {
            let device = attached.windows.device_by_serial_number(serial)?;
            Some(attached.windows.volumes(&device).ok()?.first()?.name.clone())
        };
        let volumes: Option<Vec<_>> = attached.sources.iter().map(volume).collect();
        let clock = Arc::clone(&attached.clock);
        Some(BelowVss { platform: Arc::clone(&attached.windows) as _, volumes: volumes?, clock })
    }

    pub(crate) fn log_out(&self, runtime: &Runtime) -> anyhow::Result<()> {
        match self {
            Self::Attached(attached) => Ok(runtime.block_on(attached.adapter.log_out())?),
            Self::Described(_) => Ok(()),
        }
    }
}

impl Attached {
    fn log_in(
        iscsi: &Iscsi,
        initiator: &InitiatorName,
        sources: &[String],
        runtime: &Runtime,
        clock: &Arc<dyn Clock>,
    ) -> anyhow::Result<Self> {
        let login = IscsiAdapter::log_in(&*iscsi.portal, initiator, &iscsi.target);
        let adapter = runtime.block_on(login).with_context(|| format!("cannot log in at {}", iscsi.portal))?;
        let adapter = Arc::new(adapter);
        let windows = SimulatedHost::new(Arc::clone(&adapter) as _, runtime.handle().clone())
            .context("the LUNs cannot be listed")?;
        let scratch_bytes = (iscsi.scratch_mib.offset << 20, iscsi.scratch_mib.length << 20);
        let (windows, clock) = (Arc::new(windows), Arc::clone(clock));
        let attached = Self { windows, adapter, sources: sources.to_vec(), scratch_bytes, clock };
        let end_bytes = scratch_bytes.0.saturating_add(scratch_bytes.1);
        for (serial, lun) in sources.iter().zip(attached.sources()?) {
            let device = attached.device_of(&lun)?.with_context(|| format!("LUN {serial} has just gone"))?;
            let len_bytes = attached.windows.disk_io(&device)?.len_bytes();
            anyhow::ensure!(end_bytes <= len_bytes, "scratch-mib is beyond the end of LUN {serial}");
        }
        Ok(attached)
    }

    fn sources(&self) -> Result<Vec<LunInformation>, BedError> {
        let seen = |serial: &String| {
            let device = self.windows.device_by_serial_number(serial);
            let device = device.ok_or_else(|| BedError(format!("the host does not see LUN {serial}")))?;
            Ok(self.windows.disk(&device).map_err(failed)?.lun)
        };
        self.sources.iter().map(seen).collect()
    }

    fn device_of(&self, lun: &LunInformation) -> Result<Option<DeviceName>, BedError> {
        self.windows.look_for(lun).map_err(failed)
    }
}
