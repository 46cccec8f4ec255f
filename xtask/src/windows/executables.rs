//! The executables with the tests for Windows: built by cargo, run here, each place with one at a time, since what is registered is the prefix's.
//!
//! Wine has missed the end of a call, and waited for it for ever (`testing/windows/idl/keep.c`); it may have more of that kind. So an executable that hangs
//! is ended with its whole place, what all of its threads wait for is printed, and it runs once more in a new place. That it hung is said at the end
//! again, for whoever wants to know whether it was Wine. Tests that fail are not repeated.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use cargo_metadata::Message;

use super::place::Place;
use super::{TESTED, backtraces, cargo_for_windows, windows_path};
use crate::command::wait_while;
use crate::peers::WINE;

/// In how many places executables run at the same time. They wait most of the time: three take hardly longer than one, on two processors.
const PLACES: usize = 3;

/// Those that take longest, which begin first.
const LONG: &[&str] = &["conform", "scenarios", "install", "proofs"];

/// Where a test is told the file of its standard error, which Wine's own messages go to, of all programs that it starts.
const STANDARD_ERROR: &str = "LUNSHADOW_STANDARD_ERROR";

/// How long all tests under Wine may take together. On two processors they took 5 minutes.
const ALL_AT_MOST: Duration = Duration::from_secs(50 * 60);

/// For how long nothing may be heard of them. The longest test takes a few minutes.
const SILENCE_AT_MOST: Duration = Duration::from_secs(10 * 60);

/// One executable.
pub(super) struct Executable {
    /// Its package and target.
    name: String,
    path: PathBuf,
    /// Cargo runs tests in the folder of their package.
    folder: PathBuf,
}

/// How an executable ended.
enum End {
    /// By itself; whether all of its tests passed.
    Done { passed: bool },
    /// It had to be ended: why, and what was found then.
    Hung(String),
}

/// Builds the executables, in the order in which they are to run.
pub(super) fn build(profile: &str) -> anyhow::Result<Vec<Executable>> {
    let mut tests = cargo_for_windows("test", profile);
    for package in TESTED {
        tests.args(["--package", package]);
    }
    tests.args(["--lib", "--bins", "--tests", "--no-run", "--message-format=json-render-diagnostics"]);
    let output = tests.stderr(Stdio::inherit()).output().context("cannot start cargo")?;
    ensure!(output.status.success(), "the tests cannot be built: {}", output.status);
    let mut found = Vec::new();
    for message in Message::parse_stream(output.stdout.as_slice()) {
        let Message::CompilerArtifact(artifact) = message? else { continue };
        let Some(path) = artifact.executable.filter(|_| artifact.profile.test) else { continue };
        let folder = artifact.manifest_path.parent().context("a manifest is in a folder")?;
        let package = folder.file_name().context("a package's folder has a name")?;
        let name = format!("{package} {}", artifact.target.name);
        let turn = LONG.iter().position(|long| artifact.target.is_test() && artifact.target.name == **long);
        found.push((turn.unwrap_or(LONG.len()), Executable { name, path: path.into(), folder: folder.into() }));
    }
    found.sort_by(|(turn, it), (other_turn, other)| (turn, &it.name).cmp(&(other_turn, &other.name)));
    Ok(found.into_iter().map(|(_, executable)| executable).collect())
}

/// What came of all executables.
#[derive(Default)]
pub(super) struct Outcome {
    /// What they printed.
    pub(super) text: String,
    /// Those that hung once.
    hung: Vec<String>,
    /// Those with a test that failed.
    failed: Vec<String>,
}

impl Outcome {
    /// Says what hung.
    ///
    /// # Errors
    /// If a test failed.
    pub(super) fn judge(&self) -> anyhow::Result<()> {
        for name in &self.hung {
            println!("{name} hung, and ran once more: above is what it waited for");
        }
        ensure!(self.failed.is_empty(), "tests under Wine failed: {}", self.failed.join(", "));
        Ok(())
    }
}

/// Runs executables, each with its output in a file.
pub(super) struct Runner<'a> {
    /// Those that nobody has begun, the next one last.
    waiting: Mutex<Vec<&'a Executable>>,
    outcome: Mutex<Outcome>,
    filter: Option<&'a str>,
    folder: PathBuf,
    until: Instant,
}

impl<'a> Runner<'a> {
    /// To run those of `executables`, with what they print below `folder`.
    pub(super) fn new(executables: &'a [Executable], filter: Option<&'a str>, folder: PathBuf) -> anyhow::Result<Self> {
        std::fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
        let waiting = Mutex::new(executables.iter().rev().collect());
        Ok(Self { waiting, outcome: Mutex::default(), filter, folder, until: Instant::now() + ALL_AT_MOST })
    }

    /// Runs all of them at the same time in the first place and others, which `make_place` makes by their numbers.
    pub(super) fn run(
        self,
        first: Place,
        make_place: impl Fn(usize) -> anyhow::Result<Place> + Sync,
    ) -> anyhow::Result<Outcome> {
        let (runner, make_place) = (&self, &make_place);
        let mut first = Some(first);
        let runs: Vec<anyhow::Result<()>> = std::thread::scope(|scope| {
            let run = |number| {
                let place = first.take();
                scope.spawn(move || runner.run_in(place.map_or_else(|| make_place(number), Ok)?, || make_place(number)))
            };
            let threads: Vec<_> = (0..PLACES).map(run).collect();
            threads.into_iter().map(|thread| thread.join().expect("it does not panic")).collect()
        });
        runs.into_iter().collect::<anyhow::Result<()>>()?;
        Ok(self.outcome.into_inner().unwrap_or_else(PoisonError::into_inner))
    }

    fn run_in(&self, mut place: Place, make_place: impl Fn() -> anyhow::Result<Place>) -> anyhow::Result<()> {
        let next = || lock(&self.waiting).pop();
        while let Some(executable) = next() {
            let report = self.folder.join(format!("{}.txt", executable.name.replace(' ', "-")));
            let start = Instant::now();
            let mut end = executable.run(&place, self.filter, &report, self.until)?;
            if let End::Hung(found) = end {
                println!("{}: {found}\nIt runs once more in a new place.", executable.name);
                lock(&self.outcome).hung.push(executable.name.clone());
                drop(place);
                place = make_place()?;
                end = executable.run(&place, self.filter, &report, self.until)?;
            }
            let mut outcome = lock(&self.outcome);
            outcome.text.push_str(&read(&report)?);
            match end {
                End::Done { passed: true } => {}
                End::Done { passed: false } => {
                    print!("{}{}", read(&report)?, read(&error_of(&report))?);
                    outcome.failed.push(executable.name.clone());
                }
                End::Hung(found) => bail!("{}: it hangs again: {found}", executable.name),
            }
            println!("   {}: {:.1} s", executable.name, start.elapsed().as_secs_f64());
        }
        Ok(())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What stands beside a report: standard error.
fn error_of(report: &Path) -> PathBuf {
    report.with_extension("error.txt")
}

fn read(report: &Path) -> anyhow::Result<String> {
    let text = std::fs::read(report).with_context(|| report.display().to_string())?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

impl Executable {
    /// Runs it with its output in files: a COM server that a test starts inherits them, and would keep a pipe open. If it hangs, what it has started goes on.
    fn run(&self, place: &Place, filter: Option<&str>, report: &Path, until: Instant) -> anyhow::Result<End> {
        let create = |path: &Path| File::create(path).with_context(|| path.display().to_string());
        let (output, error) = (create(report)?, create(&error_of(report))?);
        let mut tests = Command::new(WINE);
        tests.arg(windows_path(&self.path)).arg("--test-threads=1").args(filter).current_dir(&self.folder);
        place.describe_to(&mut tests);
        tests.env(STANDARD_ERROR, windows_path(&error_of(report)));
        tests.stdin(Stdio::null()).stdout(output).stderr(error);
        let mut running = tests.spawn().with_context(|| format!("cannot start {WINE}"))?;
        let (mut impatience, mut reason) = (Impatience::new(Instant::now(), until), None);
        let len = || std::fs::metadata(report).map_or(0, |metadata| metadata.len());
        let ended = wait_while(&mut running, || {
            reason = impatience.reason(len(), Instant::now());
            reason.is_none()
        })?;
        let (Some(reason), None) = (reason, ended) else {
            return Ok(End::Done { passed: ended.is_some_and(|status| status.success()) });
        };
        let waits = backtraces::all(&place.prefix);
        running.kill()?;
        running.wait()?;
        Ok(End::Hung(format!("{reason}. It printed:\n{}\nWhat is waited for in the prefix:\n{waits}", read(report)?)))
    }
}

/// When tests are not waited for any longer.
struct Impatience {
    until: Instant,
    heard: Instant,
    len: u64,
}

impl Impatience {
    fn new(now: Instant, until: Instant) -> Self {
        Self { until, heard: now, len: 0 }
    }

    /// Why tests that have printed so much are not waited for any longer, if they are not.
    fn reason(&mut self, len: u64, now: Instant) -> Option<String> {
        if std::mem::replace(&mut self.len, len) != len {
            self.heard = now;
        }
        if now.duration_since(self.heard) >= SILENCE_AT_MOST {
            return Some(format!("nothing was heard of it for {} s", SILENCE_AT_MOST.as_secs()));
        }
        (now >= self.until).then(|| format!("all tests were not done after {} s", ALL_AT_MOST.as_secs()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_that_are_silent_or_go_on_for_ever_are_not_waited_for() {
        let mut now = Instant::now();
        let until = now + ALL_AT_MOST;
        let (mut impatience, mut len) = (Impatience::new(now, until), 0);
        while now < until {
            len += 12;
            assert_eq!(impatience.reason(len, now), None, "something was heard");
            now += SILENCE_AT_MOST - Duration::from_secs(1);
        }
        len += 12;
        assert!(impatience.reason(len, now).is_some_and(|reason| reason.contains("not done")));
        let after = impatience.reason(len, now + SILENCE_AT_MOST);
        assert!(after.is_some_and(|reason| reason.contains("nothing was heard")));
    }
}
