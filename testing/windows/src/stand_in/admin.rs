//! `IVssAdmin` and its enumerator.
#![expect(clippy::inline_always, clippy::ref_as_ptr, reason = "what the macro that implements interfaces makes")]

use std::sync::atomic::{AtomicUsize, Ordering};

use windows::Win32::Foundation::{E_INVALIDARG, E_NOTIMPL, E_OUTOFMEMORY, E_POINTER, S_FALSE};
use windows::Win32::Storage::Vss::{
    IVssAdmin, IVssAdmin_Impl, IVssEnumObject, IVssEnumObject_Impl, VSS_E_PROVIDER_ALREADY_REGISTERED,
    VSS_E_PROVIDER_IN_USE, VSS_E_PROVIDER_NOT_REGISTERED, VSS_OBJECT_PROP, VSS_OBJECT_PROVIDER, VSS_OBJECT_UNION,
    VSS_PROV_HARDWARE, VSS_PROVIDER_PROP, VSS_PROVIDER_TYPE,
};
use windows::Win32::System::Com::CoTaskMemAlloc;
use windows_core::{GUID, HRESULT, OutRef, PCWSTR, Result, implement};
use windows_registry::LOCAL_MACHINE;

use super::PRETENCE_KEY;
use super::providers::{self, Provider};

/// The object behind the coordinator's class id.
#[implement(IVssAdmin)]
pub(super) struct Admin;

/// What to pretend, if anything.
fn pretence(value: &str) -> u32 {
    LOCAL_MACHINE.open(PRETENCE_KEY).and_then(|key| key.get_u32(value)).unwrap_or(0)
}

fn text(pointer: *const u16) -> Result<String> {
    if pointer.is_null() {
        return Err(E_INVALIDARG.into());
    }
    // SAFETY: not null, and strings that come through the stub end with a zero.
    let text = unsafe { PCWSTR(pointer).to_string() };
    text.map_err(|_| E_INVALIDARG.into())
}

impl IVssAdmin_Impl for Admin_Impl {
    fn RegisterProvider(
        &self,
        provider: &GUID,
        class: &GUID,
        name: *const u16,
        kind: VSS_PROVIDER_TYPE,
        version: *const u16,
        version_id: &GUID,
    ) -> Result<()> {
        let (name, version) = (text(name)?, text(version)?);
        let wanted = pretence("RegisterFails");
        if wanted != 0 {
            return Err(HRESULT(wanted.cast_signed()).into());
        }
        if kind == VSS_PROV_HARDWARE && pretence("ClientEdition") == 1 {
            return Err(E_INVALIDARG.into());
        }
        if name.is_empty() || *provider == GUID::zeroed() || *class == GUID::zeroed() {
            return Err(E_INVALIDARG.into());
        }
        if providers::is_registered(*provider)? {
            return Err(VSS_E_PROVIDER_ALREADY_REGISTERED.into());
        }
        providers::add(&Provider { id: *provider, class: *class, name, kind, version, version_id: *version_id })
    }

    fn UnregisterProvider(&self, provider: &GUID) -> Result<()> {
        if !providers::is_registered(*provider)? {
            return Err(VSS_E_PROVIDER_NOT_REGISTERED.into());
        }
        if pretence("InUse") == 1 {
            return Err(VSS_E_PROVIDER_IN_USE.into());
        }
        providers::remove(*provider)
    }

    fn QueryProviders(&self) -> Result<IVssEnumObject> {
        Ok(Enumerator { providers: providers::all()?, next: AtomicUsize::new(0) }.into())
    }

    fn AbortAllSnapshotsInProgress(&self) -> Result<()> {
        Err(E_NOTIMPL.into())
    }
}

/// The providers that were registered when it was made.
#[implement(IVssEnumObject)]
struct Enumerator {
    providers: Vec<Provider>,
    next: AtomicUsize,
}

impl IVssEnumObject_Impl for Enumerator_Impl {
    fn Next(&self, wanted: u32, objects: *mut VSS_OBJECT_PROP, fetched: *mut u32) -> Result<()> {
        if objects.is_null() || fetched.is_null() {
            return Err(E_POINTER.into());
        }
        let mut count = 0;
        while count < wanted {
            let Some(provider) = self.providers.get(self.next.fetch_add(1, Ordering::SeqCst)) else { break };
            let object = properties(provider)?;
            // SAFETY: the caller gives room for `wanted` objects.
            let place = unsafe { objects.add(count as usize) };
            // SAFETY: as above; what is there is not initialised.
            unsafe { place.write(object) };
            count += 1;
        }
        // SAFETY: checked above.
        unsafe { fetched.write(count) };
        if count < wanted { Err(S_FALSE.into()) } else { Ok(()) }
    }

    fn Skip(&self, count: u32) -> Result<()> {
        self.next.fetch_add(count as usize, Ordering::SeqCst);
        Ok(())
    }

    fn Reset(&self) -> Result<()> {
        self.next.store(0, Ordering::SeqCst);
        Ok(())
    }

    fn Clone(&self, _copy: OutRef<'_, IVssEnumObject>) -> Result<()> {
        Err(E_NOTIMPL.into())
    }
}

/// A provider as the enumerator hands it out, with strings that the receiver frees.
fn properties(provider: &Provider) -> Result<VSS_OBJECT_PROP> {
    let properties = VSS_PROVIDER_PROP {
        m_ProviderId: provider.id,
        m_pwszProviderName: task_string(&provider.name)?,
        m_eProviderType: provider.kind,
        m_pwszProviderVersion: task_string(&provider.version)?,
        m_ProviderVersionId: provider.version_id,
        m_ClassId: provider.class,
    };
    Ok(VSS_OBJECT_PROP { Type: VSS_OBJECT_PROVIDER, Obj: VSS_OBJECT_UNION { Prov: properties } })
}

fn task_string(text: &str) -> Result<*mut u16> {
    let units: Vec<u16> = text.encode_utf16().chain([0]).collect();
    // SAFETY: any length may be asked for.
    let memory = unsafe { CoTaskMemAlloc(units.len() * 2) }.cast::<u16>();
    if memory.is_null() {
        return Err(E_OUTOFMEMORY.into());
    }
    // SAFETY: the block was allocated with room for all units, and is nobody else's.
    unsafe { memory.copy_from_nonoverlapping(units.as_ptr(), units.len()) };
    Ok(memory)
}
