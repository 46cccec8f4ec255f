//! The process of the provider with planted faults, started by a test and under its control.

use std::io::{BufRead, BufReader, Write};
use std::os::windows::io::AsRawHandle;
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::time::Duration;

use lunshadow_vss_com::{apartment, guid};
use parking_lot::Mutex;
use uuid::Uuid;
use windows::Win32::Foundation::HANDLE;
use windows_core::GUID;

use super::RawProvider;
use crate::planted::{Command, Fault, State};
use crate::start;

/// A running server. Dropping it ends the process.
pub struct PlantedServer {
    class: GUID,
    child: Child,
    talk: Mutex<(ChildStdin, BufReader<ChildStdout>)>,
}

impl PlantedServer {
    /// Starts `program` under a class id of its own and waits until it serves.
    ///
    /// # Errors
    /// If it does not start.
    pub fn start(program: &str) -> std::io::Result<Self> {
        Self::start_with(program, &[])
    }

    /// As [`start`](Self::start), with a server that ends when nobody has needed it for this long.
    ///
    /// # Errors
    /// As for [`start`](Self::start).
    pub fn start_idle(program: &str, idle_for: Duration) -> std::io::Result<Self> {
        Self::start_with(program, &[idle_for.as_millis().to_string()])
    }

    fn start_with(program: &str, arguments: &[String]) -> std::io::Result<Self> {
        apartment::join_mta().map_err(std::io::Error::other)?;
        let class = Uuid::new_v4();
        let mut command = std::process::Command::new(program);
        command.arg(class.braced().to_string()).args(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = start(&mut command)?;
        let missing = || std::io::Error::other("the child has no pipes");
        let input = child.stdin.take().ok_or_else(missing)?;
        let output = BufReader::new(child.stdout.take().ok_or_else(missing)?);
        let server = Self { class: guid(class), child, talk: Mutex::new((input, output)) };
        // It answers its first question when the class is registered.
        server.ask(&Command::Look)?;
        Ok(server)
    }

    /// Sends a command and returns the state after it.
    ///
    /// # Errors
    /// If the process is gone, or does not understand.
    pub fn ask(&self, command: &Command) -> std::io::Result<State> {
        let mut talk = self.talk.lock();
        let (input, output) = &mut *talk;
        writeln!(input, "{}", serde_json::to_string(command)?)?;
        input.flush()?;
        let mut line = String::new();
        output.read_line(&mut line)?;
        Ok(serde_json::from_str(&line)?)
    }

    /// What the process has to show now. Events and panics are told once.
    pub fn state(&self) -> State {
        self.ask(&Command::Look).expect("the process runs")
    }

    /// Plants a fault.
    pub fn plant(&self, method: &str, fault: Fault) {
        self.ask(&Command::Plant { method: method.to_owned(), fault }).expect("the process runs");
    }

    /// Ends all faults.
    pub fn heal(&self) {
        self.ask(&Command::Heal).expect("the process runs");
    }

    /// An object of its class.
    #[must_use]
    pub fn provider(&self) -> RawProvider {
        RawProvider::create(self.class).expect("the class is served")
    }

    /// The class id.
    #[must_use]
    pub fn class(&self) -> GUID {
        self.class
    }

    /// The memory that is the process's own.
    #[must_use]
    pub fn private_bytes(&self) -> usize {
        private_bytes(HANDLE(self.child.as_raw_handle()))
    }

    /// Ends the process at once, in the middle of whatever it does.
    pub fn kill(&mut self) {
        self.child.kill().expect("the process runs");
        self.child.wait().expect("it ends");
    }

    /// Whether it runs no longer.
    #[must_use]
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().is_ok_and(|status| status.is_some())
    }

    /// Waits for its end by itself, and tells whether it was one in good order.
    #[must_use]
    pub fn ends_in_good_order(&mut self) -> bool {
        self.child.wait().is_ok_and(|status| status.success())
    }

    /// Ends it in good order: the class is revoked, and the process answers with success.
    #[must_use]
    pub fn stop(mut self) -> bool {
        self.ask(&Command::Stop).is_ok() && self.child.wait().is_ok_and(|status| status.success())
    }
}

impl Drop for PlantedServer {
    fn drop(&mut self) {
        // It may be gone already.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// The memory that is a process's own, in bytes.
///
/// # Panics
/// If it cannot be looked at.
#[must_use]
pub fn private_bytes(process: HANDLE) -> usize {
    lunshadow_vss_com::private_bytes(process).expect("the process can be looked at")
}
