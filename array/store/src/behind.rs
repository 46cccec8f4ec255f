//! Writes that are answered before the medium has them.
//!
//! LUNs say that they have a write cache (SBC-4, WCE in the caching mode page): what was written is to last when it has been flushed, or
//! was written with FUA. So a small write need not wait for the medium. Its block is taken, its content is kept here, and the map
//! refers to it when it is answered. From then on it is as every other write to those who look: reads are given what is kept here, and whatever makes
//! something durable waits for it first, since all of that goes through [`Shared::sync`]. A batch of the log may be on the medium before the data that
//! its records refer to; recovery counts on that for the last batch, and the next one is written only after a sync.
//!
//! What is kept here is bounded, and none is taken while the medium may be short of room, so that who writes hears of it. A block that the medium
//! refuses nevertheless is tried again by whoever syncs. If it has no room the sync waits for that, as a checkpoint does; if it fails, that is a
//! sync that fails, and the pool is poisoned.
//!
//! The medium is told when those have been answered who wait: what that takes delays nobody then. While it is at some already, the rest waits, and goes
//! together: [`Starter`](crate::at_once::Starter) sees to both. Whoever syncs does it if nobody else comes to it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;

use crate::at_once::Starter;
use crate::media::{self, Listener, Media, OnWritten, Parts, ReadPart, Writing};
use crate::page::{BLOCK_BYTES, BLOCK_LEN, index};
use crate::state::Shared;
use crate::sync::{Condvar, Mutex};
use crate::tail::{Blocks, KeptBlocks};

/// With so many transfers under way, what comes waits for one of them to end: the fewer there are, the more goes with each.
const FLIGHTS_MAX: usize = 2;
/// How often to look for transfers whose ends nobody else looks for.
const LOOK_EVERY: Duration = Duration::from_millis(1);

/// See the module.
#[derive(Default)]
pub(crate) struct Behind {
    limit_bytes: AtomicUsize,
    kept: Mutex<Kept>,
    /// Told when something has got to the medium, or has failed to.
    is_news: Condvar,
    /// How many batches are kept, to be looked at without the lock.
    count: AtomicUsize,
    /// None are taken now.
    is_paused: AtomicBool,
    /// None are taken before somebody syncs and finds that the medium has room to spare.
    is_short: AtomicBool,
}

#[derive(Default)]
struct Kept {
    batches: Vec<Batch>,
    /// The number of the next batch. They are counted.
    next: u64,
    /// The number of the next flight.
    next_flight: u64,
    /// How many there are.
    flights: usize,
    bytes: usize,
    /// Where what is kept outlives the process.
    outliving: Option<Blocks>,
}

struct Batch {
    number: u64,
    /// Single blocks at their offsets.
    blocks: Parts,
    /// Where they are kept besides.
    outliving: KeptBlocks,
    phase: Phase,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Nobody has told the medium.
    Queued,
    /// The medium is at it, together with all others of the flight.
    UnderWay { flight: u64 },
    /// The medium did not take it. Somebody who may wait has to try.
    Refused,
}

/// Batches that somebody is to bring to the medium.
struct Taken {
    flight: u64,
    blocks: Parts,
}

impl Behind {
    /// Says how much is kept at most; nothing at all until somebody does.
    pub(crate) fn set_limit(&self, bytes: u64, media: &dyn Media) {
        self.limit_bytes.store(index(bytes), Ordering::Relaxed);
        self.look_for_room(media);
    }

    /// Nobody looks where it would be of no use.
    fn look_for_room(&self, media: &dyn Media) {
        if self.limit_bytes.load(Ordering::Relaxed) > 0 {
            self.is_short.store(!media.has_room_to_spare(), Ordering::Relaxed);
        }
    }

    /// Lets nothing come any more, or lets it come again.
    pub(crate) fn pause(&self, is_paused: bool) {
        self.is_paused.store(is_paused, Ordering::Relaxed);
    }

    /// Whether the medium has everything.
    pub(crate) fn is_empty(&self) -> bool {
        self.count.load(Ordering::Acquire) == 0
    }

    /// Whether so much more may come.
    pub(crate) fn takes(&self, bytes: usize) -> bool {
        if bytes == 0 || self.is_paused.load(Ordering::Relaxed) || self.is_short.load(Ordering::Relaxed) {
            return false;
        }
        let limit_bytes = self.limit_bytes.load(Ordering::Relaxed);
        if self.count.load(Ordering::Acquire) == 0 {
            return bytes <= limit_bytes;
        }
        let kept = self.kept.lock();
        kept.bytes + bytes <= limit_bytes && !kept.has(Phase::Refused)
    }

    /// Has what is kept outlive the process from now on.
    pub(crate) fn outlive_in(&self, blocks: Blocks) {
        self.kept.lock().outliving = Some(blocks);
    }

    /// Has blocks outlive the process. Before the log refers to them; [`enter`](Self::enter) comes next, or [`forget`](Self::forget).
    pub(crate) fn outlive(&self, blocks: &Parts) -> KeptBlocks {
        self.kept.lock().outliving.as_mut().map(|outliving| outliving.keep(blocks)).unwrap_or_default()
    }

    /// Nothing came of what was to outlive the process.
    pub(crate) fn forget(&self, outliving: &KeptBlocks) {
        self.kept.lock().give_back(outliving);
    }

    /// Keeps blocks, to which maps refer from now on: the pool's lock is held.
    pub(crate) fn enter(&self, blocks: Parts, outliving: KeptBlocks) {
        if blocks.is_empty() {
            return;
        }
        let mut kept = self.kept.lock();
        let number = kept.next;
        kept.next += 1;
        kept.bytes += bytes_of(&blocks);
        kept.batches.push(Batch { number, blocks, outliving, phase: Phase::Queued });
        self.count.fetch_add(1, Ordering::Release);
    }

    /// Lets the medium begin with what it was not told of yet, unless it has enough to do. False if that takes somebody who may wait:
    /// [`write_refused`](Self::write_refused). The listener is told of the end, and [tells this](Self::landed).
    pub(crate) fn begin(&self, media: &dyn Media, listener: Arc<dyn Listener>) -> bool {
        self.begin_with(media, listener, FLIGHTS_MAX)
    }

    fn begin_with(&self, media: &dyn Media, listener: Arc<dyn Listener>, flights_max: usize) -> bool {
        let Some(Taken { flight, blocks }) = self.take(Phase::Queued, flights_max) else { return true };
        let done = OnWritten::Tell(listener, flight);
        match media.begin_write(Writing { parts: blocks, done }) {
            Ok(()) => true,
            Err(Writing { done, .. }) => {
                done.tell(Err(io::ErrorKind::WouldBlock.into()));
                false
            }
        }
    }

    /// Writes what the medium did not take, and waits for it.
    ///
    /// # Errors
    /// What the medium answers. It is kept then, to be tried again.
    pub(crate) fn write_refused(&self, media: &dyn Media) -> io::Result<()> {
        let Some(Taken { flight, blocks }) = self.take(Phase::Refused, usize::MAX) else { return Ok(()) };
        let written = media.write_many(&media::parts_of(&blocks));
        self.landed(flight, written.is_ok());
        written
    }

    /// Waits until all that has come until now is on the medium.
    ///
    /// # Errors
    /// As [`write_refused`](Self::write_refused).
    fn settle(&self, media: &dyn Media, listener: &Arc<dyn Listener>) -> io::Result<()> {
        self.look_for_room(media);
        if self.count.load(Ordering::Acquire) == 0 {
            return Ok(());
        }
        let until = self.kept.lock().next;
        loop {
            self.begin_with(media, Arc::clone(listener), usize::MAX);
            self.write_refused(media)?;
            {
                let mut kept = self.kept.lock();
                if kept.batches.iter().all(|batch| batch.number >= until) {
                    return Ok(());
                }
                if !kept.has(Phase::Refused) {
                    self.is_news.wait_for(&mut kept, LOOK_EVERY);
                }
            }
            // Those who look otherwise may be waiting for whoever waits here.
            media.look();
        }
    }

    /// Whether the medium has refused something that it was not given again since.
    pub(crate) fn is_stuck(&self) -> bool {
        self.count.load(Ordering::Acquire) > 0 && self.kept.lock().has(Phase::Refused)
    }

    fn take(&self, phase: Phase, flights_max: usize) -> Option<Taken> {
        let mut kept = self.kept.lock();
        if kept.flights >= flights_max {
            return None;
        }
        let flight = kept.next_flight;
        let mut blocks = Parts::new();
        for batch in kept.batches.iter_mut().filter(|batch| batch.phase == phase) {
            batch.phase = Phase::UnderWay { flight };
            blocks.extend(batch.blocks.iter().cloned());
        }
        // No batch is empty.
        if blocks.is_empty() {
            return None;
        }
        kept.next_flight += 1;
        kept.flights += 1;
        Some(Taken { flight, blocks })
    }

    /// A flight has got to the medium, or has not.
    pub(crate) fn landed(&self, flight: u64, is_written: bool) {
        let mut kept = self.kept.lock();
        kept.flights -= 1;
        let Kept { batches, bytes, outliving, .. } = &mut *kept;
        let before = batches.len();
        if is_written {
            batches.retain(|batch| {
                let has_ended = batch.phase == Phase::UnderWay { flight };
                if has_ended {
                    *bytes -= bytes_of(&batch.blocks);
                    if let Some(outliving) = outliving {
                        outliving.give_back(&batch.outliving);
                    }
                }
                !has_ended
            });
            self.count.fetch_sub(before - batches.len(), Ordering::Release);
        } else {
            let refused = batches.iter_mut().filter(|batch| batch.phase == Phase::UnderWay { flight });
            refused.for_each(|batch| batch.phase = Phase::Refused);
        }
        self.is_news.notify_all();
    }

    /// What is kept of a part of the medium.
    fn within(&self, offset_bytes: u64, len_bytes: usize) -> Vec<(u64, Bytes)> {
        if self.count.load(Ordering::Acquire) == 0 {
            return Vec::new();
        }
        let range = offset_bytes..offset_bytes + u64::try_from(len_bytes).expect("lengths in memory have 64 bits");
        let kept = self.kept.lock();
        let blocks = kept.batches.iter().flat_map(|batch| &batch.blocks);
        blocks.filter(|(at, _)| range.contains(at)).cloned().collect()
    }

    /// Whether anything is kept of parts of the medium, each with its length.
    pub(crate) fn has_any_of(&self, mut parts: impl Iterator<Item = (u64, usize)>) -> bool {
        self.count.load(Ordering::Acquire) > 0 && parts.any(|(at, len)| !self.within(at, len).is_empty())
    }

    /// Reads blocks of data: what is kept of them from here, the rest from the medium.
    ///
    /// # Errors
    /// As [`Media::read_many`].
    pub(crate) fn read(&self, media: &dyn Media, parts: &mut [ReadPart<'_>]) -> io::Result<()> {
        // Before the medium is read: what goes away meanwhile has got there.
        let kept: Vec<_> = parts.iter().map(|part| self.within(part.offset_bytes, part.buffer.len())).collect();
        let is_whole = |(part, kept): (&ReadPart<'_>, &Vec<_>)| kept.len() * BLOCK_BYTES == part.buffer.len();
        if !parts.iter().zip(&kept).all(is_whole) {
            media.read_many(parts)?;
        }
        for (part, kept) in parts.iter_mut().zip(kept) {
            for (at, content) in kept {
                let start = index(at - part.offset_bytes);
                part.buffer[start..start + BLOCK_BYTES].copy_from_slice(&content);
            }
        }
        Ok(())
    }
}

impl Kept {
    fn give_back(&mut self, blocks: &KeptBlocks) {
        if let Some(outliving) = &mut self.outliving {
            outliving.give_back(blocks);
        }
    }

    fn has(&self, phase: Phase) -> bool {
        self.batches.iter().any(|batch| batch.phase == phase)
    }
}

fn bytes_of(blocks: &[(u64, Bytes)]) -> usize {
    debug_assert!(blocks.iter().all(|(at, data)| at.is_multiple_of(BLOCK_LEN) && data.len() == BLOCK_BYTES));
    blocks.len() * BLOCK_BYTES
}

impl Shared {
    /// Makes durable all writes that have ended, or were answered.
    pub(crate) fn sync(&self) -> io::Result<()> {
        let mut failed = self.sync_failed.lock();
        if *failed {
            return Err(io::Error::other("an earlier sync failed"));
        }
        self.settle_behind()?;
        self.media.sync().inspect_err(|_| *failed = true)
    }

    fn settle_behind(&self) -> io::Result<()> {
        let (mut asked, mut has_waited) = (0, false);
        // Whoever keeps anything has one before.
        let Some(starter) = self.starter.get() else { return Ok(()) };
        let listener: Arc<dyn Listener> = Arc::<Starter>::clone(starter);
        while let Err(error) = self.behind.settle(&*self.media, &listener) {
            has_waited = true;
            if !self.waits_for_room(&error, &mut asked) {
                return Err(error);
            }
        }
        if has_waited {
            self.has_room_again(&mut self.state.lock());
        }
        Ok(())
    }

    /// Waits until a write that failed because the medium is full is worth another try. False if that is not what it failed for, or the pool stops.
    /// `asked` is zero before the first try.
    pub(crate) fn waits_for_room(&self, error: &io::Error, asked: &mut u64) -> bool {
        let mut state = self.state.lock();
        if !media::is_full(error) || !state.running || state.poisoned {
            return false;
        }
        // Who asked while this was tried is not refused for it: there may be room by now.
        if std::mem::replace(asked, state.room_asked) == state.room_asked {
            // Nothing is lost as long as the log holds it, or it is kept. Each request that is refused for lack of space asks again.
            state.medium_full = true;
            self.publish(&state);
            self.house_wake.wait(&mut state);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex as Untold;

    use smallvec::smallvec;

    use super::*;

    /// A medium that remembers what it was given to write, and tells of its end when it is told to.
    #[derive(Default)]
    struct Slow {
        content: Untold<Vec<(u64, Bytes)>>,
        begun: Untold<Vec<Writing>>,
        takes_none: bool,
        error: Untold<Option<io::ErrorKind>>,
        is_short: AtomicBool,
    }

    impl Slow {
        fn finish(&self) {
            for Writing { parts, done } in std::mem::take(&mut *self.begun.lock().unwrap()) {
                self.content.lock().unwrap().extend(parts);
                done.tell(Ok(()));
            }
        }
    }

    impl Media for Slow {
        fn read_at(&self, offset_bytes: u64, buffer: &mut [u8]) -> io::Result<()> {
            buffer.fill(0);
            for (at, data) in &*self.content.lock().unwrap() {
                if *at == offset_bytes {
                    buffer.copy_from_slice(data);
                }
            }
            Ok(())
        }

        fn write_at(&self, offset_bytes: u64, data: &[u8]) -> io::Result<()> {
            if let Some(kind) = *self.error.lock().unwrap() {
                return Err(kind.into());
            }
            self.content.lock().unwrap().push((offset_bytes, Bytes::copy_from_slice(data)));
            Ok(())
        }

        fn begin_write(&self, writing: Writing) -> Result<(), Writing> {
            if self.takes_none {
                return Err(writing);
            }
            self.begun.lock().unwrap().push(writing);
            Ok(())
        }

        /// Whoever looks sees the end of everything.
        fn look(&self) {
            self.finish();
        }

        fn has_room_to_spare(&self) -> bool {
            !self.is_short.load(Ordering::Relaxed)
        }

        fn sync(&self) -> io::Result<()> {
            Ok(())
        }

        fn len_bytes(&self) -> io::Result<u64> {
            Ok(1 << 20)
        }

        fn set_len_bytes(&self, _: u64) -> io::Result<()> {
            Ok(())
        }
    }

    fn block(at: u64, tag: u8) -> (u64, Bytes) {
        (at * BLOCK_LEN, Bytes::from(vec![tag; BLOCK_BYTES]))
    }

    fn tags(behind: &Behind, media: &Slow, blocks: &[u64]) -> Vec<u8> {
        let mut buffers = vec![[0; BLOCK_BYTES]; blocks.len()];
        let parts = blocks.iter().zip(&mut buffers);
        let parts = parts.map(|(at, buffer)| ReadPart { offset_bytes: at * BLOCK_LEN, buffer });
        behind.read(media, &mut parts.collect::<Vec<_>>()).unwrap();
        buffers.iter().map(|buffer| buffer[17]).collect()
    }

    /// Tells, and nothing else.
    struct Teller(Arc<Behind>);

    impl Listener for Teller {
        fn ended(&self, flight: u64, result: io::Result<()>) {
            self.0.landed(flight, result.is_ok());
        }
    }

    fn begin(behind: &Arc<Behind>, media: &Slow) -> bool {
        behind.begin(media, Arc::new(Teller(Arc::clone(behind))))
    }

    fn settle(behind: &Arc<Behind>, media: &Slow) -> io::Result<()> {
        let teller: Arc<dyn Listener> = Arc::new(Teller(Arc::clone(behind)));
        behind.settle(media, &teller)
    }

    fn behind() -> Arc<Behind> {
        let behind = Behind::default();
        behind.set_limit(4 * BLOCK_LEN, &Slow::default());
        Arc::new(behind)
    }

    #[test]
    fn what_is_kept_is_read_until_the_medium_has_it() {
        let (behind, media) = (behind(), Slow::default());
        media.write_at(7 * BLOCK_LEN, &[9; BLOCK_BYTES]).unwrap();
        behind.enter(smallvec![block(5, 1), block(8, 2)], KeptBlocks::new());
        assert_eq!(tags(&behind, &media, &[5, 6, 7, 8]), [1, 0, 9, 2], "it is not even begun");
        assert!(begin(&behind, &media) && begin(&behind, &media));
        assert_eq!(media.begun.lock().unwrap().len(), 1, "once");
        assert_eq!(tags(&behind, &media, &[8, 5]), [2, 1]);
        assert!(behind.has_any_of([(5 * BLOCK_LEN, BLOCK_BYTES)].into_iter()));
        media.finish();
        assert!(!behind.has_any_of([(5 * BLOCK_LEN, BLOCK_BYTES)].into_iter()));
        assert_eq!(tags(&behind, &media, &[5, 6, 7, 8]), [1, 0, 9, 2], "from the medium");
    }

    #[test]
    fn no_more_is_kept_than_there_is_room_for() {
        let (behind, media) = (behind(), Slow::default());
        assert!(behind.takes(4 * BLOCK_BYTES) && !behind.takes(5 * BLOCK_BYTES));
        behind.enter(smallvec![block(1, 1), block(2, 2), block(3, 3)], KeptBlocks::new());
        assert!(behind.takes(BLOCK_BYTES) && !behind.takes(2 * BLOCK_BYTES));
        behind.pause(true);
        assert!(!behind.takes(1));
        behind.pause(false);
        settle(&behind, &media).unwrap();
        assert!(behind.takes(4 * BLOCK_BYTES));
        assert!(!Behind::default().takes(1), "nobody said how much");
        for is_short in [true, false] {
            media.is_short.store(is_short, Ordering::Relaxed);
            settle(&behind, &media).unwrap();
            assert_eq!(behind.takes(BLOCK_BYTES), !is_short, "who syncs looks");
        }
    }

    #[test]
    fn settling_waits_for_all_and_begins_what_is_not_begun() {
        let (behind, media) = (behind(), Slow::default());
        settle(&behind, &media).unwrap();
        behind.enter(smallvec![block(1, 1)], KeptBlocks::new());
        assert!(begin(&behind, &media));
        behind.enter(smallvec![block(2, 2)], KeptBlocks::new());
        settle(&behind, &media).unwrap();
        assert_eq!(media.content.lock().unwrap().len(), 2);
    }

    #[test]
    fn what_is_refused_is_kept_and_tried_again_by_who_settles() {
        let (behind, media) = (behind(), Slow { takes_none: true, ..Slow::default() });
        behind.enter(smallvec![block(1, 1)], KeptBlocks::new());
        assert!(!begin(&behind, &media), "it takes somebody who may wait");
        assert!(behind.is_stuck() && !behind.takes(BLOCK_BYTES), "who writes now is to hear what is wrong");
        for kind in [io::ErrorKind::StorageFull, io::ErrorKind::Other] {
            *media.error.lock().unwrap() = Some(kind);
            assert_eq!(settle(&behind, &media).unwrap_err().kind(), kind);
            assert_eq!(tags(&behind, &media, &[1]), [1], "it is kept");
        }
        *media.error.lock().unwrap() = None;
        settle(&behind, &media).unwrap();
        assert!(!behind.is_stuck() && behind.takes(BLOCK_BYTES));
        assert_eq!(*media.content.lock().unwrap(), [block(1, 1)]);
    }
}
