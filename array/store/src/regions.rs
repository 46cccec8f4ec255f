//! What is known of each region, in four bytes: a pool of 256 TiB has 32 million of them.

use crate::geometry::Geometry;
use crate::page::{Entry, index};

/// The check of its page of counts is in the bits below.
const CHECK_BITS: u32 = 28;
/// The page of counts lies in the second of its two places.
const SECOND_PLACE: u32 = 1 << 28;
/// It has one; without, all counts are zero.
const HAS_COUNTS: u32 = 1 << 29;
/// A search of the whole region found nothing, and no block of it has come back since.
const FOUND_FULL: u32 = 1 << 30;

/// How much memory a region takes.
pub(crate) const REGION_BYTES: u64 = size_of::<u32>() as u64;

/// See the module.
pub(crate) struct Regions {
    geometry: Geometry,
    packed: Vec<u32>,
}

impl Regions {
    /// Room for the regions of a pool, of which nothing is known yet.
    pub(crate) fn new(geometry: Geometry) -> Self {
        Self { geometry, packed: Vec::with_capacity(index(geometry.region_count())) }
    }

    pub(crate) fn len(&self) -> usize {
        self.packed.len()
    }

    /// Adds the next region, with the entry of its page of counts. False if that lies in none of its places.
    pub(crate) fn push(&mut self, counts: Entry) -> bool {
        let region = u64::try_from(self.packed.len()).unwrap_or(u64::MAX);
        let Some(packed) = self.pack(region, counts) else { return false };
        self.packed.push(packed);
        true
    }

    /// Has the regions of a pool that has grown.
    pub(crate) fn enlarge(&mut self, geometry: Geometry) {
        self.geometry = geometry;
        // The last region may have been shorter than it is now.
        if let Some(last) = self.packed.last_mut() {
            *last &= !FOUND_FULL;
        }
        self.packed.resize(index(geometry.region_count()), 0);
    }

    /// Where a region's counts are; unmapped while all of them are zero.
    pub(crate) fn counts(&self, region: u64) -> Entry {
        let packed = self.packed[index(region)];
        if packed & HAS_COUNTS == 0 {
            return Entry::UNMAPPED;
        }
        let place = usize::from(packed & SECOND_PLACE != 0);
        Entry::new(self.geometry.count_page(region).places[place], packed & (SECOND_PLACE - 1))
    }

    pub(crate) fn set_counts(&mut self, region: u64, counts: Entry) {
        let packed = self.pack(region, counts).expect("pages of counts are written to their own places");
        let known = &mut self.packed[index(region)];
        *known = (*known & FOUND_FULL) | packed;
    }

    pub(crate) fn is_worth_a_search(&self, region: u64) -> bool {
        self.packed[index(region)] & FOUND_FULL == 0
    }

    pub(crate) fn set_worth_a_search(&mut self, region: u64, is_worth: bool) {
        let packed = &mut self.packed[index(region)];
        *packed = if is_worth { *packed & !FOUND_FULL } else { *packed | FOUND_FULL };
    }

    fn pack(&self, region: u64, counts: Entry) -> Option<u32> {
        if counts.is_unmapped() {
            return Some(0);
        }
        let places = self.geometry.count_page(region).places;
        let place = places.iter().position(|place| *place == counts.block())?;
        debug_assert!(counts.check() < 1 << CHECK_BITS, "a check has 28 bits");
        Some(HAS_COUNTS | if place == 1 { SECOND_PLACE } else { 0 } | counts.check())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_come_back_as_they_were() {
        let geometry = Geometry::new(100_000, 64).unwrap();
        let mut regions = Regions::new(geometry);
        let [first, second] = geometry.count_page(1).places;
        assert!(regions.push(Entry::UNMAPPED) && regions.push(Entry::new(second, 0x0fff_ffff)));
        assert!(!regions.push(Entry::new(first, 1)), "that is the place of another region");
        assert_eq!((regions.counts(0), regions.counts(1)), (Entry::UNMAPPED, Entry::new(second, 0x0fff_ffff)));
        regions.set_worth_a_search(1, false);
        regions.set_counts(1, Entry::new(first, 0));
        assert!(!regions.is_worth_a_search(1) && regions.is_worth_a_search(0));
        assert_eq!(regions.counts(1), Entry::new(first, 0));
        regions.set_worth_a_search(1, true);
        regions.enlarge(Geometry::new(200_000, 64).unwrap());
        assert_eq!(
            (regions.len(), regions.counts(1)),
            (index(Geometry::new(200_000, 64).unwrap().region_count()), Entry::new(first, 0))
        );
        assert!(regions.is_worth_a_search(1));
    }
}
