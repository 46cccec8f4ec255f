//! Changes to a disk, prepared beside it and then applied, or undone, as a whole.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::io::{SECTOR, SECTOR_LEN_BYTES, Sector, check_range, read_sector};
use super::{DiskError, DiskIo};

/// A disk over another: what is written here stays here, what was not is read from below.
pub(super) struct SectorOverlay<'a> {
    below: &'a dyn DiskIo,
    written: Mutex<BTreeMap<u64, Sector>>,
}

/// What a sector held, and what it is to hold instead.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct SectorPatch {
    pub(super) offset_bytes: u64,
    pub(super) before: Sector,
    pub(super) after: Sector,
}

impl<'a> SectorOverlay<'a> {
    pub(super) fn new(below: &'a dyn DiskIo) -> Self {
        Self { below, written: Mutex::default() }
    }

    /// The sectors whose content differs from the disk's below, in ascending order.
    pub(super) fn into_patches(self) -> io::Result<Vec<SectorPatch>> {
        let written = self.written.into_inner().unwrap_or_else(PoisonError::into_inner);
        let mut patches = Vec::new();
        for (offset_bytes, after) in written {
            let before = read_sector(self.below, offset_bytes)?;
            if before != after {
                patches.push(SectorPatch { offset_bytes, before, after });
            }
        }
        Ok(patches)
    }

    fn written(&self) -> MutexGuard<'_, BTreeMap<u64, Sector>> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl DiskIo for SectorOverlay<'_> {
    fn len_bytes(&self) -> u64 {
        self.below.len_bytes()
    }

    fn read_at(&self, offset_bytes: u64, into: &mut [u8]) -> io::Result<()> {
        self.below.read_at(offset_bytes, into)?;
        let len = u64::try_from(into.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
        for (&at, sector) in self.written().range(offset_bytes..offset_bytes + len) {
            let from = usize::try_from(at - offset_bytes).map_err(|_| io::ErrorKind::InvalidInput)?;
            into[from..from + SECTOR_LEN_BYTES].copy_from_slice(sector);
        }
        Ok(())
    }

    fn write_at(&self, offset_bytes: u64, from: &[u8]) -> io::Result<()> {
        check_range(self.len_bytes(), offset_bytes, from.len())?;
        let (sectors, _) = from.as_chunks::<SECTOR_LEN_BYTES>();
        self.written().extend((offset_bytes..).step_by(SECTOR_LEN_BYTES).zip(sectors.iter().copied()));
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes what the patches want, the last run of sectors first, each run durable before the next.
///
/// The order is that of the UEFI specification (5.3.2) for a GPT: its alternate copy, at the end of the disk, is complete
/// before the primary one changes, so one valid copy exists at any time.
pub(super) fn apply(disk: &dyn DiskIo, patches: &[SectorPatch]) -> io::Result<()> {
    write_runs(disk, patches, |patch| &patch.after)
}

/// Puts back what was there before. Sectors that were not reached, or put back already, are left as they are; if any sector
/// holds something else, nothing is written.
pub(super) fn undo(disk: &dyn DiskIo, patches: &[SectorPatch]) -> Result<(), DiskError> {
    for patch in patches {
        let now = read_sector(disk, patch.offset_bytes)?;
        if now != patch.before && now != patch.after {
            return Err(DiskError::ChangedMeanwhile { offset_bytes: patch.offset_bytes });
        }
    }
    Ok(write_runs(disk, patches, |patch| &patch.before)?)
}

fn write_runs(disk: &dyn DiskIo, patches: &[SectorPatch], content: impl Fn(&SectorPatch) -> &Sector) -> io::Result<()> {
    for run in patches.chunk_by(|a, b| a.offset_bytes + SECTOR == b.offset_bytes).rev() {
        let bytes: Vec<u8> = run.iter().flat_map(&content).copied().collect();
        disk.write_at(run[0].offset_bytes, &bytes)?;
        disk.flush()?;
    }
    Ok(())
}
