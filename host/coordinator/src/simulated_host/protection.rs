//! Which disks applications may not write to: those that carry the mark of a read-only shadow copy, but for the time in which writers
//! recover a shadow copy.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

use lunshadow_vss::{DeviceName, SnapshotSetId};

use crate::platform::ShadowVolume;

/// What is read-only now. Shared by the host and the disks that it has given to applications.
#[derive(Default)]
pub(super) struct Protection(Mutex<Protected>);

#[derive(Default)]
struct Protected {
    read_only: BTreeSet<DeviceName>,
    /// The shadow copies that writers may change.
    recovering: BTreeMap<SnapshotSetId, Vec<ShadowVolume>>,
}

impl Protection {
    /// Takes note of the mark that a disk has, or has not.
    pub(super) fn note(&self, device: &DeviceName, is_read_only: bool) {
        let read_only = &mut self.protected().read_only;
        if is_read_only {
            read_only.insert(device.clone());
        } else {
            read_only.remove(device);
        }
    }

    /// Opens the shadow copies of a set to writers.
    pub(super) fn begin_recovery(&self, set: SnapshotSetId, volumes: &[ShadowVolume]) {
        self.protected().recovering.insert(set, volumes.to_vec());
    }

    /// Closes them.
    pub(super) fn end_recovery(&self, set: SnapshotSetId) {
        self.protected().recovering.remove(&set);
    }

    /// The shadow copies of a set that writers may change.
    pub(super) fn recovering(&self, set: SnapshotSetId) -> Vec<ShadowVolume> {
        self.protected().recovering.get(&set).cloned().unwrap_or_default()
    }

    /// What an application that writes is told.
    ///
    /// # Errors
    /// [`io::ErrorKind::ReadOnlyFilesystem`].
    pub(super) fn check_writable(&self, device: &DeviceName) -> io::Result<()> {
        let protected = self.protected();
        let mut open = protected.recovering.values().flatten().flat_map(|volume| &volume.disks);
        if protected.read_only.contains(device) && !open.any(|(disk, _)| disk == device) {
            return Err(io::ErrorKind::ReadOnlyFilesystem.into());
        }
        Ok(())
    }

    fn protected(&self) -> MutexGuard<'_, Protected> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
