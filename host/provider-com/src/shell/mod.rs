//! The COM class around a `HardwareProvider`.
//!
//! Every method has one shape: outputs are cleared, pointers and counts checked, a copy made, the provider called, its changes written back.
//! [`Shell::call`] is the frame around it: a panic goes no further, and no code comes out that the method's page does not have.
//!
//! Objects hold no state: all of them share the provider, whose methods may be called from any thread at any time.

mod creation;
mod hardware;
mod operation;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use lunshadow_vss::{HResult, HardwareProvider, Method, is_legal};
use lunshadow_vss_com::StructureError;
use windows::Win32::Storage::Vss::{
    IVssHardwareSnapshotProviderEx, IVssProviderCreateSnapshotSet, IVssProviderNotifications,
};
use windows_core::{Error, HRESULT, implement};

use crate::server::Held;

/// Told the name of a method that panicked, or whose answer could not be let out.
pub type OnPanic = Arc<dyn Fn(&str) + Send + Sync>;

/// An object of the class.
#[implement(IVssHardwareSnapshotProviderEx, IVssProviderCreateSnapshotSet, IVssProviderNotifications)]
pub(crate) struct Shell {
    provider: Arc<dyn HardwareProvider>,
    on_panic: OnPanic,
    held: Held,
}

/// Why a call does not succeed.
enum Refusal {
    /// By the shell.
    Arguments(StructureError),
    /// By the provider.
    Code(HResult),
}

impl From<StructureError> for Refusal {
    fn from(error: StructureError) -> Self {
        Self::Arguments(error)
    }
}

impl From<HResult> for Refusal {
    fn from(code: HResult) -> Self {
        Self::Code(code)
    }
}

impl Refusal {
    fn code(self) -> HResult {
        match self {
            Self::Code(code) => code,
            Self::Arguments(StructureError::OutOfMemory) => HResult::E_OUTOFMEMORY,
            Self::Arguments(
                StructureError::NullPointer | StructureError::CountOutOfRange | StructureError::TextTooLong,
            ) => HResult::E_INVALIDARG,
        }
    }
}

impl Shell {
    /// An object, which keeps the server running for as long as it lives.
    pub(crate) fn new(provider: Arc<dyn HardwareProvider>, on_panic: OnPanic, held: Held) -> Self {
        Self { provider, on_panic, held }
    }

    /// The frame around every method. The error is a code that the method may answer.
    fn call<T>(
        &self,
        method: Method,
        work: impl FnOnce(&dyn HardwareProvider) -> Result<T, Refusal>,
    ) -> Result<T, HResult> {
        let _call = self.held.enter();
        let answer = catch_unwind(AssertUnwindSafe(|| work(&*self.provider)));
        let code = match answer {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(refusal)) => Some(refusal.code()),
            Err(_) => None,
        };
        match code {
            Some(code) if may_refuse_with(method, code) => Err(code),
            _ => {
                report(&self.on_panic, method.name());
                Err(last_resort(method))
            }
        }
    }
}

/// Whether a method that does not succeed may answer this.
fn may_refuse_with(method: Method, code: HResult) -> bool {
    is_legal(method, code) && (code.is_failure() || code == HResult::S_FALSE)
}

/// What a method answers when there is nothing better: the veto, which goes with an event, unless its page does not have it.
fn last_resort(method: Method) -> HResult {
    let codes = [HResult::VSS_E_PROVIDER_VETO, HResult::E_NOTIMPL];
    codes.into_iter().find(|code| is_legal(method, *code)).unwrap_or(HResult::S_OK)
}

/// Whoever is told may panic too; there is nobody left to tell.
fn report(on_panic: &OnPanic, method: &str) {
    drop(catch_unwind(AssertUnwindSafe(|| on_panic(method))));
}

/// A code as the interfaces' implementations give it.
fn com_error(code: HResult) -> Error {
    Error::from_hresult(HRESULT(code.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p_012_p_013_the_last_resort_and_bad_arguments_are_on_the_page() {
        for &method in Method::ALL {
            assert!(is_legal(method, last_resort(method)), "{method}");
            for code in [HResult::E_FAIL, HResult::E_UNEXPECTED, HResult::E_ABORT, HResult::S_OK] {
                assert!(!may_refuse_with(method, code), "{method}: {code}");
            }
            assert_eq!(may_refuse_with(method, HResult::S_FALSE), method == Method::OnUnload, "{method}");
        }
        let without: Vec<Method> =
            Method::ALL.iter().copied().filter(|method| !is_legal(*method, HResult::VSS_E_PROVIDER_VETO)).collect();
        assert_eq!(without, [Method::GetProviderCapabilities, Method::OnReuseLuns, Method::OnUnload]);
    }
}
