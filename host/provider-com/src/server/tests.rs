//! The class object and its objects in one process: what no proxy lets through.

use std::ptr::{null, null_mut};
use std::sync::Arc;
use std::time::Duration;

use lunshadow_provider::{Event, EventLog};
use parking_lot::Mutex;
use uuid::Uuid;
use windows::Win32::Foundation::{CLASS_E_NOAGGREGATION, CO_E_SERVER_STOPPING, E_INVALIDARG, E_NOINTERFACE};
use windows::Win32::Storage::VirtualDiskService::VDS_LUN_INFORMATION;
use windows::Win32::Storage::Vss::{IVssAdmin, IVssHardwareSnapshotProviderEx, IVssProviderCreateSnapshotSet};
use windows::Win32::System::Com::IClassFactory;
use windows_core::{BOOL, GUID, HRESULT, IUnknown, Interface, Result};

use super::class_object::ClassObject;
use super::{ProviderClass, StopSignal};
use crate::configured::ConfiguredProvider;

/// Nobody reads it.
#[derive(Default)]
struct Log(Mutex<Vec<Event>>);

impl EventLog for Log {
    fn record(&self, event: Event) {
        self.0.lock().push(event);
    }
}

/// The class with a provider that has no arrays.
fn class_object() -> (IClassFactory, StopSignal) {
    let nowhere = std::env::temp_dir().join(Uuid::new_v4().to_string());
    let provider = ConfiguredProvider::new(nowhere, Arc::new(Log::default()), Arc::new(|| Duration::ZERO));
    let class = ProviderClass {
        class_id: Uuid::new_v4(),
        provider: Arc::new(provider),
        on_panic: Arc::new(|method| panic!("{method}")),
    };
    let signal = StopSignal::new();
    signal.presence().open();
    (ClassObject::new(class, signal.presence()).into(), signal)
}

fn object<T: Interface>(class_object: &IClassFactory) -> Result<T> {
    // SAFETY: an object of the class, by itself.
    unsafe { class_object.CreateInstance(None) }
}

#[test]
fn p_003_the_class_object_hands_out_what_there_is() {
    let (class_object, _signal) = class_object();
    assert!(object::<IVssProviderCreateSnapshotSet>(&class_object).is_ok());
    assert_eq!(object::<IVssAdmin>(&class_object).map_err(|error| error.code()).map(drop), Err(E_NOINTERFACE));
    let outer: IUnknown = object(&class_object).expect("an object");
    // SAFETY: the outer object is counted.
    let inner: Result<IUnknown> = unsafe { class_object.CreateInstance(&outer) };
    assert_eq!(inner.map_err(|error| error.code()).map(drop), Err(CLASS_E_NOAGGREGATION));
}

#[test]
fn locks_and_objects_keep_the_server_open() {
    let (class_object, signal) = class_object();
    // SAFETY: a Boolean is all that is passed, here and below.
    unsafe { class_object.LockServer(true) }.expect("it is open");
    let one: IUnknown = object(&class_object).expect("it is open");
    assert!(!signal.presence().close(), "it is locked, and somebody has an object");
    // SAFETY: as above.
    unsafe { class_object.LockServer(false) }.expect("it was locked");
    assert!(!signal.presence().close(), "somebody has an object");
    // One too many is no harm.
    // SAFETY: as above.
    unsafe { class_object.LockServer(false) }.expect("nothing is to be done");
    drop(one);
    assert!(signal.presence().close());
    assert_eq!(object::<IUnknown>(&class_object).map_err(|error| error.code()).map(drop), Err(CO_E_SERVER_STOPPING));
    // SAFETY: as above.
    let locked = unsafe { class_object.LockServer(true) };
    assert_eq!(locked.map_err(|error| error.code()), Err(CO_E_SERVER_STOPPING));
}

#[test]
fn p_024_p_025_p_036_null_outputs_and_arrays_are_bad_arguments() {
    let (class_object, _signal) = class_object();
    let hardware: IVssHardwareSnapshotProviderEx = object(&class_object).expect("an object");
    let (this, table) = (hardware.as_raw(), hardware.vtable());
    let mut lun = VDS_LUN_INFORMATION::default();
    let support = |count: i32, luns: *mut VDS_LUN_INFORMATION, supported: *mut BOOL| -> HRESULT {
        // SAFETY: the array is as long as the count or the count is refused; NULL is what is tested.
        unsafe { (table.base__.AreLunsSupported)(this, count, 0, null(), luns, supported) }
    };
    assert_eq!(support(1, &raw mut lun, null_mut()), E_INVALIDARG);
    for (count, luns) in [(1, null_mut()), (-1, &raw mut lun), (0, &raw mut lun), (65, &raw mut lun)] {
        let mut supported = BOOL::from(true);
        assert_eq!(support(count, luns, &raw mut supported), E_INVALIDARG, "{count}");
        assert!(!supported.as_bool(), "{count}");
    }
    let identify = |lun: *mut VDS_LUN_INFORMATION, supported: *mut BOOL| -> HRESULT {
        // SAFETY: NULL is what is tested.
        unsafe { (table.base__.FillInLunInfo)(this, null(), lun, supported) }
    };
    assert_eq!(identify(&raw mut lun, null_mut()), E_INVALIDARG);
    let mut supported = BOOL::from(true);
    assert_eq!(identify(null_mut(), &raw mut supported), E_INVALIDARG);
    assert!(!supported.as_bool());
    // SAFETY: NULL is what is tested.
    let prepared =
        unsafe { (table.base__.BeginPrepareSnapshot)(this, GUID::zeroed(), GUID::zeroed(), 0, 1, null(), null_mut()) };
    assert_eq!(prepared, E_INVALIDARG);
    // SAFETY: NULL is what is tested.
    let targets = unsafe { (table.base__.GetTargetLuns)(this, 1, null(), &raw const lun, null_mut()) };
    assert_eq!(targets, E_INVALIDARG);
    assert_eq!(lun, VDS_LUN_INFORMATION::default());
}
