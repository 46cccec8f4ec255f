//! Prints what Rust takes VSS's structures, interfaces and constants to be, for the compiled check against the headers.
#![cfg_attr(windows, expect(clippy::print_stdout, reason = "its output is what it is for"))]
#![cfg_attr(not(windows), expect(clippy::print_stderr, reason = "a program of the tests reports there"))]

use std::process::ExitCode;

#[cfg(windows)]
fn main() -> ExitCode {
    for assertion in lunshadow_windows::layout::assertions() {
        println!("{assertion}");
    }
    ExitCode::SUCCESS
}

#[cfg(not(windows))]
fn main() -> ExitCode {
    eprintln!("layouts is for Windows");
    ExitCode::from(2)
}
