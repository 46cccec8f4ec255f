//! The program: `lunshadow-conform --clsid {…} --bed FILE`.
#![expect(clippy::print_stderr, reason = "standard error is where a program's complaint goes")]

use std::process::ExitCode;

/// What the exit status says: nothing could be judged.
const NOTHING_JUDGED: u8 = 2;

#[cfg(windows)]
fn main() -> ExitCode {
    use std::sync::Arc;

    use clap::Parser as _;
    use lunshadow_conform_com::arguments::Arguments;
    use lunshadow_conform_com::{RegisteredClass, asked_as_stranger, fare_as_stranger};

    if let Some(class) = asked_as_stranger(std::env::args().skip(1)) {
        std::process::exit(fare_as_stranger(class));
    }
    let arguments = Arguments::parse();
    match lunshadow_conform_com::run(&arguments, Arc::new(RegisteredClass(arguments.clsid))) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("lunshadow-conform: {error:#}");
            ExitCode::from(NOTHING_JUDGED)
        }
    }
}

#[cfg(not(windows))]
fn main() -> ExitCode {
    eprintln!("lunshadow-conform is for Windows, where COM is; here there is `lunshadow conform native`");
    ExitCode::from(NOTHING_JUDGED)
}
