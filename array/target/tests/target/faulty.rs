//! A LUN that fails and waits as it is told.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;
use lunshadow_lun::{BlockCount, Extent, Lba, Lun, LunError, LunHandle, LunId, LunUsage, SpaceLevel};
use parking_lot::Mutex;
use tokio::sync::Semaphore;

use crate::memory::MemoryLun;

/// What a test decides about a LUN while it is in use.
pub(crate) struct Controls {
    /// Every request fails with this.
    pub(crate) failure: Mutex<Option<fn() -> LunError>>,
    /// Each read takes one of these before it is done.
    pub(crate) reads: Semaphore,
    pub(crate) reads_begun: Semaphore,
    /// Each write takes one of these before it is done.
    pub(crate) writes: Semaphore,
    pub(crate) writes_begun: Semaphore,
    pub(crate) writes_done: AtomicU64,
    pub(crate) flushes: AtomicU64,
    /// Blocks that the LUN has grown by.
    pub(crate) growth: AtomicU64,
    pub(crate) space: Mutex<SpaceLevel>,
    pub(crate) usage: Mutex<Option<LunUsage>>,
    /// Blocks that have no space, in the order in which they are reported.
    pub(crate) holes: Mutex<Vec<std::ops::Range<u64>>>,
    /// Whether contents can be kept.
    pub(crate) pins: AtomicBool,
    /// How long a write can be that is made as one.
    pub(crate) atomic_blocks: AtomicU64,
}

pub(crate) struct FaultyLun {
    lun: MemoryLun,
    controls: Arc<Controls>,
}

impl FaultyLun {
    /// A LUN whose reads and writes go through, and what controls it.
    pub(crate) fn new(lun: MemoryLun) -> (Self, Arc<Controls>) {
        let controls = Arc::new(Controls {
            failure: Mutex::new(None),
            reads: Semaphore::new(Semaphore::MAX_PERMITS),
            reads_begun: Semaphore::new(0),
            writes: Semaphore::new(Semaphore::MAX_PERMITS),
            writes_begun: Semaphore::new(0),
            writes_done: AtomicU64::new(0),
            flushes: AtomicU64::new(0),
            growth: AtomicU64::new(0),
            space: Mutex::new(SpaceLevel::Plenty),
            usage: Mutex::new(None),
            holes: Mutex::default(),
            pins: AtomicBool::new(true),
            atomic_blocks: AtomicU64::new(8),
        });
        (Self { lun, controls: controls.clone() }, controls)
    }

    /// How many contents of it are kept.
    pub(crate) fn pins(&self) -> usize {
        self.lun.pins()
    }

    fn check(&self) -> Result<(), LunError> {
        self.controls.failure.lock().map_or(Ok(()), |failure| Err(failure()))
    }
}

impl Lun for FaultyLun {
    fn id(&self) -> LunId {
        self.lun.id()
    }

    fn block_count(&self) -> BlockCount {
        BlockCount(self.lun.block_count().0 + self.controls.growth.load(Ordering::Relaxed))
    }

    fn atomic_blocks(&self) -> BlockCount {
        BlockCount(self.controls.atomic_blocks.load(Ordering::Relaxed))
    }

    fn space(&self) -> SpaceLevel {
        *self.controls.space.lock()
    }

    fn usage(&self) -> Option<LunUsage> {
        *self.controls.usage.lock()
    }

    async fn extent(&self, at: Lba, count: BlockCount) -> Result<Extent, LunError> {
        self.check()?;
        let holes = self.controls.holes.lock();
        let end = at.0 + count.0;
        let (mapped, until) = match holes.iter().find(|hole| hole.end > at.0) {
            Some(hole) if hole.start <= at.0 => (false, hole.end),
            Some(hole) => (true, hole.start),
            None => (true, end),
        };
        Ok(Extent { count: BlockCount(until.min(end) - at.0), mapped })
    }

    async fn read(&self, at: Lba, count: BlockCount) -> Result<Bytes, LunError> {
        self.check()?;
        self.controls.reads_begun.add_permits(1);
        self.controls.reads.acquire().await.expect("it is never closed").forget();
        self.lun.read(at, count).await
    }

    async fn write(&self, at: Lba, data: Bytes) -> Result<(), LunError> {
        self.check()?;
        self.controls.writes_begun.add_permits(1);
        self.controls.writes.acquire().await.expect("it is never closed").forget();
        self.lun.write(at, data).await?;
        self.controls.writes_done.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    async fn flush(&self) -> Result<(), LunError> {
        self.check()?;
        self.controls.flushes.fetch_add(1, Ordering::Relaxed);
        self.lun.flush().await
    }

    async fn discard(&self, at: Lba, count: BlockCount) -> Result<(), LunError> {
        self.check()?;
        self.lun.discard(at, count).await
    }

    async fn pin(&self) -> Result<Option<LunHandle>, LunError> {
        self.check()?;
        if self.controls.pins.load(Ordering::Relaxed) { self.lun.pin().await } else { Ok(None) }
    }
}
