//! A run: a script or a prompt on one of the hosts, which is left in order whatever comes of it.

use std::io::{self, BufRead, Write as _};
use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use lunshadow_diskshadow::{Flow, Session, run_script};
use tokio::runtime::Runtime;

use crate::console::Console;
use crate::host::{RehearsedHost, Surroundings};
use crate::hosts::{HostSettings, Hosts, ProviderPlace};
use crate::machine::LocalMachine;
use crate::script_text;

/// Which simulated host.
#[derive(Debug, Args)]
pub struct HostArgs {
    /// The file that describes the simulated hosts: their array, volumes and writers
    #[arg(long, value_name = "FILE", default_value = "hosts.toml", global = true)]
    pub hosts: PathBuf,
    /// Which of them to be; it can be left out if there is only one
    #[arg(long, value_name = "NAME", global = true)]
    pub host: Option<String>,
}

/// A script, and what it is given.
#[derive(Debug, Args)]
pub struct ScriptFile {
    /// The script
    pub file: PathBuf,
    /// What the script finds in %DISKSH_PARAM_1%, %DISKSH_PARAM_2% and so on
    pub parameters: Vec<String>,
}

/// What a program is to DiskShadow's commands.
pub struct Rehearsal<'a> {
    /// Where it says what happens.
    pub console: Console<'a>,
    /// Where it has the provider.
    pub provider: ProviderPlace,
    /// How it sets up a host with that provider. It may block.
    pub set_up: &'a dyn Fn(&HostSettings, &Surroundings<'_>) -> anyhow::Result<RehearsedHost>,
}

impl Rehearsal<'_> {
    /// Runs a script. Answers whether it came to its end.
    ///
    /// # Errors
    /// If the script cannot be read, or its host not be set up.
    pub fn script(&self, host: &HostArgs, script: &ScriptFile) -> anyhow::Result<bool> {
        let text = script_text::read(&script.file)?;
        self.on_host(host, |session| {
            for (index, parameter) in script.parameters.iter().enumerate() {
                session.define(&format!("DISKSH_PARAM_{}", index + 1), parameter);
            }
            let ran = run_script(session, &text);
            if let Err(error) = &ran {
                self.console.complain(format_args!("{}: {error}", script.file.display()));
            }
            Ok(ran.is_ok())
        })
    }

    /// Reads commands, with a prompt if somebody is there to see it. Answers false if a program that was run has ended the prompt.
    ///
    /// # Errors
    /// If the host cannot be set up, or the commands not be read.
    pub fn prompt(&self, host: &HostArgs, commands: impl BufRead, is_terminal: bool) -> anyhow::Result<bool> {
        self.on_host(host, |session| {
            for line in (Prompted { is_terminal, lines: commands }) {
                match session.execute(&line.context("cannot read the commands")?) {
                    Ok(Flow::Continue) => (),
                    Ok(Flow::Exit) => break,
                    Err(fault) => {
                        self.console.complain(&fault);
                        if fault.ends_prompt() {
                            return Ok(false);
                        }
                    }
                }
            }
            Ok(true)
        })
    }

    fn on_host(
        &self,
        args: &HostArgs,
        run: impl FnOnce(&mut Session<'_>) -> anyhow::Result<bool>,
    ) -> anyhow::Result<bool> {
        let hosts = Hosts::read(&args.hosts, self.provider)?;
        let settings = hosts.named(args.host.as_deref())?;
        let runtime = Runtime::new()?;
        let mut host = (self.set_up)(settings, &Surroundings { runtime: &runtime, console: self.console })?;
        let mut machine = LocalMachine::new(settings);
        let mut output = |line: &str| self.console.say(line);
        let mut session = Session::new(host.vss(), &mut machine, &mut output);
        let verdict = run(&mut session);
        let finished = session.finish();
        host.tear_down(&runtime)?;
        if let Err(fault) = finished {
            self.console.complain(format_args!("shadow copies that are not persistent stay behind: {fault}"));
            return verdict.map(|_| false);
        }
        verdict
    }
}

/// Lines after a prompt, if somebody is there to see it.
struct Prompted<R> {
    is_terminal: bool,
    lines: R,
}

impl<R: BufRead> Iterator for Prompted<R> {
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
