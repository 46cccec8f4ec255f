//! What Rust takes VSS's structures, interfaces and constants to be, as assertions for a compiler of C that has the headers.
//!
//! The sizes and offsets are those of the types that the product is compiled with; the values are those of `host/vss`. The other side
//! is in `testing/windows/layout`: the headers of mingw, and the header that is made of our own description of the interfaces.

use std::mem::offset_of;

use bitflags::Flags;
use lunshadow_vss::{
    BreakOptions, BusType, Context, HResult, LUN_INFORMATION_VERSION, LunStateChange, ObjectType, ProviderType,
    RecoveryOptions, SnapshotState, StorageIdentifier,
};
use windows::Win32::Storage::VirtualDiskService::{
    VDS_INTERCONNECT, VDS_LUN_INFORMATION, VDS_STORAGE_DEVICE_ID_DESCRIPTOR, VDS_STORAGE_IDENTIFIER,
};
use windows::Win32::Storage::Vss::{
    IVssAdmin, IVssAdmin_Vtbl, IVssAsync, IVssAsync_Vtbl, IVssEnumObject, IVssEnumObject_Vtbl,
    IVssHardwareSnapshotProvider, IVssHardwareSnapshotProvider_Vtbl, IVssHardwareSnapshotProviderEx,
    IVssHardwareSnapshotProviderEx_Vtbl, IVssProviderCreateSnapshotSet, IVssProviderCreateSnapshotSet_Vtbl,
    IVssProviderNotifications, IVssProviderNotifications_Vtbl, VSS_OBJECT_PROP, VSS_OBJECT_UNION, VSS_PROVIDER_PROP,
    VSS_SNAPSHOT_PROP,
};
use windows_core::{GUID, Interface};

/// One `CHECK_SIZE` for each structure, one `CHECK_OFFSET` for each of its members.
macro_rules! structures {
    ($($name:ident { $($member:ident),* $(,)? })*) => {
        vec![$(
            format!("CHECK_SIZE({}, {})", stringify!($name), size_of::<$name>()),
            $(format!(
                "CHECK_OFFSET({}, {}, {})", stringify!($name), stringify!($member), offset_of!($name, $member)
            ),)*
        )*]
    };
}

/// One `CHECK_IID` for each interface, one `CHECK_SIZE` for its table, one `CHECK_OFFSET` for each slot.
macro_rules! interfaces {
    ($($name:ident, $table:ident { $($($base:ident).* : $method:ident),* $(,)? })*) => {
        vec![$(
            iid(stringify!($name), &$name::IID),
            format!("CHECK_SIZE({}Vtbl, {})", stringify!($name), size_of::<$table>()),
            $(format!(
                "CHECK_OFFSET({}Vtbl, {}, {})",
                stringify!($name), stringify!($method), offset_of!($table, $($base.)* $method)
            ),)*
        )*]
    };
}

/// All assertions, one a line.
#[must_use]
pub fn assertions() -> Vec<String> {
    [structures(), interfaces(), codes(), enumerations(), flags(), luns()].concat()
}

fn structures() -> Vec<String> {
    structures! {
        VDS_STORAGE_IDENTIFIER { m_CodeSet, m_Type, m_cbIdentifier, m_rgbIdentifier }
        VDS_STORAGE_DEVICE_ID_DESCRIPTOR { m_version, m_cIdentifiers, m_rgIdentifiers }
        VDS_INTERCONNECT { m_addressType, m_cbPort, m_pbPort, m_cbAddress, m_pbAddress }
        VDS_LUN_INFORMATION {
            m_version, m_DeviceType, m_DeviceTypeModifier, m_bCommandQueueing, m_BusType, m_szVendorId, m_szProductId,
            m_szProductRevision, m_szSerialNumber, m_diskSignature, m_deviceIdDescriptor, m_cInterconnects,
            m_rgInterconnects,
        }
        VSS_SNAPSHOT_PROP {
            m_SnapshotId, m_SnapshotSetId, m_lSnapshotsCount, m_pwszSnapshotDeviceObject, m_pwszOriginalVolumeName,
            m_pwszOriginatingMachine, m_pwszServiceMachine, m_pwszExposedName, m_pwszExposedPath, m_ProviderId,
            m_lSnapshotAttributes, m_tsCreationTimestamp, m_eStatus,
        }
        VSS_PROVIDER_PROP {
            m_ProviderId, m_pwszProviderName, m_eProviderType, m_pwszProviderVersion, m_ProviderVersionId, m_ClassId,
        }
        VSS_OBJECT_UNION { Snap, Prov }
        VSS_OBJECT_PROP { Type, Obj }
    }
}

fn interfaces() -> Vec<String> {
    interfaces! {
        IVssEnumObject, IVssEnumObject_Vtbl { base__: QueryInterface, :Next, :Skip, :Reset, :Clone }
        IVssAsync, IVssAsync_Vtbl { base__: AddRef, :Cancel, :Wait, :QueryStatus }
        IVssAdmin, IVssAdmin_Vtbl {
            base__: Release, :RegisterProvider, :UnregisterProvider, :QueryProviders, :AbortAllSnapshotsInProgress,
        }
        IVssProviderCreateSnapshotSet, IVssProviderCreateSnapshotSet_Vtbl {
            :EndPrepareSnapshots, :PreCommitSnapshots, :CommitSnapshots, :PostCommitSnapshots,
            :PreFinalCommitSnapshots, :PostFinalCommitSnapshots, :AbortSnapshots,
        }
        IVssProviderNotifications, IVssProviderNotifications_Vtbl { :OnLoad, :OnUnload }
        IVssHardwareSnapshotProvider, IVssHardwareSnapshotProvider_Vtbl {
            :AreLunsSupported, :FillInLunInfo, :BeginPrepareSnapshot, :GetTargetLuns, :LocateLuns, :OnLunEmpty,
        }
        IVssHardwareSnapshotProviderEx, IVssHardwareSnapshotProviderEx_Vtbl {
            base__: AreLunsSupported, base__: FillInLunInfo, base__: BeginPrepareSnapshot, base__: GetTargetLuns,
            base__: LocateLuns, base__: OnLunEmpty, :GetProviderCapabilities, :OnLunStateChange, :ResyncLuns,
            :OnReuseLuns,
        }
    }
}

fn iid(name: &str, id: &GUID) -> String {
    let bytes: Vec<String> = id.data4.iter().map(|byte| format!("0x{byte:02x}")).collect();
    format!("CHECK_IID(IID_{name}, 0x{:08x}, 0x{:04x}, 0x{:04x}, {})", id.data1, id.data2, id.data3, bytes.join(", "))
}

fn value(name: &str, value: u32) -> String {
    format!("CHECK_VALUE({name}, 0x{value:08x})")
}

fn codes() -> Vec<String> {
    HResult::NAMED.iter().filter_map(|code| Some(value(code.name()?, code.bits()))).collect()
}

fn enumerations() -> Vec<String> {
    let named = |prefix: &str, name: Option<&str>, number: u32| value(&format!("{prefix}{}", name?), number).into();
    let states = SnapshotState::NAMED.iter().filter_map(|it| named("VSS_SS_", it.name(), it.0));
    let providers = ProviderType::NAMED.iter().filter_map(|it| named("VSS_PROV_", it.name(), it.0));
    let objects = ObjectType::NAMED.iter().filter_map(|it| named("VSS_OBJECT_", it.name(), it.0));
    states.chain(providers).chain(objects).collect()
}

fn flags() -> Vec<String> {
    // The contexts are sums of attributes, under names of their own.
    let context = |name: &str| match name.strip_prefix("CTX_") {
        Some(context) => format!("VSS_CTX_{context}"),
        None => format!("VSS_VOLSNAP_ATTR_{name}"),
    };
    [
        flags_of::<Context>(context),
        flags_of::<LunStateChange>(|name| format!("VSS_ONLUNSTATECHANGE_{name}")),
        flags_of::<BreakOptions>(|name| format!("VSS_BREAKEX_FLAG_{name}")),
        flags_of::<RecoveryOptions>(|name| format!("VSS_RECOVERY_{name}")),
    ]
    .concat()
}

fn flags_of<F: Flags<Bits = u32>>(c_name: impl Fn(&str) -> String) -> Vec<String> {
    let named = F::FLAGS.iter().filter(|flag| flag.is_named());
    named.map(|flag| value(&c_name(flag.name()), flag.value().bits())).collect()
}

fn luns() -> Vec<String> {
    vec![
        value("VER_VDS_LUN_INFORMATION", LUN_INFORMATION_VERSION),
        value("VDSBusTypeScsi", BusType::SCSI.0),
        value("VDSBusTypeiScsi", BusType::ISCSI.0),
        value("VDSStorageIdTypeVendorId", StorageIdentifier::VENDOR_ID),
        value("VDSStorageIdTypeEUI64", StorageIdentifier::EUI64),
        value("VDSStorageIdTypeFCPHName", StorageIdentifier::FCPH_NAME),
        value("VDSStorageIdTypeScsiNameString", StorageIdentifier::SCSI_NAME_STRING),
    ]
}
