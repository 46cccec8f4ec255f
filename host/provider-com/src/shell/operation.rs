//! `IVssAsync` over an operation of the provider (section 2.6 of the contract).

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use lunshadow_vss::{Async, AsyncStatus, HResult};
use windows::Win32::Storage::Vss::{IVssAsync, IVssAsync_Impl};
use windows_core::{HRESULT, Result, implement};

use super::{OnPanic, com_error, report};
use crate::server::Held;

/// `INFINITE`.
const FOR_EVER_MS: u32 = u32::MAX;

/// An operation, which keeps the server running for as long as somebody has it.
#[implement(IVssAsync)]
pub(super) struct Operation {
    running: Box<dyn Async>,
    on_panic: OnPanic,
    held: Held,
}

/// The state as `QueryStatus` tells it. Success is a code of its own, not `S_OK`.
fn code_of(status: AsyncStatus) -> HResult {
    match status {
        AsyncStatus::Pending => HResult::VSS_S_ASYNC_PENDING,
        AsyncStatus::Finished => HResult::VSS_S_ASYNC_FINISHED,
        AsyncStatus::Cancelled => HResult::VSS_S_ASYNC_CANCELLED,
        AsyncStatus::Failed(code) => code,
    }
}

impl Operation {
    pub(super) fn new(running: Box<dyn Async>, on_panic: OnPanic, held: Held) -> Self {
        Self { running, on_panic, held }
    }

    /// The frame around every method, as [`Shell::call`](super::Shell::call) is. Every code but `S_OK` is an error here.
    fn call(&self, name: &str, work: impl FnOnce(&dyn Async) -> HResult) -> Result<()> {
        let _call = self.held.enter();
        let code = catch_unwind(AssertUnwindSafe(|| work(&*self.running))).unwrap_or_else(|_| {
            report(&self.on_panic, name);
            HResult::VSS_E_UNEXPECTED
        });
        if code == HResult::S_OK { Ok(()) } else { Err(com_error(code)) }
    }
}

impl IVssAsync_Impl for Operation_Impl {
    /// An operation that could not be stopped goes on, and nobody is told otherwise.
    fn Cancel(&self) -> Result<()> {
        self.call("Cancel", |running| match running.query_status() {
            AsyncStatus::Pending => match running.cancel() {
                AsyncStatus::Cancelled => HResult::S_OK,
                AsyncStatus::Pending => HResult::VSS_E_UNEXPECTED,
                ended @ (AsyncStatus::Finished | AsyncStatus::Failed(_)) => code_of(ended),
            },
            ended @ (AsyncStatus::Finished | AsyncStatus::Cancelled | AsyncStatus::Failed(_)) => code_of(ended),
        })
    }

    /// `S_OK` when it has ended as when the time is up: `QueryStatus` tells which.
    fn Wait(&self, at_most_ms: u32) -> Result<()> {
        let at_most = (at_most_ms != FOR_EVER_MS).then(|| Duration::from_millis(at_most_ms.into()));
        self.call("Wait", |running| match running.wait(at_most) {
            AsyncStatus::Failed(code) => code,
            AsyncStatus::Pending | AsyncStatus::Finished | AsyncStatus::Cancelled => HResult::S_OK,
        })
    }

    /// The second parameter is reserved, and left alone whatever it is.
    fn QueryStatus(&self, state: *mut HRESULT, _reserved: *mut i32) -> Result<()> {
        self.call("QueryStatus", |running| {
            // SAFETY: NULL, or a place of the caller that outlives the call.
            let Some(state) = (unsafe { state.as_mut() }) else { return HResult::E_INVALIDARG };
            *state = HRESULT(code_of(running.query_status()).0);
            HResult::S_OK
        })
    }
}
