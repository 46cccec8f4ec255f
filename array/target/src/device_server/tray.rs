//! Where the medium of a removable unit is, and who keeps it there (SBC-3 4.3).
//!
//! What an initiator ejects is only out of sight: the data of the LUN stays, and is there again when somebody loads it. A restart loads it, too.

use std::sync::atomic::{AtomicBool, Ordering};

use lunshadow_scsi::{AdditionalSense, Sense};
use parking_lot::Mutex;

use super::illegal_request;
use super::nexus::NexusId;

/// The tray of one unit. A unit that is not removable never opens it.
#[derive(Debug, Default)]
pub(super) struct Tray {
    open: AtomicBool,
    /// PREVENT, once for each nexus that has said so.
    held_by: Mutex<Vec<NexusId>>,
}

impl Tray {
    /// Whether the medium is out.
    pub(super) fn is_open(&self) -> bool {
        self.open.load(Ordering::Acquire)
    }

    /// PREVENT ALLOW MEDIUM REMOVAL: each nexus speaks for itself.
    pub(super) fn prevent(&self, nexus: NexusId, prevent: bool) {
        let mut held_by = self.held_by.lock();
        held_by.retain(|holder| *holder != nexus);
        if prevent {
            held_by.push(nexus);
        }
    }

    /// Ejects the medium (`open`) or loads it, unless a nexus keeps it where it is. Whether it was elsewhere before.
    pub(super) fn move_to(&self, open: bool) -> Result<bool, Sense> {
        let held_by = self.held_by.lock();
        if !held_by.is_empty() {
            return Err(illegal_request(AdditionalSense::MEDIUM_REMOVAL_PREVENTED));
        }
        Ok(self.open.swap(open, Ordering::AcqRel) != open)
    }

    /// A reset lets everybody's medium go, and moves none.
    pub(super) fn reset(&self) {
        self.held_by.lock().clear();
    }

    /// Whether it is as after power on.
    pub(super) fn is_at_rest(&self) -> bool {
        !self.is_open() && self.held_by.lock().is_empty()
    }
}
