//! Claims on something that there is only so much of, served in the order in which they were made.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};

/// Permits of a semaphore, or a place in the queue for them.
pub(crate) enum Claim {
    /// Nothing is needed.
    Nothing,
    /// The permits are there.
    Granted(OwnedSemaphorePermit),
    /// They will be, after all claims that were made before.
    Queued(Waiting),
    /// Somebody else waits for them and will bring them.
    Elsewhere,
}

type Waiting = Pin<Box<dyn Future<Output = Result<OwnedSemaphorePermit, AcquireError>> + Send>>;

impl Claim {
    /// Claims permits. The claim has its place in the queue when this returns.
    pub(crate) fn make(semaphore: &Arc<Semaphore>, permits: u32) -> Self {
        // While claims are queued the semaphore has no permits left over, so nobody overtakes them here.
        if let Ok(permit) = semaphore.clone().try_acquire_many_owned(permits) {
            return Self::Granted(permit);
        }
        let mut waiting: Waiting = Box::pin(semaphore.clone().acquire_many_owned(permits));
        // A semaphore queues a waiter at its first poll. Whoever waits for the claim polls it again and is woken then.
        match waiting.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(permit) => permit.map_or(Self::Nothing, Self::Granted),
            Poll::Pending => Self::Queued(waiting),
        }
    }

    /// Waits until it is served. The answer is to be kept as long as the permits are needed.
    pub(crate) async fn served(self) -> Option<OwnedSemaphorePermit> {
        match self {
            Self::Nothing | Self::Elsewhere => None,
            Self::Granted(permit) => Some(permit),
            // The semaphores here are never closed.
            Self::Queued(waiting) => waiting.await.ok(),
        }
    }

    /// What it was served with, if it was. To be kept as long as it is needed.
    pub(crate) fn granted(self) -> Option<OwnedSemaphorePermit> {
        if let Self::Granted(permit) = self { Some(permit) } else { None }
    }

    /// Whether there is nothing to wait for.
    pub(crate) const fn is_served(&self) -> bool {
        matches!(self, Self::Nothing | Self::Granted(_))
    }
}
