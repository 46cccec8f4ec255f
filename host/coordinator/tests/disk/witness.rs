//! Witnesses: changing the sector changes the file, and only the file.

use std::path::Path;

use lunshadow_coordinator::disk::{DiskIo, FileEntry, find_file_block, list_files, pick_witness, read_layout};
use tempfile::TempDir;

use crate::memory::{MemoryDisk, noise};
use crate::tools::{Tree, ext_image, fat_image, flat_tree, ntfs_image, sample_tree};

const MIB: u64 = 1024 * 1024;

fn changed_paths(before: &[FileEntry], after: &[FileEntry]) -> Vec<String> {
    assert_eq!(before.len(), after.len());
    before.iter().zip(after).filter(|(a, b)| a != b).map(|(a, _)| a.path.clone()).collect()
}

fn check(image: &Path, expected_path: &str) {
    let disk = MemoryDisk::from_file(image);
    let layout = read_layout(&disk).unwrap();
    let volume = &layout.volumes[0];
    let before = list_files(&disk, volume).unwrap();
    let witness = pick_witness(&disk, &layout).unwrap().unwrap();
    assert_eq!((&witness.path[..], witness.volume), (expected_path, volume.index));
    assert_eq!(pick_witness(&disk, &layout).unwrap().as_ref(), Some(&witness));
    assert_eq!(find_file_block(&disk, volume, expected_path).unwrap(), Some(witness.offset_bytes));

    disk.write_at(witness.offset_bytes, &witness.original.map(|byte| byte ^ 0x5a)).unwrap();
    assert_eq!(changed_paths(&before, &list_files(&disk, volume).unwrap()), [expected_path]);
    disk.write_at(witness.offset_bytes, &witness.original).unwrap();
    assert_eq!(list_files(&disk, volume).unwrap(), before);

    // Too short for a sector, nothing but zeros, not there.
    for path in ["short.txt", "zeros.bin", "no such file"] {
        assert_eq!(find_file_block(&disk, volume, path).unwrap(), None, "{path}");
    }
}

const FIRST: &str = "A long name with spaces, and more than 8.3 characters.text";

#[test]
fn in_fat() {
    let folder = TempDir::new().unwrap();
    let Some(image) = fat_image(folder.path(), 8 * MIB, 12, &sample_tree()) else { return };
    check(&image, FIRST);
}

#[test]
fn in_ext4() {
    let folder = TempDir::new().unwrap();
    let Some(image) = ext_image(folder.path(), 16 * MIB, &["-t", "ext4"], &sample_tree()) else { return };
    check(&image, FIRST);
}

#[test]
fn in_ntfs() {
    let folder = TempDir::new().unwrap();
    let Some(image) = ntfs_image(folder.path(), 16 * MIB, &flat_tree()) else { return };
    check(&image, FIRST);
}

#[test]
fn a_stale_copy_of_the_content_is_not_taken_for_the_file() {
    let content = noise(3, 8192);
    let tree = Tree::from([("file.bin".to_owned(), content.clone())]);
    let folder = TempDir::new().unwrap();
    let Some(image) = fat_image(folder.path(), 8 * MIB, 12, &tree) else { return };
    let disk = MemoryDisk::from_file(&image);
    let layout = read_layout(&disk).unwrap();
    let volume = &layout.volumes[0];
    let original = find_file_block(&disk, volume, "file.bin").unwrap().unwrap();
    // In clusters that no file has, as a deleted file leaves it.
    let later = usize::try_from(original).unwrap() + (1 << 20);
    disk.patch(later, &content);
    let moved = MemoryDisk::new(disk.bytes());
    assert_eq!(find_file_block(&moved, volume, "file.bin").unwrap(), Some(original));
    // With the file's own first sector changed, the stale copy is the only match for the old content; it is not the file's.
    disk.patch(usize::try_from(original).unwrap(), &noise(4, 512));
    assert_eq!(find_file_block(&disk, volume, "file.bin").unwrap(), Some(original));
}
