//! Listings of volumes made by the usual tools.

use std::os::unix::fs::symlink;
use std::path::Path;

use lunshadow_coordinator::disk::{
    DiskError, DiskIo, FileContent, FileEntry, FileSystemKind, UnreadReason, Volume, list_files, read_layout,
};
use tempfile::TempDir;

use crate::memory::{BrokenDisk, MemoryDisk, noise};
use crate::tools::{
    Mount, Tree, blank_image, ext_image, fat_image, file_entry, flat_tree, listing, ntfs_image, require_tool,
    sample_tree, write_large_tree, write_tree,
};

const MIB: u64 = 1024 * 1024;

fn only_volume(disk: &dyn DiskIo) -> Volume {
    let [volume] = read_layout(disk).unwrap().volumes.try_into().unwrap();
    volume
}

fn list_image(image: &Path) -> Vec<FileEntry> {
    let disk = MemoryDisk::from_file(image);
    let before = disk.bytes();
    let files = list_files(&disk, &only_volume(&disk)).unwrap();
    assert!(disk.bytes() == before, "listing has written to the disk");
    files
}

fn unread_entry(path: &str, len_bytes: u64, reason: UnreadReason) -> FileEntry {
    FileEntry { path: path.to_owned(), len_bytes, content: FileContent::Unread(reason) }
}

/// Compares long listings so that a failure shows only what differs.
fn assert_same(actual: &[FileEntry], expected: &[FileEntry]) {
    let lacking = |from: &[FileEntry], of: &[FileEntry]| -> Vec<FileEntry> {
        of.iter().filter(|entry| !from.contains(entry)).cloned().collect()
    };
    assert_eq!((lacking(actual, expected), lacking(expected, actual)), (vec![], vec![]));
    assert!(actual == expected, "the order differs");
}

#[test]
fn fat_of_all_widths() {
    for (bits, len_bytes) in [(12, 4 * MIB), (16, 32 * MIB), (32, 64 * MIB)] {
        let folder = TempDir::new().unwrap();
        let Some(image) = fat_image(folder.path(), len_bytes, bits, &sample_tree()) else { return };
        assert_eq!(list_image(&image), listing(&sample_tree()), "FAT{bits}");
    }
}

#[test]
fn the_own_records_of_windows_are_left_out() {
    let mut tree = sample_tree();
    let expected = listing(&tree);
    tree.insert("System Volume Information/tracking.log".to_owned(), noise(5, 20_480));
    let folder = TempDir::new().unwrap();
    let Some(image) = fat_image(folder.path(), 8 * MIB, 12, &tree) else { return };
    assert_eq!(list_image(&image), expected);
}

#[test]
fn ext2_ext3_and_ext4_of_several_shapes() {
    for options in [
        &["-t", "ext4"][..],
        &["-t", "ext4", "-b", "4096", "-O", "^metadata_csum,^64bit"],
        &["-t", "ext3"],
        &["-t", "ext2", "-b", "1024"],
    ] {
        let folder = TempDir::new().unwrap();
        let Some(image) = ext_image(folder.path(), 24 * MIB, options, &sample_tree()) else { return };
        let mut expected = listing(&sample_tree());
        let zeros = expected.iter_mut().find(|file| file.path == "zeros.bin").unwrap();
        // A file of zeros has no blocks at all, which the reader of files without extents does not understand.
        if options.iter().any(|option| matches!(*option, "ext2" | "ext3")) {
            zeros.content = FileContent::Unread(UnreadReason::Holes);
        }
        assert_same(&list_image(&image), &expected);
    }
}

#[test]
fn ext4_links_sparse_files_and_large_directories() {
    let folder = TempDir::new().unwrap();
    let source = folder.path().join("tree");
    let tree = write_large_tree(&source);
    std::fs::File::create(source.join("huge and sparse")).unwrap().set_len(100 * MIB).unwrap();
    symlink("many/file number 7", source.join("link to seven")).unwrap();
    std::fs::hard_link(source.join("sparse.bin"), source.join("second name")).unwrap();
    let Some(image) = ext_image(folder.path(), 32 * MIB, &["-t", "ext4"], &Tree::new()) else {
        return;
    };
    let mut expected = listing(&tree);
    expected.push(unread_entry("link to seven", 18, UnreadReason::Link));
    expected.push(unread_entry("huge and sparse", 100 * MIB, UnreadReason::TooLong));
    expected.push(file_entry("second name", &tree["sparse.bin"]));
    expected.sort();
    assert_same(&list_image(&image), &expected);
}

#[test]
fn a_volume_in_a_partition_of_a_larger_disk() {
    let folder = TempDir::new().unwrap();
    let Some(image) = ext_image(folder.path(), 16 * MIB, &["-t", "ext4"], &sample_tree()) else { return };
    if !require_tool("sfdisk") {
        return;
    }
    let volume = std::fs::read(image).unwrap();
    let image = blank_image(folder.path(), 40 * MIB);
    crate::tools::run_with_input("sfdisk", ["-q", image.to_str().unwrap()], "label: gpt\nstart=4096, size=32768\n");
    let disk = MemoryDisk::from_file(&image);
    disk.patch(4096 * 512, &volume);
    assert_eq!(list_files(&disk, &only_volume(&disk)).unwrap(), listing(&sample_tree()));
}

#[test]
fn ntfs_with_many_files_in_one_directory() {
    let mut tree = flat_tree();
    tree.extend((0..60).map(|number| (format!("a file with a long name {number}.txt"), noise(number, 300))));
    let folder = TempDir::new().unwrap();
    let Some(image) = ntfs_image(folder.path(), 16 * MIB, &tree) else { return };
    assert_eq!(list_image(&image), listing(&tree));
}

#[test]
fn ntfs_directories_links_and_sparse_files() {
    let folder = TempDir::new().unwrap();
    let Some(image) = ntfs_image(folder.path(), 24 * MIB, &Tree::new()) else { return };
    let mut tree = sample_tree();
    tree.insert("System Volume Information/tracking.log".to_owned(), vec![1; 5000]);
    tree.extend((0..300).map(|number| (format!("many/file number {number}"), vec![b'x'; number])));
    {
        let Some(mount) = Mount::new(&image, folder.path(), &[]) else { return };
        write_tree(&mount.0, &tree);
        std::fs::File::create(mount.0.join("sparse")).unwrap().set_len(3 * MIB).unwrap();
        std::fs::File::create(mount.0.join("huge and sparse")).unwrap().set_len(100 * MIB).unwrap();
    }
    tree.remove("System Volume Information/tracking.log");
    tree.insert("sparse".to_owned(), vec![0; 3 << 20]);
    let listed = list_image(&image);
    let (readable, unread): (Vec<_>, Vec<_>) =
        listed.into_iter().partition(|file| matches!(file.content, FileContent::Sha256(_)));
    assert_same(&readable, &listing(&tree));
    assert_eq!(unread, [unread_entry("huge and sparse", 100 * MIB, UnreadReason::TooLong)]);
}

/// The place of the unnamed $DATA attribute in the file record that has `name`.
fn data_attribute(disk: &MemoryDisk, name: &str) -> usize {
    let bytes = disk.bytes();
    let name: Vec<u8> = name.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let is_record = |at: &usize| {
        bytes[*at..].starts_with(b"FILE") && bytes[*at..*at + 1024].windows(name.len()).any(|window| window == name)
    };
    let record = (0..bytes.len() - 1024).step_by(1024).find(is_record).unwrap();
    let field = |at: usize| usize::from(u16::from_le_bytes([bytes[at], bytes[at + 1]]));
    let mut attribute = record + field(record + 0x14);
    while field(attribute) != 0x80 {
        attribute += field(attribute + 4);
    }
    attribute
}

/// Marks a file as a reparse point wherever its name is: in its file record and in its directory.
fn make_reparse_point(disk: &MemoryDisk, name: &str) {
    let bytes = disk.bytes();
    let name: Vec<u8> = name.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let places: Vec<usize> =
        (0..bytes.len() - name.len()).step_by(2).filter(|at| bytes[*at..].starts_with(&name)).collect();
    assert!(places.len() >= 2);
    for place in places {
        // The attributes are ten bytes before the name, which begins at byte 66 of a file name structure.
        disk.patch(place - 66 + 56, &0x400u32.to_le_bytes());
    }
}

#[test]
fn ntfs_compressed_encrypted_and_never_written_content() {
    let content = noise(9, 100_000);
    let tree = Tree::from([
        ("compressed".to_owned(), content.clone()),
        ("encrypted".to_owned(), content.clone()),
        ("preallocated".to_owned(), content.clone()),
        ("resident".to_owned(), b"short".to_vec()),
        ("unresolved".to_owned(), b"reparse".to_vec()),
    ]);
    let folder = TempDir::new().unwrap();
    let Some(image) = ntfs_image(folder.path(), 16 * MIB, &tree) else { return };
    let disk = MemoryDisk::from_file(&image);
    disk.patch(data_attribute(&disk, "compressed") + 0x0c, &1u16.to_le_bytes());
    disk.patch(data_attribute(&disk, "encrypted") + 0x0c, &0x4000u16.to_le_bytes());
    disk.patch(data_attribute(&disk, "resident") + 0x0c, &1u16.to_le_bytes());
    make_reparse_point(&disk, "unresolved");
    disk.patch(data_attribute(&disk, "preallocated") + 0x38, &70_001u64.to_le_bytes());
    let expected = [
        unread_entry("compressed", 100_000, UnreadReason::Compressed),
        unread_entry("encrypted", 100_000, UnreadReason::Encrypted),
        file_entry("preallocated", &[&content[..70_001], &[0; 29_999]].concat()),
        file_entry("resident", b"short"),
        unread_entry("unresolved", 7, UnreadReason::Link),
    ];
    assert_eq!(list_files(&disk, &only_volume(&disk)).unwrap(), expected);
}

#[test]
fn what_cannot_be_listed_is_an_error_that_names_the_volume() {
    let folder = TempDir::new().unwrap();
    let Some(image) = fat_image(folder.path(), 8 * MIB, 12, &sample_tree()) else { return };
    let disk = MemoryDisk::from_file(&image);
    let volume = Volume { index: 3, ..only_volume(&disk) };
    let error = |disk: &dyn DiskIo, volume: &Volume| list_files(disk, volume).unwrap_err();

    let unknown = Volume { file_system: FileSystemKind::Unknown, ..volume.clone() };
    assert_eq!(error(&disk, &unknown).to_string(), "volume 3 holds no filesystem that can be read here");

    let longer = Volume { len_bytes: 9 * MIB, ..volume.clone() };
    let beyond = "volume 3 ends at byte 9437184, beyond the end of the disk at byte 8388608";
    assert_eq!(error(&disk, &longer).to_string(), beyond);

    let mistaken = Volume { file_system: FileSystemKind::Ntfs, ..volume.clone() };
    assert!(error(&disk, &mistaken).to_string().starts_with("volume 3 (NTFS) is damaged: "));

    // A disk that fails is not a filesystem that is damaged.
    let failure = error(&BrokenDisk { below: &disk, good_bytes: MIB }, &volume);
    let DiskError::Io(source) = failure else { panic!("{failure:?}") };
    assert_eq!(source.kind(), std::io::ErrorKind::ConnectionReset);
}
