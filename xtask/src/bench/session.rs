//! What is measured of one engine in one round, in this order.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::ensure;

use super::engine::{Engine, Load, Pattern, Until};
use super::report::Figures;
use super::store::StoreArgs;

/// How many snapshots are many.
pub(super) const SNAPSHOTS: usize = 64;
/// How many latencies of snapshots a figure is the median of.
const LATENCIES: usize = 10;
/// So often, some blocks are overwritten between the many snapshots.
const SNAPSHOTS_BETWEEN_WRITES: usize = 8;
const GROUPS: [u32; 3] = [1, 16, 64];

pub(super) const SMALL: u64 = 4096;
pub(super) const BIG: u64 = 1 << 20;
pub(super) const BIG_DEPTH: u32 = 8;

pub(super) const BEFORE: &str = "Before a snapshot";
pub(super) const AFTER: &str = "Right after a snapshot";
pub(super) const MANY: &str = "With 64 snapshots";
pub(super) const OTHER: &str = "Snapshots, space, order";

/// A load of each state, and whether its latency is reported too.
struct Case {
    label: &'static str,
    pattern: Pattern,
    block_bytes: u64,
    depth: u32,
    flush: bool,
    latency: bool,
}

const fn small(label: &'static str, pattern: Pattern, depth: u32, flush: bool) -> Case {
    Case { label, pattern, block_bytes: SMALL, depth, flush, latency: !flush }
}

const fn big(label: &'static str, pattern: Pattern) -> Case {
    Case { label, pattern, block_bytes: BIG, depth: BIG_DEPTH, flush: false, latency: false }
}

const CASES: [Case; 8] = [
    small("4 KiB random write, QD32", Pattern::RandomWrite, 32, false),
    small("4 KiB random write, QD32, flushed", Pattern::RandomWrite, 32, true),
    small("4 KiB random write, QD1", Pattern::RandomWrite, 1, false),
    small("4 KiB random write, QD1, flushed", Pattern::RandomWrite, 1, true),
    small("4 KiB random read, QD32", Pattern::RandomRead, 32, false),
    small("4 KiB random read, QD1", Pattern::RandomRead, 1, false),
    big("1 MiB sequential write", Pattern::Write),
    big("1 MiB sequential read", Pattern::Read),
];

/// One engine in one round.
pub(super) struct Session<'a> {
    pub(super) arguments: &'a StoreArgs,
    pub(super) engine: &'a mut dyn Engine,
    pub(super) name: &'static str,
    pub(super) figures: &'a mut Figures,
    pub(super) stopped: &'a AtomicBool,
}

impl Session<'_> {
    pub(super) fn run(&mut self, has_snapshots: bool) -> anyhow::Result<()> {
        self.once(Pattern::Write, BIG, BIG_DEPTH, self.lun_bytes())?;
        if let Some(metadata) = self.engine.metadata_bytes()? {
            self.note(OTHER, "metadata, % of mapped data", percent(metadata, self.lun_bytes()));
        }
        self.cases(BEFORE, false)?;
        let load = self.timed(Pattern::RandomWrite, SMALL, 32, false);
        if let Some((p50_us, p99_us)) = self.engine.flushes_under_load(&load)? {
            self.note(OTHER, "flush of 1 write, 32 others in flight, p50, ms", p50_us / 1e3);
            self.note(OTHER, "flush of 1 write, 32 others in flight, p99, ms", p99_us / 1e3);
        }
        if has_snapshots {
            self.snapshots()?;
        }
        self.once(Pattern::RandomWrite, SMALL, 32, self.lun_bytes())?;
        let read = self.timed(Pattern::Read, BIG, BIG_DEPTH, false);
        let rate = self.engine.run(&read)?;
        self.note(OTHER, "1 MiB sequential read right after random overwrite, MB/s", rate.bytes_per_s / 1e6);
        if let Some(took) = self.engine.rest()? {
            self.note(OTHER, "putting all of it in order, ms", millis(took));
        }
        let rate = self.engine.run(&read)?;
        self.note(OTHER, "1 MiB sequential read after random overwrite and a rest, MB/s", rate.bytes_per_s / 1e6);
        if has_snapshots {
            self.latencies("snapshot of 1 LUN, overwritten at random, ms")?;
        }
        if let Some(states) = self.engine.snapshots_by_turns(self.arguments.group_times)? {
            for (state, us) in states {
                self.note(OTHER, &format!("snapshot of 1 LUN, by turns with others: {state}, ms"), us / 1e3);
            }
        }
        for luns in GROUPS {
            self.check_stopped()?;
            if let Some(group) = self.engine.groups(luns, self.arguments.group_times)? {
                let figures = [("p50", group.p50_us), ("p99", group.p99_us), ("longest", group.longest_us)];
                for (part, us) in figures {
                    self.note(OTHER, &format!("group snapshot under load, LUNs: {luns}, {part}, ms"), us / 1e3);
                }
            }
        }
        Ok(())
    }

    fn snapshots(&mut self) -> anyhow::Result<()> {
        self.latencies("snapshot of 1 LUN, written in order, ms")?;
        self.cases(AFTER, true)?;
        self.engine.delete_snapshots()?;
        let mut latencies = self.some_snapshots(SNAPSHOTS)?;
        let last = latencies.split_off(SNAPSHOTS - LATENCIES);
        self.note_latencies("snapshot of 1 LUN that has 64, ms", last);
        self.cases(MANY, false)?;
        let deletion = self.engine.delete_snapshots()?;
        self.note(OTHER, "deletion of 64 snapshots, answered, ms", millis(deletion.answered));
        self.note(OTHER, "deletion of 64 snapshots, space back, ms", millis(deletion.space_back));
        self.space()
    }

    /// Snapshots with some blocks overwritten now and then, and what each took.
    fn some_snapshots(&mut self, count: usize) -> anyhow::Result<Vec<Duration>> {
        let mut latencies = Vec::new();
        for number in 0..count {
            self.check_stopped()?;
            if number % SNAPSHOTS_BETWEEN_WRITES == 0 {
                self.once(Pattern::RandomWrite, SMALL, 32, self.lun_bytes() / 512)?;
            }
            latencies.extend(self.engine.snapshot()?);
        }
        Ok(latencies)
    }

    /// What a snapshot costs in space when a tenth of the LUN is overwritten at random, and in time to delete.
    fn space(&mut self) -> anyhow::Result<()> {
        let before = self.engine.used_bytes()?;
        self.engine.snapshot()?;
        let overwritten = self.lun_bytes() / 10 / SMALL * SMALL;
        self.once(Pattern::RandomWrite, SMALL, 32, overwritten)?;
        let growth = self.engine.used_bytes()?.saturating_sub(before);
        self.note(OTHER, "space taken after 10 % are overwritten, % of what was written", percent(growth, overwritten));
        let deletion = self.engine.delete_snapshots()?;
        self.note(OTHER, "deletion of 1 snapshot after it, answered, ms", millis(deletion.answered));
        self.note(OTHER, "deletion of 1 snapshot after it, space back, ms", millis(deletion.space_back));
        Ok(())
    }

    /// All cases of a state; with a fresh snapshot before each, or as it is.
    fn cases(&mut self, section: &str, fresh_snapshot: bool) -> anyhow::Result<()> {
        for case in &CASES {
            self.check_stopped()?;
            if fresh_snapshot {
                // A fast engine can overwrite the whole LUN in one case; snapshots of all of them would not find room.
                self.engine.delete_snapshots()?;
            }
            self.engine.rest()?;
            if fresh_snapshot {
                self.engine.snapshot()?;
            }
            let rate = self.engine.run(&self.timed(case.pattern, case.block_bytes, case.depth, case.flush))?;
            if case.block_bytes == BIG {
                self.note(section, &format!("{}, MB/s", case.label), rate.bytes_per_s / 1e6);
            } else {
                self.note(section, &format!("{}, IOPS", case.label), rate.operations_per_s);
            }
            if case.latency {
                self.note(section, &format!("{}, p99, µs", case.label), rate.p99_us);
            }
        }
        Ok(())
    }

    /// Snapshots one after another, all deleted afterwards.
    fn latencies(&mut self, label: &str) -> anyhow::Result<()> {
        let mut latencies = Vec::new();
        for _ in 0..LATENCIES {
            latencies.extend(self.engine.snapshot()?);
        }
        self.note_latencies(label, latencies);
        self.engine.delete_snapshots().map(drop)
    }

    fn note_latencies(&mut self, label: &str, mut latencies: Vec<Duration>) {
        latencies.sort_unstable();
        if let Some(median) = latencies.get(latencies.len() / 2) {
            self.note(OTHER, label, millis(*median));
        }
    }

    fn note(&mut self, section: &str, label: &str, value: f64) {
        self.figures.add(section, label, self.name, value);
    }

    fn timed(&self, pattern: Pattern, block_bytes: u64, depth: u32, flush: bool) -> Load {
        Load { pattern, block_bytes, depth, flush, until: Until::Seconds(self.arguments.seconds) }
    }

    /// Reads or writes so many bytes of the LUN, no place twice.
    fn once(&mut self, pattern: Pattern, block_bytes: u64, depth: u32, bytes: u64) -> anyhow::Result<()> {
        self.check_stopped()?;
        let load = Load { pattern, block_bytes, depth, flush: false, until: Until::Bytes(bytes) };
        self.engine.run(&load).map(drop)
    }

    fn lun_bytes(&self) -> u64 {
        self.arguments.lun_mib << 20
    }

    fn check_stopped(&self) -> anyhow::Result<()> {
        ensure!(!self.stopped.load(Ordering::Relaxed), "it was interrupted");
        Ok(())
    }
}

fn percent(part_bytes: u64, whole_bytes: u64) -> f64 {
    let mib = |bytes: u64| f64::from(u32::try_from(bytes >> 12).unwrap_or(u32::MAX));
    100.0 * mib(part_bytes) / mib(whole_bytes)
}

pub(super) fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
