//! The pages in memory: those that changed since the last checkpoint, and as many others as the limit allows.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

use crate::geometry::Geometry;
use crate::page::{BLOCK_LEN, Page};
use crate::regions::REGION_BYTES;

/// A map from block numbers. They are ours, not an attacker's, so a multiplication is hash enough.
pub(crate) type BlockMap<T> = HashMap<u64, T, BuildHasherDefault<BlockHasher>>;

/// See [`BlockMap`].
#[derive(Default)]
pub(crate) struct BlockHasher(u64);

impl Hasher for BlockHasher {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }
    fn write_u64(&mut self, number: u64) {
        let mixed = (self.0 ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = mixed ^ (mixed >> 32);
    }
}

/// What a page is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PageKind {
    /// A page of a LUN's map. Entries of level 0 refer to data, others to pages of the level below.
    Map {
        /// The height above the data.
        level: u8,
        /// The block of its second copy.
        copy: u64,
    },
    /// The reference counts of a region.
    Counts {
        /// The region.
        region: u64,
    },
}

/// A page that a checkpoint writes.
pub(crate) struct FrozenPage {
    pub(crate) key: u64,
    pub(crate) kind: PageKind,
    pub(crate) page: Arc<Page>,
}

struct Slot {
    page: Arc<Page>,
    kind: PageKind,
    dirty: bool,
    /// The slot's place in the clock; an entry of the clock with another number is of a page that is gone.
    turn: u64,
    /// Since the hand passed the last time.
    used: bool,
    /// The number of the last freeze that this content was part of.
    frozen: u64,
}

/// How much memory a page takes with all that is kept because of it: its slot, its turns, its place in a checkpoint, and which blocks of a
/// region are held or have been freed.
const PAGE_COST_BYTES: u64 = BLOCK_LEN + 512;
/// With fewer pages than that nothing works.
const PAGES_MIN: u64 = 8;

/// How many pages fit into this much memory beside what is known of each region. A pool of which already that takes more than half of it gets more.
pub(crate) fn pages_in(memory_bytes: u64, geometry: &Geometry) -> usize {
    let fixed_bytes = geometry.region_count() * REGION_BYTES;
    let for_pages = memory_bytes.saturating_sub(fixed_bytes).max(memory_bytes / 2);
    usize::try_from((for_pages / PAGE_COST_BYTES).max(PAGES_MIN)).unwrap_or(usize::MAX)
}

const TRIM_TURNS: usize = 256;

/// Pages by key: the block number of a map page, the first of the two places of a page of counts.
///
/// INVARIANT: a page that is dirty, or that somebody else holds (`Arc`), is not evicted.
pub(crate) struct Cache {
    slots: BlockMap<Slot>,
    /// The clock: keys in the order of insertion; a page that was used gets another turn.
    hand: VecDeque<(u64, u64)>,
    turns_given: u64,
    dirty: Vec<u64>,
    dirty_count: usize,
    limit: usize,
    freezes: u64,
    /// How many pages are in memory only because a checkpoint is writing them. They count, too.
    frozen_only: usize,
    /// How many pages have come since the cache was trimmed.
    inserted: usize,
}

impl Cache {
    /// A cache that shrinks to `limit` pages whenever it may.
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            slots: BlockMap::default(),
            hand: VecDeque::new(),
            turns_given: 0,
            dirty: Vec::new(),
            dirty_count: 0,
            limit,
            freezes: 0,
            frozen_only: 0,
            inserted: 0,
        }
    }

    pub(crate) fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
    }

    pub(crate) fn get(&mut self, key: u64) -> Option<&Arc<Page>> {
        self.slots.get_mut(&key).map(|slot| {
            slot.used = true;
            &slot.page
        })
    }

    pub(crate) fn is_dirty(&self, key: u64) -> bool {
        self.slots.get(&key).is_some_and(|slot| slot.dirty)
    }

    /// How many pages changed since the last freeze.
    pub(crate) fn dirty_count(&self) -> usize {
        self.dirty_count
    }

    /// Adds a page as it is on the medium, unless it is here already.
    pub(crate) fn insert_clean(&mut self, key: u64, kind: PageKind, page: Arc<Page>) {
        if !self.slots.contains_key(&key) {
            self.insert(key, kind, page, false);
        }
    }

    /// Adds a page that the medium does not have yet. A clean page under this key was of a block that has been freed since.
    pub(crate) fn insert_dirty(&mut self, key: u64, kind: PageKind, page: Page) {
        self.remove(key);
        self.insert(key, kind, Arc::new(page), true);
        self.dirty.push(key);
        self.dirty_count += 1;
    }

    fn insert(&mut self, key: u64, kind: PageKind, page: Arc<Page>, dirty: bool) {
        self.inserted += 1;
        let turn = self.turns_given;
        self.turns_given += 1;
        self.slots.insert(key, Slot { page, kind, dirty, turn, used: true, frozen: 0 });
        self.hand.push_back((key, turn));
    }

    /// A page to change.
    ///
    /// # Panics
    /// If it is not here: callers make sure of it first.
    pub(crate) fn page_mut(&mut self, key: u64) -> &mut Page {
        let slot = self.slots.get_mut(&key).expect("pages are brought in before they are changed");
        if !slot.dirty {
            slot.dirty = true;
            self.dirty.push(key);
            self.dirty_count += 1;
        }
        slot.used = true;
        // While a checkpoint writes the page, what it writes becomes a page of its own here.
        self.frozen_only += usize::from(std::mem::take(&mut slot.frozen) == self.freezes && self.freezes > 0);
        Arc::make_mut(&mut slot.page)
    }

    /// Forgets a page whose block was freed. Its key stays in the clock, which skips what is gone.
    pub(crate) fn remove(&mut self, key: u64) {
        if let Some(slot) = self.slots.remove(&key) {
            self.dirty_count -= usize::from(slot.dirty);
            self.frozen_only += usize::from(slot.frozen == self.freezes && self.freezes > 0);
        }
    }

    /// All changed pages, which are clean from now on as far as the next checkpoint is concerned.
    pub(crate) fn freeze(&mut self) -> Vec<FrozenPage> {
        let mut frozen = Vec::with_capacity(self.dirty_count);
        self.freezes += 1;
        for key in std::mem::take(&mut self.dirty) {
            if let Some(slot) = self.slots.get_mut(&key)
                && slot.dirty
            {
                slot.dirty = false;
                slot.frozen = self.freezes;
                // With its checks filled in, a page above the leaves is another one.
                self.frozen_only += usize::from(matches!(slot.kind, PageKind::Map { level: 1.., .. }));
                frozen.push(FrozenPage { key, kind: slot.kind, page: Arc::clone(&slot.page) });
            }
        }
        self.dirty_count = 0;
        frozen
    }

    /// The checkpoint is durable: what it wrote is no longer held because of it.
    pub(crate) fn thaw(&mut self) {
        self.frozen_only = 0;
        // No slot bears the next number.
        self.freezes += 1;
    }

    /// Puts the sealed form of a frozen page in its place.
    pub(crate) fn replace_sealed(&mut self, key: u64, frozen: &Arc<Page>, sealed: Arc<Page>) {
        if let Some(slot) = self.slots.get_mut(&key)
            && Arc::ptr_eq(&slot.page, frozen)
        {
            slot.page = sealed;
        }
    }

    /// Gives each changed map page above level 0 to `change`.
    pub(crate) fn for_each_dirty_inner(&mut self, mut change: impl FnMut(&mut Page)) {
        for key in &self.dirty {
            if let Some(slot) = self.slots.get_mut(key)
                && slot.dirty
                && matches!(slot.kind, PageKind::Map { level: 1.., .. })
            {
                change(Arc::make_mut(&mut slot.page));
            }
        }
    }

    /// Evicts clean pages that nobody holds until the limit is kept, but looks at some pages only: when most of them cannot go
    /// now, the cache is above its limit for a while, and no single caller pays for a search of it.
    pub(crate) fn trim(&mut self) {
        // Who brings in many pages, as the first change of a map behind a snapshot does, looks at many.
        let mut turns = TRIM_TURNS + 4 * std::mem::take(&mut self.inserted);
        while self.slots.len() + self.frozen_only > self.limit && turns > 0 {
            turns -= 1;
            let Some((key, turn)) = self.hand.pop_front() else { return };
            let Some(slot) = self.slots.get_mut(&key).filter(|slot| slot.turn == turn) else { continue };
            let pinned = slot.dirty || Arc::strong_count(&slot.page) > 1;
            if pinned || std::mem::take(&mut slot.used) {
                self.hand.push_back((key, turn));
            } else {
                self.slots.remove(&key);
            }
        }
        if self.hand.len() > 2 * self.slots.len() + 64 {
            self.hand.retain(|(key, turn)| self.slots.get(key).is_some_and(|slot| slot.turn == *turn));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEAF: PageKind = PageKind::Map { level: 0, copy: 100 };

    #[test]
    fn the_limit_is_kept_by_evicting_clean_pages_only() {
        let mut cache = Cache::new(4);
        for key in 0..8 {
            cache.insert_dirty(key, LEAF, Page::zeroed());
        }
        cache.trim();
        assert_eq!((cache.slots.len(), cache.dirty_count()), (8, 8));
        let frozen = cache.freeze();
        cache.trim();
        assert_eq!((cache.slots.len(), cache.dirty_count()), (8, 0), "frozen pages are still held");
        drop(frozen);
        cache.trim();
        assert_eq!(cache.slots.len(), 4);
    }

    #[test]
    fn what_a_checkpoint_alone_holds_counts() {
        let mut cache = Cache::new(8);
        (0..4).for_each(|key| cache.insert_dirty(key, LEAF, Page::zeroed()));
        let frozen = cache.freeze();
        // One page changes and one goes while they are written; then there are six.
        cache.page_mut(0).set_count(0, 1);
        cache.page_mut(0).set_count(0, 2);
        cache.remove(1);
        assert_eq!(cache.frozen_only, 2);
        (10..16).for_each(|key| cache.insert_clean(key, LEAF, Arc::new(Page::zeroed())));
        cache.trim();
        assert_eq!(cache.slots.len(), 6);
        cache.thaw();
        drop(frozen);
        cache.page_mut(2).set_count(0, 1);
        assert_eq!(cache.frozen_only, 0);
        let geometry = Geometry::new(1 << 28, 64).unwrap();
        assert!(pages_in(0, &geometry) == 8 && pages_in(256 << 20, &geometry) > 56_000);
    }

    #[test]
    fn a_frozen_page_does_not_see_later_changes() {
        let mut cache = Cache::new(4);
        cache.insert_dirty(1, LEAF, Page::zeroed());
        let frozen = cache.freeze();
        cache.page_mut(1).set_count(0, 9);
        assert_eq!(frozen[0].page.count(0), 0);
        assert_eq!(cache.dirty_count(), 1);
        let sealed = Arc::new(Page::zeroed());
        cache.replace_sealed(1, &frozen[0].page, sealed);
        assert_eq!(cache.get(1).unwrap().count(0), 9, "a changed page is not replaced by its older form");
    }
}
