//! A host that exists only in memory.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use lunshadow_coordinator::{
    DiskExtent, DiskIdentity, HoldError, HostDisk, ManualClock, Platform, PlatformError, ShadowVolume, VolumeLun,
    VolumeName, WriterError, WriterEvent,
};
use lunshadow_vss::{DeviceName, DiskSignature, SnapshotSetId};
use uuid::Uuid;

use super::{Journal, device, lun, volume};

/// What the host can be told to fail at.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum HostStep {
    SetFlags,
    ClearFlags,
    Writers(u8),
    FlushTimeout,
    Flush,
    Rescan,
    NewIdentity,
    Signature,
    RemoveFlags,
    Recovery,
}

impl HostStep {
    pub(crate) const PREPARE: Self = Self::Writers(0);
    pub(crate) const FREEZE: Self = Self::Writers(1);
    pub(crate) const THAW: Self = Self::Writers(2);
    pub(crate) const POST_SNAPSHOT: Self = Self::Writers(3);
}

pub(crate) struct FakeHost {
    journal: Arc<Journal>,
    clock: Arc<ManualClock>,
    state: Mutex<State>,
    on_release: Mutex<Option<Box<dyn FnOnce() + Send>>>,
}

#[derive(Default)]
pub(crate) struct State {
    pub(crate) volumes: BTreeMap<VolumeName, Vec<VolumeLun>>,
    pub(crate) disks: Vec<HostDisk>,
    pub(crate) is_held: bool,
    pub(crate) is_frozen: bool,
    pub(crate) flagged: BTreeSet<DeviceName>,
    pub(crate) new_identities: BTreeSet<DeviceName>,
    /// Steps that fail, each once.
    pub(crate) failing: BTreeSet<HostStep>,
    /// What passes on the clock while the flush runs.
    pub(crate) flush_takes: Duration,
    /// Whether a writer wants to change shadow copies.
    pub(crate) writers_recover: bool,
    /// Disks that another program has open, and for how long it will.
    pub(crate) in_use: BTreeMap<DeviceName, Duration>,
    /// Disks that VSS has for itself.
    pub(crate) exclusive: BTreeSet<DeviceName>,
    /// The shortest time for which a writer can be frozen.
    pub(crate) freeze_at_most: Option<Duration>,
    /// Disks that arrive when the host next waits for a change.
    pub(crate) arriving_late: Vec<HostDisk>,
}

impl FakeHost {
    pub(crate) fn new(journal: Arc<Journal>, clock: Arc<ManualClock>) -> Self {
        let extent = |offset_bytes| DiskExtent { offset_bytes, len_bytes: 1 << 20 };
        let on = |name: &str, offset| VolumeLun { device: device(name), lun: lun(name), extents: vec![extent(offset)] };
        let mut state = State::default();
        state.volumes.insert(volume(1), vec![on("L1", 0)]);
        state.volumes.insert(volume(2), vec![on("L1", 1 << 20), on("L2", 0)]);
        let disk = |name: &str, volumes| HostDisk {
            device: device(name),
            lun: lun(name),
            len_bytes: 4 << 20,
            volumes,
            partition_ids: BTreeMap::new(),
        };
        state.disks = vec![disk("L1", vec![extent(0), extent(1 << 20)]), disk("L2", vec![extent(0)])];
        Self { journal, clock, state: Mutex::new(state), on_release: Mutex::default() }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Gives a source disk an identity with these numbers in it, as the host has described it from the beginning.
    pub(crate) fn identify(&self, name: &str, signature: u128, partition_ids: &[u128]) {
        let signature = DiskSignature(Uuid::from_u128(signature));
        let mut state = self.state();
        for disk in state.disks.iter_mut().filter(|disk| disk.device.0 == name) {
            disk.lun.disk_signature = signature;
            disk.partition_ids = (1..).zip(partition_ids.iter().map(|id| Uuid::from_u128(*id))).collect();
        }
        for lun in state.volumes.values_mut().flatten().filter(|lun| lun.device.0 == name) {
            lun.lun.disk_signature = signature;
        }
    }

    /// The identity that a disk has now.
    pub(crate) fn identity_of(&self, name: &str) -> DiskIdentity {
        let disk = self.disk(&device(name)).unwrap();
        DiskIdentity { signature: disk.lun.disk_signature, partition_ids: disk.partition_ids }
    }

    pub(crate) fn fail_at(&self, step: HostStep) {
        self.state().failing.insert(step);
    }

    /// Runs `act` when writes are released for the first time.
    pub(crate) fn on_release(&self, act: impl FnOnce() + Send + 'static) {
        *self.on_release.lock().unwrap() = Some(Box::new(act));
    }

    fn fails(&self, step: HostStep) -> bool {
        self.state().failing.remove(&step)
    }

    fn disk_failure(&self) -> PlatformError {
        PlatformError::Disk { device: device("L1"), source: io::Error::other("told so") }
    }
}

impl Platform for FakeHost {
    fn luns_of(&self, volume: &VolumeName) -> Result<Vec<VolumeLun>, PlatformError> {
        self.state().volumes.get(volume).cloned().ok_or_else(|| PlatformError::UnknownVolume(volume.clone()))
    }

    fn notify_writers(&self, _set: SnapshotSetId, event: WriterEvent) -> Result<(), WriterError> {
        self.journal.note(format!("writers {event:?}"));
        let step = match event {
            WriterEvent::PrepareSnapshot => Some(HostStep::PREPARE),
            WriterEvent::Freeze => Some(HostStep::FREEZE),
            WriterEvent::Thaw => Some(HostStep::THAW),
            WriterEvent::PostSnapshot => Some(HostStep::POST_SNAPSHOT),
            WriterEvent::Abort => None,
        };
        match event {
            WriterEvent::Freeze => self.state().is_frozen = true,
            WriterEvent::Thaw | WriterEvent::Abort => self.state().is_frozen = false,
            WriterEvent::PrepareSnapshot | WriterEvent::PostSnapshot => (),
        }
        if step.is_some_and(|step| self.fails(step)) { Err(WriterError::NonRetryable) } else { Ok(()) }
    }

    fn flush_and_hold(&self, volumes: &[VolumeName]) -> Result<(), HoldError> {
        self.journal.note(format!("hold {}", volumes.len()));
        let takes = self.state().flush_takes;
        self.clock.advance(takes);
        if self.fails(HostStep::FlushTimeout) {
            return Err(HoldError::FlushTimeout);
        }
        if self.fails(HostStep::Flush) {
            return Err(HoldError::Flush(io::Error::other("told so")));
        }
        self.state().is_held = true;
        Ok(())
    }

    fn release_writes(&self, _volumes: &[VolumeName]) {
        self.journal.note("release");
        self.state().is_held = false;
        if let Some(act) = self.on_release.lock().unwrap().take() {
            act();
        }
    }

    fn set_shadow_flags(&self, devices: &[DeviceName]) -> Result<(), PlatformError> {
        self.journal.note(format!("set flags {}", names(devices)));
        self.state().flagged.extend(devices.iter().cloned());
        if self.fails(HostStep::SetFlags) { Err(self.disk_failure()) } else { Ok(()) }
    }

    fn clear_shadow_flags(&self, devices: &[DeviceName]) -> Result<(), PlatformError> {
        self.journal.note(format!("clear flags {}", names(devices)));
        if self.fails(HostStep::ClearFlags) {
            return Err(self.disk_failure());
        }
        self.state().flagged.retain(|flagged| !devices.contains(flagged));
        Ok(())
    }

    fn rescan(&self) -> Result<Vec<HostDisk>, PlatformError> {
        self.journal.note("rescan");
        if self.fails(HostStep::Rescan) {
            return Err(PlatformError::Storage(io::Error::other("told so")));
        }
        Ok(self.state().disks.clone())
    }

    fn wait_for_change(&self, at_most: Duration) {
        self.journal.note("wait");
        let late = std::mem::take(&mut self.state().arriving_late);
        if late.is_empty() {
            self.clock.advance(at_most);
        }
        self.state().disks.extend(late);
    }

    fn disk(&self, device: &DeviceName) -> Result<HostDisk, PlatformError> {
        let found = self.state().disks.iter().find(|disk| disk.device == *device).cloned();
        found.ok_or_else(|| PlatformError::UnknownDisk(device.clone()))
    }

    fn assign_new_identity(&self, device: &DeviceName) -> Result<(), PlatformError> {
        self.journal.note(format!("new identity {device}"));
        if self.fails(HostStep::NewIdentity) {
            return Err(self.disk_failure());
        }
        let mut state = self.state();
        state.new_identities.insert(device.clone());
        let number = state.new_identities.len() as u128;
        let disk = state.disks.iter_mut().find(|disk| disk.device == *device);
        let disk = disk.ok_or_else(|| PlatformError::UnknownDisk(device.clone()))?;
        if disk.lun.disk_signature != DiskSignature::default() {
            disk.lun.disk_signature = DiskSignature(Uuid::from_u128(0xfeed_0000 + number));
        }
        for (id, index) in disk.partition_ids.values_mut().zip(1..) {
            *id = Uuid::from_u128((0xfeed_0000 + number) << 32 | index);
        }
        Ok(())
    }

    fn set_disk_signature(&self, device: &DeviceName, signature: DiskSignature) -> Result<(), PlatformError> {
        self.journal.note(format!("signature {device} {:x}", signature.0.as_u128()));
        if self.fails(HostStep::Signature) {
            return Err(self.disk_failure());
        }
        let mut state = self.state();
        let disk = state.disks.iter_mut().find(|disk| disk.device == *device);
        disk.ok_or_else(|| PlatformError::UnknownDisk(device.clone()))?.lun.disk_signature = signature;
        Ok(())
    }

    fn set_disk_identity(&self, device: &DeviceName, identity: &DiskIdentity) -> Result<(), PlatformError> {
        self.set_disk_signature(device, identity.signature)?;
        let mut state = self.state();
        let disk = state.disks.iter_mut().find(|disk| disk.device == *device);
        disk.expect("its signature was just set").partition_ids = identity.partition_ids.clone();
        Ok(())
    }

    fn remove_shadow_flags(&self, devices: &[DeviceName]) -> Result<(), PlatformError> {
        self.journal.note(format!("remove flags {}", names(devices)));
        if self.fails(HostStep::RemoveFlags) { Err(self.disk_failure()) } else { Ok(()) }
    }

    fn freeze_at_most(&self) -> Option<Duration> {
        self.state().freeze_at_most
    }

    fn writers_recover(&self) -> bool {
        self.state().writers_recover
    }

    fn begin_recovery(&self, _set: SnapshotSetId, volumes: &[ShadowVolume]) -> Result<(), PlatformError> {
        let disks: Vec<_> = volumes.iter().flat_map(|volume| &volume.disks).map(|(disk, _)| disk.clone()).collect();
        self.journal.note(format!("writable {}", names(&disks)));
        if self.fails(HostStep::Recovery) { Err(self.disk_failure()) } else { Ok(()) }
    }

    fn end_recovery(&self, _set: SnapshotSetId) {
        self.journal.note("read-only");
    }

    fn open_exclusively(&self, device: &DeviceName, patience: Duration) -> Result<(), PlatformError> {
        let in_use = self.state().in_use.get(device).copied().unwrap_or_default();
        self.clock.advance(in_use.min(patience));
        if in_use > patience {
            return Err(PlatformError::InUse(device.clone()));
        }
        assert!(self.state().exclusive.insert(device.clone()), "it is open already");
        Ok(())
    }

    fn close_exclusive(&self, device: &DeviceName) {
        self.state().exclusive.remove(device);
    }

    fn dismount(&self, device: &DeviceName) {
        self.journal.note(format!("dismount {device}"));
    }
}

fn names(devices: &[DeviceName]) -> String {
    devices.iter().map(|device| device.0.as_str()).collect::<Vec<_>>().join(",")
}
