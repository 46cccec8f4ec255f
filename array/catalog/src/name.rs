//! Names that administrators give to LUNs and hosts.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A name of a LUN or host: 1 to 64 ASCII letters, digits, `-`, `_` and `.`, beginning with a letter or digit. Names that differ
/// in case only are the same name; the spelling given is kept.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(String);

/// A text that cannot be a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is not a name: use 1 to {} ASCII letters, digits, '-', '_' and '.', beginning with a letter or digit",
    Name::BYTES_MAX
)]
pub struct InvalidName {
    text: String,
}

impl Name {
    /// The longest name, in bytes.
    pub const BYTES_MAX: usize = 64;

    /// The name as it was given.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl PartialEq for Name {
    fn eq(&self, other: &Self) -> bool {
        self.0.eq_ignore_ascii_case(&other.0)
    }
}

impl Eq for Name {}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Name {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let begins_well = text.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric());
        let characters = text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
        if begins_well && characters && text.len() <= Self::BYTES_MAX {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidName { text: text.to_owned() })
        }
    }
}

impl TryFrom<String> for Name {
    type Error = InvalidName;

    fn try_from(text: String) -> Result<Self, InvalidName> {
        text.parse()
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_clear_rules() {
        for text in ["a", "9", "disk.img", "SQL-data_01", &"x".repeat(64)] {
            assert_eq!(text.parse::<Name>().map(String::from).as_deref(), Ok(text));
        }
        for text in ["", ".", "-a", "a b", "a/b", "größe", "a\n", &"x".repeat(65)] {
            assert!(text.parse::<Name>().is_err(), "{text:?} was taken");
        }
    }

    #[test]
    fn names_that_differ_in_case_are_the_same() {
        assert_eq!("Data".parse::<Name>(), "dATA".parse());
        assert_ne!("data".parse::<Name>(), "data2".parse());
    }
}
