//! `cargo xtask bench turns`: what snapshots cost the writes after them, beside the same writes without any shortly before and after.
//!
//! A disk and a machine that others use have moods, which are larger than what is looked for. So each state has its turn many times, and comes
//! first, second and last as often as others.

use std::path::{Path, PathBuf};

use anyhow::Context;
use cargo_metadata::MetadataCommand;
use clap::Args;

use super::engine::{Load, Pattern, Until};
use super::machine;
use super::report::{Figures, median};
use super::session::SNAPSHOTS;
use super::store::Kind;
use crate::command::{cargo, run as run_command};
use crate::documentation::write_part;

const HEADING: &str = "## Writes after snapshots, by turns";
const KINDS: [Kind; 2] = [Kind::Pool, Kind::PoolOnDevice];
/// The states, with how many snapshots there are.
const STATES: [(&str, usize); 3] = [("without a snapshot", 0), ("right after one", 1), ("with 64", SNAPSHOTS)];
const TABLE: &str = "4 KiB random writes, QD32";

/// How much to measure.
#[derive(Debug, Args)]
pub(crate) struct TurnsArgs {
    /// How many turns each state has; medians of all are reported
    #[arg(long, default_value_t = 30)]
    turns: usize,
    /// How long each load runs
    #[arg(long, default_value_t = 0.5)]
    seconds: f64,
    /// The length of the LUN in MiB. The disk needs three times that
    #[arg(long, default_value_t = 256)]
    lun_mib: u64,
    /// Where to measure: a folder on the disk in question. Below the target folder by default
    #[arg(long)]
    folder: Option<PathBuf>,
    /// Print the table only
    #[arg(long)]
    dry: bool,
}

/// Measures, prints the table and writes it into the documentation.
pub(super) fn run(arguments: &TurnsArgs) -> anyhow::Result<()> {
    let metadata = MetadataCommand::new().no_deps().exec().context("cargo metadata failed")?;
    run_command(&mut cargo(&["build", "--release", "--package", "lunshadow-pool-load"]))?;
    let target = metadata.target_directory.as_std_path();
    let parent = arguments.folder.clone().unwrap_or_else(|| target.to_owned());
    let folder = tempfile::Builder::new().prefix("bench-turns-").tempdir_in(&parent)?;
    let generator = target.join("release/lunshadow-pool-load");
    let (kinds, missing): (Vec<Kind>, Vec<Kind>) = KINDS.into_iter().partition(|kind| kind.missing().is_none());
    let left_out =
        missing.into_iter().filter_map(|kind| Some(format!("{} is left out: {}", kind.name(), kind.missing()?)));
    let mut figures = Figures::new(kinds.iter().map(|kind| kind.name()).collect(), TABLE);
    for kind in kinds {
        let own = folder.path().join("engine");
        measure(kind, arguments, &own, &generator, &mut figures)?;
        std::fs::remove_dir_all(&own)?;
    }
    let left_out: String = left_out.map(|line| format!("\n{line}.\n")).collect();
    let text = format!("{}\n\n{}\n\n{}{left_out}", explanation(arguments), machine(&parent), figures.tables());
    println!("\n{text}");
    if arguments.dry { Ok(()) } else { write_part(metadata.workspace_root.as_std_path(), HEADING, &text) }
}

fn measure(
    kind: Kind,
    arguments: &TurnsArgs,
    folder: &Path,
    generator: &Path,
    figures: &mut Figures,
) -> anyhow::Result<()> {
    std::fs::create_dir(folder)?;
    let lun_bytes = arguments.lun_mib << 20;
    let mut engine = kind.start(folder, generator, lun_bytes)?;
    let load = |pattern, block_bytes, depth, until| Load { pattern, block_bytes, depth, flush: false, until };
    engine.run(&load(Pattern::Write, 1 << 20, 8, Until::Bytes(lun_bytes)))?;
    let writes = load(Pattern::RandomWrite, 4096, 32, Until::Seconds(arguments.seconds));
    let mut rates = STATES.map(|_| Vec::new());
    for turn in 0..arguments.turns * STATES.len() {
        engine.delete_snapshots()?;
        engine.rest()?;
        let at = (turn + turn / STATES.len()) % STATES.len();
        for _ in 0..STATES[at].1 {
            engine.snapshot()?;
        }
        rates[at].push(engine.run(&writes)?.operations_per_s);
    }
    let medians = rates.each_ref().map(|rates| median(rates).unwrap_or_default());
    for ((state, _), rates) in STATES.iter().zip(rates) {
        rates.into_iter().for_each(|rate| figures.add(TABLE, &format!("{state}, per second"), kind.name(), rate));
    }
    for ((state, _), rate) in STATES.iter().zip(medians).skip(1) {
        figures.add(TABLE, &format!("median {state}, % of that without"), kind.name(), 100.0 * rate / medians[0]);
    }
    Ok(())
}

fn explanation(arguments: &TurnsArgs) -> String {
    let TurnsArgs { turns, seconds, lun_mib, .. } = arguments;
    format!(
        "\
Measured by `cargo xtask bench turns`: the pool as a library, on a file and on a loop device as above, with a LUN of {lun_mib} MiB that is written once in order. Writes for \
{seconds} s without a snapshot, right after one, and with 64, {turns} times each, in orders that change, snapshots deleted and everything put in order before each. Medians, in \
brackets the least and the greatest: a machine that others use has moods, which is why there are so many turns."
    )
}
