//! The table of LUNs: in memory as a whole, on the medium in pages of 32 records.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use lunshadow_lun::{BlockCount, LunId, LunOrigin, LunSummary, ShadowSetId};
use zerocopy::little_endian::{U64, U128};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::geometry::TABLE_PAGES;
use crate::map::Tree;
use crate::page::{BLOCK_BYTES, Page, PageRef, index};
use crate::record::LunSlot;

/// How many LUNs, shadow LUNs and deleted LUNs on their way out a pool can have.
pub(crate) const LUNS_MAX: usize = 16384;

const RECORD_BYTES: usize = 128;
const RECORDS_PER_PAGE: usize = BLOCK_BYTES / RECORD_BYTES;
const _: () = assert!(size_of::<LunRecord>() == RECORD_BYTES);
const _: () = assert!(LUNS_MAX as u64 == TABLE_PAGES * RECORDS_PER_PAGE as u64);

/// A LUN's record on the medium.
#[derive(Debug, Clone, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
struct LunRecord {
    /// 0: free, 1: live, 2: being given back.
    state: u8,
    levels: u8,
    /// 0: it began empty, 1: it is a shadow LUN.
    origin: u8,
    reserved: [u8; 5],
    /// In logical blocks of 512 bytes.
    length: U64,
    id: U128,
    source: U128,
    set: U128,
    root: U64,
    mapped_blocks: U64,
    cursor: U64,
    /// The second half of the reference to the root.
    root_copy: U64,
    unused: [u8; 32],
}

/// Where a LUN is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Life {
    /// Captured, but the capture is not yet durable: nobody can open it.
    Hidden,
    /// It can be opened.
    Live,
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
    /// Differs between the LUNs that have had the same slot since the pool was opened.
    pub(crate) birth: u64,
}

impl LunEntry {
    /// Whether it can be opened.
    pub(crate) fn is_live(&self) -> bool {
        self.life == Life::Live
    }
}

/// A record of the table that makes no sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BadRecord;

/// See the module.
#[derive(Default)]
pub(crate) struct LunTable {
    slots: Vec<Option<LunEntry>>,
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
}

impl LunTable {
    /// The slot and the LUN with an id, unless it is deleted.
    pub(crate) fn find(&self, id: LunId) -> Option<(LunSlot, &LunEntry)> {
        let slot = *self.by_id.get(&id)?;
        self.get(slot).map(|lun| (slot, lun))
    }

    pub(crate) fn get(&self, slot: LunSlot) -> Option<&LunEntry> {
        self.slots.get(index(u64::from(slot)))?.as_ref()
    }

    /// A LUN to change; its page of the table will be part of the next checkpoint.
    pub(crate) fn get_mut(&mut self, slot: LunSlot) -> Option<&mut LunEntry> {
        let lun = self.slots.get_mut(index(u64::from(slot)))?.as_mut()?;
        self.dirty_pages.insert(slot / u32::try_from(RECORDS_PER_PAGE).unwrap_or(u32::MAX));
        Some(lun)
    }

    /// All LUNs that can be opened, in the order of their ids.
    pub(crate) fn summaries(&self) -> Vec<LunSummary> {
        let live = self.by_id.values().filter_map(|slot| self.get(*slot)).filter(|lun| lun.life == Life::Live);
        live.map(|lun| LunSummary { lun: lun.id, block_count: lun.length, origin: lun.origin }).collect()
    }

    /// The LUNs that are being given back.
    pub(crate) fn deleted(&self) -> impl Iterator<Item = (LunSlot, &LunEntry)> {
        self.deleted.iter().filter_map(|slot| self.get(*slot).map(|lun| (*slot, lun)))
    }

    /// Whether a LUN of the set can be opened.
    pub(crate) fn has_set(&self, set: ShadowSetId) -> bool {
        let of_set = |lun: &LunEntry| matches!(lun.origin, LunOrigin::Shadow { set: of, .. } if of == set);
        self.slots.iter().flatten().any(|lun| lun.life == Life::Live && of_set(lun))
    }

    /// Takes a free slot, which [`LunTable::insert`] fills or [`LunTable::return_slot`] gives back.
    pub(crate) fn take_slot(&mut self) -> Option<LunSlot> {
        if let Some(slot) = self.free.pop_first() {
            return Some(slot);
        }
        let fresh = self.slots.len();
        (fresh < LUNS_MAX).then(|| {
            self.slots.push(None);
            LunSlot::try_from(fresh).expect("below LUNS_MAX")
        })
    }

    pub(crate) fn return_slot(&mut self, slot: LunSlot) {
        self.free.insert(slot);
    }

    /// Whether recovery may put a LUN there.
    pub(crate) fn is_vacant(&mut self, slot: LunSlot) -> bool {
        let at = index(u64::from(slot));
        if at < LUNS_MAX && at >= self.slots.len() {
            let known = LunSlot::try_from(self.slots.len()).expect("below LUNS_MAX");
            self.free.extend(known..=slot);
            self.slots.resize(at + 1, None);
        }
        at < LUNS_MAX && self.slots[at].is_none()
    }

    /// Puts a LUN into a slot that was taken for it.
    pub(crate) fn insert(&mut self, slot: LunSlot, mut lun: LunEntry) {
        lun.shown_length = Arc::new(AtomicU64::new(lun.length.0));
        lun.birth = self.births;
        self.births += 1;
        self.free.remove(&slot);
        if matches!(lun.life, Life::Deleted { .. }) {
            self.deleted.insert(slot);
        } else {
            self.by_id.insert(lun.id, slot);
        }
        self.slots[index(u64::from(slot))] = Some(lun);
        self.get_mut(slot);
    }

    /// Gives a LUN another length and map.
    pub(crate) fn remap(&mut self, slot: LunSlot, length: BlockCount, tree: Tree, mapped_blocks: u64) {
        let Some(lun) = self.get_mut(slot) else { return };
        (lun.length, lun.tree, lun.mapped_blocks) = (length, tree, mapped_blocks);
        lun.shown_length.store(length.0, Ordering::Release);
    }

    /// Deletes a LUN: it cannot be found any more.
    pub(crate) fn delete(&mut self, slot: LunSlot) {
        let Some(lun) = self.get_mut(slot) else { return };
        lun.life = Life::Deleted { cursor: 0 };
        let id = lun.id;
        if self.by_id.get(&id) == Some(&slot) {
            self.by_id.remove(&id);
        }
        self.deleted.insert(slot);
    }

    /// Empties the slot of a LUN that has been given back entirely.
    pub(crate) fn clear(&mut self, slot: LunSlot) {
        self.get_mut(slot);
        self.slots[index(u64::from(slot))] = None;
        self.deleted.remove(&slot);
        self.emptied.push(slot);
    }

    /// The first LUN that can be opened, in the order of their ids, from this id on.
    pub(crate) fn live_from(&self, id: LunId) -> Option<&LunEntry> {
        self.by_id.range(id..).filter_map(|(_, slot)| self.get(*slot)).find(|lun| lun.is_live())
    }

    /// All LUNs, the deleted ones too.
    pub(crate) fn entries(&self) -> impl Iterator<Item = &LunEntry> {
        self.slots.iter().flatten()
    }

    /// The roots of all LUNs.
    pub(crate) fn roots(&self) -> impl Iterator<Item = PageRef> {
        self.slots.iter().flatten().map(|lun| lun.tree.root)
    }

    /// How many slots wait for a checkpoint to be free.
    pub(crate) fn emptied_count(&self) -> usize {
        self.emptied.len()
    }

    /// Gives the root of each LUN to `change`, without making pages of the table part of a checkpoint.
    pub(crate) fn for_each_root(&mut self, mut change: impl FnMut(&mut PageRef)) {
        self.slots.iter_mut().flatten().for_each(|lun| change(&mut lun.tree.root));
    }

    /// The changed pages of the table: their numbers and their LUNs.
    pub(crate) fn freeze(&mut self) -> Vec<(u64, Vec<Option<LunEntry>>)> {
        self.emptied_frozen = std::mem::take(&mut self.emptied);
        let pages = std::mem::take(&mut self.dirty_pages);
        let records = |page: u32| {
            let first = index(u64::from(page)) * RECORDS_PER_PAGE;
            (first..first + RECORDS_PER_PAGE).map(|at| self.slots.get(at).cloned().flatten()).collect()
        };
        pages.into_iter().map(|page| (u64::from(page), records(page))).collect()
    }

    /// The checkpoint is durable.
    pub(crate) fn thaw(&mut self) {
        self.free.extend(self.emptied_frozen.drain(..));
    }

    /// Reads a page of the table.
    pub(crate) fn load_page(&mut self, page: u64, bytes: &[u8]) -> Result<(), BadRecord> {
        for (at, record) in bytes.chunks_exact(RECORD_BYTES).enumerate() {
            let slot = LunSlot::try_from(index(page) * RECORDS_PER_PAGE + at).map_err(|_| BadRecord)?;
            let record = LunRecord::read_from_bytes(record).map_err(|_| BadRecord)?;
            if record.state != 0 {
                let lun = record.into_entry()?;
                let known = !matches!(lun.life, Life::Deleted { .. }) && self.by_id.contains_key(&lun.id);
                if !self.is_vacant(slot) || known {
                    return Err(BadRecord);
                }
                self.insert(slot, lun);
            }
        }
        Ok(())
    }

    /// Forgets that pages were changed: all is as on the medium.
    pub(crate) fn loaded(&mut self) {
        self.dirty_pages.clear();
    }
}

/// A page of the table as it is written.
pub(crate) fn encode_page(luns: &[Option<LunEntry>]) -> Page {
    let mut page = Page::zeroed();
    for (lun, bytes) in luns.iter().zip(page.bytes_mut().chunks_exact_mut(RECORD_BYTES)) {
        if let Some(lun) = lun {
            bytes.copy_from_slice(LunRecord::from_entry(lun).as_bytes());
        }
    }
    page
}

impl LunRecord {
    fn from_entry(lun: &LunEntry) -> Self {
        let (state, cursor) = match lun.life {
            // A capture that a checkpoint makes durable is durable.
            Life::Hidden | Life::Live => (1, 0),
            Life::Deleted { cursor } => (2, cursor),
        };
        let (origin, source, set) = match lun.origin {
            LunOrigin::Empty => (0, 0, 0),
            LunOrigin::Shadow { source, set } => (1, source.as_u128(), set.0.as_u128()),
        };
        Self {
            state,
            levels: lun.tree.levels,
            origin,
            reserved: [0; 5],
            length: lun.length.0.into(),
            id: lun.id.as_u128().into(),
            source: source.into(),
            set: set.into(),
            root: lun.tree.root.raw()[0].into(),
            mapped_blocks: lun.mapped_blocks.into(),
            cursor: cursor.into(),
            root_copy: lun.tree.root.raw()[1].into(),
            unused: [0; 32],
        }
    }

    fn into_entry(self) -> Result<LunEntry, BadRecord> {
        let life = match self.state {
            1 => Life::Live,
            2 => Life::Deleted { cursor: self.cursor.get() },
            _ => return Err(BadRecord),
        };
        let origin = match self.origin {
            0 => LunOrigin::Empty,
            1 => LunOrigin::Shadow {
                source: LunId::from_u128(self.source.get()),
                set: ShadowSetId(uuid::Uuid::from_u128(self.set.get())),
            },
            _ => return Err(BadRecord),
        };
        let length = BlockCount(self.length.get());
        let fitting = tree_for(length).ok_or(BadRecord)?;
        if self.levels != fitting.levels || self.cursor.get() > fitting.span() {
            return Err(BadRecord);
        }
        Ok(LunEntry {
            id: LunId::from_u128(self.id.get()),
            length,
            shown_length: Arc::default(),
            tree: Tree { root: PageRef::from_raw(self.root.get(), self.root_copy.get()), ..fitting },
            origin,
            life,
            mapped_blocks: self.mapped_blocks.get(),
            birth: 0,
        })
    }
}

/// An empty map for a LUN of this length, if that is possible.
pub(crate) fn tree_for(length: BlockCount) -> Option<Tree> {
    (length.0 > 0).then(|| Tree::for_blocks(length.0.div_ceil(8))).flatten()
}
