//! A file or a block device as a medium, past the page cache where that is possible.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Seek as _};
use std::ops::Range;
use std::os::unix::fs::{FileExt as _, FileTypeExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use lunshadow_lun::{AlignedBuffer, DATA_ALIGNMENT_BYTES, is_aligned};
use parking_lot::Mutex;
use rustix::fs::{AtFlags, OFlags, StatVfs, StatxFlags};

use super::in_flight::InFlight;
use super::ring::Rings;
use super::slots::Transfer;
use super::{Driver, Media, ReadPart, Reading, WritePart, Writing, measure, transfer, wiping};
use crate::page::{BLOCK_BYTES, BLOCK_LEN, index};

/// How requests are to reach a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum IoMode {
    /// Past the page cache; many at once by whichever of the two below a short measurement finds the faster one.
    Auto,
    /// Past the page cache; many at once through `io_uring` if the kernel has it.
    Uring,
    /// Past the page cache, with plain calls.
    #[default]
    Threads,
    /// Through the page cache, with plain calls.
    Buffered,
}

/// What direct I/O asks of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Alignment {
    /// The address of the memory is a multiple of this.
    memory: usize,
    /// So are the place in the file and the length of this.
    place: usize,
}

/// A sparse file or a block device, locked against a second opener as long as it lives.
pub struct FileMedia {
    /// What is under way without threads, where there are rings.
    in_flight: Option<InFlight>,
    file: File,
    /// `None` if requests go through the page cache.
    direct: Option<Alignment>,
    rings: Option<Rings>,
    /// Why things are as they are.
    reason: String,
    bounced_bytes: AtomicU64,
    /// Held while a part of a unit is written, which takes a reading and a writing.
    patching: Mutex<()>,
    is_device: bool,
}

/// Why a file could not become a medium.
#[derive(Debug, thiserror::Error)]
pub enum FileMediaError {
    /// Another process, or another pool in this one, has the file open.
    #[error("the file is in use")]
    InUse,
    /// The operating system refused.
    #[error("the file cannot be opened")]
    Io(#[source] io::Error),
}

/// How much is copied at a time for a request that cannot go to the medium as it is.
const BOUNCE_BYTES: u64 = 256 << 10;
/// A file system with less room than that may be full before anybody looks again.
const SPARE_BYTES: u64 = 1 << 30;
/// More runs of neighbours go through a ring; with fewer, one call for each run is less work.
const RUNS_MAX: usize = 2;
/// What the measurement reads in each round: so many blocks at once, so many times.
const MEASURED_DEPTH: u64 = 32;
const MEASURED_BATCHES: u64 = 4;

impl FileMedia {
    /// Makes a new file and locks it.
    ///
    /// # Errors
    /// [`FileMediaError::Io`] with `AlreadyExists` if there is one.
    pub fn create(path: &Path) -> Result<Self, FileMediaError> {
        let mut options = OpenOptions::new();
        drop(options.read(true).write(true).create_new(true).open(path).map_err(FileMediaError::Io)?);
        Self::open(path)
    }

    /// Opens a file or a block device and locks it, for plain calls past the page cache.
    ///
    /// # Errors
    /// [`FileMediaError::InUse`], or [`FileMediaError::Io`] with `NotFound` if there is none.
    pub fn open(path: &Path) -> Result<Self, FileMediaError> {
        Self::open_as(path, IoMode::default())
    }

    /// Opens a file or a block device and locks it. For [`IoMode::Auto`], [`FileMedia::choose`] has to be called.
    ///
    /// # Errors
    /// As [`FileMedia::open`]; a device is in use if it is mounted or part of something else.
    pub fn open_as(path: &Path, mode: IoMode) -> Result<Self, FileMediaError> {
        let is_device = is_block_device(path);
        let (file, direct, reason) = Self::open_file(path, mode, is_device).map_err(|error| match error.kind() {
            io::ErrorKind::ResourceBusy => FileMediaError::InUse,
            _ => FileMediaError::Io(error),
        })?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(FileMediaError::InUse),
            Err(TryLockError::Error(error)) => return Err(FileMediaError::Io(error)),
        }
        let (bounced_bytes, patching) = (AtomicU64::new(0), Mutex::new(()));
        let mut media = Self { in_flight: None, file, direct, rings: None, reason, bounced_bytes, patching, is_device };
        if mode == IoMode::Uring {
            match Rings::new() {
                Ok(rings) => media.use_rings(rings),
                Err(error) => media.reason = format!("io_uring cannot be had: {error}"),
            }
        }
        Ok(media)
    }

    /// Opens past the page cache if that is wanted and possible; otherwise through it, and says why.
    fn open_file(path: &Path, mode: IoMode, is_device: bool) -> io::Result<(File, Option<Alignment>, String)> {
        // Of a device, this keeps everybody away who asks for it in the same way: mounting, RAID, volume managers.
        let exclusive = if is_device { OFlags::EXCL } else { OFlags::empty() };
        let open = |flags: OFlags| {
            let flags = (exclusive | flags).bits().cast_signed();
            OpenOptions::new().read(true).write(true).custom_flags(flags).open(path)
        };
        if mode == IoMode::Buffered {
            return Ok((open(OFlags::empty())?, None, "as asked for".to_owned()));
        }
        let why = match open(OFlags::DIRECT) {
            Ok(file) => match alignment_of(&file) {
                Some(alignment) => return Ok((file, Some(alignment), String::new())),
                None => "the file system's direct I/O takes larger units than a pool has".to_owned(),
            },
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => "the file system has no direct I/O".to_owned(),
            Err(error) => return Err(error),
        };
        tracing::info!(path = %path.display(), why, "the pool's file is used through the page cache");
        Ok((open(OFlags::empty())?, None, why))
    }

    /// Takes the faster way for many requests at once, by reading a few hundred blocks of a part of the file in both ways. Takes half a
    /// second at most, and a few milliseconds mostly.
    #[must_use]
    pub fn choose(mut self, part: &Range<u64>) -> Self {
        let blocks = part.end.saturating_sub(part.start) / BLOCK_LEN;
        let rings = match Rings::new() {
            Ok(rings) if blocks > 0 => rings,
            Ok(_) => return self,
            Err(error) => {
                self.reason = format!("io_uring cannot be had: {error}");
                return self;
            }
        };
        // Steps of a large odd number visit all blocks in an order that no device foresees.
        let mut at = 0;
        let mut next = || {
            at = (at + 0x9e37_79b1) % blocks;
            part.start / BLOCK_LEN * BLOCK_LEN + at * BLOCK_LEN
        };
        let mut buffer = AlignedBuffer::of_len(index(MEASURED_DEPTH) * BLOCK_BYTES);
        let mut places: Vec<u64> = (0..MEASURED_DEPTH * MEASURED_BATCHES).map(|_| next()).collect();
        let mut batch = |read: &dyn Fn(&mut [ReadPart<'_>]) -> io::Result<()>| {
            // Each round reads elsewhere than the one before.
            places.rotate_left(1);
            places.chunks(index(MEASURED_DEPTH)).all(|offsets| {
                let buffers = buffer.chunks_exact_mut(BLOCK_BYTES);
                let parts = offsets.iter().zip(buffers);
                let parts = parts.map(|(offset_bytes, buffer)| ReadPart { offset_bytes: *offset_bytes, buffer });
                read(&mut parts.collect::<Vec<_>>()).is_ok()
            })
        };
        let batch = std::cell::RefCell::new(&mut batch);
        let unit = self.unit();
        let plain = |parts: &mut [ReadPart<'_>]| self.read_plain(parts);
        let ring = |parts: &mut [ReadPart<'_>]| rings.read(&self.file, parts, unit);
        let times = measure::compare(|| (batch.borrow_mut())(&plain), || (batch.borrow_mut())(&ring));
        if let Some((threads, uring)) = times {
            let reads = MEASURED_DEPTH * MEASURED_BATCHES;
            self.reason = format!(
                "{reads} reads of 4 KiB took {} µs one by one and {} µs through io_uring",
                threads.as_micros(),
                uring.as_micros()
            );
            if uring < threads {
                self.use_rings(rings);
            }
        }
        self
    }

    fn use_rings(&mut self, rings: Rings) {
        self.rings = Some(rings);
        // Without it, threads wait for reads and writes.
        let in_flight = InFlight::new(&self.file, self.unit());
        self.in_flight = in_flight.inspect_err(|error| tracing::info!(%error, "requests need a thread each")).ok();
    }

    fn unit(&self) -> usize {
        self.direct.map_or(1, |alignment| alignment.place)
    }

    fn takes(&self, offset_bytes: u64, data: &[u8]) -> bool {
        self.direct.is_none_or(|alignment| {
            is_aligned(data, alignment.memory)
                && data.len().is_multiple_of(alignment.place)
                && index(offset_bytes % BLOCK_LEN).is_multiple_of(alignment.place)
        })
    }

    fn read_plain(&self, parts: &mut [ReadPart<'_>]) -> io::Result<()> {
        let unit = self.unit();
        parts.iter_mut().try_for_each(|part| transfer::read(&self.file, part.offset_bytes, part.buffer, 0, unit))
    }

    /// The pieces in which a request is copied: whole blocks around it, the part of it in each, and that part's place in the blocks.
    fn bounces(offset_bytes: u64, len: usize) -> impl Iterator<Item = Bounce> {
        let end = offset_bytes + number(len);
        let mut at = offset_bytes;
        std::iter::from_fn(move || {
            let begin = at / BLOCK_LEN * BLOCK_LEN;
            let until = end.min(begin + BOUNCE_BYTES);
            let piece = Bounce {
                begin,
                blocks: until.next_multiple_of(BLOCK_LEN) - begin,
                part: index(at - offset_bytes)..index(until - offset_bytes),
                skip: index(at - begin),
            };
            let is_left = at < end;
            at = until;
            is_left.then_some(piece)
        })
    }

    fn read_bounced(&self, offset_bytes: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.bounced_bytes.fetch_add(number(buffer.len()), Ordering::Relaxed);
        for piece in Self::bounces(offset_bytes, buffer.len()) {
            let wanted = piece.skip + piece.part.len();
            let mut bounce = AlignedBuffer::of_len(index(piece.blocks));
            self.read_blocks(piece.begin, &mut bounce, wanted)?;
            buffer[piece.part].copy_from_slice(&bounce[piece.skip..wanted]);
        }
        Ok(())
    }

    /// Reads whole blocks, of which those bytes before `wanted` have to be there: the file may end in the last block.
    fn read_blocks(&self, begin: u64, blocks: &mut [u8], wanted: usize) -> io::Result<()> {
        let there = self.len_bytes()?.saturating_sub(begin);
        if there < number(wanted) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if there >= number(blocks.len()) {
            return transfer::read(&self.file, begin, blocks, 0, self.unit());
        }
        // The kernel gives what is before the end in one call.
        let count = self.file.read_at(blocks, begin)?;
        blocks[count..].fill(0);
        if count < wanted { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
    }

    fn write_bounced(&self, offset_bytes: u64, data: &[u8]) -> io::Result<()> {
        self.bounced_bytes.fetch_add(number(data.len()), Ordering::Relaxed);
        let end = offset_bytes + number(data.len());
        let is_whole = offset_bytes.is_multiple_of(BLOCK_LEN) && end.is_multiple_of(BLOCK_LEN);
        let _patching = (!is_whole).then(|| self.patching.lock());
        let len_before = self.len_bytes()?;
        for piece in Self::bounces(offset_bytes, data.len()) {
            let mut bounce = AlignedBuffer::zeroed(index(piece.blocks));
            if piece.part.len() < bounce.len() && piece.begin < len_before {
                self.read_blocks(piece.begin, &mut bounce, 0)?;
            }
            bounce[piece.skip..piece.skip + piece.part.len()].copy_from_slice(&data[piece.part]);
            transfer::write(&self.file, piece.begin, &bounce, 0, self.unit())?;
        }
        // Whole blocks may have gone beyond the end that was meant.
        if is_whole || self.len_bytes()? <= len_before.max(end) {
            return Ok(());
        }
        self.file.set_len(len_before.max(end))
    }
}

/// A piece of a request that is copied.
struct Bounce {
    begin: u64,
    blocks: u64,
    part: Range<usize>,
    skip: usize,
}

/// Whether there is a block device at a path.
pub(crate) fn is_block_device(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|metadata| metadata.file_type().is_block_device())
}

/// What direct I/O asks for here, or `None` if a pool cannot keep to it.
fn alignment_of(file: &File) -> Option<Alignment> {
    let statx = rustix::fs::statx(file, "", AtFlags::EMPTY_PATH, StatxFlags::DIOALIGN).ok();
    let known = statx.filter(|statx| statx.stx_mask & StatxFlags::DIOALIGN.bits() != 0);
    let alignment = match known {
        Some(statx) => Alignment {
            memory: usize::try_from(statx.stx_dio_mem_align).unwrap_or(usize::MAX),
            place: usize::try_from(statx.stx_dio_offset_align).unwrap_or(usize::MAX),
        },
        // Kernels before 6.1 do not say; what suits every device suits this one.
        None => Alignment { memory: DATA_ALIGNMENT_BYTES, place: BLOCK_BYTES },
    };
    // Zero means that this file has no direct I/O, although it was opened for it.
    let fits = |unit: usize, most: usize| unit > 0 && most.is_multiple_of(unit);
    (fits(alignment.memory, DATA_ALIGNMENT_BYTES) && fits(alignment.place, BLOCK_BYTES)).then_some(alignment)
}

fn number(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

impl Media for FileMedia {
    fn read_at(&self, offset_bytes: u64, buffer: &mut [u8]) -> io::Result<()> {
        if self.takes(offset_bytes, buffer) {
            transfer::read(&self.file, offset_bytes, buffer, 0, self.unit())
        } else {
            self.read_bounced(offset_bytes, buffer)
        }
    }

    fn write_at(&self, offset_bytes: u64, data: &[u8]) -> io::Result<()> {
        if self.takes(offset_bytes, data) {
            transfer::write(&self.file, offset_bytes, data, 0, self.unit())
        } else {
            self.write_bounced(offset_bytes, data)
        }
    }

    fn read_many(&self, parts: &mut [ReadPart<'_>]) -> io::Result<()> {
        match &self.rings {
            // A ring costs a single request more than a plain call does.
            Some(rings) if parts.len() > 1 && parts.iter().all(|part| self.takes(part.offset_bytes, part.buffer)) => {
                rings.read(&self.file, parts, self.unit())
            }
            _ => parts.iter_mut().try_for_each(|part| self.read_at(part.offset_bytes, part.buffer)),
        }
    }

    fn is_without_threads(&self) -> bool {
        self.in_flight.is_some()
    }

    fn begin_read(&self, reading: Reading) -> Result<(), Reading> {
        let Some(in_flight) = &self.in_flight else { return Err(reading) };
        let is_taken =
            |(offset_bytes, range): &(u64, Range<usize>)| self.takes(*offset_bytes, &reading.buffer[range.clone()]);
        if !reading.parts.iter().all(is_taken) {
            return Err(reading);
        }
        match in_flight.begin(Transfer::Reading(reading)) {
            Err(Transfer::Reading(reading)) => Err(reading),
            Ok(()) | Err(Transfer::Writing(_)) => Ok(()),
        }
    }

    fn begin_write(&self, writing: Writing) -> Result<(), Writing> {
        let Some(in_flight) = &self.in_flight else { return Err(writing) };
        if !writing.parts.iter().all(|(offset_bytes, data)| self.takes(*offset_bytes, data)) {
            return Err(writing);
        }
        match in_flight.begin(Transfer::Writing(writing)) {
            Err(Transfer::Writing(writing)) => Err(writing),
            Ok(()) | Err(Transfer::Reading(_)) => Ok(()),
        }
    }

    fn driver(&self) -> Option<Driver> {
        self.in_flight.as_ref().map(InFlight::driver)
    }

    fn look(&self) {
        if let Some(in_flight) = &self.in_flight {
            in_flight.look();
        }
    }

    fn settle(&self) {
        if let Some(in_flight) = &self.in_flight {
            in_flight.settle();
        }
    }

    fn write_many(&self, parts: &[WritePart<'_>]) -> io::Result<()> {
        if !parts.iter().all(|part| self.takes(part.offset_bytes, part.data)) {
            return parts.iter().try_for_each(|part| self.write_at(part.offset_bytes, part.data));
        }
        let is_followed = |part: &WritePart<'_>, next: &WritePart<'_>| {
            part.offset_bytes + number(part.data.len()) == next.offset_bytes
        };
        let runs: Vec<&[WritePart<'_>]> = parts.chunk_by(is_followed).collect();
        match &self.rings {
            Some(rings) if runs.len() > RUNS_MAX => rings.write(&self.file, parts, self.unit()),
            _ => runs.into_iter().try_for_each(|run| transfer::write_gathered(&self.file, run, self.unit())),
        }
    }

    fn wipe(&self, ranges: &[Range<u64>]) -> io::Result<()> {
        let mut parts = Vec::new();
        for range in ranges {
            if self.is_device {
                parts.push(range.clone());
            } else {
                parts.extend(wiping::written_parts(&self.file, range)?);
            }
        }
        if parts.is_empty() {
            return Ok(());
        }
        wiping::overwrite(&parts, |at, zeros| self.write_at(at, zeros))?;
        self.sync()?;
        if !self.is_device {
            wiping::forget(&self.file, &parts);
        }
        Ok(())
    }

    /// A file may be sparse, and then needs room from its file system, which others take, too.
    fn has_room_to_spare(&self) -> bool {
        let is_enough = |file_system: StatVfs| file_system.f_bavail.saturating_mul(file_system.f_frsize) >= SPARE_BYTES;
        self.is_device || rustix::fs::fstatvfs(&self.file).is_ok_and(is_enough)
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn len_bytes(&self) -> io::Result<u64> {
        // The end, and not what the file's metadata says: that of a block device has no length.
        (&self.file).seek(io::SeekFrom::End(0))
    }

    fn set_len_bytes(&self, len_bytes: u64) -> io::Result<()> {
        match self.is_device {
            // A device is as long as it is.
            true if len_bytes <= self.len_bytes()? => Ok(()),
            true => Err(io::ErrorKind::StorageFull.into()),
            false => self.file.set_len(len_bytes),
        }
    }

    fn engine(&self) -> String {
        let way = match (&self.direct, &self.rings) {
            (Some(_), Some(_)) => "direct I/O, many at once through io_uring",
            (Some(_), None) => "direct I/O by threads",
            (None, Some(_)) => "page cache, many at once through io_uring",
            (None, None) => "page cache by threads",
        };
        if self.reason.is_empty() { way.to_owned() } else { format!("{way} ({})", self.reason) }
    }

    fn bounced_bytes(&self) -> u64 {
        self.bounced_bytes.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use rand::rngs::SmallRng;
    use rand::{RngExt as _, SeedableRng as _};

    use super::*;

    const MODES: [IoMode; 4] = [IoMode::Auto, IoMode::Uring, IoMode::Threads, IoMode::Buffered];

    fn made(folder: &Path, mode: IoMode) -> FileMedia {
        let path = folder.join(format!("{mode:?}"));
        drop(FileMedia::create(&path).unwrap());
        FileMedia::open_as(&path, mode).unwrap()
    }

    /// Random requests of any place and length, against an array.
    fn any_request_is_served(folder: &Path, mode: IoMode) {
        let media = made(folder, mode);
        let mut random = SmallRng::seed_from_u64(7);
        let mut model: Vec<u8> = Vec::new();
        for round in 0..300 {
            let unit = [1, 512, 4096][round % 3];
            let at = random.random_range(0..1_000_000_usize) / unit * unit;
            let len =
                random.random_range(1..(if round % 10 == 0 { 600_000 } else { 9000_usize })).next_multiple_of(unit);
            if random.random_bool(0.5) {
                let data: Vec<u8> = (0..len).map(|_| random.random()).collect();
                let aligned = AlignedBuffer::copy_of(&data);
                media.write_at(at as u64, if round % 2 == 0 { &aligned } else { &data }).unwrap();
                model.resize(model.len().max(at + len), 0);
                model[at..at + len].copy_from_slice(&data);
            } else {
                let mut found = vec![0; len];
                let read = media.read_at(at as u64, &mut found);
                match model.get(at..at + len) {
                    Some(expected) => assert!(read.is_ok() && found == expected, "{mode:?} round {round}"),
                    None => assert_eq!(read.unwrap_err().kind(), io::ErrorKind::UnexpectedEof),
                }
            }
            assert_eq!(media.len_bytes().unwrap(), model.len() as u64, "{mode:?} round {round}");
        }
    }

    #[test]
    fn requests_of_any_place_and_length_are_served() {
        let folder = tempfile::tempdir().unwrap();
        MODES.into_iter().for_each(|mode| any_request_is_served(folder.path(), mode));
        // Mostly a file system in memory, which may have no direct I/O.
        if let Ok(folder) = tempfile::tempdir_in("/dev/shm") {
            MODES.into_iter().for_each(|mode| any_request_is_served(folder.path(), mode));
        }
    }

    #[test]
    fn aligned_requests_are_not_copied_and_others_are_counted() {
        let folder = tempfile::tempdir().unwrap();
        let media = made(folder.path(), IoMode::Threads);
        let mut buffer = AlignedBuffer::zeroed(3 * 4096);
        media.write_at(4096, &buffer).unwrap();
        media.read_at(8192, &mut buffer[..4096]).unwrap();
        assert_eq!(media.bounced_bytes(), 0);
        if media.direct.is_some() {
            media.read_at(8192, &mut buffer[1..4097]).unwrap();
            assert_eq!(media.bounced_bytes(), 4096);
        }
    }

    #[test]
    fn several_parts_are_served_by_every_engine() {
        let folder = tempfile::tempdir().unwrap();
        for mode in MODES {
            let media = made(folder.path(), mode);
            let data = AlignedBuffer::copy_of(&[[1; 4096], [2; 4096], [3; 4096]].concat());
            let parts = [2, 0, 1].into_iter().zip(data.chunks(4096));
            let parts: Vec<_> = parts.map(|(block, data)| WritePart { offset_bytes: block * 4096, data }).collect();
            media.write_many(&parts).unwrap();
            let media = if mode == IoMode::Auto { media.choose(&(0..12288)) } else { media };
            let mut found = AlignedBuffer::zeroed(3 * 4096);
            let mut parts: Vec<_> = (0..)
                .zip(found.chunks_mut(4096))
                .map(|(block, buffer)| ReadPart { offset_bytes: block * 4096, buffer })
                .collect();
            media.read_many(&mut parts).unwrap();
            assert!(*found == [[2; 4096], [3; 4096], [1; 4096]].concat(), "{mode:?}");
            assert!(!media.engine().is_empty());
        }
    }

    #[test]
    fn a_file_has_one_opener() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("medium");
        assert!(
            matches!(FileMedia::open(&path), Err(FileMediaError::Io(error)) if error.kind() == io::ErrorKind::NotFound)
        );
        let media = FileMedia::create(&path).unwrap();
        assert!(matches!(FileMedia::open_as(&path, IoMode::Buffered), Err(FileMediaError::InUse)));
        assert!(
            matches!(FileMedia::create(&path), Err(FileMediaError::Io(error)) if error.kind() == io::ErrorKind::AlreadyExists)
        );
        drop(media);
        assert!(FileMedia::open(&path).is_ok());
    }
}
