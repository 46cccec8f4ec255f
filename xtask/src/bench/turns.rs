//! `cargo xtask bench turns`: what snapshots cost the writes after them, and random writes the reads after them, beside the same without.
//!
//! A disk and a machine that others use have moods, which are larger than what is looked for. So each state has its turn many times, and comes
//! first, second and last as often as others.

use std::path::{Path, PathBuf};

use anyhow::Context;
use cargo_metadata::MetadataCommand;
use clap::Args;

use super::engine::{Engine, Load, Pattern, Until};
use super::machine;
use super::report::{Figures, median};
use super::session::{BIG, BIG_DEPTH, SMALL, SNAPSHOTS, millis};
use super::store::Kind;
use crate::command::{cargo, run as run_command};
use crate::documentation::write_part;

const HEADING: &str = "## By turns: writes after snapshots, reads after random writes";
/// How many random writes are in flight.
const DEPTH: u32 = 32;

const WRITTEN: [Kind; 2] = [Kind::Pool, Kind::PoolOnDevice];
/// The states, with how many snapshots there are.
const STATES: [(&str, usize); 3] = [("without a snapshot", 0), ("right after one", 1), ("with 64", SNAPSHOTS)];
const WRITES: &str = "4 KiB random writes, QD32";

const READ: [Kind; 4] = [Kind::Raw, Kind::Pool, Kind::PoolOnDevice, Kind::PoolWithReadCache];
const READS: &str = "1 MiB sequential reads, QD8, after all of the LUN was overwritten at random";

/// How much to measure.
#[derive(Debug, Args)]
pub(crate) struct TurnsArgs {
    /// How many turns each state has; medians of all are reported
    #[arg(long, default_value_t = 30)]
    turns: usize,
    /// How long each load runs
    #[arg(long, default_value_t = 0.5)]
    seconds: f64,
    /// The length of the LUN in MiB. The disk needs ten times that
    #[arg(long, default_value_t = 256)]
    lun_mib: u64,
    /// Where to measure: a folder on the disk in question. Below the target folder by default
    #[arg(long)]
    folder: Option<PathBuf>,
    /// Print the tables only
    #[arg(long)]
    dry: bool,
}

/// Measures, prints the tables and writes them into the documentation.
pub(super) fn run(arguments: &TurnsArgs) -> anyhow::Result<()> {
    let metadata = MetadataCommand::new().no_deps().exec().context("cargo metadata failed")?;
    run_command(&mut cargo(&["build", "--release", "--package", "lunshadow-pool-load"]))?;
    let target = metadata.target_directory.as_std_path();
    let parent = arguments.folder.clone().unwrap_or_else(|| target.to_owned());
    let folder = tempfile::Builder::new().prefix("bench-turns-").tempdir_in(&parent)?;
    let bench = Turns { arguments, folder: folder.path(), generator: &target.join("release/lunshadow-pool-load") };
    let tables = format!("{}{}", bench.writes()?.tables(), bench.reads()?.tables());
    let left_out =
        READ.iter().filter_map(|kind| Some(format!("\n{} is left out: {}.\n", kind.name(), kind.missing()?)));
    let left_out: String = left_out.collect();
    let text = format!("{}\n\n{}\n\n{tables}{left_out}", explanation(arguments), machine(&parent));
    println!("\n{text}");
    if arguments.dry { Ok(()) } else { write_part(metadata.workspace_root.as_std_path(), HEADING, &text) }
}

struct Turns<'a> {
    arguments: &'a TurnsArgs,
    folder: &'a Path,
    generator: &'a Path,
}

impl Turns<'_> {
    fn writes(&self) -> anyhow::Result<Figures> {
        let mut figures = figures_of(&WRITTEN, WRITES);
        for kind in present(&WRITTEN) {
            let mut engine = self.start(kind)?;
            self.writes_of(kind, engine.as_mut(), &mut figures)?;
            drop(engine);
            std::fs::remove_dir_all(self.folder_of(kind))?;
        }
        Ok(figures)
    }

    fn writes_of(&self, kind: Kind, engine: &mut dyn Engine, figures: &mut Figures) -> anyhow::Result<()> {
        let writes = load(Pattern::RandomWrite, Until::Seconds(self.arguments.seconds));
        let mut rates = STATES.map(|_| Vec::new());
        for turn in 0..self.arguments.turns * STATES.len() {
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
            rates.into_iter().for_each(|rate| figures.add(WRITES, &format!("{state}, per second"), kind.name(), rate));
        }
        for ((state, _), rate) in STATES.iter().zip(medians).skip(1) {
            figures.add(WRITES, &format!("median {state}, % of that without"), kind.name(), 100.0 * rate / medians[0]);
        }
        Ok(())
    }

    /// All engines at the same time, since they are compared with each other.
    fn reads(&self) -> anyhow::Result<Figures> {
        let mut figures = figures_of(&READ, READS);
        let mut engines = Vec::new();
        for kind in present(&READ) {
            engines.push((kind, self.start(kind)?));
        }
        let overwriting = load(Pattern::RandomWrite, Until::Bytes(self.lun_bytes()));
        let reading = load(Pattern::Read, Until::Seconds(self.arguments.seconds));
        for _ in 0..self.arguments.turns {
            engines.rotate_left(1);
            for (kind, engine) in &mut engines {
                let mut note = |label, value| figures.add(READS, label, kind.name(), value);
                engine.run(&overwriting)?;
                note("at once, MB/s", engine.run(&reading)?.bytes_per_s / 1e6);
                if let Some(took) = engine.rest()? {
                    note("putting it in order again, ms", millis(took));
                }
                note("in order again, MB/s", engine.run(&reading)?.bytes_per_s / 1e6);
            }
        }
        Ok(figures)
    }

    /// An engine whose LUN is written once in order.
    fn start(&self, kind: Kind) -> anyhow::Result<Box<dyn Engine>> {
        let folder = self.folder_of(kind);
        std::fs::create_dir(&folder)?;
        let mut engine = kind.start(&folder, self.generator, self.lun_bytes())?;
        engine.run(&load(Pattern::Write, Until::Bytes(self.lun_bytes())))?;
        Ok(engine)
    }

    fn folder_of(&self, kind: Kind) -> PathBuf {
        self.folder.join(format!("{kind:?}"))
    }

    const fn lun_bytes(&self) -> u64 {
        self.arguments.lun_mib << 20
    }
}

fn present(kinds: &[Kind]) -> impl Iterator<Item = Kind> {
    kinds.iter().copied().filter(|kind| kind.missing().is_none())
}

fn figures_of(kinds: &[Kind], table: &'static str) -> Figures {
    Figures::new(present(kinds).map(Kind::name).collect(), table)
}

/// Small requests where the pattern is random, big ones in order.
fn load(pattern: Pattern, until: Until) -> Load {
    let (block_bytes, depth) = match pattern {
        Pattern::RandomRead | Pattern::RandomWrite => (SMALL, DEPTH),
        Pattern::Read | Pattern::Write => (BIG, BIG_DEPTH),
    };
    Load { pattern, block_bytes, depth, flush: false, until }
}

fn explanation(arguments: &TurnsArgs) -> String {
    let TurnsArgs { turns, seconds, lun_mib, .. } = arguments;
    format!(
        "\
Measured by `cargo xtask bench turns`: the pool as a library, on a file and on a loop device as above, with a LUN of {lun_mib} MiB that is written once in order. Medians, in \
brackets the least and the greatest: a machine that others use has moods, which is why there are so many turns.

* Writes go on for {seconds} s without a snapshot, right after one, and with 64, {turns} times each, in orders that change, snapshots deleted and everything put in order before each.
* Reads go on for {seconds} s, at once after each block of the LUN was overwritten, in a random order, and again when the pool has put in order what is scattered, as it does by \
itself after 5 s of quiet; {turns} times, the engines by turns. What they find at once lies block by block where the disk has come to, so a disk's random reads bound them. The last \
column has the memory for data that `lunshadow serve` takes by default, an eighth of the machine's: there, what was written is read from memory."
    )
}
