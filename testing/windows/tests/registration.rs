//! The stand-in for VSS through COM: what a provider's installer meets there.
#![cfg(windows)]
#![expect(unsafe_code, reason = "COM's interfaces are unsafe to call")]

use lunshadow_vss_com::{activate, uuid};
use lunshadow_windows::stand_in::{COORDINATOR_CLASS, PRETENCE_KEY};
use windows::Win32::Foundation::{E_INVALIDARG, S_FALSE};
use windows::Win32::Storage::Vss::{
    IVssAdmin, VSS_E_PROVIDER_ALREADY_REGISTERED, VSS_E_PROVIDER_IN_USE, VSS_E_PROVIDER_NOT_REGISTERED,
    VSS_OBJECT_PROP, VSS_OBJECT_PROVIDER, VSS_PROV_HARDWARE,
};
use windows_core::{GUID, HSTRING, Interface, PCWSTR, Result, w};
use windows_registry::LOCAL_MACHINE;

const PROVIDER: GUID = GUID::from_u128(0x0a1d_5d0e_6f2f_4a55_a1c5_64a4_7a3c_1f01);
const CLASS: GUID = GUID::from_u128(0x0a1d_5d0e_6f2f_4a55_a1c5_64a4_7a3c_1f02);
const VERSION: GUID = GUID::from_u128(0x0a1d_5d0e_6f2f_4a55_a1c5_64a4_7a3c_1f03);

fn admin() -> IVssAdmin {
    let class = GUID::try_from(COORDINATOR_CLASS.trim_matches(['{', '}'])).expect("a GUID");
    activate(uuid(&class), Interface::cast).expect("the stand-in starts")
}

fn register(admin: &IVssAdmin) -> Result<()> {
    // SAFETY: the strings outlive the call.
    unsafe {
        admin.RegisterProvider(
            PROVIDER,
            CLASS,
            w!("A provider").as_ptr(),
            VSS_PROV_HARDWARE,
            w!("1.0").as_ptr(),
            VERSION,
        )
    }
}

fn unregister(admin: &IVssAdmin) -> Result<()> {
    // SAFETY: nothing is passed but an id.
    unsafe { admin.UnregisterProvider(PROVIDER) }
}

/// The ids and names of the registered providers.
fn providers(admin: &IVssAdmin) -> Vec<(GUID, HSTRING)> {
    // SAFETY: the enumerator is kept by its counted reference.
    let list = unsafe { admin.QueryProviders() }.expect("an enumerator");
    let mut found = Vec::new();
    loop {
        let mut object = [VSS_OBJECT_PROP::default()];
        let mut fetched = 0;
        // SAFETY: there is room for the one that is asked for.
        let answer = unsafe { list.Next(&mut object, &mut fetched) };
        if fetched == 0 {
            assert!(answer.is_ok() || answer.is_err_and(|error| error.code() == S_FALSE));
            return found;
        }
        assert_eq!(object[0].Type, VSS_OBJECT_PROVIDER);
        // SAFETY: the type says which member it is.
        let provider = unsafe { object[0].Obj.Prov };
        // SAFETY: the name came through the stub, ended by a zero.
        found.push((provider.m_ProviderId, unsafe { PCWSTR(provider.m_pwszProviderName).to_hstring() }));
    }
}

fn pretend(value: &str, number: u32) {
    LOCAL_MACHINE.create(PRETENCE_KEY).and_then(|key| key.set_u32(value, number)).expect("the registry takes it");
}

#[test]
fn providers_are_registered_once_listed_and_unregistered_once() {
    let admin = admin();
    assert!(!providers(&admin).iter().any(|(id, _)| *id == PROVIDER));
    register(&admin).expect("it is new");
    assert_eq!(register(&admin).map_err(|error| error.code()), Err(VSS_E_PROVIDER_ALREADY_REGISTERED));
    assert!(providers(&admin).contains(&(PROVIDER, "A provider".into())));
    unregister(&admin).expect("it is registered");
    assert_eq!(unregister(&admin).map_err(|error| error.code()), Err(VSS_E_PROVIDER_NOT_REGISTERED));
    assert!(!providers(&admin).iter().any(|(id, _)| *id == PROVIDER));
}

#[test]
fn a_client_edition_takes_no_hardware_provider_and_a_busy_one_stays() {
    let admin = admin();
    pretend("ClientEdition", 1);
    let refused = register(&admin).map_err(|error| error.code());
    pretend("ClientEdition", 0);
    assert_eq!(refused, Err(E_INVALIDARG));
    register(&admin).expect("a server takes it");
    pretend("InUse", 1);
    let refused = unregister(&admin).map_err(|error| error.code());
    pretend("InUse", 0);
    assert_eq!(refused, Err(VSS_E_PROVIDER_IN_USE));
    unregister(&admin).expect("it is idle again");
}
