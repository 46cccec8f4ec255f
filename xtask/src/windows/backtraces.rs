//! What everything in a prefix waits for: the stacks of all threads of all programs, for whoever has to find out why tests hang.
//!
//! Wine's debugger names the functions of Wine. Those of our programs it gives as offsets, and what the linker has left of their names is looked up here.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::prefix::Prefix;
use crate::command::{output_of, program, wait_at_most};
use crate::peers::WINE;

/// How long Wine's debugger may look. It took 10 s for a prefix with a few programs.
const AT_MOST: Duration = Duration::from_secs(3 * 60);

/// What lists the symbols of a Windows program. It comes with the linker.
const NM: &str = "x86_64-w64-mingw32-nm";

/// Where the linker has a program begin.
const IMAGE_BASE: u64 = 0x1_4000_0000;

/// The stacks, or as many as could be told.
pub(super) fn all(prefix: &Prefix) -> String {
    let mut debugger = program(WINE, &["winedbg", "--command", "bt all"]);
    prefix.describe_to(&mut debugger);
    // For the tests it is switched off, since it would start by itself whenever a program fails.
    debugger.env_remove("WINEDLLOVERRIDES").stdin(Stdio::null());
    match all_output_of(debugger) {
        Ok(text) => with_names(&text, |program| symbols_of(&prefix.host_path(program)?)),
        Err(error) => format!("nobody can tell: {error:#}"),
    }
}

/// What a program prints until it ends or has to be ended.
fn all_output_of(mut program: Command) -> anyhow::Result<String> {
    let mut output = tempfile::tempfile()?;
    let mut child = program.stdout(output.try_clone()?).stderr(output.try_clone()?).spawn()?;
    let ended = wait_at_most(&mut child, AT_MOST);
    let mut bytes = Vec::new();
    output.seek(SeekFrom::Start(0))?;
    output.read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    Ok(ended.map_or_else(|error| format!("{text}\n{error:#}"), |_| text.to_string()))
}

/// The functions of a program by where they begin.
type Symbols = BTreeMap<u64, String>;

/// Puts names to the frames of programs whose symbols are to be had.
fn with_names(text: &str, mut symbols_of: impl FnMut(&str) -> Option<Symbols>) -> String {
    let (mut known, mut current) = (BTreeMap::<String, Symbols>::new(), None);
    let mut named = String::new();
    for line in text.lines() {
        if let Some(path) = program_of(line) {
            known.entry(path.to_owned()).or_insert_with(|| symbols_of(path).unwrap_or_default());
            current = Some(path);
        }
        let symbols = current.filter(|path| is_in(path, line)).and_then(|path| known.get(path));
        // The address is that to which the call returns, and the call stands before it.
        let name = symbols.zip(offset_in(line)).and_then(|(all, offset)| all.range(..IMAGE_BASE + offset).next_back());
        match name.map(|(_, name)| name) {
            Some(name) => writeln!(named, "{line} {name}"),
            None => writeln!(named, "{line}"),
        }
        .expect("strings take everything");
    }
    named
}

/// `Backtracing for thread 01b8 in process 01b4 (Z:\folder\program.exe):`.
fn program_of(line: &str) -> Option<&str> {
    line.strip_prefix("Backtracing for thread ")?.split_once(" (")?.1.strip_suffix("):")
}

/// Whether a frame is in a program itself, and not in a library.
fn is_in(program: &str, line: &str) -> bool {
    let name = program.rsplit('\\').next().and_then(|name| name.strip_suffix(".exe"));
    name.is_some_and(|name| line.contains(&format!(" in {name} (+0x")))
}

/// `  5 0x00000140d59092 in program (+0xd59092) (0x0000000181f460)`.
fn offset_in(line: &str) -> Option<u64> {
    u64::from_str_radix(line.split_once("(+0x")?.1.split_once(')')?.0, 16).ok()
}

fn symbols_of(program: &Path) -> Option<Symbols> {
    let list = output_of(Command::new(NM).args(["--defined-only", "--demangle"]).arg(program))?;
    Some(symbols_in(&list))
}

/// Lines like `0000000140001e57 T main`; sections have names, too, which begin with a point.
fn symbols_in(list: &str) -> Symbols {
    let symbol = |line: &str| {
        let (address, rest) = line.split_once(' ')?;
        let name = rest.strip_prefix("T ").or_else(|| rest.strip_prefix("t "))?;
        (!name.starts_with('.')).then_some((u64::from_str_radix(address, 16).ok()?, name.to_owned()))
    };
    list.lines().filter_map(symbol).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_of_our_own_programs_get_names() {
        let list =
            "0000000140001000 t .text\n0000000140001000 T main\n0000000140002000 t wait::<T>\n0000000140002800 r data";
        let text = "Backtracing for thread 01b8 in process 01b4 (Z:\\a b\\ours.exe):\nBacktrace:\n\
                    =>0 0x00000170012345 in ntdll (+0x2000) (0x0000000021fca0)\n  \
                    1 0x00000140002901 in ours (+0x2901) (0x0000000021fca0)\n  \
                    2 0x00000140002000 in ours (+0x2000) (0x0000000021fca0)\n\
                    Backtracing for thread 0060 in process 005c (C:\\x\\theirs.exe):\n  \
                    1 0x00000140002901 in theirs (+0x2901) (0x0000000021fca0)";
        let named = with_names(text, |program| (program == "Z:\\a b\\ours.exe").then(|| symbols_in(list)));
        let names: Vec<&str> =
            named.lines().filter_map(|line| line.split_once("21fca0)")).map(|(_, name)| name).collect();
        assert_eq!(names, ["", " wait::<T>", " main", ""]);
    }
}
