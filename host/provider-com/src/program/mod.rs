//! The program: from the command line to its parts.

mod hosting;

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser as _;

use crate::cli::{Cli, Command, Exit, InstallArgs, OutputArgs, UninstallArgs, without_embedding};
use crate::configured::with_causes;
use crate::doctor::{Verdict, collect, judge, print, worst};
use crate::install::{Hosting, InstallError, Layout, PlanFailure, Step, carry_out, installation, removal};
use crate::{config, config_command, status};

/// Why the program did not do what it was asked.
#[derive(Debug, thiserror::Error)]
enum ProgramError {
    /// It was not installed or uninstalled.
    #[error(transparent)]
    Plan(#[from] PlanFailure),
    /// It cannot be installed.
    #[error(transparent)]
    Install(#[from] InstallError),
    /// The settings.
    #[error(transparent)]
    Settings(#[from] config::SettingsError),
    /// `config`.
    #[error(transparent)]
    Config(#[from] config_command::ConfigError),
    /// It cannot serve.
    #[error(transparent)]
    Hosting(#[from] hosting::HostingError),
    /// What was to be printed was not taken.
    #[error("nothing can be printed")]
    Unprintable(#[from] io::Error),
}

impl ProgramError {
    fn exit(&self) -> Exit {
        match self {
            Self::Plan(failure) => failure.cause.exit(),
            Self::Install(error) => error.exit(),
            Self::Settings(_) | Self::Config(_) | Self::Hosting(_) | Self::Unprintable(_) => Exit::Failed,
        }
    }
}

/// Does what the command line says.
#[must_use]
pub fn run() -> ExitCode {
    let cli = Cli::parse_from(without_embedding(std::env::args_os()));
    let done = obey(&cli);
    let exit = done.unwrap_or_else(|error| {
        // Without a console nobody can be told.
        writeln!(io::stderr(), "lunshadow-provider: {}", with_causes(&error)).ok();
        error.exit()
    });
    ExitCode::from(exit as u8)
}

fn obey(cli: &Cli) -> Result<Exit, ProgramError> {
    // What was asked for is printed in any case, what is merely said is not.
    let mut told: Box<dyn Write> = if cli.quiet { Box::new(io::sink()) } else { Box::new(io::stdout()) };
    match &cli.command {
        Command::Install(arguments) => install(arguments, &mut *told),
        Command::Uninstall(arguments) => uninstall(arguments, &mut *told),
        Command::Status(output) => show_status(&config::in_use(), output),
        Command::Doctor(output) => examine(&config::in_use(), output),
        Command::Config { command } => {
            let is_answer =
                !matches!(command, crate::cli::ConfigCommand::Add(_) | crate::cli::ConfigCommand::Remove { .. });
            let out: &mut dyn Write = if is_answer { &mut io::stdout() } else { &mut *told };
            config_command::run(command, &config::in_use(), &mut io::stdin().lock(), out)?;
            Ok(Exit::Done)
        }
        Command::Serve(arguments) => {
            hosting::serve_locally(Duration::from_secs(arguments.idle_after))?;
            Ok(Exit::Done)
        }
        Command::Service => {
            hosting::serve_as_service()?;
            Ok(Exit::Done)
        }
    }
}

fn carry_out_aloud(steps: &mut [Box<dyn Step>], told: &mut dyn Write) -> Result<(), ProgramError> {
    let left = carry_out(steps, &mut |what| {
        writeln!(told, "{what}").ok();
    })?;
    for left in left {
        writeln!(io::stderr(), "lunshadow-provider: left behind: {left}").ok();
    }
    Ok(())
}

fn install(arguments: &InstallArgs, told: &mut dyn Write) -> Result<Exit, ProgramError> {
    let hosting = if arguments.local_server { Hosting::LocalServer } else { Hosting::Service };
    carry_out_aloud(&mut installation(&Layout::of_this_machine(), hosting)?, told)?;
    writeln!(told, "The provider is installed. Arrays are added by `lunshadow-provider config add --name NAME`.")?;
    Ok(Exit::Done)
}

fn uninstall(arguments: &UninstallArgs, told: &mut dyn Write) -> Result<Exit, ProgramError> {
    carry_out_aloud(&mut removal(&Layout::of_this_machine(), arguments.keep_settings), told)?;
    writeln!(told, "The provider is removed.")?;
    Ok(Exit::Done)
}

fn json(value: &impl serde::Serialize) -> io::Result<()> {
    let text = serde_json::to_string_pretty(value).map_err(io::Error::other)?;
    writeln!(io::stdout(), "{text}")
}

fn show_status(settings: &Path, output: &OutputArgs) -> Result<Exit, ProgramError> {
    let status = status::gather(&config::load(settings)?);
    if output.json { json(&status) } else { status.print(&mut io::stdout()) }?;
    Ok(if status.is_whole() { Exit::Done } else { Exit::Failed })
}

fn examine(settings: &Path, output: &OutputArgs) -> Result<Exit, ProgramError> {
    let checks = judge(&collect(settings));
    if output.json { json(&checks) } else { print(&checks, &mut io::stdout()) }?;
    Ok(if worst(&checks) == Verdict::Failed { Exit::Failed } else { Exit::Done })
}
