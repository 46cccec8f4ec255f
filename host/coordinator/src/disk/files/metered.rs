//! Disks as file system readers get them: no end of reading on damage, and the disk's own failures remembered.

use std::cell::Cell;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::rc::Rc;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::disk::{DiskCursor, DiskIo, Volume};

/// How much a crate may read to get from one entry of a directory to the next. A FAT directory has 2 MiB at most, all of which
/// may be deleted entries; a crate that wants more goes round in circles.
const STEP_READ_MAX_BYTES: u64 = 16 * 1024 * 1024;

/// What may still be read in the present step of a reader.
#[derive(Clone)]
pub(super) struct Step(Rc<Cell<u64>>);

impl Default for Step {
    fn default() -> Self {
        Self(Rc::new(Cell::new(STEP_READ_MAX_BYTES)))
    }
}

impl Step {
    /// The next step begins: an entry of a directory, or a read.
    pub(super) fn begin(&self) {
        self.0.set(STEP_READ_MAX_BYTES);
    }

    /// A step begins that has an end whatever is on the disk, and may be long.
    pub(super) fn begin_long(&self) {
        self.0.set(u64::MAX);
    }
}

/// The volume for its reader, which fails when the reader reads on and on without taking a step.
pub(super) struct MeteredCursor<'a> {
    cursor: DiskCursor<'a>,
    step: Step,
}

impl<'a> MeteredCursor<'a> {
    pub(super) fn new(disk: &'a dyn DiskIo, volume: &Volume, step: Step) -> Self {
        Self { cursor: DiskCursor::read_only(disk, volume.offset_bytes, volume.len_bytes), step }
    }
}

impl Read for MeteredCursor<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let count = self.cursor.read(buf)?;
        let left = self.step.0.get().checked_sub(u64::try_from(count).map_err(|_| io::ErrorKind::InvalidData)?);
        let endless = || io::Error::new(io::ErrorKind::InvalidData, "a directory does not end");
        self.step.0.set(left.ok_or_else(endless)?);
        Ok(count)
    }
}

impl Seek for MeteredCursor<'_> {
    fn seek(&mut self, pos: SeekFrom) -> io::Result<u64> {
        self.cursor.seek(pos)
    }
}

/// `fatfs` asks for it; the cursor refuses.
impl Write for MeteredCursor<'_> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.cursor.write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.cursor.flush()
    }
}

/// Remembers the first failure of the disk, since the crates turn it into an error of their own.
pub(super) struct WatchedDisk<'a> {
    disk: &'a dyn DiskIo,
    failure: Mutex<Option<io::Error>>,
}

impl<'a> WatchedDisk<'a> {
    pub(super) fn new(disk: &'a dyn DiskIo) -> Self {
        Self { disk, failure: Mutex::default() }
    }

    /// The failure that was there since this was last asked.
    pub(super) fn check(&self) -> io::Result<()> {
        self.failure().take().map_or(Ok(()), Err)
    }

    /// Whether there is one to be asked for.
    pub(super) fn has_failed(&self) -> bool {
        self.failure().is_some()
    }

    fn failure(&self) -> MutexGuard<'_, Option<io::Error>> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl DiskIo for WatchedDisk<'_> {
    fn len_bytes(&self) -> u64 {
        self.disk.len_bytes()
    }

    fn read_at(&self, offset_bytes: u64, into: &mut [u8]) -> io::Result<()> {
        self.disk.read_at(offset_bytes, into).map_err(|failure| {
            let kind = failure.kind();
            self.failure().get_or_insert(failure);
            kind.into()
        })
    }

    /// Reading files never writes.
    fn write_at(&self, _offset_bytes: u64, _from: &[u8]) -> io::Result<()> {
        Err(io::ErrorKind::PermissionDenied.into())
    }

    fn flush(&self) -> io::Result<()> {
        Ok(())
    }
}
