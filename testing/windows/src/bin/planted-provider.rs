//! The provider with planted faults as a program: `planted-provider {class id}`, driven through its standard input and output.
#![expect(clippy::print_stderr, reason = "a program of the tests reports there")]

use std::process::ExitCode;

#[cfg(windows)]
fn main() -> ExitCode {
    let class = std::env::args().nth(1).and_then(|class| class.parse().ok());
    let Some(class) = class else {
        eprintln!("planted-provider {{class id}}");
        return ExitCode::from(2);
    };
    match lunshadow_windows::planted::serve(class) {
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
