//! The LUNs that a guest sees change while it is logged in.

use std::time::Duration;

use anyhow::{Context, ensure};

use super::file_systems::NONE;
use super::guest::Guest;
use super::stage::{FIRST, Mapped, Stage, expect, wait_until};

const LUN_SIZE: &str = "64MiB";
const LUN_SECTORS: &str = "131072";
const GROWN_SIZE: &str = "160MiB";
const GROWN_SECTORS: &str = "327680";

/// What Linux says of REPORTED LUNS DATA HAS CHANGED (SPC-6, ASC/ASCQ 3F/0E).
const LUNS_CHANGED: &str = "LUN assignments on this target have changed";
/// What Linux says of CAPACITY DATA HAS CHANGED (2A/09).
const CAPACITY_CHANGED: &str = "Capacity data has changed";

/// The array tells sessions of a change after it has answered the administrator.
const TOLD_AT_MOST: Duration = Duration::from_secs(10);

/// A LUN that is mapped to the host of a session is there after a unit attention and a rescan.
pub(super) fn appears(stage: &mut Stage) -> anyhow::Result<String> {
    let disk = logged_in(stage)?.1;
    stage.guest().run("dmesg -c >/dev/null")?;
    let name = stage.make_lun(LUN_SIZE)?;
    let number = stage.map(&name, FIRST)?;
    stage.guest().refuses(&format!("disk_tries=1; disk_of {number}"))?;
    is_told(stage.guest(), &disk, LUNS_CHANGED)?;
    let guest = stage.guest();
    guest.run("rescan")?;
    let new = guest.run(&format!("disk_of {number}"))?;
    ensure!(new != disk, "the new LUN is the disk of the old one");
    guest.run(&format!("write_letter {new} N"))?;
    expect("the new LUN holds", &guest.run(&format!("letter_at {new}"))?, "N")?;
    expect("the old LUN holds", &guest.run(&format!("letter_at {disk}"))?, "O")?;
    Ok("told of it by a unit attention, found by a rescan, written and read; the LUN before is as it was".to_owned())
}

/// A LUN that is taken away from the host of a session is gone at once.
pub(super) fn disappears(stage: &mut Stage) -> anyhow::Result<String> {
    let (first, disk) = logged_in(stage)?;
    let second = stage.mapped_lun(LUN_SIZE)?;
    let guest = stage.guest();
    guest.run("rescan")?;
    let other = guest.run(&format!("disk_of {}", second.number))?;
    guest.run(&format!("write_letter {other} N; dmesg -c >/dev/null"))?;
    let host = guest.name;
    stage.array.ask(&["lun", "unmap", &first.name, host])?;
    is_told(stage.guest(), &other, LUNS_CHANGED)?;
    let guest = stage.guest();
    guest.refuses(&format!("letter_at {disk}"))?;
    guest.refuses(&format!("write_letter {disk} X"))?;
    guest.run(&format!("echo 1 >/sys/block/{}/device/delete; rescan", base_name(&disk)))?;
    guest.refuses(&format!("disk_tries=5; disk_of {}", first.number))?;
    expect("the other LUN holds", &guest.run(&format!("letter_at {other}"))?, "N")?;
    Ok("told of it by a unit attention, neither read nor written any more, not found by a rescan; the other LUN is as it was".to_owned())
}

/// A LUN that grows is longer after a unit attention and a rescan, and so is the file system on it, which stays mounted.
pub(super) fn grows(stage: &mut Stage) -> anyhow::Result<String> {
    let (Mapped { name, .. }, disk) = logged_in(stage)?;
    let guest = stage.guest();
    guest.run(&format!(
        "mke2fs -q -t ext4 -F {disk} >&2; mount -t ext4 {disk} /mnt/a; fill /mnt/a; hashes /mnt/a >/run/hashes"
    ))?;
    let sectors = format!("cat /sys/block/{}/size", base_name(&disk));
    expect("the LUN's length in sectors", &guest.run(&sectors)?, LUN_SECTORS)?;
    guest.run("sync; dmesg -c >/dev/null")?;
    stage.array.ask(&["lun", "grow", &name, "--size", GROWN_SIZE])?;
    is_told(stage.guest(), &disk, CAPACITY_CHANGED)?;
    let guest = stage.guest();
    guest.run("rescan")?;
    expect("the LUN's length in sectors", &guest.run(&sectors)?, GROWN_SECTORS)?;
    guest.run(&format!(
        "resize2fs {disk} >&2; head -c 80M /dev/urandom >/mnt/a/more; sha256sum /mnt/a/more >/run/more"
    ))?;
    guest.run(&format!(
        "umount /mnt/a; e2fsck -f -n {disk} >&2; mount -t ext4 {disk} /mnt/a; sha256sum -c /run/more >&2"
    ))?;
    guest.run("rm /mnt/a/more; compare /mnt/a")?;
    Ok(format!(
        "told of it by a unit attention, {GROWN_SIZE} after a rescan; ext4 grew with it and holds what it held, and more"
    ))
}

/// A LUN full of the letter O at its beginning, and its disk.
fn logged_in(stage: &mut Stage) -> anyhow::Result<(Mapped, String)> {
    let lun = stage.mapped_lun(LUN_SIZE)?;
    let guest = stage.guest();
    guest.run(&format!("log_in {NONE} {NONE}"))?;
    let disk = guest.run(&format!("disk_of {}", lun.number))?;
    guest.run(&format!("write_letter {disk} O"))?;
    Ok((lun, disk))
}

/// Commands to a disk are answered with a unit attention sooner or later, which the kernel speaks of.
fn is_told(guest: &mut Guest, disk: &str, said: &str) -> anyhow::Result<()> {
    let ask = format!("dd if={disk} of=/dev/null bs=4096 count=1 iflag=direct status=none; kernel_said '{said}'");
    wait_until(
        &format!("the kernel says \"{said}\""),
        TOLD_AT_MOST,
        || Ok((guest.ask(&ask)?.status == 0).then_some(())),
    )
    .context("no unit attention came")
}

fn base_name(disk: &str) -> &str {
    disk.trim_start_matches("/dev/")
}
