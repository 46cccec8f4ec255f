//! What a backup program does: the operations of `IVssBackupComponents` that section 2.9 of the contract lists.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lunshadow_vss::{
    BreakOptions, Context, DeviceName, LunInformation, ProviderId, RecoveryOptions, SnapshotId, SnapshotSetId,
};
use uuid::Uuid;

use crate::breaking::{self, BreakError};
use crate::creation::{Cancellation, Created, Creation};
use crate::deletion::{self, Deletion};
use crate::document::BackupDocument;
use crate::failure::{CreationError, CreationFailure, DeletionFailure, RequestError};
use crate::platform::{VolumeLun, VolumeName};
use crate::provider_calls::ProviderSeat;
use crate::recovery::{self, Recovery, RecoveryError};
use crate::service::{Service, SnapshotProperties};
use crate::software_provider::SoftwareKind;
use crate::transport::{self, ImportError, ImportedSet};

/// The most volumes that a set can have (section 7).
pub const VOLUMES_PER_SET_MAX: usize = 64;

/// A backup program's connection to the coordinator. When it is released, or dropped, its non-persistent shadow copies are deleted and
/// a set that it has only begun vanishes.
///
/// Operations block and may come from any thread; [`cancel`](Self::cancel) is for another thread than the one that creates.
pub struct Requester {
    service: Arc<Service>,
    state: Mutex<State>,
    cancellation: Cancellation,
}

#[derive(Default)]
struct State {
    context: Option<Context>,
    draft: Option<Draft>,
    /// Sets that go when the requester goes.
    auto_release: Vec<SnapshotSetId>,
    /// What imports and recoveries go by.
    document: Option<BackupDocument>,
    recoveries: Vec<Recovery>,
}

/// A set between `StartSnapshotSet` and `DoSnapshotSet`.
pub(crate) struct Draft {
    pub(crate) set: SnapshotSetId,
    pub(crate) context: Context,
    pub(crate) volumes: Vec<DraftVolume>,
}

/// A volume of a set, with the provider that was chosen for it.
pub(crate) struct DraftVolume {
    pub(crate) snapshot: SnapshotId,
    pub(crate) volume: VolumeName,
    pub(crate) provider: Arc<ProviderSeat>,
    pub(crate) luns: Vec<VolumeLun>,
}

impl DraftVolume {
    pub(crate) fn devices(&self) -> Vec<DeviceName> {
        self.luns.iter().map(|lun| lun.device.clone()).collect()
    }

    pub(crate) fn sources(&self) -> Vec<LunInformation> {
        self.luns.iter().map(|lun| lun.lun.clone()).collect()
    }
}

impl Requester {
    pub(crate) fn new(service: Arc<Service>) -> Self {
        Self { service, state: Mutex::default(), cancellation: Cancellation::default() }
    }

    /// `SetContext`: once, before the first set. Without it the context is [`Context::CTX_BACKUP`].
    ///
    /// Transportable copies end with a [`document`](Self::document) instead of an import. Client-accessible copies are for the system provider,
    /// if there is one; those of file shares belong to a kind of providers that is not known here (section 1.4).
    ///
    /// # Errors
    /// [`RequestError::BadState`] the second time, [`RequestError::UnsupportedContext`].
    pub fn set_context(&self, context: Context) -> Result<(), RequestError> {
        let is_system = |seat: &Arc<ProviderSeat>| seat.software_kind() == Some(SoftwareKind::System);
        let is_servable = if context.contains(Context::CLIENT_ACCESSIBLE) {
            // Section 3.9: no attribute can be added to these.
            let bare = [Context::CTX_CLIENT_ACCESSIBLE, Context::CTX_CLIENT_ACCESSIBLE_WRITERS];
            bare.contains(&context) && self.service.state().providers.iter().any(is_system)
        } else {
            !context.contains(Context::FILE_SHARE) && !context.contains(Context::DIFFERENTIAL | Context::PLEX)
        };
        if !is_servable {
            return Err(RequestError::UnsupportedContext(context));
        }
        let mut state = self.state();
        if state.context.is_some() {
            return Err(RequestError::BadState);
        }
        state.context = Some(context);
        Ok(())
    }

    /// `StartSnapshotSet`.
    ///
    /// # Errors
    /// [`RequestError::SetInProgress`] while any requester creates a set.
    pub fn start_snapshot_set(&self) -> Result<SnapshotSetId, RequestError> {
        let mut state = self.state();
        let set = SnapshotSetId(Uuid::new_v4());
        let mut shared = self.service.state();
        if shared.in_progress.is_some() {
            return Err(RequestError::SetInProgress);
        }
        shared.in_progress = Some(set);
        drop(shared);
        let mut context = *state.context.get_or_insert(Context::CTX_BACKUP);
        // VSS asks for it on behalf of writers (section 3.9); copies that are not surfaced here cannot be changed here.
        let suppressed = Context::NO_WRITERS | Context::NO_AUTORECOVERY;
        let is_possible = !context.intersects(suppressed) && self.service.settings.gives_to_writers(context);
        if is_possible && self.service.platform.writers_recover() {
            context |= Context::AUTORECOVER;
        }
        state.draft = Some(Draft { set, context, volumes: Vec::new() });
        self.cancellation.reset();
        Ok(set)
    }

    /// `IsVolumeSupported`: whether [`add_to_snapshot_set`](Self::add_to_snapshot_set) would find a provider for the volume.
    ///
    /// # Errors
    /// What keeps the volume out of a set.
    pub fn is_volume_supported(&self, volume: &VolumeName, wanted: Option<ProviderId>) -> Result<(), RequestError> {
        let context = self.state().context.unwrap_or(Context::CTX_BACKUP);
        let luns = self.service.platform.luns_of(volume).map_err(RequestError::Volume)?;
        self.choose_provider(context, volume, &luns, wanted).map(drop)
    }

    /// `AddToSnapshotSet`: finds a provider for the volume (section 1.4), or asks the one that is wanted, and has it prepare.
    ///
    /// # Errors
    /// Any [`RequestError`] but [`RequestError::SetInProgress`]. The volumes that are in the set stay in it.
    pub fn add_to_snapshot_set(
        &self,
        volume: &VolumeName,
        wanted: Option<ProviderId>,
    ) -> Result<SnapshotId, RequestError> {
        let mut state = self.state();
        let draft = state.draft.as_mut().ok_or(RequestError::BadState)?;
        if draft.volumes.iter().any(|other| other.volume == *volume) {
            return Err(RequestError::VolumeInSet(volume.clone()));
        }
        if draft.volumes.len() >= VOLUMES_PER_SET_MAX {
            return Err(RequestError::TooManyVolumes { max: VOLUMES_PER_SET_MAX });
        }
        let luns = self.service.platform.luns_of(volume).map_err(RequestError::Volume)?;
        let (provider, mut infos) = self.choose_provider(draft.context, volume, &luns, wanted)?;
        let snapshot = SnapshotId(Uuid::new_v4());
        let devices: Vec<_> = luns.iter().map(|lun| lun.device.clone()).collect();
        provider.begin_prepare_snapshot((draft.set, snapshot), draft.context, &devices, &mut infos, volume)?;
        let luns = luns.into_iter().zip(infos).map(|(lun, info)| VolumeLun { lun: info, ..lun }).collect();
        draft.volumes.push(DraftVolume { snapshot, volume: volume.clone(), provider, luns });
        Ok(snapshot)
    }

    /// `DoSnapshotSet`, to its end. The copies of a transportable set are not on this host, and are not deleted with the requester: what
    /// there is of them is the [`document`](Self::document). Whatever it answers: no write is held, no writer is frozen, no source LUN is flagged.
    ///
    /// # Errors
    /// [`CreationFailure`]; the set does not exist then, and its providers were told so.
    pub fn do_snapshot_set(&self) -> Result<Vec<SnapshotProperties>, CreationFailure> {
        let draft = self.state().draft.take().ok_or(CreationError::NothingToDo)?;
        let (set, context) = (draft.set, draft.context);
        let _progress = InProgress { service: &self.service, set };
        let result = if draft.volumes.is_empty() {
            Err(CreationError::NothingToDo.into())
        } else {
            Creation::new(&self.service, &draft, &self.cancellation).run()
        };
        let Created { copies, document } = result?;
        match document {
            Some(document) => self.state().document = Some(document),
            None => {
                self.service.state().copies.extend_from_slice(&copies);
                self.own(set, context);
            }
        }
        Ok(copies)
    }

    /// The document of the transportable set that this requester has created, or that it has loaded (`SaveAsXML`).
    #[must_use]
    pub fn document(&self) -> Option<BackupDocument> {
        self.state().document.clone()
    }

    /// Takes a document for imports and recoveries (`InitializeForBackup` and `InitializeForRestore` with a document).
    pub fn load_document(&self, document: BackupDocument) {
        let mut state = self.state();
        state.document = Some(document);
        state.recoveries.clear();
    }

    /// `ImportSnapshots`, to its end: brings the shadow copies of the loaded document to this host. They are deleted with this requester,
    /// unless their context says otherwise.
    ///
    /// # Errors
    /// [`ImportError`]; nothing new is imported then.
    pub fn import_snapshots(&self) -> Result<ImportedSet, ImportError> {
        let document = self.document().ok_or(ImportError::NoDocument)?;
        let imported = transport::import(&self.service, &document)?;
        self.own(document.set, document.context);
        Ok(imported)
    }

    /// `BreakSnapshotSetEx`, to its end; `BreakSnapshotSet` without options. The set is none any more, its LUNs live on. Options are done in
    /// the order of section 4(f): identities, then writability, then masking.
    ///
    /// # Errors
    /// [`BreakError`].
    pub fn break_set(&self, set: SnapshotSetId, options: BreakOptions) -> Result<(), BreakError> {
        breaking::break_set(&self.service, set, options)
    }

    /// `AddSnapshotToRecoverySet`: the content of a shadow copy of the loaded document shall go to `destination`, or to the volume that was
    /// copied.
    ///
    /// # Errors
    /// [`RecoveryError`]; the recovery set is as before.
    pub fn add_to_recovery_set(
        &self,
        snapshot: SnapshotId,
        destination: Option<&VolumeName>,
    ) -> Result<(), RecoveryError> {
        let mut state = self.state();
        let State { document, recoveries, .. } = &mut *state;
        let document = document.as_ref().ok_or(RecoveryError::BadState)?;
        recovery::add(&self.service, document, recoveries, snapshot, destination)
    }

    /// `RecoverSet`, to its end. All volumes on the destination LUNs are replaced. [`cancel`](Self::cancel) from another thread has the
    /// provider stop.
    ///
    /// # Errors
    /// [`RecoveryError`]; the recovery set is as before, so that it can be tried again.
    pub fn recover(&self, options: RecoveryOptions) -> Result<(), RecoveryError> {
        let recoveries = self.state().recoveries.clone();
        self.cancellation.reset();
        recovery::recover(&self.service, &recoveries, options, &self.cancellation)?;
        self.state().recoveries.clear();
        Ok(())
    }

    /// `IVssAsync::Cancel` of a `DoSnapshotSet` that runs on another thread. Providers that wait in EndPrepareSnapshots are told at once, by
    /// AbortSnapshots on the calling thread.
    pub fn cancel(&self) {
        self.cancellation.cancel();
    }

    /// `AbortBackup`: gives up a set that was started. Providers hear nothing of it before `DoSnapshotSet` (section 4(d)).
    pub fn abort_backup(&self) {
        if let Some(draft) = self.state().draft.take() {
            self.service.end_progress(draft.set);
        }
    }

    /// `GetSnapshotProperties`: `None` for a copy that does not exist (any more).
    #[must_use]
    pub fn get_snapshot_properties(&self, snapshot: SnapshotId) -> Option<SnapshotProperties> {
        self.service.state().copies.iter().find(|copy| copy.snapshot == snapshot).cloned()
    }

    /// `DeleteSnapshots`: one after the other until the first failure. Answers how many were deleted.
    ///
    /// # Errors
    /// [`DeletionFailure`].
    pub fn delete_snapshots(&self, what: Deletion) -> Result<usize, DeletionFailure> {
        deletion::delete(&self.service, what)
    }

    /// Releases the requester and with it its non-persistent shadow copies (section 4(e)).
    ///
    /// # Errors
    /// The first [`DeletionFailure`]; the other sets are deleted nonetheless.
    pub fn release(self) -> Result<usize, DeletionFailure> {
        self.let_go()
    }

    fn choose_provider(
        &self,
        context: Context,
        volume: &VolumeName,
        luns: &[VolumeLun],
        wanted: Option<ProviderId>,
    ) -> Result<(Arc<ProviderSeat>, Vec<LunInformation>), RequestError> {
        let candidates = match wanted {
            Some(id) => vec![self.service.provider(id).ok_or(RequestError::ProviderNotRegistered(id))?],
            None => self.service.in_order(self.service.state().providers.clone()),
        };
        let devices: Vec<_> = luns.iter().map(|lun| lun.device.clone()).collect();
        let mut chosen = None;
        // Every candidate is asked, since every provider must cope with foreign volumes; the first that agrees gets it.
        for provider in candidates {
            provider.load()?;
            let mut infos: Vec<_> = luns.iter().map(|lun| lun.lun.clone()).collect();
            let supported = provider.are_luns_supported(context, &devices, &mut infos, volume)?;
            if supported && provider.is_meant_by(context) && chosen.is_none() {
                chosen = Some((provider, infos));
            }
        }
        chosen.ok_or_else(|| match wanted {
            Some(provider) => RequestError::VolumeNotSupportedByProvider { provider, volume: volume.clone() },
            None => RequestError::VolumeNotSupported(volume.clone()),
        })
    }

    /// The copies of a set go with this requester, if they are of that kind.
    fn own(&self, set: SnapshotSetId, context: Context) {
        if !context.contains(Context::NO_AUTO_RELEASE) {
            self.state().auto_release.push(set);
        }
    }

    fn let_go(&self) -> Result<usize, DeletionFailure> {
        self.abort_backup();
        let sets = std::mem::take(&mut self.state().auto_release);
        let mut deleted = 0;
        let mut first_failure = None;
        for set in sets {
            // A set that was deleted before is gone, which is what is wanted.
            let is_there = self.service.state().copies.iter().any(|copy| copy.set == set);
            match if is_there { deletion::delete(&self.service, Deletion::Set(set)) } else { Ok(0) } {
                Ok(count) => deleted += count,
                Err(failure) => first_failure = first_failure.or(Some(failure)),
            }
        }
        first_failure.map_or(Ok(deleted), Err)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Lets the next creation begin, however this one ends.
struct InProgress<'a> {
    service: &'a Service,
    set: SnapshotSetId,
}

impl Drop for InProgress<'_> {
    fn drop(&mut self) {
        self.service.end_progress(self.set);
    }
}

impl Drop for Requester {
    fn drop(&mut self) {
        if let Err(failure) = self.let_go() {
            tracing::warn!(%failure, "a released requester leaves shadow copies behind");
        }
    }
}
