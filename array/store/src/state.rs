//! What the threads and requests of a pool share, and how they wait for each other.
//!
//! One lock holds all metadata. Nothing is read from or written to the medium under it: an operation that needs a page which is not
//! in memory says so, and is begun again when the page has come. Data goes past it: reads look at [`Views`], writes that come together
//! take their blocks in advance and leave the change of the maps to one of them ([`Gathering`]).

use std::collections::BTreeSet;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering, fence};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use lunshadow_lun::SpaceLevel;
use tokio::sync::watch;

use crate::at_once::Starter;
use crate::behind::Behind;
use crate::budget::Requests;
use crate::cache::{PageKind, pages_in};
use crate::defragment::Scattered;
use crate::epochs::{Epochs, ReadEpoch};
use crate::gathering::Gathering;
use crate::geometry::Geometry;
use crate::log::Log;
use crate::lun_table::LunTable;
use crate::map::Pages;
use crate::media::{self, Media, ReadPart, WritePart};
use crate::page::{Entry, Page};
use crate::read_cache::ReadCache;
use crate::record::LunSlot;
use crate::scrub::ScrubCursor;
use crate::sets::Sets;
use crate::space::{At, Fault, Faults};
use crate::sync::{Condvar, Mutex, MutexGuard};
use crate::views::Views;

/// The metadata in memory.
pub(crate) struct State {
    pub(crate) pages: Pages,
    pub(crate) luns: LunTable,
    pub(crate) log: Log,
    pub(crate) sets: Sets,
    /// The number of the checkpoint that changes made now will be part of.
    pub(crate) generation: u64,
    /// The number of the newest durable checkpoint.
    pub(crate) durable_generation: u64,
    /// The checkpoint that somebody waits for; zero if nobody does.
    pub(crate) wanted_generation: u64,
    /// What the next checkpoint makes of the pool's size.
    pub(crate) next_geometry: Option<Geometry>,
    pub(crate) limits: Limits,
    pub(crate) poisoned: bool,
    /// Deleted LUNs whose map cannot be read, so that what they have cannot be given back.
    pub(crate) stuck: BTreeSet<LunSlot>,
    /// Counts those who have asked for a checkpoint, so that what waits for the medium to have room is tried again.
    pub(crate) room_asked: u64,
    /// Somebody waits for what deleted LUNs have; said anew after each step of reclaiming.
    pub(crate) space_wanted: bool,
    /// Where the scrub is, or the last one was stopped.
    pub(crate) scrub_cursor: Option<ScrubCursor>,
    pub(crate) scrubbing: bool,
    /// A checkpoint waits because the medium itself has no space.
    pub(crate) medium_full: bool,
    /// The pool's threads are to run, or are running.
    pub(crate) running: bool,
}

/// Limits that follow from the configuration.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    cache_bytes: u64,
    /// How many pages that is.
    pub(crate) cache_pages: usize,
    /// With fewer blocks to write to, the pool is low on space.
    pub(crate) low_blocks: u64,
    /// Whether somebody has said so. It follows from the capacity otherwise.
    is_low_given: bool,
    /// From so many changed pages on, a checkpoint begins.
    pub(crate) dirty_soft: usize,
    /// From so many on, writers wait for it.
    pub(crate) dirty_hard: usize,
    /// So many free blocks are left to map pages, so that what is needed to free space never lacks space.
    pub(crate) reserve_blocks: u64,
}

impl Limits {
    pub(crate) fn new(cache_bytes: u64, geometry: &Geometry) -> Self {
        let (cache_pages, usable_blocks) = (pages_in(cache_bytes, geometry), geometry.usable_blocks());
        let by_capacity = usize::try_from(usable_blocks / 128).unwrap_or(usize::MAX);
        let dirty_soft = (cache_pages / 4).min(by_capacity).max(8);
        let dirty_hard = 2 * dirty_soft;
        // All that is dirty in the current generation and in the one that a checkpoint is writing, and what is taken in advance, twice each.
        let reserve_blocks = u64::try_from(4 * dirty_hard + 128).unwrap_or(u64::MAX).min(usable_blocks / 4);
        let (low_blocks, is_low_given) = (usable_blocks / 10, false);
        Self { cache_bytes, cache_pages, low_blocks, is_low_given, dirty_soft, dirty_hard, reserve_blocks }
    }

    /// Says with how few blocks the pool is low on space, whatever its capacity.
    pub(crate) fn give_low(&mut self, low_blocks: u64) {
        (self.low_blocks, self.is_low_given) = (low_blocks, true);
    }

    /// The limits of the same pool with another size.
    pub(crate) fn resized(&self, geometry: &Geometry) -> Self {
        let mut resized = Self::new(self.cache_bytes, geometry);
        if self.is_low_given {
            resized.give_low(self.low_blocks);
        }
        resized
    }
}

/// What waiters look at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    pub(crate) durable_sequence: u64,
    pub(crate) durable_generation: u64,
    pub(crate) poisoned: bool,
    pub(crate) medium_full: bool,
    /// The log waits for a checkpoint or for data, and that for the medium to have space.
    log_stalled: bool,
    /// Counts all news, of these and of other kinds.
    pub(crate) tick: u64,
}

/// Why a page could not be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PageError {
    #[error("the page at block {block} is damaged")]
    Damaged { block: u64 },
    #[error("the page at block {block} cannot be read")]
    Unreadable {
        block: u64,
        #[source]
        error: io::Error,
    },
}

impl From<PageError> for io::Error {
    fn from(error: PageError) -> Self {
        let kind = match &error {
            PageError::Damaged { .. } => io::ErrorKind::InvalidData,
            PageError::Unreadable { error, .. } => error.kind(),
        };
        Self::new(kind, error)
    }
}

/// Why the pool takes no changes now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// It refuses changes until it is reopened.
    Poisoned,
    /// The medium itself has no space for a checkpoint.
    MediumFull,
}

/// See the module.
pub(crate) struct Shared {
    pub(crate) media: Box<dyn Media>,
    pub(crate) state: Mutex<State>,
    /// Wakes the writer of the log.
    pub(crate) log_wake: Condvar,
    /// Wakes the housekeeper.
    pub(crate) house_wake: Condvar,
    progress: watch::Sender<Progress>,
    /// One sync at a time, and none after one that failed: the operating system reports a failure to one caller only.
    pub(crate) sync_failed: Mutex<bool>,
    /// Whether freed blocks wait for readers, which then wake the housekeeper.
    readers_awaited: AtomicBool,
    /// How many damaged copies of map pages were written again since the pool was opened.
    pub(crate) healed_pages: AtomicU64,
    /// A [`SpaceLevel`], to be read without the lock.
    space_level: AtomicU8,
    /// Whether changes are taken, as of the last change, to be read without the lock.
    is_admitting: AtomicBool,
    /// What background work is to make room for.
    pub(crate) requests: Requests,
    /// Small writes that go together.
    pub(crate) gathering: Gathering,
    /// Writes that the medium does not have yet.
    pub(crate) behind: Arc<Behind>,
    pub(crate) starter: OnceLock<Arc<Starter>>,
    /// What is to be put in order.
    pub(crate) scattered: Scattered,
    epochs: Arc<Epochs>,
    /// What can be looked up without the lock.
    pub(crate) views: Arc<Views>,
    pub(crate) read_cache: Arc<ReadCache>,
}

impl State {
    /// How many blocks of data can be written now, without what may come back.
    pub(crate) fn available_blocks(&self) -> u64 {
        // What is being wiped comes back without anybody's doing.
        let free = self.pages.space.free_count() + self.pages.space.wiping_count();
        free.saturating_sub(self.limits.reserve_blocks)
    }

    /// Whether so many pages have changed that writers wait for a checkpoint.
    fn is_crowded(&self) -> bool {
        self.pages.cache.dirty_count() >= self.limits.dirty_hard
    }

    /// A deleted LUN of which something can be given back.
    pub(crate) fn reclaimable(&self) -> Option<LunSlot> {
        self.luns.deleted().map(|(slot, _)| slot).find(|slot| !self.stuck.contains(slot))
    }

    /// How much room there is. What is low stays low until there is an eighth more than what makes it so.
    fn space_level(&self, before: SpaceLevel) -> SpaceLevel {
        // What has been freed is there as soon as somebody needs it.
        let available = self.available_blocks() + self.pages.space.returning_count();
        let low = self.limits.low_blocks;
        match before {
            _ if available == 0 => SpaceLevel::Full,
            _ if available < low => SpaceLevel::Low,
            SpaceLevel::Low | SpaceLevel::Full if available < low + low / 8 => SpaceLevel::Low,
            _ => SpaceLevel::Plenty,
        }
    }
}

impl Shared {
    pub(crate) fn new(media: Box<dyn Media>, state: State) -> Self {
        let progress = Progress {
            durable_sequence: state.log.durable_sequence(),
            durable_generation: state.durable_generation,
            ..Progress::default()
        };
        let (epochs, views) = (state.pages.space.epochs(), Arc::clone(&state.luns.views));
        let read_cache = Arc::clone(state.pages.space.read_cache());
        views.set_cache_pages(state.limits.cache_pages);
        Self {
            media,
            state: Mutex::new(state),
            log_wake: Condvar::new(),
            house_wake: Condvar::new(),
            progress: watch::Sender::new(progress),
            sync_failed: Mutex::new(false),
            readers_awaited: AtomicBool::new(false),
            healed_pages: AtomicU64::new(0),
            space_level: AtomicU8::new(SpaceLevel::Plenty as u8),
            is_admitting: AtomicBool::new(false),
            requests: Requests::default(),
            gathering: Gathering::default(),
            behind: Arc::default(),
            starter: OnceLock::new(),
            scattered: Scattered::default(),
            epochs,
            views,
            read_cache,
        }
    }

    /// Reads blocks of data.
    pub(crate) fn read_data(&self, parts: &mut [ReadPart<'_>]) -> io::Result<()> {
        self.behind.read(&*self.media, parts)
    }

    /// Writes blocks of data to places that nothing refers to yet.
    pub(crate) fn write_data(&self, parts: &[WritePart<'_>]) -> io::Result<()> {
        let written = self.media.write_many(parts);
        match &written {
            Ok(()) => self.read_cache.written(parts),
            Err(_) => self.read_cache.overwritten(parts),
        }
        written
    }

    /// As [`write_data`](Self::write_data), of single blocks at their offsets.
    pub(crate) fn write_blocks(&self, blocks: &[(u64, Bytes)]) -> io::Result<()> {
        let parts = media::parts_of(blocks);
        let written = self.media.write_many(&parts);
        match &written {
            Ok(()) => self.read_cache.written_blocks(blocks),
            Err(_) => self.read_cache.overwritten(&parts),
        }
        written
    }

    /// As [`write_data`](Self::write_data), but of data that other blocks hold, too, whose reader the caller is.
    pub(crate) fn move_data(&self, from: &[Entry], to: &[u64], parts: &[WritePart<'_>]) -> io::Result<()> {
        self.read_cache.overwritten(parts);
        self.media.write_many(parts)?;
        self.read_cache.moved(from.iter().copied().zip(to.iter().copied()));
        Ok(())
    }

    /// Tells all waiters what is new.
    pub(crate) fn publish(&self, state: &State) {
        self.note_space(state);
        self.progress.send_modify(|progress| {
            *progress = Progress {
                durable_sequence: state.log.durable_sequence(),
                durable_generation: state.durable_generation,
                poisoned: state.poisoned,
                medium_full: state.medium_full,
                log_stalled: state.medium_full && (state.log.is_stalled() || self.behind.is_stuck()),
                tick: progress.tick + 1,
            }
        });
    }

    /// What can be seen without the lock.
    fn note_space(&self, state: &State) {
        self.behind.pause(state.medium_full || state.poisoned);
        self.space_level.store(state.space_level(self.space_level()) as u8, Ordering::Relaxed);
        self.is_admitting.store(!state.poisoned && !state.is_crowded() && !state.log.is_behind(), Ordering::Relaxed);
    }

    /// Whether changes are taken without waiting, as of the last change.
    pub(crate) fn is_admitting(&self) -> bool {
        self.is_admitting.load(Ordering::Relaxed)
    }

    /// How much room there is, as of the last change.
    pub(crate) fn space_level(&self) -> SpaceLevel {
        match self.space_level.load(Ordering::Relaxed) {
            0 => SpaceLevel::Plenty,
            1 => SpaceLevel::Low,
            _ => SpaceLevel::Full,
        }
    }

    /// To wait for news. Take it before looking at the state.
    pub(crate) fn watch(&self) -> watch::Receiver<Progress> {
        self.progress.subscribe()
    }

    /// Refuses all changes from now on.
    pub(crate) fn poison(&self, why: &io::Error) {
        tracing::error!(error = %why, "the medium failed; the pool is read-only until it is reopened");
        let mut state = self.state.lock();
        state.poisoned = true;
        self.publish(&state);
        self.log_wake.notify_all();
        self.house_wake.notify_all();
    }

    /// Asks for a checkpoint of everything up to now; its number. One that waits for the medium to have space tries again.
    pub(crate) fn want_checkpoint(&self, state: &mut State) -> u64 {
        state.wanted_generation = state.wanted_generation.max(state.generation);
        self.has_room_again(state);
        state.wanted_generation
    }

    /// The medium may have room again: whatever waits for that is tried again.
    pub(crate) fn has_room_again(&self, state: &mut State) {
        state.room_asked += 1;
        if std::mem::take(&mut state.medium_full) {
            self.publish(state);
        }
        self.house_wake.notify_all();
    }

    /// Lets what deleted LUNs have be given back without pauses, until the next step has ended; false if there is nothing.
    pub(crate) fn hurry_reclaim(&self, state: &mut State) -> bool {
        let is_reclaiming = state.running && !state.poisoned && state.reclaimable().is_some();
        if is_reclaiming && !std::mem::replace(&mut state.space_wanted, true) {
            self.house_wake.notify_one();
        }
        is_reclaiming
    }

    /// Asks for everything up to now to be made durable by the log; the sequence number to wait for.
    pub(crate) fn want_durable(&self, state: &mut State) -> u64 {
        let sequence = state.log.want_all();
        if state.medium_full {
            // The log may need the checkpoint that waits: it is tried again.
            self.want_checkpoint(state);
        }
        self.log_wake.notify_one();
        sequence
    }

    /// To be called after each change, before the lock is released.
    pub(crate) fn changed(&self, state: &mut State) {
        self.note_space(state);
        if state.pages.cache.dirty_count() >= state.limits.dirty_soft || state.log.is_filling() {
            self.want_checkpoint(state);
        }
        state.pages.cache.trim();
    }

    /// Waits until a batch is durable. If log and medium are both full, it says so: what was to be durable is done, and will be when
    /// there is space.
    pub(crate) async fn durable(&self, sequence: u64) -> Result<(), Refusal> {
        let mut watch = self.watch();
        let done = |now: &Progress| now.durable_sequence >= sequence;
        match watch.wait_for(|now| done(now) || now.poisoned || now.log_stalled).await {
            Ok(now) if done(&now) => Ok(()),
            Ok(now) if now.log_stalled => Err(Refusal::MediumFull),
            _ => Err(Refusal::Poisoned),
        }
    }

    /// Waits until a checkpoint is durable.
    pub(crate) async fn checkpointed(&self, generation: u64) -> Result<(), Refusal> {
        let mut watch = self.watch();
        let done = |now: &Progress| now.durable_generation >= generation;
        match watch.wait_for(|now| done(now) || now.poisoned || now.medium_full).await {
            Ok(now) if done(&now) => Ok(()),
            Ok(now) if now.medium_full => Err(Refusal::MediumFull),
            _ => Err(Refusal::Poisoned),
        }
    }

    /// Waits until the pool takes changes: not too much of it waits to be written already.
    pub(crate) async fn admitted(&self) -> Result<(), Refusal> {
        // What has become crowded a moment ago may get a little more so; a poisoned pool is seen again when the map is changed.
        if self.is_admitting() {
            return Ok(());
        }
        let mut watch = None;
        loop {
            {
                let mut state = self.state.lock();
                let crowded = state.is_crowded();
                if state.poisoned {
                    return Err(Refusal::Poisoned);
                }
                if !crowded && !state.log.is_behind() {
                    return Ok(());
                }
                let medium_full = state.medium_full;
                if crowded || medium_full {
                    self.want_checkpoint(&mut state);
                }
                if medium_full {
                    return Err(Refusal::MediumFull);
                }
            }
            // It looks again after it has subscribed, so that no news between look and wait is missed.
            match &mut watch {
                None => watch = Some(self.watch()),
                Some(watch) => watch.changed().await.map_err(|_| Refusal::Poisoned)?,
            }
        }
    }

    /// Lets freed blocks come back that no reader uses any more, and arranges that the last reader of others says so. Others get the
    /// lock in between.
    pub(crate) fn drain_readers(&self, state: &mut MutexGuard<'_, State>) {
        // Readers let go and then look at the flag; here the flag is set before it is looked who has let go.
        self.readers_awaited.store(true, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        while state.pages.space.drain() {
            self.publish(state);
            MutexGuard::bump(state);
        }
        self.readers_awaited.store(state.pages.space.is_draining(), Ordering::SeqCst);
    }

    /// Runs an operation under the lock as soon as the pages that it needs are in memory. The operation adds faults for those
    /// that are not, changes nothing then, and answers `None`.
    pub(crate) fn with_pages<T>(
        &self,
        mut operation: impl FnMut(&mut State, &mut Faults) -> Option<T>,
    ) -> Result<T, PageError> {
        // Held until the end: what is looked up stays what it is, and what was read stays in memory.
        let mut pinned: Vec<Arc<Page>> = Vec::new();
        let _reader = self.reader(0);
        loop {
            let mut faults = Faults::new();
            {
                let mut state = self.state.lock();
                if let Some(result) = operation(&mut state, &mut faults) {
                    // The pins go first, so that what was only needed here can be evicted.
                    drop(pinned);
                    self.changed(&mut state);
                    return Ok(result);
                }
            }
            debug_assert!(!faults.is_empty(), "an operation that waits says for what");
            for fault in faults {
                let page = Arc::new(self.read_page(&fault)?);
                let mut state = self.state.lock();
                // A page of counts may have changed its place meanwhile, in which case the next round reads it there.
                let stale = match fault.kind {
                    PageKind::Counts { region } => At::Once(state.pages.space.counts_entry(region)) != fault.at,
                    PageKind::Map { .. } => false,
                };
                if !stale {
                    state.pages.cache.insert_clean(fault.key, fault.kind, Arc::clone(&page));
                    pinned.push(page);
                }
            }
        }
    }

    /// [`with_pages`](Self::with_pages) for those who must not wait: `None` if pages are not in memory.
    pub(crate) fn with_pages_now<T>(&self, operation: impl FnOnce(&mut State, &mut Faults) -> Option<T>) -> Option<T> {
        let _reader = self.reader(0);
        let mut state = self.state.lock();
        let result = operation(&mut state, &mut Faults::new())?;
        self.changed(&mut state);
        Some(result)
    }

    /// Reads a page from its first copy, or else from its second, which is then written over the first.
    ///
    /// The caller is a reader since before it looked the page up, so that neither block can have become something else.
    fn read_page(&self, fault: &Fault) -> Result<Page, PageError> {
        let first = match fault.at {
            At::Once(entry) => return self.read_copy(fault, entry),
            At::Nowhere => return Err(PageError::Damaged { block: fault.key }),
            At::Twice(page) => self.read_copy(fault, page.first()).map_err(|error| (error, page)),
        };
        first.or_else(|(error, reference)| {
            let page = self.read_copy(fault, reference.second()).map_err(|_| error)?;
            self.heal(reference.first(), &page);
            Ok(page)
        })
    }

    fn read_copy(&self, fault: &Fault, entry: Entry) -> Result<Page, PageError> {
        let block = entry.block();
        let mut page = Page::zeroed();
        media::read_page(&*self.media, block, &mut page).map_err(|error| PageError::Unreadable { block, error })?;
        if entry.matches(page.bytes()) && self.is_plausible(fault, &page) {
            Ok(page)
        } else {
            Err(PageError::Damaged { block })
        }
    }

    /// Writes a damaged copy of a page again.
    pub(crate) fn heal(&self, entry: Entry, page: &Page) {
        let block = entry.block();
        if self.state.lock().poisoned {
            return;
        }
        match media::write_page(&*self.media, block, page) {
            Ok(()) => {
                tracing::warn!(block, "a copy of a map page was damaged, and is written again from the other one");
                self.healed_pages.fetch_add(1, Ordering::Relaxed);
            }
            Err(error) => tracing::error!(block, %error, "a damaged copy of a map page cannot be written again"),
        }
    }

    /// Whether all entries of a page refer to blocks that can be referred to. A page that passes its checksum and not this was
    /// made by something else than this code.
    fn is_plausible(&self, fault: &Fault, page: &Page) -> bool {
        let PageKind::Map { level, .. } = fault.kind else { return true };
        let geometry = *self.state.lock().pages.space.geometry();
        page.is_plausible_map(level, |block| geometry.place(block).is_some())
    }

    /// What a reader of a LUN holds from before it looks something up until it has read that.
    pub(crate) fn reader(&self, slot: LunSlot) -> Reader<'_> {
        Reader { epoch: Some(self.epochs.enter(slot)), shared: self }
    }
}

/// Keeps blocks that were looked up from being taken for something else. See [`ReadEpoch`].
pub(crate) struct Reader<'a> {
    epoch: Option<Arc<ReadEpoch>>,
    shared: &'a Shared,
}

impl Drop for Reader<'_> {
    fn drop(&mut self) {
        self.epoch = None;
        fence(Ordering::SeqCst);
        if self.shared.readers_awaited.load(Ordering::SeqCst) {
            let _state = self.shared.state.lock();
            self.shared.house_wake.notify_one();
        }
    }
}
