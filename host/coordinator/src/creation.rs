//! `DoSnapshotSet`: the sequence of section 4(a), and what happens when a step of it fails (section 4(d)).

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use lunshadow_vss::{Context, DeviceName, LunInformation, LunStateChange, SnapshotSetId};

use crate::breaking::dismount;
use crate::document::{BackupDocument, DocumentLun, DocumentSnapshot};
use crate::failure::{CreationError, CreationFailure};
use crate::import::{Import, Target, rescan};
use crate::platform::{ShadowVolume, VolumeLun, WriterEvent};
use crate::provider_calls::{ProviderFailure, ProviderSeat};
use crate::requester::{Draft, DraftVolume};
use crate::service::{Service, SnapshotProperties};
use crate::settings::FinalOrder;
use crate::sources::Sources;
use crate::timeline::Phase;

/// One run of `DoSnapshotSet`.
pub(crate) struct Creation<'a> {
    service: &'a Service,
    draft: &'a Draft,
    cancellation: &'a Cancellation,
    /// Each provider of the set once.
    participants: Vec<Arc<ProviderSeat>>,
    is_post_committed: bool,
    committed_at: SystemTime,
    import: Import,
}

impl<'a> Creation<'a> {
    pub(crate) fn new(service: &'a Service, draft: &'a Draft, cancellation: &'a Cancellation) -> Self {
        let mut participants: Vec<Arc<ProviderSeat>> = Vec::new();
        for volume in &draft.volumes {
            if !participants.iter().any(|seat| seat.id() == volume.provider.id()) {
                participants.push(Arc::clone(&volume.provider));
            }
        }
        Self {
            service,
            draft,
            cancellation,
            participants: service.in_order(participants),
            is_post_committed: false,
            committed_at: SystemTime::UNIX_EPOCH,
            import: Import::default(),
        }
    }

    /// Creates the set, or makes sure that there is none.
    pub(crate) fn run(mut self) -> Result<Created, CreationFailure> {
        match self.proceed() {
            Ok(()) => Ok(Created {
                copies: self.draft.volumes.iter().map(|volume| self.properties(volume)).collect(),
                document: self.is_transportable().then(|| self.document()),
            }),
            Err(error) => {
                tracing::warn!(set = %self.draft.set, %error, "a snapshot set failed");
                self.abort();
                let participants = self.of_hardware();
                Err(CreationFailure { error, unreclaimed: self.import.give_back(self.service, &participants) })
            }
        }
    }

    fn proceed(&mut self) -> Result<(), CreationError> {
        self.end_prepare()?;
        self.capture()?;
        self.cancellation.check()?;
        match self.service.settings.final_order {
            FinalOrder::Diagram => {
                self.get_targets()?;
                self.bring_in()?;
                self.finish()?;
                self.take_away()
            }
            FinalOrder::Text => {
                self.finish()?;
                self.get_targets()?;
                self.bring_in()
            }
        }
    }

    /// Only hardware providers have LUNs that could arrive (section 4(j)).
    fn of_hardware(&self) -> Vec<Arc<ProviderSeat>> {
        self.participants.iter().filter(|seat| seat.software_kind().is_none()).cloned().collect()
    }

    fn get_targets(&mut self) -> Result<(), CreationError> {
        let of_hardware = |volume: &&DraftVolume| volume.provider.software_kind().is_none();
        self.import.get_targets(self.draft.volumes.iter().filter(of_hardware))
    }

    /// A transportable set is not surfaced here, but for writers: its document goes to whom imports it (section 4(b)).
    fn bring_in(&mut self) -> Result<(), CreationError> {
        let participants = self.of_hardware();
        if self.is_transportable() && !self.is_recovered() || participants.is_empty() {
            return Ok(());
        }
        self.import.bring_in(self.service, &participants)
    }

    /// Masks what has come in for writers only.
    fn take_away(&self) -> Result<(), CreationError> {
        if !self.is_transportable() || self.import.arrivals().next().is_none() {
            return Ok(());
        }
        self.import.arrivals().for_each(|arrival| dismount(self.service, &arrival.device));
        self.tell_state_change(LunStateChange::DO_MASK_LUNS)?;
        rescan(self.service).map(drop).map_err(CreationError::Rescan)
    }

    /// Whether writers change the shadow copies. They cannot change what is not surfaced.
    fn is_recovered(&self) -> bool {
        let recovery = Context::AUTORECOVER | Context::ROLLBACK_RECOVERY | Context::TXF_RECOVERY;
        let context = self.draft.context;
        let is_wanted = context.intersects(recovery) && !context.contains(Context::NO_AUTORECOVERY);
        is_wanted && self.service.settings.gives_to_writers(context)
    }

    fn is_transportable(&self) -> bool {
        self.draft.context.contains(Context::TRANSPORTABLE)
    }

    /// Step 4.1. The only one that a cancellation reaches at once.
    fn end_prepare(&self) -> Result<(), CreationError> {
        self.cancellation.enter_preparation(self.draft.set, &self.participants);
        let result = self.each(|seat, set| seat.end_prepare_snapshots(set));
        self.cancellation.leave_preparation();
        // A provider that was told to abort may answer anything; the reason is the cancellation.
        self.cancellation.check()?;
        result
    }

    /// Steps 4.2 to 4.10. What is done to the sources is undone before this returns.
    fn capture(&mut self) -> Result<(), CreationError> {
        let names = self.draft.volumes.iter().map(|volume| volume.volume.clone()).collect();
        let mut devices: Vec<DeviceName> = self.draft.volumes.iter().flat_map(DraftVolume::devices).collect();
        devices.sort();
        devices.dedup();
        let has_writers = !self.draft.context.contains(Context::NO_WRITERS);
        let count = i32::try_from(self.draft.volumes.len()).expect("a set has at most 64 volumes");
        let mut sources = Sources::new(self.service, self.draft.set, names, devices, has_writers);

        sources.set_flags()?;
        self.cancellation.check()?;
        sources.freeze()?;
        self.each(|seat, set| seat.pre_commit_snapshots(set))?;
        self.cancellation.check()?;
        sources.hold()?;
        let committed = self.each(|seat, set| seat.commit_snapshots(set));
        // An expired hold outweighs a provider's failure: it may well be the reason for it.
        sources.release()?;
        committed?;
        self.committed_at = self.service.clock.date();
        sources.clear_flags()?;
        self.each(|seat, set| seat.post_commit_snapshots(set, count))?;
        self.is_post_committed = true;
        sources.thaw()
    }

    /// Steps 4.15 to 4.17.
    fn finish(&self) -> Result<(), CreationError> {
        let is_recovered = self.is_recovered();
        self.each(|seat, set| seat.pre_final_commit_snapshots(set))?;
        let volumes = if is_recovered { self.shadow_volumes() } else { Vec::new() };
        let window = RecoveryWindow::open(self.service, self.draft.set, &volumes)?;
        if is_recovered {
            self.tell_state_change(LunStateChange::NOTIFY_LUN_PRE_RECOVERY)?;
        }
        if !self.draft.context.contains(Context::NO_WRITERS) {
            let event = WriterEvent::PostSnapshot;
            let tell = || self.service.platform.notify_writers(self.draft.set, event);
            let told = self.service.recorder.phase(Phase::WritersPostSnapshot, tell);
            told.map_err(|source| CreationError::Writer { event, source })?;
        }
        drop(window);
        if is_recovered {
            self.tell_state_change(LunStateChange::NOTIFY_LUN_POST_RECOVERY)?;
        }
        self.each(|seat, set| seat.post_final_commit_snapshots(set))
    }

    /// The shadow copies that have arrived. Where the final calls come first, that is none.
    fn shadow_volumes(&self) -> Vec<ShadowVolume> {
        let surfaced = |volume: &DraftVolume| {
            let luns = self.import.shadow_luns(self.service, volume.provider.id(), &volume.luns)?;
            let disks = luns.into_iter().map(|lun| (lun.device, lun.extents)).collect();
            Some(ShadowVolume { volume: volume.volume.clone(), disks })
        };
        self.draft.volumes.iter().filter_map(surfaced).collect()
    }

    /// Tells each provider about its own LUNs. Where the final calls come first, no target is known yet, and nothing is told.
    fn tell_state_change(&self, change: LunStateChange) -> Result<(), CreationError> {
        for seat in &self.participants {
            let of_seat = |target: &&Target| target.provider.id() == seat.id();
            let targets: Vec<_> = self.import.targets().filter(of_seat).collect();
            if !targets.is_empty() {
                let shadows: Vec<_> = targets.iter().map(|target| target.shadow.clone()).collect();
                let originals: Vec<_> = targets.iter().map(|target| target.source.clone()).collect();
                seat.on_lun_state_change(&shadows, &originals, change)?;
            }
        }
        Ok(())
    }

    /// Calls every provider of the set, one after the other, until one fails.
    fn each(
        &self,
        call: impl Fn(&ProviderSeat, SnapshotSetId) -> Result<(), ProviderFailure>,
    ) -> Result<(), CreationError> {
        self.participants.iter().try_for_each(|seat| call(seat, self.draft.set)).map_err(CreationError::Provider)
    }

    /// Tells every provider, those too that had no part in the failure: there is no partial commit.
    fn abort(&self) {
        if !self.is_post_committed || self.service.settings.abort_after_postcommit {
            for seat in &self.participants {
                seat.abort_snapshots(self.draft.set);
            }
        }
    }

    fn properties(&self, volume: &DraftVolume) -> SnapshotProperties {
        let surfaced = if self.is_transportable() { Context::NOT_SURFACED } else { Context::empty() };
        let is_hardware = volume.provider.software_kind().is_none();
        let here = || self.import.shadow_luns(self.service, volume.provider.id(), &volume.luns).unwrap_or_default();
        let assisted = if is_hardware { Context::HARDWARE_ASSISTED } else { Context::empty() };
        SnapshotProperties {
            snapshot: volume.snapshot,
            set: self.draft.set,
            snapshot_count: self.draft.volumes.len(),
            volume: volume.volume.clone(),
            provider: volume.provider.id(),
            attributes: self.draft.context | assisted | surfaced,
            created: self.committed_at,
            // Not even those that were here for writers.
            luns: if self.is_transportable() { Vec::new() } else { here() },
        }
    }

    fn document(&self) -> BackupDocument {
        let of_volume = |volume: &DraftVolume| {
            let document_lun = |lun: &VolumeLun| {
                let target = self.import.target(volume.provider.id(), &lun.device)?;
                Some(DocumentLun {
                    source_device: lun.device.clone(),
                    source: lun.lun.clone(),
                    extents: lun.extents.clone(),
                    shadow: target.shadow.clone(),
                })
            };
            DocumentSnapshot {
                snapshot: volume.snapshot,
                volume: volume.volume.clone(),
                provider: volume.provider.id(),
                luns: volume.luns.iter().filter_map(document_lun).collect(),
            }
        };
        let since_1970 = self.committed_at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        BackupDocument {
            set: self.draft.set,
            context: self.draft.context,
            created_unix_ms: u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX),
            snapshots: self.draft.volumes.iter().map(of_volume).collect(),
        }
    }
}

/// The time in which writers may change the shadow copies. It ends when this is dropped, whatever happens in between.
struct RecoveryWindow<'a> {
    service: &'a Service,
    set: SnapshotSetId,
    is_open: bool,
}

impl<'a> RecoveryWindow<'a> {
    /// Opens it, if there is anything to change.
    fn open(service: &'a Service, set: SnapshotSetId, volumes: &[ShadowVolume]) -> Result<Self, CreationError> {
        let is_open = !volumes.is_empty();
        if is_open {
            service.platform.begin_recovery(set, volumes).map_err(CreationError::Recovery)?;
        }
        Ok(Self { service, set, is_open })
    }
}

impl Drop for RecoveryWindow<'_> {
    fn drop(&mut self) {
        if self.is_open {
            self.service.platform.end_recovery(self.set);
        }
    }
}

/// A set that was created.
pub(crate) struct Created {
    pub(crate) copies: Vec<SnapshotProperties>,
    /// What a transportable set ends with.
    pub(crate) document: Option<BackupDocument>,
}

/// A requester's wish to stop a creation that another of its threads runs.
#[derive(Default)]
pub(crate) struct Cancellation {
    is_wanted: AtomicBool,
    preparing: Mutex<Preparing>,
}

/// The set that waits in `EndPrepareSnapshots`, and with whom.
type Preparing = Option<(SnapshotSetId, Vec<Arc<ProviderSeat>>)>;

impl Cancellation {
    pub(crate) fn reset(&self) {
        self.is_wanted.store(false, Ordering::SeqCst);
    }

    /// Stops the creation at its next step; ends a wait of providers at once.
    pub(crate) fn cancel(&self) {
        self.is_wanted.store(true, Ordering::SeqCst);
        let preparing = self.preparing().take();
        if let Some((set, participants)) = preparing {
            for seat in participants {
                seat.abort_snapshots(set);
            }
        }
    }

    fn enter_preparation(&self, set: SnapshotSetId, participants: &[Arc<ProviderSeat>]) {
        *self.preparing() = Some((set, participants.to_vec()));
    }

    fn leave_preparation(&self) {
        self.preparing().take();
    }

    pub(crate) fn is_wanted(&self) -> bool {
        self.is_wanted.load(Ordering::SeqCst)
    }

    fn check(&self) -> Result<(), CreationError> {
        if self.is_wanted() { Err(CreationError::Cancelled) } else { Ok(()) }
    }

    fn preparing(&self) -> MutexGuard<'_, Preparing> {
        self.preparing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// For logs: which LUNs are meant.
pub(crate) fn serial_of(lun: &LunInformation) -> &str {
    lun.serial_number.as_deref().unwrap_or("without serial number")
}
