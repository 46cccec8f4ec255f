//! A provider that is another one with something between it and its caller.

use crate::{
    Async, Context, CreateSnapshotSet, DeviceName, HResult, HardwareProvider, LunInformation, LunStateChange, Method,
    SnapshotId, SnapshotSetId,
};

/// What stands between a provider and its caller. Whoever implements it is a [`HardwareProvider`].
pub trait Interceptor: Send + Sync {
    /// The provider behind it.
    type Provider: HardwareProvider + ?Sized;

    /// The provider behind it.
    fn provider(&self) -> &Self::Provider;

    /// Makes the call, or does not, and answers it.
    ///
    /// # Errors
    /// What the caller is to hear.
    fn around<T>(&self, method: Method, call: impl FnOnce() -> Result<T, HResult>) -> Result<T, HResult>;

    /// As [`around`](Self::around), for the methods whose success says nothing but that.
    ///
    /// # Errors
    /// As there.
    fn around_action(&self, method: Method, call: impl FnOnce() -> Result<(), HResult>) -> Result<(), HResult> {
        self.around(method, call)
    }

    /// As [`around`](Self::around), for `GetTargetLuns`, which answers with the shadow LUNs.
    ///
    /// # Errors
    /// As there.
    fn around_targets(
        &self,
        call: impl FnOnce() -> Result<Vec<LunInformation>, HResult>,
    ) -> Result<Vec<LunInformation>, HResult> {
        self.around(Method::GetTargetLuns, call)
    }

    /// As [`around`](Self::around), for `FillInLunInfo`, which answers with a Boolean whatever its code is.
    fn around_fill_in(&self, call: impl FnOnce() -> (HResult, bool)) -> (HResult, bool) {
        let answer = self.around(Method::FillInLunInfo, || Ok(call()));
        answer.unwrap_or_else(|code| self.not_filled_in(code))
    }

    /// The answer of `FillInLunInfo` where [`around`](Self::around) answered with a code.
    fn not_filled_in(&self, code: HResult) -> (HResult, bool) {
        (code, false)
    }
}

impl<I: Interceptor> CreateSnapshotSet for I {
    fn end_prepare_snapshots(&self, set: SnapshotSetId) -> Result<(), HResult> {
        self.around_action(Method::EndPrepareSnapshots, || self.provider().end_prepare_snapshots(set))
    }

    fn pre_commit_snapshots(&self, set: SnapshotSetId) -> Result<(), HResult> {
        self.around_action(Method::PreCommitSnapshots, || self.provider().pre_commit_snapshots(set))
    }

    fn commit_snapshots(&self, set: SnapshotSetId) -> Result<(), HResult> {
        self.around_action(Method::CommitSnapshots, || self.provider().commit_snapshots(set))
    }

    fn post_commit_snapshots(&self, set: SnapshotSetId, snapshot_count: i32) -> Result<(), HResult> {
        self.around_action(Method::PostCommitSnapshots, || self.provider().post_commit_snapshots(set, snapshot_count))
    }

    fn pre_final_commit_snapshots(&self, set: SnapshotSetId) -> Result<(), HResult> {
        self.around_action(Method::PreFinalCommitSnapshots, || self.provider().pre_final_commit_snapshots(set))
    }

    fn post_final_commit_snapshots(&self, set: SnapshotSetId) -> Result<(), HResult> {
        self.around_action(Method::PostFinalCommitSnapshots, || self.provider().post_final_commit_snapshots(set))
    }

    fn abort_snapshots(&self, set: SnapshotSetId) -> Result<(), HResult> {
        self.around_action(Method::AbortSnapshots, || self.provider().abort_snapshots(set))
    }
}

impl<I: Interceptor> HardwareProvider for I {
    fn is_legacy(&self) -> bool {
        self.provider().is_legacy()
    }

    fn are_luns_supported(
        &self,
        context: Context,
        devices: &[DeviceName],
        luns: &mut [LunInformation],
    ) -> Result<bool, HResult> {
        self.around(Method::AreLunsSupported, || self.provider().are_luns_supported(context, devices, luns))
    }

    fn fill_in_lun_info(&self, device: &DeviceName, lun: &mut LunInformation) -> (HResult, bool) {
        self.around_fill_in(|| self.provider().fill_in_lun_info(device, lun))
    }

    fn begin_prepare_snapshot(
        &self,
        set: SnapshotSetId,
        snapshot: SnapshotId,
        context: Context,
        devices: &[DeviceName],
        luns: &mut [LunInformation],
    ) -> Result<(), HResult> {
        self.around_action(Method::BeginPrepareSnapshot, || {
            self.provider().begin_prepare_snapshot(set, snapshot, context, devices, luns)
        })
    }

    fn get_target_luns(
        &self,
        devices: &[DeviceName],
        sources: &[LunInformation],
    ) -> Result<Vec<LunInformation>, HResult> {
        self.around_targets(|| self.provider().get_target_luns(devices, sources))
    }

    fn locate_luns(&self, shadows: &[LunInformation]) -> Result<(), HResult> {
        self.around_action(Method::LocateLuns, || self.provider().locate_luns(shadows))
    }

    fn on_lun_empty(&self, device: Option<&DeviceName>, lun: Option<&LunInformation>) -> Result<(), HResult> {
        self.around_action(Method::OnLunEmpty, || self.provider().on_lun_empty(device, lun))
    }

    fn get_provider_capabilities(&self) -> Result<u64, HResult> {
        self.around(Method::GetProviderCapabilities, || self.provider().get_provider_capabilities())
    }

    fn on_lun_state_change(
        &self,
        shadows: &[LunInformation],
        originals: &[LunInformation],
        change: LunStateChange,
    ) -> Result<(), HResult> {
        self.around_action(Method::OnLunStateChange, || self.provider().on_lun_state_change(shadows, originals, change))
    }

    fn resync_luns(&self, shadows: &[LunInformation], targets: &[LunInformation]) -> Result<Box<dyn Async>, HResult> {
        self.around(Method::ResyncLuns, || self.provider().resync_luns(shadows, targets))
    }

    fn on_reuse_luns(&self, shadows: &[LunInformation], originals: &[LunInformation]) -> Result<(), HResult> {
        self.around_action(Method::OnReuseLuns, || self.provider().on_reuse_luns(shadows, originals))
    }

    fn on_load(&self) -> Result<(), HResult> {
        self.around_action(Method::OnLoad, || self.provider().on_load())
    }

    fn on_unload(&self, forced: bool) -> Result<(), HResult> {
        self.around_action(Method::OnUnload, || self.provider().on_unload(forced))
    }
}
