//! `cargo xtask bench store`: the embedded pool beside other engines, one after another in each round, on one disk.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, bail, ensure};
use cargo_metadata::MetadataCommand;
use clap::Args;

use super::engine::Engine;
use super::files::{Btrfs, RawFile, Xfs};
use super::loop_device::kernel_has;
use super::pool::PoolEngine;
use super::qcow2::Qcow2;
use super::report::{Figures, explanation};
use super::session::{BEFORE, Session};
use super::{machine, memory_bytes};
use crate::command::{cargo, run as run_command};
use crate::documentation::write_part;
use crate::peers::{self, BTRFS, FIO, MKFS_XFS, QEMU_STORAGE_DAEMON};

const HEADING: &str = "## The embedded pool";
/// What an engine may use, in lengths of the LUN: the LUN, what snapshots keep of it, and room to be at ease.
const CAPACITY_LUNS: u64 = 3;
/// Which part of the memory `lunshadow serve` takes for data, if nobody says how much.
const READ_CACHE_PART: u64 = 8;

/// How much to measure.
#[derive(Debug, Args)]
pub(crate) struct StoreArgs {
    /// How many rounds; medians of all are reported
    #[arg(long, default_value_t = 5)]
    pub(super) rounds: u32,
    /// How long each load runs
    #[arg(long, default_value_t = 2.0)]
    pub(super) seconds: f64,
    /// The length of the LUN in MiB. The disk needs three times that
    #[arg(long, default_value_t = 4096)]
    pub(super) lun_mib: u64,
    /// How many times each group of LUNs is captured in a round
    #[arg(long, default_value_t = 200)]
    pub(super) group_times: u32,
    /// Where to measure: a folder on the disk in question. Below the target folder by default
    #[arg(long)]
    folder: Option<PathBuf>,
    /// Only engines whose names contain this, besides the raw file
    #[arg(long)]
    only: Option<String>,
    /// Print the tables only
    #[arg(long)]
    dry: bool,
}

/// The engines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Raw,
    Pool,
    /// With as much memory for data as `lunshadow serve` takes by default.
    PoolWithReadCache,
    PoolOnDevice,
    Xfs,
    Btrfs,
    BtrfsInPlace,
    Qcow2,
}

impl Kind {
    /// Those of this benchmark, in the order of its tables. All of them read from the disk.
    const ALL: [Self; 7] =
        [Self::Raw, Self::Pool, Self::PoolOnDevice, Self::Xfs, Self::Btrfs, Self::BtrfsInPlace, Self::Qcow2];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw file",
            Self::Pool => "Lunshadow, file",
            Self::PoolWithReadCache => "Lunshadow, file, read cache",
            Self::PoolOnDevice => "Lunshadow, device",
            Self::Xfs => "XFS, reflink",
            Self::Btrfs => "btrfs",
            Self::BtrfsInPlace => "btrfs, nodatacow",
            Self::Qcow2 => "qcow2, overlays",
        }
    }

    /// An engine with an empty LUN, all of it below a folder that is empty.
    pub(super) fn start(self, folder: &Path, generator: &Path, lun_bytes: u64) -> anyhow::Result<Box<dyn Engine>> {
        let capacity_bytes = CAPACITY_LUNS * lun_bytes;
        Ok(match self {
            Self::Raw => Box::new(RawFile::make(folder, lun_bytes)?),
            Self::Pool => Box::new(PoolEngine::in_folder(generator, folder, capacity_bytes, lun_bytes, 0)?),
            Self::PoolWithReadCache => {
                let read_cache_bytes = memory_bytes()? / READ_CACHE_PART;
                Box::new(PoolEngine::in_folder(generator, folder, capacity_bytes, lun_bytes, read_cache_bytes)?)
            }
            Self::PoolOnDevice => Box::new(PoolEngine::on_device(generator, folder, capacity_bytes, lun_bytes)?),
            Self::Xfs => Box::new(Xfs::make(folder, capacity_bytes, lun_bytes)?),
            Self::Btrfs => Box::new(Btrfs::make(folder, capacity_bytes, lun_bytes, false)?),
            Self::BtrfsInPlace => Box::new(Btrfs::make(folder, capacity_bytes, lun_bytes, true)?),
            Self::Qcow2 => Box::new(Qcow2::make(folder, lun_bytes)?),
        })
    }

    /// Why it cannot be had here.
    pub(super) fn missing(self) -> Option<String> {
        let program = match self {
            Self::Raw | Self::Pool | Self::PoolWithReadCache => return None,
            Self::PoolOnDevice => "losetup",
            Self::Xfs => MKFS_XFS,
            Self::Btrfs | Self::BtrfsInPlace => BTRFS,
            Self::Qcow2 => QEMU_STORAGE_DAEMON,
        };
        let file_system = match self {
            Self::Xfs => Some("xfs"),
            Self::Btrfs | Self::BtrfsInPlace => Some("btrfs"),
            Self::Raw | Self::Pool | Self::PoolWithReadCache | Self::PoolOnDevice | Self::Qcow2 => None,
        };
        if !peers::is_program(program) {
            return Some(format!("{program} is not installed"));
        }
        if (file_system.is_some() || self == Self::PoolOnDevice) && !peers::is_root() {
            return Some("loop devices need root".to_owned());
        }
        match file_system {
            Some(name) if !kernel_has(name) => Some(format!("the kernel has no {name}")),
            _ => None,
        }
    }
}

/// Runs all rounds and writes the tables.
pub(super) fn run(arguments: &StoreArgs) -> anyhow::Result<()> {
    peers::set_up(peers::FOR_BENCH)?;
    if !peers::is_program(FIO) {
        bail!("fio is not installed");
    }
    let metadata = MetadataCommand::new().no_deps().exec().context("cargo metadata failed")?;
    run_command(&mut cargo(&["build", "--release", "--package", "lunshadow-pool-load"]))?;
    let target = metadata.target_directory.as_std_path();
    let parent = arguments.folder.clone().unwrap_or_else(|| target.to_owned());
    let mut left_out = Vec::new();
    let mut kinds = Vec::new();
    for kind in Kind::ALL {
        let wanted = kind == Kind::Raw || arguments.only.as_deref().is_none_or(|only| kind.name().contains(only));
        match kind.missing() {
            _ if !wanted => {}
            Some(why) => left_out.push(format!("{} is left out: {why}", kind.name())),
            None => kinds.push(kind),
        }
    }
    left_out.iter().for_each(|line| println!("{line}"));
    let folder = tempfile::Builder::new().prefix("bench-store-").tempdir_in(&parent)?;
    let generator = target.join("release/lunshadow-pool-load");
    let stopped = Arc::new(AtomicBool::new(false));
    let stop = Arc::clone(&stopped);
    // What runs now comes to its end, or fails by the same signal; then everything is cleaned up in the usual way.
    ctrlc::set_handler(move || stop.store(true, Ordering::Relaxed)).context("signals cannot be handled")?;
    let mut figures = Figures::new(kinds.iter().map(|kind| kind.name()).collect(), BEFORE);
    for round in 1..=arguments.rounds {
        for kind in kinds.clone() {
            println!("-- round {round}: {}", kind.name());
            let own = folder.path().join("engine");
            let done = measure(kind, arguments, &own, &generator, &mut figures, &stopped);
            std::fs::remove_dir_all(&own)?;
            ensure!(!stopped.load(Ordering::Relaxed), "interrupted");
            if let Err(error) = done {
                // What it did until then is in the tables.
                left_out
                    .push(format!("{} failed in round {round} and is left out from there on: {error:#}", kind.name()));
                println!("{}", left_out.join("\n"));
                kinds.retain(|other| *other != kind);
            }
        }
    }
    ensure!(kinds.contains(&Kind::Raw), "what all are compared with cannot be measured");
    let text = format!(
        "{}\n{}\n\n{}{}",
        explanation(arguments.rounds, arguments.seconds, arguments.lun_mib),
        machine(&parent),
        figures.tables(),
        left_out.iter().map(|line| format!("\n{line}.\n")).collect::<String>()
    );
    println!("\n{text}");
    if arguments.dry { Ok(()) } else { write_part(metadata.workspace_root.as_std_path(), HEADING, &text) }
}

/// One engine in one round, in a folder of its own.
fn measure(
    kind: Kind,
    arguments: &StoreArgs,
    folder: &Path,
    generator: &Path,
    figures: &mut Figures,
    stopped: &AtomicBool,
) -> anyhow::Result<()> {
    std::fs::create_dir(folder)?;
    let mut engine = kind.start(folder, generator, arguments.lun_mib << 20)?;
    let engine = engine.as_mut();
    Session { arguments, engine, name: kind.name(), figures, stopped }.run(kind != Kind::Raw)
}
