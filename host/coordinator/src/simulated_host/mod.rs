//! A simulated Windows host: disks over an adapter, volumes by their partition tables, writers, and a gate for writes.
//!
//! ```text
//!  Coordinator ──▶ SimulatedHost: Platform ──▶ HostAdapter ──▶ array
//!                     │ Writers                    ▲
//!  applications ──▶ ApplicationDisk ──▶ gate ──────┘
//! ```
//!
//! The [`Platform`] side blocks and must not be called from a worker of the runtime; the applications' side is async.

mod adapter;
mod application;
mod gate;
mod handles;
mod iscsi;
mod protection;
mod volume;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lunshadow_scsi::LunAddress;
use lunshadow_vss::{DeviceName, DiskSignature, LunInformation, SnapshotSetId};
use tokio::runtime::Handle;
use tokio::task::JoinSet;

pub use adapter::{AdapterDisk, AdapterFuture, AttachedLun, HostAdapter};
pub use application::ApplicationDisk;
pub use gate::GateCounts;
pub use handles::OpenDisk;
pub use iscsi::IscsiAdapter;
pub use volume::HostVolume;

use crate::disk::{self, DiskError, DiskIo, DiskLayout, SavedFlags, ShadowFlags};
use crate::platform::{
    DiskIdentity, HoldError, HostDisk, Platform, PlatformError, ShadowVolume, VolumeLun, VolumeName, WriterError,
    WriterEvent,
};
use application::BlockingDisk;
use gate::WriteGate;
use handles::Handles;
use protection::Protection;

/// An application that takes part in the creation of shadow copies.
pub trait Writer: Send + Sync {
    /// Reacts to an event; returns when that is done.
    ///
    /// # Errors
    /// If the writer cannot do its part. After `Thaw` and `Abort` it is running again in any case.
    fn on_event(&self, set: SnapshotSetId, event: WriterEvent) -> Result<(), WriterError>;

    /// Whether it will change shadow copies in `PostSnapshot`, as a component that is recovered from backups says (section 4(h)).
    fn recovers(&self) -> bool {
        false
    }

    /// For how long it can be frozen, if that is less than VSS would have it frozen (section 7: Exchange says 20 s). A set that takes longer
    /// fails, for all writers.
    fn freeze_at_most(&self) -> Option<Duration> {
        None
    }
}

/// The host.
pub struct SimulatedHost {
    adapter: Arc<dyn HostAdapter>,
    runtime: Handle,
    gate: Arc<WriteGate>,
    protection: Arc<Protection>,
    handles: Arc<Handles>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    disks: BTreeMap<LunAddress, Disk>,
    /// The number of the next disk. Numbers are not used again, so that a name means one LUN for ever.
    next_number: u32,
    /// Which disk a volume lies on, for those that were looked at.
    volumes: BTreeMap<VolumeName, DeviceName>,
    /// What has to be written back where source disks are flagged.
    flagged: BTreeMap<DeviceName, SavedFlags>,
    writers: Vec<Arc<dyn Writer>>,
}

#[derive(Clone)]
struct Disk {
    device: DeviceName,
    /// Without the disk's signature, which can change.
    lun: LunInformation,
    disk: Arc<dyn AdapterDisk>,
}

impl SimulatedHost {
    /// A host that sees what `adapter` sees. `runtime` is the one that the adapter works on.
    ///
    /// # Errors
    /// [`PlatformError::Storage`].
    pub fn new(adapter: Arc<dyn HostAdapter>, runtime: Handle) -> Result<Self, PlatformError> {
        let (gate, protection, handles) = (Arc::default(), Arc::default(), Arc::default());
        let host = Self { adapter, runtime, gate, protection, handles, state: Mutex::default() };
        host.look_for_disks()?;
        Ok(host)
    }

    /// Adds an application that takes part from now on.
    pub fn add_writer(&self, writer: Arc<dyn Writer>) {
        self.state().writers.push(writer);
    }

    /// The disks that the last look found, by their numbers.
    #[must_use]
    pub fn devices(&self) -> Vec<DeviceName> {
        let mut disks: Vec<_> = self.state().disks.values().map(|disk| disk.device.clone()).collect();
        disks.sort_by_key(|device| (device.0.len(), device.clone()));
        disks
    }

    /// The volumes of a disk, as its partition table has them now.
    ///
    /// # Errors
    /// [`PlatformError::UnknownDisk`], [`PlatformError::Layout`].
    pub fn volumes(&self, device: &DeviceName) -> Result<Vec<HostVolume>, PlatformError> {
        let disk = self.find(device)?;
        let volumes = volume::volumes_of(device, &disk.lun, &self.layout_of(&disk)?);
        let mut state = self.state();
        for volume in &volumes {
            state.volumes.insert(volume.name.clone(), device.clone());
        }
        Ok(volumes)
    }

    /// A disk for code that blocks and reads. What it writes does not wait for the gate.
    ///
    /// # Errors
    /// [`PlatformError::UnknownDisk`].
    pub fn disk_io(&self, device: &DeviceName) -> Result<Arc<dyn DiskIo>, PlatformError> {
        Ok(Arc::new(self.blocking(&self.find(device)?)))
    }

    /// A disk for an application.
    ///
    /// # Errors
    /// [`PlatformError::UnknownDisk`].
    pub fn application_disk(&self, device: &DeviceName) -> Result<ApplicationDisk, PlatformError> {
        let disk = self.find(device)?;
        let (gate, protection) = (Arc::clone(&self.gate), Arc::clone(&self.protection));
        Ok(ApplicationDisk { device: disk.device, disk: disk.disk, gate, protection })
    }

    /// Opens a disk as a whole, as Disk Management does. Who only uses its volumes does not: VSS dismounts those.
    ///
    /// # Errors
    /// [`PlatformError::UnknownDisk`], [`PlatformError::InUse`] while VSS has it for itself.
    pub fn open_disk(&self, device: &DeviceName) -> Result<OpenDisk, PlatformError> {
        self.find(device)?;
        Arc::clone(&self.handles).open(device).ok_or_else(|| PlatformError::InUse(device.clone()))
    }

    /// The shadow copies of a set that writers may change now, as a writer learns of them in `PostSnapshot` (`GetSnapshotDeviceName`).
    #[must_use]
    pub fn recovering(&self, set: SnapshotSetId) -> Vec<ShadowVolume> {
        self.protection.recovering(set)
    }

    /// The disk that is the LUN of this serial number.
    #[must_use]
    pub fn device_by_serial_number(&self, serial_number: &str) -> Option<DeviceName> {
        let is_it = |disk: &&Disk| disk.lun.serial_number.as_deref() == Some(serial_number);
        self.state().disks.values().find(is_it).map(|disk| disk.device.clone())
    }

    /// Looks for disks that have come or gone, and answers with the one that is this LUN: by its serial number, or else by page 0x83. No disk is
    /// read, as a rescan does to tell what is on it.
    ///
    /// # Errors
    /// [`PlatformError::Storage`].
    pub fn look_for(&self, lun: &LunInformation) -> Result<Option<DeviceName>, PlatformError> {
        let disks = self.look_for_disks()?;
        let same = disks.iter().find(|disk| disk.lun.matches_by_page80(lun));
        let same = same.or_else(|| disks.iter().find(|disk| disk.lun.matches_by_page83(lun)));
        Ok(same.map(|disk| disk.device.clone()))
    }

    /// The disk at a LUN number.
    #[must_use]
    pub fn device_by_lun(&self, number: u16) -> Option<DeviceName> {
        let state = self.state();
        let disk = state.disks.iter().find(|(address, _)| address.number() == Some(number));
        disk.map(|(_, disk)| disk.device.clone())
    }

    /// The LUN number of a disk.
    #[must_use]
    pub fn lun_of(&self, device: &DeviceName) -> Option<u16> {
        let state = self.state();
        let (address, _) = state.disks.iter().find(|(_, disk)| disk.device == *device)?;
        address.number()
    }

    /// How many writes of applications are where.
    #[must_use]
    pub fn gate_counts(&self) -> GateCounts {
        self.gate.counts()
    }

    /// The disks whose flags are set and were not cleared.
    #[must_use]
    pub fn flagged(&self) -> Vec<DeviceName> {
        self.state().flagged.keys().cloned().collect()
    }

    /// Compares what the array reports with what is known.
    fn look_for_disks(&self) -> Result<Vec<Disk>, PlatformError> {
        let addresses = self.runtime.block_on(self.adapter.lun_addresses()).map_err(PlatformError::Storage)?;
        let mut found = Vec::new();
        for address in addresses {
            match self.runtime.block_on(self.adapter.attach(address)) {
                Ok(lun) if volume::is_disk(&lun.inquiry) => found.push((address, lun)),
                Ok(_) => (),
                // It may have gone since it was reported.
                Err(error) => tracing::warn!(?address, %error, "a LUN cannot be looked at"),
            }
        }
        let mut state = self.state();
        let mut known = std::mem::take(&mut state.disks);
        for (address, attached) in found {
            let lun = volume::lun_information(&attached);
            let same = known.remove(&address).filter(|disk| disk.lun == lun);
            let device = same.map(|disk| disk.device).unwrap_or_else(|| {
                let device = DeviceName(format!(r"\\?\PhysicalDrive{}", state.next_number));
                state.next_number += 1;
                device
            });
            // A disk that is known may have got another length.
            state.disks.insert(address, Disk { device, lun, disk: attached.disk });
        }
        Ok(state.disks.values().cloned().collect())
    }

    fn describe(&self, disk: &Disk) -> Result<HostDisk, PlatformError> {
        let layout = self.layout_of(disk)?;
        self.note_protection(disk);
        let volumes = volume::volumes_of(&disk.device, &disk.lun, &layout);
        Ok(HostDisk {
            device: disk.device.clone(),
            lun: LunInformation { disk_signature: volume::disk_signature(&layout), ..disk.lun.clone() },
            len_bytes: layout.len_bytes,
            volumes: volumes.into_iter().map(|volume| volume.extent).collect(),
            partition_ids: volume::partition_ids(&layout),
        })
    }

    /// The mark of a shadow copy makes its volumes read-only, but not those of a source that only has it for the time of a commit.
    fn note_protection(&self, disk: &Disk) {
        let is_source = self.state().flagged.contains_key(&disk.device);
        let flags = disk::read_shadow_flags(&self.blocking(disk)).unwrap_or(ShadowFlags::empty());
        self.protection.note(&disk.device, !is_source && flags.contains(ShadowFlags::READ_ONLY));
    }

    fn find(&self, device: &DeviceName) -> Result<Disk, PlatformError> {
        let found = self.state().disks.values().find(|disk| disk.device == *device).cloned();
        found.ok_or_else(|| PlatformError::UnknownDisk(device.clone()))
    }

    fn blocking(&self, disk: &Disk) -> BlockingDisk {
        BlockingDisk { disk: Arc::clone(&disk.disk), runtime: self.runtime.clone() }
    }

    fn layout_of(&self, disk: &Disk) -> Result<DiskLayout, PlatformError> {
        disk::read_layout(&self.blocking(disk)).map_err(|error| disk_error(&disk.device, error))
    }

    /// Flushes, then closes the gate.
    async fn flush_then_hold(&self, volumes: &[VolumeName]) -> Result<(), HoldError> {
        let ticket = self.gate.begin_hold();
        let mut disks = BTreeMap::new();
        for volume in volumes {
            let device = self.state().volumes.get(volume).cloned();
            let disk = device.and_then(|device| self.find(&device).ok());
            let disk = disk.ok_or_else(|| HoldError::Flush(io::ErrorKind::NotFound.into()))?;
            disks.insert(disk.device.clone(), disk.disk);
        }
        let devices: BTreeSet<_> = disks.keys().cloned().collect();
        let flush_all = async {
            let mut flushes = JoinSet::new();
            for disk in disks.into_values() {
                flushes.spawn(async move { disk.flush().await });
            }
            flushes.join_all().await.into_iter().collect::<io::Result<()>>()
        };
        tokio::select! {
            flushed = flush_all => flushed.map_err(HoldError::Flush)?,
            () = self.gate.taken_away(ticket) => return Err(HoldError::FlushTimeout),
        }
        if self.gate.hold(ticket, &devices).await { Ok(()) } else { Err(HoldError::FlushTimeout) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Platform for SimulatedHost {
    fn luns_of(&self, volume: &VolumeName) -> Result<Vec<VolumeLun>, PlatformError> {
        for device in self.devices() {
            let Ok(volumes) = self.volumes(&device) else { continue };
            if let Some(found) = volumes.iter().find(|it| it.name == *volume) {
                let disk = self.disk(&device)?;
                return Ok(vec![VolumeLun { device, lun: disk.lun, extents: vec![found.extent] }]);
            }
        }
        Err(PlatformError::UnknownVolume(volume.clone()))
    }

    fn notify_writers(&self, set: SnapshotSetId, event: WriterEvent) -> Result<(), WriterError> {
        let writers = self.state().writers.clone();
        // Every writer hears of every event, whatever another one answers.
        let answers: Vec<_> = writers.iter().map(|writer| writer.on_event(set, event)).collect();
        answers.into_iter().collect()
    }

    fn flush_and_hold(&self, volumes: &[VolumeName]) -> Result<(), HoldError> {
        let held = self.runtime.block_on(self.flush_then_hold(volumes));
        if held.is_err() {
            self.gate.release();
        }
        held
    }

    fn release_writes(&self, _volumes: &[VolumeName]) {
        // One set at a time is created, so that all that is held is held for it.
        self.gate.release();
    }

    fn set_shadow_flags(&self, devices: &[DeviceName]) -> Result<(), PlatformError> {
        for device in devices {
            let disk = self.find(device)?;
            let saved = disk::set_shadow_flags(&self.blocking(&disk)).map_err(|error| disk_error(device, error))?;
            self.state().flagged.insert(device.clone(), saved);
        }
        Ok(())
    }

    fn clear_shadow_flags(&self, devices: &[DeviceName]) -> Result<(), PlatformError> {
        let mut result = Ok(());
        for device in devices {
            let Some(saved) = self.state().flagged.get(device).cloned() else { continue };
            let cleared = self.find(device).and_then(|disk| {
                disk::clear_shadow_flags(&self.blocking(&disk), &saved).map_err(|error| disk_error(device, error))
            });
            if cleared.is_ok() {
                self.state().flagged.remove(device);
            }
            result = result.and(cleared);
        }
        result
    }

    fn rescan(&self) -> Result<Vec<HostDisk>, PlatformError> {
        let describe = |disk: &Disk| {
            let described = self.describe(disk);
            described.inspect_err(|error| tracing::warn!(%error, "a disk cannot be read")).ok()
        };
        Ok(self.look_for_disks()?.iter().filter_map(describe).collect())
    }

    fn wait_for_change(&self, at_most: Duration) {
        let wait = async { tokio::time::timeout(at_most, self.adapter.wait_for_change()).await };
        if let Ok(Err(error)) = self.runtime.block_on(wait) {
            tracing::warn!(%error, "the array cannot tell of changes");
        }
    }

    fn disk(&self, device: &DeviceName) -> Result<HostDisk, PlatformError> {
        self.describe(&self.find(device)?)
    }

    fn assign_new_identity(&self, device: &DeviceName) -> Result<(), PlatformError> {
        let disk = self.find(device)?;
        disk::assign_new_identity(&self.blocking(&disk)).map_err(|error| disk_error(device, error)).map(drop)
    }

    fn set_disk_signature(&self, device: &DeviceName, signature: DiskSignature) -> Result<(), PlatformError> {
        let disk = self.find(device)?;
        disk::set_disk_signature(&self.blocking(&disk), signature.0).map_err(|error| disk_error(device, error))
    }

    fn set_disk_identity(&self, device: &DeviceName, identity: &DiskIdentity) -> Result<(), PlatformError> {
        let disk = self.blocking(&self.find(device)?);
        let written = disk::set_disk_identity(&disk, identity.signature.0, &identity.partition_ids);
        written.map_err(|error| disk_error(device, error))
    }

    fn remove_shadow_flags(&self, devices: &[DeviceName]) -> Result<(), PlatformError> {
        for device in devices {
            let disk = self.find(device)?;
            disk::remove_shadow_flags(&self.blocking(&disk)).map_err(|error| disk_error(device, error))?;
            self.protection.note(device, false);
        }
        Ok(())
    }

    fn freeze_at_most(&self) -> Option<Duration> {
        self.state().writers.iter().filter_map(|writer| writer.freeze_at_most()).min()
    }

    fn writers_recover(&self) -> bool {
        self.state().writers.iter().any(|writer| writer.recovers())
    }

    fn begin_recovery(&self, set: SnapshotSetId, volumes: &[ShadowVolume]) -> Result<(), PlatformError> {
        for (device, _) in volumes.iter().flat_map(|volume| &volume.disks) {
            self.find(device)?;
        }
        self.protection.begin_recovery(set, volumes);
        Ok(())
    }

    fn end_recovery(&self, set: SnapshotSetId) {
        self.protection.end_recovery(set);
    }

    fn open_exclusively(&self, device: &DeviceName, patience: Duration) -> Result<(), PlatformError> {
        self.find(device)?;
        let is_open = self.handles.open_exclusively(device, patience);
        if is_open { Ok(()) } else { Err(PlatformError::InUse(device.clone())) }
    }

    fn close_exclusive(&self, device: &DeviceName) {
        self.handles.close_exclusive(device);
    }

    fn dismount(&self, device: &DeviceName) {
        self.state().volumes.retain(|_, on| on != device);
    }
}

fn disk_error(device: &DeviceName, error: DiskError) -> PlatformError {
    let device = device.clone();
    match error {
        DiskError::Io(source) => PlatformError::Disk { device, source },
        source => PlatformError::Layout { device, source },
    }
}
