//! A target in a process of its own, with a LUN that is written once.

use std::ffi::OsString;
use std::path::Path;

use crate::bench::engine::{Load, Pattern, Until};
use crate::bench::fio::{self, Target};
use crate::daemon::Daemon;

use super::tgt::{Backing, Tgtd};
use super::{CAPACITY_LUNS, Place};

/// Our target's name.
const OURS: &str = "iqn.2026-11.org.lunshadow:array";
/// The host that fio is.
pub(super) const HOST: &str = "bench";
const LUN: &str = "lun";

/// The targets, in the order of the tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    TgtdReadWrite,
    TgtdAio,
    Lunshadow,
    /// Without memory for data, and answering when the disk has it, as tgtd is with direct I/O.
    LunshadowDirect,
    /// Through the page cache, as tgtd is by default.
    LunshadowBuffered,
}

impl Kind {
    pub(super) const ALL: [Self; 5] =
        [Self::TgtdReadWrite, Self::TgtdAio, Self::Lunshadow, Self::LunshadowDirect, Self::LunshadowBuffered];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::TgtdReadWrite => "tgtd, rdwr",
            Self::TgtdAio => "tgtd, aio",
            Self::Lunshadow => "Lunshadow",
            Self::LunshadowDirect => "Lunshadow, disk only",
            Self::LunshadowBuffered => "Lunshadow, page cache",
        }
    }

    /// Starts it in an empty folder, by itself or under another program.
    pub(super) fn start(self, place: &Place, folder: &Path, under: Vec<OsString>) -> anyhow::Result<Served> {
        let process = match self {
            Self::TgtdReadWrite => Process::Tgtd(Tgtd::start(folder, &under, Backing::ReadWrite, place.lun_bytes)?),
            Self::TgtdAio => Process::Tgtd(Tgtd::start(folder, &under, Backing::Aio, place.lun_bytes)?),
            Self::Lunshadow => Process::Lunshadow(ours(place, folder, under, &[])?),
            Self::LunshadowDirect => {
                Process::Lunshadow(ours(place, folder, under, &["--read-cache", "0", "--write-behind", "0"])?)
            }
            Self::LunshadowBuffered => Process::Lunshadow(ours(place, folder, under, &["--io", "buffered"])?),
        };
        Ok(Served { process, fio: place.fio.clone(), lun_bytes: place.lun_bytes })
    }
}

/// The real daemon, with the defaults of `lunshadow serve` but for some options.
fn ours(place: &Place, folder: &Path, under: Vec<OsString>, serve_options: &[&'static str]) -> anyhow::Result<Daemon> {
    let capacity = format!("{}MiB", (place.lun_bytes * CAPACITY_LUNS) >> 20);
    let options = ["--size", &capacity, "--preallocate"];
    let mut daemon = Daemon::with_new_pool(place.lunshadow.clone(), folder, &options, &[1])?;
    let mut serve_options = serve_options.to_vec();
    if !under.is_empty() {
        // valgrind does not bring back what is done by io_uring, and what is done while there is nothing to do should not be counted.
        serve_options.extend(["--io", "threads", "--busy-poll", "0"]);
    }
    daemon.run_under(under, serve_options);
    daemon.start()?;
    daemon.ask(&["host", "add", HOST, "--iqn", fio::INITIATOR])?;
    daemon.new_lun(LUN, &format!("{}MiB", place.lun_bytes >> 20), HOST)?;
    Ok(daemon)
}

enum Process {
    Tgtd(Tgtd),
    Lunshadow(Daemon),
}

/// A target that runs. Dropping it ends its process.
pub(super) struct Served {
    process: Process,
    fio: std::path::PathBuf,
    lun_bytes: u64,
}

impl Served {
    /// What fio reads and writes.
    pub(super) fn target(&self) -> Target {
        let url = match &self.process {
            Process::Tgtd(tgtd) => tgtd.url(),
            Process::Lunshadow(daemon) => format!("iscsi://{}/{OURS}/1", daemon.portals()[0]),
        };
        Target::Iscsi { fio: self.fio.clone(), url }
    }

    pub(super) const fn lun_bytes(&self) -> u64 {
        self.lun_bytes
    }

    /// The process to look at.
    pub(super) fn process(&self) -> anyhow::Result<u32> {
        match &self.process {
            Process::Tgtd(tgtd) => Ok(tgtd.process()),
            Process::Lunshadow(daemon) => daemon.process(),
        }
    }

    /// Ours, for what only ours has.
    pub(super) const fn daemon(&self) -> Option<&Daemon> {
        match &self.process {
            Process::Tgtd(_) => None,
            Process::Lunshadow(daemon) => Some(daemon),
        }
    }

    /// Captures the LUN.
    pub(super) fn take_shadow(daemon: &Daemon) -> anyhow::Result<()> {
        daemon.ask(&["shadow", "create", LUN]).map(drop)
    }

    /// Writes the LUN once, in order, so that no target has a hole to fill or zeros to make up.
    pub(super) fn fill(&self) -> anyhow::Result<()> {
        let until = Until::Bytes(self.lun_bytes);
        let load = Load { pattern: Pattern::Write, block_bytes: 1 << 20, depth: 8, flush: false, until };
        fio::run(&self.target(), self.lun_bytes, &load).map(drop)
    }
}
