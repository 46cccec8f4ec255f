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

#[cfg(test)]
mod tests {
    use std::ptr::null_mut;
    use std::sync::Arc;

    use parking_lot::Mutex;

    use super::*;
    use crate::server::held_for_tests;

    /// An operation that stands as it was made.
    struct Standing(AsyncStatus);

    impl Async for Standing {
        fn query_status(&self) -> AsyncStatus {
            if self.0 == AsyncStatus::Failed(HResult::E_FAIL) { panic!("planted") } else { self.0 }
        }

        fn cancel(&self) -> AsyncStatus {
            self.query_status()
        }

        fn wait(&self, _at_most: Option<Duration>) -> AsyncStatus {
            self.query_status()
        }
    }

    fn operation(status: AsyncStatus) -> (IVssAsync, Arc<Mutex<Vec<String>>>) {
        let panics = Arc::new(Mutex::new(Vec::new()));
        let told = Arc::clone(&panics);
        let on_panic: OnPanic = Arc::new(move |method| told.lock().push(method.to_owned()));
        (Operation::new(Box::new(Standing(status)), on_panic, held_for_tests()).into(), panics)
    }

    /// The answer as it is, which may be a success that is not `S_OK`.
    fn query_status(operation: &IVssAsync, state: *mut HRESULT) -> HResult {
        use windows_core::Interface;
        // SAFETY: the state is NULL or a place of a test, and the other parameter may be NULL.
        HResult(unsafe { (operation.vtable().QueryStatus)(operation.as_raw(), state, null_mut()) }.0)
    }

    fn cancel(operation: &IVssAsync) -> HResult {
        use windows_core::Interface;
        // SAFETY: nothing is passed.
        HResult(unsafe { (operation.vtable().Cancel)(operation.as_raw()) }.0)
    }

    #[test]
    fn p_110_a_null_result_is_a_bad_argument() {
        let (operation, panics) = operation(AsyncStatus::Pending);
        assert_eq!(query_status(&operation, null_mut()), HResult::E_INVALIDARG);
        assert!(panics.lock().is_empty());
    }

    #[test]
    fn p_106_p_107_every_state_has_its_code() {
        let full = HResult::VSS_E_INSUFFICIENT_STORAGE;
        for (status, code) in [
            (AsyncStatus::Pending, HResult::VSS_S_ASYNC_PENDING),
            (AsyncStatus::Finished, HResult::VSS_S_ASYNC_FINISHED),
            (AsyncStatus::Cancelled, HResult::VSS_S_ASYNC_CANCELLED),
            (AsyncStatus::Failed(full), full),
        ] {
            let mut state = HRESULT(-1);
            assert_eq!(query_status(&operation(status).0, &raw mut state), HResult::S_OK);
            assert_eq!(HResult(state.0), code);
        }
    }

    #[test]
    fn p_109_a_cancellation_that_stops_nothing_is_no_success() {
        assert_eq!(cancel(&operation(AsyncStatus::Pending).0), HResult::VSS_E_UNEXPECTED);
        assert_eq!(cancel(&operation(AsyncStatus::Finished).0), HResult::VSS_S_ASYNC_FINISHED);
        assert_eq!(cancel(&operation(AsyncStatus::Cancelled).0), HResult::VSS_S_ASYNC_CANCELLED);
    }

    #[test]
    fn p_017_a_panic_in_an_operation_is_told_and_goes_no_further() {
        let (operation, panics) = operation(AsyncStatus::Failed(HResult::E_FAIL));
        let mut state = HRESULT(-1);
        assert_eq!(query_status(&operation, &raw mut state), HResult::VSS_E_UNEXPECTED);
        assert_eq!(cancel(&operation), HResult::VSS_E_UNEXPECTED);
        assert_eq!(*panics.lock(), ["QueryStatus", "Cancel"]);
    }
}
