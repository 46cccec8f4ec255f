//! What can be wrong with parameter data that a device sent.

use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

/// Why parameter data could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResponseError {
    /// There are fewer bytes than the fields that must be there.
    #[error("{what} needs {needed_len} bytes and has {len}")]
    Truncated {
        /// What was read.
        what: &'static str,
        /// The bytes that it needs.
        needed_len: usize,
        /// The bytes that were there.
        len: usize,
    },
    /// The device answered with another page than the one that was asked for.
    #[error("page {found:02X}h came instead of page {expected:02X}h")]
    WrongPage {
        /// The page that was read.
        expected: u8,
        /// The page that came.
        found: u8,
    },
    /// The response code is none of sense data.
    #[error("{0:02X}h is not a response code of sense data")]
    NotSense(u8),
}

/// The first bytes of `bytes` as a layout, and what follows.
pub(crate) fn prefix<'a, T>(what: &'static str, bytes: &'a [u8]) -> Result<(&'a T, &'a [u8]), ResponseError>
where
    T: FromBytes + KnownLayout + Immutable + Unaligned,
{
    T::ref_from_prefix(bytes).map_err(|_| ResponseError::Truncated {
        what,
        needed_len: size_of::<T>(),
        len: bytes.len(),
    })
}

/// A field of text: printable ASCII, left-aligned, padded with blanks (SPC-4 4.4.1). Other characters become `?`, since what
/// comes from the wire may be anything.
pub(crate) fn text_of(field: &[u8]) -> String {
    let text: String =
        field.iter().map(|byte| if (0x20..0x7f).contains(byte) { char::from(*byte) } else { '?' }).collect();
    text.trim_end_matches([' ', '?']).trim_start().to_owned()
}

/// The same in the other direction; longer text is cut.
pub(crate) fn text_field<const LEN: usize>(text: &str) -> [u8; LEN] {
    let mut field = [b' '; LEN];
    for (place, byte) in field.iter_mut().zip(text.bytes()) {
        *place = if (0x20..0x7f).contains(&byte) { byte } else { b'?' };
    }
    field
}
