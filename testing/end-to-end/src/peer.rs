//! Programs that others wrote, run as child processes with a time limit.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use tokio::process::Command;

/// Set where every peer has to be there: a test that misses one then fails instead of being skipped.
pub const REQUIRE_PEERS: &str = "LUNSHADOW_REQUIRE_PEERS";

/// How long one run of a program may take. All that the tests ask of them takes seconds.
pub const RUN_AT_MOST: Duration = Duration::from_secs(120);

/// Where programs for administrators are, which the search path of other users often lacks.
const ADMIN_FOLDERS: &[&str] = &["/usr/local/sbin", "/usr/sbin", "/sbin"];

/// A program that is on this machine.
#[derive(Debug, Clone)]
pub struct Peer {
    program: PathBuf,
}

/// What a program left when it ended.
#[derive(Debug)]
pub struct Finished {
    /// How it ended.
    pub status: ExitStatus,
    /// What it wrote to standard output.
    pub stdout: String,
    /// What it wrote to standard error.
    pub stderr: String,
}

impl Peer {
    /// Finds a program. Without it the test that asks is skipped, which is said; or fails where [`REQUIRE_PEERS`] is set.
    ///
    /// # Panics
    /// If the program is missing and [`REQUIRE_PEERS`] is set.
    #[must_use]
    pub fn find(name: &str) -> Option<Self> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let folders = std::env::split_paths(&path).chain(ADMIN_FOLDERS.iter().map(PathBuf::from));
        let found = folders.map(|folder| folder.join(name)).find(|program| program.is_file());
        if found.is_none() {
            skip(&format!("there is no {name}"));
        }
        found.map(Self::at)
    }

    /// Finds one of QEMU's programs, if it can load its iSCSI module.
    ///
    /// # Panics
    /// As [`Peer::find`].
    pub async fn find_with_iscsi(name: &str) -> Option<Self> {
        let qemu_img = Self::find("qemu-img")?;
        // Nothing listens on port 1: only whether it fails there matters.
        let probe = qemu_img.run(["info", "iscsi://127.0.0.1:1/iqn.2026-01.example:none/0"]).await;
        if probe.is_ok_and(|probe| !probe.stderr.contains("Failed to connect")) {
            skip(&format!("{name} cannot load its iSCSI module of the same version"));
            return None;
        }
        Self::find(name)
    }

    /// The program at this path, which has to exist.
    #[must_use]
    pub fn at(program: PathBuf) -> Self {
        Self { program }
    }

    /// Runs the program to its end. It is killed when that takes longer than [`RUN_AT_MOST`].
    ///
    /// # Errors
    /// If it cannot be started or does not end in time. How it ended is no error here.
    pub async fn run<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> anyhow::Result<Finished> {
        self.run_within(RUN_AT_MOST, arguments).await
    }

    /// Runs the program to its end, which has to come within `at_most`.
    ///
    /// # Errors
    /// As [`Peer::run`].
    pub async fn run_within<A: AsRef<OsStr>>(
        &self,
        at_most: Duration,
        arguments: impl IntoIterator<Item = A>,
    ) -> anyhow::Result<Finished> {
        let mut command = self.command(arguments);
        let run = command.stdin(Stdio::null()).output();
        let Ok(output) = tokio::time::timeout(at_most, run).await else {
            bail!("{command:?} did not end within {at_most:?}");
        };
        let output = output.with_context(|| format!("cannot start {}", self.program.display()))?;
        Ok(Finished {
            status: output.status,
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }

    /// Runs the program, which has to succeed, and returns its standard output.
    ///
    /// # Errors
    /// As [`Peer::run`], and if the program says that it failed.
    pub async fn succeed<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> anyhow::Result<String> {
        let finished = self.run(arguments).await?;
        let Finished { status, stdout, stderr } = &finished;
        ensure!(status.success(), "{}: {status}\n{stdout}{stderr}", self.program.display());
        Ok(finished.stdout)
    }

    /// The command that runs the program; it is killed when its handle is dropped. Its language is C, so that output can be read.
    #[must_use]
    pub fn command<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Command {
        let mut command = Command::new(&self.program);
        command.args(arguments).env("LC_ALL", "C").kill_on_drop(true);
        command
    }
}

/// A path as an argument among others.
///
/// # Panics
/// If the path is not UTF-8; the tests' own paths are.
#[must_use]
pub fn argument(path: &Path) -> &str {
    path.to_str().expect("paths of tests are UTF-8")
}

/// Says why a test is skipped.
///
/// # Panics
/// If [`REQUIRE_PEERS`] is set.
#[expect(clippy::print_stderr, reason = "a skipped test has to be seen")]
pub fn skip(why: &str) {
    assert!(std::env::var_os(REQUIRE_PEERS).is_none(), "{REQUIRE_PEERS} is set, but {why}");
    eprintln!("skipped: {why}; `cargo xtask setup` installs it or names its package");
}
