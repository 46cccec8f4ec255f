//! The records that no durable batch of the log has, as one stream of bytes in a ring.

use std::fs::File;
use std::io;

use crc32c::crc32c;
use zerocopy::little_endian::U32;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::Opening;
use crate::media::SharedMemory;
use crate::page::index;

const MAGIC: [u8; 8] = *b"LUNSTAIL";

// Words of the first page, behind those of the opening. The stream's places grow for ever; they are modulo the ring's length in it.

/// The sequence number of the last batch that is durable. The stream begins where that one ended.
const DURABLE_WORD: usize = 4;
/// Where the stream ends.
const END_WORD: usize = 5;
/// Pairs of words: a batch's sequence number, and where it ends in the stream.
const ENDS_WORD: usize = 16;
/// How many of the last batches are known. More than that are never sealed before the first of them is durable.
const ENDS: u64 = 64;

const RING_AT: usize = 4096;
/// More than what waits to be durable: some batches and what is to be the next one.
const RING_BYTES: u64 = 8 << 20;

/// What is before each record.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
struct Frame {
    len: U32,
    crc: U32,
}

const FRAME_BYTES: usize = size_of::<Frame>();
const _: () = assert!(FRAME_BYTES == 8);

/// How much of the file it takes.
pub(super) const LEN_BYTES: u64 = 4096 + RING_BYTES;

/// See the module.
pub(crate) struct Stream {
    memory: SharedMemory,
    begin: u64,
    written: u64,
    durable: u64,
    /// There was no room for something. What comes behind it is of no use without it.
    has_gap: bool,
}

/// What is left of a stream.
pub(super) struct Remains {
    pub(super) opening: Opening,
    /// By the sequence numbers of the batches that they are, or would have become; the numbers have no gap.
    pub(super) batches: Vec<(u64, Vec<u8>)>,
}

fn map(file: &File) -> io::Result<SharedMemory> {
    SharedMemory::of(file, 0, index(LEN_BYTES))
}

fn end_words(sequence: u64) -> [usize; 2] {
    let first = ENDS_WORD + 2 * index(sequence % ENDS);
    [first, first + 1]
}

impl Stream {
    /// An empty one, in a file that holds nothing but zeros.
    pub(super) fn begin(file: &File, opening: Opening, next_sequence: u64) -> io::Result<Self> {
        let mut memory = map(file)?;
        let durable = next_sequence - 1;
        memory.publish(DURABLE_WORD, durable);
        let [sequence_word, _] = end_words(durable);
        memory.publish(sequence_word, durable);
        opening.publish(&mut memory, MAGIC);
        Ok(Self { memory, begin: 0, written: 0, durable, has_gap: false })
    }

    /// Adds a record, which counts when it is [published](Self::publish).
    pub(crate) fn add(&mut self, record: &[u8]) {
        let frame =
            Frame { len: u32::try_from(record.len()).expect("records are short").into(), crc: crc32c(record).into() };
        let len = u64::try_from(FRAME_BYTES + record.len()).expect("lengths in memory have 64 bits");
        if !self.has_gap && self.written + len - self.begin > RING_BYTES {
            self.has_gap = true;
            tracing::warn!("what is not durable is not kept for the case that the program is killed: it is too much");
        }
        if self.has_gap {
            return;
        }
        self.write(frame.as_bytes());
        self.write(record);
    }

    fn write(&mut self, bytes: &[u8]) {
        let at = self.written % RING_BYTES;
        let until_end = index(RING_BYTES - at).min(bytes.len());
        self.memory.write(RING_AT + index(at), &bytes[..until_end]);
        self.memory.write(RING_AT, &bytes[until_end..]);
        self.written += u64::try_from(bytes.len()).expect("lengths in memory have 64 bits");
    }

    /// What was added counts.
    pub(crate) fn publish(&mut self) {
        if !self.has_gap {
            self.memory.publish(END_WORD, self.written);
        }
    }

    /// What was added until now and is in no batch is in this one.
    pub(crate) fn sealed(&mut self, sequence: u64) {
        if sequence - self.durable >= ENDS {
            self.has_gap = true;
        }
        if self.has_gap {
            return;
        }
        let [sequence_word, end_word] = end_words(sequence);
        // A number with the wrong end would do harm; one that is not there does none.
        self.memory.publish(sequence_word, 0);
        self.memory.publish(end_word, self.written);
        self.memory.publish(sequence_word, sequence);
    }

    /// All batches up to this one are durable, and so need not be kept.
    pub(crate) fn durable(&mut self, sequence: u64) {
        let [sequence_word, end_word] = end_words(sequence);
        if sequence <= self.durable || self.memory.word(sequence_word) != sequence {
            return;
        }
        self.memory.publish(DURABLE_WORD, sequence);
        (self.durable, self.begin) = (sequence, self.memory.word(end_word));
    }
}

/// What a file has that somebody else has left. `None` if that is nothing that can be understood.
pub(super) fn remains(file: &File) -> io::Result<Option<Remains>> {
    if file.metadata()?.len() < LEN_BYTES {
        return Ok(None);
    }
    Ok(read(&map(file)?))
}

fn read(memory: &SharedMemory) -> Option<Remains> {
    let opening = Opening::of(memory, MAGIC)?;
    let end_of = |sequence| {
        let [sequence_word, end_word] = end_words(sequence);
        (memory.word(sequence_word) == sequence).then(|| memory.word(end_word))
    };
    let durable = memory.word(DURABLE_WORD);
    let (mut begin, end) = (end_of(durable)?, memory.word(END_WORD));
    let is_part = |begin: u64, end: u64| begin <= end && end - begin <= RING_BYTES;
    if !is_part(begin, end) {
        return None;
    }
    let mut batches = Vec::new();
    let mut sequence = durable.checked_add(1)?;
    while let Some(batch_end) = end_of(sequence).filter(|batch_end| is_part(begin, *batch_end) && *batch_end <= end) {
        batches.push((sequence, records_in(&part(memory, begin, batch_end))));
        begin = batch_end;
        sequence = sequence.checked_add(1)?;
    }
    if begin < end {
        batches.push((sequence, records_in(&part(memory, begin, end))));
    }
    Some(Remains { opening, batches })
}

/// A part of the ring that is not longer than that.
fn part(memory: &SharedMemory, begin: u64, end: u64) -> Vec<u8> {
    let ring = &memory.bytes()[RING_AT..];
    let (at, len) = (index(begin % RING_BYTES), index(end - begin));
    let until_end = len.min(ring.len() - at);
    [&ring[at..at + until_end], &ring[..len - until_end]].concat()
}

/// The records, without what is before each, up to the first that is not as it was written.
fn records_in(mut bytes: &[u8]) -> Vec<u8> {
    let mut records = Vec::new();
    while let Ok((frame, rest)) = Frame::read_from_prefix(bytes) {
        let record = rest.split_at_checked(index(frame.len.get().into()));
        let Some((record, behind)) = record.filter(|(record, _)| crc32c(record) == frame.crc.get()) else { break };
        records.extend_from_slice(record);
        bytes = behind;
    }
    records
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPENING: Opening = Opening { pool_id: 5 << 100 | 7, epoch: 3 };

    fn file() -> File {
        let file = tempfile::tempfile().expect("a file");
        file.set_len(LEN_BYTES).expect("room");
        file
    }

    fn batches(file: &File) -> Vec<(u64, Vec<u8>)> {
        let remains = remains(file).expect("it can be read").expect("it is a stream");
        assert_eq!(remains.opening, OPENING);
        remains.batches
    }

    #[test]
    fn what_is_published_and_not_durable_is_left() {
        let file = file();
        assert!(remains(&file).expect("it can be read").is_none(), "zeros are nothing");
        let mut stream = Stream::begin(&file, OPENING, 10).expect("a stream");
        assert_eq!(batches(&file), []);
        stream.add(b"one");
        assert_eq!(batches(&file), [], "not published");
        stream.publish();
        stream.add(b"two");
        stream.publish();
        stream.sealed(10);
        stream.add(b"three");
        stream.publish();
        let [first, second] = [(10, b"onetwo".to_vec()), (11, b"three".to_vec())];
        assert_eq!(batches(&file), [first.clone(), second.clone()]);
        stream.durable(9);
        assert_eq!(batches(&file), [first, second.clone()]);
        stream.durable(10);
        assert_eq!(batches(&file), [second]);
        stream.sealed(11);
        stream.durable(11);
        assert_eq!(batches(&file), []);
    }

    #[test]
    fn the_ring_is_used_again_and_a_gap_ends_it() {
        let file = file();
        let mut stream = Stream::begin(&file, OPENING, 1).expect("a stream");
        let record = |number: u64| number.to_le_bytes().repeat(100_000);
        for number in 1..200 {
            stream.add(&record(number));
            stream.publish();
            stream.sealed(number);
            assert_eq!(batches(&file), [(number, record(number))]);
            stream.durable(number);
        }
        for number in 200..230 {
            stream.add(&record(number));
            stream.publish();
        }
        let [(200, left)] = &batches(&file)[..] else { panic!("one batch to be") };
        let room = 8 << 20;
        assert!(left.len() <= room && left.len() > room - 2 * 800_000, "{}", left.len());
        assert!(left.chunks(800_000).zip(200..).all(|(found, number)| *found == record(number)));
        stream.sealed(200);
        assert_eq!(batches(&file).len(), 1, "nothing counts behind a gap");
    }
}
