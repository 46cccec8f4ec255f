//! Images of pools that somebody made who knows the format: arbitrary bytes in any place, with all checksums made to fit.
//!
//! The fuzz targets in `fuzz/` include this file too.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use lunshadow_lun::{BlockCount, Lba, LunId, Pool as _, RevertPair, ShadowMember, ShadowSetId};
use lunshadow_store::{Media, StoreConfig, StorePool};

use crate::ordeal::put_through;

const BLOCK: usize = 4096;
/// Places of the format, in blocks.
const COPY_DISTANCE: u64 = 4;
const LOG_START: u64 = 8;
const LOG_BLOCKS: u64 = 64;
const DATA_START: u64 = LOG_START + LOG_BLOCKS;
const CAPACITY_BYTES: u64 = 28 << 20;

/// The content of a medium. What is not there is zeros.
#[derive(Clone, Default)]
pub(crate) struct Image {
    blocks: HashMap<u64, Box<[u8; BLOCK]>>,
    len_bytes: u64,
    /// There is room for the log only, so that no checkpoint ends.
    log_only: bool,
}

impl Image {
    fn block(&mut self, number: u64) -> &mut [u8; BLOCK] {
        self.blocks.entry(number).or_insert_with(|| Box::new([0; BLOCK]))
    }

    fn content(&self, number: u64) -> [u8; BLOCK] {
        self.blocks.get(&number).map_or([0; BLOCK], |block| **block)
    }

    fn word(&self, block: u64, at: usize) -> u64 {
        u64::from_le_bytes(*self.content(block)[at..].first_chunk().expect("a word within the block"))
    }

    fn set_word(&mut self, block: u64, at: usize, word: u64) {
        self.block(block)[at..at + 8].copy_from_slice(&word.to_le_bytes());
    }

    fn put(&mut self, block: u64, at: usize, bytes: &[u8]) {
        let at = at % BLOCK;
        let len = bytes.len().min(BLOCK - at);
        self.block(block)[at..at + len].copy_from_slice(&bytes[..len]);
    }
}

/// A medium in memory.
#[derive(Clone)]
struct Memory(Arc<Mutex<Image>>);

impl Media for Memory {
    fn read_at(&self, offset_bytes: u64, buffer: &mut [u8]) -> io::Result<()> {
        let image = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let end = offset_bytes.checked_add(buffer.len() as u64).ok_or(io::ErrorKind::UnexpectedEof)?;
        if end > image.len_bytes {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        for (number, part) in (offset_bytes / BLOCK as u64..).zip(buffer.chunks_mut(BLOCK)) {
            part.copy_from_slice(&image.content(number)[..part.len()]);
        }
        Ok(())
    }

    fn write_at(&self, offset_bytes: u64, data: &[u8]) -> io::Result<()> {
        let mut image = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        assert!(offset_bytes.is_multiple_of(BLOCK as u64) && offset_bytes + data.len() as u64 <= image.len_bytes);
        if image.log_only && !(LOG_START..DATA_START).contains(&(offset_bytes / BLOCK as u64)) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        for (number, part) in (offset_bytes / BLOCK as u64..).zip(data.chunks(BLOCK)) {
            image.put(number, 0, part);
        }
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn len_bytes(&self) -> io::Result<u64> {
        Ok(self.0.lock().unwrap_or_else(PoisonError::into_inner).len_bytes)
    }

    fn set_len_bytes(&self, len_bytes: u64) -> io::Result<()> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len_bytes = len_bytes;
        Ok(())
    }
}

fn config() -> StoreConfig {
    StoreConfig {
        cache_bytes: 64 << 12,
        log_bytes: LOG_BLOCKS << 12,
        capacity_bytes: CAPACITY_BYTES,
        ..StoreConfig::default()
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("one thread")
}

/// A small pool with maps of one to three levels, shadows, and some batches in the log.
static BASE: LazyLock<Image> = LazyLock::new(|| runtime().block_on(base()));

async fn base() -> Image {
    let memory = Memory(Arc::default());
    let pool = StorePool::create_on(memory.clone(), &config()).expect("a pool");
    let mut luns = Vec::new();
    for (number, blocks) in (1..).zip([40, 5000, 200_000]) {
        let lun = pool.create(LunId::from_u128(number), BlockCount(blocks * 8)).await.expect("a LUN");
        lun.write(Lba(8), Bytes::from(vec![1; 5 * BLOCK])).await.expect("data");
        lun.write(Lba((blocks - 2) * 8), Bytes::from(vec![2; BLOCK])).await.expect("data");
        luns.push(lun);
    }
    let set = ShadowSetId(uuid_of(9));
    let members: Vec<_> =
        (0..3).map(|at| ShadowMember { source: luns[at].id(), shadow: LunId::from_u128(10 + at as u128) }).collect();
    pool.prepare(set, &members).await.expect("a set");
    pool.commit(set, Duration::from_secs(60)).await.expect("a snapshot");
    luns[0].write(Lba(16), Bytes::from(vec![3; BLOCK])).await.expect("data");
    pool.close().await.expect("a checkpoint");
    luns[1].write(Lba(8), Bytes::from(vec![4; 3 * BLOCK])).await.expect("data");
    luns[1].discard(Lba(32), BlockCount(16)).await.expect("no data");
    memory.0.lock().unwrap_or_else(PoisonError::into_inner).log_only = true;
    pool.promote(LunId::from_u128(11)).await.expect("a promotion");
    pool.revert(&[RevertPair { from: LunId::from_u128(10), to: LunId::from_u128(1) }]).await.expect("a revert");
    pool.grow(LunId::from_u128(10), BlockCount(800)).await.expect("growth");
    pool.delete(LunId::from_u128(12)).await.expect("a deletion");
    drop((luns, pool));
    let image = memory.0.lock().unwrap_or_else(PoisonError::into_inner);
    Image { log_only: false, ..image.clone() }
}

fn uuid_of(number: u128) -> uuid::Uuid {
    uuid::Uuid::from_u128(number)
}

fn newest_slot(image: &Image) -> u64 {
    u64::from(image.word(1, 40) > image.word(0, 40))
}

fn crc_of(bytes: &[u8]) -> u64 {
    u64::from(crc32c::crc32c(bytes) & 0x0fff_ffff)
}

/// Makes checks fit, from the leaves up.
struct Sealer<'a> {
    image: &'a mut Image,
    /// The checks of pages that have been sealed. A page that is being sealed has a zero: no check fits a circle.
    done: HashMap<u64, u64>,
}

#[derive(Clone, Copy)]
enum Kind {
    Data,
    Map(u8),
    /// Pages of an index, and how many of them lie above what it leads to.
    Index(u8),
    /// Pages of the index of the table of LUNs likewise.
    Sites(u8),
    Table,
}

impl Sealer<'_> {
    /// The check of a block, after all that it refers to has been sealed.
    fn check(&mut self, block: u64, kind: Kind) -> u64 {
        if block == 0 || block >= CAPACITY_BYTES / BLOCK as u64 {
            return 1;
        }
        if let Some(check) = self.done.get(&block) {
            return *check;
        }
        self.done.insert(block, 0);
        match kind {
            Kind::Data => {}
            Kind::Map(0) => (0..512).for_each(|at| self.seal(block, at * 8, Kind::Data)),
            Kind::Map(level) => {
                (0..256).for_each(|at| self.seal_pair(block, at * 16, at * 16 + 8, Kind::Map(level - 1)))
            }
            Kind::Index(0) => (0..512).for_each(|at| self.seal(block, at * 8, Kind::Data)),
            Kind::Index(level) => (0..512).for_each(|at| self.seal(block, at * 8, Kind::Index(level - 1))),
            Kind::Sites(level) => (0..128).for_each(|at| {
                let below = level.checked_sub(1).map_or(Kind::Table, Kind::Sites);
                self.seal_pair(block, at * 32, at * 32 + 8, below);
            }),
            Kind::Table => {
                for at in (0..BLOCK).step_by(128) {
                    let levels = self.image.content(block)[at + 1];
                    self.seal_pair(block, at + 64, at + 88, Kind::Map(levels.clamp(1, 5) - 1));
                }
            }
        }
        let check = crc_of(&self.image.content(block));
        self.done.insert(block, check);
        check
    }

    fn seal(&mut self, block: u64, at: usize, kind: Kind) {
        let entry = self.image.word(block, at);
        if entry != 0 {
            let check = self.check(entry >> 28, kind);
            self.image.set_word(block, at, ((entry >> 28) << 28) | check);
        }
    }

    /// A reference to a page and its copy, which gets the same content.
    fn seal_pair(&mut self, block: u64, first: usize, second: usize, kind: Kind) {
        self.seal(block, first, kind);
        let (page, copy) = (self.image.word(block, first), self.image.word(block, second) >> 28);
        if page != 0 {
            if (DATA_START..CAPACITY_BYTES / BLOCK as u64).contains(&copy) && !self.done.contains_key(&copy) {
                let content = self.image.content(page >> 28);
                self.image.put(copy, 0, &content);
            }
            self.image.set_word(block, second, (copy << 28) | (page & 0x0fff_ffff));
        }
    }
}

/// Makes everything fit that the newest superblock leads to.
fn seal_all(image: &mut Image) {
    let slot = newest_slot(image);
    let mut sealer = Sealer { image, done: HashMap::new() };
    sealer.seal(slot, 96, Kind::Sites(1));
    sealer.seal(slot, 104, Kind::Index(1));
    for block in 2..COPY_DISTANCE {
        if let Some(content) = image.blocks.get(&block).cloned() {
            image.put(block + COPY_DISTANCE, 0, &*content);
        }
    }
    seal_superblock(image, slot);
}

fn seal_superblock(image: &mut Image, slot: u64) {
    let crc = crc32c::crc32c(&image.content(slot)[..BLOCK - 4]);
    image.put(slot, BLOCK - 4, &crc.to_le_bytes());
    let content = image.content(slot);
    image.put(slot + COPY_DISTANCE, 0, &content);
}

/// Takes bytes from what a fuzzer has made up.
struct Source<'a>(&'a [u8]);

impl<'a> Source<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(count).filter(|_| !self.0.is_empty())?;
        self.0 = rest;
        Some(head)
    }

    fn number(&mut self) -> Option<usize> {
        self.take(2).map(|bytes| usize::from(bytes[0]) | usize::from(bytes[1]) << 8)
    }
}

/// The superblock with some fields changed.
#[must_use]
pub(crate) fn forged_superblock(data: &[u8]) -> Image {
    let mut image = BASE.clone();
    let slot = newest_slot(&image);
    let mut source = Source(data);
    while let Some(at) = source.number() {
        let Some(bytes) = source.take(8) else { break };
        // The fields lie in the first bytes.
        image.put(slot, at % 1200, bytes);
    }
    seal_superblock(&mut image, slot);
    image
}

/// The log with one more batch, which holds any records.
#[must_use]
pub(crate) fn forged_log(data: &[u8]) -> Image {
    let mut image = BASE.clone();
    let slot = newest_slot(&image);
    let superblock = image.content(slot);
    let (mut sequence, mut position) = (image.word(slot, 56), image.word(slot, 64));
    let place = |position: u64| LOG_START + position % LOG_BLOCKS;
    let magic = *b"LUNSHLOG";
    // Behind the batches that are there, unless the first byte wants it to be the only one.
    while data.first().is_some_and(|byte| byte % 4 != 0)
        && image.content(place(position)).starts_with(&magic)
        && image.word(place(position), 32) == sequence
    {
        let payload = image.word(place(position), 56) & 0xffff_ffff;
        sequence += 1;
        position += (payload + 72).div_ceil(BLOCK as u64);
    }
    // A fuzzer that has nothing yet begins with records that were there.
    let known = if data.len() < 2 { records() } else { Vec::new() };
    let data = if data.len() < 2 { &known } else { data };
    let payload = &data[1..data.len().min(60_000)];
    let mut batch = Vec::new();
    batch.extend_from_slice(&magic);
    batch.extend_from_slice(&superblock[24..40]);
    batch.extend_from_slice(&superblock[48..56]);
    batch.extend_from_slice(&sequence.to_le_bytes());
    batch.extend_from_slice(&position.to_le_bytes());
    batch.extend_from_slice(&superblock[40..48]);
    batch.extend_from_slice(&u32::try_from(payload.len()).expect("a short payload").to_le_bytes());
    batch.extend_from_slice(&crc32c::crc32c(payload).to_le_bytes());
    batch.extend_from_slice(&[0; 4]);
    let crc = crc32c::crc32c(&batch);
    batch.extend_from_slice(&crc.to_le_bytes());
    batch.extend_from_slice(payload);
    for (number, part) in (position..).zip(batch.chunks(BLOCK)) {
        let mut block = [0; BLOCK];
        block[..part.len()].copy_from_slice(part);
        image.put(place(number), 0, &block);
    }
    image
}

/// Any blocks with some bytes changed, and all checks made to fit.
#[must_use]
pub(crate) fn forged_blocks(data: &[u8]) -> Image {
    let mut image = BASE.clone();
    let mut filled: Vec<u64> =
        image.blocks.keys().copied().filter(|block| *block < LOG_START || *block >= DATA_START).collect();
    filled.sort_unstable();
    let mut source = Source(data);
    while let (Some(which), Some(at)) = (source.number(), source.number()) {
        let Some(bytes) = source.take(8) else { break };
        let block = filled[which % filled.len()];
        // References are blocks of the image in most cases, so that what they lead to is found.
        let word = u64::from_le_bytes(*bytes.first_chunk().expect("eight bytes"));
        let pointer = ((word >> 8) % (CAPACITY_BYTES / BLOCK as u64)) << 28;
        match bytes[0] % 4 {
            0 => image.put(block, at, bytes),
            1 => image.put(block, at, &bytes[1..2]),
            2 => image.set_word(block, at % 512 * 8, pointer),
            _ => image.set_word(block, at % 512 * 8, filled[index_of(word >> 8, filled.len())] << 28),
        }
    }
    seal_all(&mut image);
    image
}

fn index_of(number: u64, len: usize) -> usize {
    usize::try_from(number % len as u64).expect("below a length")
}

/// The log's records as they are in the pool that all images are made of, for a fuzzer to begin with.
#[must_use]
pub(crate) fn records() -> Vec<u8> {
    let slot = newest_slot(&BASE);
    let place = LOG_START + BASE.word(slot, 64) % LOG_BLOCKS;
    let mut records = vec![1];
    for block in (place..place + 16).filter(|block| BASE.content(*block).starts_with(b"LUNSHLOG")) {
        let content = BASE.content(block);
        let len = index_of(BASE.word(block, 56) & 0xffff_ffff, BLOCK - 72);
        records.extend_from_slice(&content[72..72 + len]);
    }
    records
}

/// Puts the pool of an image through everything.
pub(crate) fn use_image(image: &Image) {
    let memory = || Memory(Arc::new(Mutex::new(image.clone())));
    runtime().block_on(put_through(memory, &config()));
}
