//! `cargo xtask bench`: measurements, and where they are of.

mod engine;
mod files;
mod fio;
mod iscsi;
mod loop_device;
mod pool;
mod qcow2;
mod qmp;
mod report;
mod session;
mod store;
mod turns;

use std::path::Path;

use anyhow::Context as _;
use clap::Subcommand;

use crate::command::{output_of, program};

/// Which benchmark.
#[derive(Debug, Subcommand)]
pub(crate) enum Bench {
    /// The embedded pool and other engines with snapshots, interleaved on one disk
    Store(store::StoreArgs),
    /// What snapshots cost the writes after them, and random writes the reads after them, in the embedded pool
    Turns(turns::TurnsArgs),
    /// The iSCSI target and tgtd, interleaved on one file system
    Iscsi(iscsi::IscsiArgs),
}

/// Measures, prints the tables and writes them into the documentation.
pub(crate) fn run(which: &Bench) -> anyhow::Result<()> {
    match which {
        Bench::Store(arguments) => store::run(arguments),
        Bench::Turns(arguments) => turns::run(arguments),
        Bench::Iscsi(arguments) => iscsi::run(arguments),
    }
}

/// The machine and the date, in one line; `folder` is where the pools are. What cannot be found out is left out.
pub(crate) fn machine(folder: &Path) -> String {
    let cpus = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let memory = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let folder = folder.to_string_lossy();
    let parts = [
        output_of(&mut program("date", &["-u", "+%F"])),
        first_value(&cpus, "model name"),
        std::thread::available_parallelism().ok().map(|count| format!("{count} processors")),
        first_value(&memory, "MemTotal").map(|size| format!("{size} of memory")),
        output_of(&mut program("uname", &["-sr"])),
        output_of(&mut program("stat", &["--file-system", "--format=%T", &folder]))
            .map(|kind| format!("pools on {}", kind.trim())),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().map(|part| part.trim().to_owned()).collect();
    parts.join(", ")
}

/// How much memory the machine has.
pub(crate) fn memory_bytes() -> anyhow::Result<u64> {
    let memory = std::fs::read_to_string("/proc/meminfo").context("no /proc/meminfo")?;
    let total = first_value(&memory, "MemTotal").context("no MemTotal")?;
    let kib: u64 = total.trim_end_matches("kB").trim().parse().with_context(|| total.clone())?;
    Ok(kib << 10)
}

/// The value of the first `key : value` line.
fn first_value(text: &str, key: &str) -> Option<String> {
    let mut pairs = text.lines().filter_map(|line| line.split_once(':'));
    pairs.find(|(name, _)| name.trim() == key).map(|(_, value)| value.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_value_of_a_key_is_taken() {
        assert_eq!(
            first_value("processor : 0\nmodel name\t: Fast: 2\nmodel name : Slow", "model name").as_deref(),
            Some("Fast: 2")
        );
        assert_eq!(first_value("", "model name"), None);
    }
}
