//! `lunshadow-provider config`.

use std::io::{self, Read, Write};
use std::path::Path;

use lunshadow_array_client::{EnrolError, enrol};
use lunshadow_control::{EnrolmentString, InvalidId};
use serde::Serialize;

use crate::cli::{AddArgs, ConfigCommand};
use crate::config::{ArraySettings, Settings, SettingsError, check_name, load, store};

/// An enrolment string is shorter than this, in bytes; whatever is longer is another file.
const STRING_BYTES_MAX: u64 = 4096;

/// Why the settings were not changed or shown.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The settings.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// What was given is no enrolment string.
    #[error(transparent)]
    NotAnEnrolmentString(#[from] InvalidId),
    /// The array did not enrol this host.
    #[error(transparent)]
    NotEnrolled(#[from] EnrolError),
    /// The enrolment string cannot be read.
    #[error("the enrolment string cannot be read")]
    Unreadable(#[source] io::Error),
    /// What was to be printed was not taken.
    #[error("nothing can be printed")]
    Unprintable(#[source] io::Error),
}

/// An array, as it may be shown.
#[derive(Debug, Serialize)]
struct ListedArray<'a> {
    name: &'a str,
    address: &'a str,
    fingerprint: String,
}

/// Does what is asked with the settings at `path`.
///
/// # Errors
/// [`ConfigError`]; the settings are as they were then.
pub fn run(command: &ConfigCommand, path: &Path, input: &mut dyn Read, out: &mut dyn Write) -> Result<(), ConfigError> {
    match command {
        ConfigCommand::Add(arguments) => add(arguments, path, input, out),
        ConfigCommand::List(output) => {
            let settings = load(path)?;
            list(&settings, output.json, out).map_err(ConfigError::Unprintable)
        }
        ConfigCommand::Remove { name } => {
            let mut settings = load(path)?;
            settings.remove_array(name)?;
            store(path, &settings)?;
            writeln!(out, "Array {name} is forgotten. Its credential is good until the array forgets this host.")
                .map_err(ConfigError::Unprintable)
        }
        ConfigCommand::Show => {
            let mut settings = load(path)?;
            for array in &mut settings.arrays {
                array.credential = lunshadow_control::Secret::new("(not shown)");
            }
            writeln!(out, "# {}\n{}", path.display(), settings.to_toml()).map_err(ConfigError::Unprintable)
        }
    }
}

/// A token is good once, so everything that can be checked is checked before it is used.
fn add(arguments: &AddArgs, path: &Path, input: &mut dyn Read, out: &mut dyn Write) -> Result<(), ConfigError> {
    check_name(&arguments.name)?;
    let mut settings = load(path)?;
    let string: EnrolmentString = match &arguments.from {
        Some(file) => read(&mut std::fs::File::open(file).map_err(ConfigError::Unreadable)?)?.parse()?,
        None => read(input)?.parse()?,
    };
    store(path, &settings)?;
    let enrolment = enrol(&string, settings.limits.timeouts())?;
    settings.put_array(ArraySettings {
        name: arguments.name.clone(),
        address: enrolment.endpoint.address,
        fingerprint: enrolment.endpoint.fingerprint,
        credential: enrolment.credential,
    })?;
    store(path, &settings)?;
    writeln!(out, "This host is {} at array {}.", enrolment.host.name, arguments.name).map_err(ConfigError::Unprintable)
}

fn read(input: &mut dyn Read) -> Result<String, ConfigError> {
    let mut bytes = Vec::new();
    input.take(STRING_BYTES_MAX).read_to_end(&mut bytes).map_err(ConfigError::Unreadable)?;
    Ok(without_encoding(&bytes))
}

/// Windows' shells redirect text as UTF-8 or UTF-16, with a mark in front.
fn without_encoding(bytes: &[u8]) -> String {
    if let Some(units) = bytes.strip_prefix(&[0xff, 0xfe]) {
        let units: Vec<u16> = units.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]])).collect();
        return String::from_utf16_lossy(&units);
    }
    String::from_utf8_lossy(bytes.strip_prefix(&[0xef, 0xbb, 0xbf]).unwrap_or(bytes)).into_owned()
}

fn list(settings: &Settings, json: bool, out: &mut dyn Write) -> io::Result<()> {
    let arrays: Vec<_> = settings
        .arrays
        .iter()
        .map(|array| ListedArray {
            name: &array.name,
            address: &array.address,
            fingerprint: array.fingerprint.to_string(),
        })
        .collect();
    if json {
        return writeln!(out, "{}", serde_json::to_string_pretty(&arrays).map_err(io::Error::other)?);
    }
    arrays.iter().try_for_each(|array| writeln!(out, "{}  {}  {}", array.name, array.address, array.fingerprint))
}

#[cfg(test)]
mod tests {
    use lunshadow_control::{Fingerprint, Secret};

    use super::*;
    use crate::cli::OutputArgs;

    fn with_one_array() -> (tempfile::TempDir, std::path::PathBuf) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("provider.toml");
        let array = ArraySettings {
            name: "one".into(),
            address: "127.0.0.1:9".into(),
            fingerprint: Fingerprint([1; 32]),
            credential: Secret::new("s3cret"),
        };
        store(&path, &Settings { arrays: vec![array], ..Settings::default() }).expect("it is writable");
        (folder, path)
    }

    fn ask(command: &ConfigCommand, path: &Path, input: &[u8]) -> Result<String, ConfigError> {
        let mut out = Vec::new();
        run(command, path, &mut &*input, &mut out)?;
        Ok(String::from_utf8(out).expect("a text"))
    }

    #[test]
    fn what_is_shown_has_no_credential() {
        let (_folder, path) = with_one_array();
        for json in [false, true] {
            let text = ask(&ConfigCommand::List(OutputArgs { json }), &path, &[]).expect("there is a list");
            assert!(text.contains("one") && text.contains("127.0.0.1:9") && !text.contains("s3cret"), "{text}");
        }
        let text = ask(&ConfigCommand::Show, &path, &[]).expect("there are settings");
        assert!(text.contains("(not shown)") && !text.contains("s3cret"), "{text}");
    }

    #[test]
    fn an_array_is_removed_once() {
        let (_folder, path) = with_one_array();
        let remove = ConfigCommand::Remove { name: "one".into() };
        ask(&remove, &path, &[]).expect("it is there");
        assert_eq!(load(&path).expect("it is readable").arrays, []);
        let error = ask(&remove, &path, &[]).expect_err("it is gone");
        assert_eq!(error.to_string(), "there is no array called one");
    }

    #[test]
    fn a_host_that_is_not_enrolled_keeps_its_settings() {
        let (folder, path) = with_one_array();
        let before = std::fs::read(&path).expect("it is readable");
        let add = |name: &str, from: Option<&str>| {
            ConfigCommand::Add(AddArgs { name: name.into(), from: from.map(|file| folder.path().join(file)) })
        };
        let string = format!("lunshadow-enrol/127.0.0.1:1/{}/t0ken", "0".repeat(64));
        let unreachable = ask(&add("two", None), &path, string.as_bytes()).expect_err("nobody listens there");
        assert!(matches!(unreachable, ConfigError::NotEnrolled(EnrolError::Unreachable { .. })), "{unreachable}");
        let cut = ask(&add("two", None), &path, &string.as_bytes()[..40]).expect_err("it is cut");
        assert!(matches!(cut, ConfigError::NotAnEnrolmentString(_)), "{cut}");
        let missing = ask(&add("two", Some("none")), &path, &[]).expect_err("there is no file");
        assert!(matches!(missing, ConfigError::Unreadable(_)), "{missing}");
        let name = ask(&add("t w o", None), &path, string.as_bytes()).expect_err("no name");
        assert!(matches!(name, ConfigError::Settings(SettingsError::BadName { .. })), "{name}");
        assert_eq!(std::fs::read(&path).expect("it is readable"), before);
    }

    #[test]
    fn strings_are_read_as_windows_redirects_them() {
        let utf16: Vec<u8> = "\u{feff}a/b".encode_utf16().flat_map(u16::to_le_bytes).collect();
        for bytes in [&b"a/b"[..], b"\xef\xbb\xbfa/b", &utf16] {
            assert_eq!(without_encoding(bytes), "a/b");
        }
    }
}
