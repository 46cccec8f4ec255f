//! `cargo xtask windows --bench`: what the way from VSS to the array costs, into the documentation.

use std::fmt::Write;
use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};
use serde_json::Value;

use super::place::{Parts, Place};
use super::windows_path;
use crate::bench::machine;
use crate::documentation::write_part;
use crate::peers::WINE;

/// The part of the documentation that is written here.
const HEADING: &str = "## The Windows provider through COM";

/// What the figures mean.
const EXPLANATION: &str = "\
Measured by `cargo xtask windows --bench`: release builds; a coordinator in one Windows process, `lunshadow-provider.exe` in another, both \
under Wine, with COM's proxies and stubs between them; TLS to `lunshadow serve` on the same machine. The array's own time of a commit is \
the one that it reports for the same commits. Whole sets are created with a simulated host, whose disks come by iSCSI from the same array.
";

/// Measures, prints the table and writes it into the page.
pub(super) fn run(root: &Path, parts: &Parts, place: &Place) -> anyhow::Result<()> {
    // A file, since the provider that it starts inherits its output and would keep a pipe open.
    let report = parts.folder.join("figures.txt");
    let output = File::create(&report).with_context(|| report.display().to_string())?;
    let mut figures = Command::new(WINE);
    figures.arg(windows_path(&parts.programs.join("figures.exe")));
    place.describe_to(&mut figures);
    let status = figures.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output).status();
    let status = status.with_context(|| format!("cannot start {WINE}"))?;
    let text = String::from_utf8_lossy(&std::fs::read(&report)?).into_owned();
    ensure!(status.success(), "the measurement failed: {status}\n{text}");
    let table = table(text.lines().filter_map(|line| serde_json::from_str(line).ok()));
    let text = format!("{EXPLANATION}\n{}\n\n{table}", machine(&std::env::temp_dir()));
    println!("\n{text}");
    write_part(root, HEADING, &text)
}

fn table(figures: impl Iterator<Item = Value>) -> String {
    let mut table = "| operation | times | p50 | p99 | longest |\n| --- | ---: | ---: | ---: | ---: |\n".to_owned();
    for figure in figures {
        let duration = |key: &str| milliseconds(figure[key].as_u64().unwrap_or_default());
        let (what, count) = (figure["what"].as_str().unwrap_or_default(), &figure["count"]);
        let durations = ["p50_us", "p99_us", "longest_us"].map(duration).join(" | ");
        writeln!(table, "| {what} | {count} | {durations} |").expect("strings take everything");
    }
    table
}

fn milliseconds(microseconds: u64) -> String {
    format!("{}.{:02} ms", microseconds / 1000, microseconds % 1000 / 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_become_rows() {
        let figure = serde_json::json!({
            "what": "one COM call", "count": 1000, "p50_us": 1234, "p99_us": 20_009, "longest_us": 7
        });
        let table = table(std::iter::once(figure));
        assert_eq!(table.lines().last(), Some("| one COM call | 1000 | 1.23 ms | 20.00 ms | 0.00 ms |"));
    }
}
