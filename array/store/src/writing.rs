//! Writing to a LUN: data goes to free blocks without the pool's lock, then the map is changed under it.

use std::ops::Range;

use bytes::Bytes;
use lunshadow_lun::{AlignedBuffer, LunError};

use crate::changes::{LeafPlace, Updated};
use crate::lun::{LookUpError, StoreLun};
use crate::media::{self, WritePart};
use crate::page::{BLOCK_BYTES, BLOCK_LEN, Entry, check_of, index};
use crate::space::{Claimed, Faults, Purpose};
use crate::state::State;

pub(crate) const ZEROS: [u8; BLOCK_BYTES] = [0; BLOCK_BYTES];

/// Data for consecutive bytes of a LUN, all in one leaf of its map.
#[derive(Debug, Clone)]
pub(crate) struct LeafWrite {
    pub(crate) bytes: Range<u64>,
    pub(crate) data: Bytes,
}

/// What came of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Written {
    /// It is part of the map.
    Done,
    /// There are not enough free blocks now.
    Full,
}

/// What a block is to hold.
enum Image {
    /// Only zeros: no block is needed.
    Zeros,
    /// A part of the data.
    Given(Range<usize>),
    /// A part of the data over what the block held before.
    Patched(AlignedBuffer),
}

/// A block of a write.
pub(crate) struct Piece {
    image: Image,
    /// What the block referred to when its old content was read, if that was needed.
    base: Option<Entry>,
}

impl Piece {
    /// Whether anything of it lies on the medium.
    pub(crate) fn takes_a_block(&self) -> bool {
        !matches!(self.image, Image::Zeros)
    }
}

/// What came of changing a map.
pub(crate) enum Mapped {
    Done,
    /// There is no block for a map page.
    Full,
    /// Somebody else wrote the block that was to be patched.
    Overtaken,
}

impl LeafWrite {
    /// Writes and maps, anew if another write overtakes it in a block that both write a part of.
    pub(crate) fn run(&self, lun: &StoreLun) -> Result<Written, LunError> {
        loop {
            let reader = lun.shared.reader(lun.slot);
            let pieces = self.pieces(lun)?;
            let want = pieces.iter().filter(|piece| piece.takes_a_block()).count();
            let Some(claimed) = self.claim(lun, want)? else { return Ok(Written::Full) };
            let mapped = self.store(lun, &pieces, &claimed).and_then(|entries| self.map(lun, &pieces, &entries));
            if !matches!(mapped, Ok(Mapped::Done)) {
                let mut state = lun.shared.state.lock();
                claimed.iter().for_each(|block| state.pages.space.unhold(*block));
            }
            // The base was kept from being reused until here, so that an unchanged entry means unchanged content.
            drop(reader);
            match mapped? {
                Mapped::Done => return Ok(Written::Done),
                Mapped::Full => return Ok(Written::Full),
                Mapped::Overtaken => {}
            }
        }
    }

    /// Whether it is of whole blocks, so that it does not depend on what they hold.
    pub(crate) fn is_whole(&self) -> bool {
        self.bytes.start.is_multiple_of(BLOCK_LEN) && self.bytes.end.is_multiple_of(BLOCK_LEN)
    }

    /// What the blocks of a write of whole blocks are to hold.
    pub(crate) fn whole_pieces(&self) -> Vec<Piece> {
        let starts = (0..self.data.len()).step_by(BLOCK_BYTES);
        starts.map(|start| self.given(start..start + BLOCK_BYTES)).collect()
    }

    fn given(&self, part: Range<usize>) -> Piece {
        let zeros = self.data[part.clone()] == ZEROS;
        Piece { image: if zeros { Image::Zeros } else { Image::Given(part) }, base: None }
    }

    /// What is written for a piece, unless it takes no block.
    pub(crate) fn content<'a>(&'a self, piece: &'a Piece) -> Option<&'a [u8]> {
        match &piece.image {
            Image::Zeros => None,
            Image::Given(part) => Some(&self.data[part.clone()]),
            Image::Patched(content) => Some(content),
        }
    }

    /// [`content`](Self::content) of a piece of a write of whole blocks, as a part of the data.
    pub(crate) fn whole_content(&self, piece: &Piece) -> Option<Bytes> {
        match &piece.image {
            Image::Given(part) => Some(self.data.slice(part.clone())),
            Image::Zeros | Image::Patched(_) => None,
        }
    }

    fn first_block(&self) -> u64 {
        self.bytes.start / BLOCK_LEN
    }

    fn pieces(&self, lun: &StoreLun) -> Result<Vec<Piece>, LunError> {
        let blocks = self.first_block()..self.bytes.end.div_ceil(BLOCK_LEN);
        blocks.map(|block| self.piece(lun, block)).collect()
    }

    fn piece(&self, lun: &StoreLun, block: u64) -> Result<Piece, LunError> {
        let begin = (block * BLOCK_LEN).max(self.bytes.start);
        let end = ((block + 1) * BLOCK_LEN).min(self.bytes.end);
        let part = index(begin - self.bytes.start)..index(end - self.bytes.start);
        if part.len() == BLOCK_BYTES {
            return Ok(self.given(part));
        }
        let entries = lun.look_up(LeafPlace::of(block), 1).map_err(|error| match error {
            LookUpError::Lun(error) => error,
            LookUpError::Page(error) => StoreLun::damaged_at(begin)(error),
        })?;
        let mut content = AlignedBuffer::of_len(BLOCK_BYTES);
        lun.fetch(&entries, &mut content).map_err(|_| LunError::Damaged { at: lunshadow_lun::Lba(begin / 512) })?;
        let at = index(begin - block * BLOCK_LEN);
        content[at..at + part.len()].copy_from_slice(&self.data[part]);
        let image = if *content == ZEROS { Image::Zeros } else { Image::Patched(content) };
        Ok(Piece { image, base: Some(entries[0]) })
    }

    /// Takes blocks for data, but none of those that map pages may need. `None` if there are not so many.
    pub(crate) fn claim(&self, lun: &StoreLun, want: usize) -> Result<Option<Claimed>, LunError> {
        let claimed = lun.shared.with_pages(|state, faults| {
            if let Err(gone) = lun.entry(state) {
                return Some(Err(gone));
            }
            if state.poisoned {
                return Some(Err(LunError::Poisoned));
            }
            let needed = state.limits.reserve_blocks + u64::try_from(want).unwrap_or(u64::MAX);
            if want > 0 && state.pages.space.free_count() < needed {
                return Some(Ok(None));
            }
            let pages = &mut state.pages;
            let claimed = pages.space.claim(&mut pages.cache, Purpose::Data, want, faults)?;
            Some(Ok((claimed.len() == want).then_some(claimed)))
        });
        claimed.map_err(StoreLun::damaged_at(self.bytes.start))?
    }

    /// Writes the pieces to the claimed blocks, neighbours as one part, and all parts at the same time; the entries of all blocks.
    pub(crate) fn store(&self, lun: &StoreLun, pieces: &[Piece], claimed: &[u64]) -> Result<Vec<Entry>, LunError> {
        let mut claimed = claimed.iter();
        let mut entries = Vec::with_capacity(pieces.len());
        let mut runs: Vec<(u64, Range<usize>)> = Vec::new();
        let mut parts = Vec::new();
        for piece in pieces {
            let Some(content) = self.content(piece) else {
                entries.push(Entry::UNMAPPED);
                continue;
            };
            let block = *claimed.next().expect("as many are claimed as are needed");
            entries.push(Entry::new(block, check_of(content)));
            match (&piece.image, runs.last_mut()) {
                (Image::Given(part), Some((start, whole)))
                    if whole.end == part.start && *start + blocks_in(whole) == block =>
                {
                    whole.end = part.end;
                }
                (Image::Given(part), _) => runs.push((block, part.clone())),
                _ => parts.push(WritePart { offset_bytes: block * BLOCK_LEN, data: content }),
            }
        }
        let of_run = |(block, part)| WritePart { offset_bytes: block * BLOCK_LEN, data: &self.data[part] };
        parts.extend(runs.into_iter().map(of_run));
        match lun.shared.write_data(&parts) {
            Ok(()) => Ok(entries),
            Err(error) if media::is_full(&error) => Err(LunError::OutOfSpace),
            Err(error) => Err(LunError::Io(error)),
        }
    }

    fn map(&self, lun: &StoreLun, pieces: &[Piece], entries: &[Entry]) -> Result<Mapped, LunError> {
        let mapped = lun.shared.with_pages(|state, faults| self.map_locked(lun, state, pieces, entries, faults));
        mapped.map_err(StoreLun::damaged_at(self.bytes.start))?
    }

    /// [`StoreLun::map_locked`] for what the pieces of this write refer to.
    pub(crate) fn map_locked(
        &self,
        lun: &StoreLun,
        state: &mut State,
        pieces: &[Piece],
        entries: &[Entry],
        faults: &mut Faults,
    ) -> Option<Result<Mapped, LunError>> {
        lun.map_locked(state, &self.bytes, |at| pieces[at].base, entries, faults)
    }
}

impl StoreLun {
    /// Lets the map refer to `entries` from the block of the first byte on, and logs it, if those that have a base refer to that. `None`,
    /// and nothing is changed, if pages are missing.
    pub(crate) fn map_locked(
        &self,
        state: &mut State,
        bytes: &Range<u64>,
        base_of: impl Fn(usize) -> Option<Entry>,
        entries: &[Entry],
        faults: &mut Faults,
    ) -> Option<Result<Mapped, LunError>> {
        let place = LeafPlace::of(bytes.start / BLOCK_LEN);
        let tree = match self.entry_until(state, bytes) {
            Ok(entry) if !state.poisoned => entry.tree,
            Ok(_) => return Some(Err(LunError::Poisoned)),
            Err(gone) => return Some(Err(gone)),
        };
        if (0..entries.len()).any(|at| base_of(at).is_some()) {
            let leaf = state.pages.leaf(&tree, place.leaf, faults)?;
            let overtaken = |at: usize| base_of(at).is_some_and(|base| base != leaf.entry(place.at + at));
            if (0..entries.len()).any(overtaken) {
                return Some(Ok(Mapped::Overtaken));
            }
        }
        Some(Ok(match state.update_map(self.slot, place, entries, faults)? {
            Updated::Full => Mapped::Full,
            Updated::Unchanged => Mapped::Done,
            Updated::Changed => {
                if state.log_update(self.slot, place, entries) {
                    self.shared.log_wake.notify_one();
                }
                Mapped::Done
            }
        }))
    }
}

fn blocks_in(part: &Range<usize>) -> u64 {
    u64::try_from(part.len() / BLOCK_BYTES).expect("a part of the data")
}
