//! The table from what storage says to what initiators are told.

use lunshadow_lun::LunError;
use lunshadow_scsi::{AdditionalSense, Sense, SenseKey};

/// The sense for a failed request to a LUN. The codes for a full pool are the ones that Windows acts on: anything else than
/// SPACE ALLOCATION FAILED WRITE PROTECT would be retried or taken for a broken disk.
#[must_use]
pub const fn sense_of(error: &LunError) -> Sense {
    match error {
        LunError::OutOfRange { .. } => Sense::new(SenseKey::ILLEGAL_REQUEST, AdditionalSense::LBA_OUT_OF_RANGE),
        // The device server hands over whole blocks only.
        LunError::NotWholeBlocks { .. } => {
            Sense::new(SenseKey::HARDWARE_ERROR, AdditionalSense::INTERNAL_TARGET_FAILURE)
        }
        LunError::OutOfSpace => Sense::new(SenseKey::DATA_PROTECT, AdditionalSense::SPACE_ALLOCATION_FAILED),
        LunError::Damaged { at } => {
            Sense::new(SenseKey::MEDIUM_ERROR, AdditionalSense::UNRECOVERED_READ_ERROR).with_information(at.0)
        }
        LunError::Poisoned => Sense::new(SenseKey::DATA_PROTECT, AdditionalSense::LOGICAL_UNIT_WRITE_PROTECTED),
        LunError::Gone => Sense::new(SenseKey::ILLEGAL_REQUEST, AdditionalSense::LOGICAL_UNIT_NOT_SUPPORTED),
        LunError::ReadOnly => Sense::new(SenseKey::DATA_PROTECT, AdditionalSense::WRITE_PROTECTED),
        LunError::Io(_) => Sense::new(SenseKey::HARDWARE_ERROR, AdditionalSense::INTERNAL_TARGET_FAILURE),
    }
}
