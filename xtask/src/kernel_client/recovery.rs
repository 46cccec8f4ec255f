//! The array goes away and comes back under load: sessions recover, and nothing is lost that was flushed.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use super::file_systems::CRC32C;
use super::stage::{STOP_AT_MOST, Stage, wait_until};

const LUN_SIZE: &str = "512MiB";

/// How long a host may have to wait for its writes.
const PAUSE_AT_MOST: Duration = Duration::from_secs(30);
/// How long the load may take to get going, or to go on.
const PROGRESS_AT_MOST: Duration = Duration::from_secs(60);
/// How many records and files are flushed before the array goes away, and once more when it is back.
const RECORDS: u32 = 20;
const FILES: u32 = 3;

/// How the array goes away.
#[derive(Debug, Clone, Copy)]
pub(super) enum Way {
    /// It is killed.
    Killed,
    /// It ends in order, and asks initiators to log out.
    Ended,
}

/// Records are appended and files written, each flushed, while the array goes away and comes back.
pub(super) fn survives(stage: &mut Stage, way: Way) -> anyhow::Result<String> {
    let number = stage.mapped_lun(LUN_SIZE)?.number;
    let guest = stage.guest();
    guest.run(&format!("log_in {CRC32C} {CRC32C}"))?;
    let disk = guest.run(&format!("disk_of {number}"))?;
    guest.run(&format!("mke2fs -q -t ext4 -F {disk} >&2; mount -t ext4 {disk} /mnt/a"))?;
    guest.run("head -c 1M /dev/urandom >/run/pattern; : >/run/flushed; : >/run/loaded")?;
    guest.run("background record /mnt/a/records; background load /mnt/a")?;
    let before = progress(stage, Progress { records: RECORDS, files: FILES })?;
    let begin = Instant::now();
    match way {
        Way::Killed => stage.array.kill(),
        Way::Ended => stage.array.stop(STOP_AT_MOST)?,
    }
    stage.array.start()?;
    let away = begin.elapsed();
    progress(stage, Progress { records: before.records + RECORDS, files: before.files + FILES })?;

    let guest = stage.guest();
    guest.run("[[ ! -e /run/write-failed ]]; end_background").context("a write failed")?;
    let flushed = guest.run("cat /run/flushed")?;
    let (records, pause) = records_in(&flushed).with_context(|| format!("no records and times: {flushed}"))?;
    ensure!(pause <= PAUSE_AT_MOST, "writes had to wait for {pause:.1?}");
    guest.run(&format!("umount /mnt/a; log_out; log_in {CRC32C} {CRC32C}"))?;
    let disk = guest.run(&format!("disk_of {number}"))?;
    guest.run(&format!("e2fsck -f -n {disk} >&2; mount -t ext4 {disk} /mnt/a"))?;
    guest.run(&format!("records_are_whole /mnt/a/records {records}; load_is_whole /mnt/a"))?;
    Ok(format!(
        "away for {away:.1?}, writes waited {pause:.1?} at most; all {records} flushed records and all flushed files are there"
    ))
}

/// What the load has flushed so far.
#[derive(Debug, Clone, Copy)]
struct Progress {
    records: u32,
    files: u32,
}

/// Waits until the load has come so far, and answers how far it is.
fn progress(stage: &mut Stage, wanted: Progress) -> anyhow::Result<Progress> {
    let what = format!("the load has flushed {} records and {} files", wanted.records, wanted.files);
    wait_until(&what, PROGRESS_AT_MOST, || {
        let said = stage.guest().run("wc -l </run/flushed; wc -l </run/loaded")?;
        let mut counts = said.lines().map(|line| line.trim().parse::<u32>());
        let mut count = || counts.next().with_context(|| format!("no two numbers: {said}"))?.context("no number");
        let found = Progress { records: count()?, files: count()? };
        Ok((found.records >= wanted.records && found.files >= wanted.files).then_some(found))
    })
}

/// How many records there are, and the longest time between two of them: each line has a number and the time of the guest's clock in seconds.
fn records_in(flushed: &str) -> Option<(u32, Duration)> {
    let mut last = None;
    let mut longest = Duration::ZERO;
    for line in flushed.lines() {
        let (number, seconds) = line.split_once(' ')?;
        let (number, time) = (number.parse().ok()?, Duration::try_from_secs_f64(seconds.parse().ok()?).ok()?);
        if let Some((_, before)) = last {
            longest = longest.max(time.saturating_sub(before));
        }
        last = Some((number, time));
    }
    last.map(|(number, _)| (number, longest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_pause_is_found() {
        let pause = Duration::from_millis(4500);
        assert_eq!(records_in("1 10.00\n2 10.50\n3 15.00\n4 15.10"), Some((4, pause)));
        assert_eq!(records_in("1 10.00"), Some((1, Duration::ZERO)));
    }

    #[test]
    fn what_are_no_records_is_noticed() {
        for text in ["", "1", "one 10.0", "1 ten", "1 -1"] {
            assert_eq!(records_in(text), None, "{text}");
        }
    }
}
