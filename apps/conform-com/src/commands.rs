//! Programs that the file names, for what the suite cannot do itself.

use std::process::{Command, Stdio};

use anyhow::{Context as _, bail, ensure};

/// Runs a program with its arguments, and waits for it. `task` is what it is there for.
pub(crate) fn run(words: &[String], task: &str) -> anyhow::Result<()> {
    let [program, arguments @ ..] = words else { bail!("the file does not say what {task}") };
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let status = command.status().with_context(|| format!("cannot start {program}, which {task}"))?;
    ensure!(status.success(), "{program}, which {task}, failed: {status}");
    Ok(())
}
