//! A provider with a planted fault: any provider, and in front of it one thing that is done wrongly. The suite has to find each by the
//! statements that it breaks, and by no other.

mod creation;
mod faults;
mod luns;
mod memory;
mod resync;
mod slots;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use lunshadow_vss::{
    Async, Context, CreateSnapshotSet, DeviceName, HResult, HardwareProvider, LunInformation, LunStateChange, Slots,
    SnapshotId, SnapshotSetId,
};
use parking_lot::Mutex;

pub use faults::{Fault, UnknownFault};

use crate::bed::{BedError, EventSink, Gravity, TestBed};
use memory::Memory;
use slots::BrokenSlots;

/// Starts a process of the sound provider.
pub(crate) type Begin = Box<dyn Fn(Arc<dyn EventSink>) -> Result<Arc<dyn HardwareProvider>, BedError> + Send + Sync>;

/// What is wrong with the provider of one check, over all of its processes.
pub(crate) struct Breakage {
    fault: Option<Fault>,
    bed: Arc<dyn TestBed>,
    memory: Arc<Mutex<Memory>>,
    processes: AtomicU32,
}

impl Breakage {
    pub(crate) fn new(fault: Option<Fault>, bed: Arc<dyn TestBed>) -> Self {
        Self { fault, bed, memory: Arc::default(), processes: AtomicU32::new(0) }
    }

    /// An object of the provider's class, with the fault if it is one of slots.
    pub(crate) fn slots(&self, inner: Arc<dyn Slots>) -> Arc<dyn Slots> {
        match self.fault.filter(|fault| fault.is_of_slots()) {
            Some(fault) => Arc::new(BrokenSlots::new(fault, inner)),
            None => inner,
        }
    }

    /// A process of the provider, with the fault if there is one.
    pub(crate) fn process(
        &self,
        begin: Begin,
        events: Arc<dyn EventSink>,
    ) -> Result<Arc<dyn HardwareProvider>, BedError> {
        let Some(fault) = self.fault else { return begin(events) };
        let events = Arc::new(Filter { events, is_muted: AtomicBool::new(false) });
        let inner = begin(Arc::<Filter>::clone(&events))?;
        Ok(Arc::new(BrokenProvider {
            fault,
            inner: Mutex::new(inner),
            begin,
            events,
            bed: Arc::clone(&self.bed),
            memory: Arc::clone(&self.memory),
            process: self.processes.fetch_add(1, Ordering::SeqCst),
            is_loaded: AtomicBool::new(false),
            loads: AtomicU32::new(0),
            one_at_a_time: Mutex::new(()),
        }))
    }
}

/// The events of the sound provider, some of which are not to be heard.
struct Filter {
    events: Arc<dyn EventSink>,
    is_muted: AtomicBool,
}

impl EventSink for Filter {
    fn event(&self, gravity: Gravity, text: &str) {
        if !self.is_muted.load(Ordering::SeqCst) {
            self.events.event(gravity, text);
        }
    }
}

struct BrokenProvider {
    fault: Fault,
    /// The sound provider; another one once the fault is that sets are forgotten.
    inner: Mutex<Arc<dyn HardwareProvider>>,
    begin: Begin,
    events: Arc<Filter>,
    bed: Arc<dyn TestBed>,
    memory: Arc<Mutex<Memory>>,
    /// Which process this is, counted from 0.
    process: u32,
    is_loaded: AtomicBool,
    loads: AtomicU32,
    one_at_a_time: Mutex<()>,
}

impl BrokenProvider {
    fn inner(&self) -> Arc<dyn HardwareProvider> {
        Arc::clone(&self.inner.lock())
    }

    fn is(&self, fault: Fault) -> bool {
        self.fault == fault
    }

    /// A veto, with the event that belongs to it.
    fn veto<T>(&self) -> Result<T, HResult> {
        self.events.event(Gravity::Error, "A fault was planted here. Choose another provider.");
        Err(HResult::VSS_E_PROVIDER_VETO)
    }

    /// Does something of which nobody is to hear.
    fn quietly<T>(&self, run: impl FnOnce(&dyn HardwareProvider) -> T) -> T {
        let inner = self.inner();
        self.events.is_muted.store(true, Ordering::SeqCst);
        let answer = run(&*inner);
        self.events.is_muted.store(false, Ordering::SeqCst);
        answer
    }

    /// Whether the sound provider knows a LUN; a code if it cannot say.
    fn knows(&self, lun: &LunInformation) -> Result<bool, HResult> {
        let answer = self.quietly(|inner| inner.fill_in_lun_info(&DeviceName(String::new()), &mut lun.clone()));
        if answer.0 == HResult::S_OK { Ok(answer.1) } else { Err(answer.0) }
    }

    fn mask(&self, luns: &[LunInformation]) {
        // What does not work here is found by whoever looks at the array.
        let _ = self.quietly(|inner| inner.on_lun_state_change(luns, &[], LunStateChange::DO_MASK_LUNS));
    }

    fn delete(&self, luns: &[LunInformation]) {
        for lun in luns {
            let _ = self.quietly(|inner| inner.on_lun_empty(None, Some(lun)));
        }
    }
}

impl CreateSnapshotSet for BrokenProvider {
    fn end_prepare_snapshots(&self, set: SnapshotSetId) -> Result<(), HResult> {
        self.end_prepare(set)
    }

    fn pre_commit_snapshots(&self, set: SnapshotSetId) -> Result<(), HResult> {
        self.pre_commit(set)
    }

    fn commit_snapshots(&self, set: SnapshotSetId) -> Result<(), HResult> {
        self.commit(set)
    }

    fn post_commit_snapshots(&self, set: SnapshotSetId, snapshot_count: i32) -> Result<(), HResult> {
        self.post_commit(set, snapshot_count)
    }

    fn pre_final_commit_snapshots(&self, set: SnapshotSetId) -> Result<(), HResult> {
        if self.is(Fault::NoFinalCommit) { self.veto() } else { self.inner().pre_final_commit_snapshots(set) }
    }

    fn post_final_commit_snapshots(&self, set: SnapshotSetId) -> Result<(), HResult> {
        self.post_final_commit(set)
    }

    fn abort_snapshots(&self, set: SnapshotSetId) -> Result<(), HResult> {
        self.abort(set)
    }
}

impl HardwareProvider for BrokenProvider {
    fn are_luns_supported(
        &self,
        context: Context,
        devices: &[DeviceName],
        luns: &mut [LunInformation],
    ) -> Result<bool, HResult> {
        self.supports(context, devices, luns)
    }

    fn fill_in_lun_info(&self, device: &DeviceName, lun: &mut LunInformation) -> (HResult, bool) {
        self.fill_in(device, lun)
    }

    fn begin_prepare_snapshot(
        &self,
        set: SnapshotSetId,
        snapshot: SnapshotId,
        context: Context,
        devices: &[DeviceName],
        luns: &mut [LunInformation],
    ) -> Result<(), HResult> {
        if self.is(Fault::AgreesToPlex) && context.contains(Context::PLEX) {
            return Err(HResult::VSS_E_UNSUPPORTED_CONTEXT);
        }
        self.begin_prepare(set, luns, |inner, luns| inner.begin_prepare_snapshot(set, snapshot, context, devices, luns))
    }

    fn get_target_luns(
        &self,
        devices: &[DeviceName],
        sources: &[LunInformation],
    ) -> Result<Vec<LunInformation>, HResult> {
        self.targets(devices, sources)
    }

    fn locate_luns(&self, shadows: &[LunInformation]) -> Result<(), HResult> {
        self.locate(&self.genuine(shadows))
    }

    fn on_lun_empty(&self, device: Option<&DeviceName>, lun: Option<&LunInformation>) -> Result<(), HResult> {
        let genuine = lun.map(|lun| self.genuine(std::slice::from_ref(lun)));
        self.empty(device, genuine.as_deref().and_then(<[_]>::first))
    }

    fn get_provider_capabilities(&self) -> Result<u64, HResult> {
        self.inner().get_provider_capabilities()
    }

    fn on_lun_state_change(
        &self,
        shadows: &[LunInformation],
        originals: &[LunInformation],
        change: LunStateChange,
    ) -> Result<(), HResult> {
        self.change_state(&self.genuine(shadows), originals, change)
    }

    fn resync_luns(&self, shadows: &[LunInformation], targets: &[LunInformation]) -> Result<Box<dyn Async>, HResult> {
        self.resync(&self.genuine(shadows), targets)
    }

    fn on_reuse_luns(&self, shadows: &[LunInformation], originals: &[LunInformation]) -> Result<(), HResult> {
        if self.is(Fault::ReuseDeletes) {
            self.delete(shadows);
        }
        self.inner().on_reuse_luns(shadows, originals)
    }

    fn on_load(&self) -> Result<(), HResult> {
        self.is_loaded.store(true, Ordering::SeqCst);
        self.loads.fetch_add(1, Ordering::SeqCst);
        self.inner().on_load()
    }

    fn on_unload(&self, forced: bool) -> Result<(), HResult> {
        match self.fault {
            Fault::ForcedUnloadRefused if forced => return Err(HResult::S_FALSE),
            Fault::ForcedUnloadForgets if forced => return Ok(()),
            Fault::UnloadDeletes => self.delete(&self.memory.lock().all_shadows()),
            _ => {}
        }
        match self.inner().on_unload(forced) {
            Err(HResult::S_FALSE) if self.is(Fault::NeverBusy) => Ok(()),
            answer => answer,
        }
    }
}
