//! What the reader of each file system can do: directories, files and parts of files, one at a time and in any order.

use std::fmt;
use std::io::{self, Read};
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::SystemTime;

use super::metered::WatchedDisk;
use super::{UnreadReason, ext4, fat, ntfs};
use crate::disk::{DiskError, DiskIo, FileSystemKind, Volume};

/// What something in a directory is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum FileKind {
    /// A file with content.
    File,
    /// A directory.
    Directory,
    /// A symbolic link; on NTFS also a junction or a mount point.
    Link,
    /// A pipe with a name.
    NamedPipe,
    /// A character device.
    CharacterDevice,
    /// A block device.
    BlockDevice,
    /// A socket.
    Socket,
}

/// What is known of a file besides its content.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Attributes {
    /// What it is.
    pub kind: FileKind,
    /// The length of its content, or of a link's target; 0 for directories of FAT and NTFS.
    pub len_bytes: u64,
    /// How many names it has, as far as the reader knows, and at least 1.
    pub links: u32,
    /// Its permissions, if the file system has such: the lowest 12 bits of a Unix mode.
    pub mode: Option<u16>,
    /// Its owner and group, if the file system has such.
    pub owner: Option<(u32, u32)>,
    /// When it was read. FAT knows the day, and no time zone: UTC is taken.
    pub accessed: Option<SystemTime>,
    /// When its content was written.
    pub modified: Option<SystemTime>,
    /// When anything about it was changed.
    pub changed: Option<SystemTime>,
}

/// How full a file system is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Space {
    /// The length of a block or cluster.
    pub block_bytes: u32,
    /// How many it has.
    pub blocks: u64,
    /// How many of them are free.
    pub free_blocks: u64,
    /// How many files it can have; 0 if there is no such limit.
    pub files: u64,
    /// How many more it can have.
    pub free_files: u64,
}

/// An entry of a directory.
#[derive(Clone)]
pub(super) struct Entry<N> {
    /// Without separators; not `.` or `..`. What is not Unicode in a name of FAT or NTFS is replaced by U+FFFD.
    pub(super) name: Vec<u8>,
    pub(super) kind: FileKind,
    pub(super) node: N,
}

/// Takes the entries of a directory one by one, and may have enough of them.
pub(super) type Visit<'v, N> = dyn FnMut(Entry<N>) -> ControlFlow<()> + 'v;

/// A reader of one volume. Nothing that it reads changes.
pub(super) trait Reader {
    /// A file, directory or whatever else has a name.
    type Node: Clone;
    /// A file's content, at a position.
    type Open;

    /// The directory that contains all others.
    fn root(&self) -> Self::Node;

    /// The number that the file system itself has for a file, whatever its name, if it has one.
    fn number(&self, node: &Self::Node) -> Option<u64>;

    /// Shows the entries of a directory, always in the same order.
    fn list(&self, directory: &Self::Node, visit: &mut Visit<'_, Self::Node>) -> Result<(), Failure>;

    /// The entry of exactly this name.
    fn find(&self, directory: &Self::Node, name: &[u8]) -> Result<Option<Self::Node>, Failure> {
        find_by_listing(self, directory, name)
    }

    /// What is known of a file.
    fn attributes(&self, node: &Self::Node) -> Result<Attributes, Failure>;

    /// A file's content from `position` on, which is not beyond its end.
    fn open(&self, node: &Self::Node, position: u64) -> Result<Self::Open, Failure>;

    /// Reads on. Fewer bytes than fit are no sign of the end; none are.
    fn read(&self, open: &mut Self::Open, into: &mut [u8]) -> Result<usize, Failure>;

    /// Where a link points to, with `/` between the parts.
    fn target(&self, link: &Self::Node) -> Result<Vec<u8>, Failure>;

    /// How full the file system is.
    fn space(&self) -> Result<Space, Failure>;
}

/// Looks at one entry after the other.
pub(super) fn find_by_listing<R: Reader + ?Sized>(
    reader: &R,
    directory: &R::Node,
    name: &[u8],
) -> Result<Option<R::Node>, Failure> {
    let mut found = None;
    reader.list(directory, &mut |entry| {
        if entry.name != name {
            return ControlFlow::Continue(());
        }
        found = Some(entry.node);
        ControlFlow::Break(())
    })?;
    Ok(found)
}

/// Why a reader did not do it.
#[derive(Debug)]
pub(super) enum Failure {
    /// The file system contradicts itself.
    Damaged(String),
    /// It is sound, but not read here.
    Unread(UnreadReason),
    /// A directory was wanted and it is none, and the like.
    WrongKind,
}

impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Damaged(error.to_string())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Damaged(reason) => f.write_str(reason),
            Self::Unread(reason) => write!(f, "it is {reason}"),
            Self::WrongKind => f.write_str("it is of another kind than its directory says"),
        }
    }
}

/// A file's content, which has as many bytes as its attributes say; one that ends before is damaged.
pub(super) struct Content<'r, R: Reader> {
    reader: &'r R,
    open: R::Open,
    position: u64,
    len_bytes: u64,
}

impl<'r, R: Reader> Content<'r, R> {
    /// The content of a file of `len_bytes`, from `position` on or from its end on.
    pub(super) fn open(reader: &'r R, node: &R::Node, len_bytes: u64, position: u64) -> Result<Self, Failure> {
        let position = position.min(len_bytes);
        Ok(Self { reader, open: reader.open(node, position)?, position, len_bytes })
    }

    /// Where the next read begins.
    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// How much is left from here to the end, `wanted` at most.
    pub(super) fn left(&self, wanted: usize) -> usize {
        usize::try_from(self.len_bytes - self.position).map_or(wanted, |left| left.min(wanted))
    }

    /// Fills `into`, or as much of it as is left.
    pub(super) fn fill(&mut self, into: &mut [u8]) -> Result<usize, Failure> {
        let len = self.left(into.len());
        let mut filled = 0;
        while filled < len {
            filled += self.read_some(&mut into[filled..len])?;
        }
        Ok(len)
    }

    fn read_some(&mut self, into: &mut [u8]) -> Result<usize, Failure> {
        let wanted = self.left(into.len());
        if wanted == 0 {
            return Ok(0);
        }
        let count = self.reader.read(&mut self.open, &mut into[..wanted])?;
        if count == 0 {
            return Err(Failure::Damaged("the content is shorter than the file".to_owned()));
        }
        self.position += u64::try_from(count)?;
        Ok(count)
    }
}

/// A content that is sound but cannot be read on fails with [`io::ErrorKind::Unsupported`].
impl<R: Reader> Read for Content<'_, R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.read_some(buf).map_err(|failure| {
            let is_sound = matches!(failure, Failure::Unread(_));
            let kind = if is_sound { io::ErrorKind::Unsupported } else { io::ErrorKind::InvalidData };
            io::Error::new(kind, failure.to_string())
        })
    }
}

/// What is done with a reader, whatever the file system.
pub(super) trait Task {
    /// What comes of it.
    type Output;

    fn run<R: Reader>(self, reader: &R) -> Self::Output;
}

/// Does something with the reader of a volume.
///
/// The crates that read file systems check much, but not all: `fatfs` and `ntfs` overflow or index out of range on some damage.
/// Such a panic ends here.
pub(super) fn with_reader<T: Task>(disk: &WatchedDisk<'_>, volume: &Volume, task: T) -> Result<T::Output, DiskError> {
    let (disk_len_bytes, end_bytes) = (disk.len_bytes(), volume.offset_bytes.saturating_add(volume.len_bytes));
    if end_bytes > disk_len_bytes {
        return Err(DiskError::VolumeBeyondDisk { volume: volume.index, end_bytes, disk_len_bytes });
    }
    let outcome = catch_unwind(AssertUnwindSafe(|| match volume.file_system {
        FileSystemKind::Fat => Some(fat::with_reader(disk, volume, task)),
        FileSystemKind::Ntfs => Some(ntfs::with_reader(disk, volume, task)),
        FileSystemKind::Ext4 => Some(ext4::with_reader(disk, volume, task)),
        FileSystemKind::Unknown => None,
    }));
    // A reader that was refused a read says something about the file system, but the disk is the cause.
    disk.check()?;
    match outcome {
        Ok(None) => Err(DiskError::UnknownFileSystem { volume: volume.index }),
        Ok(Some(Ok(output))) => Ok(output),
        Ok(Some(Err(failure))) => Err(damaged(volume, failure.to_string())),
        Err(_) => Err(damaged(volume, PANICKED.to_owned())),
    }
}

/// What is said of a file system that a crate had not expected.
pub(super) const PANICKED: &str = "its structures do not fit together";

pub(super) fn damaged(volume: &Volume, reason: String) -> DiskError {
    DiskError::DamagedVolume { volume: volume.index, file_system: volume.file_system, reason }
}
