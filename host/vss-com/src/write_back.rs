//! Changes of in/out structures, in place.

use std::cmp::Reverse;

use lunshadow_vss::{LunInformation, StorageIdentifier};
use windows::Win32::Storage::VirtualDiskService::{
    VDS_LUN_INFORMATION, VDS_STORAGE_BUS_TYPE, VDS_STORAGE_IDENTIFIER, VDS_STORAGE_IDENTIFIER_CODE_SET,
    VDS_STORAGE_IDENTIFIER_TYPE,
};

use crate::build::{build_identifiers, length};
use crate::read::{identifiers_of, until_zero};
use crate::task_memory::Blocks;
use crate::{StructureError, TaskMemory, guid};

/// Writes what the provider changed, from `before` to `after`, into the structures that came in.
///
/// A member that is NULL is filled with task memory. A string or buffer that is there is changed only if the new value has room in it,
/// and is left alone otherwise, as everything is that the provider did not change. Interconnects are VSS's.
///
/// # Errors
/// If memory runs out; then nothing was written.
///
/// # Safety
/// `luns` points to the structures that `before` was read from, as many as there are in `before` and `after`; they have not changed since.
pub unsafe fn write_back(
    memory: &dyn TaskMemory,
    luns: *mut VDS_LUN_INFORMATION,
    before: &[LunInformation],
    after: &[LunInformation],
) -> Result<(), StructureError> {
    if before == after {
        return Ok(());
    }
    let mut change = Change { blocks: Blocks::new(memory), texts: Vec::new(), identifiers: Vec::new() };
    // SAFETY: promised by the caller.
    let luns = unsafe { std::slice::from_raw_parts_mut(luns, before.len().min(after.len())) };
    let mut changed = luns.to_vec();
    for ((lun, before), after) in changed.iter_mut().zip(before).zip(after) {
        // SAFETY: promised by the caller.
        unsafe { change.plan(lun, before, after) }?;
    }
    luns.copy_from_slice(&changed);
    change.make();
    Ok(())
}

/// What is to be written once all memory is there.
struct Change<'a> {
    blocks: Blocks<'a>,
    texts: Vec<(*mut u8, Vec<u8>)>,
    identifiers: Vec<(*mut VDS_STORAGE_IDENTIFIER, VDS_STORAGE_IDENTIFIER)>,
}

impl Change<'_> {
    /// # Safety
    /// `lun` is a structure that `before` was read from.
    unsafe fn plan(
        &mut self,
        lun: &mut VDS_LUN_INFORMATION,
        before: &LunInformation,
        after: &LunInformation,
    ) -> Result<(), StructureError> {
        lun.m_version = after.version;
        lun.m_DeviceType = after.device_type;
        lun.m_DeviceTypeModifier = after.device_type_modifier;
        lun.m_BusType = VDS_STORAGE_BUS_TYPE(after.bus_type.0.cast_signed());
        lun.m_diskSignature = guid(after.disk_signature.0);
        lun.m_deviceIdDescriptor.m_version = after.descriptor_version;
        if before.command_queueing != after.command_queueing {
            lun.m_bCommandQueueing = after.command_queueing.into();
        }
        let texts = [
            (&mut lun.m_szVendorId, &before.vendor_id, &after.vendor_id),
            (&mut lun.m_szProductId, &before.product_id, &after.product_id),
            (&mut lun.m_szProductRevision, &before.product_revision, &after.product_revision),
            (&mut lun.m_szSerialNumber, &before.serial_number, &after.serial_number),
        ];
        for (place, before, after) in texts {
            if before != after {
                // SAFETY: promised by the caller.
                unsafe { self.plan_text(place, after.as_deref()) }?;
            }
        }
        if before.identifiers != after.identifiers {
            // SAFETY: promised by the caller.
            unsafe { self.plan_identifiers(lun, after) }?;
        }
        Ok(())
    }

    /// An absent string becomes an empty one, since a pointer to something never becomes NULL.
    ///
    /// # Safety
    /// `place` is NULL or points to a string.
    unsafe fn plan_text(&mut self, place: &mut *mut u8, text: Option<&str>) -> Result<(), StructureError> {
        if place.is_null() {
            *place = self.blocks.text(text)?;
            return Ok(());
        }
        let new: Vec<u8> = text.unwrap_or_default().bytes().take_while(|byte| *byte != 0).chain([0]).collect();
        // SAFETY: promised by the caller.
        let old = unsafe { until_zero(place.cast_const(), usize::MAX) }?.unwrap_or_default();
        if new.len() <= old.len() + 1 {
            self.texts.push((*place, new));
        }
        Ok(())
    }

    /// All identifiers, or none: a mixture of old and new ones would describe no LUN.
    ///
    /// # Safety
    /// The LUN's identifiers are what its counts say.
    unsafe fn plan_identifiers(
        &mut self,
        lun: &mut VDS_LUN_INFORMATION,
        after: &LunInformation,
    ) -> Result<(), StructureError> {
        let descriptor = &mut lun.m_deviceIdDescriptor;
        if descriptor.m_rgIdentifiers.is_null() {
            let identifiers = build_identifiers(&mut self.blocks, after)?;
            descriptor.m_cIdentifiers = length(&identifiers)?;
            descriptor.m_rgIdentifiers = self.blocks.copy(&identifiers)?;
            return Ok(());
        }
        // SAFETY: promised by the caller.
        let old = unsafe { identifiers_of(lun) }?;
        let Some(new) = placed(old, &after.identifiers) else { return Ok(()) };
        let mut elements = Vec::with_capacity(new.len());
        for (old, new) in old.iter().zip(&new) {
            let mut element = VDS_STORAGE_IDENTIFIER {
                m_CodeSet: VDS_STORAGE_IDENTIFIER_CODE_SET(new.code_set.cast_signed()),
                m_Type: VDS_STORAGE_IDENTIFIER_TYPE(new.kind.cast_signed()),
                m_cbIdentifier: length(&new.bytes)?,
                m_rgbIdentifier: old.m_rgbIdentifier,
            };
            if old.m_rgbIdentifier.is_null() {
                element.m_rgbIdentifier = self.blocks.copy(&new.bytes)?;
            } else {
                self.texts.push((old.m_rgbIdentifier, new.bytes.clone()));
            }
            elements.push(element);
        }
        let descriptor = &mut lun.m_deviceIdDescriptor;
        for (index, element) in elements.into_iter().enumerate() {
            // SAFETY: there are at least as many elements as before, of which this is one.
            self.identifiers.push((unsafe { descriptor.m_rgIdentifiers.add(index) }, element));
        }
        descriptor.m_cIdentifiers = length(&new)?;
        Ok(())
    }

    fn make(self) {
        for (place, bytes) in &self.texts {
            // SAFETY: what is there has this much room, which was looked at when this was planned.
            unsafe { place.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
        }
        for (place, element) in self.identifiers {
            // SAFETY: an element of the array that came in.
            unsafe { place.write(element) };
        }
        self.blocks.keep();
    }
}

/// Which identifier goes where: in their order if they have room, otherwise the longest where most room is. `None` if they have none.
fn placed<'a>(old: &[VDS_STORAGE_IDENTIFIER], new: &'a [StorageIdentifier]) -> Option<Vec<&'a StorageIdentifier>> {
    if new.len() > old.len() {
        return None;
    }
    let room = |old: &VDS_STORAGE_IDENTIFIER| if old.m_rgbIdentifier.is_null() { u32::MAX } else { old.m_cbIdentifier };
    let has_room = |order: &[&StorageIdentifier]| {
        old.iter().zip(order).all(|(old, new)| length(&new.bytes).is_ok_and(|new| new <= room(old)))
    };
    let mut order: Vec<&StorageIdentifier> = new.iter().collect();
    if !has_room(&order) {
        let mut roomiest: Vec<usize> = (0..new.len()).collect();
        roomiest.sort_by_key(|slot| Reverse(room(&old[*slot])));
        let mut longest = order.clone();
        longest.sort_by_key(|identifier| Reverse(identifier.bytes.len()));
        for (slot, identifier) in roomiest.into_iter().zip(longest) {
            order[slot] = identifier;
        }
    }
    has_room(&order).then_some(order)
}
