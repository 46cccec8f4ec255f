//! Objects that lack an interface.
#![expect(clippy::inline_always, clippy::ref_as_ptr, reason = "what the macro that implements interfaces makes")]

use windows::Win32::Foundation::E_NOTIMPL;
use windows::Win32::Storage::VirtualDiskService::VDS_LUN_INFORMATION;
use windows::Win32::Storage::Vss::{
    IVssHardwareSnapshotProvider_Impl, IVssHardwareSnapshotProviderEx_Impl, IVssProviderCreateSnapshotSet_Impl,
};
use windows_core::{GUID, implement};

use super::*;

/// A provider of the time before Windows Server 2008, which nobody loads either.
#[implement(IVssHardwareSnapshotProvider, IVssProviderCreateSnapshotSet)]
struct Legacy;

/// One of today that nobody loads.
#[implement(IVssHardwareSnapshotProviderEx, IVssProviderCreateSnapshotSet)]
struct Unloaded;

/// One that cannot make sets.
#[implement(IVssHardwareSnapshotProvider)]
struct Half;

/// What they all do: preparing says how many LUNs it was called with, everything else is not implemented.
macro_rules! hardware {
    ($($provider:ident),*) => {$(
        impl IVssHardwareSnapshotProvider_Impl for $provider {
            fn AreLunsSupported(
                &self,
                _count: i32,
                _context: i32,
                _names: *const *const u16,
                _luns: *mut VDS_LUN_INFORMATION,
                _supported: *mut BOOL,
            ) -> Result<()> {
                Err(E_NOTIMPL.into())
            }

            fn FillInLunInfo(
                &self,
                _name: *const u16,
                _lun: *mut VDS_LUN_INFORMATION,
                _supported: *mut BOOL,
            ) -> Result<()> {
                Err(E_NOTIMPL.into())
            }

            fn BeginPrepareSnapshot(
                &self,
                _set: &GUID,
                _snapshot: &GUID,
                _context: i32,
                _count: i32,
                _names: *const *const u16,
                _luns: *mut VDS_LUN_INFORMATION,
            ) -> Result<()> {
                Err(E_NOTIMPL.into())
            }

            fn GetTargetLuns(
                &self,
                _count: i32,
                _names: *const *const u16,
                _sources: *const VDS_LUN_INFORMATION,
                _destinations: *mut VDS_LUN_INFORMATION,
            ) -> Result<()> {
                Err(E_NOTIMPL.into())
            }

            fn LocateLuns(&self, _count: i32, _luns: *const VDS_LUN_INFORMATION) -> Result<()> {
                Ok(())
            }

            fn OnLunEmpty(&self, _name: *const u16, _lun: *const VDS_LUN_INFORMATION) -> Result<()> {
                Err(E_NOTIMPL.into())
            }
        }
    )*};
}

hardware!(Legacy_Impl, Unloaded_Impl, Half_Impl);

macro_rules! creation {
    ($($provider:ident),*) => {$(
        impl IVssProviderCreateSnapshotSet_Impl for $provider {
            fn EndPrepareSnapshots(&self, _set: &GUID) -> Result<()> {
                Ok(())
            }

            fn PreCommitSnapshots(&self, _set: &GUID) -> Result<()> {
                Err(E_NOTIMPL.into())
            }

            fn CommitSnapshots(&self, _set: &GUID) -> Result<()> {
                Err(E_NOTIMPL.into())
            }

            fn PostCommitSnapshots(&self, _set: &GUID, _count: i32) -> Result<()> {
                Err(E_NOTIMPL.into())
            }

            fn PreFinalCommitSnapshots(&self, _set: &GUID) -> Result<()> {
                Err(E_NOTIMPL.into())
            }

            fn PostFinalCommitSnapshots(&self, _set: &GUID) -> Result<()> {
                Err(E_NOTIMPL.into())
            }

            fn AbortSnapshots(&self, _set: &GUID) -> Result<()> {
                Err(E_NOTIMPL.into())
            }
        }
    )*};
}

creation!(Legacy_Impl, Unloaded_Impl);

impl IVssHardwareSnapshotProviderEx_Impl for Unloaded_Impl {
    fn GetProviderCapabilities(&self) -> Result<u64> {
        Ok(7)
    }

    fn OnLunStateChange(
        &self,
        _shadows: *const VDS_LUN_INFORMATION,
        _originals: *const VDS_LUN_INFORMATION,
        _count: u32,
        _flags: u32,
    ) -> Result<()> {
        Ok(())
    }

    fn ResyncLuns(
        &self,
        _shadows: *const VDS_LUN_INFORMATION,
        _targets: *const VDS_LUN_INFORMATION,
        _count: u32,
    ) -> Result<IVssAsync> {
        Err(E_NOTIMPL.into())
    }

    fn OnReuseLuns(
        &self,
        _shadows: *const VDS_LUN_INFORMATION,
        _originals: *const VDS_LUN_INFORMATION,
        _count: u32,
    ) -> Result<()> {
        Ok(())
    }
}

#[test]
fn p_122_a_provider_that_nobody_loads_is_a_provider() {
    for object in [IUnknown::from(Legacy), Unloaded.into()] {
        let provider = RemoteProvider::of(&object).expect("it has all that it needs");
        assert_eq!((provider.on_load(), provider.on_unload(false)), (Ok(()), Ok(())));
        assert_eq!(provider.end_prepare_snapshots(SnapshotSetId(Uuid::from_u128(1))), Ok(()));
        assert_eq!(provider.locate_luns(&[]), Ok(()));
    }
}

#[test]
fn a_legacy_provider_has_no_methods_of_the_extended_interface() {
    let provider = RemoteProvider::of(&Legacy.into()).expect("it has all that it needs");
    assert!(provider.is_legacy());
    let absent = Err(HResult::E_NOINTERFACE);
    assert_eq!(provider.get_provider_capabilities().map(drop), absent);
    assert_eq!(provider.on_lun_state_change(&[], &[], LunStateChange::DO_MASK_LUNS), absent);
    assert_eq!(provider.resync_luns(&[], &[]).map(drop), absent);
    assert_eq!(provider.on_reuse_luns(&[], &[]), absent);
    let today = RemoteProvider::of(&Unloaded.into()).expect("it has all that it needs");
    assert!(!today.is_legacy());
    assert_eq!(today.get_provider_capabilities(), Ok(7));
    assert_eq!(today.on_lun_state_change(&[], &[], LunStateChange::DO_MASK_LUNS), Ok(()));
}

#[test]
fn an_object_that_cannot_make_sets_is_no_provider() {
    let refused = RemoteProvider::of(&Half.into()).err().expect("it lacks an interface");
    assert_eq!(refused.code().0, HResult::E_NOINTERFACE.0);
}
