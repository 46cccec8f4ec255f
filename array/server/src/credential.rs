//! The administrator's credential: made once, kept beside the pool for whoever may read it there.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use lunshadow_control::Secret;

use crate::kept_file::{self, Readers};

const CREDENTIAL_FILE: &str = "control-credential";

/// How many random bytes it is made of.
const RANDOM_BYTES: usize = 32;

/// Why there is no credential.
#[derive(Debug, thiserror::Error)]
pub enum CredentialError {
    /// The file cannot be read or written.
    #[error("cannot use {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The file holds no credential.
    #[error("{} is empty; remove it to get a new credential with the next start of the control service", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// The system's random source failed.
    #[error("the system has no random numbers")]
    NoRandomness,
}

/// The administrator's credential in `folder`; makes one there if there is none.
///
/// # Errors
/// [`CredentialError`].
pub fn administrator_credential(folder: &Path) -> Result<Secret, CredentialError> {
    let path = folder.join(CREDENTIAL_FILE);
    if !path.exists() {
        let made = draw()?;
        let text = format!("{}\n", made.expose());
        let written = kept_file::write(&path, Readers::Owner, &text);
        written.map_err(|source| CredentialError::File { path: path.clone(), source })?;
    }
    read_credential(&path)
}

/// Where the administrator's credential of a pool is.
#[must_use]
pub fn administrator_credential_file(folder: &Path) -> PathBuf {
    folder.join(CREDENTIAL_FILE)
}

/// Reads a credential that a control service made.
///
/// # Errors
/// `File`, `Empty`.
pub fn read_credential(path: &Path) -> Result<Secret, CredentialError> {
    let text = fs::read_to_string(path).map_err(|source| CredentialError::File { path: path.to_owned(), source })?;
    match text.trim() {
        "" => Err(CredentialError::Empty { path: path.to_owned() }),
        text => Ok(Secret::new(text)),
    }
}

fn draw() -> Result<Secret, CredentialError> {
    let mut bytes = [0; RANDOM_BYTES];
    let random = rustls::crypto::ring::default_provider().secure_random;
    random.fill(&mut bytes).map_err(|_| CredentialError::NoRandomness)?;
    Ok(Secret::new(bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn it_is_made_once_and_read_by_its_owner_only() {
        let (folder, other) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        let made = administrator_credential(folder.path()).expect("it is made");
        assert_eq!(made.expose().len(), 2 * RANDOM_BYTES);
        assert_eq!(administrator_credential(folder.path()).expect("it is read"), made);
        assert_ne!(administrator_credential(other.path()).expect("it is made"), made);
        let path = administrator_credential_file(folder.path());
        assert_eq!(fs::metadata(&path).expect("it is there").permissions().mode() & 0o777, 0o600);
        fs::write(&path, "\n").expect("it can be written");
        assert!(matches!(administrator_credential(folder.path()), Err(CredentialError::Empty { .. })));
    }
}
