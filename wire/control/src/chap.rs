//! How the initiators of a host prove who they are (CHAP, RFC 7143 12.1.3).

use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::Secret;

/// How long a secret is, in bytes: 96 bits at least (RFC 7143 12.1.3). Windows takes no more than 16 bytes.
pub const CHAP_SECRET_BYTES: RangeInclusive<usize> = 12..=255;
/// How long a name is, in bytes.
const NAME_BYTES: RangeInclusive<usize> = 1..=255;

/// A name and the secret that proves it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChapAccount {
    /// The name, which need not be an iSCSI name; 1 to 255 bytes.
    pub name: String,
    /// The secret, 12 to 255 bytes.
    pub secret: Secret,
}

/// What has to be proved when an initiator logs in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChapAccounts {
    /// What the initiator has to prove.
    pub initiator: ChapAccount,
    /// What the array proves, to an initiator that asks for it. Its secret is another one.
    #[serde(default)]
    pub array: Option<ChapAccount>,
}

/// Why accounts cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ChapAccountsError {
    /// A name is empty, too long, or cannot travel.
    #[error("a CHAP name has 1 to 255 bytes and no control characters")]
    Name,
    /// A secret is too short or too long, or cannot be typed.
    #[error("a CHAP secret has 12 to 255 bytes and no control characters (Windows takes 12 to 16)")]
    Secret,
    /// Whoever knows one of the secrets could prove both.
    #[error("the array's CHAP secret has to differ from the initiator's")]
    SameSecret,
}

impl ChapAccounts {
    /// Checks what RFC 7143 12.1.3 and 9.2.1 demand.
    ///
    /// # Errors
    /// See [`ChapAccountsError`].
    pub fn check(&self) -> Result<(), ChapAccountsError> {
        for account in [Some(&self.initiator), self.array.as_ref()].into_iter().flatten() {
            let fits = |text: &str, bytes: RangeInclusive<usize>| {
                bytes.contains(&text.len()) && !text.chars().any(char::is_control)
            };
            if !fits(&account.name, NAME_BYTES) {
                return Err(ChapAccountsError::Name);
            }
            if !fits(account.secret.expose(), CHAP_SECRET_BYTES) {
                return Err(ChapAccountsError::Secret);
            }
        }
        match &self.array {
            Some(array) if array.secret == self.initiator.secret => Err(ChapAccountsError::SameSecret),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(name: &str, secret: &str) -> ChapAccount {
        ChapAccount { name: name.to_owned(), secret: Secret::new(secret) }
    }

    #[test]
    fn accounts_are_checked() {
        let check = |initiator, array| ChapAccounts { initiator, array }.check();
        let sound = || account("host", "twelve bytes");
        assert_eq!(check(sound(), None), Ok(()));
        assert_eq!(check(sound(), Some(account("array", "other twelve"))), Ok(()));
        assert_eq!(check(sound(), Some(account("array", "twelve bytes"))), Err(ChapAccountsError::SameSecret));
        assert_eq!(check(sound(), Some(account("array", "short"))), Err(ChapAccountsError::Secret));
        assert_eq!(check(account("", "twelve bytes"), None), Err(ChapAccountsError::Name));
        assert_eq!(check(account("a\0b", "twelve bytes"), None), Err(ChapAccountsError::Name));
        assert_eq!(check(account("host", "elevenbytes"), None), Err(ChapAccountsError::Secret));
        assert_eq!(check(account("host", "twelve\tbytes"), None), Err(ChapAccountsError::Secret));
        assert_eq!(check(account("host", &"x".repeat(256)), None), Err(ChapAccountsError::Secret));
    }
}
