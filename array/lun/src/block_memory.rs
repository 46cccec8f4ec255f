//! Memory for buffers of one block.
//!
//! They come and go by the hundred thousand, let go of by other threads than those that asked for them, and a cache of data keeps as many as it may. An
//! allocator answers that with a page fault for each, and with up to twice the memory. So there is one stock of them: memory that the system is asked
//! for by the piece, and that is never given back to it, only used again. So it is as much as was in use at one time.

use std::ops::Range;

use memmap2::{MmapMut, MmapOptions};
use parking_lot::{Mutex, RwLock};
use zerocopy::FromBytes;

use crate::buffer::{Block, DATA_ALIGNMENT_BYTES, is_aligned};

/// How much is taken from the system at a time, with all of its pages: enough that the call costs little for a block, and so little that nobody waits
/// for it. Huge pages would cost less where the system has memory at hand for them, and more in a virtual machine that has to get it from its host.
const PIECE_BYTES: usize = 256 << 10;

/// One block, until it is given back.
pub(crate) type OneBlock = &'static mut Block;

/// What nobody uses; what was given back last, which is in a processor's cache still, comes last.
static STOCK: Mutex<Vec<OneBlock>> = Mutex::new(Vec::new());
/// The addresses of all pieces, in their order. Pieces that touch are one.
static PIECES: RwLock<Vec<Range<usize>>> = RwLock::new(Vec::new());

/// A block with anything in it. `None` if the system gives no more.
pub(crate) fn take() -> Option<OneBlock> {
    if let Some(block) = STOCK.lock().pop() {
        return Some(block);
    }
    let mut blocks = new_piece()?.iter_mut();
    let first = blocks.next();
    STOCK.lock().extend(blocks);
    first
}

/// Gives a block back.
pub(crate) fn give_back(block: OneBlock) {
    STOCK.lock().push(block);
}

fn new_piece() -> Option<&'static mut [Block]> {
    let memory = MmapOptions::new().len(PIECE_BYTES).populate().map_anon().ok()?;
    let memory: &'static mut MmapMut = Box::leak(Box::new(memory));
    let start = memory.as_ptr().addr();
    let blocks = <[Block]>::mut_from_bytes(memory).ok()?;
    note_piece(&mut PIECES.write(), start..start + PIECE_BYTES);
    Some(blocks)
}

/// Puts a piece where it belongs, as a part of its neighbours if it touches any.
fn note_piece(pieces: &mut Vec<Range<usize>>, mut piece: Range<usize>) {
    let first = pieces.partition_point(|other| other.end < piece.start);
    let touched = pieces[first..].partition_point(|other| other.start <= piece.end);
    for other in &pieces[first..first + touched] {
        piece = piece.start.min(other.start)..piece.end.max(other.end);
    }
    pieces.splice(first..first + touched, [piece]);
}

/// Whether data is a whole buffer of one block: somebody who keeps it keeps nothing else alive.
#[must_use]
pub fn is_block_of_its_own(data: &[u8]) -> bool {
    if data.len() != DATA_ALIGNMENT_BYTES || !is_aligned(data, DATA_ALIGNMENT_BYTES) {
        return false;
    }
    let address = data.as_ptr().addr();
    let pieces = PIECES.read();
    let before = pieces.partition_point(|piece| piece.start <= address);
    before.checked_sub(1).is_some_and(|place| pieces[place].contains(&address))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::AlignedBuffer;

    #[test]
    fn blocks_are_told_from_other_data() {
        let block = AlignedBuffer::zeroed(4096).freeze();
        assert!(is_block_of_its_own(&block) && is_block_of_its_own(&block.slice(..)));
        assert!(!is_block_of_its_own(&block[..512]));
        let two = AlignedBuffer::zeroed(8192);
        assert!(!is_block_of_its_own(&two[..4096]) && !is_block_of_its_own(&two[4096..]) && !is_block_of_its_own(&[]));
    }

    #[test]
    fn more_than_a_piece_is_there_and_used_again() {
        let many = 4 * PIECE_BYTES / DATA_ALIGNMENT_BYTES + 1;
        let fill = || -> Vec<AlignedBuffer> {
            let of = |number: usize| AlignedBuffer::copy_of(&[number.to_le_bytes(); 512].concat());
            (0..many).map(of).collect()
        };
        let first = fill();
        let is_right = |(number, buffer): (usize, &AlignedBuffer)| buffer[4088..] == number.to_le_bytes();
        assert!(first.iter().enumerate().all(is_right), "no two are the same memory");
        assert!(first.iter().all(|buffer| is_block_of_its_own(buffer)));
        let addresses = |buffers: &[AlignedBuffer]| -> HashSet<usize> {
            buffers.iter().map(|buffer| buffer.as_ptr().addr()).collect()
        };
        let of_first = addresses(&first);
        drop(first);
        assert_eq!(of_first.len(), many);
        let again = addresses(&fill()).intersection(&of_first).count();
        // Other tests take some of them meanwhile.
        assert!(again > many / 2, "what was given back is used first");
    }

    #[test]
    fn pieces_that_touch_are_one() {
        let mut pieces = Vec::new();
        let steps: [(usize, &[(usize, usize)]); 7] = [
            (50, &[(50, 60)]),
            (20, &[(20, 30), (50, 60)]),
            (30, &[(20, 40), (50, 60)]),
            (70, &[(20, 40), (50, 60), (70, 80)]),
            (40, &[(20, 60), (70, 80)]),
            (60, &[(20, 80)]),
            (0, &[(0, 10), (20, 80)]),
        ];
        for (start, expected) in steps {
            note_piece(&mut pieces, start..start + 10);
            let ends: Vec<_> = pieces.iter().map(|piece| (piece.start, piece.end)).collect();
            assert_eq!(ends, expected);
        }
    }
}
