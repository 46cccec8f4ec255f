//! The provider with planted faults as a program: `planted-provider {class id} [idle milliseconds]`, driven through its standard input and output.
#![expect(clippy::print_stderr, reason = "a program of the tests reports there")]

use std::process::ExitCode;
#[cfg(windows)]
use std::time::Duration;

#[cfg(windows)]
fn main() -> ExitCode {
    let class = std::env::args().nth(1).and_then(|class| class.parse().ok());
    let Some(class) = class else {
        eprintln!("planted-provider {{class id}} [idle milliseconds]");
        return ExitCode::from(2);
    };
    let idle_for = std::env::args().nth(2).and_then(|idle_ms| idle_ms.parse().ok()).map(Duration::from_millis);
    match lunshadow_windows::planted::serve(class, idle_for) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("planted-provider: {error}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(not(windows))]
fn main() -> ExitCode {
    eprintln!("planted-provider is for Windows");
    ExitCode::from(2)
}
