//! The simulated Windows host of a trial.

use std::sync::Arc;

use anyhow::Context as _;
use lunshadow_coordinator::disk::{DiskIo, PartitionTable, read_layout};
use lunshadow_coordinator::{HostVolume, IscsiAdapter, Platform as _, SimulatedHost};
use lunshadow_vss::{DeviceName, LunInformation};
use tokio::runtime::Runtime;

use super::content::{Content, VolumeContent, read_volumes};
use super::stage::{Stage, TrialLun};
use crate::array::TARGET_NAME;
use crate::report::{DiskReport, VolumeReport};

/// The host, attached to the array.
pub(super) struct TrialHost {
    /// The host itself.
    pub windows: Arc<SimulatedHost>,
    adapter: Arc<IscsiAdapter>,
}

impl TrialHost {
    /// Logs in over TCP and looks for disks.
    ///
    /// # Errors
    /// If the target refuses, or a LUN of the trial is not there.
    pub(super) fn attach(stage: &Stage, runtime: &Runtime) -> anyhow::Result<Self> {
        let login = IscsiAdapter::log_in(stage.target.local_addr(), &stage.initiator, TARGET_NAME);
        let adapter = Arc::new(runtime.block_on(login).context("the simulated host cannot log in")?);
        let windows = SimulatedHost::new(Arc::clone(&adapter) as _, runtime.handle().clone())
            .context("the simulated host cannot see its disks")?;
        Ok(Self { windows: Arc::new(windows), adapter })
    }

    /// The disk that is a LUN of the trial.
    ///
    /// # Errors
    /// If the host does not see it.
    pub(super) fn device_of(&self, lun: &TrialLun) -> anyhow::Result<DeviceName> {
        let serial = lun.lun.to_string();
        self.windows
            .device_by_serial_number(&serial)
            .with_context(|| format!("the LUN {} with serial number {serial} does not arrive at the host", lun.name))
    }

    /// A disk to read.
    ///
    /// # Errors
    /// If it is gone.
    pub(super) fn disk(&self, device: &DeviceName) -> anyhow::Result<Arc<dyn DiskIo>> {
        Ok(self.windows.disk_io(device)?)
    }

    /// What the host knows of the LUN below a disk.
    ///
    /// # Errors
    /// If it is gone.
    pub(super) fn lun_information(&self, device: &DeviceName) -> anyhow::Result<LunInformation> {
        Ok(self.windows.disk(device)?.lun)
    }

    /// The volumes of a disk.
    ///
    /// # Errors
    /// If it is gone or damaged.
    pub(super) fn volumes(&self, device: &DeviceName) -> anyhow::Result<Vec<HostVolume>> {
        Ok(self.windows.volumes(device)?)
    }

    /// Describes the disks of the trial.
    ///
    /// # Errors
    /// If one is missing or damaged.
    pub(super) fn describe(&self, luns: &[TrialLun]) -> anyhow::Result<Vec<DiskReport>> {
        luns.iter().map(|lun| self.describe_disk(lun)).collect()
    }

    fn describe_disk(&self, lun: &TrialLun) -> anyhow::Result<DiskReport> {
        let device = self.device_of(lun)?;
        let disk = self.disk(&device)?;
        let partition_table = match read_layout(disk.as_ref())?.table {
            PartitionTable::Gpt { disk_guid } => format!("GPT {{{disk_guid}}}"),
            PartitionTable::Mbr { signature } => format!("MBR signature {signature:08x}"),
            PartitionTable::None => "none".to_owned(),
        };
        let contents = read_volumes(disk.as_ref(), lun.image_len_bytes)?;
        let describe = |(volume, content): (HostVolume, &VolumeContent)| VolumeReport {
            name: volume.name.to_string(),
            offset_bytes: volume.extent.offset_bytes,
            len_bytes: volume.extent.len_bytes,
            file_system: volume.file_system.to_string(),
            file_count: match &content.content {
                Content::Files(files) => Some(files.len()),
                Content::Hash(_) => None,
            },
        };
        let volumes = self.volumes(&device)?.into_iter().zip(&contents).map(describe).collect();
        Ok(DiskReport { device: device.to_string(), partition_table, volumes })
    }

    /// How often the target has announced that its LUNs have changed.
    pub(super) fn announcements(&self) -> u64 {
        self.adapter.announcements()
    }

    /// Logs out.
    ///
    /// # Errors
    /// If the connection is lost.
    pub(super) fn detach(&self, runtime: &Runtime) -> anyhow::Result<()> {
        Ok(runtime.block_on(self.adapter.log_out())?)
    }
}
