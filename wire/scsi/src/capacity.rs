//! How long a LUN is, and in what blocks.

use zerocopy::big_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::response::{ResponseError, prefix};

/// SBC-3 5.15.2, READ CAPACITY(10) parameter data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capacity10 {
    /// The last block, or `u32::MAX` when READ CAPACITY(16) has to be asked.
    pub last_lba: u32,
    /// The length of a logical block.
    pub block_bytes: u32,
}

impl Capacity10 {
    /// What stands for a LUN of `block_count` blocks of `block_bytes`, which are at least one.
    #[must_use]
    pub fn of(block_count: u64, block_bytes: u32) -> Self {
        Self { last_lba: u32::try_from(block_count.saturating_sub(1)).unwrap_or(u32::MAX), block_bytes }
    }

    /// The parameter data.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        Bytes10 { last_lba: self.last_lba.into(), block_bytes: self.block_bytes.into() }.as_bytes().to_vec()
    }

    /// Reads parameter data.
    ///
    /// # Errors
    /// Less than 8 bytes.
    pub fn parse(bytes: &[u8]) -> Result<Self, ResponseError> {
        let (data, _): (&Bytes10, _) = prefix("READ CAPACITY(10) data", bytes)?;
        Ok(Self { last_lba: data.last_lba.get(), block_bytes: data.block_bytes.get() })
    }
}

/// SBC-3 5.16.2, READ CAPACITY(16) parameter data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capacity16 {
    /// The last block.
    pub last_lba: u64,
    /// The length of a logical block.
    pub block_bytes: u32,
    /// LOGICAL BLOCKS PER PHYSICAL BLOCK EXPONENT: 2 to this power; at most 15.
    pub physical_exponent: u8,
    /// LOWEST ALIGNED LOGICAL BLOCK ADDRESS, at most 3FFFh.
    pub lowest_aligned_lba: u16,
    /// LBPME: the LUN is thin, UNMAP is worth asking about.
    pub thin: bool,
    /// LBPRZ: blocks that were given back read as zeros.
    pub unmapped_reads_zeros: bool,
}

impl Capacity16 {
    /// The length of the parameter data in bytes.
    pub const LEN: usize = size_of::<Bytes16>();

    /// The parameter data.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let thin = u16::from(self.thin) << 15 | u16::from(self.unmapped_reads_zeros) << 14;
        let bytes = Bytes16 {
            last_lba: self.last_lba.into(),
            block_bytes: self.block_bytes.into(),
            protection: 0,
            exponents: self.physical_exponent & 0x0f,
            alignment: (thin | self.lowest_aligned_lba & 0x3fff).into(),
            reserved: [0; 16],
        };
        bytes.as_bytes().to_vec()
    }

    /// Reads parameter data. Devices of before SBC-3 send only the first 12 bytes; the rest counts as zero then.
    ///
    /// # Errors
    /// Less than 12 bytes.
    pub fn parse(bytes: &[u8]) -> Result<Self, ResponseError> {
        if bytes.len() < 12 {
            return Err(ResponseError::Truncated { what: "READ CAPACITY(16) data", needed_len: 12, len: bytes.len() });
        }
        let mut padded = [0; Self::LEN];
        let len = bytes.len().min(Self::LEN);
        padded[..len].copy_from_slice(&bytes[..len]);
        let data = Bytes16::read_from_bytes(&padded).expect("the length is that of the layout");
        let alignment = data.alignment.get();
        Ok(Self {
            last_lba: data.last_lba.get(),
            block_bytes: data.block_bytes.get(),
            physical_exponent: data.exponents & 0x0f,
            lowest_aligned_lba: alignment & 0x3fff,
            thin: alignment & 0x8000 != 0,
            unmapped_reads_zeros: alignment & 0x4000 != 0,
        })
    }
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Bytes10 {
    last_lba: U32,
    block_bytes: U32,
}
const _: () = assert!(size_of::<Bytes10>() == 8);

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Bytes16 {
    last_lba: U64,
    block_bytes: U32,
    protection: u8,
    exponents: u8,
    alignment: U16,
    reserved: [u8; 16],
}
const _: () = assert!(size_of::<Bytes16>() == 32);
