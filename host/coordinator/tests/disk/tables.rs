//! Partition tables made by `sgdisk` and `sfdisk`, and ones that are damaged or ambiguous.

use std::path::Path;

use lunshadow_coordinator::disk::{DiskError, DiskLayout, FileSystemKind, Partition, PartitionTable, read_layout};
use tempfile::TempDir;

use crate::memory::MemoryDisk;
use crate::tools::{
    Tree, blank_image, ext_image, fat_image, ntfs_image, require_tool, run, run_with_input, sample_tree,
};

const MIB: u64 = 1024 * 1024;
const DISK_GUID: &str = "01234567-89ab-4def-8123-456789abcdef";

/// Partition numbers with gaps, an EFI system partition, and one without a name.
pub(crate) fn gpt_disk(folder: &Path) -> Option<MemoryDisk> {
    if !require_tool("sgdisk") {
        return None;
    }
    let image = blank_image(folder, 32 * MIB);
    run(
        "sgdisk",
        [
            "--disk-guid",
            DISK_GUID,
            "--new=1:2048:+2M",
            "--typecode=1:ef00",
            "--change-name=1:EFI system",
            "--new=3:8192:+4M",
            "--typecode=3:0700",
            "--change-name=3:Daten und Bilder ü",
            "--attributes=3:set:2",
            "--new=9:20480:61439",
            "--typecode=9:8300",
            "--change-name=9:",
            image.to_str().unwrap(),
        ],
    );
    Some(MemoryDisk::from_file(&image))
}

/// Two primary partitions and an extended one with two logical ones.
pub(crate) fn mbr_disk(folder: &Path) -> Option<MemoryDisk> {
    if !require_tool("sfdisk") {
        return None;
    }
    let image = blank_image(folder, 32 * MIB);
    let script = "label: dos\nlabel-id: 0xCAFE1234\n\
                  start=2048, size=8192, type=7\nstart=10240, size=2048, type=83\nstart=16384, size=40960, type=f\n\
                  start=18432, size=8192, type=c\nstart=28672, size=8192, type=83\n";
    run_with_input("sfdisk", ["-q", image.to_str().unwrap()], script);
    Some(MemoryDisk::from_file(&image))
}

fn extents(layout: &DiskLayout) -> Vec<(u32, u64, u64)> {
    layout.volumes.iter().map(|volume| (volume.index, volume.offset_bytes / 512, volume.len_bytes / 512)).collect()
}

fn assert_gpt_layout(layout: &DiskLayout) {
    assert_eq!(layout.table, PartitionTable::Gpt { disk_guid: DISK_GUID.parse().unwrap() });
    assert_eq!(layout.table.signature_guid().to_string(), DISK_GUID);
    assert_eq!(extents(layout), [(1, 2048, 4096), (3, 8192, 8192), (9, 20480, 40960)]);
    let described: Vec<String> = layout.volumes.iter().map(|volume| volume.partition.to_string()).collect();
    assert_eq!(
        described,
        ["GPT \"EFI system\"", "GPT \"Daten und Bilder ü\"", "GPT 0fc63daf-8483-4772-8e79-3d69d8477de4"]
    );
}

#[test]
fn a_gpt_by_sgdisk_is_read_with_its_numbers_and_names() {
    let folder = TempDir::new().unwrap();
    let Some(disk) = gpt_disk(folder.path()) else { return };
    let layout = read_layout(&disk).unwrap();
    assert_eq!(layout.len_bytes, 32 * MIB);
    assert_gpt_layout(&layout);
}

#[test]
fn a_gpt_is_read_on_a_disk_that_is_larger_than_it_says() {
    let folder = TempDir::new().unwrap();
    let Some(disk) = gpt_disk(folder.path()) else { return };
    disk.grow(16 << 20);
    let layout = read_layout(&disk).unwrap();
    assert_eq!(layout.len_bytes, 48 * MIB);
    assert_gpt_layout(&layout);
}

#[test]
fn either_copy_of_a_gpt_is_enough_even_on_a_larger_disk() {
    let folder = TempDir::new().unwrap();
    let Some(good) = gpt_disk(folder.path()) else { return };
    let good = good.bytes();
    // The primary header, a primary entry, the alternate header, an alternate entry.
    for at in [512 + 56, 2 * 512 + 128 * 2 + 40, good.len() - 512 + 24, good.len() - 33 * 512 + 40] {
        for grown in [0, 8 << 20] {
            let disk = MemoryDisk::new(good.clone());
            disk.patch(at, &[!good[at]]);
            disk.grow(grown);
            assert_gpt_layout(&read_layout(&disk).unwrap());
        }
    }
}

#[test]
fn a_gpt_without_a_valid_copy_is_an_error() {
    let folder = TempDir::new().unwrap();
    let Some(disk) = gpt_disk(folder.path()) else { return };
    let end = disk.bytes().len();
    disk.patch(512 + 56, b"?");
    disk.patch(end - 512 + 56, b"?");
    let error = read_layout(&disk).unwrap_err();
    assert!(matches!(error, DiskError::DamagedGpt { .. }), "{error:?}");
    assert!(error.to_string().starts_with("the GPT is damaged: the header in sector 1: "), "{error}");
}

#[test]
fn an_mbr_by_sfdisk_is_read_with_its_logical_partitions() {
    let folder = TempDir::new().unwrap();
    let Some(disk) = mbr_disk(folder.path()) else { return };
    let layout = read_layout(&disk).unwrap();
    assert_eq!(layout.table, PartitionTable::Mbr { signature: 0xcafe_1234 });
    // The bytes on the disk are little-endian, and they come first in the GUID.
    assert_eq!(layout.table.signature_guid().to_bytes_le()[..5], [0x34, 0x12, 0xfe, 0xca, 0]);
    assert_eq!(extents(&layout), [(1, 2048, 8192), (2, 10240, 2048), (5, 18432, 8192), (6, 28672, 8192)]);
    let types = layout.volumes.iter().map(|volume| match volume.partition {
        Partition::Mbr { type_code } => type_code,
        _ => 0,
    });
    assert_eq!(types.collect::<Vec<_>>(), [7, 0x83, 0xc, 0x83]);
}

#[test]
fn a_chain_of_extended_boot_records_that_does_not_end_is_an_error() {
    let folder = TempDir::new().unwrap();
    let Some(disk) = mbr_disk(folder.path()) else { return };
    let second =
        usize::try_from(u32::from_le_bytes(*disk.bytes()[16384 * 512 + 446 + 16 + 8..].first_chunk().unwrap()));
    let second = (16384 + second.unwrap()) * 512;
    // The second record names itself as its successor, or one so far away that addresses overflow.
    let to_itself = disk.bytes()[16384 * 512 + 446 + 16..][..16].to_vec();
    let far_away = [0, 0, 0, 0, 5, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 1, 0, 0, 0].to_vec();
    for next in [to_itself, far_away] {
        disk.patch(second + 446 + 16, &next);
        let error = read_layout(&disk).unwrap_err();
        assert!(matches!(error, DiskError::DamagedMbr { .. }), "{error:?}");
    }
}

#[test]
fn a_filesystem_without_a_table_is_one_volume() {
    let empty = Tree::new();
    let fat = FileSystemKind::Fat;
    for (kind, bits) in [(fat, 12), (fat, 16), (fat, 32), (FileSystemKind::Ntfs, 0), (FileSystemKind::Ext4, 0)] {
        let folder = TempDir::new().unwrap();
        let len_bytes = 48 * MIB;
        let image = match kind {
            FileSystemKind::Fat => fat_image(folder.path(), len_bytes, bits, &empty),
            FileSystemKind::Ntfs => ntfs_image(folder.path(), len_bytes, &empty),
            _ => ext_image(folder.path(), len_bytes, &["-t", "ext4"], &empty),
        };
        let Some(image) = image else { return };
        let disk = MemoryDisk::from_file(&image);
        let layout = read_layout(&disk).unwrap();
        assert_eq!(layout.table, PartitionTable::None);
        assert!(layout.table.signature_guid().is_nil());
        let [volume] = &layout.volumes[..] else { panic!("{kind} {bits}: {layout:?}") };
        assert_eq!((volume.index, volume.offset_bytes, volume.len_bytes), (0, 0, len_bytes));
        assert_eq!((&volume.partition, volume.file_system), (&Partition::WholeDisk, kind));
    }
}

#[test]
fn an_mbr_keeps_its_partitions_when_the_parameters_of_an_old_filesystem_are_in_it() {
    let folder = TempDir::new().unwrap();
    let Some(disk) = mbr_disk(folder.path()) else { return };
    let expected = read_layout(&disk).unwrap();
    let fat_folder = TempDir::new().unwrap();
    let Some(fat) = fat_image(fat_folder.path(), 16 * MIB, 16, &Tree::new()) else { return };
    disk.patch(0, &std::fs::read(fat).unwrap()[..62]);
    assert_eq!(read_layout(&disk).unwrap(), expected);
}

#[test]
fn a_disk_with_nothing_on_it_has_no_volumes() {
    for len in [0, 512, 1024, 4096, 1 << 20] {
        let layout = read_layout(&MemoryDisk::zeroed(len)).unwrap();
        assert_eq!((layout.table, layout.volumes), (PartitionTable::None, vec![]));
    }
    // An initialised disk without partitions has an identity already.
    let disk = MemoryDisk::zeroed(1 << 20);
    disk.patch(0x1b8, &[1, 2, 3, 4]);
    disk.patch(510, &[0x55, 0xaa]);
    let layout = read_layout(&disk).unwrap();
    assert_eq!((layout.table, layout.volumes), (PartitionTable::Mbr { signature: 0x0403_0201 }, vec![]));
}

#[test]
fn volumes_in_partitions_are_recognised_by_their_content() {
    let folder = TempDir::new().unwrap();
    let Some(disk) = mbr_disk(folder.path()) else { return };
    let tree = sample_tree();
    let part = |image: Option<std::path::PathBuf>| image.map(|path| std::fs::read(path).unwrap());
    let (one, two, three) = (TempDir::new().unwrap(), TempDir::new().unwrap(), TempDir::new().unwrap());
    let Some(ntfs) = part(ntfs_image(one.path(), 4 * MIB, &Tree::new())) else { return };
    let Some(fat) = part(fat_image(two.path(), 4 * MIB, 12, &tree)) else { return };
    let Some(ext) = part(ext_image(three.path(), 4 * MIB, &["-t", "ext2"], &tree)) else { return };
    disk.patch(2048 * 512, &ntfs);
    disk.patch(18432 * 512, &fat);
    disk.patch(28672 * 512, &ext);
    let kinds: Vec<_> = read_layout(&disk).unwrap().volumes.iter().map(|volume| volume.file_system).collect();
    let expected = [FileSystemKind::Ntfs, FileSystemKind::Unknown, FileSystemKind::Fat, FileSystemKind::Ext4];
    assert_eq!(kinds, expected);
}
