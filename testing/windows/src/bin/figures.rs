//! Measures the way from VSS to the array, and prints one JSON document a line for each figure.
#![cfg_attr(windows, expect(clippy::print_stdout, reason = "its output is what it is for"))]
#![expect(clippy::print_stderr, reason = "a program of the tests reports there")]

use std::process::ExitCode;

#[cfg(windows)]
fn main() -> ExitCode {
    let print = |figure: &lunshadow_windows::rig::Figure| {
        println!("{}", serde_json::json!(figure));
    };
    match lunshadow_windows::rig::measure(print) {
        Ok(()) => ExitCode::SUCCESS,
        Err(code) => {
            eprintln!("figures: the provider answered {code}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(not(windows))]
fn main() -> ExitCode {
    eprintln!("figures is for Windows");
    ExitCode::from(2)
}
