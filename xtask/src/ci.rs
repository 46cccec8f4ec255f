//! `cargo xtask ci`: all that continuous integration runs, stage by stage. What cannot be done on this machine is said.

use std::time::{Duration, Instant};

use anyhow::Context;
use cargo_metadata::MetadataCommand;

use crate::command::{cargo, output_of, run};
use crate::fuzz::{self, FuzzArgs};
use crate::windows::{TARGET, target_library};
use crate::{check, conformance, peers, soak, windows};

/// Set for the tests when every foreign program is there: a test that misses one then fails.
const REQUIRE_PEERS: &str = "LUNSHADOW_REQUIRE_PEERS";

/// How long each fuzz target runs. Two run at a time, so that all eight take four minutes.
const FUZZ_SECONDS: u32 = 60;

/// Runs all stages and stops at the first that fails. The last lines are the test runner's own summary.
pub(crate) fn run_all() -> anyhow::Result<()> {
    let mut stages = Stages::default();
    stages.run("format", || run(&mut cargo(&["fmt", "--all", "--check"])))?;
    stages.run("laws", check::run)?;
    stages.run("lints", || run(&mut cargo(&["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"])))?;
    stages.run("lints for Windows", windows_lints)?;
    stages
        .run("documentation", || run(cargo(&["doc", "--workspace", "--no-deps"]).env("RUSTDOCFLAGS", "-D warnings")))?;
    let mut has_peers = false;
    stages.run("foreign programs", || {
        has_peers = peers::set_up(peers::FOR_TESTS)?;
        Ok(())
    })?;
    let has_nextest = output_of(&mut cargo(&["nextest", "--version"])).is_some();
    if has_nextest {
        // Nextest runs no documentation tests.
        stages.run("documentation tests", || run(&mut cargo(&["test", "--workspace", "--doc"])))?;
    }
    stages.run("iSCSI conformance", conformance::run_iscsi)?;
    // With other locks, and so not among the others.
    stages.run("orders of threads", || run(&mut soak::exploration()))?;
    stages.run("Windows programs under Wine", || windows::run_all(&windows::WindowsArgs::default()))?;
    stages.run("fuzzing", || fuzz::run_targets(&FuzzArgs { target: None, seconds: FUZZ_SECONDS }))?;
    stages.print_durations();
    println!("\n== tests");
    let mut tests = if has_nextest {
        cargo(&["nextest", "run", "--workspace", "--no-fail-fast"])
    } else {
        cargo(&["test", "--workspace", "--no-fail-fast"])
    };
    if has_peers {
        tests.env(REQUIRE_PEERS, "1");
    }
    run(&mut tests)
}

/// Lints for Windows what runs on the hosts, if the target's standard library and a compiler for what is in C can be had.
fn windows_lints() -> anyhow::Result<()> {
    if !peers::set_up(peers::FOR_WINDOWS)? {
        println!("skipped: lints for Windows, because not everything that they need is installed");
        return Ok(());
    }
    if let Err(reason) = target_library(TARGET) {
        println!("skipped: lints for Windows, because {reason}");
        return Ok(());
    }
    let metadata = MetadataCommand::new().no_deps().exec().context("cargo metadata failed")?;
    // Not the tests of these: they run here, and use what is here.
    let mut command = cargo(&["clippy", "--target", TARGET]);
    for package in metadata.workspace_packages() {
        let folder =
            package.manifest_path.strip_prefix(&metadata.workspace_root).context("a member lies in the tree")?;
        if folder.starts_with("wire") || folder.starts_with("host") {
            command.args(["--package", package.name.as_str()]);
        }
    }
    run(command.args(["--", "-D", "warnings"]))?;
    // The tests of these run there.
    let mut command = cargo(&["clippy", "--target", TARGET, "--all-targets"]);
    for package in windows::TESTED {
        command.args(["--package", package]);
    }
    run(command.args(["--", "-D", "warnings"]))
}

/// The stages that have run, with their durations.
#[derive(Default)]
struct Stages(Vec<(&'static str, Duration)>);

impl Stages {
    fn run(&mut self, name: &'static str, stage: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<()> {
        println!("\n== {name}");
        let start = Instant::now();
        stage().with_context(|| format!("the stage \"{name}\" failed"))?;
        let duration = start.elapsed();
        println!("== {name}: {:.1} s", duration.as_secs_f64());
        self.0.push((name, duration));
        Ok(())
    }

    fn print_durations(&self) {
        println!("\n== so far");
        for (name, duration) in &self.0 {
            println!("{:>8.1} s  {name}", duration.as_secs_f64());
        }
    }
}
