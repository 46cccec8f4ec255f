//! The simulated host, with faults, and a writer that fails as it is told.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lunshadow_coordinator::{
    DiskIdentity, HoldError, HostDisk, Platform, PlatformError, ShadowVolume, SimulatedHost, VolumeLun, VolumeName,
    Writer, WriterError, WriterEvent,
};
use lunshadow_vss::{DeviceName, DiskSignature, SnapshotSetId};

use crate::cuts::Cutter;

/// What the host can fail at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Step {
    SetFlags,
    ClearFlags,
    FlushTimeout,
    Flush,
    Rescan,
    NewIdentity,
    Writers(WriterEvent),
}

/// The step that fails next time.
#[derive(Default)]
pub(crate) struct HostScript {
    failing: Mutex<Option<Step>>,
}

impl HostScript {
    pub(crate) fn fail_at(&self, step: Step) {
        *self.failing.lock().unwrap() = Some(step);
    }

    fn fails(&self, step: Step) -> bool {
        let mut failing = self.failing.lock().unwrap();
        let fails = *failing == Some(step);
        if fails {
            *failing = None;
        }
        fails
    }
}

pub(crate) struct FaultyHost {
    pub(crate) host: Arc<SimulatedHost>,
    pub(crate) script: Arc<HostScript>,
    /// Where the coordinator may break off.
    pub(crate) cutter: Option<Arc<Cutter>>,
}

impl FaultyHost {
    fn step<T>(&self, place: &'static str, step: impl FnOnce() -> T) -> T {
        match &self.cutter {
            Some(cutter) => cutter.around_step(place, step),
            None => step(),
        }
    }
}

fn told_so() -> io::Error {
    io::Error::other("told so")
}

fn disk_failure(device: &DeviceName) -> PlatformError {
    PlatformError::Disk { device: device.clone(), source: told_so() }
}

impl Platform for FaultyHost {
    fn luns_of(&self, volume: &VolumeName) -> Result<Vec<VolumeLun>, PlatformError> {
        self.host.luns_of(volume)
    }

    fn notify_writers(&self, set: SnapshotSetId, event: WriterEvent) -> Result<(), WriterError> {
        self.host.notify_writers(set, event)
    }

    fn flush_and_hold(&self, volumes: &[VolumeName]) -> Result<(), HoldError> {
        if self.script.fails(Step::FlushTimeout) {
            return Err(HoldError::FlushTimeout);
        }
        if self.script.fails(Step::Flush) {
            return Err(HoldError::Flush(told_so()));
        }
        self.host.flush_and_hold(volumes)
    }

    fn release_writes(&self, volumes: &[VolumeName]) {
        self.host.release_writes(volumes);
    }

    fn set_shadow_flags(&self, devices: &[DeviceName]) -> Result<(), PlatformError> {
        // Half-way: the first disk is flagged, the second is not.
        if self.script.fails(Step::SetFlags) {
            self.host.set_shadow_flags(&devices[..1])?;
            return Err(disk_failure(&devices[1]));
        }
        self.host.set_shadow_flags(devices)
    }

    fn clear_shadow_flags(&self, devices: &[DeviceName]) -> Result<(), PlatformError> {
        if self.script.fails(Step::ClearFlags) {
            return Err(disk_failure(&devices[0]));
        }
        self.host.clear_shadow_flags(devices)
    }

    fn rescan(&self) -> Result<Vec<HostDisk>, PlatformError> {
        if self.script.fails(Step::Rescan) {
            return Err(PlatformError::Storage(told_so()));
        }
        self.step("rescan", || self.host.rescan())
    }

    fn wait_for_change(&self, at_most: Duration) {
        self.host.wait_for_change(at_most);
    }

    fn disk(&self, device: &DeviceName) -> Result<HostDisk, PlatformError> {
        self.host.disk(device)
    }

    fn assign_new_identity(&self, device: &DeviceName) -> Result<(), PlatformError> {
        if self.script.fails(Step::NewIdentity) {
            return Err(disk_failure(device));
        }
        self.step("new identity", || self.host.assign_new_identity(device))
    }

    fn set_disk_signature(&self, device: &DeviceName, signature: DiskSignature) -> Result<(), PlatformError> {
        self.step("signature", || self.host.set_disk_signature(device, signature))
    }

    fn set_disk_identity(&self, device: &DeviceName, identity: &DiskIdentity) -> Result<(), PlatformError> {
        self.step("identity", || self.host.set_disk_identity(device, identity))
    }

    fn remove_shadow_flags(&self, devices: &[DeviceName]) -> Result<(), PlatformError> {
        self.step("remove flags", || self.host.remove_shadow_flags(devices))
    }

    fn freeze_at_most(&self) -> Option<Duration> {
        self.host.freeze_at_most()
    }

    fn writers_recover(&self) -> bool {
        self.host.writers_recover()
    }

    fn begin_recovery(&self, set: SnapshotSetId, volumes: &[ShadowVolume]) -> Result<(), PlatformError> {
        self.host.begin_recovery(set, volumes)
    }

    fn end_recovery(&self, set: SnapshotSetId) {
        self.host.end_recovery(set);
    }

    fn open_exclusively(&self, device: &DeviceName, patience: Duration) -> Result<(), PlatformError> {
        self.host.open_exclusively(device, patience)
    }

    fn close_exclusive(&self, device: &DeviceName) {
        self.host.close_exclusive(device);
    }

    fn dismount(&self, device: &DeviceName) {
        self.step("dismount", || self.host.dismount(device));
    }
}

/// A writer that is frozen between `Freeze` and `Thaw` or `Abort`.
#[derive(Default)]
pub(crate) struct TestWriter {
    pub(crate) script: Arc<HostScript>,
    pub(crate) is_frozen: Mutex<bool>,
}

impl Writer for TestWriter {
    fn on_event(&self, _set: SnapshotSetId, event: WriterEvent) -> Result<(), WriterError> {
        match event {
            WriterEvent::Freeze => *self.is_frozen.lock().unwrap() = true,
            WriterEvent::Thaw | WriterEvent::Abort => *self.is_frozen.lock().unwrap() = false,
            WriterEvent::PrepareSnapshot | WriterEvent::PostSnapshot => (),
        }
        if self.script.fails(Step::Writers(event)) { Err(WriterError::NonRetryable) } else { Ok(()) }
    }
}
