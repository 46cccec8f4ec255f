//! The scrub: reads everything that LUNs refer to while the pool is used, heals what has a second copy, and names what has not.
//!
//! It looks at the table of LUNs, then goes from LUN to LUN in the order of their ids, leaf by leaf, and looks at what LUNs share once. What is
//! written while it runs it may or may not see. Counts and their index are left to the offline check. Where it is becomes durable with each checkpoint, so that it can go on after the pool was opened again.

use std::collections::{BTreeMap, HashSet};
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use lunshadow_lun::{BlockCount, Lba, LunDamage, LunId, ScrubError, ScrubOptions, ScrubReport};
use tokio::time::Instant;

use crate::budget::Budget;
use crate::check::BlockSet;
use crate::map::{PathStep, Tree, entry_span};
use crate::media::{self, ReadPart};
use crate::page::{BLOCK_BYTES, BLOCK_LEN, Entry, FANOUT_LEN, Page, PageRef, index};
use crate::state::Shared;
use crate::table_scrub;
use crate::verify::verify_run;

const SECTORS_PER_BLOCK: u64 = 8;
/// After so many bytes the scrub lets go of its thread, and waits if it is to be slow.
const STEP_BYTES: u64 = 1 << 20;
/// After so many leaves, too, if there is nothing to read in them.
const STEP_LEAVES: usize = 256;
/// How much memory is taken to know what was looked at already. With more shared blocks than fit, some are read again.
const SEEN_BYTES_MAX: usize = 32 << 20;
/// What an element of a set takes, with the room that the set keeps.
const SEEN_BYTES: usize = 24;
/// How many ranges of damaged blocks a report names.
const DAMAGE_MAX: usize = 65536;

/// Where a scrub goes on: the LUN, or the next one if it is gone, and the block of it.
pub(crate) type ScrubCursor = (LunId, u64);

/// Runs until everything has been looked at. Dropping the future stops it, and the next one can go on from there.
pub(crate) async fn run(
    shared: &Arc<Shared>,
    options: ScrubOptions,
    mut budget: Budget,
    mut progress: impl FnMut(&ScrubReport),
) -> Result<ScrubReport, ScrubError> {
    let _only = Only::begin(shared)?;
    let from = Some(shared.state.lock().scrub_cursor).filter(|_| options.resume).flatten();
    let begin = (LunId::from_u128(0), 0);
    let cursor = from.unwrap_or(begin);
    let mut scrub = Scrub { cursor: Some(cursor), table: (cursor == begin).then_some(0), ..Scrub::default() };
    let healed_before = shared.healed_pages.load(Ordering::Relaxed);
    while let Some(before) = scrub.cursor {
        let step = {
            let shared = Arc::clone(shared);
            tokio::task::spawn_blocking(move || {
                let begin = Instant::now();
                let bytes = scrub.step(&shared);
                (scrub, bytes, begin.elapsed())
            })
        };
        let (bytes, took);
        (scrub, bytes, took) = step.await.map_err(|error| ScrubError::Failed(io::Error::other(error)))?;
        // A step behind: whoever keeps what the steps find has kept this one's when the next is done.
        shared.state.lock().scrub_cursor = scrub.cursor.map(|_| before);
        scrub.report.healed_copies = shared.healed_pages.load(Ordering::Relaxed) - healed_before;
        scrub.report.at = scrub.cursor.map(|(lun, _)| lun);
        progress(&scrub.report);
        if let Some(rate) = options.bytes_per_second {
            tokio::time::sleep(Duration::from_nanos(bytes.saturating_mul(1_000_000_000) / rate)).await;
        }
        budget.spend(Instant::now(), took);
        while let Some(rest) = budget.wait(Instant::now(), &shared.requests, false) {
            tokio::time::sleep(rest).await;
        }
    }
    Ok(scrub.report)
}

/// Held by the scrub that runs.
struct Only(Arc<Shared>);

impl Only {
    fn begin(shared: &Arc<Shared>) -> Result<Self, ScrubError> {
        let mut state = shared.state.lock();
        if std::mem::replace(&mut state.scrubbing, true) {
            return Err(ScrubError::Running);
        }
        Ok(Self(Arc::clone(shared)))
    }
}

impl Drop for Only {
    fn drop(&mut self) {
        self.0.state.lock().scrubbing = false;
    }
}

/// Where a scrub looks: a block of a LUN, with the map that the LUN has at the moment.
#[derive(Clone, Copy)]
struct Place {
    lun: LunId,
    length: BlockCount,
    tree: Tree,
    block: u64,
}

impl Place {
    /// How many blocks the LUN has.
    fn block_end(&self) -> u64 {
        self.length.0.div_ceil(SECTORS_PER_BLOCK)
    }

    /// Whether the LUN has no such block.
    fn is_behind(&self) -> bool {
        self.block >= self.block_end()
    }
}

/// A page above the leaves that the scrub is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Open {
    page: PageRef,
    /// How much damage had been found when it was entered.
    damage: usize,
}

/// A scrub between two steps.
#[derive(Default)]
struct Scrub {
    cursor: Option<ScrubCursor>,
    /// The next page of the table of LUNs. The LUNs come after the last one.
    table: Option<usize>,
    report: ScrubReport,
    /// Pages whose copies have been compared. They are known by block and check, so that another page in the same block is another page.
    compared: HashSet<u64>,
    /// Pages below which everything has been looked at and is whole.
    done: HashSet<u64>,
    open: BTreeMap<u8, Open>,
    verified: BlockSet,
    /// The damaged blocks among the verified ones.
    bad: HashSet<u64>,
}

impl Scrub {
    /// Looks at some leaves; how many bytes were read.
    fn step(&mut self, shared: &Shared) -> u64 {
        let mut bytes = 0;
        self.forget_if_much();
        for _ in 0..STEP_LEAVES {
            let Some(cursor) = self.cursor.filter(|_| bytes < STEP_BYTES) else { break };
            bytes += self.look(shared, cursor);
        }
        bytes
    }

    /// Begins anew with what was seen if that takes too much memory.
    fn forget_if_much(&mut self) {
        let seen_bytes =
            SEEN_BYTES * (self.compared.len() + self.done.len() + self.bad.len()) + self.verified.memory_bytes();
        if seen_bytes > SEEN_BYTES_MAX {
            (self.compared, self.done, self.bad) = (HashSet::new(), HashSet::new(), HashSet::new());
            self.verified = BlockSet::default();
        }
    }

    /// Looks at what is next; how many bytes were read.
    fn look(&mut self, shared: &Shared, (from, block): ScrubCursor) -> u64 {
        if let Some(number) = self.table {
            let bytes = table_scrub::look(shared, number);
            self.table = bytes.map(|_| number + 1);
            return bytes.unwrap_or(0);
        }
        // From before the look-up until the last read, so that no block becomes something else.
        let reader = shared.reader(0);
        let mut place = None;
        let path = shared.with_pages(|state, faults| {
            // Looked up anew in each round: a root that a LUN had before may be a page that never was on the medium and is gone.
            place = state.luns.live_from(from).map(|lun| Place {
                lun: lun.id,
                length: lun.length,
                tree: lun.tree,
                block: if lun.id == from { block } else { 0 },
            });
            let Some(place) = place.filter(|place| !place.is_behind()) else { return Some(Vec::new()) };
            state.pages.path(&place.tree, place.block, faults, |page| self.is_done(page))
        });
        let Some(place) = place else {
            self.cursor = None;
            return 0;
        };
        let Place { lun, length, tree, block } = place;
        if block == 0 {
            self.open.clear();
        }
        if place.is_behind() {
            self.cursor = lun.as_u128().checked_add(1).map(|next| (LunId::from_u128(next), 0));
            return 0;
        }
        let (bytes, next) = match path {
            Ok(steps) => self.look_at(shared, lun, &tree, block, &steps),
            // Both copies of some page are damaged. What is below is looked for leaf by leaf, since which page it is is not known.
            Err(_) => {
                let leaf = block / FANOUT_LEN * FANOUT_LEN;
                let end = (leaf + FANOUT_LEN).min(place.block_end());
                self.name(lun, length, block, end - block);
                (2 * BLOCK_LEN, leaf + FANOUT_LEN)
            }
        };
        drop(reader);
        self.cursor = Some((lun, next));
        bytes
    }

    fn is_done(&self, page: PageRef) -> bool {
        self.done.contains(&page.first().raw())
    }

    /// Looks at the pages of a path and at the leaf's data; how many bytes were read, and the block to go on from.
    fn look_at(&mut self, shared: &Shared, lun: LunId, tree: &Tree, block: u64, steps: &[PathStep]) -> (u64, u64) {
        let mut bytes = 0;
        let mut next = tree.span();
        for step in steps {
            let (page, level, base) = (step.page, step.level, step.base);
            next = base + entry_span(level + 1);
            let Some(content) = &step.content else { break };
            // A page without a check is not on the medium yet.
            if page.first().check() != 0 && self.compared.insert(page.first().raw()) {
                bytes += self.compare(shared, page, content);
            }
            if level == 0 {
                bytes += self.leaf(shared, lun, base, content);
            } else {
                self.enter(page, level, base, block);
                let place = index((block - base) / entry_span(level));
                if content.child(place).is_unmapped() {
                    next = base + entry_span(level) * (u64::try_from(place).expect("below CHILDREN") + 1);
                }
            }
        }
        self.leave(steps, next);
        (bytes, next)
    }

    fn enter(&mut self, page: PageRef, level: u8, base: u64, block: u64) {
        let known = self.open.get(&level).is_some_and(|open| open.page == page);
        if block == base {
            self.open.insert(level, Open { page, damage: self.report.damage.len() });
        } else if !known {
            self.open.remove(&level);
        }
    }

    /// Remembers the pages that end where the scrub goes on, if all that is below was looked at and is whole.
    fn leave(&mut self, steps: &[PathStep], next: u64) {
        for step in steps.iter().filter(|step| step.level > 0 && step.base + entry_span(step.level + 1) <= next) {
            let open = self.open.remove(&step.level).filter(|open| open.page == step.page);
            let whole = open.is_some_and(|open| open.damage == self.report.damage.len());
            if whole && !self.report.damage_left_out && step.page.first().check() != 0 {
                self.done.insert(step.page.first().raw());
            }
        }
    }

    /// Compares both copies of a page with what it is in memory.
    fn compare(&mut self, shared: &Shared, page: PageRef, content: &Page) -> u64 {
        self.report.map_pages += 1;
        for entry in [page.first(), page.second()] {
            let mut copy = Page::zeroed();
            let read = media::read_page(&*shared.media, entry.block(), &mut copy);
            let is_whole = read.is_ok() && entry.matches(copy.bytes());
            if !is_whole && entry.matches(content.bytes()) {
                shared.heal(entry, content);
            }
        }
        2 * BLOCK_LEN
    }

    fn leaf(&mut self, shared: &Shared, lun: LunId, base: u64, content: &Page) -> u64 {
        let entries: Vec<Entry> = content.entries().collect();
        let mut bytes = 0;
        for run in entries.chunk_by(Entry::is_followed_by).filter(|run| !run[0].is_unmapped()) {
            if run.iter().any(|entry| !self.verified.contains(entry.block())) {
                bytes += self.verify(shared, run);
            }
        }
        if !self.bad.is_empty() {
            let length = shared.state.lock().luns.find(lun).map_or(BlockCount(0), |(_, entry)| entry.length);
            for (block, entry) in (base..).zip(&entries) {
                if self.bad.contains(&entry.block()) {
                    self.name(lun, length, block, 1);
                }
            }
        }
        bytes
    }

    fn verify(&mut self, shared: &Shared, run: &[Entry]) -> u64 {
        let bad = |block| self.bad.extend([block]);
        let read_at = |offset_bytes, buffer: &mut _| shared.read_data(&mut [ReadPart { offset_bytes, buffer }]);
        self.report.data_blocks += verify_run(read_at, run, &mut self.verified, bad);
        u64::try_from(run.len() * BLOCK_BYTES).expect("at most a leaf")
    }

    fn name(&mut self, lun: LunId, length: BlockCount, block: u64, count: u64) {
        let at = (block * SECTORS_PER_BLOCK).min(length.0);
        let end = ((block + count) * SECTORS_PER_BLOCK).min(length.0);
        tracing::error!(%lun, at, count = end - at, "blocks of a LUN are damaged");
        let is_full = self.report.damage.len() == DAMAGE_MAX;
        match self.report.damage.last_mut() {
            _ if at == end => {}
            Some(last) if last.lun == lun && last.at.0 + last.count.0 == at => last.count.0 += end - at,
            _ if is_full => self.report.damage_left_out = true,
            _ => self.report.damage.push(LunDamage { lun, at: Lba(at), count: BlockCount(end - at) }),
        }
    }
}
