//! Child processes: run one, or say which failed and how.

use std::ffi::OsString;
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

/// How often a child is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// The cargo that runs us, so that the pinned toolchain is used throughout.
pub(crate) fn cargo(arguments: &[&str]) -> Command {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let mut command = Command::new(program);
    command.args(arguments);
    command
}

/// Any other program.
pub(crate) fn program(name: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(name);
    command.args(arguments);
    command
}

/// Runs a command whose output the user sees.
pub(crate) fn run(command: &mut Command) -> anyhow::Result<()> {
    let status = command.status().with_context(|| format!("cannot start {command:?}"))?;
    if !status.success() {
        bail!("{command:?}: {status}");
    }
    Ok(())
}

/// Builds the program `lunshadow`, and others, as the tests of the workspace have it. For itself, it has fewer features of what it is made of, and all of that is
/// compiled a second time; a test of its own that is built, too, makes the difference.
pub(crate) fn build_as_for_tests(others: &[&str]) -> anyhow::Result<()> {
    let mut build = cargo(&["build", "--workspace", "--bin", "lunshadow", "--test", "try_cli"]);
    run(build.args(others.iter().flat_map(|program| ["--bin", program])))
}

/// Builds the program `lunshadow` as it is used.
pub(crate) fn build_for_speed() -> anyhow::Result<()> {
    run(&mut cargo(&["build", "--release", "--package", "lunshadow", "--bin", "lunshadow"]))
}

/// Waits for a child, and ends it when it takes too long: a program that hangs must not hang whoever waits for the results of all.
///
/// # Errors
/// If it had to be ended, or cannot be waited for.
pub(crate) fn wait_at_most(child: &mut Child, at_most: Duration) -> anyhow::Result<ExitStatus> {
    let until = Instant::now() + at_most;
    if let Some(status) = wait_while(child, || Instant::now() < until)? {
        return Ok(status);
    }
    child.kill()?;
    child.wait()?;
    bail!("it was not done after {} s and was ended", at_most.as_secs());
}

/// Waits for a child for as long as it may go on. `None` if it does.
///
/// # Errors
/// If it cannot be waited for.
pub(crate) fn wait_while(child: &mut Child, mut may_go_on: impl FnMut() -> bool) -> anyhow::Result<Option<ExitStatus>> {
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if !may_go_on() {
            return Ok(None);
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

/// What a command prints on standard output, or `None` if it cannot be started or fails.
pub(crate) fn output_of(command: &mut Command) -> Option<String> {
    let output = command.output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_that_hangs_is_ended() {
        let mut child = program("sleep", &["600"]).spawn().expect("it starts");
        let error = wait_at_most(&mut child, Duration::ZERO).expect_err("it hangs");
        assert!(error.to_string().contains("was ended"), "{error}");
        let mut child = program("true", &[]).spawn().expect("it starts");
        assert!(wait_at_most(&mut child, Duration::from_secs(600)).expect("it ends").success());
    }
}
