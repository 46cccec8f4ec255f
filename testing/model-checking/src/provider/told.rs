//! VSS' side: which calls it makes in which order, and what it has been told.

use std::collections::BTreeSet;
use std::fmt;

use lunshadow_vss::{LunInformation, Method};

/// A call about a set, in the order of a creation; then the deletion.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Step {
    /// `BeginPrepareSnapshot` of the first volume.
    BeginFirst,
    /// `BeginPrepareSnapshot` of the second one.
    BeginSecond,
    /// `EndPrepareSnapshots`.
    EndPrepare,
    /// `PreCommitSnapshots`.
    PreCommit,
    /// `CommitSnapshots`.
    Commit,
    /// `PostCommitSnapshots`.
    PostCommit,
    /// `GetTargetLuns` of both volumes.
    GetTargets,
    /// `LocateLuns`.
    Locate,
    /// `PreFinalCommitSnapshots`.
    PreFinal,
    /// `PostFinalCommitSnapshots`.
    PostFinal,
    /// `OnLunEmpty` of every shadow LUN.
    Delete,
    /// `AbortSnapshots`.
    Abort,
    /// `OnUnload`.
    Unload,
}

impl Step {
    const ORDER: [Self; 11] = [
        Self::BeginFirst,
        Self::BeginSecond,
        Self::EndPrepare,
        Self::PreCommit,
        Self::Commit,
        Self::PostCommit,
        Self::GetTargets,
        Self::Locate,
        Self::PreFinal,
        Self::PostFinal,
        Self::Delete,
    ];

    /// The method that is called.
    pub(super) const fn method(self) -> Method {
        match self {
            Self::BeginFirst | Self::BeginSecond => Method::BeginPrepareSnapshot,
            Self::EndPrepare => Method::EndPrepareSnapshots,
            Self::PreCommit => Method::PreCommitSnapshots,
            Self::Commit => Method::CommitSnapshots,
            Self::PostCommit => Method::PostCommitSnapshots,
            Self::GetTargets => Method::GetTargetLuns,
            Self::Locate => Method::LocateLuns,
            Self::PreFinal => Method::PreFinalCommitSnapshots,
            Self::PostFinal => Method::PostFinalCommitSnapshots,
            Self::Delete => Method::OnLunEmpty,
            Self::Abort => Method::AbortSnapshots,
            Self::Unload => Method::OnUnload,
        }
    }

    fn next(self) -> Option<Self> {
        Self::ORDER.iter().copied().find(|step| *step > self)
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BeginFirst => f.write_str("BeginPrepareSnapshot (volume 1)"),
            Self::BeginSecond => f.write_str("BeginPrepareSnapshot (volume 2)"),
            step => f.write_str(step.method().name()),
        }
    }
}

/// What VSS knows of one set.
#[derive(Clone, Default)]
pub(super) struct Told {
    /// The volumes that are in it.
    pub(super) begun: BTreeSet<u8>,
    /// The last call that was made, but for aborts.
    pub(super) last: Option<Step>,
    /// A call has failed that a creation needs.
    pub(super) failed: bool,
    /// `CommitSnapshots` has succeeded, and nothing has happened since that ends the set.
    pub(super) committed: bool,
    /// `PostCommitSnapshots` has succeeded, and nothing has happened since that ends the set.
    pub(super) kept: bool,
    /// An abort has succeeded.
    pub(super) aborted: bool,
    /// Its deletion has begun.
    pub(super) deleting: bool,
    /// Its deletion has succeeded.
    pub(super) deleted: bool,
    /// Nobody can know whether the array has kept it, or has removed it, and an administrator is told: section 2.1.7 of the contract.
    pub(super) in_doubt: bool,
    /// Its shadow LUNs.
    pub(super) targets: Vec<LunInformation>,
}

impl fmt::Debug for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let flags = [self.failed, self.committed, self.kept, self.aborted, self.deleting, self.deleted, self.in_doubt];
        write!(f, "{:?} {:?} {flags:?} {}", self.begun, self.last, self.targets.len())
    }
}

impl Told {
    /// The call that comes next if VSS goes on with the set.
    pub(super) fn next(&self) -> Option<Step> {
        let next = match self.last {
            None => Some(Step::BeginFirst),
            _ if self.failed || self.aborted || self.deleted => None,
            // One that failed can be repeated.
            Some(Step::Delete) => Some(Step::Delete),
            Some(last) => last.next(),
        };
        next.filter(|next| *next < Step::EndPrepare || !self.begun.is_empty())
    }

    /// Whether VSS may abort it: not before it is to be done.
    pub(super) fn may_abort(&self) -> bool {
        !self.aborted && self.last.is_some_and(|last| last >= Step::EndPrepare && last < Step::Delete)
    }
}
