//! An `IVssAsync` of another process.

use std::time::Duration;

use lunshadow_vss::{Async, AsyncStatus, HResult};
use windows::Win32::Storage::Vss::IVssAsync;
use windows_core::{HRESULT, Interface};

/// `INFINITE`.
const FOR_EVER_MS: u32 = u32::MAX;

pub(super) struct RemoteOperation(pub(super) IVssAsync);

// SAFETY: a proxy of the multi-threaded apartment may be used from every thread of it, and `join_mta` makes all threads such.
unsafe impl Send for RemoteOperation {}
// SAFETY: as above.
unsafe impl Sync for RemoteOperation {}

impl Async for RemoteOperation {
    /// A server that is gone is a failure of the operation.
    fn query_status(&self) -> AsyncStatus {
        let mut state = HRESULT(0);
        // SAFETY: the state is a place of ours; the other parameter is reserved.
        let answer = unsafe { (self.0.vtable().QueryStatus)(self.0.as_raw(), &raw mut state, std::ptr::null_mut()) };
        let state = if answer.is_err() { answer } else { state };
        match HResult(state.0) {
            HResult::VSS_S_ASYNC_PENDING => AsyncStatus::Pending,
            HResult::VSS_S_ASYNC_FINISHED => AsyncStatus::Finished,
            HResult::VSS_S_ASYNC_CANCELLED => AsyncStatus::Cancelled,
            code => AsyncStatus::Failed(code),
        }
    }

    fn cancel(&self) -> AsyncStatus {
        // SAFETY: nothing is passed. What it came to is asked afterwards.
        let _answer = unsafe { (self.0.vtable().Cancel)(self.0.as_raw()) };
        self.query_status()
    }

    fn wait(&self, at_most: Option<Duration>) -> AsyncStatus {
        let ms = at_most.map_or(FOR_EVER_MS, |at_most| u32::try_from(at_most.as_millis()).unwrap_or(FOR_EVER_MS - 1));
        // SAFETY: a number is all that is passed. What it came to is asked afterwards.
        let _answer = unsafe { (self.0.vtable().Wait)(self.0.as_raw(), ms) };
        self.query_status()
    }
}
