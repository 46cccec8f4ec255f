//! The real `lunshadow serve` in a process of its own.

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use serde_json::Value;
use tempfile::TempDir;

use crate::command::{program, run, wait_at_most};

/// Where files are in memory.
const MEMORY: &str = "/dev/shm";

/// How long the array may take until it serves, also when its instructions are counted.
const START_AT_MOST: Duration = Duration::from_secs(60);

/// How long it may take until it stands still, and how often that is looked at.
const STOP_AT_MOST: Duration = Duration::from_secs(30);
const BETWEEN_LOOKS: Duration = Duration::from_millis(1);

/// `lunshadow serve --control` with its pool. Dropping it ends the process.
pub(crate) struct Daemon {
    program: PathBuf,
    /// What `serve` is run by, if not by itself: a program and its arguments.
    under: Vec<OsString>,
    /// More options of `serve`.
    serve_options: Vec<&'static str>,
    pool: PathBuf,
    /// In memory, as by default, and gone with this.
    tail: Option<TempDir>,
    log: PathBuf,
    /// Where it listens, once it has served; before that, any port.
    portals: Vec<SocketAddr>,
    /// The portal groups that they are in.
    groups: Vec<u16>,
    control: SocketAddr,
    child: Option<Child>,
}

impl Daemon {
    /// A daemon that will have a portal in each of these portal groups. It makes a new pool in `folder`, with the options of `pool create`.
    pub(crate) fn with_new_pool(
        program: PathBuf,
        folder: &Path,
        options: &[&str],
        groups: &[u16],
    ) -> anyhow::Result<Self> {
        let pool = folder.join("pool");
        if pool.exists() {
            std::fs::remove_dir_all(&pool).with_context(|| pool.display().to_string())?;
        }
        let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let log = folder.join("array.txt");
        let tail = tempfile::Builder::new().prefix("lunshadow-xtask-").tempdir_in(MEMORY).context(MEMORY)?;
        let (portals, groups) = (vec![any_port; groups.len()], groups.to_vec());
        let (under, serve_options) = (Vec::new(), Vec::new());
        let child = None;
        let daemon = Self {
            program,
            under,
            serve_options,
            pool,
            tail: Some(tail),
            log,
            portals,
            groups,
            control: any_port,
            child,
        };
        daemon.command(&[&["pool", "create", &daemon.pool.display().to_string()], options].concat())?;
        Ok(daemon)
    }

    /// Has another program run `serve` the next times, with these options.
    pub(crate) fn run_under(&mut self, under: Vec<OsString>, options: Vec<&'static str>) {
        (self.under, self.serve_options) = (under, options);
    }

    /// The process that serves.
    pub(crate) fn process(&self) -> anyhow::Result<u32> {
        Ok(self.child.as_ref().context("it does not run")?.id())
    }

    /// Makes a LUN and maps it to a host: the number by which the host addresses it.
    pub(crate) fn new_lun(&self, name: &str, size: &str, host: &str) -> anyhow::Result<u8> {
        self.ask(&["lun", "create", name, "--size", size])?;
        let mapped: Value = serde_json::from_str(&self.ask(&["lun", "map", name, host, "--json"])?)?;
        let number = mapped["number"].as_u64().with_context(|| format!("no LUN number in {mapped}"))?;
        Ok(u8::try_from(number)?)
    }

    /// Where it listens for initiators.
    pub(crate) fn portals(&self) -> &[SocketAddr] {
        &self.portals
    }

    /// Where its control service listens.
    pub(crate) const fn control(&self) -> SocketAddr {
        self.control
    }

    /// The folder of its pool.
    pub(crate) fn pool(&self) -> &Path {
        &self.pool
    }

    /// Runs a command that asks this daemon, and answers what it prints.
    pub(crate) fn ask(&self, arguments: &[&str]) -> anyhow::Result<String> {
        self.command(&[arguments, &["--pool", &self.pool.display().to_string()]].concat())
    }

    fn command(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let output = Command::new(&self.program).args(arguments).stdin(Stdio::null()).output();
        let output = output.with_context(|| format!("cannot start {}", self.program.display()))?;
        let error = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "lunshadow {}: {}: {error}", arguments.join(" "), output.status);
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Starts it; on the addresses that it had before, if it has served already.
    pub(crate) fn start(&mut self) -> anyhow::Result<()> {
        ensure!(self.child.is_none(), "it serves already");
        let log = std::fs::OpenOptions::new().create(true).append(true).open(&self.log)?;
        let mut words = self.under.iter().map(OsString::as_os_str).chain([self.program.as_os_str()]);
        let mut serve = Command::new(words.next().context("the program itself is always there")?);
        serve.args(words).arg("serve").arg("--pool").arg(&self.pool).args(["--control", &self.control.to_string()]);
        let tail = self.tail.as_ref().context("it was ended for good")?;
        serve.arg("--tail").arg(tail.path()).args(&self.serve_options);
        for (portal, group) in self.portals.iter().zip(&self.groups) {
            serve.args(["--listen", &format!("{portal},{group}")]);
        }
        let child = serve.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log.try_clone()?).spawn();
        let child = self.child.insert(child.with_context(|| format!("cannot start {}", self.program.display()))?);
        let output = child.stdout.take().context("the child has a pipe")?;
        match addresses_in(output, log) {
            Ok(found) => {
                (self.portals, self.control) = found;
                Ok(())
            }
            Err(error) => {
                self.kill();
                Err(error.context(format!("the array does not serve, see {}", self.log.display())))
            }
        }
    }

    /// Whether it was started, and not ended by us.
    pub(crate) const fn is_running(&self) -> bool {
        self.child.is_some()
    }

    /// Has its pool checked, which nobody may serve meanwhile.
    pub(crate) fn check_pool(&self) -> anyhow::Result<()> {
        ensure!(!self.is_running(), "the pool is served");
        self.command(&["pool", "check", &self.pool.display().to_string()]).map(drop)
    }

    /// Ends it at once.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended by itself.
            child.kill().ok();
            child.wait().ok();
        }
    }

    /// Ends it at once, with all that it has in memory.
    pub(crate) fn end_for_good(&mut self) {
        self.kill();
        self.tail = None;
    }

    /// Asks it to end, and waits until it has.
    pub(crate) fn stop(&mut self, at_most: Duration) -> anyhow::Result<()> {
        self.signal("TERM")?;
        let mut child = self.child.take().context("it does not run")?;
        let status = wait_at_most(&mut child, at_most)?;
        ensure!(status.success(), "it ended with {status}, see {}", self.log.display());
        Ok(())
    }

    /// Sends it a signal, by its name without `SIG`.
    pub(crate) fn signal(&self, signal: &str) -> anyhow::Result<()> {
        run(&mut program("kill", &[&format!("-{signal}"), &self.process()?.to_string()]))
    }

    /// Has it stand still. The signal goes to one of its threads, and until that one runs, on a busy machine, the others may still answer: so this
    /// waits for all of them.
    pub(crate) fn pause(&self) -> anyhow::Result<()> {
        self.signal("STOP")?;
        let threads = PathBuf::from(format!("/proc/{}/task", self.process()?));
        let deadline = Instant::now() + STOP_AT_MOST;
        while !all_stopped(&threads)? {
            ensure!(Instant::now() < deadline, "it still runs {} s after it was stopped", STOP_AT_MOST.as_secs());
            std::thread::sleep(BETWEEN_LOOKS);
        }
        Ok(())
    }
}

/// Whether every thread of a process is stopped, by the folder that the kernel has of them.
fn all_stopped(threads: &Path) -> anyhow::Result<bool> {
    for thread in std::fs::read_dir(threads).with_context(|| threads.display().to_string())? {
        // One that has ended since stands still too.
        let Ok(stat) = std::fs::read_to_string(thread?.path().join("stat")) else { continue };
        if !is_stopped(&stat) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whether a thread is stopped. Its name stands in brackets before its state, and may have brackets itself.
fn is_stopped(stat: &str) -> bool {
    stat.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with('T'))
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Reads the addresses that the array prints when it serves, and goes on to copy what it prints to `log`.
fn addresses_in(
    output: impl Read + Send + 'static,
    mut log: std::fs::File,
) -> anyhow::Result<(Vec<SocketAddr>, SocketAddr)> {
    let (say, hear) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            writeln!(log, "{line}").ok();
            // Nobody hears once all addresses are known.
            say.send(line).ok();
        }
    });
    let (mut portals, mut control) = (None, None);
    loop {
        let line = match hear.recv_timeout(START_AT_MOST) {
            Ok(line) => line,
            Err(RecvTimeoutError::Timeout) => bail!("it says nothing for {START_AT_MOST:?}"),
            Err(RecvTimeoutError::Disconnected) => bail!("it has ended"),
        };
        portals = portals.or_else(|| portals_in(&line));
        control = control.or_else(|| control_in(&line));
        if let (Some(portals), Some(control)) = (&portals, control) {
            return Ok((portals.clone(), control));
        }
    }
}

/// `serving DIR on ADDRESS ADDRESS`, each with a comma and its portal group behind it unless that is the first one.
fn portals_in(line: &str) -> Option<Vec<SocketAddr>> {
    let (_, addresses) = line.strip_prefix("serving ")?.rsplit_once(" on ")?;
    let address = |portal: &str| portal.split(',').next()?.parse().ok();
    addresses.split(' ').map(address).collect()
}

/// `control ADDRESS fingerprint HEX`.
fn control_in(line: &str) -> Option<SocketAddr> {
    line.strip_prefix("control ")?.split(' ').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_found_in_what_the_array_prints() {
        let addresses = |texts: &[&str]| texts.iter().map(|text| text.parse().ok()).collect();
        assert_eq!(portals_in("serving /tmp/a on b on 127.0.0.1:3260"), addresses(&["127.0.0.1:3260"]));
        assert_eq!(portals_in("serving /tmp/a on [::1]:1 127.0.0.1:2"), addresses(&["[::1]:1", "127.0.0.1:2"]));
        assert_eq!(portals_in("serving /tmp/a on 127.0.0.1:1 [::1]:2,2"), addresses(&["127.0.0.1:1", "[::1]:2"]));
        assert_eq!(control_in("control 127.0.0.1:8443 fingerprint 00ff"), "127.0.0.1:8443".parse().ok());
        assert_eq!(portals_in("  disk-1  0123  64 bytes"), None);
        assert_eq!(control_in("controller"), None);
    }

    #[test]
    fn a_process_stands_still_when_all_of_its_threads_do() {
        assert!(is_stopped("17 (tokio-rt (2)) T 1 17 17 0"));
        assert!(!is_stopped("17 (T) S 1 17 17 0"));
        assert!(!all_stopped(Path::new("/proc/self/task")).expect("this process runs"));
    }
}
