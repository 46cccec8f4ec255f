//! What the device server remembers of each LUN, whoever uses it.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use lunshadow_lun::{LunId, LunMap, PortalGroupStates, UnitRecord};
use lunshadow_scsi::{Access, CachingPage, ControlPage, SenseFormat};
use parking_lot::Mutex;

use super::nexus::Nexus;
use super::port_groups::AccessStates;
use super::ranges::Ranges;
use super::reservations::Reservations;
use super::sanitizing::Sanitizing;
use super::tray::Tray;

/// The state of one LUN. All nexuses share it.
#[derive(Debug)]
pub(super) struct UnitState {
    /// What COMPARE AND WRITE and its like keep others from.
    pub(super) ranges: Arc<Ranges>,
    pub(super) sanitizing: Sanitizing,
    pub(super) tray: Tray,
    /// Through which ports it is reached.
    pub(super) access: AccessStates,
    modes: Modes,
    reservations: Mutex<Reservations>,
    /// Held by a PERSISTENT RESERVE OUT until what it changes is kept.
    pub(super) changing: tokio::sync::Mutex<()>,
    /// Whether there is any reservation. Kept beside them, so that the data path only looks here.
    reserved: AtomicBool,
}

/// The mode parameters that can be changed.
#[derive(Debug)]
struct Modes {
    write_cache: AtomicBool,
    write_protected: AtomicBool,
    descriptor_sense: AtomicBool,
}

impl Default for UnitState {
    fn default() -> Self {
        Self {
            ranges: Arc::default(),
            sanitizing: Sanitizing::default(),
            tray: Tray::default(),
            access: AccessStates::default(),
            modes: Modes {
                write_cache: AtomicBool::new(DEFAULT_CACHING.write_cache),
                write_protected: AtomicBool::new(DEFAULT_CONTROL.software_write_protect),
                descriptor_sense: AtomicBool::new(DEFAULT_CONTROL.descriptor_sense),
            },
            reservations: Mutex::default(),
            changing: tokio::sync::Mutex::default(),
            reserved: AtomicBool::new(false),
        }
    }
}

/// WCE: writes are answered before they are durable, so hosts know to flush.
pub(super) const DEFAULT_CACHING: CachingPage = CachingPage { write_cache: true, read_cache_disabled: false };

/// Simple commands overtake each other.
pub(super) const DEFAULT_CONTROL: ControlPage = ControlPage {
    descriptor_sense: false,
    unrestricted_reordering: true,
    software_write_protect: false,
    task_aborted_status: false,
};

impl UnitState {
    pub(super) fn caching(&self) -> CachingPage {
        CachingPage { write_cache: self.modes.write_cache.load(Ordering::Acquire), ..DEFAULT_CACHING }
    }

    pub(super) fn control(&self) -> ControlPage {
        ControlPage {
            descriptor_sense: self.modes.descriptor_sense.load(Ordering::Acquire),
            software_write_protect: self.is_write_protected(),
            ..DEFAULT_CONTROL
        }
    }

    pub(super) fn set_caching(&self, page: CachingPage) {
        self.modes.write_cache.store(page.write_cache, Ordering::Release);
    }

    pub(super) fn set_control(&self, page: ControlPage) {
        self.modes.descriptor_sense.store(page.descriptor_sense, Ordering::Release);
        self.modes.write_protected.store(page.software_write_protect, Ordering::Release);
    }

    pub(super) fn is_write_protected(&self) -> bool {
        self.modes.write_protected.load(Ordering::Acquire)
    }

    pub(super) fn sense_format(&self) -> SenseFormat {
        if self.modes.descriptor_sense.load(Ordering::Acquire) { SenseFormat::Descriptor } else { SenseFormat::Fixed }
    }

    /// Whether reservations let a nexus go on. `exempt`: the command works whatever RESERVE says.
    pub(super) fn admits(&self, nexus: &Nexus, access: Access, exempt: bool) -> bool {
        !self.reserved.load(Ordering::Acquire) || self.reservations.lock().admits(nexus, access, exempt)
    }

    /// Looks at the reservations, or changes them.
    pub(super) fn with_reservations<T>(&self, with: impl FnOnce(&mut Reservations) -> T) -> T {
        let mut reservations = self.reservations.lock();
        let done = with(&mut reservations);
        self.reserved.store(reservations.is_reserved(), Ordering::Release);
        done
    }

    /// LOGICAL UNIT RESET (SAM-5 6.3.3): modes and RESERVE go back to what they are after power on, and nobody prevents removal any more;
    /// persistent reservations and the states of target port groups stay.
    pub(super) fn reset(&self) {
        self.set_caching(DEFAULT_CACHING);
        self.set_control(DEFAULT_CONTROL);
        self.with_reservations(Reservations::reset);
        self.tray.reset();
    }

    /// Whether nothing would be lost if this was forgotten.
    fn is_forgettable(&self) -> bool {
        self.caching() == DEFAULT_CACHING
            && self.control() == DEFAULT_CONTROL
            && self.sanitizing.check().is_ok()
            && self.tray.is_at_rest()
            && self.access.are_at_rest()
            && *self.reservations.lock() == Reservations::default()
    }
}

/// The states of all LUNs that somebody sees, or that have something to remember.
pub(super) struct UnitStates {
    /// Where reservations come back from.
    map: Arc<dyn LunMap>,
    /// Whether there are several ports. With one, what was set for several counts again when they are back.
    has_several_ports: bool,
    /// What an administrator has decided about the ports.
    portal_groups: Arc<PortalGroupStates>,
    states: Mutex<HashMap<LunId, Arc<UnitState>>>,
}

impl UnitStates {
    pub(super) fn new(map: Arc<dyn LunMap>, has_several_ports: bool) -> Self {
        let portal_groups = if has_several_ports { map.portal_groups() } else { Arc::default() };
        Self { map, has_several_ports, portal_groups, states: Mutex::default() }
    }

    pub(super) fn of(&self, lun: LunId) -> Arc<UnitState> {
        self.states.lock().entry(lun).or_insert_with(|| Arc::new(self.restored(lun))).clone()
    }

    fn restored(&self, lun: LunId) -> UnitState {
        let state = UnitState { access: AccessStates::new(self.portal_groups.clone()), ..UnitState::default() };
        let kept = |record| self.map.unit_store().and_then(|store| store.kept(lun, record));
        if let Some(record) = kept(UnitRecord::Reservations) {
            match Reservations::restore(&record) {
                Some(reservations) => state.with_reservations(|empty| *empty = reservations),
                // Whoever comes registers anew. Keeping everybody out would help nobody.
                None => tracing::error!(%lun, "the record of persistent reservations is damaged"),
            }
        }
        if kept(UnitRecord::Sanitize).is_some_and(|record| !state.sanitizing.restore(&record)) {
            tracing::error!(%lun, "the record of a sanitize operation is damaged");
        }
        let port_groups = kept(UnitRecord::PortGroups).filter(|_| self.has_several_ports);
        if port_groups.is_some_and(|record| !state.access.restore(&record)) {
            tracing::error!(%lun, "the record of target port groups is damaged");
        }
        state
    }

    /// Forgets what nobody sees and nothing is to be remembered of: shadow LUNs come and go.
    pub(super) fn forget_unused(&self) {
        self.states.lock().retain(|_, state| Arc::strong_count(state) > 1 || !state.is_forgettable());
    }

    pub(super) fn reset(&self, lun: Option<LunId>) {
        let states = self.states.lock();
        states.iter().filter(|(id, _)| lun.is_none_or(|lun| lun == **id)).for_each(|(_, state)| state.reset());
    }
}
