//! Has the array stand still, or go on, and the small one be full, or have room: what a test bed of `lunshadow-conform` needs to see a provider whose
//! array does not answer or takes no more.

use std::process::ExitCode;

#[cfg(windows)]
fn main() -> ExitCode {
    use lunshadow_windows::rig::{ArraySide, drain, fill};

    let word = std::env::args().nth(1);
    match word.as_deref() {
        Some("pause") => ArraySide::new().pause(),
        Some("resume") => ArraySide::new().resume(),
        Some("fill") => fill(&ArraySide::small()),
        Some("drain") => drain(&ArraySide::small()),
        _ => return ExitCode::from(2),
    }
    ExitCode::SUCCESS
}

#[cfg(not(windows))]
fn main() -> ExitCode {
    ExitCode::from(2)
}
