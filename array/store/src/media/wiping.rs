//! Overwriting parts of a file or device that nothing refers to.

use std::fs::File;
use std::io;
use std::ops::Range;

use lunshadow_lun::AlignedBuffer;
use rustix::fs::{FallocateFlags, SeekFrom, fallocate, seek};
use rustix::io::Errno;

use super::index;

/// How much is written at a time.
const PIECE_BYTES: u64 = 1 << 20;

/// The parts of a range that a file has written places for. Holes have none, and hold nothing; where the file system does not say, and of a
/// device, all is taken for written.
pub(super) fn written_parts(file: &File, range: &Range<u64>) -> io::Result<Vec<Range<u64>>> {
    let mut parts = Vec::new();
    let mut at = range.start;
    while at < range.end {
        let start = match seek(file, SeekFrom::Data(at)) {
            Ok(start) => start,
            // There are only holes up to the end.
            Err(Errno::NXIO) => break,
            Err(Errno::INVAL | Errno::OPNOTSUPP) => at,
            Err(error) => return Err(error.into()),
        };
        if start >= range.end {
            break;
        }
        let end = match seek(file, SeekFrom::Hole(start)) {
            Ok(end) => end.min(range.end),
            Err(Errno::NXIO) => break,
            Err(Errno::INVAL | Errno::OPNOTSUPP) => range.end,
            Err(error) => return Err(error.into()),
        };
        parts.push(start..end);
        at = end;
    }
    Ok(parts)
}

/// Writes zeros to parts.
pub(super) fn overwrite(parts: &[Range<u64>], mut write: impl FnMut(u64, &[u8]) -> io::Result<()>) -> io::Result<()> {
    let zeros = AlignedBuffer::zeroed(index(PIECE_BYTES));
    for part in parts {
        let mut at = part.start;
        while at < part.end {
            let len = PIECE_BYTES.min(part.end - at);
            write(at, &zeros[..index(len)])?;
            at += len;
        }
    }
    Ok(())
}

/// Lets a file forget that it has written places for parts which have been overwritten, so that nobody does it again. They keep their space, and
/// read as zeros either way.
pub(super) fn forget(file: &File, parts: &[Range<u64>]) {
    for part in parts {
        let flags = FallocateFlags::ZERO_RANGE | FallocateFlags::KEEP_SIZE;
        if let Err(error) = fallocate(file, flags, part.start, part.end - part.start) {
            tracing::debug!(%error, "the file system cannot forget written places");
            return;
        }
    }
}
