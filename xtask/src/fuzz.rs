//! `cargo xtask fuzz`: looks for images of pools and for words of initiators that make a panic, take memory without bound, or have blocks
//! read other than they were written.
//!
//! The targets are built by the compiler of everything else: what libFuzzer needs of it, that code counts where it comes by, it has. Only sanitizers
//! would need a nightly one, and there is no `unsafe` here for them to look at but the store's rings.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Mutex;

use anyhow::{Context, bail, ensure};
use clap::Args;

use crate::command::{cargo, output_of, program, run};
use crate::peers;

/// All targets in `fuzz/fuzz_targets`, those first whose inputs take longest.
const TARGETS: &[&str] =
    &["blocks", "log", "superblock", "scsi_blocks", "scsi_cdb", "iscsi_login", "iscsi_pdu", "iscsi_text"];

/// What one input may take. The pools have a capacity of 28 MiB.
const MEMORY_MB: u32 = 512;

/// How many targets run at the same time.
const AT_ONCE: usize = 2;

/// What libFuzzer is told by, and what makes a mistake in counting a panic.
const RUSTFLAGS: &str = "--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
     -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
     -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1 -Cdebug-assertions -Coverflow-checks";

/// What to look for, and how long.
#[derive(Debug, Args)]
pub(crate) struct FuzzArgs {
    /// The target; all of them, two at a time, if it is left out
    pub(crate) target: Option<String>,
    /// How long each target runs
    #[arg(long, default_value_t = 60)]
    pub(crate) seconds: u32,
}

/// Builds the targets and runs them. Ends with the first that finds something, when those beside it are done.
pub(crate) fn run_targets(arguments: &FuzzArgs) -> anyhow::Result<()> {
    let targets = match &arguments.target {
        Some(target) => match TARGETS.iter().find(|known| *known == target) {
            Some(target) => vec![*target],
            None => bail!("the targets are {}", TARGETS.join(", ")),
        },
        None => TARGETS.to_vec(),
    };
    if !peers::set_up(peers::FOR_FUZZING)? {
        return Ok(());
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask is in a folder")?;
    let programs = build(root)?;
    println!("fuzzing for {} s each: {}", arguments.seconds, targets.join(", "));
    let waiting = Mutex::new(VecDeque::from(targets));
    let next = || waiting.lock().ok().and_then(|mut waiting| waiting.pop_front());
    let work = || -> anyhow::Result<()> {
        while let Some(target) = next() {
            let found = run_target(root, &programs, target, arguments.seconds);
            if found.is_err() {
                // The other one stops, too, when it is done with what it has.
                while next().is_some() {}
            }
            println!("{}", found?);
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(work)).collect();
        let ends = workers.into_iter().map(|worker| worker.join().unwrap_or_else(|_| bail!("a thread has panicked")));
        ends.collect::<Vec<_>>().into_iter().collect()
    })
}

/// The folder that the targets are in then.
fn build(root: &Path) -> anyhow::Result<PathBuf> {
    let version = output_of(&mut program("rustc", &["--version", "--verbose"])).context("there is no rustc")?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: ")).context("rustc does not say its host")?;
    let manifest = root.join("fuzz/Cargo.toml");
    let folder = root.join("fuzz/target");
    // With a target given, the flags are not for build scripts, which would not link with them.
    let mut build = cargo(&["build", "--release", "--bins", "--target", host, "--manifest-path"]);
    build.arg(manifest).arg("--target-dir").arg(&folder);
    run(build.env("RUSTFLAGS", RUSTFLAGS).env_remove("CARGO_ENCODED_RUSTFLAGS"))?;
    Ok(folder.join(host).join("release"))
}

/// What there is to say of a target that has found nothing.
fn run_target(root: &Path, programs: &Path, target: &str, seconds: u32) -> anyhow::Result<String> {
    // What is found goes to the first folder; the second is kept with the sources, and is where a run begins.
    let (corpus, seeds) = (root.join("fuzz/corpus").join(target), root.join("fuzz/seeds").join(target));
    let artifacts = root.join("fuzz/artifacts").join(target);
    for folder in [&corpus, &artifacts] {
        std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    }
    let mut fuzz = std::process::Command::new(programs.join(target));
    fuzz.args([corpus, seeds]).arg(format!("-max_total_time={seconds}"));
    fuzz.args([format!("-rss_limit_mb={MEMORY_MB}"), format!("-malloc_limit_mb={MEMORY_MB}")]);
    fuzz.args(["-max_len=4096", "-timeout=30", "-print_final_stats=1"]);
    // The slash is the beginning of a name.
    fuzz.arg(format!("-artifact_prefix={}/", artifacts.display()));
    let output = fuzz.stdin(Stdio::null()).output().with_context(|| format!("cannot start {fuzz:?}"))?;
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    ensure!(output.status.success(), "{target}: {}\n{said}\nthe input is in {}", output.status, artifacts.display());
    summary(target, &said)
}

/// What libFuzzer says it has done. A build that has lost what counts coverage finds nothing either, so that is looked at, too.
fn summary(target: &str, said: &str) -> anyhow::Result<String> {
    let after = |what: &str| said.lines().find_map(|line| line.split_once(what)).map(|(_, rest)| rest.trim());
    let inputs = after("stat::number_of_executed_units:").context("libFuzzer does not say what it has done")?;
    let seed = after("INFO: Seed:").context("libFuzzer does not say its seed")?;
    let number = |text: &str| text.split_whitespace().next().and_then(|number| number.parse::<u64>().ok());
    let coverage = || said.lines().filter_map(|line| line.split_once(" cov: ")).filter_map(|(_, rest)| number(rest));
    let reached = coverage().next_back().context("libFuzzer does not say what it has reached")?;
    ensure!(reached >= EDGES_MIN, "{target} is built without coverage: {reached} edges are reached\n{said}");
    let begun = coverage().next().unwrap_or(reached);
    Ok(format!("{target:<12} nothing found in {inputs} inputs, edges reached {begun} to {reached}, seed {seed}"))
}

/// Fewer edges than the seeds of any target reach.
const EDGES_MIN: u64 = 100;

#[cfg(test)]
mod tests {
    use super::*;

    const SAID: &str = "INFO: Seed: 7\n#2\tINITED cov: 140 ft: 141 corp: 1/1b\n#9\tNEW    cov: 150 ft: 160\n\
        #12\tDONE   cov: 152 ft: 170\nstat::number_of_executed_units: 12\n";

    #[test]
    fn what_was_done_is_said() {
        let said = summary("log", SAID).expect("all is there");
        assert_eq!(said, "log          nothing found in 12 inputs, edges reached 140 to 152, seed 7");
    }

    #[test]
    fn a_build_without_coverage_is_no_fuzzing() {
        let said = SAID.replace("cov: 1", "cov: ");
        let error = summary("log", &said).expect_err("nothing is counted");
        assert!(error.to_string().contains("without coverage"), "{error}");
        assert!(summary("log", &SAID.replace("cov:", "")).is_err());
    }
}
