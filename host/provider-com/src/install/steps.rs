//! What is installed where, and in which order.

use std::path::PathBuf;

use super::files::{CopyProgram, RemoveFiles, SettingsFolder};
use super::registry_tree::{KeyImage, SetKey};
use super::service_entry::{EnterService, RemoveService, StopService};
use super::vss_steps::{Register, Unregister};
use super::{InstallError, Step};
use crate::config::{Descriptor, default_path};
use crate::folders::program_files;
use crate::ids::{APP_ID, CLASS_ID, DISPLAY_NAME, EVENT_SOURCE, SERVICE_NAME, VERSION};
use crate::server::CALLERS;

/// Who may have COM start the provider, on this machine only: VSS, which runs as SYSTEM, and administrators (execute 1, launch 2, activate 8).
const STARTERS: &str = "O:BAG:BAD:(A;;0xb;;;SY)(A;;0xb;;;BA)";

/// How COM starts the provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hosting {
    /// As a Windows service under LocalSystem.
    Service,
    /// As a program of its own, under the account of the caller.
    LocalServer,
}

/// Where things are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// The installed program.
    pub program: PathBuf,
    /// The folder of the settings.
    pub settings: PathBuf,
}

impl Layout {
    /// `%ProgramFiles%\Lunshadow` and `%ProgramData%\Lunshadow`.
    #[must_use]
    pub fn of_this_machine() -> Self {
        let settings = default_path().parent().map(PathBuf::from).unwrap_or_default();
        Self { program: program_files().join("Lunshadow").join("lunshadow-provider.exe"), settings }
    }

    fn program_text(&self) -> String {
        self.program.display().to_string()
    }

    fn quoted_program(&self) -> String {
        format!("\"{}\"", self.program.display())
    }
}

/// Below HKEY_LOCAL_MACHINE: the COM class.
pub(crate) fn class_key() -> String {
    format!(r"Software\Classes\CLSID\{}", braced(CLASS_ID))
}

/// Below HKEY_LOCAL_MACHINE: its application.
pub(crate) fn app_key() -> String {
    format!(r"Software\Classes\AppID\{}", braced(APP_ID))
}

/// Below HKEY_LOCAL_MACHINE: the source of events.
pub(crate) fn event_source_key() -> String {
    format!(r"SYSTEM\CurrentControlSet\Services\EventLog\Application\{EVENT_SOURCE}")
}

/// Below HKEY_LOCAL_MACHINE: the entry in the list of installed programs.
fn program_list_key() -> String {
    r"Software\Microsoft\Windows\CurrentVersion\Uninstall\Lunshadow".to_owned()
}

fn braced(id: uuid::Uuid) -> String {
    id.braced().to_string().to_uppercase()
}

fn class_image(layout: &Layout, hosting: Hosting) -> KeyImage {
    let image = KeyImage::default().text("", DISPLAY_NAME).text("AppID", &braced(APP_ID));
    match hosting {
        Hosting::Service => image,
        Hosting::LocalServer => {
            let command = format!("{} serve", layout.quoted_program());
            image.key("LocalServer32", KeyImage::default().text("", &command))
        }
    }
}

fn app_image(hosting: Hosting) -> Result<KeyImage, InstallError> {
    let descriptor =
        |sddl| Descriptor::of(sddl).map_err(|error| InstallError::of_system("the permissions of COM", error));
    let (starters, callers) = (descriptor(STARTERS)?, descriptor(CALLERS)?);
    let image = KeyImage::default()
        .text("", DISPLAY_NAME)
        .bytes("LaunchPermission", starters.bytes())
        .bytes("AccessPermission", callers.bytes());
    Ok(match hosting {
        Hosting::Service => image.text("LocalService", SERVICE_NAME),
        Hosting::LocalServer => image,
    })
}

/// 7: errors, warnings and information.
fn event_source_image(layout: &Layout) -> KeyImage {
    KeyImage::default()
        .expanded_text("EventMessageFile", &layout.program_text())
        .number("TypesSupported", 7)
        .number("CustomSource", 1)
}

fn program_list_image(layout: &Layout) -> KeyImage {
    let uninstall = format!("{} uninstall", layout.quoted_program());
    KeyImage::default()
        .text("DisplayName", DISPLAY_NAME)
        .text("DisplayVersion", VERSION)
        .text("DisplayIcon", &layout.program_text())
        .text("Publisher", "The Lunshadow project")
        .text("UninstallString", &uninstall)
        .text("QuietUninstallString", &format!("{uninstall} --quiet"))
        .number("NoModify", 1)
        .number("NoRepair", 1)
}

/// All steps of an installation or upgrade. VSS hears of the provider last, when everything that it needs is there.
///
/// # Errors
/// If a step cannot be prepared.
pub fn installation(layout: &Layout, hosting: Hosting) -> Result<Vec<Box<dyn Step>>, InstallError> {
    let program = layout.program.clone();
    let service: Box<dyn Step> = match hosting {
        Hosting::Service => Box::new(EnterService::new(program.clone())),
        Hosting::LocalServer => Box::new(RemoveService::new(program.clone())),
    };
    Ok(vec![
        Box::new(Unregister::default()),
        Box::new(StopService::default()),
        Box::new(CopyProgram::new(program)),
        Box::new(SettingsFolder::new(layout.settings.clone())),
        Box::new(SetKey::new("the event source", event_source_key(), Some(event_source_image(layout)))),
        service,
        Box::new(SetKey::new("the COM application", app_key(), Some(app_image(hosting)?))),
        Box::new(SetKey::new("the COM class", class_key(), Some(class_image(layout, hosting)))),
        Box::new(SetKey::new("the list of programs", program_list_key(), Some(program_list_image(layout)))),
        Box::new(Register::default()),
    ])
}

/// All steps of a removal. VSS is the first, since it may refuse; files are the last, since they do not come back.
#[must_use]
pub fn removal(layout: &Layout, keep_settings: bool) -> Vec<Box<dyn Step>> {
    let program = layout.program.clone();
    let settings = (!keep_settings).then(|| layout.settings.clone());
    vec![
        Box::new(Unregister::default()),
        Box::new(StopService::default()),
        Box::new(RemoveService::new(program.clone())),
        Box::new(SetKey::new("the COM class", class_key(), None)),
        Box::new(SetKey::new("the COM application", app_key(), None)),
        Box::new(SetKey::new("the event source", event_source_key(), None)),
        Box::new(SetKey::new("the list of programs", program_list_key(), None)),
        Box::new(RemoveFiles::new(program, settings)),
    ]
}
