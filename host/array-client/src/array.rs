//! The contract: what a provider asks of an array, seen by one host.

use std::time::Duration;

use lunshadow_control::{
    HostOverview, HostRecord, LunId, LunQuery, LunRecord, Outcome, ProblemCode, ResyncId, ResyncPair, ResyncState,
    ShadowKind, ShadowSetId, ShadowTarget, ShadowUse,
};

/// Why a request to an array did not succeed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ArrayError {
    /// The array answered with a problem.
    #[error("the array refused: {detail}")]
    Refused {
        /// What it is, for decisions.
        code: ProblemCode,
        /// What it is, for people: which LUN or set, and what to do.
        detail: String,
    },
    /// No answer came: the array is down, the network is, or the connection was lost.
    #[error("the array cannot be reached: {detail}")]
    Unreachable {
        /// What the channel says.
        detail: String,
    },
}

impl ArrayError {
    /// The problem code, if the array answered with one.
    #[must_use]
    pub fn code(&self) -> Option<ProblemCode> {
        match self {
            Self::Refused { code, .. } => Some(*code),
            Self::Unreachable { .. } => None,
        }
    }
}

/// How far the preparation of a shadow set is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Preparation {
    /// All LUNs of the set are ready; arming and committing are single fast steps from here.
    Ready,
    /// Not yet; the time given to wait has passed.
    Running,
}

/// An array, seen by the one host that this client speaks for.
pub trait Array: Send + Sync {
    /// Who the array takes this client for.
    ///
    /// # Errors
    /// `NotAllowed` when it does not know the client; [`ArrayError::Unreachable`].
    fn who_am_i(&self) -> Result<HostRecord, ArrayError>;

    /// Finds LUNs by what the host sees of them: element *i* of the answer belongs to query *i* and is `None` for a disk that
    /// is not a LUN of this array or not one that this host may see.
    ///
    /// # Errors
    /// [`ArrayError::Unreachable`], `Internal`.
    fn resolve(&self, queries: &[LunQuery]) -> Result<Vec<Option<LunRecord>>, ArrayError>;

    /// Whether LUNs that were resolved can be in one shadow set. Asks nobody: what one array takes, it tells of each LUN by itself.
    fn can_share_a_set(&self, _luns: &[LunId]) -> bool {
        true
    }

    /// Adds `luns` to `set`, which comes to be with the first call and gets a lease. Reserves the identities of the shadow LUNs.
    /// Nothing is captured. Long work goes on after the return. A LUN that is in the set already stays in it once.
    ///
    /// # Errors
    /// `UnknownLun`, `WrongState` (the set is armed or committed), `SetAborted`, `OutOfSpace`, `LimitReached`. The set is then as
    /// it was before.
    fn prepare(&self, set: ShadowSetId, luns: &[LunId]) -> Result<Outcome, ArrayError>;

    /// The same with shadow LUNs of a certain kind. The content of [full copies](ShadowKind::FullCopy) is copied as part of the preparation, which
    /// can take long; [`wait_prepared`](Self::wait_prepared) waits for it. What is written to the LUNs between that and the commit is
    /// copied by the commit.
    ///
    /// # Errors
    /// As [`prepare`](Self::prepare). An array that makes no full copies says so of each LUN (`can_copy`), and refuses them as `LimitReached`.
    fn prepare_as(&self, kind: ShadowKind, set: ShadowSetId, luns: &[LunId]) -> Result<Outcome, ArrayError> {
        match kind {
            ShadowKind::Sharing => self.prepare(set, luns),
            ShadowKind::FullCopy => {
                let detail = "it makes no shadow LUNs that are full copies".to_owned();
                Err(ArrayError::Refused { code: ProblemCode::LimitReached, detail })
            }
        }
    }

    /// Waits until the preparation of `set` is finished, at most for `at_most`. An abort from another thread ends the wait.
    ///
    /// # Errors
    /// `UnknownSet`, `SetAborted`, or what the preparation failed with; `OutOfSpace` also if others have taken the room since.
    fn wait_prepared(&self, set: ShadowSetId, at_most: Duration) -> Result<Preparation, ArrayError>;

    /// Opens and authenticates the channel that will carry the commit of `set`, so that the commit itself opens nothing.
    ///
    /// # Errors
    /// `UnknownSet`, `WrongState` (not prepared), `SetAborted`.
    fn open_commit_channel(&self, set: ShadowSetId) -> Result<Box<dyn CommitChannel>, ArrayError>;

    /// Makes a committed set permanent: it has no lease any more and lives until its LUNs are released. A committed set that
    /// nobody keeps is removed when its lease runs out, so that a host that dies in between leaves nothing behind.
    ///
    /// # Errors
    /// `UnknownSet`, `WrongState` (not committed), `SetAborted`.
    fn keep(&self, set: ShadowSetId) -> Result<Outcome, ArrayError>;

    /// Ends a set that is not yet kept and removes its shadow LUNs. A set that is unknown or aborted is `AlreadySo`.
    ///
    /// # Errors
    /// `WrongState` when the set is kept: its LUNs are released one by one.
    fn abort(&self, set: ShadowSetId) -> Result<Outcome, ArrayError>;

    /// Aborts a set even if it is kept, as long as none of its shadow LUNs was ever mapped: the way back for a provider that
    /// failed after the commit, before anybody saw the shadow LUNs.
    ///
    /// # Errors
    /// `WrongState` when a shadow LUN of the set has been mapped.
    fn withdraw(&self, set: ShadowSetId) -> Result<Outcome, ArrayError>;

    /// The shadow LUNs of a committed set. The same question gets the same answer for as long as they exist.
    ///
    /// # Errors
    /// `UnknownSet`, `WrongState` (not committed), `SetAborted`.
    fn targets(&self, set: ShadowSetId) -> Result<Vec<ShadowTarget>, ArrayError>;

    /// Maps LUNs to this host, all or none: element *i* tells whether LUN *i* was mapped by this call. On return the array
    /// serves them.
    ///
    /// # Errors
    /// `UnknownLun`, `NotAllowed`, `LimitReached` (no LUN number is free).
    fn map(&self, luns: &[LunId]) -> Result<Vec<Outcome>, ArrayError>;

    /// Takes LUNs away from this host. They go on to exist.
    ///
    /// # Errors
    /// `NotAllowed`.
    fn unmap(&self, luns: &[LunId]) -> Result<Vec<Outcome>, ArrayError>;

    /// Unmaps a shadow LUN from every host and deletes it. One that is gone already is `AlreadySo`.
    ///
    /// # Errors
    /// `WrongRole` when it is not a shadow LUN, `NotAllowed`.
    fn release(&self, shadow: LunId) -> Result<Outcome, ArrayError>;

    /// Tells the array what the host does with shadow LUNs. Nothing happens to the LUNs or their mappings; one that was told to be
    /// [`ShadowUse::ReadWrite`] is no shadow LUN any more and is not released (`WrongRole`).
    ///
    /// # Errors
    /// `UnknownLun`, `WrongRole`, `NotAllowed`.
    fn note_use(&self, shadows: &[LunId], used: ShadowUse) -> Result<Vec<Outcome>, ArrayError>;

    /// Begins to give each target the content of its shadow LUN, all or none. Answers how it stands; a repetition with the same id does
    /// not begin anew.
    ///
    /// # Errors
    /// `UnknownLun`, `WrongRole`, `InUse` (another host has a target mapped), `OutOfSpace`, `NotAllowed`.
    fn start_resync(&self, resync: ResyncId, pairs: &[ResyncPair]) -> Result<ResyncState, ArrayError>;

    /// How a resync stands, after waiting for its end for at most `at_most`.
    ///
    /// # Errors
    /// `UnknownSet` when the array does not know the resync (any more).
    fn resync_state(&self, resync: ResyncId, at_most: Duration) -> Result<ResyncState, ArrayError>;

    /// Stops a resync if nothing was changed yet; answers how it stands then.
    ///
    /// # Errors
    /// As [`resync_state`](Self::resync_state).
    fn cancel_resync(&self, resync: ResyncId) -> Result<ResyncState, ArrayError>;

    /// All that concerns this host, for people to look at.
    ///
    /// # Errors
    /// `NotAllowed`, [`ArrayError::Unreachable`].
    fn overview(&self) -> Result<HostOverview, ArrayError>;
}

/// The open channel of one prepared set. Its two requests allocate and connect as little as the channel allows: they run while
/// the host holds its writes.
pub trait CommitChannel: Send {
    /// Tells the array that the commit comes next and has to be durable within `commit_at_most` of its arrival. Cheap: it proves
    /// that the array is there.
    ///
    /// # Errors
    /// `SetAborted`, `WrongState`, [`ArrayError::Unreachable`].
    fn arm(&mut self, commit_at_most: Duration) -> Result<(), ArrayError>;

    /// Fixes the point in time for all LUNs of the set and answers when that is durable.
    ///
    /// # Errors
    /// `DeadlinePassed`, `SetAborted`, `WrongState` (not armed), `OutOfSpace`, [`ArrayError::Unreachable`]. After any error the
    /// set does not exist or is about to be removed.
    fn commit(&mut self) -> Result<(), ArrayError>;
}
