//! Transfers that are under way without a thread each.
//!
//! Whoever reads or writes gives the requests to the kernel and goes on. Somebody looks at what has ended, and tells: a driver, which is polled on
//! the runtime of those who wait, so that they go on without a switch of threads; or a thread of this module, as long as there is no driver. The
//! memory belongs to this module until then, so that nobody has to wait for a transfer that he is no longer interested in.

#![expect(unsafe_code, reason = "the kernel is given memory that it uses while this module owns it")]

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;

use io_uring::{IoUring, opcode, squeue};
use lunshadow_lun::{Submit, submit_later};
use parking_lot::{Condvar, Mutex};
use rustix::io::Errno;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::Notify;

use super::Driver;
use super::slots::{ENTRIES, Transfer, UnderWay};

/// The request that ends the thread.
const STOP: u64 = u64::MAX;

/// A ring, and whoever watches it. Dropping it waits for all that is under way.
pub(super) struct InFlight {
    inner: Arc<Inner>,
}

struct Inner {
    ring: IoUring,
    unit: usize,
    under_way: Mutex<UnderWay>,
    /// Told when nothing is under way any more.
    is_idle: Condvar,
    /// Held by whoever adds requests or passes them on, which takes the kernel longer than others should wait for `under_way`.
    adding: Mutex<()>,
    /// Held by whoever takes something that has ended out of the ring.
    ending: Mutex<()>,
    /// How many requests nobody has taken out of the ring yet.
    unseen: AtomicUsize,
    watch: Mutex<Watch>,
    /// Whether that is anybody.
    is_watched: AtomicBool,
    /// Ends the driver.
    closed: Notify,
}

/// Who looks at what has ended.
enum Watch {
    Nobody,
    Driver,
    Thread(JoinHandle<()>),
}

/// How long to wait for something that has ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wait {
    /// Not at all.
    No,
    /// As long as there is something under way.
    WhileBusy,
    /// For ever.
    Yes,
}

impl InFlight {
    /// Makes a ring.
    ///
    /// # Errors
    /// If the kernel has no rings, or does not let this process have any.
    pub(super) fn new(file: &File, unit: usize) -> io::Result<Self> {
        // Whoever has submitted is not interrupted for what has ended: it looks for that, or sleeps in the kernel. Older kernels do not know that.
        let ring = IoUring::builder().dontfork().setup_coop_taskrun().build(ENTRIES);
        let ring = ring.or_else(|_| IoUring::builder().dontfork().build(ENTRIES))?;
        let under_way = UnderWay::new(file.try_clone()?);
        let inner = Inner {
            ring,
            unit,
            under_way: Mutex::new(under_way),
            is_idle: Condvar::new(),
            adding: Mutex::default(),
            ending: Mutex::default(),
            unseen: AtomicUsize::new(0),
            watch: Mutex::new(Watch::Nobody),
            is_watched: AtomicBool::new(false),
            closed: Notify::new(),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Begins a transfer, at the end of [`together`](lunshadow_lun::together) if there is one.
    ///
    /// # Errors
    /// The transfer, if there are too many.
    pub(super) fn begin(&self, transfer: Transfer) -> Result<(), Transfer> {
        self.inner.add(transfer)?;
        if !self.inner.is_watched.load(Ordering::SeqCst) {
            Inner::watch_by_thread(&self.inner);
        }
        if !submit_later(&self.inner) {
            self.inner.submit();
        }
        Ok(())
    }

    /// See [`Media::driver`](super::Media::driver).
    pub(super) fn driver(&self) -> Driver {
        Box::pin(drive(Arc::clone(&self.inner)))
    }

    /// Takes to its end what has ended, whoever watches.
    pub(super) fn look(&self) {
        self.inner.submit();
        self.inner.conclude_ended(Wait::No);
    }

    /// Waits until nothing is under way, whoever watches.
    pub(super) fn settle(&self) {
        self.inner.settle();
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.settle();
        let watch = std::mem::replace(&mut *self.inner.watch.lock(), Watch::Nobody);
        if let Watch::Thread(thread) = watch {
            self.inner.queue(&[opcode::Nop::new().build().user_data(STOP)]);
            self.inner.submit();
            // It panics only if one who was told did.
            drop(thread.join());
        }
        self.inner.under_way.lock().close();
        self.inner.closed.notify_one();
    }
}

/// Watches a ring until it is dropped, or this is. Somebody else does it already if this ends at once.
async fn drive(inner: Arc<Inner>) {
    let Some(driving) = Driving::begin(inner) else { return };
    let watched = Watched(Arc::clone(&driving.0));
    // SAFETY: its descriptor is that of the ring, which it holds as long as it is registered, and always the same.
    let registered = unsafe { AsyncFd::register_with_interest(watched, Interest::READABLE) };
    let Ok(ring) = registered else { return };
    loop {
        // What ended before the first look has not been told of.
        driving.0.conclude_ended(Wait::No);
        tokio::select! {
            () = driving.0.closed.notified() => return,
            ready = ring.readable() => match ready {
                // Before the look, so that what ends during it is not missed.
                Ok(mut ready) => ready.clear_ready(),
                Err(_) => return,
            },
        }
    }
}

/// A ring as something to wait for: it is readable when something has ended.
struct Watched(Arc<Inner>);

impl AsRawFd for Watched {
    fn as_raw_fd(&self) -> RawFd {
        self.0.ring.as_raw_fd()
    }
}

/// The ring has a driver until this is dropped.
struct Driving(Arc<Inner>);

impl Driving {
    fn begin(inner: Arc<Inner>) -> Option<Self> {
        {
            let mut watch = inner.watch.lock();
            if !matches!(*watch, Watch::Nobody) {
                return None;
            }
            *watch = Watch::Driver;
            inner.is_watched.store(true, Ordering::SeqCst);
        }
        Some(Self(inner))
    }
}

impl Drop for Driving {
    fn drop(&mut self) {
        *self.0.watch.lock() = Watch::Nobody;
        self.0.is_watched.store(false, Ordering::SeqCst);
        // Whoever begins something now sees that, and whatever was begun before is seen here.
        if self.0.unseen.load(Ordering::SeqCst) > 0 {
            Inner::watch_by_thread(&self.0);
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
                    // What is left goes with the next request, or with whoever waits.
                    tracing::error!(%error, "the kernel takes no requests");
                    return;
                }
            }
        }
    }
}

impl Inner {
    /// Queues the requests of a transfer.
    fn add(&self, transfer: Transfer) -> Result<(), Transfer> {
        let requests = self.under_way.lock().enter(transfer)?;
        self.unseen.fetch_add(requests.len(), Ordering::SeqCst);
        self.queue(&requests);
        Ok(())
    }

    fn queue(&self, requests: &[squeue::Entry]) {
        let _adding = self.adding.lock();
        // SAFETY: the lock is held, so this is the only queue of submissions.
        let mut queue = unsafe { self.ring.submission_shared() };
        // SAFETY: the memory belongs to the slot, which nobody looks at before all its requests have ended, and which is not
        // dropped before either, since dropping the ring waits for them. There is room: one place is left to the request that stops.
        let pushed = unsafe { queue.push_multiple(requests) };
        debug_assert!(pushed.is_ok(), "no more are under way than there is room for");
    }

    /// Lets a thread watch, unless somebody does.
    fn watch_by_thread(this: &Arc<Self>) {
        let mut watch = this.watch.lock();
        if !matches!(*watch, Watch::Nobody) {
            return;
        }
        let watching = Arc::clone(this);
        let thread = std::thread::Builder::new()
            .name("store-in-flight".to_owned())
            .spawn(move || watching.conclude_ended(Wait::Yes));
        match thread {
            Ok(thread) => {
                *watch = Watch::Thread(thread);
                this.is_watched.store(true, Ordering::SeqCst);
            }
            Err(error) => {
                drop(watch);
                tracing::error!(%error, "nobody can watch transfers, so they are waited for");
                this.settle();
            }
        }
    }

    /// Waits until nothing is under way.
    fn settle(&self) {
        self.submit();
        if !matches!(*self.watch.lock(), Watch::Thread(_)) {
            // A driver may be polled by the thread that waits here.
            self.conclude_ended(Wait::WhileBusy);
        }
        let mut under_way = self.under_way.lock();
        while !under_way.is_empty() {
            self.is_idle.wait(&mut under_way);
        }
    }

    /// Takes to their ends what the kernel has done.
    fn conclude_ended(&self, wait: Wait) {
        while let Some((user_data, outcome)) = self.next_ended(wait) {
            if user_data == STOP {
                return;
            }
            self.conclude(user_data, outcome);
        }
    }

    /// One request that has ended. No lock is held when it is concluded: those who are told may drop the ring.
    fn next_ended(&self, wait: Wait) -> Option<(u64, i32)> {
        let _ending = self.ending.lock();
        loop {
            // SAFETY: the lock is held, so nobody else looks at what has ended.
            let ended = unsafe { self.ring.completion_shared() }.next();
            if let Some(entry) = ended {
                if entry.user_data() != STOP {
                    self.unseen.fetch_sub(1, Ordering::SeqCst);
                }
                return Some((entry.user_data(), entry.result()));
            }
            match wait {
                Wait::No => return None,
                Wait::WhileBusy if self.unseen.load(Ordering::SeqCst) == 0 => return None,
                Wait::WhileBusy | Wait::Yes => {}
            }
            if self.ring.submit_and_wait(1).is_err() {
                // Interrupted, or out of memory for the moment.
                std::thread::yield_now();
            }
        }
    }

    /// A request has ended.
    fn conclude(&self, user_data: u64, outcome: i32) {
        let ended = {
            let mut under_way = self.under_way.lock();
            let ended = under_way.conclude(user_data, outcome, self.unit);
            if under_way.is_empty() {
                self.is_idle.notify_all();
            }
            ended
        };
        if let Some(ended) = ended {
            ended.tell();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt as _;
    use std::sync::mpsc;

    use bytes::Bytes;
    use lunshadow_lun::AlignedBuffer;

    use super::super::{Reading, Writing};
    use super::*;
    use crate::media::OnWritten;

    /// A ring on a file, unless this machine has none.
    #[expect(clippy::print_stderr, reason = "whoever runs the tests should know what they did not prove")]
    fn ring(file: &File) -> Option<InFlight> {
        InFlight::new(file, 1)
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
                assert!(ring.begin(Transfer::Reading(reading)).is_ok());
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
        assert!(ring.begin(Transfer::Reading(beyond)).is_ok());
        assert_eq!(told.recv().unwrap().unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        let (good, told) = reading(vec![(512, 0..512)], 512);
        assert!(ring.begin(Transfer::Reading(good)).is_ok());
        assert_eq!(*told.recv().unwrap().unwrap(), [0; 512]);
    }

    #[test]
    fn too_many_are_given_back_and_dropping_waits_for_the_rest() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(1 << 20).unwrap();
        let Some(ring) = ring(&file) else { return };
        let (reading_of_all, _told) = reading(vec![(0, 0..1); 1024], 1);
        let Err(Transfer::Reading(given_back)) = ring.begin(Transfer::Reading(reading_of_all)) else {
            panic!("they are too many")
        };
        assert_eq!(given_back.parts.len(), 1024);
        let told: Vec<Told> = (0..100)
            .map(|number| {
                let (reading, told) = reading(vec![(number * 512, 0..512)], 512);
                assert!(ring.begin(Transfer::Reading(reading)).is_ok());
                told
            })
            .collect();
        drop(ring);
        assert!(told.iter().all(|told| told.try_recv().is_ok_and(|result| result.is_ok())), "all were told before");
    }

    fn writing(parts: Vec<(u64, Bytes)>) -> (Writing, mpsc::Receiver<io::Result<()>>) {
        let (tell, told) = mpsc::channel();
        let done = OnWritten::Call(Box::new(move |result| drop(tell.send(result))));
        (Writing { parts: parts.into(), done }, told)
    }

    #[test]
    fn parts_are_written_where_they_belong() {
        let file = tempfile::tempfile().unwrap();
        let Some(ring) = ring(&file) else { return };
        let part = |number: u8| (u64::from(number) * 512, Bytes::from(vec![number; 512]));
        let (transfer, told) = writing([3, 4, 5, 9, 1, 2].map(part).to_vec());
        assert!(ring.begin(Transfer::Writing(transfer)).is_ok());
        told.recv().unwrap().unwrap();
        let mut found = [0; 5120];
        file.read_exact_at(&mut found, 0).unwrap();
        for (number, block) in (0..).zip(found.chunks(512)) {
            let expected = if [1, 2, 3, 4, 5, 9].contains(&number) { number } else { 0 };
            assert!(block.iter().all(|byte| *byte == expected), "block {number}");
        }
    }

    #[test]
    fn writes_that_cannot_be_are_told_of() {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let Some(ring) = ring(&full) else { return };
        let (transfer, told) = writing(vec![(0, Bytes::from_static(&[1; 512]))]);
        assert!(ring.begin(Transfer::Writing(transfer)).is_ok());
        assert_eq!(told.recv().unwrap().unwrap_err().kind(), io::ErrorKind::StorageFull);
    }

    /// Begins a read of a file with 512 zeros, and gives what will be told.
    fn begin_one(ring: &InFlight) -> Told {
        let (reading, told) = reading(vec![(0, 0..512)], 512);
        assert!(ring.begin(Transfer::Reading(reading)).is_ok());
        told
    }

    fn is_watched_by_thread(ring: &InFlight) -> bool {
        matches!(*ring.inner.watch.lock(), Watch::Thread(_))
    }

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap()
    }

    #[test]
    fn a_driver_takes_transfers_to_their_ends_and_ends_with_the_ring() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(512).unwrap();
        let Some(ring) = ring(&file) else { return };
        runtime().block_on(async {
            let driver = tokio::spawn(ring.driver());
            tokio::task::yield_now().await;
            for _ in 0..100 {
                let (tell, told) = tokio::sync::oneshot::channel();
                let done = Box::new(move |result: io::Result<AlignedBuffer>| drop(tell.send(result)));
                let reading = Reading { parts: vec![(0, 0..512)], buffer: AlignedBuffer::zeroed(512), done };
                assert!(ring.begin(Transfer::Reading(reading)).is_ok());
                told.await.unwrap().unwrap();
            }
            assert!(!is_watched_by_thread(&ring));
            // Nobody polls the driver here.
            let told = begin_one(&ring);
            ring.settle();
            assert!(told.try_recv().unwrap().is_ok());
            drop(ring);
            driver.await.unwrap();
        });
    }

    #[test]
    fn without_a_driver_any_more_a_thread_goes_on() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(512).unwrap();
        let Some(ring) = ring(&file) else { return };
        let runtime = runtime();
        let driver = runtime.spawn(ring.driver());
        runtime.block_on(tokio::task::yield_now());
        let told = begin_one(&ring);
        drop(runtime);
        assert!(told.recv().unwrap().is_ok(), "begun while there was a driver");
        assert!(begin_one(&ring).recv().unwrap().is_ok());
        assert!(is_watched_by_thread(&ring));
        drop(driver);
        // One that comes too late has nothing to do.
        self::runtime().block_on(ring.driver());
    }
}
