//! The class as COM sees it: interfaces, identity, tables, the server's process.
#![cfg(windows)]
#![expect(unsafe_code, reason = "COM's interfaces are unsafe to call")]

use std::ptr::null_mut;

use lunshadow_vss::HResult;
use lunshadow_windows::raw::{PlantedServer, RawProvider};
use windows::Win32::Storage::Vss::{
    IVssAsync, IVssHardwareSnapshotProvider, IVssHardwareSnapshotProviderEx, IVssProviderCreateSnapshotSet,
    IVssProviderNotifications, IVssSoftwareSnapshotProvider,
};
use windows::Win32::System::Com::{CLSCTX_INPROC_SERVER, CoCreateInstance};
use windows_core::{GUID, IUnknown, Interface};

fn server() -> PlantedServer {
    PlantedServer::start(env!("CARGO_BIN_EXE_planted-provider")).expect("the server starts")
}

/// The code and the pointer that a question for an interface comes to.
fn query(object: &IUnknown, interface: &GUID) -> (HResult, *mut core::ffi::c_void) {
    // Not NULL before, so that it shows whether it was cleared.
    let mut found = std::ptr::without_provenance_mut(1);
    // SAFETY: both are places of ours.
    let answer = unsafe { object.query(interface, &raw mut found) };
    (HResult(answer.0), found)
}

#[test]
fn p_001_p_002_the_interfaces_are_there() {
    let server = server();
    let provider = server.provider();
    let object: IUnknown = provider.hardware.cast().expect("it is an object");
    for interface in [
        IUnknown::IID,
        IVssHardwareSnapshotProvider::IID,
        IVssHardwareSnapshotProviderEx::IID,
        IVssProviderCreateSnapshotSet::IID,
        IVssProviderNotifications::IID,
    ] {
        let (code, found) = query(&object, &interface);
        assert_eq!(code, HResult::S_OK, "{interface:?}");
        // SAFETY: a reference that is ours.
        drop(unsafe { IUnknown::from_raw(found) });
    }
    assert!(server.stop(), "it ends in good order");
}

#[test]
fn p_003_identity_is_one_and_unknown_interfaces_are_null() {
    let server = server();
    let provider = server.provider();
    let identities: Vec<IUnknown> = vec![
        provider.hardware.cast().expect("reflexive"),
        provider.creation.cast().expect("it is the same object"),
        provider.notifications.cast().expect("it is the same object"),
        // There and back again.
        provider
            .notifications
            .cast::<IVssProviderCreateSnapshotSet>()
            .and_then(|creation| creation.cast::<IVssHardwareSnapshotProviderEx>())
            .and_then(|hardware| hardware.cast())
            .expect("symmetric and transitive"),
    ];
    assert!(identities.windows(2).all(|pair| pair[0].as_raw() == pair[1].as_raw()));
    let no_interface = HResult::from_bits(0x8000_4002);
    for unknown in [IVssSoftwareSnapshotProvider::IID, IVssAsync::IID, GUID::from_u128(7)] {
        assert_eq!(query(&identities[0], &unknown), (no_interface, null_mut()), "{unknown:?}");
    }
    let other: IUnknown = server.provider().hardware.cast().expect("an object");
    assert!(other.as_raw() != identities[0].as_raw(), "every object has an identity of its own");
}

#[test]
fn p_005_the_class_is_out_of_process_only() {
    let server = server();
    let class = server.class();
    // SAFETY: COM runs, since the server was started.
    let inside: windows_core::Result<IUnknown> = unsafe { CoCreateInstance(&class, None, CLSCTX_INPROC_SERVER) };
    assert_eq!(inside.map(drop).map_err(|error| error.code().0), Err(0x8004_0154_u32.cast_signed()));
    assert!(RawProvider::create(class).is_ok());
}
