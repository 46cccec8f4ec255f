//! The provider, with faults between it and VSS; and a provider of somebody else.

use std::sync::Arc;

use lunshadow_provider::Provider;
use lunshadow_vss::{
    Async, Context, DeviceName, HResult, HardwareProvider, LunInformation, LunStateChange, Method, SnapshotId,
    SnapshotSetId,
};

use crate::plan::Plan;

pub(crate) struct FaultyProvider {
    pub(crate) provider: Provider,
    pub(crate) plan: Arc<Plan<Method, HResult>>,
}

impl HardwareProvider for FaultyProvider {
    fn are_luns_supported(
        &self,
        context: Context,
        devices: &[DeviceName],
        luns: &mut [LunInformation],
    ) -> Result<bool, HResult> {
        self.plan.run(&Method::AreLunsSupported, || self.provider.are_luns_supported(context, devices, luns))
    }

    fn fill_in_lun_info(&self, device: &DeviceName, lun: &mut LunInformation) -> (HResult, bool) {
        let filled = self.plan.run(&Method::FillInLunInfo, || Ok(self.provider.fill_in_lun_info(device, lun)));
        filled.unwrap_or_else(|code| (code, false))
    }

    fn begin_prepare_snapshot(
        &self,
        set: SnapshotSetId,
        snapshot: SnapshotId,
        context: Context,
        devices: &[DeviceName],
        luns: &mut [LunInformation],
    ) -> Result<(), HResult> {
        self.plan.run_unit(&Method::BeginPrepareSnapshot, || {
            self.provider.begin_prepare_snapshot(set, snapshot, context, devices, luns)
        })
    }

    fn get_target_luns(
        &self,
        devices: &[DeviceName],
        sources: &[LunInformation],
    ) -> Result<Vec<LunInformation>, HResult> {
        self.plan.run(&Method::GetTargetLuns, || self.provider.get_target_luns(devices, sources))
    }

    fn locate_luns(&self, shadows: &[LunInformation]) -> Result<(), HResult> {
        self.plan.run_unit(&Method::LocateLuns, || self.provider.locate_luns(shadows))
    }

    fn on_lun_empty(&self, device: Option<&DeviceName>, lun: Option<&LunInformation>) -> Result<(), HResult> {
        self.plan.run_unit(&Method::OnLunEmpty, || self.provider.on_lun_empty(device, lun))
    }

    fn end_prepare_snapshots(&self, set: SnapshotSetId) -> Result<(), HResult> {
        self.plan.run_unit(&Method::EndPrepareSnapshots, || self.provider.end_prepare_snapshots(set))
    }

    fn pre_commit_snapshots(&self, set: SnapshotSetId) -> Result<(), HResult> {
        self.plan.run_unit(&Method::PreCommitSnapshots, || self.provider.pre_commit_snapshots(set))
    }

    fn commit_snapshots(&self, set: SnapshotSetId) -> Result<(), HResult> {
        self.plan.run_unit(&Method::CommitSnapshots, || self.provider.commit_snapshots(set))
    }

    fn post_commit_snapshots(&self, set: SnapshotSetId, snapshot_count: i32) -> Result<(), HResult> {
        self.plan.run_unit(&Method::PostCommitSnapshots, || self.provider.post_commit_snapshots(set, snapshot_count))
    }

    fn pre_final_commit_snapshots(&self, set: SnapshotSetId) -> Result<(), HResult> {
        self.plan.run_unit(&Method::PreFinalCommitSnapshots, || self.provider.pre_final_commit_snapshots(set))
    }

    fn post_final_commit_snapshots(&self, set: SnapshotSetId) -> Result<(), HResult> {
        self.plan.run_unit(&Method::PostFinalCommitSnapshots, || self.provider.post_final_commit_snapshots(set))
    }

    fn abort_snapshots(&self, set: SnapshotSetId) -> Result<(), HResult> {
        self.plan.run_unit(&Method::AbortSnapshots, || self.provider.abort_snapshots(set))
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
        self.plan.run_unit(&Method::OnLunStateChange, || self.provider.on_lun_state_change(shadows, originals, change))
    }

    fn resync_luns(&self, shadows: &[LunInformation], targets: &[LunInformation]) -> Result<Box<dyn Async>, HResult> {
        self.provider.resync_luns(shadows, targets)
    }

    fn on_reuse_luns(&self, shadows: &[LunInformation], originals: &[LunInformation]) -> Result<(), HResult> {
        self.provider.on_reuse_luns(shadows, originals)
    }

    fn on_load(&self) -> Result<(), HResult> {
        self.plan.run_unit(&Method::OnLoad, || self.provider.on_load())
    }

    fn on_unload(&self, forced: bool) -> Result<(), HResult> {
        self.provider.on_unload(forced)
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
