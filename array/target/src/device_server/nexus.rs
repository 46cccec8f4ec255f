//! What one initiator still has to be told about each of its units.

use std::collections::{BTreeMap, VecDeque};

use lunshadow_lun::{BlockCount, InitiatorName, Inventory, LunHandle};
use lunshadow_scsi::{AdditionalSense, LunAddress};
use parking_lot::Mutex;

use super::UnitId;
use super::unit::Unit;

/// SAM-5 4.6.4, I_T nexus: one initiator port's relation to the target, which lives as long as its session.
#[derive(Debug)]
pub struct Nexus {
    initiator: InitiatorName,
    seen: Mutex<Seen>,
}

/// What the nexus knows of its units.
#[derive(Debug, Default)]
struct Seen {
    /// The generation of the inventory that `units` mirrors; `None` before the first command.
    generation: Option<u64>,
    units: BTreeMap<UnitId, UnitSeen>,
}

#[derive(Debug)]
struct UnitSeen {
    /// `None` for the controller.
    lun: Option<LunHandle>,
    block_count: Option<BlockCount>,
    /// Unit attentions that are pending, in the order in which they are reported (SAM-5 5.14). No code is there twice.
    pending: VecDeque<AdditionalSense>,
}

impl Nexus {
    pub(super) fn new(initiator: InitiatorName) -> Self {
        Self { initiator, seen: Mutex::default() }
    }

    /// The initiator.
    #[must_use]
    pub const fn initiator(&self) -> &InitiatorName {
        &self.initiator
    }

    /// Compares the inventory with what was seen before. Costs one comparison when nothing changed.
    pub(super) fn observe(&self, inventory: &Inventory) {
        let mut seen = self.seen.lock();
        if seen.generation == Some(inventory.generation) {
            return;
        }
        let changed = seen.generation.is_some();
        let mut before = std::mem::take(&mut seen.units);
        let controller = Unit::at(inventory, LunAddress::peripheral(0)).id().filter(|id| *id == UnitId::Controller);
        let disks = inventory.luns.values().map(|lun| (UnitId::Disk(lun.id()), Some(lun.clone())));
        for (id, lun) in controller.map(|id| (id, None)).into_iter().chain(disks) {
            let mut unit = before.remove(&id).unwrap_or_else(|| UnitSeen::new(lun));
            if changed {
                unit.post(AdditionalSense::REPORTED_LUNS_DATA_CHANGED);
            }
            seen.units.insert(id, unit);
        }
        seen.generation = Some(inventory.generation);
    }

    /// Takes the unit attention that is to be reported next.
    pub(super) fn take_attention(&self, unit: UnitId) -> Option<AdditionalSense> {
        let mut seen = self.seen.lock();
        let unit = seen.units.get_mut(&unit)?;
        let block_count = unit.lun.as_ref().map(LunHandle::block_count);
        if unit.block_count != block_count {
            unit.block_count = block_count;
            unit.post(AdditionalSense::CAPACITY_DATA_CHANGED);
        }
        unit.pending.pop_front()
    }

    /// REPORT LUNS was executed, which clears REPORTED LUNS DATA HAS CHANGED on all units (SPC-4 6.33).
    pub(super) fn luns_reported(&self) {
        for unit in self.seen.lock().units.values_mut() {
            unit.pending.retain(|code| *code != AdditionalSense::REPORTED_LUNS_DATA_CHANGED);
        }
    }

    /// Posts a unit attention on one unit, or on all.
    pub(crate) fn post(&self, unit: Option<UnitId>, code: AdditionalSense) {
        let mut seen = self.seen.lock();
        for (_, seen) in seen.units.iter_mut().filter(|(id, _)| unit.is_none_or(|unit| unit == **id)) {
            seen.post(code);
        }
    }
}

impl UnitSeen {
    fn new(lun: Option<LunHandle>) -> Self {
        let block_count = lun.as_ref().map(LunHandle::block_count);
        Self { lun, block_count, pending: VecDeque::from([AdditionalSense::POWER_ON_OR_RESET]) }
    }

    fn post(&mut self, code: AdditionalSense) {
        if !self.pending.contains(&code) {
            self.pending.push_back(code);
        }
    }
}
