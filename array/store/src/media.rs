//! The medium under a pool: the only place where bytes leave the process.

mod file;
mod glance;
mod in_flight;
mod measure;
mod ring;
mod shared_memory;
mod slots;
mod transfer;
mod wiping;

pub(crate) use glance::Glance;

use std::io;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use lunshadow_lun::AlignedBuffer;
use smallvec::SmallVec;

use crate::page::{BLOCK_BYTES, BLOCK_LEN, Page, index};

pub(crate) use file::is_block_device;
pub use file::{FileMedia, FileMediaError, IoMode};
pub(crate) use shared_memory::SharedMemory;

/// A medium: an array of bytes that survives a crash once it is synced.
///
/// What is assumed of it is in `docs/format.md`: a write may be lost, torn at 512 bytes, or reordered with others until a
/// [`Media::sync`] that began after the write's end has succeeded; never afterwards. Calls come from several threads at once and
/// may block. Tests wrap it.
pub trait Media: Send + Sync + 'static {
    /// Fills `buffer` from `offset_bytes` on.
    ///
    /// # Errors
    /// What the operating system answers; `UnexpectedEof` beyond the end.
    fn read_at(&self, offset_bytes: u64, buffer: &mut [u8]) -> io::Result<()>;

    /// Writes all of `data` at `offset_bytes`.
    ///
    /// # Errors
    /// What the operating system answers. `StorageFull` and `QuotaExceeded` mean that nothing is wrong with the medium.
    fn write_at(&self, offset_bytes: u64, data: &[u8]) -> io::Result<()>;

    /// Fills several buffers, at the same time if the medium can.
    ///
    /// # Errors
    /// As [`Media::read_at`], for any of them; the others may be filled or not.
    fn read_many(&self, parts: &mut [ReadPart<'_>]) -> io::Result<()> {
        parts.iter_mut().try_for_each(|part| self.read_at(part.offset_bytes, part.buffer))
    }

    /// Whether [`Media::begin_read`] and [`Media::begin_write`] are worth a try.
    fn is_without_threads(&self) -> bool {
        false
    }

    /// Begins to fill a buffer without a thread that waits for it. Gives it back if the medium knows no such way, or is too busy.
    ///
    /// # Errors
    /// The reading, of which nothing has happened then.
    fn begin_read(&self, reading: Reading) -> Result<(), Reading> {
        Err(reading)
    }

    /// Begins to write without a thread that waits for it, as [`Media::write_many`] does otherwise. Gives it back if the medium knows no such way, or
    /// is too busy.
    ///
    /// # Errors
    /// The writing, of which nothing has happened then.
    fn begin_write(&self, writing: Writing) -> Result<(), Writing> {
        Err(writing)
    }

    /// Takes to their ends what [`Media::begin_read`] and [`Media::begin_write`] begin, as long as it is polled, on a runtime of tokio that knows
    /// I/O. Whoever waits on that runtime then goes on without a switch of threads. A thread of the medium does it where there is no driver.
    fn driver(&self) -> Option<Driver> {
        None
    }

    /// Takes to its end what the medium is done with, even if it is the caller's thread that would poll the driver.
    fn look(&self) {}

    /// Waits until nothing is under way that was begun, even if it is the caller's thread that would poll the driver.
    fn settle(&self) {}

    /// Writes several parts, at the same time and in any order if the medium can.
    ///
    /// # Errors
    /// As [`Media::write_at`], for any of them; the others may be written or not.
    fn write_many(&self, parts: &[WritePart<'_>]) -> io::Result<()> {
        parts.iter().try_for_each(|part| self.write_at(part.offset_bytes, part.data))
    }

    /// Overwrites ranges, which nothing refers to, with zeros, durably. What the medium holds of them in places of its own, as flash does, is beyond
    /// this.
    ///
    /// # Errors
    /// As [`Media::write_at`] and [`Media::sync`].
    fn wipe(&self, ranges: &[Range<u64>]) -> io::Result<()> {
        wiping::overwrite(ranges, |at, zeros| self.write_at(at, zeros))?;
        self.sync()
    }

    /// Makes durable all writes that ended before the call.
    ///
    /// # Errors
    /// What the operating system answers. It is never retried: what was not yet durable may be lost.
    fn sync(&self) -> io::Result<()>;

    /// Whether there is no doubt that the medium has room for what is written next, as far as that can be said without writing it.
    fn has_room_to_spare(&self) -> bool {
        true
    }

    /// The length in bytes.
    ///
    /// # Errors
    /// What the operating system answers.
    fn len_bytes(&self) -> io::Result<u64>;

    /// Sets the length; new parts read as zeros.
    ///
    /// # Errors
    /// What the operating system answers.
    fn set_len_bytes(&self, len_bytes: u64) -> io::Result<()>;

    /// How requests reach the medium, in words for an administrator.
    fn engine(&self) -> String {
        "plain calls".to_owned()
    }

    /// How many bytes of requests were copied on their way because the medium cannot take them from, or to, where they lie.
    fn bounced_bytes(&self) -> u64 {
        0
    }
}

/// What [`Media::begin_read`] is given.
pub struct Reading {
    /// Where parts lie on the medium, and which parts of the buffer they fill.
    pub parts: Vec<(u64, Range<usize>)>,
    /// What is to be filled.
    pub buffer: AlignedBuffer,
    /// Is told what became of it, by somebody who is not to be held up.
    pub done: Box<dyn FnOnce(io::Result<AlignedBuffer>) + Send>,
}

/// What [`Media::begin_write`] is given.
pub struct Writing {
    /// Where parts belong on the medium, and what is to be there.
    pub parts: Parts,
    /// Is told what became of it, by somebody who is not to be held up.
    pub done: OnWritten,
}

/// Parts of the medium, each with what is to be there. One needs no memory besides.
pub type Parts = SmallVec<[(u64, Bytes); 1]>;

/// Who is told what became of a [`Writing`].
pub enum OnWritten {
    /// Something that is done then.
    Call(Box<dyn FnOnce(io::Result<()>) + Send>),
    /// Somebody who is always there, and knows the writing by its number.
    Tell(Arc<dyn Listener>, u64),
}

/// Somebody who is told of many writings.
pub trait Listener: Send + Sync {
    /// The writing with that number has come to its end.
    fn ended(&self, number: u64, result: io::Result<()>);
}

impl OnWritten {
    /// Tells.
    pub fn tell(self, result: io::Result<()>) {
        match self {
            Self::Call(call) => call(result),
            Self::Tell(listener, number) => listener.ended(number, result),
        }
    }
}

/// See [`Media::driver`].
pub type Driver = Pin<Box<dyn Future<Output = ()> + Send>>;

impl std::fmt::Debug for Reading {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reading").field("parts", &self.parts).finish_non_exhaustive()
    }
}

/// A part of [`Media::read_many`].
#[derive(Debug)]
pub struct ReadPart<'a> {
    /// Where it lies on the medium.
    pub offset_bytes: u64,
    /// What is to be filled.
    pub buffer: &'a mut [u8],
}

/// A part of [`Media::write_many`].
#[derive(Debug, Clone, Copy)]
pub struct WritePart<'a> {
    /// Where it belongs on the medium.
    pub offset_bytes: u64,
    /// What is to be written.
    pub data: &'a [u8],
}

/// Single blocks at their offsets, as parts of a write.
pub(crate) fn parts_of(blocks: &[(u64, Bytes)]) -> Vec<WritePart<'_>> {
    blocks.iter().map(|(offset_bytes, data)| WritePart { offset_bytes: *offset_bytes, data }).collect()
}

/// Whether a failed write only means that the medium is full.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Reads a page from a block. In memory pages lie close together, not where direct I/O could fill them.
pub(crate) fn read_page(media: &dyn Media, block: u64, page: &mut Page) -> io::Result<()> {
    let mut content = AlignedBuffer::of_len(BLOCK_BYTES);
    media.read_at(block * BLOCK_LEN, &mut content)?;
    page.bytes_mut().copy_from_slice(&content);
    Ok(())
}

/// Writes a page to a block.
pub(crate) fn write_page(media: &dyn Media, block: u64, page: &Page) -> io::Result<()> {
    media.write_at(block * BLOCK_LEN, &AlignedBuffer::copy_of(page.bytes()))
}
