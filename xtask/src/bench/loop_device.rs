//! Block devices on a file, and file systems on them.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, ensure};

use crate::command::{output_of, program, run};

/// A loop device without a page cache of its own. Dropping it lets the file go.
#[derive(Debug)]
pub(super) struct LoopDevice {
    device: PathBuf,
}

impl LoopDevice {
    pub(super) fn attach(file: &Path) -> anyhow::Result<Self> {
        let file = file.to_string_lossy();
        let device = output_of(&mut program("losetup", &["--find", "--show", "--direct-io=on", &file]));
        let device = device.with_context(|| format!("losetup gives no device for {file}"))?;
        Ok(Self { device: PathBuf::from(device.trim()) })
    }

    pub(super) fn path(&self) -> &Path {
        &self.device
    }
}

impl Drop for LoopDevice {
    fn drop(&mut self) {
        report(run(&mut program("losetup", &["--detach", &self.device.to_string_lossy()])));
    }
}

/// A file system on a loop device, mounted. Dropping it unmounts it.
#[derive(Debug)]
pub(super) struct Mount {
    folder: PathBuf,
    // Behind the mount in the order of dropping.
    _device: LoopDevice,
}

impl Mount {
    /// Makes the file system with `mkfs` on a file that is written once before, and mounts it, all in a folder.
    pub(super) fn make(folder: &Path, capacity_bytes: u64, mkfs: &[&str], options: &str) -> anyhow::Result<Self> {
        let file = folder.join("medium");
        write_zeros(&file, capacity_bytes)?;
        let folder = folder.join("mounted");
        std::fs::create_dir(&folder).with_context(|| folder.display().to_string())?;
        let device = LoopDevice::attach(&file)?;
        let path = device.path().to_string_lossy().into_owned();
        let (mkfs, arguments) = mkfs.split_first().context("no program makes the file system")?;
        run(program(mkfs, arguments).arg(&path).stdout(Stdio::null()))?;
        run(&mut program("mount", &["-o", options, &path, &folder.to_string_lossy()]))?;
        Ok(Self { folder, _device: device })
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// How much of the file system is used.
    pub(super) fn used_bytes(&self) -> anyhow::Result<u64> {
        let folder = self.folder.to_string_lossy();
        run(&mut program("sync", &["--file-system", &folder]))?;
        let table = output_of(&mut program("df", &["--block-size=1", "--output=used", &folder]));
        let used = table.as_deref().and_then(|table| table.lines().nth(1)).context("df says nothing")?;
        used.trim().parse().context("df gives no number")
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        report(run(&mut program("umount", &[&*self.folder.to_string_lossy()])));
    }
}

/// Whether the kernel has a file system. One that is a module is loaded by mounting.
pub(super) fn kernel_has(file_system: &str) -> bool {
    // It is there or it is not: what modprobe says is of no interest.
    output_of(program("modprobe", &[file_system]).stderr(Stdio::null()));
    let known = std::fs::read_to_string("/proc/filesystems").unwrap_or_default();
    known.lines().any(|line| line.split_whitespace().last() == Some(file_system))
}

/// Writes a file of zeros, so that what lies on it need not wait for the file system below to find space.
pub(super) fn write_zeros(file: &Path, len_bytes: u64) -> anyhow::Result<()> {
    let of = format!("of={}", file.display());
    let count = format!("count={}", len_bytes >> 20);
    let mut dd = program("dd", &["if=/dev/zero", &of, "bs=1M", &count, "oflag=direct", "conv=fsync", "status=none"]);
    let status = dd.status().context("cannot start dd")?;
    ensure!(status.success(), "{dd:?}: {status}");
    Ok(())
}

/// Cleaning up goes on, whatever fails.
fn report(result: anyhow::Result<()>) {
    if let Err(error) = result {
        eprintln!("xtask: not cleaned up: {error:#}");
    }
}
