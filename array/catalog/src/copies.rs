//! Full copies: LUNs of their own with the content that a LUN or shadow LUN had, sharing nothing with it.
//!
//! The content is frozen first, by a shadow LUN that only the array sees; so the copy is of one instant, and its source may change or go
//! meanwhile. The copy becomes visible when all of it is durable. One that a restart interrupts goes on.

use std::collections::{BTreeMap, VecDeque};
use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;

use lunshadow_control::{CopyPhase, CopyState, LunId, Outcome};
use lunshadow_lun::{Copier, Lba, LunHandle, Pool};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::catalog::Inner;
use crate::internal::{CopyDoc, WorkDoc};
use crate::records::Change;
use crate::{Catalog, CatalogError, Made, Name};

/// How many copies that are over are remembered.
const REMEMBERED_AT_MOST: usize = 64;

/// After so many bytes the way so far is made durable, so that a crash does not cost more than copying them again.
const KEEP_EVERY_BYTES: u64 = 1 << 30;

/// The copies that run, by the LUN that they fill, and the last ones that are over.
#[derive(Debug, Default)]
pub(crate) struct Copies(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    /// Those that a restart interrupted, before they go on.
    waiting: BTreeMap<LunId, CopyDoc>,
    running: BTreeMap<LunId, Running>,
    over: VecDeque<CopyState>,
}

#[derive(Debug)]
struct Running {
    doc: CopyDoc,
    state: watch::Sender<CopyState>,
    order: watch::Sender<(Order, Option<NonZeroU64>)>,
}

impl Running {
    /// Tells the copy what to do; its sender goes when it has done it.
    fn told(&self, order: Order) -> watch::Receiver<CopyState> {
        self.order.send_modify(|(told, _)| *told = order);
        self.state.subscribe()
    }
}

/// What a copy that runs is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    GoOn,
    /// It goes on when the array is started again.
    Pause,
    Cancel,
}

impl Copies {
    pub(crate) fn new(waiting: BTreeMap<LunId, CopyDoc>) -> Self {
        Self(Mutex::new(Known { waiting, ..Known::default() }))
    }

    /// Stops all, so that they go on when the array is started again.
    pub(crate) async fn pause(&self) {
        let states: Vec<_> = {
            let known = self.0.lock();
            known.running.values().map(|copy| copy.told(Order::Pause)).collect()
        };
        for mut state in states {
            // The sender goes when the copy has stopped.
            while state.changed().await.is_ok() {}
        }
    }
}

impl<P: Pool> Catalog<P> {
    /// Begins a full copy of a LUN or shadow LUN as it is now, to a new LUN. Answers when the content is frozen. The same copy that runs already
    /// is `AlreadySo`, and goes on at this rate.
    ///
    /// # Errors
    /// `UnknownLun`, `WrongState`, `SetAborted`, `NameTaken`, `OutOfSpace`, `LimitReached`, `PoolReadOnly`, `Medium`, `Database`.
    pub async fn start_copy(
        &self,
        source: LunId,
        name: Name,
        bytes_per_second: Option<NonZeroU64>,
    ) -> Result<Made<LunId>, CatalogError> {
        let inner = Arc::clone(&self.inner);
        self.complete(async move { inner.start_copy(source, name, bytes_per_second).await }).await
    }

    /// Goes on with the copies that a restart interrupted. Call it once, when the array serves.
    pub fn resume_copies(&self) {
        let waiting = std::mem::take(&mut self.inner.copies.0.lock().waiting);
        for (target, doc) in waiting {
            self.inner.spawn_copy(target, doc);
        }
    }

    /// The copies that run, and the last ones that are over.
    #[must_use]
    pub fn copies(&self) -> Vec<CopyState> {
        let known = self.inner.copies.0.lock();
        known.running.values().map(|copy| copy.state.borrow().clone()).chain(known.over.iter().cloned()).collect()
    }

    /// How the copy to the LUN of that name stands, after waiting for its end for at most `at_most`; `None` for one that nobody knows (any
    /// more).
    pub async fn copy_state(&self, name: &Name, at_most: Duration) -> Option<CopyState> {
        let running = {
            let known = self.inner.copies.0.lock();
            let found = known.running.values().find(|copy| copy.state.borrow().name == name.as_str());
            found.map(|copy| copy.state.subscribe())
        };
        if let Some(mut state) = running {
            // Whether it has ended or the time is up: what counts is how it stands then.
            let _ = timeout(at_most, state.wait_for(|state| state.phase != CopyPhase::Running)).await;
            return Some(state.borrow().clone());
        }
        let known = self.inner.copies.0.lock();
        known.over.iter().rev().find(|state| state.name == name.as_str()).cloned()
    }

    /// Gives a copy up. On return it is stopped, and nothing is left of it.
    pub async fn cancel_copy(&self, name: &Name) -> Outcome {
        let running = {
            let known = self.inner.copies.0.lock();
            let found = known.running.values().find(|copy| copy.state.borrow().name == name.as_str());
            found.map(|copy| copy.told(Order::Cancel))
        };
        let Some(mut state) = running else { return Outcome::AlreadySo };
        while state.changed().await.is_ok() {}
        if state.borrow().phase == CopyPhase::Cancelled { Outcome::Done } else { Outcome::AlreadySo }
    }
}

impl<P: Pool> Inner<P> {
    async fn start_copy(
        self: &Arc<Self>,
        source: LunId,
        name: Name,
        bytes_per_second: Option<NonZeroU64>,
    ) -> Result<Made<LunId>, CatalogError> {
        let _source_luns = self.source_luns.lock().await;
        {
            let known = self.copies.0.lock();
            let same = |copy: &Running| copy.doc.source == source && copy.state.borrow().name == name.as_str();
            if let Some((id, copy)) = known.running.iter().find(|(_, copy)| same(copy)) {
                copy.order.send_modify(|(_, rate)| *rate = bytes_per_second);
                copy.state.send_modify(|state| state.bytes_per_second = bytes_per_second.map(NonZeroU64::get));
                return Ok(Made { id: *id, outcome: Outcome::AlreadySo });
            }
        }
        {
            let state = self.state.lock();
            state.check_readable(source)?;
            state.check_name_free(&name)?;
        }
        let length = self.pool.open(source).map_err(|error| self.pool_failed(error))?.block_count();
        let (target, frozen) = (self.draw_internal(), self.draw_internal());
        let doc = CopyDoc { source, frozen, bytes_per_second, done_blocks: 0 };
        let begun = async {
            self.make_filling(target, name, length, WorkDoc::Copy(doc.clone())).await?;
            let frozen = self.freeze(source, frozen).await?;
            // Nobody shortens a LUN, and what it has grown meanwhile belongs to the copy.
            self.pool.create(target, frozen.block_count()).await.map_err(|error| self.pool_failed(error))
        };
        if let Err(error) = begun.await {
            self.drop_internal(target, &[target, frozen]).await;
            return Err(error);
        }
        self.spawn_copy(target, doc);
        Ok(Made { id: target, outcome: Outcome::Done })
    }

    fn spawn_copy(self: &Arc<Self>, target: LunId, doc: CopyDoc) {
        let len_bytes = self.pool.open(target).map_or(0, |handle| handle.block_count().bytes());
        let (name, source_name) = {
            let state = self.state.lock();
            let name_of = |lun| state.luns.get(&lun).map(|doc| doc.name.to_string());
            (name_of(target).unwrap_or_default(), name_of(doc.source))
        };
        let state = CopyState {
            name,
            lun: target,
            source: doc.source,
            source_name,
            phase: CopyPhase::Running,
            bytes_per_second: doc.bytes_per_second.map(NonZeroU64::get),
            len_bytes,
            done_bytes: Lba(doc.done_blocks).0 * u64::from(lunshadow_lun::LOGICAL_BLOCK_BYTES),
            written_bytes: 0,
            failure: None,
        };
        let (order, ordered) = watch::channel((Order::GoOn, doc.bytes_per_second));
        let running = Running { doc: doc.clone(), state: watch::Sender::new(state), order };
        self.copies.0.lock().running.insert(target, running);
        tokio::spawn(Arc::clone(self).run_copy(target, doc, ordered));
    }

    async fn run_copy(
        self: Arc<Self>,
        target: LunId,
        mut doc: CopyDoc,
        mut ordered: watch::Receiver<(Order, Option<NonZeroU64>)>,
    ) {
        let copied = self.copy_until(target, &mut doc, &mut ordered).await;
        let (phase, failure) = match copied {
            Ok((Order::GoOn, handle)) => match self.show_copy(target, &doc, handle).await {
                Ok(()) => (CopyPhase::Finished, None),
                // The record of it goes on to be that of a copy; the next opening finishes it.
                Err(error) => (CopyPhase::Failed, Some(error.to_string())),
            },
            Ok((Order::Pause, _)) => (CopyPhase::Running, None),
            Ok((Order::Cancel, _)) => {
                self.drop_internal(target, &[target, doc.frozen]).await;
                (CopyPhase::Cancelled, None)
            }
            Err(error) => {
                tracing::error!(%target, %error, "a full copy failed");
                self.drop_internal(target, &[target, doc.frozen]).await;
                (CopyPhase::Failed, Some(error))
            }
        };
        let mut known = self.copies.0.lock();
        let Some(ended) = known.running.remove(&target) else { return };
        ended.state.send_modify(|state| (state.phase, state.failure) = (phase, failure));
        if phase != CopyPhase::Running {
            if known.over.len() == REMEMBERED_AT_MOST {
                known.over.pop_front();
            }
            let over = ended.state.borrow().clone();
            known.over.push_back(over);
        }
    }

    /// Copies until the end or until something else is ordered. What was copied by then is durable.
    async fn copy_until(
        &self,
        target: LunId,
        doc: &mut CopyDoc,
        ordered: &mut watch::Receiver<(Order, Option<NonZeroU64>)>,
    ) -> Result<(Order, LunHandle), String> {
        let open = |lun| self.pool.open(lun).map_err(|error| error.to_string());
        let (from, to) = (open(doc.frozen)?, open(target)?);
        let mut copier = Copier::new(from, to.clone(), Lba(doc.done_blocks));
        let mut unkept_bytes = 0;
        let order = loop {
            let (order, rate) = *ordered.borrow_and_update();
            doc.bytes_per_second = rate;
            if order != Order::GoOn {
                break order;
            }
            let Some(step) = copier.step().await.map_err(|error| error.to_string())? else { break Order::GoOn };
            if let Some(copy) = self.copies.0.lock().running.get(&target) {
                copy.state.send_modify(|state| {
                    state.done_bytes += step.passed.bytes();
                    state.written_bytes += step.written_bytes;
                });
            }
            unkept_bytes += step.written_bytes;
            if unkept_bytes >= KEEP_EVERY_BYTES {
                self.keep_copy(target, &to, doc, copier.at()).await?;
                unkept_bytes = 0;
            }
            if let Some(rate) = rate {
                let pause = Duration::from_nanos(step.read_bytes.saturating_mul(1_000_000_000) / rate);
                let _ = timeout(pause, ordered.changed()).await;
            }
        };
        if order != Order::Cancel {
            self.keep_copy(target, &to, doc, copier.at()).await?;
        }
        Ok((order, to))
    }

    async fn keep_copy(&self, target: LunId, to: &LunHandle, doc: &mut CopyDoc, at: Lba) -> Result<(), String> {
        to.flush().await.map_err(|error| error.to_string())?;
        doc.done_blocks = at.0;
        let work = WorkDoc::Copy(doc.clone());
        self.write(vec![Change::PutWork(target, work)]).await.map_err(|error| error.to_string())
    }

    async fn show_copy(&self, target: LunId, doc: &CopyDoc, handle: LunHandle) -> Result<(), CatalogError> {
        let _source_luns = self.source_luns.lock().await;
        self.show_filled(target, handle).await?;
        self.drop_internal(target, &[doc.frozen]).await;
        Ok(())
    }
}
