//! Many transfers at once through `io_uring`.
//!
//! A caller takes a ring, gives all its transfers to the kernel with one call, and waits until all have ended. So a thread that has
//! many blocks to read or write keeps the device as busy as many threads would. No buffer is known to the kernel when a call returns.

#![expect(unsafe_code, reason = "the kernel is given memory that it fills while it is borrowed")]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;
use std::sync::atomic::{AtomicUsize, Ordering};

use io_uring::{IoUring, opcode, squeue, types};
use parking_lot::Mutex;
use rustix::io::Errno;

use super::{ReadPart, WritePart, transfer};

/// How many transfers a ring has under way.
const ENTRIES: u32 = 128;
/// With so many callers at once, further ones do without a ring: the device is busy enough.
const RINGS_MAX: usize = 32;

/// Rings that nobody uses at the moment.
pub(super) struct Rings {
    idle: Mutex<Vec<IoUring>>,
    made: AtomicUsize,
}

/// What became of a transfer in a ring. `None` if it never began.
type Outcome = Option<i32>;

/// Something that moves between memory and a file.
trait Part {
    /// The request, which refers to the part's memory.
    fn request(&mut self, fd: types::Fd) -> squeue::Entry;

    /// Goes on with plain calls from `done` bytes on.
    fn finish(&mut self, file: &File, done: usize, unit: usize) -> io::Result<()>;

    fn len(&self) -> usize;
}

impl Part for ReadPart<'_> {
    fn request(&mut self, fd: types::Fd) -> squeue::Entry {
        opcode::Read::new(fd, self.buffer.as_mut_ptr(), request_len(self.buffer.len()))
            .offset(self.offset_bytes)
            .build()
    }

    fn finish(&mut self, file: &File, done: usize, unit: usize) -> io::Result<()> {
        transfer::read(file, self.offset_bytes, self.buffer, done, unit)
    }

    fn len(&self) -> usize {
        self.buffer.len()
    }
}

impl Part for WritePart<'_> {
    fn request(&mut self, fd: types::Fd) -> squeue::Entry {
        opcode::Write::new(fd, self.data.as_ptr(), request_len(self.data.len())).offset(self.offset_bytes).build()
    }

    fn finish(&mut self, file: &File, done: usize, unit: usize) -> io::Result<()> {
        transfer::write(file, self.offset_bytes, self.data, done, unit)
    }

    fn len(&self) -> usize {
        self.data.len()
    }
}

/// A longer part is moved in several requests, as one that was cut short.
fn request_len(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(1 << 30)
}

impl Rings {
    /// Makes the first ring.
    ///
    /// # Errors
    /// If the kernel has no rings, or does not let this process have any.
    pub(super) fn new() -> io::Result<Self> {
        let ring = make()?;
        let mut probe = io_uring::Probe::new();
        ring.submitter().register_probe(&mut probe)?;
        if !probe.is_supported(opcode::Read::CODE) || !probe.is_supported(opcode::Write::CODE) {
            return Err(io::ErrorKind::Unsupported.into());
        }
        Ok(Self { idle: Mutex::new(vec![ring]), made: AtomicUsize::new(1) })
    }

    pub(super) fn read(&self, file: &File, parts: &mut [ReadPart<'_>], unit: usize) -> io::Result<()> {
        self.run(file, parts, unit)
    }

    pub(super) fn write(&self, file: &File, parts: &[WritePart<'_>], unit: usize) -> io::Result<()> {
        self.run(file, &mut parts.to_vec(), unit)
    }

    fn run<P: Part>(&self, file: &File, parts: &mut [P], unit: usize) -> io::Result<()> {
        let mut first_error = None;
        for parts in parts.chunks_mut(ENTRIES as usize) {
            let outcomes = self.run_in_ring(file, parts);
            for (part, outcome) in parts.iter_mut().zip(outcomes) {
                if let Err(error) = conclude(part, outcome, file, unit) {
                    first_error.get_or_insert(error);
                }
            }
        }
        first_error.map_or(Ok(()), Err)
    }

    fn run_in_ring<P: Part>(&self, file: &File, parts: &mut [P]) -> Vec<Outcome> {
        let Some(mut ring) = self.take() else { return vec![None; parts.len()] };
        let (outcomes, is_sound) = submit(&mut ring, file, parts);
        if is_sound {
            self.idle.lock().push(ring);
        } else {
            // What it has not submitted must never be.
            drop(ring);
            self.made.fetch_sub(1, Ordering::Relaxed);
        }
        outcomes
    }

    fn take(&self) -> Option<IoUring> {
        if let Some(ring) = self.idle.lock().pop() {
            return Some(ring);
        }
        let one_more = |made: usize| (made < RINGS_MAX).then_some(made + 1);
        self.made.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).ok()?;
        let ring = make();
        if ring.is_err() {
            self.made.fetch_sub(1, Ordering::Relaxed);
        }
        ring.ok()
    }
}

fn make() -> io::Result<IoUring> {
    IoUring::builder().dontfork().build(ENTRIES)
}

/// Submits all parts and waits until all that was submitted has ended. False if the ring has something left that was not.
fn submit<P: Part>(ring: &mut IoUring, file: &File, parts: &mut [P]) -> (Vec<Outcome>, bool) {
    let mut outcomes = vec![None; parts.len()];
    let (mut pushed, mut submitted, mut ended, mut is_sound) = (0, 0, 0, true);
    for (number, part) in (0..).zip(parts.iter_mut()) {
        let request = part.request(types::Fd(file.as_raw_fd())).user_data(number);
        let mut queue = ring.submission();
        // SAFETY: the memory that the request refers to is borrowed by `parts`, and the file by `file`, until this function returns.
        // Below, it waits for the end of whatever was submitted, and the caller drops a ring that has something left.
        let queued = unsafe { queue.push(&request) };
        if queued.is_err() {
            break;
        }
        pushed += 1;
    }
    while ended < if is_sound { pushed } else { submitted } {
        let wanted = if is_sound { pushed } else { submitted } - ended;
        match ring.submit_and_wait(wanted) {
            Ok(count) => submitted += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => {
                is_sound = false;
                std::thread::yield_now();
            }
        }
        for entry in ring.completion() {
            let number = usize::try_from(entry.user_data()).unwrap_or(usize::MAX);
            if let Some(outcome) = outcomes.get_mut(number) {
                *outcome = Some(entry.result());
            }
            ended += 1;
        }
    }
    (outcomes, is_sound && submitted == pushed)
}

/// Takes a transfer to its end.
fn conclude<P: Part>(part: &mut P, outcome: Outcome, file: &File, unit: usize) -> io::Result<()> {
    match outcome.map(u32::try_from) {
        Some(Ok(count)) => {
            let done = usize::try_from(count).unwrap_or(usize::MAX);
            if done >= part.len() { Ok(()) } else { part.finish(file, done, unit) }
        }
        Some(Err(_)) => {
            let code = outcome.unwrap_or(0).saturating_neg();
            let again = [Errno::AGAIN, Errno::INTR, Errno::CANCELED].iter().any(|errno| errno.raw_os_error() == code);
            if again { part.finish(file, 0, unit) } else { Err(io::Error::from_raw_os_error(code)) }
        }
        None => part.finish(file, 0, unit),
    }
}

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;

    use super::*;

    /// Rings, unless this machine has none.
    fn rings() -> Option<Rings> {
        Rings::new().inspect_err(print_once).ok()
    }

    #[expect(clippy::print_stderr, reason = "whoever runs the tests should know what they did not prove")]
    fn print_once(error: &io::Error) {
        eprintln!("this machine has no io_uring ({error}); its engine is not tested here");
    }

    #[test]
    fn many_parts_come_and_go_at_once() {
        let Some(rings) = rings() else { return };
        let file = tempfile::tempfile().unwrap();
        let blocks: Vec<Vec<u8>> = (0..300_u64).map(|number| vec![number.to_le_bytes()[0]; 512]).collect();
        let offset = |number: usize| (number * 7 % 300 * 512) as u64;
        let parts = blocks.iter().enumerate().map(|(number, data)| WritePart { offset_bytes: offset(number), data });
        rings.write(&file, &parts.collect::<Vec<_>>(), 1).unwrap();
        let mut found = vec![vec![0; 512]; 300];
        let parts = found.iter_mut().enumerate();
        let parts = parts.map(|(number, buffer)| ReadPart { offset_bytes: offset(number), buffer });
        rings.read(&file, &mut parts.collect::<Vec<_>>(), 1).unwrap();
        assert_eq!(found, blocks);
        assert_eq!(rings.idle.lock().len(), 1, "one caller needs one ring");
    }

    #[test]
    fn short_transfers_are_gone_on_with() {
        let Some(rings) = rings() else { return };
        // The kernel hands this file out by a page or so at a time.
        let path = "/proc/kallsyms";
        let whole = std::fs::read(path).unwrap();
        let file = File::open(path).unwrap();
        let len = whole.len().min(1 << 16);
        let mut found = vec![0; len];
        let (first, second) = found.split_at_mut(len / 2);
        let mut parts =
            [ReadPart { offset_bytes: 0, buffer: first }, ReadPart { offset_bytes: (len / 2) as u64, buffer: second }];
        rings.read(&file, &mut parts, 1).unwrap();
        assert!(found == whole[..len]);
    }

    #[test]
    fn the_first_error_is_passed_on_and_the_rest_is_done() {
        let Some(rings) = rings() else { return };
        let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let error = rings.write(&full, &[WritePart { offset_bytes: 0, data: &[1; 512] }; 3], 1).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        // Nothing is mapped at address 0.
        let memory = File::open("/proc/self/mem").unwrap();
        let mut bytes = [0; 16];
        let error = rings.read(&memory, &mut [ReadPart { offset_bytes: 0, buffer: &mut bytes }], 1).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(Errno::IO.raw_os_error()));
        let file = tempfile::tempfile().unwrap();
        file.set_len(1024).unwrap();
        let (mut good, mut beyond) = ([9; 512], [9; 1024]);
        let mut parts =
            [ReadPart { offset_bytes: 512, buffer: &mut beyond }, ReadPart { offset_bytes: 512, buffer: &mut good }];
        assert_eq!(rings.read(&file, &mut parts, 1).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        assert_eq!(good, [0; 512]);
    }

    #[test]
    fn without_a_ring_plain_calls_do() {
        let Some(rings) = rings() else { return };
        let taken: Vec<IoUring> = std::iter::from_fn(|| rings.take()).collect();
        assert!(taken.len() <= RINGS_MAX);
        let file = tempfile::tempfile().unwrap();
        rings
            .write(
                &file,
                &[WritePart { offset_bytes: 0, data: &[3; 512] }, WritePart { offset_bytes: 512, data: &[4; 512] }],
                1,
            )
            .unwrap();
        let mut found = [0; 1024];
        rings.read(&file, &mut [ReadPart { offset_bytes: 0, buffer: &mut found }], 1).unwrap();
        assert!(found[..512] == [3; 512] && found[512..] == [4; 512]);
    }
}
