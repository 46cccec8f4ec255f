//! The trait by which disks are read and written, and its implementation for files.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::DiskError;

/// The length of a sector. Every LUN has logical blocks of this length.
pub const SECTOR_LEN_BYTES: usize = 512;

/// [`SECTOR_LEN_BYTES`] for arithmetic with offsets.
pub(super) const SECTOR: u64 = 512;

/// A sector's content.
pub(super) type Sector = [u8; SECTOR_LEN_BYTES];

/// A disk as a row of 512-byte sectors.
///
/// Callers pass offsets and lengths in whole sectors, within the disk; [`DiskCursor`](super::DiskCursor) turns any access
/// into such ones. Implementations fail with an error for anything else, and transfer all bytes or fail.
pub trait DiskIo: Send + Sync {
    /// The length of the disk, in bytes. It does not change.
    fn len_bytes(&self) -> u64;

    /// Fills `into` from the disk.
    fn read_at(&self, offset_bytes: u64, into: &mut [u8]) -> io::Result<()>;

    /// Writes `from` to the disk. The data may be volatile until [`DiskIo::flush`].
    fn write_at(&self, offset_bytes: u64, from: &[u8]) -> io::Result<()>;

    /// Makes every write that has returned durable.
    fn flush(&self) -> io::Result<()>;
}

/// A disk whose content is a raw image file or a block device.
#[derive(Debug)]
pub struct FileDisk {
    file: Mutex<File>,
    len_bytes: u64,
}

impl FileDisk {
    /// Opens `path` for reading; writes fail with the operating system's error.
    pub fn open_read_only(path: &Path) -> Result<Self, DiskError> {
        Self::open(path, OpenOptions::new().read(true))
    }

    /// Opens `path` for reading and writing.
    pub fn open_read_write(path: &Path) -> Result<Self, DiskError> {
        Self::open(path, OpenOptions::new().read(true).write(true))
    }

    fn open(path: &Path, options: &OpenOptions) -> Result<Self, DiskError> {
        let failed = |source| DiskError::Open { path: path.to_owned(), source };
        let mut file = options.open(path).map_err(failed)?;
        // The length of a block device is not in its metadata, but its end can be sought.
        let len_bytes = file.seek(SeekFrom::End(0)).map_err(failed)?;
        if !len_bytes.is_multiple_of(SECTOR) {
            return Err(DiskError::NotWholeSectors { len_bytes });
        }
        Ok(Self { file: Mutex::new(file), len_bytes })
    }

    /// The file, positioned at `offset_bytes`. The lock keeps position and transfer together.
    fn at(&self, offset_bytes: u64) -> io::Result<MutexGuard<'_, File>> {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.seek(SeekFrom::Start(offset_bytes))?;
        Ok(file)
    }
}

impl DiskIo for FileDisk {
    fn len_bytes(&self) -> u64 {
        self.len_bytes
    }

    fn read_at(&self, offset_bytes: u64, into: &mut [u8]) -> io::Result<()> {
        check_range(self.len_bytes, offset_bytes, into.len())?;
        self.at(offset_bytes)?.read_exact(into)
    }

    fn write_at(&self, offset_bytes: u64, from: &[u8]) -> io::Result<()> {
        check_range(self.len_bytes, offset_bytes, from.len())?;
        self.at(offset_bytes)?.write_all(from)
    }

    fn flush(&self) -> io::Result<()> {
        self.file.lock().unwrap_or_else(PoisonError::into_inner).sync_data()
    }
}

/// Refuses an access that is not in whole sectors or not within the disk: writing past the end would grow the file.
pub(super) fn check_range(disk_len_bytes: u64, offset_bytes: u64, len_bytes: usize) -> io::Result<()> {
    let len = u64::try_from(len_bytes).map_err(|_| io::ErrorKind::InvalidInput)?;
    if !offset_bytes.is_multiple_of(SECTOR) || !len.is_multiple_of(SECTOR) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the access is not in whole sectors"));
    }
    match offset_bytes.checked_add(len) {
        Some(end) if end <= disk_len_bytes => Ok(()),
        _ => Err(io::Error::new(io::ErrorKind::InvalidInput, "the access reaches beyond the end of the disk")),
    }
}

/// Reads one sector.
pub(super) fn read_sector(disk: &dyn DiskIo, offset_bytes: u64) -> io::Result<Sector> {
    let mut sector = [0; SECTOR_LEN_BYTES];
    disk.read_at(offset_bytes, &mut sector)?;
    Ok(sector)
}
