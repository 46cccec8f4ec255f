//! A class as its clients see it: which interfaces its objects have, whether an object is one, and where it may live.

use std::ptr::null_mut;

use lunshadow_vss::HResult;
use uuid::Uuid;
use windows::Win32::System::Com::{CLSCTX_INPROC_SERVER, CoCreateInstance};
use windows_core::{IUnknown, Interface, Result};

use crate::{activate, apartment, guid};

/// An object of a class in another process, of which nothing is known but that it is an object.
pub struct Surface {
    object: IUnknown,
}

// SAFETY: a proxy of the multi-threaded apartment may be used from every thread of it, and `join_mta` makes all threads such.
unsafe impl Send for Surface {}
// SAFETY: as above.
unsafe impl Sync for Surface {}

impl Surface {
    /// Makes an object of the class, in its local server, which COM starts if it does not run.
    ///
    /// # Errors
    /// What COM says.
    pub fn create(class: Uuid) -> Result<Self> {
        activate(class, |object| Ok(Self { object: object.clone() }))
    }

    /// What the object answers when it is asked for an interface.
    #[must_use]
    pub fn query(&self, interface: Uuid) -> HResult {
        match next(&self.object, interface) {
            Ok(_) => HResult::S_OK,
            Err(code) => code,
        }
    }

    /// Whether the object's `IUnknown` is the same before and after it is asked for these interfaces, for each on the one before.
    ///
    /// # Errors
    /// What the object answered about an interface that it has not.
    pub fn keeps_its_identity(&self, interfaces: &[Uuid]) -> std::result::Result<bool, HResult> {
        let before = identity(&self.object)?;
        let last = interfaces.iter().try_fold(self.object.clone(), |object, interface| next(&object, *interface))?;
        Ok(identity(&last)?.as_raw() == before.as_raw())
    }

    /// What COM answers when an object of the class is to be made in this process.
    ///
    /// # Errors
    /// If there is no COM.
    pub fn create_in_process(class: Uuid) -> Result<HResult> {
        apartment::join_mta()?;
        // SAFETY: COM runs, by the line above. If there is such an object, it is a reference that is ours.
        let made: Result<IUnknown> = unsafe { CoCreateInstance(&guid(class), None, CLSCTX_INPROC_SERVER) };
        Ok(made.map_or_else(|error| HResult(error.code().0), |_| HResult::S_OK))
    }
}

/// An interface of the object, as if it were nothing but an `IUnknown`: every interface begins with one.
pub(crate) fn next(object: &IUnknown, interface: Uuid) -> std::result::Result<IUnknown, HResult> {
    let mut found = null_mut();
    // SAFETY: both are places of ours.
    let answer = unsafe { object.query(&guid(interface), &raw mut found) };
    // SAFETY: it is NULL, or a reference that is ours.
    let found = (!found.is_null()).then(|| unsafe { IUnknown::from_raw(found) });
    match found {
        _ if answer.is_err() => Err(HResult(answer.0)),
        // A success without a pointer is none.
        None => Err(HResult::E_UNEXPECTED),
        Some(found) => Ok(found),
    }
}

/// The pointer by which an object is known to be the same one.
fn identity(object: &IUnknown) -> std::result::Result<IUnknown, HResult> {
    let unknown = IUnknown::IID;
    next(object, crate::uuid(&unknown))
}
