//! A window of a disk as a byte stream, for the crates that read tables and filesystems.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, Read, Seek, SeekFrom, Write};

use super::DiskIo;
use super::io::SECTOR;

/// What is read from the disk at once: each read of a LUN may be a round trip.
const CHUNK_LEN_BYTES: u64 = 1024 * 1024;

/// How many chunks are kept. Filesystems go to and fro between a few places (tables, a directory, a file's data).
const CHUNKS_MAX: usize = 8;

/// A window of a disk that can be read, written and sought at any byte.
///
/// Reads are served from a small cache of 1 MiB chunks. Writes go through to the disk at once, in whole sectors. Nothing
/// else may write to the window while the cursor lives, or it would serve what was there before.
pub struct DiskCursor<'a> {
    disk: &'a dyn DiskIo,
    /// Where the window begins and ends on the disk. INVARIANT: start <= end <= the disk's length.
    start_bytes: u64,
    end_bytes: u64,
    /// Relative to the window's start; may be beyond its end, as with files.
    position: u64,
    writable: bool,
    /// The most recently used chunk is at the front.
    chunks: VecDeque<Chunk>,
}

/// A piece of the disk that begins at a multiple of [`CHUNK_LEN_BYTES`], or where the window does.
struct Chunk {
    start_bytes: u64,
    bytes: Vec<u8>,
}

impl<'a> DiskCursor<'a> {
    /// A cursor over `len_bytes` of `disk` from `offset_bytes` on, less what is beyond the end of the disk. Writes fail.
    pub fn read_only(disk: &'a dyn DiskIo, offset_bytes: u64, len_bytes: u64) -> Self {
        // A disk that does not end with a whole sector is not one; what follows the last whole sector cannot be read.
        let disk_end = disk.len_bytes() / SECTOR * SECTOR;
        let start_bytes = offset_bytes.min(disk_end);
        let end_bytes = start_bytes.saturating_add(len_bytes).min(disk_end);
        Self { disk, start_bytes, end_bytes, position: 0, writable: false, chunks: VecDeque::new() }
    }

    /// The same, for reading and writing.
    pub fn read_write(disk: &'a dyn DiskIo, offset_bytes: u64, len_bytes: u64) -> Self {
        Self { writable: true, ..Self::read_only(disk, offset_bytes, len_bytes) }
    }

    /// The length of the window.
    pub fn len_bytes(&self) -> u64 {
        self.end_bytes - self.start_bytes
    }

    /// Loads the chunk with the byte at the position to the front of the cache, and tells which bytes of it lie at the
    /// position and within the window, `wanted` at most. No byte at or after the end of the window.
    fn locate(&mut self, wanted: usize) -> io::Result<std::ops::Range<usize>> {
        let at = match self.start_bytes.checked_add(self.position) {
            Some(at) if at < self.end_bytes => at,
            _ => return Ok(0..0),
        };
        // Of the first chunk and the last one, what is beyond the window is not read, but for the rest of a sector.
        let place = at / CHUNK_LEN_BYTES * CHUNK_LEN_BYTES;
        let chunk_start = place.max(self.start_bytes / SECTOR * SECTOR);
        let chunk_end = (place + CHUNK_LEN_BYTES).min(self.end_bytes.next_multiple_of(SECTOR));
        self.load(chunk_start, to_usize(chunk_end - chunk_start))?;
        let available = to_usize(self.end_bytes.min(chunk_end) - at);
        let from = to_usize(at - chunk_start);
        Ok(from..from + available.min(wanted))
    }

    fn load(&mut self, chunk_start: u64, chunk_len: usize) -> io::Result<()> {
        if let Some(index) = self.chunks.iter().position(|chunk| chunk.start_bytes == chunk_start) {
            if let Some(chunk) = self.chunks.remove(index) {
                self.chunks.push_front(chunk);
            }
            return Ok(());
        }
        // The oldest chunk's memory serves the new one.
        let oldest = if self.chunks.len() == CHUNKS_MAX { self.chunks.pop_back() } else { None };
        let bytes = oldest.map(|chunk| chunk.bytes).filter(|bytes| bytes.len() == chunk_len);
        let mut bytes = bytes.unwrap_or_else(|| vec![0; chunk_len]);
        self.disk.read_at(chunk_start, &mut bytes)?;
        self.chunks.push_front(Chunk { start_bytes: chunk_start, bytes });
        Ok(())
    }
}

/// For lengths within a chunk.
fn to_usize(len_bytes: u64) -> usize {
    usize::try_from(len_bytes).expect("a chunk's length fits any address space")
}

impl Read for DiskCursor<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let range = self.locate(buf.len())?;
        let count = range.len();
        if let Some(chunk) = self.chunks.front().filter(|_| count > 0) {
            buf[..count].copy_from_slice(&chunk.bytes[range]);
        }
        self.position += u64::try_from(count).expect("a chunk's length fits 64 bits");
        Ok(count)
    }
}

impl Write for DiskCursor<'_> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        if !self.writable {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        let range = self.locate(buf.len())?;
        let count = range.len();
        if let Some(chunk) = self.chunks.front_mut().filter(|_| count > 0) {
            let sector = to_usize(SECTOR);
            let sectors = range.start / sector * sector..range.end.next_multiple_of(sector);
            let offset_bytes = chunk.start_bytes + u64::try_from(sectors.start).expect("a chunk's length fits 64 bits");
            // The cache changes first and is dropped on failure, so it never differs from the disk unnoticed.
            chunk.bytes[range].copy_from_slice(&buf[..count]);
            if let Err(failure) = self.disk.write_at(offset_bytes, &chunk.bytes[sectors]) {
                self.chunks.pop_front();
                return Err(failure);
            }
        }
        self.position += u64::try_from(count).expect("a chunk's length fits 64 bits");
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.writable { self.disk.flush() } else { Ok(()) }
    }
}

impl Seek for DiskCursor<'_> {
    fn seek(&mut self, pos: SeekFrom) -> io::Result<u64> {
        let target = match pos {
            SeekFrom::Start(offset) => Some(offset),
            SeekFrom::End(offset) => self.len_bytes().checked_add_signed(offset),
            SeekFrom::Current(offset) => self.position.checked_add_signed(offset),
        };
        self.position =
            target.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "the target is no position"))?;
        Ok(self.position)
    }
}

impl fmt::Debug for DiskCursor<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DiskCursor")
            .field("start_bytes", &self.start_bytes)
            .field("end_bytes", &self.end_bytes)
            .field("position", &self.position)
            .field("writable", &self.writable)
            .finish_non_exhaustive()
    }
}
