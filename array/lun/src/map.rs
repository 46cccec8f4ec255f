//! Which LUNs an initiator sees.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::{ChapAccounts, InitiatorName, LunHandle, PortalGroupStates, UnitStore};

/// A LUN number as an initiator addresses it: single-level, peripheral device addressing (SAM-5 4.7.7.2). Windows uses 0 to 255.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LunNumber(pub u8);

/// What one initiator sees at one time.
#[derive(Debug, Clone, Default)]
pub struct Inventory {
    /// Differs between any two inventories of one initiator that differ in their LUNs, and never repeats while the array runs.
    pub generation: u64,
    /// The LUNs by number.
    pub luns: BTreeMap<LunNumber, LunHandle>,
}

/// Tells the target what an initiator sees.
///
/// The target asks before every command and compares generations; a change is reported to the initiator by the unit attention
/// REPORTED LUNS DATA HAS CHANGED. So the answer must be cheap: a look-up and a reference count.
pub trait LunMap: Send + Sync + 'static {
    /// The inventory of an initiator, or `None` for one that the array does not know and does not let log in.
    fn inventory(&self, initiator: &InitiatorName) -> Option<Arc<Inventory>>;

    /// What an initiator that is known has to prove when it logs in; `None` if its name is enough.
    fn chap(&self, _initiator: &InitiatorName) -> Option<ChapAccounts> {
        None
    }

    /// How LUNs are reached through the portal groups of the target. Asked for once.
    fn portal_groups(&self) -> Arc<PortalGroupStates> {
        Arc::default()
    }

    /// Where persistent reservations and the like are kept over restarts, if they are.
    fn unit_store(&self) -> Option<&dyn UnitStore> {
        None
    }
}
