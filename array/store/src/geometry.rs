//! Where things are on the medium. Everything here follows from two numbers: the capacity and the length of the log.

use crate::page::{BLOCK_LEN, BLOCK_NUMBER_END, FANOUT_LEN};

/// How many blocks one page of reference counts covers: a region.
pub(crate) const REGION_BLOCKS: u64 = 2048;
/// [`REGION_BLOCKS`] as a length in memory.
pub(crate) const REGION_LEN: usize = 2048;
/// How many level-2 pages of the index of regions a superblock refers to.
pub(crate) const ROOT_ENTRIES: usize = 128;

const TABLE_INDEX: u64 = 2;
/// Superblocks and the root of the table of LUNs are followed by second copies of them.
const SECOND_COPIES: u64 = TABLE_INDEX + 2;
const LOG_START: u64 = 2 * SECOND_COPIES;
const LOG_BLOCKS_MIN: u64 = 64;
const LOG_BLOCKS_MAX: u64 = 1 << 20;
const DATA_BLOCKS_MIN: u64 = 1024;

/// Where a page lies that checkpoints write in turn to one of two places.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Places {
    pub(crate) places: [u64; 2],
    /// How far behind each place its second copy lies, if it has one.
    copy_distance: Option<u64>,
}

impl Places {
    /// The second copy of what lies at a place.
    pub(crate) fn copy_of(&self, place: u64) -> Option<u64> {
        self.copy_distance.map(|distance| place + distance)
    }

    /// The place that is not `taken`.
    pub(crate) const fn other(&self, taken: u64) -> u64 {
        if taken == self.places[0] { self.places[1] } else { self.places[0] }
    }
}

/// The places of a pool's parts, in block numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Geometry {
    total_blocks: u64,
    log_blocks: u64,
}

impl Geometry {
    /// The geometry for a capacity and a log length in blocks, or `None` if they do not fit each other.
    pub(crate) fn new(total_blocks: u64, log_blocks: u64) -> Option<Self> {
        let fits = (LOG_BLOCKS_MIN..=LOG_BLOCKS_MAX).contains(&log_blocks)
            && total_blocks <= BLOCK_NUMBER_END
            && total_blocks >= LOG_START + log_blocks + DATA_BLOCKS_MIN;
        fits.then_some(Self { total_blocks, log_blocks })
    }

    pub(crate) const fn total_blocks(&self) -> u64 {
        self.total_blocks
    }

    pub(crate) const fn log_blocks(&self) -> u64 {
        self.log_blocks
    }

    /// The two copies of the superblock with this generation: generations alternate between two slots.
    pub(crate) const fn superblock(generation: u64) -> [u64; 2] {
        [generation % 2, SECOND_COPIES + generation % 2]
    }

    /// The byte offset of the log's block with the ever-growing number `position`: the log is a ring.
    pub(crate) const fn log_offset_bytes(&self, position: u64) -> u64 {
        (LOG_START + position % self.log_blocks) * BLOCK_LEN
    }

    /// The bytes of the log on the medium.
    pub(crate) const fn log_bytes(&self) -> std::ops::Range<u64> {
        LOG_START * BLOCK_LEN..self.data_start() * BLOCK_LEN
    }

    /// The first block of the first region.
    pub(crate) const fn data_start(&self) -> u64 {
        LOG_START + self.log_blocks
    }

    pub(crate) const fn region_count(&self) -> u64 {
        (self.total_blocks - self.data_start()).div_ceil(REGION_BLOCKS)
    }

    /// The two places of the root of the index of the table of LUNs.
    pub(crate) const fn table_index() -> Places {
        Places { places: [TABLE_INDEX, TABLE_INDEX + 1], copy_distance: Some(SECOND_COPIES) }
    }

    pub(crate) const fn region_start(&self, region: u64) -> u64 {
        self.data_start() + region * REGION_BLOCKS
    }

    /// How many blocks the region has; only the last one is shorter than the others.
    pub(crate) fn region_blocks(&self, region: u64) -> u64 {
        (self.total_blocks - self.region_start(region)).min(REGION_BLOCKS)
    }

    /// The two places of a region's page of reference counts. It has no second copy: all counts follow from the maps.
    pub(crate) const fn count_page(&self, region: u64) -> Places {
        let first = self.count_key(region);
        Places { places: [first, first + 1], copy_distance: None }
    }

    /// The key in the cache of a region's page of reference counts.
    pub(crate) const fn count_key(&self, region: u64) -> u64 {
        self.region_start(region)
    }

    /// The two places of a page of the index of regions: level 1 refers to pages of counts, level 2 to pages of level 1. They lie
    /// in the first region that they cover, behind its page of counts.
    pub(crate) const fn index_page(&self, level: u8, number: u64) -> Places {
        let (span, at) = if level == 1 { (FANOUT_LEN, 2) } else { (FANOUT_LEN * FANOUT_LEN, 4) };
        let first = self.region_start(number * span) + at;
        Places { places: [first, first + 1], copy_distance: Some(4) }
    }

    /// The first block of the region, counted from its start, that can hold data or a map page.
    pub(crate) const fn region_overhead(region: u64) -> u64 {
        if region.is_multiple_of(FANOUT_LEN) { 10 } else { 2 }
    }

    /// How many blocks can hold data or map pages.
    pub(crate) fn usable_blocks(&self) -> u64 {
        (0..self.region_count())
            .map(|region| self.region_blocks(region).saturating_sub(Self::region_overhead(region)))
            .sum()
    }

    /// Cuts blocks that can hold data or map pages where one is in another region than the next.
    pub(crate) fn by_region<'a>(&self, blocks: &'a [u64]) -> impl Iterator<Item = &'a [u64]> + use<'a> {
        let start = self.data_start();
        blocks.chunk_by(move |one, next| (one - start) / REGION_BLOCKS == (next - start) / REGION_BLOCKS)
    }

    /// The region and the place in it of a block that can hold data or a map page.
    pub(crate) fn place(&self, block: u64) -> Option<(u64, usize)> {
        if block >= self.total_blocks {
            return None;
        }
        let from_start = block.checked_sub(self.data_start())?;
        let (region, at) = (from_start / REGION_BLOCKS, from_start % REGION_BLOCKS);
        (at >= Self::region_overhead(region)).then(|| (region, crate::page::index(at)))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_two_parts_share_a_block() {
        let geometry = Geometry::new(LOG_START + 64 + 3 * FANOUT_LEN * REGION_BLOCKS + 5000, 64).unwrap();
        let mut taken = HashSet::new();
        let mut take = |blocks: &[u64]| {
            for block in blocks {
                assert!(*block < geometry.total_blocks() && taken.insert(*block), "block {block}");
            }
        };
        take(&Geometry::superblock(6));
        take(&Geometry::superblock(7));
        let all = |places: Places| {
            let copies = places.places.iter().filter_map(|place| places.copy_of(*place));
            copies.chain(places.places).collect::<Vec<u64>>()
        };
        take(&all(Geometry::table_index()));
        (0..64).for_each(|position| take(&[geometry.log_offset_bytes(position + 128) / BLOCK_LEN]));
        (0..geometry.region_count()).for_each(|region| take(&all(geometry.count_page(region))));
        (0..geometry.region_count().div_ceil(FANOUT_LEN)).for_each(|page| take(&all(geometry.index_page(1, page))));
        take(&all(geometry.index_page(2, 0)));
        let usable = (geometry.data_start()..geometry.total_blocks()).filter(|block| geometry.place(*block).is_some());
        let usable: Vec<u64> = usable.collect();
        take(&usable);
        assert_eq!(u64::try_from(usable.len()).unwrap(), geometry.usable_blocks());
    }

    #[test]
    fn impossible_sizes_are_refused() {
        for (total, log) in [(0, 64), (1000, 64), (100_000, 63), (BLOCK_NUMBER_END + 1, 64), (u64::MAX, u64::MAX)] {
            assert_eq!(Geometry::new(total, log), None, "{total} {log}");
        }
    }
}
