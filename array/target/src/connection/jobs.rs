//! What a connection does besides reading: futures that its own task polls, so that none of them costs a switch to another thread.

use std::future::poll_fn;
use std::panic::AssertUnwindSafe;

use futures_util::future::{BoxFuture, FutureExt as _};
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use lunshadow_lun::together;

use super::ConnectionError;
use super::full_feature::Event;

type Outcome = Result<Event, ConnectionError>;

/// The jobs of a connection. They go on while [`next`](Self::next) is waited for.
#[derive(Default)]
pub(super) struct Jobs(FuturesUnordered<BoxFuture<'static, Outcome>>);

impl Jobs {
    /// Begins a job.
    pub(super) fn begin(&mut self, job: impl Future<Output = Event> + Send + 'static) {
        // One that panics ends its connection in order, which waits for the others.
        let job = AssertUnwindSafe(job).catch_unwind();
        self.0.push(job.map(|ended| ended.map_err(|_| ConnectionError::Panicked)).boxed());
    }

    /// Waits for the next job that ends; `None` if there is none.
    pub(super) async fn next(&mut self) -> Option<Outcome> {
        // Those that are new begin their requests now.
        poll_fn(|context| together(|| self.0.poll_next_unpin(context))).await
    }

    /// Waits until all have ended, whatever comes of them.
    pub(super) async fn end(&mut self) {
        while self.next().await.is_some() {}
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}
