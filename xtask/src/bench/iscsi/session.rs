//! What is measured of one target in one round, in this order.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use crate::bench::engine::{Load, Pattern, Rate, Until};
use crate::bench::fio;
use crate::bench::report::Figures;

use super::target::Served;

pub(super) const ONE: &str = "One session";
pub(super) const MANY: &str = "Eight sessions at once";
pub(super) const SHADOWS: &str = "With a shadow copy every second";

const SESSIONS: u32 = 8;
const SHADOW_EVERY: Duration = Duration::from_secs(1);
/// How much longer than others a load runs that is to see several shadow copies.
pub(super) const SHADOW_LOADS: f64 = 1.5;
/// Whether shadow copies are taken, turn by turn: what changes meanwhile, as the mood of the machine and how full the pool is, weighs on both.
const SHADOW_TURNS: [bool; 4] = [false, true, true, false];

struct Case {
    label: &'static str,
    pattern: Pattern,
    block_bytes: u64,
    depth: u32,
    flush: bool,
}

const fn case(label: &'static str, pattern: Pattern, block_bytes: u64, depth: u32) -> Case {
    Case { label, pattern, block_bytes, depth, flush: false }
}

const CASES: [Case; 9] = [
    case("4 KiB random read, QD1", Pattern::RandomRead, 4096, 1),
    case("4 KiB random read, QD32", Pattern::RandomRead, 4096, 32),
    case("4 KiB random write, QD1", Pattern::RandomWrite, 4096, 1),
    case("4 KiB random write, QD32", Pattern::RandomWrite, 4096, 32),
    Case { label: "4 KiB random write, QD1, flushed", flush: true, ..case("", Pattern::RandomWrite, 4096, 1) },
    case("64 KiB sequential read, QD8", Pattern::Read, 65_536, 8),
    case("64 KiB sequential write, QD8", Pattern::Write, 65_536, 8),
    case("1 MiB sequential read, QD8", Pattern::Read, 1 << 20, 8),
    case("1 MiB sequential write, QD8", Pattern::Write, 1 << 20, 8),
];

/// One target in one round.
pub(super) struct Session<'a> {
    pub(super) served: &'a Served,
    pub(super) name: &'static str,
    pub(super) seconds: f64,
    pub(super) figures: &'a mut Figures,
    pub(super) stopped: &'a AtomicBool,
}

impl Session<'_> {
    pub(super) fn run(&mut self) -> anyhow::Result<()> {
        for case in &CASES {
            let rate = self.load(case, 1, self.seconds)?;
            self.note(ONE, case, rate, "");
        }
        for case in CASES.iter().filter(|case| case.depth == 32) {
            let rate = self.load(case, SESSIONS, self.seconds)?;
            self.note(MANY, case, rate, " each");
        }
        if self.served.daemon().is_some() {
            self.with_shadows()?;
        }
        Ok(())
    }

    /// The same load by turns without and with shadow copies that are taken meanwhile, all of which stay.
    fn with_shadows(&mut self) -> anyhow::Result<()> {
        for case in CASES.iter().filter(|case| case.depth == 32) {
            let seconds = self.seconds * SHADOW_LOADS;
            let (mut without, mut with) = (0.0, 0.0);
            for has_shadows in SHADOW_TURNS {
                let rate =
                    if has_shadows { self.load_with_shadows(case, seconds)? } else { self.load(case, 1, seconds)? };
                // Each has two turns.
                *if has_shadows { &mut with } else { &mut without } += rate.operations_per_s / 2.0;
            }
            let mut add = |how, figure| self.figures.add(SHADOWS, &format!("{}{how}", case.label), self.name, figure);
            add(", without, IOPS", without);
            add(", IOPS", with);
            add(", part of that without", with / without);
        }
        Ok(())
    }

    fn load_with_shadows(&self, case: &Case, seconds: f64) -> anyhow::Result<Rate> {
        let daemon = self.served.daemon().context("only ours takes shadow copies")?;
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let shadows = scope.spawn(|| -> anyhow::Result<()> {
                while !over.load(Ordering::Relaxed) {
                    let began = Instant::now();
                    Served::take_shadow(daemon)?;
                    std::thread::sleep(SHADOW_EVERY.saturating_sub(began.elapsed()));
                }
                Ok(())
            });
            let rate = self.load(case, 1, seconds);
            over.store(true, Ordering::Relaxed);
            shadows.join().map_err(|_| anyhow::anyhow!("taking shadow copies panicked"))??;
            rate
        })
    }

    fn load(&self, case: &Case, sessions: u32, seconds: f64) -> anyhow::Result<Rate> {
        ensure!(!self.stopped.load(Ordering::Relaxed), "it was interrupted");
        let Case { pattern, block_bytes, depth, flush, .. } = *case;
        let load = Load { pattern, block_bytes, depth, flush, until: Until::Seconds(seconds) };
        fio::run_in_sessions(&self.served.target(), self.served.lun_bytes(), &load, sessions)
    }

    fn note(&mut self, section: &str, case: &Case, rate: Rate, how: &str) {
        let label = case.label;
        if case.block_bytes == 4096 {
            self.figures.add(section, &format!("{label}{how}, IOPS"), self.name, rate.operations_per_s);
            if section == ONE && !case.flush {
                self.figures.add(section, &format!("{label}{how}, p99, µs"), self.name, rate.p99_us);
            }
        } else {
            self.figures.add(section, &format!("{label}{how}, MB/s"), self.name, rate.bytes_per_s / 1e6);
        }
    }
}
