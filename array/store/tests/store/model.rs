//! A pool beside its model: LUNs are maps from sectors to stamps, and a snapshot is a clone of a map.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use lunshadow_lun::{
    BlockCount, Lba, LunHandle, LunId, LunOrigin, Outcome, Pool as _, RevertPair, ShadowMember, ShadowSetId, finish_up,
};
use lunshadow_store::{StoreConfig, StorePool};

use crate::sim_media::SimMedia;

/// LUNs of these lengths have maps of one, two and three levels. The first ends within a physical block.
pub(crate) const LENGTHS: [u64; 3] = [8 * 40 + 3, 8 * 5000, 8 * (512 * 256 + 30)];
/// The physical blocks that are used of a LUN: where pages of its map meet.
const WINDOWS: [Range<u64>; 4] = [0..14, 506..518, 4990..5000, 512 * 256 - 6..512 * 256 + 30];
/// How many LUNs a history has at most.
const LUNS_MAX: usize = 12;
/// How many contents are kept at a time.
const PINS_MAX: usize = 3;

/// What a LUN holds: the mark of each sector that is not zero.
pub(crate) type Content = Arc<BTreeMap<u64, Mark>>;

/// What a sector holds: the stamp of the write, and the number of the sector that was written, which differs from where it is found if it was
/// shared since.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mark {
    stamp: u32,
    number: u64,
}

/// What a pool holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Model {
    pub(crate) luns: BTreeMap<LunId, (u64, Content)>,
}

/// A step of a history. Numbers are taken modulo what there is.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Action {
    Create { length: u8 },
    Write { lun: u8, window: u8, at: u16, count: u8 },
    WriteZeros { lun: u8, window: u8, at: u16, count: u8 },
    Discard { lun: u8, window: u8, at: u16, count: u8 },
    DiscardAll { lun: u8 },
    Read { lun: u8 },
    Flush { lun: u8 },
    Wipe { lun: u8 },
    Snapshot { mask: u8 },
    PrepareAndAbort { mask: u8 },
    Delete { lun: u8 },
    Revert { from: u8, to: u8, second: u8 },
    Grow { lun: u8, length: u8 },
    Promote { lun: u8 },
    Pin { lun: u8 },
    Unpin,
    Share { from: u8, to: u8, window: u8, at: u16, count: u8 },
    Checkpoint,
    Reclaim,
    Defragment,
}

/// A pool and its model.
pub(crate) struct World {
    pub(crate) pool: StorePool,
    pub(crate) model: Model,
    /// What the pool may have held during the last step: a request that concerns several pages of a map changes one after another.
    pub(crate) passed: Vec<Model>,
    /// Contents that are kept, and what they are.
    pins: Vec<(LunHandle, u64, Content)>,
    stamps: u32,
}

fn pick(model: &Model, number: u8) -> Option<LunId> {
    let count = model.luns.len();
    (count > 0).then(|| *model.luns.keys().nth(usize::from(number) % count).expect("below the count"))
}

/// The sectors that are used of a LUN of this length.
pub(crate) fn windows(length: u64) -> Vec<Range<u64>> {
    let there = WINDOWS.iter().map(|blocks| blocks.start * 8..(blocks.end * 8).min(length));
    there.filter(|window| !window.is_empty()).collect()
}

fn sectors(length: u64, window: u8, at: u16, count: u8) -> Range<u64> {
    let windows = windows(length);
    let window = windows[usize::from(window) % windows.len()].clone();
    let start = window.start + u64::from(at) % (window.end - window.start);
    start..(start + u64::from(count % 80) + 1).min(window.end)
}

/// Cuts sectors where the pages of a map meet.
fn leaves(range: Range<u64>) -> Vec<Range<u64>> {
    let leaf = |number: u64| (number * 4096).max(range.start)..((number + 1) * 4096).min(range.end);
    (range.start / 4096..range.end.div_ceil(4096)).map(leaf).filter(|part| !part.is_empty()).collect()
}

fn sector(stamp: u32, number: u64) -> [u8; 512] {
    if stamp == 0 {
        return [0; 512];
    }
    let mut sector = [stamp.to_le_bytes()[0] ^ 0x5a; 512];
    sector[..4].copy_from_slice(&stamp.to_le_bytes());
    sector[4..12].copy_from_slice(&number.to_le_bytes());
    sector
}

impl World {
    pub(crate) fn new(pool: StorePool) -> Self {
        Self { pool, model: Model::default(), passed: Vec::new(), pins: Vec::new(), stamps: 0 }
    }

    /// Goes on with a pool that was opened again.
    pub(crate) fn continued(pool: StorePool, model: Model, stamps: u32) -> Self {
        Self { pool, model, passed: Vec::new(), pins: Vec::new(), stamps }
    }

    pub(crate) fn stamps(&self) -> u32 {
        self.stamps
    }

    /// Does a step in the pool and in the model. True if everything before it is durable now.
    pub(crate) async fn act(&mut self, action: Action) -> bool {
        self.passed.clear();
        match action {
            Action::Create { length } => self.create(LENGTHS[usize::from(length) % LENGTHS.len()]).await,
            Action::Write { lun, window, at, count } => self.write(lun, window, at, count, false).await,
            Action::WriteZeros { lun, window, at, count } => self.write(lun, window, at, count, true).await,
            Action::Discard { lun, window, at, count } => self.discard(lun, window, at, count).await,
            Action::DiscardAll { lun } => self.discard_all(lun).await,
            Action::Read { lun } => self.read(lun).await,
            Action::Flush { lun } => match pick(&self.model, lun) {
                Some(lun) => {
                    self.pool.open(lun).unwrap().flush().await.unwrap();
                    true
                }
                None => false,
            },
            Action::Wipe { lun } => match pick(&self.model, lun) {
                Some(lun) => {
                    self.pool.open(lun).unwrap().wipe_unused().await.unwrap();
                    true
                }
                None => false,
            },
            Action::Snapshot { mask } => self.snapshot(mask).await,
            Action::PrepareAndAbort { mask } => self.prepare_and_abort(mask).await,
            Action::Delete { lun } => self.delete(lun).await,
            Action::Revert { from, to, second } => self.revert(from, to, second).await,
            Action::Grow { lun, length } => self.grow(lun, length).await,
            Action::Promote { lun } => self.promote(lun).await,
            Action::Pin { lun } => self.pin(lun).await,
            Action::Unpin => {
                self.pins.drain(..self.pins.len().min(1));
                false
            }
            Action::Share { from, to, window, at, count } => self.share(from, to, window, at, count).await,
            Action::Checkpoint => {
                self.pool.close().await.unwrap();
                true
            }
            Action::Reclaim => {
                self.pool.wait_reclaimed().await.unwrap();
                true
            }
            Action::Defragment => {
                self.pool.wait_defragmented().await.unwrap();
                false
            }
        }
    }

    async fn create(&mut self, length: u64) -> bool {
        if self.model.luns.len() >= LUNS_MAX {
            return false;
        }
        let lun = LunId::random();
        self.pool.create(lun, BlockCount(length)).await.unwrap();
        self.model.luns.insert(lun, (length, Content::default()));
        true
    }

    async fn write(&mut self, lun: u8, window: u8, at: u16, count: u8, zeros: bool) -> bool {
        let Some(lun) = pick(&self.model, lun) else { return false };
        let length = self.model.luns[&lun].0;
        let mut range = sectors(length, window, at, count);
        if count.is_multiple_of(2) {
            range = range.start / 8 * 8..range.end.next_multiple_of(8).min(length);
        }
        self.stamps += 1;
        let stamp = if zeros { 0 } else { self.stamps };
        let data: Vec<u8> = range.clone().flat_map(|number| sector(stamp, number)).collect();
        // What is of whole blocks, and not too long, is never seen in parts.
        let is_whole = range.start.is_multiple_of(8) && range.end.is_multiple_of(8);
        for part in if is_whole { vec![range.clone()] } else { leaves(range.clone()) } {
            self.set(lun, part, stamp);
        }
        let handle = self.pool.open(lun).unwrap();
        // As connections write, and as others do.
        let data = Bytes::from(data);
        let left = if self.stamps.is_multiple_of(3) { Err(data) } else { handle.write_now(Lba(range.start), data) };
        if let Err(data) = left {
            handle.write(Lba(range.start), data).await.unwrap();
        }
        if self.stamps.is_multiple_of(2) {
            finish_up();
        }
        false
    }

    async fn discard(&mut self, lun: u8, window: u8, at: u16, count: u8) -> bool {
        let Some(lun) = pick(&self.model, lun) else { return false };
        let range = sectors(self.model.luns[&lun].0, window, at, count);
        self.discard_range(lun, range).await;
        false
    }

    async fn discard_all(&mut self, lun: u8) -> bool {
        let Some(lun) = pick(&self.model, lun) else { return false };
        self.discard_range(lun, 0..self.model.luns[&lun].0).await;
        false
    }

    async fn discard_range(&mut self, lun: LunId, range: Range<u64>) {
        let length = self.model.luns[&lun].0;
        // Parts of physical blocks become zeros first, then whole ones are unmapped, leaf by leaf.
        let whole_end = if range.end == length { length } else { range.end / 8 * 8 };
        let whole = range.start.next_multiple_of(8)..whole_end;
        if whole.is_empty() {
            leaves(range.clone()).into_iter().for_each(|part| self.set(lun, part, 0));
        } else {
            self.set(lun, range.start..whole.start, 0);
            self.set(lun, whole.end..range.end, 0);
            leaves(whole).into_iter().for_each(|part| self.set(lun, part, 0));
        }
        let count = BlockCount(range.end - range.start);
        self.pool.open(lun).unwrap().discard(Lba(range.start), count).await.unwrap();
    }

    /// Sets sectors in the model, where that changes something.
    fn set(&mut self, lun: LunId, range: Range<u64>, stamp: u32) {
        let content = &mut self.model.luns.get_mut(&lun).unwrap().1;
        let before = Arc::clone(content);
        let content = Arc::make_mut(content);
        content.retain(|number, _| !range.contains(number));
        if stamp != 0 {
            content.extend(range.map(|number| (number, Mark { stamp, number })));
        }
        if *content != *before {
            self.passed.push(self.model.clone());
        }
    }

    async fn pin(&mut self, lun: u8) -> bool {
        let Some(lun) = pick(&self.model, lun).filter(|_| self.pins.len() < PINS_MAX) else { return false };
        let (length, content) = self.model.luns[&lun].clone();
        let pin = self.pool.open(lun).unwrap().pin().await.unwrap().unwrap();
        self.pins.push((pin, length, content));
        false
    }

    /// Lets blocks of a LUN be those of another one, or of what is kept of one.
    async fn share(&mut self, from: u8, to: u8, window: u8, at: u16, count: u8) -> bool {
        let Some(to) = pick(&self.model, to) else { return false };
        let (pin, source) = match self.pins.get(usize::from(from) % (self.pins.len() + 2)) {
            Some((pin, _, content)) => (pin.clone(), Err(Arc::clone(content))),
            None => match pick(&self.model, from) {
                Some(lun) => (self.pool.open(lun).unwrap(), Ok(lun)),
                None => return false,
            },
        };
        let blocks = |sectors: Range<u64>| sectors.start.div_ceil(8)..sectors.end / 8;
        let from = blocks(sectors(pin.block_count().0, window, at, count));
        let into = blocks(sectors(self.model.luns[&to].0, window >> 4, at.rotate_left(8), count));
        let count = from.end.saturating_sub(from.start).min(into.end.saturating_sub(into.start));
        if count == 0 {
            return false;
        }
        let handle = self.pool.open(to).unwrap();
        let shared = handle.share(Lba(into.start * 8), &pin, Lba(from.start * 8), BlockCount(count * 8)).await.unwrap();
        let mut done = 0;
        while done < shared.0 / 8 {
            // Pages of both maps are done one after another.
            let (from, into) = (from.start + done, into.start + done);
            let piece = (shared.0 / 8 - done).min(512 - from % 512).min(512 - into % 512);
            let content = source.as_ref().map_or_else(Arc::clone, |lun| Arc::clone(&self.model.luns[lun].1));
            let moved = content.range(from * 8..(from + piece) * 8);
            let moved: Vec<_> = moved.map(|(number, mark)| (number - from * 8 + into * 8, *mark)).collect();
            let target = Arc::make_mut(&mut self.model.luns.get_mut(&to).unwrap().1);
            target.retain(|number, _| !(into * 8..(into + piece) * 8).contains(number));
            target.extend(moved);
            self.passed.push(self.model.clone());
            done += piece;
        }
        false
    }

    async fn read(&mut self, lun: u8) -> bool {
        let Some(lun) = pick(&self.model, lun) else { return false };
        let found = content_of(&self.pool.open(lun).unwrap()).await;
        assert_eq!(found, self.model.luns[&lun].1, "{lun}");
        for (pin, length, content) in &self.pins {
            assert_eq!(
                (pin.block_count().0, &content_of(pin).await),
                (*length, content),
                "what is kept of {}",
                pin.id()
            );
        }
        false
    }

    fn members(&self, mask: u8) -> Vec<ShadowMember> {
        let room = LUNS_MAX.saturating_sub(self.model.luns.len());
        let chosen = self.model.luns.keys().enumerate().filter(|(number, _)| mask & (1 << (number % 8)) != 0);
        chosen.map(|(_, source)| ShadowMember { source: *source, shadow: LunId::random() }).take(room).collect()
    }

    async fn snapshot(&mut self, mask: u8) -> bool {
        let members = self.members(mask);
        if members.is_empty() {
            return false;
        }
        let set = ShadowSetId(uuid::Uuid::new_v4());
        self.pool.prepare(set, &members).await.unwrap();
        assert_eq!(self.pool.commit(set, Duration::from_secs(60)).await.unwrap(), Outcome::Done);
        for member in members {
            let captured = self.model.luns[&member.source].clone();
            self.model.luns.insert(member.shadow, captured);
        }
        true
    }

    async fn prepare_and_abort(&mut self, mask: u8) -> bool {
        let members = self.members(mask);
        let set = ShadowSetId(uuid::Uuid::new_v4());
        self.pool.prepare(set, &members).await.unwrap();
        self.pool.abort(set).unwrap();
        false
    }

    async fn delete(&mut self, lun: u8) -> bool {
        let Some(lun) = pick(&self.model, lun) else { return false };
        assert_eq!(self.pool.delete(lun).await.unwrap(), Outcome::Done);
        self.model.luns.remove(&lun);
        true
    }

    /// Gives one LUN the content of another, and a second one that of the first, at once.
    async fn revert(&mut self, from: u8, to: u8, second: u8) -> bool {
        let (Some(from), Some(to)) = (pick(&self.model, from), pick(&self.model, to)) else { return false };
        let mut pairs = vec![RevertPair { from, to }];
        if let Some(second) = pick(&self.model, second).filter(|second| *second != to) {
            pairs.push(RevertPair { from: to, to: second });
        }
        // A handle from before goes on to work.
        let handle = self.pool.open(to).unwrap();
        self.pool.revert(&pairs).await.unwrap();
        let contents: Vec<_> = pairs.iter().map(|pair| self.model.luns[&pair.from].clone()).collect();
        for (pair, content) in pairs.iter().zip(contents) {
            self.model.luns.insert(pair.to, content);
        }
        let (length, content) = &self.model.luns[&to];
        assert_eq!(handle.block_count().0, *length);
        assert_eq!(content_of(&handle).await, *content, "a handle after a revert");
        true
    }

    async fn grow(&mut self, lun: u8, length: u8) -> bool {
        let Some(lun) = pick(&self.model, lun) else { return false };
        let length = LENGTHS[usize::from(length) % LENGTHS.len()];
        let before = self.model.luns[&lun].0;
        let handle = self.pool.open(lun).unwrap();
        let grown = self.pool.grow(lun, BlockCount(length)).await;
        if length < before {
            assert!(matches!(grown, Err(lunshadow_lun::PoolError::UnsupportedSize(_))), "{grown:?}");
            return false;
        }
        assert_eq!(grown.unwrap(), if length == before { Outcome::AlreadySo } else { Outcome::Done });
        self.model.luns.get_mut(&lun).unwrap().0 = length;
        assert_eq!(handle.block_count().0, length);
        true
    }

    async fn promote(&mut self, lun: u8) -> bool {
        let Some(lun) = pick(&self.model, lun) else { return false };
        self.pool.promote(lun).await.unwrap();
        assert_eq!(self.pool.promote(lun).await.unwrap(), Outcome::AlreadySo);
        let origin = self.pool.luns().into_iter().find(|summary| summary.lun == lun).map(|summary| summary.origin);
        assert_eq!(origin, Some(LunOrigin::Empty));
        true
    }

    /// Deletes everything, and checks that all space comes back.
    pub(crate) async fn delete_all(&mut self) {
        self.pins.clear();
        for lun in std::mem::take(&mut self.model).luns.into_keys() {
            self.pool.delete(lun).await.unwrap();
        }
        self.pool.wait_reclaimed().await.unwrap();
        assert_empty(&self.pool);
    }
}

/// A pool without LUNs uses what it needs for itself, which is more after there were many LUNs.
pub(crate) fn assert_empty(pool: &StorePool) {
    let usage = pool.usage();
    assert_eq!((usage.used_bytes, usage.reclaiming_bytes), (usage.own_bytes, 0), "space is lost, or freed twice");
}

/// What a pool holds now.
pub(crate) async fn observe(pool: &StorePool) -> Model {
    let mut model = Model::default();
    for summary in pool.luns() {
        let content = content_of(&pool.open(summary.lun).unwrap()).await;
        model.luns.insert(summary.lun, (summary.block_count.0, content));
    }
    model
}

async fn content_of(lun: &LunHandle) -> Content {
    let mut content = BTreeMap::new();
    for window in windows(lun.block_count().0) {
        let count = BlockCount(window.end - window.start);
        let data = lun.read(Lba(window.start), count).await.unwrap();
        assert!(lun.read_now(Lba(window.start), count).is_none_or(|found| found == data));
        for (number, found) in window.zip(data.chunks_exact(512)) {
            content.extend(mark_of(found).map(|mark| (number, mark)));
        }
    }
    Arc::new(content)
}

/// The mark of a sector that was read, which must hold nothing else; `None` if it is zero.
pub(crate) fn mark_of(found: &[u8]) -> Option<Mark> {
    let stamp = u32::from_le_bytes(*found.first_chunk().unwrap());
    let number = u64::from_le_bytes(*found[4..].first_chunk().unwrap());
    let is_stamped = stamp != 0;
    assert!(found == sector(stamp, number), "a sector holds what was never written");
    is_stamped.then_some(Mark { stamp, number })
}

/// The smallest pool that the histories fit into: a log of 64 blocks, so that checkpoints are frequent.
pub(crate) fn small_config(cache_pages: u64) -> StoreConfig {
    StoreConfig {
        cache_bytes: cache_pages * 4096,
        log_bytes: 64 * 4096,
        capacity_bytes: 28 << 20,
        write_behind_bytes: 1 << 20,
        // Only when a history says so.
        defragment_after: Some(Duration::from_secs(3600)),
        ..StoreConfig::default()
    }
}

/// A pool on a medium in memory.
pub(crate) fn small_pool(cache_pages: u64) -> (SimMedia, StorePool) {
    let media = SimMedia::default();
    let pool = StorePool::create_on(media.clone(), &small_config(cache_pages)).unwrap();
    (media, pool)
}

/// The same, which answers a write when the medium has it, so that who writes hears what is wrong with that.
pub(crate) fn patient_pool(cache_pages: u64) -> (SimMedia, StorePool) {
    let media = SimMedia::default();
    let config = StoreConfig { write_behind_bytes: 0, ..small_config(cache_pages) };
    let pool = StorePool::create_on(media.clone(), &config).unwrap();
    (media, pool)
}
