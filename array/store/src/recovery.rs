//! Opening: the newest valid superblock, then what the log holds behind it.

use lunshadow_lun::AlignedBuffer;

use crate::cache::Cache;
use crate::changes::{LeafPlace, Updated};
use crate::checkpoint::{self, Roots};
use crate::geometry::{Geometry, Places};
use crate::log::{BatchHead, Log, LogPlace};
use crate::log_reader::LogReader;
use crate::lun_record::tree_for;
use crate::lun_table::{Life, LunEntry, LunTable};
use crate::map::Pages;
use crate::media::{self, Media};
use crate::page::{BLOCK_BYTES, BLOCK_LEN, Entry, FANOUT, FANOUT_LEN, Page, PageRef, check_of, index};
use crate::pool::OpenError;
use crate::record::{LunSlot, Record, RevertedPair, SnapshotMember};
use crate::regions::Regions;
use crate::sets::Sets;
use crate::space::{Faults, Space};
use crate::state::{Limits, PageError, Shared, State};
use crate::superblock::{FORMAT_VERSION, KNOWN_FEATURES, Slot, Superblock};
use crate::table_growth::Provided;
use crate::table_index::{self, TableIndex};
use crate::tail::{Tail, inherit};

/// Brings a pool back to what was last made durable, and makes a checkpoint of it.
pub(crate) fn open(
    media: Box<dyn Media>,
    (cache_bytes, read_cache_bytes): (u64, u64),
    tail: Option<&Tail>,
) -> Result<(Shared, Roots), OpenError> {
    let Newest { superblock, geometry, all_whole } = newest_superblock(&*media)?;
    if let Some(tail) = tail {
        inherit::take_over(tail, &*media, &superblock, &geometry)?;
    }
    let mut luns = LunTable::default();
    load_table(&*media, &superblock, &geometry, &mut luns)?;
    let (level_1, regions) = load_regions(&*media, &superblock, &geometry)?;
    let place = superblock.log_place();
    let used_count = superblock.used_blocks.get();
    let map_count = superblock.map_blocks.get();
    if used_count > geometry.usable_blocks() || map_count > used_count || place.sequence == 0 {
        return Err(OpenError::DamagedSuperblocks);
    }
    let limits = Limits::new(cache_bytes, &geometry);
    let space = Space::new(geometry, regions, used_count, map_count).with_read_cache(read_cache_bytes);
    let state = State {
        pages: Pages::new(Cache::new(limits.cache_pages), space),
        luns,
        log: Log::new(superblock.pool_id.get(), &geometry, place),
        sets: Sets::default(),
        generation: superblock.generation.get() + 1,
        durable_generation: superblock.generation.get(),
        wanted_generation: 0,
        next_geometry: None,
        scrub_cursor: superblock.scrub_cursor(),
        scrubbing: false,
        limits,
        poisoned: false,
        stuck: std::collections::BTreeSet::new(),
        medium_full: false,
        space_wanted: false,
        room_asked: 0,
        running: false,
    };
    let shared = Shared::new(media, state);
    let mut roots = Roots { superblock, regions: level_1 };
    let mut log = LogReader::new(&*shared.media, geometry);
    let batches = find_batches(&shared, &mut log, &roots.superblock, place)?;
    replay(&shared, &mut log, &mut roots, &batches)?;
    shared.state.lock().unpin_all();
    // A pool that is new gets the first page of its table, so that what it needs for itself does not depend on whether it had LUNs.
    shared.with_pages(|state, faults| state.provide_slot(0, faults)).map_err(unreadable)?;
    checkpoint::run(&shared, &mut roots, Some(place.epoch + 1)).map_err(OpenError::Io)?;
    if !all_whole {
        // One more, for the other slot, so that there are two copies of both again.
        checkpoint::run(&shared, &mut roots, None).map_err(OpenError::Io)?;
    }
    Ok((shared, roots))
}

/// The superblock that counts.
pub(crate) struct Newest {
    pub(crate) superblock: Superblock,
    pub(crate) geometry: Geometry,
    /// All copies of both slots are whole.
    all_whole: bool,
}

pub(crate) fn newest_superblock(media: &dyn Media) -> Result<Newest, OpenError> {
    let len_bytes = media.len_bytes().map_err(OpenError::Io)?;
    let mut newest: Option<Superblock> = None;
    let (mut valid_slots, mut damaged, mut copies_whole) = ([false; 2], false, 0);
    let mut unreadable = None;
    for block in [0, 1].into_iter().flat_map(Geometry::superblock) {
        let mut bytes = AlignedBuffer::zeroed(BLOCK_BYTES);
        if len_bytes >= (block + 1) * BLOCK_LEN {
            // Like one that is damaged: there are others.
            if let Err(error) = media.read_at(block * BLOCK_LEN, &mut bytes) {
                tracing::warn!(block, %error, "a copy of a superblock cannot be read");
                unreadable = Some(error);
                continue;
            }
        }
        match Superblock::parse(&bytes) {
            Slot::Valid(superblock) if Geometry::superblock(superblock.generation.get()).contains(&block) => {
                valid_slots[index(superblock.generation.get() % 2)] = true;
                copies_whole += 1;
                if newest.as_ref().is_none_or(|other| other.generation.get() < superblock.generation.get()) {
                    newest = Some(*superblock);
                }
            }
            Slot::Valid(_) | Slot::Damaged => damaged = true,
            Slot::Foreign => {}
        }
    }
    let Some(superblock) = newest else {
        let absent = if damaged { OpenError::DamagedSuperblocks } else { OpenError::NotAPool };
        return Err(unreadable.map_or(absent, OpenError::Io));
    };
    let (version, features) = (superblock.version.get(), superblock.features.get());
    if version != FORMAT_VERSION {
        return Err(OpenError::UnsupportedVersion { found: version, supported: FORMAT_VERSION });
    }
    if features & !KNOWN_FEATURES != 0 {
        return Err(OpenError::UnknownFeatures { bits: features & !KNOWN_FEATURES });
    }
    let geometry = Geometry::new(superblock.total_blocks.get(), superblock.log_blocks.get());
    let geometry = geometry.filter(|geometry| geometry.total_blocks() * BLOCK_LEN <= len_bytes);
    let geometry = geometry.filter(|_| superblock.can_count_on()).ok_or(OpenError::DamagedSuperblocks)?;
    if valid_slots != [true; 2] {
        refuse_if_older(media, &superblock, &geometry)?;
    }
    Ok(Newest { superblock, geometry, all_whole: copies_whole == 4 })
}

/// With only one slot readable, the other one was either torn by a crash while it was written, which is harmless, or it was
/// the newest and is damaged now. In the latter case the log can hold batches that were written after it; without them, going on would
/// show an old state.
fn refuse_if_older(media: &dyn Media, superblock: &Superblock, geometry: &Geometry) -> Result<(), OpenError> {
    let is_later = |head: &BatchHead| head.generation.get() > superblock.generation.get();
    if LogReader::new(media, *geometry).has_batch(superblock.pool_id.get(), is_later)? {
        return Err(OpenError::DamagedSuperblocks);
    }
    Ok(())
}

const TABLE: &str = "table of LUNs";

/// All pages of the table of LUNs.
fn load_table(
    media: &dyn Media,
    superblock: &Superblock,
    geometry: &Geometry,
    luns: &mut LunTable,
) -> Result<(), OpenError> {
    let damaged = |block| OpenError::Damaged { what: TABLE, block };
    let sites_of = |page: &Page, block| table_index::decode(page, geometry).ok_or_else(|| damaged(block));
    let root = Entry::from_raw(superblock.table_index.get());
    let page = read_placed(media, root, Geometry::table_index(), TABLE)?;
    let lower = page.map_or(Ok(Vec::new()), |page| sites_of(&page, root.block()))?;
    let mut index = TableIndex::of_root(root, lower);
    for site in index.lower().to_vec() {
        let page = read_copies(media, site.now().copies(), TABLE)?;
        if !index.push(sites_of(&page, site.now().block())?, geometry) {
            return Err(damaged(site.now().block()));
        }
    }
    let is_root = |root: PageRef| root.is_plausible(|block| geometry.place(block).is_some());
    let pages: Vec<PageRef> = index.pages().iter().map(|site| site.now()).collect();
    luns.load_index(index);
    for place in pages {
        let page = read_copies(media, place.copies(), TABLE)?;
        luns.load_page(Some(&page), is_root).map_err(|_| damaged(place.block()))?;
    }
    luns.loaded();
    Ok(())
}

/// The level-1 pages of the index of regions, and what they refer to.
fn load_regions(
    media: &dyn Media,
    superblock: &Superblock,
    geometry: &Geometry,
) -> Result<(Vec<Entry>, Regions), OpenError> {
    let what = "index of regions";
    let (mut level_1, mut regions) = (Vec::new(), Regions::new(*geometry));
    let level_1_count = geometry.region_count().div_ceil(FANOUT_LEN);
    for number in 0..level_1_count.div_ceil(FANOUT_LEN) {
        let entry = Entry::from_raw(superblock.region_roots[index(number)].get());
        let count = FANOUT_LEN.min(level_1_count - number * FANOUT_LEN);
        level_1.extend(read_index(media, entry, geometry.index_page(2, number), what, count)?);
    }
    for (number, entry) in (0..).zip(&level_1) {
        let count = FANOUT_LEN.min(geometry.region_count() - number * FANOUT_LEN);
        for counts in read_index(media, *entry, geometry.index_page(1, number), what, count)? {
            if !regions.push(counts) {
                return Err(OpenError::Damaged { what, block: counts.block() });
            }
        }
    }
    Ok((level_1, regions))
}

/// Reads a page that has two places. `None` if there is none.
fn read_placed(media: &dyn Media, entry: Entry, places: Places, what: &'static str) -> Result<Option<Page>, OpenError> {
    if entry.is_unmapped() {
        return Ok(None);
    }
    let copies = places.places.contains(&entry.block()).then(|| places.copy_of(entry.block()));
    let copy = copies.ok_or(OpenError::Damaged { what, block: entry.block() })?;
    let copies = copy.into_iter().map(|copy| Entry::new(copy, entry.check()));
    read_copies(media, std::iter::once(entry).chain(copies), what).map(Some)
}

/// Reads a page from the first copy that is whole.
fn read_copies(
    media: &dyn Media,
    copies: impl IntoIterator<Item = Entry>,
    what: &'static str,
) -> Result<Page, OpenError> {
    let mut page = Page::zeroed();
    let mut failure = None;
    for entry in copies {
        match media::read_page(media, entry.block(), &mut page) {
            // A damaged first copy stays as it is until the next change of the page is written to the other place.
            Ok(()) if entry.matches(page.bytes()) => return Ok(page),
            Ok(()) => failure = failure.or(Some(OpenError::Damaged { what, block: entry.block() })),
            Err(error) => failure = Some(OpenError::Io(error)),
        }
    }
    Err(failure.expect("there is a copy at least"))
}

fn read_index(
    media: &dyn Media,
    entry: Entry,
    places: Places,
    what: &'static str,
    count: u64,
) -> Result<Vec<Entry>, OpenError> {
    let page = read_placed(media, entry, places, what)?;
    let entries = page.iter().flat_map(Page::entries).chain(std::iter::repeat(Entry::UNMAPPED));
    debug_assert!(count <= FANOUT_LEN, "an index page has {FANOUT} entries");
    Ok(entries.take(index(count)).collect())
}

/// The batches behind the checkpoint, in order. What they refer to is held, so that replaying takes none of it.
fn find_batches(
    shared: &Shared,
    log: &mut LogReader<'_>,
    superblock: &Superblock,
    mut place: LogPlace,
) -> Result<Vec<BatchHead>, OpenError> {
    let geometry = *log.geometry();
    let mut found = log.batches_from(place, superblock.pool_id.get())?;
    if found.iter().any(|head| head.generation.get() > superblock.generation.get()) {
        return Err(OpenError::DamagedSuperblocks);
    }
    found.iter().for_each(|head| place = place.behind(head));
    // Each batch was written after the one before it had become durable. So if there is one behind the place where the log seems to end,
    // the one that is missing there is damaged, and going on would lose what was durable.
    if log.has_batch(superblock.pool_id.get(), |head| head.follows(&place))? {
        return Err(OpenError::Damaged { what: "log", block: geometry.log_offset_bytes(place.position) / BLOCK_LEN });
    }
    // For the same reason only the last can lack its data.
    if let Some(last) = found.last()
        && !has_its_data(&*shared.media, &geometry, &log.records(last)?)?
    {
        found.pop();
    }
    for batch in &found {
        for record in log.records(batch)? {
            if !hold_written(shared, &geometry, &record) {
                return Err(log.damaged_at(batch));
            }
        }
    }
    Ok(found)
}

/// Whether the data that the records refer to is there.
pub(crate) fn has_its_data(media: &dyn Media, geometry: &Geometry, records: &[Record]) -> Result<bool, OpenError> {
    for record in records {
        let Record::Write { block, checks, .. } = record else { continue };
        // A record stays within a leaf, and so does what is read at once.
        if checks.len() > FANOUT || (*block..).take(checks.len()).any(|block| geometry.place(block).is_none()) {
            return Ok(false);
        }
        let mut data = AlignedBuffer::of_len(checks.len() * BLOCK_BYTES);
        media.read_at(block * BLOCK_LEN, &mut data).map_err(OpenError::Io)?;
        if data.chunks_exact(BLOCK_BYTES).zip(checks).any(|(data, check)| check_of(data) != *check) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Holds the blocks that a record has taken. False if that cannot be: a block is taken once between two checkpoints, and none lies outside
/// of the data area.
fn hold_written(shared: &Shared, geometry: &Geometry, record: &Record) -> bool {
    if let Record::Share { block, checks, .. } = record {
        return (*block..).take(checks.len()).all(|block| geometry.place(block).is_some());
    }
    let Record::Write { block, checks, .. } = record else { return true };
    let mut state = shared.state.lock();
    let mut blocks = (*block..).take(checks.len());
    blocks.all(|block| geometry.place(block).is_some() && state.pages.space.hold(block))
}

fn replay(shared: &Shared, log: &mut LogReader<'_>, roots: &mut Roots, batches: &[BatchHead]) -> Result<(), OpenError> {
    for batch in batches {
        for record in log.records(batch)? {
            redo(shared, &record)?.ok_or_else(|| log.damaged_at(batch))?;
        }
        let crowded = {
            let mut state = shared.state.lock();
            state.log.skip(batch);
            state.pages.cache.dirty_count() >= state.limits.dirty_soft
        };
        if crowded {
            checkpoint::run(shared, roots, None).map_err(OpenError::Io)?;
        }
    }
    Ok(())
}

/// Makes the change that a record describes. `None` if it cannot have been made.
fn redo(shared: &Shared, record: &Record) -> Result<Option<()>, OpenError> {
    if !provide_slots(shared, record)? {
        return Ok(None);
    }
    match record {
        Record::Write { lun, first, block, checks } => {
            let entries: Vec<Entry> = (*block..).zip(checks).map(|(block, check)| Entry::new(block, *check)).collect();
            redo_update(shared, *lun, *first, &entries, State::update_map)
        }
        Record::Share { lun, first, block, checks } => {
            let entries: Vec<Entry> = (*block..).zip(checks).map(|(block, check)| Entry::new(block, *check)).collect();
            redo_update(shared, *lun, *first, &entries, State::share_map)
        }
        Record::Discard { lun, first, count } => {
            let in_leaf = index(u64::from(*count)) <= FANOUT;
            let entries = vec![Entry::UNMAPPED; if in_leaf { index(u64::from(*count)) } else { 0 }];
            if in_leaf { redo_update(shared, *lun, *first, &entries, State::update_map) } else { Ok(None) }
        }
        Record::Create { lun, id, length } => {
            let mut state = shared.state.lock();
            let possible = state.luns.is_vacant(*lun) && state.luns.find(*id).is_none();
            Ok((possible && state.create_lun(*lun, *id, lunshadow_lun::BlockCount(*length))).then_some(()))
        }
        Record::Delete { lun } => Ok(change_if(shared, *lun, LunEntry::is_readable, LunTable::delete)),
        Record::Snapshot { set, members } => {
            let captured = shared.with_pages(|state, faults| {
                if !members.iter().all(|member| can_capture(state, member)) {
                    return Some(None);
                }
                state.touch_capture(members.iter().map(|member| member.source), faults);
                if !faults.is_empty() {
                    return None;
                }
                state.capture(*set, members, Life::Live);
                Some(Some(()))
            });
            captured.map_err(unreadable)
        }
        Record::Pin { lun, pin } => redo_pin(shared, *lun, *pin),
        Record::Revert { pairs } => redo_revert(shared, pairs),
        Record::Grow { lun, length } => redo_grow(shared, *lun, lunshadow_lun::BlockCount(*length)),
        Record::Promote { lun } => Ok(change_if(shared, *lun, LunEntry::is_live, |luns, slot| {
            luns.promote(slot);
        })),
    }
}

/// Changes a LUN that a record may change.
fn change_if(
    shared: &Shared,
    slot: LunSlot,
    may: impl FnOnce(&LunEntry) -> bool,
    change: impl FnOnce(&mut LunTable, LunSlot),
) -> Option<()> {
    let mut state = shared.state.lock();
    let may = state.luns.get(slot).is_some_and(may);
    may.then(|| change(&mut state.luns, slot))
}

fn redo_pin(shared: &Shared, lun: LunSlot, pin: LunSlot) -> Result<Option<()>, OpenError> {
    let pinned = shared.with_pages(|state, faults| {
        let source = state.luns.get(lun).is_some_and(|lun| lun.is_readable());
        if !source || !state.luns.is_vacant(pin) {
            return Some(None);
        }
        state.touch_capture(std::iter::once(lun), faults);
        if !faults.is_empty() {
            return None;
        }
        state.pin(lun, pin);
        Some(Some(()))
    });
    pinned.map_err(unreadable)
}

fn redo_revert(shared: &Shared, pairs: &[RevertedPair]) -> Result<Option<()>, OpenError> {
    let reverted = shared.with_pages(|state, faults| {
        if !state.can_revert(pairs) {
            return Some(None);
        }
        state.touch_capture(pairs.iter().map(|pair| pair.from), faults);
        if !faults.is_empty() {
            return None;
        }
        state.revert(pairs);
        Some(Some(()))
    });
    reverted.map_err(unreadable)
}

fn redo_grow(shared: &Shared, lun: LunSlot, length: lunshadow_lun::BlockCount) -> Result<Option<()>, OpenError> {
    let grown = shared.with_pages(|state, faults| {
        let live = state.luns.get(lun).is_some_and(|lun| lun.is_live() && lun.length <= length);
        if !live || tree_for(length).is_none() {
            return Some(Updated::Full);
        }
        state.grow_lun(lun, length, faults)
    });
    Ok((grown.map_err(unreadable)? != Updated::Full).then_some(()))
}

/// Sees that the table has the slots that a record fills; it may not have come to them before the checkpoint. False if it cannot have them.
fn provide_slots(shared: &Shared, record: &Record) -> Result<bool, OpenError> {
    let slots: Vec<LunSlot> = match record {
        Record::Create { lun, .. } => vec![*lun],
        Record::Snapshot { members, .. } => members.iter().map(|member| member.shadow).collect(),
        Record::Revert { pairs } => pairs.iter().map(|pair| pair.old).collect(),
        Record::Pin { pin, .. } => vec![*pin],
        Record::Write { .. }
        | Record::Share { .. }
        | Record::Discard { .. }
        | Record::Delete { .. }
        | Record::Grow { .. }
        | Record::Promote { .. } => Vec::new(),
    };
    for slot in slots {
        let provided = shared.with_pages(|state, faults| state.provide_slot(slot, faults)).map_err(unreadable)?;
        if provided != Provided::Enough {
            return Ok(false);
        }
    }
    Ok(true)
}

fn can_capture(state: &State, member: &SnapshotMember) -> bool {
    state.luns.get(member.source).is_some_and(|lun| lun.is_live())
        && state.luns.is_vacant(member.shadow)
        && state.luns.find(member.shadow_id).is_none()
}

/// How entries of a leaf are set: as new blocks, or as blocks that others refer to.
type Setting = fn(&mut State, LunSlot, LeafPlace, &[Entry], &mut Faults) -> Option<Updated>;

fn redo_update(
    shared: &Shared,
    slot: LunSlot,
    first: u64,
    entries: &[Entry],
    set: Setting,
) -> Result<Option<()>, OpenError> {
    let place = LeafPlace::of(first);
    let updated = shared.with_pages(|state, faults| {
        let blocks = state.luns.get(slot).filter(|lun| lun.is_live()).map(|lun| lun.length.0.div_ceil(8));
        let in_lun = blocks.is_some_and(|blocks| index(first) + entries.len() <= index(blocks));
        if !in_lun || place.at + entries.len() > FANOUT {
            return Some(None);
        }
        set(state, slot, place, entries, faults).map(Some)
    });
    let updated = updated.map_err(unreadable)?;
    Ok(updated.filter(|updated| *updated != Updated::Full).map(drop))
}

fn unreadable(error: PageError) -> OpenError {
    match error {
        PageError::Damaged { block } => OpenError::Damaged { what: "map", block },
        PageError::Unreadable { error, .. } => OpenError::Io(error),
    }
}
