//! `cargo xtask windows`: the Windows programs, built here and run under Wine, with real COM between processes.
//!
//! It makes a fresh Wine prefix below the target folder, with two libraries that Wine lacks ([`mod@libraries`]), compares what Rust takes VSS's structures to be
//! with the headers of C ([`layouts`]), starts the array's side on Linux, runs the tests ([`executables`]), and prints what each statement of the contract with VSS came to ([`mod@verdicts`]).

mod array_side;
mod backtraces;
mod executables;
mod figures;
mod layouts;
mod libraries;
mod msvc;
mod place;
mod prefix;
mod relay;
mod statements;
mod verdicts;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, ensure};
use cargo_metadata::MetadataCommand;
use clap::Args;

use crate::command::{build_as_for_tests, build_for_speed, cargo, output_of, program, run};
use crate::peers;
use array_side::{LARGE, SMALL};
use executables::Runner;
use place::{Parts, Place};

/// The target of the Windows programs here.
pub(crate) const TARGET: &str = "x86_64-pc-windows-gnu";

/// The packages whose tests are for Windows.
pub(crate) const TESTED: &[&str] = &[
    "lunshadow-vss-com",
    "lunshadow-provider-com",
    "lunshadow-array-client",
    "lunshadow-conform-com",
    "lunshadow-rehearsal",
    "lunshadow-shadow-com",
    "lunshadow-windows",
];

/// The compiler whose name cargo needs as a linker.
const LINKER: &str = "x86_64-w64-mingw32-gcc-posix";

/// What to do besides.
#[derive(Debug, Default, Args)]
pub(crate) struct WindowsArgs {
    /// Only tests whose names contain this
    filter: Option<String>,
    /// Measure instead of test: release build, one COM call, commits through COM, TLS and array
    #[arg(long)]
    bench: bool,
}

/// Builds, runs and judges.
pub(crate) fn run_all(arguments: &WindowsArgs) -> anyhow::Result<()> {
    if !peers::set_up(peers::FOR_WINDOWS)? {
        println!("skipped: all tests through COM, because not everything that they need is installed");
        return Ok(());
    }
    if let Err(reason) = target_library(TARGET) {
        println!("skipped: all tests through COM, because {reason}");
        return Ok(());
    }
    let metadata = MetadataCommand::new().no_deps().exec().context("cargo metadata failed")?;
    let root = metadata.workspace_root.as_std_path();
    let folder = metadata.target_directory.join("wine").into_std_path_buf();
    std::fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    let profile = if arguments.bench { "release" } else { "windows" };
    if !arguments.bench {
        timed("check for the compiler of Microsoft", || msvc::check(&folder))?;
    }
    timed("build", || build(profile))?;
    let libraries = timed("libraries that Wine lacks", || libraries::build(root, &folder.join("libraries")))?;
    let programs = metadata.target_directory.join(TARGET).join(profile).into_std_path_buf();
    let array_programs = metadata.target_directory.join(native_folder(profile)).into_std_path_buf();
    let parts = Parts { folder, libraries, programs, array_programs };
    if arguments.bench {
        let place = Place::make(&parts, &[LARGE], 0)?;
        return timed("figures", || figures::run(root, &parts, &place));
    }
    let tests = timed("build of the tests", || executables::build(profile))?;
    let make_place = |number| Place::make(&parts, &[LARGE, SMALL], number);
    let first = make_place(0)?;
    timed("structures and constants against the headers of C", || layouts::check(root, &parts, &first.prefix))?;
    let filter = arguments.filter.as_deref();
    let runner = Runner::new(&tests, filter, parts.folder.join("tests"))?;
    let outcome = timed("tests", || runner.run(first, make_place))?;
    let verdicts = verdicts::parse(&outcome.text);
    verdicts.print(&statements::read(root)?);
    outcome.judge()?;
    ensure!(filter.is_some() || verdicts.count() > 0, "no test ran");
    Ok(())
}

/// Sees to the standard library of a target. The error is the reason why it is not there.
pub(crate) fn target_library(target: &str) -> Result<(), String> {
    let list = output_of(&mut program("rustup", &["target", "list", "--installed"]));
    let Some(list) = list else { return Err("there is no rustup to get its standard library with".to_owned()) };
    if list.lines().any(|line| line == target) {
        return Ok(());
    }
    let output = program("rustup", &["target", "add", target]).output().map_err(|error| error.to_string())?;
    if output.status.success() {
        return Ok(());
    }
    let error = String::from_utf8_lossy(&output.stderr);
    let line = error.lines().find(|line| line.starts_with("error")).unwrap_or("it failed");
    Err(format!("`rustup target add {target}` says: {line}"))
}

fn timed<T>(what: &str, step: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<T> {
    let start = Instant::now();
    let done = step().with_context(|| format!("{what} failed"))?;
    println!("-- {what}: {:.1} s", start.elapsed().as_secs_f64());
    Ok(done)
}

/// Cargo for the Windows target, with its linker.
fn cargo_for_windows(command: &str, profile: &str) -> Command {
    let mut cargo = cargo(&[command, "--profile", profile, "--target", TARGET]);
    cargo.env("CARGO_TARGET_X86_64_PC_WINDOWS_GNU_LINKER", LINKER);
    cargo
}

/// The Windows programs and tests, and the array's side for here.
fn build(profile: &str) -> anyhow::Result<()> {
    let mut programs = cargo_for_windows("build", profile);
    for package in ["lunshadow-provider-com", "lunshadow-conform-com", "lunshadow-shadow-com", "lunshadow-windows"] {
        programs.args(["--package", package]);
    }
    run(programs.arg("--bins"))?;
    // Here nothing hands out pointers that debug assertions refuse.
    if profile == "windows" { build_as_for_tests(&["lunshadow-relay"]) } else { build_for_speed() }
}

/// The folder that the array's side is built into.
fn native_folder(profile: &str) -> &str {
    if profile == "windows" { "debug" } else { profile }
}

/// A path of here as programs under Wine name it.
fn windows_path(path: &Path) -> PathBuf {
    PathBuf::from(format!("Z:{}", path.display().to_string().replace('/', "\\")))
}
