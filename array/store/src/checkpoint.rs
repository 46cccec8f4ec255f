//! Checkpoints: all that has changed goes to free places, then a superblock is written over the older of the two.
//!
//! While a checkpoint is written, requests go on: what they change belongs to the next one.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::Range;
use std::sync::Arc;

use lunshadow_lun::AlignedBuffer;
use zerocopy::little_endian::U64;

use crate::cache::{BlockMap, FrozenPage, PageKind};
use crate::geometry::{Geometry, Places};
use crate::log::LogPlace;
use crate::lun_record::encode_page;
use crate::lun_table::{FrozenTable, LunEntry};
use crate::media::WritePart;
use crate::page::{BLOCK_BYTES, BLOCK_LEN, CHILDREN, Entry, FANOUT, FANOUT_LEN, Page, PageRef, check_of, index};
use crate::scrub::ScrubCursor;
use crate::state::{Shared, State};
use crate::superblock::{KNOWN_FEATURES, Superblock};
use crate::table_index::FrozenIndex;

/// The roots of the metadata that only checkpoints change. They are as in the newest durable superblock.
pub(crate) struct Roots {
    pub(crate) superblock: Superblock,
    /// The level-1 pages of the index of regions.
    pub(crate) regions: Vec<Entry>,
}

/// How many pages are written at the same time.
const BATCH_PAGES: usize = 256;

/// What a checkpoint writes, as it was at one moment.
struct Frozen {
    generation: u64,
    pages: Vec<FrozenPage>,
    table: FrozenTable,
    log_start: LogPlace,
    used_count: u64,
    map_count: u64,
    geometry: Geometry,
    /// The size that the pool has from this checkpoint on, if it is another one.
    next_geometry: Option<Geometry>,
    scrub_cursor: Option<ScrubCursor>,
    /// The entries of all regions whose level-1 page changes.
    region_entries: BTreeMap<u64, Vec<Entry>>,
}

/// What a checkpoint writes, with all check values.
struct Sealed {
    writes: BTreeMap<u64, Arc<Page>>,
    checks: BlockMap<u32>,
    inner: Vec<(FrozenPage, Arc<Page>)>,
    counts: Vec<(u64, Entry)>,
    /// The pages of the table of LUNs.
    table_pages: Vec<u64>,
    table_index: FrozenIndex,
}

/// Writes a checkpoint and waits until it is durable. The caller makes sure that there is one at a time.
///
/// # Errors
/// What the medium answers; the pool is to be poisoned then. A full medium is waited for instead, until the pool stops.
pub(crate) fn run(shared: &Shared, roots: &mut Roots, new_epoch: Option<u64>) -> io::Result<()> {
    let frozen = freeze(&mut shared.state.lock(), new_epoch);
    let generation = frozen.generation;
    let log_start = frozen.log_start;
    let next_geometry = frozen.next_geometry;
    // If what follows fails, the pool is poisoned, or not opened: nobody uses the roots again.
    let sealed = seal(frozen, roots);
    write_pages(shared, &sealed.writes)?;
    shared.sync()?;
    roots.superblock.clone().write(&*shared.media)?;
    shared.sync()?;
    let mut state = shared.state.lock();
    thaw(&mut state, sealed, generation, &log_start);
    if let Some(geometry) = next_geometry {
        state.pages.space.enlarge(geometry);
        state.limits = state.limits.resized(&geometry);
        let cache_pages = state.limits.cache_pages;
        state.pages.cache.set_limit(cache_pages);
        shared.views.set_cache_pages(cache_pages);
    }
    state.medium_full = false;
    shared.drain_readers(&mut state);
    shared.publish(&state);
    shared.log_wake.notify_all();
    Ok(())
}

fn freeze(state: &mut State, new_epoch: Option<u64>) -> Frozen {
    if let Some(epoch) = new_epoch {
        state.log.begin_epoch(epoch);
    }
    let generation = state.generation;
    state.generation += 1;
    let pages = state.pages.cache.freeze();
    let space = &mut state.pages.space;
    space.freeze(generation);
    let mut region_entries = BTreeMap::new();
    for frozen in &pages {
        if let PageKind::Counts { region } = frozen.kind {
            let first = region / FANOUT_LEN * FANOUT_LEN;
            let end = (first + FANOUT_LEN).min(space.geometry().region_count());
            region_entries
                .entry(region / FANOUT_LEN)
                .or_insert_with(|| (first..end).map(|region| space.counts_entry(region)).collect());
        }
    }
    Frozen {
        generation,
        pages,
        used_count: space.used_count(),
        map_count: space.map_count(),
        geometry: *space.geometry(),
        next_geometry: state.next_geometry.take(),
        scrub_cursor: state.scrub_cursor,
        region_entries,
        table: state.luns.freeze(),
        log_start: state.log.freeze(),
    }
}

/// Fills in the check values, from the data upwards, up to the roots.
fn seal(frozen: Frozen, roots: &mut Roots) -> Sealed {
    let Frozen { generation, pages, table, log_start, used_count, map_count, geometry, .. } = frozen;
    let (next_geometry, scrub_cursor) = (frozen.next_geometry, frozen.scrub_cursor);
    let mut region_entries = frozen.region_entries;
    let mut sealed = Sealed {
        writes: BTreeMap::new(),
        checks: BlockMap::default(),
        inner: Vec::new(),
        counts: Vec::new(),
        table_pages: table.pages.iter().map(|(number, _)| *number).collect(),
        table_index: table.index,
    };
    let (mut maps, counts): (Vec<_>, Vec<_>) =
        pages.into_iter().partition(|page| matches!(page.kind, PageKind::Map { .. }));
    maps.sort_by_key(|page| if let PageKind::Map { level, .. } = page.kind { level } else { 0 });
    for page in maps {
        let PageKind::Map { level, copy } = page.kind else { continue };
        let whole = if level == 0 {
            Arc::clone(&page.page)
        } else {
            let mut copy = Page::clone(&page.page);
            fill_checks(&mut copy, &sealed.checks);
            Arc::new(copy)
        };
        sealed.checks.insert(page.key, check_of(whole.bytes()));
        sealed.writes.insert(page.key, Arc::clone(&whole));
        sealed.writes.insert(copy, Arc::clone(&whole));
        if level > 0 {
            sealed.inner.push((page, whole));
        }
    }
    for page in counts {
        let PageKind::Counts { region } = page.kind else { continue };
        let entries = region_entries.get_mut(&(region / FANOUT_LEN)).expect("collected for all pages of counts");
        let old = entries[index(region % FANOUT_LEN)];
        let new = sealed.place(geometry.count_page(region), old, page.page);
        entries[index(region % FANOUT_LEN)] = new;
        sealed.counts.push((region, new));
    }
    seal_regions(&mut sealed, roots, region_entries, &geometry);
    seal_table(&mut sealed, table.pages);
    let superblock = &mut roots.superblock;
    superblock.table_index = sealed.table_index.root().raw().into();
    superblock.generation = generation.into();
    superblock.features = KNOWN_FEATURES.into();
    superblock.epoch = log_start.epoch.into();
    superblock.log_sequence = log_start.sequence.into();
    superblock.log_position = log_start.position.into();
    superblock.used_blocks = used_count.into();
    superblock.map_blocks = map_count.into();
    superblock.set_scrub_cursor(scrub_cursor);
    if let Some(geometry) = next_geometry {
        superblock.total_blocks = geometry.total_blocks().into();
        roots.regions.resize(index(geometry.region_count().div_ceil(FANOUT_LEN)), Entry::UNMAPPED);
    }
    sealed
}

fn seal_regions(sealed: &mut Sealed, next: &mut Roots, changed: BTreeMap<u64, Vec<Entry>>, geometry: &Geometry) {
    let mut upper = BTreeSet::new();
    for (number, entries) in changed {
        upper.insert(number / FANOUT_LEN);
        let old = next.regions[index(number)];
        next.regions[index(number)] = sealed.place(geometry.index_page(1, number), old, page_of(&entries));
    }
    for number in upper {
        let first = index(number * FANOUT_LEN);
        let end = (first + FANOUT).min(next.regions.len());
        let root = &mut next.superblock.region_roots[index(number)];
        let page = page_of(&next.regions[first..end]);
        *root = U64::new(sealed.place(geometry.index_page(2, number), Entry::from_raw(root.get()), page).raw());
    }
}

/// Writes the changed pages of the table, those of its index that lead to them, and the root.
fn seal_table(sealed: &mut Sealed, changed: Vec<(u64, Vec<Option<LunEntry>>)>) {
    if changed.is_empty() {
        return;
    }
    for (number, mut luns) in changed {
        for lun in luns.iter_mut().flatten() {
            fill_check(&mut lun.tree.root, &sealed.checks);
        }
        let page = encode_page(&luns);
        let place = sealed.table_index.turn_page(number, check_of(page.bytes()));
        sealed.place_twice(place, Arc::new(page));
    }
    for (number, page) in sealed.table_index.lower_pages() {
        let place = sealed.table_index.turn_lower(number, check_of(page.bytes()));
        sealed.place_twice(place, Arc::new(page));
    }
    let (old, page) = (sealed.table_index.root(), Arc::new(sealed.table_index.root_page()));
    let new = sealed.place(Geometry::table_index(), old, page);
    sealed.table_index.set_root(new);
}

fn page_of(entries: &[Entry]) -> Arc<Page> {
    let mut page = Page::zeroed();
    for (at, entry) in entries.iter().enumerate() {
        page.set_entry(at, *entry);
    }
    Arc::new(page)
}

impl Sealed {
    /// Puts a page to its two places.
    fn place_twice(&mut self, place: PageRef, page: Arc<Page>) {
        self.writes.insert(place.copy(), Arc::clone(&page));
        self.writes.insert(place.block(), page);
    }

    /// Puts a page that has two places into the one that the durable checkpoint does not use.
    fn place(&mut self, places: Places, old: Entry, page: Arc<Page>) -> Entry {
        let block = places.other(old.block());
        let entry = Entry::new(block, check_of(page.bytes()));
        if let Some(copy) = places.copy_of(block) {
            self.writes.insert(copy, Arc::clone(&page));
        }
        self.writes.insert(block, page);
        entry
    }
}

fn fill_check(page: &mut PageRef, checks: &BlockMap<u32>) {
    if let Some(check) = checks.get(&page.block()) {
        *page = page.sealed(*check);
    }
}

fn fill_checks(page: &mut Page, checks: &BlockMap<u32>) {
    for at in 0..CHILDREN {
        let mut child = page.child(at);
        fill_check(&mut child, checks);
        page.set_child(at, child);
    }
}

/// Writes the pages, runs of neighbours as one part, and many parts at the same time.
fn write_pages(shared: &Shared, writes: &BTreeMap<u64, Arc<Page>>) -> io::Result<()> {
    let mut batch = AlignedBuffer::of_len(BATCH_PAGES * BLOCK_BYTES);
    let mut pages = writes.iter().peekable();
    while pages.peek().is_some() {
        let mut runs: Vec<(u64, Range<usize>)> = Vec::new();
        for (at, (block, page)) in (0..).step_by(BLOCK_BYTES).zip(pages.by_ref().take(BATCH_PAGES)) {
            batch[at..at + BLOCK_BYTES].copy_from_slice(page.bytes());
            match runs.last_mut() {
                Some((start, run)) if *start + (run.len() / BLOCK_BYTES) as u64 == *block => run.end = at + BLOCK_BYTES,
                _ => runs.push((*block, at..at + BLOCK_BYTES)),
            }
        }
        let part = |(start, run): (u64, Range<usize>)| WritePart { offset_bytes: start * BLOCK_LEN, data: &batch[run] };
        write_parts(shared, &runs.into_iter().map(part).collect::<Vec<_>>())?;
    }
    Ok(())
}

fn write_parts(shared: &Shared, parts: &[WritePart<'_>]) -> io::Result<()> {
    let mut asked = 0;
    while let Err(error) = shared.media.write_many(parts) {
        if !shared.waits_for_room(&error, &mut asked) {
            return Err(error);
        }
    }
    Ok(())
}

/// Everything is durable: memory learns the check values, and freed blocks come back.
fn thaw(state: &mut State, sealed: Sealed, generation: u64, log_start: &LogPlace) {
    let Sealed { checks, inner, counts, table_pages, table_index, .. } = sealed;
    for (frozen, whole) in inner {
        state.pages.cache.replace_sealed(frozen.key, &frozen.page, whole);
    }
    // Pages that were copied from the frozen ones meanwhile refer to frozen pages as well.
    state.pages.cache.for_each_dirty_inner(|page| fill_checks(page, &checks));
    state.luns.thaw(&table_pages, table_index, |root| fill_check(root, &checks));
    for (region, entry) in counts {
        state.pages.space.set_counts_entry(region, entry);
    }
    state.pages.cache.thaw();
    state.pages.space.thaw();
    state.log.thaw(log_start, generation);
    state.durable_generation = generation;
}
