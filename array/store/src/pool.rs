//! The pool: LUNs by id, and the way in and out.

use std::io;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use lunshadow_lun::{
    AlignedBuffer, BlockCount, CommitError, EnlargeError, LunHandle, LunId, LunSummary, Outcome, Pool, PoolCare,
    PoolError, PoolUsage, ReadCacheStatus, RevertPair, ScrubError, ScrubOptions, ScrubReport, ShadowMember,
    ShadowSetId,
};
use tokio::time::Instant;

use crate::budget::Budget;
use crate::checkpoint::Roots;
use crate::geometry::Geometry;
use crate::housekeeper::Budgets;
use crate::location::{medium_of, pool_id};
use crate::lun::StoreLun;
use crate::lun_record::tree_for;
use crate::media::{FileMedia, FileMediaError, IoMode, Media, is_block_device};
use crate::page::{BLOCK_LEN, index};
use crate::record::Record;
use crate::space::Faults;
use crate::state::{Refusal, Shared, State};
use crate::superblock::Superblock;
use crate::tail::Tail;
use crate::{commit, enlarge, housekeeper, log_writer, recovery, reshape, scrub, usage, wiping};

/// The name of the file in a pool's directory.
pub const POOL_FILE: &str = "pool.lunshadow";

/// How a pool is made and run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoreConfig {
    /// How much memory may be taken by what grows with the pool and its LUNs: map pages, reference counts, what is known of regions, and blocks
    /// that are held or have been freed. A single operation may exceed it for its duration, and a few MiB are needed besides.
    pub cache_bytes: u64,
    /// How much memory may be taken by blocks of data that were read or written lately. None by default.
    pub read_cache_bytes: u64,
    /// How much of what is written may be answered before the medium has it: single small writes, until they are flushed. None by default.
    pub write_behind_bytes: u64,
    /// The length of the log, fixed when the pool is made: 256 KiB to 4 GiB.
    pub log_bytes: u64,
    /// How much of the medium the pool may use in all, its own records included, fixed when the pool is made. The file is
    /// sparse: it takes what is used.
    pub capacity_bytes: u64,
    /// Zeros are written to all of a pool when it is made, so that the file is not sparse: its first writes need no space from the file system,
    /// which is what makes writes to a sparse file slow.
    pub preallocate: bool,
    /// How much of the time reclaiming, scrubbing and defragmenting may take each while requests are under way, in per cent: 1 to 100. They take all
    /// that they need when there are none, and reclaiming also while a write waits for space.
    pub background_percent: u8,
    /// How long a part of a LUN that small writes have scattered on the medium is left alone after the last of them, before it is put in
    /// order. `None`: for ever.
    pub defragment_after: Option<Duration>,
}

impl Default for StoreConfig {
    /// 256 MiB of map pages, a log of 64 MiB, 1 TiB of capacity, a tenth of the time for each kind of work in the background, 5 s of quiet before
    /// data is put in order.
    fn default() -> Self {
        Self {
            cache_bytes: 256 << 20,
            read_cache_bytes: 0,
            write_behind_bytes: 0,
            log_bytes: 64 << 20,
            capacity_bytes: 1 << 40,
            preallocate: false,
            background_percent: 10,
            defragment_after: Some(Duration::from_secs(5)),
        }
    }
}

/// Why a pool was not made or opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// There is a pool already, where one was to be made.
    #[error("there is a pool already")]
    Exists,
    /// There is no pool: no file, or another one.
    #[error("there is no pool")]
    NotAPool,
    /// The pool is open, here or in another process, or a handle of one of its LUNs is still held.
    #[error("the pool is in use")]
    InUse,
    /// The pool was made by a program that this one does not know.
    #[error("the pool has format version {found}, this program reads version {supported}")]
    UnsupportedVersion {
        /// The pool's version.
        found: u32,
        /// The version that this program reads and writes.
        supported: u32,
    },
    /// The pool uses features that this program does not know.
    #[error("the pool uses features that this program does not know: {bits:#x}")]
    UnknownFeatures {
        /// The unknown ones, as bits of the superblock's field.
        bits: u64,
    },
    /// No superblock is whole, or the newest is not.
    #[error("the pool's superblocks are damaged")]
    DamagedSuperblocks,
    /// What the pool needs to open is damaged.
    #[error("the pool's {what} is damaged at block {block}")]
    Damaged {
        /// The part.
        what: &'static str,
        /// The block of the medium, in units of 4096 bytes.
        block: u64,
    },
    /// The sizes in the configuration do not fit each other.
    #[error("a pool of {capacity_bytes} bytes with a log of {log_bytes} bytes is not possible")]
    UnsupportedSize {
        /// The capacity asked for.
        capacity_bytes: u64,
        /// The log asked for.
        log_bytes: u64,
    },
    /// The medium failed.
    #[error("the pool's medium failed")]
    Io(#[source] io::Error),
}

impl From<FileMediaError> for OpenError {
    fn from(error: FileMediaError) -> Self {
        match error {
            FileMediaError::InUse => Self::InUse,
            FileMediaError::Io(error) => match error.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Self::NotAPool,
                io::ErrorKind::AlreadyExists => Self::Exists,
                _ => Self::Io(error),
            },
        }
    }
}

/// A pool on a medium of its own. Dropping it ends its threads; what was not flushed by then may be lost.
pub struct StorePool {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
    background_percent: u8,
    tail: Option<Tail>,
}

impl StorePool {
    /// Makes an empty pool in a directory, which is made if it is not there, or on a block device, and opens it. What a device holds is
    /// lost, unless it is a pool.
    ///
    /// # Errors
    /// [`OpenError::Exists`], [`OpenError::InUse`], [`OpenError::UnsupportedSize`], [`OpenError::Io`].
    pub fn create(directory: &Path, config: &StoreConfig) -> Result<Self, OpenError> {
        geometry_of(config)?;
        if is_block_device(directory) {
            return match pool_id(directory) {
                Err(OpenError::NotAPool) => Self::create_on(FileMedia::open(directory)?, config),
                Err(error @ OpenError::Io(_)) => Err(error),
                Ok(_) | Err(_) => Err(OpenError::Exists),
            };
        }
        std::fs::create_dir_all(directory).map_err(OpenError::Io)?;
        let file = directory.join(POOL_FILE);
        let pool = Self::create_on(FileMedia::create(&file)?, config).inspect_err(|_| {
            // What is half made is of no use to anybody.
            drop(std::fs::remove_file(&file));
        })?;
        // The file's name becomes durable with its directory.
        std::fs::File::open(directory).and_then(|directory| directory.sync_all()).map_err(OpenError::Io)?;
        Ok(pool)
    }

    /// Opens the pool in a directory or on a block device.
    ///
    /// # Errors
    /// Any [`OpenError`] but `Exists` and `UnsupportedSize`.
    pub fn open(directory: &Path, config: &StoreConfig) -> Result<Self, OpenError> {
        Self::open_with(directory, config, IoMode::default())
    }

    /// Opens the pool in a directory or on a block device, and says how requests are to reach it.
    ///
    /// # Errors
    /// As [`StorePool::open`].
    pub fn open_with(directory: &Path, config: &StoreConfig, mode: IoMode) -> Result<Self, OpenError> {
        Self::open_outliving(directory, config, mode, None)
    }

    /// As [`StorePool::open_with`], and has what was answered outlive the process in a folder that is in memory. What another process has left there,
    /// which was killed, is taken over.
    ///
    /// # Errors
    /// As [`StorePool::open`].
    pub fn open_outliving(
        directory: &Path,
        config: &StoreConfig,
        mode: IoMode,
        tail_folder: Option<&Path>,
    ) -> Result<Self, OpenError> {
        let mut media = FileMedia::open_as(&medium_of(directory), mode)?;
        if mode == IoMode::Auto {
            // The log's blocks are all allocated, so that reading them is reading the medium.
            let log = recovery::newest_superblock(&media)?.geometry.log_bytes();
            media = media.choose(&log);
        }
        Self::open_outliving_on(media, config, tail_folder)
    }

    /// Makes an empty pool on a medium, whatever that holds, and opens it.
    ///
    /// # Errors
    /// [`OpenError::UnsupportedSize`], [`OpenError::Io`].
    pub fn create_on(media: impl Media, config: &StoreConfig) -> Result<Self, OpenError> {
        let geometry = geometry_of(config)?;
        format(&media, &geometry, config.preallocate).map_err(OpenError::Io)?;
        Self::open_on(media, config)
    }

    /// Makes an empty pool on a medium and leaves it.
    #[cfg(all(test, feature = "explore"))]
    pub(crate) fn format_on(media: &dyn Media, config: &StoreConfig) -> Result<(), OpenError> {
        format(media, &geometry_of(config)?, config.preallocate).map_err(OpenError::Io)
    }

    /// Opens the pool on a medium.
    ///
    /// # Errors
    /// As [`StorePool::open`].
    pub fn open_on(media: impl Media, config: &StoreConfig) -> Result<Self, OpenError> {
        Self::open_outliving_on(media, config, None)
    }

    /// As [`StorePool::open_outliving`], on a medium.
    ///
    /// # Errors
    /// As [`StorePool::open`].
    pub fn open_outliving_on(
        media: impl Media,
        config: &StoreConfig,
        tail_folder: Option<&Path>,
    ) -> Result<Self, OpenError> {
        let tail = match tail_folder {
            Some(folder) => Tail::of_pool(folder, recovery::newest_superblock(&media)?.superblock.pool_id.get()),
            None => None,
        };
        let caches = (config.cache_bytes, config.read_cache_bytes);
        let (shared, roots) = recovery::open(Box::new(media), caches, tail.as_ref())?;
        let tail = tail.filter(|tail| shared.outlive_in(tail, &roots, config.write_behind_bytes));
        shared.scattered.set_after(config.defragment_after);
        shared.behind.set_limit(config.write_behind_bytes, &*shared.media);
        Self::start(Arc::new(shared), roots, config.background_percent, tail).map_err(OpenError::Io)
    }

    fn start(shared: Arc<Shared>, roots: Roots, background_percent: u8, tail: Option<Tail>) -> io::Result<Self> {
        shared.state.lock().running = true;
        let mut pool = Self { shared, threads: Vec::new(), background_percent, tail };
        pool.run("store-log", |shared| log_writer::run(shared))?;
        pool.run("store-house", move |shared| housekeeper::run(shared, roots, Budgets::new(background_percent)))?;
        Ok(pool)
    }

    /// Starts a thread. If it panics, the pool is poisoned, so that nobody waits for it.
    fn run(&mut self, name: &str, work: impl FnOnce(&Arc<Shared>) + Send + 'static) -> io::Result<()> {
        let shared = Arc::clone(&self.shared);
        let guarded = move || {
            if catch_unwind(AssertUnwindSafe(|| work(&shared))).is_err() {
                shared.poison(&io::Error::other("a thread of the pool panicked"));
            }
        };
        self.threads.push(thread::Builder::new().name(name.to_owned()).spawn(guarded)?);
        Ok(())
    }

    /// Waits until the space of all LUNs that are deleted by now has come back, as far as it can be given back.
    ///
    /// # Errors
    /// [`PoolError::Poisoned`], [`PoolError::OutOfSpace`] if the medium itself has no space for a checkpoint.
    pub async fn wait_reclaimed(&self) -> Result<(), PoolError> {
        wiping::given_back(&self.shared).await
    }

    /// Waits until everything that is known to lie scattered has been put in order, as far as that is possible now, without regard to
    /// what others do and when they wrote.
    ///
    /// # Errors
    /// [`PoolError::Poisoned`].
    pub async fn wait_defragmented(&self) -> Result<(), PoolError> {
        let mut watch = self.shared.watch();
        loop {
            {
                let state = self.shared.state.lock();
                if state.poisoned {
                    return Err(PoolError::Poisoned);
                }
                if !self.shared.hurry_defragment(&state) {
                    return Ok(());
                }
            }
            watch.changed().await.map_err(|_| PoolError::Poisoned)?;
        }
    }

    /// Gives the pool more capacity, while it is used. A file becomes longer; a device must have the room already.
    ///
    /// # Errors
    /// Any [`EnlargeError`].
    pub async fn enlarge(&self, capacity_bytes: u64) -> Result<Outcome, EnlargeError> {
        enlarge::run(&self.shared, capacity_bytes).await
    }

    /// Reads and verifies everything that LUNs refer to, while the pool is used. `progress` hears of each step. Dropping the future stops it.
    ///
    /// # Errors
    /// Any [`ScrubError`]. Damage is not one: it is what the report is about.
    pub async fn scrub(
        &self,
        options: ScrubOptions,
        progress: impl FnMut(&ScrubReport),
    ) -> Result<ScrubReport, ScrubError> {
        let budget = Budget::new(self.background_percent, Instant::now());
        scrub::run(&self.shared, options, budget, progress).await
    }

    /// Says from how little room on LUNs answer that the pool is low on space. It is a tenth of the capacity until somebody says so.
    pub fn warn_below(&self, available_bytes: u64) {
        let mut state = self.shared.state.lock();
        state.limits.give_low(available_bytes / BLOCK_LEN);
        self.shared.changed(&mut state);
    }

    /// How many damaged copies of map pages were written again from the other copy since the pool was opened.
    #[must_use]
    pub fn healed_pages(&self) -> u64 {
        self.shared.healed_pages.load(std::sync::atomic::Ordering::Relaxed)
    }

    /// The length of the medium: of a device that has grown, more than the pool's capacity.
    ///
    /// # Errors
    /// What the operating system answers.
    pub fn medium_bytes(&self) -> io::Result<u64> {
        self.shared.media.len_bytes()
    }

    /// How requests reach the medium, in words for an administrator.
    #[must_use]
    pub fn io_engine(&self) -> String {
        self.shared.media.engine()
    }

    /// How many bytes of requests were copied on their way to and from the medium, since it could not take them where they were.
    #[must_use]
    pub fn bounced_bytes(&self) -> u64 {
        self.shared.media.bounced_bytes()
    }

    fn handle(&self, state: &State, lun: LunId) -> Result<LunHandle, PoolError> {
        let (slot, entry) =
            state.luns.find(lun).filter(|(_, entry)| entry.is_live()).ok_or(PoolError::UnknownLun(lun))?;
        let (birth, length) = (entry.birth, Arc::clone(&entry.shown_length));
        Ok(LunHandle::new(StoreLun { shared: Arc::clone(&self.shared), slot, birth, id: lun, length }))
    }
}

impl StorePool {
    /// Takes requests that are under way on the medium to their ends, as long as it is polled on a runtime of tokio that knows I/O. Whoever waits there
    /// goes on without a switch of threads then. Without it, a thread of the pool does that.
    pub fn driver(&self) -> impl Future<Output = ()> + Send + 'static {
        let driver = self.shared.media.driver();
        async move {
            if let Some(driver) = driver {
                driver.await;
            }
        }
    }
}

impl Drop for StorePool {
    fn drop(&mut self) {
        {
            let mut state = self.shared.state.lock();
            state.running = false;
            self.shared.publish(&state);
        }
        self.shared.log_wake.notify_all();
        self.shared.house_wake.notify_all();
        for thread in self.threads.drain(..) {
            // It catches its own panics.
            drop(thread.join());
        }
        // Who gathered a write may still be on the way out when that was answered. Whoever opens the pool next is not to find it in use.
        self.shared.gathering.gatherers.wait_until_gone(|| self.shared.media.settle());
        // Otherwise it is for whoever opens the pool next.
        if let Some(tail) = self.tail.take().filter(|_| self.shared.leaves_nothing()) {
            tail.remove();
        }
    }
}

fn geometry_of(config: &StoreConfig) -> Result<Geometry, OpenError> {
    let (capacity_bytes, log_bytes) = (config.capacity_bytes, config.log_bytes);
    Geometry::new(capacity_bytes / BLOCK_LEN, log_bytes / BLOCK_LEN)
        .ok_or(OpenError::UnsupportedSize { capacity_bytes, log_bytes })
}

/// Writes an empty pool: an empty log, whose blocks are allocated now so that logging never lacks space, and both superblocks. All other blocks
/// are allocated, too, if that is wanted.
fn format(media: &dyn Media, geometry: &Geometry, preallocate: bool) -> io::Result<()> {
    let zeros = AlignedBuffer::zeroed(1 << 20);
    media.set_len_bytes(geometry.total_blocks() * BLOCK_LEN)?;
    for block in [0, 1].into_iter().flat_map(Geometry::superblock) {
        media.write_at(block * BLOCK_LEN, &zeros[..index(BLOCK_LEN)])?;
    }
    let log = geometry.log_bytes();
    let Range { start: mut offset, end } = if preallocate { 0..geometry.total_blocks() * BLOCK_LEN } else { log };
    while offset < end {
        let len = zeros.len().min(index(end - offset));
        media.write_at(offset, &zeros[..len])?;
        offset += u64::try_from(len).expect("a short length");
    }
    media.sync()?;
    let pool_id = uuid::Uuid::new_v4().as_u128();
    for generation in [0_u64, 1] {
        let mut superblock = Superblock::empty(geometry, pool_id);
        superblock.generation = generation.into();
        superblock.write(media)?;
    }
    media.sync()
}

impl Pool for StorePool {
    async fn create(&self, lun: LunId, block_count: BlockCount) -> Result<LunHandle, PoolError> {
        let create = move |shared: &Shared, state: &mut State, faults: &mut Faults| {
            if state.luns.find(lun).is_some() || state.sets.promises(lun) {
                return Some(Err(PoolError::LunExists(lun)));
            }
            if tree_for(block_count).is_none() {
                return Some(Err(PoolError::UnsupportedSize(block_count)));
            }
            if let Err(refusal) = state.provide_slots(1, faults)?.as_result() {
                return Some(Err(refusal));
            }
            let slot = state.luns.take_slot().expect("provided above");
            state.create_lun(slot, lun, block_count);
            state.log.append(&Record::Create { lun: slot, id: lun, length: block_count.0 });
            Some(Ok(shared.want_durable(state)))
        };
        let sequence = reshape::changed(&self.shared, create).await?;
        self.shared.durable(sequence).await.map_err(refused)?;
        self.open(lun)
    }

    fn open(&self, lun: LunId) -> Result<LunHandle, PoolError> {
        self.handle(&self.shared.state.lock(), lun)
    }

    async fn delete(&self, lun: LunId) -> Result<Outcome, PoolError> {
        let (sequence, outcome) = {
            let mut state = self.shared.state.lock();
            if state.poisoned {
                return Err(PoolError::Poisoned);
            }
            let slot = state.luns.find(lun).filter(|(_, entry)| entry.is_live()).map(|(slot, _)| slot);
            if let Some(slot) = slot {
                state.luns.delete(slot);
                state.log.append(&Record::Delete { lun: slot });
                self.shared.house_wake.notify_one();
            }
            let outcome = if slot.is_some() { Outcome::Done } else { Outcome::AlreadySo };
            // Also what is so already may not be durable yet.
            (self.shared.want_durable(&mut state), outcome)
        };
        self.shared.durable(sequence).await.map_err(refused)?;
        Ok(outcome)
    }

    fn luns_after(&self, after: Option<LunId>, at_most: usize) -> Vec<LunSummary> {
        self.shared.state.lock().luns.summaries_after(after).take(at_most).collect()
    }

    fn summary(&self, lun: LunId) -> Option<LunSummary> {
        self.shared.state.lock().luns.summary(lun)
    }

    async fn prepare(&self, set: ShadowSetId, members: &[ShadowMember]) -> Result<Outcome, PoolError> {
        let members = members.to_vec();
        let sources: Vec<LunId> = members.iter().map(|member| member.source).collect();
        let prepare = move |_: &Shared, state: &mut State, faults: &mut Faults| {
            let fresh = match state.sets.plan(&state.luns, set, &members) {
                Ok(fresh) if fresh.is_empty() => return Some(Ok(Outcome::AlreadySo)),
                Ok(fresh) => fresh,
                Err(refusal) => return Some(Err(refusal)),
            };
            if let Err(refusal) = state.provide_slots(fresh.len(), faults)?.as_result() {
                return Some(Err(refusal));
            }
            state.sets.add(&mut state.luns, set, fresh);
            Some(Ok(Outcome::Done))
        };
        let outcome = reshape::changed(&self.shared, prepare).await?;
        // What the commit will look at is brought into memory. If that fails, the commit says so.
        let shared = Arc::clone(&self.shared);
        let warm = move || {
            shared.with_pages(|state: &mut State, faults: &mut Faults| {
                let sources = sources.iter().filter_map(|source| state.luns.find(*source));
                let sources: Vec<_> = sources.map(|(slot, _)| slot).collect();
                state.touch_capture(sources.into_iter(), faults);
                faults.is_empty().then_some(())
            })
        };
        if let Ok(Err(error)) = tokio::task::spawn_blocking(warm).await {
            tracing::warn!(error = %error, "metadata of a LUN that is to be captured is damaged");
        }
        Ok(outcome)
    }

    async fn commit(&self, set: ShadowSetId, at_most: Duration) -> Result<Outcome, CommitError> {
        // A task of its own: it ends the commit properly even if the caller goes away.
        let task = tokio::spawn(commit::run(Arc::clone(&self.shared), set, at_most));
        task.await.map_err(|error| CommitError::Io(io::Error::other(error)))?
    }

    fn abort(&self, set: ShadowSetId) -> Result<Outcome, PoolError> {
        let mut state = self.shared.state.lock();
        if state.luns.has_set(set) {
            return Err(PoolError::SetCommitted(set));
        }
        let aborted = commit::abort(&self.shared, &mut state, set);
        self.shared.publish(&state);
        Ok(if aborted.is_some() { Outcome::Done } else { Outcome::AlreadySo })
    }

    async fn revert(&self, pairs: &[RevertPair]) -> Result<(), PoolError> {
        reshape::revert(&self.shared, pairs).await
    }

    async fn grow(&self, lun: LunId, block_count: BlockCount) -> Result<Outcome, PoolError> {
        reshape::grow(&self.shared, lun, block_count).await
    }

    async fn promote(&self, lun: LunId) -> Result<Outcome, PoolError> {
        reshape::promote(&self.shared, lun).await
    }

    async fn unique_bytes(&self, lun: LunId) -> Result<u64, PoolError> {
        usage::unique_bytes(&self.shared, lun).await
    }

    fn usage(&self) -> PoolUsage {
        usage::of(&self.shared.state.lock())
    }

    async fn close(&self) -> Result<(), PoolError> {
        let generation = {
            let mut state = self.shared.state.lock();
            if state.poisoned {
                return Err(PoolError::Poisoned);
            }
            self.shared.want_checkpoint(&mut state)
        };
        self.shared.checkpointed(generation).await.map_err(refused)
    }
}

impl PoolCare for StorePool {
    fn io_engine(&self) -> String {
        Self::io_engine(self)
    }

    fn read_cache(&self) -> ReadCacheStatus {
        self.shared.read_cache.status()
    }

    fn low_bytes(&self) -> u64 {
        self.shared.state.lock().limits.low_blocks * BLOCK_LEN
    }

    async fn enlarge(&self, capacity_bytes: u64) -> Result<Outcome, EnlargeError> {
        Self::enlarge(self, capacity_bytes).await
    }

    async fn scrub(
        &self,
        options: ScrubOptions,
        progress: impl FnMut(&ScrubReport) + Send,
    ) -> Result<ScrubReport, ScrubError> {
        Self::scrub(self, options, progress).await
    }
}

pub(crate) fn refused(refusal: Refusal) -> PoolError {
    match refusal {
        Refusal::Poisoned => PoolError::Poisoned,
        Refusal::MediumFull => PoolError::OutOfSpace,
    }
}
