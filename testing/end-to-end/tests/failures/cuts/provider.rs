//! A provider whose process can end at any call.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use lunshadow_provider::Provider;
use lunshadow_vss::{
    Async, AsyncStatus, Context, CreateSnapshotSet, DeviceName, HResult, HardwareProvider, Interceptor, LunInformation,
    LunStateChange, Method, SnapshotId, SnapshotSetId,
};

use super::cutter::{Cutter, Gone};

/// The provider's processes, one after the other: two that may end, and one that goes on.
pub(super) struct CutProvider {
    pub(super) processes: [OnceLock<Provider>; 3],
    pub(super) current: AtomicUsize,
    pub(super) commits: AtomicUsize,
    pub(super) cutter: Arc<Cutter>,
}

impl CutProvider {
    fn next_process(&self) {
        self.current.fetch_add(1, Ordering::SeqCst);
    }
}

impl Interceptor for CutProvider {
    type Provider = Provider;

    fn provider(&self) -> &Provider {
        self.processes[self.current.load(Ordering::SeqCst)].get().expect("each process was set up")
    }

    fn around<T>(&self, method: Method, call: impl FnOnce() -> Result<T, HResult>) -> Result<T, HResult> {
        if method == Method::CommitSnapshots {
            self.commits.fetch_add(1, Ordering::SeqCst);
        }
        self.cutter.around(method.name(), call).unwrap_or_else(|Gone| {
            self.next_process();
            std::panic::resume_unwind(Box::new("the provider's process has ended"))
        })
    }
}

/// The provider as the coordinator gets to see it, with the operations of resyncs cut as well.
pub(super) struct Followed(pub(super) Arc<CutProvider>);

/// An operation of a provider's process.
struct Operation {
    operation: Box<dyn Async>,
    provider: Arc<CutProvider>,
    /// Whether it was asked before how it stands.
    was_asked: AtomicUsize,
}

impl Operation {
    /// Over COM, a call to a process that has ended is an error of the call.
    fn ask(&self, place: &'static str, call: impl FnOnce() -> AsyncStatus) -> AsyncStatus {
        self.provider.cutter.around(place, call).unwrap_or_else(|Gone| {
            self.provider.next_process();
            AsyncStatus::Failed(HResult::VSS_E_UNEXPECTED_PROVIDER_ERROR)
        })
    }
}

impl Async for Operation {
    /// The first time it runs in any case, so that it is waited for and every resync makes the same calls.
    fn query_status(&self) -> AsyncStatus {
        let is_first = self.was_asked.fetch_add(1, Ordering::SeqCst) == 0;
        self.ask("QueryStatus", || if is_first { AsyncStatus::Pending } else { self.operation.query_status() })
    }

    fn cancel(&self) -> AsyncStatus {
        self.operation.cancel()
    }

    fn wait(&self, at_most: Option<Duration>) -> AsyncStatus {
        self.ask("Wait", || self.operation.wait(at_most))
    }
}

/// Methods that are the provider's own.
macro_rules! of_provider {
    ($($name:ident($($argument:ident: $type:ty),*) -> $answer:ty;)*) => {
        $(fn $name(&self, $($argument: $type),*) -> $answer {
            self.0.$name($($argument),*)
        })*
    };
}

impl CreateSnapshotSet for Followed {
    of_provider! {
        end_prepare_snapshots(set: SnapshotSetId) -> Result<(), HResult>;
        pre_commit_snapshots(set: SnapshotSetId) -> Result<(), HResult>;
        commit_snapshots(set: SnapshotSetId) -> Result<(), HResult>;
        post_commit_snapshots(set: SnapshotSetId, count: i32) -> Result<(), HResult>;
        pre_final_commit_snapshots(set: SnapshotSetId) -> Result<(), HResult>;
        post_final_commit_snapshots(set: SnapshotSetId) -> Result<(), HResult>;
        abort_snapshots(set: SnapshotSetId) -> Result<(), HResult>;
    }
}

impl HardwareProvider for Followed {
    of_provider! {
        are_luns_supported(context: Context, devices: &[DeviceName], luns: &mut [LunInformation]) -> Result<bool, HResult>;
        fill_in_lun_info(device: &DeviceName, lun: &mut LunInformation) -> (HResult, bool);
        begin_prepare_snapshot(
            set: SnapshotSetId,
            snapshot: SnapshotId,
            context: Context,
            devices: &[DeviceName],
            luns: &mut [LunInformation]
        ) -> Result<(), HResult>;
        get_target_luns(devices: &[DeviceName], sources: &[LunInformation]) -> Result<Vec<LunInformation>, HResult>;
        locate_luns(shadows: &[LunInformation]) -> Result<(), HResult>;
        on_lun_empty(device: Option<&DeviceName>, lun: Option<&LunInformation>) -> Result<(), HResult>;
        get_provider_capabilities() -> Result<u64, HResult>;
        on_lun_state_change(
            shadows: &[LunInformation],
            originals: &[LunInformation],
            change: LunStateChange
        ) -> Result<(), HResult>;
        on_reuse_luns(shadows: &[LunInformation], originals: &[LunInformation]) -> Result<(), HResult>;
        on_load() -> Result<(), HResult>;
        on_unload(forced: bool) -> Result<(), HResult>;
    }

    fn resync_luns(&self, shadows: &[LunInformation], targets: &[LunInformation]) -> Result<Box<dyn Async>, HResult> {
        let operation = self.0.resync_luns(shadows, targets)?;
        Ok(Box::new(Operation { operation, provider: Arc::clone(&self.0), was_asked: AtomicUsize::new(0) }))
    }
}
