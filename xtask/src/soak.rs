//! `cargo xtask soak`: the store's model and crash tests with many more and much longer histories than CI has time for.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context;
use clap::Args;

use crate::command::{cargo, run};

/// How much to do. The store's tests know these as environment variables, by which a failure can be repeated too.
#[derive(Debug, Args)]
pub(crate) struct SoakArgs {
    /// The length of each history
    #[arg(long, default_value_t = 300)]
    steps: u32,
    /// How many histories are cut by power failures at every point
    #[arg(long, default_value_t = 20)]
    seeds: u32,
    /// How many histories are compared with the model
    #[arg(long, default_value_t = 500)]
    cases: u32,
    /// The first seed of the histories that are cut; the time by default
    #[arg(long)]
    seed: Option<u64>,
}

/// Runs the store's tests.
pub(crate) fn run_store(arguments: &SoakArgs) -> anyhow::Result<()> {
    let since_1970 = || SystemTime::now().duration_since(UNIX_EPOCH).map(|duration| duration.as_secs());
    let seed = arguments.seed.map_or_else(since_1970, Ok).context("the clock is before 1970")?;
    println!("first seed: {seed}");
    let mut command = cargo(&["test", "--release", "--package", "lunshadow-store", "--test", "store"]);
    command
        .env("LUNSHADOW_STORE_STEPS", arguments.steps.to_string())
        .env("LUNSHADOW_STORE_SEEDS", arguments.seeds.to_string())
        .env("LUNSHADOW_STORE_SEED", seed.to_string())
        .env("PROPTEST_CASES", arguments.cases.to_string());
    run(&mut command)
}
