//! The program that a Windows Server administrator installs.
#![cfg_attr(not(windows), expect(clippy::print_stderr, reason = "elsewhere it has nothing else to say"))]

use std::process::ExitCode;

#[cfg(windows)]
fn main() -> ExitCode {
    lunshadow_provider_com::program::run()
}

#[cfg(not(windows))]
fn main() -> ExitCode {
    eprintln!("lunshadow-provider is for Windows Server");
    ExitCode::FAILURE
}
