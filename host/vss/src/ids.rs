//! `VSS_ID`s. All are GUIDs on the wire; here each kind is a type of its own.

use std::fmt;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

macro_rules! vss_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.braced().fmt(f)
            }
        }
    };
}

vss_id! {
    /// A shadow copy set.
    SnapshotSetId
}
vss_id! {
    /// The shadow copy of one volume.
    SnapshotId
}
vss_id! {
    /// A registered provider.
    ProviderId
}
