//! A walk through all files of a volume, with the limits that hold on damaged ones.

use std::collections::HashSet;
use std::io::{self, Read};
use std::ops::ControlFlow;

use super::UnreadReason;
use super::metered::WatchedDisk;
use super::reader::{Content, Entry, Failure, FileKind, Reader, Task, damaged, with_reader};
use crate::disk::{DiskError, DiskIo, Volume};

/// Directories that nest deeper than this point at themselves. Windows allows 260 characters in most paths.
const DEPTH_MAX: usize = 256;

/// The least that an entry of a directory takes on the disk (ext4: 12 bytes), so that their number has a limit.
const ENTRY_LEN_MIN_BYTES: u64 = 12;

/// Contents may be read several times the volume's length in all, since files may be sparse or have several names.
const CONTENT_FACTOR: u64 = 8;

/// A file on its way to a visitor.
pub(in crate::disk) struct FoundFile<'a> {
    /// As in [`FileEntry::path`](super::FileEntry::path).
    pub(in crate::disk) path: &'a str,
    pub(in crate::disk) len_bytes: u64,
    /// If set, the content is not to be read.
    pub(in crate::disk) unread: Option<UnreadReason>,
}

/// Takes the files one by one, and reads as much of a content as it likes. May end the walk. A content that fails with
/// [`io::ErrorKind::Unsupported`] is sound, but the reader cannot read on.
type Visit<'v> = dyn FnMut(&FoundFile<'_>, &mut dyn Read) -> io::Result<ControlFlow<()>> + 'v;

/// Shows every file of `volume` to `visit`, in no particular order.
pub(in crate::disk) fn walk_volume(disk: &dyn DiskIo, volume: &Volume, visit: &mut Visit<'_>) -> Result<(), DiskError> {
    let walk = Walk {
        entries_left: volume.len_bytes / ENTRY_LEN_MIN_BYTES,
        content_left_bytes: volume.len_bytes.saturating_mul(CONTENT_FACTOR),
        volume_len_bytes: volume.len_bytes,
        numbers: HashSet::new(),
        visit,
    };
    let walked = with_reader(&WatchedDisk::new(disk), volume, walk)?;
    walked.map_err(|failure| damaged(volume, failure.to_string()))
}

/// A walk through one volume.
struct Walk<'v, 'f> {
    entries_left: u64,
    content_left_bytes: u64,
    volume_len_bytes: u64,
    /// The numbers of the directories that were seen.
    numbers: HashSet<u64>,
    visit: &'v mut Visit<'f>,
}

/// A directory that is still to be listed.
struct Pending<N> {
    path: String,
    depth: usize,
    node: N,
}

impl Task for Walk<'_, '_> {
    type Output = Result<(), Failure>;

    fn run<R: Reader>(mut self, reader: &R) -> Result<(), Failure> {
        let mut pending = vec![Pending { path: String::new(), depth: 0, node: reader.root() }];
        self.numbers.extend(reader.number(&reader.root()));
        while let Some(directory) = pending.pop() {
            if self.list(reader, &directory, &mut pending)?.is_break() {
                break;
            }
        }
        Ok(())
    }
}

impl Walk<'_, '_> {
    fn list<R: Reader>(
        &mut self,
        reader: &R,
        directory: &Pending<R::Node>,
        pending: &mut Vec<Pending<R::Node>>,
    ) -> Result<ControlFlow<()>, Failure> {
        let mut outcome = Ok(ControlFlow::Continue(()));
        let listed = reader.list(&directory.node, &mut |entry| {
            outcome = self.take(reader, entry, directory, pending);
            if matches!(outcome, Ok(ControlFlow::Continue(()))) {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            }
        });
        match listed {
            Ok(()) => outcome,
            // The names in it are encrypted too.
            Err(Failure::Unread(reason)) => self.show_unread(&directory.path, 0, reason),
            Err(failure) => Err(about(&directory.path, &failure)),
        }
    }

    fn take<R: Reader>(
        &mut self,
        reader: &R,
        entry: Entry<R::Node>,
        directory: &Pending<R::Node>,
        pending: &mut Vec<Pending<R::Node>>,
    ) -> Result<ControlFlow<()>, Failure> {
        self.count_entry(directory.depth)?;
        let Entry { name, kind, node } = entry;
        let path = join(&directory.path, &String::from_utf8_lossy(&name));
        match kind {
            FileKind::Directory => {
                if reader.number(&node).is_some_and(|number| !self.numbers.insert(number)) {
                    return Err(Failure::Damaged(format!("{path}: the directory has a second name")));
                }
                if enters(&path) {
                    pending.push(Pending { path, depth: directory.depth + 1, node });
                }
                Ok(ControlFlow::Continue(()))
            }
            FileKind::File => self.show(reader, &node, &path).map_err(|failure| about(&path, &failure)),
            FileKind::Link => {
                let len_bytes = reader.attributes(&node)?.len_bytes;
                self.show_unread(&path, len_bytes, UnreadReason::Link)
            }
            FileKind::NamedPipe | FileKind::CharacterDevice | FileKind::BlockDevice | FileKind::Socket => {
                Ok(ControlFlow::Continue(()))
            }
        }
    }

    /// To be called for each entry of a directory that is `depth` levels below the root.
    fn count_entry(&mut self, depth: usize) -> Result<(), Failure> {
        if depth > DEPTH_MAX {
            return Err(Failure::Damaged(format!("directories nest more than {DEPTH_MAX} levels deep")));
        }
        let no_room = || Failure::Damaged("it has more directory entries than it has room for".to_owned());
        self.entries_left = self.entries_left.checked_sub(1).ok_or_else(no_room)?;
        Ok(())
    }

    /// Shows a file to the visitor.
    fn show<R: Reader>(&mut self, reader: &R, node: &R::Node, path: &str) -> Result<ControlFlow<()>, Failure> {
        let len_bytes = reader.attributes(node)?.len_bytes;
        let mut content = match Content::open(reader, node, len_bytes, 0) {
            Ok(content) => content,
            Err(Failure::Unread(reason)) => return self.show_unread(path, len_bytes, reason),
            Err(failure) => return Err(failure),
        };
        match self.content_left_bytes.checked_sub(len_bytes) {
            Some(left) if len_bytes <= self.volume_len_bytes => self.content_left_bytes = left,
            _ => return self.show_unread(path, len_bytes, UnreadReason::TooLong),
        }
        Ok((self.visit)(&FoundFile { path, len_bytes, unread: None }, &mut content)?)
    }

    /// Shows something that cannot be read to the visitor.
    fn show_unread(&mut self, path: &str, len_bytes: u64, reason: UnreadReason) -> Result<ControlFlow<()>, Failure> {
        let file = FoundFile { path, len_bytes, unread: Some(reason) };
        Ok((self.visit)(&file, &mut io::empty())?)
    }
}

/// Whether the walk goes into the directory at `path`.
fn enters(path: &str) -> bool {
    !path.eq_ignore_ascii_case("System Volume Information")
}

/// Joins a directory's path and a name in it.
fn join(directory: &str, name: &str) -> String {
    if directory.is_empty() { name.to_owned() } else { format!("{directory}/{name}") }
}

/// The same failure, with the path at which it was.
fn about(path: &str, failure: &Failure) -> Failure {
    Failure::Damaged(if path.is_empty() { failure.to_string() } else { format!("{path}: {failure}") })
}
