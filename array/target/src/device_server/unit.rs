//! What there is at a LUN.

use lunshadow_lun::{Inventory, LunHandle, LunId, LunNumber};
use lunshadow_scsi::{CdbError, LunAddress, Peripheral, Sense};

use super::{not_supported, sense_of_cdb};

/// What an initiator finds at a LUN.
#[derive(Debug, Clone)]
pub(super) enum Unit {
    /// A LUN that is mapped there.
    Disk(LunHandle),
    /// The array's controller: at LUN 0 while nothing is mapped there, so that an initiator always finds something to ask.
    Controller,
    /// Nothing.
    Absent,
}

/// Which unit, whatever the number by which an initiator sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum UnitId {
    /// A LUN of the array.
    Disk(LunId),
    /// The array's controller.
    Controller,
}

impl Unit {
    pub(super) fn at(inventory: &Inventory, address: LunAddress) -> Self {
        let number = address.number().and_then(|number| u8::try_from(number).ok());
        match number.map(|number| (number, inventory.luns.get(&LunNumber(number)))) {
            Some((_, Some(lun))) => Self::Disk(lun.clone()),
            Some((0, None)) => Self::Controller,
            _ => Self::Absent,
        }
    }

    pub(super) fn id(&self) -> Option<UnitId> {
        match self {
            Self::Disk(lun) => Some(UnitId::Disk(lun.id())),
            Self::Controller => Some(UnitId::Controller),
            Self::Absent => None,
        }
    }

    /// The LUN, for commands that only disks have.
    pub(super) fn disk(&self) -> Result<LunHandle, Sense> {
        match self {
            Self::Disk(lun) => Ok(lun.clone()),
            Self::Controller => Err(sense_of_cdb(CdbError::InvalidOperationCode(0))),
            Self::Absent => Err(not_supported()),
        }
    }

    /// For commands that every unit has.
    pub(super) fn present(&self) -> Result<(), Sense> {
        match self {
            Self::Disk(_) | Self::Controller => Ok(()),
            Self::Absent => Err(not_supported()),
        }
    }

    pub(super) const fn peripheral(&self) -> Peripheral {
        match self {
            Self::Disk(_) => Peripheral::DISK,
            Self::Controller => Peripheral::ARRAY_CONTROLLER,
            Self::Absent => Peripheral::ABSENT,
        }
    }
}
