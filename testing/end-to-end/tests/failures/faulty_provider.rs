//! The provider, with faults between it and VSS; and a provider of somebody else.

use std::sync::Arc;

use lunshadow_provider::Provider;
use lunshadow_vss::{
    Async, Context, DeviceName, HResult, HardwareProvider, Interceptor, LunInformation, LunStateChange, Method,
    SnapshotId, SnapshotSetId,
};

use crate::plan::Plan;

pub(crate) struct FaultyProvider {
    pub(crate) provider: Provider,
    pub(crate) plan: Arc<Plan<Method, HResult>>,
}

impl Interceptor for FaultyProvider {
    type Provider = Provider;

    fn provider(&self) -> &Provider {
        &self.provider
    }

    fn around<T>(&self, method: Method, call: impl FnOnce() -> Result<T, HResult>) -> Result<T, HResult> {
        self.plan.run(&method, call)
    }

    fn around_action(&self, method: Method, call: impl FnOnce() -> Result<(), HResult>) -> Result<(), HResult> {
        self.plan.run_unit(&method, call)
    }
}

/// A provider of another vendor: it takes one LUN, by its serial number, and fails in one method.
pub(crate) struct ForeignProvider {
    pub(crate) serial_number: String,
    pub(crate) fails_in: Method,
}

impl ForeignProvider {
    fn answer(&self, method: Method) -> Result<(), HResult> {
        if method == self.fails_in { Err(HResult::VSS_E_PROVIDER_VETO) } else { Ok(()) }
    }
}

impl HardwareProvider for ForeignProvider {
    fn are_luns_supported(&self, _: Context, _: &[DeviceName], luns: &mut [LunInformation]) -> Result<bool, HResult> {
        Ok(luns.iter().all(|lun| lun.serial_number.as_ref() == Some(&self.serial_number)))
    }

    fn fill_in_lun_info(&self, _: &DeviceName, _: &mut LunInformation) -> (HResult, bool) {
        (HResult::S_OK, false)
    }

    fn begin_prepare_snapshot(
        &self,
        _: SnapshotSetId,
        _: SnapshotId,
        _: Context,
        _: &[DeviceName],
        _: &mut [LunInformation],
    ) -> Result<(), HResult> {
        self.answer(Method::BeginPrepareSnapshot)
    }

    fn get_target_luns(&self, _: &[DeviceName], _: &[LunInformation]) -> Result<Vec<LunInformation>, HResult> {
        Err(HResult::VSS_E_PROVIDER_VETO)
    }

    fn locate_luns(&self, _: &[LunInformation]) -> Result<(), HResult> {
        self.answer(Method::LocateLuns)
    }

    fn on_lun_empty(&self, _: Option<&DeviceName>, _: Option<&LunInformation>) -> Result<(), HResult> {
        self.answer(Method::OnLunEmpty)
    }

    fn end_prepare_snapshots(&self, _: SnapshotSetId) -> Result<(), HResult> {
        self.answer(Method::EndPrepareSnapshots)
    }

    fn pre_commit_snapshots(&self, _: SnapshotSetId) -> Result<(), HResult> {
        self.answer(Method::PreCommitSnapshots)
    }

    fn commit_snapshots(&self, _: SnapshotSetId) -> Result<(), HResult> {
        self.answer(Method::CommitSnapshots)
    }

    fn post_commit_snapshots(&self, _: SnapshotSetId, _: i32) -> Result<(), HResult> {
        self.answer(Method::PostCommitSnapshots)
    }

    fn pre_final_commit_snapshots(&self, _: SnapshotSetId) -> Result<(), HResult> {
        self.answer(Method::PreFinalCommitSnapshots)
    }

    fn post_final_commit_snapshots(&self, _: SnapshotSetId) -> Result<(), HResult> {
        self.answer(Method::PostFinalCommitSnapshots)
    }

    fn abort_snapshots(&self, _: SnapshotSetId) -> Result<(), HResult> {
        self.answer(Method::AbortSnapshots)
    }

    fn get_provider_capabilities(&self) -> Result<u64, HResult> {
        Err(HResult::E_NOTIMPL)
    }

    fn on_lun_state_change(
        &self,
        _: &[LunInformation],
        _: &[LunInformation],
        _: LunStateChange,
    ) -> Result<(), HResult> {
        self.answer(Method::OnLunStateChange)
    }

    fn resync_luns(&self, _: &[LunInformation], _: &[LunInformation]) -> Result<Box<dyn Async>, HResult> {
        Err(HResult::VSS_E_PROVIDER_VETO)
    }

    fn on_reuse_luns(&self, _: &[LunInformation], _: &[LunInformation]) -> Result<(), HResult> {
        Err(HResult::E_NOTIMPL)
    }

    fn on_load(&self) -> Result<(), HResult> {
        self.answer(Method::OnLoad)
    }

    fn on_unload(&self, _: bool) -> Result<(), HResult> {
        self.answer(Method::OnUnload)
    }
}
