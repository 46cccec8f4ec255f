//! A Wine prefix: made anew, and ended with all of its processes.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, ensure};

use super::libraries::Libraries;
use super::windows_path;
use crate::command::{program, wait_at_most};
use crate::peers::WINE;

/// How long a step of making a prefix may take. The longest took 10 s.
const STEP_AT_MOST: Duration = Duration::from_secs(5 * 60);

/// A running prefix. Dropping it ends every process in it.
pub(super) struct Prefix(PathBuf);

impl Prefix {
    /// Makes a fresh one in `folder`, after removing what is there.
    pub(super) fn make(folder: PathBuf) -> anyhow::Result<Self> {
        let prefix = Self(folder);
        if prefix.0.exists() {
            prefix.end();
            std::fs::remove_dir_all(&prefix.0).with_context(|| prefix.0.display().to_string())?;
        }
        prefix.run_wine(&["wineboot", "--init"])?;
        // The services that ran while the prefix was made do not know all of what was made.
        prefix.end();
        // Otherwise services begin to end whenever no program runs for a moment, and the next program meets half of them.
        prefix.tell_server("--persistent");
        Ok(prefix)
    }

    /// Puts the libraries into the system folder and registers the proxies.
    pub(super) fn install(&self, libraries: &Libraries) -> anyhow::Result<()> {
        let system = self.0.join("drive_c/windows/system32");
        for library in [&libraries.random, &libraries.proxies] {
            let name = library.file_name().context("libraries have names")?;
            std::fs::copy(library, system.join(name)).with_context(|| library.display().to_string())?;
        }
        self.run_wine(&["regsvr32", "/s", &windows_path(&libraries.proxies).to_string_lossy()])
    }

    /// Runs a program that was built here.
    pub(super) fn run(&self, program: &Path, arguments: &[&str]) -> anyhow::Result<()> {
        let program = windows_path(program);
        let mut all = vec![program.to_str().context("paths are UTF-8 here")?];
        all.extend(arguments);
        self.run_wine(&all)
    }

    /// What a program that was built here prints on standard output.
    pub(super) fn output_of(&self, program: &Path) -> anyhow::Result<Vec<u8>> {
        let mut wine = Command::new(WINE);
        self.describe_to(&mut wine);
        let output = wine.arg(windows_path(program)).stdin(Stdio::null()).stderr(Stdio::null()).output();
        let output = output.with_context(|| format!("cannot start {WINE}"))?;
        ensure!(output.status.success(), "{}: {}", program.display(), output.status);
        Ok(output.stdout)
    }

    /// Lets a command's Wine programs run in this prefix.
    pub(super) fn describe_to(&self, command: &mut Command) {
        command.env("WINEPREFIX", &self.0).env("WINEDEBUG", "-all").env("WINEDLLOVERRIDES", "winedbg.exe=d");
    }

    /// Where a path of programs in the prefix is here.
    pub(super) fn host_path(&self, windows_path: &str) -> Option<PathBuf> {
        let (drive, path) = windows_path.split_once(":\\")?;
        let root = match drive {
            "Z" => PathBuf::from("/"),
            "C" => self.0.join("drive_c"),
            _ => return None,
        };
        Some(root.join(path.replace('\\', "/")))
    }

    fn run_wine(&self, arguments: &[&str]) -> anyhow::Result<()> {
        let mut wine = program(WINE, arguments);
        self.describe_to(&mut wine);
        let started = wine.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let mut child = started.with_context(|| format!("cannot start {WINE}"))?;
        let status = wait_at_most(&mut child, STEP_AT_MOST).with_context(|| format!("{wine:?}"))?;
        ensure!(status.success(), "{wine:?}: {status}");
        Ok(())
    }

    /// Ends every process of the prefix and waits for that.
    fn end(&self) {
        self.tell_server("--kill");
        self.tell_server("--wait");
    }

    /// Runs Wine's server, which talks to the one of the prefix. Without one there is nothing to end, which it answers with a failure.
    fn tell_server(&self, option: &str) {
        let mut server = Command::new(Path::new(WINE).with_file_name("wineserver"));
        self.describe_to(&mut server);
        server.arg(option).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        if let Ok(mut child) = server.spawn() {
            wait_at_most(&mut child, STEP_AT_MOST).ok();
        }
    }
}

impl Drop for Prefix {
    fn drop(&mut self) {
        self.end();
    }
}
