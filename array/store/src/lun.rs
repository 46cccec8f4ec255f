//! A LUN: requests in bytes become changes of its map.

use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use lunshadow_lun::{
    AlignedBuffer, BlockCount, Comparison, Extent, LOGICAL_BLOCK_BYTES, Lba, Lun, LunError, LunHandle, LunId, LunUsage,
    SpaceLevel, Submit as _, leave_undone,
};

use crate::changes::{LeafPlace, Updated};
use crate::defragment::is_slow_to_read;
use crate::gathering::{self, GATHERED_BYTES_MAX};
use crate::lun_table::LunEntry;
use crate::map::Leaf;
use crate::media::ReadPart;
use crate::page::{BLOCK_BYTES, BLOCK_LEN, Entry, FANOUT_LEN, index};
use crate::pair::{ATOMIC_BYTES_MAX, PairWrite};
use crate::reading::leaves_of;
use crate::record::LunSlot;
use crate::sharing::PinnedLun;
use crate::state::{PageError, Refusal, Shared, State};
use crate::views::LeafOf;
use crate::wiping;
use crate::writing::{LeafWrite, Written};

const LOGICAL_LEN: u64 = LOGICAL_BLOCK_BYTES as u64;
/// After so many checkpoints that brought back too little, a write is told that the pool is full.
const SPACE_ROUNDS_MAX: usize = 3;

/// A LUN of a [`StorePool`](crate::StorePool).
#[derive(Clone)]
pub(crate) struct StoreLun {
    pub(crate) shared: Arc<Shared>,
    pub(crate) slot: LunSlot,
    pub(crate) birth: u64,
    pub(crate) id: LunId,
    /// The length, as of the last look without the pool's lock.
    pub(crate) length: Arc<AtomicU64>,
}

impl StoreLun {
    /// The LUN's entry, unless it was deleted.
    pub(crate) fn entry<'a>(&self, state: &'a State) -> Result<&'a LunEntry, LunError> {
        let entry = state.luns.get(self.slot).filter(|lun| lun.birth == self.birth && lun.is_readable());
        entry.ok_or(LunError::Gone)
    }

    /// The LUN's entry, if the LUN still reaches that far: a revert may have made it shorter since the request was looked at.
    pub(crate) fn entry_until<'a>(&self, state: &'a State, bytes: &Range<u64>) -> Result<&'a LunEntry, LunError> {
        let entry = self.entry(state)?;
        if bytes.end.div_ceil(LOGICAL_LEN) <= entry.length.0 {
            return Ok(entry);
        }
        let at = bytes.start / LOGICAL_LEN;
        let count = BlockCount(bytes.end.div_ceil(LOGICAL_LEN) - at);
        Err(LunError::OutOfRange { at: Lba(at), count, size: entry.length })
    }

    fn length(&self) -> BlockCount {
        BlockCount(self.length.load(Ordering::Acquire))
    }

    /// The bytes that a request is about.
    pub(crate) fn checked(&self, at: Lba, count: BlockCount) -> Result<Range<u64>, LunError> {
        let size = self.length();
        match at.checked_add(count) {
            Some(end) if end.0 <= size.0 => Ok(at.0 * LOGICAL_LEN..end.0 * LOGICAL_LEN),
            _ => Err(LunError::OutOfRange { at, count, size }),
        }
    }

    /// What the error of a page or a block means for a request to a LUN.
    pub(crate) fn damaged_at(offset_bytes: u64) -> impl Fn(PageError) -> LunError {
        move |error| {
            tracing::warn!(error = %error, "metadata is damaged");
            LunError::Damaged { at: Lba(offset_bytes / LOGICAL_LEN) }
        }
    }

    pub(crate) fn read_blocking(&self, bytes: &Range<u64>) -> Result<Bytes, LunError> {
        let blocks = bytes.start / BLOCK_LEN..bytes.end.div_ceil(BLOCK_LEN);
        let mut buffer = AlignedBuffer::of_len(index((blocks.end - blocks.start) * BLOCK_LEN));
        let reader = self.shared.reader(self.slot);
        let mut kept = Vec::with_capacity(index(blocks.end - blocks.start));
        let mut together = self.look_up_together(bytes, &blocks);
        for (place, count) in leaves_of(&blocks) {
            let from = place.block();
            let entries = match &mut together {
                Some(entries) => entries.drain(..count).collect::<Vec<_>>(),
                // Leaf by leaf, which tells which one it is that cannot be looked up.
                None => self.look_up(place, count).map_err(|error| self.first_damaged(error, bytes, from))?,
            };
            self.note_if_scattered(from, &entries);
            let start = index((from - blocks.start) * BLOCK_LEN);
            self.fetch(&entries, &mut buffer[start..start + count * BLOCK_BYTES])
                .map_err(|at| LunError::Damaged { at: Self::lba_of(bytes, from + at) })?;
            kept.extend(entries);
        }
        let content = buffer.freeze();
        self.shared.read_cache.keep(&kept, &content);
        drop(reader);
        let start = index(bytes.start - blocks.start * BLOCK_LEN);
        Ok(content.slice(start..start + index(bytes.end - bytes.start)))
    }

    /// What consecutive blocks refer to at one instant, so that of a write to several leaves all is found or nothing. `None` if anything is not as it
    /// should be.
    fn look_up_together(&self, bytes: &Range<u64>, blocks: &Range<u64>) -> Option<Vec<Entry>> {
        let looked_up = self.shared.with_pages(|state, faults| {
            let Ok(lun) = self.entry_until(state, bytes) else { return Some(None) };
            let tree = lun.tree;
            let mut entries = Vec::with_capacity(index(blocks.end - blocks.start));
            for (place, count) in leaves_of(blocks) {
                // If one is missing, the others are looked for, too, so that all that are come together.
                if let Some(leaf) = state.pages.leaf(&tree, place.leaf, faults) {
                    entries.extend((place.at..place.at + count).map(|at| leaf.entry(at)));
                }
            }
            faults.is_empty().then_some(Some(entries))
        });
        looked_up.ok().flatten()
    }

    /// The first blocks that are all mapped or all not, looked at leaf by leaf.
    fn extent_blocking(&self, bytes: &Range<u64>) -> Result<Extent, LunError> {
        let blocks = bytes.start / BLOCK_LEN..bytes.end.div_ceil(BLOCK_LEN);
        let (mut from, mut unmapped) = (blocks.start, None);
        while from < blocks.end {
            let place = LeafPlace::of(from);
            let end = blocks.end.min((place.leaf + 1) * FANOUT_LEN);
            let entries =
                self.look_up(place, index(end - from)).map_err(|error| self.first_damaged(error, bytes, from))?;
            let first = *unmapped.get_or_insert_with(|| entries[0].is_unmapped());
            let alike = entries.iter().take_while(|entry| entry.is_unmapped() == first).count();
            from += number(alike);
            if alike < entries.len() {
                break;
            }
        }
        let end = (from * BLOCK_LEN).min(bytes.end);
        let count = BlockCount((end - bytes.start) / LOGICAL_LEN);
        Ok(Extent { count, mapped: unmapped == Some(false) })
    }

    fn first_damaged(&self, error: LookUpError, bytes: &Range<u64>, block: u64) -> LunError {
        match error {
            LookUpError::Lun(error) => error,
            LookUpError::Page(error) => Self::damaged_at(Self::lba_of(bytes, block).0 * LOGICAL_LEN)(error),
        }
    }

    /// The first logical block of a physical one that belongs to the request.
    fn lba_of(bytes: &Range<u64>, block: u64) -> Lba {
        Lba((block * BLOCK_LEN).max(bytes.start) / LOGICAL_LEN)
    }

    /// Remembers where what is read lies scattered. The entries are of the blocks from `first` on.
    pub(crate) fn note_if_scattered(&self, first: u64, entries: &[Entry]) {
        if is_slow_to_read(entries) {
            let leaves = first / FANOUT_LEN..=(first + number(entries.len()) - 1) / FANOUT_LEN;
            self.shared.note_scattered(leaves.map(|leaf| self.leaf_of(leaf)));
        }
    }

    pub(crate) fn leaf_of(&self, leaf: u64) -> LeafOf {
        LeafOf { slot: self.slot, birth: self.birth, leaf }
    }

    /// The entries of consecutive blocks within a leaf.
    pub(crate) fn look_up(&self, place: LeafPlace, count: usize) -> Result<Vec<Entry>, LookUpError> {
        let looked_up = self.shared.with_pages(|state, faults| {
            // The last block may be cut by the LUN's end.
            let bytes = place.block() * BLOCK_LEN..(place.block() + number(count) - 1) * BLOCK_LEN + 1;
            let tree = match self.entry_until(state, &bytes) {
                Ok(lun) => lun.tree,
                Err(error) => return Some(Err(LookUpError::Lun(error))),
            };
            Some(Ok(match state.pages.leaf(&tree, place.leaf, faults)? {
                Leaf::HoleUntil(_) => vec![Entry::UNMAPPED; count],
                Leaf::Mapped(page) => (place.at..place.at + count).map(|at| page.entry(at)).collect(),
            }))
        });
        looked_up.map_err(LookUpError::Page)?
    }

    /// Reads and verifies what `entries` refer to, all runs of neighbours at the same time; the first damaged one is the error.
    pub(crate) fn fetch(&self, entries: &[Entry], buffer: &mut [u8]) -> Result<(), u64> {
        let (mut runs, mut parts) = (Vec::new(), Vec::new());
        let (mut rest, mut first) = (buffer, 0);
        for run in entries.chunk_by(Entry::is_followed_by) {
            let (buffer, others) = rest.split_at_mut(run.len() * BLOCK_BYTES);
            rest = others;
            if run[0].is_unmapped() {
                buffer.fill(0);
            } else {
                runs.push((first, run));
                parts.push(ReadPart { offset_bytes: run[0].block() * BLOCK_LEN, buffer });
            }
            first += run.len();
        }
        let is_read = self.shared.read_data(&mut parts).is_ok();
        for ((first, run), part) in runs.into_iter().zip(parts) {
            self.verify_run(run, part.buffer, is_read).map_err(|at| number(first + at))?;
        }
        Ok(())
    }

    /// If not all could be read, blocks are tried one by one, to tell the bad one from the others.
    fn verify_run(&self, run: &[Entry], buffer: &mut [u8], is_read: bool) -> Result<(), usize> {
        for (at, (entry, block)) in run.iter().zip(buffer.chunks_exact_mut(BLOCK_BYTES)).enumerate() {
            let mut again = || {
                let offset_bytes = entry.block() * BLOCK_LEN;
                self.shared.read_data(&mut [ReadPart { offset_bytes, buffer: block }]).is_ok()
            };
            if !(is_read || again()) || !entry.matches(block) {
                return Err(at);
            }
        }
        Ok(())
    }

    /// Does something that takes blocks, again if there are not enough and waiting helps.
    pub(crate) async fn with_space<T, F>(
        &self,
        blocks: u64,
        attempt: impl Fn(Self) -> F + Send + Sync,
    ) -> Result<T, LunError>
    where
        F: Future<Output = Result<Option<T>, LunError>> + Send,
    {
        let mut rounds = 0;
        while rounds < SPACE_ROUNDS_MAX {
            self.shared.admitted().await.map_err(refused)?;
            if let Some(done) = attempt(self.clone()).await? {
                return Ok(done);
            }
            let mut watch = self.shared.watch();
            let generation = {
                let mut state = self.shared.state.lock();
                // What is being reclaimed or wiped comes in any case, so that waiting for it is no attempt.
                let is_wiping = state.pages.space.wiping_count() > 0;
                let is_reclaiming = self.shared.hurry_reclaim(&mut state) || is_wiping;
                rounds += usize::from(!is_reclaiming);
                if state.pages.space.returning_count() > 0 {
                    Some(self.shared.want_checkpoint(&mut state))
                } else if is_wiping {
                    None
                } else if state.pages.space.free_count() >= state.limits.reserve_blocks + blocks {
                    // What was on its way back has come just now.
                    continue;
                } else if is_reclaiming {
                    None
                } else {
                    return Err(LunError::OutOfSpace);
                }
            };
            match generation {
                Some(generation) => self.shared.checkpointed(generation).await.map_err(refused)?,
                None => watch.changed().await.map_err(|_| LunError::Poisoned)?,
            }
        }
        Err(LunError::OutOfSpace)
    }

    /// Writes what lies in one leaf.
    async fn write_leaf(&self, write: LeafWrite) -> Result<(), LunError> {
        let blocks = write.bytes.end.div_ceil(BLOCK_LEN) - write.bytes.start / BLOCK_LEN;
        let is_gathered = write.is_whole() && write.data.len() <= GATHERED_BYTES_MAX;
        let attempt = |this: Self| {
            let write = write.clone();
            async move {
                let written = if is_gathered {
                    gathering::write(this, write).await?
                } else {
                    blocking(move || write.run(&this)).await?
                };
                Ok((written == Written::Done).then_some(()))
            }
        };
        self.with_space(blocks, attempt).await
    }

    async fn write_bytes(&self, mut bytes: Range<u64>, mut data: Bytes) -> Result<(), LunError> {
        if let Some(pair) = PairWrite::of(&bytes, &data) {
            return self.write_pair(pair).await;
        }
        while bytes.start < bytes.end {
            let leaf_end = (bytes.start / (FANOUT_LEN * BLOCK_LEN) + 1) * FANOUT_LEN * BLOCK_LEN;
            let part = bytes.start..bytes.end.min(leaf_end);
            let data = data.split_to(index(part.end - part.start));
            bytes.start = part.end;
            self.write_leaf(LeafWrite { bytes: part, data }).await?;
        }
        Ok(())
    }

    async fn write_pair(&self, pair: PairWrite) -> Result<(), LunError> {
        let blocks = pair.blocks();
        let attempt = |this: Self| {
            let pair = pair.clone();
            async move {
                let written = blocking(move || pair.run(&this)).await?;
                Ok((written == Written::Done).then_some(()))
            }
        };
        self.with_space(blocks, attempt).await
    }

    /// Unmaps blocks of one leaf; the block where the next thing to unmap can be, or `None` if copying a shared map page needs
    /// a block that is not there. A last block that the LUN's end cuts goes as a whole, but only as long as the LUN has the length that
    /// the caller has seen; if not, nothing happens, and the answer is where it began.
    fn discard_leaf(&self, blocks: &Range<u64>, seen: BlockCount) -> Result<Option<u64>, LunError> {
        let place = LeafPlace::of(blocks.start);
        let end = blocks.end.min((place.leaf + 1) * FANOUT_LEN);
        let entries = vec![Entry::UNMAPPED; index(end - blocks.start)];
        let done = self.shared.with_pages(|state, faults| {
            let tree = match self.entry_until(state, &((end - 1) * BLOCK_LEN..(end - 1) * BLOCK_LEN + 1)) {
                Ok(_) if state.poisoned => return Some(Err(LunError::Poisoned)),
                Ok(lun) if end * BLOCK_LEN > seen.bytes() && lun.length != seen => {
                    return Some(Ok(Some(blocks.start)));
                }
                Ok(lun) => lun.tree,
                Err(gone) => return Some(Err(gone)),
            };
            if let Leaf::HoleUntil(leaf) = state.pages.leaf(&tree, place.leaf, faults)? {
                return Some(Ok(Some(leaf.saturating_mul(FANOUT_LEN))));
            }
            Some(match state.update_map(self.slot, place, &entries, faults)? {
                Updated::Full => Ok(None),
                Updated::Unchanged => Ok(Some(end)),
                Updated::Changed => {
                    if state.log_update(self.slot, place, &entries) {
                        self.shared.log_wake.notify_one();
                    }
                    Ok(Some(end))
                }
            })
        });
        done.map_err(Self::damaged_at(blocks.start * BLOCK_LEN))?
    }

    /// Discards, as long as the LUN has the length that was seen. False if that has changed.
    async fn discard_as_long(&self, at: Lba, count: BlockCount, seen: BlockCount) -> Result<bool, LunError> {
        let bytes = self.checked(at, count)?;
        // A last block that the LUN's end cuts is whole for this purpose.
        let end = if bytes.end == seen.bytes() { bytes.end.div_ceil(BLOCK_LEN) } else { bytes.end / BLOCK_LEN };
        let mut whole = bytes.start.div_ceil(BLOCK_LEN)..end;
        if whole.start >= whole.end {
            let zeros = Bytes::from(vec![0; index(bytes.end - bytes.start)]);
            return self.write_bytes(bytes, zeros).await.map(|()| true);
        }
        for partial in [bytes.start..whole.start * BLOCK_LEN, (whole.end * BLOCK_LEN).min(bytes.end)..bytes.end] {
            let zeros = Bytes::from(vec![0; index(partial.end - partial.start)]);
            self.write_bytes(partial, zeros).await?;
        }
        while whole.start < whole.end {
            let rest = whole.clone();
            let attempt = |this: Self| {
                let rest = rest.clone();
                blocking(move || this.discard_leaf(&rest, seen))
            };
            let next = self.with_space(0, attempt).await?;
            if next == whole.start {
                return Ok(false);
            }
            whole.start = next;
        }
        Ok(true)
    }
}

/// Why entries could not be looked up.
pub(crate) enum LookUpError {
    Lun(LunError),
    Page(PageError),
}

impl Lun for StoreLun {
    fn id(&self) -> LunId {
        self.id
    }

    fn block_count(&self) -> BlockCount {
        self.length()
    }

    fn atomic_blocks(&self) -> BlockCount {
        BlockCount(ATOMIC_BYTES_MAX / LOGICAL_LEN)
    }

    fn space(&self) -> SpaceLevel {
        self.shared.space_level()
    }

    fn usage(&self) -> Option<LunUsage> {
        let state = self.shared.state.lock();
        let mapped_blocks = self.entry(&state).map_or(0, |lun| lun.mapped_blocks);
        let bytes = |blocks: u64| blocks * BLOCK_LEN;
        Some(LunUsage {
            mapped_bytes: bytes(mapped_blocks),
            available_bytes: bytes(state.available_blocks()),
            low_bytes: bytes(state.limits.low_blocks),
        })
    }

    async fn extent(&self, at: Lba, count: BlockCount) -> Result<Extent, LunError> {
        let _request = self.shared.requests.begin();
        let bytes = self.checked(at, count)?;
        let this = self.clone();
        blocking(move || this.extent_blocking(&bytes)).await
    }

    async fn read(&self, at: Lba, count: BlockCount) -> Result<Bytes, LunError> {
        let _request = self.shared.requests.begin();
        let bytes = self.checked(at, count)?;
        if let Some(content) = self.read_at_once(&bytes).await {
            return Ok(content);
        }
        let this = self.clone();
        blocking(move || this.read_blocking(&bytes)).await
    }

    fn read_now(&self, at: Lba, count: BlockCount) -> Option<Bytes> {
        let _request = self.shared.requests.begin();
        self.read_in_memory(&self.checked(at, count).ok()?)
    }

    async fn read_medium(&self, at: Lba, count: BlockCount) -> Result<Bytes, LunError> {
        let _request = self.shared.requests.begin();
        let bytes = self.checked(at, count)?;
        let this = self.clone();
        blocking(move || this.read_blocking(&bytes)).await
    }

    async fn write(&self, at: Lba, data: Bytes) -> Result<(), LunError> {
        let _request = self.shared.requests.begin();
        let count = BlockCount::from_bytes(number(data.len()));
        let count = count.ok_or(LunError::NotWholeBlocks { byte_len: data.len() })?;
        let bytes = self.checked(at, count)?;
        if self.write_at_once(&bytes, &data) {
            let starter = Arc::clone(self.shared.starter());
            tokio::spawn(async move { starter.submit() });
            return Ok(());
        }
        self.write_bytes(bytes, data).await
    }

    fn write_now(&self, at: Lba, data: Bytes) -> Result<(), Bytes> {
        let _request = self.shared.requests.begin();
        let bytes = BlockCount::from_bytes(number(data.len())).and_then(|count| self.checked(at, count).ok());
        let is_written = bytes.is_some_and(|bytes| self.write_at_once(&bytes, &data));
        if !is_written {
            return Err(data);
        }
        leave_undone(self.shared.starter());
        Ok(())
    }

    async fn flush(&self) -> Result<(), LunError> {
        let _request = self.shared.requests.begin();
        let sequence = {
            let mut state = self.shared.state.lock();
            self.entry(&state)?;
            if state.poisoned {
                return Err(LunError::Poisoned);
            }
            self.shared.want_durable(&mut state)
        };
        self.shared.durable(sequence).await.map_err(refused)
    }

    async fn discard(&self, at: Lba, count: BlockCount) -> Result<(), LunError> {
        let _request = self.shared.requests.begin();
        // Again if the LUN has got another length meanwhile.
        while !self.discard_as_long(at, count, self.length()).await? {}
        Ok(())
    }

    async fn wipe_unused(&self) -> Result<(), LunError> {
        let _request = self.shared.requests.begin();
        wiping::run(&self.shared).await
    }

    async fn pin(&self) -> Result<Option<LunHandle>, LunError> {
        let pinned = PinnedLun::of(self).await?;
        Ok(pinned.map(LunHandle::new))
    }

    async fn share(&self, at: Lba, from: &LunHandle, from_at: Lba, count: BlockCount) -> Result<BlockCount, LunError> {
        let _request = self.shared.requests.begin();
        self.share_from(at, from, from_at, count).await
    }

    async fn compare(&self, at: Lba, count: BlockCount, base: &LunHandle) -> Result<Comparison, LunError> {
        let _request = self.shared.requests.begin();
        self.compare_with(at, count, base).await
    }
}

fn refused(refusal: Refusal) -> LunError {
    match refusal {
        Refusal::Poisoned => LunError::Poisoned,
        Refusal::MediumFull => LunError::OutOfSpace,
    }
}

/// Runs what may wait for the medium where that harms nobody.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, LunError> + Send + 'static,
) -> Result<T, LunError> {
    tokio::task::spawn_blocking(work).await.map_err(|error| LunError::Io(io::Error::other(error)))?
}

fn number(length: usize) -> u64 {
    u64::try_from(length).expect("lengths in memory have 64 bits")
}
