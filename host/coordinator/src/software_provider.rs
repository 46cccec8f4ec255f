//! Providers that copy volumes and not LUNs: software providers and the system's own (sections 1.4 and 2.8 of the contract).

use std::sync::Arc;

use lunshadow_vss::{Context, CreateSnapshotSet, HResult, ProviderId, SnapshotId, SnapshotSetId};

use crate::platform::VolumeName;

/// What kind of provider copies volumes, and thereby who is chosen before whom.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum SoftwareKind {
    /// A software provider that is made for certain volumes.
    Software,
    /// The system provider, to which falls what nobody else takes. It alone makes client-accessible copies.
    System,
}

/// What such a provider is registered with.
#[derive(Clone)]
pub struct SoftwareRegistration {
    /// Its id.
    pub id: ProviderId,
    /// Its name, for people.
    pub name: String,
    /// Its kind.
    pub kind: SoftwareKind,
    /// The provider.
    pub provider: Arc<dyn SoftwareProvider>,
}

/// A provider of volume copies (`IVssSoftwareSnapshotProvider`, besides what all providers have), as far as the coordinator needs one. Its
/// copies appear on this host by its own doing: no disks arrive, and it keeps the list of its copies itself. Errors are the codes of the same
/// methods of a [`HardwareProvider`](lunshadow_vss::HardwareProvider).
pub trait SoftwareProvider: CreateSnapshotSet {
    /// `IsVolumeSupported`. What does not work now is a "no".
    fn is_volume_supported(&self, context: Context, volume: &VolumeName) -> bool;

    /// `BeginPrepareSnapshot`, once for each volume.
    ///
    /// # Errors
    /// The code.
    fn begin_prepare_snapshot(
        &self,
        set: SnapshotSetId,
        snapshot: SnapshotId,
        context: Context,
        volume: &VolumeName,
    ) -> Result<(), HResult>;

    /// `DeleteSnapshots`, of one copy.
    ///
    /// # Errors
    /// The code.
    fn delete_snapshot(&self, snapshot: SnapshotId) -> Result<(), HResult>;
}
