//! File systems on LUNs: what is written to them is read again, and what is deleted from them comes back to the pool.

use std::time::Duration;

use anyhow::ensure;

use super::stage::{Stage, wait_until};

/// XFS wants 300 MiB at least.
const LUN_SIZE: &str = "512MiB";

/// What is written and trimmed.
const TRIMMED_MIB: u64 = 64;
/// The most that may stay behind of it: file systems keep journals, and the pool gives back whole blocks.
const LEFT_MIB: u64 = 8;
/// The pool gives space back in the background.
const SPACE_AT_MOST: Duration = Duration::from_secs(30);

/// How to make, mount and check a file system.
pub(super) struct FileSystem {
    /// The kernel's name for it.
    kind: &'static str,
    make: &'static str,
    check: &'static str,
    /// The option with which it gives back what it does not use: Linux' NTFS heeds `fstrim` only with it.
    trim: &'static str,
}

pub(super) const EXT4: FileSystem =
    FileSystem { kind: "ext4", make: "mke2fs -q -t ext4 -F", check: "e2fsck -f -n", trim: "" };
pub(super) const XFS: FileSystem = FileSystem { kind: "xfs", make: "mkfs.xfs -q -f", check: "xfs_repair -n", trim: "" };
pub(super) const NTFS: FileSystem =
    FileSystem { kind: "ntfs3", make: "mkntfs -q -Q -F", check: "ntfsfix --no-action", trim: "-o discard" };

/// The value of the digests' keys.
pub(super) const CRC32C: &str = "CRC32C";
pub(super) const NONE: &str = "None";

/// Files are the same after they were unmounted, and after a logout.
pub(super) fn keeps_files(stage: &mut Stage, file_system: &FileSystem, digest: &str) -> anyhow::Result<String> {
    let FileSystem { kind, make, check, .. } = file_system;
    let number = stage.mapped_lun(LUN_SIZE)?.number;
    let guest = stage.guest();
    guest.run(&format!("log_in {digest} {digest}"))?;
    let disk = guest.run(&format!("disk_of {number}"))?;
    guest.run(&format!("{make} {disk} >&2"))?;
    guest.run(&format!("mount -t {kind} {disk} /mnt/a"))?;
    guest.run("fill /mnt/a; hashes /mnt/a >/run/hashes; umount /mnt/a")?;
    guest.run(&format!("{check} {disk} >&2"))?;
    guest.run(&format!("mount -t {kind} {disk} /mnt/a; compare /mnt/a; umount /mnt/a"))?;
    guest.run(&format!("log_out; log_in {digest} {digest}"))?;
    let disk = guest.run(&format!("disk_of {number}"))?;
    guest.run(&format!("mount -t {kind} {disk} /mnt/a; compare /mnt/a"))?;
    let files = guest.run("find /mnt/a -type f | wc -l")?;
    guest.run(&format!("umount /mnt/a; {check} {disk} >&2"))?;
    Ok(format!("{files} files with equal hashes after unmounting and after a logout, and the file system is clean"))
}

/// What `fstrim` trims comes back to the pool.
pub(super) fn is_trimmed(stage: &mut Stage, file_system: &FileSystem) -> anyhow::Result<String> {
    let FileSystem { kind, make, check, trim } = file_system;
    let number = stage.mapped_lun(LUN_SIZE)?.number;
    let guest = stage.guest();
    guest.run(&format!("log_in {NONE} {NONE}"))?;
    let disk = guest.run(&format!("disk_of {number}"))?;
    guest.run(&format!(
        "{make} {disk} >&2; mount -t {kind} {trim} {disk} /mnt/a; fill /mnt/a; hashes /mnt/a >/run/hashes; sync"
    ))?;
    let empty = stage.used_bytes()?;
    let written = format!("head -c {TRIMMED_MIB}M /dev/urandom >/mnt/a/trimmed; sync");
    stage.guest().run(&written)?;
    let full = stage.used_bytes()?;
    ensure!(
        full >= empty + ((TRIMMED_MIB - LEFT_MIB) << 20),
        "{TRIMMED_MIB} MiB were written: {empty} bytes before, {full} after"
    );
    stage.guest().run("rm /mnt/a/trimmed; sync")?;
    let said = stage.guest().run("fstrim -v /mnt/a")?;
    let expected = full - ((TRIMMED_MIB - LEFT_MIB) << 20);
    let what = format!("the pool has {expected} bytes in use or less, after {full} before fstrim said: {said}");
    let used = wait_until(&what, SPACE_AT_MOST, || Ok(Some(stage.used_bytes()?).filter(|used| *used <= expected)))?;
    let guest = stage.guest();
    guest.run(&format!("umount /mnt/a; {check} {disk} >&2; mount -t {kind} {disk} /mnt/a; compare /mnt/a"))?;
    let mib = |bytes: u64| bytes >> 20;
    Ok(format!(
        "the pool went from {} to {} and to {} MiB; other files are as they were",
        mib(empty),
        mib(full),
        mib(used)
    ))
}
