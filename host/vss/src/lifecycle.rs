//! The life cycle of a snapshot set inside a provider, as a pure machine: the table in section 2.0.7 of the contract.
//!
//! [`Lifecycle`] knows one set at a time, the *current* one. A call is put to [`Lifecycle::begin`], which says what to do about
//! it and takes the state of the work in progress; the work is done without holding the machine; its end is told to
//! [`Lifecycle::end`], which says whether it still counts: an abort or a new set may have come in between.
//!
//! Where the table leaves a choice, it is made here: the first call of a set that is kept already (POSTCOMMITTED and later) is not
//! a restart but out of order, and no call that is out of order changes a kept set, because its LUNs may be a backup.

use crate::{SnapshotSetId, SnapshotState};

/// A call that concerns the current set. `LocateLuns`, `FillInLunInfo`, `OnLunEmpty`, `OnLunStateChange`, `ResyncLuns`, `OnReuseLuns`
/// and `AreLunsSupported` are not here: they are legal in every state and change none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Call {
    /// A volume is added to a set.
    BeginPrepareSnapshot(SnapshotSetId),
    /// The preparation is to be completed.
    EndPrepareSnapshots(SnapshotSetId),
    /// The commit is near.
    PreCommitSnapshots(SnapshotSetId),
    /// The point in time is to be fixed.
    CommitSnapshots(SnapshotSetId),
    /// Writes go on.
    PostCommitSnapshots(SnapshotSetId),
    /// Auto-recovery begins.
    PreFinalCommitSnapshots(SnapshotSetId),
    /// Auto-recovery has ended.
    PostFinalCommitSnapshots(SnapshotSetId),
    /// A set is given up.
    AbortSnapshots(SnapshotSetId),
    /// The shadow LUNs of the current set are asked for; there is no set id.
    GetTargetLuns,
    /// The provider is about to be unloaded.
    OnUnload,
}

impl Call {
    /// The set that the call names.
    #[must_use]
    pub const fn set(self) -> Option<SnapshotSetId> {
        match self {
            Self::BeginPrepareSnapshot(set)
            | Self::EndPrepareSnapshots(set)
            | Self::PreCommitSnapshots(set)
            | Self::CommitSnapshots(set)
            | Self::PostCommitSnapshots(set)
            | Self::PreFinalCommitSnapshots(set)
            | Self::PostFinalCommitSnapshots(set)
            | Self::AbortSnapshots(set) => Some(set),
            Self::GetTargetLuns | Self::OnUnload => None,
        }
    }
}

/// The states that belong to a call which is carried out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Transition {
    /// While it runs.
    pub during: SnapshotState,
    /// When it has succeeded.
    pub succeeded: SnapshotState,
    /// When it has failed.
    pub failed: SnapshotState,
    /// Which sequence of the machine it belongs to, so that a call is known that outlives its sequence, even if another one of the same set
    /// has come to the same state.
    sequence: u32,
}

/// What becomes of the shadow LUNs of a set that ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ShadowLuns {
    /// They are removed: the set had not got beyond COMMITTED.
    Discard,
    /// They stay, for `OnLunEmpty` or an administrator to remove: from POSTCOMMITTED on they may be somebody's backup.
    Keep,
}

/// What to do about a call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Do the work, then [`Lifecycle::end`].
    Proceed(Transition),
    /// The current set ends silently; then as [`Proceed`](Self::Proceed). With `BeginPrepareSnapshot` this is the start of a new sequence.
    DiscardFirst {
        /// The set that ends.
        discarded: SnapshotSetId,
        /// What becomes of its shadow LUNs.
        luns: ShadowLuns,
        /// The states of the call itself.
        transition: Transition,
    },
    /// The call is out of order: `VSS_E_PROVIDER_VETO`. The current set is in state `then` from now on.
    OutOfOrder {
        /// The state that the machine has taken.
        then: SnapshotState,
        /// What becomes of the shadow LUNs of the current set.
        luns: ShadowLuns,
    },
    /// The set is not the current one: `VSS_E_OBJECT_NOT_FOUND`.
    ObjectNotFound,
    /// The set is not the current one, and that is harmless: `S_OK`. The current set is not touched.
    NotCurrent,
    /// An abort of a set that is kept. Section 2.1.7: withdraw it only if this provider itself failed a later call of the set and
    /// nothing of it was located, then [`Lifecycle::withdrawn`]; otherwise `S_OK`, and its LUNs are candidates for a review.
    Review,
}

/// The current set of a provider and its state.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Lifecycle {
    current: Option<(SnapshotSetId, SnapshotState)>,
    /// Counts the ends of sequences. A call that began in an earlier one does not count any more.
    sequence: u32,
}

impl Lifecycle {
    /// A provider that knows of no set.
    #[must_use]
    pub const fn new() -> Self {
        Self { current: None, sequence: 0 }
    }

    /// The current set. It stays current after its end, until another one begins.
    #[must_use]
    pub fn current(&self) -> Option<SnapshotSetId> {
        self.current.map(|(set, _)| set)
    }

    /// The state of the current set; UNKNOWN if there is none.
    #[must_use]
    pub fn state(&self) -> SnapshotState {
        self.current.map_or(SnapshotState::UNKNOWN, |(_, state)| state)
    }

    /// What to do about a call. Nothing changes.
    #[must_use]
    pub fn verdict(&self, call: Call) -> Verdict {
        let same = call.set().is_some() && call.set() == self.current();
        match call {
            Call::BeginPrepareSnapshot(_) => self.begin_prepare(same),
            Call::OnUnload => self.discarding(self.ending(SnapshotState::UNKNOWN)),
            Call::GetTargetLuns if is_kept(self.state()) => Verdict::Proceed(self.moving(self.state())),
            Call::GetTargetLuns => Verdict::OutOfOrder { then: self.state(), luns: ShadowLuns::Keep },
            Call::AbortSnapshots(_) if same => self.abort(),
            Call::AbortSnapshots(_) => Verdict::NotCurrent,
            Call::PreFinalCommitSnapshots(_) | Call::PostFinalCommitSnapshots(_) if !same => Verdict::NotCurrent,
            _ if !same => Verdict::ObjectNotFound,
            step => self.step(step),
        }
    }

    /// What to do about a call, having taken the state that the verdict says.
    pub fn begin(&mut self, call: Call) -> Verdict {
        let verdict = self.verdict(call);
        match verdict {
            Verdict::Proceed(transition) | Verdict::DiscardFirst { transition, .. } => {
                self.sequence = transition.sequence;
                self.current = match call {
                    Call::OnUnload => None,
                    _ => call.set().or(self.current()).map(|set| (set, transition.during)),
                };
            }
            Verdict::OutOfOrder { then, luns } => {
                if luns == ShadowLuns::Discard {
                    self.sequence = self.next_sequence();
                }
                self.take(then);
            }
            Verdict::ObjectNotFound | Verdict::NotCurrent | Verdict::Review => {}
        }
        verdict
    }

    /// Takes the state in which a call ends. Answers whether it still counted: not if the set was aborted or replaced while the
    /// work was done, which leaves the state alone.
    #[must_use]
    pub fn end(&mut self, set: SnapshotSetId, transition: Transition, succeeded: bool) -> bool {
        let counts = self.sequence == transition.sequence && self.is_at(set, transition.during);
        if counts {
            self.take(if succeeded { transition.succeeded } else { transition.failed });
        }
        counts
    }

    /// Whether `set` is current and in `state`.
    #[must_use]
    pub fn is_at(&self, set: SnapshotSetId, state: SnapshotState) -> bool {
        self.current == Some((set, state))
    }

    /// A kept set was removed after all.
    pub fn withdrawn(&mut self, set: SnapshotSetId) {
        if self.current() == Some(set) {
            self.sequence = self.next_sequence();
            self.take(SnapshotState::ABORTED);
        }
    }

    const fn next_sequence(&self) -> u32 {
        self.sequence.wrapping_add(1)
    }

    /// A call that takes the same state whether it succeeds or fails.
    const fn moving(&self, to: SnapshotState) -> Transition {
        Transition { during: to, succeeded: to, failed: to, sequence: self.sequence }
    }

    /// The same, and what began before does not count any more.
    const fn ending(&self, to: SnapshotState) -> Transition {
        Transition { sequence: self.next_sequence(), ..self.moving(to) }
    }

    fn take(&mut self, state: SnapshotState) {
        if let Some((_, current)) = &mut self.current {
            *current = state;
        }
    }

    fn begin_prepare(&self, same: bool) -> Verdict {
        let state = self.state();
        let preparing = SnapshotState::PREPARING;
        match same {
            true if state == preparing => Verdict::Proceed(self.moving(preparing)),
            true if is_kept(state) => Verdict::OutOfOrder { then: state, luns: ShadowLuns::Keep },
            _ => self.discarding(self.ending(preparing)),
        }
    }

    fn discarding(&self, transition: Transition) -> Verdict {
        match self.current {
            Some((discarded, state)) if is_unfinished(state) => {
                Verdict::DiscardFirst { discarded, luns: ShadowLuns::Discard, transition }
            }
            Some((discarded, state)) if is_kept(state) => {
                Verdict::DiscardFirst { discarded, luns: ShadowLuns::Keep, transition }
            }
            _ => Verdict::Proceed(transition),
        }
    }

    fn abort(&self) -> Verdict {
        let state = self.state();
        if is_kept(state) {
            Verdict::Review
        } else if is_unfinished(state) || state == SnapshotState::ABORTED {
            Verdict::Proceed(self.ending(SnapshotState::ABORTED))
        } else {
            Verdict::NotCurrent
        }
    }

    fn step(&self, call: Call) -> Verdict {
        let state = self.state();
        match transition_of(call, self.sequence) {
            Some((from, transition)) if from == state => Verdict::Proceed(transition),
            _ if is_unfinished(state) => {
                Verdict::OutOfOrder { then: SnapshotState::ABORTED, luns: ShadowLuns::Discard }
            }
            _ => Verdict::OutOfOrder { then: state, luns: ShadowLuns::Keep },
        }
    }
}

/// The state that a step of the creation needs, and its transition. A failure up to `PostCommitSnapshots` fails the whole set; later
/// the LUNs are kept and the step may be asked for again.
const fn transition_of(call: Call, sequence: u32) -> Option<(SnapshotState, Transition)> {
    use SnapshotState as S;
    let (from, during, succeeded, failed) = match call {
        Call::EndPrepareSnapshots(_) => (S::PREPARING, S::PROCESSING_PREPARE, S::PREPARED, S::ABORTED),
        Call::PreCommitSnapshots(_) => (S::PREPARED, S::PROCESSING_PRECOMMIT, S::PRECOMMITTED, S::ABORTED),
        Call::CommitSnapshots(_) => (S::PRECOMMITTED, S::PROCESSING_COMMIT, S::COMMITTED, S::ABORTED),
        Call::PostCommitSnapshots(_) => (S::COMMITTED, S::PROCESSING_POSTCOMMIT, S::POSTCOMMITTED, S::ABORTED),
        Call::PreFinalCommitSnapshots(_) => {
            (S::POSTCOMMITTED, S::PROCESSING_PREFINALCOMMIT, S::PREFINALCOMMITTED, S::POSTCOMMITTED)
        }
        Call::PostFinalCommitSnapshots(_) => {
            (S::PREFINALCOMMITTED, S::PROCESSING_POSTFINALCOMMIT, S::CREATED, S::PREFINALCOMMITTED)
        }
        Call::BeginPrepareSnapshot(_) | Call::AbortSnapshots(_) | Call::GetTargetLuns | Call::OnUnload => return None,
    };
    Some((from, Transition { during, succeeded, failed, sequence }))
}

/// Up to COMMITTED, and while the array is being asked to keep the set.
const fn is_unfinished(state: SnapshotState) -> bool {
    matches!(
        state,
        SnapshotState::PREPARING
            | SnapshotState::PROCESSING_PREPARE
            | SnapshotState::PREPARED
            | SnapshotState::PROCESSING_PRECOMMIT
            | SnapshotState::PRECOMMITTED
            | SnapshotState::PROCESSING_COMMIT
            | SnapshotState::COMMITTED
            | SnapshotState::PROCESSING_POSTCOMMIT
    )
}

/// From POSTCOMMITTED on, as long as the set exists.
const fn is_kept(state: SnapshotState) -> bool {
    matches!(
        state,
        SnapshotState::POSTCOMMITTED
            | SnapshotState::PROCESSING_PREFINALCOMMIT
            | SnapshotState::PREFINALCOMMITTED
            | SnapshotState::PROCESSING_POSTFINALCOMMIT
            | SnapshotState::CREATED
    )
}

#[cfg(test)]
mod tests;
