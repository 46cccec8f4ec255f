//! Reads whose map pages are in memory, from a medium that needs no thread for a read.

use std::ops::Range;

use bytes::Bytes;
use lunshadow_lun::AlignedBuffer;
use tokio::sync::oneshot;

use crate::changes::LeafPlace;
use crate::lun::StoreLun;
use crate::map::Leaf;
use crate::media::Reading;
use crate::page::{BLOCK_BYTES, BLOCK_LEN, Entry, FANOUT_LEN, index};
use crate::space::Faults;
use crate::state::State;

impl StoreLun {
    /// Reads without a thread that waits. `None` if that is not possible, or if anything is not as it should be: reading in the
    /// ordinary way then tells what it is.
    pub(crate) async fn read_at_once(&self, bytes: &Range<u64>) -> Option<Bytes> {
        if !self.shared.media.reads_without_threads() {
            return None;
        }
        let blocks = bytes.start / BLOCK_LEN..bytes.end.div_ceil(BLOCK_LEN);
        // Until the end, so that what was looked up stays what it is.
        let (_reader, entries) = {
            let mut state = self.shared.state.lock();
            (self.shared.reader(&state), self.entries_in_memory(&mut state, bytes, &blocks)?)
        };
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
        let start = index(bytes.start - blocks.start * BLOCK_LEN);
        Some(buffer.freeze().slice(start..start + index(bytes.end - bytes.start)))
    }

    /// What blocks refer to, if all their leaves are in memory and the LUN still reaches that far.
    fn entries_in_memory(&self, state: &mut State, bytes: &Range<u64>, blocks: &Range<u64>) -> Option<Vec<Entry>> {
        let tree = self.entry_until(state, bytes).ok()?.tree;
        let mut entries = Vec::with_capacity(index(blocks.end - blocks.start));
        let mut from = blocks.start;
        while from < blocks.end {
            let LeafPlace { leaf, at } = LeafPlace::of(from);
            let end = blocks.end.min((leaf + 1) * FANOUT_LEN);
            let count = index(end - from);
            match state.pages.leaf(&tree, leaf, &mut Faults::new())? {
                Leaf::HoleUntil(_) => entries.resize(entries.len() + count, Entry::UNMAPPED),
                Leaf::Mapped(page) => entries.extend((at..at + count).map(|at| page.entry(at))),
            }
            from = end;
        }
        Some(entries)
    }
}
