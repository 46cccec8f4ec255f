//! The tail: what the pool has taken on and the medium does not have yet, in memory that outlives the process.
//!
//! A write is answered before the log has its record, and a small one before the medium has its data: as a write cache does. When the process is killed,
//! all of that would be gone, although the machine goes on and the initiators with it. Those log in again and repeat the flush that was not answered; the
//! next process would answer it, knowing nothing of what it was to cover. So records and data are also kept in a file in memory (tmpfs), and who opens the
//! pool next [takes them over](inherit): first it brings to the medium what was on its way there. What the file holds is gone when the machine goes, as
//! that of a write cache is.
//!
//! The file belongs to one opening of the pool, by the epoch of the log. Once anybody else has opened the pool, it is of no use.

mod blocks;
pub(crate) mod inherit;
mod stream;

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, OFlags};

pub(crate) use blocks::{Blocks, KeptBlocks};
pub(crate) use stream::Stream;

use crate::checkpoint::Roots;
use crate::media::SharedMemory;
use crate::page::{BLOCK_LEN, index};
use crate::state::Shared;

/// Who may read and write the file.
const OWNER_ONLY: u32 = 0o600;

/// Which opening of which pool a part of the file belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Opening {
    pub(crate) pool_id: u128,
    pub(crate) epoch: u64,
}

/// Words that each part of the file begins with.
const MAGIC_WORD: usize = 0;
const POOL_WORDS: [usize; 2] = [1, 2];
const EPOCH_WORD: usize = 3;

impl Opening {
    /// Makes a part of the file one of this opening. What else is in it counts from then on.
    fn publish(self, memory: &mut SharedMemory, magic: [u8; 8]) {
        let [low, high] =
            [self.pool_id, self.pool_id >> 64].map(|half| u64::try_from(half & HALF).expect("half of it"));
        memory.publish(POOL_WORDS[0], low);
        memory.publish(POOL_WORDS[1], high);
        memory.publish(EPOCH_WORD, self.epoch);
        memory.publish(MAGIC_WORD, u64::from_le_bytes(magic));
    }

    /// Which opening a part of the file is of, if it is such a part.
    fn of(memory: &SharedMemory, magic: [u8; 8]) -> Option<Self> {
        let [low, high] = POOL_WORDS.map(|word| u128::from(memory.word(word)));
        let found = Self { pool_id: low | high << 64, epoch: memory.word(EPOCH_WORD) };
        (memory.word(MAGIC_WORD) == u64::from_le_bytes(magic)).then_some(found)
    }
}

const HALF: u128 = u64::MAX as u128;

/// The file of a pool.
pub(crate) struct Tail {
    file: File,
    path: PathBuf,
}

fn path_of(folder: &Path, pool_id: u128) -> PathBuf {
    folder.join(format!("lunshadow-{pool_id:032x}"))
}

/// What is to be known without a tail.
const LOST: &str = "what is answered and not flushed is lost if the program is killed";

impl Tail {
    /// The tail of a pool, if there can be one.
    pub(crate) fn of_pool(folder: &Path, pool_id: u128) -> Option<Self> {
        let opened = Self::open(folder, pool_id);
        opened.inspect_err(|error| tracing::warn!(folder = %folder.display(), %error, LOST)).ok()
    }

    /// The tail that a process has left, if one has.
    pub(crate) fn left(folder: &Path, pool_id: u128) -> Option<Self> {
        if path_of(folder, pool_id).symlink_metadata().is_err() {
            return None;
        }
        Self::of_pool(folder, pool_id)
    }

    /// Opens the file of a pool in a folder, or makes it.
    ///
    /// # Errors
    /// What the operating system answers; `PermissionDenied` if somebody else has put something there.
    fn open(folder: &Path, pool_id: u128) -> io::Result<Self> {
        let path = path_of(folder, pool_id);
        let no_link = i32::try_from(OFlags::NOFOLLOW.bits()).expect("a flag of open(2)");
        let mut options = OpenOptions::new();
        let options =
            options.read(true).write(true).create(true).truncate(false).mode(OWNER_ONLY).custom_flags(no_link);
        let file = options.open(&path)?;
        let metadata = file.metadata()?;
        let is_ours = metadata.is_file() && metadata.uid() == fs::metadata("/proc/self")?.uid();
        if !is_ours || metadata.mode() & 0o077 != 0 {
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, "the file is not this user's alone"));
        }
        Ok(Self { file, path })
    }

    /// Makes the file one of this opening, which has not changed anything yet: the next batch of the log has that sequence number.
    ///
    /// # Errors
    /// What the operating system answers.
    fn begin(&self, opening: Opening, next_sequence: u64, behind_bytes: u64) -> io::Result<(Stream, Blocks)> {
        let block_count = index(behind_bytes / BLOCK_LEN);
        let blocks_len = Blocks::len_of(block_count);
        // What was there before counts no more, in whatever order this gets done.
        self.file.set_len(0)?;
        let len_bytes = stream::LEN_BYTES + u64::try_from(blocks_len).expect("lengths in memory have 64 bits");
        // Memory that is not there when it is written to would end the process.
        rustix::fs::fallocate(&self.file, FallocateFlags::empty(), 0, len_bytes)?;
        let stream = Stream::begin(&self.file, opening, next_sequence)?;
        let blocks = Blocks::begin(&self.file, stream::LEN_BYTES, opening, block_count)?;
        Ok((stream, blocks))
    }

    /// Everything is on the medium, and nobody changes anything any more.
    pub(crate) fn remove(&self) {
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "a file that is of no use any more stays");
        }
    }
}

impl Shared {
    /// Whether the medium has, durably, all that was ever answered.
    pub(crate) fn leaves_nothing(&self) -> bool {
        self.state.lock().log.is_durable() && self.behind.is_empty()
    }

    /// Has what is answered from now on outlive the process. Whether it does.
    pub(crate) fn outlive_in(&self, tail: &Tail, roots: &Roots, behind_bytes: u64) -> bool {
        let opening = Opening { pool_id: roots.superblock.pool_id.get(), epoch: roots.superblock.epoch.get() };
        let mut state = self.state.lock();
        match tail.begin(opening, state.log.next().sequence, behind_bytes) {
            Ok((stream, blocks)) => {
                state.log.outlive_in(stream);
                self.behind.outlive_in(blocks);
                true
            }
            Err(error) => {
                tracing::warn!(path = %tail.path.display(), %error, LOST);
                tail.remove();
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    #[test]
    fn a_file_that_others_can_change_is_not_used() {
        let folder = tempfile::tempdir().expect("a folder");
        let tail = Tail::of_pool(folder.path(), 7).expect("an empty folder");
        assert_eq!(fs::metadata(&tail.path).expect("it is there").mode() & 0o777, OWNER_ONLY);
        fs::set_permissions(&tail.path, fs::Permissions::from_mode(0o620)).expect("it is ours");
        assert!(Tail::of_pool(folder.path(), 7).is_none(), "others may write to it");
        tail.remove();
        let elsewhere = folder.path().join("elsewhere");
        fs::write(&elsewhere, "another file").expect("room");
        symlink(&elsewhere, &tail.path).expect("the name is free");
        assert!(Tail::of_pool(folder.path(), 7).is_none(), "it leads elsewhere");
        assert_eq!(fs::read_to_string(&elsewhere).expect("it is there"), "another file");
        assert!(Tail::of_pool(&folder.path().join("nowhere"), 7).is_none());
    }
}
