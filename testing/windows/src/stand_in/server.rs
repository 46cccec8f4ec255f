//! The process: it registers the coordinator's class and serves until it is ended with its Wine server.

use windows::Win32::System::Com::{
    CLSCTX_LOCAL_SERVER, COINIT_MULTITHREADED, CoInitializeEx, CoRegisterClassObject, IClassFactory,
    IClassFactory_Impl, REGCLS_MULTIPLEUSE,
};
use windows_core::{BOOL, GUID, IUnknown, Interface, Ref, Result, implement};
use windows_registry::LOCAL_MACHINE;

use super::COORDINATOR_CLASS;
use super::admin::Admin;

#[implement(IClassFactory)]
struct Factory;

impl IClassFactory_Impl for Factory_Impl {
    fn CreateInstance(
        &self,
        outer: Ref<'_, IUnknown>,
        interface: *const GUID,
        object: *mut *mut core::ffi::c_void,
    ) -> Result<()> {
        if !outer.is_null() {
            return Err(windows::Win32::Foundation::CLASS_E_NOAGGREGATION.into());
        }
        let admin: IUnknown = Admin.into();
        // SAFETY: both pointers come from COM, which passes valid ones.
        unsafe { admin.query(interface, object) }.ok()
    }

    fn LockServer(&self, _lock: BOOL) -> Result<()> {
        Ok(())
    }
}

/// Writes the class's registration, with this program as its local server.
///
/// # Errors
/// What the registry says.
pub fn register_class() -> Result<()> {
    let program = std::env::current_exe().map_err(windows_core::Error::from)?;
    let class = LOCAL_MACHINE.create(format!(r"Software\Classes\CLSID\{COORDINATOR_CLASS}"))?;
    class.set_string("", "A stand-in for the coordinator of VSS")?;
    class.create("LocalServer32")?.set_string("", format!("\"{}\" serve", program.display()))
}

/// Serves the class, for ever.
///
/// # Errors
/// What COM says when the class cannot be registered.
pub fn serve() -> Result<()> {
    // SAFETY: the first call of COM on this thread.
    unsafe { CoInitializeEx(None, COINIT_MULTITHREADED) }.ok()?;
    let class = GUID::try_from(COORDINATOR_CLASS.trim_matches(['{', '}']))?;
    let factory: IClassFactory = Factory.into();
    // SAFETY: the factory outlives the process, which never returns from here.
    unsafe { CoRegisterClassObject(&class, &factory, CLSCTX_LOCAL_SERVER, REGCLS_MULTIPLEUSE) }?;
    loop {
        std::thread::park();
    }
}
