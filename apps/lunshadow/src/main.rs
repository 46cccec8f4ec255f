//! The `lunshadow` program.

use std::process::ExitCode;

use clap::Parser as _;
use lunshadow::cli::{Cli, Command};
use lunshadow::{console, serve, trial};
use tokio::runtime::Runtime;
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    let cli = Cli::parse();
    // What libraries have to say is for those who ask for it: RUST_LOG=debug.
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("error"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
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
    let runtime = Runtime::new()?;
    match &cli.command {
        Command::Try(args) => trial::run(args, &runtime),
        Command::Serve(args) => runtime.block_on(serve::serve(args)).map(|()| true),
    }
}
