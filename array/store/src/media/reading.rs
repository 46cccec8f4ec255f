//! Reads that are under way without a thread each.
//!
//! Whoever reads gives the requests to the kernel and goes on; one thread waits for whatever ends, and tells. The memory belongs to this module
//! until then, so that nobody has to wait for a read that he is no longer interested in.

#![expect(unsafe_code, reason = "the kernel is given memory that it fills while this module owns it")]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;
use std::sync::Arc;
use std::thread::JoinHandle;

use io_uring::{IoUring, opcode, squeue, types};
use lunshadow_lun::{Submit, submit_later};
use parking_lot::Mutex;
use rustix::io::Errno;

use super::{Reading, transfer};

/// How many requests are under way at most. The kernel's queue of what has ended is twice as long, so it never overflows.
const ENTRIES: u32 = 1024;
/// The request that ends the thread.
const STOP: u64 = u64::MAX;

/// A ring for reads, and the thread that waits for them. Dropping it waits for all that are under way.
pub(super) struct ReadRing {
    inner: Arc<Inner>,
    waiter: Option<JoinHandle<()>>,
}

struct Inner {
    ring: IoUring,
    /// The file under a number of its own, which stays open as long as reads are under way.
    file: File,
    unit: usize,
    under_way: Mutex<UnderWay>,
    /// Held by whoever adds requests or passes them on, which takes the kernel longer than others should wait for `under_way`.
    adding: Mutex<()>,
}

/// Reads by slot. A request bears its slot, and which part of the read it is.
#[derive(Default)]
struct UnderWay {
    slots: Vec<Option<Slot>>,
    vacant: Vec<usize>,
    requests: usize,
}

struct Slot {
    reading: Reading,
    /// How many requests have not ended.
    left: usize,
    result: io::Result<()>,
}

impl ReadRing {
    /// Makes a ring and its thread.
    ///
    /// # Errors
    /// If the kernel has no rings, or does not let this process have any.
    pub(super) fn new(file: &File, unit: usize) -> io::Result<Self> {
        let ring = IoUring::builder().dontfork().build(ENTRIES)?;
        let inner = Arc::new(Inner {
            ring,
            file: file.try_clone()?,
            unit,
            under_way: Mutex::default(),
            adding: Mutex::default(),
        });
        let waited = Arc::clone(&inner);
        let waiter = std::thread::Builder::new().name("store-reads".to_owned()).spawn(move || waited.wait())?;
        Ok(Self { inner, waiter: Some(waiter) })
    }

    /// Begins a read, at the end of [`together`](lunshadow_lun::together) if there is one. It is given back if there are too many.
    pub(super) fn begin(&self, reading: Reading) -> Result<(), Reading> {
        self.inner.add(reading)?;
        if !submit_later(&self.inner) {
            self.inner.submit();
        }
        Ok(())
    }
}

impl Drop for ReadRing {
    fn drop(&mut self) {
        let stop = opcode::Nop::new().build().user_data(STOP);
        {
            let _adding = self.inner.adding.lock();
            // SAFETY: the lock is held, so this is the only queue of submissions.
            let mut queue = unsafe { self.inner.ring.submission_shared() };
            // SAFETY: the request refers to no memory. There is room for it, since all others leave one place.
            let pushed = unsafe { queue.push(&stop) };
            debug_assert!(pushed.is_ok(), "one place is left to it");
        }
        self.inner.submit();
        if let Some(waiter) = self.waiter.take() {
            // It panics only if one who was told did.
            drop(waiter.join());
        }
    }
}

impl Submit for Inner {
    /// Lets the kernel take what is queued.
    fn submit(&self) {
        let _adding = self.adding.lock();
        while let Err(error) = self.ring.submit() {
            match error.raw_os_error().map(Errno::from_raw_os_error) {
                Some(Errno::INTR | Errno::AGAIN | Errno::BUSY) => std::thread::yield_now(),
                _ => {
                    // The waiter submits what is left with its own next call.
                    tracing::error!(%error, "the kernel takes no reads");
                    return;
                }
            }
        }
    }
}

impl Inner {
    /// Queues the requests of a read.
    fn add(&self, reading: Reading) -> Result<(), Reading> {
        let requests = self.enter(reading)?;
        let _adding = self.adding.lock();
        // SAFETY: the lock is held, so this is the only queue of submissions.
        let mut queue = unsafe { self.ring.submission_shared() };
        // SAFETY: the memory belongs to the slot, which nobody looks at before all its requests have ended, and which is not
        // dropped before either, since dropping the ring waits for them.
        let pushed = unsafe { queue.push_multiple(&requests) };
        debug_assert!(pushed.is_ok(), "no more are under way than there is room for");
        Ok(())
    }

    /// Gives a read a slot; its requests.
    fn enter(&self, mut reading: Reading) -> Result<Vec<squeue::Entry>, Reading> {
        let mut under_way = self.under_way.lock();
        let count = reading.parts.len();
        let most = usize::try_from(ENTRIES).unwrap_or(usize::MAX) - 1;
        if count == 0 || under_way.requests + count > most {
            return Err(reading);
        }
        let slot = under_way.vacant.pop().unwrap_or(under_way.slots.len());
        if slot == under_way.slots.len() {
            under_way.slots.push(None);
        }
        let fd = types::Fd(self.file.as_raw_fd());
        let requests = (0..)
            .zip(&reading.parts)
            .map(|(number, (offset_bytes, range))| {
                let memory = &mut reading.buffer[range.clone()];
                let len = u32::try_from(memory.len()).unwrap_or(1 << 30);
                let request = opcode::Read::new(fd, memory.as_mut_ptr(), len).offset(*offset_bytes).build();
                request.user_data(user_data_of(slot, number))
            })
            .collect();
        under_way.requests += count;
        under_way.slots[slot] = Some(Slot { reading, left: count, result: Ok(()) });
        Ok(requests)
    }

    /// Waits for ends and tells of them, until it is told to stop and nothing is under way.
    fn wait(&self) {
        let mut is_stopping = false;
        loop {
            // SAFETY: this thread is the only one that looks at what has ended.
            let ended: Vec<_> = unsafe { self.ring.completion_shared() }.collect();
            let is_idle = ended.is_empty();
            for entry in ended {
                if entry.user_data() == STOP {
                    is_stopping = true;
                } else {
                    self.conclude(entry.user_data(), entry.result());
                }
            }
            if is_stopping && self.under_way.lock().requests == 0 {
                return;
            }
            if is_idle && self.ring.submit_and_wait(1).is_err() {
                // Interrupted, or out of memory for the moment.
                std::thread::yield_now();
            }
        }
    }

    /// A request has ended.
    fn conclude(&self, user_data: u64, outcome: i32) {
        let (at, number) = slot_of(user_data);
        let ended = {
            let mut under_way = self.under_way.lock();
            under_way.requests -= 1;
            let Some(slot) = under_way.slots.get_mut(at).and_then(Option::as_mut) else { return };
            slot.left -= 1;
            if let Err(error) = self.finish(&mut slot.reading, number, outcome) {
                slot.result = Err(error);
            }
            if slot.left > 0 {
                return;
            }
            under_way.vacant.push(at);
            under_way.slots[at].take()
        };
        if let Some(Slot { reading: Reading { buffer, done, .. }, result, .. }) = ended {
            done(result.map(|()| buffer));
        }
    }

    /// Goes on with plain calls where the kernel has stopped half-way.
    fn finish(&self, reading: &mut Reading, number: usize, outcome: i32) -> io::Result<()> {
        let (offset_bytes, range) = reading.parts[number].clone();
        let memory = &mut reading.buffer[range];
        match u32::try_from(outcome) {
            Ok(count) => {
                let count = usize::try_from(count).unwrap_or(usize::MAX);
                transfer::read(&self.file, offset_bytes, memory, count, self.unit)
            }
            Err(_) => {
                let error = Errno::from_raw_os_error(outcome.saturating_neg());
                match error {
                    Errno::AGAIN | Errno::INTR | Errno::CANCELED => {
                        transfer::read(&self.file, offset_bytes, memory, 0, self.unit)
                    }
                    _ => Err(error.into()),
                }
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
    use std::os::unix::fs::FileExt as _;
    use std::sync::mpsc;

    use lunshadow_lun::AlignedBuffer;

    use super::*;

    /// A ring on a file, unless this machine has none.
    #[expect(clippy::print_stderr, reason = "whoever runs the tests should know what they did not prove")]
    fn ring(file: &File) -> Option<ReadRing> {
        ReadRing::new(file, 1)
            .inspect_err(|error| eprintln!("this machine has no io_uring ({error}); it is not tested"))
            .ok()
    }

    type Told = mpsc::Receiver<io::Result<AlignedBuffer>>;

    fn reading(parts: Vec<(u64, std::ops::Range<usize>)>, len: usize) -> (Reading, Told) {
        let (tell, told) = mpsc::channel();
        let done = Box::new(move |result| drop(tell.send(result)));
        (Reading { parts, buffer: AlignedBuffer::zeroed(len), done }, told)
    }

    #[test]
    fn parts_come_together() {
        let file = tempfile::tempfile().unwrap();
        let content: Vec<u8> = (0..64_u8).flat_map(|number| [number; 512]).collect();
        file.write_all_at(&content, 0).unwrap();
        let Some(ring) = ring(&file) else { return };
        let told: Vec<Told> = (0..50)
            .map(|_| {
                let (reading, told) = reading(vec![(512 * 9, 512..1024), (512 * 63, 0..512), (0, 1024..2048)], 2048);
                assert!(ring.begin(reading).is_ok());
                told
            })
            .collect();
        for told in told {
            let buffer = told.recv().unwrap().unwrap();
            assert!(buffer[..512] == [63; 512] && buffer[512..1024] == [9; 512]);
            assert!(buffer[1024..1536] == [0; 512] && buffer[1536..] == [1; 512]);
        }
    }

    #[test]
    fn errors_are_told_and_the_ring_goes_on() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(1024).unwrap();
        let Some(ring) = ring(&file) else { return };
        let (beyond, told) = reading(vec![(512, 0..512), (512, 512..2048)], 2048);
        assert!(ring.begin(beyond).is_ok());
        assert_eq!(told.recv().unwrap().unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        let (good, told) = reading(vec![(512, 0..512)], 512);
        assert!(ring.begin(good).is_ok());
        assert_eq!(*told.recv().unwrap().unwrap(), [0; 512]);
    }

    #[test]
    fn too_many_are_given_back_and_dropping_waits_for_the_rest() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(1 << 20).unwrap();
        let Some(ring) = ring(&file) else { return };
        let (reading_of_all, _told) = reading(vec![(0, 0..1); 1024], 1);
        let given_back = ring.begin(reading_of_all).unwrap_err();
        assert_eq!(given_back.parts.len(), 1024);
        let told: Vec<Told> = (0..100)
            .map(|number| {
                let (reading, told) = reading(vec![(number * 512, 0..512)], 512);
                assert!(ring.begin(reading).is_ok());
                told
            })
            .collect();
        drop(ring);
        assert!(told.iter().all(|told| told.try_recv().is_ok_and(|result| result.is_ok())), "all were told before");
    }
}
