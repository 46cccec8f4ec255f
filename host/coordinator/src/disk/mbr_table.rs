//! Master boot records, with the logical partitions in their extended one.
//!
//! Reading is `mbrman`'s. Writing is ours, because it is four bytes: the crate would rewrite the whole record.

use std::io::Cursor;
use std::panic::{AssertUnwindSafe, catch_unwind};

use mbrman::{MBR, MBRHeader, MBRPartitionEntry};

use super::io::{SECTOR, Sector, read_sector};
use super::overlay::{SectorOverlay, SectorPatch};
use super::{DiskCursor, DiskError, DiskIo, FileSystemKind, Partition, Volume};

/// The type of the one partition of a protective MBR, behind which a GPT is (UEFI 5.2.3).
const PROTECTIVE: u8 = 0xee;

/// Where the disk signature is.
const SIGNATURE_OFFSET: usize = 0x1b8;

/// What the first sector of a disk says, if it is taken for an MBR.
pub(super) enum PrimaryEntries {
    /// A GPT follows. It ended at `gpt_end_lba` when it was written.
    Protective { gpt_end_lba: u64 },
    /// The extents of the partitions that are in use: first sector, number of sectors.
    Some { extents: Vec<(u32, u32)> },
    /// No MBR: the boot signature is missing, or something else is where the entries would be.
    Invalid,
}

impl PrimaryEntries {
    /// Whether there are partitions, all of which begin on the disk.
    pub(super) fn is_plausible(&self, disk_len_bytes: u64) -> bool {
        match self {
            Self::Protective { .. } => true,
            Self::Some { extents } => {
                let begins_on_disk = |start: u32| start > 0 && u64::from(start) * SECTOR < disk_len_bytes;
                !extents.is_empty() && extents.iter().all(|&(start, count)| begins_on_disk(start) && count > 0)
            }
            Self::Invalid => false,
        }
    }
}

/// Looks at the four entries of the first sector only.
pub(super) fn primary_entries(first: &Sector) -> PrimaryEntries {
    let Ok(header) = MBRHeader::read_from(&mut Cursor::new(first)) else {
        return PrimaryEntries::Invalid;
    };
    if let Some((_, entry)) = header.iter().find(|(_, entry)| entry.sys == PROTECTIVE) {
        return PrimaryEntries::Protective { gpt_end_lba: u64::from(entry.starting_lba) + u64::from(entry.sectors) };
    }
    let used = header.iter().filter(|(_, entry)| entry.is_used());
    PrimaryEntries::Some { extents: used.map(|(_, entry)| (entry.starting_lba, entry.sectors)).collect() }
}

/// A master boot record that was read.
pub(super) struct MbrTable(MBR);

/// Reads the MBR and follows the chain of extended boot records.
pub(super) fn read(disk: &dyn DiskIo) -> Result<MbrTable, DiskError> {
    let mut cursor = DiskCursor::read_only(disk, 0, disk.len_bytes());
    let sector_len = u32::try_from(SECTOR).expect("512 fits 32 bits");
    // The crate adds addresses from the disk without a check, which panics where overflow is checked.
    match catch_unwind(AssertUnwindSafe(|| MBR::read_from(&mut cursor, sector_len))) {
        Ok(Ok(mbr)) => Ok(MbrTable(mbr)),
        Ok(Err(mbrman::Error::Io(failure))) => Err(failure.into()),
        Ok(Err(damage)) => Err(DiskError::DamagedMbr { reason: damage.to_string() }),
        Err(_) => Err(DiskError::DamagedMbr { reason: "an address in an extended boot record overflows".to_owned() }),
    }
}

impl MbrTable {
    pub(super) fn signature(&self) -> u32 {
        u32::from_le_bytes(self.0.header.disk_signature)
    }

    /// The partitions in use, primary and logical, but not the extended one that contains the latter.
    pub(super) fn volumes(&self) -> Vec<Volume> {
        let is_volume = |entry: &MBRPartitionEntry| entry.is_used() && !entry.is_extended() && entry.sectors > 0;
        let used = self.0.iter().filter(|(_, entry)| is_volume(entry));
        used.map(|(number, entry)| Volume {
            index: u32::try_from(number).expect("there are fewer partitions than sectors"),
            offset_bytes: u64::from(entry.starting_lba) * SECTOR,
            len_bytes: u64::from(entry.sectors) * SECTOR,
            partition: Partition::Mbr { type_code: entry.sys },
            file_system: FileSystemKind::Unknown,
        })
        .collect()
    }

    /// The first sector that belongs to a partition, be it one that only contains others; `None` without any.
    pub(super) fn first_used_lba(&self) -> Option<u64> {
        self.0.header.iter().filter(|(_, entry)| entry.is_used()).map(|(_, entry)| u64::from(entry.starting_lba)).min()
    }
}

/// Prepares a change of the disk signature.
pub(super) fn replace_signature(disk: &dyn DiskIo, signature: u32) -> Result<Vec<SectorPatch>, DiskError> {
    let mut first = read_sector(disk, 0)?;
    first[SIGNATURE_OFFSET..SIGNATURE_OFFSET + 4].copy_from_slice(&signature.to_le_bytes());
    let overlay = SectorOverlay::new(disk);
    overlay.write_at(0, &first)?;
    Ok(overlay.into_patches()?)
}
