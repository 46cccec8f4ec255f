//! Objects in the processes of others.

use uuid::Uuid;
use windows::Win32::Foundation::WIN32_ERROR;
use windows::Win32::System::Com::{CLSCTX_LOCAL_SERVER, CoCreateInstance};
use windows_core::{IUnknown, Result};

use crate::{apartment, guid};

/// `winerror.h`: the call failed and did not execute.
const RPC_S_CALL_FAILED_DNE: WIN32_ERROR = WIN32_ERROR(1727);

/// How often a call that was not executed is made. Each failure takes one dead connection away, and a client keeps few.
const ATTEMPTS: usize = 10;

/// Makes an object of the class in its local server, which COM starts if it does not run, and has `with` take its interfaces.
///
/// COM keeps connections to processes for later calls. If such a process ends, and another one takes its place under the same name, the next
/// call can be sent down a dead connection; COM says then that it "failed and didn't execute". So it may be made again, and it is. Every
/// other failure is the caller's to hear.
///
/// # Errors
/// What COM says.
pub fn activate<T>(class: Uuid, with: impl Fn(&IUnknown) -> Result<T>) -> Result<T> {
    apartment::join_mta()?;
    let attempt = || {
        // SAFETY: COM runs, by the line above.
        let object: IUnknown = unsafe { CoCreateInstance(&guid(class), None, CLSCTX_LOCAL_SERVER) }?;
        with(&object)
    };
    repeated(attempt)
}

fn repeated<T>(attempt: impl Fn() -> Result<T>) -> Result<T> {
    let not_executed = RPC_S_CALL_FAILED_DNE.to_hresult();
    for _ in 1..ATTEMPTS {
        match attempt() {
            Err(error) if error.code() == not_executed => {}
            answer => return answer,
        }
    }
    attempt()
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// `winerror.h`: the server is unavailable; the call failed.
    const OTHERS: [WIN32_ERROR; 2] = [WIN32_ERROR(1722), WIN32_ERROR(1726)];

    #[test]
    fn only_what_was_not_executed_is_repeated() {
        for (status, attempts) in [(RPC_S_CALL_FAILED_DNE, ATTEMPTS), (OTHERS[0], 1), (OTHERS[1], 1)] {
            let made = Cell::new(0);
            let answer: Result<()> = repeated(|| {
                made.set(made.get() + 1);
                Err(status.to_hresult().into())
            });
            assert_eq!((answer.unwrap_err().code(), made.get()), (status.to_hresult(), attempts));
        }
    }

    #[test]
    fn a_repetition_can_succeed() {
        let made = Cell::new(0);
        let answer = repeated(|| {
            made.set(made.get() + 1);
            if made.get() < 3 { Err(RPC_S_CALL_FAILED_DNE.to_hresult().into()) } else { Ok(made.get()) }
        });
        assert_eq!(answer.unwrap(), 3);
    }
}
