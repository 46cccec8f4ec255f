//! Programs that the file names, for what the suite cannot do itself.

use std::process::{Command, Output, Stdio};

use anyhow::{Context as _, bail, ensure};

/// Runs a program with its arguments, and waits for it. `task` is what it is there for.
pub(crate) fn run(words: &[String], task: &str) -> anyhow::Result<()> {
    output(words, task).map(drop)
}

/// The same, and what it prints.
pub(crate) fn output(words: &[String], task: &str) -> anyhow::Result<Vec<u8>> {
    let [program, arguments @ ..] = words else { bail!("the file does not say what {task}") };
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stderr(Stdio::null());
    let Output { status, stdout, .. } =
        command.output().with_context(|| format!("cannot start {program}, which {task}"))?;
    ensure!(status.success(), "{program}, which {task}, failed: {status}");
    Ok(stdout)
}
