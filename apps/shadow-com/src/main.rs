//! The program: `lunshadow-shadow --clsid {…} --hosts FILE script FILE`, or `prompt`.

use std::process::ExitCode;

use lunshadow_rehearsal::Console;

/// What the exit status says: nothing could be run.
const NOTHING_RUN: u8 = 2;

#[cfg(windows)]
fn main() -> ExitCode {
    use std::io::{IsTerminal as _, stdin};

    use clap::Parser as _;
    use lunshadow_shadow_com::RegisteredClass;
    use lunshadow_shadow_com::arguments::Arguments;

    let arguments = Arguments::parse();
    let (class, console) = (RegisteredClass(arguments.clsid), Console::of("lunshadow-shadow"));
    match lunshadow_shadow_com::run(&arguments, &class, console, stdin().lock(), stdin().is_terminal()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            console.complain(format_args!("{error:#}"));
            ExitCode::from(NOTHING_RUN)
        }
    }
}

#[cfg(not(windows))]
fn main() -> ExitCode {
    let console = Console::of("lunshadow-shadow");
    console.complain("this program is for Windows, where COM is; here there is `lunshadow shadow`");
    ExitCode::from(NOTHING_RUN)
}
