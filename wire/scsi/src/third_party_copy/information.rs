//! What became of POPULATE TOKEN or WRITE USING TOKEN.

use zerocopy::big_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::{RodToken, UNITS_BLOCKS};
use crate::response::{ResponseError, prefix};

/// SPC-4 table 255, COPY OPERATION STATUS. Codes that are not named here are kept as they came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CopyStatus(pub u8);

impl CopyStatus {
    /// Completed without errors.
    pub const COMPLETED: Self = Self(0x01);
    /// Completed with errors.
    pub const FAILED: Self = Self(0x02);
    /// Completed without errors, but the token had less than was to be written.
    pub const PARTIAL: Self = Self(0x03);
    /// In progress, while the command waits for it.
    pub const IN_FOREGROUND: Self = Self(0x11);
    /// In progress, after the command was answered.
    pub const IN_BACKGROUND: Self = Self(0x12);

    /// Whether it goes on.
    #[must_use]
    pub const fn is_in_progress(self) -> bool {
        matches!(self.0, 0x10..=0x12)
    }
}

/// SPC-4 6.30.2, parameter data of RECEIVE ROD TOKEN INFORMATION.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RodTokenInformation {
    /// RESPONSE TO SERVICE ACTION: of which command.
    pub service_action: u8,
    /// COPY OPERATION STATUS.
    pub status: CopyStatus,
    /// ESTIMATED STATUS UPDATE DELAY in milliseconds, or `None` if nothing more is to come.
    pub update_delay_ms: Option<u32>,
    /// EXTENDED COPY COMPLETION STATUS: the status byte that the command ended with, or would have.
    pub completion_status: u8,
    /// Sense data in the descriptor or fixed format, if it failed.
    pub sense: Vec<u8>,
    /// TRANSFER COUNT in logical blocks.
    pub blocks: u64,
    /// The token, if one was made.
    pub token: Option<RodToken>,
}

impl RodTokenInformation {
    /// The parameter data.
    ///
    /// # Panics
    /// For more than 252 bytes of sense data.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let sense_len = u8::try_from(self.sense.len()).expect("sense data is short");
        let tokens_len = if self.token.is_some() { DESCRIPTOR_LEN } else { 0 };
        let len = size_of::<Header>() + self.sense.len() + 4 + tokens_len;
        let header = Header {
            available: u32::try_from(len - 4).expect("a short list").into(),
            service_action: self.service_action & 0x1f,
            status: self.status.0 & 0x7f,
            operation_counter: 0.into(),
            update_delay: self.update_delay_ms.unwrap_or(NO_UPDATE).into(),
            completion_status: self.completion_status,
            sense_field_len: sense_len,
            sense_len,
            units: UNITS_BLOCKS,
            transfer_count: self.blocks.into(),
            segments: 0.into(),
            reserved: [0; 6],
        };
        let mut bytes = header.as_bytes().to_vec();
        bytes.extend(&self.sense);
        bytes.extend(u32::try_from(tokens_len).expect("one token").to_be_bytes());
        if let Some(token) = &self.token {
            // RESERVED, then the token (SPC-4 table 259).
            bytes.extend([0, 0]);
            bytes.extend(token.as_bytes());
        }
        bytes
    }

    /// Reads parameter data. A token that is cut off is none.
    ///
    /// # Errors
    /// Too few bytes for the header.
    pub fn parse(bytes: &[u8]) -> Result<Self, ResponseError> {
        let (header, rest): (&Header, _) = prefix("the header of ROD token information", bytes)?;
        let (field_len, sense_len) = (usize::from(header.sense_field_len), usize::from(header.sense_len));
        let sense = rest.get(..sense_len.min(field_len)).unwrap_or_default().to_vec();
        let tokens = rest.get(field_len + 4..).unwrap_or_default();
        let tokens_len =
            rest.get(field_len..field_len + 4).and_then(|len| len.try_into().ok()).map_or(0, u32::from_be_bytes);
        let is_whole = tokens_len as usize >= DESCRIPTOR_LEN && tokens.len() >= DESCRIPTOR_LEN;
        let delay = header.update_delay.get();
        Ok(Self {
            service_action: header.service_action & 0x1f,
            status: CopyStatus(header.status & 0x7f),
            update_delay_ms: (delay != NO_UPDATE).then_some(delay),
            completion_status: header.completion_status,
            sense,
            blocks: header.transfer_count.get(),
            token: is_whole.then(|| RodToken::of(&tokens[2..DESCRIPTOR_LEN])),
        })
    }
}

/// ESTIMATED STATUS UPDATE DELAY: no estimate.
const NO_UPDATE: u32 = u32::MAX;
const DESCRIPTOR_LEN: usize = 2 + RodToken::LEN;

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Header {
    available: U32,
    service_action: u8,
    status: u8,
    operation_counter: U16,
    update_delay: U32,
    completion_status: u8,
    sense_field_len: u8,
    sense_len: u8,
    units: u8,
    transfer_count: U64,
    segments: U16,
    reserved: [u8; 6],
}
const _: () = assert!(size_of::<Header>() == 32);
