//! `cargo xtask bench iscsi`: the iSCSI target beside tgtd, one after another in each round, on one file system.

mod fio_source;
mod instructions;
mod memory;
mod session;
mod target;
mod tgt;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, bail, ensure};
use cargo_metadata::MetadataCommand;
use clap::Args;

use self::instructions::COMMANDS;
use self::session::{ONE, SHADOW_LOADS, Session};
use self::target::Kind;
use super::machine;
use super::report::Figures;
use crate::command::build_for_speed;
use crate::documentation::write_part;
use crate::peers;

const HEADING: &str = "## The iSCSI target";
/// What our pool may use, in lengths of the LUN.
const CAPACITY_LUNS: u64 = 4;

/// How much to measure.
#[derive(Debug, Args)]
pub(crate) struct IscsiArgs {
    /// How many rounds; medians of all are reported
    #[arg(long, default_value_t = 5)]
    rounds: u32,
    /// How long each load runs; half as long again where shadow copies are taken meanwhile
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// The length of the LUN in MiB. The disk needs four times that
    #[arg(long, default_value_t = 1024)]
    lun_mib: u64,
    /// Leave out the loads, the instructions or the memory
    #[arg(long, value_enum)]
    skip: Vec<Part>,
    /// Where to measure: a folder on the disk in question. Below the target folder by default
    #[arg(long)]
    folder: Option<PathBuf>,
    /// Print the tables only
    #[arg(long)]
    dry: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    Loads,
    Instructions,
    Memory,
}

/// What all targets of a run have in common.
struct Place {
    /// The program with the engine for iSCSI.
    fio: PathBuf,
    lunshadow: PathBuf,
    lun_bytes: u64,
}

/// Measures, prints the tables and writes them into the documentation.
pub(super) fn run(arguments: &IscsiArgs) -> anyhow::Result<()> {
    if !peers::set_up(peers::FOR_ISCSI_BENCH)? {
        bail!("the benchmark needs all of these programs");
    }
    let metadata = MetadataCommand::new().no_deps().exec().context("cargo metadata failed")?;
    build_for_speed()?;
    let built = metadata.target_directory.as_std_path();
    let place = Place {
        fio: fio_source::build(&built.join("fio-libiscsi"))?,
        lunshadow: built.join("release/lunshadow"),
        lun_bytes: arguments.lun_mib << 20,
    };
    let parent = arguments.folder.clone().unwrap_or_else(|| built.to_owned());
    let folder = tempfile::Builder::new().prefix("bench-iscsi-").tempdir_in(&parent)?;
    let stopped = Arc::new(AtomicBool::new(false));
    let stop = Arc::clone(&stopped);
    // What runs now comes to its end, or fails by the same signal; then everything is cleaned up in the usual way.
    ctrlc::set_handler(move || stop.store(true, Ordering::Relaxed)).context("signals cannot be handled")?;
    let mut figures = Figures::new(Kind::ALL.iter().map(|kind| kind.name()).collect(), ONE);
    let wanted = |part| !arguments.skip.contains(&part);
    let go_on = || {
        ensure!(!stopped.load(Ordering::Relaxed), "interrupted");
        Ok(())
    };
    for round in 1..=arguments.rounds {
        for kind in Kind::ALL.into_iter().filter(|_| wanted(Part::Loads)) {
            println!("-- round {round}: {}", kind.name());
            let (seconds, stopped) = (arguments.seconds, &*stopped);
            in_new_folder(folder.path(), |folder| {
                let served = kind.start(&place, folder, Vec::new())?;
                served.fill()?;
                Session { served: &served, name: kind.name(), seconds, figures: &mut figures, stopped }.run()
            })?;
            go_on()?;
        }
    }
    // Through the page cache there are none to tell: that is what the kernel does.
    let counted = Kind::ALL.into_iter().filter(|kind| *kind != Kind::LunshadowBuffered);
    for kind in counted.filter(|_| wanted(Part::Instructions)) {
        println!("-- instructions: {}", kind.name());
        let place = Place { fio: place.fio.clone(), lunshadow: place.lunshadow.clone(), lun_bytes: COUNTED_LUN_BYTES };
        in_new_folder(folder.path(), |folder| instructions::measure(kind, &place, folder, &mut figures))?;
        go_on()?;
    }
    if wanted(Part::Memory) {
        println!("-- memory");
        in_new_folder(folder.path(), |folder| memory::measure(&place, folder, &mut figures))?;
    }
    let text = format!("{}\n{}\n\n{}", explanation(arguments), machine(&parent), figures.tables());
    println!("\n{text}");
    if arguments.dry { Ok(()) } else { write_part(metadata.workspace_root.as_std_path(), HEADING, &text) }
}

/// Where instructions are counted, everything takes some fifty times as long.
const COUNTED_LUN_BYTES: u64 = 64 << 20;

/// Runs something in a folder of its own, which is gone afterwards.
fn in_new_folder(parent: &Path, work: impl FnOnce(&Path) -> anyhow::Result<()>) -> anyhow::Result<()> {
    let folder = parent.join("target");
    std::fs::create_dir(&folder)?;
    let done = work(&folder);
    std::fs::remove_dir_all(&folder)?;
    done
}

/// What the figures mean.
fn explanation(arguments: &IscsiArgs) -> String {
    let IscsiArgs { rounds, seconds, lun_mib, .. } = arguments;
    let turn_s = seconds * SHADOW_LOADS;
    format!(
        "\
Measured by `cargo xtask bench iscsi`: target after target in each of {rounds} rounds, each with a fresh LUN of {lun_mib} MiB that is written once in \
order; each load for {seconds} s, by fio's engine for libiscsi over the loopback, without digests. Medians of the rounds, behind `=` as a part of the \
first column's, in brackets the least and the greatest.

* tgtd has a file on the file system below, written once before: *rdwr* through the page cache, so that what it reads comes from memory and what it \
writes goes there, *aio* with direct I/O. Lunshadow is `lunshadow serve` with a pool on a file (`--preallocate`) and its defaults: direct I/O, checksums of \
everything, a control service, an eighth of the machine's memory for data that was read or written lately, into which all of the LUN fits, and small writes \
answered before the disk has them, up to 1 MiB in all. Without both (`--read-cache 0 --write-behind 0`, *disk only*) each read goes to the disk and each write is answered \
when the disk has it, as those of *aio* are. With `--io buffered`, the last column, a write is answered when it is in the page cache, as by *rdwr*.
* The sequential loads come after the random writes, without a rest: those have scattered what Lunshadow reads in order then from the disk, and not what tgtd \
does, which writes in place.
* *Flushed* is a SYNCHRONIZE CACHE behind each write. Eight sessions have that many requests in flight each, all on the same LUN.
* With a shadow copy every second: `lunshadow shadow create` while the load runs for {turn_s:.1} s, beside the same load without, by turns: without, with, with, without, and the mean of each two.
* Instructions are counted by callgrind over {COMMANDS} commands, in user space, all threads together; what the kernel does for them is not in it. They do \
not depend on how busy the machine is. Lunshadow has `--io threads` there, since valgrind does not bring back what is done by io_uring, and `--busy-poll 0`, since waiting is no work.
* Memory is the resident memory of the process.
"
    )
}
