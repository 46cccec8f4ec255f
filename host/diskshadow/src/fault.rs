//! Why a command did nothing, or not all.

use lunshadow_vss::{SnapshotId, SnapshotSetId};

use crate::command::Place;
use crate::parser::ParseError;
use crate::vss::{MachineFailure, VssFailure};

/// Why a command failed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Fault {
    /// It is none.
    #[error(transparent)]
    Parse(#[from] ParseError),
    /// It has no place here.
    #[error(transparent)]
    State(#[from] StateError),
    /// VSS failed.
    #[error(transparent)]
    Vss(#[from] VssFailure),
    /// The machine failed.
    #[error(transparent)]
    Machine(#[from] MachineFailure),
    /// Some shadow copies were deleted, and then one was not.
    #[error("{deleted} shadow copies were deleted, {undeleted} was not: {failure}")]
    Deletion {
        /// How many.
        deleted: usize,
        /// Which one.
        undeleted: SnapshotId,
        /// Why.
        failure: VssFailure,
    },
    /// The set exists, but nobody could import it without the file.
    #[error(
        "the set {set} was created, but its metadata is not written: {failure}; its shadow copies are of no use and have to be deleted in the array"
    )]
    MetadataLost {
        /// The set.
        set: SnapshotSetId,
        /// Why.
        failure: MachineFailure,
    },
    /// A program that `exec` ran has failed. This ends a prompt too.
    #[error("{file} failed with status {status}")]
    Program {
        /// Which one.
        file: String,
        /// What it ended with.
        status: i32,
    },
}

impl Fault {
    /// Whether DiskShadow ends with it, even at the prompt.
    #[must_use]
    pub const fn ends_prompt(&self) -> bool {
        match self {
            Self::Program { .. } => true,
            Self::Parse(_)
            | Self::State(_)
            | Self::Vss(_)
            | Self::Machine(_)
            | Self::Deletion { .. }
            | Self::MetadataLost { .. } => false,
        }
    }
}

/// What must be done before, or instead.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum StateError {
    /// Nothing to create.
    #[error("no volume was added; `add volume VOLUME` adds one")]
    NoVolumes,
    /// A volume twice.
    #[error("the volume {0} was added already")]
    VolumeAdded(String),
    /// One too many.
    #[error("a set has at most {max} volumes; `create` creates this one first")]
    TooManyVolumes {
        /// The limit.
        max: usize,
    },
    /// An alias twice in a set.
    #[error("another volume of the set has the alias {0}; take another name")]
    AliasTaken(String),
    /// Options that cannot be had with the context.
    #[error(
        "client-accessible shadow copies have no options; `set context persistent` or `volatile` goes with them, and `reset` forgets them"
    )]
    OptionsOfClientAccessible,
    /// A backup is under way.
    #[error("a backup has begun; `end backup` or `reset` ends it")]
    BackupBegun,
    /// None is.
    #[error("no backup has begun; `begin backup` begins one")]
    NoBackup,
    /// One set for each backup.
    #[error("the backup has its shadow copies; `end backup` comes before others are created")]
    BackupHasSet,
    /// A restore is under way.
    #[error("a restore has begun; `end restore` or `reset` ends it")]
    RestoreBegun,
    /// None is.
    #[error("no restore has begun; `begin restore` begins one")]
    NoRestore,
    /// Nothing to go by.
    #[error("no metadata is loaded; `load metadata FILE.cab` loads it")]
    NothingLoaded,
    /// The metadata is not of a transportable set.
    #[error(
        "the loaded metadata is of a set that is not transportable; `set option transportable` comes before its creation"
    )]
    NotTransportable,
    /// Nothing to resync.
    #[error("no shadow copy was added; `add shadow SHADOW-ID [VOLUME]` adds one of the loaded metadata")]
    NothingToResync,
    /// A writer that must take part does not.
    #[error("the writer or component \"{0}\" would take no part; see `list writers`, `writer exclude` and the context")]
    WriterMissing(String),
    /// Nobody to exclude.
    #[error("there is no writer or component \"{0}\"; `list writers metadata` shows all")]
    NoSuchWriter(String),
    /// Writers of the metadata that are not on this machine.
    #[error("these writers of the loaded metadata are not here: {0}")]
    WritersGone(String),
    /// No such shadow copy.
    #[error("there is no shadow copy {0}; `list shadows all` shows those that there are")]
    NoSuchShadow(SnapshotId),
    /// No such set.
    #[error("there is no shadow copy set {0}; `list shadows all` shows those that there are")]
    NoSuchSet(SnapshotSetId),
    /// It is gone before anyone could use it.
    #[error("the shadow copy {0} is not persistent; `set context persistent` comes before its creation")]
    NotPersistent(SnapshotId),
    /// It has a place.
    #[error("the shadow copy {shadow} is exposed at {place} already; `unexpose {place}` comes first")]
    ExposedAlready {
        /// Which.
        shadow: SnapshotId,
        /// Where.
        place: Place,
    },
    /// The place has one.
    #[error("the shadow copy {shadow} is exposed at {place}; take another place, or `unexpose {place}` first")]
    PlaceTaken {
        /// Which.
        shadow: SnapshotId,
        /// Where.
        place: Place,
    },
    /// Nothing there.
    #[error("no shadow copy is exposed at {0}")]
    NothingExposedAt(Place),
    /// It is not exposed.
    #[error("the shadow copy {0} is not exposed")]
    NotExposed(SnapshotId),
    /// Only copies of that context can be reverted to.
    #[error(
        "{0} is not client-accessible, and only such shadow copies can be reverted to; a transportable one can be resynced: `load metadata`, `add shadow`, `resync`"
    )]
    NotClientAccessible(SnapshotId),
}
