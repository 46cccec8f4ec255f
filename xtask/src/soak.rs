//! `cargo xtask soak`: the store's tests with many more and much longer histories than CI has time for, the killed daemon, logins without end,
//! storage in trouble, and fuzzing.

use std::process::Command;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use clap::{Args, ValueEnum};

use crate::command::{cargo, run};
use crate::fuzz::{self, FuzzArgs};
use crate::model::{self, ModelArgs};

/// How much to do. The tests know these as environment variables, by which a failure can be repeated too.
#[derive(Debug, Args)]
pub(crate) struct SoakArgs {
    /// The length of each history
    #[arg(long, default_value_t = 300)]
    steps: u32,
    /// How many histories are cut by power failures at every point, and have a fault at every operation
    #[arg(long, default_value_t = 5)]
    seeds: u32,
    /// How many histories are compared with the model
    #[arg(long, default_value_t = 10_000)]
    cases: u32,
    /// How many group snapshots are taken under dependent writes
    #[arg(long, default_value_t = 1000)]
    snapshots: u32,
    /// How many LUNs the pool with very many shadow LUNs has
    #[arg(long, default_value_t = 512)]
    sources: u32,
    /// How many shadow LUNs each of them has
    #[arg(long, default_value_t = 512)]
    shadows: u32,
    /// How many orders of threads are explored
    #[arg(long, default_value_t = 20_000)]
    orders: u32,
    /// How often the daemon is killed
    #[arg(long, default_value_t = 100)]
    kills: u32,
    /// How many logins must leave nothing behind
    #[arg(long, default_value_t = 10_000)]
    logins: u32,
    /// How many histories of storage that hangs, fails and is full initiators live through
    #[arg(long, default_value_t = 200)]
    troubles: u32,
    /// How long each fuzz target runs
    #[arg(long, default_value_t = 120)]
    fuzz_seconds: u32,
    /// The first seed of all that is not chosen by proptest; the time by default
    #[arg(long)]
    seed: Option<u64>,
    /// Only this part; may be repeated
    #[arg(long = "part", value_name = "PART")]
    parts: Vec<Part>,
    /// Only the parts of the store's tests whose names have this in them
    #[arg(long)]
    only: Option<String>,
}

/// What can be run by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Histories of the pool: compared with the model, cut by power failures, with faults, under dependent writes
    Store,
    /// The orders of its threads
    Orders,
    /// The daemon, killed under load
    Kills,
    /// Logins
    Logins,
    /// Initiators while storage is in trouble
    Trouble,
    /// Planted faults of a provider
    Provider,
    /// States of shadow sets
    Model,
    /// Fuzzing
    Fuzz,
}

impl SoakArgs {
    fn wants(&self, part: Part) -> bool {
        if self.only.is_some() { part == Part::Store } else { self.parts.is_empty() || self.parts.contains(&part) }
    }
}

/// The exploration of orders of threads.
pub(crate) fn exploration() -> Command {
    cargo(&["test", "--package", "lunshadow-store", "--features", "explore", "--lib", "explored"])
}

/// Runs all of it, and says how long each part took.
pub(crate) fn run_store(arguments: &SoakArgs) -> anyhow::Result<()> {
    let since_1970 = || SystemTime::now().duration_since(UNIX_EPOCH).map(|duration| duration.as_secs());
    let seed = arguments.seed.map_or_else(since_1970, Ok).context("the clock is before 1970")?;
    println!("first seed: {seed}");
    let mut store =
        cargo(&["test", "--release", "--package", "lunshadow-store", "--test", "store", "--test", "images"]);
    store
        .args(&arguments.only)
        .env("LUNSHADOW_STORE_STEPS", arguments.steps.to_string())
        .env("LUNSHADOW_STORE_SEEDS", arguments.seeds.to_string())
        .env("LUNSHADOW_STORE_SEED", seed.to_string())
        .env("LUNSHADOW_STORE_SNAPSHOTS", arguments.snapshots.to_string())
        .env("LUNSHADOW_STORE_SOURCES", arguments.sources.to_string())
        .env("LUNSHADOW_STORE_SHADOWS", arguments.shadows.to_string())
        .env("PROPTEST_CASES", arguments.cases.to_string());
    let part = |part: Part, name: &str, work: &mut dyn FnMut() -> anyhow::Result<()>| {
        if arguments.wants(part) { timed(name, work) } else { Ok(()) }
    };
    part(Part::Store, "histories, power cuts, faults, dependent writes", &mut || run(&mut store))?;
    part(Part::Orders, "orders of threads", &mut || {
        let mut explore = exploration();
        explore.env("LUNSHADOW_EXPLORE_ORDERS", arguments.orders.to_string());
        run(explore.env("LUNSHADOW_EXPLORE_SEED", seed.to_string()))
    })?;
    part(Part::Kills, "kills of the daemon", &mut || {
        let mut kill = cargo(&["test", "--release", "--package", "lunshadow", "--test", "kill", "--", "--nocapture"]);
        kill.env("LUNSHADOW_KILL_ROUNDS", arguments.kills.to_string());
        run(kill.env("LUNSHADOW_KILL_SEED", seed.to_string()))
    })?;
    part(Part::Logins, "logins", &mut || {
        let mut logins = cargo(&["test", "--release", "--package", "lunshadow-target", "--test", "logins"]);
        run(logins.env("LUNSHADOW_LOGINS", arguments.logins.to_string()))
    })?;
    part(Part::Trouble, "storage in trouble", &mut || {
        let mut trouble =
            cargo(&["test", "--release", "--package", "lunshadow-target", "--test", "target", "troubled"]);
        trouble.env("LUNSHADOW_TROUBLE_SEED", seed.to_string());
        run(trouble.env("LUNSHADOW_TROUBLE_SEEDS", arguments.troubles.to_string()))
    })?;
    part(Part::Provider, "planted faults of a provider", &mut || {
        let mut faults = cargo(&["test", "--release", "--package", "lunshadow", "--test", "conform"]);
        run(faults.env("LUNSHADOW_CONFORM_ALL", "1"))
    })?;
    part(Part::Model, "states of shadow sets", &mut || model::explore(&ModelArgs::default()))?;
    part(Part::Fuzz, "fuzzing", &mut || fuzz::run_targets(&FuzzArgs { target: None, seconds: arguments.fuzz_seconds }))
}

fn timed(name: &str, work: &mut dyn FnMut() -> anyhow::Result<()>) -> anyhow::Result<()> {
    println!("\n== {name}");
    let begin = Instant::now();
    work()?;
    println!("== {name}: {} s", begin.elapsed().as_secs());
    Ok(())
}
