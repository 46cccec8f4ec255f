//! Objects in this process that treat memory as a provider must not, to see that it shows.

use std::ffi::c_void;

use lunshadow_vss::{
    Argument, BusType, DiskSignature, HResult, Interface as Table, LunInformation, Slot, Slots, StorageIdentifier,
};
use uuid::Uuid;
use windows::Win32::Storage::VirtualDiskService::VDS_LUN_INFORMATION;
use windows_core::{GUID, HRESULT, IUnknown, Interface};

use super::SlotCaller;
use crate::{ComTaskMemory, TaskMemory};

const OK: HRESULT = HRESULT(0);

/// An object that has every interface, with the same slots in each.
#[repr(C)]
struct Object {
    table: *const [*const c_void; 7],
}

/// Its slots, the first three of which are those of `IUnknown`.
struct Slotted([*const c_void; 7]);

// SAFETY: the addresses of functions, which never change.
unsafe impl Sync for Slotted {}

static TABLE: Slotted = Slotted([
    query as *const c_void,
    count as *const c_void,
    count as *const c_void,
    overruns as *const c_void,
    fills as *const c_void,
    takes_all as *const c_void,
    names as *const c_void,
]);

const OVERRUNS: usize = 3;
const FILLS: usize = 4;
const TAKES_ALL: usize = 5;
const NAMES: usize = 6;

unsafe extern "system" fn query(object: *mut c_void, _interface: *const GUID, found: *mut *mut c_void) -> HRESULT {
    // SAFETY: the caller's place.
    unsafe { found.write(object) };
    OK
}

/// It is there for as long as the process.
unsafe extern "system" fn count(_object: *mut c_void) -> u32 {
    1
}

/// Makes the serial number one longer than it is.
unsafe extern "system" fn overruns(_object: *mut c_void, lun: *mut VDS_LUN_INFORMATION) -> HRESULT {
    // SAFETY: the caller's structure.
    let serial = unsafe { (*lun).m_szSerialNumber };
    for place in 0..=4 {
        // SAFETY: four bytes and the slack behind them.
        let byte = unsafe { serial.add(place) };
        // SAFETY: as above.
        unsafe { byte.write(if place == 4 { 0 } else { b'X' }) };
    }
    OK
}

static VENDOR: [u8; 5] = *b"ACME\0";
static NOT_ALLOCATED: [u8; 2] = *b"1\0";

/// Fills in one string that can be freed, the same one once more, and one that cannot.
unsafe extern "system" fn fills(_object: *mut c_void, lun: *mut VDS_LUN_INFORMATION) -> HRESULT {
    let block = ComTaskMemory.allocate(VENDOR.len()).expect("there is memory").as_ptr();
    // SAFETY: the block has room for it.
    unsafe { block.copy_from_nonoverlapping(VENDOR.as_ptr(), VENDOR.len()) };
    // SAFETY: the caller's structure.
    let lun = unsafe { &mut *lun };
    lun.m_szVendorId = block;
    lun.m_szProductId = block;
    lun.m_szProductRevision = NOT_ALLOCATED.as_ptr().cast_mut();
    OK
}

unsafe extern "system" fn takes_all(
    object: *mut c_void,
    id: GUID,
    number: u32,
    nothing: *const c_void,
    place: *mut u32,
    long: *mut u64,
    found: *mut *mut c_void,
) -> HRESULT {
    // SAFETY: the caller's places, as all below.
    unsafe { place.write(number + u32::from(id == GUID::from_u128(7) && nothing.is_null())) };
    // SAFETY: as above.
    unsafe { long.write(u64::MAX) };
    // SAFETY: as above.
    unsafe { found.write(object) };
    HRESULT(1)
}

/// Exchanges the names in the array.
unsafe extern "system" fn names(_object: *mut c_void, names: *mut *const u16) -> HRESULT {
    // SAFETY: there are two.
    let second = unsafe { names.add(1) };
    // SAFETY: as above.
    unsafe { names.swap(second) };
    OK
}

fn call(number: usize, arguments: &[Argument]) -> lunshadow_vss::SlotAnswer {
    let object = Box::leak(Box::new(Object { table: &raw const TABLE.0 }));
    // SAFETY: it is laid out as every object, and is never freed.
    let object = unsafe { IUnknown::from_raw((&raw mut *object).cast()) };
    SlotCaller { object }.call(Slot::new(Table::Hardware, number), arguments).expect("the slot is there")
}

fn lun() -> LunInformation {
    LunInformation {
        version: 1,
        device_type: 0,
        device_type_modifier: 0,
        command_queueing: true,
        bus_type: BusType::ISCSI,
        vendor_id: None,
        product_id: None,
        product_revision: None,
        serial_number: Some("Z1D".to_owned()),
        disk_signature: DiskSignature::default(),
        descriptor_version: 1,
        identifiers: vec![StorageIdentifier { code_set: 1, kind: 3, bytes: vec![0x60, 1] }],
        interconnects: Vec::new(),
    }
}

#[test]
fn what_is_written_behind_the_end_of_a_buffer_shows() {
    let passed = Argument::Luns(vec![lun()]);
    let answer = call(OVERRUNS, std::slice::from_ref(&passed));
    assert_eq!((answer.code, answer.memory.overrun, answer.memory.returned), (HResult::S_OK, 1, 0));
    let written = LunInformation { serial_number: Some("XXXX".to_owned()), ..lun() };
    assert_eq!(answer.arguments, [Argument::Luns(vec![written])]);
}

#[test]
fn pointers_that_cannot_be_freed_one_by_one_show() {
    let answer = call(FILLS, &[Argument::LunsInOut(vec![lun()])]);
    let memory = answer.memory;
    assert_eq!((memory.returned, memory.strays, memory.overrun), (3, 2, 0), "the second one twice, and the third");
    let Some(Argument::LunsInOut(filled)) = answer.arguments.first() else { panic!("it is what was passed") };
    let texts = [&filled[0].vendor_id, &filled[0].product_id, &filled[0].product_revision];
    assert_eq!(texts.map(Option::as_deref), [Some("ACME"), Some("ACME"), Some("1")]);
}

#[test]
fn arguments_come_in_their_order_and_places_are_read() {
    let id = Argument::Id(Uuid::from_u128(7));
    let places = [Argument::Place(0), Argument::LongPlace(0), Argument::ObjectPlace];
    let passed: Vec<Argument> = [id, Argument::Number(41), Argument::Null].into_iter().chain(places).collect();
    let answer = call(TAKES_ALL, &passed);
    assert_eq!(answer.code, HResult::S_FALSE);
    assert_eq!(answer.arguments[..3], passed[..3]);
    let places = [Argument::Place(42), Argument::LongPlace(u64::MAX), Argument::ObjectPlace];
    assert_eq!(answer.arguments[3..], places);
    let object = answer.object.expect("there is an object in its place");
    assert!(object.call(Slot::new(Table::Async, OVERRUNS), &[Argument::Luns(vec![lun()])]).is_ok());
}

#[test]
fn an_array_of_names_that_was_changed_shows() {
    let names = |first: &str, second: &str| Argument::Devices(vec![first.to_owned(), second.to_owned()]);
    assert_eq!(call(NAMES, &[names("one", "two")]).arguments, [names("two", "one")]);
}
