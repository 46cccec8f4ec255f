//! Blocks, map pages, and the entries that refer to them.

use zerocopy::FromZeros as _;

/// The size of every data block and every page, in bytes.
pub(crate) const BLOCK_BYTES: usize = 4096;
/// [`BLOCK_BYTES`] for arithmetic on offsets.
pub(crate) const BLOCK_LEN: u64 = 4096;
/// How many entries a leaf of a map has, or a page of an index.
pub(crate) const FANOUT: usize = 512;
/// [`FANOUT`] for arithmetic on block numbers.
pub(crate) const FANOUT_LEN: u64 = 512;
/// How many pages a map page above the leaves refers to.
pub(crate) const CHILDREN: usize = 256;
/// [`CHILDREN`] for arithmetic on block numbers.
pub(crate) const CHILDREN_LEN: u64 = 256;

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

    /// Whether `next` refers to the block behind this one's, or to nothing as this one does.
    pub(crate) fn is_followed_by(&self, next: &Self) -> bool {
        if self.is_unmapped() { next.is_unmapped() } else { next.block() == self.block() + 1 }
    }

    /// Whether `content` is what this entry refers to.
    pub(crate) fn matches(self, content: &[u8]) -> bool {
        u64::from(check_of(content)) == self.0 & CHECK_MASK
    }
}

/// A reference to a map page, which lies on the medium twice: both entries have the same check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct PageRef {
    first: Entry,
    second: Entry,
}

impl PageRef {
    /// Refers to nothing.
    pub(crate) const UNMAPPED: Self = Self { first: Entry::UNMAPPED, second: Entry::UNMAPPED };

    /// Refers to a page that is still changing: its check value is filled in when a checkpoint seals it.
    pub(crate) fn unsealed(block: u64, copy: u64) -> Self {
        Self::new(block, copy, 0)
    }

    fn new(block: u64, copy: u64, check: u32) -> Self {
        Self { first: Entry::new(block, check), second: Entry::new(copy, check) }
    }

    /// A reference from the medium.
    pub(crate) const fn from_raw(first: u64, second: u64) -> Self {
        Self { first: Entry::from_raw(first), second: Entry::from_raw(second) }
    }

    pub(crate) const fn raw(self) -> [u64; 2] {
        [self.first.raw(), self.second.raw()]
    }

    /// The same page, which has this check now.
    pub(crate) fn sealed(self, check: u32) -> Self {
        Self::new(self.block(), self.copy(), check)
    }

    pub(crate) const fn is_unmapped(self) -> bool {
        self.first.is_unmapped()
    }

    /// The block of the first copy, which stands for the page, and whose count is the page's.
    pub(crate) const fn block(self) -> u64 {
        self.first.block()
    }

    /// The block of the second copy.
    pub(crate) const fn copy(self) -> u64 {
        self.second.block()
    }

    pub(crate) const fn first(self) -> Entry {
        self.first
    }

    pub(crate) const fn second(self) -> Entry {
        self.second
    }

    /// Both copies.
    pub(crate) const fn copies(self) -> [Entry; 2] {
        [self.first, self.second]
    }

    /// Whether this refers to nothing, or to two copies in blocks that can be referred to. Anything else was made by something
    /// else than this code.
    pub(crate) fn is_plausible(self, can_be: impl Fn(u64) -> bool) -> bool {
        if self.is_unmapped() {
            return self.second.is_unmapped();
        }
        self.block() != self.copy()
            && self.first.check() == self.second.check()
            && can_be(self.block())
            && can_be(self.copy())
    }
}

/// The check value that entries keep of a block's content.
pub(crate) fn check_of(content: &[u8]) -> u32 {
    crc32c::crc32c(content) & ((1 << CHECK_BITS) - 1)
}

/// A page in memory, exactly as on the medium: 512 entries of 8 bytes, 256 references to pages of 16 bytes, or 2048 reference counts of
/// 2 bytes, little-endian.
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

    /// The reference at a place of a map page above the leaves.
    pub(crate) fn child(&self, index: usize) -> PageRef {
        PageRef { first: self.entry(2 * index), second: self.entry(2 * index + 1) }
    }

    pub(crate) fn set_child(&mut self, index: usize, child: PageRef) {
        self.set_entry(2 * index, child.first);
        self.set_entry(2 * index + 1, child.second);
    }

    /// All references, in order.
    pub(crate) fn children(&self) -> impl Iterator<Item = PageRef> {
        (0..CHILDREN).map(|index| self.child(index))
    }

    /// Whether this can be a page of a map: all that it refers to is in blocks that can be referred to.
    pub(crate) fn is_plausible_map(&self, level: u8, can_be: impl Fn(u64) -> bool) -> bool {
        if level > 0 {
            return self.children().all(|child| child.is_plausible(&can_be));
        }
        self.entries().all(|entry| entry.is_unmapped() || can_be(entry.block()))
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
    fn references_have_two_copies_in_different_places() {
        let reference = PageRef::unsealed(7, 9).sealed(5);
        assert_eq!(PageRef::from_raw(reference.raw()[0], reference.raw()[1]), reference);
        assert!(reference.is_plausible(|block| block < 10) && !reference.is_plausible(|block| block < 9));
        assert!(PageRef::UNMAPPED.is_plausible(|_| false));
        assert!(!PageRef::unsealed(7, 7).is_plausible(|_| true));
        assert!(!PageRef::from_raw(reference.raw()[0], 0).is_plausible(|_| true));
        assert!(!PageRef::from_raw(0, reference.raw()[1]).is_plausible(|_| true));
        let mut page = Page::zeroed();
        page.set_child(CHILDREN - 1, reference);
        assert_eq!(page.children().last(), Some(reference));
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
