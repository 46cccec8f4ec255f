//! What can happen to the array, and by which names it is told.

use std::fmt;

use super::pool::Step;
use super::request::Request;

/// A LUN.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Name {
    /// A source LUN.
    Source(u8),
    /// The shadow LUN of a source in a set; the nth that was drawn.
    Shadow {
        /// The set.
        set: u8,
        /// The source LUN.
        source: u8,
        /// There are several if a preparation failed before.
        nth: u8,
    },
}

/// Something that happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// A host asks about a set.
    Ask(u8, Request),
    /// The pool goes on with what stands at a place of its queue.
    Pool(usize, PoolWork, Step),
    /// The transaction that stands still becomes durable.
    Land,
    /// The times pass that the array waits for anything.
    Patience,
    /// The leases of committed sets run out, and the reaper comes.
    CommittedLeasesEnd,
    /// All leases run out, and the reaper comes.
    LeasesEnd,
    /// The array crashes and is started again.
    Crash,
}

/// What the pool goes on with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PoolWork {
    /// A preparation of a set.
    Prepare(u8),
    /// The commit of a set.
    Commit(u8),
    /// The deletion of a LUN.
    Delete(Name),
}

impl PoolWork {
    /// The set that it is about.
    pub(super) const fn set(self) -> Option<u8> {
        match self {
            Self::Prepare(set) | Self::Commit(set) | Self::Delete(Name::Shadow { set, .. }) => Some(set),
            Self::Delete(Name::Source(_)) => None,
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ask(set, request) => write!(f, "the host of set {} asks to {request}", set + 1),
            Self::Pool(_, work, step) => {
                match work {
                    PoolWork::Prepare(set) => write!(f, "the pool: the preparation of set {} ", set + 1)?,
                    PoolWork::Commit(set) => write!(f, "the pool: the commit of set {} ", set + 1)?,
                    PoolWork::Delete(name) => write!(f, "the pool: the deletion of {name:?} ")?,
                }
                f.write_str(match step {
                    Step::Happens => "happens; its answer stays away",
                    Step::Answers => "is done and answered",
                    Step::Fails => "fails",
                })
            }
            Self::Land => f.write_str("the records take the transaction that waits"),
            Self::Patience => f.write_str("11 s pass"),
            Self::CommittedLeasesEnd => f.write_str("the leases of committed sets run out"),
            Self::LeasesEnd => f.write_str("all leases run out"),
            Self::Crash => f.write_str("the array crashes and is started again"),
        }
    }
}
