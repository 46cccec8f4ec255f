//! Why a use case did not succeed, and the one table from there to the codes of the control API.

use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::Duration;

use lunshadow_control::{ChapAccountsError, HostId, InitiatorName, LunId, ProblemCode, ResyncId, ShadowSetId};
use lunshadow_lun::{BlockCount, CommitError, CopyError, LunError, PoolError};

use crate::{AbortReason, EnrolmentFault, Name, SetState};

/// Why the catalog could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The database cannot be used.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// The pool cannot open a LUN that it has.
    #[error("the pool cannot open LUN {lun}")]
    Pool {
        /// The LUN.
        lun: LunId,
        /// What the pool says.
        source: PoolError,
    },
}

/// Why the database did not do what it should.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// The file cannot be read or written, is another catalog's at the moment, or is damaged.
    #[error("the catalog's database failed")]
    Redb(#[from] redb::Error),
    /// A record cannot be read or written.
    #[error("the record of a {kind} in the catalog's database is malformed")]
    Record {
        /// What it is a record of.
        kind: &'static str,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// The record of a mapping has not the length of a LUN's id.
    #[error("the record of a mapping in the catalog's database is malformed")]
    Mapping,
    /// The file is of a version of the program that this one does not know.
    #[error("the catalog's database has version {0}, which this program does not know")]
    UnsupportedVersion(u64),
    /// The program is about to end.
    #[error("the program is about to end")]
    Stopped,
}

/// Why a request was refused or failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CatalogError {
    /// No such host.
    #[error("host {0} is not known to the array; an administrator has to add it")]
    UnknownHost(HostId),
    /// No such LUN, or none that the asking host may see.
    #[error("there is no LUN {0}, or this host may not see it")]
    UnknownLun(LunId),
    /// Nothing is listened on in the group, and nothing was decided about it.
    #[error("there is no portal group {0}; `lunshadow portal list` shows all")]
    UnknownPortalGroup(NonZeroU16),
    /// Hosts would reach their LUNs by no portal any more.
    #[error("portal group {0} is the last one by which hosts reach their LUNs; let them use another one first")]
    LastPortalGroup(NonZeroU16),
    /// No such set, or one of another host.
    #[error("there is no shadow set {0} of this host")]
    UnknownSet(ShadowSetId),
    /// The set is over.
    #[error("shadow set {set} was aborted {reason}; create a new one")]
    SetAborted {
        /// The set.
        set: ShadowSetId,
        /// Why it ended.
        reason: AbortReason,
    },
    /// The set is in a state in which this cannot be done.
    #[error("shadow set {set} is {state} and cannot be {verb} now")]
    WrongState {
        /// The set.
        set: ShadowSetId,
        /// The state that it is in.
        state: SetState,
        /// What was to happen to it.
        verb: &'static str,
    },
    /// The preparation of the set is not finished.
    #[error("the preparation of shadow set {0} is not finished")]
    NotReady(ShadowSetId),
    /// The set cannot be withdrawn since a host may have seen its shadow LUNs.
    #[error("shadow LUNs of set {0} have been mapped; release them one by one")]
    SeenByHosts(ShadowSetId),
    /// A source LUN where only a shadow LUN will do.
    #[error("LUN {0} is not a shadow LUN")]
    NotAShadow(LunId),
    /// A shadow LUN where only a source LUN will do.
    #[error("LUN {0} is a shadow LUN")]
    NotASource(LunId),
    /// The LUN is mapped and therefore in use.
    #[error("LUN {0} is mapped to a host; unmap it first, or say --unmap")]
    Mapped(Name),
    /// The LUN has shadow LUNs.
    #[error("LUN {name} has {count} shadow LUNs; delete their sets first, or say --keep-shadows")]
    HasShadows {
        /// The LUN.
        name: Name,
        /// How many.
        count: usize,
    },
    /// What initiators were to prove cannot be used.
    #[error(transparent)]
    InvalidChap(#[from] ChapAccountsError),
    /// Hosts see the LUN that would get another content.
    #[error("LUN {0} is mapped to a host, which would see its content change; unmap it first, or say --force")]
    WouldOverwrite(Name),
    /// Nobody may change the LUN.
    #[error("LUN {0} is write protected; say `lunshadow lun protect {0} --off` first")]
    WriteProtected(Name),
    /// A sanitize operation on the LUN runs or has failed: other content would undo it.
    #[error("LUN {0} is being sanitized, or that has failed; wait until it is done, or repeat SANITIZE")]
    BeingSanitized(Name),
    /// The shadow LUN is not one of the LUN.
    #[error("shadow LUN {shadow} is not one of LUN {name}")]
    ShadowOfAnother {
        /// The LUN.
        name: Name,
        /// The shadow LUN.
        shadow: LunId,
    },
    /// What was imported did not become durable.
    #[error("what was imported did not become durable: {0}")]
    NotImported(#[source] Arc<LunError>),
    /// The content of a LUN could not be copied.
    #[error("the full copy of a LUN failed: {0}")]
    NotCopied(#[source] Arc<CopyError>),
    /// LUNs do not get shorter.
    #[error("LUN {name} has {} bytes and cannot shrink to {}", has.bytes(), asked.bytes())]
    WouldShrink {
        /// The LUN.
        name: Name,
        /// What it has.
        has: BlockCount,
        /// What was asked for.
        asked: BlockCount,
    },
    /// The host has no right to do this to the LUN.
    #[error("this host has no right to do this to LUN {0}; ask an administrator")]
    NotAllowed(LunId),
    /// The name is another LUN's or host's.
    #[error("the name {0} is taken")]
    NameTaken(Name),
    /// The initiator belongs to another host.
    #[error("initiator {0} belongs to another host")]
    InitiatorTaken(InitiatorName),
    /// The pool has no LUNs of that length.
    #[error("a LUN cannot have {0}; it can have up to 256 TiB")]
    UnsupportedSize(BlockCount),
    /// The pool is full.
    #[error("the pool has no space left; delete shadow LUNs or enlarge it")]
    OutOfSpace,
    /// A limit is reached.
    #[error("the limit of {limit} {what} is reached")]
    LimitReached {
        /// What there are too many of.
        what: &'static str,
        /// How many there may be.
        limit: usize,
    },
    /// The commit was not durable in time. The set is over and its shadow LUNs never appear.
    #[error("the commit of shadow set {set} was not durable within {at_most:?}; the set is aborted")]
    DeadlinePassed {
        /// The set.
        set: ShadowSetId,
        /// The time that it had.
        at_most: Duration,
    },
    /// The pool refuses changes since an I/O error.
    #[error("the pool is read-only since an I/O error; reopen it")]
    PoolReadOnly,
    /// The pool's medium failed.
    #[error("the pool's medium failed")]
    Medium(#[source] Arc<std::io::Error>),
    /// The catalog's own database failed.
    #[error(transparent)]
    Database(Arc<DatabaseError>),
    /// The pool and the catalog disagree about a set or a LUN; the array's log tells more.
    #[error("the pool and the catalog disagree: {0}")]
    Disagreement(Arc<PoolError>),
    /// LUNs are mapped to the host.
    #[error("LUNs are mapped to host {0}; unmap them first")]
    HostInUse(Name),
    /// The enrolment token is not taken.
    #[error("the enrolment token {0}; issue another one with `lunshadow host enrol`")]
    EnrolmentRefused(EnrolmentFault),
    /// The credential is nobody's.
    #[error("the array does not know this credential; enrol the host anew")]
    NotAuthenticated,
    /// Another host has the LUN mapped.
    #[error("LUN {0} is mapped to another host too; take it away from that one first")]
    InUse(LunId),
    /// A LUN was to be overwritten twice by one resync.
    #[error("LUN {0} is a target twice")]
    DuplicateTarget(LunId),
    /// No such resync, or one of another host, or one that ended long ago.
    #[error("there is no resync {0} of this host")]
    UnknownResync(ResyncId),
    /// The request broke off: the program is about to end, or a fault of its own stopped the request.
    #[error("the array broke the request off; its log tells more")]
    BrokenOff,
}

impl CatalogError {
    /// What the control API calls it. This table is the only one.
    ///
    /// Conflicts that only administrators can meet (a name that is taken, an initiator of another host, a mapped LUN) are states that
    /// stand against the request.
    #[must_use]
    pub fn code(&self) -> ProblemCode {
        match self {
            Self::UnknownHost(_) | Self::NotAllowed(_) => ProblemCode::NotAllowed,
            Self::UnknownLun(_) => ProblemCode::UnknownLun,
            Self::UnknownSet(_) | Self::UnknownResync(_) => ProblemCode::UnknownSet,
            Self::EnrolmentRefused(_) => ProblemCode::EnrolmentRefused,
            Self::NotAuthenticated => ProblemCode::NotAuthenticated,
            Self::InUse(_) | Self::WouldOverwrite(_) => ProblemCode::InUse,
            Self::UnknownPortalGroup(_)
            | Self::DuplicateTarget(_)
            | Self::WouldShrink { .. }
            | Self::InvalidChap(_) => ProblemCode::InvalidRequest,
            Self::SetAborted { .. } => ProblemCode::SetAborted,
            Self::WrongState { .. }
            | Self::NotReady(_)
            | Self::WriteProtected(_)
            | Self::BeingSanitized(_)
            | Self::LastPortalGroup(_)
            | Self::SeenByHosts(_)
            | Self::Mapped(_)
            | Self::HasShadows { .. }
            | Self::HostInUse(_)
            | Self::NameTaken(_)
            | Self::InitiatorTaken(_) => ProblemCode::WrongState,
            Self::NotAShadow(_) | Self::NotASource(_) | Self::ShadowOfAnother { .. } => ProblemCode::WrongRole,
            Self::OutOfSpace => ProblemCode::OutOfSpace,
            Self::UnsupportedSize(_) | Self::LimitReached { .. } => ProblemCode::LimitReached,
            Self::DeadlinePassed { .. } => ProblemCode::DeadlinePassed,
            Self::PoolReadOnly => ProblemCode::PoolReadOnly,
            Self::NotImported(_)
            | Self::NotCopied(_)
            | Self::Medium(_)
            | Self::Database(_)
            | Self::Disagreement(_)
            | Self::BrokenOff => ProblemCode::Internal,
        }
    }

    /// What the pool's refusal of a commit means to the host.
    pub(crate) fn from_commit(set: ShadowSetId, error: CommitError) -> Self {
        match error {
            CommitError::UnknownSet(set) => Self::Disagreement(Arc::new(PoolError::UnknownSet(set))),
            CommitError::LimitReached { what, limit } => Self::LimitReached { what, limit },
            CommitError::UnknownLun(lun) => Self::UnknownLun(lun),
            CommitError::DeadlinePassed(at_most) => Self::DeadlinePassed { set, at_most },
            CommitError::OutOfSpace => Self::OutOfSpace,
            CommitError::Poisoned => Self::PoolReadOnly,
            CommitError::Io(source) => Self::Medium(Arc::new(source)),
        }
    }
}

impl From<DatabaseError> for CatalogError {
    fn from(error: DatabaseError) -> Self {
        Self::Database(Arc::new(error))
    }
}

impl From<PoolError> for CatalogError {
    fn from(error: PoolError) -> Self {
        match error {
            PoolError::UnknownLun(lun) => Self::UnknownLun(lun),
            PoolError::UnsupportedSize(block_count) => Self::UnsupportedSize(block_count),
            PoolError::OutOfSpace => Self::OutOfSpace,
            PoolError::LimitReached { what, limit } => Self::LimitReached { what, limit },
            PoolError::Poisoned => Self::PoolReadOnly,
            PoolError::Io(source) => Self::Medium(Arc::new(source)),
            PoolError::LunExists(_) | PoolError::UnknownSet(_) | PoolError::SetCommitted(_) => {
                Self::Disagreement(Arc::new(error))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn every_error_has_the_code_that_a_host_can_act_on() {
        let set = ShadowSetId(uuid::Uuid::from_u128(1));
        let lun = LunId::from_u128(2);
        let name: Name = "data".parse().expect("a valid name");
        let initiator: InitiatorName = "iqn.2026-11.org.example:a".parse().expect("a valid name");
        let medium = Arc::new(io::Error::other("gone"));
        let (reason, state) = (AbortReason::Requested, SetState::Kept);
        let at_most = Duration::from_secs(5);
        for (error, code) in [
            (CatalogError::UnknownHost(HostId(uuid::Uuid::nil())), ProblemCode::NotAllowed),
            (CatalogError::UnknownLun(lun), ProblemCode::UnknownLun),
            (CatalogError::UnknownSet(set), ProblemCode::UnknownSet),
            (CatalogError::SetAborted { set, reason }, ProblemCode::SetAborted),
            (CatalogError::WrongState { set, state, verb: "armed" }, ProblemCode::WrongState),
            (CatalogError::NotReady(set), ProblemCode::WrongState),
            (CatalogError::SeenByHosts(set), ProblemCode::WrongState),
            (CatalogError::NotAShadow(lun), ProblemCode::WrongRole),
            (CatalogError::NotASource(lun), ProblemCode::WrongRole),
            (CatalogError::Mapped(name.clone()), ProblemCode::WrongState),
            (CatalogError::WouldOverwrite(name.clone()), ProblemCode::InUse),
            (CatalogError::WriteProtected(name.clone()), ProblemCode::WrongState),
            (CatalogError::BeingSanitized(name.clone()), ProblemCode::WrongState),
            (CatalogError::ShadowOfAnother { name: name.clone(), shadow: lun }, ProblemCode::WrongRole),
            (CatalogError::NotImported(Arc::new(LunError::Poisoned)), ProblemCode::Internal),
            (CatalogError::NotCopied(Arc::new(CopyError::Read(LunError::Gone))), ProblemCode::Internal),
            (CatalogError::HasShadows { name: name.clone(), count: 2 }, ProblemCode::WrongState),
            (CatalogError::InvalidChap(ChapAccountsError::Secret), ProblemCode::InvalidRequest),
            (
                CatalogError::WouldShrink { name: name.clone(), has: BlockCount(2), asked: BlockCount(1) },
                ProblemCode::InvalidRequest,
            ),
            (CatalogError::UnknownPortalGroup(NonZeroU16::MIN), ProblemCode::InvalidRequest),
            (CatalogError::LastPortalGroup(NonZeroU16::MIN), ProblemCode::WrongState),
            (CatalogError::NotAllowed(lun), ProblemCode::NotAllowed),
            (CatalogError::HostInUse(name.clone()), ProblemCode::WrongState),
            (CatalogError::EnrolmentRefused(EnrolmentFault::Used), ProblemCode::EnrolmentRefused),
            (CatalogError::NotAuthenticated, ProblemCode::NotAuthenticated),
            (CatalogError::InUse(lun), ProblemCode::InUse),
            (CatalogError::DuplicateTarget(lun), ProblemCode::InvalidRequest),
            (CatalogError::UnknownResync(ResyncId(uuid::Uuid::nil())), ProblemCode::UnknownSet),
            (CatalogError::NameTaken(name), ProblemCode::WrongState),
            (CatalogError::InitiatorTaken(initiator), ProblemCode::WrongState),
            (CatalogError::UnsupportedSize(BlockCount(0)), ProblemCode::LimitReached),
            (CatalogError::OutOfSpace, ProblemCode::OutOfSpace),
            (CatalogError::LimitReached { what: "LUNs", limit: 1 }, ProblemCode::LimitReached),
            (CatalogError::DeadlinePassed { set, at_most }, ProblemCode::DeadlinePassed),
            (CatalogError::PoolReadOnly, ProblemCode::PoolReadOnly),
            (CatalogError::Medium(medium), ProblemCode::Internal),
            (CatalogError::Database(Arc::new(DatabaseError::Stopped)), ProblemCode::Internal),
            (CatalogError::Disagreement(Arc::new(PoolError::UnknownSet(set))), ProblemCode::Internal),
            (CatalogError::BrokenOff, ProblemCode::Internal),
        ] {
            assert_eq!(error.code(), code, "{error}");
        }
    }
}
