//! The multi-threaded apartment.

use std::sync::OnceLock;

use windows::Win32::System::Com::CoIncrementMTAUsage;
use windows_core::Result;

/// Keeps the process's multi-threaded apartment alive until the process ends. Every thread that belongs to no other apartment is in it from
/// then on, threads to come as well. It may be called any number of times.
///
/// # Errors
/// What COM says, the first time as later.
pub fn join_mta() -> Result<()> {
    static JOINED: OnceLock<Result<()>> = OnceLock::new();
    // SAFETY: it may be called at any time. The cookie would be for leaving again.
    JOINED.get_or_init(|| unsafe { CoIncrementMTAUsage() }.map(drop)).clone()
}
