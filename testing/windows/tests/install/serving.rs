//! The installed program, started by COM as VSS would.

use std::time::{Duration, Instant};

use lunshadow_control::{LunId, identity_of};
use lunshadow_provider::lun_information;
use lunshadow_provider_com::ids::{CLASS_ID, SERVICE_NAME};
use lunshadow_vss::{Context, CreateSnapshotSet, DeviceName, HResult, HardwareProvider, SnapshotSetId};
use lunshadow_vss_com::{RemoteProvider, apartment};
use uuid::Uuid;
use windows_registry::LOCAL_MACHINE;
use windows_service::service::{ServiceAccess, ServiceState};
use windows_service::service_manager::{ServiceManager, ServiceManagerAccess};

use crate::machine::{Machine, braced};

/// Far longer than a server takes to end.
const ENDED_AFTER: Duration = Duration::from_secs(120);

fn service_state() -> ServiceState {
    let manager = ServiceManager::local_computer(None::<&str>, ServiceManagerAccess::CONNECT).expect("it answers");
    let service = manager.open_service(SERVICE_NAME, ServiceAccess::QUERY_STATUS).expect("it is entered");
    service.query_status().expect("it answers").current_state
}

/// Some calls that need no array.
fn use_provider() {
    apartment::join_mta().expect("COM starts");
    let provider = RemoteProvider::create(CLASS_ID).expect("COM starts the program");
    assert_eq!(provider.on_load(), Ok(()));
    let disk = [DeviceName(r"\\?\PhysicalDrive9".to_owned())];
    let mut lun = [lun_information(&identity_of(LunId::from_u128(9)))];
    let supported = provider.are_luns_supported(Context::CTX_BACKUP, &disk, &mut lun);
    assert_eq!(supported, Ok(false), "no array is known");
    let set = SnapshotSetId(Uuid::from_u128(7));
    assert_eq!(provider.end_prepare_snapshots(set), Err(HResult::VSS_E_OBJECT_NOT_FOUND));
    assert_eq!(provider.on_unload(false), Ok(()));
}

#[test]
fn com_starts_the_service_and_an_upgrade_and_a_removal_stop_it() {
    let machine = Machine::clean();
    let before = machine.picture();
    machine.succeed(&["install"]);
    assert_eq!(service_state(), ServiceState::Stopped);
    for _ in 0..2 {
        use_provider();
        assert_eq!(service_state(), ServiceState::Running);
        machine.succeed(&["install"]);
        assert_eq!(service_state(), ServiceState::Stopped);
    }
    use_provider();
    machine.succeed(&["uninstall"]);
    machine.assert_as_in(&before, "after a service that ran was removed");
}

#[test]
fn com_starts_the_program_as_a_local_server() {
    let machine = Machine::clean();
    machine.succeed(&["install", "--local-server"]);
    // As installed, but it ends soon: as long as it runs, COM gives out its class, whatever is installed then.
    let server = format!(r"Software\Classes\CLSID\{}\LocalServer32", braced(CLASS_ID));
    let command = format!("\"{}\" serve --idle-after 10", machine.layout.program.display());
    LOCAL_MACHINE.create(server).and_then(|key| key.set_string("", command)).expect("the registry takes it");
    use_provider();
    // The program that still runs is set aside. When it has ended it can be removed, and COM does not give out its class any more.
    machine.succeed(&["install", "--local-server"]);
    let folder = machine.layout.program.parent().expect("it has one");
    let files = || std::fs::read_dir(folder).expect("it is there").flatten().map(|file| file.path());
    let began = Instant::now();
    for older in files().filter(|file| *file != machine.layout.program) {
        while std::fs::remove_file(&older).is_err() {
            assert!(began.elapsed() < ENDED_AFTER, "{} still runs", older.display());
            std::thread::yield_now();
        }
    }
    assert!(files().eq([machine.layout.program.clone()]));
}

#[test]
fn service_is_not_for_people() {
    let machine = Machine::clean();
    let outcome = machine.run(&["service"]);
    assert_eq!(outcome.code, Some(1));
    assert!(outcome.complained.contains("for the service control manager"), "{}", outcome.complained);
}
