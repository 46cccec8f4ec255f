//! The facts, asked of Windows and of the arrays. Nothing here reads a text that Windows translates.

use std::ffi::c_void;
use std::path::{Path, PathBuf};

use lunshadow_vss::ProviderType;
use lunshadow_vss_com::VssAdmin;
use windows::Win32::Foundation::{CloseHandle, FreeLibrary, HANDLE};
use windows::Win32::Storage::FileSystem::{
    CreateFileW, FILE_FLAGS_AND_ATTRIBUTES, FILE_SHARE_READ, FILE_SHARE_WRITE, OPEN_EXISTING,
};
use windows::Win32::System::IO::DeviceIoControl;
use windows::Win32::System::Ioctl::{
    IOCTL_STORAGE_QUERY_PROPERTY, PropertyStandardQuery, STORAGE_PROPERTY_QUERY, StorageDeviceIdProperty,
};
use windows::Win32::System::LibraryLoader::{GetProcAddress, LOAD_LIBRARY_SEARCH_SYSTEM32, LoadLibraryExW};
use windows_core::{HSTRING, PWSTR, s, w};
use windows_registry::LOCAL_MACHINE;
use windows_service::service::{ServiceStartType, ServiceState};

use super::judgements::{
    ArrayFact, DiskFact, EventSourceFact, Facts, HostingFact, ProviderFact, ServiceFact, WindowsKind,
};
use super::parse_device_ids;
use crate::config::load;
use crate::configured::with_causes;
use crate::ids::{PROVIDER_ID, version_id};
use crate::install::{ServiceView, app_key, class_key, event_source_key};
use crate::status;

/// How many disks are looked for. Numbers may have gaps.
const DISK_NUMBERS: u32 = 256;

/// Everything, with the settings at `config`.
#[must_use]
pub fn collect(config: &Path) -> Facts {
    let settings = load(config);
    let arrays = settings.as_ref().map(status::gather).map(|status| status.arrays).unwrap_or_default();
    let service = ServiceView::look().ok().flatten();
    Facts {
        windows: windows_kind(),
        san_policy: number(r"SYSTEM\CurrentControlSet\Services\partmgr\Parameters", "SanPolicy"),
        providers: providers(),
        hosting: hosting(service.as_ref()),
        service: service_fact(service.as_ref()),
        event_source: event_source(),
        disks: (0..DISK_NUMBERS).filter_map(disk).collect(),
        initiator: initiator_name(),
        settings: settings.map(drop).map_err(|error| format!("{}: {}", config.display(), with_causes(&error))),
        arrays: arrays.into_iter().map(|status| ArrayFact { status }).collect(),
    }
}

fn text(key: &str, name: &str) -> Option<String> {
    LOCAL_MACHINE.open(key).and_then(|key| key.get_string(name)).ok()
}

fn number(key: &str, name: &str) -> Option<u32> {
    LOCAL_MACHINE.open(key).and_then(|key| key.get_u32(name)).ok()
}

/// `ProductType` is the same in every language.
fn windows_kind() -> Option<WindowsKind> {
    match text(r"SYSTEM\CurrentControlSet\Control\ProductOptions", "ProductType")?.as_str() {
        "WinNT" => Some(WindowsKind::Client),
        "ServerNT" | "LanmanNT" => Some(WindowsKind::Server),
        _ => None,
    }
}

fn providers() -> Result<Vec<ProviderFact>, String> {
    let all = VssAdmin::connect().and_then(|admin| admin.providers());
    let all = all.map_err(|error| format!("{:#010x}", error.code().0))?;
    let hardware = all.into_iter().filter(|provider| provider.kind == ProviderType::HARDWARE);
    let fact = hardware.map(|provider| ProviderFact {
        name: provider.name,
        id: provider.provider.braced().to_string(),
        is_ours: provider.provider == PROVIDER_ID,
        is_this_build: provider.version_id == version_id(),
    });
    Ok(fact.collect())
}

/// The program of a command line: what is in quotes, or the first word.
fn program_of(command: &str) -> &str {
    match command.strip_prefix('"') {
        Some(quoted) => quoted.split('"').next().unwrap_or_default(),
        None => command.split(' ').next().unwrap_or_default(),
    }
}

fn hosting(service: Option<&ServiceView>) -> HostingFact {
    if LOCAL_MACHINE.open(class_key()).is_err() {
        return HostingFact::NoClass;
    }
    // A service wins over a local server.
    let command = match text(&app_key(), "LocalService") {
        Some(name) => match service {
            Some(service) => service.command.clone(),
            None => return HostingFact::NoService(name),
        },
        None => match text(&format!(r"{}\LocalServer32", class_key()), "") {
            Some(command) => command,
            None => return HostingFact::NoServer,
        },
    };
    let program = program_of(&command).to_owned();
    if PathBuf::from(&program).is_file() { HostingFact::Program(program) } else { HostingFact::ProgramMissing(program) }
}

fn service_fact(service: Option<&ServiceView>) -> Option<ServiceFact> {
    match service {
        Some(service) if service.start_type == ServiceStartType::Disabled => Some(ServiceFact::Disabled),
        Some(service) if service.state == ServiceState::Running => Some(ServiceFact::Running),
        Some(_) => Some(ServiceFact::Stopped),
        None => text(&format!(r"{}\LocalServer32", class_key()), "").map(|_| ServiceFact::NotUsed),
    }
}

fn event_source() -> EventSourceFact {
    match text(&event_source_key(), "EventMessageFile") {
        None => EventSourceFact::Missing,
        Some(file) if Path::new(&file).is_file() => EventSourceFact::Registered(file),
        Some(file) => EventSourceFact::FileMissing(file),
    }
}

/// A disk of this number, if there is one.
fn disk(number: u32) -> Option<DiskFact> {
    let name = format!("PhysicalDrive{number}");
    let path = HSTRING::from(format!(r"\\.\{name}"));
    let sharing = FILE_SHARE_READ | FILE_SHARE_WRITE;
    // SAFETY: the name ends with a zero. Without any access the disk is only asked about itself.
    let handle =
        unsafe { CreateFileW(&path, 0, sharing, None, OPEN_EXISTING, FILE_FLAGS_AND_ATTRIBUTES::default(), None) }
            .ok()?;
    let ids = device_ids(handle).map(|answer| parse_device_ids(&answer));
    // SAFETY: it was opened above, and is closed once.
    drop(unsafe { CloseHandle(handle) });
    Some(DiskFact { name, ids })
}

fn device_ids(disk: HANDLE) -> Option<Vec<u8>> {
    let query = STORAGE_PROPERTY_QUERY {
        PropertyId: StorageDeviceIdProperty,
        QueryType: PropertyStandardQuery,
        ..Default::default()
    };
    let (mut answer, mut returned) = (vec![0_u8; 64 << 10], 0);
    let (query_bytes, answer_bytes) = (u32::try_from(size_of_val(&query)).ok()?, u32::try_from(answer.len()).ok()?);
    // SAFETY: both buffers are as long as is said and outlive the call, which does not return before it is done.
    unsafe {
        DeviceIoControl(
            disk,
            IOCTL_STORAGE_QUERY_PROPERTY,
            Some((&raw const query).cast::<c_void>()),
            query_bytes,
            Some(answer.as_mut_ptr().cast::<c_void>()),
            answer_bytes,
            Some(&raw mut returned),
            None,
        )
    }
    .ok()?;
    answer.truncate(returned as usize);
    Some(answer)
}

/// What Microsoft's iSCSI initiator calls this host. Its library is loaded only here: a Windows without it can run the provider too.
fn initiator_name() -> Option<String> {
    /// `GetIScsiInitiatorNodeNameW`: a buffer of `MAX_ISCSI_NAME_LEN` + 1 characters, and an error code.
    type NodeName = unsafe extern "system" fn(PWSTR) -> u32;
    const NAME_CHARACTERS: usize = 224;
    // SAFETY: a library of the system's folder.
    let library = unsafe { LoadLibraryExW(w!("iscsidsc.dll"), None, LOAD_LIBRARY_SEARCH_SYSTEM32) }.ok()?;
    // SAFETY: the library is loaded, and the name ends with a zero.
    let function = unsafe { GetProcAddress(library, s!("GetIScsiInitiatorNodeNameW")) };
    let name = function.and_then(|function| {
        // SAFETY: the documented signature of this function.
        let node_name = unsafe { std::mem::transmute::<unsafe extern "system" fn() -> isize, NodeName>(function) };
        let mut name = [0_u16; NAME_CHARACTERS + 1];
        // SAFETY: the buffer has the documented length.
        let status = unsafe { node_name(PWSTR(name.as_mut_ptr())) };
        let len = name.iter().position(|unit| *unit == 0)?;
        (status == 0 && len > 0).then(|| String::from_utf16_lossy(&name[..len]))
    });
    // SAFETY: loaded above, and nothing of it is used any more.
    drop(unsafe { FreeLibrary(library) });
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_of_a_command_line_may_be_in_quotes() {
        assert_eq!(program_of(r#""C:\Program Files\a.exe" serve"#), r"C:\Program Files\a.exe");
        assert_eq!(program_of(r"C:\a.exe service"), r"C:\a.exe");
        assert_eq!(program_of(""), "");
    }

    /// Wine has one disk that tells nothing, and no iSCSI initiator; what matters is that nothing fails.
    #[test]
    fn facts_are_collected_where_there_is_little_to_see() {
        let folder = tempfile::tempdir().expect("a folder");
        let facts = collect(&folder.path().join("provider.toml"));
        assert!(facts.arrays.is_empty() && facts.settings.is_ok());
        assert!(facts.windows.is_some(), "every Windows says what it is");
    }
}
