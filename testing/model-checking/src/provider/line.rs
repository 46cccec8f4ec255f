//! The channel between a provider and the array: every request stands still in it until the search says what becomes of it.

use std::sync::Arc;
use std::time::Duration;

use lunshadow_array_client::{Array, ArrayError, CommitChannel, Preparation};
use lunshadow_catalog::Catalog;
use lunshadow_control::{
    HostId, HostOverview, HostRecord, LunId, LunQuery, LunRecord, Outcome, ProblemCode, ResyncId, ResyncPair,
    ResyncState, ShadowSetId, ShadowTarget, ShadowUse,
};
use parking_lot::{Condvar, Mutex};

use crate::array::ModelPool;

/// A request on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Request {
    Prepare(ShadowSetId, Vec<LunId>),
    WaitPrepared(ShadowSetId),
    Arm(ShadowSetId),
    Commit(ShadowSetId),
    Keep(ShadowSetId),
    Abort(ShadowSetId),
    Withdraw(ShadowSetId),
    Map(Vec<LunId>),
    Release(LunId),
}

/// Its answer.
pub(super) type Reply = Result<Outcome, ArrayError>;

#[derive(Debug)]
struct Pending {
    request: Request,
    reply: Option<Reply>,
}

#[derive(Debug, Default)]
struct State {
    /// By number, in the order in which they came.
    pending: Vec<(u64, Pending)>,
    next: u64,
    /// Calls that are doing something, rather than waiting for an answer.
    running: usize,
    /// The process at this end is gone: nothing is sent any more.
    cut: bool,
}

/// One process' channel.
#[derive(Debug, Default)]
pub(super) struct Line {
    state: Mutex<State>,
    changed: Condvar,
}

impl Line {
    /// A call begins.
    pub(super) fn begin(&self) {
        self.state.lock().running += 1;
    }

    /// A call has ended.
    pub(super) fn finish(&self) {
        self.state.lock().running -= 1;
        self.changed.notify_all();
    }

    /// Waits until all calls have ended or wait for an answer.
    pub(super) fn settle(&self) {
        let mut state = self.state.lock();
        while state.running > 0 {
            self.changed.wait(&mut state);
        }
    }

    /// The requests that wait for an answer.
    pub(super) fn pending(&self) -> Vec<Request> {
        self.state.lock().pending.iter().map(|(_, pending)| pending.request.clone()).collect()
    }

    /// Answers the request at a place.
    pub(super) fn answer(&self, place: usize, reply: Reply) {
        let mut state = self.state.lock();
        if let Some((_, pending)) = state.pending.get_mut(place) {
            pending.reply = Some(reply);
            state.running += 1;
        }
        self.changed.notify_all();
    }

    /// Ends the process: what waits is not answered, what is sent goes nowhere.
    pub(super) fn cut(&self) {
        let mut state = self.state.lock();
        state.cut = true;
        let waiting = state.pending.len();
        for (_, pending) in &mut state.pending {
            pending.reply = Some(Err(unreachable()));
        }
        state.running += waiting;
        self.changed.notify_all();
    }

    fn ask(&self, request: Request) -> Reply {
        let mut state = self.state.lock();
        if state.cut {
            return Err(unreachable());
        }
        let number = state.next;
        state.next += 1;
        state.pending.push((number, Pending { request, reply: None }));
        state.running -= 1;
        self.changed.notify_all();
        loop {
            let place = state.pending.iter().position(|(other, _)| *other == number);
            let Some(place) = place else { return Err(unreachable()) };
            if let Some(reply) = state.pending[place].1.reply.take() {
                state.pending.remove(place);
                return reply;
            }
            self.changed.wait(&mut state);
        }
    }
}

/// What a caller gets whose request or answer is lost.
pub(super) fn unreachable() -> ArrayError {
    ArrayError::Unreachable { detail: "the search lost it".to_owned() }
}

/// The array, as a provider sees it through the channel. What changes nothing is asked without it.
#[derive(Debug, Clone)]
pub(super) struct ArrayOnLine {
    pub(super) line: Arc<Line>,
    pub(super) catalog: Arc<Mutex<Option<Arc<Catalog<ModelPool>>>>>,
    pub(super) host: HostId,
}

impl ArrayOnLine {
    fn directly<T>(
        &self,
        work: impl FnOnce(&Catalog<ModelPool>) -> Result<T, lunshadow_catalog::CatalogError>,
    ) -> Result<T, ArrayError> {
        let catalog = self.catalog.lock().clone().ok_or_else(unreachable)?;
        work(&catalog).map_err(|error| refused(&error))
    }
}

/// What a problem of the catalog is to a host.
pub(super) fn refused(error: &lunshadow_catalog::CatalogError) -> ArrayError {
    ArrayError::Refused { code: error.code(), detail: error.to_string() }
}

fn not_explored<T>() -> Result<T, ArrayError> {
    Err(ArrayError::Refused { code: ProblemCode::Internal, detail: "not part of the search".to_owned() })
}

impl Array for ArrayOnLine {
    fn who_am_i(&self) -> Result<HostRecord, ArrayError> {
        self.directly(|catalog| catalog.who_am_i(self.host))
    }

    fn resolve(&self, queries: &[LunQuery]) -> Result<Vec<Option<LunRecord>>, ArrayError> {
        self.directly(|catalog| catalog.resolve(self.host, queries))
    }

    fn prepare(&self, set: ShadowSetId, luns: &[LunId]) -> Result<Outcome, ArrayError> {
        self.line.ask(Request::Prepare(set, luns.to_vec()))
    }

    fn wait_prepared(&self, set: ShadowSetId, _at_most: Duration) -> Result<Preparation, ArrayError> {
        self.line.ask(Request::WaitPrepared(set)).map(|_| Preparation::Ready)
    }

    fn open_commit_channel(&self, set: ShadowSetId) -> Result<Box<dyn CommitChannel>, ArrayError> {
        self.directly(|catalog| catalog.check_armable(self.host, set))?;
        Ok(Box::new(ChannelOnLine { line: Arc::clone(&self.line), set }))
    }

    fn keep(&self, set: ShadowSetId) -> Result<Outcome, ArrayError> {
        self.line.ask(Request::Keep(set))
    }

    fn abort(&self, set: ShadowSetId) -> Result<Outcome, ArrayError> {
        self.line.ask(Request::Abort(set))
    }

    fn withdraw(&self, set: ShadowSetId) -> Result<Outcome, ArrayError> {
        self.line.ask(Request::Withdraw(set))
    }

    fn targets(&self, set: ShadowSetId) -> Result<Vec<ShadowTarget>, ArrayError> {
        self.directly(|catalog| catalog.targets(self.host, set))
    }

    fn map(&self, luns: &[LunId]) -> Result<Vec<Outcome>, ArrayError> {
        let outcome = self.line.ask(Request::Map(luns.to_vec()))?;
        Ok(vec![outcome; luns.len()])
    }

    fn unmap(&self, _luns: &[LunId]) -> Result<Vec<Outcome>, ArrayError> {
        not_explored()
    }

    fn release(&self, shadow: LunId) -> Result<Outcome, ArrayError> {
        self.line.ask(Request::Release(shadow))
    }

    fn note_use(&self, _shadows: &[LunId], _used: ShadowUse) -> Result<Vec<Outcome>, ArrayError> {
        not_explored()
    }

    fn start_resync(&self, _resync: ResyncId, _pairs: &[ResyncPair]) -> Result<ResyncState, ArrayError> {
        not_explored()
    }

    fn resync_state(&self, _resync: ResyncId, _at_most: Duration) -> Result<ResyncState, ArrayError> {
        not_explored()
    }

    fn cancel_resync(&self, _resync: ResyncId) -> Result<ResyncState, ArrayError> {
        not_explored()
    }

    fn overview(&self) -> Result<HostOverview, ArrayError> {
        self.directly(|catalog| catalog.overview(self.host))
    }
}

struct ChannelOnLine {
    line: Arc<Line>,
    set: ShadowSetId,
}

impl CommitChannel for ChannelOnLine {
    fn arm(&mut self, _commit_at_most: Duration) -> Result<(), ArrayError> {
        self.line.ask(Request::Arm(self.set)).map(drop)
    }

    fn commit(&mut self) -> Result<(), ArrayError> {
        self.line.ask(Request::Commit(self.set)).map(drop)
    }
}
