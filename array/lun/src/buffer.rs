//! Memory for data that moves between initiators and media without being copied.
//!
//! Direct I/O takes memory only at addresses that suit the device. Data that lies in an [`AlignedBuffer`] from the beginning goes to
//! any medium as it is. What is let go is used again, up to a fixed amount, so that a request costs no page faults. Buffers of one block have a
//! stock of their own.

use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

use crate::block_memory::{self, OneBlock};

/// What the address of a buffer's first byte is a multiple of. No device that is in use asks for more.
pub const DATA_ALIGNMENT_BYTES: usize = 4096;

/// How much memory of buffers of several blocks that were let go is kept for the next ones at most.
pub const KEPT_BUFFER_BYTES_MAX: usize = 32 << 20;

/// How much of it are buffers of one length at most.
const KEPT_BYTES_PER_CLASS: usize = 8 << 20;
/// One class for each power of two from 8 KiB to 4 MiB.
const CLASSES: usize = 10;

#[derive(Clone, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(4096))]
pub(crate) struct Block([u8; DATA_ALIGNMENT_BYTES]);

type Kept = Mutex<Vec<Vec<Block>>>;

static KEPT: [Kept; CLASSES] = [const { Mutex::new(Vec::new()) }; CLASSES];
/// How much all of it is.
static KEPT_BYTES: AtomicUsize = AtomicUsize::new(0);

/// A buffer that begins at a multiple of [`DATA_ALIGNMENT_BYTES`].
pub struct AlignedBuffer {
    memory: Memory,
    len: usize,
}

enum Memory {
    One(OneBlock),
    /// Several, or one where no other memory was to be had.
    Some(Vec<Block>),
}

impl AlignedBuffer {
    /// A buffer of `len` bytes that hold anything, mostly what an earlier user left there: fill all of it.
    #[must_use]
    pub fn of_len(len: usize) -> Self {
        let block_count = len.div_ceil(DATA_ALIGNMENT_BYTES).next_power_of_two();
        if block_count == 1
            && let Some(block) = block_memory::take()
        {
            return Self { memory: Memory::One(block), len };
        }
        let kept = class_of(block_count).and_then(|kept| kept.lock().pop());
        if let Some(blocks) = &kept {
            KEPT_BYTES.fetch_sub(bytes_of(blocks), Ordering::Relaxed);
        }
        Self { memory: Memory::Some(kept.unwrap_or_else(|| zeros(block_count))), len }
    }

    /// A buffer of `len` zeros.
    #[must_use]
    pub fn zeroed(len: usize) -> Self {
        let mut buffer = Self::of_len(len);
        buffer.fill(0);
        buffer
    }

    /// A buffer with a copy of `data`.
    #[must_use]
    pub fn copy_of(data: &[u8]) -> Self {
        let mut buffer = Self::of_len(data.len());
        buffer.copy_from_slice(data);
        buffer
    }

    /// The buffer as shared data. The memory is used again when the last part of it is let go.
    #[must_use]
    pub fn freeze(self) -> Bytes {
        Bytes::from_owner(self)
    }
}

/// Whether data begins at a multiple of `alignment_bytes`.
#[must_use]
pub fn is_aligned(data: &[u8], alignment_bytes: usize) -> bool {
    data.as_ptr().addr().is_multiple_of(alignment_bytes)
}

/// Where buffers of so many blocks are kept, if they are.
fn class_of(block_count: usize) -> Option<&'static Kept> {
    KEPT.get(usize::try_from(block_count.trailing_zeros().checked_sub(1)?).ok()?)
}

fn zeros(block_count: usize) -> Vec<Block> {
    // It fails only where an allocation of that size cannot succeed either.
    Block::new_vec_zeroed(block_count).unwrap_or_default()
}

impl Deref for AlignedBuffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.memory {
            Memory::One(block) => &block.0[..self.len],
            Memory::Some(blocks) => &blocks.as_bytes()[..self.len],
        }
    }
}

impl DerefMut for AlignedBuffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        match &mut self.memory {
            Memory::One(block) => &mut block.0[..self.len],
            Memory::Some(blocks) => &mut blocks.as_mut_bytes()[..self.len],
        }
    }
}

impl AsRef<[u8]> for AlignedBuffer {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl std::fmt::Debug for AlignedBuffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AlignedBuffer").field("len", &self.len).finish_non_exhaustive()
    }
}

impl Drop for AlignedBuffer {
    fn drop(&mut self) {
        let blocks = match std::mem::replace(&mut self.memory, Memory::Some(Vec::new())) {
            Memory::One(block) => return block_memory::give_back(block),
            Memory::Some(blocks) => blocks,
        };
        let Some(kept) = class_of(blocks.len()).filter(|_| !blocks.is_empty()) else { return };
        let bytes = bytes_of(&blocks);
        let mut kept = kept.lock();
        if (kept.len() + 1) * bytes > KEPT_BYTES_PER_CLASS {
            return;
        }
        if KEPT_BYTES.fetch_add(bytes, Ordering::Relaxed) + bytes > KEPT_BUFFER_BYTES_MAX {
            KEPT_BYTES.fetch_sub(bytes, Ordering::Relaxed);
            return;
        }
        kept.push(blocks);
    }
}

fn bytes_of(blocks: &[Block]) -> usize {
    size_of_val(blocks)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_of_any_length_are_aligned_and_writable_to_their_end() {
        for len in [0, 1, 512, 4095, 4096, 4097, 1 << 20, (4 << 20) + 1] {
            let mut buffer = AlignedBuffer::of_len(len);
            assert_eq!(buffer.len(), len);
            assert!(is_aligned(&buffer, DATA_ALIGNMENT_BYTES));
            buffer.fill(7);
            let data = buffer.freeze();
            assert!(data.len() == len && data.iter().all(|byte| *byte == 7));
        }
        assert!(AlignedBuffer::zeroed(9000).iter().all(|byte| *byte == 0));
        assert_eq!(&*AlignedBuffer::copy_of(&[1, 2, 3]), [1, 2, 3]);
    }

    #[test]
    fn what_is_kept_is_bounded() {
        for (class, of_class) in KEPT.iter().enumerate() {
            let len = DATA_ALIGNMENT_BYTES << (class + 1);
            let many: Vec<AlignedBuffer> =
                (0..=KEPT_BYTES_PER_CLASS / len).map(|_| AlignedBuffer::of_len(len)).collect();
            drop(many);
            let kept = of_class.lock().len() * len;
            assert!(kept <= KEPT_BYTES_PER_CLASS && KEPT_BYTES.load(Ordering::Relaxed) <= KEPT_BUFFER_BYTES_MAX);
            assert!(class > 0 || kept > 0, "nothing is kept");
        }
    }

    #[test]
    fn a_part_keeps_the_whole_alive() {
        let data = AlignedBuffer::copy_of(&[5; 8192]).freeze();
        let part = data.slice(4096..);
        drop(data);
        let other = AlignedBuffer::zeroed(8192);
        assert!(part.iter().all(|byte| *byte == 5) && other.iter().all(|byte| *byte == 0));
    }
}
