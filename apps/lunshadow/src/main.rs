//! The `lunshadow` program.

use std::io::IsTerminal as _;
use std::process::ExitCode;

use clap::Parser as _;
use lunshadow::cli::{Cli, Command};
use lunshadow::{admin, conform, console, pool, serve, trial};
use tokio::runtime::Runtime;
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    let cli = Cli::parse();
    // What libraries have to say is for those who ask for it: RUST_LOG=debug. A service tells whom it refused.
    let level = if matches!(cli.command, Command::Serve(_)) { "warn" } else { "error" };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level));
    let colours = std::io::stderr().is_terminal();
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(colours).with_writer(std::io::stderr).init();
    match run(&cli) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            // One line: what happened, and what lay behind it.
            console::complain(&format!("lunshadow: {error:#}"));
            ExitCode::from(2)
        }
    }
}

fn run(cli: &Cli) -> anyhow::Result<bool> {
    match &cli.command {
        Command::Try(args) => return trial::run(args, &Runtime::new()?),
        Command::Pool(command) => return Runtime::new()?.block_on(pool::run(command)),
        Command::Serve(args) => Runtime::new()?.block_on(serve::serve(args)),
        Command::Host(command) => admin::host(command),
        Command::Portal(command) => admin::portal(command),
        Command::Lun(command) => return admin::lun(command, &Runtime::new()?),
        Command::Shadow(command) => return admin::shadow(command),
        Command::Conform(args) => return conform::run(args),
    }?;
    Ok(true)
}
