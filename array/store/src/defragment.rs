//! Defragmentation: puts what lies scattered on the medium in order again.
//!
//! Never overwriting has a price: small writes to a LUN end up beside each other on the medium in the order in which they came, and
//! reading the LUN in order then takes a transfer for each of them. So leaves of maps that small writes went to, or that a long read
//! found scattered, are remembered, and when nobody has written to one for a while, its data is moved to a free run of blocks.
//! To everybody else a move is a write of what is there anyway: it goes to free blocks, the map is changed, the log has a record of it.
//!
//! What a snapshot shares stays where it is, since a copy of it would take space. Where there are no free runs, they are made first: see
//! [`crate::clearing`].

use std::collections::{HashMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::lun::StoreLun;
use crate::moving::{Row, movable, move_rows, rows_of, with_lun};
use crate::page::{Entry, FANOUT_LEN};
use crate::space::Faults;
use crate::state::{PageError, Shared, State};
use crate::sync::Mutex;
use crate::views::LeafOf;

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
/// Data is moved in pieces of so many blocks at least, where there is no room for a longer one.
const PIECE_MIN: usize = 64;
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
    /// While regions are being cleared: the leaves from which that has not taken anything yet.
    clearing: Option<VecDeque<LeafOf>>,
    /// What came of the last clearing, if there was one since there was nothing to do.
    last_clearing: Option<Cleared>,
}

/// What came of clearing regions.
#[derive(Debug, Clone, Copy, Default)]
struct Cleared {
    /// How many blocks were taken away from there.
    taken_away: usize,
    /// How many blocks were put in order since.
    in_order: usize,
}

/// What is done with leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Work {
    /// One is put in order.
    Order(LeafOf),
    /// What one has in regions that are to be clear is taken away from there.
    Clear(LeafOf),
    /// That has been done for all.
    Cleared,
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
        known.queue.is_empty() && !known.is_one_taken && known.clearing.is_none()
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
        if known.queue.is_empty() && known.clearing.is_none() {
            known.is_hurried = false;
        }
        let Some(after) = known.after else { return Due::Never };
        if known.is_hurried {
            return Due::Wanted;
        }
        if known.clearing.is_some() {
            return Due::At(Instant::now());
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

    /// What is due next, until [`Scattered::done`].
    pub(crate) fn take(&self) -> Option<Work> {
        let mut known = self.known.lock();
        let work = match &mut known.clearing {
            Some(leaves) => leaves.pop_front().map_or(Work::Cleared, Work::Clear),
            None => {
                let (leaf, _) = known.queue.pop_front()?;
                known.written.remove(&leaf);
                Work::Order(leaf)
            }
        };
        known.is_one_taken = true;
        Some(work)
    }

    /// What was taken has been done, and so many blocks were moved for it. True if there is nothing more to do.
    pub(crate) fn done(&self, work: Work, moved: usize) -> bool {
        let mut known = self.known.lock();
        known.is_one_taken = false;
        match (work, &mut known.last_clearing) {
            (Work::Order(_), Some(last)) => last.in_order += moved,
            (Work::Clear(_), Some(last)) => last.taken_away += moved,
            (Work::Order(_) | Work::Clear(_), None) => {}
            (Work::Cleared, _) => known.clearing = None,
        }
        let is_all = known.queue.is_empty() && known.clearing.is_none();
        if is_all {
            known.last_clearing = None;
        }
        is_all
    }

    /// Whether it is worth while to clear regions: not if the last time has cost more than came of it.
    pub(crate) fn may_clear(&self) -> bool {
        self.known.lock().last_clearing.is_none_or(|last| last.in_order > 0 && last.in_order >= last.taken_away)
    }

    /// Begins to clear regions, for a leaf that found no room and will be tried again when that is done.
    pub(crate) fn begin_clearing(&self, leaf: LeafOf) {
        let mut known = self.known.lock();
        let now = Instant::now();
        known.written.entry(leaf).or_insert(now);
        known.queue.push_front((leaf, now));
        known.last_clearing = Some(Cleared::default());
        known.clearing = Some(known.queue.iter().map(|(leaf, _)| *leaf).collect());
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
    with_lun(shared, leaf, |lun| put_in_order(lun, leaf.leaf))
}

/// Whether a checkpoint would bring back the room for another leaf.
pub(crate) fn gets_room(state: &State) -> bool {
    state.available_blocks() + state.pages.space.returning_count() >= state.limits.low_blocks + FANOUT_LEN
        && state.pages.space.returning_count() > 0
}

fn put_in_order(lun: &StoreLun, leaf: u64) -> Result<Moved, PageError> {
    let mut moved = Moved::default();
    let Some(entries) = movable(lun, leaf)? else { return Ok(moved) };
    for mut row in rows_of(&entries).filter(|row| is_scattered(row.entries)) {
        while !row.entries.is_empty() {
            let Some(run) = claim_run(lun, row.entries.len())? else {
                moved.lacked_room = true;
                break;
            };
            let blocks: Vec<u64> = run.collect();
            let (piece, rest) = row.entries.split_at(blocks.len());
            moved.blocks += move_rows(lun, leaf, &[Row { at: row.at, entries: piece }], &blocks)?;
            row = Row { at: row.at + piece.len(), entries: rest };
        }
    }
    Ok(moved)
}

/// Takes blocks that follow each other, as long as the pool is not low on space; fewer if there are not so many anywhere.
fn claim_run(lun: &StoreLun, want: usize) -> Result<Option<Range<u64>>, PageError> {
    match claim_run_of(lun, want, want)? {
        None if want > PIECE_MIN => claim_run_of(lun, want, PIECE_MIN),
        found => Ok(found),
    }
}

fn claim_run_of(lun: &StoreLun, want: usize, least: usize) -> Result<Option<Range<u64>>, PageError> {
    for _ in 0..SEARCHES_MAX {
        let found = lun.shared.with_pages(|state: &mut State, faults: &mut Faults| {
            if !state.has_room_for_order(want) {
                return Some(Err(()));
            }
            let pages = &mut state.pages;
            pages.space.claim_run(&mut pages.cache, want, least, faults).map(Ok)
        })?;
        match found {
            Ok(None) => {}
            Ok(run) => return Ok(run),
            Err(()) => return Ok(None),
        }
    }
    Ok(None)
}

impl State {
    /// Whether so many blocks may be taken only to put something in order.
    pub(crate) fn has_room_for_order(&self, blocks: usize) -> bool {
        let room = self.available_blocks();
        let blocks = u64::try_from(blocks).expect("at most some leaves");
        !self.poisoned && room >= self.limits.low_blocks && room >= blocks
    }
}
