//! The array's client, with faults.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lunshadow_array_client::{Array, ArrayError, CommitChannel, Preparation};
use lunshadow_control::{
    HostOverview, HostRecord, LunId, LunQuery, LunRecord, Outcome, ProblemCode, ResyncId, ResyncPair, ResyncState,
    ShadowKind, ShadowSetId, ShadowTarget, ShadowUse,
};

use crate::plan::Plan;

/// A request to the array.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Request {
    WhoAmI,
    Resolve,
    Prepare,
    WaitPrepared,
    OpenCommitChannel,
    Arm,
    Commit,
    Keep,
    Abort,
    Withdraw,
    Targets,
    Map,
    Unmap,
    Release,
    NoteUse,
    StartResync,
    ResyncState,
    CancelResync,
    Overview,
}

pub(crate) fn refused(code: ProblemCode) -> ArrayError {
    ArrayError::Refused { code, detail: "told so".to_owned() }
}

pub(crate) fn unreachable() -> ArrayError {
    ArrayError::Unreachable { detail: "told so".to_owned() }
}

/// What the faulty array does beside its duty.
#[derive(Default)]
pub(crate) struct ArrayScript {
    pub(crate) plan: Plan<Request, ArrayError>,
    /// Preparations do not end until the set is aborted.
    pub(crate) prepares_for_ever: AtomicBool,
    /// No request is answered, as if the array had crashed or the way to it were gone.
    pub(crate) is_down: AtomicBool,
    /// How often somebody has waited for a preparation.
    pub(crate) waits: AtomicUsize,
    /// The resyncs that were asked for.
    pub(crate) resyncs: Mutex<Vec<ResyncId>>,
}

impl ArrayScript {
    /// Carries out a request, with what goes wrong.
    fn run<T>(&self, request: &Request, call: impl FnOnce() -> Result<T, ArrayError>) -> Result<T, ArrayError> {
        if self.is_down.load(Ordering::SeqCst) { Err(unreachable()) } else { self.plan.run(request, call) }
    }
}

pub(crate) struct FaultyArray<A> {
    pub(crate) array: A,
    pub(crate) script: Arc<ArrayScript>,
}

impl<A: Array> Array for FaultyArray<A> {
    fn who_am_i(&self) -> Result<HostRecord, ArrayError> {
        self.script.run(&Request::WhoAmI, || self.array.who_am_i())
    }

    fn resolve(&self, queries: &[LunQuery]) -> Result<Vec<Option<LunRecord>>, ArrayError> {
        self.script.run(&Request::Resolve, || self.array.resolve(queries))
    }

    fn prepare(&self, set: ShadowSetId, luns: &[LunId]) -> Result<Outcome, ArrayError> {
        self.script.run(&Request::Prepare, || self.array.prepare(set, luns))
    }

    fn prepare_as(&self, kind: ShadowKind, set: ShadowSetId, luns: &[LunId]) -> Result<Outcome, ArrayError> {
        self.script.run(&Request::Prepare, || self.array.prepare_as(kind, set, luns))
    }

    fn wait_prepared(&self, set: ShadowSetId, at_most: Duration) -> Result<Preparation, ArrayError> {
        self.script.waits.fetch_add(1, Ordering::SeqCst);
        self.script.run(&Request::WaitPrepared, || {
            let preparation = self.array.wait_prepared(set, at_most)?;
            let endless = self.script.prepares_for_ever.load(Ordering::SeqCst);
            Ok(if endless { Preparation::Running } else { preparation })
        })
    }

    fn open_commit_channel(&self, set: ShadowSetId) -> Result<Box<dyn CommitChannel>, ArrayError> {
        self.script.run(&Request::OpenCommitChannel, || {
            let channel = self.array.open_commit_channel(set)?;
            Ok(Box::new(FaultyChannel { channel, script: Arc::clone(&self.script) }) as Box<dyn CommitChannel>)
        })
    }

    fn keep(&self, set: ShadowSetId) -> Result<Outcome, ArrayError> {
        self.script.run(&Request::Keep, || self.array.keep(set))
    }

    fn abort(&self, set: ShadowSetId) -> Result<Outcome, ArrayError> {
        self.script.run(&Request::Abort, || self.array.abort(set))
    }

    fn withdraw(&self, set: ShadowSetId) -> Result<Outcome, ArrayError> {
        self.script.run(&Request::Withdraw, || self.array.withdraw(set))
    }

    fn targets(&self, set: ShadowSetId) -> Result<Vec<ShadowTarget>, ArrayError> {
        self.script.run(&Request::Targets, || self.array.targets(set))
    }

    fn map(&self, luns: &[LunId]) -> Result<Vec<Outcome>, ArrayError> {
        self.script.run(&Request::Map, || self.array.map(luns))
    }

    fn unmap(&self, luns: &[LunId]) -> Result<Vec<Outcome>, ArrayError> {
        self.script.run(&Request::Unmap, || self.array.unmap(luns))
    }

    fn release(&self, shadow: LunId) -> Result<Outcome, ArrayError> {
        self.script.run(&Request::Release, || self.array.release(shadow))
    }

    fn note_use(&self, shadows: &[LunId], used: ShadowUse) -> Result<Vec<Outcome>, ArrayError> {
        self.script.run(&Request::NoteUse, || self.array.note_use(shadows, used))
    }

    fn start_resync(&self, resync: ResyncId, pairs: &[ResyncPair]) -> Result<ResyncState, ArrayError> {
        self.script.resyncs.lock().unwrap().push(resync);
        self.script.run(&Request::StartResync, || self.array.start_resync(resync, pairs))
    }

    fn resync_state(&self, resync: ResyncId, at_most: Duration) -> Result<ResyncState, ArrayError> {
        self.script.run(&Request::ResyncState, || self.array.resync_state(resync, at_most))
    }

    fn cancel_resync(&self, resync: ResyncId) -> Result<ResyncState, ArrayError> {
        self.script.run(&Request::CancelResync, || self.array.cancel_resync(resync))
    }

    fn overview(&self) -> Result<HostOverview, ArrayError> {
        self.script.run(&Request::Overview, || self.array.overview())
    }
}

struct FaultyChannel {
    channel: Box<dyn CommitChannel>,
    script: Arc<ArrayScript>,
}

impl CommitChannel for FaultyChannel {
    fn arm(&mut self, commit_at_most: Duration) -> Result<(), ArrayError> {
        self.script.run(&Request::Arm, || self.channel.arm(commit_at_most))
    }

    fn commit(&mut self) -> Result<(), ArrayError> {
        self.script.run(&Request::Commit, || self.channel.commit())
    }
}
