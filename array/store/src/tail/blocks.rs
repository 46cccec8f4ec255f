//! The data that is on its way to the medium: blocks with the places where they belong.

use std::fs::File;
use std::io;

use bytes::Bytes;
use smallvec::SmallVec;

use super::Opening;
use crate::media::SharedMemory;
use crate::page::{BLOCK_BYTES, BLOCK_LEN, index};

const MAGIC: [u8; 8] = *b"LUNSDATA";

/// Words of the first page, behind those of the opening; then, for each block, where it belongs and one more, or zero if there is none.
const COUNT_WORD: usize = 4;
const OFFSETS_WORD: usize = 8;

/// Somebody may be about to go beyond the limit of what is kept.
const SPARE: usize = 64;

/// Where blocks are kept. Each has to be given back.
pub(crate) type KeptBlocks = SmallVec<[u32; 1]>;

/// See the module.
pub(crate) struct Blocks {
    memory: SharedMemory,
    data_at: usize,
    free: Vec<u32>,
}

impl Blocks {
    /// The length of the part of the file that has so many blocks.
    pub(super) fn len_of(block_count: usize) -> usize {
        let count = block_count + SPARE;
        data_at(count) + count * BLOCK_BYTES
    }

    /// Room for so many blocks, in a part of a file that holds nothing but zeros.
    pub(super) fn begin(file: &File, offset_bytes: u64, opening: Opening, block_count: usize) -> io::Result<Self> {
        let count = block_count + SPARE;
        let mut memory = SharedMemory::of(file, offset_bytes, Self::len_of(block_count))?;
        memory.publish(COUNT_WORD, u64::try_from(count).expect("counts have 64 bits"));
        opening.publish(&mut memory, MAGIC);
        let free = (0..u32::try_from(count).unwrap_or(u32::MAX)).rev().collect();
        Ok(Self { memory, data_at: data_at(count), free })
    }

    /// Keeps blocks, as far as there is room.
    pub(crate) fn keep(&mut self, blocks: &[(u64, Bytes)]) -> KeptBlocks {
        let mut kept = KeptBlocks::new();
        for (offset_bytes, data) in blocks {
            let Some(place) = self.free.pop() else { break };
            let number = index(place.into());
            self.memory.write(self.data_at + number * BLOCK_BYTES, data);
            self.memory.publish(OFFSETS_WORD + number, offset_bytes + 1);
            kept.push(place);
        }
        kept
    }

    /// The medium has them.
    pub(crate) fn give_back(&mut self, kept: &[u32]) {
        for place in kept {
            self.memory.publish(OFFSETS_WORD + index((*place).into()), 0);
            self.free.push(*place);
        }
    }
}

fn data_at(count: usize) -> usize {
    ((OFFSETS_WORD + count) * size_of::<u64>()).next_multiple_of(BLOCK_BYTES)
}

/// What a part of a file has that somebody else has left, by offsets, if it is of this opening.
pub(super) fn remains(file: &File, offset_bytes: u64, opening: Opening) -> io::Result<Vec<(u64, Vec<u8>)>> {
    let len = file.metadata()?.len().saturating_sub(offset_bytes);
    if len < BLOCK_LEN {
        return Ok(Vec::new());
    }
    let memory = SharedMemory::of(file, offset_bytes, index(len))?;
    let count = usize::try_from(memory.word(COUNT_WORD)).unwrap_or(usize::MAX);
    let is_ours = Opening::of(&memory, MAGIC) == Some(opening);
    if !is_ours || count > index(len / BLOCK_LEN) || data_at(count) + count * BLOCK_BYTES > index(len) {
        return Ok(Vec::new());
    }
    let kept = (0..count).filter_map(|number| {
        let offset_bytes = memory.word(OFFSETS_WORD + number).checked_sub(1)?;
        Some((offset_bytes, memory.bytes()[data_at(count) + number * BLOCK_BYTES..][..BLOCK_BYTES].to_vec()))
    });
    Ok(kept.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPENING: Opening = Opening { pool_id: 1, epoch: 2 };

    #[test]
    fn what_is_kept_is_left_until_it_is_given_back() {
        let file = tempfile::tempfile().expect("a file");
        file.set_len(u64::try_from(Blocks::len_of(2)).expect("short")).expect("room");
        assert_eq!(remains(&file, 0, OPENING).expect("it can be read"), []);
        let mut blocks = Blocks::begin(&file, 0, OPENING, 2).expect("room");
        let block = |number: u8| (u64::from(number) * BLOCK_LEN, Bytes::from(vec![number; BLOCK_BYTES]));
        let left = || -> Vec<(u64, u8)> {
            let left = remains(&file, 0, OPENING).expect("it can be read");
            left.into_iter().map(|(offset_bytes, data)| (offset_bytes / BLOCK_LEN, data[BLOCK_BYTES - 1])).collect()
        };
        let first = blocks.keep(&[block(0), block(1)]);
        let second = blocks.keep(&[block(2)]);
        assert_eq!(left(), [(0, 0), (1, 1), (2, 2)]);
        blocks.give_back(&first);
        assert_eq!(left(), [(2, 2)]);
        let many: Vec<_> = (3..100).map(block).collect();
        let kept = blocks.keep(&many);
        assert_eq!((kept.len(), left().len()), (65, 66), "no more than there is room for");
        blocks.give_back(&kept);
        blocks.give_back(&second);
        assert_eq!(left(), []);
        assert_eq!(remains(&file, 0, Opening { epoch: 3, ..OPENING }).expect("it can be read"), []);
    }
}
