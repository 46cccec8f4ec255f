//! Has the array stand still, or go on, the small one be full, or have room, and the relay before the first one let it be slow: what a test bed of
//! `lunshadow-conform` needs to see a provider whose array does not answer, takes no more, or takes its time.

use std::process::ExitCode;

#[cfg(windows)]
fn main() -> ExitCode {
    use lunshadow_windows::rig::{ArraySide, drain, fill};

    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match &words[..] {
        ["pause"] => ArraySide::new().pause(),
        ["resume"] => ArraySide::new().resume(),
        ["fill"] => fill(&ArraySide::small()),
        ["drain"] => drain(&ArraySide::small()),
        ["trouble", condition @ ..] => ArraySide::new().trouble(condition),
        _ => return ExitCode::from(2),
    }
    ExitCode::SUCCESS
}

#[cfg(not(windows))]
fn main() -> ExitCode {
    ExitCode::from(2)
}
