//! Where the paths of a script are. On Windows they are what they are; elsewhere folders stand for the drives of a Windows host.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use lunshadow_diskshadow::MachineFailure;

use crate::hosts::HostSettings;

/// The folders of a host, by drive.
pub struct Folders {
    host: String,
    /// By letters in upper case.
    by_drive: BTreeMap<char, PathBuf>,
}

impl Folders {
    /// Those of this host.
    #[must_use]
    pub fn new(settings: &HostSettings) -> Self {
        let letter = |name: &String| name.chars().next().map(|letter| letter.to_ascii_uppercase());
        let folders = settings.folders.iter().filter_map(|(name, folder)| Some((letter(name)?, folder.clone())));
        Self { host: settings.name.clone(), by_drive: folders.collect() }
    }

    /// Those of a host without any.
    #[cfg(test)]
    pub(crate) fn none(host: &str) -> Self {
        Self { host: host.to_owned(), by_drive: BTreeMap::new() }
    }

    /// Where a path of a script is here.
    ///
    /// # Errors
    /// If nothing stands for its drive.
    pub fn here(&self, path: &str) -> Result<PathBuf, MachineFailure> {
        if cfg!(windows) {
            return Ok(PathBuf::from(path));
        }
        let mut chars = path.chars();
        let (letter, colon) = (chars.next().unwrap_or_default(), chars.next());
        if colon != Some(':') || !letter.is_ascii_alphabetic() {
            return Ok(PathBuf::from(path.replace('\\', "/")));
        }
        let Some(folder) = self.drive(letter) else {
            return Err(MachineFailure(format!(
                "nothing stands for drive {letter}: of host {}, so {path} cannot be found; name a folder in its `folders`",
                self.host
            )));
        };
        Ok(folder.join(chars.as_str().replace('\\', "/").trim_start_matches('/')))
    }

    /// What stands for a drive.
    #[must_use]
    pub fn drive(&self, letter: char) -> Option<&Path> {
        self.by_drive.get(&letter.to_ascii_uppercase()).map(PathBuf::as_path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(windows)]
    fn paths_of_windows_are_what_they_are() {
        let folders = Folders { host: "sql-1".to_owned(), by_drive: [('C', PathBuf::from(r"Z:\srv\c"))].into() };
        for path in [r"C:\backup\a b.cmd", r"d:\a.cab", r"sets\a.cab", r"\\server\share\a.cab", "a.cab"] {
            assert_eq!(folders.here(path).unwrap(), Path::new(path));
        }
    }

    #[test]
    #[cfg(not(windows))]
    fn drives_are_folders_and_other_paths_are_as_they_are() {
        let folders = Folders { host: "sql-1".to_owned(), by_drive: [('C', PathBuf::from("/srv/c"))].into() };
        for (path, here) in [
            (r"c:\backup\a b.cmd", "/srv/c/backup/a b.cmd"),
            ("C:/a.cab", "/srv/c/a.cab"),
            ("c:", "/srv/c/"),
            (r"sets\a.cab", "sets/a.cab"),
            ("/tmp/a.cab", "/tmp/a.cab"),
            ("a.cab", "a.cab"),
        ] {
            assert_eq!(folders.here(path).unwrap(), Path::new(here), "{path}");
        }
        let refused = folders.here(r"d:\a.cab").unwrap_err().to_string();
        assert!(refused.starts_with("nothing stands for drive d: of host sql-1"), "{refused}");
        assert_eq!((folders.drive('c'), folders.drive('d')), (Some(Path::new("/srv/c")), None));
    }
}
