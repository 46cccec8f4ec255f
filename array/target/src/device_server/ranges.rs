//! Ranges of one LUN that commands write to. COMPARE AND WRITE and ORWRITE read, decide and write as one action: while they do, no other
//! command writes to their blocks. Plain writes do not wait for each other.
//!
//! Claims that collide are served in the order in which they were made, so none starves.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::oneshot;

/// The claims on one LUN.
#[derive(Debug, Default)]
pub(super) struct Ranges(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    next_id: u64,
    held: Vec<Claim>,
    waiting: VecDeque<(Claim, oneshot::Sender<Held>)>,
    /// How many exclusive claims there are. Without any, nothing collides and nothing is compared.
    exclusive_count: usize,
}

#[derive(Debug, Clone)]
struct Claim {
    id: u64,
    blocks: Range<u64>,
    exclusive: bool,
}

/// A range that is claimed until this is dropped.
#[derive(Debug)]
pub(super) struct Held {
    ranges: Arc<Ranges>,
    id: u64,
}

impl Ranges {
    /// Claims blocks for writing, in company of other plain writes.
    pub(super) async fn shared(self: &Arc<Self>, blocks: Range<u64>) -> Held {
        self.claim(blocks, false).await
    }

    /// As [`shared`](Self::shared), if nobody has to be waited for.
    pub(super) fn shared_now(self: &Arc<Self>, blocks: Range<u64>) -> Option<Held> {
        self.try_claim(blocks, false).ok()
    }

    /// Claims blocks alone.
    pub(super) async fn exclusive(self: &Arc<Self>, blocks: Range<u64>) -> Held {
        self.claim(blocks, true).await
    }

    async fn claim(self: &Arc<Self>, blocks: Range<u64>, exclusive: bool) -> Held {
        let served = match self.try_claim(blocks, exclusive) {
            Ok(held) => return held,
            Err((mut table, claim)) => {
                table.exclusive_count += usize::from(exclusive);
                let (serve, served) = oneshot::channel();
                table.waiting.push_back((claim, serve));
                served
            }
        };
        // Whoever holds what is waited for serves the claim when it is dropped.
        served.await.expect("claims are served before they are forgotten")
    }

    /// The claim and the table that it may be put into, if it has to wait.
    fn try_claim(
        self: &Arc<Self>,
        blocks: Range<u64>,
        exclusive: bool,
    ) -> Result<Held, (MutexGuard<'_, Table>, Claim)> {
        let mut table = self.0.lock();
        let id = table.next_id;
        table.next_id += 1;
        let claim = Claim { id, blocks, exclusive };
        if table.collides(&claim, table.waiting.len()) {
            return Err((table, claim));
        }
        table.exclusive_count += usize::from(exclusive);
        table.held.push(claim);
        Ok(Held { ranges: self.clone(), id })
    }

    fn release(self: &Arc<Self>, id: u64) {
        let mut table = self.0.lock();
        let place = table.held.iter().position(|claim| claim.id == id).expect("it is held");
        let released = table.held.swap_remove(place);
        table.exclusive_count -= usize::from(released.exclusive);
        let mut served = Vec::new();
        let mut at = 0;
        while at < table.waiting.len() {
            if table.collides(&table.waiting[at].0, at) {
                at += 1;
                continue;
            }
            let (claim, serve) = table.waiting.remove(at).expect("it was looked at above");
            served.push((serve, Held { ranges: self.clone(), id: claim.id }));
            table.held.push(claim);
        }
        drop(table);
        // A claim whose command is gone releases itself here.
        for (serve, held) in served {
            drop(serve.send(held));
        }
    }
}

impl Table {
    /// Whether a claim has to wait for what is held, or for the first `earlier` that wait.
    fn collides(&self, claim: &Claim, earlier: usize) -> bool {
        if self.exclusive_count == 0 && !claim.exclusive {
            return false;
        }
        let waiting = self.waiting.iter().take(earlier).map(|(claim, _)| claim);
        self.held.iter().chain(waiting).any(|other| claim.collides(other))
    }
}

impl Claim {
    fn collides(&self, other: &Self) -> bool {
        (self.exclusive || other.exclusive)
            && self.blocks.start < other.blocks.end
            && other.blocks.start < self.blocks.end
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.ranges.release(self.id);
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    fn poll<T>(future: std::pin::Pin<&mut impl Future<Output = T>>) -> Option<T> {
        match future.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(value) => Some(value),
            Poll::Pending => None,
        }
    }

    #[test]
    fn plain_writes_share_and_exclusive_ones_wait_for_what_they_touch() {
        let ranges = Arc::new(Ranges::default());
        let first = poll(pin!(ranges.shared(0..8))).expect("nothing collides");
        let second = poll(pin!(ranges.shared(4..12))).expect("writes share");
        let mut alone = pin!(ranges.exclusive(8..9));
        assert!(poll(alone.as_mut()).is_none(), "the second write is there");
        // What comes later does not overtake it, unless it touches other blocks.
        let mut later = pin!(ranges.shared(8..10));
        assert!(poll(later.as_mut()).is_none());
        let elsewhere = poll(pin!(ranges.exclusive(100..101))).expect("other blocks");
        drop(first);
        assert!(poll(alone.as_mut()).is_none());
        drop(second);
        let alone = poll(alone.as_mut()).expect("its turn");
        assert!(poll(later.as_mut()).is_none());
        drop(alone);
        drop(poll(later.as_mut()).expect("its turn"));
        drop(elsewhere);
        let table = ranges.0.lock();
        assert!(table.held.is_empty() && table.waiting.is_empty() && table.exclusive_count == 0);
    }

    #[test]
    fn a_claim_that_is_given_up_holds_nobody_up() {
        let ranges = Arc::new(Ranges::default());
        let first = poll(pin!(ranges.exclusive(0..8))).expect("nothing collides");
        {
            let mut given_up = pin!(ranges.exclusive(0..8));
            assert!(poll(given_up.as_mut()).is_none());
        }
        let mut third = pin!(ranges.shared(0..1));
        assert!(poll(third.as_mut()).is_none());
        drop(first);
        assert!(poll(third.as_mut()).is_some());
        assert_eq!(ranges.0.lock().exclusive_count, 0);
    }
}
