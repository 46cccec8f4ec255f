//! The file: where it is, reading it, and replacing it as a whole.

use std::ffi::OsStr;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;
#[cfg(windows)]
use std::path::PathBuf;

use super::{Settings, SettingsError};

/// Names another file than the default one, for tests and for trying things out.
pub const PATH_VARIABLE: &str = "LUNSHADOW_PROVIDER_CONFIG";

/// Where the settings are: `%ProgramData%\Lunshadow\provider.toml`.
#[cfg(windows)]
#[must_use]
pub fn default_path() -> PathBuf {
    crate::folders::program_data().join("Lunshadow").join("provider.toml")
}

/// The file that this process uses: that of the environment, or the default.
#[cfg(windows)]
#[must_use]
pub fn in_use() -> PathBuf {
    std::env::var_os(PATH_VARIABLE).map_or_else(default_path, PathBuf::from)
}

/// Reads the settings. A file that does not exist has none: no array, all limits as they are by default.
///
/// # Errors
/// [`SettingsError`].
pub fn load(path: &Path) -> Result<Settings, SettingsError> {
    match fs::read_to_string(path) {
        Ok(text) => Settings::parse(&text),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Settings::default()),
        Err(source) => Err(SettingsError::Unreadable { path: path.display().to_string(), source }),
    }
}

/// Writes the settings: a reader sees the old file or the new one, never half of either. Only administrators and the system can read it.
///
/// # Errors
/// [`SettingsError::Unwritable`].
pub fn store(path: &Path, settings: &Settings) -> Result<(), SettingsError> {
    let unwritable = |source| SettingsError::Unwritable { path: path.display().to_string(), source };
    let mut name = path.file_name().map(OsStr::to_owned).ok_or_else(|| unwritable(ErrorKind::InvalidInput.into()))?;
    name.push(".new");
    let temporary = path.with_file_name(name);
    let text = settings.to_toml();
    if let Some(folder) = path.parent().filter(|folder| !folder.exists()) {
        make_folder(folder).map_err(unwritable)?;
    }
    let replaced = write_for_administrators(&temporary, text.as_bytes()).and_then(|()| fs::rename(&temporary, path));
    replaced.map_err(|source| {
        // It holds credentials and is of no use any more.
        fs::remove_file(&temporary).ok();
        unwritable(source)
    })
}

#[cfg(windows)]
use super::protection::{make_private_folder as make_folder, write_private as write_for_administrators};

#[cfg(not(windows))]
fn make_folder(folder: &Path) -> std::io::Result<()> {
    fs::create_dir_all(folder)
}

#[cfg(not(windows))]
fn write_for_administrators(path: &Path, content: &[u8]) -> std::io::Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;

    fs::remove_file(path).or_else(|error| if error.kind() == ErrorKind::NotFound { Ok(()) } else { Err(error) })?;
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(content)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_not_there_has_no_arrays() {
        let folder = tempfile::tempdir().expect("a folder");
        assert_eq!(load(&folder.path().join("provider.toml")).expect("nothing is wrong"), Settings::default());
    }

    #[test]
    fn a_file_is_replaced_as_a_whole_and_nothing_is_left_beside_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("Lunshadow").join("provider.toml");
        let mut settings = Settings::default();
        for volumes in [1, 2] {
            settings.limits.volumes_at_most = volumes;
            store(&path, &settings).expect("it is writable");
            assert_eq!(load(&path).expect("it is readable"), settings);
        }
        assert_eq!(fs::read_dir(path.parent().expect("it has one")).expect("it is there").count(), 1);
    }

    #[test]
    fn what_cannot_be_replaced_stays() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("provider.toml");
        fs::create_dir(&path).expect("a folder in its place");
        let error = store(&path, &Settings::default()).expect_err("a folder is no file");
        assert!(matches!(error, SettingsError::Unwritable { .. }), "{error}");
        assert_eq!(fs::read_dir(folder.path()).expect("it is there").count(), 1);
    }
}
