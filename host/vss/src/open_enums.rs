//! Enumerations that VSS passes as 32-bit integers (section 3.8 of the contract). They are open: values that have no name here
//! are kept, since a newer VSS may know more.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! open_enum {
    ($(#[$doc:meta])* $name:ident { $($(#[$value_doc:meta])* $value:ident = $number:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        #[repr(transparent)]
        pub struct $name(pub u32);

        impl $name {
            $($(#[$value_doc])* pub const $value: Self = Self($number);)*

            /// All values that have a name, in the order of their numbers.
            pub const NAMED: &[Self] = &[$(Self::$value),*];

            /// The name without the prefix of the SDK headers, for the values that are known here.
            #[must_use]
            pub const fn name(self) -> Option<&'static str> {
                match self.0 {
                    $($number => Some(stringify!($value)),)*
                    _ => None,
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self.name() {
                    Some(name) => f.write_str(name),
                    None => write!(f, "{}", self.0),
                }
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    };
}

open_enum! {
    /// How far a snapshot set is (`VSS_SNAPSHOT_STATE`, `VSS_SS_…`). The numbers are not in the order of the states:
    /// [`POSTCOMMITTED`](Self::POSTCOMMITTED) came later.
    SnapshotState {
        /// Nothing is known of a set.
        UNKNOWN = 0,
        /// LUNs are being taken into the set.
        PREPARING = 1,
        /// `EndPrepareSnapshots` runs.
        PROCESSING_PREPARE = 2,
        /// `EndPrepareSnapshots` succeeded.
        PREPARED = 3,
        /// `PreCommitSnapshots` runs.
        PROCESSING_PRECOMMIT = 4,
        /// `PreCommitSnapshots` succeeded.
        PRECOMMITTED = 5,
        /// `CommitSnapshots` runs.
        PROCESSING_COMMIT = 6,
        /// `CommitSnapshots` succeeded: the point in time is fixed.
        COMMITTED = 7,
        /// `PostCommitSnapshots` runs.
        PROCESSING_POSTCOMMIT = 8,
        /// `PreFinalCommitSnapshots` runs.
        PROCESSING_PREFINALCOMMIT = 9,
        /// `PreFinalCommitSnapshots` succeeded: auto-recovery may write.
        PREFINALCOMMITTED = 10,
        /// `PostFinalCommitSnapshots` runs.
        PROCESSING_POSTFINALCOMMIT = 11,
        /// The set is complete.
        CREATED = 12,
        /// The set was given up.
        ABORTED = 13,
        /// The set was deleted.
        DELETED = 14,
        /// `PostCommitSnapshots` succeeded.
        POSTCOMMITTED = 15,
    }
}

open_enum! {
    /// What a provider is (`VSS_PROVIDER_TYPE`, `VSS_PROV_…`).
    ProviderType {
        /// Not known.
        UNKNOWN = 0,
        /// The one that comes with Windows.
        SYSTEM = 1,
        /// Works on volumes.
        SOFTWARE = 2,
        /// Works on LUNs.
        HARDWARE = 3,
        /// Works on file shares (2012 and later).
        FILESHARE = 4,
    }
}

open_enum! {
    /// What an id or a property belongs to (`VSS_OBJECT_TYPE`, `VSS_OBJECT_…`).
    ObjectType {
        /// Not known.
        UNKNOWN = 0,
        /// Nothing.
        NONE = 1,
        /// A snapshot set.
        SNAPSHOT_SET = 2,
        /// The shadow copy of one volume.
        SNAPSHOT = 3,
        /// A provider.
        PROVIDER = 4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_are_those_of_section_3_8() {
        let states: Vec<_> = SnapshotState::NAMED.iter().map(|state| state.0).collect();
        assert_eq!(states, (0..16).collect::<Vec<_>>());
        assert_eq!(SnapshotState::POSTCOMMITTED.0, 15);
        assert_eq!(ProviderType::HARDWARE.0, 3);
        assert_eq!(ObjectType::PROVIDER.0, 4);
    }

    #[test]
    fn values_without_a_name_are_kept() {
        assert_eq!(SnapshotState(77).to_string(), "77");
        assert_eq!(SnapshotState::PREPARED.to_string(), "PREPARED");
    }
}
