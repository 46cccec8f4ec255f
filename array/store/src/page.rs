//! Blocks, map pages, and the entries that refer to them.

use zerocopy::FromZeros as _;

/// The size of every data block and every page, in bytes.
pub(crate) const BLOCK_BYTES: usize = 4096;
/// [`BLOCK_BYTES`] for arithmetic on offsets.
pub(crate) const BLOCK_LEN: u64 = 4096;
/// How many entries a map page has.
pub(crate) const FANOUT: usize = 512;
/// [`FANOUT`] for arithmetic on block numbers.
pub(crate) const FANOUT_LEN: u64 = 512;

const CHECK_BITS: u32 = 28;
const CHECK_MASK: u64 = (1 << CHECK_BITS) - 1;
/// One more than the greatest block number that an entry can hold: 36 bits, 256 TiB.
pub(crate) const BLOCK_NUMBER_END: u64 = 1 << (64 - CHECK_BITS);

/// A reference to a block: its number in the upper 36 bits, the low 28 bits of the CRC-32C of its content below. Zero refers to
/// nothing; block 0 holds a superblock and is never referred to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Entry(u64);

impl Entry {
    /// Refers to nothing; reads as zeros.
    pub(crate) const UNMAPPED: Self = Self(0);

    /// An entry from the medium.
    pub(crate) const fn from_raw(raw: u64) -> Self {
        Self(raw)
    }

    /// Refers to `block`, whose content has the check value `check`.
    pub(crate) fn new(block: u64, check: u32) -> Self {
        debug_assert!(block != 0 && block < BLOCK_NUMBER_END, "block {block} is not one");
        Self((block << CHECK_BITS) | (u64::from(check) & CHECK_MASK))
    }

    /// Refers to a page that is still changing: its check value is filled in when a checkpoint seals it.
    pub(crate) fn unsealed(block: u64) -> Self {
        Self::new(block, 0)
    }

    pub(crate) const fn raw(self) -> u64 {
        self.0
    }

    pub(crate) const fn is_unmapped(self) -> bool {
        self.0 >> CHECK_BITS == 0
    }

    pub(crate) const fn block(self) -> u64 {
        self.0 >> CHECK_BITS
    }

    pub(crate) fn check(self) -> u32 {
        u32::try_from(self.0 & CHECK_MASK).expect("28 bits")
    }

    /// Whether `content` is what this entry refers to.
    pub(crate) fn matches(self, content: &[u8]) -> bool {
        u64::from(check_of(content)) == self.0 & CHECK_MASK
    }
}

/// The check value that entries keep of a block's content.
pub(crate) fn check_of(content: &[u8]) -> u32 {
    crc32c::crc32c(content) & ((1 << CHECK_BITS) - 1)
}

/// A page in memory, exactly as on the medium: 512 entries of 8 bytes, or 2048 reference counts of 2 bytes, little-endian.
#[derive(Clone, zerocopy::FromZeros, zerocopy::IntoBytes, zerocopy::Immutable)]
#[repr(transparent)]
pub(crate) struct Page {
    bytes: [u8; BLOCK_BYTES],
}

impl Page {
    pub(crate) fn zeroed() -> Self {
        Self::new_zeroed()
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }

    pub(crate) fn entry(&self, index: usize) -> Entry {
        let raw = self.bytes[index * 8..].first_chunk().expect("an index below FANOUT");
        Entry(u64::from_le_bytes(*raw))
    }

    pub(crate) fn set_entry(&mut self, index: usize, entry: Entry) {
        self.bytes[index * 8..][..8].copy_from_slice(&entry.0.to_le_bytes());
    }

    /// All entries, in order.
    pub(crate) fn entries(&self) -> impl Iterator<Item = Entry> {
        (0..FANOUT).map(|index| self.entry(index))
    }

    pub(crate) fn count(&self, index: usize) -> u16 {
        let raw = self.bytes[index * 2..].first_chunk().expect("an index below 2048");
        u16::from_le_bytes(*raw)
    }

    pub(crate) fn set_count(&mut self, index: usize, count: u16) {
        self.bytes[index * 2..][..2].copy_from_slice(&count.to_le_bytes());
    }
}

/// A number that indexes something in memory.
pub(crate) fn index(number: u64) -> usize {
    usize::try_from(number).expect("what is in memory has fewer than usize::MAX parts")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_keeps_block_and_check() {
        let content = [7_u8; BLOCK_BYTES];
        let entry = Entry::new(BLOCK_NUMBER_END - 1, check_of(&content));
        assert_eq!(entry.block(), BLOCK_NUMBER_END - 1);
        assert!(entry.matches(&content));
        let mut flipped = content;
        flipped[4095] ^= 0x80;
        assert!(!entry.matches(&flipped));
        assert_eq!(Entry::from_raw(entry.raw()), entry);
    }

    #[test]
    fn pages_hold_entries_or_counts_little_endian() {
        let mut page = Page::zeroed();
        page.set_entry(511, Entry::new(1, 2));
        assert_eq!(page.bytes()[4088..], [2, 0, 0, 0x10, 0, 0, 0, 0]);
        page.set_count(2047, 0x0102);
        assert_eq!(page.count(2047), 0x0102);
        assert_eq!(page.bytes()[4094..], [2, 1]);
    }
}
