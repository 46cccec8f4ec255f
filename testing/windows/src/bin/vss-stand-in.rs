//! The stand-in for VSS as a program: `register` writes its class into the registry, `serve` is what COM starts.
#![expect(clippy::print_stderr, reason = "a program of the tests reports there")]

use std::process::ExitCode;

#[cfg(windows)]
fn main() -> ExitCode {
    let done = match std::env::args().nth(1).as_deref() {
        Some("register") => lunshadow_windows::stand_in::register_class(),
        Some("serve") => lunshadow_windows::stand_in::serve(),
        _ => {
            eprintln!("vss-stand-in register | serve");
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("vss-stand-in: {error}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(not(windows))]
fn main() -> ExitCode {
    eprintln!("vss-stand-in is for Windows");
    ExitCode::from(2)
}
