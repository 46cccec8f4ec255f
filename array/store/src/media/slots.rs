//! Transfers that are under way, with what the kernel needs to know of them.

#![expect(unsafe_code, reason = "the kernel is given memory that it uses while this module owns it")]

use std::fs::File;
use std::io::{self, IoSlice};
use std::ops::Range;
use std::os::fd::AsRawFd as _;

use io_uring::{opcode, squeue, types};
use rustix::io::Errno;
use smallvec::SmallVec;

use super::{Reading, Writing, transfer};

/// How many requests are under way at most. The kernel's queue of what has ended is twice as long, so it never overflows.
pub(super) const ENTRIES: u32 = 1024;

/// Something to be done. It is given back if there is too much already.
pub(super) enum Transfer {
    Reading(Reading),
    Writing(Writing),
}

/// Transfers by slot. A request bears its slot, and which part of the transfer it is.
pub(super) struct UnderWay {
    /// The file under a number of its own. It is closed at the end, whoever still watches.
    file: Option<File>,
    slots: Vec<Option<Slot>>,
    vacant: Vec<usize>,
    requests: usize,
}

pub(super) struct Slot {
    content: Content,
    /// How many requests have not ended.
    left: usize,
    result: io::Result<()>,
}

/// A transfer with what the kernel needs to know of it.
enum Content {
    Reading(Reading),
    Writing {
        /// Of neighbours, each written by one request.
        runs: Runs,
        /// One for each part, unless no part has a neighbour. They refer to the parts' data, and go before it.
        slices: Vec<IoSlice<'static>>,
        writing: Writing,
    },
}

type Runs = SmallVec<[Range<usize>; 1]>;

/// The requests of a transfer.
pub(super) type Requests = SmallVec<[squeue::Entry; 1]>;

impl UnderWay {
    pub(super) fn new(file: File) -> Self {
        Self { file: Some(file), slots: Vec::new(), vacant: Vec::new(), requests: 0 }
    }

    /// Whether the kernel has ended all requests.
    pub(super) fn is_empty(&self) -> bool {
        self.requests == 0
    }

    /// Lets go of the file. Nothing can be begun any more.
    pub(super) fn close(&mut self) {
        self.file = None;
    }

    /// A request has ended; the transfer, if that was its last one.
    pub(super) fn conclude(&mut self, user_data: u64, outcome: i32, unit: usize) -> Option<Slot> {
        let (at, number) = slot_of(user_data);
        self.requests -= 1;
        let slot = self.slots.get_mut(at).and_then(Option::as_mut)?;
        slot.left -= 1;
        let finished = match &self.file {
            Some(file) => slot.content.finish(file, number, outcome, unit),
            None => Err(io::ErrorKind::NotConnected.into()),
        };
        if let Err(error) = finished {
            slot.result = Err(error);
        }
        if slot.left > 0 {
            return None;
        }
        self.vacant.push(at);
        self.slots[at].take()
    }

    /// Gives a transfer a slot; its requests.
    pub(super) fn enter(&mut self, transfer: Transfer) -> Result<Requests, Transfer> {
        let most = usize::try_from(ENTRIES).unwrap_or(usize::MAX) - 1;
        let Some(file) = &self.file else { return Err(transfer) };
        let mut content = Content::of(transfer);
        let count = content.request_count();
        if count == 0 || self.requests + count > most {
            return Err(content.back());
        }
        let slot = self.vacant.pop().unwrap_or(self.slots.len());
        if slot == self.slots.len() {
            self.slots.push(None);
        }
        let requests = content.requests(types::Fd(file.as_raw_fd()), slot);
        self.requests += count;
        self.slots[slot] = Some(Slot { content, left: count, result: Ok(()) });
        Ok(requests)
    }
}

impl Slot {
    /// Tells what became of it.
    pub(super) fn tell(self) {
        let result = self.result;
        match self.content {
            Content::Reading(Reading { buffer, done, .. }) => done(result.map(|()| buffer)),
            Content::Writing { slices, writing: Writing { parts, done }, .. } => {
                // What refers to the data goes before it, and the data before whoever is told, who may count on having the last of it.
                drop(slices);
                drop(parts);
                done.tell(result);
            }
        }
    }
}

impl Content {
    fn of(transfer: Transfer) -> Self {
        let writing = match transfer {
            Transfer::Reading(reading) => return Self::Reading(reading),
            Transfer::Writing(writing) => writing,
        };
        let mut runs = Runs::new();
        for at in 0..writing.parts.len() {
            let is_neighbour = |before: usize| {
                let (offset_bytes, data) = &writing.parts[before];
                offset_bytes + u64::try_from(data.len()).unwrap_or(u64::MAX) == writing.parts[at].0
            };
            match runs.last_mut() {
                Some(run) if run.len() < transfer::GATHERED_MAX && is_neighbour(at - 1) => run.end = at + 1,
                _ => runs.push(at..at + 1),
            }
        }
        let slice = |data: &[u8]| {
            // SAFETY: the data belongs to the parts, which are kept with the slices, never change, and go after them.
            IoSlice::new(unsafe { std::slice::from_raw_parts(data.as_ptr(), data.len()) })
        };
        let has_neighbours = runs.len() < writing.parts.len();
        let slices = writing.parts.iter().filter(|_| has_neighbours).map(|(_, data)| slice(data)).collect();
        Self::Writing { runs, slices, writing }
    }

    fn back(self) -> Transfer {
        match self {
            Self::Reading(reading) => Transfer::Reading(reading),
            Self::Writing { writing, .. } => Transfer::Writing(writing),
        }
    }

    fn request_count(&self) -> usize {
        match self {
            Self::Reading(reading) => reading.parts.len(),
            Self::Writing { runs, .. } => runs.len(),
        }
    }

    /// The requests, which refer to memory that this holds wherever it is itself.
    fn requests(&mut self, fd: types::Fd, slot: usize) -> Requests {
        match self {
            Self::Reading(reading) => (0..)
                .zip(&reading.parts)
                .map(|(number, (offset_bytes, range))| {
                    let memory = &mut reading.buffer[range.clone()];
                    let len = u32::try_from(memory.len()).unwrap_or(1 << 30);
                    let request = opcode::Read::new(fd, memory.as_mut_ptr(), len).offset(*offset_bytes).build();
                    request.user_data(user_data_of(slot, number))
                })
                .collect(),
            Self::Writing { runs, slices, writing } => (0..)
                .zip(&*runs)
                .map(|(number, run)| {
                    if let Some((offset_bytes, data)) = writing.parts.get(run.start).filter(|_| run.len() == 1) {
                        let len = u32::try_from(data.len()).unwrap_or(1 << 30);
                        let request = opcode::Write::new(fd, data.as_ptr(), len).offset(*offset_bytes).build();
                        return request.user_data(user_data_of(slot, number));
                    }
                    let slices = &slices[run.clone()];
                    let count = u32::try_from(slices.len()).expect("a run is not long");
                    let offset_bytes = writing.parts[run.start].0;
                    // On this system, a slice for output is what the kernel takes as such.
                    let request = opcode::Writev::new(fd, slices.as_ptr().cast(), count).offset(offset_bytes).build();
                    request.user_data(user_data_of(slot, number))
                })
                .collect(),
        }
    }

    /// Goes on with plain calls where the kernel has stopped half-way.
    fn finish(&mut self, file: &File, number: usize, outcome: i32, unit: usize) -> io::Result<()> {
        let done = match u32::try_from(outcome) {
            Ok(count) => usize::try_from(count).unwrap_or(usize::MAX),
            Err(_) => match Errno::from_raw_os_error(outcome.saturating_neg()) {
                Errno::AGAIN | Errno::INTR | Errno::CANCELED => 0,
                error => return Err(error.into()),
            },
        };
        match self {
            Self::Reading(reading) => {
                let (offset_bytes, range) = reading.parts[number].clone();
                transfer::read(file, offset_bytes, &mut reading.buffer[range], done, unit)
            }
            Self::Writing { runs, writing, .. } => {
                let parts = writing.parts[runs[number].clone()].iter();
                transfer::write_rest(file, parts.map(|(offset_bytes, data)| (*offset_bytes, &**data)), done, unit)
            }
        }
    }
}

fn user_data_of(slot: usize, number: u32) -> u64 {
    let slot = u64::try_from(slot).expect("slots are no more than requests");
    slot << 32 | u64::from(number)
}

fn slot_of(user_data: u64) -> (usize, usize) {
    let part = |number: u64| usize::try_from(number).expect("it was one");
    (part(user_data >> 32), part(user_data & u64::from(u32::MAX)))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::media::OnWritten;

    #[test]
    fn neighbours_are_written_by_one_request_and_others_by_their_own() {
        let runs_of = |offsets: &[u64]| {
            let parts = offsets.iter().map(|offset| (*offset, Bytes::from_static(&[1; 512]))).collect();
            let done = OnWritten::Call(Box::new(drop));
            match Content::of(Transfer::Writing(Writing { parts, done })) {
                Content::Writing { runs, .. } => runs.to_vec(),
                Content::Reading(_) => panic!("it is a writing"),
            }
        };
        assert_eq!(runs_of(&[1536, 2048, 2560, 8192, 512, 1024]), [0..3, 3..4, 4..6]);
        let many: Vec<u64> = (0..1025).map(|number| number * 512).collect();
        assert_eq!(runs_of(&many), [0..1024, 1024..1025], "no more than the kernel takes in one request");
        assert!(runs_of(&[]).is_empty());
    }
}
