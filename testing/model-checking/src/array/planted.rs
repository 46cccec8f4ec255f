//! Arrays that are wrong in one way each, which a search has to find: the parts around the catalog lie to it, or it is not told.

use crate::promise::Promise;

/// What an array does wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// A commit leaves out the first LUN of its set.
    CapturesHalf,
    /// A commit that is asked for again takes a new point in time.
    CapturesAgain,
    /// A commit holds writes without a deadline.
    ForgetsDeadline,
    /// Leases do not end.
    ForgetsLeases,
    /// Shadow LUNs are never deleted.
    NeverReleases,
    /// That a set was aborted does not become durable.
    LosesAborts,
    /// That a set was kept does not become durable.
    LosesKeeps,
    /// An abort of one set ends the other ones too.
    AbortsOthers,
    /// An abort takes a source LUN away from its host.
    TakesSources,
    /// Commits are answered before they are durable.
    LosesCommits,
    /// What was unmapped is served on.
    ServesUnmapped,
    /// A transaction is never answered.
    SwallowsAnswers,
}

impl Fault {
    /// All of them, with the promise that each breaks.
    pub const ALL: [(Self, Promise); 12] = [
        (Self::CapturesHalf, Promise::NoPartialCommit),
        (Self::CapturesAgain, Promise::CommitAtMostOnce),
        (Self::ForgetsDeadline, Promise::NoHeldWriteWithoutDeadline),
        (Self::ForgetsLeases, Promise::NothingWithoutOwner),
        (Self::NeverReleases, Promise::NothingWithoutOwner),
        (Self::LosesAborts, Promise::AbortedNeverAppears),
        (Self::LosesKeeps, Promise::KeptStays),
        (Self::AbortsOthers, Promise::OtherSetsStay),
        (Self::TakesSources, Promise::SourcesStay),
        (Self::LosesCommits, Promise::CommittedStays),
        (Self::ServesUnmapped, Promise::MappedIsServed),
        (Self::SwallowsAnswers, Promise::EveryRequestEnds),
    ];
}
