//! The sample disk, as the tools see it.

use std::fs;

use lunshadow_coordinator::disk::{
    DiskError, FileContent, FileDisk, FileSystemKind, PartitionTable, list_files, make_sample_disk, pick_witness,
    read_layout,
};
use tempfile::TempDir;

use crate::tools::{require_tool, run};

const LEN_BYTES: u64 = 64 << 20;

#[test]
fn the_sample_disk_is_sound_and_has_files() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("sample.img");
    make_sample_disk(&path, LEN_BYTES, 1).unwrap();
    let disk = FileDisk::open_read_only(&path).unwrap();
    let layout = read_layout(&disk).unwrap();
    assert!(matches!(layout.table, PartitionTable::Gpt { .. }));
    let [volume] = &layout.volumes[..] else { panic!("{layout:?}") };
    assert_eq!(volume.file_system, FileSystemKind::Fat);
    let files = list_files(&disk, volume).unwrap();
    assert_eq!(files.len(), 7);
    assert!(files.iter().all(|file| matches!(file.content, FileContent::Sha256(_))));
    assert!(files.iter().map(|file| file.len_bytes).sum::<u64>() > 5 << 20);
    assert!(pick_witness(&disk, &layout).unwrap().is_some());

    if require_tool("sgdisk") && require_tool("fsck.vfat") {
        assert!(run("sgdisk", ["-v", path.to_str().unwrap()]).contains("No problems found"));
        let (from, len) = (usize::try_from(volume.offset_bytes).unwrap(), usize::try_from(volume.len_bytes).unwrap());
        let volume_path = folder.path().join("volume.img");
        fs::write(&volume_path, &fs::read(&path).unwrap()[from..from + len]).unwrap();
        run("fsck.vfat", ["-n", volume_path.to_str().unwrap()]);
    }
}

#[test]
fn the_seed_decides_every_byte_of_the_sample_disk() {
    let folder = TempDir::new().unwrap();
    let made = |name: &str, seed| {
        let path = folder.path().join(name);
        make_sample_disk(&path, 16 << 20, seed).unwrap();
        fs::read(path).unwrap()
    };
    let (one, again, other) = (made("one", 1), made("again", 1), made("other", 2));
    assert!(one == again);
    assert!(one != other);
}

#[test]
fn no_file_is_overwritten_and_no_odd_length_accepted() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("precious.img");
    for len_bytes in [0, 8 << 20, LEN_BYTES + 512] {
        assert!(matches!(make_sample_disk(&path, len_bytes, 1), Err(DiskError::SampleLength { .. })));
        assert!(!path.exists());
    }
    fs::write(&path, "precious").unwrap();
    assert!(matches!(make_sample_disk(&path, LEN_BYTES, 1), Err(DiskError::Open { .. })));
    assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
}

#[test]
fn what_is_no_image_cannot_be_opened() {
    let folder = TempDir::new().unwrap();
    assert!(FileDisk::open_read_only(folder.path()).is_err());
    assert!(matches!(FileDisk::open_read_only(&folder.path().join("none")), Err(DiskError::Open { .. })));
    let odd = folder.path().join("odd.img");
    fs::write(&odd, "513").unwrap();
    assert!(matches!(FileDisk::open_read_only(&odd), Err(DiskError::NotWholeSectors { len_bytes: 3 })));
}
