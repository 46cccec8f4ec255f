//! How a host gets to know an array and the array the host: the enrolment string, and the credential that it is exchanged for.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::InvalidId;

/// The SHA-256 of a server certificate in DER, by which a host knows an array again. Written as 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(try_from = "String", into = "String")]
#[schema(value_type = String, pattern = "^[0-9a-f]{64}$")]
pub struct Fingerprint(pub [u8; 32]);

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({self})")
    }
}

impl FromStr for Fingerprint {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let invalid = || InvalidId::new(text, "a SHA-256 fingerprint of 64 hexadecimal digits");
        if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(invalid());
        }
        let mut bytes = [0; 32];
        for (byte, digits) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
            let digits = std::str::from_utf8(digits).map_err(|_| invalid())?;
            *byte = u8::from_str_radix(digits, 16).map_err(|_| invalid())?;
        }
        Ok(Self(bytes))
    }
}

impl TryFrom<String> for Fingerprint {
    type Error = InvalidId;

    fn try_from(text: String) -> Result<Self, InvalidId> {
        text.parse()
    }
}

impl From<Fingerprint> for String {
    fn from(fingerprint: Fingerprint) -> Self {
        fingerprint.to_string()
    }
}

/// A secret text: a host's credential or an enrolment token. It is never shown by accident.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Takes a text that came over the channel or out of a file.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text, to be sent or stored.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// What an administrator carries from the array to the host, once: `lunshadow-enrol/ADDRESS:PORT/FINGERPRINT/TOKEN`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EnrolmentString {
    /// Where the array's control service listens: a name or address and a port, IPv6 addresses in brackets.
    pub address: String,
    /// The certificate that it shows.
    pub fingerprint: Fingerprint,
    /// Good for one enrolment.
    pub token: Secret,
}

impl EnrolmentString {
    const SCHEME: &str = "lunshadow-enrol";
}

impl fmt::Display for EnrolmentString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}/{}", Self::SCHEME, self.address, self.fingerprint, self.token.expose())
    }
}

impl FromStr for EnrolmentString {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        // The text is a secret, so the error does not repeat it.
        let invalid =
            || InvalidId::new("what was given", "an enrolment string; copy all that `lunshadow host add` printed");
        let mut parts = text.trim().split('/');
        let (Some(Self::SCHEME), Some(address), Some(fingerprint), Some(token), None) =
            (parts.next(), parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(invalid());
        };
        let has_port =
            address.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok());
        if !has_port || token.is_empty() {
            return Err(invalid());
        }
        let fingerprint = fingerprint.parse().map_err(|_| invalid())?;
        Ok(Self { address: address.to_owned(), fingerprint, token: Secret::new(token) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_enrolment_string_reads_back_and_hides_its_token() {
        let string = EnrolmentString {
            address: "[::1]:3261".into(),
            fingerprint: Fingerprint([0xab; 32]),
            token: Secret::new("t0ken"),
        };
        assert_eq!(string.to_string().parse(), Ok(string.clone()));
        assert!(!format!("{string:?}").contains("t0ken"));
    }

    #[test]
    fn a_cut_or_foreign_text_is_refused_without_being_repeated() {
        let whole = format!("lunshadow-enrol/array:3261/{}/secret", "0".repeat(64));
        assert!(whole.parse::<EnrolmentString>().is_ok());
        for text in [
            "",
            "secret",
            &whole[..60],
            &whole.replace(":3261", ""),
            &whole.replace("/secret", "/"),
            &whole.replace("000/", "00g/"),
        ] {
            let error = text.parse::<EnrolmentString>().expect_err("it was taken");
            assert!(!error.to_string().contains("secret"), "{error}");
        }
    }
}
