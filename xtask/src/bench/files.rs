//! Engines that are files: a raw one as the limit, XFS with reflinks, btrfs.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::Context;

use super::engine::{Deletion, Engine, Load, Rate};
use super::fio::{self, Target};
use super::loop_device::{Mount, write_zeros};
use crate::command::{program, run};
use crate::peers::{BTRFS, MKFS_XFS};

/// A file that is overwritten in place, without snapshots.
pub(super) struct RawFile {
    path: PathBuf,
    lun_bytes: u64,
}

impl RawFile {
    pub(super) fn make(folder: &Path, lun_bytes: u64) -> anyhow::Result<Self> {
        let path = folder.join("file");
        write_zeros(&path, lun_bytes)?;
        Ok(Self { path, lun_bytes })
    }
}

impl Engine for RawFile {
    fn run(&mut self, load: &Load) -> anyhow::Result<Rate> {
        fio::run(&Target::file(&self.path), self.lun_bytes, load)
    }

    fn snapshot(&mut self) -> anyhow::Result<Option<Duration>> {
        Ok(None)
    }

    fn delete_snapshots(&mut self) -> anyhow::Result<Deletion> {
        Ok(Deletion { answered: Duration::ZERO, space_back: Duration::ZERO })
    }

    fn used_bytes(&mut self) -> anyhow::Result<u64> {
        Ok(self.lun_bytes)
    }

    fn flushes_under_load(&mut self, load: &Load) -> anyhow::Result<Option<(f64, f64)>> {
        fio::flushes_under_load(&Target::file(&self.path), self.lun_bytes, load).map(Some)
    }
}

/// A file on XFS; a snapshot is a clone of it.
pub(super) struct Xfs {
    mount: Mount,
    lun_bytes: u64,
    snapshots: Vec<PathBuf>,
}

impl Xfs {
    pub(super) fn make(folder: &Path, capacity_bytes: u64, lun_bytes: u64) -> anyhow::Result<Self> {
        let mkfs = [MKFS_XFS, "-q", "-f", "-K", "-m", "reflink=1"];
        let mount = Mount::make(folder, capacity_bytes, &mkfs, "noatime")?;
        File::create(mount.folder().join("lun"))?.set_len(lun_bytes)?;
        Ok(Self { mount, lun_bytes, snapshots: Vec::new() })
    }
}

impl Engine for Xfs {
    fn run(&mut self, load: &Load) -> anyhow::Result<Rate> {
        fio::run(&Target::file(&self.mount.folder().join("lun")), self.lun_bytes, load)
    }

    fn snapshot(&mut self) -> anyhow::Result<Option<Duration>> {
        let path = self.mount.folder().join(format!("snapshot{}", self.snapshots.len()));
        let source = File::open(self.mount.folder().join("lun"))?;
        let begin = Instant::now();
        let clone = File::create(&path)?;
        rustix::fs::ioctl_ficlone(&clone, &source).context("no clone")?;
        clone.sync_all()?;
        let taken = begin.elapsed();
        self.snapshots.push(path);
        Ok(Some(taken))
    }

    fn delete_snapshots(&mut self) -> anyhow::Result<Deletion> {
        let begin = Instant::now();
        for snapshot in self.snapshots.drain(..) {
            std::fs::remove_file(snapshot)?;
        }
        File::open(self.mount.folder())?.sync_all()?;
        let answered = begin.elapsed();
        // Extents are freed in the background.
        self.mount.used_bytes()?;
        Ok(Deletion { answered, space_back: begin.elapsed() })
    }

    fn used_bytes(&mut self) -> anyhow::Result<u64> {
        self.mount.used_bytes()
    }
}

/// A file in a subvolume of btrfs.
pub(super) struct Btrfs {
    mount: Mount,
    lun_bytes: u64,
    snapshots: Vec<PathBuf>,
}

impl Btrfs {
    /// With `in_place`, blocks that no snapshot shares are overwritten, and have no checksums.
    pub(super) fn make(folder: &Path, capacity_bytes: u64, lun_bytes: u64, in_place: bool) -> anyhow::Result<Self> {
        let mkfs = ["mkfs.btrfs", "-q", "-f", "-K", "-m", "single", "-d", "single"];
        let mount = Mount::make(folder, capacity_bytes, &mkfs, "noatime,nodiscard")?;
        let volume = mount.folder().join("volume");
        run(program(BTRFS, &["subvolume", "create"]).arg(&volume).stdout(Stdio::null()))?;
        if in_place {
            run(program("chattr", &["+C"]).arg(&volume))?;
        }
        File::create(volume.join("lun"))?.set_len(lun_bytes)?;
        Ok(Self { mount, lun_bytes, snapshots: Vec::new() })
    }
}

impl Engine for Btrfs {
    fn run(&mut self, load: &Load) -> anyhow::Result<Rate> {
        fio::run(&Target::file(&self.mount.folder().join("volume/lun")), self.lun_bytes, load)
    }

    fn snapshot(&mut self) -> anyhow::Result<Option<Duration>> {
        let path = self.mount.folder().join(format!("snapshot{}", self.snapshots.len()));
        let mut command = program(BTRFS, &["subvolume", "snapshot", "-r"]);
        command.arg(self.mount.folder().join("volume")).arg(&path).stdout(Stdio::null());
        let begin = Instant::now();
        run(&mut command)?;
        let taken = begin.elapsed();
        self.snapshots.push(path);
        Ok(Some(taken))
    }

    fn delete_snapshots(&mut self) -> anyhow::Result<Deletion> {
        let begin = Instant::now();
        if !self.snapshots.is_empty() {
            let mut command = program(BTRFS, &["subvolume", "delete", "--commit-after"]);
            run(command.args(self.snapshots.drain(..)).stdout(Stdio::null()))?;
        }
        let answered = begin.elapsed();
        run(program(BTRFS, &["subvolume", "sync"]).arg(self.mount.folder()).stdout(Stdio::null()))?;
        Ok(Deletion { answered, space_back: begin.elapsed() })
    }

    fn used_bytes(&mut self) -> anyhow::Result<u64> {
        self.mount.used_bytes()
    }
}
