//! What a unit can do beyond the standard INQUIRY data.

use super::{padded_body, page, with_header};
use crate::Peripheral;
use crate::response::ResponseError;

/// SPC-4 7.8.8, Extended INQUIRY Data: the fields that are in use here.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ExtendedInquiry {
    /// HEADSUP, ORDSUP, SIMPSUP: commands may be head of queue, ordered, simple.
    pub task_attributes: (bool, bool, bool),
    /// V_SUP: there is a cache that a loss of power empties.
    pub volatile_cache: bool,
    /// LUICLR: a unit attention that concerns several units is cleared on all of them at once.
    pub nexus_wide_clear: bool,
}

impl ExtendedInquiry {
    /// The page.
    #[must_use]
    pub fn to_bytes(&self, peripheral: Peripheral) -> Vec<u8> {
        let (head, ordered, simple) = self.task_attributes;
        let mut body = [0; BODY_LEN];
        body[1] = u8::from(head) << 2 | u8::from(ordered) << 1 | u8::from(simple);
        body[2] = u8::from(self.volatile_cache);
        body[3] = u8::from(self.nexus_wide_clear);
        with_header(peripheral, page::EXTENDED_INQUIRY, &body)
    }

    /// Reads the page.
    ///
    /// # Errors
    /// Too few bytes for a header, or another page.
    pub fn parse(bytes: &[u8]) -> Result<Self, ResponseError> {
        let body: [u8; BODY_LEN] = padded_body(page::EXTENDED_INQUIRY, bytes)?;
        let flag = |byte: usize, bit: u8| body[byte] >> bit & 1 != 0;
        Ok(Self {
            task_attributes: (flag(1, 2), flag(1, 1), flag(1, 0)),
            volatile_cache: flag(2, 0),
            nexus_wide_clear: flag(3, 0),
        })
    }
}

const BODY_LEN: usize = 0x3c;
