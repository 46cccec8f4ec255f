//! The array: the real catalog, over a pool and records in memory whose work the search lets go on, on a runtime whose time it lets pass.
//!
//! Hosts ask whatever they want about a few sets, in any order and as often as they want. That covers messages that are lost (they were never
//! asked, or their answer is not heeded), repeated, late and out of order, and hosts that crash (they ask no more). What the array makes
//! of it meanwhile is cut into steps wherever it waits: for the pool, for its records, for time. Between any two of them it can crash.

mod action;
mod begun;
mod counting;
mod outlasting;
mod parking;
mod planted;
mod pool;
mod records;
mod request;
mod setup;
mod view;
mod witness;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use lunshadow_catalog::{Catalog, CatalogError, Clock as _, ManualClock};
use lunshadow_control::{HostId, LunId, ShadowSetId};
use lunshadow_lun::{Inventory, LunMap as _, LunNumber};
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use uuid::Uuid;

pub use action::{Action, Name, PoolWork};
use begun::{Begun, Steps};
pub(crate) use counting::Counting;
use outlasting::Outlasting;
pub use planted::Fault;
pub(crate) use pool::ModelPool;
pub use pool::Step;
use pool::Work;
pub(crate) use records::ModelRecords;
pub use request::Request;
use request::{Answer, Subject, ask};
pub(crate) use setup::{COMMITTED_LEASE, PREPARED_LEASE};
pub use setup::{SetPlan, Setup};
use setup::{initiator, runtime, settings};
use witness::{Outside, Witness};

use crate::explorer::System;
use crate::promise::{Broken, Promise};

/// Longer than anything in the array that is waited for: a preparation, a commit, a removal, the quiet around a commit.
const PATIENCE: Duration = Duration::from_secs(11);

/// How often what is under way may be moved on until nothing is left of it.
const ROUNDS_AT_MOST: usize = 200;

/// A request that is not answered.
struct Asked {
    set: u8,
    request: Request,
    /// Something that can end the set was asked, or happened, while it was under way.
    disturbed: bool,
    begun: Begun,
    steps: Steps,
    answer: JoinHandle<Answer>,
}

/// A request that was answered because time had passed.
struct GivenUp {
    set: u8,
    request: Request,
    begun: Begun,
    steps: Steps,
}

/// The one who ends leases, at work.
struct Reaping {
    begun: Begun,
    steps: Steps,
    task: JoinHandle<Result<Vec<ShadowSetId>, CatalogError>>,
}

/// The running array: what a crash takes away.
pub(crate) struct Boot {
    pub(crate) catalog: Arc<Catalog<ModelPool>>,
    pub(crate) runtime: Runtime,
}

impl Boot {
    /// Starts the array on what the last one has left. Until it runs, nothing is held back.
    pub(crate) fn open(
        pool: &Arc<ModelPool>,
        records: &Arc<ModelRecords>,
        clock: &Arc<ManualClock>,
        ids: &Arc<Counting>,
    ) -> Self {
        records.restart();
        pool.restart();
        pool.hold_back(false);
        records.hold_back(false);
        let runtime = runtime(pool.parking());
        let opened = runtime.block_on(Catalog::open_on(Arc::clone(pool), records.clone(), settings(clock, ids)));
        let catalog = Arc::new(opened.expect("records in memory can be read"));
        Self { catalog, runtime }
    }
}

/// The array and what goes on around it.
pub struct ArraySystem {
    setup: Setup,
    boot: Option<Boot>,
    pool: Arc<ModelPool>,
    records: Arc<ModelRecords>,
    clock: Arc<ManualClock>,
    ids: Arc<Counting>,
    asked: Vec<Asked>,
    /// Requests that were answered because time had passed, and that the array may still be at work on.
    given_up: Vec<GivenUp>,
    reaping: Vec<Reaping>,
    witnesses: Vec<Witness>,
    names: BTreeMap<LunId, Name>,
    /// The most that each host was ever served, for an array that serves what was unmapped.
    stale: Vec<Arc<Inventory>>,
    crashes_left: u8,
    failures_left: u8,
    /// What the crash has left that is the last action.
    remains: Option<Outlasting>,
}

impl System for ArraySystem {
    type Setup = Setup;
    type Action = Action;
    type Remains = Outlasting;

    fn start(setup: &Setup) -> Self {
        let mut system = Outlasting::at_the_beginning(setup).array(setup);
        system.boot();
        system.remember_served();
        system
    }

    fn resume(setup: &Setup, remains: &Outlasting) -> Self {
        let mut system = remains.array(setup);
        system.boot();
        system.settle();
        system.observe(Action::Crash).expect("the search has been here");
        system
    }

    fn remains(&mut self) -> Option<Outlasting> {
        self.remains.take()
    }

    fn actions(&self) -> Vec<Action> {
        let mut actions = Vec::new();
        if self.asked.len() + self.given_up.len() < self.setup.at_once {
            for set in 0..u8::try_from(self.setup.sets.len()).unwrap_or(u8::MAX) {
                actions.extend(self.setup.requests.iter().map(|request| Action::Ask(set, *request)));
            }
        }
        for (place, (work, happened)) in self.pool.standing().into_iter().enumerate() {
            let fails = (self.failures_left > 0 && !happened).then_some(Step::Fails);
            let happens = (matches!(work, Work::Commit(_) | Work::Delete(_)) && !happened).then_some(Step::Happens);
            let steps = [Some(Step::Answers), fails, happens.filter(|_| self.crashes_left > 0 || self.setup.lateness)];
            let work = self.named_work(work);
            actions.extend(steps.into_iter().flatten().map(|step| Action::Pool(place, work, step)));
        }
        if self.records.standing().is_some() {
            actions.push(Action::Land);
        }
        actions.push(Action::Patience);
        // There is one reaper, which comes again when it is done. Without that, there is no end to the reapers that wait for a set to come to rest.
        if self.reaping.is_empty() {
            actions.extend([Action::CommittedLeasesEnd, Action::LeasesEnd]);
        }
        if self.crashes_left > 0 {
            actions.push(Action::Crash);
        }
        actions
    }

    fn take(&mut self, action: &Action) -> Result<(), Broken> {
        let others = if self.setup.sets.len() > 1 { self.sets() } else { 0..0 };
        let before: Vec<Outside> = others.clone().map(|set| self.outside(set)).collect();
        let busy: BTreeSet<u8> = self.busy_sets();
        self.act(*action);
        self.observe(*action)?;
        if let Action::Ask(about, _) = action {
            for set in others.filter(|set| set != about && !busy.contains(set)) {
                let now = self.outside(set);
                let was = &before[usize::from(set)];
                Promise::OtherSetsStay.check(now == *was, || format!("set {} was {was:?} and is {now:?}", set + 1))?;
            }
        }
        Ok(())
    }

    fn take_again(&mut self, action: &Action) -> Result<(), Broken> {
        self.act(*action);
        self.observe(*action)
    }

    fn fingerprint(&self) -> u64 {
        self.view_hash()
    }

    fn check(&self) -> Result<(), Broken> {
        self.check_all()?;
        self.sets().try_for_each(|set| self.check_set(set))
    }

    /// Everything goes on, and all leases run out.
    fn end(mut self) -> Result<(), Broken> {
        self.crashes_left = 0;
        for _ in 0..ROUNDS_AT_MOST {
            let next = if self.records.standing().is_some() {
                Action::Land
            } else if let Some((work, _)) = self.pool.standing().first() {
                Action::Pool(0, self.named_work(*work), Step::Answers)
            } else if !self.asked.is_empty() || !self.reaping.is_empty() {
                Action::Patience
            } else {
                break;
            };
            self.act(next);
            self.observe(next)?;
        }
        Promise::EveryRequestEnds.check(self.asked.is_empty() && self.reaping.is_empty(), || {
            let asked: Vec<_> = self.asked.iter().map(|asked| (asked.set + 1, asked.request)).collect();
            format!("{asked:?} were never answered")
        })?;
        self.check()?;
        for _ in 0..ROUNDS_AT_MOST {
            let next = if self.records.standing().is_some() {
                Action::Land
            } else if let Some((work, _)) = self.pool.standing().first() {
                Action::Pool(0, self.named_work(*work), Step::Answers)
            } else if !self.reaping.is_empty() {
                Action::Patience
            } else if self.leased() || !self.unowned().is_empty() {
                // The reaper comes for leases, and for what could not be deleted before.
                Action::LeasesEnd
            } else {
                break;
            };
            self.act(next);
            self.observe(next)?;
        }
        Promise::EveryRequestEnds.check(self.reaping.is_empty(), || "the reaper has not come to its end".to_owned())?;
        self.check()?;
        self.check_owners()
    }
}

impl ArraySystem {
    fn sets(&self) -> Range<u8> {
        0..u8::try_from(self.setup.sets.len()).unwrap_or(u8::MAX)
    }

    fn catalog(&self) -> &Arc<Catalog<ModelPool>> {
        &self.booted().catalog
    }

    fn booted(&self) -> &Boot {
        self.boot.as_ref().expect("the array runs between any two actions")
    }

    fn host(&self, place: u8) -> HostId {
        self.setup.host_ids[usize::from(place)]
    }

    fn place_of_host(&self, host: HostId) -> u8 {
        place_in(&self.setup.host_ids, &host)
    }

    fn set_id(&self, place: u8) -> ShadowSetId {
        ShadowSetId(Uuid::from_u128(u128::from(place) + 1))
    }

    fn place_of(&self, set: ShadowSetId) -> u8 {
        u8::try_from(set.0.as_u128().saturating_sub(1)).unwrap_or(u8::MAX)
    }

    fn name_of(&self, lun: LunId) -> Name {
        self.names.get(&lun).copied().unwrap_or(Name::Source(u8::MAX))
    }

    fn lun_of(&self, name: Name) -> Option<LunId> {
        self.names.iter().find(|(_, known)| **known == name).map(|(lun, _)| *lun)
    }

    fn source_of(&self, name: Name) -> Option<LunId> {
        let (Name::Source(source) | Name::Shadow { source, .. }) = name;
        self.setup.sources.get(usize::from(source)).copied()
    }

    fn named_work(&self, work: Work) -> PoolWork {
        match work {
            Work::Prepare(set) => PoolWork::Prepare(self.place_of(set)),
            Work::Commit(set) => PoolWork::Commit(self.place_of(set)),
            Work::Delete(lun) => PoolWork::Delete(self.name_of(lun)),
        }
    }

    /// Sets that something is under way for, which can go on when it is another one's turn to stop.
    fn busy_sets(&self) -> BTreeSet<u8> {
        let worked_on = self.pool.standing().into_iter().filter_map(|(work, _)| self.named_work(work).set());
        let reaped = if self.reaping.is_empty() { 0..0 } else { 0..u8::MAX };
        self.asked.iter().map(|asked| asked.set).chain(worked_on).chain(reaped).collect()
    }

    fn mappings(&self, host: u8) -> Vec<(LunNumber, LunId)> {
        self.catalog().mappings(self.host(host)).unwrap_or_default()
    }

    /// All shadow LUNs that are mapped, with the hosts.
    fn mapped(&self) -> BTreeSet<(u8, Name)> {
        let of_host = |host| self.mappings(host).into_iter().map(move |(_, lun)| (host, lun));
        let all = (0..self.setup.hosts).flat_map(of_host).map(|(host, lun)| (host, self.name_of(lun)));
        all.filter(|(_, name)| matches!(name, Name::Shadow { .. })).collect()
    }

    /// What the target serves a host.
    fn served(&self, host: u8) -> Vec<(LunNumber, LunId)> {
        let inventory = match self.setup.fault {
            Some(Fault::ServesUnmapped) => Some(Arc::clone(&self.stale[usize::from(host)])),
            _ => self.catalog().inventory(&initiator(host)),
        };
        let inventory = inventory.unwrap_or_default();
        inventory.luns.iter().map(|(number, lun)| (*number, lun.id())).collect()
    }

    fn leased(&self) -> bool {
        let (_, sets) = self.catalog().administered_sets();
        let leased = sets.iter().any(|set| set.summary.lease_left_ms.is_some());
        leased && self.setup.fault != Some(Fault::ForgetsLeases)
    }

    fn act(&mut self, action: Action) {
        self.remains = None;
        match action {
            Action::Ask(set, request) => self.ask(set, request),
            Action::Pool(place, work, step) => {
                if step != Step::Happens {
                    self.steps_of(work.set()).for_each(|steps| steps.answered = steps.answered.saturating_add(1));
                }
                self.failures_left -= u8::from(step == Step::Fails);
                self.pool.let_go(place, step);
            }
            Action::Land => {
                self.steps_of(None).for_each(|steps| steps.landed = steps.landed.saturating_add(1));
                self.records.land();
            }
            Action::Patience => {
                self.pool.times().pass();
                self.let_pass(PATIENCE);
            }
            Action::CommittedLeasesEnd => self.end_leases(COMMITTED_LEASE),
            Action::LeasesEnd => self.end_leases(PREPARED_LEASE),
            Action::Crash => {
                self.crashes_left -= 1;
                self.remains = Some(Outlasting::of(self));
                self.boot();
            }
        }
        self.settle();
    }

    /// What is under way for a set, or for any of them.
    fn steps_of(&mut self, set: Option<u8>) -> impl Iterator<Item = &mut Steps> {
        let is_about = move |of: u8| set.is_none_or(|set| set == of);
        let asked = self.asked.iter_mut().filter(move |asked| is_about(asked.set)).map(|asked| &mut asked.steps);
        let given_up = self.given_up.iter_mut().filter(move |given_up| is_about(given_up.set));
        let reaping = self.reaping.iter_mut().map(|reaping| &mut reaping.steps);
        asked.chain(given_up.map(|given_up| &mut given_up.steps)).chain(reaping)
    }

    /// Time stands still unless everything waits: when this ends, all has been done that can be done.
    fn settle(&self) {
        self.let_pass(Duration::from_millis(1));
    }

    fn let_pass(&self, time: Duration) {
        self.booted().runtime.block_on(async { tokio::time::sleep(time).await });
    }

    fn boot(&mut self) {
        self.asked.clear();
        self.given_up.clear();
        self.reaping.clear();
        self.boot = None;
        self.boot = Some(Boot::open(&self.pool, &self.records, &self.clock, &self.ids));
        self.pool.hold_back(true);
        self.records.hold_back(self.setup.holds_records);
    }

    fn ask(&mut self, set: u8, request: Request) {
        let plan = &self.setup.sets[usize::from(set)];
        let host = self.host(plan.host);
        let other = self.setup.host_ids.iter().copied().find(|other| *other != host).unwrap_or(host);
        let luns = plan.luns.iter().map(|source| self.setup.sources[usize::from(*source)]).collect();
        let subject = Subject { host, other, set: self.set_id(set), luns };
        self.plant(set, request, &subject);
        let disturbed = self.asked.iter().any(|asked| asked.set == set && asked.request.may_end());
        for asked in self.asked.iter_mut().filter(|asked| asked.set == set) {
            asked.disturbed |= request.may_end();
        }
        if matches!(request, Request::PrepareFirst | Request::PrepareAll) && self.outside(set).state.is_none() {
            // To the array, this is a set that never was there. VSS does not give an id twice.
            let captured_before = self.pool.captures(self.set_id(set));
            self.witnesses[usize::from(set)] = Witness { captured_before, ..Witness::default() };
        }
        self.witnesses[usize::from(set)].note_request(request);
        let Boot { runtime, catalog } = self.booted();
        let answer = runtime.spawn(ask(Arc::clone(catalog), subject, request));
        let begun = self.pool.times().begin(answer.id());
        self.asked.push(Asked { set, request, disturbed, begun, steps: Steps::default(), answer });
    }

    /// What goes wrong around a request.
    fn plant(&self, set: u8, request: Request, subject: &Subject) {
        let Boot { runtime, catalog } = self.booted();
        match (self.setup.fault, request) {
            (Some(Fault::CapturesAgain), Request::Commit) => self.pool.capture_again(subject.set),
            (Some(Fault::AbortsOthers), Request::Abort) => {
                for other in self.sets().filter(|other| *other != set) {
                    let host = self.host(self.setup.sets[usize::from(other)].host);
                    let (catalog, other) = (Arc::clone(catalog), self.set_id(other));
                    runtime.spawn(async move { catalog.abort(host, other).await });
                }
            }
            (Some(Fault::TakesSources), Request::Abort) => {
                let (catalog, host) = (Arc::clone(catalog), subject.host);
                let lun = subject.luns.first().copied();
                runtime.spawn(async move {
                    if let Some(lun) = lun {
                        let _ = catalog.unassign(host, lun).await;
                    }
                });
            }
            _ => {}
        }
    }

    fn end_leases(&mut self, by: Duration) {
        self.clock.advance(by);
        for witness in &mut self.witnesses {
            witness.committed = false;
        }
        self.asked.iter_mut().for_each(|asked| asked.disturbed = true);
        let Boot { runtime, catalog } = self.booted();
        if self.setup.fault == Some(Fault::ForgetsLeases) {
            return;
        }
        let (catalog, now) = (Arc::clone(catalog), self.clock.now());
        let task = runtime.spawn(async move { catalog.reap(now).await });
        self.reaping.push(Reaping { begun: self.pool.times().begin(task.id()), steps: Steps::default(), task });
    }

    /// Takes in the answers and what can be seen.
    fn observe(&mut self, action: Action) -> Result<(), Broken> {
        self.learn_names();
        let durably = action != Action::Patience || self.records.standing().is_none();
        let (answered, asked): (Vec<_>, Vec<_>) = self.asked.drain(..).partition(|asked| asked.answer.is_finished());
        self.asked = asked;
        for Asked { set, request, disturbed, begun, steps, answer } in answered {
            if action == Action::Patience {
                self.given_up.push(GivenUp { set, request, begun, steps });
            }
            let answer = self.booted().runtime.block_on(answer).unwrap_or(Err(CatalogError::BrokenOff));
            self.witnesses[usize::from(set)].note_answer(request, &answer, disturbed, durably);
            if request == Request::Arm && answer.is_ok() {
                self.witnesses[usize::from(set)].armed = self.members(set);
            }
        }
        self.reaping.retain(|reaping| !reaping.task.is_finished());
        if self.tasks_alive() == 0 {
            self.given_up.clear();
        }
        for set in self.sets() {
            let outside = self.outside(set);
            let witness = &mut self.witnesses[usize::from(set)];
            if let Some(told) = outside.told {
                witness.told.get_or_insert(told);
            }
        }
        self.remember_served();
        self.check_patience(action)
    }

    /// How many tasks have not come to their end, whoever waits for them.
    fn tasks_alive(&self) -> usize {
        self.booted().runtime.metrics().num_alive_tasks()
    }

    fn remember_served(&mut self) {
        for host in 0..self.setup.hosts {
            let served = self.catalog().inventory(&initiator(host)).unwrap_or_default();
            let stale = &mut self.stale[usize::from(host)];
            if served.luns.len() >= stale.luns.len() {
                *stale = served;
            }
        }
    }

    /// A commit is answered when its time has passed, and holds nothing then.
    fn check_patience(&self, action: Action) -> Result<(), Broken> {
        if action != Action::Patience {
            return Ok(());
        }
        let late = self.asked.iter().find(|asked| asked.request == Request::Commit);
        Promise::NoHeldWriteWithoutDeadline
            .check(late.is_none(), || "a commit is not answered after its deadline".to_owned())
    }

    fn learn_names(&mut self) {
        let known = self.names.len() - self.setup.sources.len();
        if self.pool.heard_of_count() == known {
            return;
        }
        let heard_of = self.pool.content().heard_of;
        let mut drawn: BTreeMap<(u8, u8), u8> = BTreeMap::new();
        for (set, member) in heard_of {
            let (set, source) = (self.place_of(set), place_in(&self.setup.sources, &member.source));
            let nth = drawn.entry((set, source)).or_default();
            self.names.insert(member.shadow, Name::Shadow { set, source, nth: *nth });
            *nth += 1;
        }
    }

    /// The shadow LUNs that a set has or will have.
    fn members(&self, set: u8) -> BTreeSet<Name> {
        let (_, sets) = self.catalog().administered_sets();
        let found = sets.iter().find(|found| found.summary.set == self.set_id(set));
        found.into_iter().flat_map(|found| &found.luns).map(|lun| self.name_of(lun.shadow)).collect()
    }

    /// Shadow LUNs of the pool that no set tells of.
    fn unowned(&self) -> BTreeSet<Name> {
        let owned: BTreeSet<Name> = self.sets().filter_map(|set| self.outside(set).told).flatten().collect();
        let luns = self.pool.content().luns;
        let shadows = luns.keys().map(|lun| self.name_of(*lun)).filter(|name| matches!(name, Name::Shadow { .. }));
        shadows.filter(|name| !owned.contains(name)).collect()
    }

    fn check_owners(&self) -> Result<(), Broken> {
        let unowned = self.unowned();
        Promise::NothingWithoutOwner
            .check(unowned.is_empty(), || format!("the pool has {unowned:?}, which are in no set"))?;
        let is_leased = {
            let (_, sets) = self.catalog().administered_sets();
            sets.iter().any(|set| set.summary.lease_left_ms.is_some())
        };
        Promise::NothingWithoutOwner.check(!is_leased, || "a set is still on lease".to_owned())?;
        let content = self.pool.content();
        Promise::NothingWithoutOwner.check(content.prepared.is_empty(), || {
            format!("the pool is still prepared for {} sets", content.prepared.len())
        })
    }
}

fn place_in<T: PartialEq>(all: &[T], one: &T) -> u8 {
    let place = all.iter().position(|other| other == one);
    place.and_then(|place| u8::try_from(place).ok()).unwrap_or(u8::MAX)
}
