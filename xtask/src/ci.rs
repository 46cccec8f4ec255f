//! `cargo xtask ci`: all that continuous integration runs, stage by stage. What cannot be done on this machine is said.

use std::time::{Duration, Instant};

use anyhow::Context;
use cargo_metadata::MetadataCommand;

use crate::command::{cargo, output_of, program, run};
use crate::{check, peers};

/// The target of the Windows programs.
const WINDOWS: &str = "x86_64-pc-windows-gnu";

/// Set for the tests when every foreign program is there: a test that misses one then fails.
const REQUIRE_PEERS: &str = "LUNSHADOW_REQUIRE_PEERS";

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
        has_peers = peers::set_up()?;
        Ok(())
    })?;
    let has_nextest = output_of(&mut cargo(&["nextest", "--version"])).is_some();
    if has_nextest {
        // Nextest runs no documentation tests.
        stages.run("documentation tests", || run(&mut cargo(&["test", "--workspace", "--doc"])))?;
    }
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

/// Lints for Windows what runs on the hosts, if the target's standard library can be had.
fn windows_lints() -> anyhow::Result<()> {
    if let Err(reason) = windows_target() {
        println!("skipped: lints for Windows, because {reason}");
        return Ok(());
    }
    let metadata = MetadataCommand::new().no_deps().exec().context("cargo metadata failed")?;
    // Not the tests: these run here, and use what is here.
    let mut command = cargo(&["clippy", "--target", WINDOWS]);
    for package in metadata.workspace_packages() {
        let folder =
            package.manifest_path.strip_prefix(&metadata.workspace_root).context("a member lies in the tree")?;
        if folder.starts_with("wire") || folder.starts_with("host") {
            command.args(["--package", package.name.as_str()]);
        }
    }
    run(command.args(["--", "-D", "warnings"]))
}

/// Sees to the standard library for Windows. The error is the reason why it is not there.
fn windows_target() -> Result<(), String> {
    let list = output_of(&mut program("rustup", &["target", "list", "--installed"]));
    let Some(list) = list else { return Err("there is no rustup to get its standard library with".to_owned()) };
    if list.lines().any(|line| line == WINDOWS) {
        return Ok(());
    }
    let output = program("rustup", &["target", "add", WINDOWS]).output().map_err(|error| error.to_string())?;
    if output.status.success() {
        return Ok(());
    }
    let error = String::from_utf8_lossy(&output.stderr);
    let line = error.lines().find(|line| line.starts_with("error")).unwrap_or("it failed");
    Err(format!("`rustup target add {WINDOWS}` says: {line}"))
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
