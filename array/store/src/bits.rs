//! Blocks of regions, one bit for each.

use crate::cache::BlockMap;
use crate::geometry::REGION_LEN;

/// The blocks of one region.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RegionBits(Box<[u64; REGION_LEN / 64]>);

impl RegionBits {
    fn empty() -> Self {
        Self(Box::new([0; REGION_LEN / 64]))
    }

    fn is_empty(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }

    pub(crate) fn contains(&self, at: usize) -> bool {
        self.0[at / 64] & (1 << (at % 64)) != 0
    }

    fn count(&self) -> u64 {
        self.0.iter().map(|word| u64::from(word.count_ones())).sum()
    }
}

/// Blocks of any regions.
#[derive(Debug, Default)]
pub(crate) struct RegionSet {
    regions: BlockMap<RegionBits>,
    count: u64,
    /// Of a region that has none any more, for the next one that gets some: what is taken one by one comes and goes all the time.
    spare: Option<RegionBits>,
}

impl RegionSet {
    /// How many blocks there are.
    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    pub(crate) fn contains(&self, region: u64, at: usize) -> bool {
        self.regions.get(&region).is_some_and(|bits| bits.contains(at))
    }

    /// The blocks of a region, if there are any.
    pub(crate) fn of_region(&self, region: u64) -> Option<&RegionBits> {
        self.regions.get(&region)
    }

    /// False if the block was there.
    pub(crate) fn insert(&mut self, region: u64, at: usize) -> bool {
        let spare = || self.spare.take().unwrap_or_else(RegionBits::empty);
        let bits = self.regions.entry(region).or_insert_with(spare);
        let is_fresh = bits.0[at / 64] & (1 << (at % 64)) == 0;
        bits.0[at / 64] |= 1 << (at % 64);
        self.count += u64::from(is_fresh);
        is_fresh
    }

    /// False if the block was not there.
    pub(crate) fn remove(&mut self, region: u64, at: usize) -> bool {
        let Some(bits) = self.regions.get_mut(&region) else { return false };
        if bits.0[at / 64] & (1 << (at % 64)) == 0 {
            return false;
        }
        bits.0[at / 64] &= !(1 << (at % 64));
        self.count -= 1;
        if bits.is_empty() {
            self.spare = self.regions.remove(&region);
        }
        true
    }

    /// Removes all blocks of a region that are among others.
    pub(crate) fn remove_all(&mut self, region: u64, others: &RegionBits) {
        let Some(bits) = self.regions.get_mut(&region) else { return };
        let before = bits.count();
        bits.0.iter_mut().zip(others.0.iter()).for_each(|(word, other)| *word &= !other);
        self.count -= before - bits.count();
        if bits.is_empty() {
            self.regions.remove(&region);
        }
    }

    /// Takes everything out: region by region, and how many blocks.
    pub(crate) fn take(&mut self) -> (Vec<(u64, RegionBits)>, u64) {
        let count = std::mem::take(&mut self.count);
        (std::mem::take(&mut self.regions).into_iter().collect(), count)
    }
}

/// How many blocks these are.
pub(crate) fn count_of(bits: &RegionBits) -> u64 {
    bits.count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_counted_and_regions_without_any_are_forgotten() {
        let mut set = RegionSet::default();
        assert!(set.insert(3, 0) && set.insert(3, 2047) && !set.insert(3, 0) && set.insert(9, 64));
        assert!(set.contains(3, 2047) && !set.contains(3, 2046) && !set.contains(4, 0));
        assert_eq!(set.count(), 3);
        assert!(set.remove(9, 64) && !set.remove(9, 64) && set.regions.len() == 1);
        let mut others = RegionSet::default();
        assert!([0, 1, 2047].into_iter().all(|at| others.insert(3, at)));
        let (taken, count) = others.take();
        assert_eq!((taken.len(), count, others.count(), count_of(&taken[0].1)), (1, 3, 0, 3));
        set.insert(3, 5);
        set.remove_all(3, &taken[0].1);
        assert!(set.count() == 1 && set.contains(3, 5));
    }
}
