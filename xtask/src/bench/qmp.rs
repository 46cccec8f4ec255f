//! QEMU's machine protocol, as much of it as a storage daemon is driven with.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;

use anyhow::{Context, bail, ensure};
use serde_json::{Value, json};

/// A connection. Events that come while an answer is waited for are kept.
pub(super) struct Qmp {
    stream: UnixStream,
    lines: BufReader<UnixStream>,
    events: Vec<Value>,
}

impl Qmp {
    pub(super) fn connect(socket: &Path) -> anyhow::Result<Self> {
        let stream = UnixStream::connect(socket).with_context(|| socket.display().to_string())?;
        let lines = BufReader::new(stream.try_clone()?);
        let mut qmp = Self { stream, lines, events: Vec::new() };
        let greeting = qmp.message()?;
        ensure!(greeting["QMP"].is_object(), "it greets with {greeting}");
        qmp.run("qmp_capabilities", json!({}))?;
        Ok(qmp)
    }

    /// Runs a command; what it returns.
    pub(super) fn run(&mut self, command: &str, arguments: Value) -> anyhow::Result<Value> {
        writeln!(self.stream, "{}", json!({ "execute": command, "arguments": arguments }))?;
        loop {
            let mut message = self.message()?;
            if message["event"].is_string() {
                self.events.push(message);
            } else if message["error"].is_object() {
                bail!("{command}: {}", message["error"]);
            } else {
                return Ok(message["return"].take());
            }
        }
    }

    /// Waits until a job has this status, by an event that came since the last wait.
    pub(super) fn wait_for_job(&mut self, job: &str, status: &str) -> anyhow::Result<()> {
        loop {
            for event in std::mem::take(&mut self.events) {
                let data = &event["data"];
                let changed = event["event"] == "JOB_STATUS_CHANGE" && data["id"] == job;
                if changed && data["status"] == status {
                    return Ok(());
                }
                ensure!(!changed || data["status"] != "aborting", "the job {job} failed");
            }
            let message = self.message()?;
            self.events.push(message);
        }
    }

    fn message(&mut self) -> anyhow::Result<Value> {
        let mut line = String::new();
        ensure!(self.lines.read_line(&mut line)? > 0, "the daemon ended the connection");
        serde_json::from_str(&line).with_context(|| format!("the daemon says {line}"))
    }
}
