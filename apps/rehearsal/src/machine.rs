//! The machine that a script runs on: its files, its programs, its environment.

use std::io;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::time::SystemTime;

use lunshadow_diskshadow::{Machine, MachineFailure, Metadata};

use crate::folders::Folders;
use crate::hosts::HostSettings;
use crate::metadata;

/// This machine, in the name of a simulated host.
pub(crate) struct LocalMachine {
    host: String,
    folders: Folders,
}

impl LocalMachine {
    pub(crate) fn new(settings: &HostSettings) -> Self {
        Self { host: settings.name.clone(), folders: Folders::new(settings) }
    }
}

impl Machine for LocalMachine {
    fn variable(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }

    fn metadata_name(&self) -> String {
        let now = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
        format!("{}_{}.cab", now.trim_end_matches('Z').replace(':', "-"), self.host)
    }

    fn check_metadata(&mut self, file: &str) -> Result<(), MachineFailure> {
        let path = self.folders.here(file)?;
        let checked = if path.is_dir() { Err(io::ErrorKind::IsADirectory.into()) } else { beside(&path).map(drop) };
        checked.map_err(|error| unwritable(&path, &error))
    }

    fn write_metadata(&mut self, file: &str, content: &Metadata) -> Result<(), MachineFailure> {
        let path = self.folders.here(file)?;
        let write = || -> io::Result<()> {
            let mut place = beside(&path)?;
            metadata::write(place.as_file_mut(), content)?;
            place.as_file().sync_all()?;
            place.persist(&path)?;
            Ok(())
        };
        write().map_err(|error| unwritable(&path, &error))
    }

    fn read_metadata(&mut self, file: &str) -> Result<Metadata, MachineFailure> {
        let path = self.folders.here(file)?;
        let read = std::fs::File::open(&path).and_then(metadata::read);
        read.map_err(|error| MachineFailure(format!("cannot read the metadata in {}: {error}", path.display())))
    }

    fn run(&mut self, file: &str, variables: &[(String, String)]) -> Result<i32, MachineFailure> {
        let path = self.folders.here(file)?;
        let failed = |error: io::Error| MachineFailure(format!("cannot run {}: {error}", path.display()));
        check_program(&path).map_err(failed)?;
        // A name without a folder is a file here, not one of the search path.
        let program = if path.is_absolute() { path.clone() } else { Path::new(".").join(&path) };
        // On Windows, `.cmd` and `.bat` are run by cmd, with the path as its argument; all else is a process of its own.
        let mut command = Command::new(program);
        command.envs(variables.iter().map(|(name, value)| (name, value))).stdin(Stdio::null());
        let status = command.status().map_err(failed)?;
        Ok(status.code().unwrap_or_else(|| died_of(status)))
    }
}

/// Windows runs files by the kind that their name says, which is a program if it says none.
#[cfg(windows)]
fn check_program(path: &Path) -> io::Result<()> {
    let kind = path.extension().map(|kind| kind.to_string_lossy().to_ascii_lowercase());
    match kind.as_deref() {
        // cmd would say in a line of its own that a file is not there.
        Some("cmd" | "bat") => std::fs::File::open(path).map(drop),
        None | Some("exe" | "com") => Ok(()),
        Some(_) => Err(io::Error::other("it is no .exe, .com, .cmd or .bat; name a .cmd file that starts it")),
    }
}

/// The system says itself what it does not run.
#[cfg(not(windows))]
fn check_program(_path: &Path) -> io::Result<()> {
    Ok(())
}

/// As a shell has it: 128 and the number of the signal.
#[cfg(unix)]
fn died_of(status: ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt as _;
    status.signal().map_or(-1, |signal| 128 + signal)
}

/// There every process has a status.
#[cfg(not(unix))]
fn died_of(_status: ExitStatus) -> i32 {
    -1
}

fn beside(path: &Path) -> io::Result<tempfile::NamedTempFile> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    tempfile::NamedTempFile::new_in(folder)
}

fn unwritable(path: &Path, error: &io::Error) -> MachineFailure {
    MachineFailure(format!("cannot write the metadata in {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine() -> LocalMachine {
        LocalMachine { host: "sql-1".to_owned(), folders: Folders::none("sql-1") }
    }

    /// A program that ends with the status that is in its environment.
    #[cfg(unix)]
    fn write_program(folder: &Path) -> std::path::PathBuf {
        let path = folder.join("program");
        std::fs::write(&path, "#!/bin/sh\nexit \"$STATUS\"\n").unwrap();
        let mut mode = std::fs::metadata(&path).unwrap().permissions();
        std::os::unix::fs::PermissionsExt::set_mode(&mut mode, 0o755);
        std::fs::set_permissions(&path, mode).unwrap();
        path
    }

    #[cfg(windows)]
    fn write_program(folder: &Path) -> std::path::PathBuf {
        let path = folder.join("a program.cmd");
        std::fs::write(&path, "@exit /b %STATUS%\r\n").unwrap();
        path
    }

    #[test]
    fn programs_get_the_aliases_and_their_status_comes_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = write_program(folder.path());
        let mut machine = machine();
        let mut run = |status: &str| machine.run(path.to_str().unwrap(), &[("STATUS".to_owned(), status.to_owned())]);
        assert_eq!((run("0"), run("7")), (Ok(0), Ok(7)));
        let gone = machine.run("/nowhere/program", &[]).unwrap_err().to_string();
        assert!(gone.starts_with("cannot run /nowhere/program"), "{gone}");
    }

    #[test]
    #[cfg(windows)]
    fn windows_runs_programs_and_command_files_only() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("copy.ps1");
        std::fs::write(&path, "exit 0").unwrap();
        let refused = machine().run(path.to_str().unwrap(), &[]).unwrap_err().to_string();
        assert!(refused.contains("name a .cmd file") && refused.lines().count() == 1, "{refused}");
        let missing = folder.path().join("missing.cmd");
        let missing = machine().run(missing.to_str().unwrap(), &[]).unwrap_err().to_string();
        assert!(missing.starts_with("cannot run ") && missing.lines().count() == 1, "{missing}");
        let system = std::env::var("SystemRoot").unwrap();
        for program in ["hostname.exe", "hostname"] {
            assert_eq!(machine().run(&format!(r"{system}\system32\{program}"), &[]), Ok(0));
        }
    }
}
