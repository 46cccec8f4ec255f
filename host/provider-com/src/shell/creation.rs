//! `IVssProviderCreateSnapshotSet` and `IVssProviderNotifications`.

use lunshadow_vss::{HResult, HardwareProvider, Method, SnapshotSetId};
use lunshadow_vss_com::uuid;
use windows::Win32::Storage::Vss::{IVssProviderCreateSnapshotSet_Impl, IVssProviderNotifications_Impl};
use windows_core::{BOOL, GUID, IUnknown, Ref, Result};

use super::{Shell, Shell_Impl, com_error};

impl Shell {
    fn step(
        &self,
        method: Method,
        set: &GUID,
        step: impl FnOnce(&dyn HardwareProvider, SnapshotSetId) -> std::result::Result<(), HResult>,
    ) -> Result<()> {
        self.call(method, |provider| Ok(step(provider, SnapshotSetId(uuid(set)))?)).map_err(com_error)
    }
}

impl IVssProviderCreateSnapshotSet_Impl for Shell_Impl {
    fn EndPrepareSnapshots(&self, set: &GUID) -> Result<()> {
        self.step(Method::EndPrepareSnapshots, set, |provider, set| provider.end_prepare_snapshots(set))
    }

    fn PreCommitSnapshots(&self, set: &GUID) -> Result<()> {
        self.step(Method::PreCommitSnapshots, set, |provider, set| provider.pre_commit_snapshots(set))
    }

    fn CommitSnapshots(&self, set: &GUID) -> Result<()> {
        self.step(Method::CommitSnapshots, set, |provider, set| provider.commit_snapshots(set))
    }

    fn PostCommitSnapshots(&self, set: &GUID, count: i32) -> Result<()> {
        self.step(Method::PostCommitSnapshots, set, |provider, set| provider.post_commit_snapshots(set, count))
    }

    fn PreFinalCommitSnapshots(&self, set: &GUID) -> Result<()> {
        self.step(Method::PreFinalCommitSnapshots, set, |provider, set| provider.pre_final_commit_snapshots(set))
    }

    fn PostFinalCommitSnapshots(&self, set: &GUID) -> Result<()> {
        self.step(Method::PostFinalCommitSnapshots, set, |provider, set| provider.post_final_commit_snapshots(set))
    }

    fn AbortSnapshots(&self, set: &GUID) -> Result<()> {
        self.step(Method::AbortSnapshots, set, |provider, set| provider.abort_snapshots(set))
    }
}

impl IVssProviderNotifications_Impl for Shell_Impl {
    /// The callback is reserved: it is neither called nor kept.
    fn OnLoad(&self, _callback: Ref<'_, IUnknown>) -> Result<()> {
        self.call(Method::OnLoad, |provider| Ok(provider.on_load()?)).map_err(com_error)
    }

    /// A forced unloading succeeds whatever the provider says.
    fn OnUnload(&self, forced: BOOL) -> Result<()> {
        match self.call(Method::OnUnload, |provider| Ok(provider.on_unload(forced.as_bool())?)) {
            Err(code) if code != HResult::S_OK && !forced.as_bool() => Err(com_error(code)),
            _ => Ok(()),
        }
    }
}
