//! What a hardware provider is to VSS: one method per method of its COM interfaces.

use std::time::Duration;

use crate::{Context, DeviceName, HResult, LunInformation, LunStateChange, SnapshotId, SnapshotSetId};

/// How a set comes about once its volumes are known, in a provider of any kind: `IVssProviderCreateSnapshotSet`.
pub trait CreateSnapshotSet: Send + Sync {
    /// Waits for all preparation of the set.
    ///
    /// # Errors
    /// Section 2.1.1.
    fn end_prepare_snapshots(&self, set: SnapshotSetId) -> Result<(), HResult>;

    /// Gets the set to where the commit is one fast action.
    ///
    /// # Errors
    /// Section 2.1.2.
    fn pre_commit_snapshots(&self, set: SnapshotSetId) -> Result<(), HResult>;

    /// Fixes the point in time of the set.
    ///
    /// # Errors
    /// Section 2.1.3.
    fn commit_snapshots(&self, set: SnapshotSetId) -> Result<(), HResult>;

    /// Cleans up after the commit; writes go on, writers are still frozen.
    ///
    /// # Errors
    /// Section 2.1.4.
    fn post_commit_snapshots(&self, set: SnapshotSetId, snapshot_count: i32) -> Result<(), HResult>;

    /// The volumes of the set may become writable for auto-recovery.
    ///
    /// # Errors
    /// Section 2.1.5.
    fn pre_final_commit_snapshots(&self, set: SnapshotSetId) -> Result<(), HResult>;

    /// The volumes of the set are read-only from now on.
    ///
    /// # Errors
    /// Section 2.1.6.
    fn post_final_commit_snapshots(&self, set: SnapshotSetId) -> Result<(), HResult>;

    /// Ends a set that is not complete. Harmless at any time, any number of times.
    ///
    /// # Errors
    /// Section 2.1.7.
    fn abort_snapshots(&self, set: SnapshotSetId) -> Result<(), HResult>;
}

/// A hardware provider: `IVssHardwareSnapshotProviderEx` (with its base) and `IVssProviderNotifications`, besides what all providers have.
///
/// Methods block, and may be called from any thread at any time: in particular [`abort_snapshots`](CreateSnapshotSet::abort_snapshots) while
/// [`end_prepare_snapshots`](CreateSnapshotSet::end_prepare_snapshots) waits. `Err` carries the code that goes to VSS; which codes are legal for
/// which method is in `legal_codes` of this crate. In/out arrays are slices: they can be changed in place, never grown. Device
/// names come in arrays that are as long as the LUN arrays, or empty where VSS passed NULL.
pub trait HardwareProvider: CreateSnapshotSet {
    /// Whether it lacks `IVssHardwareSnapshotProviderEx` (section 2.3): its methods answer [`HResult::E_NOINTERFACE`] then.
    fn is_legacy(&self) -> bool {
        false
    }

    /// Whether all `luns`, which make up one volume, can be shadow-copied in this context now. Leaves no trace. A foreign LUN and a
    /// transient inability are `Ok(false)`.
    ///
    /// # Errors
    /// Section 2.2.1 of the contract.
    fn are_luns_supported(
        &self,
        context: Context,
        devices: &[DeviceName],
        luns: &mut [LunInformation],
    ) -> Result<bool, HResult>;

    /// Whether an arrived disk is a LUN of this provider; if so, its information is completed to what `get_target_luns` gave.
    /// The Boolean is valid whatever the code is, since VSS ignores the code.
    fn fill_in_lun_info(&self, device: &DeviceName, lun: &mut LunInformation) -> (HResult, bool);

    /// Takes the LUNs of one volume into a set. A set id that is not the current one begins a new sequence.
    ///
    /// # Errors
    /// Section 2.2.2.
    fn begin_prepare_snapshot(
        &self,
        set: SnapshotSetId,
        snapshot: SnapshotId,
        context: Context,
        devices: &[DeviceName],
        luns: &mut [LunInformation],
    ) -> Result<(), HResult>;

    /// The identities of the shadow LUNs of `sources`, element by element, for the set that was committed last.
    ///
    /// # Errors
    /// Section 2.2.3.
    fn get_target_luns(
        &self,
        devices: &[DeviceName],
        sources: &[LunInformation],
    ) -> Result<Vec<LunInformation>, HResult>;

    /// Maps shadow LUNs to this host, all or none.
    ///
    /// # Errors
    /// Section 2.2.4.
    fn locate_luns(&self, shadows: &[LunInformation]) -> Result<(), HResult>;

    /// Deletes a shadow LUN that holds nothing of interest any more.
    ///
    /// # Errors
    /// Section 2.2.6.
    fn on_lun_empty(&self, device: Option<&DeviceName>, lun: Option<&LunInformation>) -> Result<(), HResult>;

    /// `GetProviderCapabilities`: the mask, for one original LUN. Reserved by Microsoft.
    ///
    /// # Errors
    /// Section 2.3.1.
    fn get_provider_capabilities(&self) -> Result<u64, HResult>;

    /// Shadow LUNs change their state; `originals` may be empty.
    ///
    /// # Errors
    /// Section 2.3.2.
    fn on_lun_state_change(
        &self,
        shadows: &[LunInformation],
        originals: &[LunInformation],
        change: LunStateChange,
    ) -> Result<(), HResult>;

    /// Begins to bring `targets` back to the content of `shadows`, element by element.
    ///
    /// # Errors
    /// Section 2.3.3.
    fn resync_luns(&self, shadows: &[LunInformation], targets: &[LunInformation]) -> Result<Box<dyn Async>, HResult>;

    /// `OnReuseLuns`. Reserved by Microsoft.
    ///
    /// # Errors
    /// Section 2.3.4.
    fn on_reuse_luns(&self, shadows: &[LunInformation], originals: &[LunInformation]) -> Result<(), HResult>;

    /// The provider was loaded.
    ///
    /// # Errors
    /// Section 2.4.
    fn on_load(&self) -> Result<(), HResult>;

    /// The provider is about to be unloaded; `Err(S_FALSE)` asks to stay, unless it is forced.
    ///
    /// # Errors
    /// Section 2.4.
    fn on_unload(&self, forced: bool) -> Result<(), HResult>;
}

/// How an asynchronous operation stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AsyncStatus {
    /// It runs.
    Pending,
    /// It succeeded.
    Finished,
    /// It was cancelled.
    Cancelled,
    /// It failed.
    Failed(HResult),
}

/// `IVssAsync`, section 2.6 of the contract.
pub trait Async: Send + Sync {
    /// How it stands.
    fn query_status(&self) -> AsyncStatus;
    /// Asks it to stop; answers how it stands then.
    fn cancel(&self) -> AsyncStatus;
    /// Waits for its end, at most for `at_most`; `None` waits for ever.
    fn wait(&self, at_most: Option<Duration>) -> AsyncStatus;
}
