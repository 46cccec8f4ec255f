//! The machine that a script runs on: its files, its programs, its environment.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::SystemTime;

use lunshadow_diskshadow::{Machine, MachineFailure, Metadata};

use super::hosts::HostSettings;
use super::metadata;

/// This machine, in the name of a simulated host.
pub(super) struct LocalMachine {
    host: String,
    /// What stands for a Windows host's drives, by their letters in upper case.
    folders: BTreeMap<char, PathBuf>,
}

impl LocalMachine {
    pub(super) fn new(settings: &HostSettings) -> Self {
        let letter = |name: &String| name.chars().next().map(|letter| letter.to_ascii_uppercase());
        let folders = settings.folders.iter().filter_map(|(name, folder)| Some((letter(name)?, folder.clone())));
        Self { host: settings.name.clone(), folders: folders.collect() }
    }

    /// Where a path of a script is here.
    fn here(&self, path: &str) -> Result<PathBuf, MachineFailure> {
        let mut chars = path.chars();
        let (letter, colon) = (chars.next().unwrap_or_default(), chars.next());
        if colon != Some(':') || !letter.is_ascii_alphabetic() {
            return Ok(PathBuf::from(path.replace('\\', "/")));
        }
        let Some(folder) = self.folders.get(&letter.to_ascii_uppercase()) else {
            return Err(MachineFailure(format!(
                "nothing stands for drive {letter}: of host {}, so {path} cannot be found; name a folder in its `folders`",
                self.host
            )));
        };
        Ok(folder.join(chars.as_str().replace('\\', "/").trim_start_matches('/')))
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
        let path = self.here(file)?;
        let checked = if path.is_dir() { Err(io::ErrorKind::IsADirectory.into()) } else { beside(&path).map(drop) };
        checked.map_err(|error| unwritable(&path, &error))
    }

    fn write_metadata(&mut self, file: &str, content: &Metadata) -> Result<(), MachineFailure> {
        let path = self.here(file)?;
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
        let path = self.here(file)?;
        let read = std::fs::File::open(&path).and_then(metadata::read);
        read.map_err(|error| MachineFailure(format!("cannot read the metadata in {}: {error}", path.display())))
    }

    fn run(&mut self, file: &str, variables: &[(String, String)]) -> Result<i32, MachineFailure> {
        let path = self.here(file)?;
        // A name without a folder is a file here, not one of the search path.
        let program = if path.is_absolute() { path.clone() } else { Path::new(".").join(&path) };
        let mut command = Command::new(program);
        command.envs(variables.iter().map(|(name, value)| (name, value))).stdin(Stdio::null());
        let status = command.status();
        let status = status.map_err(|error| MachineFailure(format!("cannot run {}: {error}", path.display())))?;
        Ok(status.code().unwrap_or_else(|| died_of(status)))
    }
}

/// As a shell has it: 128 and the number of the signal.
fn died_of(status: std::process::ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt as _;
    status.signal().map_or(-1, |signal| 128 + signal)
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

    #[test]
    fn drives_are_folders_and_other_paths_are_as_they_are() {
        let folders = [('C', PathBuf::from("/srv/c"))].into();
        let machine = LocalMachine { host: "sql-1".to_owned(), folders };
        for (path, here) in [
            (r"c:\backup\a b.cmd", "/srv/c/backup/a b.cmd"),
            ("C:/a.cab", "/srv/c/a.cab"),
            ("c:", "/srv/c/"),
            (r"sets\a.cab", "sets/a.cab"),
            ("/tmp/a.cab", "/tmp/a.cab"),
            ("a.cab", "a.cab"),
        ] {
            assert_eq!(machine.here(path).unwrap(), Path::new(here), "{path}");
        }
        let refused = machine.here(r"d:\a.cab").unwrap_err().to_string();
        assert!(refused.starts_with("nothing stands for drive d: of host sql-1"), "{refused}");
    }

    #[test]
    fn programs_get_the_aliases_and_their_status_comes_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("program");
        std::fs::write(&path, "#!/bin/sh\nexit \"$STATUS\"\n").unwrap();
        let mut mode = std::fs::metadata(&path).unwrap().permissions();
        std::os::unix::fs::PermissionsExt::set_mode(&mut mode, 0o755);
        std::fs::set_permissions(&path, mode).unwrap();
        let mut machine = LocalMachine { host: "sql-1".to_owned(), folders: BTreeMap::new() };
        let mut run = |status: &str| machine.run(path.to_str().unwrap(), &[("STATUS".to_owned(), status.to_owned())]);
        assert_eq!((run("0"), run("7")), (Ok(0), Ok(7)));
        let gone = machine.run("/nowhere/program", &[]).unwrap_err().to_string();
        assert!(gone.starts_with("cannot run /nowhere/program"), "{gone}");
    }
}
