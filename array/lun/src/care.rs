//! What an administrator does with a pool as a whole, beside what hosts need of it.

use std::future::Future;
use std::num::NonZeroU64;

use crate::{BlockCount, Lba, LunId, Outcome, Pool, ReadCacheStatus};

/// Why a pool did not get more capacity. It goes on as it was.
#[derive(Debug, thiserror::Error)]
pub enum EnlargeError {
    /// The pool has more than that, and cannot get smaller.
    #[error("the pool has {has_bytes} bytes already, and cannot shrink to {asked_bytes}")]
    WouldShrink {
        /// What it has.
        has_bytes: u64,
        /// What was asked for.
        asked_bytes: u64,
    },
    /// That is more than a pool can have.
    #[error("a pool of {asked_bytes} bytes is not possible")]
    UnsupportedSize {
        /// What was asked for.
        asked_bytes: u64,
    },
    /// The medium has no room for it.
    #[error("the medium cannot hold {asked_bytes} bytes")]
    MediumFull {
        /// What was asked for.
        asked_bytes: u64,
        /// What the operating system answered, if it was asked.
        #[source]
        error: Option<std::io::Error>,
    },
    /// The pool refuses changes since an I/O error.
    #[error("the pool is read-only since an I/O error; reopen it")]
    Poisoned,
}

/// How a scrub runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ScrubOptions {
    /// How much it reads in a second at most, on average.
    pub bytes_per_second: Option<NonZeroU64>,
    /// Whether it goes on where the last one was stopped, and not from the beginning.
    pub resume: bool,
}

/// Blocks of a LUN that cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct LunDamage {
    /// The LUN.
    pub lun: LunId,
    /// The first damaged block.
    pub at: Lba,
    /// How many blocks from there on are damaged.
    pub count: BlockCount,
}

/// What a scrub has found so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ScrubReport {
    /// How many map pages it has compared with both of their copies.
    pub map_pages: u64,
    /// How many physical blocks of data it has verified.
    pub data_blocks: u64,
    /// How many damaged copies of map pages were written again while it ran.
    pub healed_copies: u64,
    /// Blocks of LUNs that cannot be read.
    pub damage: Vec<LunDamage>,
    /// More is damaged than `damage` has room for.
    pub damage_left_out: bool,
    /// The LUN that it is at, unless it is done.
    pub at: Option<LunId>,
}

/// Why there was no scrub.
#[derive(Debug, thiserror::Error)]
pub enum ScrubError {
    /// There is one already.
    #[error("the pool is being scrubbed already")]
    Running,
    /// A part of the pool that the scrub needs failed.
    #[error("the scrub failed")]
    Failed(#[source] std::io::Error),
}

/// A pool that can be looked after while it is used.
pub trait PoolCare: Pool {
    /// By what means the pool reads and writes its medium, for people.
    fn io_engine(&self) -> String;

    /// What the pool keeps of data in memory; nothing by default.
    fn read_cache(&self) -> ReadCacheStatus {
        ReadCacheStatus::default()
    }

    /// From how little room on the pool's LUNs answer that it is low on space.
    fn low_bytes(&self) -> u64;

    /// Gives the pool more capacity, durably. The capacity that it has is `AlreadySo`.
    fn enlarge(&self, capacity_bytes: u64) -> impl Future<Output = Result<Outcome, EnlargeError>> + Send;

    /// Reads and verifies everything that LUNs refer to, repairs what the pool has a second copy of, and names what it has not. Damage is no
    /// error: it is what the report is about. `progress` hears of each step.
    ///
    /// Dropping the future stops the scrub, and the next one can go on from there, also after the pool was opened anew. What was reported before
    /// the future was polled for the last time is then not reported again; the step after that may be.
    fn scrub(
        &self,
        options: ScrubOptions,
        progress: impl FnMut(&ScrubReport) + Send,
    ) -> impl Future<Output = Result<ScrubReport, ScrubError>> + Send;
}
