//! The provider between VSS and the array: both are the real code, over a channel that loses requests and answers, repeats requests, and delivers
//! them late.
//!
//! VSS makes the calls of a creation in their order and goes on only if they succeed; it may abort, at any time once the set is to be done
//! and from another thread than the call that runs; and it may forget a set at any time and begin another one, as after a crash of the requester or of
//! its own. The provider's process and the array can crash between any two of these steps, also while a request is under way.

mod action;
mod calling;
mod line;
mod planted;
mod told;

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::hash::{DefaultHasher, Hash, Hasher as _};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use lunshadow_catalog::{Clock as _, ManualClock, SetState};
use lunshadow_control::{LunId, Outcome, ShadowSetId, identity_of};
use lunshadow_lun::LunOrigin;
use lunshadow_provider::{Event, EventLog, Provider, ProviderConfig, lun_information};
use lunshadow_vss::{HResult, LunInformation, SnapshotSetId, is_legal};
use uuid::Uuid;

pub use action::{Action, Way};
use calling::{Ending, carry_to};
use line::{ArrayOnLine, Line, Reply, Request, refused, unreachable};
pub use planted::Fault;
pub use told::Step;
use told::Told;

use crate::array::{self, Boot, COMMITTED_LEASE, Counting, ModelPool, ModelRecords, PREPARED_LEASE};
use crate::explorer::System;
use crate::promise::{Broken, Promise};

/// How often what is under way may be moved on until nothing is left of it.
const ROUNDS_AT_MOST: usize = 200;

/// How much of everything there is.
#[derive(Debug, Clone)]
pub struct Setup {
    /// How many sets VSS creates, one after the other.
    pub sets: u8,
    /// How many calls run at a time.
    pub at_once: usize,
    /// How often the channel loses, repeats or delays something.
    pub losses: u8,
    /// How often the provider's process crashes.
    pub provider_crashes: u8,
    /// How often the array crashes.
    pub array_crashes: u8,
    /// What the provider does wrong, if that is what the search has to find.
    pub fault: Option<Fault>,
    array: array::Setup,
}

impl Setup {
    /// One set of two volumes on a LUN each. Nothing is lost, and nothing crashes.
    ///
    /// # Errors
    /// If the array cannot be set up.
    pub fn new() -> anyhow::Result<Self> {
        let array = array::Setup::new(1)?;
        Ok(Self { sets: 1, at_once: 2, losses: 0, provider_crashes: 0, array_crashes: 0, fault: None, array })
    }
}

/// A call that has not ended.
struct Running {
    set: u8,
    step: Step,
    /// An abort of its set has succeeded since it began.
    overtaken: bool,
    /// Something that can end its set has happened since it began, or was under way.
    disturbed: bool,
    thread: JoinHandle<Ending>,
}

/// A provider's process.
struct Process {
    provider: Arc<Provider>,
    line: Arc<Line>,
    calls: Vec<Running>,
}

/// VSS, a provider, the channel and the array.
pub struct ProviderSystem {
    setup: Setup,
    boot: Option<Boot>,
    pool: Arc<ModelPool>,
    records: Arc<ModelRecords>,
    clock: Arc<ManualClock>,
    ids: Arc<Counting>,
    /// The array's end of the channel.
    served: ArrayOnLine,
    process: Option<Process>,
    late: Vec<Request>,
    told: Vec<Told>,
    /// The set that VSS works on.
    current: u8,
    losses_left: u8,
    provider_crashes_left: u8,
    array_crashes_left: u8,
}

/// Nobody reads the events.
struct NoLog;

impl EventLog for NoLog {
    fn record(&self, _event: Event) {}
}

impl System for ProviderSystem {
    type Setup = Setup;
    type Action = Action;
    type Remains = Infallible;

    fn start(setup: &Setup) -> Self {
        let (pool, records, ids) = setup.array.parts();
        let host = setup.array.host_ids[0];
        let served = ArrayOnLine { line: Arc::default(), catalog: Arc::default(), host };
        let mut system = Self {
            setup: setup.clone(),
            boot: None,
            pool,
            records,
            clock: Arc::default(),
            ids,
            served,
            process: None,
            late: Vec::new(),
            told: vec![Told::default(); usize::from(setup.sets)],
            current: 0,
            losses_left: setup.losses,
            provider_crashes_left: setup.provider_crashes,
            array_crashes_left: setup.array_crashes,
        };
        system.start_array();
        system.start_provider();
        system
    }

    fn resume(_: &Setup, remains: &Infallible) -> Self {
        match *remains {}
    }

    fn remains(&mut self) -> Option<Infallible> {
        None
    }

    fn actions(&self) -> Vec<Action> {
        let mut actions = self.calls_that_may_come();
        for (place, request) in self.process().line.pending().iter().enumerate() {
            let lossy = [Way::Twice, Way::AnswerLost, Way::Late].into_iter().filter(|_| self.losses_left > 0);
            let named = self.named(&format!("{request:?}"));
            actions
                .extend([Way::Through].into_iter().chain(lossy).map(|way| Action::Channel(place, named.clone(), way)));
        }
        let late = self.late.iter().enumerate();
        actions.extend(late.map(|(place, request)| Action::Arrive(place, self.named(&format!("{request:?}")))));
        if self.provider_crashes_left > 0 {
            actions.push(Action::ProviderCrash);
        }
        if self.array_crashes_left > 0 {
            actions.push(Action::ArrayCrash);
        }
        let (_, sets) = self.catalog().administered_sets();
        if sets.iter().any(|set| set.summary.lease_left_ms.is_some()) {
            actions.extend([Action::CommittedLeasesEnd, Action::LeasesEnd]);
        }
        actions
    }

    fn take(&mut self, action: &Action) -> Result<(), Broken> {
        match action {
            Action::Call(set, step) => self.call(*set, *step),
            Action::Channel(place, _, way) => self.pass(*place, *way),
            Action::Arrive(place, _) => {
                let request = self.late.remove(*place);
                drop(self.carry_out(&request));
            }
            Action::ProviderCrash => {
                self.provider_crashes_left -= 1;
                self.fail_running();
                self.end_process();
                for told in &mut self.told {
                    told.in_doubt |= told.last >= Some(Step::PostCommit) && !told.kept;
                    // The next process knows nothing of the set that is being created.
                    told.failed |= !told.kept;
                    told.committed = false;
                }
                self.start_provider();
            }
            Action::ArrayCrash => {
                self.array_crashes_left -= 1;
                self.start_array();
            }
            Action::CommittedLeasesEnd => self.end_leases(COMMITTED_LEASE),
            Action::LeasesEnd => self.end_leases(PREPARED_LEASE),
        }
        self.hear()
    }

    fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.named(&self.view()).hash(&mut hasher);
        hasher.finish()
    }

    fn check(&self) -> Result<(), Broken> {
        (0..self.setup.sets).try_for_each(|set| self.check_set(set))
    }

    /// What is under way arrives, the provider is unloaded, all leases run out.
    fn end(mut self) -> Result<(), Broken> {
        let mut unloaded = false;
        for _ in 0..ROUNDS_AT_MOST {
            if !self.process().line.pending().is_empty() {
                self.pass(0, Way::Through);
            } else if let Some(request) = self.late.pop() {
                drop(self.carry_out(&request));
            } else if unloaded {
                break;
            } else {
                unloaded = true;
                self.call(self.current, Step::Unload);
            }
            self.hear()?;
        }
        let waiting = self.process().calls.len();
        Promise::EveryRequestEnds.check(waiting == 0, || format!("{waiting} calls have not ended"))?;
        self.check()?;
        self.end_leases(PREPARED_LEASE);
        self.check()?;
        self.check_owners()
    }
}

impl Drop for ProviderSystem {
    fn drop(&mut self) {
        self.end_process();
    }
}

impl ProviderSystem {
    fn process(&self) -> &Process {
        self.process.as_ref().expect("a process runs between any two actions")
    }

    fn booted(&self) -> &Boot {
        self.boot.as_ref().expect("the array runs between any two actions")
    }

    fn catalog(&self) -> &Arc<lunshadow_catalog::Catalog<ModelPool>> {
        &self.booted().catalog
    }

    fn calls_that_may_come(&self) -> Vec<Action> {
        let calls = &self.process().calls;
        let mut actions = Vec::new();
        let told = &self.told[usize::from(self.current)];
        if calls.is_empty() {
            actions.extend(told.next().map(|step| Action::Call(self.current, step)));
        }
        if calls.len() < self.setup.at_once {
            let aborting = calls.iter().any(|call| call.step == Step::Abort);
            if told.may_abort() && !aborting {
                actions.push(Action::Call(self.current, Step::Abort));
            }
            // The requester or VSS has crashed, and another backup begins.
            if self.current + 1 < self.setup.sets && told.last.is_some() {
                actions.push(Action::Call(self.current + 1, Step::BeginFirst));
            }
        }
        actions
    }

    fn start_array(&mut self) {
        *self.served.catalog.lock() = None;
        self.boot = None;
        let boot = Boot::open(&self.pool, &self.records, &self.clock, &self.ids);
        *self.served.catalog.lock() = Some(Arc::clone(&boot.catalog));
        self.boot = Some(boot);
    }

    fn start_provider(&mut self) {
        let line = Arc::new(Line::default());
        let array = ArrayOnLine { line: Arc::clone(&line), ..self.served.clone() };
        let stopped = || Duration::ZERO;
        let provider = Provider::new(Arc::new(array), Arc::new(NoLog), Arc::new(stopped), ProviderConfig::default());
        self.process = Some(Process { provider: Arc::new(provider), line, calls: Vec::new() });
    }

    fn end_process(&mut self) {
        if let Some(Process { line, calls, .. }) = self.process.take() {
            line.cut();
            for call in calls {
                // What it ends with is told to nobody.
                drop(call.thread.join());
            }
        }
    }

    fn sources(&self, volumes: &[u8]) -> Vec<LunInformation> {
        let lun = |volume: &u8| lun_information(&identity_of(self.setup.array.sources[usize::from(*volume)]));
        volumes.iter().map(lun).collect()
    }

    fn call(&mut self, set: u8, step: Step) {
        if set != self.current {
            // VSS never works on two sets at a time.
            let old = &mut self.told[usize::from(self.current)];
            old.failed |= !old.kept;
            old.committed = false;
            self.current = set;
        }
        let told = &mut self.told[usize::from(set)];
        if step >= Step::Abort {
            told.committed = false;
            if told.kept && told.failed {
                // The provider may withdraw it, and the array may refuse that.
                (told.kept, told.in_doubt) = (false, true);
            }
        } else {
            told.last = Some(step);
            told.deleting |= step == Step::Delete;
        }
        let Process { provider, line, .. } = self.process();
        let (provider, line, fault) = (Arc::clone(provider), Arc::clone(line), self.setup.fault);
        let (luns, targets) = match step {
            Step::BeginFirst => (self.sources(&[0]), Vec::new()),
            Step::BeginSecond => (self.sources(&[1]), Vec::new()),
            _ => {
                let told = &self.told[usize::from(set)];
                let volumes: Vec<u8> = told.begun.iter().copied().collect();
                (self.sources(&volumes), told.targets.clone())
            }
        };
        line.begin();
        let thread = std::thread::spawn(move || {
            let ending = carry_to(&provider, id_of(set), step, luns, &targets, fault);
            line.finish();
            ending
        });
        if let Some(process) = &mut self.process {
            let ends = |step: Step| step >= Step::Abort || step == Step::BeginFirst;
            let disturbed = process.calls.iter().any(|call| ends(call.step));
            process.calls.iter_mut().for_each(|call| call.disturbed |= ends(step));
            process.calls.push(Running { set, step, overtaken: false, disturbed, thread });
            process.line.settle();
        }
    }

    /// Lets something become of a request.
    fn pass(&mut self, place: usize, way: Way) {
        let Some(request) = self.process().line.pending().into_iter().nth(place) else { return };
        self.losses_left -= u8::from(way != Way::Through);
        let reply = match way {
            Way::Through => self.carry_out(&request),
            Way::Twice => {
                drop(self.carry_out(&request));
                self.carry_out(&request)
            }
            Way::AnswerLost => {
                drop(self.carry_out(&request));
                Err(unreachable())
            }
            Way::Late => {
                self.late.push(request);
                Err(unreachable())
            }
        };
        let line = &self.process().line;
        line.answer(place, reply);
        line.settle();
    }

    /// The array does what it is asked.
    fn carry_out(&self, request: &Request) -> Reply {
        let Boot { catalog, runtime } = self.booted();
        let host = self.served.host;
        let answer = runtime.block_on(async {
            match request {
                Request::Prepare(set, luns) => catalog.prepare(host, *set, luns).await,
                Request::WaitPrepared(set) => {
                    catalog.wait_prepared(host, *set, Duration::from_secs(1)).await.map(|_| Outcome::Done)
                }
                Request::Arm(set) => catalog.arm(host, *set, None).await,
                Request::Commit(set) => catalog.commit(host, *set).await,
                Request::Keep(set) => catalog.keep(host, *set).await,
                Request::Abort(set) => catalog.abort(host, *set).await,
                Request::Withdraw(set) => catalog.withdraw(host, *set).await,
                Request::Map(luns) => catalog.map(host, luns).await.map(|_| Outcome::Done),
                Request::Release(lun) => catalog.release(host, *lun).await,
            }
        });
        answer.map_err(|error| refused(&error))
    }

    fn end_leases(&mut self, by: Duration) {
        self.clock.advance(by);
        for told in &mut self.told {
            told.committed = false;
        }
        if let Some(process) = &mut self.process {
            process.calls.iter_mut().for_each(|call| call.disturbed = true);
        }
        let Boot { catalog, runtime } = self.booted();
        // Its failure would be one of the records, which do not fail here.
        drop(runtime.block_on(catalog.reap(self.clock.now())));
    }

    /// VSS is told how the calls ended that have ended.
    fn hear(&mut self) -> Result<(), Broken> {
        let Some(process) = &mut self.process else { return Ok(()) };
        let waiting = process.line.pending().len();
        if process.calls.len() == waiting {
            return Ok(());
        }
        // Whoever has ended is not long in coming.
        while process.calls.iter().filter(|call| !call.thread.is_finished()).count() > waiting {
            std::thread::yield_now();
        }
        let (ended, calls): (Vec<_>, Vec<_>) = process.calls.drain(..).partition(|call| call.thread.is_finished());
        process.calls = calls;
        for Running { set, step, overtaken, disturbed, thread } in ended {
            let ending = thread.join().unwrap_or(Err(HResult::E_UNEXPECTED));
            self.tell(set, step, (overtaken, disturbed), ending)?;
        }
        Ok(())
    }

    /// VSS gets an error of its own for what was under way.
    fn fail_running(&mut self) {
        let Some(process) = &self.process else { return };
        for call in process.calls.iter().filter(|call| call.step < Step::Delete) {
            self.told[usize::from(call.set)].failed = true;
        }
    }

    fn tell(
        &mut self,
        set: u8,
        step: Step,
        (overtaken, disturbed): (bool, bool),
        ending: Ending,
    ) -> Result<(), Broken> {
        let code = ending.as_ref().map_or_else(|code| *code, |_| HResult::S_OK);
        Promise::LegalCodes.check(is_legal(step.method(), code), || format!("{} answered {code}", step.method()))?;
        Promise::AbortedNeverAppears.check(!overtaken || ending.is_err() || step > Step::PostCommit, || {
            format!("{} of set {} succeeded after it was aborted", step.method(), set + 1)
        })?;
        let told = &mut self.told[usize::from(set)];
        let Ok(targets) = ending else {
            told.failed |= step >= Step::EndPrepare && step < Step::Delete;
            told.in_doubt |= told.kept && step == Step::Locate;
            return Ok(());
        };
        match step {
            Step::BeginFirst => drop(told.begun.insert(0)),
            Step::BeginSecond => drop(told.begun.insert(1)),
            Step::Commit => told.committed = !disturbed,
            Step::PostCommit => told.kept = true,
            Step::GetTargets => told.targets = targets,
            Step::Delete => told.deleted = told.deleting,
            Step::Abort => {
                told.aborted = true;
                if let Some(process) = self.process.as_mut().filter(|_| !told.kept) {
                    process.calls.iter_mut().filter(|call| call.set == set).for_each(|call| call.overtaken = true);
                }
            }
            Step::EndPrepare | Step::PreCommit | Step::Locate | Step::PreFinal | Step::PostFinal | Step::Unload => {}
        }
        Ok(())
    }

    fn state_of(&self, set: u8) -> Option<SetState> {
        self.catalog().set_state(self.served.host, shadow_set(set)).ok()
    }

    /// The sources that the array has captured for a set, if it tells.
    fn captured(&self, set: u8) -> Option<BTreeSet<u8>> {
        let targets = self.catalog().targets(self.served.host, shadow_set(set)).ok()?;
        let place = |source| self.setup.array.sources.iter().position(|lun| *lun == source);
        Some(targets.iter().filter_map(|target| u8::try_from(place(target.source)?).ok()).collect())
    }

    fn check_set(&self, set: u8) -> Result<(), Broken> {
        let (told, state) = (&self.told[usize::from(set)], self.state_of(set));
        let number = set + 1;
        let captures = self.pool.content().captures.get(&shadow_set(set)).copied().unwrap_or(0);
        Promise::CommitAtMostOnce.check(captures <= 1, || format!("set {number} has {captures} points in time"))?;
        let reachable = matches!(state, Some(SetState::Committed | SetState::Kept));
        Promise::CommittedStays.check(!told.committed || reachable, || {
            format!("VSS was told that set {number} is committed, and it is {state:?}")
        })?;
        let stays = told.kept && !told.deleting;
        Promise::KeptStays.check(!stays || state == Some(SetState::Kept), || {
            format!("VSS was told that set {number} exists, and it is {state:?}")
        })?;
        let captured = self.captured(set);
        Promise::NoPartialCommit.check(!stays || captured.as_ref() == Some(&told.begun), || {
            format!("VSS has volumes {:?} in set {number}, the array has {captured:?}", told.begun)
        })
    }

    fn check_owners(&self) -> Result<(), Broken> {
        let luns = self.pool.content().luns;
        for summary in luns.values() {
            let LunOrigin::Shadow { set, .. } = summary.origin else { continue };
            let place = usize::try_from(set.0.as_u128().saturating_sub(1)).unwrap_or(usize::MAX);
            let owned = self.told.get(place).is_some_and(|told| (told.kept && !told.deleted) || told.in_doubt);
            Promise::NothingWithoutOwner.check(owned, || format!("a shadow LUN of set {} is left", place + 1))?;
        }
        let prepared = self.pool.content().prepared.len();
        Promise::NothingWithoutOwner.check(prepared == 0, || format!("the pool is still prepared for {prepared} sets"))
    }

    /// All that decides how this goes on, as a text.
    fn view(&self) -> String {
        let sets: Vec<_> = (0..self.setup.sets)
            .map(|set| {
                let (_, all) = self.catalog().administered_sets();
                let found = all.into_iter().find(|found| found.summary.set == shadow_set(set));
                let found = found.map(|found| {
                    let members: BTreeSet<LunId> = found.luns.iter().map(|lun| lun.source).collect();
                    (members, found.summary.lease_left_ms.is_some(), found.reason)
                });
                (self.state_of(set), found, self.captured(set))
            })
            .collect();
        let calls: Vec<_> =
            self.process().calls.iter().map(|call| (call.set, call.step, call.overtaken, call.disturbed)).collect();
        let shadows = self.pool.content().luns.len();
        let mapped = self.catalog().mappings(self.served.host).map_or(0, |mappings| mappings.len());
        let left = [self.losses_left, self.provider_crashes_left, self.array_crashes_left];
        let (told, current, late) = (&self.told, self.current, &self.late);
        let (pending, provider) = (self.process().line.pending(), &self.process().provider);
        format!("{sets:?} {calls:?} {shadows} {mapped} {left:?} {told:?} {current} {late:?} {pending:?} {provider:?}")
    }

    /// A text with names for the ids that were drawn.
    fn named(&self, text: &str) -> String {
        let mut named = text.to_owned();
        for (set, member) in self.pool.content().heard_of {
            let source = self.setup.array.sources.iter().position(|lun| *lun == member.source);
            let name = format!("shadow of LUN {} in set {}", source.unwrap_or(usize::MAX), set.0.as_u128());
            named = named.replace(&member.shadow.to_string(), &name);
        }
        for (place, lun) in self.setup.array.sources.iter().enumerate() {
            named = named.replace(&lun.to_string(), &format!("LUN {place}"));
        }
        named
    }
}

fn id_of(set: u8) -> SnapshotSetId {
    SnapshotSetId(Uuid::from_u128(u128::from(set) + 1))
}

fn shadow_set(set: u8) -> ShadowSetId {
    ShadowSetId(Uuid::from_u128(u128::from(set) + 1))
}
