//! `RemoteProvider`: the trait on this side, the process on the other.

use std::time::Duration;

use lunshadow_vss::{
    AsyncStatus, Context, DeviceName, HResult, HardwareProvider, LunInformation, LunStateChange, Method, SnapshotId,
    SnapshotSetId,
};
use lunshadow_vss_com::{RemoteProvider, uuid};
use lunshadow_windows::planted::{Command, Fault, ResyncEnd, foreign_lun, lun_of_the_array};
use lunshadow_windows::raw::PlantedServer;
use uuid::Uuid;

use crate::rig::{is_lost, server, wait_until_delayed};

fn remote(server: &PlantedServer) -> RemoteProvider {
    RemoteProvider::create(uuid(&server.class())).expect("the class is served")
}

fn device() -> DeviceName {
    DeviceName(r"\\?\PhysicalDrive1".to_owned())
}

/// A whole set of these LUNs, and its shadow LUNs.
fn create(provider: &dyn HardwareProvider, sources: &[LunInformation]) -> Vec<LunInformation> {
    let (set, mut luns) = (SnapshotSetId(Uuid::new_v4()), sources.to_vec());
    let devices = vec![device(); sources.len()];
    assert_eq!(provider.are_luns_supported(Context::CTX_BACKUP, &devices, &mut luns), Ok(true));
    let snapshot = SnapshotId(Uuid::new_v4());
    assert_eq!(provider.begin_prepare_snapshot(set, snapshot, Context::CTX_BACKUP, &devices, &mut luns), Ok(()));
    assert_eq!(luns, sources);
    assert_eq!(provider.end_prepare_snapshots(set), Ok(()));
    assert_eq!(provider.pre_commit_snapshots(set), Ok(()));
    assert_eq!(provider.commit_snapshots(set), Ok(()));
    assert_eq!(provider.post_commit_snapshots(set, 1), Ok(()));
    let shadows = provider.get_target_luns(&devices, sources).expect("the set exists");
    assert_eq!(provider.pre_final_commit_snapshots(set), Ok(()));
    assert_eq!(provider.post_final_commit_snapshots(set), Ok(()));
    assert_eq!(provider.abort_snapshots(set), Ok(()));
    shadows
}

#[test]
fn a_remote_provider_is_a_provider() {
    let server = server();
    let provider = remote(&server);
    assert_eq!(provider.on_load(), Ok(()));
    let sources = [lun_of_the_array(1), lun_of_the_array(2)];
    let shadows = create(&provider, &sources);
    assert_eq!(provider.locate_luns(&shadows), Ok(()));
    let mut arrived = LunInformation { vendor_id: None, identifiers: Vec::new(), ..shadows[0].clone() };
    assert_eq!(provider.fill_in_lun_info(&device(), &mut arrived), (HResult::S_OK, true));
    assert_eq!(arrived, shadows[0]);
    assert_eq!(provider.fill_in_lun_info(&device(), &mut foreign_lun()), (HResult::S_OK, false));
    assert_eq!(provider.on_lun_state_change(&shadows, &[], LunStateChange::DO_MASK_LUNS), Ok(()));
    assert_eq!(server.state().mapped, 0);
    assert_eq!(provider.get_provider_capabilities(), Err(HResult::E_NOTIMPL));
    assert_eq!(provider.on_reuse_luns(&shadows, &sources), Err(HResult::E_NOTIMPL));
    assert_eq!(provider.on_lun_empty(None, shadows.first()), Ok(()));
    assert_eq!(provider.on_lun_empty(Some(&device()), None), Err(HResult::E_INVALIDARG));
    assert_eq!(server.state().shadows, 1);
    assert_eq!(provider.on_unload(true), Ok(()));
}

#[test]
fn a_remote_resync_is_an_operation() {
    let server = server();
    let provider = remote(&server);
    let sources = [lun_of_the_array(1)];
    let shadows = create(&provider, &sources);
    let operation = provider.resync_luns(&shadows, &sources).expect("it begins");
    assert_eq!(operation.wait(Some(Duration::ZERO)), AsyncStatus::Pending);
    assert_eq!(provider.on_unload(false), Err(HResult::S_FALSE), "a success that is not S_OK is told");
    server.ask(&Command::EndResync(ResyncEnd::Finished)).expect("the process runs");
    assert_eq!(operation.wait(None), AsyncStatus::Finished);
    assert_eq!(operation.cancel(), AsyncStatus::Finished);
    let operation = provider.resync_luns(&shadows, &sources).expect("it begins");
    assert_eq!(operation.cancel(), AsyncStatus::Cancelled);
    let operation = provider.resync_luns(&shadows, &sources).expect("it begins");
    server.ask(&Command::EndResync(ResyncEnd::Failed)).expect("the process runs");
    assert_eq!(operation.wait(None), AsyncStatus::Failed(HResult::VSS_E_PROVIDER_VETO));
    assert_eq!(provider.resync_luns(&[], &[]).map(drop), Err(HResult::VSS_E_PROVIDER_VETO));
}

#[test]
fn p_120_a_remote_provider_that_is_gone_answers_with_coms_codes() {
    let mut server = server();
    let provider = remote(&server);
    let sources = [lun_of_the_array(1)];
    let shadows = create(&provider, &sources);
    let operation = provider.resync_luns(&shadows, &sources).expect("it begins");
    server.plant(Method::LocateLuns.name(), Fault::DelayMs(600_000));
    let answer = std::thread::scope(|scope| {
        let calling = scope.spawn(|| provider.locate_luns(&shadows));
        wait_until_delayed(&server);
        server.kill();
        calling.join().expect("it ends")
    });
    let is_lost_for = |answer: Result<(), HResult>| answer.is_err_and(is_lost);
    assert!(is_lost_for(answer), "{answer:?}");
    let mut lun = lun_of_the_array(1);
    let (code, supported) = provider.fill_in_lun_info(&device(), &mut lun);
    assert!(is_lost(code) && !supported, "{code}");
    assert_eq!(lun, lun_of_the_array(1));
    assert!(is_lost_for(provider.on_load()));
    assert!(is_lost_for(provider.get_target_luns(&[], &sources).map(drop)));
    assert!(is_lost_for(provider.resync_luns(&shadows, &sources).map(drop)));
    assert!(matches!(operation.query_status(), AsyncStatus::Failed(code) if is_lost(code)));
    // A new process, and all is well.
    let server = self::server();
    assert_eq!(create(&remote(&server), &sources).len(), 1);
}
