//! The coordinator itself: what all requesters of a machine share.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use lunshadow_vss::{Context, DeviceName, LunInformation, MatchLevel, ProviderId, SnapshotId, SnapshotSetId};
use serde::{Deserialize, Serialize};

use crate::clock::Clock;
use crate::failure::RequestError;
use crate::platform::{DiskExtent, DiskIdentity, HostDisk, Platform, PlatformError, VolumeName};
use crate::provider_calls::{ProviderRegistration, ProviderSeat};
use crate::requester::Requester;
use crate::settings::Settings;
use crate::software_provider::SoftwareRegistration;
use crate::timeline::{Recorder, Timeline, TimelineObserver};

/// Plays the Volume Shadow Copy Service of one machine. Clones are the same coordinator.
#[derive(Clone)]
pub struct Coordinator {
    service: Arc<Service>,
}

/// A shadow LUN of a shadow copy, as it arrived on this host.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ShadowLun {
    /// The disk that was captured.
    pub source_device: DeviceName,
    /// What VSS knew of it.
    pub source: LunInformation,
    /// The volume's extents on it, and thereby on the shadow disk.
    pub extents: Vec<DiskExtent>,
    /// The shadow LUN, as `GetTargetLuns` announced it.
    pub shadow: LunInformation,
    /// The disk that arrived.
    pub device: DeviceName,
    /// How surely it is the announced one (section 5.3).
    pub match_level: MatchLevel,
    /// The identity that the disk came with, which is its original's, if this host has given it another one. The document of a set knows the
    /// signature of an original only (section 1.6), so the ids of its partitions are remembered here.
    #[serde(default)]
    pub original_identity: Option<DiskIdentity>,
}

/// A shadow copy that exists (`VSS_SNAPSHOT_PROP`, in the state `VSS_SS_CREATED`).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SnapshotProperties {
    /// Its id.
    pub snapshot: SnapshotId,
    /// Its set.
    pub set: SnapshotSetId,
    /// How many copies the set had when it was created.
    pub snapshot_count: usize,
    /// The volume that it is a copy of.
    pub volume: VolumeName,
    /// Who made it.
    pub provider: ProviderId,
    /// The context, and what came to it.
    pub attributes: Context,
    /// When the set was committed.
    pub created: SystemTime,
    /// Where the copy lies on this host. A transportable copy lies nowhere until it is imported.
    pub luns: Vec<ShadowLun>,
}

impl Coordinator {
    /// A coordinator without providers.
    #[must_use]
    pub fn new(platform: Arc<dyn Platform>, clock: Arc<dyn Clock>, settings: Settings) -> Self {
        let recorder = Arc::new(Recorder::new(Arc::clone(&clock)));
        let (state, deletion, import) = (Mutex::default(), Mutex::default(), Mutex::default());
        Self { service: Arc::new(Service { platform, clock, settings, recorder, state, deletion, import }) }
    }

    /// Registers a hardware provider. Providers are asked for their support of a volume in the order of their registration, unless
    /// [`Settings::order_of_providers`] says otherwise.
    ///
    /// # Errors
    /// [`RequestError::ProviderAlreadyRegistered`].
    pub fn register_provider(&self, registration: ProviderRegistration) -> Result<(), RequestError> {
        self.seat(ProviderSeat::new(registration, Arc::clone(&self.service.recorder)))
    }

    /// Registers a software provider or the system provider. They get the volumes that no hardware provider takes (section 1.4).
    ///
    /// # Errors
    /// [`RequestError::ProviderAlreadyRegistered`].
    pub fn register_software_provider(&self, registration: SoftwareRegistration) -> Result<(), RequestError> {
        self.seat(ProviderSeat::of_software(registration, Arc::clone(&self.service.recorder)))
    }

    fn seat(&self, seat: ProviderSeat) -> Result<(), RequestError> {
        let mut state = self.service.state();
        if state.providers.iter().any(|other| other.id() == seat.id()) {
            return Err(RequestError::ProviderAlreadyRegistered(seat.id()));
        }
        state.providers.push(Arc::new(seat));
        Ok(())
    }

    /// The registered hardware providers, in the order of their registration.
    #[must_use]
    pub fn providers(&self) -> Vec<ProviderRegistration> {
        self.service.state().providers.iter().filter_map(|seat| seat.registration()).collect()
    }

    /// Unloads all providers, as an idle or stopping service does. Answers whether all agreed; a forced one has to.
    pub fn unload_providers(&self, forced: bool) -> bool {
        let providers = self.service.state().providers.clone();
        // Every provider is asked, whatever the others say.
        providers.iter().filter(|seat| !seat.unload(forced)).count() == 0
    }

    /// A new requester.
    #[must_use]
    pub fn requester(&self) -> Requester {
        Requester::new(Arc::clone(&self.service))
    }

    /// Has somebody watch the timeline from now on.
    pub fn set_observer(&self, observer: Arc<dyn TimelineObserver>) {
        self.service.recorder.set_observer(observer);
    }

    /// All that has happened so far.
    #[must_use]
    pub fn timeline(&self) -> Timeline {
        self.service.recorder.timeline()
    }

    /// All shadow copies that exist.
    #[must_use]
    pub fn query(&self) -> Vec<SnapshotProperties> {
        self.service.state().copies.clone()
    }

    /// Takes over shadow copies that an earlier coordinator of this host had, as VSS knows its persistent ones again after a restart. Their
    /// disks are found by page 0x83, since they may have other names now. Answers the copies whose disks are not all here; they are not
    /// taken over.
    ///
    /// # Errors
    /// [`PlatformError`] if the host cannot look for disks.
    pub fn adopt(&self, copies: Vec<SnapshotProperties>) -> Result<Vec<SnapshotProperties>, PlatformError> {
        let disks = self.service.platform.rescan()?;
        let mut absent = Vec::new();
        for copy in copies {
            match found_again(&copy, &disks) {
                Some(copy) => self.service.state().take_over(copy),
                None => absent.push(copy),
            }
        }
        Ok(absent)
    }
}

/// The copy on the disks that are here now; `None` unless all of it is.
fn found_again(copy: &SnapshotProperties, disks: &[HostDisk]) -> Option<SnapshotProperties> {
    let device_of = |lun: &LunInformation| {
        disks.iter().find(|disk| disk.lun.matches_by_page83(lun)).map(|disk| disk.device.clone())
    };
    let again = |lun: &ShadowLun| {
        let source_device = device_of(&lun.source).unwrap_or_else(|| lun.source_device.clone());
        Some(ShadowLun { device: device_of(&lun.shadow)?, source_device, ..lun.clone() })
    };
    let luns = copy.luns.iter().map(again).collect::<Option<Vec<_>>>()?;
    Some(SnapshotProperties { luns, ..copy.clone() })
}

/// What a coordinator and its requesters share.
pub(crate) struct Service {
    pub(crate) platform: Arc<dyn Platform>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) settings: Settings,
    pub(crate) recorder: Arc<Recorder>,
    state: Mutex<State>,
    /// Held while shadow copies are deleted: whether a LUN is empty depends on all copies.
    pub(crate) deletion: Mutex<()>,
    /// Held while a set is imported: one at a time.
    pub(crate) import: Mutex<()>,
}

/// What changes.
#[derive(Default)]
pub(crate) struct State {
    pub(crate) providers: Vec<Arc<ProviderSeat>>,
    /// The one set that may be between `StartSnapshotSet` and the end of `DoSnapshotSet`.
    pub(crate) in_progress: Option<SnapshotSetId>,
    pub(crate) copies: Vec<SnapshotProperties>,
    /// Whether LUNs are being brought back to the content of shadow LUNs.
    pub(crate) is_recovering: bool,
    /// Shadow LUNs, as they were announced, with the identities that their disks came with and have not any more.
    original_identities: Vec<(LunInformation, DiskIdentity)>,
}

impl State {
    /// The identity that the disk of a shadow LUN came with, if it has got another one here, in whichever import that was.
    pub(crate) fn original_identity(&self, shadow: &LunInformation) -> Option<&DiskIdentity> {
        let known = self.original_identities.iter().find(|(known, _)| known.matches_strictly(shadow));
        known.map(|(_, identity)| identity)
    }

    /// Remembers the identity that the disk of a shadow LUN had until now. The first that it had is its original's.
    pub(crate) fn remember_identity(&mut self, shadow: &LunInformation, identity: DiskIdentity) {
        if self.original_identity(shadow).is_none() {
            self.original_identities.push((shadow.clone(), identity));
        }
    }

    /// A LUN that is deleted does not come back: its ids are never used again (section 5.6).
    pub(crate) fn forget_identity(&mut self, shadow: &LunInformation) {
        self.original_identities.retain(|(known, _)| !known.matches_strictly(shadow));
    }

    fn take_over(&mut self, copy: SnapshotProperties) {
        for lun in &copy.luns {
            if let Some(identity) = &lun.original_identity {
                self.remember_identity(&lun.shadow, identity.clone());
            }
        }
        self.copies.push(copy);
    }
}

impl Service {
    /// The state, for a moment: never while a provider or the platform is called.
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts providers in the order in which they are asked and called: hardware providers, software providers, the system provider (section
    /// 1.4), and those of one kind as the settings say.
    pub(crate) fn in_order(&self, mut providers: Vec<Arc<ProviderSeat>>) -> Vec<Arc<ProviderSeat>> {
        let wanted = &self.settings.order_of_providers;
        let place = |id: ProviderId| wanted.iter().position(|other| *other == id).unwrap_or(wanted.len());
        providers.sort_by_key(|seat| (seat.software_kind(), place(seat.id())));
        providers
    }

    pub(crate) fn provider(&self, id: ProviderId) -> Option<Arc<ProviderSeat>> {
        self.state().providers.iter().find(|seat| seat.id() == id).cloned()
    }

    /// Another creation may begin, unless it has.
    pub(crate) fn end_progress(&self, set: SnapshotSetId) {
        let mut state = self.state();
        if state.in_progress == Some(set) {
            state.in_progress = None;
        }
    }
}
