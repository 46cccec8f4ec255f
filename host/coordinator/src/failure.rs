//! Why an operation of a requester failed. Every failure has the code that VSS gives a requester (sections 2.9 and 3.14).

use std::time::Duration;

use lunshadow_vss::{Context, DeviceName, HResult, LunInformation, ProviderId, SnapshotId};

use crate::platform::{HoldError, PlatformError, VolumeName, WriterError, WriterEvent};
use crate::provider_calls::ProviderFailure;

/// Why a set could not be begun, or a volume not be added to it. The set is as it was before.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// The call is out of order: a context that is set twice, a volume without a set.
    #[error("the requester is not in a state for this")]
    BadState,
    /// The context is not one that can be served here.
    #[error("the context {0:?} is not supported")]
    UnsupportedContext(Context),
    /// Another creation is between its start and its end.
    #[error("another snapshot set is being created")]
    SetInProgress,
    /// The set is full.
    #[error("a snapshot set has at most {max} volumes")]
    TooManyVolumes {
        /// The limit.
        max: usize,
    },
    /// The volume is in the set.
    #[error("the volume {0} is in the set already")]
    VolumeInSet(VolumeName),
    /// The platform knows no such volume, or cannot read it.
    #[error("the volume cannot be looked at")]
    Volume(#[source] PlatformError),
    /// No provider of that id is registered.
    #[error("no provider {0} is registered")]
    ProviderNotRegistered(ProviderId),
    /// A provider of that id is registered.
    #[error("a provider {0} is registered already")]
    ProviderAlreadyRegistered(ProviderId),
    /// No provider supports the volume.
    #[error("no provider supports the volume {0}")]
    VolumeNotSupported(VolumeName),
    /// The wanted provider does not support the volume.
    #[error("the provider {provider} does not support the volume {volume}")]
    VolumeNotSupportedByProvider {
        /// The provider.
        provider: ProviderId,
        /// The volume.
        volume: VolumeName,
    },
    /// The provider failed.
    #[error(transparent)]
    Provider(#[from] ProviderFailure),
}

impl RequestError {
    /// The code that a requester sees.
    #[must_use]
    pub const fn code(&self) -> HResult {
        match self {
            Self::BadState => HResult::VSS_E_BAD_STATE,
            Self::UnsupportedContext(_) => HResult::VSS_E_UNSUPPORTED_CONTEXT,
            Self::SetInProgress => HResult::VSS_E_SNAPSHOT_SET_IN_PROGRESS,
            Self::TooManyVolumes { .. } => HResult::VSS_E_MAXIMUM_NUMBER_OF_VOLUMES_REACHED,
            Self::VolumeInSet(_) | Self::ProviderAlreadyRegistered(_) => HResult::VSS_E_OBJECT_ALREADY_EXISTS,
            Self::Volume(PlatformError::UnknownVolume(_)) => HResult::VSS_E_OBJECT_NOT_FOUND,
            Self::Volume(_) => HResult::VSS_E_UNEXPECTED,
            Self::ProviderNotRegistered(_) => HResult::VSS_E_PROVIDER_NOT_REGISTERED,
            Self::VolumeNotSupported(_) => HResult::VSS_E_VOLUME_NOT_SUPPORTED,
            Self::VolumeNotSupportedByProvider { .. } => HResult::VSS_E_VOLUME_NOT_SUPPORTED_BY_PROVIDER,
            Self::Provider(failure) => failure.code(),
        }
    }
}

/// Why `DoSnapshotSet` failed. There is no partial success: the set does not exist.
#[derive(Debug, thiserror::Error)]
pub enum CreationError {
    /// There is no set with volumes to create.
    #[error("there is no snapshot set with volumes to create")]
    NothingToDo,
    /// The requester cancelled.
    #[error("the requester cancelled the snapshot set")]
    Cancelled,
    /// A provider failed.
    #[error(transparent)]
    Provider(#[from] ProviderFailure),
    /// A writer failed.
    #[error("the writers' {event:?} failed")]
    Writer {
        /// In reaction to what.
        event: WriterEvent,
        /// How.
        #[source]
        source: WriterError,
    },
    /// Writers were frozen for longer than they can be.
    #[error("the writers were frozen for longer than {limit:?}")]
    FreezeExpired {
        /// The limit.
        limit: Duration,
    },
    /// The shadow copy flags of the source LUNs could not be set or cleared.
    #[error("the shadow copy flags of the source LUNs cannot be changed")]
    Flags(#[source] PlatformError),
    /// Writes could not be held.
    #[error("writes could not be held")]
    Hold(#[source] HoldError),
    /// Writes had to be released before the providers were done.
    #[error("the providers needed longer than {limit:?}, for which writes can be held")]
    HoldExpired {
        /// The limit.
        limit: Duration,
    },
    /// The host could not look for disks.
    #[error("the host cannot look for the disks of the set")]
    Rescan(#[source] PlatformError),
    /// A shadow LUN did not arrive.
    #[error("the shadow LUN of {source_device} did not arrive within {timeout:?}")]
    MissingDisk {
        /// The LUN whose shadow is missing, as a disk of this host.
        source_device: DeviceName,
        /// How long it was waited for.
        timeout: Duration,
    },
    /// A shadow LUN arrived, without the volumes that must be on it.
    #[error("the disk {device} has not the volumes of {source_device}")]
    MissingVolume {
        /// The captured LUN.
        source_device: DeviceName,
        /// The disk that arrived.
        device: DeviceName,
    },
    /// The shadow copies could not be made writable for the writers.
    #[error("the writers cannot be given the shadow copies")]
    Recovery(#[source] PlatformError),
    /// A shadow disk could not be given an identity of its own.
    #[error("the disk {device} cannot be given a signature of its own")]
    Identity {
        /// The disk.
        device: DeviceName,
        /// What failed.
        #[source]
        source: PlatformError,
    },
}

impl CreationError {
    /// The code that a requester sees.
    #[must_use]
    pub const fn code(&self) -> HResult {
        match self {
            Self::NothingToDo => HResult::VSS_E_BAD_STATE,
            Self::Cancelled => HResult::VSS_S_ASYNC_CANCELLED,
            Self::Provider(failure) => failure.code(),
            Self::Writer { source, .. } => source.code(),
            Self::FreezeExpired { .. } => HResult::VSS_E_WRITERERROR_TIMEOUT,
            Self::Hold(HoldError::FlushTimeout) => HResult::VSS_E_FLUSH_WRITES_TIMEOUT,
            Self::HoldExpired { .. } => HResult::VSS_E_HOLD_WRITES_TIMEOUT,
            Self::Flags(_) | Self::Hold(HoldError::Flush(_)) | Self::Rescan(_) => HResult::VSS_E_UNEXPECTED,
            Self::MissingDisk { .. } => HResult::VSS_E_MISSING_DISK,
            Self::MissingVolume { .. } => HResult::VSS_E_MISSING_HIDDEN_VOLUME,
            Self::Recovery(_) => HResult::VSS_E_AUTORECOVERY_FAILED,
            Self::Identity { .. } => HResult::VSS_E_CANNOT_REVERT_DISKID,
        }
    }
}

/// A creation that failed, and what it may have left in the array: VSS has no way to delete a LUN that it never saw.
#[derive(Debug, thiserror::Error)]
#[error("the snapshot set could not be created")]
pub struct CreationFailure {
    /// Why.
    #[source]
    pub error: CreationError,
    /// Shadow LUNs that were neither seen by this host nor given back by it. Whether they still exist is the provider's affair; for an
    /// administrator they are candidates for orphans.
    pub unreclaimed: Vec<LunInformation>,
}

impl CreationFailure {
    /// The code that a requester sees.
    #[must_use]
    pub const fn code(&self) -> HResult {
        self.error.code()
    }
}

impl From<CreationError> for CreationFailure {
    fn from(error: CreationError) -> Self {
        Self { error, unreclaimed: Vec::new() }
    }
}

/// Why a shadow copy could not be deleted.
#[derive(Debug, thiserror::Error)]
pub enum DeletionError {
    /// There is no such shadow copy or set.
    #[error("there is no such shadow copy")]
    NotFound,
    /// The shadow LUN's disk cannot be read, so that nobody can tell whether it is the right one.
    #[error("the shadow LUN's disk cannot be read")]
    Disk(#[source] PlatformError),
    /// The provider does not know the disk any more, or takes it for another one.
    #[error("the provider does not recognise the disk {0}")]
    NotRecognised(DeviceName),
    /// The provider failed.
    #[error(transparent)]
    Provider(#[from] ProviderFailure),
}

/// A run of deletions that stopped at its first failure.
#[derive(Debug, thiserror::Error)]
#[error("{deleted} shadow copies were deleted, the next one was not")]
pub struct DeletionFailure {
    /// How many copies were deleted before.
    pub deleted: usize,
    /// The copy that was not; `None` when nothing by the name that was given exists.
    pub undeleted: Option<SnapshotId>,
    /// Why.
    #[source]
    pub error: DeletionError,
}

impl DeletionFailure {
    /// The code that a requester sees.
    #[must_use]
    pub const fn code(&self) -> HResult {
        match &self.error {
            DeletionError::NotFound | DeletionError::NotRecognised(_) => HResult::VSS_E_OBJECT_NOT_FOUND,
            DeletionError::Disk(_) => HResult::VSS_E_UNEXPECTED,
            DeletionError::Provider(failure) => failure.code(),
        }
    }
}
