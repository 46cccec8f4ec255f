//! The table of LUNs: in memory as a whole, on the medium in pages of 32 records.

use std::collections::hash_map::Entry as MapEntry;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::Hash;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use lunshadow_lun::{BlockCount, LunId, LunOrigin, LunSummary, ShadowSetId};

use crate::lun_record::{BadRecord, RECORDS_PER_PAGE, decode_page};
use crate::map::Tree;
use crate::page::{Page, PageRef, index};
use crate::record::LunSlot;
use crate::table_index::{FrozenIndex, LUNS_MAX, Site, TableIndex};
use crate::views::Views;

/// How many LUNs can share pages of their maps. A count of references has room for as many, since a page is at one place of each LUN at
/// most.
pub(crate) const FAMILY_MAX: usize = 65_000;
const _: () = assert!(FAMILY_MAX < u16::MAX as usize);

/// Where a LUN is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Life {
    /// Captured, but the capture is not yet durable: nobody can open it.
    Hidden,
    /// It can be opened.
    Live,
    /// The content of another LUN, which only those who copy from it have. Its id is that of the other one.
    Pinned,
    /// Deleted. What its map refers to below the block `cursor` has been given back.
    Deleted { cursor: u64 },
}

/// A LUN in memory.
#[derive(Debug, Clone)]
pub(crate) struct LunEntry {
    pub(crate) id: LunId,
    pub(crate) length: BlockCount,
    /// The length for the LUN's handles, which read it without the pool's lock.
    pub(crate) shown_length: Arc<AtomicU64>,
    pub(crate) tree: Tree,
    pub(crate) origin: LunOrigin,
    pub(crate) life: Life,
    /// How many physical blocks its map refers to.
    pub(crate) mapped_blocks: u64,
    /// The LUN that began empty from which its content came. LUNs of different families share no block.
    pub(crate) family: LunId,
    /// Differs between the LUNs that have had the same slot since the pool was opened.
    pub(crate) birth: u64,
}

impl LunEntry {
    /// Whether it can be opened.
    pub(crate) fn is_live(&self) -> bool {
        self.life == Life::Live
    }

    fn summary(&self) -> LunSummary {
        LunSummary { lun: self.id, block_count: self.length, origin: self.origin }
    }

    /// Whether handles of it can read it.
    pub(crate) fn is_readable(&self) -> bool {
        matches!(self.life, Life::Live | Life::Pinned)
    }
}

/// Sums over all LUNs. A forged record may say anything, so they are wider than what a LUN has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    /// How many LUNs can be opened.
    pub(crate) live: u64,
    /// Their lengths, in logical blocks.
    pub(crate) live_length: u128,
    /// What their maps refer to, in physical blocks.
    pub(crate) live_mapped: u128,
    /// What the maps of deleted LUNs refer to, in physical blocks.
    pub(crate) deleted_mapped: u128,
}

/// How many there are of each kind.
#[derive(Debug)]
struct Bag<K>(HashMap<K, usize>);

impl<K> Default for Bag<K> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<K: Hash + Eq> Bag<K> {
    fn count(&self, kind: &K) -> usize {
        self.0.get(kind).copied().unwrap_or(0)
    }

    fn add(&mut self, kind: K) {
        *self.0.entry(kind).or_insert(0) += 1;
    }

    fn remove(&mut self, kind: K) {
        if let MapEntry::Occupied(mut count) = self.0.entry(kind) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}

/// What is counted of a LUN.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Counted {
    life: Life,
    length: u64,
    mapped_blocks: u64,
    /// Only of a shadow LUN that can be opened.
    set: Option<ShadowSetId>,
    family: LunId,
}

impl Counted {
    fn of(lun: &LunEntry) -> Self {
        let set = match lun.origin {
            LunOrigin::Shadow { set, .. } if lun.is_live() => Some(set),
            _ => None,
        };
        Self { life: lun.life, length: lun.length.0, mapped_blocks: lun.mapped_blocks, set, family: lun.family }
    }
}

/// See the module.
#[derive(Default)]
pub(crate) struct LunTable {
    /// The slots of each page of the table, or none as long as no LUN was in any of them.
    pages: Vec<Vec<Option<LunEntry>>>,
    index: TableIndex,
    by_id: BTreeMap<LunId, LunSlot>,
    deleted: BTreeSet<LunSlot>,
    dirty_pages: BTreeSet<u32>,
    /// Emptied since the last freeze. A slot is not used again before a checkpoint without its old LUN is durable: recovery
    /// gives back again what the old one had, from its cursor on.
    emptied: Vec<LunSlot>,
    emptied_frozen: Vec<LunSlot>,
    /// May be taken; also the ones that a preparation holds are not among them.
    free: BTreeSet<LunSlot>,
    births: u64,
    totals: Totals,
    sets: Bag<ShadowSetId>,
    families: Bag<LunId>,
    /// What is seen of LUNs without the pool's lock.
    pub(crate) views: Arc<Views>,
}

/// What a checkpoint writes of the table.
pub(crate) struct FrozenTable {
    /// The changed pages: their numbers and their LUNs.
    pub(crate) pages: Vec<(u64, Vec<Option<LunEntry>>)>,
    pub(crate) index: FrozenIndex,
}

/// The page of a slot, and the slot's place there.
fn place_of(slot: LunSlot) -> (usize, usize) {
    let slot = index(u64::from(slot));
    (slot / RECORDS_PER_PAGE, slot % RECORDS_PER_PAGE)
}

fn first_slot(page: usize) -> LunSlot {
    LunSlot::try_from(page * RECORDS_PER_PAGE).expect("at most LUNS_MAX")
}

const _: () = assert!(LUNS_MAX <= LunSlot::MAX as usize);

impl LunTable {
    /// The slot and the LUN with an id, unless it is deleted.
    pub(crate) fn find(&self, id: LunId) -> Option<(LunSlot, &LunEntry)> {
        let slot = *self.by_id.get(&id)?;
        self.get(slot).map(|lun| (slot, lun))
    }

    pub(crate) fn get(&self, slot: LunSlot) -> Option<&LunEntry> {
        let (page, at) = place_of(slot);
        self.pages.get(page)?.get(at)?.as_ref()
    }

    /// Changes a LUN; its page of the table will be part of the next checkpoint.
    fn change<T>(&mut self, slot: LunSlot, change: impl FnOnce(&mut LunEntry) -> T) -> Option<T> {
        let (page, at) = place_of(slot);
        let lun = self.pages.get_mut(page)?.get_mut(at)?.as_mut()?;
        let before = Counted::of(lun);
        let changed = change(lun);
        let after = Counted::of(lun);
        self.recount(Some(before), Some(after));
        self.touch_page(page);
        Some(changed)
    }

    fn recount(&mut self, before: Option<Counted>, after: Option<Counted>) {
        if before == after {
            return;
        }
        for (lun, is_more) in before.map(|lun| (lun, false)).into_iter().chain(after.map(|lun| (lun, true))) {
            let add = |sum: &mut u128, part: u64| {
                *sum = if is_more { *sum + u128::from(part) } else { *sum - u128::from(part) }
            };
            match lun.life {
                Life::Hidden | Life::Pinned => {}
                Life::Live => {
                    self.totals.live = if is_more { self.totals.live + 1 } else { self.totals.live - 1 };
                    add(&mut self.totals.live_length, lun.length);
                    add(&mut self.totals.live_mapped, lun.mapped_blocks);
                }
                Life::Deleted { .. } => add(&mut self.totals.deleted_mapped, lun.mapped_blocks),
            }
        }
        let (old, new) = (before.and_then(|lun| lun.set), after.and_then(|lun| lun.set));
        if old != new {
            old.into_iter().for_each(|set| self.sets.remove(set));
            new.into_iter().for_each(|set| self.sets.add(set));
        }
        let (old, new) = (before.map(|lun| lun.family), after.map(|lun| lun.family));
        if old != new {
            old.into_iter().for_each(|family| self.families.remove(family));
            new.into_iter().for_each(|family| self.families.add(family));
        }
    }

    /// Makes a page of the table part of the next checkpoint.
    pub(crate) fn touch_page(&mut self, page: usize) {
        self.dirty_pages.insert(u32::try_from(page).expect("there are few pages"));
    }

    pub(crate) fn totals(&self) -> &Totals {
        &self.totals
    }

    /// All LUNs that can be opened whose ids come after one, in the order of their ids.
    pub(crate) fn summaries_after(&self, after: Option<LunId>) -> impl Iterator<Item = LunSummary> {
        let from = after.map_or(std::ops::Bound::Unbounded, std::ops::Bound::Excluded);
        let slots = self.by_id.range((from, std::ops::Bound::Unbounded));
        slots.filter_map(|(_, slot)| self.get(*slot)).filter(|lun| lun.is_live()).map(LunEntry::summary)
    }

    /// A LUN that can be opened.
    pub(crate) fn summary(&self, id: LunId) -> Option<LunSummary> {
        self.find(id).filter(|(_, lun)| lun.is_live()).map(|(_, lun)| lun.summary())
    }

    /// The LUNs that are being given back.
    pub(crate) fn deleted(&self) -> impl Iterator<Item = (LunSlot, &LunEntry)> {
        self.deleted.iter().filter_map(|slot| self.get(*slot).map(|lun| (*slot, lun)))
    }

    /// Whether a LUN of the set can be opened.
    pub(crate) fn has_set(&self, set: ShadowSetId) -> bool {
        self.sets.count(&set) > 0
    }

    /// How many LUNs of a family there are, deleted ones that are not given back yet included.
    fn family_count(&self, family: LunId) -> usize {
        self.families.count(&family)
    }

    /// Whether LUNs of these families can be captured, all together.
    pub(crate) fn can_share(&self, families: &[LunId]) -> bool {
        families.iter().all(|family| {
            let count = self.family_count(*family);
            let more = || families.iter().filter(|other| *other == family).count();
            count + families.len() <= FAMILY_MAX || count + more() <= FAMILY_MAX
        })
    }

    /// How many slots can be taken without more pages.
    pub(crate) fn free_count(&self) -> usize {
        self.free.len()
    }

    /// Takes a free slot, which [`LunTable::insert`] fills or [`LunTable::return_slot`] gives back.
    pub(crate) fn take_slot(&mut self) -> Option<LunSlot> {
        self.free.pop_first()
    }

    pub(crate) fn return_slot(&mut self, slot: LunSlot) {
        self.free.insert(slot);
    }

    /// Whether the table has a page for the slot.
    pub(crate) fn has_slot(&self, slot: LunSlot) -> bool {
        place_of(slot).0 < self.pages.len()
    }

    /// Whether recovery may put a LUN there.
    pub(crate) fn is_vacant(&self, slot: LunSlot) -> bool {
        self.has_slot(slot) && self.get(slot).is_none()
    }

    /// Where the table's pages lie.
    pub(crate) fn index(&self) -> &TableIndex {
        &self.index
    }

    /// Adds a page, whose slots are free.
    pub(crate) fn grow(&mut self, page: Site, lower: Option<Site>) {
        self.index.grow(page, lower);
        let number = self.pages.len();
        self.add_page();
        self.touch_page(number);
    }

    fn add_page(&mut self) {
        let number = self.pages.len();
        self.pages.push(Vec::new());
        self.free.extend(first_slot(number)..first_slot(number + 1));
    }

    /// Puts a LUN into a slot that was taken for it.
    pub(crate) fn insert(&mut self, slot: LunSlot, mut lun: LunEntry) {
        lun.shown_length = Arc::new(AtomicU64::new(lun.length.0));
        lun.birth = self.births;
        self.births += 1;
        self.free.remove(&slot);
        match lun.life {
            Life::Deleted { .. } => drop(self.deleted.insert(slot)),
            Life::Pinned => {}
            Life::Hidden | Life::Live => drop(self.by_id.insert(lun.id, slot)),
        }
        self.recount(None, Some(Counted::of(&lun)));
        let (page, at) = place_of(slot);
        let slots = &mut self.pages[page];
        slots.resize(RECORDS_PER_PAGE, None);
        slots[at] = Some(lun);
        self.touch_page(page);
    }

    /// Gives a LUN another map.
    pub(crate) fn set_map(&mut self, slot: LunSlot, tree: Tree, mapped_blocks: u64) {
        self.change(slot, |lun| (lun.tree, lun.mapped_blocks) = (tree, mapped_blocks));
    }

    /// Gives a LUN another length, and a map for that.
    pub(crate) fn set_length(&mut self, slot: LunSlot, length: BlockCount, tree: Tree) {
        self.views.forget_lun(slot);
        self.change(slot, |lun| {
            (lun.length, lun.tree) = (length, tree);
            lun.shown_length.store(length.0, Ordering::Release);
        });
    }

    /// Gives a LUN the content of another one.
    pub(crate) fn set_content(&mut self, slot: LunSlot, from: &LunEntry) {
        self.views.forget_lun(slot);
        self.change(slot, |lun| {
            (lun.length, lun.tree, lun.mapped_blocks, lun.family) =
                (from.length, from.tree, from.mapped_blocks, from.family);
            lun.shown_length.store(from.length.0, Ordering::Release);
        });
    }

    /// Lets a captured LUN be opened.
    pub(crate) fn show(&mut self, slot: LunSlot) {
        self.change(slot, |lun| lun.life = Life::Live);
    }

    /// Makes a LUN one that is no shadow of anything. False if it was none before.
    pub(crate) fn promote(&mut self, slot: LunSlot) -> bool {
        let before = self.change(slot, |lun| std::mem::replace(&mut lun.origin, LunOrigin::Empty));
        before.is_some_and(|before| before != LunOrigin::Empty)
    }

    /// What a deleted LUN has below the block `cursor` has been given back.
    pub(crate) fn set_cursor(&mut self, slot: LunSlot, cursor: u64) {
        self.change(slot, |lun| lun.life = Life::Deleted { cursor });
    }

    /// Deletes a LUN: it cannot be found any more.
    pub(crate) fn delete(&mut self, slot: LunSlot) {
        self.views.forget_lun(slot);
        let deleted = self.change(slot, |lun| {
            lun.life = Life::Deleted { cursor: 0 };
            lun.id
        });
        let Some(id) = deleted else { return };
        if self.by_id.get(&id) == Some(&slot) {
            self.by_id.remove(&id);
        }
        self.deleted.insert(slot);
    }

    /// The slots in which contents are kept for copies.
    pub(crate) fn pinned(&self) -> Vec<LunSlot> {
        let slots = self.pages.iter().enumerate().flat_map(|(page, slots)| (first_slot(page)..).zip(slots));
        let pinned = slots.filter(|(_, lun)| lun.as_ref().is_some_and(|lun| lun.life == Life::Pinned));
        pinned.map(|(slot, _)| slot).collect()
    }

    /// Empties the slot of a LUN that has been given back entirely.
    pub(crate) fn clear(&mut self, slot: LunSlot) {
        let (page, at) = place_of(slot);
        let Some(lun) = self.pages.get_mut(page).and_then(|slots| slots.get_mut(at)?.take()) else { return };
        self.recount(Some(Counted::of(&lun)), None);
        self.touch_page(page);
        self.deleted.remove(&slot);
        self.emptied.push(slot);
    }

    /// The first LUN that can be opened, in the order of their ids, from this id on.
    pub(crate) fn live_from(&self, id: LunId) -> Option<&LunEntry> {
        self.by_id.range(id..).filter_map(|(_, slot)| self.get(*slot)).find(|lun| lun.is_live())
    }

    /// All LUNs, the deleted ones too.
    pub(crate) fn entries(&self) -> impl Iterator<Item = &LunEntry> {
        self.pages.iter().flatten().flatten()
    }

    /// How many slots wait for a checkpoint to be free.
    pub(crate) fn emptied_count(&self) -> usize {
        self.emptied.len()
    }

    /// The changed pages of the table, and what of the index leads to them.
    pub(crate) fn freeze(&mut self) -> FrozenTable {
        self.emptied_frozen = std::mem::take(&mut self.emptied);
        let numbers = std::mem::take(&mut self.dirty_pages);
        let pages: Vec<_> =
            numbers.iter().map(|page| (u64::from(*page), self.pages[index(u64::from(*page))].clone())).collect();
        let index = self.index.freeze(pages.iter().map(|(number, _)| *number));
        FrozenTable { pages, index }
    }

    /// The checkpoint of these pages is durable. `seal` is given the roots that it may have written: those of LUNs on its pages, and of
    /// LUNs that were captured or changed since.
    pub(crate) fn thaw(&mut self, pages: &[u64], frozen: FrozenIndex, mut seal: impl FnMut(&mut PageRef)) {
        self.free.extend(self.emptied_frozen.drain(..));
        self.index.thaw(frozen);
        let changed = self.dirty_pages.iter().map(|page| u64::from(*page));
        let numbers: BTreeSet<u64> = pages.iter().copied().chain(changed).collect();
        for number in numbers {
            self.pages[index(number)].iter_mut().flatten().for_each(|lun| seal(&mut lun.tree.root));
        }
    }

    /// Begins with an index that was read; the pages follow with [`LunTable::load_page`] in their order.
    pub(crate) fn load_index(&mut self, index: TableIndex) {
        self.index = index;
    }

    /// Reads the next page of the table, or knows that it cannot be read: its slots are not to be used then.
    pub(crate) fn load_page(
        &mut self,
        page: Option<&Page>,
        is_root: impl Fn(PageRef) -> bool,
    ) -> Result<(), BadRecord> {
        let first = first_slot(self.pages.len());
        self.add_page();
        let Some(page) = page else { return Ok(()) };
        for (slot, lun) in (first..).zip(decode_page(page)) {
            let Some(lun) = lun? else { continue };
            let known = lun.is_live() && self.by_id.contains_key(&lun.id);
            if known || !is_root(lun.tree.root) {
                return Err(BadRecord);
            }
            self.insert(slot, lun);
        }
        Ok(())
    }

    /// Forgets that pages were changed: all is as on the medium.
    pub(crate) fn loaded(&mut self) {
        self.dirty_pages.clear();
    }
}
