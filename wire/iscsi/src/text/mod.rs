//! Text keys: `key=value` pairs, each ended by a zero byte, in login and text PDUs (RFC 7143 6.1).

mod transfer;
mod values;

use bytes::{BufMut, Bytes, BytesMut};

pub use transfer::{TextGather, TextPortions};
pub use values::{
    InvalidValue, parse_binary, parse_boolean, parse_list, parse_number, parse_range, show_binary, show_boolean,
};

/// Longest key name in bytes (RFC 7143 6.1).
pub const KEY_BYTES_MAX: usize = 63;
/// Longest simple value in bytes, where a key does not say otherwise (RFC 7143 6.1).
pub const SIMPLE_VALUE_BYTES_MAX: usize = 255;
/// Bytes of text that both ends take in one negotiation; more is refused.
// RFC 7143 §6.1 MUST: 8192 bytes of text are taken in one negotiation.
pub const TEXT_BYTES_MAX: usize = 8192;

/// The answer to a key that is not known (RFC 7143 6.2).
pub const NOT_UNDERSTOOD: &str = "NotUnderstood";
/// The answer to a key that has no bearing in this kind of session or with the values settled so far.
pub const IRRELEVANT: &str = "Irrelevant";
/// The answer to a value that cannot be accepted.
pub const REJECT: &str = "Reject";

/// Whether a value is one that only answers have, and offers never.
#[must_use]
pub fn is_answer_only(value: &str) -> bool {
    [NOT_UNDERSTOOD, IRRELEVANT, REJECT].contains(&value)
}

/// Key and value pairs in the order that they travel. Keys may repeat, as they do in an answer to SendTargets; negotiations
/// refuse that with [`require_unique`](Self::require_unique).
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct TextKeys(Vec<(String, String)>);

/// Text that is not a list of `key=value` pairs.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
    /// A pair has no `=`.
    #[error("the text {pair:?} has no equals sign")]
    NoValue {
        /// The pair.
        pair: String,
    },
    /// A key is empty, longer than 63 bytes, or has characters that keys do not have.
    #[error("{key:?} is not a key name")]
    BadKey {
        /// The key.
        key: String,
    },
    /// The text is not UTF-8.
    #[error("the text is not UTF-8")]
    NotUtf8,
    /// The last pair is not ended by a zero byte.
    #[error("the text ends inside a pair")]
    Unterminated,
    /// A key that is negotiated came twice.
    #[error("the key {key} came twice")]
    Duplicate {
        /// The key.
        key: String,
    },
    /// The text is longer than this end takes, over all PDUs that carry it.
    #[error("the text is longer than {limit_bytes} bytes")]
    TooLong {
        /// What this end takes.
        limit_bytes: usize,
    },
}

impl TextKeys {
    /// Reads pairs. Empty pairs (stray zero bytes) are passed over: some senders count padding as text.
    ///
    /// # Errors
    /// See [`TextError`]; `Duplicate` and `TooLong` do not occur here.
    pub fn parse(text: &[u8]) -> Result<Self, TextError> {
        let text = str::from_utf8(text).map_err(|_| TextError::NotUtf8)?;
        if !text.is_empty() && !text.ends_with('\0') {
            return Err(TextError::Unterminated);
        }
        let pairs = text.split('\0').filter(|pair| !pair.is_empty()).map(|pair| {
            let (key, value) = pair.split_once('=').ok_or_else(|| TextError::NoValue { pair: pair.to_owned() })?;
            if !is_key_name(key) {
                return Err(TextError::BadKey { key: key.to_owned() });
            }
            Ok((key.to_owned(), value.to_owned()))
        });
        Ok(Self(pairs.collect::<Result<_, _>>()?))
    }

    /// The pairs as they travel.
    // RFC 7143 §6.1 MUST: every pair is ended by a zero byte.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut text = BytesMut::with_capacity(self.0.iter().map(|(key, value)| key.len() + value.len() + 2).sum());
        for (key, value) in &self.0 {
            text.put_slice(key.as_bytes());
            text.put_u8(b'=');
            text.put_slice(value.as_bytes());
            text.put_u8(0);
        }
        text.freeze()
    }

    /// Appends a pair.
    pub fn push(&mut self, key: &str, value: impl Into<String>) {
        let value = value.into();
        debug_assert!(is_key_name(key) && !value.contains('\0'), "a pair that cannot travel: {key}={value:?}");
        self.0.push((key.to_owned(), value));
    }

    /// The value of the first pair with this key. Keys compare exactly, upper and lower case being different.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        self.iter().find(|&(name, _)| name == key).map(|(_, value)| value)
    }

    /// The pairs in their order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// Whether there are no pairs.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Checks that no key repeats, which a negotiation forbids (RFC 7143 6.2).
    ///
    /// # Errors
    /// [`TextError::Duplicate`] with the first key that repeats.
    pub fn require_unique(&self) -> Result<(), TextError> {
        let mut seen = std::collections::HashSet::new();
        match self.iter().find(|&(key, _)| !seen.insert(key)) {
            Some((key, _)) => Err(TextError::Duplicate { key: key.to_owned() }),
            None => Ok(()),
        }
    }
}

impl<K: AsRef<str>, V: Into<String>> FromIterator<(K, V)> for TextKeys {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(pairs: I) -> Self {
        let mut keys = Self::default();
        for (key, value) in pairs {
            keys.push(key.as_ref(), value);
        }
        keys
    }
}

/// RFC 7143 6.1: a letter, then letters, digits and `.-+@_`. `#` is let through for the older form of private keys (`X#…`),
/// so that those are answered like any key that is not known.
fn is_key_name(key: &str) -> bool {
    key.len() <= KEY_BYTES_MAX
        && key.starts_with(|first: char| first.is_ascii_alphabetic())
        && key.bytes().all(|b| b.is_ascii_alphanumeric() || b".-+@_#".contains(&b))
}
