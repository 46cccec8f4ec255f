//! `IVssAdmin`: which providers VSS knows.

use lunshadow_vss::ProviderType;
use uuid::Uuid;
use windows::Win32::Foundation::S_FALSE;
use windows::Win32::Storage::Vss::{IVssAdmin, VSS_OBJECT_PROP, VSS_OBJECT_PROVIDER, VSS_PROVIDER_TYPE};
use windows::Win32::System::Com::CoTaskMemFree;
use windows_core::{HSTRING, Interface, PCWSTR, Result};

use crate::{activate, guid, uuid};

/// The coordinator of VSS.
const COORDINATOR: Uuid = Uuid::from_u128(0xe579_ab5f_1cc4_44b4_bed9_de09_91ff_0623);

/// One registered provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registration {
    /// Its id (`ProviderId`).
    pub provider: Uuid,
    /// Its class.
    pub class: Uuid,
    /// Its name, as lists show it.
    pub name: String,
    /// Hardware, software or the system's.
    pub kind: ProviderType,
    /// Its version, as people read it.
    pub version: String,
    /// Its version, as VSS tells builds apart.
    pub version_id: Uuid,
}

/// A connection to VSS, for administrators.
pub struct VssAdmin(IVssAdmin);

impl VssAdmin {
    /// Starts VSS if it does not run.
    ///
    /// # Errors
    /// What COM says; access is denied to whoever is no administrator.
    pub fn connect() -> Result<Self> {
        activate(COORDINATOR, Interface::cast).map(Self)
    }

    /// Registers a provider.
    ///
    /// # Errors
    /// What `RegisterProvider` answers.
    pub fn register(&self, registration: &Registration) -> Result<()> {
        let (name, version) = (HSTRING::from(&registration.name), HSTRING::from(&registration.version));
        // SAFETY: the texts end with a zero and outlive the call.
        unsafe {
            self.0.RegisterProvider(
                guid(registration.provider),
                guid(registration.class),
                name.as_ptr(),
                VSS_PROVIDER_TYPE(registration.kind.0.cast_signed()),
                version.as_ptr(),
                guid(registration.version_id),
            )
        }
    }

    /// Takes a registration away.
    ///
    /// # Errors
    /// What `UnregisterProvider` answers.
    pub fn unregister(&self, provider: Uuid) -> Result<()> {
        // SAFETY: nothing is passed but an id.
        unsafe { self.0.UnregisterProvider(guid(provider)) }
    }

    /// All providers that VSS lists.
    ///
    /// # Errors
    /// What `QueryProviders` or its list answers.
    pub fn providers(&self) -> Result<Vec<Registration>> {
        // SAFETY: nothing is passed.
        let list = unsafe { self.0.QueryProviders() }?;
        let mut found = Vec::new();
        loop {
            let (mut object, mut fetched) = ([VSS_OBJECT_PROP::default()], 0);
            // SAFETY: there is room for the one that is asked for.
            let answer = unsafe { list.Next(&mut object, &raw mut fetched) };
            match answer {
                Err(error) if error.code() != S_FALSE => return Err(error),
                _ if fetched == 0 => return Ok(found),
                _ => found.extend(read(&object[0])),
            }
        }
    }
}

/// Takes the texts over, which are the receiver's to free.
fn read(object: &VSS_OBJECT_PROP) -> Option<Registration> {
    if object.Type != VSS_OBJECT_PROVIDER {
        return None;
    }
    // SAFETY: the type says which member it is.
    let provider = unsafe { object.Obj.Prov };
    Some(Registration {
        provider: uuid(&provider.m_ProviderId),
        class: uuid(&provider.m_ClassId),
        name: take(provider.m_pwszProviderName),
        kind: ProviderType(provider.m_eProviderType.0.cast_unsigned()),
        version: take(provider.m_pwszProviderVersion),
        version_id: uuid(&provider.m_ProviderVersionId),
    })
}

fn take(text: *mut u16) -> String {
    if text.is_null() {
        return String::new();
    }
    // SAFETY: it is not null, and ends with a zero as all texts of VSS.
    let owned = unsafe { PCWSTR(text).to_hstring() };
    // SAFETY: VSS allocated it there and has given it away.
    unsafe { CoTaskMemFree(Some(text.cast())) };
    owned.to_string_lossy()
}
