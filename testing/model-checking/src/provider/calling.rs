//! A call of VSS, with what is wrong around it.

use lunshadow_provider::Provider;
use lunshadow_vss::{
    Context, CreateSnapshotSet, DeviceName, HResult, HardwareProvider, LunInformation, SnapshotId, SnapshotSetId,
};
use uuid::Uuid;

use super::planted::Fault;
use super::told::Step;

/// What a call ends with: the targets that it told, if that is what it is about.
pub(super) type Ending = Result<Vec<LunInformation>, HResult>;

/// Makes a call.
pub(super) fn carry_to(
    provider: &Provider,
    set: SnapshotSetId,
    step: Step,
    mut luns: Vec<LunInformation>,
    targets: &[LunInformation],
    fault: Option<Fault>,
) -> Ending {
    let nothing = |()| Vec::new();
    let devices: Vec<DeviceName> = luns.iter().map(|_| DeviceName(r"\\?\PhysicalDrive1".to_owned())).collect();
    let ending = match step {
        Step::BeginFirst | Step::BeginSecond => {
            let snapshot = SnapshotId(Uuid::from_u128(step as u128 + 1));
            let context = Context::CTX_BACKUP;
            provider.begin_prepare_snapshot(set, snapshot, context, &devices, &mut luns).map(nothing)
        }
        Step::EndPrepare => provider.end_prepare_snapshots(set).map(nothing),
        Step::PreCommit => provider.pre_commit_snapshots(set).map(nothing),
        Step::Commit => provider.commit_snapshots(set).map(nothing),
        Step::PostCommit => provider.post_commit_snapshots(set, 2).map(nothing),
        Step::GetTargets => provider.get_target_luns(&devices, &luns),
        Step::Locate => provider.locate_luns(targets).map(nothing),
        Step::PreFinal => provider.pre_final_commit_snapshots(set).map(nothing),
        Step::PostFinal => provider.post_final_commit_snapshots(set).map(nothing),
        Step::Delete if fault == Some(Fault::IgnoresDeletions) => Ok(Vec::new()),
        Step::Delete => targets.iter().try_for_each(|target| provider.on_lun_empty(None, Some(target))).map(nothing),
        Step::Abort if fault == Some(Fault::IgnoresAborts) => Ok(Vec::new()),
        Step::Abort => provider.abort_snapshots(set).map(nothing),
        Step::Unload => provider.on_unload(true).map(nothing),
    };
    match (ending, fault, step) {
        (Err(_), Some(Fault::TellsCommitted), Step::Commit) => Ok(Vec::new()),
        (Err(_), Some(Fault::TellsKept), Step::PostCommit) => Ok(Vec::new()),
        (Err(_), Some(Fault::TellsAnything), _) => Err(HResult::E_FAIL),
        (ending, ..) => ending,
    }
}
