//! A medium in memory that keeps a trace of what was done to it, fails on demand, and hangs on demand.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

use lunshadow_store::{Media, OnWritten, Reading, Writing};
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};

pub(crate) const BLOCK: usize = 4096;
const SECTOR: usize = 512;
/// With so many blocks a lazy medium begins: fewer than a pool keeps until they are written.
const LAZY_BLOCKS_MAX: usize = 32;

/// The content of a medium. Cloning it is cheap.
#[derive(Clone, Default)]
pub(crate) struct Image {
    blocks: HashMap<u64, Arc<[u8; BLOCK]>>,
    len_bytes: u64,
}

/// What was done to a medium.
#[derive(Clone)]
pub(crate) enum Operation {
    /// A write, noted when it ended.
    Write { offset_bytes: u64, data: Arc<[u8]> },
    /// A sync, noted when it ended. It covers as many operations as had been noted when it began.
    Sync { covers: usize },
}

/// What an operation is about to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Attempt {
    Read { offset_bytes: u64, len_bytes: u64 },
    Write { offset_bytes: u64 },
    Sync,
    SetLen,
}

type Fault = Box<dyn FnMut(Attempt) -> Option<io::Error> + Send>;

#[derive(Default)]
struct Inner {
    image: Image,
    trace: Vec<Operation>,
    fault: Option<Fault>,
    hanging: bool,
    waiting: usize,
    read: HangingRead,
    /// How many more blocks the medium takes that it does not have yet.
    room: Option<usize>,
    /// It does not say beforehand that it lacks room.
    hides_room: bool,
    /// Writes that are begun wait until somebody looks, or there are many.
    is_lazy: bool,
    begun: Vec<Writing>,
}

/// A single read that is made to hang.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum HangingRead {
    #[default]
    None,
    /// The next one will.
    Next,
    /// It does.
    Now,
}

/// See the module. All clones are one medium.
#[derive(Clone, Default)]
pub(crate) struct SimMedia {
    shared: Arc<(Mutex<Inner>, Condvar)>,
}

impl Image {
    pub(crate) fn read(&self, offset_bytes: u64, buffer: &mut [u8]) {
        for (at, byte_run) in pieces(offset_bytes, buffer.len()) {
            let part = &mut buffer[byte_run.clone()];
            let begin = usize::try_from(at % BLOCK as u64).expect("below the block's length");
            match self.blocks.get(&(at / BLOCK as u64)) {
                Some(block) => part.copy_from_slice(&block[begin..begin + part.len()]),
                None => part.fill(0),
            }
        }
    }

    pub(crate) fn write(&mut self, offset_bytes: u64, data: &[u8]) {
        for (at, byte_run) in pieces(offset_bytes, data.len()) {
            let block = self.blocks.entry(at / BLOCK as u64).or_insert_with(|| Arc::new([0; BLOCK]));
            let begin = usize::try_from(at % BLOCK as u64).expect("below the block's length");
            Arc::make_mut(block)[begin..begin + byte_run.len()].copy_from_slice(&data[byte_run]);
        }
    }

    /// Applies some of the 512-byte parts of a write.
    fn write_torn(&mut self, offset_bytes: u64, data: &[u8], random: &mut SmallRng) {
        for (number, sector) in (0..).zip(data.chunks(SECTOR)) {
            if random.random_bool(0.5) {
                self.write(offset_bytes + number * SECTOR as u64, sector);
            }
        }
    }

    /// Flips one bit.
    pub(crate) fn flip(&mut self, offset_bytes: u64, bit: u8) {
        let mut byte = [0];
        self.read(offset_bytes, &mut byte);
        byte[0] ^= 1 << bit;
        self.write(offset_bytes, &byte);
    }

    /// The numbers of all blocks that hold something, in order.
    pub(crate) fn filled(&self) -> Vec<u64> {
        let filled = self.blocks.iter().filter(|(_, block)| block.iter().any(|byte| *byte != 0));
        let mut numbers: Vec<u64> = filled.map(|(number, _)| *number).collect();
        numbers.sort_unstable();
        numbers
    }

    pub(crate) fn set_len_bytes(&mut self, len_bytes: u64) {
        self.len_bytes = len_bytes;
    }

    /// An empty image of some length.
    pub(crate) fn zeros(len_bytes: u64) -> Self {
        Self { len_bytes, ..Self::default() }
    }
}

/// Cuts a range of bytes at the blocks' borders: where each piece begins, and its place in the buffer.
fn pieces(offset_bytes: u64, len: usize) -> impl Iterator<Item = (u64, std::ops::Range<usize>)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        let at = offset_bytes + done as u64;
        let until_border = BLOCK - usize::try_from(at % BLOCK as u64).expect("below the block's length");
        let part = done..len.min(done + until_border);
        done = part.end;
        (!part.is_empty()).then_some((at, part))
    })
}

/// What happens to the writes that were not covered by a sync when the power fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Loss {
    /// All of them reach the medium.
    Nothing,
    /// None of them does.
    Everything,
    /// Some do, some do not, some in parts of 512 bytes.
    Random { seed: u64 },
}

/// The medium after a power cut behind the first `cut` operations of a trace that began with `image`.
pub(crate) fn after_power_cut(image: &Image, trace: &[Operation], cut: usize, loss: Loss) -> Image {
    let covered = trace[..cut].iter().map(|operation| match operation {
        Operation::Sync { covers } => *covers,
        Operation::Write { .. } => 0,
    });
    let durable = covered.max().unwrap_or(0);
    let mut image = image.clone();
    let seed = if let Loss::Random { seed } = loss { seed } else { 0 };
    let mut random = SmallRng::seed_from_u64(seed);
    for (number, operation) in trace[..cut].iter().enumerate() {
        let Operation::Write { offset_bytes, data } = operation else { continue };
        match loss {
            _ if number < durable => image.write(*offset_bytes, data),
            Loss::Nothing => image.write(*offset_bytes, data),
            Loss::Everything => {}
            Loss::Random { .. } => match random.random_range(0..3) {
                0 => image.write(*offset_bytes, data),
                1 => image.write_torn(*offset_bytes, data, &mut random),
                _ => {}
            },
        }
    }
    image
}

impl SimMedia {
    pub(crate) fn with(image: Image) -> Self {
        let media = Self::default();
        media.lock().image = image;
        media
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.shared.0.lock().expect("no test panics while it holds this")
    }

    /// What the medium holds now.
    pub(crate) fn image(&self) -> Image {
        self.lock().image.clone()
    }

    /// Begins a new trace.
    pub(crate) fn clear_trace(&self) {
        self.lock().trace.clear();
    }

    /// Begins a new trace, while the medium is written to; what it begins with.
    pub(crate) fn restart_trace(&self) -> Image {
        let mut inner = self.lock();
        inner.trace.clear();
        inner.image.clone()
    }

    pub(crate) fn trace(&self) -> Vec<Operation> {
        self.lock().trace.clone()
    }

    pub(crate) fn trace_len(&self) -> usize {
        self.lock().trace.len()
    }

    /// Lets operations fail for which `fault` has an error.
    pub(crate) fn fail_when(&self, fault: impl FnMut(Attempt) -> Option<io::Error> + Send + 'static) {
        self.lock().fault = Some(Box::new(fault));
    }

    pub(crate) fn fail_no_more(&self) {
        self.lock().fault = None;
    }

    /// Lets the medium be full when it has got so many more blocks, as a file system under a sparse file can be.
    pub(crate) fn limit_room(&self, blocks: Option<usize>) {
        self.lock().room = blocks;
    }

    /// Lets the medium not say beforehand that it lacks room.
    pub(crate) fn hide_room(&self) {
        self.lock().hides_room = true;
    }

    /// Lets writes that are begun wait until somebody looks, or there are many, or this is called again.
    pub(crate) fn be_lazy(&self, is_lazy: bool) {
        self.lock().is_lazy = is_lazy;
        self.finish();
    }

    /// Does what was begun.
    fn finish(&self) {
        let begun = std::mem::take(&mut self.lock().begun);
        begun.into_iter().for_each(|writing| self.do_now(writing));
    }

    fn do_now(&self, writing: Writing) {
        let written = writing.parts.iter().try_for_each(|(offset_bytes, data)| self.write_at(*offset_bytes, data));
        writing.done.tell(written);
    }

    /// Lets syncs hang, or lets them go on.
    pub(crate) fn hang_syncs(&self, hanging: bool) {
        self.lock().hanging = hanging;
        self.shared.1.notify_all();
    }

    /// Blocks until a sync hangs.
    pub(crate) fn wait_for_hanging_sync(&self) {
        let inner = self.lock();
        drop(self.shared.1.wait_while(inner, |inner| inner.waiting == 0).expect("no test panics while it holds this"));
    }

    /// Lets the next read hang, and no other.
    pub(crate) fn hang_next_read(&self) {
        self.lock().read = HangingRead::Next;
    }

    /// Blocks until that read hangs.
    pub(crate) fn wait_for_hanging_read(&self) {
        let hangs = |inner: &mut Inner| inner.read != HangingRead::Now;
        drop(self.shared.1.wait_while(self.lock(), hangs).expect("no test panics while it holds this"));
    }

    /// Lets it go on.
    pub(crate) fn let_read_go(&self) {
        self.lock().read = HangingRead::None;
        self.shared.1.notify_all();
    }

    fn attempt(inner: &mut Inner, attempt: Attempt) -> io::Result<()> {
        inner.fault.as_mut().and_then(|fault| fault(attempt)).map_or(Ok(()), Err)
    }
}

impl Media for SimMedia {
    fn is_without_threads(&self) -> bool {
        true
    }

    /// Reads that are to fail or to hang, or that a fault looks at, are refused here: they come again in the ordinary way.
    fn begin_read(&self, mut reading: Reading) -> Result<(), Reading> {
        let inner = self.lock();
        if inner.fault.is_some() || inner.read != HangingRead::None {
            return Err(reading);
        }
        for (offset_bytes, part) in &reading.parts {
            inner.image.read(*offset_bytes, &mut reading.buffer[part.clone()]);
        }
        drop(inner);
        (reading.done)(Ok(reading.buffer));
        Ok(())
    }

    /// What fails here comes again in the ordinary way.
    fn begin_write(&self, writing: Writing) -> Result<(), Writing> {
        // That is waited for by somebody who does nothing else.
        if let OnWritten::Call(_) = writing.done {
            self.do_now(writing);
            return Ok(());
        }
        let waits = {
            let mut inner = self.lock();
            inner.begun.push(writing);
            let blocks: usize = inner.begun.iter().map(|writing| writing.parts.len()).sum();
            inner.is_lazy && blocks < LAZY_BLOCKS_MAX
        };
        if !waits {
            self.finish();
        }
        Ok(())
    }

    fn look(&self) {
        self.finish();
    }

    fn settle(&self) {
        self.finish();
    }

    fn has_room_to_spare(&self) -> bool {
        let inner = self.lock();
        inner.room.is_none() || inner.hides_room
    }

    fn read_at(&self, offset_bytes: u64, buffer: &mut [u8]) -> io::Result<()> {
        let mut inner = self.lock();
        if inner.read == HangingRead::Next {
            inner.read = HangingRead::Now;
            self.shared.1.notify_all();
            let hangs = |inner: &mut Inner| inner.read == HangingRead::Now;
            inner = self.shared.1.wait_while(inner, hangs).expect("no test panics while it holds this");
        }
        Self::attempt(&mut inner, Attempt::Read { offset_bytes, len_bytes: buffer.len() as u64 })?;
        if offset_bytes + buffer.len() as u64 > inner.image.len_bytes {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        inner.image.read(offset_bytes, buffer);
        Ok(())
    }

    /// What it never had needs no zeros, as in a sparse file.
    fn wipe(&self, ranges: &[std::ops::Range<u64>]) -> io::Result<()> {
        let filled = self.image().filled();
        for range in ranges {
            let blocks = range.start / BLOCK as u64..range.end / BLOCK as u64;
            for block in filled.iter().filter(|block| blocks.contains(*block)) {
                self.write_at(block * BLOCK as u64, &[0; BLOCK])?;
            }
        }
        self.sync()
    }

    fn write_at(&self, offset_bytes: u64, data: &[u8]) -> io::Result<()> {
        let mut inner = self.lock();
        Self::attempt(&mut inner, Attempt::Write { offset_bytes })?;
        assert!(offset_bytes.is_multiple_of(SECTOR as u64) && data.len().is_multiple_of(SECTOR));
        let fresh = pieces(offset_bytes, data.len())
            .filter(|(at, _)| !inner.image.blocks.contains_key(&(at / BLOCK as u64)))
            .count();
        if let Some(room) = &mut inner.room {
            *room = room.checked_sub(fresh).ok_or(io::ErrorKind::StorageFull)?;
        }
        inner.image.write(offset_bytes, data);
        inner.trace.push(Operation::Write { offset_bytes, data: data.into() });
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut inner = self.lock();
        let covers = inner.trace.len();
        inner.waiting += 1;
        self.shared.1.notify_all();
        inner = self.shared.1.wait_while(inner, |inner| inner.hanging).expect("no test panics while it holds this");
        inner.waiting -= 1;
        Self::attempt(&mut inner, Attempt::Sync)?;
        inner.trace.push(Operation::Sync { covers });
        Ok(())
    }

    fn len_bytes(&self) -> io::Result<u64> {
        Ok(self.lock().image.len_bytes)
    }

    fn set_len_bytes(&self, len_bytes: u64) -> io::Result<()> {
        let mut inner = self.lock();
        Self::attempt(&mut inner, Attempt::SetLen)?;
        inner.image.len_bytes = len_bytes;
        Ok(())
    }
}
