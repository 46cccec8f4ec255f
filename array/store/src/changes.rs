//! The changes that records describe, made in memory: by requests, which log them, and by recovery, which reads them from the log.

use std::collections::BTreeSet;
use std::sync::Arc;

use lunshadow_lun::{BlockCount, LunId, LunOrigin, ShadowSetId};

use crate::lun_record::tree_for;
use crate::lun_table::{Life, LunEntry};
use crate::map::{Leaf, OtherOwners, Tree};
use crate::page::{Entry, FANOUT, FANOUT_LEN, index};
use crate::record::{Checks, LunSlot, Record, RevertedPair, SnapshotMember};
use crate::space::Faults;
use crate::state::State;
use crate::views::LeafOf;

/// What came of changing a map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Updated {
    /// It is changed.
    Changed,
    /// It was so before.
    Unchanged,
    /// There is no block for a map page.
    Full,
}

/// Consecutive blocks of a LUN, all in one leaf of its map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LeafPlace {
    pub(crate) leaf: u64,
    /// The place in the leaf.
    pub(crate) at: usize,
}

impl LeafPlace {
    /// Where a LUN's physical block is.
    pub(crate) fn of(block: u64) -> Self {
        Self { leaf: block / FANOUT_LEN, at: index(block % FANOUT_LEN) }
    }

    /// The LUN's physical block there.
    pub(crate) fn block(self) -> u64 {
        self.leaf * FANOUT_LEN + u64::try_from(self.at).expect("below FANOUT")
    }
}

impl State {
    /// Lets blocks of a LUN refer to `entries`. `None` if pages are missing.
    pub(crate) fn update_map(
        &mut self,
        slot: LunSlot,
        place: LeafPlace,
        entries: &[Entry],
        faults: &mut Faults,
    ) -> Option<Updated> {
        self.update_maps(slot, &[(place, entries)], faults)
    }

    /// The same for blocks in several leaves: all of them, or none.
    pub(crate) fn update_maps<const LEAVES: usize>(
        &mut self,
        slot: LunSlot,
        parts: &[(LeafPlace, &[Entry]); LEAVES],
        faults: &mut Faults,
    ) -> Option<Updated> {
        let tree = self.luns.get(slot)?.tree;
        let mut is_changed = [false; LEAVES];
        for (is_changed, (place, entries)) in is_changed.iter_mut().zip(parts) {
            *is_changed = self.is_changed_by(&tree, *place, entries, faults)?;
        }
        if is_changed == [false; LEAVES] {
            return Some(Updated::Unchanged);
        }
        let changes = || parts.iter().zip(is_changed).filter(|(_, is_changed)| *is_changed).map(|(part, _)| part);
        let stocked = self.pages.stock_spare(LEAVES, faults);
        // What the map was before tells what all of the changes need: the first makes no page of another leaf but copies of those looked at here.
        for (LeafPlace { leaf, at }, entries) in changes() {
            self.pages.touch_update(&tree, *leaf, *at..*at + entries.len(), faults);
            for entry in *entries {
                self.pages.touch_count(*entry, faults);
            }
        }
        if !faults.is_empty() {
            return None;
        }
        if stocked != Some(true) {
            return Some(Updated::Full);
        }
        // No view is left of what was before when the first of them changes, so that readers see a change to several leaves as one.
        let birth = self.luns.get(slot)?.birth;
        changes().for_each(|(place, _)| self.luns.views.forget(LeafOf { slot, birth, leaf: place.leaf }));
        changes().for_each(|(place, entries)| self.set_entries(slot, *place, entries));
        Some(Updated::Changed)
    }

    /// Whether the map would not be the same afterwards, as far as that is worth looking at. `None` if pages are missing.
    fn is_changed_by(&mut self, tree: &Tree, place: LeafPlace, entries: &[Entry], faults: &mut Faults) -> Option<bool> {
        if entries.iter().any(|entry| !entry.is_unmapped()) {
            return Some(true);
        }
        let mut range = place.at..place.at + entries.len();
        Some(match self.pages.leaf(tree, place.leaf, faults)? {
            Leaf::Mapped(page) => range.any(|at| !page.entry(at).is_unmapped()),
            Leaf::HoleUntil(_) => false,
        })
    }

    /// The half of an update that cannot fail.
    fn set_entries(&mut self, slot: LunSlot, place: LeafPlace, entries: &[Entry]) {
        let Some(lun) = self.luns.get(slot) else { return };
        let (mut tree, mapped_blocks) = (lun.tree, lun.mapped_blocks);
        // A shadow LUN shares blocks with its source.
        let others = if lun.origin == LunOrigin::Empty { OtherOwners::Seldom } else { OtherOwners::Often };
        let discards = entries.iter().all(|entry| entry.is_unmapped());
        let growth = if discards && entries.len() == FANOUT {
            self.pages.remove_leaf(&mut tree, place.leaf)
        } else {
            self.pages.update(&mut tree, place.leaf, place.at, entries, others)
        };
        self.luns.set_map(slot, tree, mapped_blocks.saturating_add_signed(growth));
    }

    /// Adds the records of a change of a map to the log. True if the writer of the log should be woken.
    pub(crate) fn log_update(&mut self, slot: LunSlot, place: LeafPlace, entries: &[Entry]) -> bool {
        self.log_updates(slot, &[(place, entries)])
    }

    /// The same for changes that were made as one: after a crash there are all of them or none.
    pub(crate) fn log_updates(&mut self, slot: LunSlot, parts: &[(LeafPlace, &[Entry])]) -> bool {
        for (place, entries) in parts {
            let mapped = |first, block, checks| Record::Write { lun: slot, first, block, checks };
            self.add_runs(*place, entries, mapped, slot);
        }
        self.log.seal_if_full()
    }

    /// The same for blocks that other places refer to already.
    pub(crate) fn log_sharing(&mut self, slot: LunSlot, place: LeafPlace, entries: &[Entry]) -> bool {
        let mapped = |first, block, checks| Record::Share { lun: slot, first, block, checks };
        self.add_runs(place, entries, mapped, slot);
        self.log.seal_if_full()
    }

    /// Adds a record for each run of neighbours. All of them go into one batch.
    fn add_runs(
        &mut self,
        place: LeafPlace,
        entries: &[Entry],
        mapped: impl Fn(u64, u64, Checks) -> Record,
        slot: LunSlot,
    ) {
        let mut rest = entries;
        let mut first = place.block();
        while let Some(head) = rest.first() {
            let is_next = |(at, entry): &(u64, &Entry)| match head.is_unmapped() {
                true => entry.is_unmapped(),
                false => entry.block() == head.block() + at,
            };
            let run = (0..).zip(rest).take_while(is_next).count();
            let record = if head.is_unmapped() {
                let count = u32::try_from(run).expect("at most a leaf");
                Record::Discard { lun: slot, first, count }
            } else {
                mapped(first, head.block(), rest[..run].iter().map(|entry| entry.check()).collect())
            };
            self.log.add(&record);
            rest = &rest[run..];
            first += u64::try_from(run).expect("at most a leaf");
        }
    }

    /// Makes an empty LUN in a slot that was taken for it. False if its length is impossible.
    pub(crate) fn create_lun(&mut self, slot: LunSlot, id: LunId, length: BlockCount) -> bool {
        let Some(tree) = tree_for(length) else { return false };
        let (origin, life) = (LunOrigin::Empty, Life::Live);
        let (shown_length, family) = (Arc::default(), id);
        let lun = LunEntry { id, length, shown_length, tree, origin, life, mapped_blocks: 0, family, birth: 0 };
        self.luns.insert(slot, lun);
        true
    }

    /// Makes a LUN longer, whose length is `length` or less. `None` if pages are missing.
    pub(crate) fn grow_lun(&mut self, slot: LunSlot, length: BlockCount, faults: &mut Faults) -> Option<Updated> {
        let levels = tree_for(length)?.levels;
        let lun = self.luns.get(slot)?;
        let mut tree = lun.tree;
        if lun.length == length {
            return Some(Updated::Unchanged);
        }
        if levels > tree.levels && !self.pages.stock_spare(1, faults)? {
            return Some(Updated::Full);
        }
        self.pages.raise(&mut tree, levels);
        self.luns.set_length(slot, length, tree);
        Some(Updated::Changed)
    }

    /// Whether [`State::revert`] makes sense for these pairs.
    pub(crate) fn can_revert(&self, pairs: &[RevertedPair]) -> bool {
        let live = |state: &Self, slot| state.luns.get(slot).is_some_and(LunEntry::is_live);
        let targets: BTreeSet<_> = pairs.iter().map(|pair| pair.to).collect();
        let old: BTreeSet<_> = pairs.iter().map(|pair| pair.old).collect();
        targets.len() == pairs.len()
            && old.len() == pairs.len()
            && pairs.iter().all(|pair| live(self, pair.from) && live(self, pair.to) && self.luns.is_vacant(pair.old))
    }

    /// Gives LUNs the content of others. Needs what a capture of the latter needs, and slots that were taken for what goes.
    pub(crate) fn revert(&mut self, pairs: &[RevertedPair]) {
        let from: Vec<_> = pairs.iter().map(|pair| self.luns.get(pair.from).cloned()).collect();
        for (pair, from) in pairs.iter().zip(from) {
            let (Some(from), Some(to)) = (from, self.luns.get(pair.to).cloned()) else { continue };
            if !from.tree.root.is_unmapped() {
                self.pages.space.increment(&mut self.pages.cache, from.tree.root.block());
            }
            self.luns.set_content(pair.to, &from);
            self.luns.insert(pair.old, LunEntry { life: Life::Deleted { cursor: 0 }, ..to });
        }
    }

    /// Brings in what [`State::capture`] needs.
    pub(crate) fn touch_capture(&mut self, sources: impl Iterator<Item = LunSlot>, faults: &mut Faults) {
        for source in sources {
            if let Some(lun) = self.luns.get(source) {
                self.pages.touch_count(lun.tree.root.first(), faults);
            }
        }
    }

    /// Captures LUNs that exist into slots that were taken for it.
    pub(crate) fn capture(&mut self, set: ShadowSetId, members: &[SnapshotMember], life: Life) {
        for member in members {
            let Some(source) = self.luns.get(member.source).cloned() else { continue };
            if !source.tree.root.is_unmapped() {
                self.pages.space.increment(&mut self.pages.cache, source.tree.root.block());
            }
            let origin = LunOrigin::Shadow { source: source.id, set };
            self.luns.insert(member.shadow, LunEntry { id: member.shadow_id, origin, life, ..source });
        }
    }

    /// Gives back a part of a deleted LUN. True if that was the last; `None` if pages are missing.
    pub(crate) fn give_back(&mut self, slot: LunSlot, faults: &mut Faults) -> Option<bool> {
        let Some(lun) = self.luns.get(slot) else { return Some(true) };
        let (tree, Life::Deleted { cursor }) = (lun.tree, lun.life) else { return Some(true) };
        let done = cursor >= tree.span();
        let cursor = if done { cursor } else { self.pages.give_back(&tree, cursor, faults)? };
        if cursor >= tree.span() {
            self.luns.clear(slot);
            return Some(true);
        }
        self.luns.set_cursor(slot, cursor);
        Some(false)
    }
}
