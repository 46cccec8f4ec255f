//! CHAP as iSCSI uses it (RFC 7143 12.1.3 over RFC 1994): the arithmetic, and the two parts in it.
//!
//! ```text
//! verifier                         prover
//!    │◀──────────── CHAP_A (list) ────│
//!    │── CHAP_A, CHAP_I, CHAP_C ─────▶│
//!    │◀─────────── CHAP_N, CHAP_R ────│  (and CHAP_I, CHAP_C, if the other end shall prove itself too)
//!    │ (CHAP_N, CHAP_R) ─────────────▶│
//! ```

use std::fmt;

use md5::Md5;
use sha2::Sha256;
use subtle::ConstantTimeEq as _;

use crate::text::{TextKeys, parse_binary, parse_list, parse_number, show_binary};

/// The shortest secret in bytes: 96 bits (RFC 7143 12.1.3).
pub const CHAP_SECRET_BYTES_MIN: usize = 12;
/// The longest secret in bytes. Windows takes no more than 16.
// RFC 7143 §9.2.1 MUST: a CHAP secret of 128 bits can be used.
pub const CHAP_SECRET_BYTES_MAX: usize = 255;
/// The length of the challenges made here, in bytes.
pub const CHAP_CHALLENGE_BYTES: usize = 32;
/// The longest challenge or response that is looked at, in bytes (RFC 7143 12.1.3).
const BINARY_BYTES_MAX: usize = 1024;

/// The keys (RFC 7143 12.1.3).
pub(super) mod key {
    pub(in crate::login) const ALGORITHM: &str = "CHAP_A";
    pub(in crate::login) const IDENTIFIER: &str = "CHAP_I";
    pub(in crate::login) const CHALLENGE: &str = "CHAP_C";
    pub(in crate::login) const NAME: &str = "CHAP_N";
    pub(in crate::login) const RESPONSE: &str = "CHAP_R";
    pub(in crate::login) const ALL: [&str; 5] = [ALGORITHM, IDENTIFIER, CHALLENGE, NAME, RESPONSE];
}

/// A hash that CHAP responses are made with, by its number in the registry of PPP authentication algorithms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ChapAlgorithm {
    /// MD5, number 5. Everybody has it.
    Md5,
    /// SHA-256, number 7.
    Sha256,
}

impl ChapAlgorithm {
    /// All of them, the stronger one first.
    pub const ALL: [Self; 2] = [Self::Sha256, Self::Md5];

    /// The number in the registry.
    #[must_use]
    pub const fn number(self) -> u32 {
        match self {
            Self::Md5 => 5,
            Self::Sha256 => 7,
        }
    }

    fn from_number(number: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.number() == number)
    }

    /// RFC 1994 4.1: the hash of the identifier, the secret and the challenge.
    fn response(self, identifier: u8, secret: &ChapSecret, challenge: &[u8]) -> Vec<u8> {
        fn hash<D: md5::Digest>(parts: [&[u8]; 3]) -> Vec<u8> {
            parts.into_iter().fold(D::new(), |hash, part| hash.chain_update(part)).finalize().to_vec()
        }
        let parts = [&[identifier][..], &secret.0, challenge];
        match self {
            Self::Md5 => hash::<Md5>(parts),
            Self::Sha256 => hash::<Sha256>(parts),
        }
    }
}

/// A secret that both ends know.
#[derive(Clone, PartialEq, Eq)]
pub struct ChapSecret(Vec<u8>);

/// A secret that is too short or too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a CHAP secret has {CHAP_SECRET_BYTES_MIN} to {CHAP_SECRET_BYTES_MAX} bytes, this one has {byte_len}")]
pub struct SecretLengthError {
    /// How long it is.
    pub byte_len: usize,
}

impl ChapSecret {
    /// Takes the bytes of a secret.
    ///
    /// # Errors
    /// If they are too few or too many.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Result<Self, SecretLengthError> {
        let bytes = bytes.into();
        // RFC 7143 §9.2.1 MUST: whoever has a CHAP secret of less than 96 bits needs IPsec, and without it is not let in.
        if (CHAP_SECRET_BYTES_MIN..=CHAP_SECRET_BYTES_MAX).contains(&bytes.len()) {
            Ok(Self(bytes))
        } else {
            Err(SecretLengthError { byte_len: bytes.len() })
        }
    }
}

impl fmt::Debug for ChapSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ChapSecret(…)")
    }
}

/// A name with the secret that proves it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChapCredential {
    /// The name, as it travels in CHAP_N.
    pub name: String,
    /// The secret.
    pub secret: ChapSecret,
}

/// What one end asks of the other. A challenge is used once: it is random, and made anew for each login.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChapChallenge {
    /// Sent with it, and part of the response.
    pub identifier: u8,
    /// Random bytes.
    pub bytes: [u8; CHAP_CHALLENGE_BYTES],
}

/// Why CHAP came to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChapError {
    /// A key is missing.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// A key has no place in this step, or its value is not one of its kind.
    #[error("{0} is not valid here")]
    Malformed(&'static str),
    /// The ends have no algorithm in common.
    #[error("no algorithm in common")]
    NoAlgorithm,
    /// Name or response are not those of the credential.
    #[error("the name or the secret is wrong")]
    Wrong,
    /// The other end sent our own challenge back, to have us answer it.
    #[error("the other end sent our own challenge back")]
    Reflected,
}

/// The algorithm to use, out of an offer in the other end's order.
pub(super) fn choose(offer: &TextKeys) -> Result<ChapAlgorithm, ChapError> {
    let list = parse_list(demand(offer, key::ALGORITHM)?).map_err(|_| ChapError::Malformed(key::ALGORITHM))?;
    let known = |number: &&str| parse_number(number).ok().and_then(ChapAlgorithm::from_number);
    list.iter().find_map(known).ok_or(ChapError::NoAlgorithm)
}

/// The list that an initiator offers.
pub(super) fn offer() -> String {
    ChapAlgorithm::ALL.map(|algorithm| algorithm.number().to_string()).join(",")
}

/// The value of a key that this step cannot do without.
fn demand<'a>(keys: &'a TextKeys, name: &'static str) -> Result<&'a str, ChapError> {
    keys.get(name).ok_or(ChapError::Missing(name))
}

/// Checks that there are no other keys of CHAP than those of a step.
pub(super) fn require_only(keys: &TextKeys, step: &[&str]) -> Result<(), ChapError> {
    match key::ALL.into_iter().find(|name| !step.contains(name) && keys.get(name).is_some()) {
        Some(name) => Err(ChapError::Malformed(name)),
        None => Ok(()),
    }
}

/// Puts a challenge to the other end.
pub(super) fn challenge(challenge: &ChapChallenge, keys: &mut TextKeys) {
    keys.push(key::IDENTIFIER, challenge.identifier.to_string());
    keys.push(key::CHALLENGE, show_binary(&challenge.bytes));
}

/// Whether any of the keys is CHAP's.
pub(super) fn is_part_of(keys: &TextKeys) -> bool {
    keys.iter().any(|(name, _)| key::ALL.contains(&name))
}

/// Whether the other end put a challenge to this one.
pub(super) fn is_challenged(keys: &TextKeys) -> bool {
    [key::IDENTIFIER, key::CHALLENGE].iter().any(|name| keys.get(name).is_some())
}

/// Proves this end's name to the other end, which sent its challenge in `keys`; not with the challenge that this end sent itself.
// RFC 7143 §9.2.1 MUST: a CHAP challenge that comes back is noticed, and ends the connection.
pub(super) fn prove(
    algorithm: ChapAlgorithm,
    own: &ChapCredential,
    keys: &TextKeys,
    sent: Option<&ChapChallenge>,
    answers: &mut TextKeys,
) -> Result<(), ChapError> {
    let identifier = parse_number(demand(keys, key::IDENTIFIER)?).ok().and_then(|number| u8::try_from(number).ok());
    let identifier = identifier.ok_or(ChapError::Malformed(key::IDENTIFIER))?;
    // RFC 7143 §12.1.3 MUST NOT: a CHAP challenge is longer than 1024 bytes.
    let bytes = parse_binary(demand(keys, key::CHALLENGE)?, BINARY_BYTES_MAX).ok();
    let bytes = bytes.filter(|bytes| !bytes.is_empty()).ok_or(ChapError::Malformed(key::CHALLENGE))?;
    if sent.is_some_and(|sent| sent.bytes[..] == bytes[..]) {
        return Err(ChapError::Reflected);
    }
    answers.push(key::NAME, &own.name);
    answers.push(key::RESPONSE, show_binary(&algorithm.response(identifier, &own.secret, &bytes)));
    Ok(())
}

/// Whether the other end has proved its name. How long it takes does not tell where a wrong response differs.
pub(super) fn verify(
    algorithm: ChapAlgorithm,
    expected: &ChapCredential,
    sent: &ChapChallenge,
    keys: &TextKeys,
) -> Result<(), ChapError> {
    let name = demand(keys, key::NAME)?;
    let proper = algorithm.response(sent.identifier, &expected.secret, &sent.bytes);
    let response = parse_binary(demand(keys, key::RESPONSE)?, BINARY_BYTES_MAX);
    let response = response.map_err(|_| ChapError::Malformed(key::RESPONSE))?;
    let right = response.ct_eq(&proper) & name.as_bytes().ct_eq(expected.name.as_bytes());
    if right.into() { Ok(()) } else { Err(ChapError::Wrong) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credential(secret: &str) -> ChapCredential {
        ChapCredential { name: "host".to_owned(), secret: ChapSecret::new(secret).expect("long enough") }
    }

    // RFC 7143 §9.2.1 MUST: a CHAP secret of 128 bits can be used.
    #[test]
    fn secrets_are_of_96_bits_or_more_and_not_shown() {
        assert_eq!(ChapSecret::new("elevenbytes"), Err(SecretLengthError { byte_len: 11 }));
        assert!(ChapSecret::new("twelve bytes").is_ok() && ChapSecret::new([0x80; 16]).is_ok());
        assert!(ChapSecret::new(vec![1; 256]).is_err());
        assert_eq!(format!("{:?}", ChapSecret::new("twelve bytes").expect("long enough")), "ChapSecret(…)");
    }

    /// Computed with `printf '\x05twelve bytes\x01\x02\x03' | md5sum`, and `sha256sum`.
    #[test]
    fn responses_are_those_of_other_programs() {
        let own = credential("twelve bytes");
        let keys: TextKeys = [(key::IDENTIFIER, "5"), (key::CHALLENGE, "0x010203")].into_iter().collect();
        for (algorithm, expected) in [
            (ChapAlgorithm::Md5, "fd9da7736cd1f3eb4753aab7951935a0"),
            (ChapAlgorithm::Sha256, "49455ef35753601ca394127842fee7e538e10a0ccd56ba99b8592e57fb636c91"),
        ] {
            let mut answers = TextKeys::default();
            prove(algorithm, &own, &keys, None, &mut answers).expect("a sound challenge");
            assert_eq!(answers.get(key::RESPONSE), Some(format!("0x{expected}").as_str()), "{algorithm:?}");
        }
    }

    #[test]
    fn the_first_known_algorithm_of_the_offer_is_taken() {
        let chosen = |list: &str| choose(&[(key::ALGORITHM, list)].into_iter().collect());
        assert_eq!(chosen("5"), Ok(ChapAlgorithm::Md5));
        assert_eq!(chosen("8,7,5"), Ok(ChapAlgorithm::Sha256));
        assert_eq!(chosen("6,0x5"), Ok(ChapAlgorithm::Md5));
        assert_eq!(chosen("6,8"), Err(ChapError::NoAlgorithm));
        assert_eq!(chosen(""), Err(ChapError::Malformed(key::ALGORITHM)));
        assert_eq!(choose(&TextKeys::default()), Err(ChapError::Missing(key::ALGORITHM)));
    }

    #[test]
    fn only_the_right_response_verifies() {
        let sent = ChapChallenge { identifier: 9, bytes: [7; CHAP_CHALLENGE_BYTES] };
        let mut asked = TextKeys::default();
        challenge(&sent, &mut asked);
        for algorithm in ChapAlgorithm::ALL {
            let answer = |of: &ChapCredential| {
                let mut answers = TextKeys::default();
                prove(algorithm, of, &asked, None, &mut answers).expect("a sound challenge");
                answers
            };
            let right = credential("the right secret");
            assert_eq!(verify(algorithm, &right, &sent, &answer(&right)), Ok(()));
            assert_eq!(verify(algorithm, &right, &sent, &answer(&credential("another secret"))), Err(ChapError::Wrong));
            let another = ChapCredential { name: "another".to_owned(), ..right.clone() };
            assert_eq!(verify(algorithm, &right, &sent, &answer(&another)), Err(ChapError::Wrong));
            let cut: TextKeys = [(key::NAME, "host"), (key::RESPONSE, "0x0102")].into_iter().collect();
            assert_eq!(verify(algorithm, &right, &sent, &cut), Err(ChapError::Wrong));
            let odd: TextKeys = [(key::NAME, "host"), (key::RESPONSE, "0xzz")].into_iter().collect();
            assert_eq!(verify(algorithm, &right, &sent, &odd), Err(ChapError::Malformed(key::RESPONSE)));
        }
    }

    // RFC 7143 §9.2.1 MUST: a CHAP challenge that comes back is noticed, and ends the connection.
    #[test]
    fn a_challenge_that_comes_back_is_not_answered() {
        let sent = ChapChallenge { identifier: 9, bytes: [7; CHAP_CHALLENGE_BYTES] };
        let mut back = TextKeys::default();
        challenge(&sent, &mut back);
        let mut answers = TextKeys::default();
        let proved = prove(ChapAlgorithm::Md5, &credential("twelve bytes"), &back, Some(&sent), &mut answers);
        assert_eq!((proved, answers.is_empty()), (Err(ChapError::Reflected), true));
    }
}
