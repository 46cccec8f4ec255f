//! Gathered writes without threads: whoever asks begins a batch, and whoever sees its end changes the maps and begins the next one.
//!
//! Many writes at once go to a thread, and so does what may have to wait: pages of maps or counts that are not in memory, and whatever does not go
//! smoothly. Nobody has to wait for a batch, so that those who asked may go.

use std::io;
use std::sync::Arc;

use lunshadow_lun::Submit as _;
use tokio::runtime::Handle;

use crate::gathering::{Busy, Gatherer, Stored};
use crate::media::{self, OnWritten, Writing};

/// With more requests than this under way, threads are the better way: sums are made and maps are changed beside the connections, and what it takes to
/// wake a thread is shared by many writes.
pub(crate) const REQUESTS_MAX: u64 = 2;

/// A gatherer that has a thread only where it needs one.
pub(crate) struct Unthreaded {
    gatherer: Gatherer,
    /// Has threads for it. The end of a batch may be seen outside of it.
    runtime: Handle,
}

impl Unthreaded {
    /// On the runtime of whoever writes.
    pub(crate) fn new(gatherer: Gatherer) -> Self {
        Self { gatherer, runtime: Handle::current() }
    }

    /// Begins to write what waits, if anything does.
    pub(crate) fn go_on(mut self) {
        let shared = &self.gatherer.shared;
        if !shared.media.is_without_threads() || shared.requests.under_way() > REQUESTS_MAX {
            return self.with_thread(Gatherer::run);
        }
        let Some(members) = self.gatherer.next_members() else { return };
        match self.gatherer.claim_now(&members) {
            Some(claimed) => self.begin(Stored::to_be(members, claimed)),
            None => self.with_thread(move |mut gatherer| {
                gatherer.run_batch(members);
                gatherer.run();
            }),
        }
    }

    /// Writes a batch, whose end is waited for by those who asked.
    fn begin(self, stored: Stored) {
        // Outlives what it is about, which the batch may be the last to hold otherwise.
        let _busy = Busy::new(&self.gatherer.shared.gathering.gatherers);
        let shared = Arc::clone(&self.gatherer.shared);
        // It may be that nobody has come to what was answered, so that there is no room for more of that.
        shared.starter().submit();
        let parts = stored.parts();
        let batch = Batch { stored, unthreaded: self };
        if parts.is_empty() {
            return batch.written(Ok(()));
        }
        let done = OnWritten::Call(Box::new(move |result| batch.written(result)));
        if let Err(Writing { done, .. }) = shared.media.begin_write(Writing { parts, done }) {
            done.tell(Err(io::ErrorKind::WouldBlock.into()));
        }
    }

    /// If the runtime has ended, those who wait hear that nobody answers.
    fn with_thread(self, work: impl FnOnce(Gatherer) + Send + 'static) {
        let Self { gatherer, runtime } = self;
        runtime.spawn_blocking(move || work(gatherer));
    }
}

/// A batch that is on its way to the medium.
struct Batch {
    stored: Stored,
    unthreaded: Unthreaded,
}

impl Batch {
    /// It is there, or it may be there in part, or nothing of it was begun.
    fn written(self, result: io::Result<()>) {
        let Self { stored, unthreaded } = self;
        let shared = &unthreaded.gatherer.shared;
        let parts = stored.parts();
        if result.is_err() {
            shared.read_cache.overwritten(&media::parts_of(&parts));
            let members = stored.undo(shared);
            return unthreaded.with_thread(move |mut gatherer| {
                gatherer.run_batch(members);
                gatherer.run();
            });
        }
        shared.read_cache.written_blocks(&parts);
        let left = stored.map_now(shared);
        if left.is_nothing() {
            unthreaded.go_on();
        } else {
            unthreaded.with_thread(move |gatherer| {
                left.finish(&gatherer.shared);
                gatherer.run();
            });
        }
    }
}
