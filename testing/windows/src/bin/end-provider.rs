//! Ends the product's processes at once, whatever they do: what a test bed of `lunshadow-conform` needs to have another one started.

use std::process::ExitCode;

#[cfg(windows)]
fn main() -> ExitCode {
    lunshadow_windows::rig::end_servers();
    ExitCode::SUCCESS
}

#[cfg(not(windows))]
fn main() -> ExitCode {
    ExitCode::from(2)
}
