//! Structures made of task memory.

use lunshadow_vss::LunInformation;
use windows::Win32::Storage::VirtualDiskService::{
    VDS_INTERCONNECT, VDS_INTERCONNECT_ADDRESS_TYPE, VDS_LUN_INFORMATION, VDS_STORAGE_BUS_TYPE,
    VDS_STORAGE_DEVICE_ID_DESCRIPTOR, VDS_STORAGE_IDENTIFIER, VDS_STORAGE_IDENTIFIER_CODE_SET,
    VDS_STORAGE_IDENTIFIER_TYPE,
};

use crate::task_memory::Blocks;
use crate::{StructureError, guid};

/// A LUN with all that hangs below it, each buffer a block of its own.
pub(crate) fn build(blocks: &mut Blocks<'_>, lun: &LunInformation) -> Result<VDS_LUN_INFORMATION, StructureError> {
    let identifiers = build_identifiers(blocks, lun)?;
    let mut interconnects = Vec::with_capacity(lun.interconnects.len());
    for interconnect in &lun.interconnects {
        interconnects.push(VDS_INTERCONNECT {
            m_addressType: VDS_INTERCONNECT_ADDRESS_TYPE(interconnect.address_type.cast_signed()),
            m_cbPort: length(&interconnect.port)?,
            m_pbPort: blocks.copy(&interconnect.port)?,
            m_cbAddress: length(&interconnect.address)?,
            m_pbAddress: blocks.copy(&interconnect.address)?,
        });
    }
    Ok(VDS_LUN_INFORMATION {
        m_version: lun.version,
        m_DeviceType: lun.device_type,
        m_DeviceTypeModifier: lun.device_type_modifier,
        m_bCommandQueueing: lun.command_queueing.into(),
        m_BusType: VDS_STORAGE_BUS_TYPE(lun.bus_type.0.cast_signed()),
        m_szVendorId: blocks.text(lun.vendor_id.as_deref())?,
        m_szProductId: blocks.text(lun.product_id.as_deref())?,
        m_szProductRevision: blocks.text(lun.product_revision.as_deref())?,
        m_szSerialNumber: blocks.text(lun.serial_number.as_deref())?,
        m_diskSignature: guid(lun.disk_signature.0),
        m_deviceIdDescriptor: VDS_STORAGE_DEVICE_ID_DESCRIPTOR {
            m_version: lun.descriptor_version,
            m_cIdentifiers: length(&identifiers)?,
            m_rgIdentifiers: blocks.copy(&identifiers)?,
        },
        m_cInterconnects: length(&interconnects)?,
        m_rgInterconnects: blocks.copy(&interconnects)?,
    })
}

/// The elements of a LUN's identifiers; the array itself is the caller's.
pub(crate) fn build_identifiers(
    blocks: &mut Blocks<'_>,
    lun: &LunInformation,
) -> Result<Vec<VDS_STORAGE_IDENTIFIER>, StructureError> {
    let mut identifiers = Vec::with_capacity(lun.identifiers.len());
    for identifier in &lun.identifiers {
        identifiers.push(VDS_STORAGE_IDENTIFIER {
            m_CodeSet: VDS_STORAGE_IDENTIFIER_CODE_SET(identifier.code_set.cast_signed()),
            m_Type: VDS_STORAGE_IDENTIFIER_TYPE(identifier.kind.cast_signed()),
            m_cbIdentifier: length(&identifier.bytes)?,
            m_rgbIdentifier: blocks.copy(&identifier.bytes)?,
        });
    }
    Ok(identifiers)
}

/// A length as structures have it.
pub(crate) fn length<T>(items: &[T]) -> Result<u32, StructureError> {
    u32::try_from(items.len()).map_err(|_| StructureError::CountOutOfRange)
}
