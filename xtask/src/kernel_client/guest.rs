//! A guest: QEMU with a Linux kernel that carries out what it is told on its second serial port, and says the rest on its console.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};

use crate::command::program;
use crate::peers::QEMU_SYSTEM;

/// Where a guest finds what listens on this machine's loopback address (QEMU's user network).
pub(super) const HOST_ADDRESS: &str = "10.0.2.2";

/// All that QEMU can imitate, less CMPXCHG16B: the flags that QEMU 7.2 leaves behind it make the kernel take a bad pointer.
const PROCESSOR: &str = "max,cx16=off";

/// How long a guest may take until it takes commands. It took 5 s on two processors without KVM.
const BOOT_AT_MOST: Duration = Duration::from_secs(180);
/// How long one command may take. None needs more than a quarter of it.
const COMMAND_AT_MOST: Duration = Duration::from_secs(120);

/// What a guest is made of.
pub(super) struct Image {
    pub(super) kernel: PathBuf,
    pub(super) initramfs: PathBuf,
}

/// A guest that runs. Dropping it ends the machine.
pub(super) struct Guest {
    /// What it is called, as a host of the array too.
    pub(super) name: &'static str,
    /// Everything that it said since it was started.
    pub(super) console: PathBuf,
    machine: Child,
    commands: ChildStdin,
    answers: Receiver<String>,
    asked: u32,
}

/// How a command ended, and what it printed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: u32,
    pub(super) output: String,
}

impl Guest {
    /// Starts a guest, which need not have booted yet.
    pub(super) fn start(
        name: &'static str,
        initiator: &str,
        image: &Image,
        port: u16,
        target: &str,
        folder: &Path,
    ) -> anyhow::Result<Self> {
        let console = folder.join(format!("{name}.txt"));
        // It is read before QEMU has made it.
        fs::write(&console, "").with_context(|| console.display().to_string())?;
        let line = format!(
            "console=ttyS0 panic=-1 loglevel=6 initiator={initiator} portal={HOST_ADDRESS}:{port} target={target}"
        );
        let mut qemu = program(QEMU_SYSTEM, &["-accel", "tcg", "-cpu", PROCESSOR, "-m", "768M"]);
        qemu.args(["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"]);
        // The card needs no ROM to boot from.
        qemu.args(["-netdev", "user,id=net", "-device", "virtio-net-pci,netdev=net,romfile="]);
        qemu.arg("-kernel").arg(&image.kernel).arg("-initrd").arg(&image.initramfs).args(["-append", &line]);
        qemu.arg("-serial").arg(format!("file:{}", console.display())).args(["-serial", "stdio"]);
        let complaints = fs::File::create(folder.join(format!("{name}-qemu.txt")))?;
        qemu.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(complaints);
        let mut machine = qemu.spawn().with_context(|| format!("cannot start {QEMU_SYSTEM}"))?;
        let commands = machine.stdin.take().context("the child has a pipe")?;
        let output = machine.stdout.take().context("the child has a pipe")?;
        let (say, answers) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if say.send(line).is_err() {
                    break;
                }
            }
        });
        Ok(Self { name, console, machine, commands, answers, asked: 0 })
    }

    /// Waits until it takes commands.
    pub(super) fn wait_booted(&mut self) -> anyhow::Result<()> {
        self.answer(BOOT_AT_MOST).with_context(|| format!("{} has not booted", self.name))?;
        Ok(())
    }

    /// Runs a command in the shell of the guest, and answers what it prints.
    ///
    /// # Errors
    /// If it fails, takes too long, or the guest does not run any more.
    pub(super) fn run(&mut self, command: &str) -> anyhow::Result<String> {
        let Answer { status, output } = self.ask(command)?;
        ensure!(status == 0, "{}: `{command}` ended with {status} {output}", self.name);
        Ok(output)
    }

    /// Runs a command that has to fail.
    pub(super) fn refuses(&mut self, command: &str) -> anyhow::Result<()> {
        let Answer { status, .. } = self.ask(command)?;
        ensure!(status != 0, "{}: `{command}` should have failed", self.name);
        Ok(())
    }

    /// Runs a command, and answers how it ended.
    pub(super) fn ask(&mut self, command: &str) -> anyhow::Result<Answer> {
        ensure!(!command.contains('\n'), "a command is one line: {command}");
        self.asked += 1;
        let sent = writeln!(self.commands, "{} {command}", self.asked).and_then(|()| self.commands.flush());
        sent.with_context(|| format!("{} does not run any more", self.name))?;
        self.answer(COMMAND_AT_MOST).with_context(|| format!("{}: `{command}`", self.name))
    }

    /// Waits for the end of the command that was asked last. What an earlier one, which took too long, says after all is passed over.
    fn answer(&mut self, at_most: Duration) -> anyhow::Result<Answer> {
        let until = Instant::now() + at_most;
        let mut collected = Answers::default();
        loop {
            match self.answers.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    if let Some(answer) = collected.take(&line, self.asked) {
                        return Ok(answer);
                    }
                }
                Err(RecvTimeoutError::Timeout) => bail!("there is no answer after {} s", at_most.as_secs()),
                Err(RecvTimeoutError::Disconnected) => bail!("the guest has ended"),
            }
        }
    }

    /// What its console has said from a place on.
    pub(super) fn console_from(&self, start: usize) -> String {
        let bytes = fs::read(&self.console).unwrap_or_default();
        String::from_utf8_lossy(bytes.get(start..).unwrap_or_default()).into_owned()
    }

    /// How much its console has said so far.
    pub(super) fn console_len(&self) -> usize {
        fs::metadata(&self.console).map_or(0, |metadata| usize::try_from(metadata.len()).unwrap_or(0))
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        // It may have ended by itself.
        self.machine.kill().ok();
        self.machine.wait().ok();
    }
}

/// The lines of the second serial port: `| OUTPUT` as often as needed, then `= NUMBER STATUS`.
#[derive(Default)]
struct Answers {
    output: Vec<String>,
}

impl Answers {
    /// Takes a line, and answers if it is the last one of a command.
    fn take(&mut self, line: &str, number: u32) -> Option<Answer> {
        let line = line.trim_end_matches('\r');
        if let Some(output) = line.strip_prefix("| ") {
            self.output.push(output.to_owned());
            return None;
        }
        let (ended, status) = line.strip_prefix("= ")?.split_once(' ')?;
        let output = std::mem::take(&mut self.output).join("\n");
        let status = status.parse().ok()?;
        (ended.parse() == Ok(number)).then_some(Answer { status, output })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(lines: &[&str], number: u32) -> Option<Answer> {
        let mut answers = Answers::default();
        lines.iter().find_map(|line| answers.take(line, number))
    }

    #[test]
    fn an_answer_is_all_output_up_to_the_status() {
        let expected = Answer { status: 1, output: "/dev/sda\n\n = 3 0".to_owned() };
        assert_eq!(answer(&["| /dev/sda", "| ", "|  = 3 0", "= 3 1"], 3), Some(expected));
        assert_eq!(answer(&["= 0 0\r"], 0), Some(Answer { status: 0, output: String::new() }));
        assert_eq!(answer(&["| /dev/sda", "= 3"], 3), None);
    }

    #[test]
    fn the_late_answer_to_an_earlier_command_is_passed_over() {
        let expected = Answer { status: 0, output: "new".to_owned() };
        assert_eq!(answer(&["| old", "= 3 0", "| new", "= 4 0"], 4), Some(expected));
    }

    #[test]
    fn what_is_no_answer_is_passed_over() {
        let lines = ["qemu: a warning", "= x 0", "= 7 no number", "| 1", "= 7 0"];
        assert_eq!(answer(&lines, 7), Some(Answer { status: 0, output: "1".to_owned() }));
    }
}
