//! Runs the tools that make and check images, and makes the trees of files that go into them.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use lunshadow_coordinator::disk::{FileContent, FileEntry};
use sha2::{Digest, Sha256};

use crate::memory::noise;

/// Whether the tool `name` is there. If not, the test is to return: it says so, or fails where `CI=true`.
#[must_use]
#[expect(clippy::print_stderr, reason = "a test that is skipped is to be seen")]
pub(crate) fn require_tool(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // The tools for filesystems are not on the path of ordinary users everywhere.
    let system = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    if std::env::split_paths(&path).chain(system).any(|folder| folder.join(name).is_file()) {
        return true;
    }
    assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "the tool {name} is missing");
    eprintln!("SKIPPED: the tool {name} is missing");
    false
}

/// Runs a tool that must succeed, and returns its output.
pub(crate) fn run(tool: &str, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> String {
    run_with_input(tool, arguments, "")
}

/// The same, with `input` on its standard input.
pub(crate) fn run_with_input(
    tool: &str,
    arguments: impl IntoIterator<Item = impl AsRef<OsStr>>,
    input: &str,
) -> String {
    use std::io::Write;
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
    let mut command = Command::new(tool);
    command.args(arguments).env("PATH", path).env("MTOOLS_SKIP_CHECK", "1").env("LC_ALL", "C");
    command.stdin(std::process::Stdio::piped());
    command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{command:?}: {text}{}", String::from_utf8_lossy(&output.stderr));
    text
}

/// An image of zeros.
pub(crate) fn blank_image(folder: &Path, len_bytes: u64) -> PathBuf {
    let path = folder.join("disk.img");
    fs::File::create(&path).unwrap().set_len(len_bytes).unwrap();
    path
}

/// Files to be put into a volume, by path.
pub(crate) type Tree = BTreeMap<String, Vec<u8>>;

/// A few directories with files of all lengths that matter.
pub(crate) fn sample_tree() -> Tree {
    Tree::from([
        ("empty.txt".to_owned(), Vec::new()),
        ("short.txt".to_owned(), b"only a few words\n".to_vec()),
        ("A long name with spaces, and more than 8.3 characters.text".to_owned(), noise(1, 5000)),
        ("docs/one sector.bin".to_owned(), noise(2, 512)),
        ("docs/deep/er/still/block.bin".to_owned(), noise(3, 4096)),
        ("docs/deep/large.bin".to_owned(), noise(4, 1_500_001)),
        ("zeros.bin".to_owned(), vec![0; 70_000]),
    ])
}

/// Writes the tree into a folder.
pub(crate) fn write_tree(folder: &Path, tree: &Tree) {
    fs::create_dir_all(folder).unwrap();
    for (path, content) in tree {
        let path = folder.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
}

/// The listing that a volume with these files has.
pub(crate) fn listing(tree: &Tree) -> Vec<FileEntry> {
    let mut entries: Vec<FileEntry> = tree.iter().map(|(path, content)| file_entry(path, content)).collect();
    entries.sort();
    entries
}

pub(crate) fn file_entry(path: &str, content: &[u8]) -> FileEntry {
    let len_bytes = content.len().try_into().unwrap();
    FileEntry { path: path.to_owned(), len_bytes, content: FileContent::Sha256(Sha256::digest(content).into()) }
}

/// An image of `len_bytes` with a FAT filesystem and the files of `tree`, or `None` without the tools.
pub(crate) fn fat_image(folder: &Path, len_bytes: u64, bits: u32, tree: &Tree) -> Option<PathBuf> {
    if !require_tool("mkfs.vfat") || !require_tool("mcopy") {
        return None;
    }
    let image = blank_image(folder, len_bytes);
    run("mkfs.vfat", [OsStr::new("-F"), OsStr::new(&bits.to_string()), image.as_os_str()]);
    let source = folder.join("tree");
    write_tree(&source, tree);
    for entry in fs::read_dir(&source).unwrap() {
        let path = entry.unwrap().path();
        run("mcopy", [OsStr::new("-s"), OsStr::new("-i"), image.as_os_str(), path.as_os_str(), OsStr::new("::/")]);
    }
    Some(image)
}

/// An image with an ext2, ext3 or ext4 filesystem and the files of `tree`.
pub(crate) fn ext_image(folder: &Path, len_bytes: u64, options: &[&str], tree: &Tree) -> Option<PathBuf> {
    if !require_tool("mke2fs") {
        return None;
    }
    let image = blank_image(folder, len_bytes);
    let source = folder.join("tree");
    write_tree(&source, tree);
    let mut arguments = vec!["-q", "-F", "-d", source.to_str().unwrap()];
    arguments.extend(options);
    arguments.push(image.to_str().unwrap());
    run("mke2fs", arguments);
    Some(image)
}

/// An image with an NTFS filesystem and the files of `tree`, all in its root.
pub(crate) fn ntfs_image(folder: &Path, len_bytes: u64, tree: &Tree) -> Option<PathBuf> {
    if !require_tool("mkntfs") || !require_tool("ntfscp") {
        return None;
    }
    let image = blank_image(folder, len_bytes);
    run("mkntfs", ["-F", "-Q", "-q", image.to_str().unwrap()]);
    for (path, content) in tree {
        let source = folder.join("content");
        fs::write(&source, content).unwrap();
        run("ntfscp", ["-q", image.to_str().unwrap(), source.to_str().unwrap(), path]);
    }
    Some(image)
}

/// [`sample_tree`] without directories, which `ntfscp` cannot make.
pub(crate) fn flat_tree() -> Tree {
    sample_tree().into_iter().map(|(path, content)| (path.replace('/', " in "), content)).collect()
}

/// Mounts an NTFS image. Tells why not, if the machine does not let it.
pub(crate) struct Mount(pub(crate) PathBuf);

impl Mount {
    #[expect(clippy::print_stderr, reason = "a test that is skipped is to be seen")]
    pub(crate) fn new(image: &Path, folder: &Path, options: &[&str]) -> Option<Self> {
        if !require_tool("ntfs-3g") {
            return None;
        }
        let point = folder.join("mounted");
        fs::create_dir(&point).unwrap();
        let status = Command::new("ntfs-3g").args(options).args([image, &point]).output().unwrap().status;
        if !status.success() {
            eprintln!("SKIPPED: filesystems cannot be mounted here ({status})");
            return None;
        }
        Some(Self(point))
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        run("umount", [&self.0]);
    }
}

/// Writes a tree with a directory that is large, and with a file that has a hole.
pub(crate) fn write_large_tree(folder: &Path) -> Tree {
    let mut tree: Tree = (0..1500).map(|number| (format!("many/file number {number}"), vec![b'x'; number])).collect();
    tree.insert("sparse.bin".to_owned(), [vec![0; 900_000], noise(1, 100)].concat());
    write_tree(folder, &tree);
    tree
}
