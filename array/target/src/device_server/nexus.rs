//! What one initiator still has to be told about each of its units.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use lunshadow_lun::{BlockCount, InitiatorName, Inventory, LunHandle, Presentation, SpaceLevel};
use lunshadow_scsi::{AdditionalSense, LunAddress};
use parking_lot::Mutex;

use super::UnitId;
use super::copies::Copies;
use super::ports::PortalGroup;
use super::unit::{Disk, Unit};
use super::unit_state::{UnitState, UnitStates};

/// An initiator port. A new session of the same initiator with the same ISID is the same port
/// (RFC 7143 4.4.3).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InitiatorPort {
    /// The iSCSI name.
    pub name: InitiatorName,
    /// The ISID.
    pub isid: [u8; 6],
}

/// What a nexus is between (SAM-5 4.6.4). Persistent reservations belong to the two together.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct NexusPorts {
    pub(super) initiator: InitiatorPort,
    /// The target port.
    pub(super) group: PortalGroup,
}

/// One of all nexuses that there ever were. Other than a port, a nexus does not come back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NexusId(u64);

/// The commands of a nexus, which only its transport can end.
pub trait TaskSet: Send + Sync {
    /// Ends all commands on a unit: none of them is answered from now on. Answers how many they are; `over` is called when none of
    /// them touches storage any more.
    fn abort(&self, unit: UnitId, over: Box<dyn FnOnce() + Send>) -> usize;
}

/// SAM-5 4.6.4, I_T nexus: one initiator port's relation to a port of the target, which lives as long as its session.
pub struct Nexus {
    id: NexusId,
    ports: NexusPorts,
    seen: Mutex<Seen>,
    copies: Copies,
    tasks: OnceLock<Arc<dyn TaskSet>>,
}

/// What the nexus knows of its units.
#[derive(Default)]
struct Seen {
    /// The generation of the inventory that `units` mirrors; `None` before the first command.
    generation: Option<u64>,
    units: BTreeMap<UnitId, UnitSeen>,
}

struct UnitSeen {
    /// `None` for the controller.
    lun: Option<LunHandle>,
    /// What all nexuses share of the unit.
    state: Arc<UnitState>,
    block_count: Option<BlockCount>,
    space: SpaceLevel,
    presentation: Presentation,
    /// What was decided about its ports: see [`AccessStates::decided`](super::port_groups::AccessStates::decided).
    decided: u64,
    /// Unit attentions that are pending, in the order in which they are reported (SAM-5 5.14). No code is there twice.
    pending: VecDeque<AdditionalSense>,
}

impl fmt::Debug for Nexus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Nexus").field("id", &self.id).field("ports", &self.ports).finish_non_exhaustive()
    }
}

impl Nexus {
    pub(super) fn new(ports: NexusPorts) -> Self {
        static NEXT_ID: AtomicU64 = AtomicU64::new(0);
        let id = NexusId(NEXT_ID.fetch_add(1, Ordering::Relaxed));
        Self { id, ports, seen: Mutex::default(), copies: Copies::default(), tasks: OnceLock::new() }
    }

    /// The initiator.
    #[must_use]
    pub const fn initiator(&self) -> &InitiatorName {
        &self.ports.initiator.name
    }

    /// The ports that it is between.
    pub(super) const fn ports(&self) -> &NexusPorts {
        &self.ports
    }

    /// The target port.
    pub(super) const fn group(&self) -> PortalGroup {
        self.ports.group
    }

    pub(super) const fn id(&self) -> NexusId {
        self.id
    }

    /// Its third-party copies.
    pub(super) const fn copies(&self) -> &Copies {
        &self.copies
    }

    /// Says where the nexus's commands are. Only the first time counts.
    pub fn attach(&self, tasks: Arc<dyn TaskSet>) {
        let _ = self.tasks.set(tasks);
    }

    pub(super) fn tasks(&self) -> Option<&Arc<dyn TaskSet>> {
        self.tasks.get()
    }

    /// The nexus is lost, by logout or otherwise: its RESERVEs are over, and it prevents no removal any more (SAM-5 6.3.5).
    pub fn lose(&self) {
        for unit in self.seen.lock().units.values() {
            unit.lose(self.id);
        }
    }

    /// Compares the inventory with what was seen before. Costs one comparison when nothing changed.
    pub(super) fn observe(&self, inventory: &Inventory, states: &UnitStates) {
        let mut seen = self.seen.lock();
        if seen.generation == Some(inventory.generation) {
            return;
        }
        let changed = seen.generation.is_some();
        let mut before = std::mem::take(&mut seen.units);
        let controller = !inventory.luns.keys().any(|number| number.0 == 0);
        let disks = inventory.luns.values().map(|lun| (UnitId::Disk(lun.id()), Some(lun.clone())));
        for (id, lun) in controller.then_some((UnitId::Controller, None)).into_iter().chain(disks) {
            let mut unit = before.remove(&id).unwrap_or_else(|| UnitSeen::new(lun, states));
            if changed {
                unit.post(AdditionalSense::REPORTED_LUNS_DATA_CHANGED);
            }
            seen.units.insert(id, unit);
        }
        seen.generation = Some(inventory.generation);
        before.values().for_each(|unit| unit.lose(self.id));
        drop(before);
        states.forget_unused();
    }

    /// What there is at a LUN of an inventory that was observed.
    pub(super) fn unit_at(&self, inventory: &Inventory, address: LunAddress) -> Unit {
        match Unit::lun_at(inventory, address) {
            Ok(lun) => {
                let seen = self.seen.lock();
                let state = seen.units.get(&UnitId::Disk(lun.id())).map(|unit| unit.state.clone()).unwrap_or_default();
                Unit::Disk(Disk { lun, state })
            }
            Err(other) => other,
        }
    }

    /// All disks of an inventory that was observed.
    pub(super) fn disks(&self, inventory: &Inventory) -> Vec<Disk> {
        let seen = self.seen.lock();
        let state = |lun: &LunHandle| seen.units.get(&UnitId::Disk(lun.id())).map(|unit| unit.state.clone());
        let disk = |lun: &LunHandle| Disk { lun: lun.clone(), state: state(lun).unwrap_or_default() };
        inventory.luns.values().map(disk).collect()
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
        let space = unit.lun.as_ref().map_or(SpaceLevel::Plenty, LunHandle::space);
        // Whether there is none at all is said by the writes that fail.
        if unit.space == SpaceLevel::Plenty && space > SpaceLevel::Plenty {
            unit.post(AdditionalSense::THIN_PROVISIONING_SOFT_THRESHOLD_REACHED);
        }
        unit.space = space;
        let presentation = unit.lun.as_ref().map(LunHandle::presentation).unwrap_or_default();
        let before = std::mem::replace(&mut unit.presentation, presentation);
        if presentation.removable != before.removable {
            unit.post(AdditionalSense::INQUIRY_DATA_CHANGED);
        }
        // WP is in every mode parameter list.
        if presentation.write_protected != before.write_protected {
            unit.post(AdditionalSense::MODE_PARAMETERS_CHANGED);
        }
        let decided = unit.state.access.decided();
        if std::mem::replace(&mut unit.decided, decided) != decided {
            unit.post(AdditionalSense::ASYMMETRIC_ACCESS_STATE_CHANGED);
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

impl Drop for Nexus {
    fn drop(&mut self) {
        self.lose();
    }
}

impl UnitSeen {
    fn new(lun: Option<LunHandle>, states: &UnitStates) -> Self {
        let block_count = lun.as_ref().map(LunHandle::block_count);
        let state = lun.as_ref().map(|lun| states.of(lun.id())).unwrap_or_default();
        // What began earlier is no news.
        let space = lun.as_ref().map_or(SpaceLevel::Plenty, LunHandle::space);
        let presentation = lun.as_ref().map(LunHandle::presentation).unwrap_or_default();
        let decided = state.access.decided();
        let pending = VecDeque::from([AdditionalSense::POWER_ON_OR_RESET]);
        Self { lun, state, block_count, space, presentation, decided, pending }
    }

    fn post(&mut self, code: AdditionalSense) {
        if !self.pending.contains(&code) {
            self.pending.push_back(code);
        }
    }

    fn lose(&self, nexus: NexusId) {
        self.state.with_reservations(|reservations| reservations.nexus_lost(nexus));
        self.state.tray.prevent(nexus, false);
    }
}

/// All nexuses that are there.
#[derive(Debug, Default)]
pub(super) struct Nexuses(Mutex<Vec<Weak<Nexus>>>);

impl Nexuses {
    pub(super) fn add(&self, nexus: &Arc<Nexus>) {
        let mut nexuses = self.0.lock();
        nexuses.retain(|nexus| nexus.strong_count() > 0);
        nexuses.push(Arc::downgrade(nexus));
    }

    pub(super) fn all(&self) -> Vec<Arc<Nexus>> {
        self.0.lock().iter().filter_map(Weak::upgrade).collect()
    }

    /// Posts a unit attention on one unit, or on all, for every nexus but one.
    pub(super) fn post(&self, unit: Option<UnitId>, code: AdditionalSense, except: Option<NexusId>) {
        for nexus in self.all().iter().filter(|nexus| except.is_none_or(|except| except != nexus.id)) {
            nexus.post(unit, code);
        }
    }

    /// Posts a unit attention for the nexus between two ports, if it is there. One that is not finds POWER ON when it comes back.
    pub(super) fn post_to(&self, ports: &NexusPorts, unit: UnitId, code: AdditionalSense) {
        for nexus in self.all().iter().filter(|nexus| nexus.ports == *ports) {
            nexus.post(Some(unit), code);
        }
    }
}
