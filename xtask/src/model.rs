//! `cargo xtask model`: the life cycle and the array's protocol, explored in sizes that CI has no time for.

use clap::Args;

use crate::command::{cargo, run};

/// What goes to the search as it is; `cargo xtask model -- --help` lists it.
#[derive(Debug, Default, Args)]
pub(crate) struct ModelArgs {
    /// Bounds of the search, after `--`
    #[arg(last = true)]
    bounds: Vec<String>,
}

/// Builds the search for speed and runs it.
pub(crate) fn explore(arguments: &ModelArgs) -> anyhow::Result<()> {
    run(cargo(&["run", "--release", "--package", "lunshadow-model-checking", "--"]).args(&arguments.bounds))
}
