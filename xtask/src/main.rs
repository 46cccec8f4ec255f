//! The chores of the project, one subcommand each: `cargo xtask --help` lists them.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command line program reports there")]

mod bench;
mod check;
mod ci;
mod command;
mod conformance;
mod daemon;
mod documentation;
mod fuzz;
mod kernel_client;
mod model;
mod peers;
mod soak;
mod windows;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The chores of the project.
#[derive(Parser)]
#[command(name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// All that continuous integration runs: format, lints, laws, documentation, tests
    Ci,
    /// The laws of the tree: who may depend on whom, and what no source file may hold
    Check,
    /// Writes docs/iscsi_coverage.md: what RFC 7143 asks of a target, where it is done and where it is proved
    Coverage,
    /// Installs the Debian packages that the tests with foreign programs need, or names them
    Setup,
    /// The Windows programs: built, and tested through COM under Wine
    Windows(windows::WindowsArgs),
    /// Looks for images of pools and words of initiators that make a panic
    Fuzz(fuzz::FuzzArgs),
    /// Every state that a few shadow sets can get into, in sizes that the tests have no time for
    Model(model::ModelArgs),
    /// The tests that others have made for what we implement
    #[command(subcommand)]
    Conformance(conformance::Conformance),
    /// A real Linux kernel with open-iscsi, in QEMU, as the initiator of the real daemon: file systems, fstrim, digests, reservations of two
    /// guests, recovery of sessions under load, LUNs that come, go and grow. It takes 5 minutes or more; the first time it also downloads the
    /// guests' packages, about 100 MB
    KernelClient(kernel_client::KernelClientArgs),
    /// The store's tests with many more steps, the killed daemon, logins without end, and fuzzing
    Soak(soak::SoakArgs),
    /// Benchmarks, whose tables go to docs/performance.md
    #[command(subcommand)]
    Bench(bench::Bench),
}

fn main() -> ExitCode {
    let result = match Arguments::parse().chore {
        Chore::Ci => ci::run_all(),
        Chore::Check => check::run(),
        Chore::Coverage => check::write_coverage(),
        Chore::Setup => peers::set_up(peers::FOR_TESTS).and_then(|_| peers::set_up(peers::FOR_WINDOWS)).map(drop),
        Chore::Windows(arguments) => windows::run_all(&arguments),
        Chore::Fuzz(arguments) => fuzz::run_targets(&arguments),
        Chore::Model(arguments) => model::explore(&arguments),
        Chore::Conformance(which) => conformance::run(&which),
        Chore::KernelClient(arguments) => kernel_client::run(&arguments),
        Chore::Soak(arguments) => soak::run_store(&arguments),
        Chore::Bench(which) => bench::run(&which),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
