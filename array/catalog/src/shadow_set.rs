//! One shadow set: its states, and which step is legal in which of them. Pure decisions; the use cases carry them out.
//!
//! ```text
//!   Prepared ──arm──▶ Armed ──commit──▶ Committing ──durable──▶ Committed ──keep──▶ Kept
//!      │               │                    │                       │                │ withdraw, while
//!      └───────────────┴──── abort, failure, deadline, lease ───────┴──▶ Aborted ◀───┘ never mapped
//! ```

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use lunshadow_control::{HostId, LunId, Outcome, ShadowSetId, ShadowUse};
use lunshadow_lun::ShadowMember;
use serde::{Deserialize, Serialize};
use tokio::sync::{Mutex, watch};

use crate::mirror::Mirror;
use crate::records::SetDoc;
use crate::{CatalogError, Moment};

/// Where a shadow set stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SetState {
    /// LUNs are being added; nothing is captured.
    Prepared,
    /// The commit comes next.
    Armed,
    /// The pool fixes the point in time.
    Committing,
    /// The shadow LUNs exist, on a lease.
    Committed,
    /// The shadow LUNs exist until they are released.
    Kept,
    /// The set is over; none of its shadow LUNs can be reached any more.
    Aborted,
}

impl fmt::Display for SetState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Prepared => "prepared",
            Self::Armed => "armed",
            Self::Committing => "committing",
            Self::Committed => "committed",
            Self::Kept => "kept",
            Self::Aborted => "aborted",
        })
    }
}

/// Why a set is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AbortReason {
    /// Its host asked for it.
    Requested,
    /// The pool failed to prepare it.
    PreparationFailed,
    /// The pool failed to commit it.
    CommitFailed,
    /// The commit was not durable in time.
    DeadlinePassed,
    /// Its host did not come back in time.
    LeaseExpired,
    /// The array was restarted before the commit.
    Restarted,
    /// An administrator deleted it.
    Deleted,
}

impl fmt::Display for AbortReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Requested => "at the host's request",
            Self::PreparationFailed => "because its preparation failed",
            Self::CommitFailed => "because its commit failed",
            Self::DeadlinePassed => "because its commit was not durable in time",
            Self::LeaseExpired => "because its lease ran out",
            Self::Restarted => "because the array was restarted before the commit",
            Self::Deleted => "by an administrator",
        })
    }
}

/// A shadow set in memory.
#[derive(Debug)]
pub(crate) struct ShadowSet {
    pub(crate) set: ShadowSetId,
    pub(crate) owner: HostId,
    pub(crate) state: SetState,
    pub(crate) reason: Option<AbortReason>,
    /// What the preparation failed with after its request had been answered.
    pub(crate) failure: Option<CatalogError>,
    /// INVARIANT: durable in the database before the set is armed; from the commit on it only shrinks, by releases.
    pub(crate) members: Vec<ShadowMember>,
    /// Those that make full copies of shadow LUNs.
    pub(crate) mirrors: Vec<Mirror>,
    /// Whether the mirrors were brought up to date since the last of them was filled, or are being so.
    pub(crate) is_caught_up: bool,
    /// What the preparation that is under way adds.
    pub(crate) joining: Vec<ShadowMember>,
    pub(crate) ever_mapped: bool,
    pub(crate) lease: Option<Moment>,
    pub(crate) ended: Option<u64>,
    /// Whether the records say that it is over.
    pub(crate) end_is_durable: bool,
    pub(crate) commit_within: Duration,
    pub(crate) created_at_unix_ms: u64,
    pub(crate) commit_began: Option<Moment>,
    pub(crate) committed_at_unix_ms: Option<u64>,
    pub(crate) commit_took_us: Option<u64>,
    /// What the host has told about shadow LUNs of the set.
    pub(crate) uses: BTreeMap<LunId, ShadowUse>,
    /// Preparations that are not finished.
    pub(crate) preparing: usize,
    /// Whether a call of the pool's commit has not come back, which can be so long after the set was aborted.
    pub(crate) in_pool_commit: bool,
    /// Removals from the pool that are under way.
    pub(crate) clearing: usize,
    /// Whether an aborted set is gone from the pool too.
    pub(crate) cleared: bool,
    /// One preparation at a time.
    pub(crate) turn: Arc<Mutex<()>>,
    /// Woken by every change of the state or of `preparing`.
    pub(crate) changed: watch::Sender<()>,
}

impl ShadowSet {
    pub(crate) fn new(set: ShadowSetId, owner: HostId, created_at_unix_ms: u64) -> Self {
        Self {
            set,
            owner,
            state: SetState::Prepared,
            reason: None,
            failure: None,
            members: Vec::new(),
            mirrors: Vec::new(),
            is_caught_up: false,
            joining: Vec::new(),
            ever_mapped: false,
            lease: None,
            ended: None,
            end_is_durable: false,
            commit_within: Duration::ZERO,
            created_at_unix_ms,
            commit_began: None,
            committed_at_unix_ms: None,
            commit_took_us: None,
            uses: BTreeMap::new(),
            preparing: 0,
            in_pool_commit: false,
            clearing: 0,
            cleared: false,
            turn: Arc::new(Mutex::new(())),
            changed: watch::Sender::new(()),
        }
    }

    pub(crate) fn from_doc(set: ShadowSetId, doc: SetDoc) -> Self {
        Self {
            state: doc.state,
            reason: doc.reason,
            members: doc.members.into_iter().map(Into::into).collect(),
            ever_mapped: doc.ever_mapped,
            ended: doc.ended,
            end_is_durable: doc.state == SetState::Aborted,
            committed_at_unix_ms: doc.committed_at_unix_ms,
            commit_took_us: doc.commit_took_us,
            uses: doc.uses,
            ..Self::new(set, doc.owner, doc.created_at_unix_ms)
        }
    }

    pub(crate) fn to_doc(&self) -> SetDoc {
        SetDoc {
            owner: self.owner,
            members: self.members.iter().copied().map(Into::into).collect(),
            state: self.state,
            reason: self.reason,
            ever_mapped: self.ever_mapped,
            ended: self.ended,
            created_at_unix_ms: self.created_at_unix_ms,
            committed_at_unix_ms: self.committed_at_unix_ms,
            commit_took_us: self.commit_took_us,
            uses: self.uses.clone(),
        }
    }

    /// Whether LUNs can be added.
    pub(crate) fn check_preparable(&self) -> Result<(), CatalogError> {
        match self.state {
            SetState::Prepared => Ok(()),
            SetState::Armed | SetState::Committing | SetState::Committed | SetState::Kept | SetState::Aborted => {
                Err(self.refusal("prepared"))
            }
        }
    }

    /// Whether it can be armed, or is.
    pub(crate) fn check_armable(&self) -> Result<Outcome, CatalogError> {
        match self.state {
            SetState::Prepared if self.preparing > 0 || self.members.is_empty() => {
                Err(CatalogError::NotReady(self.set))
            }
            SetState::Prepared => Ok(Outcome::Done),
            SetState::Armed => Ok(Outcome::AlreadySo),
            SetState::Committing | SetState::Committed | SetState::Kept | SetState::Aborted => {
                Err(self.refusal("armed"))
            }
        }
    }

    /// Whether it can be committed, or is. The caller waits while it is committing.
    pub(crate) fn check_committable(&self) -> Result<Outcome, CatalogError> {
        match self.state {
            SetState::Armed => Ok(Outcome::Done),
            SetState::Committed | SetState::Kept => Ok(Outcome::AlreadySo),
            SetState::Prepared | SetState::Committing | SetState::Aborted => Err(self.refusal("committed")),
        }
    }

    /// Whether it can be kept, or is.
    pub(crate) fn check_keepable(&self) -> Result<Outcome, CatalogError> {
        match self.state {
            SetState::Committed => Ok(Outcome::Done),
            SetState::Kept => Ok(Outcome::AlreadySo),
            SetState::Prepared | SetState::Armed | SetState::Committing | SetState::Aborted => {
                Err(self.refusal("kept"))
            }
        }
    }

    /// Whether it can be aborted, or is.
    pub(crate) fn check_abortable(&self) -> Result<Outcome, CatalogError> {
        match self.state {
            SetState::Prepared | SetState::Armed | SetState::Committing | SetState::Committed => Ok(Outcome::Done),
            SetState::Kept => Err(self.refusal("aborted")),
            SetState::Aborted => Ok(Outcome::AlreadySo),
        }
    }

    /// Whether it can be withdrawn, or is over.
    pub(crate) fn check_withdrawable(&self) -> Result<Outcome, CatalogError> {
        match self.deletion() {
            Outcome::Done if self.ever_mapped => Err(CatalogError::SeenByHosts(self.set)),
            outcome => Ok(outcome),
        }
    }

    /// Whether an administrator can delete it, or nothing is left of it.
    pub(crate) fn deletion(&self) -> Outcome {
        match self.state {
            SetState::Aborted => Outcome::AlreadySo,
            SetState::Kept if self.members.is_empty() => Outcome::AlreadySo,
            SetState::Prepared | SetState::Armed | SetState::Committing | SetState::Committed | SetState::Kept => {
                Outcome::Done
            }
        }
    }

    /// Whether its shadow LUNs exist for hosts.
    pub(crate) fn check_reachable(&self, verb: &'static str) -> Result<(), CatalogError> {
        match self.state {
            SetState::Committed | SetState::Kept => Ok(()),
            SetState::Prepared | SetState::Armed | SetState::Committing | SetState::Aborted => Err(self.refusal(verb)),
        }
    }

    /// Whether its shadow LUNs can become LUNs of their own: nobody takes a kept set back.
    pub(crate) fn check_breakable(&self) -> Result<(), CatalogError> {
        match self.state {
            SetState::Kept => Ok(()),
            SetState::Prepared | SetState::Armed | SetState::Committing | SetState::Committed | SetState::Aborted => {
                Err(self.refusal("broken up"))
            }
        }
    }

    /// Moves it on and wakes who waits.
    pub(crate) fn enter(&mut self, state: SetState, lease: Option<Moment>) {
        self.state = state;
        self.lease = lease;
        self.changed.send_replace(());
    }

    /// Why it is over, as an error.
    pub(crate) fn aborted(&self) -> CatalogError {
        CatalogError::SetAborted { set: self.set, reason: self.reason.unwrap_or(AbortReason::Requested) }
    }

    /// Whether nothing can happen to it any more, so that it may be forgotten.
    pub(crate) fn is_history(&self) -> bool {
        match self.state {
            SetState::Aborted => self.cleared && self.is_idle(),
            SetState::Kept => self.members.is_empty(),
            SetState::Prepared | SetState::Armed | SetState::Committing | SetState::Committed => false,
        }
    }

    /// Whether nobody is at work on it in the pool.
    pub(crate) fn is_idle(&self) -> bool {
        self.preparing == 0 && self.clearing == 0 && !self.in_pool_commit
    }

    fn refusal(&self, verb: &'static str) -> CatalogError {
        if self.state == SetState::Aborted {
            self.aborted()
        } else {
            CatalogError::WrongState { set: self.set, state: self.state, verb }
        }
    }
}

#[cfg(test)]
mod tests {
    use lunshadow_control::{LunId, ProblemCode};
    use uuid::Uuid;

    use super::*;

    type Check = fn(&ShadowSet) -> Result<Outcome, CatalogError>;

    /// The page whose table the steps have to keep to. It says what its marks mean.
    const PAGE: &str = include_str!("../../../docs/vss_lifecycle.md");

    #[test]
    fn every_step_in_every_state_is_answered_as_the_table_says() {
        use SetState::{Aborted, Armed, Committed, Committing, Kept, Prepared};
        let table = PAGE.split("```text\n").find(|part| part.trim_start().starts_with("prepare  arm")).unwrap();
        let mut rows = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        let steps = rows.next().unwrap();
        for state in [Prepared, Armed, Committing, Committed, Kept, Aborted] {
            let row = rows.next().unwrap();
            assert_eq!(row[0].to_lowercase(), state.to_string());
            assert_eq!(row.len(), steps.len() + 1, "{state}");
            for (step, expected) in steps.iter().zip(&row[1..]) {
                let found = match check_of(step)(&a_set(state)).map_err(|error| error.code()) {
                    Ok(Outcome::Done) => "D",
                    Ok(Outcome::AlreadySo) => "A",
                    Err(ProblemCode::WrongState) => "W",
                    Err(ProblemCode::SetAborted) => "X",
                    Err(_) => "?",
                };
                assert_eq!(found, *expected, "{step} of a set that is {state}");
            }
        }
    }

    fn check_of(step: &str) -> Check {
        match step {
            "prepare" => |s| s.check_preparable().map(|()| Outcome::Done),
            "arm" => ShadowSet::check_armable,
            "commit" => ShadowSet::check_committable,
            "keep" => ShadowSet::check_keepable,
            "abort" => ShadowSet::check_abortable,
            "withdraw" => ShadowSet::check_withdrawable,
            "reach" => |s| s.check_reachable("mapped").map(|()| Outcome::Done),
            other => panic!("no step is called {other}"),
        }
    }

    #[test]
    fn a_set_can_be_withdrawn_until_a_host_may_have_seen_it() {
        for state in [SetState::Prepared, SetState::Armed, SetState::Committed, SetState::Kept] {
            let mut set = a_set(state);
            assert_eq!(set.check_withdrawable().ok(), Some(Outcome::Done), "{state}");
            set.ever_mapped = true;
            assert!(set.check_withdrawable().is_err(), "{state}");
        }
        assert_eq!(a_set(SetState::Aborted).check_withdrawable().ok(), Some(Outcome::AlreadySo));
    }

    #[test]
    fn a_set_is_not_armed_before_it_is_ready() {
        let mut set = a_set(SetState::Prepared);
        set.preparing = 1;
        assert!(matches!(set.check_armable(), Err(CatalogError::NotReady(_))));
        set.preparing = 0;
        set.members.clear();
        assert!(matches!(set.check_armable(), Err(CatalogError::NotReady(_))));
    }

    fn a_set(state: SetState) -> ShadowSet {
        let mut set = ShadowSet::new(ShadowSetId(Uuid::from_u128(7)), HostId(Uuid::from_u128(8)), 0);
        set.members.push(ShadowMember { source: LunId::from_u128(1), shadow: LunId::from_u128(2) });
        set.state = state;
        set
    }
}
