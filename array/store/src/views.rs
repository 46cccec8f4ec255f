//! Leaves of maps that can be looked at without the pool's lock.
//!
//! Under that lock a leaf is put here when it is read, and taken out before its LUN's map refers to anything else. So what is found here
//! is what the map said at that moment, and whoever began a read epoch before may read what it refers to.

use std::collections::HashMap;
use std::sync::Arc;

use crate::page::Page;
use crate::record::LunSlot;
use crate::sync::Mutex;

/// How many readers can look at the same time without waiting for each other.
const SHARDS: usize = 16;
/// Leaves here stay in the cache: no more of it than this part is to be held by them.
const CACHE_SHARE: usize = 8;

/// A leaf of the map of a LUN.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct LeafOf {
    pub(crate) slot: LunSlot,
    /// LUNs that have the same slot one after another differ in it.
    pub(crate) birth: u64,
    pub(crate) leaf: u64,
}

/// See the module.
#[derive(Default)]
pub(crate) struct Views {
    shards: [Mutex<Shard>; SHARDS],
}

#[derive(Default)]
struct Shard {
    pages: HashMap<LeafOf, Arc<Page>>,
    limit: usize,
}

impl Views {
    /// Follows the limit of the cache.
    pub(crate) fn set_cache_pages(&self, cache_pages: usize) {
        for shard in &self.shards {
            let mut shard = shard.lock();
            shard.limit = cache_pages / CACHE_SHARE / SHARDS;
            shard.pages.clear();
        }
    }

    fn shard(&self, leaf: LeafOf) -> &Mutex<Shard> {
        let number = leaf.leaf.wrapping_add(u64::from(leaf.slot).wrapping_mul(7));
        &self.shards[usize::try_from(number % SHARDS as u64).unwrap_or_default()]
    }

    pub(crate) fn get(&self, leaf: LeafOf) -> Option<Arc<Page>> {
        self.shard(leaf).lock().pages.get(&leaf).cloned()
    }

    /// Lets a leaf be looked at. To be called under the pool's lock.
    pub(crate) fn put(&self, leaf: LeafOf, page: &Arc<Page>) {
        let mut shard = self.shard(leaf).lock();
        if shard.pages.len() >= shard.limit {
            shard.pages.clear();
        }
        if shard.limit > 0 {
            shard.pages.insert(leaf, Arc::clone(page));
        }
    }

    /// The map is about to refer to something else there. To be called under the pool's lock.
    pub(crate) fn forget(&self, leaf: LeafOf) {
        self.shard(leaf).lock().pages.remove(&leaf);
    }

    /// The LUN gets another map, or is deleted. To be called under the pool's lock.
    pub(crate) fn forget_lun(&self, slot: LunSlot) {
        for shard in &self.shards {
            shard.lock().pages.retain(|leaf, _| leaf.slot != slot);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leaves_are_seen_until_they_are_forgotten_and_limits_are_kept() {
        let views = Views::default();
        let page = Arc::new(Page::zeroed());
        let leaf_of = |slot, leaf| LeafOf { slot, birth: 1, leaf };
        views.put(leaf_of(1, 1), &page);
        assert!(views.get(leaf_of(1, 1)).is_none(), "without a limit there is no room");
        views.set_cache_pages(2 * CACHE_SHARE * SHARDS);
        for leaf in 0..1000 {
            views.put(leaf_of(1, leaf), &page);
            assert!(views.get(leaf_of(1, leaf)).is_some());
        }
        assert!(Arc::strong_count(&page) <= 1 + 2 * SHARDS);
        views.put(leaf_of(2, 5), &page);
        views.forget(leaf_of(1, 999));
        assert!(views.get(leaf_of(1, 999)).is_none() && views.get(leaf_of(2, 5)).is_some());
        assert!(views.get(LeafOf { birth: 2, ..leaf_of(2, 5) }).is_none(), "that is another LUN");
        views.forget_lun(1);
        assert!((0..1000).all(|leaf| views.get(leaf_of(1, leaf)).is_none()));
        assert!(views.get(leaf_of(2, 5)).is_some());
    }
}
