//! Serving VSS: as a service, or as a local server.

use std::ffi::OsString;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use lunshadow_vss::Interceptor as _;
use windows_service::service::{
    ServiceControl, ServiceControlAccept, ServiceExitCode, ServiceState, ServiceStatus, ServiceType,
};
use windows_service::service_control_handler::{self, ServiceControlHandlerResult, ServiceStatusHandle};
use windows_service::{define_windows_service, service_dispatcher};

use crate::cli::IDLE_AFTER_S;
use crate::config;
use crate::configured::ConfiguredProvider;
use crate::event_log::ApplicationLog;
use crate::ids::{CLASS_ID, SERVICE_NAME};
use crate::server::{Lifetime, ProviderClass, StopSignal, initialise_security, serve_and_tell};

/// How long the service control manager waits for a start or an end before it takes the service for hung.
const PATIENCE: Duration = Duration::from_secs(30);

/// Why the provider does not serve.
#[derive(Debug, thiserror::Error)]
pub(super) enum HostingError {
    /// COM or the event log refused.
    #[error("VSS cannot be served")]
    Refused(#[from] windows_core::Error),
    /// The program is not run by the service control manager.
    #[error("`service` is for the service control manager; start the service {SERVICE_NAME} instead")]
    NotAService(#[from] windows_service::Error),
}

/// The provider with this machine's settings, as a class.
fn class() -> windows_core::Result<ProviderClass> {
    let began = Instant::now();
    let log = Arc::new(ApplicationLog::open()?);
    let provider = Arc::new(ConfiguredProvider::new(config::in_use(), log, Arc::new(move || began.elapsed())));
    let faulty = Arc::clone(&provider);
    let on_panic = Arc::new(move |method: &str| faulty.provider().record_panic(method));
    Ok(ProviderClass { class_id: CLASS_ID, provider, on_panic })
}

/// Serves until nobody has needed the provider for a while.
pub(super) fn serve_locally(idle_for: Duration) -> Result<(), HostingError> {
    initialise_security()?;
    let lifetime = Lifetime { idle_for: Some(idle_for), stop: StopSignal::new() };
    Ok(serve_and_tell(class()?, lifetime, || ())?)
}

/// Serves until the service is stopped, or nobody has needed the provider for a while.
pub(super) fn serve_as_service() -> Result<(), HostingError> {
    Ok(service_dispatcher::start(SERVICE_NAME, service_entry)?)
}

define_windows_service!(service_entry, service_main);

/// The reports to the service control manager.
#[derive(Clone, Default)]
struct Reports(Arc<OnceLock<ServiceStatusHandle>>);

impl Reports {
    /// A report that is not taken changes nothing: the manager sees the process end in any case.
    fn report(&self, current_state: ServiceState, exit_code: ServiceExitCode) {
        let is_changing = [ServiceState::StartPending, ServiceState::StopPending].contains(&current_state);
        let is_running = current_state == ServiceState::Running;
        let status = ServiceStatus {
            service_type: ServiceType::OWN_PROCESS,
            current_state,
            controls_accepted: if is_running {
                ServiceControlAccept::STOP | ServiceControlAccept::SHUTDOWN
            } else {
                ServiceControlAccept::empty()
            },
            exit_code,
            checkpoint: 0,
            wait_hint: if is_changing { PATIENCE } else { Duration::ZERO },
            process_id: None,
        };
        if let Some(handle) = self.0.get() {
            handle.set_service_status(status).ok();
        }
    }

    fn succeed(&self, state: ServiceState) {
        self.report(state, ServiceExitCode::NO_ERROR);
    }
}

/// Called by the service control manager on a thread of its own. What COM passes as arguments says nothing that is not known.
fn service_main(_arguments: Vec<OsString>) {
    let (stop, reports) = (StopSignal::new(), Reports::default());
    let (stopped, reporting) = (stop.clone(), reports.clone());
    let handler = move |control| match control {
        ServiceControl::Interrogate => ServiceControlHandlerResult::NoError,
        ServiceControl::Stop | ServiceControl::Shutdown => {
            reporting.succeed(ServiceState::StopPending);
            stopped.stop();
            ServiceControlHandlerResult::NoError
        }
        _ => ServiceControlHandlerResult::NotImplemented,
    };
    let Ok(handle) = service_control_handler::register(SERVICE_NAME, handler) else { return };
    reports.0.get_or_init(|| handle);
    reports.succeed(ServiceState::StartPending);
    let served = serve_for_the_manager(stop, &reports);
    let exit_code = match served {
        Ok(()) => ServiceExitCode::NO_ERROR,
        Err(error) => ServiceExitCode::ServiceSpecific(error.code().0.cast_unsigned()),
    };
    reports.report(ServiceState::Stopped, exit_code);
}

fn serve_for_the_manager(stop: StopSignal, reports: &Reports) -> windows_core::Result<()> {
    initialise_security()?;
    let lifetime = Lifetime { idle_for: Some(Duration::from_secs(IDLE_AFTER_S)), stop };
    serve_and_tell(class()?, lifetime, || reports.succeed(ServiceState::Running))
}
