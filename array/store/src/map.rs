//! The maps of LUNs: radix trees of pages that LUNs share, changed by copying.
//!
//! Every operation has two halves: `touch_…` finds which pages it needs and changes nothing; once they are all in memory, the other
//! half cannot fail. Both run under one hold of the pool's lock.

use std::ops::Range;
use std::sync::Arc;

use smallvec::SmallVec;

use crate::cache::{Cache, PageKind};
use crate::page::{BLOCK_NUMBER_END, CHILDREN, CHILDREN_LEN, Entry, FANOUT_LEN, Page, PageRef, index};
use crate::space::{At, Fault, Faults, Purpose, Space};

/// The most map pages that one operation makes: a page of each level.
pub(crate) const PATH_LEN_MAX: usize = 5;

/// A LUN's map.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Tree {
    pub(crate) root: PageRef,
    /// How many levels of pages it has. Level 0 refers to data.
    pub(crate) levels: u8,
}

/// How many blocks an entry of a page at `level` covers.
pub(crate) const fn entry_span(level: u8) -> u64 {
    if level == 0 { 1 } else { FANOUT_LEN * CHILDREN_LEN.pow(level as u32 - 1) }
}

impl Tree {
    /// An empty map with room for `block_count` blocks, or `None` if that is more than can be mapped.
    pub(crate) fn for_blocks(block_count: u64) -> Option<Self> {
        let levels = (1..=5_u8).find(|levels| block_count <= entry_span(*levels))?;
        (block_count <= BLOCK_NUMBER_END).then_some(Self { root: PageRef::UNMAPPED, levels })
    }

    /// How many blocks it has room for.
    pub(crate) fn span(&self) -> u64 {
        entry_span(self.levels)
    }
}

/// The place in the page at `level` of the path to the leaf with the number `leaf`.
fn place_in(level: u8, leaf: u64) -> usize {
    index(leaf / CHILDREN_LEN.pow(u32::from(level) - 1) % CHILDREN_LEN)
}

/// The blocks that a page refers to, in ascending order, so that those whose counts are on one page come together. The second copies of pages
/// do not count.
fn referred(page: &Page, level: u8) -> Vec<u64> {
    let mut blocks: Vec<u64> = match level {
        0 => page.entries().map(Entry::block).filter(|block| *block != 0).collect(),
        _ => page.children().map(PageRef::block).filter(|block| *block != 0).collect(),
    };
    blocks.sort_unstable();
    blocks
}

/// What a look-up found.
pub(crate) enum Leaf {
    /// The page.
    Mapped(Arc<Page>),
    /// Nothing is mapped from the leaf on, up to the leaf with this number.
    HoleUntil(u64),
}

impl Leaf {
    /// The entry at a place of the leaf.
    pub(crate) fn entry(&self, at: usize) -> Entry {
        match self {
            Self::Mapped(page) => page.entry(at),
            Self::HoleUntil(_) => Entry::UNMAPPED,
        }
    }
}

/// What a comparison of two maps found.
pub(crate) enum Compared {
    /// They are the same up to the leaf with this number.
    SameUntil(u64),
    /// Two leaves, which may have entries in common.
    Leaves(Leaf, Leaf),
}

/// A page on the way from a root to a leaf.
pub(crate) struct PathStep {
    pub(crate) page: PageRef,
    pub(crate) level: u8,
    /// The first block that it covers.
    pub(crate) base: u64,
    /// Nothing, if the way need not go further.
    pub(crate) content: Option<Arc<Page>>,
}

/// The pool's metadata in memory: pages and the space that they and the data lie in.
pub(crate) struct Pages {
    pub(crate) cache: Cache,
    pub(crate) space: Space,
    /// Blocks taken in advance for map pages and their second copies, so that changing a map cannot run out of space half-way.
    spare: Vec<u64>,
    spare_copies: Vec<u64>,
}

/// How the others that a block belongs to, if there are any, read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OtherOwners {
    /// As a shadow LUN is read: by a backup, once. A cache that kept the past of what is overwritten would grow with each snapshot.
    Seldom,
    /// As any LUN is.
    Often,
}

impl Pages {
    pub(crate) fn new(cache: Cache, space: Space) -> Self {
        Self { cache, space, spare: Vec::new(), spare_copies: Vec::new() }
    }

    /// Takes blocks in advance, enough for changes of so many leaves. `None` if a fault was added, false if the pool is full to the last block.
    pub(crate) fn stock_spare(&mut self, leaves: usize, faults: &mut Faults) -> Option<bool> {
        let want = leaves * PATH_LEN_MAX;
        let (spare, copies) = (&mut self.spare, &mut self.spare_copies);
        let pages = Self::stock(want, spare, &mut self.space, &mut self.cache, Purpose::Map, faults);
        let copies = Self::stock(want, copies, &mut self.space, &mut self.cache, Purpose::MapCopy, faults);
        Some(pages? && copies?)
    }

    fn stock(
        want: usize,
        spare: &mut Vec<u64>,
        space: &mut Space,
        cache: &mut Cache,
        purpose: Purpose,
        faults: &mut Faults,
    ) -> Option<bool> {
        if spare.len() < want {
            spare.extend(space.claim(cache, purpose, want.max(4 * PATH_LEN_MAX), faults)?);
            if spare.len() < want {
                spare.extend(space.claim(cache, purpose, want - spare.len(), faults)?);
            }
        }
        let before = faults.len();
        space.touch_all(cache, spare, faults);
        (faults.len() == before).then_some(spare.len() >= want)
    }

    fn page(&mut self, page: PageRef, level: u8, faults: &mut Faults) -> Option<Arc<Page>> {
        let key = page.block();
        let found = self.cache.get(key).map(Arc::clone);
        if found.is_none() {
            faults.push(Fault { key, kind: PageKind::Map { level, copy: page.copy() }, at: At::Twice(page) });
        }
        found
    }

    /// Finds a leaf. `None` if a fault was added.
    pub(crate) fn leaf(&mut self, tree: &Tree, leaf: u64, faults: &mut Faults) -> Option<Leaf> {
        let mut entry = tree.root;
        for level in (0..tree.levels).rev() {
            if entry.is_unmapped() {
                let span = entry_span(level + 1) / FANOUT_LEN;
                return Some(Leaf::HoleUntil((leaf / span + 1) * span));
            }
            let page = self.page(entry, level, faults)?;
            if level == 0 {
                return Some(Leaf::Mapped(page));
            }
            entry = page.child(place_in(level, leaf));
        }
        Some(Leaf::HoleUntil(leaf + 1))
    }

    /// The pages on the way to a block, as far as it is mapped. Pages that begin with the block and are done are not entered. `None` if a
    /// fault was added.
    pub(crate) fn path(
        &mut self,
        tree: &Tree,
        block: u64,
        faults: &mut Faults,
        is_done: impl Fn(PageRef) -> bool,
    ) -> Option<Vec<PathStep>> {
        let (mut steps, mut page, mut base) = (Vec::with_capacity(PATH_LEN_MAX), tree.root, 0);
        for level in (0..tree.levels).rev() {
            if page.is_unmapped() {
                break;
            }
            if block == base && is_done(page) {
                steps.push(PathStep { page, level, base, content: None });
                break;
            }
            let content = self.page(page, level, faults)?;
            let step = PathStep { page, level, base, content: Some(Arc::clone(&content)) };
            steps.push(step);
            if level > 0 {
                let place = (block - base) / entry_span(level);
                base += place * entry_span(level);
                page = content.child(index(place));
            }
        }
        Some(steps)
    }

    /// Compares two maps where `leaf` is: up to which leaf both have the same pages, or the leaf of both, which are different pages. `None` if a
    /// fault was added.
    pub(crate) fn compare(&mut self, one: &Tree, other: &Tree, leaf: u64, faults: &mut Faults) -> Option<Compared> {
        let mut pages = [PageRef::UNMAPPED; 2];
        for (page, tree) in pages.iter_mut().zip([one, other]) {
            // What lies beyond a map is mapped nowhere.
            *page = if leaf < tree.span().div_ceil(FANOUT_LEN) { tree.root } else { PageRef::UNMAPPED };
        }
        for level in (0..one.levels.max(other.levels)).rev() {
            let are_here = [one.levels > level, other.levels > level];
            // The check of a page that is still changing is not filled in; its place says which one it is.
            if are_here == [true; 2] && pages[0].block() == pages[1].block() {
                let span = entry_span(level + 1) / FANOUT_LEN;
                return Some(Compared::SameUntil((leaf / span + 1) * span));
            }
            if level == 0 {
                break;
            }
            for (page, is_here) in pages.iter_mut().zip(are_here) {
                if is_here && !page.is_unmapped() {
                    *page = self.page(*page, level, faults)?.child(place_in(level, leaf));
                }
            }
        }
        let [one, other] = pages.map(|page| (!page.is_unmapped()).then(|| self.page(page, 0, faults)));
        let as_leaf = |page: Option<Option<Arc<Page>>>| {
            Some(match page {
                Some(page) => Leaf::Mapped(page?),
                None => Leaf::HoleUntil(leaf + 1),
            })
        };
        Some(Compared::Leaves(as_leaf(one)?, as_leaf(other)?))
    }

    /// Whether another LUN has the leaf, too, since it or a page above it has several references. `None` if a fault was added.
    pub(crate) fn is_shared(&mut self, tree: &Tree, leaf: u64, faults: &mut Faults) -> Option<bool> {
        let mut entry = tree.root;
        for level in (0..tree.levels).rev() {
            if entry.is_unmapped() {
                break;
            }
            if !self.touch_count(entry.first(), faults) {
                return None;
            }
            if self.space.count(&mut self.cache, entry.block()) > 1 {
                return Some(true);
            }
            if level > 0 {
                entry = self.page(entry, level, faults)?.child(place_in(level, leaf));
            }
        }
        Some(false)
    }

    /// Whether a block, whose count is in memory, has more than one reference.
    pub(crate) fn has_other_owners(&mut self, entry: Entry) -> bool {
        !entry.is_unmapped() && self.space.count(&mut self.cache, entry.block()) > 1
    }

    /// Brings in what [`Pages::update`] of these entries needs.
    pub(crate) fn touch_update(&mut self, tree: &Tree, leaf: u64, range: Range<usize>, faults: &mut Faults) {
        let mut entry = tree.root;
        let mut shared = false;
        let mut above: SmallVec<[u64; 2 * PATH_LEN_MAX]> = SmallVec::new();
        for level in (0..tree.levels).rev() {
            if entry.is_unmapped() {
                return;
            }
            // A pool that was made by something else than this code may have counts that say that they are free, or a page below itself.
            for block in [entry.block(), entry.copy()] {
                if above.contains(&block) || self.spare.contains(&block) || self.spare_copies.contains(&block) {
                    let kind = PageKind::Map { level, copy: entry.copy() };
                    return faults.push(Fault { key: entry.block(), kind, at: At::Nowhere });
                }
                above.push(block);
            }
            if self.touch_page(entry, faults) {
                shared |= self.space.count(&mut self.cache, entry.block()) > 1;
            }
            let Some(page) = self.page(entry, level, faults) else { return };
            if level == 0 {
                for place in range.clone() {
                    self.touch_count(page.entry(place), faults);
                }
            }
            if shared {
                self.space.touch_all(&mut self.cache, &referred(&page, level), faults);
            }
            if level > 0 {
                entry = page.child(place_in(level, leaf));
                self.touch_page(entry, faults);
            }
        }
    }

    /// Brings in the counts of both copies of a page; true if they are there.
    fn touch_page(&mut self, page: PageRef, faults: &mut Faults) -> bool {
        // Both are asked for. A fault that was named before is not named again, so that their number says nothing.
        let first = self.touch_count(page.first(), faults);
        let second = self.touch_count(page.second(), faults);
        first && second
    }

    /// Brings in the count of a block; true if it is there.
    pub(crate) fn touch_count(&mut self, entry: Entry, faults: &mut Faults) -> bool {
        entry.is_unmapped() || self.space.touch(&mut self.cache, entry.block(), faults)
    }

    /// Sets entries of a leaf, from the place `first` on. New blocks get their reference, replaced ones lose theirs, and what they hold is not kept in
    /// memory for `others`, if that says so. Answers how many more blocks are mapped than before.
    pub(crate) fn update(
        &mut self,
        tree: &mut Tree,
        leaf: u64,
        first: usize,
        entries: &[Entry],
        others: OtherOwners,
    ) -> i64 {
        let key = self.writable(tree, leaf, 0);
        let mut growth = 0;
        for (place, new) in (first..).zip(entries) {
            let old = self.cache.get(key).expect("made above").entry(place);
            if old == *new {
                continue;
            }
            self.cache.page_mut(key).set_entry(place, *new);
            if !new.is_unmapped() {
                self.space.increment(&mut self.cache, new.block());
                growth += 1;
            }
            if !old.is_unmapped() {
                let is_free = self.space.decrement(&mut self.cache, old.block());
                if !is_free && others == OtherOwners::Seldom {
                    self.space.read_cache().forget(old.block());
                }
                growth -= 1;
            }
        }
        growth
    }

    /// Takes a whole leaf out of a map, which must have it. Needs the same pages as an update of all its entries. Answers as
    /// [`Pages::update`].
    pub(crate) fn remove_leaf(&mut self, tree: &mut Tree, leaf: u64) -> i64 {
        let entry = if tree.levels == 1 {
            std::mem::take(&mut tree.root)
        } else {
            let key = self.writable(tree, leaf, 1);
            let place = place_in(1, leaf);
            let entry = self.cache.get(key).expect("made above").child(place);
            self.cache.page_mut(key).set_child(place, PageRef::UNMAPPED);
            entry
        };
        let page = Arc::clone(self.cache.get(entry.block()).expect("touched before"));
        let mut mapped = 0;
        let last = self.space.count(&mut self.cache, entry.block()) == 1;
        for data in page.entries().filter(|data| !data.is_unmapped()) {
            mapped += 1;
            if last {
                self.space.decrement(&mut self.cache, data.block());
            }
        }
        self.drop_page(entry);
        -mapped
    }

    /// Takes a reference to a page away, and forgets the page if it was the last.
    fn drop_page(&mut self, page: PageRef) {
        if self.space.decrement(&mut self.cache, page.block()) {
            self.space.decrement(&mut self.cache, page.copy());
            self.space.count_map_blocks(-2);
            self.cache.remove(page.block());
        }
    }

    /// Makes the path down to `level` this tree's own and changeable; the key of its last page.
    fn writable(&mut self, tree: &mut Tree, leaf: u64, down_to: u8) -> u64 {
        let top = tree.levels - 1;
        tree.root = self.writable_page(tree.root, top);
        let mut key = tree.root.block();
        for level in (down_to..top).rev() {
            let place = place_in(level + 1, leaf);
            let old = self.cache.get(key).expect("made above").child(place);
            let new = self.writable_page(old, level);
            if old != new {
                self.cache.page_mut(key).set_child(place, new);
            }
            key = new.block();
        }
        key
    }

    fn writable_page(&mut self, old: PageRef, level: u8) -> PageRef {
        if old.is_unmapped() {
            return self.new_page(level, Page::zeroed());
        }
        let shared = self.space.count(&mut self.cache, old.block()) > 1;
        if !shared && self.cache.is_dirty(old.block()) {
            return old;
        }
        let page = Page::clone(self.cache.get(old.block()).expect("touched before"));
        if shared {
            self.space.increment_all(&mut self.cache, &referred(&page, level));
        }
        self.drop_page(old);
        self.new_page(level, page)
    }

    /// A changed page in blocks that were taken in advance.
    fn new_page(&mut self, level: u8, page: Page) -> PageRef {
        let block = self.spare.pop().expect("stocked before");
        let copy = self.spare_copies.pop().expect("stocked before");
        self.space.increment(&mut self.cache, block);
        self.space.increment(&mut self.cache, copy);
        self.space.count_map_blocks(2);
        self.cache.insert_dirty(block, PageKind::Map { level, copy }, page);
        PageRef::unsealed(block, copy)
    }

    /// Gives a map more levels. Takes a spare block for each if something is mapped.
    pub(crate) fn raise(&mut self, tree: &mut Tree, levels: u8) {
        while tree.levels < levels {
            if !tree.root.is_unmapped() {
                let mut page = Page::zeroed();
                page.set_child(0, tree.root);
                tree.root = self.new_page(tree.levels, page);
            }
            tree.levels += 1;
        }
    }

    /// Gives back one subtree of a deleted map, beginning at the block `cursor`: what lies below the cursor has been given back
    /// already. The new cursor, or `None` if faults were added.
    ///
    /// A page keeps its reference until the cursor has passed it, so that its absence from the cursor's path never matters, and no
    /// page is changed: giving back needs no space.
    pub(crate) fn give_back(&mut self, tree: &Tree, cursor: u64, faults: &mut Faults) -> Option<u64> {
        if tree.root.is_unmapped() {
            return Some(tree.span());
        }
        let mut path: Vec<(PageRef, u64)> = Vec::with_capacity(PATH_LEN_MAX);
        let (mut entry, mut base) = (tree.root, 0);
        for level in (0..tree.levels).rev() {
            let end = base + entry_span(level + 1);
            self.touch_page(entry, faults);
            if !faults.is_empty() {
                return None;
            }
            path.push((entry, end));
            let shared = cursor == base && self.space.count(&mut self.cache, entry.block()) > 1;
            if shared {
                return Some(self.give_back_path(&path, end));
            }
            let page = self.page(entry, level, faults)?;
            if level == 0 {
                let data = referred(&page, level);
                self.space.touch_all(&mut self.cache, &data, faults);
                if !faults.is_empty() {
                    return None;
                }
                self.space.decrement_all(&mut self.cache, &data);
                return Some(self.give_back_path(&path, end));
            }
            let span = entry_span(level);
            let place = index((cursor - base) / span);
            let next = (place..CHILDREN).find(|place| !page.child(*place).is_unmapped());
            let Some(next) = next else { return Some(self.give_back_path(&path, end)) };
            if next != place {
                return Some(base + u64::try_from(next).expect("below CHILDREN") * span);
            }
            entry = page.child(place);
            base += span * u64::try_from(place).expect("below CHILDREN");
        }
        None
    }

    /// Counts the blocks of one subtree of a map that nothing else refers to, beginning at the block `cursor`. Where the next subtree begins, and the
    /// count; `None` if faults were added.
    pub(crate) fn unique_blocks(&mut self, tree: &Tree, cursor: u64, faults: &mut Faults) -> Option<(u64, u64)> {
        if tree.root.is_unmapped() {
            return Some((tree.span(), 0));
        }
        let (mut page, mut base, mut unique) = (tree.root, 0, 0);
        for level in (0..tree.levels).rev() {
            let end = base + entry_span(level + 1);
            if !self.touch_page(page, faults) {
                return None;
            }
            if self.space.count(&mut self.cache, page.block()) > 1 {
                return Some((end, unique));
            }
            // Both copies, where the page begins.
            unique += if cursor == base { 2 } else { 0 };
            let content = self.page(page, level, faults)?;
            if level == 0 {
                for data in content.entries() {
                    self.touch_count(data, faults);
                }
                if !faults.is_empty() {
                    return None;
                }
                let mapped = content.entries().filter(|data| !data.is_unmapped());
                let once = mapped.filter(|data| self.space.count(&mut self.cache, data.block()) == 1).count();
                return Some((end, unique + u64::try_from(once).expect("at most FANOUT")));
            }
            let span = entry_span(level);
            let place = index((cursor - base) / span);
            let Some(next) = (place..CHILDREN).find(|place| !content.child(*place).is_unmapped()) else {
                return Some((end, unique));
            };
            let next_base = base + u64::try_from(next).expect("below CHILDREN") * span;
            if next != place {
                return Some((next_base, unique));
            }
            (page, base) = (content.child(place), next_base);
        }
        None
    }

    /// Gives back the pages of a path that end at the new cursor.
    fn give_back_path(&mut self, path: &[(PageRef, u64)], cursor: u64) -> u64 {
        for (entry, end) in path.iter().rev() {
            if *end != cursor {
                break;
            }
            self.drop_page(*entry);
        }
        cursor
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geometry::Geometry;
    use crate::regions::Regions;

    fn pages() -> Pages {
        let geometry = Geometry::new(100_000, 64).unwrap();
        let mut regions = Regions::new(geometry);
        while regions.len() < index(geometry.region_count()) {
            assert!(regions.push(Entry::UNMAPPED));
        }
        Pages::new(Cache::new(64), Space::new(geometry, regions, 0, 0))
    }

    /// This code makes no pool in which either can be.
    #[test]
    fn a_path_that_meets_itself_or_what_counts_call_free_is_damage() {
        let (mut pages, mut tree, data) = (pages(), Tree::for_blocks(90_000).unwrap(), Entry::new(50_000, 7));
        let mut faults = Faults::new();
        assert!(pages.stock_spare(1, &mut faults) == Some(true) && pages.touch_count(data, &mut faults));
        assert_eq!(pages.update(&mut tree, 0, 0, &[data], OtherOwners::Often), 1);
        let is_damaged = |pages: &mut Pages| {
            let mut faults = Faults::new();
            pages.touch_update(&tree, 0, 0..1, &mut faults);
            assert!(faults.iter().all(|fault| fault.at == At::Nowhere), "everything is in memory");
            !faults.is_empty()
        };
        assert!(!is_damaged(&mut pages));
        for block in [tree.root.block(), tree.root.copy()] {
            pages.spare.push(block);
            assert!(is_damaged(&mut pages));
            pages.spare.pop();
        }
        pages.cache.page_mut(tree.root.block()).set_child(0, tree.root);
        assert!(is_damaged(&mut pages));
    }
}
