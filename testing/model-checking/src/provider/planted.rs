//! Providers that are wrong in one way each, which a search has to find.

use crate::promise::Promise;

/// What a provider does wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// A commit that failed is told to have succeeded.
    TellsCommitted,
    /// `PostCommitSnapshots` says success although it failed.
    TellsKept,
    /// Aborts are answered and not carried out.
    IgnoresAborts,
    /// Deletions are answered and not carried out.
    IgnoresDeletions,
    /// Failures are told by a code that no page has.
    TellsAnything,
}

impl Fault {
    /// All of them, with the promise that each breaks.
    pub const ALL: [(Self, Promise); 5] = [
        (Self::TellsCommitted, Promise::CommittedStays),
        (Self::TellsKept, Promise::KeptStays),
        (Self::IgnoresAborts, Promise::AbortedNeverAppears),
        (Self::IgnoresDeletions, Promise::NothingWithoutOwner),
        (Self::TellsAnything, Promise::LegalCodes),
    ];
}
