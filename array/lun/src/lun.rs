//! The data of one LUN.

use std::any::Any;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;

use crate::{BlockCount, LOGICAL_BLOCK_BYTES, Lba, LunId, PHYSICAL_BLOCK_BYTES, Presentation, PresentationCell};

/// Why a request to a LUN failed. Each variant is one SCSI answer; `array/target` has the table.
#[derive(Debug, thiserror::Error)]
pub enum LunError {
    /// The request reaches beyond the end of the LUN.
    #[error("{count} at {at} reach beyond the LUN's {size}")]
    OutOfRange {
        /// Where the request begins.
        at: Lba,
        /// Its length.
        count: BlockCount,
        /// The length of the LUN.
        size: BlockCount,
    },
    /// The data given is not a whole number of blocks.
    #[error("{byte_len} bytes are not a whole number of blocks")]
    NotWholeBlocks {
        /// The length of the data.
        byte_len: usize,
    },
    /// The pool is full. Nothing was written; the request succeeds once space has come back.
    #[error("the pool has no space left")]
    OutOfSpace,
    /// The block's checksum does not match, or the medium cannot read it. Other blocks are not affected.
    #[error("the block at {at} is damaged")]
    Damaged {
        /// The first damaged block of the request.
        at: Lba,
    },
    /// The pool refuses writes since a flush failed: what had been written before it may be lost, so nothing more is taken.
    #[error("the pool is read-only since an I/O error; reopen it")]
    Poisoned,
    /// The LUN was deleted while the request came.
    #[error("the LUN is deleted")]
    Gone,
    /// The LUN stays as it is: it is the content that another one had when it was [pinned](Lun::pin).
    #[error("the LUN cannot be changed")]
    ReadOnly,
    /// The medium failed.
    #[error("the pool's medium failed")]
    Io(#[source] std::io::Error),
}

/// The data of one LUN.
///
/// The implementation checks every range, since only it knows the size at the moment of the request; callers need not. Requests
/// run concurrently. A write that has not been answered yet may be seen or not seen, as far as [`Lun::atomic_blocks`] goes whole; one that has been
/// answered is seen by every later read and is part of every later snapshot. It survives a crash once a [`Lun::flush`] that began
/// after the answer has been answered.
pub trait Lun: Send + Sync + 'static {
    /// The LUN's id, which never changes.
    fn id(&self) -> LunId;

    /// The length. It grows by [`Pool::grow`](crate::Pool::grow), and [`Pool::revert`](crate::Pool::revert) can change it either way. Cheap: the
    /// target compares it with what it told an initiator, who then hears of the change.
    fn block_count(&self) -> BlockCount;

    /// The longest write of whole physical blocks that is seen whole or not at all, by reads that overlap it, by snapshots, and after a crash, wherever it
    /// begins. Longer ones, and those of parts of physical blocks, are so physical block by physical block.
    fn atomic_blocks(&self) -> BlockCount {
        BlockCount(u64::from(PHYSICAL_BLOCK_BYTES / LOGICAL_BLOCK_BYTES))
    }

    /// How much room the pool under the LUN has. Cheap, and as of the last change.
    fn space(&self) -> SpaceLevel {
        SpaceLevel::Plenty
    }

    /// How much room the LUN takes and how much there is for it, where storage can tell. Cheap, as [`space`](Self::space) is.
    fn usage(&self) -> Option<LunUsage> {
        None
    }

    /// Whether the block at `at` has space of its own, and for how many blocks from there on the answer is the same: all of them, or the
    /// first of them; never more than `count`, which is at least 1.
    ///
    /// A LUN that cannot tell says that all have; those of pools can.
    fn extent(&self, at: Lba, count: BlockCount) -> impl Future<Output = Result<Extent, LunError>> + Send {
        let size = self.block_count();
        let fits = at.checked_add(count).is_some_and(|end| end.0 <= size.0);
        let extent = Extent { count, mapped: true };
        std::future::ready(if fits { Ok(extent) } else { Err(LunError::OutOfRange { at, count, size }) })
    }

    /// Reads `count` blocks. Blocks that were never written, or were discarded, read as zeros.
    fn read(&self, at: Lba, count: BlockCount) -> impl Future<Output = Result<Bytes, LunError>> + Send;

    /// As [`read`](Self::read), but from the medium, whatever storage has in memory.
    fn read_medium(&self, at: Lba, count: BlockCount) -> impl Future<Output = Result<Bytes, LunError>> + Send {
        self.read(at, count)
    }

    /// As [`read`](Self::read), if that takes nobody else and no waiting, as for what storage has in memory. `None` if not, or if anything is not as it
    /// should be, which [`read`](Self::read) tells then.
    fn read_now(&self, _at: Lba, _count: BlockCount) -> Option<Bytes> {
        None
    }

    /// Writes whole blocks.
    fn write(&self, at: Lba, data: Bytes) -> impl Future<Output = Result<(), LunError>> + Send;

    /// As [`write`](Self::write), if that takes nobody else and no waiting. The data again if not, or if anything is not as it should be: nothing was
    /// written then.
    ///
    /// What has to be done afterwards may be [left](crate::leave_undone) to whoever calls this, who does it by [`finish_up`](crate::finish_up) once those are told who wait for the
    /// write. What was written is there for all who look, and is flushed like everything else, whenever that is.
    ///
    /// # Errors
    /// The data.
    fn write_now(&self, _at: Lba, data: Bytes) -> Result<(), Bytes> {
        Err(data)
    }

    /// Makes durable all that was answered before this call.
    fn flush(&self) -> impl Future<Output = Result<(), LunError>> + Send;

    /// Gives blocks back: they read as zeros afterwards. Parts of physical blocks are written with zeros where that is needed.
    fn discard(&self, at: Lba, count: BlockCount) -> impl Future<Output = Result<(), LunError>> + Send;

    /// Makes what LUNs held before, and nobody can read any more, unreadable on the medium too, as far as storage knows where it lies: it ends
    /// when that is durable. It is not for this LUN alone, since storage need not know whose it was. May take as long as overwriting all that is
    /// free. Storage that writes in place has nothing to do.
    fn wipe_unused(&self) -> impl Future<Output = Result<(), LunError>> + Send {
        std::future::ready(Ok(()))
    }

    /// The content that the LUN has at this instant, as a LUN of which nobody else knows, and which refuses changes as
    /// [`LunError::ReadOnly`]. What it holds takes space until its last handle is gone, and no longer than the pool is open. `None` if
    /// storage can keep no content now, or none at all.
    fn pin(&self) -> impl Future<Output = Result<Option<LunHandle>, LunError>> + Send {
        std::future::ready(Ok(None))
    }

    /// Writes to the blocks from `at` on what blocks of `from` hold, without moving data. How many blocks it did that for: fewer than
    /// `count`, down to none, where storage cannot. The rest is for the caller to copy. It may be answered before it has been seen whether all of
    /// the ranges lie within their LUNs.
    fn share(
        &self,
        _at: Lba,
        _from: &LunHandle,
        _from_at: Lba,
        _count: BlockCount,
    ) -> impl Future<Output = Result<BlockCount, LunError>> + Send {
        std::future::ready(Ok(BlockCount(0)))
    }

    /// Whether the block at `at` is what `base` holds there, for certain and without reading either, and for how many blocks from there on
    /// the answer is the same: all of them, or the first of them; never more than `count`, which is at least 1. What lies beyond the end of
    /// `base` counts as zeros there.
    ///
    /// Storage that shares blocks knows; any other says that all may differ.
    fn compare(
        &self,
        at: Lba,
        count: BlockCount,
        _base: &LunHandle,
    ) -> impl Future<Output = Result<Comparison, LunError>> + Send {
        let size = self.block_count();
        let fits = at.checked_add(count).is_some_and(|end| end.0 <= size.0);
        let comparison = Comparison { count, same: false };
        std::future::ready(if fits { Ok(comparison) } else { Err(LunError::OutOfRange { at, count, size }) })
    }
}

/// Room, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LunUsage {
    /// What is mapped of the LUN, whether others share it or not.
    pub mapped_bytes: u64,
    /// What this LUN and all others of its pool may take in addition.
    pub available_bytes: u64,
    /// From how little of that on [`Lun::space`] is [`SpaceLevel::Low`].
    pub low_bytes: u64,
}

/// Blocks of a LUN that are alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// How many they are, at least 1.
    pub count: BlockCount,
    /// Whether they have space of their own. Those that have none read as zeros.
    pub mapped: bool,
}

/// Blocks of a LUN, compared with those of another at the same place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Comparison {
    /// How many they are, at least 1.
    pub count: BlockCount,
    /// Whether both hold the same there. They may even if it is not known.
    pub same: bool,
}

/// How much room there is for what a LUN has not written yet. The target tells initiators when it changes (SBC-4 4.7.3.7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum SpaceLevel {
    /// Enough.
    Plenty,
    /// Less than the threshold that the administrator set.
    Low,
    /// None: writes to places that are not mapped, and to those that are shared, are refused.
    Full,
}

type LunFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, LunError>> + Send + 'a>>;

/// The type-erased twin of [`Lun`], which only [`LunHandle`] needs.
trait DynLun: Send + Sync {
    fn id(&self) -> LunId;
    fn block_count(&self) -> BlockCount;
    fn atomic_blocks(&self) -> BlockCount;
    fn space(&self) -> SpaceLevel;
    fn usage(&self) -> Option<LunUsage>;
    fn extent(&self, at: Lba, count: BlockCount) -> LunFuture<'_, Extent>;
    fn read(&self, at: Lba, count: BlockCount) -> LunFuture<'_, Bytes>;
    fn read_medium(&self, at: Lba, count: BlockCount) -> LunFuture<'_, Bytes>;
    fn read_now(&self, at: Lba, count: BlockCount) -> Option<Bytes>;
    fn write(&self, at: Lba, data: Bytes) -> LunFuture<'_, ()>;
    fn write_now(&self, at: Lba, data: Bytes) -> Result<(), Bytes>;
    fn flush(&self) -> LunFuture<'_, ()>;
    fn discard(&self, at: Lba, count: BlockCount) -> LunFuture<'_, ()>;
    fn wipe_unused(&self) -> LunFuture<'_, ()>;
    fn pin(&self) -> LunFuture<'_, Option<LunHandle>>;
    fn share<'a>(&'a self, at: Lba, from: &'a LunHandle, from_at: Lba, count: BlockCount) -> LunFuture<'a, BlockCount>;
    fn compare<'a>(&'a self, at: Lba, count: BlockCount, base: &'a LunHandle) -> LunFuture<'a, Comparison>;
    fn as_any(&self) -> &dyn Any;
}

impl<L: Lun> DynLun for L {
    fn id(&self) -> LunId {
        Lun::id(self)
    }
    fn block_count(&self) -> BlockCount {
        Lun::block_count(self)
    }
    fn atomic_blocks(&self) -> BlockCount {
        Lun::atomic_blocks(self)
    }
    fn space(&self) -> SpaceLevel {
        Lun::space(self)
    }
    fn usage(&self) -> Option<LunUsage> {
        Lun::usage(self)
    }
    fn extent(&self, at: Lba, count: BlockCount) -> LunFuture<'_, Extent> {
        Box::pin(Lun::extent(self, at, count))
    }
    fn read(&self, at: Lba, count: BlockCount) -> LunFuture<'_, Bytes> {
        Box::pin(Lun::read(self, at, count))
    }
    fn read_medium(&self, at: Lba, count: BlockCount) -> LunFuture<'_, Bytes> {
        Box::pin(Lun::read_medium(self, at, count))
    }
    fn read_now(&self, at: Lba, count: BlockCount) -> Option<Bytes> {
        Lun::read_now(self, at, count)
    }
    fn write(&self, at: Lba, data: Bytes) -> LunFuture<'_, ()> {
        Box::pin(Lun::write(self, at, data))
    }
    fn write_now(&self, at: Lba, data: Bytes) -> Result<(), Bytes> {
        Lun::write_now(self, at, data)
    }
    fn flush(&self) -> LunFuture<'_, ()> {
        Box::pin(Lun::flush(self))
    }
    fn discard(&self, at: Lba, count: BlockCount) -> LunFuture<'_, ()> {
        Box::pin(Lun::discard(self, at, count))
    }
    fn wipe_unused(&self) -> LunFuture<'_, ()> {
        Box::pin(Lun::wipe_unused(self))
    }
    fn pin(&self) -> LunFuture<'_, Option<LunHandle>> {
        Box::pin(Lun::pin(self))
    }
    fn share<'a>(&'a self, at: Lba, from: &'a LunHandle, from_at: Lba, count: BlockCount) -> LunFuture<'a, BlockCount> {
        Box::pin(Lun::share(self, at, from, from_at, count))
    }
    fn compare<'a>(&'a self, at: Lba, count: BlockCount, base: &'a LunHandle) -> LunFuture<'a, Comparison> {
        Box::pin(Lun::compare(self, at, count, base))
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// A LUN of whatever kind. Cloning it is cheap; all clones are the same LUN.
#[derive(Clone)]
pub struct LunHandle {
    lun: Arc<dyn DynLun>,
    presentation: Option<Arc<PresentationCell>>,
}

impl std::fmt::Debug for LunHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "LunHandle({})", self.id())
    }
}

impl LunHandle {
    /// Wraps a LUN.
    pub fn new(lun: impl Lun) -> Self {
        Self { lun: Arc::new(lun), presentation: None }
    }

    /// The same LUN, seen by initiators as the cell says.
    #[must_use]
    pub fn presented(&self, presentation: Arc<PresentationCell>) -> Self {
        Self { lun: self.lun.clone(), presentation: Some(presentation) }
    }

    /// How initiators see it now; by default as a disk like any other.
    #[must_use]
    pub fn presentation(&self) -> Presentation {
        self.presentation.as_ref().map_or_else(Presentation::default, |cell| cell.get())
    }

    /// See [`Lun::id`].
    #[must_use]
    pub fn id(&self) -> LunId {
        self.lun.id()
    }

    /// See [`Lun::block_count`].
    #[must_use]
    pub fn block_count(&self) -> BlockCount {
        self.lun.block_count()
    }

    /// See [`Lun::atomic_blocks`].
    #[must_use]
    pub fn atomic_blocks(&self) -> BlockCount {
        self.lun.atomic_blocks()
    }

    /// See [`Lun::space`].
    #[must_use]
    pub fn space(&self) -> SpaceLevel {
        self.lun.space()
    }

    /// See [`Lun::usage`].
    #[must_use]
    pub fn usage(&self) -> Option<LunUsage> {
        self.lun.usage()
    }

    /// See [`Lun::extent`].
    ///
    /// # Errors
    /// [`LunError::OutOfRange`], [`LunError::Damaged`], [`LunError::Gone`].
    pub async fn extent(&self, at: Lba, count: BlockCount) -> Result<Extent, LunError> {
        self.lun.extent(at, count).await
    }

    /// See [`Lun::read`].
    ///
    /// # Errors
    /// Any [`LunError`] but the ones of writing.
    pub async fn read(&self, at: Lba, count: BlockCount) -> Result<Bytes, LunError> {
        self.lun.read(at, count).await
    }

    /// See [`Lun::read_medium`].
    ///
    /// # Errors
    /// Any [`LunError`] but the ones of writing.
    pub async fn read_medium(&self, at: Lba, count: BlockCount) -> Result<Bytes, LunError> {
        self.lun.read_medium(at, count).await
    }

    /// See [`Lun::read_now`].
    #[must_use]
    pub fn read_now(&self, at: Lba, count: BlockCount) -> Option<Bytes> {
        self.lun.read_now(at, count)
    }

    /// See [`Lun::write_now`].
    ///
    /// # Errors
    /// The data.
    pub fn write_now(&self, at: Lba, data: Bytes) -> Result<(), Bytes> {
        self.lun.write_now(at, data)
    }

    /// See [`Lun::write`].
    ///
    /// # Errors
    /// Any [`LunError`].
    pub async fn write(&self, at: Lba, data: Bytes) -> Result<(), LunError> {
        self.lun.write(at, data).await
    }

    /// See [`Lun::flush`].
    ///
    /// # Errors
    /// [`LunError::Poisoned`], [`LunError::Io`], [`LunError::Gone`].
    pub async fn flush(&self) -> Result<(), LunError> {
        self.lun.flush().await
    }

    /// See [`Lun::discard`].
    ///
    /// # Errors
    /// As for writing.
    pub async fn discard(&self, at: Lba, count: BlockCount) -> Result<(), LunError> {
        self.lun.discard(at, count).await
    }

    /// See [`Lun::wipe_unused`].
    ///
    /// # Errors
    /// [`LunError::Poisoned`], [`LunError::OutOfSpace`], [`LunError::Io`].
    pub async fn wipe_unused(&self) -> Result<(), LunError> {
        self.lun.wipe_unused().await
    }

    /// See [`Lun::pin`].
    ///
    /// # Errors
    /// [`LunError::Damaged`], [`LunError::Poisoned`], [`LunError::Gone`].
    pub async fn pin(&self) -> Result<Option<Self>, LunError> {
        self.lun.pin().await
    }

    /// See [`Lun::share`].
    ///
    /// # Errors
    /// As for writing, and as for reading `from`.
    pub async fn share(&self, at: Lba, from: &Self, from_at: Lba, count: BlockCount) -> Result<BlockCount, LunError> {
        self.lun.share(at, from, from_at, count).await
    }

    /// See [`Lun::compare`].
    ///
    /// # Errors
    /// As for reading this LUN.
    pub async fn compare(&self, at: Lba, count: BlockCount, base: &Self) -> Result<Comparison, LunError> {
        self.lun.compare(at, count, base).await
    }

    /// The LUN itself, if it is of this kind: how storage knows its own.
    #[must_use]
    pub fn downcast_ref<L: Lun>(&self) -> Option<&L> {
        self.lun.as_any().downcast_ref()
    }
}
