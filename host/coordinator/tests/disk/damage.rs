//! Damaged volumes and tables: an answer or an error, never a panic, and always an end.

use std::sync::Arc;

use lunshadow_coordinator::disk::{
    DiskError, DiskIo, FileError, FileKind, FileNumber, VolumeFiles, list_files, pick_witness, read_layout,
};
use proptest::prelude::*;
use tempfile::TempDir;

use crate::memory::{MemoryDisk, noise};
use crate::tables::{gpt_disk, mbr_disk};
use crate::tools::{Tree, ext_image, fat_image, flat_tree, ntfs_image};

const MIB: u64 = 1024 * 1024;

/// A tree that fits a very small volume.
fn small_tree() -> Tree {
    let mut tree: Tree = flat_tree().into_iter().filter(|(_, content)| content.len() < 10_000).collect();
    tree.insert("second.bin".to_owned(), noise(8, 3000));
    tree
}

/// A change: where among the sectors that hold something, where in the sector, and to what.
type Change = (prop::sample::Index, usize, Vec<u8>);

fn changes() -> impl Strategy<Value = Vec<Change>> {
    let bytes = prop_oneof![
        prop::collection::vec(any::<u8>(), 1..9),
        prop::sample::select(vec![vec![0xff; 4], vec![0xff; 8], vec![0; 16], vec![0x80], vec![1, 0, 0, 0]]),
    ];
    prop::collection::vec((any::<prop::sample::Index>(), 0..=496usize, bytes), 1..12)
}

/// The offsets of the sectors that hold something.
fn used_sectors(image: &[u8]) -> Vec<usize> {
    let (sectors, _) = image.as_chunks::<512>();
    (0..).step_by(512).zip(sectors).filter(|(_, sector)| **sector != [0; 512]).map(|(at, _)| at).collect()
}

/// Reads what can be read of the image after each of many changes.
fn survives(image: &[u8], cases: u32) {
    let used = used_sectors(image);
    let config = ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() };
    proptest!(config, |(changes in changes())| {
        let disk = Arc::new(MemoryDisk::new(image.to_vec()));
        for (sector, at, bytes) in &changes {
            disk.patch(sector.get(&used) + at, bytes);
        }
        let before = disk.bytes();
        let layout = match read_layout(&*disk) {
            Ok(layout) => layout,
            Err(error) => {
                prop_assert!(matches!(error, DiskError::DamagedGpt { .. } | DiskError::DamagedMbr { .. }), "{:?}", error);
                return Ok(());
            }
        };
        for volume in &layout.volumes {
            prop_assert!(volume.offset_bytes.checked_add(volume.len_bytes).is_some());
            match list_files(&*disk, volume) {
                Ok(_) => {}
                Err(DiskError::DamagedVolume { volume: named, .. }
                    | DiskError::VolumeBeyondDisk { volume: named, .. }
                    | DiskError::UnknownFileSystem { volume: named }) => prop_assert_eq!(named, volume.index),
                Err(error) => prop_assert!(false, "{:?}", error),
            }
            if let Ok(files) = VolumeFiles::open(Arc::clone(&disk) as _, volume.clone()) {
                look_around(&files);
            }
        }
        if let Ok(Some(witness)) = pick_witness(&*disk, &layout) {
            prop_assert!(witness.offset_bytes + 512 <= disk.len_bytes());
        }
        prop_assert!(disk.bytes() == before);
    });
}

/// Looks at some of what is there, as a program in a mount does. There is an answer to everything, and the disk is not to blame.
fn look_around(files: &VolumeFiles) {
    const DIRECTORIES_MAX: usize = 20;
    const ENTRIES_MAX: usize = 50;
    fn sound<T: Default>(answer: Result<T, FileError>) -> T {
        answer.unwrap_or_else(|error| {
            assert!(!matches!(error, FileError::Disk(_) | FileError::Closed | FileError::Unknown), "{error:?}");
            T::default()
        })
    }
    let mut directories = vec![FileNumber::ROOT];
    for index in 0..DIRECTORIES_MAX {
        let Some(&directory) = directories.get(index) else { break };
        for entry in sound(files.list(directory, 0, ENTRIES_MAX)) {
            let Some((number, attributes)) = sound(files.look_up(directory, &entry.name)) else { continue };
            match attributes.kind {
                FileKind::Directory => directories.push(number),
                FileKind::Link => assert!(sound(files.target(number)).len() <= 1 << 20),
                _ => {
                    assert!(sound(files.read(number, attributes.len_bytes / 2, 5000)).len() <= 5000);
                    assert!(sound(files.read(number, 0, 5000)).len() <= 5000);
                }
            }
        }
    }
    if let Ok(space) = files.space() {
        assert!(space.free_blocks <= space.blocks && space.free_files <= space.files);
    }
}

#[test]
fn of_fat() {
    for (bits, len_bytes) in [(12, MIB), (32, 34 * MIB)] {
        let folder = TempDir::new().unwrap();
        let Some(image) = fat_image(folder.path(), len_bytes, bits, &small_tree()) else { return };
        survives(&std::fs::read(image).unwrap(), if bits == 12 { 150 } else { 30 });
    }
}

#[test]
fn of_ext4_with_and_without_checksums() {
    for features in ["metadata_csum", "^metadata_csum"] {
        let folder = TempDir::new().unwrap();
        let options = ["-t", "ext4", "-O", features, "-J", "size=1", "-N", "32"];
        let Some(image) = ext_image(folder.path(), 3 * MIB, &options, &small_tree()) else { return };
        survives(&std::fs::read(image).unwrap(), 100);
    }
}

#[test]
fn of_ntfs() {
    let folder = TempDir::new().unwrap();
    let Some(image) = ntfs_image(folder.path(), 3 * MIB, &small_tree()) else { return };
    survives(&std::fs::read(image).unwrap(), 150);
}

fn field<const N: usize>(bytes: &[u8], at: usize) -> usize {
    bytes[at..at + N].iter().rev().fold(0, |value, byte| value << 8 | usize::from(*byte))
}

fn assert_damaged(disk: &MemoryDisk, complaint: &str) {
    let layout = read_layout(disk).unwrap();
    let error = list_files(disk, &layout.volumes[0]).unwrap_err();
    assert!(matches!(&error, DiskError::DamagedVolume { reason, .. } if reason.contains(complaint)), "{error:?}");
}

#[test]
fn a_fat_directory_that_follows_itself_ends() {
    let folder = TempDir::new().unwrap();
    let tree = Tree::from([("docs/one.txt".to_owned(), b"one".to_vec())]);
    let Some(image) = fat_image(folder.path(), 32 * MIB, 16, &tree) else { return };
    let disk = MemoryDisk::from_file(&image);
    let bytes = disk.bytes();
    // The parameter block: reserved sectors, copies of the table, their length, entries of the root, sectors of a cluster.
    let (table, root_entries) = (field::<2>(&bytes, 14) * 512, field::<2>(&bytes, 17));
    let root = table + field::<1>(&bytes, 16) * field::<2>(&bytes, 22) * 512;
    let cluster_len = field::<1>(&bytes, 13) * 512;
    let mut entries = (root..).step_by(32).take(root_entries);
    let entry = entries.find(|at| bytes[*at..].starts_with(b"DOCS       ")).unwrap();
    let cluster = field::<2>(&bytes, entry + 26);
    disk.patch(table + cluster * 2, &u16::try_from(cluster).unwrap().to_le_bytes());
    let directory = root + root_entries * 32 + (cluster - 2) * cluster_len;
    // Deleted entries are passed by without end within the reader, used ones come out of it without end.
    disk.patch(directory, &vec![0xe5; cluster_len]);
    assert_damaged(&disk, "a directory does not end");
    let used: Vec<u8> = bytes[entry..entry + 32].repeat(cluster_len / 32);
    disk.patch(directory, &used);
    assert_damaged(&disk, "docs: a directory does not end");
}

#[test]
fn an_ntfs_directory_that_contains_itself_ends() {
    let folder = TempDir::new().unwrap();
    let tree: Tree = (0..80).map(|number| (format!("a file with a long name {number}"), vec![1; 10])).collect();
    let Some(image) = ntfs_image(folder.path(), 8 * MIB, &tree) else { return };
    let disk = MemoryDisk::from_file(&image);
    let bytes = disk.bytes();
    let is_node = |at: &usize| {
        bytes[*at..].starts_with(b"INDX") && bytes[*at..*at + 4096].windows(6).any(|name| name == b"f\0i\0l\0")
    };
    for node in (0..bytes.len() - 4096).step_by(4096).filter(is_node) {
        // The first entry gets a node below it, which is its own.
        let entry = node + 0x18 + field::<4>(&bytes, node + 0x18);
        let entry_len = field::<2>(&bytes, entry + 8);
        disk.patch(entry + 12, &[1]);
        disk.patch(entry + entry_len - 8, &bytes[node + 0x10..node + 0x18]);
    }
    assert!(disk.bytes() != bytes);
    assert_damaged(&disk, "a directory does not end");
}

#[test]
fn of_partition_tables() {
    let folder = TempDir::new().unwrap();
    if let Some(disk) = gpt_disk(folder.path()) {
        survives(&disk.bytes(), 25);
    }
    if let Some(disk) = mbr_disk(folder.path()) {
        survives(&disk.bytes(), 25);
    }
}
