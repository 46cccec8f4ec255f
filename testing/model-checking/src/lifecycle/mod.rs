//! The life-cycle machine of `host/vss`: every order of calls for a few sets, calls that overlap, and every way in which they can end.

mod planted;

use std::convert::Infallible;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher as _};

use lunshadow_vss::{Call, Lifecycle, ShadowLuns, SnapshotSetId, Transition, Verdict};
use uuid::Uuid;

pub use planted::Fault;

use crate::explorer::System;
use crate::promise::{Broken, Promise};

/// How much of everything there is.
#[derive(Debug, Clone, Copy)]
pub struct Setup {
    /// How many sets.
    pub sets: u8,
    /// How many calls can be carried out at a time.
    pub at_once: usize,
    /// What the machine does wrong, if that is what the search has to find.
    pub fault: Option<Fault>,
}

impl Default for Setup {
    fn default() -> Self {
        Self { sets: 2, at_once: 2, fault: None }
    }
}

/// A method that concerns the current set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Method {
    /// `BeginPrepareSnapshot`.
    BeginPrepare,
    /// `EndPrepareSnapshots`.
    EndPrepare,
    /// `PreCommitSnapshots`.
    PreCommit,
    /// `CommitSnapshots`.
    Commit,
    /// `PostCommitSnapshots`.
    PostCommit,
    /// `PreFinalCommitSnapshots`.
    PreFinalCommit,
    /// `PostFinalCommitSnapshots`.
    PostFinalCommit,
    /// `AbortSnapshots`.
    Abort,
    /// `GetTargetLuns`.
    GetTargetLuns,
    /// `OnUnload`.
    Unload,
}

impl Method {
    /// Those that name a set.
    const OF_A_SET: [Self; 8] = [
        Self::BeginPrepare,
        Self::EndPrepare,
        Self::PreCommit,
        Self::Commit,
        Self::PostCommit,
        Self::PreFinalCommit,
        Self::PostFinalCommit,
        Self::Abort,
    ];

    /// The place of a step in the order of a creation.
    const fn place(self) -> Option<u8> {
        match self {
            Self::EndPrepare => Some(1),
            Self::PreCommit => Some(2),
            Self::Commit => Some(3),
            Self::PostCommit => Some(KEPT),
            Self::PreFinalCommit => Some(5),
            Self::PostFinalCommit => Some(6),
            Self::BeginPrepare | Self::Abort | Self::GetTargetLuns | Self::Unload => None,
        }
    }

    const fn call(self, set: SnapshotSetId) -> Call {
        match self {
            Self::BeginPrepare => Call::BeginPrepareSnapshot(set),
            Self::EndPrepare => Call::EndPrepareSnapshots(set),
            Self::PreCommit => Call::PreCommitSnapshots(set),
            Self::Commit => Call::CommitSnapshots(set),
            Self::PostCommit => Call::PostCommitSnapshots(set),
            Self::PreFinalCommit => Call::PreFinalCommitSnapshots(set),
            Self::PostFinalCommit => Call::PostFinalCommitSnapshots(set),
            Self::Abort => Call::AbortSnapshots(set),
            Self::GetTargetLuns => Call::GetTargetLuns,
            Self::Unload => Call::OnUnload,
        }
    }
}

/// Steps up to here may be undone; from here on VSS was told that the set exists.
const KEPT: u8 = 4;

/// Something that happens to the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// A call comes in.
    Call(Method, u8),
    /// The call at that place of those that are being carried out ends; with success or not.
    End(usize, Method, bool),
    /// The provider has withdrawn a kept set, after a review.
    Withdraw(u8),
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Call(method @ (Method::GetTargetLuns | Method::Unload), _) => write!(f, "VSS calls {method:?}"),
            Self::Call(method, set) => write!(f, "VSS calls {method:?} of set {}", set + 1),
            Self::End(_, method, true) => write!(f, "the {method:?} that is under way has succeeded"),
            Self::End(_, method, false) => write!(f, "the {method:?} that is under way has failed"),
            Self::Withdraw(set) => write!(f, "the provider withdraws set {}", set + 1),
        }
    }
}

/// A call that is being carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Running {
    method: Method,
    set: u8,
    transition: Transition,
    /// Its sequence has ended since it began.
    overtaken: bool,
}

/// What an observer knows of the calls since the last beginning of a sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Sequence {
    set: u8,
    /// The place of the last step that counted.
    reached: u8,
    over: bool,
}

impl Sequence {
    const fn is_unfinished(self) -> bool {
        !self.over && self.reached < KEPT
    }

    const fn is_kept(self) -> bool {
        !self.over && self.reached >= KEPT
    }
}

/// The machine and what goes on around it.
#[derive(Debug)]
pub struct LifecycleSystem {
    setup: Setup,
    machine: Lifecycle,
    running: Vec<Running>,
    sequence: Option<Sequence>,
    /// The set whose abort the machine has said to review.
    in_review: Option<u8>,
}

impl System for LifecycleSystem {
    type Setup = Setup;
    type Action = Action;
    type Remains = Infallible;

    fn start(setup: &Setup) -> Self {
        Self { setup: *setup, machine: Lifecycle::new(), running: Vec::new(), sequence: None, in_review: None }
    }

    fn resume(_: &Setup, remains: &Infallible) -> Self {
        match *remains {}
    }

    fn remains(&mut self) -> Option<Infallible> {
        None
    }

    fn actions(&self) -> Vec<Action> {
        let mut actions = Vec::new();
        if self.running.len() < self.setup.at_once {
            for set in 0..self.setup.sets {
                actions.extend(Method::OF_A_SET.map(|method| Action::Call(method, set)));
            }
            actions.extend([Method::GetTargetLuns, Method::Unload].map(|method| Action::Call(method, 0)));
        }
        for (place, running) in self.running.iter().enumerate() {
            actions.extend([true, false].map(|succeeded| Action::End(place, running.method, succeeded)));
        }
        actions.extend(self.in_review.map(Action::Withdraw));
        actions
    }

    fn take(&mut self, action: &Action) -> Result<(), Broken> {
        match *action {
            Action::Call(method, set) => self.call(method, set),
            Action::End(place, ..) => self.finish(place, matches!(action, Action::End(_, _, true))),
            Action::Withdraw(set) => {
                self.machine.withdrawn(id_of(set));
                self.in_review = None;
                if self.sequence.is_some_and(|sequence| sequence.set == set) {
                    self.end_sequence();
                }
                Ok(())
            }
        }
    }

    fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        // The machine may count its sequences; what matters is which calls still count.
        let view = |running: &Running| {
            let Running { method, set, transition, overtaken } = running;
            let counts = { self.machine }.end(id_of(*set), *transition, true);
            format!("{method:?} {set} {overtaken} {counts}")
        };
        let mut running: Vec<String> = self.running.iter().map(view).collect();
        running.sort();
        let (current, state) = (self.machine.current(), self.machine.state());
        format!("{current:?} {state:?} {:?} {:?} {running:?}", self.sequence, self.in_review).hash(&mut hasher);
        hasher.finish()
    }

    fn check(&self) -> Result<(), Broken> {
        let current = self.machine.current();
        let Some(sequence) = self.sequence.filter(|sequence| !sequence.over) else { return Ok(()) };
        Promise::UnfinishedIsDiscarded.check(current == Some(id_of(sequence.set)), || {
            format!("set {} is not over, and the machine knows {current:?}", sequence.set + 1)
        })
    }

    fn end(self) -> Result<(), Broken> {
        Ok(())
    }
}

impl LifecycleSystem {
    fn call(&mut self, method: Method, set: u8) -> Result<(), Broken> {
        self.in_review = None;
        let call = method.call(id_of(set));
        let verdict = match self.setup.fault {
            Some(fault) => fault.begin(&mut self.machine, call),
            None => self.machine.begin(call),
        };
        let same = self.sequence.filter(|sequence| sequence.set == set);
        match verdict {
            Verdict::Proceed(transition) => self.proceed(method, set, transition),
            Verdict::DiscardFirst { luns, transition, .. } => {
                self.discard(luns)?;
                self.sequence = None;
                self.proceed(method, set, transition)
            }
            Verdict::OutOfOrder { luns: ShadowLuns::Discard, .. } => self.discard(ShadowLuns::Discard),
            Verdict::OutOfOrder { luns: ShadowLuns::Keep, .. } | Verdict::ObjectNotFound => Ok(()),
            Verdict::NotCurrent => {
                let ignored = method == Method::Abort && same.is_some_and(Sequence::is_unfinished);
                Promise::UnfinishedIsDiscarded.check(!ignored, || "an abort of the current set was ignored".to_owned())
            }
            Verdict::Review => {
                self.in_review = Some(set);
                let is_kept = same.is_some_and(Sequence::is_kept);
                Promise::UnfinishedIsDiscarded.check(is_kept, || "a set is reviewed that is not kept".to_owned())
            }
        }
    }

    fn proceed(&mut self, method: Method, set: u8, transition: Transition) -> Result<(), Broken> {
        let sequence = self.sequence;
        match method {
            Method::BeginPrepare => {
                let goes_on = sequence.is_some_and(|found| found.set == set && !found.over && found.reached == 0);
                if !goes_on {
                    self.leave(sequence)?;
                    self.sequence = Some(Sequence { set, reached: 0, over: false });
                }
            }
            Method::Abort => {
                self.discard(ShadowLuns::Discard)?;
                return Ok(());
            }
            Method::Unload => {
                self.leave(sequence)?;
                self.sequence = None;
                return Ok(());
            }
            Method::GetTargetLuns => {
                let is_kept = sequence.is_some_and(Sequence::is_kept);
                return Promise::TargetsOnlyOfKept.check(is_kept, || format!("they are told in {sequence:?}"));
            }
            Method::EndPrepare
            | Method::PreCommit
            | Method::Commit
            | Method::PostCommit
            | Method::PreFinalCommit
            | Method::PostFinalCommit => self.check_order(method, set)?,
        }
        self.running.push(Running { method, set, transition, overtaken: false });
        Ok(())
    }

    fn finish(&mut self, place: usize, succeeded: bool) -> Result<(), Broken> {
        let Running { method, set, transition, overtaken } = self.running.remove(place);
        if method == Method::BeginPrepare && !succeeded {
            // The provider says nothing to the machine then: the failure of one volume leaves the set as it is.
            return Ok(());
        }
        let counts = match self.setup.fault {
            Some(fault) => fault.end(&mut self.machine, id_of(set), transition, succeeded),
            None => self.machine.end(id_of(set), transition, succeeded),
        };
        if !counts {
            return Ok(());
        }
        Promise::OvertakenDoesNotCount.check(!overtaken, || format!("the {method:?} of set {} counted", set + 1))?;
        let Some(step) = method.place() else { return Ok(()) };
        if succeeded {
            self.check_order(method, set)?;
            if let Some(sequence) = &mut self.sequence {
                sequence.reached = step;
            }
        } else if step <= KEPT {
            // The provider has the array remove the set.
            self.end_sequence();
        }
        Ok(())
    }

    fn check_order(&self, method: Method, set: u8) -> Result<(), Broken> {
        let sequence = self.sequence;
        let before = method.place().map_or(0, |place| place - 1);
        let in_order = sequence.is_some_and(|found| found.set == set && !found.over && found.reached == before);
        let promise = if method == Method::Commit { Promise::CommitAtMostOnce } else { Promise::StepsInOrder };
        promise.check(in_order, || format!("{method:?} of set {} in {sequence:?}", set + 1))
    }

    /// A sequence is replaced by another one without a word about its shadow LUNs.
    fn leave(&mut self, sequence: Option<Sequence>) -> Result<(), Broken> {
        let forgotten = sequence.is_some_and(Sequence::is_unfinished);
        self.end_sequence();
        Promise::UnfinishedIsDiscarded.check(!forgotten, || format!("{sequence:?} was forgotten"))
    }

    /// The machine has said what becomes of the shadow LUNs of the current set.
    fn discard(&mut self, luns: ShadowLuns) -> Result<(), Broken> {
        let Some(sequence) = self.sequence else { return Ok(()) };
        self.end_sequence();
        match luns {
            ShadowLuns::Discard => Promise::KeptIsNotDiscarded
                .check(!sequence.is_kept(), || format!("set {} was discarded", sequence.set + 1)),
            ShadowLuns::Keep => Promise::UnfinishedIsDiscarded
                .check(!sequence.is_unfinished(), || format!("set {} is left as it is", sequence.set + 1)),
        }
    }

    fn end_sequence(&mut self) {
        if let Some(sequence) = &mut self.sequence {
            sequence.over = true;
        }
        self.running.iter_mut().for_each(|running| running.overtaken = true);
    }
}

fn id_of(set: u8) -> SnapshotSetId {
    SnapshotSetId(Uuid::from_u128(u128::from(set) + 1))
}
