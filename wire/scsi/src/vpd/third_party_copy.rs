//! What a copy manager can do.

use zerocopy::IntoBytes;
use zerocopy::big_endian::U16;

use super::{body, page, with_header};
use crate::response::ResponseError;
use crate::third_party_copy::RodType;
use crate::{CommandForm, Peripheral};

/// SPC-4 7.8.20, Third-party Copy, of a copy manager that makes tokens for block devices, and copies between them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ThirdPartyCopy {
    /// Block device ROD token limits (SBC-3 6.6.6.3). Windows uses tokens only if this descriptor comes first.
    pub token_limits: TokenLimits,
    /// Supported commands (7.8.20.4): operation codes with their service actions.
    pub commands: Vec<(u8, Vec<u8>)>,
    /// Parameter data (7.8.20.5): the most CSCD descriptors, segment descriptors, and bytes of both in one list.
    pub list_limits: (u16, u16, u32),
    /// Supported descriptors (7.8.20.6): codes of segment and CSCD descriptors, ascending.
    pub descriptor_types: Vec<u8>,
    /// General copy operations (7.8.20.11).
    pub operations: CopyLimits,
}

/// SBC-3 table 210, block device ROD token limits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TokenLimits {
    /// MAXIMUM RANGE DESCRIPTORS.
    pub ranges_max: u16,
    /// MAXIMUM INACTIVITY TIMEOUT in seconds.
    pub inactivity_max_s: u32,
    /// DEFAULT INACTIVITY TIMEOUT in seconds.
    pub inactivity_default_s: u32,
    /// MAXIMUM TOKEN TRANSFER SIZE in blocks.
    pub transfer_max_blocks: u64,
    /// OPTIMAL TRANSFER COUNT in blocks.
    pub transfer_optimal_blocks: u64,
    /// How many bytes a block has, for the limits that are in bytes.
    pub block_bytes: u32,
}

/// SPC-4 table 576, general copy operations.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CopyLimits {
    /// TOTAL CONCURRENT COPIES.
    pub concurrent_max: u32,
    /// MAXIMUM IDENTIFIED CONCURRENT COPIES.
    pub identified_max: u32,
    /// MAXIMUM SEGMENT LENGTH in bytes.
    pub segment_len_max: u32,
    /// DATA SEGMENT GRANULARITY, as a power of two.
    pub granularity_exponent: u8,
}

/// THIRD-PARTY COPY DESCRIPTOR TYPE (SPC-4 table 558).
mod descriptor {
    pub(super) const BLOCK_TOKEN_LIMITS: u16 = 0x0000;
    pub(super) const SUPPORTED_COMMANDS: u16 = 0x0001;
    pub(super) const PARAMETER_DATA: u16 = 0x0004;
    pub(super) const SUPPORTED_DESCRIPTORS: u16 = 0x0008;
    pub(super) const ROD_TOKEN_FEATURES: u16 = 0x0106;
    pub(super) const SUPPORTED_ROD_TYPES: u16 = 0x0108;
    pub(super) const GENERAL_COPY_OPERATIONS: u16 = 0x8001;
}

impl ThirdPartyCopy {
    /// The operation codes and service actions of all commands of the table that are third-party copy commands.
    #[must_use]
    pub fn commands_of_table(opcodes: [u8; 2]) -> Vec<(u8, Vec<u8>)> {
        let actions = |opcode| CommandForm::of_opcode(opcode).filter_map(|form| form.service_action).collect();
        opcodes.into_iter().map(|opcode| (opcode, actions(opcode))).collect()
    }

    /// The page.
    ///
    /// # Panics
    /// For lists that are longer than the lengths before them can say.
    #[must_use]
    pub fn to_bytes(&self, peripheral: Peripheral) -> Vec<u8> {
        let mut body = Vec::new();
        let mut add = |kind: u16, content: Vec<u8>| {
            let len = content.len().next_multiple_of(4);
            body.extend(kind.to_be_bytes());
            body.extend(u16::try_from(len).expect("short descriptors").to_be_bytes());
            let end = body.len() + len;
            body.extend(content);
            body.resize(end, 0);
        };
        add(descriptor::BLOCK_TOKEN_LIMITS, self.token_limits.to_bytes());
        add(descriptor::SUPPORTED_COMMANDS, self.supported_commands());
        add(descriptor::PARAMETER_DATA, self.parameter_data());
        add(descriptor::SUPPORTED_DESCRIPTORS, listed(&self.descriptor_types));
        add(descriptor::ROD_TOKEN_FEATURES, self.token_limits.features());
        add(descriptor::SUPPORTED_ROD_TYPES, rod_types());
        add(descriptor::GENERAL_COPY_OPERATIONS, self.operations.to_bytes());
        with_header(peripheral, page::THIRD_PARTY_COPY, &body)
    }

    /// The limits of tokens in a page, if its first descriptor has them.
    ///
    /// # Errors
    /// Too few bytes for a header, or another page.
    pub fn parse_token_limits(bytes: &[u8]) -> Result<Option<TokenLimits>, ResponseError> {
        let body = body(page::THIRD_PARTY_COPY, bytes)?;
        let descriptor = body.strip_prefix(&[0, 0, 0, 0x20]).and_then(|rest| rest.first_chunk::<32>());
        Ok(descriptor.map(TokenLimits::parse))
    }

    fn supported_commands(&self) -> Vec<u8> {
        let command = |(opcode, actions): &(u8, Vec<u8>)| [&[*opcode], &listed(actions)[..]].concat();
        listed(&self.commands.iter().flat_map(command).collect::<Vec<u8>>())
    }

    fn parameter_data(&self) -> Vec<u8> {
        let (descriptors, segments, list_len) = self.list_limits;
        let mut content = vec![0; 28];
        content[4..6].copy_from_slice(&descriptors.to_be_bytes());
        content[6..8].copy_from_slice(&segments.to_be_bytes());
        content[8..12].copy_from_slice(&list_len.to_be_bytes());
        content
    }
}

/// A list of bytes behind its length.
fn listed(list: &[u8]) -> Vec<u8> {
    [&[u8::try_from(list.len()).expect("a short list")], list].concat()
}

/// Supported ROD types (SPC-4 7.8.20.10): what POPULATE TOKEN makes, and what WRITE USING TOKEN takes besides.
fn rod_types() -> Vec<u8> {
    const TOKEN_IN: u8 = 0x02;
    const TOKEN_OUT: u8 = 0x01;
    let kinds = [(RodType::POINT_IN_TIME, TOKEN_IN | TOKEN_OUT, 1_u16), (RodType::BLOCK_ZERO, TOKEN_OUT, 0)];
    let mut content = vec![0; 4 + kinds.len() * 64];
    let list_len = u16::try_from(kinds.len() * 64).expect("two types");
    content[2..4].copy_from_slice(&list_len.to_be_bytes());
    for ((kind, uses, preference), place) in kinds.into_iter().zip(content[4..].chunks_exact_mut(64)) {
        place[..4].copy_from_slice(&kind.0.to_be_bytes());
        place[4] = uses;
        place[6..8].copy_from_slice(&preference.to_be_bytes());
    }
    content
}

impl TokenLimits {
    fn to_bytes(self) -> Vec<u8> {
        let mut content = vec![0; 6];
        content.extend(U16::from(self.ranges_max).as_bytes());
        content.extend(self.inactivity_max_s.to_be_bytes());
        content.extend(self.inactivity_default_s.to_be_bytes());
        content.extend(self.transfer_max_blocks.to_be_bytes());
        content.extend(self.transfer_optimal_blocks.to_be_bytes());
        content
    }

    fn parse(content: &[u8; 32]) -> Self {
        let u32_at = |at: usize| content[at..].first_chunk().map_or(0, |bytes| u32::from_be_bytes(*bytes));
        let u64_at = |at: usize| content[at..].first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes));
        Self {
            ranges_max: u16::from_be_bytes([content[6], content[7]]),
            inactivity_max_s: u32_at(8),
            inactivity_default_s: u32_at(12),
            transfer_max_blocks: u64_at(16),
            transfer_optimal_blocks: u64_at(24),
            block_bytes: 0,
        }
    }

    /// ROD token features (SPC-4 7.8.20.9): tokens of other copy managers are not known here. With the descriptor of block devices.
    fn features(self) -> Vec<u8> {
        let bytes = |blocks: u64| blocks.saturating_mul(u64::from(self.block_bytes)).to_be_bytes();
        let mut content = vec![0; 12];
        // The least and the greatest lifetime: only the inactivity timeout ends a token.
        content.extend([[0; 4], [0; 4]].concat());
        content.extend(self.inactivity_max_s.to_be_bytes());
        content.resize(42, 0);
        content.extend(48_u16.to_be_bytes());
        // Peripheral device type 0 in descriptor format 0.
        content.extend([0, 0, 0, 0x2c, 0, 0]);
        // OPTIMAL BLOCK ROD LENGTH GRANULARITY: nothing is said of it.
        content.extend([0, 0]);
        content.extend(bytes(self.transfer_max_blocks));
        content.extend(bytes(self.transfer_optimal_blocks));
        content.extend(bytes(self.transfer_optimal_blocks));
        content.extend(bytes(self.transfer_optimal_blocks));
        content.extend([0; 8]);
        content
    }
}

impl CopyLimits {
    fn to_bytes(self) -> Vec<u8> {
        let mut content = Vec::with_capacity(32);
        content.extend(self.concurrent_max.to_be_bytes());
        content.extend(self.identified_max.to_be_bytes());
        content.extend(self.segment_len_max.to_be_bytes());
        content.extend([self.granularity_exponent, 0]);
        content.resize(32, 0);
        content
    }
}
