//! Arrays of `VDS_LUN_INFORMATION` as VSS would pass them: every nested buffer a task allocation of its own. Each has slack behind it, in
//! which a write beyond its end shows.

use std::collections::BTreeMap;
use std::ffi::CStr;

use lunshadow_vss::{BusType, DiskSignature, Interconnect, LunInformation, StorageIdentifier};
use uuid::Uuid;
use windows::Win32::Storage::VirtualDiskService::{
    VDS_INTERCONNECT, VDS_INTERCONNECT_ADDRESS_TYPE, VDS_LUN_INFORMATION, VDS_STORAGE_BUS_TYPE,
    VDS_STORAGE_DEVICE_ID_DESCRIPTOR, VDS_STORAGE_IDENTIFIER, VDS_STORAGE_IDENTIFIER_CODE_SET,
    VDS_STORAGE_IDENTIFIER_TYPE,
};
use windows::Win32::System::Com::{CoTaskMemAlloc, CoTaskMemFree};
use windows_core::GUID;

/// How much room there is behind each buffer.
const SLACK_BYTES: usize = 256;

/// What it is filled with.
const SLACK: u8 = 0xa5;

/// An array that a test owns, with all that hangs below it.
#[derive(Default)]
pub struct LunArray {
    luns: Vec<VDS_LUN_INFORMATION>,
    /// What was allocated here: address and length without the slack.
    blocks: BTreeMap<usize, usize>,
}

impl LunArray {
    /// As these descriptions say. `None` becomes NULL.
    #[must_use]
    pub fn new(descriptions: &[LunInformation]) -> Self {
        let mut array = Self::default();
        for description in descriptions {
            let lun = array.build(description);
            array.luns.push(lun);
        }
        array
    }

    /// All members zero, as VSS passes destinations.
    #[must_use]
    pub fn zeroed(count: usize) -> Self {
        Self { luns: vec![VDS_LUN_INFORMATION::default(); count], blocks: BTreeMap::new() }
    }

    /// How many elements there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.luns.len()
    }

    /// Where the array begins.
    pub fn as_mut_ptr(&mut self) -> *mut VDS_LUN_INFORMATION {
        self.luns.as_mut_ptr()
    }

    /// What the elements say now.
    #[must_use]
    pub fn read(&self) -> Vec<LunInformation> {
        self.luns.iter().map(read_lun).collect()
    }

    /// The buffers behind whose end somebody wrote.
    #[must_use]
    pub fn overrun(&self) -> usize {
        let is_whole = |(address, length): (&usize, &usize)| {
            let slack = std::ptr::with_exposed_provenance::<u8>(*address).wrapping_add(*length);
            // SAFETY: the block is ours, and this long with its slack.
            let slack = unsafe { std::slice::from_raw_parts(slack, SLACK_BYTES) };
            slack.iter().all(|byte| *byte == SLACK)
        };
        self.blocks.iter().filter(|block| !is_whole(*block)).count()
    }

    fn build(&mut self, lun: &LunInformation) -> VDS_LUN_INFORMATION {
        let identifiers: Vec<VDS_STORAGE_IDENTIFIER> = lun
            .identifiers
            .iter()
            .map(|identifier| VDS_STORAGE_IDENTIFIER {
                m_CodeSet: VDS_STORAGE_IDENTIFIER_CODE_SET(identifier.code_set.cast_signed()),
                m_Type: VDS_STORAGE_IDENTIFIER_TYPE(identifier.kind.cast_signed()),
                m_cbIdentifier: length(&identifier.bytes),
                m_rgbIdentifier: self.block(&identifier.bytes),
            })
            .collect();
        let interconnects: Vec<VDS_INTERCONNECT> = lun
            .interconnects
            .iter()
            .map(|interconnect| VDS_INTERCONNECT {
                m_addressType: VDS_INTERCONNECT_ADDRESS_TYPE(interconnect.address_type.cast_signed()),
                m_cbPort: length(&interconnect.port),
                m_pbPort: self.block(&interconnect.port),
                m_cbAddress: length(&interconnect.address),
                m_pbAddress: self.block(&interconnect.address),
            })
            .collect();
        VDS_LUN_INFORMATION {
            m_version: lun.version,
            m_DeviceType: lun.device_type,
            m_DeviceTypeModifier: lun.device_type_modifier,
            m_bCommandQueueing: lun.command_queueing.into(),
            m_BusType: VDS_STORAGE_BUS_TYPE(lun.bus_type.0.cast_signed()),
            m_szVendorId: self.text(lun.vendor_id.as_deref()),
            m_szProductId: self.text(lun.product_id.as_deref()),
            m_szProductRevision: self.text(lun.product_revision.as_deref()),
            m_szSerialNumber: self.text(lun.serial_number.as_deref()),
            m_diskSignature: GUID::from_u128(lun.disk_signature.0.as_u128()),
            m_deviceIdDescriptor: VDS_STORAGE_DEVICE_ID_DESCRIPTOR {
                m_version: lun.descriptor_version,
                m_cIdentifiers: length(&identifiers),
                m_rgIdentifiers: self.block(&identifiers),
            },
            m_cInterconnects: length(&interconnects),
            m_rgInterconnects: self.block(&interconnects),
        }
    }

    fn text(&mut self, text: Option<&str>) -> *mut u8 {
        let Some(text) = text else { return std::ptr::null_mut() };
        let bytes: Vec<u8> = text.bytes().chain([0]).collect();
        self.block(&bytes)
    }

    /// A task allocation with a copy of `items`; NULL for none.
    fn block<T: Copy>(&mut self, items: &[T]) -> *mut T {
        if items.is_empty() {
            return std::ptr::null_mut();
        }
        let bytes = size_of_val(items);
        // SAFETY: any length may be asked for.
        let memory = unsafe { CoTaskMemAlloc(bytes + SLACK_BYTES) }.cast::<u8>();
        assert!(!memory.is_null(), "out of memory");
        // SAFETY: the block has this much room.
        unsafe { memory.copy_from_nonoverlapping(items.as_ptr().cast(), bytes) };
        // SAFETY: as above.
        let slack = unsafe { memory.add(bytes) };
        // SAFETY: as above.
        unsafe { slack.write_bytes(SLACK, SLACK_BYTES) };
        self.blocks.insert(memory.expose_provenance(), bytes);
        memory.cast()
    }
}

impl Drop for LunArray {
    /// Frees what was allocated here, and what the stub put in its place.
    fn drop(&mut self) {
        let mut all: Vec<usize> = self.blocks.keys().copied().collect();
        for lun in &self.luns {
            let texts = [lun.m_szVendorId, lun.m_szProductId, lun.m_szProductRevision, lun.m_szSerialNumber];
            all.extend(texts.map(<*mut u8>::expose_provenance));
            for identifier in identifiers_of(lun) {
                all.push(identifier.m_rgbIdentifier.expose_provenance());
            }
            for interconnect in interconnects_of(lun) {
                all.push(interconnect.m_pbPort.expose_provenance());
                all.push(interconnect.m_pbAddress.expose_provenance());
            }
            all.push(lun.m_deviceIdDescriptor.m_rgIdentifiers.expose_provenance());
            all.push(lun.m_rgInterconnects.expose_provenance());
        }
        all.sort_unstable();
        all.dedup();
        for address in all.into_iter().filter(|address| *address != 0) {
            let memory = std::ptr::with_exposed_provenance(address);
            // SAFETY: a task allocation of this process, ours or the stub's, named once in the list.
            unsafe { CoTaskMemFree(Some(memory)) };
        }
    }
}

fn length<T>(items: &[T]) -> u32 {
    u32::try_from(items.len()).expect("tests are small")
}

/// The elements that a structure points to.
fn elements<T>(pointer: *mut T, count: u32) -> &'static [T] {
    if pointer.is_null() {
        return &[];
    }
    // SAFETY: counts belong to their arrays, in what is built here as in what a stub makes; the array outlives the look at it.
    unsafe { std::slice::from_raw_parts(pointer, count as usize) }
}

fn identifiers_of(lun: &VDS_LUN_INFORMATION) -> &[VDS_STORAGE_IDENTIFIER] {
    elements(lun.m_deviceIdDescriptor.m_rgIdentifiers, lun.m_deviceIdDescriptor.m_cIdentifiers)
}

fn interconnects_of(lun: &VDS_LUN_INFORMATION) -> &[VDS_INTERCONNECT] {
    elements(lun.m_rgInterconnects, lun.m_cInterconnects)
}

fn read_text(pointer: *mut u8) -> Option<String> {
    if pointer.is_null() {
        return None;
    }
    // SAFETY: strings end with a zero, ours and the stub's.
    let text = unsafe { CStr::from_ptr(pointer.cast()) };
    Some(text.to_string_lossy().into_owned())
}

fn read_lun(lun: &VDS_LUN_INFORMATION) -> LunInformation {
    let identifier = |identifier: &VDS_STORAGE_IDENTIFIER| StorageIdentifier {
        code_set: identifier.m_CodeSet.0.cast_unsigned(),
        kind: identifier.m_Type.0.cast_unsigned(),
        bytes: elements(identifier.m_rgbIdentifier, identifier.m_cbIdentifier).to_vec(),
    };
    let interconnect = |interconnect: &VDS_INTERCONNECT| Interconnect {
        address_type: interconnect.m_addressType.0.cast_unsigned(),
        port: elements(interconnect.m_pbPort, interconnect.m_cbPort).to_vec(),
        address: elements(interconnect.m_pbAddress, interconnect.m_cbAddress).to_vec(),
    };
    LunInformation {
        version: lun.m_version,
        device_type: lun.m_DeviceType,
        device_type_modifier: lun.m_DeviceTypeModifier,
        command_queueing: lun.m_bCommandQueueing.as_bool(),
        bus_type: BusType(lun.m_BusType.0.cast_unsigned()),
        vendor_id: read_text(lun.m_szVendorId),
        product_id: read_text(lun.m_szProductId),
        product_revision: read_text(lun.m_szProductRevision),
        serial_number: read_text(lun.m_szSerialNumber),
        disk_signature: DiskSignature(Uuid::from_u128(lun.m_diskSignature.to_u128())),
        descriptor_version: lun.m_deviceIdDescriptor.m_version,
        identifiers: identifiers_of(lun).iter().map(identifier).collect(),
        interconnects: interconnects_of(lun).iter().map(interconnect).collect(),
    }
}
