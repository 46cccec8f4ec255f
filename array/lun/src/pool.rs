//! A set of LUNs that can be captured together.

use std::future::Future;
use std::time::Duration;

use crate::{BlockCount, LunHandle, LunId, Outcome, ShadowSetId};

/// Where a LUN's first content came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LunOrigin {
    /// It began empty, or was promoted from a shadow LUN.
    Empty,
    /// It is a shadow LUN: the content of `source` at the commit of `set`.
    Shadow {
        /// The captured LUN.
        source: LunId,
        /// The set of the capture.
        set: ShadowSetId,
    },
}

/// A LUN of a pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LunSummary {
    /// Its id.
    pub lun: LunId,
    /// Its length.
    pub block_count: BlockCount,
    /// Where it came from.
    pub origin: LunOrigin,
}

/// One LUN of a shadow set: what is captured, and the id that the capture gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShadowMember {
    /// The LUN to capture.
    pub source: LunId,
    /// The id of the shadow LUN, chosen by the caller.
    pub shadow: LunId,
}

/// One LUN of a revert.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RevertPair {
    /// The LUN whose content is taken. It stays as it is.
    pub from: LunId,
    /// The LUN that gets the content, and the length with it. Its id stays.
    pub to: LunId,
}

/// How full a pool is, in bytes.
///
/// `used_bytes` is the sum of `own_bytes`, `map_bytes`, `data_bytes` and `freed_bytes`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PoolUsage {
    /// What the pool may use in all.
    pub capacity_bytes: u64,
    /// What LUNs, shadow LUNs and the pool's own records use now, including space that is being given back.
    pub used_bytes: u64,
    /// The part of `used_bytes` that deletions still have to give back; the most that it can be.
    pub reclaiming_bytes: u64,
    /// What the pool needs for itself, whatever LUNs it has.
    pub own_bytes: u64,
    /// Maps of LUNs, shadow LUNs and deleted LUNs, each shared part once.
    pub map_bytes: u64,
    /// Data of LUNs, shadow LUNs and deleted LUNs, each shared block once.
    pub data_bytes: u64,
    /// What nobody uses any more and comes back with the next checkpoint.
    pub freed_bytes: u64,
    /// How much data can be written before writes are refused, as far as it is free now.
    pub available_bytes: u64,
    /// The lengths of all LUNs and shadow LUNs.
    pub provisioned_bytes: u64,
    /// What is mapped of all LUNs and shadow LUNs, shared blocks once for each of them: what they would need without sharing.
    pub mapped_bytes: u64,
    /// How many LUNs and shadow LUNs there are.
    pub lun_count: u64,
}

/// Why a pool did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum PoolError {
    /// No such LUN.
    #[error("the pool has no LUN {0}")]
    UnknownLun(LunId),
    /// The id is taken.
    #[error("the pool has a LUN {0} already")]
    LunExists(LunId),
    /// The pool knows no such set: it was never prepared here, or the pool was opened anew since.
    #[error("the pool has no prepared shadow set {0}")]
    UnknownSet(ShadowSetId),
    /// The set is committed already and can no longer be prepared or aborted.
    #[error("the shadow set {0} is committed")]
    SetCommitted(ShadowSetId),
    /// The length is zero, beyond what the pool can map, or shorter than what is to grow.
    #[error("a LUN cannot have {0}; it can have up to 256 TiB")]
    UnsupportedSize(BlockCount),
    /// The pool is full.
    #[error("the pool has no space left")]
    OutOfSpace,
    /// The pool has reached one of its own limits.
    #[error("the pool's limit of {limit} {what} is reached")]
    LimitReached {
        /// What there are too many of.
        what: &'static str,
        /// How many there may be.
        limit: usize,
    },
    /// The pool refuses changes since an I/O error.
    #[error("the pool is read-only since an I/O error; reopen it")]
    Poisoned,
    /// The medium failed.
    #[error("the pool's medium failed")]
    Io(#[source] std::io::Error),
}

/// Why a set was not committed. In every case none of its shadow LUNs exists, or they are being removed and nobody can open
/// them any more; and writes go on.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// The pool knows no such prepared set.
    #[error("the pool has no prepared shadow set {0}")]
    UnknownSet(ShadowSetId),
    /// The pool has reached one of its own limits.
    #[error("the pool's limit of {limit} {what} is reached")]
    LimitReached {
        /// What there are too many of.
        what: &'static str,
        /// How many there may be.
        limit: usize,
    },
    /// A LUN of the set was deleted after the preparation.
    #[error("the pool has no LUN {0}")]
    UnknownLun(LunId),
    /// The point in time was not durable when the time was up.
    #[error("the commit was not durable within {0:?}")]
    DeadlinePassed(Duration),
    /// The pool is full.
    #[error("the pool has no space left")]
    OutOfSpace,
    /// The pool refuses changes since an I/O error.
    #[error("the pool is read-only since an I/O error; reopen it")]
    Poisoned,
    /// The medium failed.
    #[error("the pool's medium failed")]
    Io(#[source] std::io::Error),
}

/// How many LUNs [`Pool::luns`] asks for at a time.
const LUNS_AT_ONCE: usize = 1024;

/// A set of LUNs that can be captured together at one instant.
///
/// Whatever is answered here is durable: LUNs that were created exist after a crash, LUNs that were deleted do not. Actions can be
/// repeated, the repetition is [`Outcome::AlreadySo`].
pub trait Pool: Send + Sync + 'static {
    /// Makes an empty LUN.
    fn create(&self, lun: LunId, block_count: BlockCount) -> impl Future<Output = Result<LunHandle, PoolError>> + Send;

    /// Opens a LUN. All handles of one LUN are equal.
    ///
    /// # Errors
    /// [`PoolError::UnknownLun`].
    fn open(&self, lun: LunId) -> Result<LunHandle, PoolError>;

    /// Deletes a LUN or shadow LUN, whether it is open or not: open handles answer [`LunError::Gone`](crate::LunError::Gone) from then on. Cheap
    /// for the caller; the space comes back in the background. An unknown LUN is `AlreadySo`.
    fn delete(&self, lun: LunId) -> impl Future<Output = Result<Outcome, PoolError>> + Send;

    /// LUNs whose ids come after one, or from the first on, in the order of their ids: as many as there are, up to `at_most`.
    fn luns_after(&self, after: Option<LunId>, at_most: usize) -> Vec<LunSummary>;

    /// All LUNs, in the order of their ids. Some at a time, so that nobody else waits long: what comes or goes meanwhile is in it or not.
    fn luns(&self) -> Vec<LunSummary> {
        let mut luns: Vec<LunSummary> = Vec::new();
        loop {
            let more = self.luns_after(luns.last().map(|last| last.lun), LUNS_AT_ONCE);
            let is_last = more.len() < LUNS_AT_ONCE;
            luns.extend(more);
            if is_last {
                return luns;
            }
        }
    }

    /// A LUN, if there is one with that id.
    fn summary(&self, lun: LunId) -> Option<LunSummary>;

    /// Gets ready to capture `members` in addition to those that the set already has: reserves what the commit will need.
    /// Captures nothing. A preparation lives in memory only: after a crash, or when the pool is opened anew, it is gone.
    fn prepare(
        &self,
        set: ShadowSetId,
        members: &[ShadowMember],
    ) -> impl Future<Output = Result<Outcome, PoolError>> + Send;

    /// Captures all members of the set at one instant, durably. All writes that were answered before this call are in the
    /// shadow LUNs, none that begins after the answer is; if of two writes the second began after the first was answered, the
    /// second is in only if the first is, on whatever LUNs of the set they are.
    ///
    /// Answers at the latest shortly after `at_most`, whatever the medium does; then the set is aborted and writes go on. The repetition
    /// of a successful commit is `AlreadySo`.
    fn commit(&self, set: ShadowSetId, at_most: Duration) -> impl Future<Output = Result<Outcome, CommitError>> + Send;

    /// Forgets a prepared set. A set that the pool does not know is `AlreadySo`.
    ///
    /// # Errors
    /// [`PoolError::SetCommitted`]: the shadow LUNs exist and are deleted one by one.
    fn abort(&self, set: ShadowSetId) -> Result<Outcome, PoolError>;

    /// Gives each `to` the content and the length that its `from` has at this instant, all or none, durably. Open handles go on to work and
    /// see the new content; requests under way fall on one side or the other, block by block. What `to` held is given back in the background.
    /// The cost does not depend on the size of the LUNs. A pair of a LUN with itself changes nothing.
    ///
    /// # Errors
    /// [`PoolError::UnknownLun`], [`PoolError::OutOfSpace`], [`PoolError::Poisoned`], [`PoolError::Io`]. A LUN that is a `to` twice is
    /// [`PoolError::LunExists`].
    fn revert(&self, pairs: &[RevertPair]) -> impl Future<Output = Result<(), PoolError>> + Send;

    /// Makes a LUN longer; what is new reads as zeros. Open handles see the new length. The length that it has is `AlreadySo`.
    ///
    /// # Errors
    /// [`PoolError::UnsupportedSize`] also for less than it has: LUNs never shrink.
    fn grow(&self, lun: LunId, block_count: BlockCount) -> impl Future<Output = Result<Outcome, PoolError>> + Send;

    /// Makes a shadow LUN a LUN like any other, which is no longer known as the shadow of something. Its content and its handles stay as they
    /// are, and nothing is copied. A LUN that is no shadow LUN is `AlreadySo`.
    fn promote(&self, lun: LunId) -> impl Future<Output = Result<Outcome, PoolError>> + Send;

    /// How many bytes of the medium only this LUN or shadow LUN uses: what comes back when it is deleted. The cost is that of looking through
    /// what it does not share.
    fn unique_bytes(&self, lun: LunId) -> impl Future<Output = Result<u64, PoolError>> + Send;

    /// How full the pool is.
    fn usage(&self) -> PoolUsage;

    /// Makes everything durable and waits for background work that can be waited for. Afterwards the pool can be dropped
    /// and opened again quickly.
    fn close(&self) -> impl Future<Output = Result<(), PoolError>> + Send;
}
