//! The class as COM sees it: interfaces, identity, tables, the server's process.

use std::ptr::null_mut;

use lunshadow_vss::{HResult, Method};
use lunshadow_vss_com::guid;
use lunshadow_windows::planted::Fault;
use lunshadow_windows::raw::RawProvider;
use uuid::Uuid;
use windows::Win32::Storage::VirtualDiskService::VDS_LUN_INFORMATION;
use windows::Win32::Storage::Vss::{
    IVssAsync, IVssHardwareSnapshotProvider, IVssHardwareSnapshotProviderEx, IVssProviderCreateSnapshotSet,
    IVssProviderNotifications, IVssSoftwareSnapshotProvider,
};
use windows::Win32::System::Com::{CLSCTX_INPROC_SERVER, CoCreateInstance};
use windows_core::{GUID, HRESULT, IUnknown, Interface};

use crate::rig::{OK, call, server, sources};

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
    let no_interface = HResult::E_NOINTERFACE;
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

/// Slot `slot` of an object's table.
fn slot(object: *mut core::ffi::c_void, slot: usize) -> *const core::ffi::c_void {
    // SAFETY: an object begins with the pointer to its table.
    let table = unsafe { object.cast::<*const *const core::ffi::c_void>().read() };
    // SAFETY: the table is longer than this.
    let entry = unsafe { table.add(slot) };
    // SAFETY: as above.
    unsafe { entry.read() }
}

/// Calls a slot of the creation's interface that takes a set's id only.
fn call_step(object: *mut core::ffi::c_void, number: usize) {
    type Step = unsafe extern "system" fn(*mut core::ffi::c_void, GUID) -> HRESULT;
    // SAFETY: slots 3 to 5 and 7 to 9 have this form (section 2.1).
    let step = unsafe { std::mem::transmute::<*const core::ffi::c_void, Step>(slot(object, number)) };
    // SAFETY: an id is all that is passed.
    let _answer = unsafe { step(object, guid(Uuid::new_v4())) };
}

/// Which method runs is told by the panic that is planted in it, so the slots are counted from the outside.
#[test]
fn p_004_every_slot_is_the_method_of_the_header() {
    type Locate = unsafe extern "system" fn(*mut core::ffi::c_void, i32, *mut VDS_LUN_INFORMATION) -> HRESULT;
    type Reuse = unsafe extern "system" fn(
        *mut core::ffi::c_void,
        *mut VDS_LUN_INFORMATION,
        *mut VDS_LUN_INFORMATION,
        u32,
    ) -> HRESULT;
    let server = server();
    let provider = server.provider();
    for method in Method::ALL {
        server.plant(method.name(), Fault::Panic);
    }
    let reached = |expected: Method| assert_eq!(server.state().panics, [expected.name()]);
    for (number, method) in [
        (3, Method::EndPrepareSnapshots),
        (4, Method::PreCommitSnapshots),
        (5, Method::CommitSnapshots),
        (7, Method::PreFinalCommitSnapshots),
        (8, Method::PostFinalCommitSnapshots),
        (9, Method::AbortSnapshots),
    ] {
        call_step(provider.creation.as_raw(), number);
        reached(method);
    }
    let hardware = provider.hardware.as_raw();
    let mut one = sources(&[1]);
    // SAFETY: slot 7 has this form (section 2.2).
    let locate = unsafe { std::mem::transmute::<*const core::ffi::c_void, Locate>(slot(hardware, 7)) };
    // SAFETY: the array is as long as the count.
    let _answer = unsafe { locate(hardware, 1, one.as_mut_ptr()) };
    reached(Method::LocateLuns);
    // SAFETY: slot 12 has this form (section 2.3).
    let reuse = unsafe { std::mem::transmute::<*const core::ffi::c_void, Reuse>(slot(hardware, 12)) };
    // SAFETY: the arrays are as long as the count.
    let _answer = unsafe { reuse(hardware, one.as_mut_ptr(), one.as_mut_ptr(), 1) };
    reached(Method::OnReuseLuns);
    // The others through the tables that the layouts of the headers were compared with.
    for &method in Method::ALL {
        call(&provider, method);
        reached(method);
    }
    server.heal();
    assert_eq!(provider.on_load(), OK);
}
