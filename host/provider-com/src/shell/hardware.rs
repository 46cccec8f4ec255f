//! `IVssHardwareSnapshotProvider` and its Ex interface.

use lunshadow_vss::{Context, DeviceName, HResult, LunInformation, LunStateChange, Method, SnapshotId, SnapshotSetId};
use lunshadow_vss_com::{ComTaskMemory, StructureError, read_device, read_devices, read_luns, uuid, write_back};
use windows::Win32::Storage::VirtualDiskService::VDS_LUN_INFORMATION;
use windows::Win32::Storage::Vss::{IVssAsync, IVssHardwareSnapshotProvider_Impl, IVssHardwareSnapshotProviderEx_Impl};
use windows_core::{BOOL, GUID, Result};

use super::operation::Operation;
use super::{Shell_Impl, com_error};

/// A Boolean of the caller, false until it is set.
fn cleared<'a>(place: *mut BOOL) -> std::result::Result<&'a mut BOOL, StructureError> {
    // SAFETY: NULL, or a Boolean of the caller that outlives the call.
    let place = unsafe { place.as_mut() }.ok_or(StructureError::NullPointer)?;
    *place = BOOL::from(false);
    Ok(place)
}

/// The LUNs of a call.
fn luns<C: TryInto<usize>>(
    count: C,
    luns: *const VDS_LUN_INFORMATION,
) -> std::result::Result<Vec<LunInformation>, StructureError> {
    // SAFETY: what COM hands over: counts belong to their arrays, and strings end with a zero.
    unsafe { read_luns(count, luns) }
}

/// The device names of a call.
fn devices(count: i32, names: *const *const u16) -> std::result::Result<Vec<DeviceName>, StructureError> {
    // SAFETY: as in `luns`.
    unsafe { read_devices(count, names) }
}

/// A device name.
fn device(name: *const u16) -> std::result::Result<Option<DeviceName>, StructureError> {
    // SAFETY: as in `luns`.
    unsafe { read_device(name) }
}

/// Writes the provider's changes into what came in.
fn changed(
    luns: *mut VDS_LUN_INFORMATION,
    before: &[LunInformation],
    after: &[LunInformation],
) -> std::result::Result<(), StructureError> {
    // SAFETY: `before` was read from `luns` in the same call.
    unsafe { write_back(&ComTaskMemory, luns, before, after) }
}

impl IVssHardwareSnapshotProvider_Impl for Shell_Impl {
    fn AreLunsSupported(
        &self,
        count: i32,
        context: i32,
        names: *const *const u16,
        array: *mut VDS_LUN_INFORMATION,
        supported: *mut BOOL,
    ) -> Result<()> {
        let answer = self.call(Method::AreLunsSupported, |provider| {
            let supported = cleared(supported)?;
            let (devices, before) = (devices(count, names)?, luns(count, array)?);
            let mut after = before.clone();
            let context = Context::from_bits_retain(context.cast_unsigned());
            let answer = provider.are_luns_supported(context, &devices, &mut after)?;
            changed(array, &before, &after)?;
            *supported = answer.into();
            Ok(())
        });
        answer.map_err(com_error)
    }

    /// VSS ignores the code, so the Boolean is true with success only.
    fn FillInLunInfo(&self, name: *const u16, lun: *mut VDS_LUN_INFORMATION, supported: *mut BOOL) -> Result<()> {
        let answer = self.call(Method::FillInLunInfo, |provider| {
            let supported = cleared(supported)?;
            let device = device(name)?.unwrap_or_else(|| DeviceName(String::new()));
            let before = luns(1_u32, lun)?;
            let mut after = before.clone();
            let [filled] = after.as_mut_slice() else { return Err(StructureError::NullPointer.into()) };
            let (code, answer) = provider.fill_in_lun_info(&device, filled);
            if code != HResult::S_OK {
                return Err(code.into());
            }
            if answer {
                changed(lun, &before, &after)?;
                *supported = true.into();
            }
            Ok(())
        });
        answer.map_err(com_error)
    }

    fn BeginPrepareSnapshot(
        &self,
        set: &GUID,
        snapshot: &GUID,
        context: i32,
        count: i32,
        names: *const *const u16,
        array: *mut VDS_LUN_INFORMATION,
    ) -> Result<()> {
        let answer = self.call(Method::BeginPrepareSnapshot, |provider| {
            let (devices, before) = (devices(count, names)?, luns(count, array)?);
            let mut after = before.clone();
            let (set, snapshot) = (SnapshotSetId(uuid(set)), SnapshotId(uuid(snapshot)));
            let context = Context::from_bits_retain(context.cast_unsigned());
            provider.begin_prepare_snapshot(set, snapshot, context, &devices, &mut after)?;
            Ok(changed(array, &before, &after)?)
        });
        answer.map_err(com_error)
    }

    /// Destinations are empty structures. One that is not keeps what its storage has no room for.
    fn GetTargetLuns(
        &self,
        count: i32,
        names: *const *const u16,
        sources: *const VDS_LUN_INFORMATION,
        destinations: *mut VDS_LUN_INFORMATION,
    ) -> Result<()> {
        let answer = self.call(Method::GetTargetLuns, |provider| {
            let (devices, sources, empty) = (devices(count, names)?, luns(count, sources)?, luns(count, destinations)?);
            let targets = provider.get_target_luns(&devices, &sources)?;
            if targets.len() != sources.len() {
                return Err(HResult::E_UNEXPECTED.into());
            }
            Ok(changed(destinations, &empty, &targets)?)
        });
        answer.map_err(com_error)
    }

    fn LocateLuns(&self, count: i32, shadows: *const VDS_LUN_INFORMATION) -> Result<()> {
        let answer = self.call(Method::LocateLuns, |provider| Ok(provider.locate_luns(&luns(count, shadows)?)?));
        answer.map_err(com_error)
    }

    fn OnLunEmpty(&self, name: *const u16, lun: *const VDS_LUN_INFORMATION) -> Result<()> {
        let answer = self.call(Method::OnLunEmpty, |provider| {
            let device = device(name)?;
            let lun = luns(u32::from(!lun.is_null()), lun)?;
            Ok(provider.on_lun_empty(device.as_ref(), lun.first())?)
        });
        answer.map_err(com_error)
    }
}

impl IVssHardwareSnapshotProviderEx_Impl for Shell_Impl {
    fn GetProviderCapabilities(&self) -> Result<u64> {
        let answer = self.call(Method::GetProviderCapabilities, |provider| Ok(provider.get_provider_capabilities()?));
        answer.map_err(com_error)
    }

    /// The originals may be missing whatever the count is.
    fn OnLunStateChange(
        &self,
        shadows: *const VDS_LUN_INFORMATION,
        originals: *const VDS_LUN_INFORMATION,
        count: u32,
        flags: u32,
    ) -> Result<()> {
        let answer = self.call(Method::OnLunStateChange, |provider| {
            let shadows = luns(count, shadows)?;
            let originals = if originals.is_null() { Vec::new() } else { luns(count, originals)? };
            Ok(provider.on_lun_state_change(&shadows, &originals, LunStateChange::from_bits_retain(flags))?)
        });
        answer.map_err(com_error)
    }

    /// The page has no code for bad arguments. What cannot be read is handed on as no LUNs, which the provider vetoes with an event.
    fn ResyncLuns(
        &self,
        shadows: *const VDS_LUN_INFORMATION,
        targets: *const VDS_LUN_INFORMATION,
        count: u32,
    ) -> Result<IVssAsync> {
        let answer = self.call(Method::ResyncLuns, |provider| {
            let pairs = luns(count, shadows).and_then(|shadows| Ok((shadows, luns(count, targets)?)));
            let (shadows, targets) = pairs.unwrap_or_default();
            Ok(provider.resync_luns(&shadows, &targets)?)
        });
        let running = answer.map_err(com_error)?;
        Ok(Operation::new(running, self.on_panic.clone(), self.held.another()).into())
    }

    /// As `ResyncLuns`: there is no code for bad arguments.
    fn OnReuseLuns(
        &self,
        shadows: *const VDS_LUN_INFORMATION,
        originals: *const VDS_LUN_INFORMATION,
        count: u32,
    ) -> Result<()> {
        let answer = self.call(Method::OnReuseLuns, |provider| {
            let (shadows, originals) =
                (luns(count, shadows).unwrap_or_default(), luns(count, originals).unwrap_or_default());
            Ok(provider.on_reuse_luns(&shadows, &originals)?)
        });
        answer.map_err(com_error)
    }
}
