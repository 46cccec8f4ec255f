//! Tells by its content which filesystem a volume holds.

use std::io::{self, Read};

use zerocopy::little_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

use super::io::Sector;
use super::{DiskCursor, DiskIo, FileSystemKind};

/// The head of a FAT or NTFS boot sector: the jump and the BIOS parameter block (Microsoft's FAT specification 1.03, "Boot
/// Sector and BPB"). NTFS shares the layout up to `sectors_per_cluster` and leaves the rest zero.
#[derive(FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct BootSector {
    jump: [u8; 3],
    oem_name: [u8; 8],
    bytes_per_sector: U16,
    sectors_per_cluster: u8,
    reserved_sectors: U16,
    fats: u8,
    root_entries: U16,
    total_sectors_16: U16,
    media: u8,
    sectors_per_fat_16: U16,
    sectors_per_track: U16,
    heads: U16,
    hidden_sectors: U32,
    total_sectors_32: U32,
    sectors_per_fat_32: U32,
    code: [u8; 470],
    signature: [u8; 2],
}

const _: () = assert!(size_of::<BootSector>() == 512);

/// Where the superblock of ext2/3/4 begins, and where in it its magic number and its block size are (`s_magic`,
/// `s_log_block_size`; "Layout of the super block" in the kernel's ext4 documentation).
const EXT_SUPERBLOCK_OFFSET_BYTES: usize = 1024;
const EXT_LOG_BLOCK_SIZE: usize = EXT_SUPERBLOCK_OFFSET_BYTES + 0x18;
const EXT_MAGIC: usize = EXT_SUPERBLOCK_OFFSET_BYTES + 0x38;

/// The filesystem that the boot sector `sector` begins, if it begins one. That of ext2/3/4 is not in the boot sector.
pub(super) fn boot_sector_kind(sector: &Sector) -> Option<FileSystemKind> {
    let boot: &BootSector = zerocopy::transmute_ref!(sector);
    let sector_len = boot.bytes_per_sector.get();
    if boot.signature != [0x55, 0xaa] || !sector_len.is_power_of_two() || !(512..=4096).contains(&sector_len) {
        return None;
    }
    if &boot.oem_name == b"NTFS    " {
        return Some(FileSystemKind::Ntfs);
    }
    is_fat(boot).then_some(FileSystemKind::Fat)
}

/// The rules of the FAT specification that boot code, which may begin with the same jump, does not keep by chance.
fn is_fat(boot: &BootSector) -> bool {
    let jumps = matches!(boot.jump, [0xeb, _, 0x90] | [0xe9, _, _]);
    let is_fat32 = boot.sectors_per_fat_16 == 0 && boot.root_entries == 0;
    jumps
        && boot.sectors_per_cluster.is_power_of_two()
        && boot.reserved_sectors != 0
        && (1..=2).contains(&boot.fats)
        && (boot.media == 0xf0 || boot.media >= 0xf8)
        && (boot.total_sectors_16 == 0) != (boot.total_sectors_32 == 0)
        && (if is_fat32 {
            boot.sectors_per_fat_32 != 0
        } else {
            boot.sectors_per_fat_16 != 0 && boot.root_entries != 0
        })
}

/// As much of a file system as tells its kind.
const HEAD_BYTES: u64 = 2048;

/// The filesystem in `len_bytes` of the disk from `offset_bytes` on. What lies beyond the disk's end holds none.
pub(super) fn file_system_kind(disk: &dyn DiskIo, offset_bytes: u64, len_bytes: u64) -> io::Result<FileSystemKind> {
    let mut head = Vec::new();
    DiskCursor::read_only(disk, offset_bytes, len_bytes.min(HEAD_BYTES)).read_to_end(&mut head)?;
    let Some(first) = head.first_chunk() else {
        return Ok(FileSystemKind::Unknown);
    };
    if let Some(kind) = boot_sector_kind(first) {
        return Ok(kind);
    }
    // Blocks of ext4 have 64 KiB at most, which is 1024 shifted by 6.
    let is_ext = head.get(EXT_MAGIC..EXT_MAGIC + 2) == Some(&[0x53, 0xef])
        && head.get(EXT_LOG_BLOCK_SIZE).is_some_and(|&log| log <= 6);
    Ok(if is_ext { FileSystemKind::Ext4 } else { FileSystemKind::Unknown })
}
