//! The files of a volume: all of them with hashes of their contents, or any part of any of them at any time.
//!
//! The volume is read as it is on the disk, without mounting and without changing it: FAT by `fatfs`, NTFS by `ntfs`,
//! ext2/3/4 by `ext4-view`, which takes the journal into account.
//!
//! ```text
//!  list_files ──▶ walk ─────┬─▶ trait Reader ──▶ fat, ntfs, ext4 ──▶ MeteredCursor, WatchedDisk ──▶ DiskIo
//!  VolumeFiles ──▶ service ─┘
//! ```

mod ext4;
mod ext4_space;
mod fat;
mod known;
mod listings;
mod metered;
mod ntfs;
mod reader;
mod reparse;
mod service;
mod volume_files;
mod walk;

use std::fmt;
use std::io::{self, Read};
use std::ops::ControlFlow;

use sha2::{Digest, Sha256};

pub use reader::{Attributes, FileKind, Space};
pub use volume_files::{FileError, FileNumber, ListedFile, VolumeFiles};
pub(super) use walk::walk_volume;

use super::{DiskError, DiskIo, Volume};

/// A file of a volume.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct FileEntry {
    /// From the root of the volume, without a leading separator, parts separated by `/`. What is not Unicode in a name is
    /// replaced by U+FFFD.
    pub path: String,
    /// The length of its content.
    pub len_bytes: u64,
    /// The content, in short.
    pub content: FileContent,
}

/// What is known of a file's content.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum FileContent {
    /// Its SHA-256.
    Sha256([u8; 32]),
    /// Nothing; it is there, but was not read.
    Unread(UnreadReason),
}

/// Why a file is listed without a hash.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum UnreadReason {
    /// It is compressed by NTFS.
    Compressed,
    /// It is encrypted by the filesystem.
    Encrypted,
    /// It is a symbolic link, a junction, or another reparse point of NTFS.
    Link,
    /// It is a sparse file of ext2 or ext3 with holes of a kind that the reader does not know.
    Holes,
    /// It is longer than its volume, being sparse; or so much was read before that the volume must be full of such files.
    TooLong,
}

impl fmt::Display for UnreadReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Compressed => "compressed",
            Self::Encrypted => "encrypted",
            Self::Link => "a link",
            Self::Holes => "sparse",
            Self::TooLong => "too long to read",
        })
    }
}

/// Lists the regular files and the links of `volume`, sorted by path.
///
/// Left out are directories, devices and the like, the metadata files of NTFS, and `System Volume Information`, in which Windows
/// keeps its own records about the volume.
///
/// # Errors
///
/// [`DiskError::DamagedVolume`] if the filesystem contradicts itself, [`DiskError::UnknownFileSystem`] if none is known there,
/// [`DiskError::VolumeBeyondDisk`], and [`DiskError::Io`] if the disk fails.
pub fn list_files(disk: &dyn DiskIo, volume: &Volume) -> Result<Vec<FileEntry>, DiskError> {
    let mut files = Vec::new();
    walk_volume(disk, volume, &mut |found, content| {
        let content = match found.unread {
            Some(reason) => FileContent::Unread(reason),
            None => match hash(content) {
                Ok(digest) => FileContent::Sha256(digest),
                Err(failure) if failure.kind() == io::ErrorKind::Unsupported => {
                    FileContent::Unread(UnreadReason::Holes)
                }
                Err(failure) => return Err(failure),
            },
        };
        files.push(FileEntry { path: found.path.to_owned(), len_bytes: found.len_bytes, content });
        Ok(ControlFlow::Continue(()))
    })?;
    files.sort();
    Ok(files)
}

/// The SHA-256 of all that `content` has.
fn hash(content: &mut dyn Read) -> io::Result<[u8; 32]> {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 128 * 1024];
    loop {
        match content.read(&mut buffer) {
            Ok(0) => return Ok(hasher.finalize().into()),
            Ok(count) => hasher.update(&buffer[..count]),
            Err(failure) if failure.kind() == io::ErrorKind::Interrupted => {}
            Err(failure) => return Err(failure),
        }
    }
}
