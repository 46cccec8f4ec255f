//! A caller without rights, and how it fares.

use lunshadow_vss::{Context, HResult, HardwareProvider, LunStateChange, Method, SnapshotId};
use uuid::Uuid;

use crate::lab::{foreign, names, new_set};

/// How a caller without rights fares with a class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stranger {
    /// COM gives it no object.
    GetsNoObject(HResult),
    /// It gets one, and every method refuses it.
    IsRefused,
    /// It gets one, and this method does not refuse it.
    IsLetIn(Method),
    /// COM does not ask who calls, so nothing can be seen.
    IsNotKnown,
}

/// The first method that does not answer its caller with `E_ACCESSDENIED`. All are called, with what harms nothing: a set that nobody knows, and
/// a disk that is of no array.
#[must_use]
pub fn first_that_lets_in(provider: &dyn HardwareProvider) -> Option<Method> {
    let (set, devices, lun) = (new_set(), names(1), [foreign(0)]);
    let (device, disk) = (&devices[0], &lun[0]);
    let snapshot = SnapshotId(Uuid::new_v4());
    let change = LunStateChange::NOTIFY_READ_WRITE;
    let answers = [
        (Method::OnLoad, code(provider.on_load())),
        (Method::AreLunsSupported, code(provider.are_luns_supported(Context::CTX_BACKUP, &devices, &mut lun.clone()))),
        (Method::FillInLunInfo, provider.fill_in_lun_info(device, &mut disk.clone()).0),
        (
            Method::BeginPrepareSnapshot,
            code(provider.begin_prepare_snapshot(set, snapshot, Context::CTX_BACKUP, &devices, &mut lun.clone())),
        ),
        (Method::EndPrepareSnapshots, code(provider.end_prepare_snapshots(set))),
        (Method::PreCommitSnapshots, code(provider.pre_commit_snapshots(set))),
        (Method::CommitSnapshots, code(provider.commit_snapshots(set))),
        (Method::PostCommitSnapshots, code(provider.post_commit_snapshots(set, 1))),
        (Method::PreFinalCommitSnapshots, code(provider.pre_final_commit_snapshots(set))),
        (Method::PostFinalCommitSnapshots, code(provider.post_final_commit_snapshots(set))),
        (Method::AbortSnapshots, code(provider.abort_snapshots(set))),
        (Method::GetTargetLuns, code(provider.get_target_luns(&devices, &lun))),
        (Method::LocateLuns, code(provider.locate_luns(&lun))),
        (Method::OnLunEmpty, code(provider.on_lun_empty(Some(device), Some(disk)))),
        (Method::GetProviderCapabilities, code(provider.get_provider_capabilities())),
        (Method::OnLunStateChange, code(provider.on_lun_state_change(&lun, &[], change))),
        (Method::ResyncLuns, code(provider.resync_luns(&lun, &lun))),
        (Method::OnReuseLuns, code(provider.on_reuse_luns(&lun, &lun))),
        (Method::OnUnload, code(provider.on_unload(false))),
    ];
    answers.into_iter().find(|(_, answer)| *answer != HResult::E_ACCESSDENIED).map(|(method, _)| method)
}

fn code<T>(answer: Result<T, HResult>) -> HResult {
    answer.err().unwrap_or(HResult::S_OK)
}

#[cfg(test)]
mod tests {
    use lunshadow_coordinator::StandInProvider;
    use lunshadow_vss::Interceptor;

    use super::*;

    /// Refuses everybody, but for one method.
    struct Guarded(StandInProvider, Option<Method>);

    impl Interceptor for Guarded {
        type Provider = StandInProvider;

        fn provider(&self) -> &Self::Provider {
            &self.0
        }

        fn around<T>(&self, method: Method, call: impl FnOnce() -> Result<T, HResult>) -> Result<T, HResult> {
            if self.1 == Some(method) { call() } else { Err(HResult::E_ACCESSDENIED) }
        }
    }

    #[test]
    fn a_single_method_that_lets_in_is_found() {
        let guarded = |open| Guarded(StandInProvider::taking(std::iter::empty::<String>()), open);
        assert_eq!(first_that_lets_in(&guarded(None)), None);
        for method in Method::ALL {
            assert_eq!(first_that_lets_in(&guarded(Some(*method))), Some(*method));
        }
    }
}
