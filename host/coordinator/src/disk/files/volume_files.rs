//! The files of a volume for random access: what a mount of it asks for.

use std::io;
use std::sync::mpsc::{self, SyncSender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use super::UnreadReason;
use super::metered::WatchedDisk;
use super::reader::{Attributes, FileKind, Space, with_reader};
use super::service::Service;
use crate::disk::{DiskError, DiskIo, Volume};

/// A file of a volume, as long as somebody refers to it: its inode number. Those of NTFS are its record numbers, for other file systems they
/// are made of the path, so that they are the same each time.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct FileNumber(pub u64);

impl FileNumber {
    /// The directory that contains all others. It is always referred to.
    pub const ROOT: Self = Self(1);
}

/// An entry of a directory.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ListedFile {
    /// The number that [`VolumeFiles::look_up`] will find.
    pub number: FileNumber,
    /// Its name. What is not Unicode in a name of FAT or NTFS is replaced by U+FFFD.
    pub name: Vec<u8>,
    /// What it is.
    pub kind: FileKind,
}

/// Why a file cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The disk failed: the device, or the connection to the LUN.
    #[error("the disk cannot be read")]
    Disk(#[from] io::Error),
    /// The file system contradicts itself there. Other files may be sound.
    #[error("the file system is damaged: {0}")]
    Damaged(String),
    /// It is sound, but of a kind that is not read here.
    #[error("it is {0}, which is not read here")]
    Unread(UnreadReason),
    /// A directory was wanted and it is none, and the like.
    #[error("it is of another kind")]
    WrongKind,
    /// Nobody refers to a file of this number.
    #[error("no file of this number is in use")]
    Unknown,
    /// The volume is not read any more.
    #[error("the volume is not read any more")]
    Closed,
}

/// The files of a volume that nobody changes.
///
/// A thread of its own reads them, one request at a time; callers wait. Its memory does not grow with the volume, but with the number of
/// files that are referred to, of which it keeps paths or numbers: besides these it has a few chunks of the disk, some listings and the
/// positions in some open files.
#[derive(Debug)]
pub struct VolumeFiles {
    /// None when closed.
    requests: Mutex<Option<mpsc::Sender<Request>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// Where an answer is waited for.
pub(super) type Reply<T> = SyncSender<Result<T, FileError>>;

pub(super) enum Request {
    LookUp { directory: FileNumber, name: Vec<u8>, reply: Reply<Option<(FileNumber, Attributes)>> },
    Forget { file: FileNumber, count: u64 },
    Attributes { file: FileNumber, reply: Reply<Attributes> },
    List { directory: FileNumber, from: u64, at_most: usize, reply: Reply<Vec<ListedFile>> },
    Open { file: FileNumber, reply: Reply<()> },
    Read { file: FileNumber, offset_bytes: u64, len_bytes: usize, reply: Reply<Vec<u8>> },
    Target { link: FileNumber, reply: Reply<Vec<u8>> },
    Space { reply: Reply<Space> },
}

impl VolumeFiles {
    /// Begins to read a volume.
    ///
    /// # Errors
    /// [`DiskError::UnknownFileSystem`] and [`DiskError::DamagedVolume`] if it has no file system that can be read,
    /// [`DiskError::VolumeBeyondDisk`], and [`DiskError::Io`] if the disk fails or there can be no thread.
    pub fn open(disk: Arc<dyn DiskIo>, volume: Volume) -> Result<Self, DiskError> {
        let (requests, incoming) = mpsc::channel();
        let (loaded, outcome) = mpsc::sync_channel(1);
        let serve = move || {
            let disk = WatchedDisk::new(&*disk);
            let service = Service { requests: incoming, loaded: loaded.clone(), disk: &disk };
            if let Err(error) = with_reader(&disk, &volume, service) {
                // Once it was loaded nobody waits for this, and whoever asks for more gets `Closed`.
                let _ = loaded.try_send(Err(error));
            }
        };
        let thread = thread::Builder::new().name("volume-files".to_owned()).spawn(serve)?;
        let files = Self { requests: Mutex::new(Some(requests)), thread: Mutex::new(Some(thread)) };
        // The thread always sends something before it lets go. If that is an error, its end is waited for, and nobody has the disk then.
        outcome.recv().unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::BrokenPipe).into()))?;
        Ok(files)
    }

    /// The file of exactly this name in a directory, which is referred to once more from now on; None if there is none.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn look_up(&self, directory: FileNumber, name: &[u8]) -> Result<Option<(FileNumber, Attributes)>, FileError> {
        self.ask(|reply| Request::LookUp { directory, name: name.to_owned(), reply })
    }

    /// Ends `count` of the references that [`look_up`](Self::look_up) made.
    pub fn forget(&self, file: FileNumber, count: u64) {
        if let Some(requests) = self.requests() {
            // Who is not there any more has forgotten everything.
            let _ = requests.send(Request::Forget { file, count });
        }
    }

    /// What is known of a file.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn attributes(&self, file: FileNumber) -> Result<Attributes, FileError> {
        self.ask(|reply| Request::Attributes { file, reply })
    }

    /// Entries of a directory, `at_most` so many, from that with the index `from` on; none at its end. The order is always the same.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn list(&self, directory: FileNumber, from: u64, at_most: usize) -> Result<Vec<ListedFile>, FileError> {
        self.ask(|reply| Request::List { directory, from, at_most, reply })
    }

    /// Whether a file's content can be read.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn open_file(&self, file: FileNumber) -> Result<(), FileError> {
        self.ask(|reply| Request::Open { file, reply })
    }

    /// A part of a file's content; shorter than `len_bytes` at its end only.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn read(&self, file: FileNumber, offset_bytes: u64, len_bytes: usize) -> Result<Vec<u8>, FileError> {
        self.ask(|reply| Request::Read { file, offset_bytes, len_bytes, reply })
    }

    /// Where a link points to, with `/` between the parts.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn target(&self, link: FileNumber) -> Result<Vec<u8>, FileError> {
        self.ask(|reply| Request::Target { link, reply })
    }

    /// How full the file system is.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn space(&self) -> Result<Space, FileError> {
        self.ask(|reply| Request::Space { reply })
    }

    /// Lets go of the disk, after what is being read just now. Everything else fails from now on.
    pub fn close(&self) {
        drop(self.requests.lock().unwrap_or_else(PoisonError::into_inner).take());
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // It cannot panic but by a fault of its own, which it has said already.
            let _ = thread.join();
        }
    }

    fn requests(&self) -> Option<mpsc::Sender<Request>> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn ask<T>(&self, request: impl FnOnce(Reply<T>) -> Request) -> Result<T, FileError> {
        let (reply, answer) = mpsc::sync_channel(1);
        let requests = self.requests().ok_or(FileError::Closed)?;
        requests.send(request(reply)).map_err(|_| FileError::Closed)?;
        // The thread ends when nobody can ask any more.
        drop(requests);
        answer.recv().map_err(|_| FileError::Closed)?
    }
}

impl Drop for VolumeFiles {
    fn drop(&mut self) {
        self.close();
    }
}
