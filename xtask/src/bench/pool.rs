//! Ours: the load generator for pools, driven through pipes.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::Value;

use super::engine::{Deletion, Engine, GroupFigures, Load, Pattern, Rate, Until};
use super::loop_device::{LoopDevice, write_zeros};
use crate::command::wait_at_most;

/// How long the generator may take to end what it was doing.
const END_AT_MOST: Duration = Duration::from_secs(60);

/// A pool with one LUN in a process of its own.
pub(super) struct PoolEngine {
    process: Child,
    commands: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    /// What the pool lies on, unless that is a file. It is let go behind the process.
    _device: Option<LoopDevice>,
}

impl PoolEngine {
    /// A pool on a file in a folder, which is written once before, as the raw file is; with so much memory for data.
    pub(super) fn in_folder(
        generator: &Path,
        folder: &Path,
        capacity_bytes: u64,
        lun_bytes: u64,
        read_cache_bytes: u64,
    ) -> anyhow::Result<Self> {
        let mut command = Command::new(generator);
        command.arg(folder.join("pool")).arg("--preallocate").arg(format!("--read-cache-bytes={read_cache_bytes}"));
        Self::start(command, capacity_bytes, lun_bytes, None)
    }

    /// A pool on a loop device, on a file that is written once before, as those of file systems are.
    pub(super) fn on_device(
        generator: &Path,
        folder: &Path,
        capacity_bytes: u64,
        lun_bytes: u64,
    ) -> anyhow::Result<Self> {
        let file = folder.join("medium");
        write_zeros(&file, capacity_bytes)?;
        let device = LoopDevice::attach(&file)?;
        let mut command = Command::new(generator);
        command.arg(device.path());
        Self::start(command, capacity_bytes, lun_bytes, Some(device))
    }

    fn start(
        mut command: Command,
        capacity_bytes: u64,
        lun_bytes: u64,
        device: Option<LoopDevice>,
    ) -> anyhow::Result<Self> {
        command.arg(format!("--capacity-bytes={capacity_bytes}")).arg(format!("--lun-bytes={lun_bytes}"));
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().context("no load generator")?;
        let (commands, answers) = (process.stdin.take(), process.stdout.take().context("no pipe")?);
        let mut engine = Self { process, commands, answers: BufReader::new(answers), _device: device };
        engine.answer().context("the pool was not made")?;
        Ok(engine)
    }

    fn ask(&mut self, command: &str) -> anyhow::Result<Value> {
        let pipe = self.commands.as_mut().context("the pipe is closed")?;
        writeln!(pipe, "{command}").and_then(|()| pipe.flush()).context("the load generator is gone")?;
        self.answer().with_context(|| format!("the command was \"{command}\""))
    }

    fn answer(&mut self) -> anyhow::Result<Value> {
        let mut line = String::new();
        ensure!(self.answers.read_line(&mut line)? > 0, "the load generator ended");
        serde_json::from_str(&line).with_context(|| format!("the load generator says {line}"))
    }

    fn usage(&mut self, part: &str) -> anyhow::Result<u64> {
        self.ask("usage")?[part].as_u64().context("no such figure")
    }
}

fn figure(answer: &Value, name: &str) -> anyhow::Result<f64> {
    answer[name].as_f64().with_context(|| format!("no {name} in {answer}"))
}

fn duration(answer: &Value, name: &str) -> anyhow::Result<Duration> {
    Ok(Duration::try_from_secs_f64(figure(answer, name)? / 1e6)?)
}

impl Engine for PoolEngine {
    fn run(&mut self, load: &Load) -> anyhow::Result<Rate> {
        let pattern = match load.pattern {
            Pattern::RandomRead => "random-read",
            Pattern::RandomWrite => "random-write",
            Pattern::Read => "read",
            Pattern::Write => "write",
        };
        let Load { block_bytes, depth, .. } = load;
        let flush = if load.flush { "--flush" } else { "" };
        let until = match load.until {
            Until::Seconds(seconds) => format!("--seconds={seconds}"),
            Until::Bytes(bytes) => format!("--bytes={bytes}"),
        };
        let command = format!("load --pattern={pattern} --block-bytes={block_bytes} --depth={depth} {until} {flush}");
        let answer = self.ask(&command)?;
        Ok(Rate {
            operations_per_s: figure(&answer, "operations_per_s")?,
            bytes_per_s: figure(&answer, "bytes_per_s")?,
            p99_us: figure(&answer, "p99_us")?,
        })
    }

    fn snapshot(&mut self) -> anyhow::Result<Option<Duration>> {
        duration(&self.ask("snapshot")?, "taken_us").map(Some)
    }

    fn delete_snapshots(&mut self) -> anyhow::Result<Deletion> {
        let answer = self.ask("delete-snapshots")?;
        Ok(Deletion { answered: duration(&answer, "answered_us")?, space_back: duration(&answer, "space_back_us")? })
    }

    fn used_bytes(&mut self) -> anyhow::Result<u64> {
        self.usage("used_bytes")
    }

    fn metadata_bytes(&mut self) -> anyhow::Result<Option<u64>> {
        self.usage("map_bytes").map(Some)
    }

    fn rest(&mut self) -> anyhow::Result<Option<Duration>> {
        duration(&self.ask("rest")?, "took_us").map(Some)
    }

    fn snapshots_by_turns(&mut self, times: u32) -> anyhow::Result<Option<Vec<(String, f64)>>> {
        let answer = self.ask(&format!("snapshots-by-turns --times={times}"))?;
        let states = answer.as_object().context("no figures")?;
        let figure = |(state, us): (&String, &Value)| Some((state.clone(), us.as_f64()?));
        Ok(Some(states.iter().filter_map(figure).collect()))
    }

    fn groups(&mut self, luns: u32, times: u32) -> anyhow::Result<Option<GroupFigures>> {
        let answer = self.ask(&format!("group --luns={luns} --times={times}"))?;
        Ok(Some(GroupFigures {
            p50_us: figure(&answer, "p50_us")?,
            p99_us: figure(&answer, "p99_us")?,
            longest_us: figure(&answer, "longest_us")?,
        }))
    }
}

impl Drop for PoolEngine {
    fn drop(&mut self) {
        // It ends when there are no more commands, unless it hangs or was in the middle of one.
        drop(self.commands.take());
        if let Err(error) = wait_at_most(&mut self.process, END_AT_MOST) {
            eprintln!("xtask: the load generator: {error:#}");
        }
    }
}
