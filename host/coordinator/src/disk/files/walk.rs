//! What the readers of all filesystems share: the dispatch, the limits that hold on damaged volumes, and the errors.

use std::cell::Cell;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::{Mutex, PoisonError};

use super::{UnreadReason, ext4, fat, ntfs};
use crate::disk::{DiskCursor, DiskError, DiskIo, FileSystemKind, Volume};

/// Directories that nest deeper than this point at themselves. Windows allows 260 characters in most paths.
const DEPTH_MAX: usize = 256;

/// The least that an entry of a directory takes on the disk (ext4: 12 bytes), so that their number has a limit.
const ENTRY_LEN_MIN_BYTES: u64 = 12;

/// Contents may be read several times the volume's length in all, since files may be sparse or have several names.
const CONTENT_FACTOR: u64 = 8;

/// How much a crate may read to get from one entry of a directory to the next. A FAT directory has 2 MiB at most, all of which
/// may be deleted entries; a crate that wants more goes round in circles.
const STEP_READ_MAX_BYTES: u64 = 16 * 1024 * 1024;

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
    let (disk_len_bytes, end_bytes) = (disk.len_bytes(), volume.offset_bytes.saturating_add(volume.len_bytes));
    if end_bytes > disk_len_bytes {
        return Err(DiskError::VolumeBeyondDisk { volume: volume.index, end_bytes, disk_len_bytes });
    }
    let watched = WatchedDisk { disk, failure: Mutex::default() };
    let mut walk = Walk {
        entries_left: volume.len_bytes / ENTRY_LEN_MIN_BYTES,
        content_left_bytes: volume.len_bytes.saturating_mul(CONTENT_FACTOR),
        volume_len_bytes: volume.len_bytes,
        step: Step::default(),
        visit,
    };
    // The crates check much, but not all: fatfs and ntfs overflow or index out of range on some damage. They are not used
    // again after a panic, and neither is what the visitor has gathered.
    let outcome = catch_unwind(AssertUnwindSafe(|| match volume.file_system {
        FileSystemKind::Fat => Some(fat::walk(&watched, volume, &mut walk)),
        FileSystemKind::Ntfs => Some(ntfs::walk(&watched, volume, &mut walk)),
        FileSystemKind::Ext4 => Some(ext4::walk(&watched, volume, &mut walk)),
        FileSystemKind::Unknown => None,
    }));
    // A reader that was refused a read says something about the filesystem, but the disk is the cause.
    if let Some(failure) = watched.failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
        return Err(failure.into());
    }
    let reason = match outcome {
        Ok(None) => return Err(DiskError::UnknownFileSystem { volume: volume.index }),
        Ok(Some(Ok(()))) => return Ok(()),
        Ok(Some(Err(Damage(reason)))) => reason,
        Err(_) => "its structures do not fit together".to_owned(),
    };
    Err(DiskError::DamagedVolume { volume: volume.index, file_system: volume.file_system, reason })
}

/// What a filesystem's reader complains about.
pub(super) struct Damage(pub(super) String);

impl<E: std::error::Error> From<E> for Damage {
    fn from(error: E) -> Self {
        Self(error.to_string())
    }
}

/// A walk through one volume.
pub(super) struct Walk<'v, 'f> {
    entries_left: u64,
    content_left_bytes: u64,
    volume_len_bytes: u64,
    step: Step,
    visit: &'v mut Visit<'f>,
}

impl Walk<'_, '_> {
    /// The volume for its reader, which fails when the reader reads on and on without taking a step.
    pub(super) fn cursor<'d>(&self, disk: &'d dyn DiskIo, volume: &Volume) -> MeteredCursor<'d> {
        let cursor = DiskCursor::read_only(disk, volume.offset_bytes, volume.len_bytes);
        MeteredCursor { cursor, step: self.step.clone() }
    }

    /// To be called for each entry of a directory that is `depth` levels below the root.
    pub(super) fn count_entry(&mut self, depth: usize) -> Result<(), Damage> {
        if depth > DEPTH_MAX {
            return Err(Damage(format!("directories nest more than {DEPTH_MAX} levels deep")));
        }
        let no_room = || Damage("it has more directory entries than it has room for".to_owned());
        self.step.begin();
        self.entries_left = self.entries_left.checked_sub(1).ok_or_else(no_room)?;
        Ok(())
    }

    /// Whether the walk goes into the directory at `path`.
    pub(super) fn enters(&self, path: &str) -> bool {
        !path.eq_ignore_ascii_case("System Volume Information")
    }

    /// Shows a file to the visitor.
    pub(super) fn show(&mut self, mut file: FoundFile<'_>, content: &mut dyn Read) -> Result<ControlFlow<()>, Damage> {
        if file.unread.is_none() {
            match self.content_left_bytes.checked_sub(file.len_bytes) {
                Some(left) if file.len_bytes <= self.volume_len_bytes => self.content_left_bytes = left,
                _ => file.unread = Some(UnreadReason::TooLong),
            }
        }
        let mut content = WholeContent { content, left_bytes: file.len_bytes, step: self.step.clone() };
        (self.visit)(&file, &mut content).map_err(|failure| Damage(format!("{}: {failure}", file.path)))
    }

    /// Shows something that cannot be read to the visitor.
    pub(super) fn show_unread(
        &mut self,
        path: &str,
        len_bytes: u64,
        reason: UnreadReason,
    ) -> Result<ControlFlow<()>, Damage> {
        self.show(FoundFile { path, len_bytes, unread: Some(reason) }, &mut io::empty())
    }
}

/// Joins a directory's path and a name in it.
pub(super) fn join(directory: &str, name: &str) -> String {
    if directory.is_empty() { name.to_owned() } else { format!("{directory}/{name}") }
}

/// A content that has as many bytes as its directory entry says; one that ends before is an error.
struct WholeContent<'a> {
    content: &'a mut dyn Read,
    left_bytes: u64,
    step: Step,
}

impl Read for WholeContent<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let wanted = usize::try_from(self.left_bytes).unwrap_or(usize::MAX).min(buf.len());
        if wanted == 0 {
            return Ok(0);
        }
        self.step.begin();
        let count = self.content.read(&mut buf[..wanted])?;
        if count == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the content is shorter than the file"));
        }
        self.left_bytes -= u64::try_from(count).map_err(|_| io::ErrorKind::InvalidData)?;
        Ok(count)
    }
}

/// What may still be read in the present step of a walk.
#[derive(Clone)]
struct Step(Rc<Cell<u64>>);

impl Default for Step {
    fn default() -> Self {
        Self(Rc::new(Cell::new(STEP_READ_MAX_BYTES)))
    }
}

impl Step {
    fn begin(&self) {
        self.0.set(STEP_READ_MAX_BYTES);
    }
}

/// A cursor that reads no more than a step may.
pub(super) struct MeteredCursor<'a> {
    cursor: DiskCursor<'a>,
    step: Step,
}

impl Read for MeteredCursor<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let count = self.cursor.read(buf)?;
        let left = self.step.0.get().checked_sub(u64::try_from(count).map_err(|_| io::ErrorKind::InvalidData)?);
        let endless = || io::Error::new(io::ErrorKind::InvalidData, "a directory does not end");
        self.step.0.set(left.ok_or_else(endless)?);
        Ok(count)
    }
}

impl Seek for MeteredCursor<'_> {
    fn seek(&mut self, pos: SeekFrom) -> io::Result<u64> {
        self.cursor.seek(pos)
    }
}

/// `fatfs` asks for it; the cursor refuses.
impl Write for MeteredCursor<'_> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.cursor.write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.cursor.flush()
    }
}

/// Remembers the first failure of the disk, since the crates turn it into an error of their own.
struct WatchedDisk<'a> {
    disk: &'a dyn DiskIo,
    failure: Mutex<Option<io::Error>>,
}

impl DiskIo for WatchedDisk<'_> {
    fn len_bytes(&self) -> u64 {
        self.disk.len_bytes()
    }

    fn read_at(&self, offset_bytes: u64, into: &mut [u8]) -> io::Result<()> {
        self.disk.read_at(offset_bytes, into).map_err(|failure| {
            let kind = failure.kind();
            self.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(failure);
            kind.into()
        })
    }

    /// Listing files never writes.
    fn write_at(&self, _offset_bytes: u64, _from: &[u8]) -> io::Result<()> {
        Err(io::ErrorKind::PermissionDenied.into())
    }

    fn flush(&self) -> io::Result<()> {
        Ok(())
    }
}
