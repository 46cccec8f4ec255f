//! How many instructions a target executes for a command: the figure that does not depend on who else uses the machine.

use std::ffi::OsString;
use std::fs;
use std::path::Path;

use anyhow::{Context, ensure};

use crate::bench::engine::{Load, Pattern, Until};
use crate::bench::fio;
use crate::bench::report::Figures;
use crate::command::{program, run};
use crate::peers::VALGRIND;

use super::Place;
use super::target::{Kind, Served};

pub(super) const INSTRUCTIONS: &str = "Instructions";

/// How many commands are counted. A login comes with them, which is lost in so many.
pub(super) const COMMANDS: u32 = 20_000;
const BLOCK_BYTES: u64 = 4096;
const MAX_THREADS: &str = "--max-threads=2000";

/// Counts for one target, in an empty folder.
pub(super) fn measure(kind: Kind, place: &Place, folder: &Path, figures: &mut Figures) -> anyhow::Result<()> {
    let counts = folder.join("counts");
    let mut out = OsString::from("--callgrind-out-file=");
    out.push(&counts);
    // As many threads as three runtimes may have for calls that block: one that is slow begins more of them.
    let under = vec![OsString::from(VALGRIND), "--tool=callgrind".into(), "--quiet".into(), MAX_THREADS.into(), out];
    let served = kind.start(place, folder, under)?;
    served.fill()?;
    for (pattern, what) in [(Pattern::RandomRead, "read"), (Pattern::RandomWrite, "write")] {
        for depth in [1, 32] {
            // What is compiled or allocated once, is before.
            load(&served, pattern, depth, COMMANDS / 10)?;
            let process = served.process()?.to_string();
            control(&["--zero", &process])?;
            load(&served, pattern, depth, COMMANDS)?;
            control(&[&format!("--dump={what}{depth}"), &process])?;
            let count = newest_count(folder)?;
            let label = format!("instructions for a random {what} of 4 KiB, QD{depth}");
            figures.add(INSTRUCTIONS, &label, kind.name(), count / f64::from(COMMANDS));
        }
    }
    Ok(())
}

fn load(served: &Served, pattern: Pattern, depth: u32, commands: u32) -> anyhow::Result<()> {
    let until = Until::Bytes(u64::from(commands) * BLOCK_BYTES);
    let load = Load { pattern, block_bytes: BLOCK_BYTES, depth, flush: false, until };
    fio::run(&served.target(), served.lun_bytes(), &load).map(drop)
}

fn control(arguments: &[&str]) -> anyhow::Result<()> {
    run(program("callgrind_control", arguments).stdout(std::process::Stdio::null()))
}

/// What the dump that was written last counted, and takes it away.
fn newest_count(folder: &Path) -> anyhow::Result<f64> {
    let mut dumps = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.starts_with("counts.") {
            dumps.push(path);
        }
    }
    ensure!(!dumps.is_empty(), "callgrind has written no counts");
    // With threads there may be one file for each.
    let mut sum = 0.0;
    for dump in dumps {
        sum += total_in(&fs::read_to_string(&dump)?).with_context(|| dump.display().to_string())?;
        fs::remove_file(&dump)?;
    }
    Ok(sum)
}

/// The line `summary:` or `totals:` of a dump.
fn total_in(dump: &str) -> anyhow::Result<f64> {
    let lines = ["totals: ", "summary: "];
    let count = lines.iter().find_map(|start| dump.lines().find_map(|line| line.strip_prefix(start)));
    Ok(count.context("no total")?.trim().parse()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_total_of_a_dump_is_read() {
        assert_eq!(total_in("events: Ir\nsummary: 12\n\ntotals: 12345\n").ok(), Some(12345.0));
        assert_eq!(total_in("events: Ir\nsummary: 12\n").ok(), Some(12.0));
        assert!(total_in("events: Ir\n").is_err());
    }
}
