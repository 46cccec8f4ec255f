//! Copies without data: contents that are kept for a while, and places of LUNs that refer to blocks which others refer to already.
//!
//! A pin is a capture of which nobody but its holder knows. It costs what a capture costs, and goes with its holder, or when the pool is
//! opened. Both changes are logged, since what is shared from a pin has to be there when the log is replayed.

use std::sync::Arc;

use bytes::Bytes;
use lunshadow_lun::{
    BlockCount, Extent, LOGICAL_BLOCK_BYTES, Lba, Lun, LunError, LunHandle, LunId, LunUsage, SpaceLevel,
};

use crate::changes::{LeafPlace, Updated};
use crate::lun::{StoreLun, blocking};
use crate::lun_table::{Life, LunEntry};
use crate::map::Leaf;
use crate::page::{BLOCK_LEN, Entry, FANOUT_LEN, index};
use crate::record::{LunSlot, Record};
use crate::space::Faults;
use crate::state::State;
use crate::table_growth::Provided;

/// Blocks with more references than this are copied instead. Maps that are copied because of snapshots multiply the references of what
/// they refer to, so that there has to be room up to what a count can hold.
const SHARED_REFERENCES_MAX: u16 = 256;
const SECTORS_PER_BLOCK: u64 = BLOCK_LEN / LOGICAL_BLOCK_BYTES as u64;

/// The content of a LUN at one instant.
pub(crate) struct PinnedLun {
    lun: StoreLun,
}

impl PinnedLun {
    /// Keeps what a LUN holds now. `None` if there is no place for it in the table of LUNs.
    pub(crate) async fn of(lun: &StoreLun) -> Result<Option<Self>, LunError> {
        let lun = lun.clone();
        blocking(move || {
            let pinned = lun.shared.with_pages(|state, faults| lun.pin_locked(state, faults));
            pinned.map_err(StoreLun::damaged_at(0))?
        })
        .await
    }
}

impl Drop for PinnedLun {
    fn drop(&mut self) {
        let shared = &self.lun.shared;
        let mut state = shared.state.lock();
        if self.lun.entry(&state).is_ok() {
            state.luns.delete(self.lun.slot);
            if state.log.append(&Record::Delete { lun: self.lun.slot }) {
                shared.log_wake.notify_one();
            }
            shared.house_wake.notify_one();
        }
    }
}

impl Lun for PinnedLun {
    fn id(&self) -> LunId {
        Lun::id(&self.lun)
    }

    fn block_count(&self) -> BlockCount {
        Lun::block_count(&self.lun)
    }

    fn space(&self) -> SpaceLevel {
        Lun::space(&self.lun)
    }

    fn usage(&self) -> Option<LunUsage> {
        Lun::usage(&self.lun)
    }

    async fn extent(&self, at: Lba, count: BlockCount) -> Result<Extent, LunError> {
        Lun::extent(&self.lun, at, count).await
    }

    async fn read(&self, at: Lba, count: BlockCount) -> Result<Bytes, LunError> {
        Lun::read(&self.lun, at, count).await
    }

    async fn write(&self, _: Lba, _: Bytes) -> Result<(), LunError> {
        Err(LunError::ReadOnly)
    }

    async fn flush(&self) -> Result<(), LunError> {
        Lun::flush(&self.lun).await
    }

    async fn discard(&self, _: Lba, _: BlockCount) -> Result<(), LunError> {
        Err(LunError::ReadOnly)
    }
}

/// What came of letting a run of blocks be those of another.
enum Shared {
    /// So many of them are.
    Blocks(u64),
    /// There is no block for a map page.
    Full,
}

impl StoreLun {
    fn pin_locked(&self, state: &mut State, faults: &mut Faults) -> Option<Result<Option<PinnedLun>, LunError>> {
        match self.entry(state) {
            Err(gone) => return Some(Err(gone)),
            Ok(_) if state.poisoned => return Some(Err(LunError::Poisoned)),
            Ok(_) => {}
        }
        state.touch_capture(std::iter::once(self.slot), faults);
        if !faults.is_empty() {
            return None;
        }
        let family = state.luns.get(self.slot)?.family;
        if !state.luns.can_share(&[family]) || state.provide_slots(1, faults)? != Provided::Enough {
            return Some(Ok(None));
        }
        let slot = state.luns.take_slot()?;
        state.pin(self.slot, slot);
        if state.log.append(&Record::Pin { lun: self.slot, pin: slot }) {
            self.shared.log_wake.notify_one();
        }
        let entry = state.luns.get(slot)?;
        let (shared, length) = (Arc::clone(&self.shared), Arc::clone(&entry.shown_length));
        let lun = Self { shared, slot, birth: entry.birth, id: self.id, length };
        Some(Ok(Some(PinnedLun { lun })))
    }

    /// See [`Lun::share`]. Only whole blocks of a LUN of this pool can be shared.
    pub(crate) async fn share_from(
        &self,
        at: Lba,
        from: &LunHandle,
        from_at: Lba,
        count: BlockCount,
    ) -> Result<BlockCount, LunError> {
        let source = from.downcast_ref::<Self>().or_else(|| from.downcast_ref::<PinnedLun>().map(|pinned| &pinned.lun));
        let Some(source) = source.filter(|source| Arc::ptr_eq(&source.shared, &self.shared)) else {
            return Ok(BlockCount(0));
        };
        self.checked(at, count)?;
        source.checked(from_at, count)?;
        if !at.0.is_multiple_of(SECTORS_PER_BLOCK) || !from_at.0.is_multiple_of(SECTORS_PER_BLOCK) {
            return Ok(BlockCount(0));
        }
        let (block, from_block, blocks) =
            (at.0 / SECTORS_PER_BLOCK, from_at.0 / SECTORS_PER_BLOCK, count.0 / SECTORS_PER_BLOCK);
        // A block that moves within its LUN could lose its only reference before it gets the new one, and would be free in between.
        if source.slot == self.slot && block.abs_diff(from_block) < blocks {
            return Ok(BlockCount(0));
        }
        let mut done = 0;
        while done < blocks {
            let (place, from_place) = (LeafPlace::of(block + done), LeafPlace::of(from_block + done));
            let left_in = |place: LeafPlace| FANOUT_LEN - place.block() % FANOUT_LEN;
            let run = (blocks - done).min(left_in(place)).min(left_in(from_place));
            let attempt = |this: Self| {
                let source = source.clone();
                blocking(move || this.share_run(place, &source, from_place, run))
            };
            let shared = self.with_space(0, attempt).await?;
            done += shared;
            if shared < run {
                break;
            }
        }
        Ok(BlockCount(done * SECTORS_PER_BLOCK))
    }

    /// Shares blocks of one leaf; how many from the first on. `None` if there is no block for a map page.
    fn share_run(&self, place: LeafPlace, source: &Self, from: LeafPlace, run: u64) -> Result<Option<u64>, LunError> {
        let shared = self.shared.with_pages(|state, faults| self.share_locked(state, place, source, from, run, faults));
        match shared.map_err(Self::damaged_at(place.block() * BLOCK_LEN))?? {
            Shared::Blocks(blocks) => Ok(Some(blocks)),
            Shared::Full => Ok(None),
        }
    }

    fn share_locked(
        &self,
        state: &mut State,
        place: LeafPlace,
        source: &Self,
        from: LeafPlace,
        run: u64,
        faults: &mut Faults,
    ) -> Option<Result<Shared, LunError>> {
        let bytes = |place: LeafPlace| place.block() * BLOCK_LEN..(place.block() + run) * BLOCK_LEN;
        let tree = match (self.entry_until(state, &bytes(place)), source.entry_until(state, &bytes(from))) {
            (Err(error), _) | (_, Err(error)) => return Some(Err(error)),
            (Ok(_), Ok(_)) if state.poisoned => return Some(Err(LunError::Poisoned)),
            (Ok(_), Ok(source)) => source.tree,
        };
        let mut entries: Vec<Entry> = match state.pages.leaf(&tree, from.leaf, faults)? {
            Leaf::HoleUntil(_) => vec![Entry::UNMAPPED; index(run)],
            Leaf::Mapped(page) => (from.at..from.at + index(run)).map(|at| page.entry(at)).collect(),
        };
        state.touch_sharing(&entries, faults);
        if !faults.is_empty() {
            return None;
        }
        let sharable = entries.iter().take_while(|entry| state.is_sharable(**entry)).count();
        entries.truncate(sharable);
        let blocks = u64::try_from(sharable).expect("at most a leaf");
        if entries.is_empty() {
            return Some(Ok(Shared::Blocks(0)));
        }
        Some(Ok(match state.share_map(self.slot, place, &entries, faults)? {
            Updated::Full => Shared::Full,
            Updated::Unchanged => Shared::Blocks(blocks),
            Updated::Changed => {
                if state.log_sharing(self.slot, place, &entries) {
                    self.shared.log_wake.notify_one();
                }
                Shared::Blocks(blocks)
            }
        }))
    }
}

impl State {
    /// Keeps the content of a LUN in a slot that was taken for it. Needs what a capture needs.
    pub(crate) fn pin(&mut self, lun: LunSlot, pin: LunSlot) {
        let Some(lun) = self.luns.get(lun).cloned() else { return };
        if !lun.tree.root.is_unmapped() {
            self.pages.space.increment(&mut self.pages.cache, lun.tree.root.block());
        }
        self.luns.insert(pin, LunEntry { life: Life::Pinned, ..lun });
    }

    /// Gives up all contents that are kept for copies: those who copied are not there any more.
    pub(crate) fn unpin_all(&mut self) {
        for slot in self.luns.pinned() {
            self.luns.delete(slot);
        }
    }

    fn touch_sharing(&mut self, entries: &[Entry], faults: &mut Faults) {
        for entry in entries {
            self.pages.touch_count(*entry, faults);
        }
    }

    fn is_sharable(&mut self, entry: Entry) -> bool {
        let pages = &mut self.pages;
        entry.is_unmapped() || pages.space.count(&mut pages.cache, entry.block()) < SHARED_REFERENCES_MAX
    }

    /// Lets blocks of a LUN refer to `entries`, which something else refers to already: if not, it is [`Updated::Full`], and only a log
    /// that is damaged asks for it. `None` if pages are missing.
    pub(crate) fn share_map(
        &mut self,
        slot: LunSlot,
        place: LeafPlace,
        entries: &[Entry],
        faults: &mut Faults,
    ) -> Option<Updated> {
        self.touch_sharing(entries, faults);
        if !faults.is_empty() {
            return None;
        }
        let pages = &mut self.pages;
        let is_free = |entry: &Entry| pages.space.count(&mut pages.cache, entry.block()) == 0;
        if entries.iter().filter(|entry| !entry.is_unmapped()).any(is_free) {
            return Some(Updated::Full);
        }
        self.update_map(slot, place, entries, faults)
    }
}
