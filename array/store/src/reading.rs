//! Reads whose map pages are in memory, of data that is in memory too or on a medium that needs no thread for a read.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use lunshadow_lun::AlignedBuffer;
use smallvec::SmallVec;
use tokio::sync::oneshot;

use crate::changes::LeafPlace;
use crate::lun::StoreLun;
use crate::map::Leaf;
use crate::media::Reading;
use crate::page::{BLOCK_BYTES, BLOCK_LEN, Entry, FANOUT_LEN, Page, index};
use crate::space::Faults;
use crate::state::State;

/// What consecutive blocks refer to. A few need no memory besides.
pub(crate) type Entries = SmallVec<[Entry; 4]>;

impl StoreLun {
    /// Reads without a thread that waits. `None` if that is not possible, or if anything is not as it should be: reading in the
    /// ordinary way then tells what it is.
    pub(crate) async fn read_at_once(&self, bytes: &Range<u64>) -> Option<Bytes> {
        let blocks = bytes.start / BLOCK_LEN..bytes.end.div_ceil(BLOCK_LEN);
        // From before the look-up until the end, so that what was looked up stays what it is.
        let _reader = self.shared.reader(self.slot);
        let entries = self.entries_now(bytes, &blocks)?;
        let part = part_of(&blocks, bytes);
        if let Some(content) = self.shared.read_cache.read(&entries) {
            return Some(content.slice(part));
        }
        if !self.shared.media.is_without_threads() {
            return None;
        }
        let mut buffer = AlignedBuffer::of_len(entries.len() * BLOCK_BYTES);
        let (mut parts, mut first) = (Vec::new(), 0);
        for run in entries.chunk_by(Entry::is_followed_by) {
            let range = first * BLOCK_BYTES..(first + run.len()) * BLOCK_BYTES;
            first += run.len();
            if run[0].is_unmapped() {
                buffer[range].fill(0);
            } else {
                parts.push((run[0].block() * BLOCK_LEN, range));
            }
        }
        self.note_if_scattered(blocks.start, &entries);
        if self.shared.behind.has_any_of(parts.iter().map(|(at, range)| (*at, range.len()))) {
            return None;
        }
        if !parts.is_empty() {
            let (tell, told) = oneshot::channel();
            // Whoever reads may have gone.
            let done = Box::new(move |result| drop(tell.send(result)));
            self.shared.media.begin_read(Reading { parts, buffer, done }).ok()?;
            buffer = told.await.ok()?.ok()?;
        }
        let is_whole = |(entry, block): (&Entry, &[u8])| entry.is_unmapped() || entry.matches(block);
        if !entries.iter().zip(buffer.chunks_exact(BLOCK_BYTES)).all(is_whole) {
            return None;
        }
        let content = buffer.freeze();
        self.shared.read_cache.keep(&entries, &content);
        Some(content.slice(part))
    }

    /// Reads what is in memory. Takes no memory for that.
    pub(crate) fn read_in_memory(&self, bytes: &Range<u64>) -> Option<Bytes> {
        let blocks = bytes.start / BLOCK_LEN..bytes.end.div_ceil(BLOCK_LEN);
        let _reader = self.shared.reader(self.slot);
        let entries = self.entries_now(bytes, &blocks)?;
        let content = self.shared.read_cache.find(&entries)?;
        Some(content.slice(part_of(&blocks, bytes)))
    }

    /// What blocks refer to, if all their leaves are in memory. The caller is a reader since before.
    pub(crate) fn entries_now(&self, bytes: &Range<u64>, blocks: &Range<u64>) -> Option<Entries> {
        self.entries_in_view(blocks).or_else(|| {
            let mut state = self.shared.state.lock();
            self.entries_in_memory(&mut state, bytes, blocks)
        })
    }

    /// What blocks refer to, if that can be said without the pool's lock.
    fn entries_in_view(&self, blocks: &Range<u64>) -> Option<Entries> {
        let whole = index(blocks.end - blocks.start);
        let mut entries = Entries::with_capacity(whole);
        let mut before = Vec::new();
        for (place, count) in leaves_of(blocks) {
            let page = self.shared.views.get(self.leaf_of(place.leaf))?;
            entries.extend((place.at..place.at + count).map(|at| page.entry(at)));
            if entries.len() < whole {
                before.push((place.leaf, page));
            }
        }
        // The leaves were looked at one after the other. If each is still as it was when the next was looked at, nothing was written to both in between
        // as one.
        let is_still = |(leaf, page): (u64, Arc<Page>)| {
            self.shared.views.get(self.leaf_of(leaf)).is_some_and(|now| Arc::ptr_eq(&now, &page))
        };
        before.into_iter().all(is_still).then_some(entries)
    }

    /// What blocks refer to, if all their leaves are in memory and the LUN still reaches that far.
    fn entries_in_memory(&self, state: &mut State, bytes: &Range<u64>, blocks: &Range<u64>) -> Option<Entries> {
        let tree = self.entry_until(state, bytes).ok()?.tree;
        let mut entries = Entries::with_capacity(index(blocks.end - blocks.start));
        for (place, count) in leaves_of(blocks) {
            match state.pages.leaf(&tree, place.leaf, &mut Faults::new())? {
                Leaf::HoleUntil(_) => entries.resize(entries.len() + count, Entry::UNMAPPED),
                Leaf::Mapped(page) => {
                    self.shared.views.put(self.leaf_of(place.leaf), &page);
                    entries.extend((place.at..place.at + count).map(|at| page.entry(at)));
                }
            }
        }
        Some(entries)
    }
}

/// Where a request lies within its blocks.
fn part_of(blocks: &Range<u64>, bytes: &Range<u64>) -> Range<usize> {
    let start = index(bytes.start - blocks.start * BLOCK_LEN);
    start..start + index(bytes.end - bytes.start)
}

/// The parts of consecutive blocks that lie in one leaf each, and how many blocks these are.
pub(crate) fn leaves_of(blocks: &Range<u64>) -> impl Iterator<Item = (LeafPlace, usize)> {
    let Range { start: mut from, end } = *blocks;
    std::iter::from_fn(move || {
        let place = LeafPlace::of(from);
        let next = end.min((place.leaf + 1) * FANOUT_LEN);
        let count = index(next - from);
        from = next;
        (count > 0).then_some((place, count))
    })
}
