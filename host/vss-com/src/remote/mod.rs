//! A provider in another process.

mod arrays;
mod operation;
#[cfg(test)]
mod tests;

use std::ptr::{null, null_mut};

use lunshadow_vss::{
    Async, Context, CreateSnapshotSet, DeviceName, HResult, HardwareProvider, LunInformation, LunStateChange,
    SnapshotId, SnapshotSetId,
};
use uuid::Uuid;
use windows::Win32::Storage::Vss::{
    IVssAsync, IVssHardwareSnapshotProvider, IVssHardwareSnapshotProviderEx, IVssProviderCreateSnapshotSet,
    IVssProviderNotifications,
};
use windows_core::{BOOL, HRESULT, HSTRING, IUnknown, Interface, Result};

use crate::{activate, guid};
pub(crate) use arrays::code_of;
use arrays::{Devices, LunArray};
use operation::RemoteOperation;

/// A provider's class in another process, as a [`HardwareProvider`].
///
/// Answers are the codes that came back, legal or not. A process that is gone answers with COM's own codes, such as `0x800706BA` (the
/// server is unavailable) and `0x800706BE` (the call failed); for a new process a new `RemoteProvider` is made.
///
/// An object may lack two interfaces. Without `IVssHardwareSnapshotProviderEx` it is a legacy provider (section 2.3), and that interface's methods
/// answer [`HResult::E_NOINTERFACE`]. Without `IVssProviderNotifications` nobody loads it (P-122), which is a success.
pub struct RemoteProvider {
    hardware: IVssHardwareSnapshotProvider,
    extended: Option<IVssHardwareSnapshotProviderEx>,
    creation: IVssProviderCreateSnapshotSet,
    notifications: Option<IVssProviderNotifications>,
}

// SAFETY: proxies of the multi-threaded apartment may be used from every thread of it, and `join_mta` makes all threads such.
unsafe impl Send for RemoteProvider {}
// SAFETY: as above.
unsafe impl Sync for RemoteProvider {}

impl RemoteProvider {
    /// Makes an object of the class, in its local server, which COM starts if it does not run.
    ///
    /// # Errors
    /// What COM says.
    pub fn create(class: Uuid) -> Result<Self> {
        activate(class, Self::of)
    }

    /// An object with the interfaces that it has.
    fn of(object: &IUnknown) -> Result<Self> {
        let extended: Option<IVssHardwareSnapshotProviderEx> = if_there(object)?;
        let hardware = match &extended {
            Some(extended) => extended.clone().into(),
            None => object.cast()?,
        };
        Ok(Self { hardware, extended, creation: object.cast()?, notifications: if_there(object)? })
    }

    fn extended(&self) -> std::result::Result<&IVssHardwareSnapshotProviderEx, HResult> {
        self.extended.as_ref().ok_or(HResult::E_NOINTERFACE)
    }

    /// One of the calls of the creation that have a set's id only.
    fn step(&self, set: SnapshotSetId, step: Step) -> std::result::Result<(), HResult> {
        let table = self.creation.vtable();
        let method = match step {
            Step::EndPrepare => table.EndPrepareSnapshots,
            Step::PreCommit => table.PreCommitSnapshots,
            Step::Commit => table.CommitSnapshots,
            Step::PreFinal => table.PreFinalCommitSnapshots,
            Step::PostFinal => table.PostFinalCommitSnapshots,
            Step::Abort => table.AbortSnapshots,
        };
        // SAFETY: an id is all that is passed.
        outcome(unsafe { method(self.creation.as_raw(), guid(set.0)) })
    }
}

/// An interface that an object may lack.
fn if_there<T: Interface>(object: &IUnknown) -> Result<Option<T>> {
    match object.cast() {
        Err(error) if error.code().0 == HResult::E_NOINTERFACE.0 => Ok(None),
        answer => answer.map(Some),
    }
}

#[derive(Clone, Copy)]
enum Step {
    EndPrepare,
    PreCommit,
    Commit,
    PreFinal,
    PostFinal,
    Abort,
}

/// Success is `S_OK` alone; every other code is for the caller to judge.
fn outcome(answer: HRESULT) -> std::result::Result<(), HResult> {
    if answer == HRESULT(0) { Ok(()) } else { Err(HResult(answer.0)) }
}

/// Takes over what came back, after a success.
fn take_over(luns: &mut [LunInformation], array: &LunArray) -> std::result::Result<(), HResult> {
    luns.clone_from_slice(&array.read()?);
    Ok(())
}

impl CreateSnapshotSet for RemoteProvider {
    fn end_prepare_snapshots(&self, set: SnapshotSetId) -> std::result::Result<(), HResult> {
        self.step(set, Step::EndPrepare)
    }

    fn pre_commit_snapshots(&self, set: SnapshotSetId) -> std::result::Result<(), HResult> {
        self.step(set, Step::PreCommit)
    }

    fn commit_snapshots(&self, set: SnapshotSetId) -> std::result::Result<(), HResult> {
        self.step(set, Step::Commit)
    }

    fn post_commit_snapshots(&self, set: SnapshotSetId, snapshot_count: i32) -> std::result::Result<(), HResult> {
        // SAFETY: an id and a number are all that is passed.
        outcome(unsafe {
            (self.creation.vtable().PostCommitSnapshots)(self.creation.as_raw(), guid(set.0), snapshot_count)
        })
    }

    fn pre_final_commit_snapshots(&self, set: SnapshotSetId) -> std::result::Result<(), HResult> {
        self.step(set, Step::PreFinal)
    }

    fn post_final_commit_snapshots(&self, set: SnapshotSetId) -> std::result::Result<(), HResult> {
        self.step(set, Step::PostFinal)
    }

    fn abort_snapshots(&self, set: SnapshotSetId) -> std::result::Result<(), HResult> {
        self.step(set, Step::Abort)
    }
}

impl HardwareProvider for RemoteProvider {
    fn is_legacy(&self) -> bool {
        self.extended.is_none()
    }

    fn are_luns_supported(
        &self,
        context: Context,
        devices: &[DeviceName],
        luns: &mut [LunInformation],
    ) -> std::result::Result<bool, HResult> {
        let devices = Devices::new(devices, luns.len())?;
        let mut array = LunArray::new(luns)?;
        let mut supported = BOOL::from(false);
        // SAFETY: the arrays are as long as the count, or NULL; the Boolean is a place of ours.
        let answer = unsafe {
            (self.hardware.vtable().AreLunsSupported)(
                self.hardware.as_raw(),
                array.count()?,
                context.bits().cast_signed(),
                devices.as_ptr(),
                array.as_mut_ptr(),
                &raw mut supported,
            )
        };
        outcome(answer)?;
        take_over(luns, &array)?;
        Ok(supported.as_bool())
    }

    fn fill_in_lun_info(&self, device: &DeviceName, lun: &mut LunInformation) -> (HResult, bool) {
        let mut array = match LunArray::new(std::slice::from_ref(lun)) {
            Ok(array) => array,
            Err(code) => return (code, false),
        };
        let device = HSTRING::from(&*device.0);
        let mut supported = BOOL::from(false);
        // SAFETY: the name ends with a zero, there is one structure, and the Boolean is a place of ours.
        let answer = unsafe {
            (self.hardware.vtable().FillInLunInfo)(
                self.hardware.as_raw(),
                device.as_ptr(),
                array.as_mut_ptr(),
                &raw mut supported,
            )
        };
        if let Err(code) = outcome(answer) {
            return (code, supported.as_bool() && answer.is_ok());
        }
        match take_over(std::slice::from_mut(lun), &array) {
            Ok(()) => (HResult::S_OK, supported.as_bool()),
            Err(code) => (code, false),
        }
    }

    fn begin_prepare_snapshot(
        &self,
        set: SnapshotSetId,
        snapshot: SnapshotId,
        context: Context,
        devices: &[DeviceName],
        luns: &mut [LunInformation],
    ) -> std::result::Result<(), HResult> {
        let devices = Devices::new(devices, luns.len())?;
        let mut array = LunArray::new(luns)?;
        // SAFETY: the arrays are as long as the count, or NULL.
        let answer = unsafe {
            (self.hardware.vtable().BeginPrepareSnapshot)(
                self.hardware.as_raw(),
                guid(set.0),
                guid(snapshot.0),
                context.bits().cast_signed(),
                array.count()?,
                devices.as_ptr(),
                array.as_mut_ptr(),
            )
        };
        outcome(answer)?;
        take_over(luns, &array)
    }

    fn get_target_luns(
        &self,
        devices: &[DeviceName],
        sources: &[LunInformation],
    ) -> std::result::Result<Vec<LunInformation>, HResult> {
        let devices = Devices::new(devices, sources.len())?;
        let mut array = LunArray::new(sources)?;
        let mut destinations = LunArray::zeroed(sources.len());
        // SAFETY: the arrays are as long as the count, or NULL; the destinations are empty.
        let answer = unsafe {
            (self.hardware.vtable().GetTargetLuns)(
                self.hardware.as_raw(),
                array.count()?,
                devices.as_ptr(),
                array.as_mut_ptr(),
                destinations.as_mut_ptr(),
            )
        };
        outcome(answer)?;
        destinations.read()
    }

    fn locate_luns(&self, shadows: &[LunInformation]) -> std::result::Result<(), HResult> {
        let mut array = LunArray::new(shadows)?;
        // SAFETY: the array is as long as the count.
        outcome(unsafe {
            (self.hardware.vtable().LocateLuns)(self.hardware.as_raw(), array.count()?, array.as_mut_ptr())
        })
    }

    fn on_lun_empty(
        &self,
        device: Option<&DeviceName>,
        lun: Option<&LunInformation>,
    ) -> std::result::Result<(), HResult> {
        let device = device.map(|device| HSTRING::from(&*device.0));
        let device = device.as_ref().map_or(null(), |device| device.as_ptr());
        let mut array = LunArray::new(lun.map(std::slice::from_ref).unwrap_or_default())?;
        // SAFETY: both are NULL or one of their kind, and outlive the call.
        outcome(unsafe { (self.hardware.vtable().OnLunEmpty)(self.hardware.as_raw(), device, array.as_mut_ptr()) })
    }

    fn get_provider_capabilities(&self) -> std::result::Result<u64, HResult> {
        let (extended, mut mask) = (self.extended()?, 0);
        // SAFETY: the mask is a place of ours.
        let answer = unsafe { (extended.vtable().GetProviderCapabilities)(extended.as_raw(), &raw mut mask) };
        outcome(answer).map(|()| mask)
    }

    fn on_lun_state_change(
        &self,
        shadows: &[LunInformation],
        originals: &[LunInformation],
        change: LunStateChange,
    ) -> std::result::Result<(), HResult> {
        let extended = self.extended()?;
        let (mut shadows, mut originals) = pairs(shadows, originals)?;
        // SAFETY: the arrays are as long as the count, or NULL.
        outcome(unsafe {
            (extended.vtable().OnLunStateChange)(
                extended.as_raw(),
                shadows.as_mut_ptr(),
                originals.as_mut_ptr(),
                shadows.count()?,
                change.bits(),
            )
        })
    }

    fn resync_luns(
        &self,
        shadows: &[LunInformation],
        targets: &[LunInformation],
    ) -> std::result::Result<Box<dyn Async>, HResult> {
        let extended = self.extended()?;
        let (mut shadows, mut targets) = pairs(shadows, targets)?;
        let mut operation = null_mut();
        // SAFETY: the arrays are as long as the count, or NULL; the operation is a place of ours.
        let answer = unsafe {
            (extended.vtable().ResyncLuns)(
                extended.as_raw(),
                shadows.as_mut_ptr(),
                targets.as_mut_ptr(),
                shadows.count()?,
                &raw mut operation,
            )
        };
        // SAFETY: it is NULL or a reference that is ours.
        let operation = (!operation.is_null()).then(|| unsafe { IVssAsync::from_raw(operation) });
        outcome(answer)?;
        // A success without an object would leave nobody who knows how it ends.
        operation.map(|operation| Box::new(RemoteOperation(operation)) as Box<dyn Async>).ok_or(HResult::E_UNEXPECTED)
    }

    fn on_reuse_luns(
        &self,
        shadows: &[LunInformation],
        originals: &[LunInformation],
    ) -> std::result::Result<(), HResult> {
        let extended = self.extended()?;
        let (mut shadows, mut originals) = pairs(shadows, originals)?;
        // SAFETY: the arrays are as long as the count, or NULL.
        outcome(unsafe {
            (extended.vtable().OnReuseLuns)(
                extended.as_raw(),
                shadows.as_mut_ptr(),
                originals.as_mut_ptr(),
                shadows.count()?,
            )
        })
    }

    fn on_load(&self) -> std::result::Result<(), HResult> {
        let Some(notifications) = &self.notifications else { return Ok(()) };
        // SAFETY: the parameter is reserved.
        outcome(unsafe { (notifications.vtable().OnLoad)(notifications.as_raw(), null_mut()) })
    }

    fn on_unload(&self, forced: bool) -> std::result::Result<(), HResult> {
        let Some(notifications) = &self.notifications else { return Ok(()) };
        // SAFETY: a Boolean is all that is passed.
        outcome(unsafe { (notifications.vtable().OnUnload)(notifications.as_raw(), forced.into()) })
    }
}

/// Two arrays of one count; the second may be empty.
fn pairs(first: &[LunInformation], second: &[LunInformation]) -> std::result::Result<(LunArray, LunArray), HResult> {
    if !second.is_empty() && first.len() != second.len() {
        return Err(HResult::E_INVALIDARG);
    }
    Ok((LunArray::new(first)?, LunArray::new(second)?))
}
