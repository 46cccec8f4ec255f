//! `cargo xtask soak`: the store's model and crash tests with many more steps.

use crate::command::cargo;

/// The variable by which the store's tests multiply their steps.
const FACTOR: &str = "LUNSHADOW_SOAK_FACTOR";

/// Runs the store's tests with `factor` times their usual number of steps.
pub(crate) fn run(factor: u32) -> anyhow::Result<()> {
    crate::command::run(cargo(&["test", "--release", "--package", "lunshadow-store"]).env(FACTOR, factor.to_string()))
}
