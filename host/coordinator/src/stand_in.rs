//! A provider that has no storage, for tests of everything around it: it takes the LUNs or volumes that it is told to, follows the sequence,
//! and fails where it is told to. As a second provider of a set it shows what becomes of the first one's copies.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::panic::resume_unwind;
use std::sync::{Mutex, MutexGuard, PoisonError};

use lunshadow_vss::{
    Async, Context, CreateSnapshotSet, DeviceName, HResult, HardwareProvider, LunInformation, LunStateChange, Method,
    SnapshotId, SnapshotSetId, StorageIdentifier,
};

use crate::platform::VolumeName;
use crate::software_provider::SoftwareProvider;

/// How a call of a [`StandInProvider`] fails.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StandInFault {
    /// It answers a code and does nothing.
    Answer(HResult),
    /// It does what it should, and answers a code all the same.
    LoseAnswer(HResult),
    /// It panics; over COM, its process would be gone.
    Panic,
}

/// The provider. It can be registered as a hardware provider, or as one of volume copies; its shadow LUNs have identities, but never arrive
/// anywhere.
#[derive(Default)]
pub struct StandInProvider {
    /// The serial numbers of LUNs and the names of volumes; `None` for all.
    takes: Option<BTreeSet<String>>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    faults: BTreeMap<&'static str, VecDeque<StandInFault>>,
    calls: Vec<&'static str>,
    prepared: BTreeMap<SnapshotSetId, BTreeSet<SnapshotId>>,
    commits: BTreeMap<SnapshotSetId, usize>,
    copies: BTreeSet<SnapshotId>,
}

impl StandInProvider {
    /// One that takes everything.
    #[must_use]
    pub fn taking_all() -> Self {
        Self::default()
    }

    /// One that takes the LUNs of these serial numbers, and the volumes of these names.
    #[must_use]
    pub fn taking(names: impl IntoIterator<Item = String>) -> Self {
        Self { takes: Some(names.into_iter().collect()), state: Mutex::default() }
    }

    /// The next call of a method fails so.
    pub fn fail_in(&self, method: Method, fault: StandInFault) {
        self.state().faults.entry(method.name()).or_default().push_back(fault);
    }

    /// The methods that were called, in order.
    #[must_use]
    pub fn calls(&self) -> Vec<&'static str> {
        self.state().calls.clone()
    }

    /// How often a set was committed.
    #[must_use]
    pub fn commits_of(&self, set: SnapshotSetId) -> usize {
        self.state().commits.get(&set).copied().unwrap_or_default()
    }

    /// The copies that exist: committed, and neither aborted nor deleted.
    #[must_use]
    pub fn copies(&self) -> BTreeSet<SnapshotId> {
        self.state().copies.clone()
    }

    fn takes(&self, name: &str) -> bool {
        self.takes.as_ref().is_none_or(|takes| takes.contains(name))
    }

    fn perform<T>(&self, method: Method, duty: impl FnOnce(&mut State) -> T) -> Result<T, HResult> {
        let mut state = self.state();
        state.calls.push(method.name());
        let fault = state.faults.get_mut(method.name()).and_then(VecDeque::pop_front);
        match fault {
            None => Ok(duty(&mut state)),
            Some(StandInFault::Answer(code)) => Err(code),
            Some(StandInFault::LoseAnswer(code)) => {
                duty(&mut state);
                Err(code)
            }
            Some(StandInFault::Panic) => {
                drop(state);
                // As a panic, but without its message, since it is wanted.
                resume_unwind(Box::new("a stand-in provider was told to panic"))
            }
        }
    }

    fn prepare(&self, set: SnapshotSetId, snapshot: SnapshotId) -> Result<(), HResult> {
        self.perform(Method::BeginPrepareSnapshot, |state| {
            state.prepared.entry(set).or_default().insert(snapshot);
        })
    }

    fn commit(&self, set: SnapshotSetId) -> Result<(), HResult> {
        self.perform(Method::CommitSnapshots, |state| {
            *state.commits.entry(set).or_default() += 1;
            let captured = state.prepared.get(&set).cloned().unwrap_or_default();
            state.copies.extend(captured);
        })
    }

    fn abort(&self, set: SnapshotSetId) -> Result<(), HResult> {
        self.perform(Method::AbortSnapshots, |state| {
            let aborted = state.prepared.remove(&set).unwrap_or_default();
            state.copies.retain(|copy| !aborted.contains(copy));
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How the serial numbers of its shadow LUNs begin.
const SHADOW_PREFIX: &str = "stand-in-";

/// The identity that a shadow LUN would have.
fn shadow_of(source: &LunInformation) -> LunInformation {
    let serial = format!("{SHADOW_PREFIX}{}", source.serial_number.as_deref().unwrap_or_default());
    let bytes = format!("STANDIN {serial}").into_bytes();
    let identifier = StorageIdentifier { code_set: 2, kind: StorageIdentifier::VENDOR_ID, bytes };
    LunInformation { serial_number: Some(serial), identifiers: vec![identifier], ..source.clone() }
}

impl CreateSnapshotSet for StandInProvider {
    fn end_prepare_snapshots(&self, _: SnapshotSetId) -> Result<(), HResult> {
        self.perform(Method::EndPrepareSnapshots, |_| ())
    }

    fn pre_commit_snapshots(&self, _: SnapshotSetId) -> Result<(), HResult> {
        self.perform(Method::PreCommitSnapshots, |_| ())
    }

    fn commit_snapshots(&self, set: SnapshotSetId) -> Result<(), HResult> {
        self.commit(set)
    }

    fn post_commit_snapshots(&self, _: SnapshotSetId, _: i32) -> Result<(), HResult> {
        self.perform(Method::PostCommitSnapshots, |_| ())
    }

    fn pre_final_commit_snapshots(&self, _: SnapshotSetId) -> Result<(), HResult> {
        self.perform(Method::PreFinalCommitSnapshots, |_| ())
    }

    fn post_final_commit_snapshots(&self, _: SnapshotSetId) -> Result<(), HResult> {
        self.perform(Method::PostFinalCommitSnapshots, |_| ())
    }

    fn abort_snapshots(&self, set: SnapshotSetId) -> Result<(), HResult> {
        self.abort(set)
    }
}

impl HardwareProvider for StandInProvider {
    fn are_luns_supported(&self, _: Context, _: &[DeviceName], luns: &mut [LunInformation]) -> Result<bool, HResult> {
        let all = luns.iter().all(|lun| lun.serial_number.as_deref().is_some_and(|serial| self.takes(serial)));
        self.perform(Method::AreLunsSupported, |_| all)
    }

    fn fill_in_lun_info(&self, _: &DeviceName, lun: &mut LunInformation) -> (HResult, bool) {
        let is_ours = lun.serial_number.as_deref().is_some_and(|serial| serial.starts_with(SHADOW_PREFIX));
        match self.perform(Method::FillInLunInfo, |_| ()) {
            Ok(()) => (HResult::S_OK, is_ours),
            Err(code) => (code, false),
        }
    }

    fn begin_prepare_snapshot(
        &self,
        set: SnapshotSetId,
        snapshot: SnapshotId,
        _: Context,
        _: &[DeviceName],
        _: &mut [LunInformation],
    ) -> Result<(), HResult> {
        self.prepare(set, snapshot)
    }

    fn get_target_luns(&self, _: &[DeviceName], sources: &[LunInformation]) -> Result<Vec<LunInformation>, HResult> {
        self.perform(Method::GetTargetLuns, |_| sources.iter().map(shadow_of).collect())
    }

    fn locate_luns(&self, _: &[LunInformation]) -> Result<(), HResult> {
        self.perform(Method::LocateLuns, |_| ())
    }

    fn on_lun_empty(&self, _: Option<&DeviceName>, _: Option<&LunInformation>) -> Result<(), HResult> {
        self.perform(Method::OnLunEmpty, |_| ())
    }

    fn get_provider_capabilities(&self) -> Result<u64, HResult> {
        Err(HResult::E_NOTIMPL)
    }

    fn on_lun_state_change(
        &self,
        _: &[LunInformation],
        _: &[LunInformation],
        _: LunStateChange,
    ) -> Result<(), HResult> {
        self.perform(Method::OnLunStateChange, |_| ())
    }

    fn resync_luns(&self, _: &[LunInformation], _: &[LunInformation]) -> Result<Box<dyn Async>, HResult> {
        Err(HResult::VSS_E_PROVIDER_VETO)
    }

    fn on_reuse_luns(&self, _: &[LunInformation], _: &[LunInformation]) -> Result<(), HResult> {
        Err(HResult::E_NOTIMPL)
    }

    fn on_load(&self) -> Result<(), HResult> {
        self.perform(Method::OnLoad, |_| ())
    }

    fn on_unload(&self, _: bool) -> Result<(), HResult> {
        self.perform(Method::OnUnload, |_| ())
    }
}

impl SoftwareProvider for StandInProvider {
    fn is_volume_supported(&self, _: Context, volume: &VolumeName) -> bool {
        self.takes(&volume.0)
    }

    fn begin_prepare_snapshot(
        &self,
        set: SnapshotSetId,
        snapshot: SnapshotId,
        _: Context,
        _: &VolumeName,
    ) -> Result<(), HResult> {
        self.prepare(set, snapshot)
    }

    fn delete_snapshot(&self, snapshot: SnapshotId) -> Result<(), HResult> {
        self.perform(Method::OnLunEmpty, |state| {
            state.copies.remove(&snapshot);
        })
    }
}
