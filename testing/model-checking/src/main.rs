//! Searches of a size that CI has no time for: `cargo xtask model`.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command line program reports there")]

use std::num::NonZeroUsize;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{Parser, ValueEnum};
use lunshadow_model_checking::array::{self, ArraySystem, Request};
use lunshadow_model_checking::explorer::{Bounds, Explored, Progress, System, explore_telling};
use lunshadow_model_checking::lifecycle::{self, LifecycleSystem};
use lunshadow_model_checking::likeness::compare;
use lunshadow_model_checking::provider::{self, ProviderSystem};

/// How often somebody who waits hears how far it is.
const NEWS_EVERY: Duration = Duration::from_secs(10);

/// What is searched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Searched {
    /// The machine of the life cycle
    Lifecycle,
    /// The array's protocol
    Array,
    /// The provider between VSS and the array
    Provider,
}

/// What hosts ask of the array.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Asked {
    /// To prepare, arm, commit, keep, abort and release
    Life,
    /// All that concerns a set, with mappings
    All,
}

/// Looks at every state that a few sets can get into, and says how many there are.
#[derive(Debug, Parser)]
#[command(name = "lunshadow-model-checking")]
struct Arguments {
    /// What is searched; everything by default
    #[arg(long, value_enum)]
    only: Option<Searched>,
    /// How many sets there are: 1 or 2 at the array
    #[arg(long, default_value_t = 1)]
    sets: u8,
    /// How many calls or requests can be under way at a time
    #[arg(long, default_value_t = 2)]
    at_once: usize,
    /// How often the array crashes, and the provider
    #[arg(long, default_value_t = 2)]
    crashes: u8,
    /// How often the pool fails, and the channel loses, repeats or delays something
    #[arg(long, default_value_t = 1)]
    failures: u8,
    /// What hosts ask of the array
    #[arg(long, value_enum, default_value_t = Asked::Life)]
    asked: Asked,
    /// Whether the array can also crash before what it writes to its records is durable
    #[arg(long)]
    held_records: bool,
    /// How many actions a way has at most
    #[arg(long, default_value_t = usize::MAX, hide_default_value = true)]
    depth: usize,
    /// After how many states a search ends that has not come to its end
    #[arg(long, default_value_t = 300_000)]
    states: usize,
    /// On how many threads; as many as there are processors by default
    #[arg(long)]
    threads: Option<usize>,
    /// Instead, compares how states go on that a search takes for one: one of so many ways to a state that is known with the first way to it
    #[arg(long, value_name = "ONE_IN", value_parser = clap::value_parser!(NonZeroUsize))]
    likeness: Option<NonZeroUsize>,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("lunshadow-model-checking: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let threads = arguments.threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, Into::into));
    let bounds = Bounds { depth: arguments.depth, states: arguments.states, threads };
    let likeness = arguments.likeness;
    let wanted = |searched| arguments.only.is_none_or(|only| only == searched);
    if wanted(Searched::Lifecycle) {
        let setup = lifecycle::Setup { sets: arguments.sets, at_once: arguments.at_once, fault: None };
        report::<LifecycleSystem>("life cycle", &setup, bounds, likeness)?;
    }
    if wanted(Searched::Array) {
        let mut setup = array::Setup::new(arguments.sets)?;
        setup.at_once = arguments.at_once;
        setup.crashes = arguments.crashes;
        setup.failures = arguments.failures;
        setup.holds_records = arguments.held_records;
        if arguments.asked == Asked::All {
            setup.requests = Request::ALL.to_vec();
        }
        report::<ArraySystem>("array", &setup, bounds, likeness)?;
    }
    if wanted(Searched::Provider) {
        let mut setup = provider::Setup::new()?;
        setup.sets = arguments.sets;
        setup.at_once = arguments.at_once;
        setup.losses = arguments.failures;
        setup.provider_crashes = arguments.crashes;
        setup.array_crashes = arguments.crashes;
        report::<ProviderSystem>("provider", &setup, bounds, likeness)?;
    }
    Ok(())
}

fn search<S: System>(setup: &S::Setup, bounds: Bounds) -> anyhow::Result<Explored> {
    let mut told = Instant::now();
    let tell = |Progress { depth, states, open }: Progress| {
        // A search of some seconds needs no news.
        if told.elapsed() >= NEWS_EVERY {
            eprintln!("depth {depth}: {states} states so far, {open} of them to go on from");
            told = Instant::now();
        }
    };
    explore_telling::<S>(setup, bounds, tell).map_err(|counterexample| anyhow::anyhow!("{counterexample}"))
}

fn report<S: System>(
    name: &str,
    setup: &S::Setup,
    bounds: Bounds,
    likeness: Option<NonZeroUsize>,
) -> anyhow::Result<()> {
    match likeness {
        Some(one_in) => println!("{name}: {}", compare::<S>(setup, bounds, one_in.get())?),
        None => println!("{name}: {}", search::<S>(setup, bounds)?),
    }
    Ok(())
}
