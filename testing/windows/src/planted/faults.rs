//! A provider that does what another one does, unless a fault is planted in the method.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use lunshadow_provider::Provider;
use lunshadow_vss::{
    Async, Context, DeviceName, HResult, HardwareProvider, LunInformation, LunStateChange, Method, SnapshotId,
    SnapshotSetId,
};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

/// How a method fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    /// It panics, before the real method is called.
    Panic,
    /// It answers this code, legal or not.
    Code(u32),
    /// It takes this long, and then does its work.
    DelayMs(u64),
}

/// The real provider behind faults.
pub struct FaultyProvider {
    inner: Provider,
    faults: Mutex<HashMap<&'static str, Fault>>,
    delayed: AtomicUsize,
}

impl FaultyProvider {
    /// No faults yet.
    #[must_use]
    pub fn new(inner: Provider) -> Self {
        Self { inner, faults: Mutex::default(), delayed: AtomicUsize::new(0) }
    }

    /// Lets a method fail from now on.
    ///
    /// # Errors
    /// If there is no such method.
    pub fn plant(&self, method: &str, fault: Fault) -> Result<(), String> {
        let method = Method::ALL.iter().find(|known| known.name() == method).ok_or(format!("no method {method}"))?;
        self.faults.lock().insert(method.name(), fault);
        Ok(())
    }

    /// Ends all faults.
    pub fn heal(&self) {
        self.faults.lock().clear();
    }

    /// How many calls are being delayed.
    pub(super) fn delayed(&self) -> usize {
        self.delayed.load(Ordering::SeqCst)
    }

    /// What the product does about a panic.
    pub(super) fn record_panic(&self, method: &str) {
        self.inner.record_panic(method);
    }

    #[expect(clippy::panic, reason = "a test asked for it")]
    fn enter(&self, method: Method) -> Result<(), HResult> {
        let fault = self.faults.lock().get(method.name()).copied();
        match fault {
            None => Ok(()),
            Some(Fault::Panic) => panic!("planted in {method}"),
            Some(Fault::Code(bits)) => Err(HResult::from_bits(bits)),
            Some(Fault::DelayMs(delay_ms)) => {
                self.delayed.fetch_add(1, Ordering::SeqCst);
                std::thread::sleep(Duration::from_millis(delay_ms));
                self.delayed.fetch_sub(1, Ordering::SeqCst);
                Ok(())
            }
        }
    }
}

impl HardwareProvider for FaultyProvider {
    fn are_luns_supported(
        &self,
        context: Context,
        devices: &[DeviceName],
        luns: &mut [LunInformation],
    ) -> Result<bool, HResult> {
        self.enter(Method::AreLunsSupported)?;
        self.inner.are_luns_supported(context, devices, luns)
    }

    fn fill_in_lun_info(&self, device: &DeviceName, lun: &mut LunInformation) -> (HResult, bool) {
        match self.enter(Method::FillInLunInfo) {
            Ok(()) => self.inner.fill_in_lun_info(device, lun),
            // A provider that is wrong twice: the answer must be `false` all the same.
            Err(code) => (code, true),
        }
    }

    fn begin_prepare_snapshot(
        &self,
        set: SnapshotSetId,
        snapshot: SnapshotId,
        context: Context,
        devices: &[DeviceName],
        luns: &mut [LunInformation],
    ) -> Result<(), HResult> {
        self.enter(Method::BeginPrepareSnapshot)?;
        self.inner.begin_prepare_snapshot(set, snapshot, context, devices, luns)
    }

    fn get_target_luns(
        &self,
        devices: &[DeviceName],
        sources: &[LunInformation],
    ) -> Result<Vec<LunInformation>, HResult> {
        self.enter(Method::GetTargetLuns)?;
        self.inner.get_target_luns(devices, sources)
    }

    fn locate_luns(&self, shadows: &[LunInformation]) -> Result<(), HResult> {
        self.enter(Method::LocateLuns)?;
        self.inner.locate_luns(shadows)
    }

    fn on_lun_empty(&self, device: Option<&DeviceName>, lun: Option<&LunInformation>) -> Result<(), HResult> {
        self.enter(Method::OnLunEmpty)?;
        self.inner.on_lun_empty(device, lun)
    }

    fn end_prepare_snapshots(&self, set: SnapshotSetId) -> Result<(), HResult> {
        self.enter(Method::EndPrepareSnapshots)?;
        self.inner.end_prepare_snapshots(set)
    }

    fn pre_commit_snapshots(&self, set: SnapshotSetId) -> Result<(), HResult> {
        self.enter(Method::PreCommitSnapshots)?;
        self.inner.pre_commit_snapshots(set)
    }

    fn commit_snapshots(&self, set: SnapshotSetId) -> Result<(), HResult> {
        self.enter(Method::CommitSnapshots)?;
        self.inner.commit_snapshots(set)
    }

    fn post_commit_snapshots(&self, set: SnapshotSetId, snapshot_count: i32) -> Result<(), HResult> {
        self.enter(Method::PostCommitSnapshots)?;
        self.inner.post_commit_snapshots(set, snapshot_count)
    }

    fn pre_final_commit_snapshots(&self, set: SnapshotSetId) -> Result<(), HResult> {
        self.enter(Method::PreFinalCommitSnapshots)?;
        self.inner.pre_final_commit_snapshots(set)
    }

    fn post_final_commit_snapshots(&self, set: SnapshotSetId) -> Result<(), HResult> {
        self.enter(Method::PostFinalCommitSnapshots)?;
        self.inner.post_final_commit_snapshots(set)
    }

    fn abort_snapshots(&self, set: SnapshotSetId) -> Result<(), HResult> {
        self.enter(Method::AbortSnapshots)?;
        self.inner.abort_snapshots(set)
    }

    fn get_provider_capabilities(&self) -> Result<u64, HResult> {
        self.enter(Method::GetProviderCapabilities)?;
        self.inner.get_provider_capabilities()
    }

    fn on_lun_state_change(
        &self,
        shadows: &[LunInformation],
        originals: &[LunInformation],
        change: LunStateChange,
    ) -> Result<(), HResult> {
        self.enter(Method::OnLunStateChange)?;
        self.inner.on_lun_state_change(shadows, originals, change)
    }

    fn resync_luns(&self, shadows: &[LunInformation], targets: &[LunInformation]) -> Result<Box<dyn Async>, HResult> {
        self.enter(Method::ResyncLuns)?;
        self.inner.resync_luns(shadows, targets)
    }

    fn on_reuse_luns(&self, shadows: &[LunInformation], originals: &[LunInformation]) -> Result<(), HResult> {
        self.enter(Method::OnReuseLuns)?;
        self.inner.on_reuse_luns(shadows, originals)
    }

    fn on_load(&self) -> Result<(), HResult> {
        self.enter(Method::OnLoad)?;
        self.inner.on_load()
    }

    fn on_unload(&self, forced: bool) -> Result<(), HResult> {
        self.enter(Method::OnUnload)?;
        self.inner.on_unload(forced)
    }
}
