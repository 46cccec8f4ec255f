//! What there is at a LUN.

use std::sync::Arc;

use lunshadow_lun::{Inventory, LunHandle, LunId, LunNumber};
use lunshadow_scsi::{AdditionalSense, CommandForm, LunAddress, Peripheral, Readiness, Sense, SenseKey, opcode};

use super::not_supported;
use super::ports::TargetPorts;
use super::unit_state::UnitState;

/// What an initiator finds at a LUN.
#[derive(Debug, Clone)]
pub(super) enum Unit {
    /// A LUN that is mapped there.
    Disk(Disk),
    /// The array's controller: at LUN 0 while nothing is mapped there, so that an initiator always finds something to ask.
    Controller,
    /// Nothing.
    Absent,
}

/// A LUN, and what the device server remembers of it.
#[derive(Debug, Clone)]
pub(super) struct Disk {
    pub(super) lun: LunHandle,
    pub(super) state: Arc<UnitState>,
}

/// Which unit, whatever the number by which an initiator sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum UnitId {
    /// A LUN of the array.
    Disk(LunId),
    /// The array's controller.
    Controller,
}

/// The commands that the controller has: those that say what is there. A disk has all of the table.
const CONTROLLER_COMMANDS: [u8; 5] =
    [opcode::TEST_UNIT_READY, opcode::REQUEST_SENSE, opcode::INQUIRY, opcode::REPORT_LUNS, opcode::MAINTENANCE_IN];

impl Unit {
    /// The LUN that is mapped at an address, or what there is instead.
    pub(super) fn lun_at(inventory: &Inventory, address: LunAddress) -> Result<LunHandle, Self> {
        let number = address.number().and_then(|number| u8::try_from(number).ok());
        match number.map(|number| (number, inventory.luns.get(&LunNumber(number)))) {
            Some((_, Some(lun))) => Ok(lun.clone()),
            Some((0, None)) => Err(Self::Controller),
            _ => Err(Self::Absent),
        }
    }

    pub(super) fn id_at(inventory: &Inventory, address: LunAddress) -> Option<UnitId> {
        match Self::lun_at(inventory, address) {
            Ok(lun) => Some(UnitId::Disk(lun.id())),
            Err(other) => other.id(),
        }
    }

    pub(super) fn id(&self) -> Option<UnitId> {
        match self {
            Self::Disk(disk) => Some(disk.id()),
            Self::Controller => Some(UnitId::Controller),
            Self::Absent => None,
        }
    }

    /// Whether the unit has a command of the table. Asymmetric access states can be set where there are several ports.
    pub(super) fn has(&self, form: &CommandForm, ports: &TargetPorts) -> bool {
        match self {
            Self::Disk(_) => form.opcode() != opcode::MAINTENANCE_OUT || ports.are_several(),
            Self::Controller => CONTROLLER_COMMANDS.contains(&form.opcode()),
            Self::Absent => matches!(form.opcode(), opcode::INQUIRY | opcode::REQUEST_SENSE),
        }
    }

    /// The LUN, for commands that only disks have.
    pub(super) fn disk(&self) -> Result<Disk, Sense> {
        match self {
            Self::Disk(disk) => Ok(disk.clone()),
            Self::Controller | Self::Absent => Err(not_supported()),
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

impl Disk {
    pub(super) fn id(&self) -> UnitId {
        UnitId::Disk(self.lun.id())
    }

    /// Whether the LUN is in the state that a command needs.
    pub(super) fn check(&self, readiness: Readiness) -> Result<(), Sense> {
        match readiness {
            Readiness::Any => Ok(()),
            Readiness::Sane => self.state.sanitizing.check(),
            Readiness::Loaded => self.state.sanitizing.check().and_then(|()| self.loaded()),
            Readiness::Writable => self.check(Readiness::Loaded).and_then(|()| self.check_writable()),
            Readiness::Erasable => self.state.sanitizing.check_idle().and_then(|()| self.loaded()),
        }
    }

    /// Whether there is a medium. That of a unit that is not removable is always there.
    pub(super) fn loaded(&self) -> Result<(), Sense> {
        if self.state.tray.is_open() && self.lun.presentation().removable {
            return Err(Sense::new(SenseKey::NOT_READY, AdditionalSense::MEDIUM_NOT_PRESENT));
        }
        Ok(())
    }

    /// Whether initiators may write to the LUN: an administrator can forbid it, and so can the mode pages (SWP).
    pub(super) fn check_writable(&self) -> Result<(), Sense> {
        if self.lun.presentation().write_protected {
            return Err(Sense::new(SenseKey::DATA_PROTECT, AdditionalSense::WRITE_PROTECTED));
        }
        if self.state.is_write_protected() {
            return Err(Sense::new(SenseKey::DATA_PROTECT, AdditionalSense::LOGICAL_UNIT_WRITE_PROTECTED));
        }
        Ok(())
    }

    /// The LUN, if initiators may write to it.
    pub(super) fn writable(self) -> Result<Self, Sense> {
        self.check_writable().map(|()| self)
    }

    /// Whether a write has to be durable when it is answered: FUA, or WCE=0.
    pub(super) fn writes_through(&self, fua: bool) -> bool {
        fua || !self.state.caching().write_cache
    }
}
