//! Which blocks are free: reference counts, blocks held back, and the search for free ones.
//!
//! A block can be taken when its count is zero and it is not *held*. Held are blocks that were taken and are not in a map yet, and
//! blocks that were freed but may still be read: by recovery, until a checkpoint without them is durable, or by a reader that looked
//! them up before.

use std::collections::{BTreeSet, VecDeque};
use std::ops::Range;
use std::sync::Arc;

use smallvec::SmallVec;

use crate::bits::{RegionBits, RegionSet, count_of};
use crate::cache::{Cache, PageKind};
use crate::epochs::{Epochs, ReadEpoch};
use crate::geometry::{Geometry, REGION_LEN};
use crate::page::{Entry, Page, PageRef, index};
use crate::read_cache::ReadCache;
use crate::regions::Regions;

/// Where a page lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum At {
    Once(Entry),
    Twice(PageRef),
    /// Nowhere: what refers to it contradicts what else the pool knows.
    Nowhere,
}

/// A page that is not in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) key: u64,
    pub(crate) kind: PageKind,
    /// Where the page lies, and its check value. Counts have no second copy.
    pub(crate) at: At,
}

/// The pages that an operation needs and did not find. Operations look for all of them before they change anything.
pub(crate) type Faults = Vec<Fault>;

/// Blocks that were taken. A few need no memory besides.
pub(crate) type Claimed = SmallVec<[u64; 4]>;

/// What blocks are taken for. Data and map pages are taken from opposite ends, so that runs of data stay contiguous.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    Data,
    Map,
    /// Second copies of map pages. They are taken far from the first, as long as there is a choice.
    MapCopy,
}

/// Blocks freed before a checkpoint, on their way back.
struct Returning {
    generation: u64,
    readers: Arc<ReadEpoch>,
    blocks: Vec<(u64, RegionBits)>,
    count: u64,
}

/// Of how many regions blocks come back under one hold of the lock: a checkpoint can bring back a million, and nobody is to wait for
/// all.
const DRAIN_REGIONS: usize = 16;

/// How many regions are searched for a run of free blocks under one hold of the lock.
const RUN_REGIONS: usize = 16;

/// How many regions are looked at to find sparse ones.
const SPARSE_AMONG: u64 = 128;
/// How many regions are kept clear at a time: 256 MiB.
const CLEAR_MAX: usize = 32;

/// See the module.
pub(crate) struct Space {
    geometry: Geometry,
    regions: Regions,
    held: RegionSet,
    used_count: u64,
    /// How many of the used blocks hold map pages.
    map_count: u64,
    usable_count: u64,
    /// How many of the held blocks are held because they are being wiped.
    wiping_count: u64,
    /// Freed since the last freeze.
    freed: RegionSet,
    /// Freed before the freeze of the checkpoint that is being written.
    frozen: Option<Returning>,
    /// Freed before a durable checkpoint, oldest first; readers may still use them.
    draining: VecDeque<Returning>,
    epochs: Arc<Epochs>,
    /// What is in memory of blocks of data, of which those that are freed need not be.
    read_cache: Arc<ReadCache>,
    released_generation: u64,
    /// Where the search for [`Purpose::Data`] goes on: region and place in it. Upwards.
    data_cursor: (u64, usize),
    /// The same for [`Purpose::Map`]. Downwards by regions.
    map_cursor: (u64, usize),
    /// The same for [`Purpose::MapCopy`], from the middle downwards.
    copy_cursor: (u64, usize),
    /// The region where the search for runs goes on.
    run_cursor: u64,
    /// Regions of which only runs are taken, as long as there is space elsewhere.
    clear: BTreeSet<u64>,
}

impl Space {
    pub(crate) fn new(geometry: Geometry, regions: Regions, used_count: u64, map_count: u64) -> Self {
        Self {
            geometry,
            regions,
            held: RegionSet::default(),
            used_count,
            map_count,
            usable_count: geometry.usable_blocks(),
            wiping_count: 0,
            freed: RegionSet::default(),
            frozen: None,
            draining: VecDeque::new(),
            epochs: Arc::default(),
            read_cache: Arc::default(),
            released_generation: 0,
            data_cursor: (0, 0),
            map_cursor: (geometry.region_count() - 1, 0),
            copy_cursor: (geometry.region_count() / 2, 0),
            run_cursor: 0,
            clear: BTreeSet::new(),
        }
    }

    /// The same, with so much memory for data.
    pub(crate) fn with_read_cache(mut self, bytes: u64) -> Self {
        self.read_cache = Arc::new(ReadCache::new(bytes));
        self
    }

    pub(crate) const fn read_cache(&self) -> &Arc<ReadCache> {
        &self.read_cache
    }

    pub(crate) fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// Has more blocks from now on.
    pub(crate) fn enlarge(&mut self, geometry: Geometry) {
        self.geometry = geometry;
        self.usable_count = geometry.usable_blocks();
        self.regions.enlarge(geometry);
    }

    pub(crate) fn used_count(&self) -> u64 {
        self.used_count
    }

    /// How many of the used blocks hold map pages, second copies included.
    pub(crate) fn map_count(&self) -> u64 {
        self.map_count
    }

    /// More or fewer of the used blocks hold map pages.
    pub(crate) fn count_map_blocks(&mut self, growth: i64) {
        self.map_count = self.map_count.saturating_add_signed(growth);
    }

    /// How many blocks can hold data or map pages.
    pub(crate) fn usable_count(&self) -> u64 {
        self.usable_count
    }

    /// How many blocks could be taken now.
    pub(crate) fn free_count(&self) -> u64 {
        self.usable_count.saturating_sub(self.used_count + self.held.count())
    }

    /// How many free blocks cannot be taken only because they are being wiped.
    pub(crate) fn wiping_count(&self) -> u64 {
        self.wiping_count
    }

    /// How many freed blocks are on their way back.
    pub(crate) fn returning_count(&self) -> u64 {
        let waiting = self.frozen.iter().chain(&self.draining).map(|returning| returning.count).sum::<u64>();
        waiting + self.freed.count()
    }

    /// The newest generation whose freed blocks have all come back.
    pub(crate) fn released_generation(&self) -> u64 {
        self.released_generation
    }

    /// Where readers begin.
    pub(crate) fn epochs(&self) -> Arc<Epochs> {
        Arc::clone(&self.epochs)
    }

    pub(crate) fn counts_entry(&self, region: u64) -> Entry {
        self.regions.counts(region)
    }

    pub(crate) fn set_counts_entry(&mut self, region: u64, entry: Entry) {
        self.regions.set_counts(region, entry);
    }

    /// The page of counts with `block`'s, and its place there; the page is in memory unless a fault was added.
    ///
    /// # Panics
    /// If `block` is none that can be counted; what is read from the medium is checked when it is read.
    fn count_slot(&self, block: u64) -> (u64, u64, usize) {
        let (region, at) = self.geometry.place(block).expect("only blocks of the data area are referred to");
        (region, self.geometry.count_key(region), at)
    }

    /// Whether the page with the count of `block` is in memory; if not, it is among the faults now.
    pub(crate) fn touch(&self, cache: &mut Cache, block: u64, faults: &mut Faults) -> bool {
        let (region, ..) = self.count_slot(block);
        self.touch_region(cache, region, faults)
    }

    fn touch_region(&self, cache: &mut Cache, region: u64, faults: &mut Faults) -> bool {
        let key = self.geometry.count_key(region);
        if cache.get(key).is_some() {
            return true;
        }
        let kind = PageKind::Counts { region };
        let entry = self.regions.counts(region);
        if entry.is_unmapped() {
            cache.insert_clean(key, kind, Arc::new(Page::zeroed()));
            return true;
        }
        // Neighbours often have their counts in one page, which is then named once.
        if faults.last().is_none_or(|last| last.key != key) {
            faults.push(Fault { key, kind, at: At::Once(entry) });
        }
        false
    }

    /// The count of a block whose page is in memory.
    pub(crate) fn count(&self, cache: &mut Cache, block: u64) -> u16 {
        let (_, key, at) = self.count_slot(block);
        cache.get(key).expect("touched before").count(at)
    }

    /// Adds a reference.
    pub(crate) fn increment(&mut self, cache: &mut Cache, block: u64) {
        let (_, key, at) = self.count_slot(block);
        let page = cache.page_mut(key);
        let count = page.count(at);
        // A page of a map has at most one reference for each LUN, and there are fewer of these than 65536. Data can have more, if it was
        // shared and the maps that it lies in were then copied very often. A count that has come to its end is not to be trusted: it stays
        // where it is, and the block is not freed before a repair has counted anew.
        page.set_count(at, count.saturating_add(1));
        if count == 0 {
            self.used_count += 1;
            self.unhold(block);
        }
    }

    /// [`Space::touch`] for many blocks in ascending order, whose counts are mostly on the same pages.
    pub(crate) fn touch_all(&self, cache: &mut Cache, blocks: &[u64], faults: &mut Faults) {
        for blocks in self.geometry.by_region(blocks) {
            self.touch(cache, blocks[0], faults);
        }
    }

    /// [`Space::increment`] for many blocks in ascending order, which all have a reference already.
    pub(crate) fn increment_all(&mut self, cache: &mut Cache, blocks: &[u64]) {
        for blocks in self.geometry.by_region(blocks) {
            let (_, key, _) = self.count_slot(blocks[0]);
            let page = cache.page_mut(key);
            for block in blocks {
                let (.., at) = self.count_slot(*block);
                let count = page.count(at);
                page.set_count(at, count.saturating_add(1));
            }
        }
    }

    /// Takes a reference away; true if it was the last.
    pub(crate) fn decrement(&mut self, cache: &mut Cache, block: u64) -> bool {
        let (_, key, at) = self.count_slot(block);
        let was_last = take_one(cache.page_mut(key), at, block);
        if was_last {
            self.free(block);
        }
        was_last
    }

    /// [`Space::decrement`] for many blocks in ascending order.
    pub(crate) fn decrement_all(&mut self, cache: &mut Cache, blocks: &[u64]) {
        let mut last = Vec::new();
        for blocks in self.geometry.by_region(blocks) {
            let (_, key, _) = self.count_slot(blocks[0]);
            let page = cache.page_mut(key);
            for block in blocks {
                let (.., at) = self.count_slot(*block);
                if take_one(page, at, *block) {
                    last.push(*block);
                }
            }
        }
        last.into_iter().for_each(|block| self.free(block));
    }

    /// A block has lost its last reference.
    fn free(&mut self, block: u64) {
        self.used_count = self.used_count.saturating_sub(1);
        let (region, _, at) = self.count_slot(block);
        self.held.insert(region, at);
        self.freed.insert(region, at);
        // A reader that looked it up before may bring it back, which does no harm.
        self.read_cache.forget(block);
    }

    /// Holds a block back. False if it was held already.
    pub(crate) fn hold(&mut self, block: u64) -> bool {
        let (region, _, at) = self.count_slot(block);
        self.held.insert(region, at)
    }

    /// Lets a held block be taken again, or be counted.
    pub(crate) fn unhold(&mut self, block: u64) {
        let (region, _, at) = self.count_slot(block);
        if self.held.remove(region, at) {
            self.regions.set_worth_a_search(region, true);
        }
    }

    /// Takes `want` free blocks and holds them. `None` if a fault was added, an empty list if there are not so many.
    pub(crate) fn claim(
        &mut self,
        cache: &mut Cache,
        purpose: Purpose,
        want: usize,
        faults: &mut Faults,
    ) -> Option<Claimed> {
        let claimed = self.claim_elsewhere(cache, purpose, want, faults)?;
        if claimed.len() == want || self.clear.is_empty() {
            return Some(claimed);
        }
        // Order can wait, and this cannot.
        self.clear.clear();
        self.claim_elsewhere(cache, purpose, want, faults)
    }

    /// [`Space::claim`], not of regions that are kept clear.
    fn claim_elsewhere(
        &mut self,
        cache: &mut Cache,
        purpose: Purpose,
        want: usize,
        faults: &mut Faults,
    ) -> Option<Claimed> {
        if want == 0 {
            return Some(Claimed::new());
        }
        let mut claimed = Claimed::with_capacity(want);
        let (mut region, mut from) = *self.cursor(purpose);
        // One step more than there are regions: the first is entered in its middle, and its beginning comes last.
        for _ in 0..=self.regions.len() {
            if self.regions.is_worth_a_search(region) && !self.clear.contains(&region) {
                if !self.touch_region(cache, region, faults) {
                    claimed.iter().for_each(|block| self.unhold(*block));
                    return None;
                }
                if let Some(next) = self.claim_in(cache, region, from, want, &mut claimed) {
                    *self.cursor(purpose) = (region, next);
                    return Some(claimed);
                }
            }
            from = 0;
            region = match purpose {
                Purpose::Data => (region + 1) % self.geometry.region_count(),
                Purpose::Map | Purpose::MapCopy => region.checked_sub(1).unwrap_or(self.geometry.region_count() - 1),
            };
        }
        claimed.iter().for_each(|block| self.unhold(*block));
        Some(Claimed::new())
    }

    /// Takes free blocks that follow each other, and holds them: `want` of them, or the most that a region has, if these are `least`. `None` if a
    /// fault was added, no blocks if some regions were searched in vain: the next call goes on with others.
    pub(crate) fn claim_run(
        &mut self,
        cache: &mut Cache,
        want: usize,
        least: usize,
        faults: &mut Faults,
    ) -> Option<Option<Range<u64>>> {
        for region in self.clear.iter().copied().collect::<Vec<u64>>() {
            if let Some(run) = self.claim_run_in(cache, region, want, least, faults)? {
                return Some(Some(run));
            }
        }
        for _ in 0..RUN_REGIONS {
            let region = self.run_cursor;
            if let Some(run) = self.claim_run_in(cache, region, want, least, faults)? {
                return Some(Some(run));
            }
            self.run_cursor = (region + 1) % self.geometry.region_count();
        }
        Some(None)
    }

    fn claim_run_in(
        &mut self,
        cache: &mut Cache,
        region: u64,
        want: usize,
        least: usize,
        faults: &mut Faults,
    ) -> Option<Option<Range<u64>>> {
        if !self.regions.is_worth_a_search(region) {
            return Some(None);
        }
        if !self.touch_region(cache, region, faults) {
            return None;
        }
        let run = self.free_run(cache, region, want);
        if run.len() < least {
            return Some(None);
        }
        run.clone().for_each(|at| {
            self.held.insert(region, at);
        });
        let block = |at: usize| self.geometry.region_start(region) + u64::try_from(at).expect("a place in a region");
        Some(Some(block(run.start)..block(run.end)))
    }

    /// Where in a region so many free blocks follow each other, or the most that do.
    fn free_run(&self, cache: &mut Cache, region: u64, want: usize) -> Range<usize> {
        let (mut run, mut longest) = (0..0, 0..0);
        for at in self.free_in(cache, region) {
            run = if at == run.end { run.start..at + 1 } else { at..at + 1 };
            if run.len() > longest.len() {
                longest = run.clone();
            }
            if longest.len() == want {
                break;
            }
        }
        longest
    }

    /// The free places of a region whose counts are in memory.
    fn free_in(&self, cache: &mut Cache, region: u64) -> impl Iterator<Item = usize> + use<> {
        let page = Arc::clone(cache.get(self.geometry.count_key(region)).expect("touched before"));
        let held = self.held.of_region(region).cloned();
        let places = index(Geometry::region_overhead(region))..index(self.geometry.region_blocks(region));
        places.filter(move |at| page.count(*at) == 0 && !held.as_ref().is_some_and(|held| held.contains(*at)))
    }

    /// Holds all free blocks of a region; the runs of them. `None` if a fault was added.
    pub(crate) fn hold_free(&mut self, cache: &mut Cache, region: u64, faults: &mut Faults) -> Option<Vec<Range<u64>>> {
        if !self.touch_region(cache, region, faults) {
            return None;
        }
        let free: Vec<usize> = self.free_in(cache, region).collect();
        let place = |at: usize| self.geometry.region_start(region) + u64::try_from(at).expect("a place in a region");
        let runs = free.chunk_by(|at, next| at + 1 == *next).map(|run| place(run[0])..place(run[0]) + blocks_in(run));
        let runs = runs.collect();
        self.wiping_count += blocks_in(&free);
        free.into_iter().for_each(|at| {
            self.held.insert(region, at);
        });
        Some(runs)
    }

    /// Lets go of what [`Space::hold_free`] holds.
    pub(crate) fn let_go(&mut self, runs: &[Range<u64>]) {
        for run in runs {
            self.wiping_count -= run.end - run.start;
            run.clone().for_each(|block| self.unhold(block));
        }
    }

    /// Keeps those regions clear that have most free blocks, of some that come next for data; of each, half at least is free. False if there are
    /// none. `None` if faults were added.
    pub(crate) fn keep_sparse_clear(&mut self, cache: &mut Cache, faults: &mut Faults) -> Option<bool> {
        let region_count = self.geometry.region_count();
        let among = region_count.min(SPARSE_AMONG);
        let regions: Vec<u64> = (1..=among).map(|ahead| (self.data_cursor.0 + ahead) % region_count).collect();
        for region in &regions {
            self.touch_region(cache, *region, faults);
        }
        if !faults.is_empty() {
            return None;
        }
        let free = |region| (self.free_in(cache, region).count(), region);
        let mut sparse: Vec<(usize, u64)> = regions.into_iter().map(free).collect();
        sparse.retain(|(free, _)| free * 2 >= REGION_LEN);
        sparse.sort_unstable_by(|one, other| other.cmp(one));
        sparse.truncate(index(among.div_ceil(4)).min(CLEAR_MAX));
        self.clear = sparse.into_iter().map(|(_, region)| region).collect();
        Some(!self.clear.is_empty())
    }

    /// Keeps no region clear any more.
    pub(crate) fn keep_none_clear(&mut self) {
        self.clear.clear();
    }

    /// Whether a block lies in a region that is kept clear.
    pub(crate) fn is_kept_clear(&self, block: u64) -> bool {
        let (region, ..) = self.count_slot(block);
        self.clear.contains(&region)
    }

    fn cursor(&mut self, purpose: Purpose) -> &mut (u64, usize) {
        match purpose {
            Purpose::Data => &mut self.data_cursor,
            Purpose::Map => &mut self.map_cursor,
            Purpose::MapCopy => &mut self.copy_cursor,
        }
    }

    /// Claims in one region from a place on; the place after the last claimed block if there are `want` now.
    fn claim_in(
        &mut self,
        cache: &mut Cache,
        region: u64,
        from: usize,
        want: usize,
        claimed: &mut Claimed,
    ) -> Option<usize> {
        let page = Arc::clone(cache.get(self.geometry.count_key(region)).expect("touched before"));
        let begin = from.max(index(Geometry::region_overhead(region)));
        let end = index(self.geometry.region_blocks(region));
        let before = claimed.len();
        for at in begin..end {
            if claimed.len() == want {
                return Some(at);
            }
            if page.count(at) == 0 && !self.held.contains(region, at) {
                let block = self.geometry.region_start(region) + u64::try_from(at).expect("a place in a region");
                self.hold(block);
                claimed.push(block);
            }
        }
        if claimed.len() == before && from == 0 {
            self.regions.set_worth_a_search(region, false);
        }
        (claimed.len() == want).then_some(end)
    }

    /// Begins a checkpoint: what has been freed until now comes back when it is durable and its readers are gone.
    pub(crate) fn freeze(&mut self, generation: u64) {
        debug_assert!(self.frozen.is_none(), "one checkpoint at a time");
        let readers = self.epochs.renew();
        let (blocks, count) = self.freed.take();
        self.frozen = Some(Returning { generation, readers, blocks, count });
    }

    /// The checkpoint is durable; [`Space::drain`] gives back what was freed before it.
    pub(crate) fn thaw(&mut self) {
        self.draining.extend(self.frozen.take());
    }

    /// Gives back some blocks that no reader uses any more. False if there are none.
    pub(crate) fn drain(&mut self) -> bool {
        // In order: who holds an older epoch may have looked up what was freed later.
        let Some(returning) = self.draining.front_mut().filter(|first| Arc::strong_count(&first.readers) == 1) else {
            return false;
        };
        let left = returning.blocks.len().saturating_sub(DRAIN_REGIONS);
        let blocks = returning.blocks.split_off(left);
        returning.count -= blocks.iter().map(|(_, bits)| count_of(bits)).sum::<u64>();
        if left == 0 {
            self.released_generation = returning.generation;
            self.draining.pop_front();
        }
        for (region, bits) in &blocks {
            self.held.remove_all(*region, bits);
            self.regions.set_worth_a_search(*region, true);
        }
        true
    }

    /// Whether readers keep freed blocks from coming back.
    pub(crate) fn is_draining(&self) -> bool {
        !self.draining.is_empty()
    }
}

fn blocks_in(run: &[usize]) -> u64 {
    u64::try_from(run.len()).expect("as many as a region has")
}

/// Takes one from a count; true if it was the last.
fn take_one(page: &mut Page, at: usize, block: u64) -> bool {
    let count = page.count(at);
    if count == 0 || count == u16::MAX {
        tracing::error!(block, count, "a reference count is wrong; the block stays in use");
        return false;
    }
    page.set_count(at, count - 1);
    count == 1
}
