//! `testing/relay` in a process of its own, before the array's control service.

use std::io::{BufRead as _, BufReader, Lines, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, ensure};

/// The process. Dropping it ends it.
pub(super) struct Relay {
    child: Child,
    input: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
    address: String,
}

impl Relay {
    /// Starts it before the array that serves a pool.
    pub(super) fn start(program: &Path, pool: &Path) -> anyhow::Result<Self> {
        let started = Command::new(program).arg(pool).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut child = started.with_context(|| format!("cannot start {}", program.display()))?;
        let input = child.stdin.take().context("the child has a pipe")?;
        let lines = BufReader::new(child.stdout.take().context("the child has a pipe")?).lines();
        let mut relay = Self { child, input, lines, address: String::new() };
        relay.address = relay.line()?;
        Ok(relay)
    }

    /// Where it listens.
    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// Lets the array be in a condition for all who ask through it.
    pub(super) fn set(&mut self, condition: &str) -> anyhow::Result<()> {
        writeln!(self.input, "{condition}").context("the relay has ended")?;
        let said = self.line()?;
        ensure!(said == "done", "the relay says: {said}");
        Ok(())
    }

    fn line(&mut self) -> anyhow::Result<String> {
        self.lines.next().context("the relay has ended")?.context("the relay cannot be heard")
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        // It may have ended by itself.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
