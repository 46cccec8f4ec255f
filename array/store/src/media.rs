//! The medium under a pool: the only place where bytes leave the process.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Seek as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

/// A medium: an array of bytes that survives a crash once it is synced.
///
/// What is assumed of it is in `docs/format.md`: a write may be lost, torn at 512 bytes, or reordered with others until a
/// [`Media::sync`] that began after the write's end has succeeded; never afterwards. Calls come from several threads at once and
/// may block. Tests wrap it.
pub trait Media: Send + Sync + 'static {
    /// Fills `buffer` from `offset_bytes` on.
    ///
    /// # Errors
    /// What the operating system answers; `UnexpectedEof` beyond the end.
    fn read_at(&self, offset_bytes: u64, buffer: &mut [u8]) -> io::Result<()>;

    /// Writes all of `data` at `offset_bytes`.
    ///
    /// # Errors
    /// What the operating system answers. `StorageFull` and `QuotaExceeded` mean that nothing is wrong with the medium.
    fn write_at(&self, offset_bytes: u64, data: &[u8]) -> io::Result<()>;

    /// Makes durable all writes that ended before the call.
    ///
    /// # Errors
    /// What the operating system answers. It is never retried: what was not yet durable may be lost.
    fn sync(&self) -> io::Result<()>;

    /// The length in bytes.
    ///
    /// # Errors
    /// What the operating system answers.
    fn len_bytes(&self) -> io::Result<u64>;

    /// Sets the length; new parts read as zeros.
    ///
    /// # Errors
    /// What the operating system answers.
    fn set_len_bytes(&self, len_bytes: u64) -> io::Result<()>;
}

/// A sparse file, locked against a second opener as long as it lives.
#[derive(Debug)]
pub struct FileMedia {
    file: File,
}

/// Why a file could not become a medium.
#[derive(Debug, thiserror::Error)]
pub enum FileMediaError {
    /// Another process, or another pool in this one, has the file open.
    #[error("the file is in use")]
    InUse,
    /// The operating system refused.
    #[error("the file cannot be opened")]
    Io(#[source] io::Error),
}

impl FileMedia {
    /// Makes a new file and locks it.
    ///
    /// # Errors
    /// [`FileMediaError::Io`] with `AlreadyExists` if there is one.
    pub fn create(path: &Path) -> Result<Self, FileMediaError> {
        Self::lock(OpenOptions::new().read(true).write(true).create_new(true).open(path))
    }

    /// Opens a file and locks it.
    ///
    /// # Errors
    /// [`FileMediaError::InUse`], or [`FileMediaError::Io`] with `NotFound` if there is none.
    pub fn open(path: &Path) -> Result<Self, FileMediaError> {
        Self::lock(OpenOptions::new().read(true).write(true).open(path))
    }

    fn lock(file: io::Result<File>) -> Result<Self, FileMediaError> {
        let file = file.map_err(FileMediaError::Io)?;
        match file.try_lock() {
            Ok(()) => Ok(Self { file }),
            Err(TryLockError::WouldBlock) => Err(FileMediaError::InUse),
            Err(TryLockError::Error(error)) => Err(FileMediaError::Io(error)),
        }
    }
}

impl Media for FileMedia {
    fn read_at(&self, offset_bytes: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(buffer, offset_bytes)
    }

    fn write_at(&self, offset_bytes: u64, data: &[u8]) -> io::Result<()> {
        self.file.write_all_at(data, offset_bytes)
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn len_bytes(&self) -> io::Result<u64> {
        // The end, and not what the file's metadata says: that of a block device has no length.
        (&self.file).seek(io::SeekFrom::End(0))
    }

    fn set_len_bytes(&self, len_bytes: u64) -> io::Result<()> {
        self.file.set_len(len_bytes)
    }
}

/// Whether a failed write only means that the medium is full.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
