//! `cargo xtask windows`: the Windows programs, built here and run under Wine, with real COM between processes.
//!
//! It makes a fresh Wine prefix below the target folder, with two libraries that Wine lacks ([`mod@libraries`]), compares what Rust takes VSS's structures to be
//! with the headers of C ([`layouts`]), starts the array's side on Linux, runs the tests, and prints what each statement of the contract with VSS came to ([`mod@verdicts`]).

mod array_side;
mod figures;
mod layouts;
mod libraries;
mod msvc;
mod prefix;
mod statements;
mod verdicts;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use cargo_metadata::MetadataCommand;
use clap::Args;

use crate::command::{build_as_for_tests, build_for_speed, cargo, output_of, program, run, wait_unless};
use crate::peers;
use array_side::{ArraySide, LARGE, SMALL};
use prefix::Prefix;

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

/// How long all tests under Wine may take together. On two processors they took 12 minutes.
const TESTS_AT_MOST: Duration = Duration::from_secs(40 * 60);

/// For how long nothing may be heard of them: a test that hangs need not cost all that time. The longest takes a few minutes.
const SILENCE_AT_MOST: Duration = Duration::from_secs(10 * 60);

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
    let prefix = timed("prefix", || {
        let prefix = Prefix::make(folder.join("prefix"))?;
        prefix.install(&libraries)?;
        prefix.run(&programs.join("vss-stand-in.exe"), &["register"])?;
        Ok(prefix)
    })?;
    let lunshadow = metadata.target_directory.join(native_folder(profile)).join("lunshadow").into_std_path_buf();
    let array = timed("array", || ArraySide::start(lunshadow.clone(), &folder, &LARGE))?;
    if arguments.bench {
        return timed("figures", || figures::run(root, &folder, &prefix, &array, &programs));
    }
    let small = timed("small array", || ArraySide::start(lunshadow, &folder, &SMALL))?;
    timed("structures and constants against the headers of C", || layouts::check(root, &folder, &prefix, &programs))?;
    let report = folder.join("tests.txt");
    let outcome = timed("tests", || test(arguments, profile, &prefix, &[&array, &small], &report));
    drop((prefix, array, small));
    let verdicts = verdicts::read(&report)?;
    verdicts.print(&statements::read(root)?);
    outcome?;
    ensure!(arguments.filter.is_some() || verdicts.count() > 0, "no test ran");
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
    if profile == "windows" { build_as_for_tests() } else { build_for_speed() }
}

/// The folder that the array's side is built into.
fn native_folder(profile: &str) -> &str {
    if profile == "windows" { "debug" } else { profile }
}

/// Runs the tests, with their output in a file: a COM server that a test starts inherits it, and would keep a pipe open.
fn test(
    arguments: &WindowsArgs,
    profile: &str,
    prefix: &Prefix,
    arrays: &[&ArraySide],
    report: &Path,
) -> anyhow::Result<()> {
    let output = File::create(report).with_context(|| report.display().to_string())?;
    let mut tests = cargo_for_windows("test", profile);
    for package in TESTED {
        tests.args(["--package", package]);
    }
    tests.args(["--lib", "--bins", "--tests", "--no-fail-fast"]);
    prefix.describe_to(&mut tests);
    arrays.iter().for_each(|array| array.describe_to(&mut tests));
    tests.env("CARGO_TARGET_X86_64_PC_WINDOWS_GNU_RUNNER", peers::WINE);
    // What is registered is the prefix's, so tests take turns.
    tests.args(["--", "--test-threads=1"]);
    tests.args(&arguments.filter);
    tests.stdout(output.try_clone()?).stderr(output);
    let mut running = tests.spawn().context("cannot start cargo")?;
    let mut reason_to_end = impatience(report, Instant::now());
    let ended = wait_unless(&mut running, || reason_to_end(Instant::now()));
    if !ended.as_ref().is_ok_and(ExitStatus::success) {
        let text = std::fs::read(report)?;
        print!("{}", String::from_utf8_lossy(&text));
    }
    ensure!(ended?.success(), "tests under Wine failed");
    Ok(())
}

/// Says at a point in time why tests that write a report are not waited for any longer, if they are not.
fn impatience(report: &Path, began: Instant) -> impl FnMut(Instant) -> Option<String> {
    let (mut len, mut heard) = (0, began);
    move |now| {
        let len_now = std::fs::metadata(report).map_or(0, |metadata| metadata.len());
        if std::mem::replace(&mut len, len_now) != len_now {
            heard = now;
        }
        if now.duration_since(heard) >= SILENCE_AT_MOST {
            return Some(format!("nothing was heard of the last test for {} s: it hangs", SILENCE_AT_MOST.as_secs()));
        }
        (now.duration_since(began) >= TESTS_AT_MOST)
            .then(|| format!("it was not done after {} s", TESTS_AT_MOST.as_secs()))
    }
}

/// A path of here as programs under Wine name it.
fn windows_path(path: &Path) -> PathBuf {
    PathBuf::from(format!("Z:{}", path.display().to_string().replace('/', "\\")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_that_are_silent_or_go_on_for_ever_are_not_waited_for() -> anyhow::Result<()> {
        let folder = tempfile::tempdir()?;
        let report = folder.path().join("report");
        let mut now = Instant::now();
        let until = now + TESTS_AT_MOST;
        let mut reason = impatience(&report, now);
        let mut text = String::new();
        while now < until {
            text.push_str("test ... ok\n");
            std::fs::write(&report, &text)?;
            assert_eq!(reason(now), None, "something was heard");
            now += SILENCE_AT_MOST - Duration::from_secs(1);
        }
        assert!(reason(now).is_some_and(|reason| reason.contains("not done")));
        assert!(reason(now + SILENCE_AT_MOST).is_some_and(|reason| reason.contains("it hangs")));
        Ok(())
    }
}
