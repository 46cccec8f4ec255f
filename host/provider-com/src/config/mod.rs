//! The provider's settings: the arrays that this host uses, and limits. One TOML file, read again whenever it has changed.

mod file;
#[cfg(windows)]
mod protection;

use std::time::Duration;

use lunshadow_array_client::{Endpoint, HttpsTimeouts};
use lunshadow_control::{Fingerprint, Secret};
use lunshadow_provider::ProviderConfig;
use serde::{Deserialize, Serialize};

pub use file::{PATH_VARIABLE, load, store};
#[cfg(windows)]
pub use file::{default_path, in_use};
#[cfg(windows)]
pub(crate) use protection::Descriptor;
#[cfg(windows)]
pub use protection::{make_private_folder, write_private};

/// What a new file begins with.
const HEADER: &str = "\
# The settings of the Lunshadow VSS hardware provider. They hold credentials: keep the file for SYSTEM and Administrators.
# Changes count from the next shadow copy on, without a restart. `lunshadow-provider config` rewrites the file without comments.
";

/// All settings.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Limits that few have a reason to change.
    #[serde(default, skip_serializing_if = "Limits::are_default")]
    pub limits: Limits,
    /// The arrays that this host has LUNs of.
    #[serde(default, rename = "array", skip_serializing_if = "Vec::is_empty")]
    pub arrays: Vec<ArraySettings>,
}

/// One array, and how it and this host know each other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ArraySettings {
    /// The administrator's name for it.
    pub name: String,
    /// Where its control service is: a name or address and a port.
    pub address: String,
    /// The certificate that it shows.
    pub fingerprint: Fingerprint,
    /// What this host authenticates with.
    pub credential: Secret,
}

impl ArraySettings {
    /// Where the array is, and how to know it.
    #[must_use]
    pub fn endpoint(&self) -> Endpoint {
        Endpoint { address: self.address.clone(), fingerprint: self.fingerprint }
    }
}

/// The limits that can be set, in milliseconds where they are times.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// How long the array may take to make a commit durable.
    pub commit_at_most_ms: u64,
    /// From which duration on a commit is refused although the array reports success.
    pub veto_commit_after_ms: u64,
    /// From which duration on a commit that counts is worth a warning.
    pub commit_alarm_ms: u64,
    /// How many volumes a set may have.
    pub volumes_at_most: usize,
    /// How long a connection to an array may take.
    pub connect_ms: u64,
    /// How long an array may take to answer.
    pub request_ms: u64,
}

impl Default for Limits {
    fn default() -> Self {
        let (provider, channel) = (ProviderConfig::default(), HttpsTimeouts::default());
        let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        Self {
            commit_at_most_ms: millis(provider.commit_at_most),
            veto_commit_after_ms: millis(provider.veto_commit_after),
            commit_alarm_ms: millis(provider.commit_alarm),
            volumes_at_most: provider.volumes_at_most,
            connect_ms: millis(channel.connect),
            request_ms: millis(channel.request),
        }
    }
}

impl Limits {
    /// Windows stops holding writes after 10 s, so a commit that took longer is worth nothing; 1 s is left for the way back.
    const VETO_MS_MAX: u64 = 9_000;
    /// VSS puts no more volumes into a set.
    const VOLUMES_MAX: usize = 64;
    /// Nobody waits longer for a request outside of a commit.
    const REQUEST_MS_MAX: u64 = 300_000;

    fn are_default(&self) -> bool {
        *self == Self::default()
    }

    /// The limits as the provider takes them.
    #[must_use]
    pub fn provider_config(&self) -> ProviderConfig {
        ProviderConfig {
            commit_at_most: Duration::from_millis(self.commit_at_most_ms),
            veto_commit_after: Duration::from_millis(self.veto_commit_after_ms),
            commit_alarm: Duration::from_millis(self.commit_alarm_ms),
            volumes_at_most: self.volumes_at_most,
            ..ProviderConfig::default()
        }
    }

    /// The limits as the channel takes them.
    #[must_use]
    pub fn timeouts(&self) -> HttpsTimeouts {
        HttpsTimeouts {
            connect: Duration::from_millis(self.connect_ms),
            request: Duration::from_millis(self.request_ms),
            ..HttpsTimeouts::default()
        }
    }

    fn check(&self) -> Result<(), SettingsError> {
        let in_range = |key: &'static str, value: u64, least: u64, most: u64| {
            if (least..=most).contains(&value) {
                Ok(())
            } else {
                Err(SettingsError::LimitOutOfRange { key, least, most })
            }
        };
        in_range("veto_commit_after_ms", self.veto_commit_after_ms, 1, Self::VETO_MS_MAX)?;
        in_range("commit_at_most_ms", self.commit_at_most_ms, 1, self.veto_commit_after_ms)?;
        in_range("commit_alarm_ms", self.commit_alarm_ms, 1, self.veto_commit_after_ms)?;
        in_range("connect_ms", self.connect_ms, 1, Self::REQUEST_MS_MAX)?;
        in_range("request_ms", self.request_ms, 1, Self::REQUEST_MS_MAX)?;
        let volumes = u64::try_from(self.volumes_at_most).unwrap_or(u64::MAX);
        in_range("volumes_at_most", volumes, 1, Self::VOLUMES_MAX as u64)
    }
}

/// Why settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The file cannot be read.
    #[error("{path} cannot be read")]
    Unreadable {
        /// The file.
        path: String,
        /// What the system says.
        source: std::io::Error,
    },
    /// The file cannot be written.
    #[error("{path} cannot be written")]
    Unwritable {
        /// The file.
        path: String,
        /// What the system says.
        source: std::io::Error,
    },
    /// It is not TOML, or lacks something, or has something unknown. The file's own text is not repeated: it holds credentials.
    #[error("line {line}: {message}")]
    Malformed {
        /// Where.
        line: usize,
        /// What the parser says.
        message: String,
    },
    /// Two arrays have the same name.
    #[error("two arrays are called {name}")]
    NameTaken {
        /// The name.
        name: String,
    },
    /// A name is empty or has characters that it may not have.
    #[error("{name:?} is no name for an array: use letters, digits, `.`, `-` and `_`")]
    BadName {
        /// The name.
        name: String,
    },
    /// An address lacks its port.
    #[error("array {name} has no address with a port, such as array.example.org:3261")]
    BadAddress {
        /// The array.
        name: String,
    },
    /// There is no such array.
    #[error("there is no array called {name}")]
    NoSuchArray {
        /// The name.
        name: String,
    },
    /// A limit makes no sense.
    #[error("{key} has to be from {least} to {most}")]
    LimitOutOfRange {
        /// The limit.
        key: &'static str,
        /// The smallest value.
        least: u64,
        /// The largest value.
        most: u64,
    },
}

impl Settings {
    /// Reads the text of a file.
    ///
    /// # Errors
    /// [`SettingsError`], for anything that is not understood.
    pub fn parse(text: &str) -> Result<Self, SettingsError> {
        let settings: Self = toml::from_str(text).map_err(|error| {
            let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
            SettingsError::Malformed { line: before.matches('\n').count() + 1, message: error.message().to_owned() }
        })?;
        settings.check()?;
        Ok(settings)
    }

    /// The text of a file with these settings.
    ///
    /// # Panics
    /// Never: the settings have nothing that TOML lacks.
    #[must_use]
    pub fn to_toml(&self) -> String {
        format!("{HEADER}\n{}", toml::to_string(self).expect("settings are TOML"))
    }

    /// Adds an array, or replaces the one of that name: a host enrols anew when its credential is lost.
    ///
    /// # Errors
    /// [`SettingsError`], when the array's name or address is not one.
    pub fn put_array(&mut self, array: ArraySettings) -> Result<(), SettingsError> {
        let mut changed = self.clone();
        match changed.arrays.iter_mut().find(|known| known.name == array.name) {
            Some(known) => *known = array,
            None => changed.arrays.push(array),
        }
        changed.check()?;
        *self = changed;
        Ok(())
    }

    /// Forgets an array.
    ///
    /// # Errors
    /// [`SettingsError::NoSuchArray`].
    pub fn remove_array(&mut self, name: &str) -> Result<(), SettingsError> {
        let count = self.arrays.len();
        self.arrays.retain(|array| array.name != name);
        if self.arrays.len() == count {
            return Err(SettingsError::NoSuchArray { name: name.to_owned() });
        }
        Ok(())
    }

    fn check(&self) -> Result<(), SettingsError> {
        for (index, array) in self.arrays.iter().enumerate() {
            check_name(&array.name)?;
            if self.arrays[..index].iter().any(|earlier| earlier.name == array.name) {
                return Err(SettingsError::NameTaken { name: array.name.clone() });
            }
            let has_port = array
                .address
                .rsplit_once(':')
                .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok());
            if !has_port {
                return Err(SettingsError::BadAddress { name: array.name.clone() });
            }
        }
        self.limits.check()
    }
}

/// Whether a name can be an array's.
///
/// # Errors
/// [`SettingsError::BadName`].
pub fn check_name(name: &str) -> Result<(), SettingsError> {
    let is_good = |c: char| c.is_alphanumeric() || "-._".contains(c);
    if name.is_empty() || name.len() > 64 || !name.chars().all(is_good) {
        return Err(SettingsError::BadName { name: name.to_owned() });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn array(name: &str) -> ArraySettings {
        ArraySettings {
            name: name.into(),
            address: "array.example.org:3261".into(),
            fingerprint: Fingerprint([7; 32]),
            credential: Secret::new("s3cret"),
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        let mut settings = Settings::default();
        assert_eq!(Settings::parse(&settings.to_toml()).expect("it is complete"), settings);
        settings.put_array(array("one")).expect("a good array");
        settings.put_array(array("two")).expect("a good array");
        settings.limits.commit_alarm_ms = 900;
        assert_eq!(Settings::parse(&settings.to_toml()).expect("it is complete"), settings);
        assert_eq!(settings.limits.provider_config().commit_alarm, Duration::from_millis(900));
    }

    #[test]
    fn an_empty_file_has_the_defaults_of_the_provider_and_the_channel() {
        let settings = Settings::parse("").expect("nothing is required");
        let (mine, theirs) = (settings.limits.provider_config(), ProviderConfig::default());
        assert_eq!(format!("{mine:?}"), format!("{theirs:?}"));
        assert_eq!(settings.limits.timeouts(), HttpsTimeouts::default());
        assert_eq!(settings.arrays, []);
    }

    #[test]
    fn an_array_that_enrols_anew_replaces_itself() {
        let mut settings = Settings::default();
        settings.put_array(array("one")).expect("a good array");
        settings.put_array(ArraySettings { address: "[::1]:1".into(), ..array("one") }).expect("a good array");
        assert_eq!(settings.arrays.len(), 1);
        assert_eq!(settings.arrays[0].address, "[::1]:1");
        settings.remove_array("one").expect("it is there");
        assert!(matches!(settings.remove_array("one"), Err(SettingsError::NoSuchArray { .. })));
    }

    /// What a text is refused with.
    fn refusal(text: &str) -> String {
        Settings::parse(text).expect_err(text).to_string()
    }

    #[test]
    fn a_refusal_says_where_and_never_shows_a_credential() {
        let whole = Settings { arrays: vec![array("one")], ..Settings::default() }.to_toml();
        for (text, part) in [
            (whole.replace("credential = \"s3cret\"", "credential = \"s3cret"), "line "),
            (whole.replace("credential", "kredential"), "unknown field"),
            (whole.replace("credential = \"s3cret\"", "credential = [\"s3cret\"]"), "line "),
            (format!("{whole}{}", whole.replace(HEADER, "")), "two arrays are called one"),
            (whole.replace(":3261", ""), "no address with a port"),
            (whole.replace("\"one\"", "\"a b\""), "no name for an array"),
            (whole.replace("0707", "07"), "64 hexadecimal digits"),
        ] {
            let refusal = refusal(&text);
            assert!(refusal.contains(part), "{refusal}");
            assert!(!refusal.contains("s3cret"), "{refusal}");
        }
    }

    #[test]
    fn limits_that_windows_would_not_keep_are_refused() {
        for (text, key) in [
            ("veto_commit_after_ms = 9001", "veto_commit_after_ms"),
            ("commit_at_most_ms = 8001", "commit_at_most_ms"),
            ("commit_alarm_ms = 0", "commit_alarm_ms"),
            ("volumes_at_most = 65", "volumes_at_most"),
            ("request_ms = 0", "request_ms"),
        ] {
            let refusal = refusal(&format!("[limits]\n{text}\n"));
            assert!(refusal.starts_with(key), "{refusal}");
        }
    }
}
