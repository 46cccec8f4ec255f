//! How often blocks are referred to, for as many regions at a time as the memory is good for.

use std::ops::Range;

use crate::cache::BlockMap;
use crate::geometry::{Geometry, REGION_LEN};
use crate::page::{Entry, Page, index};

/// How many bytes a region takes while it is counted, with what is remembered of its verified blocks.
const REGION_BYTES: u64 = 6 * REGION_LEN as u64 + 512;

/// What a block is used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    /// Data. It can lie at any number of places of LUNs.
    Data,
    /// A map page at this level, which begins at this block of a LUN.
    Page { level: u8, base: u64 },
    /// The second copy of one.
    Copy { level: u8, base: u64 },
    /// One of the four blocks of a page of the table of LUNs, or of its index.
    Table { block: u64 },
}

impl Use {
    /// Differs between different uses, but for one in 2³².
    fn digest(self) -> u32 {
        let mixed = match self {
            Self::Data => 0,
            Self::Page { level, base } => base | u64::from(level + 1) << 48,
            Self::Copy { level, base } => base | u64::from(level + 17) << 48,
            Self::Table { block } => block | 33 << 48,
        };
        let mixed = mixed.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        u32::try_from(mixed >> 32).expect("32 bits are left")
    }
}

struct RegionTally {
    counts: [u16; REGION_LEN],
    uses: [u32; REGION_LEN],
}

/// See the module.
pub(super) struct Tally {
    geometry: Geometry,
    window: Range<u64>,
    regions: BlockMap<Box<RegionTally>>,
    pub(super) conflicting: u64,
}

/// How a region's counts differ from what refers to its blocks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Difference {
    pub(super) leaked: u64,
    pub(super) over: u64,
    pub(super) under: u64,
}

/// Cuts all regions into windows that fit into memory. Only regions that have counts take some.
pub(super) fn windows(counts: &[Entry], memory_bytes: u64) -> Vec<Range<u64>> {
    let room = (memory_bytes / REGION_BYTES).max(1);
    let (mut windows, mut start, mut taken) = (Vec::new(), 0, 0);
    for (region, entry) in (0..).zip(counts) {
        if !entry.is_unmapped() && taken == room {
            windows.push(start..region);
            (start, taken) = (region, 0);
        }
        taken += u64::from(!entry.is_unmapped());
    }
    windows.push(start..u64::try_from(counts.len()).unwrap_or(u64::MAX));
    windows
}

impl Tally {
    pub(super) fn new(geometry: Geometry, window: Range<u64>) -> Self {
        Self { geometry, window, regions: BlockMap::default(), conflicting: 0 }
    }

    /// Whether a block is in the window.
    pub(super) fn covers(&self, block: u64) -> bool {
        self.geometry.place(block).is_some_and(|(region, _)| self.window.contains(&region))
    }

    /// Notes a reference.
    pub(super) fn add(&mut self, block: u64, used_for: Use) {
        let Some((region, at)) = self.geometry.place(block).filter(|(region, _)| self.window.contains(region)) else {
            return;
        };
        let empty = || Box::new(RegionTally { counts: [0; REGION_LEN], uses: [0; REGION_LEN] });
        let tally = self.regions.entry(region).or_insert_with(empty);
        if tally.counts[at] == 0 {
            tally.uses[at] = used_for.digest();
        } else if tally.uses[at] != used_for.digest() {
            self.conflicting += 1;
        }
        tally.counts[at] = tally.counts[at].saturating_add(1);
    }

    /// How many blocks something refers to.
    pub(super) fn used(&self) -> u64 {
        let used = self.regions.values().map(|tally| tally.counts.iter().filter(|count| **count > 0).count());
        u64::try_from(used.sum::<usize>()).unwrap_or(u64::MAX)
    }

    /// Compares a region's counts with what refers to its blocks; what they should be, too.
    pub(super) fn compare(&self, region: u64, found: &Page) -> (Difference, Page) {
        let mut difference = Difference::default();
        let mut right = Page::zeroed();
        let tally = self.regions.get(&region);
        for at in 0..index(self.geometry.region_blocks(region)) {
            let (found, right_count) = (found.count(at), tally.map_or(0, |tally| tally.counts[at]));
            right.set_count(at, right_count);
            difference.leaked += u64::from(found > 0 && right_count == 0);
            difference.over += u64::from(right_count > 0 && found > right_count);
            difference.under += u64::from(found < right_count);
        }
        (difference, right)
    }
}

/// A set of blocks, one bit for each.
#[derive(Default)]
pub(crate) struct BlockSet(BlockMap<Box<[u64; 32]>>);

impl BlockSet {
    /// False if the block was in it.
    pub(crate) fn insert(&mut self, block: u64) -> bool {
        let bits = self.0.entry(block / 2048).or_insert_with(|| Box::new([0; 32]));
        let (word, bit) = (index(block % 2048 / 64), 1 << (block % 64));
        let fresh = bits[word] & bit == 0;
        bits[word] |= bit;
        fresh
    }

    pub(crate) fn contains(&self, block: u64) -> bool {
        self.0.get(&(block / 2048)).is_some_and(|bits| bits[index(block % 2048 / 64)] & (1 << (block % 64)) != 0)
    }

    /// How much memory it takes, about.
    pub(crate) fn memory_bytes(&self) -> usize {
        const REGION_BYTES: usize = 256 + 48;
        self.0.len() * REGION_BYTES
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_cover_all_regions_and_fit() {
        let counts: Vec<Entry> = (0..100).map(|at| Entry::from_raw(if at % 3 == 0 { 1 << 28 } else { 0 })).collect();
        let windows = windows(&counts, 4 * REGION_BYTES);
        assert_eq!((windows[0].start, windows[windows.len() - 1].end), (0, 100));
        assert!(windows.windows(2).all(|pair| pair[0].end == pair[1].start));
        assert_eq!(windows.len(), 9, "34 regions with counts, four at a time");
        assert_eq!(super::windows(&counts, u64::MAX), vec![0..100]);
    }

    #[test]
    fn references_are_compared_with_counts() {
        let geometry = Geometry::new(100_000, 64).unwrap();
        let first = geometry.region_start(1) + 2;
        let mut tally = Tally::new(geometry, 1..2);
        let page = Use::Page { level: 0, base: 0 };
        for (block, used_for) in
            [(first, Use::Data), (first, Use::Data), (first + 1, Use::Data), (first + 1, page), (first + 2048, page)]
        {
            tally.add(block, used_for);
        }
        assert_eq!((tally.used(), tally.conflicting), (2, 1));
        let mut found = Page::zeroed();
        [(2, 1), (3, 3), (4, 1)].into_iter().for_each(|(at, count)| found.set_count(at, count));
        let (difference, right) = tally.compare(1, &found);
        assert_eq!(difference, Difference { leaked: 1, over: 1, under: 1 });
        assert_eq!([right.count(2), right.count(3), right.count(4)], [2, 2, 0]);
    }
}
