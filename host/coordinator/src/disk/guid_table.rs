//! GUID partition tables: reading both copies, and changing them in place.
//!
//! Headers and entries are parsed, checked and rewritten by the functions of the `gpt` crate. Its `GptDisk` is not used,
//! for three reasons: it looks for the alternate header only in the last sector, where it is not on a LUN that is larger than
//! the image that was imported into it; it gives up when the primary header is valid but its entries are not, although the
//! alternate copy has them; and it writes the entries close together, which renumbers the partitions, and loses what
//! follows a name's terminator, while flags must come off again leaving every byte as it was.

use std::collections::BTreeMap;

use gpt::disk::LogicalBlockSize::Lb512;
use gpt::header::{Header, HeaderError, read_header_from_arbitrary_device};
use gpt::partition::{Partition as GptEntry, file_read_partitions};
use uuid::Uuid;
use zerocopy::little_endian::{U16, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::io::{SECTOR, read_sector};
use super::mbr_table::{PrimaryEntries, primary_entries};
use super::overlay::{SectorOverlay, SectorPatch};
use super::{DiskCursor, DiskError, DiskIo, FileSystemKind, Partition, Volume};

/// The sector of the primary header.
const PRIMARY_LBA: u64 = 1;

/// The most entries that are believed. Windows and all common tools make 128; each has 128 bytes.
const ENTRIES_MAX: u32 = 1024;

/// A partition entry (UEFI 2.10, table 5.6).
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct RawEntry {
    type_guid: [u8; 16],
    partition_guid: [u8; 16],
    first_lba: U64,
    last_lba: U64,
    pub(super) attributes: U64,
    name: [U16; 36],
}

const _: () = assert!(size_of::<RawEntry>() == 128);

impl RawEntry {
    fn is_used(&self) -> bool {
        self.type_guid != [0; 16]
    }

    pub(super) fn set_partition_guid(&mut self, guid: Uuid) {
        self.partition_guid = guid.to_bytes_le();
    }
}

/// A GPT that was read.
pub(super) struct GuidTable {
    /// The valid copies, the primary one first. INVARIANT: at least one.
    headers: Vec<Header>,
    entries: BTreeMap<u32, GptEntry>,
}

/// Reads the GPT. One valid copy is enough; if both are, the primary one counts, as for Windows.
pub(super) fn read(disk: &dyn DiskIo) -> Result<GuidTable, DiskError> {
    let primary = read_header(disk, PRIMARY_LBA)?;
    let alternate = match &primary {
        Ok(header) => {
            read_header(disk, header.backup_lba)?.ok().filter(|alternate| alternate.disk_guid == header.disk_guid)
        }
        Err(_) => find_alternate(disk)?,
    };
    let mut reason = match &primary {
        Ok(_) => String::new(),
        Err(reason) => reason.clone(),
    };
    let mut copies = Vec::new();
    for header in primary.ok().into_iter().chain(alternate) {
        match read_entries(disk, &header)? {
            Ok(entries) => copies.push((header, entries)),
            Err(damage) => reason = damage,
        }
    }
    let Some(entries) = copies.first().map(|(_, entries)| entries.clone()) else {
        return Err(DiskError::DamagedGpt { reason });
    };
    Ok(GuidTable { headers: copies.into_iter().map(|(header, _)| header).collect(), entries })
}

/// Looks for the alternate header without the primary one's help: where the table ended according to the protective MBR, and
/// in the last sector of the disk.
fn find_alternate(disk: &dyn DiskIo) -> Result<Option<Header>, DiskError> {
    let last_lba = (disk.len_bytes() / SECTOR).saturating_sub(1);
    let mut candidates = vec![last_lba];
    if let PrimaryEntries::Protective { gpt_end_lba } = primary_entries(&read_sector(disk, 0)?) {
        candidates.insert(0, gpt_end_lba.saturating_sub(1));
    }
    for lba in candidates {
        if let Ok(header) = read_header(disk, lba)? {
            return Ok(Some(header));
        }
    }
    Ok(None)
}

/// Reads the header in sector `lba`. The inner error says what is wrong with what is there.
fn read_header(disk: &dyn DiskIo, lba: u64) -> Result<Result<Header, String>, DiskError> {
    let in_disk = lba.checked_mul(SECTOR).is_some_and(|start| start >= SECTOR && start < disk.len_bytes());
    if !in_disk {
        return Ok(Err(format!("sector {lba}, where a header should be, is not on the disk")));
    }
    // The crate reads the second sector of what it is given.
    let mut window = DiskCursor::read_only(disk, (lba - 1) * SECTOR, 2 * SECTOR);
    let header = match read_header_from_arbitrary_device(&mut window, Lb512) {
        Ok(header) => header,
        Err(HeaderError::Io(failure)) => return Err(failure.into()),
        Err(damage) => return Ok(Err(format!("the header in sector {lba}: {damage}"))),
    };
    let reason = if header.current_lba != lba {
        "it belongs to another sector"
    } else if header.part_size != 128 {
        "its entries do not have 128 bytes"
    } else if header.num_parts == 0 || header.num_parts > ENTRIES_MAX {
        "its number of entries is out of range"
    } else {
        return Ok(Ok(header));
    };
    Ok(Err(format!("the header in sector {lba}: {reason}")))
}

fn read_entries(disk: &dyn DiskIo, header: &Header) -> Result<Result<BTreeMap<u32, GptEntry>, String>, DiskError> {
    let Some((offset_bytes, len_bytes)) = entries_extent(disk, header) else {
        return Ok(Err(format!("the entries at sector {} are not on the disk", header.part_start)));
    };
    // A first read of our own tells a disk that fails, which is an error, from entries that are not right.
    disk.read_at(offset_bytes, &mut vec![0; len_bytes])?;
    let mut cursor = DiskCursor::read_only(disk, 0, offset_bytes + len_bytes as u64);
    Ok(file_read_partitions(&mut cursor, header, Lb512).map_err(|damage| damage.to_string()))
}

/// Where the entries are, in whole sectors; `None` if not on the disk behind the primary header.
fn entries_extent(disk: &dyn DiskIo, header: &Header) -> Option<(u64, usize)> {
    let offset_bytes = header.part_start.checked_mul(SECTOR)?;
    let len_bytes = (u64::from(header.num_parts) * u64::from(header.part_size)).next_multiple_of(SECTOR);
    let in_disk = header.part_start > PRIMARY_LBA && offset_bytes.checked_add(len_bytes)? <= disk.len_bytes();
    Some((offset_bytes, usize::try_from(len_bytes).ok()?)).filter(|_| in_disk)
}

impl GuidTable {
    pub(super) fn disk_guid(&self) -> Uuid {
        self.headers[0].disk_guid
    }

    /// The entries in use, by partition number.
    pub(super) fn entries(&self) -> impl Iterator<Item = (u32, &GptEntry)> {
        self.entries.iter().filter(|(_, entry)| entry.is_used()).map(|(&number, entry)| (number, entry))
    }

    pub(super) fn volumes(&self) -> Result<Vec<Volume>, DiskError> {
        let volume = |(number, entry): (u32, &GptEntry)| {
            let extent = entry.bytes_start(Lb512).and_then(|start| Ok((start, entry.bytes_len(Lb512)?)));
            let (offset_bytes, len_bytes) =
                extent.map_err(|damage| DiskError::DamagedGpt { reason: format!("partition {number}: {damage}") })?;
            Ok(Volume {
                index: number,
                offset_bytes,
                len_bytes,
                partition: Partition::Gpt {
                    type_guid: entry.part_type_guid.guid,
                    partition_guid: entry.part_guid,
                    name: entry.name.clone(),
                },
                file_system: FileSystemKind::Unknown,
            })
        };
        self.entries().map(volume).collect()
    }

    /// Prepares a change of every entry in use, and of the disk's GUID if one is given, in all valid copies, each where it is
    /// now. A copy that is not valid stays as it is.
    pub(super) fn rewrite(
        &self,
        disk: &dyn DiskIo,
        disk_guid: Option<Uuid>,
        mut change: impl FnMut(u32, &mut RawEntry),
    ) -> Result<Vec<SectorPatch>, DiskError> {
        let overlay = SectorOverlay::new(disk);
        for header in &self.headers {
            let (offset_bytes, len_bytes) = entries_extent(disk, header).expect("the entries were read from there");
            let mut table = vec![0; len_bytes];
            disk.read_at(offset_bytes, &mut table)?;
            // The last sector may have bytes after the last entry.
            let count = usize::try_from(header.num_parts).expect("at most ENTRIES_MAX");
            let (entries, _) = <[RawEntry]>::mut_from_prefix_with_elems(&mut table, count)
                .map_err(|_| DiskError::DamagedGpt { reason: "the entries do not fit their sectors".to_owned() })?;
            for (number, entry) in (1..).zip(entries).filter(|(_, entry)| entry.is_used()) {
                change(number, entry);
            }
            overlay.write_at(offset_bytes, &table)?;

            let mut header = header.clone();
            header.disk_guid = disk_guid.unwrap_or(header.disk_guid);
            // The cursor comes after the write to the overlay, so it reads the new entries for their checksum.
            let mut cursor = DiskCursor::read_write(&overlay, 0, disk.len_bytes());
            let written = match header.current_lba {
                PRIMARY_LBA => header.write_primary(&mut cursor, Lb512),
                _ => header.write_backup(&mut cursor, Lb512),
            };
            written.map_err(|failure| match failure {
                HeaderError::Io(failure) => DiskError::Io(failure),
                damage => DiskError::DamagedGpt { reason: damage.to_string() },
            })?;
        }
        Ok(overlay.into_patches()?)
    }
}
