//! The COM server: a class object for a provider, for as long as somebody needs it.

mod class_object;
mod lifetime;
mod security;
#[cfg(test)]
mod tests;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use lunshadow_vss::{HResult, HardwareProvider};
use lunshadow_vss_com::{apartment, guid};
use uuid::Uuid;
use windows::Win32::System::Com::{
    CLSCTX_LOCAL_SERVER, CoDisconnectObject, CoRegisterClassObject, CoResumeClassObjects, CoRevokeClassObject,
    CoSuspendClassObjects, IClassFactory, REGCLS_MULTIPLEUSE, REGCLS_SUSPENDED,
};
use windows_core::Result;

use class_object::ClassObject;
pub(crate) use lifetime::Held;
pub use lifetime::{Lifetime, StopSignal};
use lifetime::{Presence, Wake};
pub use security::{CALLERS, initialise_security};

pub use crate::shell::OnPanic;

/// How long the end waits for calls that are under way. The longest that answer within it is a commit.
const CALLS_AT_MOST: Duration = Duration::from_secs(10);

/// A class and what its objects do.
#[derive(Clone)]
pub struct ProviderClass {
    /// Under which id clients find it.
    pub class_id: Uuid,
    /// The one provider behind all objects.
    pub provider: Arc<dyn HardwareProvider>,
    /// Told the name of a method that panicked, or whose answer could not be let out. It may be called while writes are held.
    pub on_panic: OnPanic,
}

/// Serves a class until its lifetime ends. The process's security was set before, by [`initialise_security`].
///
/// # Errors
/// What COM says when the class cannot be registered.
pub fn serve(class: ProviderClass, lifetime: Lifetime) -> Result<()> {
    serve_and_tell(class, lifetime, || ())
}

/// As [`serve`], and says when clients can come.
///
/// # Errors
/// As for [`serve`].
pub fn serve_and_tell(class: ProviderClass, lifetime: Lifetime, ready: impl FnOnce()) -> Result<()> {
    apartment::join_mta()?;
    let presence = lifetime.stop.presence();
    presence.open();
    let (class_id, provider) = (guid(class.class_id), Arc::clone(&class.provider));
    let factory: IClassFactory = ClassObject::new(class, lifetime.stop.presence()).into();
    // Suspended at first, so that no client is let in before everything is registered.
    let flags = REGCLS_MULTIPLEUSE | REGCLS_SUSPENDED;
    // SAFETY: the class object is counted, and lives for as long as COM has it.
    let registration = unsafe { CoRegisterClassObject(&raw const class_id, &factory, CLSCTX_LOCAL_SERVER, flags) }?;
    // SAFETY: nothing is passed.
    let resumed = unsafe { CoResumeClassObjects() };
    if resumed.is_ok() {
        ready();
        wait_for_the_end(&*provider, &presence, lifetime.idle_for);
    }
    // SAFETY: registered above, and not revoked yet.
    let revoked = unsafe { CoRevokeClassObject(registration) };
    presence.drain(CALLS_AT_MOST);
    // Objects that clients still have are cut off by COM when the process ends.
    // SAFETY: the class object is counted.
    let disconnected = unsafe { CoDisconnectObject(&factory, None) };
    resumed.and(revoked).and(disconnected)
}

/// Returns when nobody is let in any more, and the provider has been unloaded.
fn wait_for_the_end(provider: &dyn HardwareProvider, presence: &Presence, idle_for: Option<Duration>) {
    loop {
        let forced = presence.wait(idle_for) == Wake::Stopped;
        // A resync that runs, and that nobody holds, is a reason to stay.
        if !forced && unload(provider, false) == Err(HResult::S_FALSE) {
            continue;
        }
        if presence.close() {
            // SAFETY: nothing is passed. Revoking the class does the same for this class, a moment later.
            drop(unsafe { CoSuspendClassObjects() });
            if forced {
                // It ends what waits, and gives up an unfinished set.
                let _forced = unload(provider, true);
            }
            return;
        }
    }
}

/// A panic is no reason to stay.
fn unload(provider: &dyn HardwareProvider, forced: bool) -> std::result::Result<(), HResult> {
    catch_unwind(AssertUnwindSafe(|| provider.on_unload(forced))).unwrap_or(Ok(()))
}

/// Somebody who needs a server that does not run.
#[cfg(test)]
pub(crate) fn held_for_tests() -> Held {
    let presence = StopSignal::new().presence();
    presence.open();
    presence.hold().expect("it is open")
}
