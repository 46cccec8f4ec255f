//! Disks in memory that are strict about how they are accessed, and that can fail.

use std::io;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use lunshadow_coordinator::disk::{DiskCursor, DiskIo, SECTOR_LEN_BYTES};

/// A disk whose bytes the test sees.
pub(crate) struct MemoryDisk {
    bytes: Mutex<Vec<u8>>,
    reads: AtomicU64,
    /// The number of writes that still succeed; the next one fails, those after it succeed.
    writes_until_failure: Mutex<Option<u64>>,
}

impl MemoryDisk {
    pub(crate) fn new(bytes: Vec<u8>) -> Self {
        assert_eq!(bytes.len() % SECTOR_LEN_BYTES, 0);
        Self { bytes: Mutex::new(bytes), reads: AtomicU64::new(0), writes_until_failure: Mutex::new(None) }
    }

    pub(crate) fn zeroed(len_bytes: usize) -> Self {
        Self::new(vec![0; len_bytes])
    }

    pub(crate) fn from_file(path: &Path) -> Self {
        Self::new(std::fs::read(path).unwrap())
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.bytes.lock().unwrap().clone()
    }

    /// Overwrites bytes behind the back of the code under test.
    pub(crate) fn patch(&self, offset: usize, with: &[u8]) {
        self.bytes.lock().unwrap()[offset..offset + with.len()].copy_from_slice(with);
    }

    /// Makes the disk larger, as an image is that was imported into a larger LUN.
    pub(crate) fn grow(&self, by_bytes: usize) {
        let mut bytes = self.bytes.lock().unwrap();
        let len = bytes.len() + by_bytes;
        bytes.resize(len, 0);
    }

    pub(crate) fn reads(&self) -> u64 {
        self.reads.load(Ordering::Relaxed)
    }

    pub(crate) fn fail_write_after(&self, writes: u64) {
        *self.writes_until_failure.lock().unwrap() = Some(writes);
    }

    pub(crate) fn cursor(&self) -> DiskCursor<'_> {
        DiskCursor::read_write(self, 0, self.len_bytes())
    }
}

fn range(disk_len: usize, offset_bytes: u64, len: usize) -> std::ops::Range<usize> {
    let offset = usize::try_from(offset_bytes).unwrap();
    assert!(offset.is_multiple_of(SECTOR_LEN_BYTES) && len.is_multiple_of(SECTOR_LEN_BYTES), "not in whole sectors");
    assert!(offset + len <= disk_len, "beyond the end of the disk");
    offset..offset + len
}

impl DiskIo for MemoryDisk {
    fn len_bytes(&self) -> u64 {
        self.bytes.lock().unwrap().len().try_into().unwrap()
    }

    fn read_at(&self, offset_bytes: u64, into: &mut [u8]) -> io::Result<()> {
        let bytes = self.bytes.lock().unwrap();
        into.copy_from_slice(&bytes[range(bytes.len(), offset_bytes, into.len())]);
        self.reads.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn write_at(&self, offset_bytes: u64, from: &[u8]) -> io::Result<()> {
        let mut left = self.writes_until_failure.lock().unwrap();
        match &mut *left {
            Some(0) => {
                *left = None;
                return Err(io::Error::other("the connection was lost"));
            }
            Some(count) => *count -= 1,
            None => {}
        }
        let mut bytes = self.bytes.lock().unwrap();
        let range = range(bytes.len(), offset_bytes, from.len());
        bytes[range].copy_from_slice(from);
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        Ok(())
    }
}

/// A disk that cannot be read beyond its first `good_bytes`.
pub(crate) struct BrokenDisk<'a> {
    pub(crate) below: &'a MemoryDisk,
    pub(crate) good_bytes: u64,
}

impl DiskIo for BrokenDisk<'_> {
    fn len_bytes(&self) -> u64 {
        self.below.len_bytes()
    }

    fn read_at(&self, offset_bytes: u64, into: &mut [u8]) -> io::Result<()> {
        if offset_bytes + u64::try_from(into.len()).unwrap() > self.good_bytes {
            return Err(io::Error::new(io::ErrorKind::ConnectionReset, "the session was dropped"));
        }
        self.below.read_at(offset_bytes, into)
    }

    fn write_at(&self, offset_bytes: u64, from: &[u8]) -> io::Result<()> {
        self.below.write_at(offset_bytes, from)
    }

    fn flush(&self) -> io::Result<()> {
        Ok(())
    }
}

/// Bytes that look random and are the same each time.
pub(crate) fn noise(seed: u64, len_bytes: usize) -> Vec<u8> {
    let mut state = seed ^ 0x9e37_79b9_7f4a_7c15;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    (0..len_bytes).map(|_| next()).collect()
}
