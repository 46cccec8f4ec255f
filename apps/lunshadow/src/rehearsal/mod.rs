//! `lunshadow shadow script` and `prompt`: DiskShadow's scripts on simulated hosts.
//!
//! ```text
//!  script, prompt ──▶ Session (host/diskshadow) ──▶ CoordinatedVss ──▶ coordinator ──▶ provider ──▶ array
//!                         └──▶ LocalMachine: metadata files, programs        └──▶ simulated host over iSCSI
//!  hosts.toml ──▶ hosts ──▶ host (logs in, finds volumes, remembers shadow copies)
//! ```

mod exposure;
mod host;
mod hosts;
mod kept;
mod machine;
mod metadata;

use std::io::{self, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use lunshadow_diskshadow::{Fault, Flow, Session, run_script};
use tokio::runtime::Runtime;

use crate::console;
use host::RehearsedHost;
use hosts::Hosts;
use machine::LocalMachine;

/// Which simulated host.
#[derive(Debug, Args)]
pub struct HostArgs {
    /// The file that describes the simulated hosts: their array, volumes and writers
    #[arg(long, value_name = "FILE", default_value = "hosts.toml")]
    pub hosts: PathBuf,
    /// Which of them to be; it can be left out if there is only one
    #[arg(long, value_name = "NAME")]
    pub host: Option<String>,
}

/// `lunshadow shadow script`.
#[derive(Debug, Args)]
pub struct ScriptArgs {
    /// The script
    pub file: PathBuf,
    /// What the script finds in %DISKSH_PARAM_1%, %DISKSH_PARAM_2% and so on
    pub parameters: Vec<String>,
    /// Which host
    #[command(flatten)]
    pub host: HostArgs,
}

/// Runs a script. Answers whether it came to its end.
///
/// # Errors
/// If the script cannot be read, or its host not be set up.
pub fn script(args: &ScriptArgs) -> anyhow::Result<bool> {
    let script = read_script(&args.file)?;
    on_host(&args.host, |session| {
        for (index, parameter) in args.parameters.iter().enumerate() {
            session.define(&format!("DISKSH_PARAM_{}", index + 1), parameter);
        }
        let ran = run_script(session, &script);
        if let Err(error) = &ran {
            console::complain(&format!("lunshadow: {}: {error}", args.file.display()));
        }
        Ok(ran.is_ok())
    })
}

/// Reads commands from standard input. Answers false if a program that was run has ended the prompt.
///
/// # Errors
/// If the host cannot be set up, or standard input not be read.
pub fn prompt(args: &HostArgs) -> anyhow::Result<bool> {
    on_host(args, |session| {
        let prompted = Prompted { is_terminal: io::stdin().is_terminal(), lines: io::stdin().lock() };
        for line in prompted {
            match session.execute(&line.context("cannot read the commands")?) {
                Ok(Flow::Continue) => (),
                Ok(Flow::Exit) => break,
                Err(fault) => {
                    console::complain(&format!("lunshadow: {fault}"));
                    if fault.ends_prompt() {
                        return Ok(false);
                    }
                }
            }
        }
        Ok(true)
    })
}

/// Lines after a prompt, if somebody is there to see it.
struct Prompted<R> {
    is_terminal: bool,
    lines: R,
}

impl<R: io::BufRead> Iterator for Prompted<R> {
    type Item = io::Result<String>;

    fn next(&mut self) -> Option<io::Result<String>> {
        if self.is_terminal {
            let mut stdout = io::stdout().lock();
            // Without a prompt it still works.
            drop(write!(stdout, "DISKSHADOW> ").and_then(|()| stdout.flush()));
        }
        let mut line = String::new();
        match self.lines.read_line(&mut line) {
            Ok(0) => None,
            Ok(_) => Some(Ok(line)),
            Err(error) => Some(Err(error)),
        }
    }
}

/// Runs something on a host, which is left in order whatever comes of it.
fn on_host(args: &HostArgs, run: impl FnOnce(&mut Session<'_>) -> anyhow::Result<bool>) -> anyhow::Result<bool> {
    let hosts = Hosts::read(&args.hosts)?;
    let settings = hosts.named(args.host.as_deref())?;
    let runtime = Runtime::new()?;
    let mut host = RehearsedHost::set_up(settings, &runtime)?;
    let mut machine = LocalMachine::new(settings);
    let mut output = console::say;
    let mut session = Session::new(&mut host.vss, &mut machine, &mut output);
    let verdict = run(&mut session);
    let finished = session.finish();
    host.tear_down(&runtime)?;
    if let Err(fault) = finished {
        let fault: Fault = fault;
        console::complain(&format!("lunshadow: shadow copies that are not persistent stay behind: {fault}"));
        return verdict.map(|_| false);
    }
    verdict
}

/// A script as text, in one of the encodings that editors on Windows use.
fn read_script(path: &Path) -> anyhow::Result<String> {
    let bytes = std::fs::read(path).with_context(|| format!("cannot read the script {}", path.display()))?;
    decode(&bytes).with_context(|| format!("{} is neither UTF-8 nor UTF-16 with a byte order mark", path.display()))
}

fn decode(bytes: &[u8]) -> Option<String> {
    let utf16 = |bytes: &[u8], unit: fn([u8; 2]) -> u16| {
        let (units, rest) = bytes.as_chunks::<2>();
        let units: Vec<u16> = units.iter().copied().map(unit).collect();
        if rest.is_empty() { String::from_utf16(&units).ok() } else { None }
    };
    match bytes {
        [0xff, 0xfe, rest @ ..] => utf16(rest, u16::from_le_bytes),
        [0xfe, 0xff, rest @ ..] => utf16(rest, u16::from_be_bytes),
        [0xef, 0xbb, 0xbf, rest @ ..] => String::from_utf8(rest.to_vec()).ok(),
        _ => String::from_utf8(bytes.to_vec()).ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_of_windows_editors_are_read() {
        for bytes in
            [b"create".as_slice(), b"\xef\xbb\xbfcreate", b"\xff\xfec\0r\0e\0a\0t\0e\0", b"\xfe\xff\0c\0r\0e\0a\0t\0e"]
        {
            assert_eq!(decode(bytes).as_deref(), Some("create"));
        }
        assert_eq!(decode(b"\xff\xfec"), None);
        assert_eq!(decode(b"\xe4"), None);
    }
}
