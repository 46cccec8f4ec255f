//! Blocks of data in memory, so that what was read or written lately is read without the medium.
//!
//! A block of the medium is written by one write, mapped, and not written again before nobody reads it any more. So what is here of a block stays
//! right until the block is written again, which puts the new content here or takes the old one out, before any map refers to it. Blocks that
//! are read come here while their reader keeps them from being written. Shadow LUNs and LUNs that share blocks share what is here.
//!
//! What is dropped for something new is what nobody has asked for since the last round (CLOCK), so that reading or writing much once does not drive
//! out what is read all the time.

mod shard;

use bytes::Bytes;
use lunshadow_lun::{AlignedBuffer, ReadCacheStatus, is_block_of_its_own};

use self::shard::{ONE_BLOCK_BYTES, Shard, group_of};
use crate::media::WritePart;
use crate::page::{BLOCK_BYTES, BLOCK_LEN, Entry};
use crate::sync::Mutex;

/// How many users can look at the same time without waiting for each other.
const SHARDS: usize = 64;

/// See the module.
#[derive(Default)]
pub(crate) struct ReadCache {
    shards: Vec<Mutex<Shard>>,
}

impl ReadCache {
    /// A cache that takes so many bytes of memory in all; none at all if that is too few.
    pub(crate) fn new(bytes: u64) -> Self {
        let limit_bytes = bytes / number(SHARDS);
        let shards = if limit_bytes < ONE_BLOCK_BYTES { 0 } else { SHARDS };
        Self { shards: (0..shards).map(|_| Mutex::new(Shard::new(limit_bytes))).collect() }
    }

    /// How large it is, and of what use.
    pub(crate) fn status(&self) -> ReadCacheStatus {
        let mut status = ReadCacheStatus::default();
        for shard in &self.shards {
            let shard = shard.lock();
            status.limit_bytes += shard.limit_bytes();
            status.kept_bytes += shard.kept_bytes();
            status.hits += shard.hits;
            status.misses += shard.misses;
        }
        status
    }

    /// Where a block is kept, with all of its group.
    fn shard(&self, block: u64) -> Option<&Mutex<Shard>> {
        let (group, _) = group_of(block);
        let number = group.checked_rem(self.shards.len().try_into().ok()?)?;
        self.shards.get(usize::try_from(number).ok()?)
    }

    /// The content of consecutive blocks of a LUN, if all of it is here.
    pub(crate) fn read(&self, entries: &[Entry]) -> Option<Bytes> {
        self.find(entries).or_else(|| {
            let last = entries.iter().rfind(|entry| !entry.is_unmapped())?;
            self.shard(last.block())?.lock().misses += 1;
            None
        })
    }

    /// As [`read`](Self::read), for those who ask again if it is not here, which does not count as a miss.
    pub(crate) fn find(&self, entries: &[Entry]) -> Option<Bytes> {
        if let [entry] = entries
            && !entry.is_unmapped()
        {
            let mut shard = self.shard(entry.block())?.lock();
            let content = shard.get(entry.block()).cloned()?;
            shard.hits += 1;
            return Some(content);
        }
        // Where the last block is missing, the others need not be gathered.
        let last = entries.iter().rfind(|entry| !entry.is_unmapped())?.block();
        let content = self.gather(entries, last)?;
        self.shard(last)?.lock().hits += 1;
        Some(content)
    }

    fn gather(&self, entries: &[Entry], last: u64) -> Option<Bytes> {
        self.shard(last)?.lock().get(last)?;
        let mut content = AlignedBuffer::of_len(entries.len() * BLOCK_BYTES);
        let mut rest = &mut content[..];
        for run in entries.chunk_by(are_together) {
            let (part, others) = rest.split_at_mut(run.len() * BLOCK_BYTES);
            rest = others;
            if run[0].is_unmapped() {
                part.fill(0);
                continue;
            }
            let mut shard = self.shard(run[0].block())?.lock();
            let group = shard.group(group_of(run[0].block()).0)?;
            for (entry, block) in run.iter().zip(part.chunks_exact_mut(BLOCK_BYTES)) {
                block.copy_from_slice(group.get(group_of(entry.block()).1)?);
            }
        }
        Some(content.freeze())
    }

    /// Keeps what was read and found right. The caller is a reader of these blocks since before it looked them up.
    pub(crate) fn keep(&self, entries: &[Entry], content: &Bytes) {
        if self.shards.is_empty() {
            return;
        }
        let mut rest = &content[..];
        for run in entries.chunk_by(are_together) {
            let (part, others) = rest.split_at(rest.len().min(run.len() * BLOCK_BYTES));
            rest = others;
            if run[0].is_unmapped() {
                continue;
            }
            if content.len() == BLOCK_BYTES {
                self.put_all(std::iter::once((run[0].block(), of_its_own(content))));
            } else {
                self.put_all(run.iter().map(|entry| entry.block()).zip(part.chunks_exact(BLOCK_BYTES).map(copy_of)));
            }
        }
    }

    /// Keeps what was written, before anything refers to it. Parts are of whole blocks.
    pub(crate) fn written(&self, parts: &[WritePart<'_>]) {
        if self.shards.is_empty() {
            return;
        }
        for part in parts {
            let first = part.offset_bytes / BLOCK_LEN;
            self.put_all((first..).zip(part.data.chunks_exact(BLOCK_BYTES).map(copy_of)));
        }
    }

    /// As [`written`](Self::written), of single blocks at their offsets.
    pub(crate) fn written_blocks(&self, blocks: &[(u64, Bytes)]) {
        if !self.shards.is_empty() {
            self.put_all(blocks.iter().map(|(offset_bytes, data)| (offset_bytes / BLOCK_LEN, of_its_own(data))));
        }
    }

    /// A block's content as this keeps it, so that whoever keeps it, too, keeps nothing else alive: a copy, if anything is kept here at all and the
    /// block has no memory of its own.
    pub(crate) fn to_keep(&self, content: &Bytes) -> Bytes {
        if self.shards.is_empty() { content.clone() } else { of_its_own(content) }
    }

    /// What is here of blocks stays, for those that hold the same now. Not of others: nobody has asked for it. The caller is a reader of the old
    /// blocks, and nothing refers to the new ones yet.
    pub(crate) fn moved(&self, moves: impl Iterator<Item = (Entry, u64)>) {
        for (old, new) in moves {
            let (Some(from), Some(to)) = (self.shard(old.block()), self.shard(new)) else { return };
            let found = from.lock().look(old.block());
            let mut to = to.lock();
            match found {
                Some((content, is_wanted)) => {
                    let (group, at) = group_of(new);
                    to.put(group, std::iter::once((at, content)), is_wanted);
                }
                None => to.forget(new),
            }
        }
    }

    /// Lets go of what blocks held that are written with something that need not be kept, or of which nobody knows what they hold now.
    pub(crate) fn overwritten(&self, parts: &[WritePart<'_>]) {
        for part in parts {
            let first = part.offset_bytes / BLOCK_LEN;
            let blocks = (first..).zip(part.data.chunks(BLOCK_BYTES));
            blocks.for_each(|(block, _)| self.forget(block));
        }
    }

    /// Lets go of a block that nothing refers to any more.
    pub(crate) fn forget(&self, block: u64) {
        if let Some(shard) = self.shard(block) {
            shard.lock().forget(block);
        }
    }

    /// Lets go of everything.
    pub(crate) fn clear(&self) {
        for shard in &self.shards {
            shard.lock().clear();
        }
    }

    /// Keeps blocks, those of a group together.
    fn put_all(&self, blocks: impl Iterator<Item = (u64, Bytes)>) {
        let mut blocks = blocks.peekable();
        while let Some((first, _)) = blocks.peek() {
            let (group, _) = group_of(*first);
            let Some(shard) = self.shard(*first) else { return };
            let together = std::iter::from_fn(|| blocks.next_if(|(block, _)| group_of(*block).0 == group));
            shard.lock().put(group, together.map(|(block, content)| (group_of(block).1, content)), false);
        }
    }
}

/// A block's content to keep: as it is, if that keeps nothing else alive.
fn of_its_own(content: &Bytes) -> Bytes {
    if is_block_of_its_own(content) { content.clone() } else { copy_of(content) }
}

fn copy_of(content: &[u8]) -> Bytes {
    AlignedBuffer::copy_of(content).freeze()
}

/// Whether two entries are of holes, or of blocks in the same group.
fn are_together(one: &Entry, other: &Entry) -> bool {
    match (one.is_unmapped(), other.is_unmapped()) {
        (false, false) => group_of(one.block()).0 == group_of(other.block()).0,
        (is_hole, other_is_hole) => is_hole && other_is_hole,
    }
}

fn number(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::shard::NEIGHBOURS;
    use super::*;

    const PER_SHARD: usize = 4;

    fn cache() -> ReadCache {
        ReadCache::new(ONE_BLOCK_BYTES * (SHARDS * PER_SHARD) as u64)
    }

    fn content(number: u8) -> Vec<u8> {
        vec![number; BLOCK_BYTES]
    }

    fn write(cache: &ReadCache, block: u64, number: u8) {
        cache.written(&[WritePart { offset_bytes: block * BLOCK_LEN, data: &content(number) }]);
    }

    fn read(cache: &ReadCache, blocks: &[u64]) -> Option<Vec<u8>> {
        let entry = |block: &u64| if *block == 0 { Entry::UNMAPPED } else { Entry::new(*block, 0) };
        let found = cache.read(&blocks.iter().map(entry).collect::<Vec<_>>())?;
        Some(found.chunks(BLOCK_BYTES).map(|block| block[0]).collect())
    }

    #[test]
    fn several_blocks_are_found_if_all_are_there() {
        let cache = cache();
        let two = [content(7), content(8)].concat();
        cache.written(&[WritePart { offset_bytes: 5 * BLOCK_LEN, data: &two }]);
        assert_eq!(read(&cache, &[5]), Some(vec![7]));
        assert_eq!(read(&cache, &[6, 0, 5]), Some(vec![8, 0, 7]));
        assert_eq!(read(&cache, &[5, 6, 9]), None);
        assert_eq!(read(&cache, &[9, 5]), None);
        assert_eq!(read(&cache, &[0, 0]), None, "that needs no cache");
        let ReadCacheStatus { kept_bytes, hits, misses, .. } = cache.status();
        assert_eq!((kept_bytes, hits, misses), (2 * BLOCK_LEN, 2, 2));
        cache.overwritten(&[WritePart { offset_bytes: 6 * BLOCK_LEN, data: &content(0) }]);
        assert_eq!((read(&cache, &[5]), read(&cache, &[6])), (Some(vec![7]), None));
        cache.clear();
        assert_eq!(read(&cache, &[5]), None);
    }

    #[test]
    fn what_is_asked_for_outlives_what_is_not() {
        let cache = cache();
        let block = |number: u64| (1 + number * SHARDS as u64) * NEIGHBOURS;
        write(&cache, block(0), 1);
        for number in 1..1000 {
            assert_eq!(read(&cache, &[block(0)]), Some(vec![1]), "after {number}");
            write(&cache, block(number), 2);
        }
        assert_eq!(cache.status().kept_bytes, PER_SHARD as u64 * BLOCK_LEN);
        assert_eq!(read(&cache, &[block(990)]), None);
    }

    #[test]
    fn what_has_memory_of_its_own_is_not_copied() {
        let cache = cache();
        let address = |block: u64| cache.read(&[Entry::new(block, 0)]).unwrap().as_ptr();
        let own = AlignedBuffer::copy_of(&content(1)).freeze();
        cache.written_blocks(&[(5 * BLOCK_LEN, own.clone())]);
        cache.keep(&[Entry::new(6, 0)], &own);
        assert_eq!((address(5), address(6)), (own.as_ptr(), own.as_ptr()));
        let part = AlignedBuffer::copy_of(&[content(2), content(3)].concat()).freeze().slice(BLOCK_BYTES..);
        cache.written_blocks(&[(5 * BLOCK_LEN, part.clone())]);
        cache.keep(&[Entry::new(6, 0)], &part);
        assert!(address(5) != part.as_ptr() && address(6) != part.as_ptr(), "it would keep both blocks alive");
        assert_eq!(read(&cache, &[5, 6]), Some(vec![3, 3]));
        assert!(own == content(1));
    }

    #[test]
    fn none_is_a_size_too() {
        let cache = ReadCache::new(1000);
        write(&cache, 5, 1);
        assert_eq!(read(&cache, &[5]), None);
        cache.clear();
    }

    #[test]
    fn what_is_moved_stays_as_wanted_as_it_was() {
        let cache = cache();
        let block = |number: u64| (1 + number * SHARDS as u64) * NEIGHBOURS;
        write(&cache, block(0), 1);
        write(&cache, block(1), 2);
        assert_eq!(read(&cache, &[block(0)]), Some(vec![1]));
        cache.moved(
            [(block(0), 100), (block(1), 101), (block(2), 102)].map(|(old, new)| (Entry::new(old, 0), new)).into_iter(),
        );
        // What comes in now takes the places of what nobody has asked for.
        for number in 1..PER_SHARD as u64 {
            write(&cache, 100 + number * SHARDS as u64 * NEIGHBOURS, 3);
        }
        assert_eq!((read(&cache, &[100]), read(&cache, &[101]), read(&cache, &[102])), (Some(vec![1]), None, None));
    }

    #[derive(Debug, Clone)]
    enum Step {
        Write(u64, u8),
        Move(u64, u64),
        Keep(u64),
        Overwrite(u64),
        Read(u64),
    }

    proptest! {
        /// A cache may have nothing of a block, but never anything else than what was written last.
        #[test]
        fn what_is_found_is_what_was_written_last(steps in prop::collection::vec((0..5_u8, 1..40_u64, any::<u8>()), 1..400)) {
            let cache = ReadCache::new(ONE_BLOCK_BYTES * SHARDS as u64 * 2);
            let mut medium = HashMap::new();
            for (kind, number, value) in steps {
                // All in three shards; some groups have several.
                let place = |number: u64| {
                    let group = number / 12 * SHARDS as u64 + number % 3;
                    group * NEIGHBOURS + number / 3 % 4
                };
                let block = place(number);
                let step = match kind {
                    0 => Step::Write(block, value),
                    1 => Step::Keep(block),
                    2 => Step::Overwrite(block),
                    3 => Step::Move(block, place(1 + u64::from(value) % 39)),
                    _ => Step::Read(block),
                };
                match step {
                    Step::Write(block, value) => {
                        medium.insert(block, value);
                        write(&cache, block, value);
                    }
                    Step::Move(old, new) => {
                        let value = *medium.entry(old).or_default();
                        medium.insert(new, value);
                        cache.moved(std::iter::once((Entry::new(old, 0), new)));
                    }
                    Step::Keep(block) => {
                        let value = *medium.entry(block).or_default();
                        cache.keep(&[Entry::new(block, 0)], &Bytes::from(content(value)));
                    }
                    Step::Overwrite(block) => {
                        medium.insert(block, value);
                        let data = content(value);
                        cache.overwritten(&[WritePart { offset_bytes: block * BLOCK_LEN, data: &data }]);
                    }
                    Step::Read(block) => {
                        let found = read(&cache, &[block]);
                        prop_assert!(found.is_none_or(|found| found == vec![medium[&block]]));
                    }
                }
                for shard in &cache.shards {
                    prop_assert!(shard.lock().is_sound());
                }
            }
        }
    }
}
