//! The class object: it makes objects for clients.

use std::ffi::c_void;

use parking_lot::Mutex;
use windows::Win32::Foundation::{CLASS_E_NOAGGREGATION, CO_E_SERVER_STOPPING, E_POINTER};
use windows::Win32::System::Com::{IClassFactory, IClassFactory_Impl};
use windows_core::{BOOL, GUID, IUnknown, Interface, Ref, Result, implement};

use super::ProviderClass;
use super::lifetime::{Held, Presence};
use crate::shell::Shell;

#[implement(IClassFactory)]
pub(super) struct ClassObject {
    class: ProviderClass,
    presence: Presence,
    locks: Mutex<Vec<Held>>,
}

impl ClassObject {
    pub(super) fn new(class: ProviderClass, presence: Presence) -> Self {
        Self { class, presence, locks: Mutex::default() }
    }
}

impl IClassFactory_Impl for ClassObject_Impl {
    /// Who comes when the server is about to end is told so, at which COM starts another one.
    fn CreateInstance(&self, outer: Ref<'_, IUnknown>, interface: *const GUID, object: *mut *mut c_void) -> Result<()> {
        // SAFETY: NULL, or a place of COM's.
        let place = unsafe { object.as_mut() }.ok_or(E_POINTER)?;
        *place = std::ptr::null_mut();
        if !outer.is_null() {
            return Err(CLASS_E_NOAGGREGATION.into());
        }
        let held = self.presence.hold().ok_or(CO_E_SERVER_STOPPING)?;
        let shell: IUnknown = Shell::new(self.class.provider.clone(), self.class.on_panic.clone(), held).into();
        // SAFETY: both pointers come from COM, and the place was looked at.
        unsafe { shell.query(interface, object) }.ok()
    }

    fn LockServer(&self, lock: BOOL) -> Result<()> {
        if lock.as_bool() {
            self.locks.lock().push(self.presence.hold().ok_or(CO_E_SERVER_STOPPING)?);
        } else {
            // It is let go of outside the lock.
            let held = self.locks.lock().pop();
            drop(held);
        }
        Ok(())
    }
}
