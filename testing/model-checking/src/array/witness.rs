//! What an observer of the array has been told and has seen, and the promises that are held against it.

use std::collections::BTreeSet;

use lunshadow_catalog::SetState;
use lunshadow_control::{Outcome, ShadowTarget};
use lunshadow_lun::LunOrigin;

use super::request::{Answer, Request, tells_end};
use super::{ArraySystem, Name};
use crate::promise::{Broken, Promise};

/// What is known of one set.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct Witness {
    /// The array has answered that it is over.
    pub(crate) over: bool,
    /// The array has answered that it is committed, and nothing was asked since that can end it.
    pub(crate) committed: bool,
    /// The array has answered that it is kept, and nothing was asked since that can take from it.
    pub(crate) kept: bool,
    /// What it consisted of when the array answered that it is armed.
    pub(crate) armed: BTreeSet<Name>,
    /// What was told of it first.
    pub(crate) told: Option<BTreeSet<Name>>,
    /// Whether something of it was released, or asked to be.
    pub(crate) released: bool,
    /// How many points in time an earlier set of the same id has had, of which the array knew nothing any more.
    pub(crate) captured_before: u32,
}

impl Witness {
    /// Something is asked.
    pub(crate) fn note_request(&mut self, request: Request) {
        self.committed &= !request.may_end();
        self.kept &= !request.may_end_kept();
        self.released |= matches!(request, Request::ReleaseFirst | Request::ReleaseAll);
    }

    /// Something is answered. `durably` says that the array had the time that it needs to make the end of a set durable.
    pub(crate) fn note_answer(&mut self, request: Request, answer: &Answer, ends: bool, durably: bool) {
        self.over |= tells_end(request, answer) && durably;
        match (request, answer) {
            // One that has nothing left ends with the next start.
            (Request::Commit, Ok(Outcome::Done | Outcome::AlreadySo)) => self.committed = !self.released && !ends,
            (Request::Keep, Ok(Outcome::Done | Outcome::AlreadySo)) => self.kept = !self.released && !ends,
            _ => {}
        }
    }
}

/// What everybody can see of a set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Outside {
    pub(crate) state: Option<SetState>,
    pub(crate) told: Option<BTreeSet<Name>>,
    pub(crate) mapped: BTreeSet<(u8, Name)>,
}

impl ArraySystem {
    /// What everybody can see of a set.
    pub(super) fn outside(&self, set: u8) -> Outside {
        let plan = &self.setup.sets[usize::from(set)];
        let (host, id) = (self.host(plan.host), self.set_id(set));
        let targets = self.catalog().targets(host, id).ok();
        let names = |targets: Vec<ShadowTarget>| targets.iter().map(|target| self.name_of(target.shadow)).collect();
        let mut mapped = self.mapped();
        mapped.retain(|(_, name)| matches!(name, Name::Shadow { set: of, .. } if *of == set));
        Outside { state: self.catalog().set_state(host, id).ok(), told: targets.map(names), mapped }
    }

    /// The promises about one set.
    pub(super) fn check_set(&self, set: u8) -> Result<(), Broken> {
        let Outside { state, told, mapped } = self.outside(set);
        let witness = &self.witnesses[usize::from(set)];
        let number = set + 1;
        let ended = matches!(state, None | Some(SetState::Aborted)) && told.is_none() && mapped.is_empty();
        Promise::AbortedNeverAppears.check(!witness.over || ended, || {
            format!("set {number} was answered to be over, and is {state:?}, tells {told:?}, is mapped as {mapped:?}")
        })?;
        let reachable = matches!(state, Some(SetState::Committed | SetState::Kept));
        Promise::MappedIsServed
            .check(reachable || mapped.is_empty(), || format!("set {number} is {state:?} and mapped as {mapped:?}"))?;
        let captures = self.pool.content().captures.get(&self.set_id(set)).copied().unwrap_or(0);
        let captures = captures - witness.captured_before.min(captures);
        Promise::CommitAtMostOnce.check(captures <= 1, || format!("set {number} has {captures} points in time"))?;
        Promise::KeptStays.check(!witness.kept || state == Some(SetState::Kept), || {
            format!("set {number} was answered to be kept, and is {state:?}")
        })?;
        Promise::CommittedStays.check(!witness.committed || reachable, || {
            format!("set {number} was answered to be committed, and is {state:?}")
        })?;
        if let Some(told) = told {
            self.check_whole(set, &told)?;
        }
        Ok(())
    }

    /// The shadow LUNs that are told: all of them, of the right sources, and the same as ever.
    fn check_whole(&self, set: u8, told: &BTreeSet<Name>) -> Result<(), Broken> {
        let witness = &self.witnesses[usize::from(set)];
        let number = set + 1;
        let whole = witness.released || *told == witness.armed;
        Promise::NoPartialCommit.check(whole && told.is_subset(&witness.armed), || {
            format!("set {number} was armed with {:?} and tells {told:?}", witness.armed)
        })?;
        if let Some(first) = &witness.told {
            Promise::CommitAtMostOnce
                .check(told.is_subset(first), || format!("set {number} told {first:?} and tells {told:?}"))?;
        }
        let luns = self.pool.content().luns;
        let id = self.set_id(set);
        for name in told {
            let summary = self.lun_of(*name).and_then(|lun| luns.get(&lun));
            let is_captured = summary.is_some_and(|summary| match summary.origin {
                LunOrigin::Shadow { source, set } => set == id && Some(source) == self.source_of(*name),
                LunOrigin::Empty => false,
            });
            // One that is being released is still told until its deletion is answered.
            let is_released = witness.released && summary.is_none();
            Promise::NoPartialCommit.check(is_captured || is_released, || {
                format!("set {number} tells {name:?}, which the pool has as {summary:?}")
            })?;
        }
        Ok(())
    }

    /// The promises about the array as a whole.
    pub(super) fn check_all(&self) -> Result<(), Broken> {
        for host in 0..self.setup.hosts {
            let mapped: Vec<_> = self.mappings(host);
            let served = self.served(host);
            Promise::MappedIsServed
                .check(served == mapped, || format!("host {} sees {served:?} and has {mapped:?}", host + 1))?;
            for source in self.setup.sources_of(host) {
                let is_there = mapped.iter().any(|(_, lun)| *lun == self.setup.sources[usize::from(source)]);
                Promise::SourcesStay.check(is_there, || format!("host {} does not see LUN {source}", host + 1))?;
            }
        }
        let content = self.pool.content();
        for source in &self.setup.sources {
            let is_whole = content.luns.get(source).is_some_and(|summary| summary.origin == LunOrigin::Empty);
            Promise::SourcesStay.check(is_whole, || format!("the pool has lost {:?}", self.name_of(*source)))?;
        }
        for (_, at_most) in content.held.values() {
            Promise::NoHeldWriteWithoutDeadline.check(*at_most <= lunshadow_catalog::COMMIT_WITHIN_MAX, || {
                format!("a commit may hold writes for {at_most:?}")
            })?;
        }
        Ok(())
    }
}
