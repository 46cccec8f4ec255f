//! The write-ahead log: records are gathered into batches, each of which is written and synced as a whole.

use std::collections::VecDeque;
use std::sync::Arc;

use lunshadow_lun::AlignedBuffer;
use zerocopy::little_endian::{U32, U64, U128};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::geometry::Geometry;
use crate::page::{BLOCK_BYTES, BLOCK_LEN, index};
use crate::record::Record;
use crate::tail::Stream;

const MAGIC: [u8; 8] = *b"LUNSHLOG";
const BATCH_PAYLOAD_MAX: usize = 1 << 20;

/// What a batch begins with. `head_crc` covers all fields before it.
#[derive(Debug, Clone, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub(crate) struct BatchHead {
    magic: [u8; 8],
    pool_id: U128,
    epoch: U64,
    pub(crate) sequence: U64,
    pub(crate) position: U64,
    /// The generation of a checkpoint that was durable when the batch was made.
    pub(crate) generation: U64,
    payload_bytes: U32,
    payload_crc: U32,
    reserved: U32,
    head_crc: U32,
}

/// The length of a [`BatchHead`] in bytes.
pub(crate) const HEAD_BYTES: usize = size_of::<BatchHead>();
const _: () = assert!(HEAD_BYTES == 72);
const HEAD_CRC_AT: usize = HEAD_BYTES - 4;

impl BatchHead {
    /// The head of a batch that `block` begins with, if it is one of this pool.
    pub(crate) fn parse(block: &[u8], pool_id: u128) -> Option<Self> {
        let head = Self::read_from_prefix(block).ok()?.0;
        let whole = head.magic == MAGIC
            && head.pool_id.get() == pool_id
            && head.head_crc.get() == crc32c::crc32c(&block[..HEAD_CRC_AT]);
        whole.then_some(head)
    }

    /// Whether this is the batch that is expected at a place of the log of `geometry`.
    pub(crate) fn is_next(&self, place: &LogPlace, geometry: &Geometry) -> bool {
        let (epoch, sequence, position) = (self.epoch.get(), self.sequence.get(), self.position.get());
        (epoch, sequence, position) == (place.epoch, place.sequence, place.position)
            && self.block_count() <= geometry.log_blocks()
    }

    /// Whether this batch was made after the one that belongs to a place.
    pub(crate) fn follows(&self, place: &LogPlace) -> bool {
        self.epoch.get() == place.epoch && self.sequence.get() > place.sequence
    }

    pub(crate) fn payload_len(&self) -> usize {
        index(u64::from(self.payload_bytes.get()))
    }

    /// The length of the whole batch in blocks of the log.
    pub(crate) fn block_count(&self) -> u64 {
        (u64::from(self.payload_bytes.get()) + 72).div_ceil(BLOCK_LEN)
    }

    pub(crate) fn payload_matches(&self, payload: &[u8]) -> bool {
        crc32c::crc32c(payload) == self.payload_crc.get()
    }
}

/// Where the next batch belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LogPlace {
    pub(crate) epoch: u64,
    pub(crate) sequence: u64,
    pub(crate) position: u64,
}

impl LogPlace {
    /// Where the batch behind one belongs.
    pub(crate) fn behind(self, head: &BatchHead) -> Self {
        let (sequence, position) = (head.sequence.get() + 1, head.position.get() + head.block_count());
        Self { epoch: self.epoch, sequence, position }
    }
}

/// The bytes of a batch that belongs to a place, in whole blocks.
pub(crate) fn batch_of(
    pool_id: u128,
    place: LogPlace,
    durable_generation: u64,
    payload: &[u8],
) -> (BatchHead, AlignedBuffer) {
    let mut head = BatchHead {
        magic: MAGIC,
        pool_id: pool_id.into(),
        epoch: place.epoch.into(),
        sequence: place.sequence.into(),
        position: place.position.into(),
        generation: durable_generation.into(),
        payload_bytes: u32::try_from(payload.len()).expect("batches are short").into(),
        payload_crc: crc32c::crc32c(payload).into(),
        reserved: 0.into(),
        head_crc: 0.into(),
    };
    head.head_crc = crc32c::crc32c(&head.as_bytes()[..HEAD_CRC_AT]).into();
    let end = HEAD_BYTES + payload.len();
    let mut bytes = AlignedBuffer::of_len(end.next_multiple_of(BLOCK_BYTES));
    bytes[..HEAD_BYTES].copy_from_slice(head.as_bytes());
    bytes[HEAD_BYTES..end].copy_from_slice(payload);
    bytes[end..].fill(0);
    (head, bytes)
}

/// A batch that is to be written.
pub(crate) struct Batch {
    pub(crate) sequence: u64,
    pub(crate) position: u64,
    /// Whole blocks.
    pub(crate) bytes: AlignedBuffer,
}

/// The log's state in memory.
pub(crate) struct Log {
    pool_id: u128,
    capacity_blocks: u64,
    next: LogPlace,
    /// The position of the oldest batch that recovery could need.
    tail_position: u64,
    durable_generation: u64,
    /// Records that no batch has yet.
    pending: Vec<u8>,
    /// Where what is not durable outlives the process.
    tail: Option<Stream>,
    queue: VecDeque<Arc<Batch>>,
    queued_bytes: usize,
    durable_sequence: u64,
    wanted_sequence: u64,
}

impl Log {
    /// A log whose next batch belongs to `next`, and which holds nothing that is needed.
    pub(crate) fn new(pool_id: u128, geometry: &Geometry, next: LogPlace) -> Self {
        Self {
            pool_id,
            capacity_blocks: geometry.log_blocks(),
            next,
            tail_position: next.position,
            durable_generation: 0,
            pending: Vec::new(),
            tail: None,
            queue: VecDeque::new(),
            queued_bytes: 0,
            durable_sequence: next.sequence - 1,
            wanted_sequence: 0,
        }
    }

    /// Adds a record. True if a batch became full, which the writer of batches should be told.
    pub(crate) fn append(&mut self, record: &Record) -> bool {
        self.add(record);
        self.seal_if_full()
    }

    /// Adds one of several records that are to be durable together: no batch ends until [`seal_if_full`](Self::seal_if_full), as long as the pool's
    /// lock is held.
    pub(crate) fn add(&mut self, record: &Record) {
        let before = self.pending.len();
        record.encode(&mut self.pending);
        if let Some(tail) = &mut self.tail {
            tail.add(&self.pending[before..]);
        }
    }

    /// Makes a batch of what was added if that is enough for one. True if it was, which the writer of batches should be told.
    pub(crate) fn seal_if_full(&mut self) -> bool {
        if let Some(tail) = &mut self.tail {
            tail.publish();
        }
        let full = self.pending.len() >= self.payload_max();
        if full {
            self.seal();
        }
        full
    }

    fn payload_max(&self) -> usize {
        BATCH_PAYLOAD_MAX.min(index(self.capacity_blocks * BLOCK_LEN / 8))
    }

    /// Asks for everything that was added until now to be made durable: the sequence number to wait for.
    pub(crate) fn want_all(&mut self) -> u64 {
        let sequence = if self.pending.is_empty() { self.next.sequence - 1 } else { self.next.sequence };
        self.wanted_sequence = self.wanted_sequence.max(sequence);
        sequence
    }

    /// Makes a batch of the pending records.
    pub(crate) fn seal(&mut self) {
        if self.pending.is_empty() {
            return;
        }
        let payload = std::mem::take(&mut self.pending);
        let (head, bytes) = batch_of(self.pool_id, self.next, self.durable_generation, &payload);
        self.queued_bytes += bytes.len();
        let LogPlace { sequence, position, .. } = self.next;
        self.queue.push_back(Arc::new(Batch { sequence, position, bytes }));
        self.next = self.next.behind(&head);
        if let Some(tail) = &mut self.tail {
            tail.sealed(sequence);
        }
    }

    /// The batch to be written next, made now if somebody waits for it.
    pub(crate) fn front(&mut self) -> Option<Arc<Batch>> {
        if self.queue.is_empty() && self.wanted_sequence >= self.next.sequence {
            self.seal();
        }
        self.queue.front().cloned()
    }

    /// Whether the ring has room for the batch.
    pub(crate) fn has_room_for(&self, batch: &Batch) -> bool {
        let blocks = u64::try_from(batch.bytes.len()).unwrap_or(u64::MAX) / BLOCK_LEN;
        batch.position + blocks <= self.tail_position + self.capacity_blocks
    }

    /// Whether there is a batch that the ring has no room for.
    pub(crate) fn is_stalled(&self) -> bool {
        self.queue.front().is_some_and(|batch| !self.has_room_for(batch))
    }

    /// Whether a checkpoint should begin, so that the log does not fill up.
    pub(crate) fn is_filling(&self) -> bool {
        self.next.position - self.tail_position > self.capacity_blocks / 2
    }

    /// Whether writers should wait for the log: what waits to be written takes more memory than it should.
    pub(crate) fn is_behind(&self) -> bool {
        self.queued_bytes > 4 * self.payload_max()
    }

    /// A batch has been written and synced.
    pub(crate) fn written(&mut self, batch: &Batch) {
        self.durable_up_to(batch.sequence);
    }

    /// Where a checkpoint that begins now lets the log begin: behind everything that has happened.
    pub(crate) fn freeze(&mut self) -> LogPlace {
        self.seal();
        self.next
    }

    /// A checkpoint is durable: nothing before `start` is needed, written or not.
    pub(crate) fn thaw(&mut self, start: &LogPlace, generation: u64) {
        self.tail_position = start.position;
        self.durable_generation = generation;
        self.durable_up_to(start.sequence - 1);
    }

    fn durable_up_to(&mut self, sequence: u64) {
        self.durable_sequence = self.durable_sequence.max(sequence);
        if let Some(tail) = &mut self.tail {
            tail.durable(self.durable_sequence);
        }
        while self.queue.front().is_some_and(|batch| batch.sequence <= self.durable_sequence) {
            self.queued_bytes -= self.queue.pop_front().map_or(0, |batch| batch.bytes.len());
        }
    }

    /// All batches up to this one survive a crash.
    pub(crate) fn durable_sequence(&self) -> u64 {
        self.durable_sequence
    }

    /// Has what is not durable outlive the process from now on. There is nothing yet.
    pub(crate) fn outlive_in(&mut self, tail: Stream) {
        debug_assert!(self.pending.is_empty() && self.queue.is_empty(), "nothing is changed yet");
        self.tail = Some(tail);
    }

    /// Whether all that was added is durable.
    pub(crate) fn is_durable(&self) -> bool {
        self.pending.is_empty() && self.durable_sequence + 1 == self.next.sequence
    }

    /// Where the next batch belongs.
    pub(crate) const fn next(&self) -> LogPlace {
        self.next
    }

    /// Begins a new epoch: batches of earlier ones are none of this log any more.
    pub(crate) fn begin_epoch(&mut self, epoch: u64) {
        debug_assert!(self.pending.is_empty() && self.queue.is_empty(), "recovery logs nothing");
        self.next.epoch = epoch;
    }

    /// Goes behind a batch that recovery replayed.
    pub(crate) fn skip(&mut self, head: &BatchHead) {
        self.next = self.next.behind(head);
    }
}
