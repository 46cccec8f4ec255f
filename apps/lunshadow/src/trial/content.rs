//! What the volumes of a disk hold, so that two disks, or one disk at two times, can be compared.

use std::collections::BTreeMap;

use crate::report::FileReport;
use anyhow::Context as _;
use lunshadow_coordinator::disk::{
    DiskIo, DiskLayout, FileContent, FileEntry, FileSystemKind, Volume, list_files, read_layout,
};
use sha2::{Digest as _, Sha256};

/// How much is read at a time from a volume whose file system is not known.
const CHUNK_BYTES: u64 = 1 << 20;

/// What one volume holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Content {
    /// Files, with their lengths and hashes.
    Files(Vec<FileEntry>),
    /// A hash of the whole volume, for a file system that cannot be read here.
    Hash(String),
}

/// A volume and what it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct VolumeContent {
    /// Where the volume is.
    pub volume: Volume,
    /// What it holds.
    pub content: Content,
}

/// Reads all volumes of a disk. `end_bytes` is where the imported image ends: nothing beyond it belongs to a volume.
///
/// # Errors
/// If the disk cannot be read, or a file system on it is damaged.
pub(super) fn read_volumes(disk: &dyn DiskIo, end_bytes: u64) -> anyhow::Result<Vec<VolumeContent>> {
    let DiskLayout { volumes, .. } = read_layout(disk)?;
    let read = |volume: Volume| -> anyhow::Result<VolumeContent> {
        let content = match volume.file_system {
            FileSystemKind::Unknown => Content::Hash(hash_of(disk, &volume, end_bytes)?),
            FileSystemKind::Fat | FileSystemKind::Ntfs | FileSystemKind::Ext4 => {
                Content::Files(list_files(disk, &volume)?)
            }
        };
        Ok(VolumeContent { volume, content })
    };
    volumes.into_iter().map(read).collect()
}

fn hash_of(disk: &dyn DiskIo, volume: &Volume, end_bytes: u64) -> anyhow::Result<String> {
    let end_bytes = (volume.offset_bytes + volume.len_bytes).min(end_bytes);
    let mut hash = Sha256::new();
    let mut at_bytes = volume.offset_bytes;
    while at_bytes < end_bytes {
        let mut chunk = vec![0; usize::try_from(CHUNK_BYTES.min(end_bytes - at_bytes))?];
        disk.read_at(at_bytes, &mut chunk)?;
        hash.update(&chunk);
        at_bytes += chunk.len() as u64;
    }
    Ok(hexadecimal(&hash.finalize()))
}

/// Where `found` is not what `expected` says, in words. Identities of partitions may differ: a shadow LUN gets new ones.
#[must_use]
pub(super) fn differences(expected: &[VolumeContent], found: &[VolumeContent]) -> Vec<String> {
    let mut differences = Vec::new();
    if expected.len() != found.len() {
        differences.push(format!("{} volumes instead of {}", found.len(), expected.len()));
    }
    for (expected, found) in expected.iter().zip(found) {
        let name = |content: &VolumeContent| {
            let Volume { offset_bytes, len_bytes, file_system, .. } = content.volume;
            format!("{file_system} volume of {len_bytes} bytes at {offset_bytes}")
        };
        if name(expected) != name(found) {
            differences.push(format!("{} instead of {}", name(found), name(expected)));
            continue;
        }
        match (&expected.content, &found.content) {
            (Content::Files(expected), Content::Files(found)) => differences.extend(file_differences(expected, found)),
            (expected, found) if expected != found => differences.push(format!("the {} differs", name_of(found))),
            _ => {}
        }
    }
    differences
}

fn name_of(content: &Content) -> &'static str {
    match content {
        Content::Files(_) => "list of files",
        Content::Hash(_) => "hash of the volume",
    }
}

fn file_differences(expected: &[FileEntry], found: &[FileEntry]) -> Vec<String> {
    let by_path = |files: &[FileEntry]| -> BTreeMap<String, FileEntry> {
        files.iter().map(|file| (file.path.clone(), file.clone())).collect()
    };
    let (expected, found) = (by_path(expected), by_path(found));
    let missing = expected.keys().filter(|path| !found.contains_key(*path)).map(|path| format!("{path} is missing"));
    let changed = found.iter().filter_map(|(path, file)| match expected.get(path) {
        None => Some(format!("{path} is there and should not be")),
        Some(expected) if expected != file => Some(format!("{path} differs")),
        Some(_) => None,
    });
    missing.chain(changed).collect()
}

/// How many files there are in all volumes, their bytes, and how many of them could be read and hashed.
#[must_use]
pub(super) fn totals(volumes: &[VolumeContent]) -> (usize, u64, usize) {
    let files = || {
        volumes.iter().flat_map(|volume| match &volume.content {
            Content::Files(files) => files.as_slice(),
            Content::Hash(_) => &[],
        })
    };
    let hashed = files().filter(|file| matches!(file.content, FileContent::Sha256(_))).count();
    (files().count(), files().map(|file| file.len_bytes).sum(), hashed)
}

/// The files of all volumes.
pub(super) fn listing(volumes: &[VolumeContent]) -> Vec<FileReport> {
    let mut files = Vec::new();
    for VolumeContent { volume, content } in volumes {
        let Content::Files(entries) = content else { continue };
        files.extend(entries.iter().map(|file| {
            let (sha256, unread) = match file.content {
                FileContent::Sha256(digest) => (Some(hexadecimal(&digest)), None),
                FileContent::Unread(reason) => (None, Some(reason.to_string())),
            };
            let (volume_offset_bytes, path) = (volume.offset_bytes, file.path.clone());
            FileReport { volume_offset_bytes, path, len_bytes: file.len_bytes, sha256, unread }
        }));
    }
    files
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The hash of one file, if it is there and could be read.
///
/// # Errors
/// If the disk cannot be read.
pub(super) fn file_hash(volumes: &[VolumeContent], index: u32, path: &str) -> anyhow::Result<String> {
    let volume = volumes.iter().find(|volume| volume.volume.index == index).context("the volume is gone")?;
    let Content::Files(files) = &volume.content else { anyhow::bail!("the volume's files cannot be read") };
    let file = files.iter().find(|file| file.path == path).with_context(|| format!("{path} is gone"))?;
    Ok(format!("{:?}", file.content))
}
