//! `AddSnapshotToRecoverySet` and `RecoverSet`: LUNs go back to the content of their shadow LUNs, inside the array (section 4(g)).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use lunshadow_vss::{
    Async, AsyncStatus, DeviceName, DiskSignature, HResult, LunInformation, ProviderId, RecoveryOptions, SnapshotId,
    StorageIdentifier,
};

use crate::breaking::dismount;
use crate::creation::Cancellation;
use crate::document::{BackupDocument, DocumentLun, DocumentSnapshot};
use crate::exclusive::ExclusiveDisks;
use crate::import::rescan;
use crate::platform::{HostDisk, PlatformError, VolumeLun, VolumeName};
use crate::provider_calls::{ProviderFailure, ProviderSeat};
use crate::service::Service;
use crate::timeline::{Activity, Ending, Phase};

/// Why nothing was recovered, or not to the end.
#[derive(Debug, thiserror::Error)]
pub enum RecoveryError {
    /// No document is loaded, or nothing was added to the recovery set.
    #[error("the requester is not in a state for this")]
    BadState,
    /// Another recovery runs.
    #[error("another recovery is under way")]
    InProgress,
    /// The loaded document does not have the shadow copy.
    #[error("the backup document has no shadow copy {0}")]
    NotInDocument(SnapshotId),
    /// The provider that made the copy is not registered here.
    #[error("no provider {0} is registered")]
    ProviderNotRegistered(ProviderId),
    /// The provider that made the copy has no means to bring LUNs back.
    #[error("the provider {0} is a legacy one, which cannot resync LUNs")]
    LegacyProvider(ProviderId),
    /// The shadow copy is in the set, or another one goes to the same LUN.
    #[error("the disk {0} is in the recovery set already")]
    DestinationInSet(DeviceName),
    /// The destination does not exist, or cannot be read.
    #[error("the destination cannot be looked at")]
    Destination(#[source] PlatformError),
    /// No disk of this host is the LUN that was copied.
    #[error("the LUN that was copied as {source_device} is not on this host")]
    OriginalMissing {
        /// What the creating host called it.
        source_device: DeviceName,
    },
    /// The destination cannot take the content: it has another number of LUNs, none that can be told from others for certain, or ones of
    /// somebody else's.
    #[error("the volume on {0} cannot be recovered in the array")]
    NotSupported(DeviceName),
    /// A volume would be replaced that nobody has named.
    #[error("the disk {0} has a volume that was not selected and would be replaced too")]
    UnselectedVolume(DeviceName),
    /// VSS could not have a destination for itself: another program has it open. No provider was asked.
    #[error("the disk {device} cannot be opened exclusively")]
    NotExclusive {
        /// The disk.
        device: DeviceName,
        /// What failed.
        #[source]
        source: PlatformError,
    },
    /// The requester cancelled; the destinations may be as before or as the shadow copy.
    #[error("the requester cancelled the recovery")]
    Cancelled,
    /// The provider failed.
    #[error(transparent)]
    Provider(#[from] ProviderFailure),
    /// The provider began, and failed later.
    #[error("the array could not finish the recovery: {0}")]
    Failed(HResult),
    /// The host could not look for disks.
    #[error("the host cannot look for the destination disks")]
    Rescan(#[source] PlatformError),
    /// A destination did not come back.
    #[error("the disk {device} did not come back within {timeout:?}")]
    MissingDisk {
        /// What it was called before.
        device: DeviceName,
        /// How long it was waited for.
        timeout: Duration,
    },
    /// A destination could not be given its signature, or keeps the marks of a shadow copy.
    #[error("the disk {device} has its content, but not its signature")]
    Signature {
        /// The disk.
        device: DeviceName,
        /// What failed.
        #[source]
        source: PlatformError,
    },
}

impl RecoveryError {
    /// The code that a requester sees.
    #[must_use]
    pub const fn code(&self) -> HResult {
        match self {
            Self::BadState => HResult::VSS_E_BAD_STATE,
            Self::InProgress => HResult::VSS_E_RESYNC_IN_PROGRESS,
            Self::NotInDocument(_) => HResult::VSS_E_SNAPSHOT_NOT_IN_SET,
            Self::ProviderNotRegistered(_) => HResult::VSS_E_PROVIDER_NOT_REGISTERED,
            Self::LegacyProvider(_) => HResult::VSS_E_LEGACY_PROVIDER,
            Self::DestinationInSet(_) => HResult::VSS_E_OBJECT_ALREADY_EXISTS,
            Self::Destination(PlatformError::UnknownVolume(_)) | Self::OriginalMissing { .. } => {
                HResult::VSS_E_OBJECT_NOT_FOUND
            }
            Self::Destination(_) | Self::NotExclusive { .. } | Self::Rescan(_) => HResult::VSS_E_UNEXPECTED,
            Self::NotSupported(_) => HResult::VSS_E_VOLUME_NOT_SUPPORTED,
            Self::UnselectedVolume(_) => HResult::VSS_E_UNSELECTED_VOLUME,
            Self::Cancelled => HResult::VSS_S_ASYNC_CANCELLED,
            Self::Provider(failure) => failure.code(),
            Self::Failed(code) => *code,
            Self::MissingDisk { .. } => HResult::VSS_E_MISSING_DISK,
            Self::Signature { .. } => HResult::VSS_E_CANNOT_REVERT_DISKID,
        }
    }
}

/// A shadow copy with where its content goes.
#[derive(Clone)]
pub(crate) struct Recovery {
    snapshot: SnapshotId,
    provider: Arc<ProviderSeat>,
    pairs: Vec<Pair>,
}

#[derive(Clone)]
struct Pair {
    source: LunInformation,
    shadow: LunInformation,
    destination: VolumeLun,
}

/// `AddSnapshotToRecoverySet`.
pub(crate) fn add(
    service: &Service,
    document: &BackupDocument,
    recoveries: &mut Vec<Recovery>,
    snapshot: SnapshotId,
    destination: Option<&VolumeName>,
) -> Result<(), RecoveryError> {
    if service.state().is_recovering {
        return Err(RecoveryError::InProgress);
    }
    let copy = document.snapshot(snapshot).ok_or(RecoveryError::NotInDocument(snapshot))?;
    let provider = service.provider(copy.provider).ok_or(RecoveryError::ProviderNotRegistered(copy.provider))?;
    if provider.is_legacy() {
        return Err(RecoveryError::LegacyProvider(copy.provider));
    }
    let destinations = match destination {
        Some(volume) => service.platform.luns_of(volume).map_err(RecoveryError::Destination)?,
        None => originals(service, copy)?,
    };
    let first = destinations.first().map_or_else(|| copy.luns[0].source_device.clone(), |it| it.device.clone());
    let is_unique = |it: &VolumeLun| it.lun.identifiers.iter().any(StorageIdentifier::is_unique);
    if destinations.len() != copy.luns.len() || !destinations.iter().all(is_unique) {
        return Err(RecoveryError::NotSupported(first));
    }
    for (lun, destination) in copy.luns.iter().zip(&destinations) {
        let conflicts = |it: &Recovery| {
            let taken = |pair: &Pair| pair.destination.device == destination.device && pair.shadow != lun.shadow;
            it.snapshot == snapshot || it.pairs.iter().any(taken)
        };
        if recoveries.iter().any(conflicts) {
            return Err(RecoveryError::DestinationInSet(destination.device.clone()));
        }
    }
    provider.load()?;
    let devices: Vec<_> = destinations.iter().map(|it| it.device.clone()).collect();
    let mut luns: Vec<_> = destinations.iter().map(|it| it.lun.clone()).collect();
    if !provider.are_luns_supported(document.context, &devices, &mut luns, &copy.volume)? {
        return Err(RecoveryError::NotSupported(first));
    }
    let pair = |(lun, destination): (&DocumentLun, VolumeLun)| Pair {
        source: lun.source.clone(),
        shadow: lun.shadow.clone(),
        destination,
    };
    let pairs = copy.luns.iter().zip(destinations).map(pair).collect();
    recoveries.push(Recovery { snapshot, provider, pairs });
    Ok(())
}

/// The disks of this host that were copied, found by page 0x83.
fn originals(service: &Service, copy: &DocumentSnapshot) -> Result<Vec<VolumeLun>, RecoveryError> {
    let disks = rescan(service).map_err(RecoveryError::Rescan)?;
    let original = |lun: VolumeLun| match disks.iter().find(|disk| disk.lun.matches_by_page83(&lun.lun)) {
        Some(disk) => Ok(VolumeLun { device: disk.device.clone(), lun: disk.lun.clone(), extents: lun.extents }),
        None => Err(RecoveryError::OriginalMissing { source_device: lun.device }),
    };
    copy.volume_luns().into_iter().map(original).collect()
}

/// `RecoverSet`, to its end.
pub(crate) fn recover(
    service: &Service,
    recoveries: &[Recovery],
    options: RecoveryOptions,
    cancellation: &Cancellation,
) -> Result<(), RecoveryError> {
    if recoveries.is_empty() {
        return Err(RecoveryError::BadState);
    }
    let _running = Running::begin(service)?;
    let destinations = look_at_destinations(service, recoveries)?;
    if !options.contains(RecoveryOptions::NO_VOLUME_CHECK) {
        check_selection(recoveries, &destinations)?;
    }
    let exclusive = ExclusiveDisks::open(service, destinations.keys())
        .map_err(|(device, source)| RecoveryError::NotExclusive { device, source })?;
    destinations.keys().for_each(|device| dismount(service, device));
    let resynced = resync(service, recoveries, cancellation);
    // The host looks at them again, and may find them under other names.
    drop(exclusive);
    // Whatever became of it: the disks may be other ones now.
    let found = find_again(service, &destinations);
    resynced?;
    let found = found?;
    for pair in recoveries.iter().flat_map(|recovery| &recovery.pairs) {
        let (device, before) = (&pair.destination.device, &destinations[&pair.destination.device]);
        let reverts = options.contains(RecoveryOptions::REVERT_IDENTITY_ALL);
        let signature = if reverts { pair.source.disk_signature } else { before.lun.disk_signature };
        settle(service, &found[device], signature)?;
    }
    Ok(())
}

/// The destinations by their names, as they are before anything is done.
fn look_at_destinations(
    service: &Service,
    recoveries: &[Recovery],
) -> Result<BTreeMap<DeviceName, HostDisk>, RecoveryError> {
    let pairs = recoveries.iter().flat_map(|recovery| &recovery.pairs);
    let look = |pair: &Pair| {
        let disk = service.platform.disk(&pair.destination.device).map_err(RecoveryError::Destination)?;
        Ok((disk.device.clone(), disk))
    };
    pairs.map(look).collect()
}

/// A LUN is replaced whole, with all volumes on it.
fn check_selection(
    recoveries: &[Recovery],
    destinations: &BTreeMap<DeviceName, HostDisk>,
) -> Result<(), RecoveryError> {
    let of_pair = |pair: &Pair| {
        let of_volume = |extent| (pair.destination.device.clone(), extent);
        pair.destination.extents.iter().copied().map(of_volume).collect::<Vec<_>>()
    };
    let selected: BTreeSet<_> =
        recoveries.iter().flat_map(|recovery| recovery.pairs.iter().flat_map(of_pair)).collect();
    for (device, disk) in destinations {
        if disk.volumes.iter().any(|extent| !selected.contains(&(device.clone(), *extent))) {
            return Err(RecoveryError::UnselectedVolume(device.clone()));
        }
    }
    Ok(())
}

/// One call for each provider, with each LUN once.
fn resync(service: &Service, recoveries: &[Recovery], cancellation: &Cancellation) -> Result<(), RecoveryError> {
    let mut by_provider: BTreeMap<ProviderId, (&ProviderSeat, BTreeMap<&DeviceName, &Pair>)> = BTreeMap::new();
    for recovery in recoveries {
        let (_, pairs) =
            by_provider.entry(recovery.provider.id()).or_insert_with(|| (&*recovery.provider, BTreeMap::new()));
        pairs.extend(recovery.pairs.iter().map(|pair| (&pair.destination.device, pair)));
    }
    for (seat, pairs) in by_provider.values() {
        let shadows: Vec<_> = pairs.values().map(|pair| pair.shadow.clone()).collect();
        let targets: Vec<_> = pairs.values().map(|pair| pair.destination.lun.clone()).collect();
        let operation = seat.resync_luns(&shadows, &targets)?;
        let began = service.recorder.begin();
        let result = follow(service, &*operation, cancellation);
        service.recorder.end(began, Activity::Phase { phase: Phase::Resync }, Ending::of(&result));
        result?;
    }
    Ok(())
}

/// Polls an operation to its end.
fn follow(service: &Service, operation: &dyn Async, cancellation: &Cancellation) -> Result<(), RecoveryError> {
    let mut is_told = false;
    loop {
        match operation.query_status() {
            AsyncStatus::Finished => return Ok(()),
            AsyncStatus::Cancelled => return Err(RecoveryError::Cancelled),
            AsyncStatus::Failed(code) => return Err(RecoveryError::Failed(code)),
            AsyncStatus::Pending if cancellation.is_wanted() && !is_told => {
                is_told = true;
                operation.cancel();
            }
            AsyncStatus::Pending => drop(operation.wait(Some(service.settings.resync_poll))),
        }
    }
}

/// Every block of a destination is another one now, its signature too; only page 0x83 is as before.
fn find_again(
    service: &Service,
    destinations: &BTreeMap<DeviceName, HostDisk>,
) -> Result<BTreeMap<DeviceName, DeviceName>, RecoveryError> {
    let timeout = service.settings.arrival_timeout;
    let until = service.clock.now() + timeout;
    loop {
        let disks = rescan(service).map_err(RecoveryError::Rescan)?;
        let find = |before: &HostDisk| disks.iter().find(|disk| disk.lun.matches_by_page83(&before.lun));
        let found: BTreeMap<_, _> = destinations
            .iter()
            .filter_map(|(device, before)| Some((device.clone(), find(before)?.device.clone())))
            .collect();
        let missing = destinations.keys().find(|device| !found.contains_key(*device));
        let now = service.clock.now();
        match missing {
            None => return Ok(found),
            Some(device) if now >= until => return Err(RecoveryError::MissingDisk { device: device.clone(), timeout }),
            Some(_) => service.platform.wait_for_change(until - now),
        }
    }
}

/// Makes an ordinary disk of a destination, which has the signature and the marks of the shadow LUN.
fn settle(service: &Service, device: &DeviceName, signature: DiskSignature) -> Result<(), RecoveryError> {
    let failed = |source| RecoveryError::Signature { device: device.clone(), source };
    let remove = || service.platform.remove_shadow_flags(std::slice::from_ref(device));
    service.recorder.phase(Phase::RemoveShadowFlags, remove).map_err(failed)?;
    // A disk that had no signature keeps the one that came.
    if signature != DiskSignature::default() {
        let restore = || service.platform.set_disk_signature(device, signature);
        service.recorder.phase(Phase::RestoreDiskSignature, restore).map_err(failed)?;
    }
    Ok(())
}

/// The one recovery that may run.
struct Running<'a>(&'a Service);

impl<'a> Running<'a> {
    fn begin(service: &'a Service) -> Result<Self, RecoveryError> {
        let was_recovering = std::mem::replace(&mut service.state().is_recovering, true);
        if was_recovering { Err(RecoveryError::InProgress) } else { Ok(Self(service)) }
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.state().is_recovering = false;
    }
}
