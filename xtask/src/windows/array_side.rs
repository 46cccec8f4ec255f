//! The array's side of the tests: the real `lunshadow serve` on Linux, under the command of tests that run under Wine.
//!
//! A test connects to a loopback port and sends one JSON array of strings a line; what comes back is `{"ok": …}` or `{"error": …}`:
//!
//! | request | what happens |
//! | --- | --- |
//! | `["where"]` | the addresses of iSCSI portal and control service, separated by a blank |
//! | `["pool"]` | the folder of its pool |
//! | `["run", …]` | `lunshadow …` for the same pool; answers what that prints |
//! | `["kill"]` | the array ends at once |
//! | `["start"]` | it starts again, on the same addresses |
//! | `["pause"]`, `["resume"]` | it stands still, and goes on |
//! | `["relay"]` | the address of a relay before its control service, which runs from then on |
//! | `["trouble", …]` | the relay lets the array be in that condition |

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, bail};

use super::relay::Relay;
use crate::daemon::Daemon;

/// An array for the tests.
pub(super) struct Kind {
    /// Where the tests look for its address.
    address: &'static str,
    /// How large its pool may grow. The file is sparse.
    pool_size: &'static str,
    /// The folder of what it has, below the tests' own; empty for that one itself.
    folder: &'static str,
}

/// The array of most tests, with room for all that they do.
pub(super) const LARGE: Kind = Kind { address: "LUNSHADOW_ARRAY_SIDE", pool_size: "64G", folder: "" };

/// One that a test can fill in a moment.
pub(super) const SMALL: Kind = Kind { address: "LUNSHADOW_SMALL_ARRAY_SIDE", pool_size: "128M", folder: "small" };

/// The array and whoever listens for commands. Dropping it ends the array.
pub(super) struct ArraySide {
    variable: &'static str,
    address: SocketAddr,
    programs: Arc<Mutex<Programs>>,
}

/// What runs on the array's side.
struct Programs {
    array: Daemon,
    /// The program of the relay, and the relay itself once somebody wants it.
    relay_program: PathBuf,
    relay: Option<Relay>,
}

impl ArraySide {
    /// Makes a new pool below `folder` and serves it with the program among `programs`.
    pub(super) fn start(programs: &Path, folder: &Path, kind: &Kind) -> anyhow::Result<Self> {
        let folder = folder.join(kind.folder);
        std::fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
        let mut array = Daemon::with_new_pool(programs.join("lunshadow"), &folder, &["--size", kind.pool_size], &[1])?;
        array.start()?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no port is to be had")?;
        let address = listener.local_addr()?;
        let relay_program = programs.join("lunshadow-relay");
        let programs = Arc::new(Mutex::new(Programs { array, relay_program, relay: None }));
        let served = Arc::clone(&programs);
        std::thread::spawn(move || {
            for peer in listener.incoming().flatten() {
                let programs = Arc::clone(&served);
                // A test that ends in the middle of a conversation harms only itself.
                std::thread::spawn(move || converse(&peer, &programs).ok());
            }
        });
        Ok(Self { variable: kind.address, address, programs })
    }

    /// Tells a command's programs where the array's side is.
    pub(super) fn describe_to(&self, command: &mut Command) {
        command.env(self.variable, self.address.to_string());
    }
}

impl Drop for ArraySide {
    fn drop(&mut self) {
        // Whoever listens for commands has it, too, and does not end.
        let mut programs = self.programs.lock().unwrap_or_else(PoisonError::into_inner);
        programs.relay = None;
        programs.array.end_for_good();
    }
}

fn converse(peer: &TcpStream, programs: &Mutex<Programs>) -> anyhow::Result<()> {
    for line in BufReader::new(peer).lines() {
        let words: Vec<String> = serde_json::from_str(&line?)?;
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let done = obey(&mut programs.lock().unwrap_or_else(PoisonError::into_inner), &words);
        let answer = match done {
            Ok(text) => serde_json::json!({ "ok": text }),
            Err(error) => serde_json::json!({ "error": format!("{error:#}") }),
        };
        let mut out = peer;
        writeln!(out, "{answer}")?;
    }
    Ok(())
}

fn obey(programs: &mut Programs, words: &[&str]) -> anyhow::Result<String> {
    let array = &mut programs.array;
    match words {
        ["where"] => {
            let portal = array.portals().first().context("it has a portal")?;
            return Ok(format!("{portal} {}", array.control()));
        }
        ["pool"] => return Ok(array.pool().display().to_string()),
        ["run", arguments @ ..] => return array.ask(arguments),
        ["kill"] => array.kill(),
        ["start"] => array.start()?,
        ["pause"] => array.pause()?,
        ["resume"] => array.signal("CONT")?,
        ["relay"] => {
            let relay = match &mut programs.relay {
                Some(relay) => relay,
                none => none.insert(Relay::start(&programs.relay_program, array.pool())?),
            };
            return Ok(relay.address().to_owned());
        }
        ["trouble", condition @ ..] => {
            programs.relay.as_mut().context("nobody has asked for the relay yet")?.set(&condition.join(" "))?;
        }
        _ => bail!("nobody understands {words:?}"),
    }
    Ok(String::new())
}
