//! How tests start programs.

use std::io;
use std::process::{Child, Command};

use windows::Win32::Foundation::ERROR_INTERNAL_ERROR;

/// How often a program is started at most.
const ATTEMPTS: usize = 4;

/// Starts a program, again where Wine says that it could not.
///
/// Wine's `CreateProcess` answers with an internal error if the process that it has forked ends before it has told of itself. On a busy machine
/// that happens once in some thousand times, with any program. Nothing of the program has run then.
///
/// # Errors
/// As for [`Command::spawn`].
pub fn start(command: &mut Command) -> io::Result<Child> {
    let internal = i32::try_from(ERROR_INTERNAL_ERROR.0).ok();
    for _ in 1..ATTEMPTS {
        match command.spawn() {
            Err(error) if error.raw_os_error() == internal => {}
            other => return other,
        }
    }
    command.spawn()
}
