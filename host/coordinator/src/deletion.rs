//! Deleting shadow copies, section 4(e): a LUN goes back to its provider when the last copy on it is gone.

use std::collections::BTreeSet;
use std::sync::PoisonError;

use lunshadow_vss::{DeviceName, LunInformation, SnapshotId, SnapshotSetId};

use crate::failure::{DeletionError, DeletionFailure};
use crate::platform::PlatformError;
use crate::provider_calls::ProviderSeat;
use crate::service::{Service, ShadowLun, SnapshotProperties};
use crate::timeline::Phase;

/// What to delete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deletion {
    /// All shadow copies of a set.
    Set(SnapshotSetId),
    /// One shadow copy.
    Snapshot(SnapshotId),
}

impl Deletion {
    fn covers(self, copy: &SnapshotProperties) -> bool {
        match self {
            Self::Set(set) => copy.set == set,
            Self::Snapshot(snapshot) => copy.snapshot == snapshot,
        }
    }
}

/// Deletes one copy after the other until one fails.
pub(crate) fn delete(service: &Service, what: Deletion) -> Result<usize, DeletionFailure> {
    let _only_one = service.deletion.lock().unwrap_or_else(PoisonError::into_inner);
    let doomed: Vec<_> = service.state().copies.iter().filter(|copy| what.covers(copy)).cloned().collect();
    if doomed.is_empty() {
        return Err(DeletionFailure { deleted: 0, undeleted: None, error: DeletionError::NotFound });
    }
    let mut deleted = 0;
    let mut result = Ok(());
    for copy in &doomed {
        if let Err(error) = delete_copy(service, copy) {
            result = Err(DeletionFailure { deleted, undeleted: Some(copy.snapshot), error });
            break;
        }
        deleted += 1;
    }
    // The array has taken LUNs away; the host has to notice.
    if let Err(error) = service.recorder.phase(Phase::Rescan, || service.platform.rescan()) {
        tracing::warn!(%error, "the host could not look for gone disks");
    }
    result.map(|()| deleted)
}

fn delete_copy(service: &Service, copy: &SnapshotProperties) -> Result<(), DeletionError> {
    let in_use: BTreeSet<DeviceName> = {
        let state = service.state();
        let others = state.copies.iter().filter(|other| other.snapshot != copy.snapshot);
        others.flat_map(|other| &other.luns).map(|lun| lun.device.clone()).collect()
    };
    if let Some(seat) = service.provider(copy.provider) {
        seat.delete_snapshot(copy.snapshot)?;
        for lun in copy.luns.iter().filter(|lun| !in_use.contains(&lun.device)) {
            empty_lun(service, &seat, &lun.device, &lun.shadow)?;
            forget_lun(service, copy.snapshot, lun);
        }
    }
    service.state().copies.retain(|other| other.snapshot != copy.snapshot);
    Ok(())
}

/// A copy that cannot be deleted wholly keeps only what is left of it, so that the next attempt goes on from there.
fn forget_lun(service: &Service, snapshot: SnapshotId, gone: &ShadowLun) {
    if let Some(copy) = service.state().copies.iter_mut().find(|copy| copy.snapshot == snapshot) {
        copy.luns.retain(|lun| lun.device != gone.device);
    }
}

/// Gives a LUN back to its provider, after the provider has recognised the disk as the one that is meant.
pub(crate) fn empty_lun(
    service: &Service,
    seat: &ProviderSeat,
    device: &DeviceName,
    shadow: &LunInformation,
) -> Result<(), DeletionError> {
    let dismount = || -> Result<Option<LunInformation>, PlatformError> {
        let lun = match service.platform.disk(device) {
            Ok(disk) => Some(disk.lun),
            Err(PlatformError::UnknownDisk(_)) => None,
            Err(error) => return Err(error),
        };
        service.platform.dismount(device);
        Ok(lun)
    };
    let seen = service.recorder.phase(Phase::DismountDisk, dismount).map_err(DeletionError::Disk)?;
    let Some(seen) = seen else {
        // The storage has taken the disk away: by a deletion whose answer was lost, perhaps. The provider finds out by the identity
        // that it announced itself, and answers success if there is nothing left to do.
        seat.on_lun_empty(None, shadow)?;
        service.state().forget_identity(shadow);
        return Ok(());
    };
    let filled = seat.fill_in_lun_info(device, &service.settings.as_seen(&seen), service.settings.fill_mode)?;
    let filled = filled.filter(|filled| service.settings.match_mode.level(shadow, filled).is_some());
    let lun = filled.ok_or_else(|| DeletionError::NotRecognised(device.clone()))?;
    seat.on_lun_empty(Some(device), &lun)?;
    service.state().forget_identity(shadow);
    Ok(())
}
