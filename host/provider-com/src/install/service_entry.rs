//! The entry of the Windows service.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use windows::Win32::System::Services::{
    ChangeServiceConfigW, ENUM_SERVICE_TYPE, SC_HANDLE, SERVICE_ERROR, SERVICE_START_TYPE,
};
use windows_core::{HSTRING, PCWSTR};
use windows_service::service::{
    Service, ServiceAccess, ServiceConfig, ServiceErrorControl, ServiceInfo, ServiceStartType, ServiceState,
    ServiceType,
};
use windows_service::service_manager::{ServiceManager, ServiceManagerAccess};

use super::{InstallError, Step};
use crate::ids::{DISPLAY_NAME, SERVICE_NAME};

/// What the list of services shows.
const DESCRIPTION: &str =
    "Makes shadow copies of LUNs on Lunshadow arrays for the Volume Shadow Copy service, which starts it when needed.";

/// For how long a service may take to stop: a call of VSS may be under way.
const STOPPING_AT_MOST: Duration = Duration::from_secs(60);

/// Between two looks at its state.
const PAUSE: Duration = Duration::from_millis(50);

/// `ERROR_SERVICE_DOES_NOT_EXIST`.
const NO_SUCH_SERVICE: i32 = 1060;

/// `ERROR_SERVICE_NOT_ACTIVE`.
const NOT_ACTIVE: i32 = 1062;

fn failed(error: windows_service::Error) -> InstallError {
    InstallError::of_system(format!("the service {SERVICE_NAME}"), as_io(error))
}

fn as_io(error: windows_service::Error) -> io::Error {
    match error {
        windows_service::Error::Winapi(error) => error,
        other => io::Error::other(other),
    }
}

fn manager(access: ServiceManagerAccess) -> Result<ServiceManager, InstallError> {
    ServiceManager::local_computer(None::<&OsStr>, access | ServiceManagerAccess::CONNECT).map_err(failed)
}

/// The service, if there is one.
fn open(access: ServiceAccess) -> Result<Option<Service>, InstallError> {
    match manager(ServiceManagerAccess::empty())?.open_service(SERVICE_NAME, access).map_err(as_io) {
        Ok(service) => Ok(Some(service)),
        Err(error) if error.raw_os_error() == Some(NO_SUCH_SERVICE) => Ok(None),
        Err(error) => Err(InstallError::of_system(format!("the service {SERVICE_NAME}"), error)),
    }
}

/// The service, as it is entered and as it is now.
pub(crate) struct ServiceView {
    /// Its command line.
    pub(crate) command: String,
    pub(crate) start_type: ServiceStartType,
    pub(crate) state: ServiceState,
}

impl ServiceView {
    /// `None` if there is no service.
    pub(crate) fn look() -> Result<Option<Self>, InstallError> {
        let Some(service) = open(ServiceAccess::QUERY_STATUS | ServiceAccess::QUERY_CONFIG)? else { return Ok(None) };
        let config = service.query_config().map_err(failed)?;
        Ok(Some(Self {
            command: config.executable_path.to_string_lossy().into_owned(),
            start_type: config.start_type,
            state: service.query_status().map_err(failed)?.current_state,
        }))
    }
}

/// The service of this program at this place.
fn info(program: PathBuf, start_type: ServiceStartType) -> ServiceInfo {
    ServiceInfo {
        name: SERVICE_NAME.into(),
        display_name: DISPLAY_NAME.into(),
        service_type: ServiceType::OWN_PROCESS,
        start_type,
        error_control: ServiceErrorControl::Normal,
        executable_path: program,
        launch_arguments: vec![OsString::from("service")],
        dependencies: Vec::new(),
        account_name: None,
        account_password: None,
    }
}

fn create(program: PathBuf, start_type: ServiceStartType) -> Result<(), InstallError> {
    let service = manager(ServiceManagerAccess::CREATE_SERVICE)?
        .create_service(&info(program, start_type), ServiceAccess::CHANGE_CONFIG)
        .map_err(failed)?;
    service.set_description(DESCRIPTION).map_err(failed)
}

/// Writes back what was there, with its command line as it was.
fn restore(service: &Service, config: &ServiceConfig) -> Result<(), InstallError> {
    let command = HSTRING::from(config.executable_path.as_os_str());
    let name = HSTRING::from(config.display_name.as_os_str());
    let none = PCWSTR::null();
    // SAFETY: the handle is open, and the texts end with a zero and outlive the call; what is null stays as it is.
    unsafe {
        ChangeServiceConfigW(
            SC_HANDLE(service.raw_handle()),
            ENUM_SERVICE_TYPE(config.service_type.bits()),
            SERVICE_START_TYPE(config.start_type.to_raw()),
            SERVICE_ERROR(config.error_control.to_raw()),
            &command,
            none,
            None,
            none,
            none,
            none,
            &name,
        )
    }
    .map_err(|error| InstallError::of_system(format!("the service {SERVICE_NAME}"), error))
}

fn delete(service: &Service) -> Result<(), InstallError> {
    service.delete().map_err(failed)
}

/// Stops the service if it runs.
#[derive(Default)]
pub(super) struct StopService {
    was_running: bool,
}

impl Step for StopService {
    fn what(&self) -> String {
        "stop the service".to_owned()
    }

    fn apply(&mut self) -> Result<(), InstallError> {
        let Some(service) = open(ServiceAccess::QUERY_STATUS | ServiceAccess::STOP)? else { return Ok(()) };
        let state = |service: &Service| service.query_status().map(|status| status.current_state).map_err(failed);
        self.was_running = state(&service)? != ServiceState::Stopped;
        if !self.was_running {
            return Ok(());
        }
        match service.stop().map_err(as_io) {
            Err(error) if error.raw_os_error() != Some(NOT_ACTIVE) => {
                return Err(InstallError::of_system(format!("the service {SERVICE_NAME}"), error));
            }
            _ => {}
        }
        let began = Instant::now();
        while state(&service)? != ServiceState::Stopped {
            if began.elapsed() >= STOPPING_AT_MOST {
                return Err(InstallError::ServiceDoesNotStop { name: SERVICE_NAME.to_owned() });
            }
            thread::sleep(PAUSE);
        }
        Ok(())
    }

    /// VSS starts it when it is needed, so nothing is lost if it does not start now.
    fn undo(&mut self) -> Result<(), InstallError> {
        if self.was_running
            && let Some(service) = open(ServiceAccess::START)?
        {
            drop(service.start::<&OsStr>(&[]));
        }
        Ok(())
    }
}

/// Makes the entry, or changes the one that is there; whether and when it starts stays the administrator's choice.
pub(super) struct EnterService {
    program: PathBuf,
    before: Option<ServiceConfig>,
    created: bool,
}

impl EnterService {
    pub(super) fn new(program: PathBuf) -> Self {
        Self { program, before: None, created: false }
    }
}

impl Step for EnterService {
    fn what(&self) -> String {
        format!("make the service {SERVICE_NAME}")
    }

    fn apply(&mut self) -> Result<(), InstallError> {
        let access = ServiceAccess::QUERY_CONFIG | ServiceAccess::CHANGE_CONFIG;
        let Some(service) = open(access)? else {
            self.created = true;
            return create(self.program.clone(), ServiceStartType::OnDemand);
        };
        let before = service.query_config().map_err(failed)?;
        let wanted = info(self.program.clone(), before.start_type);
        self.before = Some(before);
        service.change_config(&wanted).map_err(failed)?;
        service.set_description(DESCRIPTION).map_err(failed)
    }

    fn undo(&mut self) -> Result<(), InstallError> {
        let access = ServiceAccess::QUERY_CONFIG | ServiceAccess::CHANGE_CONFIG | ServiceAccess::DELETE;
        match (open(access)?, &self.before) {
            (Some(service), Some(before)) => restore(&service, before),
            (Some(service), None) if self.created => delete(&service),
            _ => Ok(()),
        }
    }
}

/// Removes the entry.
pub(super) struct RemoveService {
    program: PathBuf,
    before: Option<ServiceConfig>,
}

impl RemoveService {
    pub(super) fn new(program: PathBuf) -> Self {
        Self { program, before: None }
    }
}

impl Step for RemoveService {
    fn what(&self) -> String {
        format!("remove the service {SERVICE_NAME}")
    }

    fn apply(&mut self) -> Result<(), InstallError> {
        let Some(service) = open(ServiceAccess::QUERY_CONFIG | ServiceAccess::DELETE)? else { return Ok(()) };
        self.before = Some(service.query_config().map_err(failed)?);
        delete(&service)
    }

    fn undo(&mut self) -> Result<(), InstallError> {
        let Some(before) = &self.before else { return Ok(()) };
        let access = ServiceAccess::QUERY_CONFIG | ServiceAccess::CHANGE_CONFIG;
        if open(access)?.is_none() {
            create(self.program.clone(), before.start_type)?;
        }
        open(access)?.map_or(Ok(()), |service| restore(&service, before))
    }
}
