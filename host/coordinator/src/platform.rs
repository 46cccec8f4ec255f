//! The Windows host around the coordinator: volumes, disks, writers and the hold of writes.
//!
//! The coordinator decides *when* each of these things happens; a [`Platform`] does them. [`SimulatedHost`](crate::SimulatedHost)
//! is the one over our own iSCSI initiator.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::time::Duration;

use lunshadow_vss::{DeviceName, DiskSignature, HResult, LunInformation, SnapshotSetId};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::disk::DiskError;

/// The name of a volume, `\\?\Volume{…}\` with the trailing backslash.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct VolumeName(pub String);

impl fmt::Display for VolumeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A run of bytes on a disk.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct DiskExtent {
    /// Where it begins, in bytes from the beginning of the disk.
    pub offset_bytes: u64,
    /// Its length in bytes.
    pub len_bytes: u64,
}

/// A LUN below a volume.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VolumeLun {
    /// The disk's name on this host.
    pub device: DeviceName,
    /// What the host knows of the LUN.
    pub lun: LunInformation,
    /// Which parts of the LUN the volume occupies.
    pub extents: Vec<DiskExtent>,
}

/// A disk as the host sees it now.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HostDisk {
    /// Its name on this host.
    pub device: DeviceName,
    /// What the host knows of the LUN.
    pub lun: LunInformation,
    /// Its length in bytes.
    pub len_bytes: u64,
    /// Where volumes lie on it. A disk without partition table is one volume.
    pub volumes: Vec<DiskExtent>,
    /// The ids of its partitions by their numbers, if it has a GPT.
    pub partition_ids: BTreeMap<u32, Uuid>,
}

impl HostDisk {
    /// What Windows tells the disk from others by.
    pub(crate) fn identity(&self) -> DiskIdentity {
        DiskIdentity { signature: self.lun.disk_signature, partition_ids: self.partition_ids.clone() }
    }
}

/// The ids on a disk that no two disks of a host can share (section 3.13).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct DiskIdentity {
    /// The signature of an MBR disk, or the id of a GPT disk.
    pub signature: DiskSignature,
    /// The ids of the partitions by their numbers, of a GPT disk only.
    pub partition_ids: BTreeMap<u32, Uuid>,
}

/// A shadow copy on the disks that it arrived as.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ShadowVolume {
    /// The volume that it is a copy of.
    pub volume: VolumeName,
    /// Where it lies on the shadow disks, as its original lies on the originals.
    pub disks: Vec<(DeviceName, Vec<DiskExtent>)>,
}

/// What writers are told (the writers' side of section 4(a) of the contract).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum WriterEvent {
    /// `OnPrepareSnapshot`.
    PrepareSnapshot,
    /// `OnFreeze`: data must not change from here on.
    Freeze,
    /// `OnThaw`.
    Thaw,
    /// `OnPostSnapshot`: shadow copies may be changed now.
    PostSnapshot,
    /// `OnAbort`: the set failed. It thaws those that are frozen.
    Abort,
}

/// Why a writer failed: the codes `VSS_E_WRITERERROR_*` of section 3.14.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum WriterError {
    /// The data cannot be made consistent.
    #[error("a writer cannot make its data consistent")]
    InconsistentSnapshot,
    /// A resource is missing.
    #[error("a writer is out of resources")]
    OutOfResources,
    /// It was not ready in time.
    #[error("a writer was not ready in time")]
    Timeout,
    /// It may work another time.
    #[error("a writer failed and may succeed another time")]
    Retryable,
    /// It will not work another time either.
    #[error("a writer failed")]
    NonRetryable,
}

impl WriterError {
    /// The code that a requester sees.
    #[must_use]
    pub const fn code(self) -> HResult {
        match self {
            Self::InconsistentSnapshot => HResult::VSS_E_WRITERERROR_INCONSISTENTSNAPSHOT,
            Self::OutOfResources => HResult::VSS_E_WRITERERROR_OUTOFRESOURCES,
            Self::Timeout => HResult::VSS_E_WRITERERROR_TIMEOUT,
            Self::Retryable => HResult::VSS_E_WRITERERROR_RETRYABLE,
            Self::NonRetryable => HResult::VSS_E_WRITERERROR_NONRETRYABLE,
        }
    }
}

/// Why writes could not be held.
#[derive(Debug, thiserror::Error)]
pub enum HoldError {
    /// File systems or disks did not finish in time.
    #[error("the file systems could not be flushed in time")]
    FlushTimeout,
    /// A disk failed while it was flushed.
    #[error("a disk could not be flushed")]
    Flush(#[source] io::Error),
}

/// Why the host could not do its part with volumes and disks.
#[derive(Debug, thiserror::Error)]
pub enum PlatformError {
    /// There is no such volume.
    #[error("there is no volume {0}")]
    UnknownVolume(VolumeName),
    /// There is no such disk (any more).
    #[error("there is no disk {0}")]
    UnknownDisk(DeviceName),
    /// A program has the disk open.
    #[error("the disk {0} is open in another program")]
    InUse(DeviceName),
    /// A disk could not be read or written.
    #[error("the disk {device} cannot be read or written")]
    Disk {
        /// The disk.
        device: DeviceName,
        /// What it answered.
        #[source]
        source: io::Error,
    },
    /// The disk's partition table or file system cannot be understood.
    #[error("the disk {device} has no layout that is known here")]
    Layout {
        /// The disk.
        device: DeviceName,
        /// What is wrong with it.
        #[source]
        source: DiskError,
    },
    /// The connection to the storage is lost.
    #[error("the storage cannot be reached")]
    Storage(#[source] io::Error),
}

/// The host around the coordinator. Methods block.
///
/// What undoes something ([`release_writes`](Self::release_writes), [`clear_shadow_flags`](Self::clear_shadow_flags), the events
/// `Thaw` and `Abort`) is harmless at any time and any number of times.
pub trait Platform: Send + Sync {
    /// The LUNs that make up a volume, in a stable order.
    ///
    /// # Errors
    /// [`PlatformError::UnknownVolume`], or what reading the disks failed with.
    fn luns_of(&self, volume: &VolumeName) -> Result<Vec<VolumeLun>, PlatformError>;

    /// Tells every writer about the set, and answers when all have reacted.
    ///
    /// # Errors
    /// The first writer's failure.
    fn notify_writers(&self, set: SnapshotSetId, event: WriterEvent) -> Result<(), WriterError>;

    /// Flushes the volumes' file systems and holds all writes to them from then on, all volumes at the same time. The coordinator calls
    /// [`release_writes`](Self::release_writes) from another thread when this takes too long: nothing may then be held by it.
    ///
    /// # Errors
    /// [`HoldError`]; nothing is held then.
    fn flush_and_hold(&self, volumes: &[VolumeName]) -> Result<(), HoldError>;

    /// Lets writes go on.
    fn release_writes(&self, volumes: &[VolumeName]);

    /// Marks all volumes on the disks as read-only, hidden, without drive letter, shadow copy (section 3.13), so that a copy
    /// of the disk carries the marks.
    ///
    /// # Errors
    /// [`PlatformError::Disk`], [`PlatformError::Layout`]. Some disks may be marked then.
    fn set_shadow_flags(&self, devices: &[DeviceName]) -> Result<(), PlatformError>;

    /// Undoes [`set_shadow_flags`](Self::set_shadow_flags), on as many disks as can be.
    ///
    /// # Errors
    /// [`PlatformError::Disk`], [`PlatformError::Layout`].
    fn clear_shadow_flags(&self, devices: &[DeviceName]) -> Result<(), PlatformError>;

    /// Looks for disks that have come or gone, and answers with all that are there.
    ///
    /// # Errors
    /// [`PlatformError::Storage`]. A disk that cannot be read is left out.
    fn rescan(&self) -> Result<Vec<HostDisk>, PlatformError>;

    /// Waits until a rescan could show something new, at most for `at_most`.
    fn wait_for_change(&self, at_most: Duration);

    /// The disk as it is now.
    ///
    /// # Errors
    /// [`PlatformError::UnknownDisk`], or what reading it failed with.
    fn disk(&self, device: &DeviceName) -> Result<HostDisk, PlatformError>;

    /// Gives a disk a new signature, or new GPT ids for itself and its partitions, since it is a copy of another (section 5.4).
    ///
    /// # Errors
    /// [`PlatformError`].
    fn assign_new_identity(&self, device: &DeviceName) -> Result<(), PlatformError>;

    /// Gives a disk a certain signature (an MBR disk) or disk GUID (a GPT disk). A disk without a partition table is left alone.
    ///
    /// # Errors
    /// [`PlatformError`]; also when the signature is not of the kind that the disk has.
    fn set_disk_signature(&self, device: &DeviceName, signature: DiskSignature) -> Result<(), PlatformError>;

    /// Gives a disk a certain identity: what [`set_disk_signature`](Self::set_disk_signature) writes, and the ids of its partitions. Unless a
    /// host says otherwise, it can write no ids of partitions, and fails where there are any.
    ///
    /// # Errors
    /// [`PlatformError`]; also when the identity is not of the kind that the disk has.
    fn set_disk_identity(&self, device: &DeviceName, identity: &DiskIdentity) -> Result<(), PlatformError> {
        if !identity.partition_ids.is_empty() {
            return Err(PlatformError::Layout { device: device.clone(), source: DiskError::SignatureKind });
        }
        self.set_disk_signature(device, identity.signature)
    }

    /// Takes the marks of a shadow copy from disks that are copies themselves, so that nothing is known of how they were before.
    ///
    /// # Errors
    /// [`PlatformError`]. Some disks may be free of them then.
    fn remove_shadow_flags(&self, devices: &[DeviceName]) -> Result<(), PlatformError>;

    /// The shortest time for which a writer can be frozen, if there is one that does not leave it to VSS (section 7).
    fn freeze_at_most(&self) -> Option<Duration> {
        None
    }

    /// Whether a writer will change the shadow copies before they are final (auto-recovery, section 4(h)).
    fn writers_recover(&self) -> bool {
        false
    }

    /// Lets applications write to the volumes of the shadow disks of a set, and tells writers where these are, until
    /// [`end_recovery`](Self::end_recovery). At any other time shadow copies are read-only.
    ///
    /// # Errors
    /// [`PlatformError::UnknownDisk`]. Nothing is writable then.
    fn begin_recovery(&self, _set: SnapshotSetId, _volumes: &[ShadowVolume]) -> Result<(), PlatformError> {
        Ok(())
    }

    /// Makes the shadow copies of a set read-only again.
    fn end_recovery(&self, _set: SnapshotSetId) {}

    /// Opens a disk so that nobody else has it open until [`close_exclusive`](Self::close_exclusive), and tries again for `patience` while
    /// somebody has. Unless a host says otherwise, nobody else opens its disks.
    ///
    /// # Errors
    /// [`PlatformError::InUse`], [`PlatformError::UnknownDisk`]. The disk is not open then.
    fn open_exclusively(&self, _device: &DeviceName, _patience: Duration) -> Result<(), PlatformError> {
        Ok(())
    }

    /// Undoes [`open_exclusively`](Self::open_exclusively), also for a disk that has gone meanwhile.
    fn close_exclusive(&self, _device: &DeviceName) {}

    /// Dismounts the volumes of a disk that will go away. A disk that is not there is dismounted.
    fn dismount(&self, device: &DeviceName);
}
