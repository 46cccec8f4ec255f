//! A provider's interfaces, called through their tables: every answer is the code itself.

use std::ptr::{null, null_mut};

use lunshadow_vss::HResult;
use lunshadow_vss_com::{activate, guid, uuid};
use uuid::Uuid;
use windows::Win32::Storage::VirtualDiskService::VDS_LUN_INFORMATION;
use windows::Win32::Storage::Vss::{
    IVssAsync, IVssHardwareSnapshotProviderEx, IVssProviderCreateSnapshotSet, IVssProviderNotifications,
};
use windows_core::{BOOL, GUID, HSTRING, IUnknown, Interface, Result};

use super::LunArray;

/// One object of a provider's class in another process. Its interfaces may be called from any thread of the multi-threaded apartment.
pub struct RawProvider {
    /// The hardware provider's interface.
    pub hardware: IVssHardwareSnapshotProviderEx,
    /// The interface of the creation.
    pub creation: IVssProviderCreateSnapshotSet,
    /// The interface of loading and unloading.
    pub notifications: IVssProviderNotifications,
}

// SAFETY: the proxies of the multi-threaded apartment may be called from every thread of it, and tests have no other threads.
unsafe impl Send for RawProvider {}
// SAFETY: as above.
unsafe impl Sync for RawProvider {}

/// A code as the tests compare it.
fn code(answer: windows_core::HRESULT) -> HResult {
    HResult(answer.0)
}

/// Device names as an array of pointers; an empty list is NULL.
struct Devices {
    _texts: Vec<HSTRING>,
    pointers: Vec<*const u16>,
}

impl Devices {
    fn new(names: &[Option<&str>]) -> Self {
        let texts: Vec<HSTRING> = names.iter().map(|name| name.unwrap_or_default().into()).collect();
        let pointers =
            names.iter().zip(&texts).map(|(name, text)| if name.is_some() { text.as_ptr() } else { null() }).collect();
        Self { _texts: texts, pointers }
    }

    fn as_ptr(&self) -> *const *const u16 {
        if self.pointers.is_empty() { null() } else { self.pointers.as_ptr() }
    }
}

/// A count as the interfaces want it.
fn count(luns: &LunArray) -> i32 {
    i32::try_from(luns.count()).expect("tests are small")
}

fn pointer(luns: Option<&mut LunArray>) -> *mut VDS_LUN_INFORMATION {
    luns.map_or(null_mut(), LunArray::as_mut_ptr)
}

impl RawProvider {
    /// Makes an object of the class, in its server's process.
    ///
    /// # Errors
    /// What COM says.
    pub fn create(class: GUID) -> Result<Self> {
        activate(uuid(&class), Self::of)
    }

    /// An object that somebody made.
    ///
    /// # Errors
    /// If it is no provider.
    pub fn of(object: &IUnknown) -> Result<Self> {
        Ok(Self { hardware: object.cast()?, creation: object.cast()?, notifications: object.cast()? })
    }

    /// `AreLunsSupported`, with what stands in its Boolean afterwards; it is TRUE before.
    pub fn are_luns_supported(&self, context: i32, devices: &[Option<&str>], luns: &mut LunArray) -> (HResult, bool) {
        let (devices, mut supported) = (Devices::new(devices), BOOL::from(true));
        // SAFETY: arrays are as long as their count, or NULL; the stub copies them.
        let answer = unsafe {
            (self.hardware.vtable().base__.AreLunsSupported)(
                self.hardware.as_raw(),
                count(luns),
                context,
                devices.as_ptr(),
                luns.as_mut_ptr(),
                &raw mut supported,
            )
        };
        (code(answer), supported.as_bool())
    }

    /// `FillInLunInfo` for the first of `luns`.
    pub fn fill_in_lun_info(&self, device: Option<&str>, luns: &mut LunArray) -> (HResult, bool) {
        let (devices, mut supported) = (Devices::new(&[device]), BOOL::from(true));
        // SAFETY: there is one element at least; the stub copies it.
        let answer = unsafe {
            (self.hardware.vtable().base__.FillInLunInfo)(
                self.hardware.as_raw(),
                devices.pointers[0],
                luns.as_mut_ptr(),
                &raw mut supported,
            )
        };
        (code(answer), supported.as_bool())
    }

    /// `BeginPrepareSnapshot`.
    pub fn begin_prepare(
        &self,
        (set, snapshot): (Uuid, Uuid),
        context: i32,
        devices: &[Option<&str>],
        luns: &mut LunArray,
    ) -> HResult {
        let devices = Devices::new(devices);
        // SAFETY: arrays are as long as their count, or NULL; the stub copies them.
        code(unsafe {
            (self.hardware.vtable().base__.BeginPrepareSnapshot)(
                self.hardware.as_raw(),
                guid(set),
                guid(snapshot),
                context,
                count(luns),
                devices.as_ptr(),
                luns.as_mut_ptr(),
            )
        })
    }

    /// `GetTargetLuns`; the destinations tell the count.
    pub fn get_target_luns(&self, sources: Option<&mut LunArray>, destinations: &mut LunArray) -> HResult {
        assert!(sources.as_ref().is_none_or(|sources| sources.count() >= destinations.count()));
        // SAFETY: arrays are as long as the count, or NULL; the stub copies them.
        code(unsafe {
            (self.hardware.vtable().base__.GetTargetLuns)(
                self.hardware.as_raw(),
                count(destinations),
                null(),
                pointer(sources),
                destinations.as_mut_ptr(),
            )
        })
    }

    /// `LocateLuns`. NULL goes with any count.
    pub fn locate(&self, count: i32, luns: Option<&mut LunArray>) -> HResult {
        assert!(luns.as_ref().is_none_or(|luns| i32::try_from(luns.count()).is_ok_and(|length| length >= count)));
        // SAFETY: the array is as long as the count, or NULL.
        code(unsafe { (self.hardware.vtable().base__.LocateLuns)(self.hardware.as_raw(), count, pointer(luns)) })
    }

    /// `OnLunEmpty` for the first of `luns`.
    pub fn on_lun_empty(&self, device: Option<&str>, luns: Option<&mut LunArray>) -> HResult {
        let devices = Devices::new(&[device]);
        // SAFETY: there is one element, or NULL.
        code(unsafe {
            (self.hardware.vtable().base__.OnLunEmpty)(self.hardware.as_raw(), devices.pointers[0], pointer(luns))
        })
    }

    /// `GetProviderCapabilities`, with the mask afterwards; it is all ones before.
    pub fn capabilities(&self) -> (HResult, u64) {
        let mut mask = u64::MAX;
        // SAFETY: the mask is written to only.
        let answer = unsafe { (self.hardware.vtable().GetProviderCapabilities)(self.hardware.as_raw(), &raw mut mask) };
        (code(answer), mask)
    }

    /// `OnLunStateChange`. NULLs go with any count.
    pub fn on_lun_state_change(
        &self,
        shadows: Option<&mut LunArray>,
        originals: Option<&mut LunArray>,
        count: u32,
        flags: u32,
    ) -> HResult {
        // SAFETY: the arrays are as long as the count, or NULL.
        code(unsafe {
            (self.hardware.vtable().OnLunStateChange)(
                self.hardware.as_raw(),
                pointer(shadows),
                pointer(originals),
                count,
                flags,
            )
        })
    }

    /// `ResyncLuns`. NULLs go with any count.
    pub fn resync(
        &self,
        shadows: Option<&mut LunArray>,
        targets: Option<&mut LunArray>,
        count: u32,
    ) -> (HResult, Option<Operation>) {
        let mut operation = null_mut();
        // SAFETY: the arrays are as long as the count, or NULL.
        let answer = unsafe {
            (self.hardware.vtable().ResyncLuns)(
                self.hardware.as_raw(),
                pointer(shadows),
                pointer(targets),
                count,
                &raw mut operation,
            )
        };
        // SAFETY: what is there is NULL or a reference that is ours.
        let operation = (!operation.is_null()).then(|| Operation(unsafe { IVssAsync::from_raw(operation) }));
        (code(answer), operation)
    }

    /// `OnReuseLuns`.
    pub fn reuse(&self, shadows: Option<&mut LunArray>, originals: Option<&mut LunArray>, count: u32) -> HResult {
        // SAFETY: the arrays are as long as the count, or NULL.
        code(unsafe {
            (self.hardware.vtable().OnReuseLuns)(self.hardware.as_raw(), pointer(shadows), pointer(originals), count)
        })
    }

    /// `EndPrepareSnapshots`.
    pub fn end_prepare(&self, set: Uuid) -> HResult {
        // SAFETY: an id is all that is passed.
        code(unsafe { (self.creation.vtable().EndPrepareSnapshots)(self.creation.as_raw(), guid(set)) })
    }

    /// `PreCommitSnapshots`.
    pub fn pre_commit(&self, set: Uuid) -> HResult {
        // SAFETY: an id is all that is passed.
        code(unsafe { (self.creation.vtable().PreCommitSnapshots)(self.creation.as_raw(), guid(set)) })
    }

    /// `CommitSnapshots`.
    pub fn commit(&self, set: Uuid) -> HResult {
        // SAFETY: an id is all that is passed.
        code(unsafe { (self.creation.vtable().CommitSnapshots)(self.creation.as_raw(), guid(set)) })
    }

    /// `PostCommitSnapshots`.
    pub fn post_commit(&self, set: Uuid, snapshot_count: i32) -> HResult {
        // SAFETY: an id and a number are all that is passed.
        code(unsafe { (self.creation.vtable().PostCommitSnapshots)(self.creation.as_raw(), guid(set), snapshot_count) })
    }

    /// `PreFinalCommitSnapshots`.
    pub fn pre_final(&self, set: Uuid) -> HResult {
        // SAFETY: an id is all that is passed.
        code(unsafe { (self.creation.vtable().PreFinalCommitSnapshots)(self.creation.as_raw(), guid(set)) })
    }

    /// `PostFinalCommitSnapshots`.
    pub fn post_final(&self, set: Uuid) -> HResult {
        // SAFETY: an id is all that is passed.
        code(unsafe { (self.creation.vtable().PostFinalCommitSnapshots)(self.creation.as_raw(), guid(set)) })
    }

    /// `AbortSnapshots`.
    pub fn abort(&self, set: Uuid) -> HResult {
        // SAFETY: an id is all that is passed.
        code(unsafe { (self.creation.vtable().AbortSnapshots)(self.creation.as_raw(), guid(set)) })
    }

    /// `OnLoad`, with the callback that VSS passes: none.
    pub fn on_load(&self) -> HResult {
        // SAFETY: NULL is legal there.
        code(unsafe { (self.notifications.vtable().OnLoad)(self.notifications.as_raw(), null_mut()) })
    }

    /// `OnUnload`.
    pub fn on_unload(&self, forced: bool) -> HResult {
        // SAFETY: a Boolean is all that is passed.
        code(unsafe { (self.notifications.vtable().OnUnload)(self.notifications.as_raw(), forced.into()) })
    }
}

/// An `IVssAsync` of another process.
pub struct Operation(IVssAsync);

// SAFETY: as for `RawProvider`.
unsafe impl Send for Operation {}
// SAFETY: as for `RawProvider`.
unsafe impl Sync for Operation {}

impl Operation {
    /// `QueryStatus`: the answer, and the state. `reserved` is passed if there is one.
    pub fn query_status(&self, reserved: Option<&mut i32>) -> (HResult, HResult) {
        let mut state = windows_core::HRESULT(-1);
        let reserved = reserved.map_or(null_mut(), std::ptr::from_mut);
        // SAFETY: both are places of this process, or NULL where that is legal.
        let answer = unsafe { (self.0.vtable().QueryStatus)(self.0.as_raw(), &raw mut state, reserved) };
        (code(answer), code(state))
    }

    /// `Cancel`.
    pub fn cancel(&self) -> HResult {
        // SAFETY: nothing is passed.
        code(unsafe { (self.0.vtable().Cancel)(self.0.as_raw()) })
    }

    /// `Wait`; `u32::MAX` waits for ever.
    pub fn wait(&self, at_most_ms: u32) -> HResult {
        // SAFETY: a number is all that is passed.
        code(unsafe { (self.0.vtable().Wait)(self.0.as_raw(), at_most_ms) })
    }
}
