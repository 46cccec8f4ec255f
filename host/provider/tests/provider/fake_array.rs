//! An array in memory, with faults on request and a ledger of everything that it has.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use lunshadow_array_client::{Array, ArrayError, CommitChannel, Preparation};
use lunshadow_control::{
    Association, DesignatorKind, HostId, HostOverview, HostRecord, LunId, LunQuery, LunRecord, LunRole, MappedLun,
    Outcome, ProblemCode, ResyncId, ResyncPair, ResyncState, ShadowKind, ShadowSetId, ShadowTarget, ShadowUse,
    identity_of, lun_named_by,
};
use parking_lot::{Condvar, Mutex, MutexGuard};
use uuid::Uuid;

/// How a request fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    Refused(ProblemCode),
    Unreachable,
    /// The request is carried out, the answer is lost.
    AnswerLost,
}

/// When a request can be held back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moment {
    BeforeTheWork,
    BeforeTheAnswer,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    Prepared,
    Armed,
    Committed,
    Kept,
    Aborted,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FakeSet {
    pub(crate) stage: Stage,
    /// Source to shadow.
    pub(crate) members: BTreeMap<LunId, LunId>,
    /// The sources whose shadows are full copies.
    pub(crate) copied: BTreeSet<LunId>,
}

/// All that the array has. Two ledgers are equal if nothing changed in between.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ledger {
    pub(crate) luns: BTreeMap<LunId, LunRole>,
    pub(crate) sets: BTreeMap<ShadowSetId, FakeSet>,
    pub(crate) mapped: BTreeSet<LunId>,
    pub(crate) ever_mapped: BTreeSet<LunId>,
    /// What hosts do with shadow LUNs.
    pub(crate) uses: BTreeMap<LunId, ShadowUse>,
    /// Which shadow LUN's content a LUN got last.
    pub(crate) reverted: BTreeMap<LunId, LunId>,
}

impl Ledger {
    /// The shadow LUNs that exist.
    pub(crate) fn shadows(&self) -> Vec<LunId> {
        let is_shadow = |role: &LunRole| matches!(role, LunRole::Shadow { .. });
        self.luns.iter().filter(|(_, role)| is_shadow(role)).map(|(lun, _)| *lun).collect()
    }

    /// The sets that are neither aborted nor kept.
    pub(crate) fn unfinished(&self) -> Vec<ShadowSetId> {
        let unfinished = |set: &FakeSet| !matches!(set.stage, Stage::Aborted | Stage::Kept);
        self.sets.iter().filter(|(_, set)| unfinished(set)).map(|(id, _)| *id).collect()
    }

    fn remove(&mut self, set: ShadowSetId) {
        if let Some(removed) = self.sets.get_mut(&set) {
            removed.stage = Stage::Aborted;
            for shadow in std::mem::take(&mut removed.members).values() {
                self.luns.remove(shadow);
                self.mapped.remove(shadow);
            }
        }
    }

    fn find(&self, query: &LunQuery) -> Option<LunId> {
        let mut named: Vec<Option<LunId>> = Vec::new();
        for designator in query.designators.iter().filter(|one| one.association == Association::LUN) {
            match designator.kind {
                DesignatorKind::NAA => {
                    let bears = |lun: &&LunId| identity_of(**lun).designators.contains(designator);
                    named.push(self.luns.keys().find(bears).copied());
                }
                DesignatorKind::T10_VENDOR_ID => named.push(lun_named_by(designator)),
                _ => {}
            }
        }
        named.extend(query.serial.as_deref().and_then(|serial| serial.parse().ok()).map(Some));
        let first = (*named.first()?)?;
        (named.iter().all(|lun| *lun == Some(first)) && self.luns.contains_key(&first)).then_some(first)
    }
}

#[derive(Default)]
struct State {
    ledger: Ledger,
    calls: Vec<&'static str>,
    faults: HashMap<&'static str, (Fault, usize)>,
    preparing: bool,
    deaf_to_aborts: bool,
    waiting: usize,
    full: bool,
    /// There is no room for full copies.
    low: bool,
    commit_takes_ms: u64,
    next_shadow: u128,
    held: Option<(&'static str, Moment)>,
    resyncs: HashMap<ResyncId, (ResyncState, Vec<ResyncPair>)>,
    resyncs_take: bool,
    unanswered_takes_ms: u64,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    now_ms: AtomicU64,
}

/// The array, and the clock that its work moves.
#[derive(Clone, Default)]
pub(crate) struct FakeArray(Arc<Shared>);

impl FakeArray {
    /// An array with `sources` LUNs, numbered from 1.
    pub(crate) fn new(sources: u128) -> Self {
        Self::with(1..=sources)
    }

    pub(crate) fn with(sources: RangeInclusive<u128>) -> Self {
        let array = Self::default();
        let luns = sources.map(|number| (LunId::from_u128(number << 64 | number), LunRole::Source));
        array.0.state.lock().ledger.luns.extend(luns);
        array
    }

    pub(crate) fn ledger(&self) -> Ledger {
        self.0.state.lock().ledger.clone()
    }

    /// The requests since the last question.
    pub(crate) fn take_calls(&self) -> Vec<&'static str> {
        std::mem::take(&mut self.0.state.lock().calls)
    }

    pub(crate) fn fail(&self, request: &'static str, fault: Fault) {
        self.fail_times(request, fault, 1);
    }

    pub(crate) fn fail_times(&self, request: &'static str, fault: Fault, times: usize) {
        assert!(crate::faults::REQUESTS.contains(&request) || request == "who_am_i");
        self.0.state.lock().faults.insert(request, (fault, times));
    }

    pub(crate) fn heal(&self) {
        self.0.state.lock().faults.clear();
    }

    /// Whether preparations take until this is called with `false`.
    pub(crate) fn set_preparing(&self, preparing: bool) {
        self.0.state.lock().preparing = preparing;
        self.0.changed.notify_all();
    }

    /// Whether a wait for a preparation goes on although the set is aborted.
    pub(crate) fn set_deaf_to_aborts(&self) {
        self.0.state.lock().deaf_to_aborts = true;
    }

    pub(crate) fn set_low(&self) {
        self.0.state.lock().low = true;
    }

    pub(crate) fn set_full(&self) {
        self.0.state.lock().full = true;
    }

    pub(crate) fn set_commit_takes(&self, duration: Duration) {
        self.0.state.lock().commit_takes_ms = u64::try_from(duration.as_millis()).expect("a short time");
    }

    /// Whether resyncs run on until [`end_resyncs`](Self::end_resyncs). Otherwise they end where they begin.
    pub(crate) fn set_resyncs_take(&self) {
        self.0.state.lock().resyncs_take = true;
    }

    /// Ends all resyncs that run.
    pub(crate) fn end_resyncs(&self, how: &ResyncState) {
        let mut state = self.0.state.lock();
        let State { resyncs, ledger, .. } = &mut *state;
        for (resync, pairs) in resyncs.values_mut().filter(|(resync, _)| *resync == ResyncState::Running) {
            *resync = how.clone();
            if *how == ResyncState::Finished {
                ledger.reverted.extend(pairs.iter().map(|pair| (pair.target, pair.shadow)));
            }
        }
        self.0.changed.notify_all();
    }

    /// Forgets all resyncs, as an array does that is restarted.
    pub(crate) fn forget_resyncs(&self) {
        self.0.state.lock().resyncs.clear();
        self.0.changed.notify_all();
    }

    /// How many resyncs it knows.
    pub(crate) fn resync_count(&self) -> usize {
        self.0.state.lock().resyncs.len()
    }

    /// What passes on the clock until a host notices that a request is not answered.
    pub(crate) fn set_unanswered_takes(&self, duration: Duration) {
        self.0.state.lock().unanswered_takes_ms = u64::try_from(duration.as_millis()).expect("a short time");
    }

    /// Waits until a request of this kind was made since the last [`take_calls`](Self::take_calls).
    pub(crate) fn await_call(&self, request: &'static str) {
        let mut state = self.0.state.lock();
        while !state.calls.contains(&request) {
            self.0.changed.wait(&mut state);
        }
    }

    /// Holds a kind of request back, until this is called with `None`.
    pub(crate) fn hold(&self, held: Option<(&'static str, Moment)>) {
        self.0.state.lock().held = held;
        self.0.changed.notify_all();
    }

    /// Waits until a request waits inside the array.
    pub(crate) fn await_waiting(&self) {
        let mut state = self.0.state.lock();
        while state.waiting == 0 {
            self.0.changed.wait(&mut state);
        }
    }

    pub(crate) fn now(&self) -> Duration {
        Duration::from_millis(self.0.now_ms.load(Ordering::SeqCst))
    }
}

impl Shared {
    fn serve<T>(
        &self,
        request: &'static str,
        work: impl FnOnce(&mut State) -> Result<T, ArrayError>,
    ) -> Result<T, ArrayError> {
        let mut state = self.state.lock();
        state.calls.push(request);
        self.changed.notify_all();
        self.wait_while_held(&mut state, (request, Moment::BeforeTheWork));
        let fault = take_fault(&mut state, request);
        if matches!(fault, Some(Fault::Unreachable | Fault::AnswerLost)) {
            self.now_ms.fetch_add(state.unanswered_takes_ms, Ordering::SeqCst);
        }
        let lost = || ArrayError::Unreachable { detail: "no route".to_owned() };
        let answer = match fault {
            Some(Fault::Refused(code)) => Err(refused(code)),
            Some(Fault::Unreachable) => Err(lost()),
            Some(Fault::AnswerLost) => work(&mut state).and_then(|_| Err(lost())),
            None => work(&mut state),
        };
        self.changed.notify_all();
        self.wait_while_held(&mut state, (request, Moment::BeforeTheAnswer));
        answer
    }

    fn wait_while_held<'a>(&'a self, state: &mut MutexGuard<'a, State>, held: (&'static str, Moment)) {
        while state.held == Some(held) {
            self.wait(state, Duration::from_secs(60));
        }
    }

    fn wait<'a>(&'a self, state: &mut MutexGuard<'a, State>, at_most: Duration) -> bool {
        state.waiting += 1;
        self.changed.notify_all();
        let timed_out = self.changed.wait_for(state, at_most).timed_out();
        state.waiting -= 1;
        timed_out
    }
}

fn take_fault(state: &mut State, request: &'static str) -> Option<Fault> {
    let (fault, left) = state.faults.get_mut(request)?;
    let fault = *fault;
    *left -= 1;
    if *left == 0 {
        state.faults.remove(request);
    }
    Some(fault)
}

fn refused(code: ProblemCode) -> ArrayError {
    ArrayError::Refused { code, detail: format!("{code:?} in a test") }
}

fn live(ledger: &mut Ledger, set: ShadowSetId) -> Result<&mut FakeSet, ArrayError> {
    match ledger.sets.get_mut(&set) {
        None => Err(refused(ProblemCode::UnknownSet)),
        Some(set) if set.stage == Stage::Aborted => Err(refused(ProblemCode::SetAborted)),
        Some(set) => Ok(set),
    }
}

impl Array for FakeArray {
    fn who_am_i(&self) -> Result<HostRecord, ArrayError> {
        self.0.serve("who_am_i", |_| {
            Ok(HostRecord { host: HostId(Uuid::from_u128(1)), name: "host".to_owned(), initiators: Vec::new() })
        })
    }

    fn resolve(&self, queries: &[LunQuery]) -> Result<Vec<Option<LunRecord>>, ArrayError> {
        self.0.serve("resolve", |state| {
            let record = |query: &LunQuery| {
                let lun = state.ledger.find(query)?;
                let role = state.ledger.luns[&lun];
                Some(LunRecord {
                    lun,
                    identity: identity_of(lun),
                    role,
                    can_shadow: !state.full,
                    can_copy: !state.full && !state.low,
                })
            };
            Ok(queries.iter().map(record).collect())
        })
    }

    fn prepare(&self, set: ShadowSetId, luns: &[LunId]) -> Result<Outcome, ArrayError> {
        self.prepare_as(ShadowKind::Sharing, set, luns)
    }

    fn prepare_as(&self, kind: ShadowKind, set: ShadowSetId, luns: &[LunId]) -> Result<Outcome, ArrayError> {
        self.0.serve("prepare", |state| {
            if !luns.iter().all(|lun| state.ledger.luns.contains_key(lun)) {
                return Err(refused(ProblemCode::UnknownLun));
            }
            let fresh = || FakeSet { stage: Stage::Prepared, members: BTreeMap::new(), copied: BTreeSet::new() };
            state.ledger.sets.entry(set).or_insert_with(fresh);
            let (members, copied) = match live(&mut state.ledger, set)? {
                FakeSet { stage: Stage::Prepared, members, copied } => (members, copied),
                _ => return Err(refused(ProblemCode::WrongState)),
            };
            if kind == ShadowKind::FullCopy {
                copied.extend(luns);
            }
            let before = members.len();
            for lun in luns {
                members.entry(*lun).or_insert_with(|| {
                    state.next_shadow += 1;
                    LunId::from_u128(0xcafe << 112 | 0xcafe << 32 | state.next_shadow)
                });
            }
            Ok(if members.len() == before { Outcome::AlreadySo } else { Outcome::Done })
        })
    }

    fn wait_prepared(&self, set: ShadowSetId, at_most: Duration) -> Result<Preparation, ArrayError> {
        self.0.serve("wait_prepared", |_| Ok(()))?;
        let mut state = self.0.state.lock();
        loop {
            if !state.deaf_to_aborts {
                live(&mut state.ledger, set)?;
            }
            if !state.preparing {
                return Ok(Preparation::Ready);
            }
            if self.0.wait(&mut state, at_most) {
                return Ok(Preparation::Running);
            }
        }
    }

    fn open_commit_channel(&self, set: ShadowSetId) -> Result<Box<dyn CommitChannel>, ArrayError> {
        self.0.serve("open_commit_channel", |state| match live(&mut state.ledger, set)?.stage {
            Stage::Prepared => Ok(()),
            _ => Err(refused(ProblemCode::WrongState)),
        })?;
        Ok(Box::new(FakeChannel { array: Arc::clone(&self.0), set }))
    }

    fn keep(&self, set: ShadowSetId) -> Result<Outcome, ArrayError> {
        self.0.serve("keep", |state| {
            let set = live(&mut state.ledger, set)?;
            let outcome = match set.stage {
                Stage::Committed => Ok(Outcome::Done),
                Stage::Kept => Ok(Outcome::AlreadySo),
                _ => Err(refused(ProblemCode::WrongState)),
            };
            outcome.inspect(|_| set.stage = Stage::Kept)
        })
    }

    fn abort(&self, set: ShadowSetId) -> Result<Outcome, ArrayError> {
        self.0.serve("abort", |state| match state.ledger.sets.get(&set).map(|set| set.stage) {
            None | Some(Stage::Aborted) => Ok(Outcome::AlreadySo),
            Some(Stage::Kept) => Err(refused(ProblemCode::WrongState)),
            Some(_) => {
                state.ledger.remove(set);
                Ok(Outcome::Done)
            }
        })
    }

    fn withdraw(&self, set: ShadowSetId) -> Result<Outcome, ArrayError> {
        self.0.serve("withdraw", |state| {
            let seen = |set: &FakeSet| set.members.values().any(|lun| state.ledger.ever_mapped.contains(lun));
            if state.ledger.sets.get(&set).is_some_and(seen) {
                return Err(refused(ProblemCode::WrongState));
            }
            state.ledger.remove(set);
            Ok(Outcome::Done)
        })
    }

    fn targets(&self, set: ShadowSetId) -> Result<Vec<ShadowTarget>, ArrayError> {
        self.0.serve("targets", |state| {
            let set = live(&mut state.ledger, set)?;
            if !matches!(set.stage, Stage::Committed | Stage::Kept) {
                return Err(refused(ProblemCode::WrongState));
            }
            let target = |(source, shadow): (&LunId, &LunId)| ShadowTarget {
                source: *source,
                shadow: *shadow,
                identity: identity_of(*shadow),
            };
            Ok(set.members.iter().map(target).collect())
        })
    }

    fn map(&self, luns: &[LunId]) -> Result<Vec<Outcome>, ArrayError> {
        self.0.serve("map", |state| {
            if !luns.iter().all(|lun| state.ledger.luns.contains_key(lun)) {
                return Err(refused(ProblemCode::UnknownLun));
            }
            state.ledger.ever_mapped.extend(luns);
            let outcome = |new| if new { Outcome::Done } else { Outcome::AlreadySo };
            Ok(luns.iter().map(|lun| outcome(state.ledger.mapped.insert(*lun))).collect())
        })
    }

    fn unmap(&self, luns: &[LunId]) -> Result<Vec<Outcome>, ArrayError> {
        self.0.serve("unmap", |state| {
            let outcome = |gone| if gone { Outcome::Done } else { Outcome::AlreadySo };
            Ok(luns.iter().map(|lun| outcome(state.ledger.mapped.remove(lun))).collect())
        })
    }

    fn release(&self, shadow: LunId) -> Result<Outcome, ArrayError> {
        self.0.serve("release", |state| match state.ledger.luns.get(&shadow) {
            None => Ok(Outcome::AlreadySo),
            Some(LunRole::Source) => Err(refused(ProblemCode::WrongRole)),
            Some(LunRole::Shadow { .. }) => {
                state.ledger.luns.remove(&shadow);
                state.ledger.mapped.remove(&shadow);
                Ok(Outcome::Done)
            }
        })
    }

    fn note_use(&self, shadows: &[LunId], used: ShadowUse) -> Result<Vec<Outcome>, ArrayError> {
        self.0.serve("note_use", |state| {
            let ledger = &mut state.ledger;
            for shadow in shadows {
                match ledger.luns.get(shadow) {
                    None => return Err(refused(ProblemCode::UnknownLun)),
                    Some(LunRole::Source) => return Err(refused(ProblemCode::WrongRole)),
                    Some(LunRole::Shadow { .. }) => drop(ledger.uses.insert(*shadow, used)),
                }
                if used == ShadowUse::ReadWrite {
                    ledger.luns.insert(*shadow, LunRole::Source);
                }
            }
            Ok(vec![Outcome::Done; shadows.len()])
        })
    }

    fn start_resync(&self, resync: ResyncId, pairs: &[ResyncPair]) -> Result<ResyncState, ArrayError> {
        self.0.serve("start_resync", |state| {
            if let Some((known, _)) = state.resyncs.get(&resync) {
                return Ok(known.clone());
            }
            if state.full {
                return Err(refused(ProblemCode::OutOfSpace));
            }
            for pair in pairs {
                if !matches!(state.ledger.luns.get(&pair.shadow), Some(LunRole::Shadow { .. })) {
                    return Err(refused(ProblemCode::WrongRole));
                }
            }
            let begun = if state.resyncs_take { ResyncState::Running } else { ResyncState::Finished };
            if begun == ResyncState::Finished {
                state.ledger.reverted.extend(pairs.iter().map(|pair| (pair.target, pair.shadow)));
            }
            state.resyncs.insert(resync, (begun.clone(), pairs.to_vec()));
            Ok(begun)
        })
    }

    fn resync_state(&self, resync: ResyncId, at_most: Duration) -> Result<ResyncState, ArrayError> {
        self.0.serve("resync_state", |_| Ok(()))?;
        let mut state = self.0.state.lock();
        loop {
            let how = state.resyncs.get(&resync).map(|(how, _)| how.clone());
            let how = how.ok_or_else(|| refused(ProblemCode::UnknownSet))?;
            if how != ResyncState::Running || self.0.wait(&mut state, at_most) {
                return Ok(how);
            }
        }
    }

    fn cancel_resync(&self, resync: ResyncId) -> Result<ResyncState, ArrayError> {
        self.0.serve("cancel_resync", |state| match state.resyncs.get_mut(&resync) {
            None => Err(refused(ProblemCode::UnknownSet)),
            Some((how, _)) => {
                if *how == ResyncState::Running {
                    *how = ResyncState::Cancelled;
                }
                Ok(how.clone())
            }
        })
    }

    fn overview(&self) -> Result<HostOverview, ArrayError> {
        self.0.serve("overview", |state| {
            let host = HostRecord { host: HostId(Uuid::from_u128(1)), name: "host".to_owned(), initiators: Vec::new() };
            let mapped = state.ledger.mapped.iter().zip(0..).map(|(lun, number)| MappedLun {
                number,
                lun: *lun,
                name: None,
                len_bytes: 1 << 20,
                role: state.ledger.luns[lun],
            });
            Ok(HostOverview {
                host,
                now_unix_ms: self.0.now_ms.load(Ordering::SeqCst),
                luns: mapped.collect(),
                sets: Vec::new(),
            })
        })
    }
}

struct FakeChannel {
    array: Arc<Shared>,
    set: ShadowSetId,
}

impl CommitChannel for FakeChannel {
    fn arm(&mut self, _commit_at_most: Duration) -> Result<(), ArrayError> {
        self.array.serve("arm", |state| {
            let set = live(&mut state.ledger, self.set)?;
            if !matches!(set.stage, Stage::Prepared | Stage::Armed) {
                return Err(refused(ProblemCode::WrongState));
            }
            set.stage = Stage::Armed;
            Ok(())
        })
    }

    fn commit(&mut self) -> Result<(), ArrayError> {
        self.array.serve("commit", |state| {
            self.array.now_ms.fetch_add(state.commit_takes_ms, Ordering::SeqCst);
            let set = live(&mut state.ledger, self.set)?;
            if set.stage != Stage::Armed {
                return Err(refused(ProblemCode::WrongState));
            }
            set.stage = Stage::Committed;
            let members = set.members.clone();
            let shadow = |(source, shadow)| (shadow, LunRole::Shadow { source, set: self.set });
            state.ledger.luns.extend(members.into_iter().map(shadow));
            Ok(())
        })
    }
}
