//! The array's side of the tests: the real `lunshadow serve` on Linux, under the command of tests that run under Wine.
//!
//! A test connects to a loopback port and sends one JSON array of strings a line; what comes back is `{"ok": …}` or `{"error": …}`:
//!
//! | request | what happens |
//! | --- | --- |
//! | `["where"]` | the addresses of iSCSI portal and control service, separated by a blank |
//! | `["run", …]` | `lunshadow …` for the same pool; answers what that prints |
//! | `["kill"]` | the array ends at once |
//! | `["start"]` | it starts again, on the same addresses |
//! | `["pause"]`, `["resume"]` | it stands still, and goes on |

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, bail, ensure};

use crate::command::{program, run};

/// Where the tests look for the address.
pub(super) const ADDRESS: &str = "LUNSHADOW_ARRAY_SIDE";

/// How long the array may take until it serves.
const START_AT_MOST: Duration = Duration::from_secs(30);

/// How large its pool may grow. The file is sparse.
const POOL_SIZE: &str = "64G";

/// The array and whoever listens for commands. Dropping it ends the array.
pub(super) struct ArraySide {
    address: SocketAddr,
    array: Arc<Mutex<Array>>,
}

impl ArraySide {
    /// Makes a new pool in `folder` and serves it with the program at `lunshadow`.
    pub(super) fn start(lunshadow: PathBuf, folder: &Path) -> anyhow::Result<Self> {
        let pool = folder.join("pool");
        if pool.exists() {
            std::fs::remove_dir_all(&pool).with_context(|| pool.display().to_string())?;
        }
        let mut array = Array { program: lunshadow, pool, log: folder.join("array.txt"), addresses: None, child: None };
        array.lunshadow(&["pool", "create", &array.pool.display().to_string(), "--size", POOL_SIZE])?;
        array.start()?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no port is to be had")?;
        let address = listener.local_addr()?;
        let array = Arc::new(Mutex::new(array));
        let served = Arc::clone(&array);
        std::thread::spawn(move || {
            for peer in listener.incoming().flatten() {
                let array = Arc::clone(&served);
                // A test that ends in the middle of a conversation harms only itself.
                std::thread::spawn(move || converse(&peer, &array).ok());
            }
        });
        Ok(Self { address, array })
    }

    /// Tells a command's programs where the array's side is.
    pub(super) fn describe_to(&self, command: &mut Command) {
        command.env(ADDRESS, self.address.to_string());
    }
}

impl Drop for ArraySide {
    fn drop(&mut self) {
        self.array.lock().unwrap_or_else(PoisonError::into_inner).kill();
    }
}

fn converse(peer: &TcpStream, array: &Mutex<Array>) -> anyhow::Result<()> {
    for line in BufReader::new(peer).lines() {
        let words: Vec<String> = serde_json::from_str(&line?)?;
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let done = array.lock().unwrap_or_else(PoisonError::into_inner).obey(&words);
        let answer = match done {
            Ok(text) => serde_json::json!({ "ok": text }),
            Err(error) => serde_json::json!({ "error": format!("{error:#}") }),
        };
        let mut out = peer;
        writeln!(out, "{answer}")?;
    }
    Ok(())
}

/// `lunshadow serve` with its pool.
struct Array {
    program: PathBuf,
    pool: PathBuf,
    log: PathBuf,
    /// Of the portal and of the control service, once it has served.
    addresses: Option<(SocketAddr, SocketAddr)>,
    child: Option<Child>,
}

impl Array {
    fn obey(&mut self, words: &[&str]) -> anyhow::Result<String> {
        match words {
            ["where"] => {
                let (portal, control) = self.addresses.context("it has never served")?;
                return Ok(format!("{portal} {control}"));
            }
            ["run", arguments @ ..] => {
                let pool = self.pool.display().to_string();
                return self.lunshadow(&[arguments, &["--pool", &pool]].concat());
            }
            ["kill"] => self.kill(),
            ["start"] => self.start()?,
            ["pause"] => self.signal("STOP")?,
            ["resume"] => self.signal("CONT")?,
            _ => bail!("nobody understands {words:?}"),
        }
        Ok(String::new())
    }

    /// Runs the program to its end.
    fn lunshadow(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let output = Command::new(&self.program).args(arguments).stdin(Stdio::null()).output();
        let output = output.with_context(|| format!("cannot start {}", self.program.display()))?;
        let error = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "lunshadow {}: {}: {error}", arguments.join(" "), output.status);
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    fn start(&mut self) -> anyhow::Result<()> {
        ensure!(self.child.is_none(), "it serves already");
        let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let (portal, control) = self.addresses.unwrap_or((any_port, any_port));
        let log = std::fs::OpenOptions::new().create(true).append(true).open(&self.log)?;
        let mut serve = Command::new(&self.program);
        serve.arg("serve").arg("--pool").arg(&self.pool);
        serve.args(["--listen", &portal.to_string(), "--control", &control.to_string()]);
        let child = serve.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log.try_clone()?).spawn();
        let child = self.child.insert(child.with_context(|| format!("cannot start {}", self.program.display()))?);
        let output = child.stdout.take().context("the child has a pipe")?;
        let found = addresses_in(output, log);
        match found {
            Ok(found) => self.addresses = Some(found),
            Err(_) => self.kill(),
        }
        found.map(|_| ()).with_context(|| format!("the array does not serve, see {}", self.log.display()))
    }

    fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended by itself.
            child.kill().ok();
            child.wait().ok();
        }
    }

    fn signal(&self, signal: &str) -> anyhow::Result<()> {
        let child = self.child.as_ref().context("it does not run")?;
        run(&mut program("kill", &[&format!("-{signal}"), &child.id().to_string()]))
    }
}

/// Reads the addresses that the array prints when it serves, and goes on to copy what it prints to `log`.
fn addresses_in(
    output: impl Read + Send + 'static,
    mut log: std::fs::File,
) -> anyhow::Result<(SocketAddr, SocketAddr)> {
    let (say, hear) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            writeln!(log, "{line}").ok();
            // Nobody hears once both addresses are known.
            say.send(line).ok();
        }
    });
    let (mut portal, mut control) = (None, None);
    loop {
        let line = match hear.recv_timeout(START_AT_MOST) {
            Ok(line) => line,
            Err(RecvTimeoutError::Timeout) => bail!("it says nothing for {START_AT_MOST:?}"),
            Err(RecvTimeoutError::Disconnected) => bail!("it has ended"),
        };
        portal = portal.or_else(|| portal_in(&line));
        control = control.or_else(|| control_in(&line));
        if let Some(both) = portal.zip(control) {
            return Ok(both);
        }
    }
}

/// `serving DIR on ADDRESS`.
fn portal_in(line: &str) -> Option<SocketAddr> {
    line.strip_prefix("serving ")?.rsplit_once(" on ")?.1.parse().ok()
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
        assert_eq!(portal_in("serving /tmp/a on b on 127.0.0.1:3260"), "127.0.0.1:3260".parse().ok());
        assert_eq!(control_in("control 127.0.0.1:8443 fingerprint 00ff"), "127.0.0.1:8443".parse().ok());
        assert_eq!(portal_in("  disk-1  0123  64 bytes"), None);
        assert_eq!(control_in("controller"), None);
    }
}
