//! Structures that came through COM, copied before anybody looks at them. Pointers, counts and lengths are believed within bounds only.

use lunshadow_vss::{BusType, DeviceName, DiskSignature, Interconnect, LunInformation, StorageIdentifier};
use windows::Win32::Storage::VirtualDiskService::{VDS_INTERCONNECT, VDS_LUN_INFORMATION, VDS_STORAGE_IDENTIFIER};

use crate::uuid;

/// How many LUNs a call may have.
pub const LUNS_AT_MOST: usize = 64;

/// How many bytes a string of a LUN may have.
const TEXT_AT_MOST: usize = 4 * 1024;

/// How many UTF-16 units a device's name may have: the limit of paths.
const DEVICE_NAME_AT_MOST: usize = 32 * 1024;

/// How many bytes an identifier or an address may have: more than any page of SCSI has.
const BUFFER_AT_MOST: usize = 64 * 1024;

/// How many identifiers or interconnects a LUN may have.
const ELEMENTS_AT_MOST: usize = 1024;

/// What is wrong with a structure, or with making one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum StructureError {
    /// NULL where something is to be.
    #[error("a pointer is NULL although its count is not zero")]
    NullPointer,
    /// Negative, or more than can be.
    #[error("a count is out of range")]
    CountOutOfRange,
    /// No end within bounds.
    #[error("a string is too long")]
    TextTooLong,
    /// Task memory has run out.
    #[error("out of memory")]
    OutOfMemory,
}

/// The LUNs of a call, as `count` says. NULL is an empty array if the count is zero.
///
/// # Errors
/// If pointers and counts do not fit together, or something is out of bounds.
///
/// # Safety
/// `luns` is NULL or points to as many structures as `count` says; their pointers are NULL or point to what their counts say, and
/// strings end with a zero or are longer than is read.
pub unsafe fn read_luns<C: TryInto<usize>>(
    count: C,
    luns: *const VDS_LUN_INFORMATION,
) -> Result<Vec<LunInformation>, StructureError> {
    let count = count.try_into().map_err(|_| StructureError::CountOutOfRange)?;
    // SAFETY: promised by the caller.
    let luns = unsafe { elements(luns, count, LUNS_AT_MOST) }?;
    // SAFETY: promised by the caller.
    luns.iter().map(|lun| unsafe { read_lun(lun) }).collect()
}

/// One LUN.
///
/// # Errors
/// If something is out of bounds.
///
/// # Safety
/// As for [`read_luns`].
pub unsafe fn read_lun(lun: &VDS_LUN_INFORMATION) -> Result<LunInformation, StructureError> {
    let descriptor = &lun.m_deviceIdDescriptor;
    // SAFETY: promised by the caller, as below.
    let identifiers = unsafe { identifiers_of(lun) }?;
    // SAFETY: as above.
    let interconnects = unsafe { interconnects_of(lun) }?;
    Ok(LunInformation {
        version: lun.m_version,
        device_type: lun.m_DeviceType,
        device_type_modifier: lun.m_DeviceTypeModifier,
        command_queueing: lun.m_bCommandQueueing.as_bool(),
        bus_type: BusType(lun.m_BusType.0.cast_unsigned()),
        // SAFETY: as above.
        vendor_id: unsafe { text(lun.m_szVendorId) }?,
        // SAFETY: as above.
        product_id: unsafe { text(lun.m_szProductId) }?,
        // SAFETY: as above.
        product_revision: unsafe { text(lun.m_szProductRevision) }?,
        // SAFETY: as above.
        serial_number: unsafe { text(lun.m_szSerialNumber) }?,
        disk_signature: DiskSignature(uuid(&lun.m_diskSignature)),
        descriptor_version: descriptor.m_version,
        identifiers: identifiers
            .iter()
            // SAFETY: as above.
            .map(|identifier| unsafe { read_identifier(identifier) })
            .collect::<Result<_, _>>()?,
        interconnects: interconnects
            .iter()
            // SAFETY: as above.
            .map(|interconnect| unsafe { read_interconnect(interconnect) })
            .collect::<Result<_, _>>()?,
    })
}

/// The device names of a call; none for a NULL array. A NULL name is an empty one.
///
/// # Errors
/// If the count or a name is out of bounds.
///
/// # Safety
/// `names` is NULL or points to `count` pointers, which are NULL or point to strings that end with a zero or are longer than is read.
pub unsafe fn read_devices(count: i32, names: *const *const u16) -> Result<Vec<DeviceName>, StructureError> {
    let count = usize::try_from(count).map_err(|_| StructureError::CountOutOfRange)?;
    if names.is_null() {
        return Ok(Vec::new());
    }
    // SAFETY: promised by the caller.
    let names = unsafe { elements(names, count, LUNS_AT_MOST) }?;
    // SAFETY: promised by the caller.
    let name = |name: &*const u16| Ok(unsafe { read_device(*name) }?.unwrap_or_else(|| DeviceName(String::new())));
    names.iter().map(name).collect()
}

/// One device name.
///
/// # Errors
/// If it is too long.
///
/// # Safety
/// `name` is NULL or points to a string that ends with a zero or is longer than is read.
pub unsafe fn read_device(name: *const u16) -> Result<Option<DeviceName>, StructureError> {
    // SAFETY: promised by the caller.
    let units = unsafe { until_zero(name, DEVICE_NAME_AT_MOST) }?;
    Ok(units.map(|units| DeviceName(String::from_utf16_lossy(units))))
}

/// The identifiers that a LUN points to.
///
/// # Safety
/// As for [`read_luns`].
pub(crate) unsafe fn identifiers_of(lun: &VDS_LUN_INFORMATION) -> Result<&[VDS_STORAGE_IDENTIFIER], StructureError> {
    let descriptor = &lun.m_deviceIdDescriptor;
    // SAFETY: promised by the caller.
    unsafe { elements(descriptor.m_rgIdentifiers, length_of(descriptor.m_cIdentifiers)?, ELEMENTS_AT_MOST) }
}

/// The interconnects that a LUN points to.
///
/// # Safety
/// As for [`read_luns`].
pub(crate) unsafe fn interconnects_of(lun: &VDS_LUN_INFORMATION) -> Result<&[VDS_INTERCONNECT], StructureError> {
    // SAFETY: promised by the caller.
    unsafe { elements(lun.m_rgInterconnects, length_of(lun.m_cInterconnects)?, ELEMENTS_AT_MOST) }
}

/// All pointers of a LUN and of what hangs below it; some may be NULL.
///
/// # Safety
/// As for [`read_luns`].
pub(crate) unsafe fn pointers_of(lun: &VDS_LUN_INFORMATION) -> Result<Vec<*mut u8>, StructureError> {
    let mut pointers = vec![lun.m_szVendorId, lun.m_szProductId, lun.m_szProductRevision, lun.m_szSerialNumber];
    // SAFETY: promised by the caller.
    let identifiers = unsafe { identifiers_of(lun) }?;
    pointers.extend(identifiers.iter().map(|identifier| identifier.m_rgbIdentifier));
    // SAFETY: as above.
    let interconnects = unsafe { interconnects_of(lun) }?;
    pointers.extend(interconnects.iter().flat_map(|one| [one.m_pbPort, one.m_pbAddress]));
    pointers.push(lun.m_deviceIdDescriptor.m_rgIdentifiers.cast());
    pointers.push(lun.m_rgInterconnects.cast());
    Ok(pointers)
}

unsafe fn read_identifier(identifier: &VDS_STORAGE_IDENTIFIER) -> Result<StorageIdentifier, StructureError> {
    Ok(StorageIdentifier {
        code_set: identifier.m_CodeSet.0.cast_unsigned(),
        kind: identifier.m_Type.0.cast_unsigned(),
        // SAFETY: promised by the caller.
        bytes: unsafe { bytes(identifier.m_rgbIdentifier, identifier.m_cbIdentifier) }?,
    })
}

unsafe fn read_interconnect(interconnect: &VDS_INTERCONNECT) -> Result<Interconnect, StructureError> {
    Ok(Interconnect {
        address_type: interconnect.m_addressType.0.cast_unsigned(),
        // SAFETY: promised by the caller.
        port: unsafe { bytes(interconnect.m_pbPort, interconnect.m_cbPort) }?,
        // SAFETY: promised by the caller.
        address: unsafe { bytes(interconnect.m_pbAddress, interconnect.m_cbAddress) }?,
    })
}

unsafe fn bytes(pointer: *const u8, length: u32) -> Result<Vec<u8>, StructureError> {
    // SAFETY: promised by the caller.
    let bytes = unsafe { elements(pointer, length_of(length)?, BUFFER_AT_MOST) }?;
    Ok(bytes.to_vec())
}

/// The bytes of an 8-bit string. What is not UTF-8 cannot be shown, and is left as it is when the LUN is written back.
unsafe fn text(pointer: *const u8) -> Result<Option<String>, StructureError> {
    // SAFETY: promised by the caller.
    let bytes = unsafe { until_zero(pointer, TEXT_AT_MOST) }?;
    Ok(bytes.map(|bytes| String::from_utf8_lossy(bytes).into_owned()))
}

/// What stands before the zero; `None` for NULL.
///
/// # Safety
/// `pointer` is NULL or points to a string that ends with a zero or is longer than `at_most`.
pub(crate) unsafe fn until_zero<'a, T: Copy + Default + PartialEq>(
    pointer: *const T,
    at_most: usize,
) -> Result<Option<&'a [T]>, StructureError> {
    if pointer.is_null() {
        return Ok(None);
    }
    let mut length = 0;
    loop {
        // SAFETY: no zero has come yet, so the string goes on to here at least.
        let next = unsafe { pointer.add(length) };
        // SAFETY: as above.
        if unsafe { next.read() } == T::default() {
            break;
        }
        length += 1;
        if length > at_most {
            return Err(StructureError::TextTooLong);
        }
    }
    // SAFETY: all of it was read above.
    Ok(Some(unsafe { std::slice::from_raw_parts(pointer, length) }))
}

fn length_of(count: u32) -> Result<usize, StructureError> {
    usize::try_from(count).map_err(|_| StructureError::CountOutOfRange)
}

/// An array of a structure, if its count can be.
///
/// # Safety
/// `pointer` is NULL or points to `count` elements, unless that is more than `at_most`.
unsafe fn elements<'a, T>(pointer: *const T, count: usize, at_most: usize) -> Result<&'a [T], StructureError> {
    if count > at_most {
        return Err(StructureError::CountOutOfRange);
    }
    if pointer.is_null() {
        return if count == 0 { Ok(&[]) } else { Err(StructureError::NullPointer) };
    }
    // SAFETY: not NULL, and as long as the caller promises.
    Ok(unsafe { std::slice::from_raw_parts(pointer, count) })
}
