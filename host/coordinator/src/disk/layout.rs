//! The partition table and the volumes of a disk.

use std::fmt;

use uuid::Uuid;

use super::io::read_sector;
use super::{DiskError, DiskIo, guid_table, mbr_table, probe};

/// What [`read_layout`] found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DiskLayout {
    /// The length of the disk.
    pub len_bytes: u64,
    /// How it is divided, and what identifies it.
    pub table: PartitionTable,
    /// Its partitions (without those that only contain others), by index; or the one volume that fills the disk.
    pub volumes: Vec<Volume>,
}

/// The kind of partition table, with the identity that Windows knows the disk by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PartitionTable {
    /// A GUID partition table (UEFI 5.3).
    Gpt {
        /// The disk's GUID.
        disk_guid: Uuid,
    },
    /// A master boot record, which may have logical partitions.
    Mbr {
        /// The 32-bit disk signature at byte 0x1B8.
        signature: u32,
    },
    /// None: a filesystem from the first sector on, or nothing that is known.
    None,
}

impl PartitionTable {
    /// The disk's identity in the form of `VDS_LUN_INFORMATION::m_diskSignature`: the disk's GUID, or the MBR signature in the
    /// first four bytes of an otherwise zero GUID. Nil for a disk that has neither.
    pub fn signature_guid(&self) -> Uuid {
        match *self {
            Self::Gpt { disk_guid } => disk_guid,
            // The first field of a GUID is an integer; its bytes in memory, little-endian, are those on the disk.
            Self::Mbr { signature } => Uuid::from_fields(signature, 0, 0, &[0; 8]),
            Self::None => Uuid::nil(),
        }
    }
}

/// A contiguous part of a disk that may hold a filesystem.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Volume {
    /// The partition's number, from 1; logical partitions from 5; 0 for a filesystem without a partition table.
    pub index: u32,
    /// Where it begins on the disk.
    pub offset_bytes: u64,
    /// How long it is.
    pub len_bytes: u64,
    /// What the partition table says about it.
    pub partition: Partition,
    /// What its first sectors say.
    pub file_system: FileSystemKind,
}

/// A volume's entry in the partition table.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Partition {
    /// An entry of a GPT.
    Gpt {
        /// What the partition is for.
        type_guid: Uuid,
        /// The identity of this partition.
        partition_guid: Uuid,
        /// Its name, which may be empty.
        name: String,
    },
    /// An entry of an MBR or of an extended boot record.
    Mbr {
        /// The partition type, for example 0x07.
        type_code: u8,
    },
    /// The volume fills the disk.
    WholeDisk,
}

impl fmt::Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gpt { type_guid, name, .. } if name.is_empty() => write!(f, "GPT {type_guid}"),
            Self::Gpt { name, .. } => write!(f, "GPT \"{name}\""),
            Self::Mbr { type_code } => write!(f, "MBR 0x{type_code:02x}"),
            Self::WholeDisk => f.write_str("whole disk"),
        }
    }
}

/// A kind of filesystem, as far as this host can tell.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum FileSystemKind {
    /// FAT12, FAT16 or FAT32.
    Fat,
    /// NTFS.
    Ntfs,
    /// ext2, ext3 or ext4.
    Ext4,
    /// Another, or none.
    Unknown,
}

impl fmt::Display for FileSystemKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fat => "FAT",
            Self::Ntfs => "NTFS",
            Self::Ext4 => "ext2/3/4",
            Self::Unknown => "unknown",
        })
    }
}

/// Reads the partition table of `disk` and looks at the first sectors of each partition.
///
/// The disk may be larger than its table says: an image was imported into a larger LUN. A disk with nothing known on it has
/// no volumes. Partitions that reach beyond the disk's end are listed, and reading their files fails.
pub fn read_layout(disk: &dyn DiskIo) -> Result<DiskLayout, DiskError> {
    let len_bytes = disk.len_bytes();
    let (table, mut volumes) = match sort(disk)? {
        Division::Gpt => {
            let gpt = guid_table::read(disk)?;
            (PartitionTable::Gpt { disk_guid: gpt.disk_guid() }, gpt.volumes()?)
        }
        Division::Mbr => {
            let mbr = mbr_table::read(disk)?;
            (PartitionTable::Mbr { signature: mbr.signature() }, mbr.volumes())
        }
        Division::WholeDisk(file_system) => {
            let partition = Partition::WholeDisk;
            (PartitionTable::None, vec![Volume { index: 0, offset_bytes: 0, len_bytes, partition, file_system }])
        }
        Division::Nothing => (PartitionTable::None, Vec::new()),
    };
    for volume in &mut volumes {
        volume.file_system = probe::file_system_kind(disk, volume.offset_bytes, volume.len_bytes)?;
    }
    Ok(DiskLayout { len_bytes, table, volumes })
}

/// How a disk is divided, before its tables are read.
pub(super) enum Division {
    Gpt,
    Mbr,
    WholeDisk(FileSystemKind),
    Nothing,
}

/// Tells a partition table from a boot sector. Both end with the same signature, so this is a matter of evidence.
pub(super) fn sort(disk: &dyn DiskIo) -> Result<Division, DiskError> {
    if disk.len_bytes() < 512 {
        return Ok(Division::Nothing);
    }
    let first = read_sector(disk, 0)?;
    let entries = mbr_table::primary_entries(&first);
    // Boot loaders leave the parameter block of an earlier filesystem in the MBR, and boot sectors have code where an MBR has
    // its entries. Entries that are in use and all make sense are the stronger evidence.
    let is_divided = entries.is_plausible(disk.len_bytes());
    if !is_divided {
        let found = match probe::boot_sector_kind(&first) {
            Some(kind) => kind,
            None => probe::file_system_kind(disk, 0, disk.len_bytes())?,
        };
        if found != FileSystemKind::Unknown {
            return Ok(Division::WholeDisk(found));
        }
    }
    Ok(match entries {
        mbr_table::PrimaryEntries::Protective { .. } => Division::Gpt,
        mbr_table::PrimaryEntries::Some { .. } => Division::Mbr,
        mbr_table::PrimaryEntries::Invalid => Division::Nothing,
    })
}
