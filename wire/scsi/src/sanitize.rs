//! What SANITIZE does, and with which pattern.

use zerocopy::big_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::FieldPointer;
use crate::cdb::service_action;

/// SERVICE ACTION of SANITIZE (SBC-3 5.24.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SanitizeAction {
    /// OVERWRITE: all blocks get a pattern, which the parameter list has.
    Overwrite,
    /// BLOCK ERASE: as the medium's own way of erasing has it.
    BlockErase,
    /// EXIT FAILURE MODE: the unit is used on as it is, though a sanitize operation failed.
    ExitFailureMode,
}

impl SanitizeAction {
    /// The action with a code, if it is one of those that are known here.
    #[must_use]
    pub const fn from_code(code: u8) -> Option<Self> {
        match code {
            service_action::SANITIZE_OVERWRITE => Some(Self::Overwrite),
            service_action::SANITIZE_BLOCK_ERASE => Some(Self::BlockErase),
            service_action::SANITIZE_EXIT_FAILURE_MODE => Some(Self::ExitFailureMode),
            _ => None,
        }
    }

    /// Its code.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Overwrite => service_action::SANITIZE_OVERWRITE,
            Self::BlockErase => service_action::SANITIZE_BLOCK_ERASE,
            Self::ExitFailureMode => service_action::SANITIZE_EXIT_FAILURE_MODE,
        }
    }
}

/// SBC-3 5.24.2.2, the parameter list of OVERWRITE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OverwriteParameters {
    /// INVERT: the pattern is inverted from one pass to the next.
    pub invert: bool,
    /// OVERWRITE COUNT: how many passes, 1 to 31.
    pub passes: u8,
    /// INITIALIZATION PATTERN: what each block gets, again and again until it is full. At least a byte, at most a block.
    pub pattern: Vec<u8>,
}

/// What is wrong with the parameter list of OVERWRITE.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OverwriteListError {
    /// The list ends before its pattern does: PARAMETER LIST LENGTH ERROR, 1Ah/00h.
    #[error("the parameter list ends before its pattern does")]
    CutOff,
    /// A field has a value that is not possible: INVALID FIELD IN PARAMETER LIST, 26h/00h.
    #[error("the field at byte {} of the parameter list is invalid", .0.byte)]
    InvalidField(FieldPointer),
}

impl OverwriteParameters {
    /// The parameter list.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let pattern_len = u16::try_from(self.pattern.len()).unwrap_or(u16::MAX);
        let header = Header {
            flags: u8::from(self.invert) << 7 | self.passes & PASSES,
            reserved: 0,
            pattern_len: pattern_len.into(),
        };
        let mut bytes = header.as_bytes().to_vec();
        bytes.extend(self.pattern.iter().take(usize::from(pattern_len)));
        bytes
    }

    /// Reads the parameter list for blocks of `block_bytes`.
    ///
    /// # Errors
    /// What the device server has to answer. TEST, which would be for whoever made the unit, has to be 0.
    pub fn parse(bytes: &[u8], block_bytes: usize) -> Result<Self, OverwriteListError> {
        let (header, rest) = Header::ref_from_prefix(bytes).map_err(|_| OverwriteListError::CutOff)?;
        let invalid = |field| Err(OverwriteListError::InvalidField(field));
        let pattern_len = usize::from(header.pattern_len.get());
        if header.flags & TEST != 0 {
            return invalid(FieldPointer::bit(0, 6));
        }
        if header.flags & PASSES == 0 {
            return invalid(FieldPointer::bit(0, 4));
        }
        if header.reserved != 0 {
            return invalid(FieldPointer::byte(1));
        }
        if pattern_len == 0 || pattern_len > block_bytes {
            return invalid(FieldPointer::byte(2));
        }
        let pattern = rest.get(..pattern_len).ok_or(OverwriteListError::CutOff)?.to_vec();
        Ok(Self { invert: header.flags & INVERT != 0, passes: header.flags & PASSES, pattern })
    }
}

const INVERT: u8 = 0x80;
const TEST: u8 = 0x60;
const PASSES: u8 = 0x1f;

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Header {
    flags: u8,
    reserved: u8,
    pattern_len: U16,
}
const _: () = assert!(size_of::<Header>() == 4);
