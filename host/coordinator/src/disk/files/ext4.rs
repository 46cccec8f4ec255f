//! Files of an ext2, ext3 or ext4 volume, by `ext4-view`.

use std::error::Error;
use std::io::{self, Read, Seek, SeekFrom};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ext4_view::{Ext4, Ext4Error, Ext4Read, File, FileType, PathBuf, Timestamp};

use super::reader::{Attributes, Entry, Failure, FileKind, Reader, Space, Task, Visit};
use super::{UnreadReason, ext4_space};
use crate::disk::{DiskCursor, DiskIo, Volume};

/// How far into a file the crate is sent. It counts every block on the way, also in holes.
const SEEK_MAX_BYTES: u64 = 1 << 40;

/// The longest name of a file.
const NAME_LEN_MAX_BYTES: usize = 255;

pub(super) fn with_reader<T: Task>(disk: &dyn DiskIo, volume: &Volume, task: T) -> Result<T::Output, Failure> {
    let cursor = DiskCursor::read_only(disk, volume.offset_bytes, volume.len_bytes);
    // The crate wants to own its reader, while the disk is borrowed. So it gets one end of a channel, and a thread that
    // cannot outlive the borrow serves the other end. The thread ends when the crate drops its reader.
    let (requests, incoming) = mpsc::channel();
    thread::scope(|scope| {
        scope.spawn(move || serve(cursor, &incoming));
        let file_system = Ext4::load(Box::new(RemoteReader { requests }))?;
        Ok(task.run(&Ext4Reader { file_system, disk, volume }))
    })
}

struct Ext4Reader<'a> {
    file_system: Ext4,
    disk: &'a dyn DiskIo,
    volume: &'a Volume,
}

impl Reader for Ext4Reader<'_> {
    /// No link is on its way from the root.
    type Node = PathBuf;
    type Open = File;

    fn root(&self) -> PathBuf {
        PathBuf::new("/")
    }

    /// The crate keeps inode numbers to itself.
    fn number(&self, _node: &PathBuf) -> Option<u64> {
        None
    }

    fn list(&self, directory: &PathBuf, visit: &mut Visit<'_, PathBuf>) -> Result<(), Failure> {
        for entry in self.file_system.read_dir(directory).map_err(failure)? {
            let entry = entry?;
            let name = entry.file_name();
            if name == "." || name == ".." {
                continue;
            }
            let name = name.as_ref().to_vec();
            if visit(Entry { name, kind: kind(entry.file_type()?), node: entry.path() }).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn find(&self, directory: &PathBuf, name: &[u8]) -> Result<Option<PathBuf>, Failure> {
        if name.len() > NAME_LEN_MAX_BYTES || name.is_empty() || name.contains(&0) || name.contains(&b'/') {
            return Ok(None);
        }
        let path = directory.join(name);
        match self.file_system.symlink_metadata(&path) {
            Ok(_) => Ok(Some(path)),
            Err(Ext4Error::NotFound) => Ok(None),
            Err(error) => Err(failure(error)),
        }
    }

    fn attributes(&self, node: &PathBuf) -> Result<Attributes, Failure> {
        let metadata = self.file_system.symlink_metadata(node).map_err(failure)?;
        let modified = time(metadata.modified());
        Ok(Attributes {
            kind: kind(metadata.file_type()),
            len_bytes: metadata.len(),
            links: 1,
            mode: Some(metadata.mode()),
            owner: Some((metadata.uid(), metadata.gid())),
            accessed: time(metadata.accessed()),
            modified,
            changed: None,
        })
    }

    fn open(&self, node: &PathBuf, position: u64) -> Result<File, Failure> {
        let mut file = self.file_system.open(node).map_err(failure)?;
        if position > SEEK_MAX_BYTES {
            return Err(Failure::Unread(UnreadReason::TooLong));
        }
        if position > 0 {
            file.seek_to(position)?;
        }
        Ok(file)
    }

    fn read(&self, open: &mut File, into: &mut [u8]) -> Result<usize, Failure> {
        open.read_bytes(into).map_err(content_failure)
    }

    fn target(&self, link: &PathBuf) -> Result<Vec<u8>, Failure> {
        Ok(self.file_system.read_link(link).map_err(failure)?.as_ref().to_vec())
    }

    fn space(&self) -> Result<Space, Failure> {
        ext4_space::read(&mut DiskCursor::read_only(self.disk, self.volume.offset_bytes, self.volume.len_bytes))
    }
}

fn failure(error: Ext4Error) -> Failure {
    match error {
        Ext4Error::Encrypted => Failure::Unread(UnreadReason::Encrypted),
        Ext4Error::NotADirectory | Ext4Error::IsADirectory | Ext4Error::IsASpecialFile | Ext4Error::NotASymlink => {
            Failure::WrongKind
        }
        _ => error.into(),
    }
}

fn content_failure(error: Ext4Error) -> Failure {
    match error {
        // In files without extents, a hole so large that a whole block of addresses is missing has zero for that block's
        // own address. The crate reads block 0 then, refuses that itself, and takes it for damage. What exactly is
        // wrong shows in its text only.
        Ext4Error::Corrupt(_) if error.to_string().contains(" from block 0 ") => Failure::Unread(UnreadReason::Holes),
        error => failure(error),
    }
}

fn kind(file_type: FileType) -> FileKind {
    match file_type {
        FileType::Regular => FileKind::File,
        FileType::Directory => FileKind::Directory,
        FileType::Symlink => FileKind::Link,
        FileType::Fifo => FileKind::NamedPipe,
        FileType::CharacterDevice => FileKind::CharacterDevice,
        FileType::BlockDevice => FileKind::BlockDevice,
        FileType::Socket => FileKind::Socket,
    }
}

fn time(time: Timestamp) -> Option<SystemTime> {
    let seconds = time.seconds();
    let whole = Duration::from_secs(seconds.unsigned_abs());
    let second = if seconds < 0 { UNIX_EPOCH.checked_sub(whole) } else { UNIX_EPOCH.checked_add(whole) };
    second?.checked_add(Duration::from_nanos(time.nanoseconds().into()))
}

struct ReadRequest {
    start_byte: u64,
    len_bytes: usize,
    reply: mpsc::SyncSender<io::Result<Vec<u8>>>,
}

/// The crate's end of the channel.
struct RemoteReader {
    requests: mpsc::Sender<ReadRequest>,
}

impl Ext4Read for RemoteReader {
    fn read(&mut self, start_byte: u64, dst: &mut [u8]) -> Result<(), Box<dyn Error + Send + Sync>> {
        let (reply, answer) = mpsc::sync_channel(1);
        self.requests.send(ReadRequest { start_byte, len_bytes: dst.len(), reply })?;
        dst.copy_from_slice(&answer.recv()??);
        Ok(())
    }
}

fn serve(mut cursor: DiskCursor<'_>, incoming: &mpsc::Receiver<ReadRequest>) {
    for request in incoming {
        // A reader that is gone needs no answer.
        let _ = request.reply.send(read(&mut cursor, request.start_byte, request.len_bytes));
    }
}

fn read(cursor: &mut DiskCursor<'_>, start_byte: u64, len_bytes: usize) -> io::Result<Vec<u8>> {
    // A damaged superblock may ask for more than any memory has.
    if !u64::try_from(len_bytes).is_ok_and(|len| len <= cursor.len_bytes()) {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let mut bytes = vec![0; len_bytes];
    cursor.seek(SeekFrom::Start(start_byte))?;
    cursor.read_exact(&mut bytes)?;
    Ok(bytes)
}
