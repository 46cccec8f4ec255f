//! Who has a disk open as a whole: programs like Disk Management, or VSS for itself alone while a LUN gets another content.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lunshadow_vss::DeviceName;

/// The open disks of a host.
#[derive(Default)]
pub(super) struct Handles {
    open: Mutex<BTreeMap<DeviceName, Holder>>,
    closed: Condvar,
}

/// Who has a disk open.
enum Holder {
    /// So many programs.
    Programs(usize),
    /// VSS alone.
    Vss,
}

/// A disk that a program has open. Until this is dropped, no recovery can begin with the disk.
#[must_use = "the disk is closed when this is dropped"]
pub struct OpenDisk {
    device: DeviceName,
    handles: Arc<Handles>,
}

impl Handles {
    /// Opens a disk for a program, unless VSS has it for itself.
    pub(super) fn open(self: Arc<Self>, device: &DeviceName) -> Option<OpenDisk> {
        let mut open = self.holders();
        match open.entry(device.clone()).or_insert(Holder::Programs(0)) {
            Holder::Vss => return None,
            Holder::Programs(count) => *count += 1,
        }
        drop(open);
        Some(OpenDisk { device: device.clone(), handles: self })
    }

    /// Opens a disk for VSS alone, as soon as nobody else has it open. Answers whether that was within `patience`.
    pub(super) fn open_exclusively(&self, device: &DeviceName, patience: Duration) -> bool {
        let is_taken = |open: &mut BTreeMap<DeviceName, Holder>| open.contains_key(device);
        let waited = self.closed.wait_timeout_while(self.holders(), patience, is_taken);
        let (mut open, _) = waited.unwrap_or_else(PoisonError::into_inner);
        let is_free = !open.contains_key(device);
        if is_free {
            open.insert(device.clone(), Holder::Vss);
        }
        is_free
    }

    /// Ends what [`open_exclusively`](Self::open_exclusively) began.
    pub(super) fn close_exclusive(&self, device: &DeviceName) {
        let mut open = self.holders();
        if matches!(open.get(device), Some(Holder::Vss)) {
            open.remove(device);
            self.closed.notify_all();
        }
    }

    fn holders(&self) -> MutexGuard<'_, BTreeMap<DeviceName, Holder>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for OpenDisk {
    fn drop(&mut self) {
        let mut open = self.handles.holders();
        match open.get_mut(&self.device) {
            Some(Holder::Programs(count)) if *count > 1 => *count -= 1,
            _ => {
                open.remove(&self.device);
                self.handles.closed.notify_all();
            }
        }
    }
}
