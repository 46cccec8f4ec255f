//! A provider that does as it is told, and otherwise keeps to the contract: its shadow LUNs exist from commit to deletion.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};

use lunshadow_coordinator::HostDisk;
use lunshadow_vss::{
    Async, AsyncStatus, BusType, Context, CreateSnapshotSet, DeviceName, HResult, HardwareProvider, LunInformation,
    LunStateChange, Method, SnapshotId, SnapshotSetId,
};

use super::{FakeHost, Journal, device, lun};

/// What the provider does instead of, or beside, its duty.
#[derive(Clone)]
pub(crate) enum Reaction {
    /// Its duty.
    Comply,
    /// Answers a code and does nothing.
    Answer(HResult),
    /// Panics.
    Panic,
    /// Does its duty, and this before.
    Also(Arc<dyn Fn() + Send + Sync>),
    /// Does its duty, and then answers a code all the same.
    ComplyButAnswer(HResult),
}

/// How a resync goes: how often it is still under way when it is asked, and how it ends then.
pub(crate) struct Resync {
    pub(crate) pending: usize,
    pub(crate) end: AsyncStatus,
    /// Whether it stops when it is told to.
    pub(crate) is_cancellable: bool,
    /// What happens when it is asked for the first time.
    pub(crate) at_first: Option<Box<dyn FnOnce() + Send>>,
}

impl Resync {
    pub(crate) fn ending(end: AsyncStatus) -> Self {
        Self { pending: 0, end, is_cancellable: true, at_first: None }
    }
}

struct ScriptedAsync {
    journal: Arc<Journal>,
    resync: Mutex<Resync>,
}

impl Async for ScriptedAsync {
    fn query_status(&self) -> AsyncStatus {
        let mut resync = self.resync.lock().unwrap();
        if let Some(act) = resync.at_first.take() {
            act();
        }
        if resync.pending == 0 {
            return resync.end;
        }
        resync.pending -= 1;
        AsyncStatus::Pending
    }

    fn cancel(&self) -> AsyncStatus {
        self.journal.note("cancel");
        let mut resync = self.resync.lock().unwrap();
        if resync.is_cancellable && resync.pending > 0 {
            (resync.pending, resync.end) = (0, AsyncStatus::Cancelled);
        }
        if resync.pending == 0 { resync.end } else { AsyncStatus::Pending }
    }

    fn wait(&self, at_most: Option<std::time::Duration>) -> AsyncStatus {
        self.journal.note(format!("wait {at_most:?}"));
        AsyncStatus::Pending
    }
}

pub(crate) struct ScriptedProvider {
    pub(crate) name: &'static str,
    journal: Arc<Journal>,
    host: Arc<FakeHost>,
    state: Mutex<State>,
}

#[derive(Default)]
pub(crate) struct State {
    reactions: BTreeMap<&'static str, VecDeque<Reaction>>,
    /// Sources that it supports; `None` for all.
    pub(crate) supported: Option<BTreeSet<String>>,
    members: BTreeSet<String>,
    /// Its shadow LUNs by their serial numbers.
    pub(crate) shadows: BTreeSet<String>,
    /// Its shadow LUNs with what was on their sources when they were captured.
    captured: BTreeMap<String, HostDisk>,
    /// What `FillInLunInfo` was shown of each disk at last.
    pub(crate) shown: BTreeMap<String, LunInformation>,
    /// Which shadow LUNs are not to arrive when they are mapped.
    pub(crate) lost: BTreeSet<String>,
    /// Which arrive only after the host has waited.
    pub(crate) late: BTreeSet<String>,
    /// Changes what the host sees of arriving shadow LUNs.
    pub(crate) mangle: Option<fn(&mut HostDisk)>,
    /// Changes what `GetTargetLuns` answers.
    pub(crate) bend_targets: Option<fn(&mut Vec<LunInformation>)>,
    /// How the next resync goes.
    pub(crate) resync: Option<Resync>,
    /// Whether `FillInLunInfo` leaves the host's view as it is.
    pub(crate) fills_in_nothing: bool,
    /// Whether it is one without the extended interface.
    pub(crate) is_legacy: bool,
}

impl ScriptedProvider {
    pub(crate) fn new(name: &'static str, journal: Arc<Journal>, host: Arc<FakeHost>) -> Self {
        Self { name, journal, host, state: Mutex::default() }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// The next call of `method` gets this reaction.
    pub(crate) fn react(&self, method: Method, reaction: Reaction) {
        self.state().reactions.entry(method.name()).or_default().push_back(reaction);
    }

    fn enter(&self, method: Method, subject: &str) -> Reaction {
        self.journal.note(format!("{}.{method}{subject}", self.name));
        let reaction = self.state().reactions.get_mut(method.name()).and_then(VecDeque::pop_front);
        match reaction {
            Some(Reaction::Panic) => panic!("told so"),
            Some(Reaction::Also(act)) => {
                act();
                Reaction::Comply
            }
            other => other.unwrap_or(Reaction::Comply),
        }
    }

    fn perform<T>(&self, method: Method, subject: &str, duty: impl FnOnce(&mut State) -> T) -> Result<T, HResult> {
        match self.enter(method, subject) {
            Reaction::Answer(code) => Err(code),
            Reaction::ComplyButAnswer(code) => {
                duty(&mut self.state());
                Err(code)
            }
            _ => Ok(duty(&mut self.state())),
        }
    }

    fn shadow_of(&self, source: &LunInformation) -> LunInformation {
        shadow_lun(&format!("{}-{}", self.name, source.serial_number.as_deref().unwrap()))
    }

    fn shadow_disk(&self, shadow: &LunInformation) -> HostDisk {
        let serial = shadow.serial_number.clone().unwrap();
        let like = self.state().captured[&serial].clone();
        let disk_signature = like.lun.disk_signature;
        HostDisk {
            device: device(&serial),
            lun: LunInformation { bus_type: BusType::ISCSI, disk_signature, ..shadow.clone() },
            ..like
        }
    }
}

impl CreateSnapshotSet for ScriptedProvider {
    fn end_prepare_snapshots(&self, _set: SnapshotSetId) -> Result<(), HResult> {
        self.perform(Method::EndPrepareSnapshots, "", |_| ())
    }

    fn pre_commit_snapshots(&self, _set: SnapshotSetId) -> Result<(), HResult> {
        self.perform(Method::PreCommitSnapshots, "", |_| ())
    }

    fn commit_snapshots(&self, _set: SnapshotSetId) -> Result<(), HResult> {
        let name = self.name;
        let disks = self.host.state().disks.clone();
        let shadow_of = |disk: HostDisk| (format!("{name}-{}", disk.device), disk);
        self.perform(Method::CommitSnapshots, "", |state| {
            state.captured = disks.into_iter().map(shadow_of).collect();
            state.shadows = state.members.iter().map(|member| format!("{name}-{member}")).collect();
        })
    }

    fn post_commit_snapshots(&self, _set: SnapshotSetId, count: i32) -> Result<(), HResult> {
        self.perform(Method::PostCommitSnapshots, &format!(" {count}"), |_| ())
    }

    fn pre_final_commit_snapshots(&self, _set: SnapshotSetId) -> Result<(), HResult> {
        self.perform(Method::PreFinalCommitSnapshots, "", |_| ())
    }

    fn post_final_commit_snapshots(&self, _set: SnapshotSetId) -> Result<(), HResult> {
        self.perform(Method::PostFinalCommitSnapshots, "", |_| ())
    }

    fn abort_snapshots(&self, _set: SnapshotSetId) -> Result<(), HResult> {
        self.perform(Method::AbortSnapshots, "", |state| {
            // What a host has seen is deleted by `OnLunEmpty` only.
            let seen: BTreeSet<_> = self.host.state().disks.iter().map(|disk| disk.device.0.clone()).collect();
            state.shadows.retain(|shadow| seen.contains(shadow));
            state.members.clear();
        })
    }
}

impl HardwareProvider for ScriptedProvider {
    fn is_legacy(&self) -> bool {
        self.state().is_legacy
    }

    fn are_luns_supported(
        &self,
        _context: Context,
        _devices: &[DeviceName],
        luns: &mut [LunInformation],
    ) -> Result<bool, HResult> {
        self.perform(Method::AreLunsSupported, &subject(luns), |state| {
            let supported = state.supported.as_ref();
            luns.iter().all(|lun| supported.is_none_or(|all| all.contains(lun.serial_number.as_deref().unwrap())))
        })
    }

    fn fill_in_lun_info(&self, name: &DeviceName, lun: &mut LunInformation) -> (HResult, bool) {
        let result = self.perform(Method::FillInLunInfo, &format!(" {name}"), |state| {
            state.shown.insert(name.0.clone(), lun.clone());
            let mine = state.shadows.contains(&name.0);
            if mine && !state.fills_in_nothing {
                *lun = shadow_lun(&name.0);
            }
            mine
        });
        match result {
            Ok(mine) => (HResult::S_OK, mine),
            Err(code) => (code, false),
        }
    }

    fn begin_prepare_snapshot(
        &self,
        _set: SnapshotSetId,
        _snapshot: SnapshotId,
        _context: Context,
        _devices: &[DeviceName],
        luns: &mut [LunInformation],
    ) -> Result<(), HResult> {
        self.perform(Method::BeginPrepareSnapshot, &subject(luns), |state| {
            state.members.extend(luns.iter().map(|lun| lun.serial_number.clone().unwrap()));
        })
    }

    fn get_target_luns(&self, _: &[DeviceName], sources: &[LunInformation]) -> Result<Vec<LunInformation>, HResult> {
        let mut targets = sources.iter().map(|source| self.shadow_of(source)).collect();
        if let Some(bend) = self.state().bend_targets {
            bend(&mut targets);
        }
        self.perform(Method::GetTargetLuns, &subject(sources), |_| targets)
    }

    fn locate_luns(&self, shadows: &[LunInformation]) -> Result<(), HResult> {
        let mut disks: Vec<HostDisk> = Vec::new();
        for shadow in shadows {
            let disk = self.shadow_disk(shadow);
            if !disks.contains(&disk) {
                disks.push(disk);
            }
        }
        self.perform(Method::LocateLuns, &subject(shadows), |state| {
            for mut disk in disks {
                if let Some(mangle) = state.mangle {
                    mangle(&mut disk);
                }
                let mut host = self.host.state();
                if host.disks.iter().any(|there| there.device == disk.device) {
                    continue;
                }
                if state.late.contains(&disk.device.0) {
                    host.arriving_late.push(disk);
                } else if !state.lost.contains(&disk.device.0) {
                    host.disks.push(disk);
                }
            }
        })
    }

    fn on_lun_empty(&self, name: Option<&DeviceName>, lun: Option<&LunInformation>) -> Result<(), HResult> {
        let serial = lun.unwrap().serial_number.clone().unwrap();
        let subject = name.map_or_else(|| format!(" without a disk, {serial}"), |name| format!(" {name}"));
        self.perform(Method::OnLunEmpty, &subject, |state| {
            state.shadows.remove(&serial);
            self.host.state().disks.retain(|disk| disk.device.0 != serial);
        })
    }

    fn get_provider_capabilities(&self) -> Result<u64, HResult> {
        Err(HResult::E_NOTIMPL)
    }

    fn on_lun_state_change(
        &self,
        shadows: &[LunInformation],
        _originals: &[LunInformation],
        change: LunStateChange,
    ) -> Result<(), HResult> {
        let subject = format!("{} {:#x}", subject(shadows), change.bits());
        self.perform(Method::OnLunStateChange, &subject, |_| ())
    }

    fn resync_luns(&self, from: &[LunInformation], to: &[LunInformation]) -> Result<Box<dyn Async>, HResult> {
        self.perform(Method::ResyncLuns, &format!("{} to{}", subject(from), subject(to)), |state| {
            let resync = state.resync.take().unwrap_or_else(|| Resync::ending(AsyncStatus::Finished));
            Box::new(ScriptedAsync { journal: self.journal.clone(), resync: Mutex::new(resync) }) as Box<dyn Async>
        })
    }

    fn on_reuse_luns(&self, _: &[LunInformation], _: &[LunInformation]) -> Result<(), HResult> {
        Err(HResult::E_NOTIMPL)
    }

    fn on_load(&self) -> Result<(), HResult> {
        self.perform(Method::OnLoad, "", |_| ())
    }

    fn on_unload(&self, forced: bool) -> Result<(), HResult> {
        self.perform(Method::OnUnload, &format!(" {forced}"), |_| ())
    }
}

/// A shadow LUN as the provider describes it, with small letters and with blanks around a text.
fn shadow_lun(serial: &str) -> LunInformation {
    let product_id = Some(" Shadow disk  ".into());
    LunInformation { bus_type: BusType::SCSI, product_id, ..lun(serial) }
}

fn subject(luns: &[LunInformation]) -> String {
    let serials: Vec<_> = luns.iter().map(|lun| lun.serial_number.as_deref().unwrap()).collect();
    format!(" [{}]", serials.join(","))
}
