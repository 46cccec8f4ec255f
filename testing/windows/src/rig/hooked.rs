//! A provider with a test between it and VSS: before and after each call that concerns a set.

use std::sync::Arc;

use lunshadow_vss::{
    Async, Context, DeviceName, HResult, HardwareProvider, LunInformation, LunStateChange, Method, SnapshotId,
    SnapshotSetId,
};

/// Where in a call the test is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// The provider has not been called.
    Before,
    /// It has answered with success.
    After,
}

/// The test's part. An error is what VSS hears; before the call, the provider hears nothing.
pub type Hook = Arc<dyn Fn(When, Method) -> Result<(), HResult> + Send + Sync>;

/// The provider and the test.
#[derive(Clone)]
pub struct Hooked {
    /// The provider.
    pub provider: Arc<dyn HardwareProvider>,
    /// The test.
    pub hook: Hook,
}

impl Hooked {
    fn around<T>(&self, method: Method, call: impl FnOnce() -> Result<T, HResult>) -> Result<T, HResult> {
        (self.hook)(When::Before, method)?;
        let answer = call()?;
        (self.hook)(When::After, method)?;
        Ok(answer)
    }
}

impl HardwareProvider for Hooked {
    fn are_luns_supported(
        &self,
        context: Context,
        devices: &[DeviceName],
        luns: &mut [LunInformation],
    ) -> Result<bool, HResult> {
        self.provider.are_luns_supported(context, devices, luns)
    }

    fn fill_in_lun_info(&self, device: &DeviceName, lun: &mut LunInformation) -> (HResult, bool) {
        self.provider.fill_in_lun_info(device, lun)
    }

    fn begin_prepare_snapshot(
        &self,
        set: SnapshotSetId,
        snapshot: SnapshotId,
        context: Context,
        devices: &[DeviceName],
        luns: &mut [LunInformation],
    ) -> Result<(), HResult> {
        self.around(Method::BeginPrepareSnapshot, || {
            self.provider.begin_prepare_snapshot(set, snapshot, context, devices, luns)
        })
    }

    fn get_target_luns(
        &self,
        devices: &[DeviceName],
        sources: &[LunInformation],
    ) -> Result<Vec<LunInformation>, HResult> {
        self.around(Method::GetTargetLuns, || self.provider.get_target_luns(devices, sources))
    }

    fn locate_luns(&self, shadows: &[LunInformation]) -> Result<(), HResult> {
        self.around(Method::LocateLuns, || self.provider.locate_luns(shadows))
    }

    fn on_lun_empty(&self, device: Option<&DeviceName>, lun: Option<&LunInformation>) -> Result<(), HResult> {
        self.around(Method::OnLunEmpty, || self.provider.on_lun_empty(device, lun))
    }

    fn end_prepare_snapshots(&self, set: SnapshotSetId) -> Result<(), HResult> {
        self.around(Method::EndPrepareSnapshots, || self.provider.end_prepare_snapshots(set))
    }

    fn pre_commit_snapshots(&self, set: SnapshotSetId) -> Result<(), HResult> {
        self.around(Method::PreCommitSnapshots, || self.provider.pre_commit_snapshots(set))
    }

    fn commit_snapshots(&self, set: SnapshotSetId) -> Result<(), HResult> {
        self.around(Method::CommitSnapshots, || self.provider.commit_snapshots(set))
    }

    fn post_commit_snapshots(&self, set: SnapshotSetId, snapshot_count: i32) -> Result<(), HResult> {
        self.around(Method::PostCommitSnapshots, || self.provider.post_commit_snapshots(set, snapshot_count))
    }

    fn pre_final_commit_snapshots(&self, set: SnapshotSetId) -> Result<(), HResult> {
        self.around(Method::PreFinalCommitSnapshots, || self.provider.pre_final_commit_snapshots(set))
    }

    fn post_final_commit_snapshots(&self, set: SnapshotSetId) -> Result<(), HResult> {
        self.around(Method::PostFinalCommitSnapshots, || self.provider.post_final_commit_snapshots(set))
    }

    fn abort_snapshots(&self, set: SnapshotSetId) -> Result<(), HResult> {
        self.around(Method::AbortSnapshots, || self.provider.abort_snapshots(set))
    }

    fn get_provider_capabilities(&self) -> Result<u64, HResult> {
        self.provider.get_provider_capabilities()
    }

    fn on_lun_state_change(
        &self,
        shadows: &[LunInformation],
        originals: &[LunInformation],
        change: LunStateChange,
    ) -> Result<(), HResult> {
        self.around(Method::OnLunStateChange, || self.provider.on_lun_state_change(shadows, originals, change))
    }

    fn resync_luns(&self, shadows: &[LunInformation], targets: &[LunInformation]) -> Result<Box<dyn Async>, HResult> {
        self.around(Method::ResyncLuns, || self.provider.resync_luns(shadows, targets))
    }

    fn on_reuse_luns(&self, shadows: &[LunInformation], originals: &[LunInformation]) -> Result<(), HResult> {
        self.provider.on_reuse_luns(shadows, originals)
    }

    fn on_load(&self) -> Result<(), HResult> {
        self.around(Method::OnLoad, || self.provider.on_load())
    }

    fn on_unload(&self, forced: bool) -> Result<(), HResult> {
        self.around(Method::OnUnload, || self.provider.on_unload(forced))
    }
}
