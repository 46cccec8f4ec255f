//! Files of an ext2, ext3 or ext4 volume, by `ext4-view`.

use std::error::Error;
use std::io::{self, Read, Seek, SeekFrom};
use std::sync::mpsc;
use std::thread;

use ext4_view::{Ext4, Ext4Error, Ext4Read, File, FileType, PathBuf};

use super::UnreadReason;
use super::walk::{Damage, FoundFile, Walk};
use crate::disk::{DiskCursor, DiskIo, Volume};

pub(super) fn walk(disk: &dyn DiskIo, volume: &Volume, walk: &mut Walk<'_, '_>) -> Result<(), Damage> {
    let cursor = DiskCursor::read_only(disk, volume.offset_bytes, volume.len_bytes);
    // The crate wants to own its reader, while the disk is borrowed. So it gets one end of a channel, and a thread that
    // cannot outlive the borrow serves the other end. The thread ends when the crate drops its reader.
    let (requests, incoming) = mpsc::channel();
    thread::scope(|scope| {
        scope.spawn(move || serve(cursor, &incoming));
        walk_tree(&Ext4::load(Box::new(RemoteReader { requests }))?, walk)
    })
}

fn walk_tree(file_system: &Ext4, walk: &mut Walk<'_, '_>) -> Result<(), Damage> {
    let mut directories = vec![(PathBuf::new("/"), 0)];
    while let Some((directory, depth)) = directories.pop() {
        let entries = match file_system.read_dir(&directory) {
            Err(Ext4Error::Encrypted) => {
                // The names in it are encrypted too.
                if walk.show_unread(&printable(&directory), 0, UnreadReason::Encrypted)?.is_break() {
                    return Ok(());
                }
                continue;
            }
            entries => entries?,
        };
        for entry in entries {
            let entry = entry?;
            walk.count_entry(depth)?;
            let name = entry.file_name();
            if name == "." || name == ".." {
                continue;
            }
            let path = entry.path();
            let printable = printable(&path);
            let flow = match entry.file_type()? {
                FileType::Directory => {
                    if walk.enters(&printable) {
                        directories.push((path, depth + 1));
                    }
                    continue;
                }
                FileType::Symlink => walk.show_unread(&printable, entry.metadata()?.len(), UnreadReason::Link)?,
                FileType::Regular => {
                    let file = file_system.open(&path)?;
                    let found = FoundFile { path: &printable, len_bytes: file.metadata().len(), unread: None };
                    walk.show(found, &mut Content(file))?
                }
                _ => continue,
            };
            if flow.is_break() {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// The path without the leading separator.
fn printable(path: &PathBuf) -> String {
    String::from_utf8_lossy(path.as_ref()).trim_start_matches('/').to_owned()
}

/// A file's content, in which one failure is told from the others.
struct Content(File);

impl Read for Content {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.0.read_bytes(buf).map_err(|failure| {
            // In files without extents, a hole so large that a whole block of addresses is missing has zero for that block's
            // own address. The crate reads block 0 then, refuses that itself, and takes it for damage. What exactly is
            // wrong shows in its text only.
            let is_hole = matches!(failure, Ext4Error::Corrupt(_)) && failure.to_string().contains(" from block 0 ");
            let kind = if is_hole { io::ErrorKind::Unsupported } else { io::ErrorKind::InvalidData };
            io::Error::new(kind, failure)
        })
    }
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
