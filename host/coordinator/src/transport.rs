//! `ImportSnapshots`: a transportable set arrives on a host by its document alone (section 4(c) of the contract).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, SystemTime};

use lunshadow_vss::{Context, DeviceName, DiskSignature, HResult, Method, ProviderId, SnapshotId};

use crate::document::{BackupDocument, DocumentSnapshot};
use crate::import::{ArrivalError, Import, new_identity, rescan};
use crate::platform::PlatformError;
use crate::provider_calls::{ProviderFailure, ProviderSeat};
use crate::service::{Service, SnapshotProperties};
use crate::timeline::{Activity, Ending, Phase};

/// What an import that brought anything has brought.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ImportedSet {
    /// The shadow copies that are on this host now.
    pub copies: Vec<SnapshotProperties>,
    /// Those that did not arrive. Another import tries them again.
    pub missing: Vec<SnapshotId>,
}

impl ImportedSet {
    /// The code that a requester sees: a success in any case.
    #[must_use]
    pub const fn code(&self) -> HResult {
        if self.missing.is_empty() { HResult::VSS_S_ASYNC_FINISHED } else { HResult::VSS_S_SOME_SNAPSHOTS_NOT_IMPORTED }
    }
}

/// Why nothing was imported. LUNs that were mapped stay where they are; another import finds them.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// No document is loaded.
    #[error("no backup document is loaded")]
    NoDocument,
    /// The set was created for the host that created it.
    #[error("the document is not one of a transportable set")]
    NotTransportable,
    /// Every shadow copy of the document is here.
    #[error("the shadow copies of the document are imported already")]
    AlreadyImported,
    /// The provider that made a copy is not registered here.
    #[error("no provider {0} is registered")]
    ProviderNotRegistered(ProviderId),
    /// A provider failed.
    #[error(transparent)]
    Provider(#[from] ProviderFailure),
    /// The host could not look for disks.
    #[error("the host cannot look for the disks of the set")]
    Rescan(#[source] PlatformError),
    /// A disk beside its original could not be given an identity of its own.
    #[error("the disk {device} cannot be given a signature of its own")]
    Identity {
        /// The disk.
        device: DeviceName,
        /// What failed.
        #[source]
        source: PlatformError,
    },
    /// No shadow copy is complete.
    #[error("no shadow copy of the set arrived within {timeout:?}")]
    NothingArrived {
        /// How long they were waited for.
        timeout: Duration,
    },
}

impl ImportError {
    /// The code that a requester sees.
    #[must_use]
    pub const fn code(&self) -> HResult {
        match self {
            Self::NoDocument => HResult::VSS_E_BAD_STATE,
            Self::NotTransportable => HResult::VSS_E_NONTRANSPORTABLE_BCD,
            Self::AlreadyImported => HResult::VSS_E_OBJECT_ALREADY_EXISTS,
            Self::ProviderNotRegistered(_) => HResult::VSS_E_PROVIDER_NOT_REGISTERED,
            Self::Provider(failure) => failure.code(),
            Self::Rescan(_) => HResult::VSS_E_UNEXPECTED,
            Self::Identity { .. } => HResult::VSS_E_CANNOT_REVERT_DISKID,
            Self::NothingArrived { .. } => HResult::VSS_E_NO_SNAPSHOTS_IMPORTED,
        }
    }
}

impl From<ArrivalError> for ImportError {
    fn from(error: ArrivalError) -> Self {
        match error {
            ArrivalError::Rescan(error) => Self::Rescan(error),
            ArrivalError::Provider(failure) => Self::Provider(failure),
        }
    }
}

/// Imports what of the document is not here yet.
pub(crate) fn import(service: &Service, document: &BackupDocument) -> Result<ImportedSet, ImportError> {
    if !document.context.contains(Context::TRANSPORTABLE) {
        return Err(ImportError::NotTransportable);
    }
    let _only_one = service.import.lock().unwrap_or_else(PoisonError::into_inner);
    let is_here = |it: &DocumentSnapshot| service.state().copies.iter().any(|copy| copy.snapshot == it.snapshot);
    let wanted: Vec<_> = document.snapshots.iter().filter(|it| !is_here(it)).collect();
    if wanted.is_empty() {
        return Err(ImportError::AlreadyImported);
    }
    let mut seats: BTreeMap<ProviderId, Arc<ProviderSeat>> = BTreeMap::new();
    let mut import = Import::default();
    for &snapshot in &wanted {
        let id = snapshot.provider;
        let seat = service.provider(id).ok_or(ImportError::ProviderNotRegistered(id))?;
        for (lun, shadow) in snapshot.volume_luns().iter().zip(snapshot.shadows()) {
            // A document that came by `from_xml` has no such faults; one that a caller made by hand can.
            if let Err(reason) = import.expect(&seat, lun, shadow) {
                return Err(seat.bad_answer(Method::GetTargetLuns, reason).into());
            }
        }
        seats.insert(id, seat);
    }
    let participants: Vec<_> = seats.into_values().collect();
    participants.iter().try_for_each(|seat| seat.load())?;
    // A disk that an earlier import has mapped is as good as one that arrives now.
    import.locate(service, &participants, BTreeSet::new())?;
    arrive(service, &mut import, &participants)?;
    separate_from_originals(service, &import)?;

    let (mut copies, mut missing) = (Vec::new(), Vec::new());
    for snapshot in wanted {
        match properties(service, document, snapshot, &import) {
            Some(copy) => copies.push(copy),
            None => missing.push(snapshot.snapshot),
        }
    }
    if copies.is_empty() {
        return Err(ImportError::NothingArrived { timeout: service.settings.arrival_timeout });
    }
    service.state().copies.extend_from_slice(&copies);
    Ok(ImportedSet { copies, missing })
}

fn arrive(service: &Service, import: &mut Import, participants: &[Arc<ProviderSeat>]) -> Result<(), ImportError> {
    let began = service.recorder.begin();
    let result = import.await_disks(service, participants).map_err(ImportError::from);
    let missing = import.targets().count() - import.arrivals().count();
    let ending = match &result {
        Ok(()) if missing == 0 => Ending::answered(import.levels()),
        Ok(()) => Ending::failed(format_args!("{missing} shadow LUNs did not arrive")),
        Err(error) => Ending::failed(error),
    };
    service.recorder.end(began, Activity::Phase { phase: Phase::Arrival }, ending);
    result
}

/// A disk whose signature another one of this host has gets a new one (section 5.4). Elsewhere the original's identity is worth keeping.
fn separate_from_originals(service: &Service, import: &Import) -> Result<(), ImportError> {
    let disks = rescan(service).map_err(ImportError::Rescan)?;
    let mut signatures: BTreeMap<&DeviceName, DiskSignature> =
        disks.iter().map(|disk| (&disk.device, disk.lun.disk_signature)).collect();
    for (target, arrival) in import.arrived() {
        let Some(signature) = signatures.remove(&arrival.device) else { continue };
        if signature != DiskSignature::default() && signatures.values().any(|other| *other == signature) {
            let device = &arrival.device;
            new_identity(service, target, device)
                .map_err(|source| ImportError::Identity { device: device.clone(), source })?;
        } else {
            signatures.insert(&arrival.device, signature);
        }
    }
    Ok(())
}

fn properties(
    service: &Service,
    document: &BackupDocument,
    snapshot: &DocumentSnapshot,
    import: &Import,
) -> Option<SnapshotProperties> {
    let since_1970 = Duration::from_millis(document.created_unix_ms);
    Some(SnapshotProperties {
        snapshot: snapshot.snapshot,
        set: document.set,
        snapshot_count: document.snapshots.len(),
        volume: snapshot.volume.clone(),
        provider: snapshot.provider,
        attributes: document.context | Context::HARDWARE_ASSISTED | Context::IMPORTED,
        created: SystemTime::UNIX_EPOCH.checked_add(since_1970)?,
        luns: import.shadow_luns(service, snapshot.provider, &snapshot.volume_luns())?,
    })
}
