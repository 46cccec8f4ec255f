//! The files of volumes made by the usual tools, any part of them at any time.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use lunshadow_coordinator::disk::{
    Attributes, DiskError, DiskIo, FileError, FileKind, FileNumber, FileSystemKind, ListedFile, VolumeFiles,
    read_layout,
};
use tempfile::TempDir;

use crate::memory::{MemoryDisk, noise};
use crate::tools::{
    Mount, Tree, ext_image, fat_image, flat_tree, ntfs_image, require_tool, run, sample_tree, write_large_tree,
    write_tree,
};

const MIB: u64 = 1024 * 1024;

/// When the files of the trees were written, to the second that FAT has.
const WRITTEN: Duration = Duration::from_secs(1_764_412_842);

fn open_disk(disk: Arc<dyn DiskIo>) -> VolumeFiles {
    let [volume] = read_layout(&*disk).unwrap().volumes.try_into().unwrap();
    VolumeFiles::open(disk, volume).unwrap()
}

fn open(image: &Path) -> VolumeFiles {
    open_disk(Arc::new(MemoryDisk::from_file(image)))
}

/// All entries of a directory, asked for a few at a time.
fn list(files: &VolumeFiles, directory: FileNumber, at_most: usize) -> Vec<ListedFile> {
    let mut listed = Vec::new();
    loop {
        let more = files.list(directory, listed.len().try_into().unwrap(), at_most).unwrap();
        if more.is_empty() {
            return listed;
        }
        assert!(more.len() <= at_most);
        listed.extend(more);
    }
}

/// The file at a path, which has to be there.
fn at(files: &VolumeFiles, path: &str) -> (FileNumber, Attributes) {
    let mut found = (FileNumber::ROOT, files.attributes(FileNumber::ROOT).unwrap());
    for part in path.split('/') {
        found =
            files.look_up(found.0, part.as_bytes()).unwrap().unwrap_or_else(|| panic!("there is no {part} of {path}"));
    }
    found
}

/// Everything below a directory, with what is in files. Directories have no content.
fn whole_tree(files: &VolumeFiles, directory: FileNumber, path: &str, into: &mut BTreeMap<String, Option<Vec<u8>>>) {
    for entry in list(files, directory, 7) {
        let path = format!("{path}{}", String::from_utf8(entry.name.clone()).unwrap());
        let (number, attributes) = files.look_up(directory, &entry.name).unwrap().unwrap();
        assert_eq!((number, attributes.kind), (entry.number, entry.kind), "{path}");
        if entry.kind == FileKind::Directory {
            into.insert(path.clone(), None);
            whole_tree(files, number, &format!("{path}/"), into);
        } else {
            files.open_file(number).unwrap();
            let content = files.read(number, 0, usize::try_from(attributes.len_bytes).unwrap() + 1).unwrap();
            into.insert(path, Some(content));
        }
        files.forget(number, 1);
        assert!(matches!(files.attributes(number), Err(FileError::Unknown)));
    }
}

fn assert_holds(files: &VolumeFiles, tree: &Tree) {
    let mut expected: BTreeMap<String, Option<Vec<u8>>> = BTreeMap::new();
    for (path, content) in tree {
        expected.insert(path.clone(), Some(content.clone()));
        let parents = path.match_indices('/').map(|(end, _)| (path[..end].to_owned(), None));
        expected.extend(parents);
    }
    let mut found = BTreeMap::new();
    whole_tree(files, FileNumber::ROOT, "", &mut found);
    found.remove("lost+found");
    let names = |tree: &BTreeMap<String, Option<Vec<u8>>>| tree.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&found), names(&expected));
    assert!(found == expected, "a content differs");
}

/// Reads parts of a file in an order that no reader expects.
fn assert_parts(files: &VolumeFiles, path: &str, content: &[u8]) {
    let (number, attributes) = at(files, path);
    assert_eq!(attributes.len_bytes, u64::try_from(content.len()).unwrap(), "{path}");
    let len = content.len();
    for (offset, part_len) in [
        (0, 1),
        (len / 2, 4097),
        (1, 511),
        (len.saturating_sub(3), 100),
        (len, 10),
        (len + 12_345, 10),
        (511, 2),
        (4095, 70_000),
        ((len / 3) | 1, 13),
        (0, len),
    ] {
        let expected = &content[offset.min(len)..(offset + part_len).min(len)];
        let part = files.read(number, offset.try_into().unwrap(), part_len).unwrap();
        assert!(part == expected, "{path}: {part_len} bytes at {offset}");
    }
    files.forget(number, 1);
}

fn assert_sample(files: &VolumeFiles, tree: &Tree) {
    assert_holds(files, tree);
    for (path, content) in tree {
        assert_parts(files, path, content);
    }
    assert!(files.look_up(FileNumber::ROOT, b"no such file").unwrap().is_none());
    assert!(files.look_up(FileNumber::ROOT, b"SHORT.TXT").unwrap().is_none(), "names have a case");
    // A file is no directory, and the other way round.
    let (short, _) = at(files, "short.txt");
    assert!(matches!(files.list(short, 0, 1), Err(FileError::WrongKind)));
    assert!(matches!(files.look_up(short, b"x"), Err(FileError::WrongKind)));
    assert!(matches!(files.open_file(FileNumber::ROOT), Err(FileError::WrongKind)));
    assert!(matches!(files.target(short), Err(FileError::WrongKind)));
}

/// Sets the time of all files of the tree that an image is about to be made of.
fn set_times(folder: &Path) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            set_times(&path);
        } else {
            std::fs::File::open(&path).unwrap().set_modified(UNIX_EPOCH + WRITTEN).unwrap();
        }
    }
}

/// A number that a tool prints behind some words.
fn number_after(text: &str, words: &str) -> u64 {
    let (_, rest) = text.split_once(words).unwrap_or_else(|| panic!("no {words:?} in {text}"));
    let digits = rest.trim_start().chars().take_while(|char| char.is_ascii_digit() || matches!(char, ' ' | ','));
    digits.filter(char::is_ascii_digit).collect::<String>().parse().unwrap()
}

#[test]
fn fat_of_all_widths() {
    for (bits, len_bytes) in [(12, 4 * MIB), (16, 32 * MIB), (32, 64 * MIB)] {
        let folder = TempDir::new().unwrap();
        let Some(image) = fat_image(folder.path(), len_bytes, bits, &sample_tree()) else { return };
        let files = open(&image);
        assert_sample(&files, &sample_tree());
        let space = files.space().unwrap();
        let listed = run("mdir", ["-i", image.to_str().unwrap(), "::/"]);
        let (_, free) = listed.trim_end().rsplit_once('\n').unwrap();
        assert_eq!(u64::from(space.block_bytes) * space.free_blocks, number_after(free, ""), "FAT{bits}");
        assert!(space.blocks > space.free_blocks && space.blocks * u64::from(space.block_bytes) < len_bytes);
    }
}

#[test]
fn fat_has_the_times_of_its_files() {
    let folder = TempDir::new().unwrap();
    let Some(image) = fat_image(folder.path(), 4 * MIB, 12, &Tree::new()) else { return };
    let source = folder.path().join("dated");
    std::fs::write(&source, "x").unwrap();
    std::fs::File::open(&source).unwrap().set_modified(UNIX_EPOCH + WRITTEN).unwrap();
    run("env", ["TZ=UTC", "mcopy", "-m", "-i", image.to_str().unwrap(), source.to_str().unwrap(), "::/dated"]);
    let (_, attributes) = at(&open(&image), "dated");
    assert_eq!(attributes.modified, Some(UNIX_EPOCH + WRITTEN));
    // A day, as it was when the image was made.
    let day = attributes.accessed.unwrap().duration_since(UNIX_EPOCH).unwrap();
    assert_eq!(day.as_secs() % 86_400, 0);
    assert_eq!((attributes.mode, attributes.owner, attributes.links), (None, None, 1));
}

#[test]
fn ext2_ext3_and_ext4_of_several_shapes() {
    for options in [
        &["-t", "ext4"][..],
        &["-t", "ext4", "-b", "4096", "-O", "^metadata_csum,^64bit"],
        &["-t", "ext4", "-O", "bigalloc", "-C", "16384"],
        &["-t", "ext3"],
        &["-t", "ext2", "-b", "1024"],
    ] {
        // What the reader of files without extents does not understand has a test of its own.
        let mut tree = sample_tree();
        tree.remove("zeros.bin");
        let folder = TempDir::new().unwrap();
        write_tree(&folder.path().join("tree"), &tree);
        set_times(&folder.path().join("tree"));
        let Some(image) = ext_image(folder.path(), 24 * MIB, options, &Tree::new()) else { return };
        let files = open(&image);
        assert_sample(&files, &tree);
        let (_, attributes) = at(&files, "docs/deep/large.bin");
        assert_eq!(attributes.modified, Some(UNIX_EPOCH + WRITTEN), "{options:?}");
        let mode = |path: &str| {
            use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
            let metadata = std::fs::metadata(folder.path().join("tree").join(path)).unwrap();
            (u16::try_from(metadata.permissions().mode() & 0o7777).ok(), Some((metadata.uid(), metadata.gid())))
        };
        assert_eq!((attributes.mode, attributes.owner), mode("docs/deep/large.bin"));
        let (_, attributes) = at(&files, "docs/deep");
        assert_eq!((attributes.mode, attributes.owner), mode("docs/deep"));

        let space = files.space().unwrap();
        let known = run("dumpe2fs", ["-h", image.to_str().unwrap()]);
        assert_eq!(space.blocks, number_after(&known, "Block count:"), "{options:?}");
        assert_eq!(space.free_blocks, number_after(&known, "Free blocks:"), "{options:?}");
        assert_eq!(space.files, number_after(&known, "Inode count:"));
        assert_eq!(space.free_files, number_after(&known, "Free inodes:"));
        assert_eq!(u64::from(space.block_bytes), number_after(&known, "Block size:"));
    }
}

#[test]
fn ext4_links_sparse_files_and_large_directories() {
    let folder = TempDir::new().unwrap();
    let source = folder.path().join("tree");
    let tree = write_large_tree(&source);
    let huge = std::fs::File::create(source.join("huge and sparse")).unwrap();
    huge.set_len(3 << 30).unwrap();
    std::os::unix::fs::FileExt::write_at(&huge, b"here", (2 << 30) + 5).unwrap();
    symlink("many/file number 7", source.join("link to seven")).unwrap();
    symlink("/nowhere/".repeat(30), source.join("long link")).unwrap();
    let Some(image) = ext_image(folder.path(), 32 * MIB, &["-t", "ext4"], &Tree::new()) else { return };
    let files = open(&image);

    let (number, attributes) = at(&files, "link to seven");
    assert_eq!((attributes.kind, attributes.len_bytes), (FileKind::Link, 18));
    assert_eq!(files.target(number).unwrap(), b"many/file number 7");
    assert_eq!(files.target(at(&files, "long link").0).unwrap(), "/nowhere/".repeat(30).as_bytes());
    // A link is not gone through, nor read.
    assert!(matches!(files.look_up(number, b"x"), Err(FileError::WrongKind)));

    assert_parts(&files, "sparse.bin", &tree["sparse.bin"]);
    let (number, attributes) = at(&files, "huge and sparse");
    assert_eq!(attributes.len_bytes, 3 << 30);
    assert_eq!(files.read(number, (2 << 30) + 4, 6).unwrap(), b"\0here\0");
    assert_eq!(files.read(number, (3 << 30) - 2, 6).unwrap(), [0, 0]);

    let (many, _) = at(&files, "many");
    let listed = list(&files, many, 100);
    assert_eq!(listed.len(), 1500);
    for entry in &listed {
        let name = String::from_utf8(entry.name.clone()).unwrap();
        let (number, attributes) = files.look_up(many, &entry.name).unwrap().unwrap();
        assert_eq!(number, entry.number);
        assert_eq!(attributes.len_bytes, u64::try_from(tree[&format!("many/{name}")].len()).unwrap());
    }
}

#[test]
fn holes_without_extents_are_said_to_be_unread() {
    let tree = Tree::from([("zeros.bin".to_owned(), vec![0; 70_000]), ("sound.bin".to_owned(), noise(1, 70_000))]);
    let folder = TempDir::new().unwrap();
    let Some(image) = ext_image(folder.path(), 8 * MIB, &["-t", "ext2", "-b", "1024"], &tree) else { return };
    let files = open(&image);
    let (zeros, _) = at(&files, "zeros.bin");
    assert_eq!(files.read(zeros, 0, 4096).unwrap(), [0; 4096]);
    let refused = files.read(zeros, 0, 70_000).unwrap_err();
    assert_eq!(refused.to_string(), "it is sparse, which is not read here");
    assert_parts(&files, "sound.bin", &tree["sound.bin"]);
}

#[test]
fn ntfs_as_it_is_made() {
    let mut tree = flat_tree();
    tree.extend((0..300).map(|number| (format!("a file with a long name {number}.txt"), noise(number, 300))));
    let folder = TempDir::new().unwrap();
    let begun = SystemTime::now();
    let Some(image) = ntfs_image(folder.path(), 16 * MIB, &tree) else { return };
    let files = open(&image);
    assert_sample(&files, &tree);
    let (number, attributes) = at(&files, "short.txt");
    assert!(number.0 >= 24, "record numbers are inode numbers");
    assert!((begun - Duration::from_secs(1)..=SystemTime::now()).contains(&attributes.modified.unwrap()));
    assert_eq!(attributes.links, 1);

    let space = files.space().unwrap();
    let known = run("ntfsinfo", ["-m", image.to_str().unwrap()]);
    assert_eq!(u64::from(space.block_bytes), number_after(&known, "Cluster Size:"));
    assert_eq!(space.blocks, number_after(&known, "Volume Size in Clusters:"));
    assert_eq!(space.free_blocks, number_after(&known, "Free Clusters:"));
}

#[test]
fn ntfs_directories_links_and_names_that_differ_in_case() {
    let folder = TempDir::new().unwrap();
    let Some(image) = ntfs_image(folder.path(), 24 * MIB, &Tree::new()) else { return };
    let mut tree = sample_tree();
    tree.extend((0..300).map(|number| (format!("many/file number {number}"), vec![b'x'; number])));
    tree.insert("many/File Number 7".to_owned(), b"another one".to_vec());
    tree.insert("many/Größe €.txt".to_owned(), b"not ASCII".to_vec());
    {
        let Some(mount) = Mount::new(&image, folder.path(), &["-o", "special_files=wsl"]) else { return };
        write_tree(&mount.0, &tree);
        symlink("docs/deep", mount.0.join("link to a directory")).unwrap();
        std::fs::hard_link(mount.0.join("short.txt"), mount.0.join("second name")).unwrap();
    }
    let files = open(&image);
    let (link, attributes) = at(&files, "link to a directory");
    assert_eq!((attributes.kind, attributes.len_bytes), (FileKind::Link, 9));
    assert_eq!(files.target(link).unwrap(), b"docs/deep");
    assert!(matches!(files.list(link, 0, 1), Err(FileError::WrongKind)));
    let (first, attributes) = at(&files, "short.txt");
    assert_eq!((attributes.links, first), (2, at(&files, "second name").0));
    for (path, content) in &tree {
        assert_parts(&files, path, content);
    }
    let (many, _) = at(&files, "many");
    assert!(files.look_up(many, b"FILE NUMBER 7").unwrap().is_none());
    assert!(files.look_up(many, b"file number 300").unwrap().is_none());
    assert!(files.look_up(many, b"\xff").unwrap().is_none());
    assert_eq!(list(&files, many, 64).len(), 302);
}

/// A disk whose reads fail while it is told so.
struct Unreliable {
    below: MemoryDisk,
    fails: AtomicBool,
}

impl DiskIo for Unreliable {
    fn len_bytes(&self) -> u64 {
        self.below.len_bytes()
    }

    fn read_at(&self, offset_bytes: u64, into: &mut [u8]) -> io::Result<()> {
        if self.fails.load(Ordering::SeqCst) {
            return Err(io::Error::new(io::ErrorKind::ConnectionReset, "the session was dropped"));
        }
        self.below.read_at(offset_bytes, into)
    }

    fn write_at(&self, _offset_bytes: u64, _from: &[u8]) -> io::Result<()> {
        panic!("files are read only");
    }

    fn flush(&self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_disk_that_fails_is_said_to_and_may_come_back() {
    let content = noise(3, 12 << 20);
    let tree = Tree::from([("large.bin".to_owned(), content.clone())]);
    for kind in [FileSystemKind::Fat, FileSystemKind::Ntfs, FileSystemKind::Ext4] {
        let folder = TempDir::new().unwrap();
        let image = match kind {
            FileSystemKind::Fat => fat_image(folder.path(), 24 * MIB, 16, &tree),
            FileSystemKind::Ntfs => ntfs_image(folder.path(), 24 * MIB, &tree),
            _ => ext_image(folder.path(), 24 * MIB, &["-t", "ext4"], &tree),
        };
        let Some(image) = image else { return };
        let disk = Arc::new(Unreliable { below: MemoryDisk::from_file(&image), fails: AtomicBool::new(false) });
        let files = open_disk(Arc::clone(&disk) as _);
        let (number, _) = at(&files, "large.bin");
        files.read(number, 0, 10).unwrap();
        disk.fails.store(true, Ordering::SeqCst);
        // So much is not in memory.
        let failure = files.read(number, 1 << 20, 10 << 20).unwrap_err();
        assert!(matches!(&failure, FileError::Disk(cause) if cause.kind() == io::ErrorKind::ConnectionReset), "{kind}");
        disk.fails.store(false, Ordering::SeqCst);
        assert!(files.read(number, 1 << 20, 10 << 20).unwrap() == content[1 << 20..11 << 20], "{kind}");
    }
}

#[test]
fn what_cannot_be_opened_is_an_error_and_nothing_is_read_after_the_end() {
    if !require_tool("mkfs.vfat") {
        return;
    }
    let folder = TempDir::new().unwrap();
    let Some(image) = fat_image(folder.path(), 8 * MIB, 12, &sample_tree()) else { return };
    let disk = Arc::new(Unreliable { below: MemoryDisk::from_file(&image), fails: AtomicBool::new(false) });
    let [volume] = read_layout(&*disk).unwrap().volumes.try_into().unwrap();

    let mut other = volume.clone();
    other.file_system = FileSystemKind::Unknown;
    let error = VolumeFiles::open(Arc::clone(&disk) as _, other.clone()).unwrap_err();
    assert!(matches!(error, DiskError::UnknownFileSystem { volume: 0 }), "{error:?}");
    other.file_system = FileSystemKind::Ntfs;
    let error = VolumeFiles::open(Arc::clone(&disk) as _, other.clone()).unwrap_err();
    assert!(matches!(error, DiskError::DamagedVolume { .. }), "{error:?}");
    other.len_bytes += 512;
    let error = VolumeFiles::open(Arc::clone(&disk) as _, other).unwrap_err();
    assert!(matches!(error, DiskError::VolumeBeyondDisk { .. }), "{error:?}");
    disk.fails.store(true, Ordering::SeqCst);
    let error = VolumeFiles::open(Arc::clone(&disk) as _, volume.clone()).unwrap_err();
    assert!(matches!(&error, DiskError::Io(cause) if cause.kind() == io::ErrorKind::ConnectionReset), "{error:?}");
    disk.fails.store(false, Ordering::SeqCst);

    let files = VolumeFiles::open(Arc::clone(&disk) as _, volume).unwrap();
    let (number, _) = at(&files, "short.txt");
    files.close();
    assert!(matches!(files.read(number, 0, 1), Err(FileError::Closed)));
    files.forget(number, 1);
    files.close();
    // Nobody but the test has the disk any more.
    assert_eq!(Arc::strong_count(&disk), 1);
}
