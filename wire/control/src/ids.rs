//! Identifiers. Each is a type of its own, so that no two can be exchanged by accident.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

/// A text that does not have the shape of the identifier it was read as.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not {expected}")]
pub struct InvalidId {
    text: String,
    expected: &'static str,
}

impl InvalidId {
    pub(crate) fn new(text: &str, expected: &'static str) -> Self {
        Self { text: text.to_owned(), expected }
    }
}

/// A LUN's identity: 128 random bits, chosen once, never reused. Written as 32 lower-case hexadecimal digits, which is also
/// the unit serial number (SPC-4 7.8.15) that initiators see.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(try_from = "String", into = "String")]
#[schema(value_type = String, pattern = "^[0-9a-f]{32}$")]
pub struct LunId(u128);

impl LunId {
    /// Takes an identity that was stored before.
    #[must_use]
    pub const fn from_u128(value: u128) -> Self {
        Self(value)
    }

    /// Draws a new identity from the operating system's random source.
    #[must_use]
    pub fn random() -> Self {
        // Two version-4 UUIDs carry 122 random bits each: the halves of both are folded so that no bit is fixed.
        Self(Uuid::new_v4().as_u128() ^ Uuid::new_v4().as_u128().rotate_left(64))
    }

    /// The identity as a number.
    #[must_use]
    pub const fn as_u128(self) -> u128 {
        self.0
    }
}

impl fmt::Display for LunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for LunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LunId({self})")
    }
}

impl FromStr for LunId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let well_formed = text.len() == 32 && text.bytes().all(|b| b.is_ascii_hexdigit());
        let value = well_formed.then(|| u128::from_str_radix(text, 16).ok()).flatten();
        value
            .map(Self)
            .ok_or_else(|| InvalidId { text: text.to_owned(), expected: "a LUN id of 32 hexadecimal digits" })
    }
}

impl TryFrom<String> for LunId {
    type Error = InvalidId;

    fn try_from(text: String) -> Result<Self, InvalidId> {
        text.parse()
    }
}

impl From<LunId> for String {
    fn from(id: LunId) -> Self {
        id.to_string()
    }
}

/// The id of a shadow set. A Windows host uses the VSS SnapshotSetId, so that the array's log and the host's event log name
/// the same thing.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize, ToSchema)]
#[serde(transparent)]
pub struct ShadowSetId(pub Uuid);

impl fmt::Display for ShadowSetId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.braced().fmt(f)
    }
}

/// The id of one resync, drawn by the host, so that a request which is repeated is known again.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize, ToSchema)]
#[serde(transparent)]
pub struct ResyncId(pub Uuid);

impl fmt::Display for ResyncId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A host as the array knows it: one machine, whatever the number of its initiators.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize, ToSchema)]
#[serde(transparent)]
pub struct HostId(pub Uuid);

impl fmt::Display for HostId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// An iSCSI initiator name (RFC 7143 4.2.7): `iqn.`, `eui.` or `naa.` form, at most 223 bytes, kept in lower case because
/// names compare without regard to case after normalisation (RFC 3722).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize, ToSchema)]
#[serde(try_from = "String", into = "String")]
#[schema(value_type = String, max_length = 223)]
pub struct InitiatorName(String);

impl InitiatorName {
    /// The longest name that RFC 7143 4.2.7.1 allows, in bytes.
    pub const BYTES_MAX: usize = 223;

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for InitiatorName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for InitiatorName {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let name = text.to_lowercase();
        let form = ["iqn.", "eui.", "naa."].iter().any(|form| name.starts_with(form) && name.len() > form.len());
        let characters = name.chars().all(|c| !c.is_whitespace() && !c.is_control());
        if form && characters && name.len() <= Self::BYTES_MAX {
            Ok(Self(name))
        } else {
            Err(InvalidId {
                text: text.to_owned(),
                expected: "an iSCSI name (iqn.…, eui.… or naa.…, at most 223 bytes)",
            })
        }
    }
}

impl TryFrom<String> for InitiatorName {
    type Error = InvalidId;

    fn try_from(text: String) -> Result<Self, InvalidId> {
        text.parse()
    }
}

impl From<InitiatorName> for String {
    fn from(name: InitiatorName) -> Self {
        name.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lun_id_reads_back_what_it_writes() {
        let id = LunId::from_u128(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef);
        assert_eq!(id.to_string(), "0123456789abcdef0123456789abcdef");
        assert_eq!(id.to_string().parse(), Ok(id));
    }

    #[test]
    fn a_lun_id_of_another_shape_is_refused() {
        for text in ["", "0", "+123456789abcdef0123456789abcdef", "0123456789abcdef0123456789abcdeg"] {
            assert!(text.parse::<LunId>().is_err(), "{text:?} was taken");
        }
    }

    #[test]
    fn initiator_names_compare_in_lower_case() {
        let upper: InitiatorName = "IQN.2026-11.org.Example:Host".parse().expect("a valid name");
        assert_eq!(upper.as_str(), "iqn.2026-11.org.example:host");
        for text in ["", "iqn.", "host", "iqn.2026-11.org example", &format!("iqn.{}", "x".repeat(220))] {
            assert!(text.parse::<InitiatorName>().is_err(), "{text:?} was taken");
        }
    }
}
