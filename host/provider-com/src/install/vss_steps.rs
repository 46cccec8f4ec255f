//! The registration with VSS.

use lunshadow_vss_com::{Registration, VssAdmin};
use windows::Win32::Storage::Vss::{VSS_E_PROVIDER_ALREADY_REGISTERED, VSS_E_PROVIDER_NOT_REGISTERED};

use super::{InstallError, Step};
use crate::ids::{CLASS_ID, DISPLAY_NAME, PROVIDER_ID, VERSION, version_id};

fn failed(call: &'static str) -> impl Fn(windows_core::Error) -> InstallError {
    move |error| InstallError::of_vss(call, error.code().0.cast_unsigned())
}

fn connect() -> Result<VssAdmin, InstallError> {
    VssAdmin::connect().map_err(failed("CoCreateInstance of the VSS coordinator"))
}

/// Whether there was a registration to remove.
fn unregister(admin: &VssAdmin) -> Result<bool, InstallError> {
    match admin.unregister(PROVIDER_ID) {
        Ok(()) => Ok(true),
        Err(error) if error.code() == VSS_E_PROVIDER_NOT_REGISTERED => Ok(false),
        Err(error) => Err(failed("UnregisterProvider")(error)),
    }
}

/// What is registered by this program.
fn registration() -> Registration {
    Registration {
        provider: PROVIDER_ID,
        class: CLASS_ID,
        name: DISPLAY_NAME.to_owned(),
        kind: lunshadow_vss::ProviderType::HARDWARE,
        version: VERSION.to_owned(),
        version_id: version_id(),
    }
}

/// Takes the provider away from VSS, if it is registered. This comes before anything is touched, since VSS refuses while it uses the
/// provider (P-09), and a registration without a class makes every shadow copy on the machine fail.
#[derive(Default)]
pub(super) struct Unregister {
    before: Option<Registration>,
}

impl Step for Unregister {
    fn what(&self) -> String {
        "take the provider away from VSS".to_owned()
    }

    fn apply(&mut self) -> Result<(), InstallError> {
        let admin = connect()?;
        let all = admin.providers().map_err(failed("QueryProviders"))?;
        let before = all.into_iter().find(|registration| registration.provider == PROVIDER_ID);
        if unregister(&admin)? {
            self.before = before;
        }
        Ok(())
    }

    fn undo(&mut self) -> Result<(), InstallError> {
        let Some(before) = &self.before else { return Ok(()) };
        connect()?.register(before).map_err(failed("RegisterProvider"))
    }
}

/// Makes the provider known to VSS.
#[derive(Default)]
pub(super) struct Register {
    done: bool,
}

impl Step for Register {
    fn what(&self) -> String {
        "register the provider with VSS".to_owned()
    }

    fn apply(&mut self) -> Result<(), InstallError> {
        let (admin, wanted) = (connect()?, registration());
        let registered = match admin.register(&wanted) {
            // Somebody was faster, or a registration is left that VSS does not list (P-08).
            Err(error) if error.code() == VSS_E_PROVIDER_ALREADY_REGISTERED => {
                unregister(&admin)?;
                admin.register(&wanted)
            }
            answer => answer,
        };
        registered.map_err(failed("RegisterProvider"))?;
        self.done = true;
        Ok(())
    }

    fn undo(&mut self) -> Result<(), InstallError> {
        if self.done { unregister(&connect()?).map(drop) } else { Ok(()) }
    }
}
