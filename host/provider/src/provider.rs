//! The provider: its parts, and what each method of the interface is answered by.

use std::collections::{BTreeSet, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use lunshadow_array_client::{Array, ArrayError, CommitChannel};
use lunshadow_control::{LunId, ShadowSetId};
use lunshadow_vss::{
    Async, Context, CreateSnapshotSet, DeviceName, HResult, HardwareProvider, Lifecycle, LunInformation,
    LunStateChange, Method, SnapshotId, SnapshotSetId, SnapshotState,
};
use parking_lot::{Mutex, RwLock};

use crate::aborting::OWED_AT_MOST;
use crate::codes;
use crate::journal::{Journal, Occurrence};
use crate::{EventId, EventLog};

/// A monotonic clock: the time since some fixed instant. The provider keeps its own stopwatch in the commit.
pub trait Clock: Send + Sync {
    /// The time since the clock's origin.
    fn now(&self) -> Duration;
}

impl<F: Fn() -> Duration + Send + Sync> Clock for F {
    fn now(&self) -> Duration {
        self()
    }
}

/// The provider's limits.
#[derive(Clone, Debug)]
pub struct ProviderConfig {
    /// How long the array may take to make a commit durable.
    pub commit_at_most: Duration,
    /// From which duration on a commit is vetoed although the array reports success (P-51): VSS may have stopped holding writes.
    pub veto_commit_after: Duration,
    /// From which duration on a commit that counts is worth a warning.
    pub commit_alarm: Duration,
    /// For how long the array is asked to wait at a time while something waits for it.
    pub wait_slice: Duration,
    /// For how long a resync is believed to run in an array that cannot be reached.
    pub resync_lost_at_most: Duration,
    /// After which time frozen writers are thawed in any case, so that events can be written again.
    pub freeze_at_most: Duration,
    /// How many volumes a set may have.
    pub volumes_at_most: usize,
}

impl Default for ProviderConfig {
    fn default() -> Self {
        Self {
            commit_at_most: Duration::from_secs(5),
            veto_commit_after: Duration::from_secs(8),
            commit_alarm: Duration::from_secs(3),
            wait_slice: Duration::from_millis(500),
            resync_lost_at_most: Duration::from_secs(600),
            freeze_at_most: Duration::from_secs(60),
            volumes_at_most: 64,
        }
    }
}

/// The provider. One serves a whole process: VSS may make several objects of its class, and they share the current set.
///
/// No lock is held while the array works, so every method can be called while another one waits.
pub struct Provider {
    pub(crate) array: Arc<dyn Array>,
    pub(crate) clock: Arc<dyn Clock>,
    config: RwLock<ProviderConfig>,
    pub(crate) journal: Arc<Journal>,
    pub(crate) creation: Mutex<Creation>,
    /// Sets that the array should have removed, but could not be asked to yet.
    pub(crate) owed: Mutex<VecDeque<SnapshotSetId>>,
    /// Sets that the array was asked to keep and whose answer did not come, or came too late to count.
    pub(crate) doubtful: Mutex<BTreeSet<SnapshotSetId>>,
    /// The set whose earlier preparation the array did not confirm to have forgotten. It is not begun any more.
    pub(crate) unforgotten: Mutex<Option<SnapshotSetId>>,
    /// How many LUNs are being deleted right now.
    pub(crate) deletions: Arc<AtomicUsize>,
    /// The LUNs that were shadow LUNs until VSS said that they are read-write. It may still mask them, as no other LUN of a host.
    pub(crate) made_read_write: Mutex<BTreeSet<LunId>>,
    /// How many resyncs are being followed.
    pub(crate) resyncs: Arc<AtomicUsize>,
}

/// What is known of the current set. All of it may be lost with the process: the array then removes the set by its lease, or keeps it.
#[derive(Default)]
pub(crate) struct Creation {
    pub(crate) lifecycle: Lifecycle,
    pub(crate) snapshots: BTreeSet<SnapshotId>,
    /// LUNs that the array was asked to prepare and whose answer was lost, as long as no volume of the set has them.
    pub(crate) unanswered: BTreeSet<LunId>,
    pub(crate) channel: Option<Box<dyn CommitChannel>>,
    /// The LUNs of its volumes.
    pub(crate) members: BTreeSet<LunId>,
    /// How long the commit took.
    pub(crate) commit_took: Duration,
    /// The shadow LUNs, once they were asked for.
    pub(crate) targets: BTreeSet<LunId>,
    /// Whether this provider itself failed a call of the set after `PostCommitSnapshots` (section 2.1.7).
    pub(crate) failed_later: bool,
    /// Whether a shadow LUN of the set was located.
    pub(crate) located: bool,
    /// Whether the set was listed for review.
    pub(crate) listed: bool,
}

/// All that its next decisions depend on, but for which shadow LUNs it was told.
impl fmt::Debug for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let creation = self.creation.lock();
        f.debug_struct("Provider")
            .field("lifecycle", &creation.lifecycle)
            .field("snapshots", &creation.snapshots)
            .field("members", &creation.members)
            .field("unanswered", &creation.unanswered)
            .field("channel", &creation.channel.is_some())
            .field("targets", &creation.targets.len())
            .field("failed_later", &creation.failed_later)
            .field("located", &creation.located)
            .field("listed", &creation.listed)
            .field("owed", &*self.owed.lock())
            .field("doubtful", &*self.doubtful.lock())
            .field("unforgotten", &*self.unforgotten.lock())
            .finish_non_exhaustive()
    }
}

impl Creation {
    /// Forgets everything but the life cycle.
    pub(crate) fn reset(&mut self) {
        *self = Self { lifecycle: self.lifecycle, ..Self::default() };
    }
}

impl Provider {
    /// A provider for `array` that tells administrators what happens through `events`.
    #[must_use]
    pub fn new(
        array: Arc<dyn Array>,
        events: Arc<dyn EventLog>,
        clock: Arc<dyn Clock>,
        config: ProviderConfig,
    ) -> Self {
        let journal = Arc::new(Journal::new(events, Arc::clone(&clock), config.freeze_at_most));
        Self {
            array,
            clock,
            config: RwLock::new(config),
            journal,
            creation: Mutex::default(),
            owed: Mutex::new(VecDeque::with_capacity(OWED_AT_MOST)),
            doubtful: Mutex::default(),
            unforgotten: Mutex::default(),
            deletions: Arc::default(),
            made_read_write: Mutex::default(),
            resyncs: Arc::default(),
        }
    }

    /// The current set and its state.
    #[must_use]
    pub fn current_set(&self) -> Option<(SnapshotSetId, SnapshotState)> {
        let lifecycle = self.creation.lock().lifecycle;
        lifecycle.current().map(|set| (set, lifecycle.state()))
    }

    /// Keeps to other limits from now on. How long writers can be frozen is Windows' affair and stays.
    pub fn reconfigure(&self, config: ProviderConfig) {
        *self.config.write() = config;
    }

    /// The limits, as they are now.
    pub(crate) fn config(&self) -> ProviderConfig {
        self.config.read().clone()
    }

    /// Records an event of whoever surrounds the provider. Like the provider's own it waits while writers are frozen.
    pub fn note(&self, id: EventId, method: Method, detail: Option<String>) {
        self.journal.record(Occurrence { id, method, set: None, detail });
    }

    /// Records that a method panicked, or that its answer could not be let out. Like every event it waits while writes are held.
    pub fn record_panic(&self, method: &str) {
        let method = Method::ALL.iter().copied().find(|known| known.name() == method);
        // What has no method of its own belongs to the operation of a resync.
        let method = method.unwrap_or(Method::ResyncLuns);
        self.journal.record(Occurrence { id: EventId::Panicked, method, set: None, detail: None });
    }

    /// Answers with the code for an error of the array, and records its event.
    pub(crate) fn fail(&self, method: Method, set: Option<SnapshotSetId>, error: ArrayError) -> HResult {
        let (code, id) = (codes::code_of(method, &error), codes::event_of(&error));
        self.journal.record(Occurrence { id, method, set, detail: Some(codes::detail_of(error)) });
        code
    }

    /// Answers with a veto, and records the event that has to go with it (P-14).
    pub(crate) fn veto(
        &self,
        id: EventId,
        method: Method,
        set: Option<SnapshotSetId>,
        detail: Option<String>,
    ) -> HResult {
        self.journal.record(Occurrence { id, method, set, detail });
        HResult::VSS_E_PROVIDER_VETO
    }
}

/// The set, as the array calls it.
pub(crate) const fn shadow_set(set: SnapshotSetId) -> ShadowSetId {
    ShadowSetId(set.0)
}

impl CreateSnapshotSet for Provider {
    fn end_prepare_snapshots(&self, set: SnapshotSetId) -> Result<(), HResult> {
        self.end_prepare(set)
    }

    fn pre_commit_snapshots(&self, set: SnapshotSetId) -> Result<(), HResult> {
        self.pre_commit(set)
    }

    fn commit_snapshots(&self, set: SnapshotSetId) -> Result<(), HResult> {
        self.commit(set)
    }

    /// The count is not checked: whether it counts the whole set or this provider's share is not documented (P-56).
    fn post_commit_snapshots(&self, set: SnapshotSetId, _snapshot_count: i32) -> Result<(), HResult> {
        self.post_commit(set)
    }

    fn pre_final_commit_snapshots(&self, set: SnapshotSetId) -> Result<(), HResult> {
        self.pre_final_commit(set)
    }

    fn post_final_commit_snapshots(&self, set: SnapshotSetId) -> Result<(), HResult> {
        self.post_final_commit(set)
    }

    fn abort_snapshots(&self, set: SnapshotSetId) -> Result<(), HResult> {
        self.abort(set)
    }
}

impl HardwareProvider for Provider {
    fn are_luns_supported(
        &self,
        context: Context,
        devices: &[DeviceName],
        luns: &mut [LunInformation],
    ) -> Result<bool, HResult> {
        self.supports(context, devices, luns)
    }

    fn fill_in_lun_info(&self, _device: &DeviceName, lun: &mut LunInformation) -> (HResult, bool) {
        self.identify(lun)
    }

    fn begin_prepare_snapshot(
        &self,
        set: SnapshotSetId,
        snapshot: SnapshotId,
        context: Context,
        devices: &[DeviceName],
        luns: &mut [LunInformation],
    ) -> Result<(), HResult> {
        self.begin_prepare(set, snapshot, context, devices, luns)
    }

    fn get_target_luns(
        &self,
        devices: &[DeviceName],
        sources: &[LunInformation],
    ) -> Result<Vec<LunInformation>, HResult> {
        self.targets(devices, sources)
    }

    fn locate_luns(&self, shadows: &[LunInformation]) -> Result<(), HResult> {
        self.locate(shadows)
    }

    fn on_lun_empty(&self, _device: Option<&DeviceName>, lun: Option<&LunInformation>) -> Result<(), HResult> {
        self.delete(lun)
    }

    /// Reserved by Microsoft; nobody documents what VSS would do with a mask.
    fn get_provider_capabilities(&self) -> Result<u64, HResult> {
        Err(HResult::E_NOTIMPL)
    }

    fn on_lun_state_change(
        &self,
        shadows: &[LunInformation],
        _originals: &[LunInformation],
        change: LunStateChange,
    ) -> Result<(), HResult> {
        self.change_state(shadows, change)
    }

    fn resync_luns(&self, shadows: &[LunInformation], targets: &[LunInformation]) -> Result<Box<dyn Async>, HResult> {
        self.resync(shadows, targets)
    }

    /// Reserved by Microsoft.
    fn on_reuse_luns(&self, _shadows: &[LunInformation], _originals: &[LunInformation]) -> Result<(), HResult> {
        Err(HResult::E_NOTIMPL)
    }

    fn on_load(&self) -> Result<(), HResult> {
        self.load();
        Ok(())
    }

    fn on_unload(&self, forced: bool) -> Result<(), HResult> {
        self.unload(forced)
    }
}
