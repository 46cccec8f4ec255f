//! The registered providers, as VSS keeps them in the registry (section 6.2).

use windows::Win32::Storage::Vss::VSS_PROVIDER_TYPE;
use windows_core::{GUID, HRESULT, Result};
use windows_registry::LOCAL_MACHINE;

use super::PROVIDERS_KEY;

/// `ERROR_FILE_NOT_FOUND` as a `HRESULT`.
const NOT_FOUND: HRESULT = HRESULT::from_win32(2);

/// One registered provider.
pub(super) struct Provider {
    pub(super) id: GUID,
    pub(super) class: GUID,
    pub(super) name: String,
    pub(super) kind: VSS_PROVIDER_TYPE,
    pub(super) version: String,
    pub(super) version_id: GUID,
}

/// A GUID as the registry writes it.
pub(super) fn braced(id: GUID) -> String {
    format!("{{{id:?}}}")
}

fn parse(text: &str) -> Option<GUID> {
    GUID::try_from(text.trim_start_matches('{').trim_end_matches('}')).ok()
}

pub(super) fn is_registered(id: GUID) -> Result<bool> {
    match LOCAL_MACHINE.open(format!(r"{PROVIDERS_KEY}\{}", braced(id))) {
        Ok(_) => Ok(true),
        Err(error) if error.code() == NOT_FOUND => Ok(false),
        Err(error) => Err(error),
    }
}

pub(super) fn add(provider: &Provider) -> Result<()> {
    let key = LOCAL_MACHINE.create(format!(r"{PROVIDERS_KEY}\{}", braced(provider.id)))?;
    key.set_string("", &provider.name)?;
    key.set_u32("Type", provider.kind.0.cast_unsigned())?;
    key.set_string("Version", &provider.version)?;
    key.set_string("VersionId", braced(provider.version_id))?;
    key.create("CLSID")?.set_string("", braced(provider.class))
}

pub(super) fn remove(id: GUID) -> Result<()> {
    LOCAL_MACHINE.create(PROVIDERS_KEY)?.remove_tree(braced(id))
}

/// All registered providers; a key that is not whole is left out, as VSS does.
pub(super) fn all() -> Result<Vec<Provider>> {
    let root = LOCAL_MACHINE.create(PROVIDERS_KEY)?;
    let names: Vec<String> = root.keys()?.collect();
    Ok(names.iter().filter_map(|name| read(&root, name)).collect())
}

fn read(root: &windows_registry::Key, name: &str) -> Option<Provider> {
    let key = root.open(name).ok()?;
    Some(Provider {
        id: parse(name)?,
        class: parse(&key.open("CLSID").ok()?.get_string("").ok()?)?,
        name: key.get_string("").ok()?,
        kind: VSS_PROVIDER_TYPE(key.get_u32("Type").ok()?.cast_signed()),
        version: key.get_string("Version").ok()?,
        version_id: parse(&key.get_string("VersionId").ok()?)?,
    })
}
