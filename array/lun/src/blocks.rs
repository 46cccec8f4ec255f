//! Quantities: block addresses and counts are types of their own, never bare integers.

use std::fmt;

/// The size of a logical block, the unit of every address here.
pub const LOGICAL_BLOCK_BYTES: u32 = 512;

/// The size of the blocks that storage works in. Requests that are aligned to it are the cheap ones.
pub const PHYSICAL_BLOCK_BYTES: u32 = 4096;

/// The address of a logical block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Lba(pub u64);

impl Lba {
    /// The block that is `count` further on, unless that is beyond what 64 bits address.
    #[must_use]
    pub fn checked_add(self, count: BlockCount) -> Option<Self> {
        self.0.checked_add(count.0).map(Self)
    }
}

impl fmt::Display for Lba {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LBA {}", self.0)
    }
}

/// A number of logical blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct BlockCount(pub u64);

impl BlockCount {
    /// The length in blocks of `byte_len` bytes, or `None` if that is not a whole number of blocks.
    #[must_use]
    pub fn from_bytes(byte_len: u64) -> Option<Self> {
        byte_len.is_multiple_of(u64::from(LOGICAL_BLOCK_BYTES)).then(|| Self(byte_len / u64::from(LOGICAL_BLOCK_BYTES)))
    }

    /// The length in bytes.
    ///
    /// # Panics
    /// Never for a count that lies within a LUN: these end below 2^63 bytes.
    #[must_use]
    pub fn bytes(self) -> u64 {
        self.0.checked_mul(u64::from(LOGICAL_BLOCK_BYTES)).expect("block counts stay below 2^55")
    }
}

impl fmt::Display for BlockCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} blocks", self.0)
    }
}
