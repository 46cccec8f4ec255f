//! The flags by which VSS marks a disk as a shadow copy, so that the mark travels with the LUN.
//!
//! Before the commit VSS sets them on the *source*, in a way that can be taken back; the copy is born with them, and the source
//! is cleared right after. On a GPT disk they are attribute bits of each partition entry. On an MBR disk Windows keeps them
//! in hidden sectors whose layout is not documented; here a record of our own stands for those, in a free sector between the
//! MBR and the first partition. A disk without a partition table cannot be flagged.

use bitflags::bitflags;
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::io::{SECTOR, SECTOR_LEN_BYTES, Sector};
use super::layout::{Division, sort};
use super::overlay::{self, SectorOverlay, SectorPatch};
use super::{DiskError, DiskIo, guid_table, mbr_table};

/// Attribute bits of a basic data partition (`GPT_BASIC_DATA_ATTRIBUTE_*`, `winioctl.h`).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ShadowFlags(u64);

bitflags! {
    impl ShadowFlags: u64 {
        /// The volume cannot be written.
        const READ_ONLY = 0x1000_0000_0000_0000;
        /// The volume is a shadow copy of another.
        const SHADOW_COPY = 0x2000_0000_0000_0000;
        /// The volume is not mounted.
        const HIDDEN = 0x4000_0000_0000_0000;
        /// The volume gets no drive letter by itself.
        const NO_DRIVE_LETTER = 0x8000_0000_0000_0000;
    }
}

/// Where the flags of a disk are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FlagPlacement {
    /// In the attributes of the entries of a GPT.
    GptAttributes {
        /// How many partitions have them.
        partition_count: u32,
    },
    /// In a record between the MBR and the first partition.
    MbrRecord {
        /// The record's sector.
        offset_bytes: u64,
    },
    /// Nowhere: the disk has an MBR, but no free sector before the first partition. It was not changed.
    NoRoom,
    /// Nowhere: the disk has no partition table. It was not changed.
    NotApplicable,
}

/// What [`set_shadow_flags`] did to a disk, for [`clear_shadow_flags`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SavedFlags {
    placement: FlagPlacement,
    patches: Vec<SectorPatch>,
}

impl SavedFlags {
    /// Where the flags were put.
    pub fn placement(&self) -> FlagPlacement {
        self.placement
    }
}

/// Sets all four flags on every partition of `disk`, durably. If the disk fails meanwhile, what was written is put back.
pub fn set_shadow_flags(disk: &dyn DiskIo) -> Result<SavedFlags, DiskError> {
    let (placement, patches) = match sort(disk)? {
        Division::Gpt => {
            let table = guid_table::read(disk)?;
            let partition_count =
                u32::try_from(table.entries().count()).expect("the number of entries is 32 bits wide");
            let patches = table.rewrite(disk, None, |_, entry| {
                entry.attributes = (entry.attributes.get() | ShadowFlags::all().bits()).into();
            })?;
            (FlagPlacement::GptAttributes { partition_count }, patches)
        }
        Division::Mbr => match place_record(disk)? {
            Some(offset_bytes) => {
                let overlay = SectorOverlay::new(disk);
                overlay.write_at(offset_bytes, FlagRecord::new(ShadowFlags::all()).as_bytes())?;
                (FlagPlacement::MbrRecord { offset_bytes }, overlay.into_patches()?)
            }
            None => (FlagPlacement::NoRoom, Vec::new()),
        },
        Division::WholeDisk(_) | Division::Nothing => (FlagPlacement::NotApplicable, Vec::new()),
    };
    if let Err(failure) = overlay::apply(disk, &patches) {
        // The caller gets nothing to undo it with. If the disk does not take that either, the first failure says enough.
        let _ = overlay::undo(disk, &patches);
        return Err(failure.into());
    }
    Ok(SavedFlags { placement, patches })
}

/// Puts back every byte that [`set_shadow_flags`] changed, durably. May be repeated.
///
/// # Errors
///
/// [`DiskError::ChangedMeanwhile`] if others have written to the same sectors since; nothing is written then.
pub fn clear_shadow_flags(disk: &dyn DiskIo, saved: &SavedFlags) -> Result<(), DiskError> {
    overlay::undo(disk, &saved.patches)
}

/// Takes all four flags from a disk that was born with them, durably. What the disk's original had of them before it was flagged is not
/// known any more. May be repeated.
pub fn remove_shadow_flags(disk: &dyn DiskIo) -> Result<(), DiskError> {
    let patches = match sort(disk)? {
        Division::Gpt => guid_table::read(disk)?.rewrite(disk, None, |_, entry| {
            entry.attributes = (entry.attributes.get() & !ShadowFlags::all().bits()).into();
        })?,
        Division::Mbr => {
            let overlay = SectorOverlay::new(disk);
            for (sector, offset_bytes) in read_gap(disk)?.iter().zip((SECTOR..).step_by(SECTOR_LEN_BYTES)) {
                if FlagRecord::parse(sector).is_some() {
                    overlay.write_at(offset_bytes, &[0; SECTOR_LEN_BYTES])?;
                }
            }
            overlay.into_patches()?
        }
        Division::WholeDisk(_) | Division::Nothing => Vec::new(),
    };
    Ok(overlay::apply(disk, &patches)?)
}

/// The flags that `disk` carries: on a GPT disk those that all partitions have. None if there is no place for them.
pub fn read_shadow_flags(disk: &dyn DiskIo) -> Result<ShadowFlags, DiskError> {
    match sort(disk)? {
        Division::Gpt => {
            let table = guid_table::read(disk)?;
            let common = table.entries().map(|(_, entry)| entry.flags).reduce(|common, flags| common & flags);
            Ok(ShadowFlags::from_bits_truncate(common.unwrap_or(0)))
        }
        Division::Mbr => {
            let gap = read_gap(disk)?;
            let record = gap.iter().find_map(FlagRecord::parse);
            Ok(record.map_or(ShadowFlags::empty(), |record| ShadowFlags::from_bits_truncate(record.flags.get())))
        }
        Division::WholeDisk(_) | Division::Nothing => Ok(ShadowFlags::empty()),
    }
}

/// The first partition of a modern disk is at 1 MiB. An older or odd one may leave more or less before it.
const GAP_SECTORS_MAX: u64 = 2048;

/// The sectors between the MBR and the first partition.
fn read_gap(disk: &dyn DiskIo) -> Result<Vec<Sector>, DiskError> {
    let gap_end = mbr_table::read(disk)?.first_used_lba().unwrap_or(GAP_SECTORS_MAX);
    let count = gap_end.min(GAP_SECTORS_MAX).min(disk.len_bytes() / SECTOR).saturating_sub(1);
    let mut gap = vec![[0; SECTOR_LEN_BYTES]; usize::try_from(count).expect("at most GAP_SECTORS_MAX")];
    if !gap.is_empty() {
        disk.read_at(SECTOR, gap.as_flattened_mut())?;
    }
    Ok(gap)
}

/// The sector of the record that is there, or else the last free one: boot loaders fill the gap from its beginning.
fn place_record(disk: &dyn DiskIo) -> Result<Option<u64>, DiskError> {
    let gap = read_gap(disk)?;
    let there = gap.iter().position(|sector| FlagRecord::parse(sector).is_some());
    let index = there.or_else(|| gap.iter().rposition(|sector| *sector == [0; SECTOR_LEN_BYTES]));
    Ok(index.map(|index| (u64::try_from(index).expect("at most GAP_SECTORS_MAX") + 1) * SECTOR))
}

/// What stands for the hidden sectors of Windows on an MBR disk. It applies to all partitions.
#[derive(Clone, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct FlagRecord {
    magic: [u8; 8],
    version: U16,
    reserved: [u8; 6],
    flags: U64,
    /// CRC-32C of the bytes before it.
    crc: U32,
    unused: [u8; 484],
}

const _: () = assert!(size_of::<FlagRecord>() == SECTOR_LEN_BYTES);
const RECORD_MAGIC: [u8; 8] = *b"LSHDFLAG";
const RECORD_VERSION: u16 = 1;

impl FlagRecord {
    fn new(flags: ShadowFlags) -> Self {
        let mut record = Self {
            magic: RECORD_MAGIC,
            version: RECORD_VERSION.into(),
            reserved: [0; 6],
            flags: flags.bits().into(),
            crc: 0.into(),
            unused: [0; 484],
        };
        record.crc = record.expected_crc().into();
        record
    }

    fn parse(sector: &Sector) -> Option<Self> {
        let record: Self = zerocopy::transmute!(*sector);
        let is_one = record.magic == RECORD_MAGIC && record.version.get() == RECORD_VERSION;
        (is_one && record.crc.get() == record.expected_crc()).then_some(record)
    }

    fn expected_crc(&self) -> u32 {
        crc32c::crc32c(&self.as_bytes()[..std::mem::offset_of!(Self, crc)])
    }
}
