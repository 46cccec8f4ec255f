//! `events FILE NUMBER`: tells the events behind that number out of what Wine has printed into a file, as `wevtutil` does of the event log.
#![expect(clippy::print_stdout, reason = "its output is what it is for")]

use std::process::ExitCode;

use lunshadow_windows::logged::events_after;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let printed = arguments.next().and_then(|path| std::fs::read(path).ok());
    let after = arguments.next().and_then(|number| number.parse().ok());
    let (Some(printed), Some(after)) = (printed, after) else { return ExitCode::from(2) };
    print!("{}", events_after(&String::from_utf8_lossy(&printed), after));
    ExitCode::SUCCESS
}
