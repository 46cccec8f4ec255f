//! Leaks: after a thousand rounds each process has the memory that it had before.
//!
//! Wine's stubs lose the outer block of every array that goes in and out: 96 bytes a LUN and call, whatever the method does. So rounds
//! with such arrays are compared with the same calls refused at once, which the provider never sees.

use lunshadow_vss::{HResult, LunInformation, Method};
use lunshadow_windows::planted::{Fault, lun_of_the_array};
use lunshadow_windows::raw::{LunArray, PlantedServer, RawProvider, private_bytes};
use uuid::Uuid;
use windows::Win32::System::Com::{CLSCTX_LOCAL_SERVER, CoGetClassObject, IClassFactory};
use windows::Win32::System::Threading::GetCurrentProcess;
use windows_core::IUnknown;

use crate::rig::{DEVICE, OK, Upto, array_of, begin, delete, server, set_of, shadows_of, sources};

const ROUNDS: usize = 1_000;

/// Memory comes and goes in arenas. A thousand rounds that each lose the blocks below an array of 64 LUNs, some 13 KiB, lose six times
/// as much as this.
const GROWTH_AT_MOST_BYTES: usize = 2 * 1024 * 1024;

/// What a thousand rounds add to the memory of this process and of the server's, once it has settled.
fn growth(server: &PlantedServer, round: &dyn Fn()) -> (usize, usize) {
    // SAFETY: it names this process, and may be called at any time.
    let here = || private_bytes(unsafe { GetCurrentProcess() });
    for _ in 0..ROUNDS / 10 {
        round();
    }
    let before = (here(), server.private_bytes());
    for _ in 0..ROUNDS {
        round();
    }
    (here().saturating_sub(before.0), server.private_bytes().saturating_sub(before.1))
}

fn assert_flat(server: &PlantedServer, round: &dyn Fn()) {
    let grown = growth(server, round);
    assert!(grown.0.max(grown.1) < GROWTH_AT_MOST_BYTES, "client and server grew by {grown:?} bytes");
}

/// As [`assert_flat`], but for what the stubs lose. The round answers whether all of its calls did what they should.
fn assert_flat_but_for_stubs(server: &PlantedServer, methods: &[Method], round: &dyn Fn() -> bool) {
    for method in methods {
        server.plant(method.name(), Fault::Code(HResult::E_OUTOFMEMORY.bits()));
    }
    let stubs = growth(server, &|| assert!(!round(), "it was to be refused"));
    server.heal();
    let all = growth(server, &|| assert!(round(), "it was to succeed"));
    let grown = (all.0.saturating_sub(stubs.0), all.1.saturating_sub(stubs.1));
    assert!(
        grown.0.max(grown.1) < GROWTH_AT_MOST_BYTES,
        "client and server grew by {grown:?} bytes more than with {stubs:?} by their stubs alone"
    );
}

/// LUNs whose members the provider has to fill.
fn bare(count: u128) -> Vec<LunInformation> {
    (1..=count)
        .map(|number| LunInformation {
            vendor_id: None,
            product_id: None,
            product_revision: None,
            identifiers: Vec::new(),
            ..lun_of_the_array(number)
        })
        .collect()
}

#[test]
fn p_021_filling_structures_leaks_nothing() {
    let server = server();
    let provider = server.provider();
    let numbers: Vec<u128> = (1..=64).collect();
    let bare = bare(64);
    set_of(&provider, &numbers, Upto::Created);
    let methods = [Method::GetTargetLuns, Method::FillInLunInfo, Method::AreLunsSupported];
    assert_flat_but_for_stubs(&server, &methods, &|| {
        let mut targets = LunArray::zeroed(64);
        let answers = [
            provider.get_target_luns(Some(&mut sources(&numbers)), &mut targets),
            provider.fill_in_lun_info(DEVICE, &mut array_of(&bare[..1])).0,
            provider.are_luns_supported(0, &[DEVICE; 64], &mut array_of(&bare)).0,
        ];
        answers == [OK; 3]
    });
}

#[test]
fn p_021_creating_importing_and_deleting_leaks_nothing() {
    let server = server();
    let provider = server.provider();
    assert_flat(&server, &|| {
        let shadows = shadows_of(&provider, &[1, 2]);
        assert_eq!(provider.locate(2, Some(&mut array_of(&shadows))), OK);
        delete(&provider, &shadows);
        server.state();
    });
    let state = server.state();
    assert_eq!((state.shadows, state.mapped, state.unfinished_sets), (0, 0, 0));
}

#[test]
fn p_021_failures_leak_nothing() {
    let server = server();
    let provider = server.provider();
    let numbers: Vec<u128> = (1..=64).collect();
    let mut with_one_too_many = bare(64);
    with_one_too_many[63].serial_number = Some("nobody knows it".to_owned());
    set_of(&provider, &numbers, Upto::Created);
    assert_flat_but_for_stubs(&server, &[Method::GetTargetLuns], &|| {
        let mut none = LunArray::zeroed(64);
        let answer = provider.get_target_luns(Some(&mut array_of(&with_one_too_many)), &mut none);
        server.state();
        answer == HResult::VSS_E_PROVIDER_VETO
    });
    assert_flat(&server, &|| {
        let set = Uuid::new_v4();
        assert_eq!(begin(&provider, set, &[1]), OK);
        assert_eq!(provider.abort(set), OK);
    });
}

#[test]
fn p_021_p_119_objects_are_released() {
    let server = server();
    // Through the class object, since Wine looks a class up in some 25 ms.
    // SAFETY: COM runs, since the server was started.
    let class_object: IClassFactory =
        unsafe { CoGetClassObject(&server.class(), CLSCTX_LOCAL_SERVER, None) }.expect("the class is served");
    assert_flat(&server, &|| {
        // SAFETY: an object of the class, by itself.
        let object: IUnknown = unsafe { class_object.CreateInstance(None) }.expect("an object");
        let provider = RawProvider::of(&object).expect("a provider");
        assert_eq!(provider.on_load(), OK);
        assert_eq!(provider.on_unload(false), OK);
    });
}

/// Clients that let go of the class object, and of what it made, as soon as they have their answers. Without what keeps Wine from forgetting the
/// interfaces meanwhile (`idl/keep.c`), one of the first 500 was never answered on a busy machine; on a quiet one it may take many more.
#[test]
fn clients_that_come_and_go_are_all_answered() {
    let server = server();
    for _ in 0..ROUNDS / 5 {
        assert_eq!(server.provider().on_load(), OK);
    }
}
