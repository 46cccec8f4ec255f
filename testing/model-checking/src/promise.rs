//! What is promised, by name, and how a broken promise is told.

use std::fmt;

/// Promises, each written down once: for the code and for `docs/vss_lifecycle.md`.
macro_rules! promises {
    ($($name:ident = $says:literal,)*) => {
        /// What must hold in every state that can be reached. The names are what a counterexample begins with.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Promise {
            $(#[doc = $says] $name,)*
        }

        impl Promise {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// What is promised.
            #[must_use]
            pub const fn says(self) -> &'static str {
                match self {
                    $(Self::$name => $says,)*
                }
            }
        }
    };
}

promises! {
    NoPartialCommit =
        "A set's shadow LUNs can be reached all together or not at all: all that was in it when it was armed, less what was \
         released since.",
    NoHeldWriteWithoutDeadline =
        "Writes are held only while a commit with a deadline of at most 8 s is under way, and a commit is answered when that has \
         passed.",
    NothingWithoutOwner =
        "When all leases have run out and everything that was under way has ended, each shadow LUN in the pool is of a set that \
         was kept, and the pool is prepared for nothing.",
    CommitAtMostOnce =
        "A set has one point in time at most, and the identities of its shadow LUNs do not change.",
    AbortedNeverAppears =
        "A set whose end was answered (it was aborted or withdrawn, or its commit or being kept was refused for good) is never anything \
         else again, not after a crash either, if the records took that in the time that the array waits for them.",
    CommittedStays =
        "A set whose commit was answered with success stays, with its shadow LUNs, until its lease ends or somebody asks for its \
         end.",
    KeptStays =
        "A set that was answered to be kept stays, with its shadow LUNs, until somebody releases or withdraws them.",
    SourcesStay =
        "Whatever is done with a set, the source LUNs stay in the pool, and mapped as they were.",
    MappedIsServed =
        "Hosts are served what is mapped to them and nothing else, and of shadow LUNs only those of sets that are committed.",
    OtherSetsStay =
        "What is asked about one set changes nothing about another one.",
    EveryRequestEnds =
        "Every request is answered once the pool and the records have done their part and the times that are waited for have \
         passed.",
    StepsInOrder =
        "A step of a creation succeeds only after the step before it, within the same sequence.",
    OvertakenDoesNotCount =
        "A call that an abort or a new sequence overtook does not count when it ends.",
    UnfinishedIsDiscarded =
        "Every set that ends unfinished is said to be discarded, once and to somebody; none is forgotten with its shadow LUNs.",
    KeptIsNotDiscarded =
        "No shadow LUN of a set that VSS was told is kept is discarded.",
    LegalCodes =
        "Whatever goes wrong, a method of the provider answers only the codes of its page.",
    TargetsOnlyOfKept =
        "Shadow LUNs are told only of a set that is kept.",
}

impl fmt::Display for Promise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// A promise that does not hold.
#[derive(Debug, Clone)]
pub struct Broken {
    /// Which.
    pub promise: Promise,
    /// What was seen.
    pub seen: String,
}

impl Promise {
    /// That it does not hold.
    pub fn broken(self, seen: impl Into<String>) -> Broken {
        Broken { promise: self, seen: seen.into() }
    }

    /// Holds what was seen against it.
    ///
    /// # Errors
    /// If it does not hold.
    pub fn check(self, holds: bool, seen: impl FnOnce() -> String) -> Result<(), Broken> {
        if holds { Ok(()) } else { Err(self.broken(seen())) }
    }
}
