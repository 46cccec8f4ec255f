//! The thread that answers for [`VolumeFiles`](super::VolumeFiles).

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, SyncSender};

use super::known::{Known, number};
use super::listings::Listings;
use super::metered::WatchedDisk;
use super::reader::{Attributes, Content, Failure, PANICKED, Reader, Task};
use super::volume_files::{FileError, FileNumber, ListedFile, Request};
use crate::disk::DiskError;

/// How many contents are kept at their positions. Who reads on from one of them is spared the way there.
const CONTENTS_MAX: usize = 16;

pub(super) struct Service<'a> {
    pub(super) requests: Receiver<Request>,
    /// Who opened the volume waits for this.
    pub(super) loaded: SyncSender<Result<(), DiskError>>,
    pub(super) disk: &'a WatchedDisk<'a>,
}

impl Task for Service<'_> {
    type Output = ();

    fn run<R: Reader>(self, reader: &R) {
        let Self { requests, loaded, disk } = self;
        let known = Known::new(reader.root());
        let mut state = State { reader, known, listings: Listings::default(), contents: VecDeque::new() };
        // A failure of the disk that the reader got over is reported by whoever called this.
        if disk.has_failed() || loaded.send(Ok(())).is_err() {
            return;
        }
        for request in requests {
            state.answer(request, disk);
        }
    }
}

struct State<'r, R: Reader> {
    reader: &'r R,
    known: Known<R::Node>,
    listings: Listings<R::Node>,
    /// The most recently used one is at the front.
    contents: VecDeque<(FileNumber, Content<'r, R>)>,
}

impl<R: Reader> State<'_, R> {
    /// Whoever does not wait any more needs no answer.
    fn answer(&mut self, request: Request, disk: &WatchedDisk<'_>) {
        match request {
            Request::LookUp { directory, name, reply } => {
                let _ = reply.send(attempt(disk, || self.look_up(directory, &name)));
            }
            Request::Forget { file, count } => {
                if self.known.forget(file, count) {
                    self.listings.forget(file);
                    self.contents.retain(|(number, _)| *number != file);
                }
            }
            Request::Attributes { file, reply } => {
                let _ = reply.send(attempt(disk, || Ok(self.reader.attributes(node(&self.known, file)?)?)));
            }
            Request::List { directory, from, at_most, reply } => {
                let _ = reply.send(attempt(disk, || self.list(directory, from, at_most)));
            }
            Request::Open { file, reply } => {
                let _ = reply.send(attempt(disk, || self.read(file, 0, 0).map(drop)));
            }
            Request::Read { file, offset_bytes, len_bytes, reply } => {
                let _ = reply.send(attempt(disk, || self.read(file, offset_bytes, len_bytes)));
            }
            Request::Target { link, reply } => {
                let _ = reply.send(attempt(disk, || Ok(self.reader.target(node(&self.known, link)?)?)));
            }
            Request::Space { reply } => {
                let _ = reply.send(attempt(disk, || Ok(self.reader.space()?)));
            }
        }
    }

    fn look_up(&mut self, directory: FileNumber, name: &[u8]) -> Result<Option<(FileNumber, Attributes)>, Refusal> {
        let parent = node(&self.known, directory)?;
        let found = match self.listings.find(directory, name) {
            Some(found) => found,
            None => self.reader.find(parent, name)?,
        };
        let Some(node) = found else { return Ok(None) };
        let attributes = self.reader.attributes(&node)?;
        let number = number(self.reader, directory, name, &node);
        self.known.refer(number, node);
        Ok(Some((number, attributes)))
    }

    fn list(&mut self, directory: FileNumber, from: u64, at_most: usize) -> Result<Vec<ListedFile>, Refusal> {
        let node = node(&self.known, directory)?;
        let entries = self.listings.entries(self.reader, directory, node, from)?;
        let listed = entries.iter().take(at_most).map(|entry| ListedFile {
            number: number(self.reader, directory, &entry.name, &entry.node),
            name: entry.name.clone(),
            kind: entry.kind,
        });
        Ok(listed.collect())
    }

    fn read(&mut self, file: FileNumber, offset_bytes: u64, len_bytes: usize) -> Result<Vec<u8>, Refusal> {
        let at_position =
            |(number, content): &(FileNumber, Content<'_, R>)| *number == file && content.position() == offset_bytes;
        let mut content = match self.contents.iter().position(at_position).and_then(|index| self.contents.remove(index))
        {
            Some((_, content)) => content,
            None => {
                let node = node(&self.known, file)?;
                let file_len_bytes = self.reader.attributes(node)?.len_bytes;
                Content::open(self.reader, node, file_len_bytes, offset_bytes)?
            }
        };
        let mut bytes = vec![0; content.left(len_bytes)];
        content.fill(&mut bytes)?;
        self.contents.push_front((file, content));
        self.contents.truncate(CONTENTS_MAX);
        Ok(bytes)
    }
}

fn node<N>(known: &Known<N>, number: FileNumber) -> Result<&N, Refusal> {
    known.node(number).ok_or(Refusal::Unknown)
}

/// Why a request is not done.
enum Refusal {
    Unknown,
    Reader(Failure),
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        Self::Reader(failure)
    }
}

/// Does something with the reader, which may fail or panic. The reader is used again after a panic: it keeps nothing but copies of what is
/// on the disk, which are there as a whole or not at all.
fn attempt<T>(disk: &WatchedDisk<'_>, work: impl FnOnce() -> Result<T, Refusal>) -> Result<T, FileError> {
    let outcome = catch_unwind(AssertUnwindSafe(work));
    // A reader that was refused a read says something about the file system, but the disk is the cause.
    disk.check()?;
    match outcome {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(Refusal::Unknown)) => Err(FileError::Unknown),
        Ok(Err(Refusal::Reader(Failure::Damaged(reason)))) => Err(FileError::Damaged(reason)),
        Ok(Err(Refusal::Reader(Failure::Unread(reason)))) => Err(FileError::Unread(reason)),
        Ok(Err(Refusal::Reader(Failure::WrongKind))) => Err(FileError::WrongKind),
        Err(_) => Err(FileError::Damaged(PANICKED.to_owned())),
    }
}
