//! Two ways to a LUN, by two portal groups, and what the kernel makes of their states (`scsi_dh_alua`).

use std::time::Duration;

use anyhow::{Context, ensure};

use super::file_systems::NONE;
use super::guest::{Guest, HOST_ADDRESS};
use super::stage::{SECOND_GROUP, Stage, expect, wait_until};

const LUN_SIZE: &str = "64MiB";

/// What the kernel calls states (`access_state` of a SCSI device in sysfs).
const OPTIMIZED: &str = "active/optimized";
const STANDBY: &str = "standby";

/// The kernel asks for the states again when a command is answered with ASYMMETRIC ACCESS STATE CHANGED, and does so when it has time.
const NOTICED_AT_MOST: Duration = Duration::from_secs(30);

/// While an administrator has a portal group be on standby, the kernel takes that from its path, and the other path goes on.
pub(super) fn stand_by(stage: &mut Stage) -> anyhow::Result<String> {
    let held = stand_by_and_back(stage);
    let group = SECOND_GROUP.to_string();
    stage.array.ask(&["portal", "set", &group, "optimized"])?;
    held
}

fn stand_by_and_back(stage: &mut Stage) -> anyhow::Result<String> {
    let number = stage.mapped_lun(LUN_SIZE)?.number;
    let group = SECOND_GROUP.to_string();
    let port = stage.array.portals().get(1).context("it has a second portal")?.port();
    let guest = stage.guest();
    guest.run(&format!("log_in {NONE} {NONE}"))?;
    let first = guest.run(&format!("disk_of {number}"))?;
    guest.run(&format!("portal={HOST_ADDRESS}:{port},{group} log_in {NONE} {NONE}"))?;
    let second = guest.run(&format!("disk_of {number} {first}"))?;
    for disk in [&first, &second] {
        expect(&format!("{disk} is"), &state_of(guest, disk)?, OPTIMIZED)?;
    }
    guest.run(&format!("write_letter {first} A"))?;
    expect("by the second path there is", &guest.run(&format!("letter_at {second}"))?, "A")?;

    stage.array.ask(&["portal", "set", &group, "standby"])?;
    let guest = stage.guest();
    becomes(guest, &second, STANDBY)?;
    guest.refuses(&format!("letter_at {second}"))?;
    guest.refuses(&format!("write_letter {second} X"))?;
    guest.run(&format!("write_letter {first} B"))?;
    expect("the first path is", &state_of(guest, &first)?, OPTIMIZED)?;
    let reported = guest.run(&format!("sg_rtpg --decode {first}"))?;
    ensure!(reported.contains("standby"), "sg_rtpg says nothing of standby: {reported}");

    stage.array.ask(&["portal", "set", &group, "optimized"])?;
    let guest = stage.guest();
    // The kernel sends nothing by a path on standby; it hears of the change by the other one.
    becomes_by(guest, &first, &second, OPTIMIZED)?;
    expect("by the second path there is", &guest.run(&format!("letter_at {second}"))?, "B")?;
    Ok("the kernel is told, asks for the states, and sends nothing by the path on standby until it is told again; the other one goes on"
        .to_owned())
}

fn state_of(guest: &mut Guest, disk: &str) -> anyhow::Result<String> {
    let name = disk.trim_start_matches("/dev/");
    guest.run(&format!("cat /sys/block/{name}/device/access_state"))
}

fn becomes(guest: &mut Guest, disk: &str, state: &str) -> anyhow::Result<()> {
    becomes_by(guest, disk, disk, state)
}

/// A disk gets a state when another one is read, or it itself.
fn becomes_by(guest: &mut Guest, read: &str, disk: &str, state: &str) -> anyhow::Result<()> {
    wait_until(&format!("{disk} is {state}"), NOTICED_AT_MOST, || {
        // It is refused in the moment in which it comes to be on standby.
        guest.ask(&format!("letter_at {read} >&2"))?;
        Ok((state_of(guest, disk)? == state).then_some(()))
    })
}
