//! `BreakSnapshotSet` and `BreakSnapshotSetEx`, section 4(f): VSS forgets a set, and its LUNs become ordinary ones.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};

use lunshadow_vss::{
    BreakOptions, DeviceName, DiskSignature, HResult, LunInformation, LunStateChange, ProviderId, SnapshotSetId,
};

use crate::import::rescan;
use crate::platform::{DiskIdentity, HostDisk, PlatformError};
use crate::provider_calls::{ProviderFailure, ProviderSeat};
use crate::service::{Service, ShadowLun};
use crate::timeline::Phase;

/// Why a set could not be broken. It exists as before, unless a step had been done already; a break can be repeated.
#[derive(Debug, thiserror::Error)]
pub enum BreakError {
    /// There is no such set on this host.
    #[error("there is no snapshot set {0} on this host")]
    NotFound(SnapshotSetId),
    /// A copy of the set is one of a volume, and has no LUN that could live on.
    #[error("the snapshot set {0} has copies that are none of LUNs")]
    NotOfLuns(SnapshotSetId),
    /// Identities cannot be reverted and kept.
    #[error("the identities of disks can be reverted or kept, not both")]
    ContradictingOptions,
    /// The provider that made a copy is not registered any more.
    #[error("no provider {0} is registered")]
    ProviderNotRegistered(ProviderId),
    /// LUNs are to be masked by a provider that cannot.
    #[error("the provider {0} is a legacy one, which cannot mask LUNs")]
    LegacyProvider(ProviderId),
    /// A disk cannot get the identity of another that is there.
    #[error("the disk {original} is there, so no shadow disk gets its identity")]
    OriginalPresent {
        /// The original.
        original: DeviceName,
    },
    /// A shadow disk got ids for its partitions on another host, which has forgotten what they were.
    #[error("nobody knows which ids the partitions of {device} had as those of its original")]
    OriginalUnknown {
        /// The disk.
        device: DeviceName,
    },
    /// A shadow disk could not be given the identity of its original.
    #[error("the disk {device} cannot be given the identity of its original")]
    Identity {
        /// The disk.
        device: DeviceName,
        /// What failed.
        #[source]
        source: PlatformError,
    },
    /// A provider failed.
    #[error(transparent)]
    Provider(#[from] ProviderFailure),
    /// The marks of a shadow copy could not be taken off.
    #[error("the shadow copy flags cannot be removed")]
    Flags(#[source] PlatformError),
    /// The host could not look for disks.
    #[error("the host cannot look for its disks")]
    Rescan(#[source] PlatformError),
}

impl BreakError {
    /// The code that a requester sees.
    #[must_use]
    pub const fn code(&self) -> HResult {
        match self {
            Self::NotFound(_) => HResult::VSS_E_OBJECT_NOT_FOUND,
            Self::ContradictingOptions | Self::NotOfLuns(_) => HResult::E_INVALIDARG,
            Self::ProviderNotRegistered(_) => HResult::VSS_E_PROVIDER_NOT_REGISTERED,
            Self::LegacyProvider(_) => HResult::VSS_E_LEGACY_PROVIDER,
            Self::OriginalPresent { .. } | Self::OriginalUnknown { .. } | Self::Identity { .. } => {
                HResult::VSS_E_BREAK_REVERT_ID_FAILED
            }
            Self::Provider(failure) => failure.code(),
            Self::Flags(_) | Self::Rescan(_) => HResult::VSS_E_UNEXPECTED,
        }
    }
}

/// The LUNs of one provider, each once.
type LunsByProvider = BTreeMap<ProviderId, (Arc<ProviderSeat>, Vec<ShadowLun>)>;

/// Breaks a set. Without options no provider hears of it, and the volumes stay as they are. Only the two about identities exclude each
/// other: that masking is not combined with anything is a rule of the tool vshadow, not of VSS (section 3.11).
pub(crate) fn break_set(service: &Service, set: SnapshotSetId, options: BreakOptions) -> Result<(), BreakError> {
    let _no_deletion = service.deletion.lock().unwrap_or_else(PoisonError::into_inner);
    if options.contains(BreakOptions::REVERT_IDENTITY_ALL | BreakOptions::REVERT_IDENTITY_NONE) {
        return Err(BreakError::ContradictingOptions);
    }
    let by_provider = luns_of(service, set)?;
    if options.contains(BreakOptions::MASK_LUNS)
        && let Some((id, _)) = by_provider.iter().find(|(_, (seat, _))| seat.is_legacy())
    {
        return Err(BreakError::LegacyProvider(*id));
    }
    let luns = || by_provider.values().flat_map(|(_, luns)| luns);
    let devices: Vec<DeviceName> = luns().map(|lun| lun.device.clone()).collect();
    if options.contains(BreakOptions::REVERT_IDENTITY_ALL) {
        revert_identities(service, luns(), options)?;
    }
    if options.contains(BreakOptions::MAKE_READ_WRITE) {
        tell(&by_provider, LunStateChange::NOTIFY_READ_WRITE)?;
        let remove = || service.platform.remove_shadow_flags(&devices);
        service.recorder.phase(Phase::RemoveShadowFlags, remove).map_err(BreakError::Flags)?;
    }
    if options.contains(BreakOptions::MASK_LUNS) {
        devices.iter().for_each(|device| dismount(service, device));
        tell(&by_provider, LunStateChange::DO_MASK_LUNS)?;
        rescan(service).map_err(BreakError::Rescan)?;
    }
    service.state().copies.retain(|copy| copy.set != set);
    Ok(())
}

/// Has the host forget the volumes of a disk.
pub(crate) fn dismount(service: &Service, device: &DeviceName) {
    let Ok(()) = service.recorder.phase(Phase::DismountDisk, || -> Result<(), std::convert::Infallible> {
        service.platform.dismount(device);
        Ok(())
    });
}

fn luns_of(service: &Service, set: SnapshotSetId) -> Result<LunsByProvider, BreakError> {
    let copies: Vec<_> = service.state().copies.iter().filter(|copy| copy.set == set).cloned().collect();
    if copies.is_empty() {
        return Err(BreakError::NotFound(set));
    }
    let mut by_provider = LunsByProvider::new();
    for copy in copies {
        let seat = service.provider(copy.provider).ok_or(BreakError::ProviderNotRegistered(copy.provider))?;
        if seat.software_kind().is_some() {
            return Err(BreakError::NotOfLuns(set));
        }
        let (_, luns) = by_provider.entry(copy.provider).or_insert_with(|| (seat, Vec::new()));
        for lun in copy.luns {
            if !luns.iter().any(|known| known.device == lun.device) {
                luns.push(lun);
            }
        }
    }
    Ok(by_provider)
}

fn tell(by_provider: &LunsByProvider, change: LunStateChange) -> Result<(), ProviderFailure> {
    for (seat, luns) in by_provider.values() {
        let shadows: Vec<LunInformation> = luns.iter().map(|lun| lun.shadow.clone()).collect();
        let originals: Vec<LunInformation> = luns.iter().map(|lun| lun.source.clone()).collect();
        seat.on_lun_state_change(&shadows, &originals, change)?;
    }
    Ok(())
}

/// All or none: what speaks against one disk is found before any is changed.
fn revert_identities<'a>(
    service: &Service,
    luns: impl Iterator<Item = &'a ShadowLun>,
    options: BreakOptions,
) -> Result<(), BreakError> {
    let disks = rescan(service).map_err(BreakError::Rescan)?;
    let mut reverts = Vec::new();
    for lun in luns {
        if let Some(original) = disks.iter().find(|disk| disk.lun.matches_by_page83(&lun.source)) {
            return Err(BreakError::OriginalPresent { original: original.device.clone() });
        }
        let disk = service.platform.disk(&lun.device);
        if options.contains(BreakOptions::MASK_LUNS) && matches!(disk, Err(PlatformError::UnknownDisk(_))) {
            // An earlier attempt has masked it, which comes after this, and lost the answer.
            continue;
        }
        let disk = disk.map_err(|source| BreakError::Identity { device: lun.device.clone(), source })?;
        let identity = identity_of_original(lun, &disk);
        reverts.push(identity.ok_or_else(|| BreakError::OriginalUnknown { device: lun.device.clone() })?);
    }
    for (device, identity) in reverts {
        let revert = || service.platform.set_disk_identity(device, &identity);
        service
            .recorder
            .phase(Phase::RestoreDiskSignature, revert)
            .map_err(|source| BreakError::Identity { device: device.clone(), source })?;
    }
    Ok(())
}

/// What a shadow disk had before it was given an identity of its own; `None` if that cannot be told. All know the original's signature;
/// the ids of its partitions are on the shadow disk itself until they are replaced, and then with the host that has replaced them.
fn identity_of_original<'a>(lun: &'a ShadowLun, disk: &HostDisk) -> Option<(&'a DeviceName, DiskIdentity)> {
    let signature = lun.source.disk_signature;
    let is_original = |it: &&DiskIdentity| signature == DiskSignature::default() || it.signature == signature;
    let identity = match lun.original_identity.as_ref().filter(is_original) {
        Some(original) => original.clone(),
        None if disk.lun.disk_signature == signature => disk.identity(),
        None if disk.partition_ids.is_empty() => DiskIdentity { signature, ..disk.identity() },
        None => return None,
    };
    Some((&lun.device, identity))
}
