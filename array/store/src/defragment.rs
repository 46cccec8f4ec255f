//! Defragmentation: puts what lies scattered on the medium in order again.
//!
//! Never overwriting has a price: small writes to a LUN end up beside each other on the medium in the order in which they came, and
//! reading the LUN in order then takes a transfer for each of them. So leaves of maps that small writes went to, or that a long read
//! found scattered, are remembered, and when nobody has written to one for a while, its data is moved to a free run of blocks.
//! To everybody else a move is a write of what is there anyway: it goes to free blocks, the map is changed, the log has a record of it.
//!
//! What a snapshot shares stays where it is, since a copy of it would take space.

use std::collections::{HashMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use lunshadow_lun::AlignedBuffer;
use tokio::time::Instant;

use crate::changes::LeafPlace;
use crate::lun::StoreLun;
use crate::map::Leaf;
use crate::page::{BLOCK_BYTES, BLOCK_LEN, Entry, FANOUT_LEN};
use crate::space::Faults;
use crate::state::{PageError, Shared, State};
use crate::sync::Mutex;
use crate::views::LeafOf;
use crate::writing::Mapped;

/// How many leaves are remembered: 128 GiB of LUNs. What is scattered beyond them is found again when it is read.
const LEAVES_MAX: usize = 1 << 16;
/// How many leaves that were written to again are looked at at a time to find one that was not.
const LOOKS_MAX: usize = 64;
/// Blocks in shorter rows of movable ones are left where they are.
const ROW_MIN: usize = 8;
/// Runs of this length on average are long enough.
const RUN_ENOUGH: usize = 32;
/// So many blocks are a long read.
const LONG_READ: usize = 32;
/// How many times some regions are searched for a free run.
const SEARCHES_MAX: usize = 16;

/// The leaves whose data may be scattered.
#[derive(Default)]
pub(crate) struct Scattered {
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    /// How long after the last write to a leaf it is looked at. Without it, nothing is remembered.
    after: Option<Duration>,
    /// When each was written to for the last time.
    written: HashMap<LeafOf, Instant>,
    /// The same leaves, and when they were written to as far as was known when they were put here.
    queue: VecDeque<(LeafOf, Instant)>,
    /// One more is being looked at.
    is_one_taken: bool,
    /// Somebody waits until all of them have been looked at.
    is_hurried: bool,
}

/// When there is something to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Due {
    Never,
    At(Instant),
    /// Now, and somebody waits for it.
    Wanted,
}

impl Scattered {
    pub(crate) fn set_after(&self, after: Option<Duration>) {
        self.known.lock().after = after;
    }

    /// Whether there is nothing left to look at.
    pub(crate) fn is_empty(&self) -> bool {
        let known = self.known.lock();
        known.queue.is_empty() && !known.is_one_taken
    }

    /// Remembers leaves; true if there were none before.
    fn note(&self, leaves: impl Iterator<Item = LeafOf>) -> bool {
        let now = Instant::now();
        let mut known = self.known.lock();
        if known.after.is_none() {
            return false;
        }
        let was_empty = known.queue.is_empty();
        for leaf in leaves {
            if let Some(written) = known.written.get_mut(&leaf) {
                *written = now;
            } else if known.queue.len() < LEAVES_MAX {
                known.written.insert(leaf, now);
                known.queue.push_back((leaf, now));
            }
        }
        was_empty && !known.queue.is_empty()
    }

    /// Lets leaves be looked at without pauses, until all have been.
    fn hurry(&self) {
        self.known.lock().is_hurried = true;
    }

    pub(crate) fn due(&self) -> Due {
        let mut known = self.known.lock();
        if known.queue.is_empty() {
            known.is_hurried = false;
        }
        let Some(after) = known.after else { return Due::Never };
        if known.is_hurried {
            return Due::Wanted;
        }
        for _ in 0..LOOKS_MAX {
            let Some(&(leaf, noted)) = known.queue.front() else { return Due::Never };
            match known.written.get(&leaf) {
                Some(&written) if written > noted => {
                    known.queue.pop_front();
                    known.queue.push_back((leaf, written));
                }
                _ => return Due::At(noted + after),
            }
        }
        Due::At(Instant::now())
    }

    /// The leaf that is due next, until [`Scattered::done`].
    pub(crate) fn take(&self) -> Option<LeafOf> {
        let mut known = self.known.lock();
        let (leaf, _) = known.queue.pop_front()?;
        known.written.remove(&leaf);
        known.is_one_taken = true;
        Some(leaf)
    }

    pub(crate) fn done(&self) {
        self.known.lock().is_one_taken = false;
    }
}

impl Shared {
    /// Remembers leaves that small writes went to, or that were found scattered.
    pub(crate) fn note_scattered(&self, leaves: impl Iterator<Item = LeafOf>) {
        if self.scattered.note(leaves) {
            // The housekeeper looks for leaves under the lock before it waits.
            let _state = self.state.lock();
            self.house_wake.notify_one();
        }
    }

    /// Lets all that is known to be scattered be put in order now; false if there is nothing.
    pub(crate) fn hurry_defragment(&self, state: &State) -> bool {
        let is_to_do = state.running && !state.poisoned && !self.scattered.is_empty();
        if is_to_do {
            self.scattered.hurry();
            self.house_wake.notify_one();
        }
        is_to_do
    }
}

/// Whether entries lie in many pieces that could be one.
fn is_scattered(entries: &[Entry]) -> bool {
    let runs = entries.chunk_by(Entry::is_followed_by).filter(|run| !run[0].is_unmapped()).count();
    entries.len() >= ROW_MIN && runs > 1 && runs * RUN_ENOUGH > entries.len()
}

/// Whether what is read suffers from lying in many pieces.
pub(crate) fn is_slow_to_read(entries: &[Entry]) -> bool {
    entries.len() >= LONG_READ && is_scattered(entries)
}

/// What became of a leaf.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Moved {
    pub(crate) blocks: usize,
    /// There was no room to move all to.
    pub(crate) lacked_room: bool,
}

/// Puts the data of a leaf in order, as far as it is this LUN's alone.
pub(crate) fn step(shared: &Arc<Shared>, leaf: LeafOf) -> Moved {
    let lun = {
        let state = shared.state.lock();
        let entry = state.luns.get(leaf.slot).filter(|entry| entry.birth == leaf.birth && entry.is_live());
        entry.map(|entry| StoreLun {
            shared: Arc::clone(shared),
            slot: leaf.slot,
            birth: leaf.birth,
            id: entry.id,
            length: Arc::clone(&entry.shown_length),
        })
    };
    let Some(lun) = lun else { return Moved::default() };
    // From before the look-up until the map is changed, so that an entry that is the same then has the same content.
    let reader = shared.reader(leaf.slot);
    let moved = move_rows(&lun, leaf.leaf).unwrap_or_else(|error| {
        // Reading it, or the scrub, tells what is damaged.
        tracing::info!(lun = %lun.id, leaf = leaf.leaf, error = %error, "scattered data stays where it is");
        Moved::default()
    });
    drop(reader);
    moved
}

/// Whether a checkpoint would bring back the room for another leaf.
pub(crate) fn gets_room(state: &State) -> bool {
    state.available_blocks() + state.pages.space.returning_count() >= state.limits.low_blocks + FANOUT_LEN
        && state.pages.space.returning_count() > 0
}

fn move_rows(lun: &StoreLun, leaf: u64) -> Result<Moved, PageError> {
    let mut moved = Moved::default();
    let Some(entries) = movable(lun, leaf)? else { return Ok(moved) };
    let is_movable = |entry: &Entry| !entry.is_unmapped();
    let mut at = 0;
    for row in entries.chunk_by(|one, other| is_movable(one) == is_movable(other)) {
        let place = LeafPlace { leaf, at };
        at += row.len();
        if !is_movable(&row[0]) || !is_scattered(row) {
            continue;
        }
        match claim_run(lun, row.len())? {
            Some(first) if move_row(lun, place, row, first)? => moved.blocks += row.len(),
            Some(first) => {
                let mut state = lun.shared.state.lock();
                blocks_of(first, row).for_each(|block| state.pages.space.unhold(block));
            }
            None => moved.lacked_room = true,
        }
    }
    Ok(moved)
}

/// The entries of a leaf, those that are not the LUN's alone as if they were not mapped. `None` if there is nothing to move.
fn movable(lun: &StoreLun, leaf: u64) -> Result<Option<Vec<Entry>>, PageError> {
    lun.shared.with_pages(|state, faults| {
        let Ok(entry) = lun.entry(state) else { return Some(None) };
        let tree = entry.tree;
        let Leaf::Mapped(page) = state.pages.leaf(&tree, leaf, faults)? else { return Some(None) };
        if state.pages.is_shared(&tree, leaf, faults)? {
            return Some(None);
        }
        let mut entries: Vec<Entry> = page.entries().collect();
        for entry in &mut entries {
            if state.pages.touch_count(*entry, faults) && state.pages.has_other_owners(*entry) {
                *entry = Entry::UNMAPPED;
            }
        }
        faults.is_empty().then_some(Some(entries))
    })
}

/// Takes blocks that follow each other, as long as the pool is not low on space.
fn claim_run(lun: &StoreLun, want: usize) -> Result<Option<u64>, PageError> {
    for _ in 0..SEARCHES_MAX {
        let found = lun.shared.with_pages(|state: &mut State, faults: &mut Faults| {
            let room = state.available_blocks();
            if state.poisoned || room < state.limits.low_blocks || room < blocks_in(want) {
                return Some(Err(()));
            }
            let pages = &mut state.pages;
            pages.space.claim_run(&mut pages.cache, want, faults).map(Ok)
        })?;
        match found {
            Ok(None) => {}
            Ok(first) => return Ok(first),
            Err(()) => return Ok(None),
        }
    }
    Ok(None)
}

/// Moves entries that follow each other to blocks that do. False, and nothing has happened, if that cannot be done.
fn move_row(lun: &StoreLun, place: LeafPlace, row: &[Entry], first: u64) -> Result<bool, PageError> {
    let mut content = AlignedBuffer::of_len(row.len() * BLOCK_BYTES);
    if lun.fetch(row, &mut content).is_err() || lun.shared.media.write_at(first * BLOCK_LEN, &content).is_err() {
        return Ok(false);
    }
    let entries: Vec<Entry> =
        blocks_of(first, row).zip(row).map(|(block, old)| Entry::new(block, old.check())).collect();
    let mapped = lun.shared.with_pages(|state, faults| {
        let tree = match lun.entry(state) {
            Ok(entry) => entry.tree,
            Err(gone) => return Some(Err(gone)),
        };
        // A snapshot may have been taken meanwhile, which the old blocks belong to, too.
        if state.pages.is_shared(&tree, place.leaf, faults)? {
            return Some(Ok(Mapped::Overtaken));
        }
        let bytes = byte_of(place)..byte_of(place) + 1;
        lun.map_locked(state, &bytes, |at| Some(row[at]), &entries, faults)
    })?;
    Ok(matches!(mapped, Ok(Mapped::Done)))
}

fn blocks_of(first: u64, row: &[Entry]) -> Range<u64> {
    first..first + blocks_in(row.len())
}

fn blocks_in(count: usize) -> u64 {
    u64::try_from(count).expect("at most a leaf")
}

/// The first byte of a block of the LUN. The last one may be cut by its end.
fn byte_of(place: LeafPlace) -> u64 {
    debug_assert!(place.block() / FANOUT_LEN == place.leaf, "a place is in its leaf");
    place.block() * BLOCK_LEN
}
