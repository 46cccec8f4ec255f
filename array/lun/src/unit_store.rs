//! Where the target keeps what must outlive it.

use std::error::Error;
use std::future::Future;
use std::pin::Pin;

use bytes::Bytes;

use crate::{LunHandle, LunId};

/// What a record of a LUN is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum UnitRecord {
    /// Persistent reservations that outlive the target (SPC-4 5.9.5, APTPL).
    Reservations,
    /// A sanitize operation that is not done, or that failed (SBC-3 4.11).
    Sanitize,
    /// The asymmetric access states of target port groups that initiators have set (SPC-4 5.15).
    PortGroups,
}

impl UnitRecord {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Reservations, Self::Sanitize, Self::PortGroups];
}

/// Keeps records of LUNs over restarts. What is in a record is the target's affair.
pub trait UnitStore: Send + Sync {
    /// A record of a LUN. Cheap: it is asked for when an initiator sees a LUN for the first time.
    fn kept(&self, lun: LunId, record: UnitRecord) -> Option<Bytes>;

    /// The LUNs of which such a record is kept, as far as storage has them, whether somebody sees them or not.
    fn all_kept(&self, record: UnitRecord) -> Vec<LunHandle>;

    /// Keeps other bytes as a record of a LUN, or none. It is durable when this is done, and goes when the LUN is deleted.
    fn keep(
        &self,
        lun: LunId,
        record: UnitRecord,
        bytes: Option<Bytes>,
    ) -> Pin<Box<dyn Future<Output = Result<(), UnitStoreError>> + Send + '_>>;
}

/// A record could not be kept; the one before is still there.
#[derive(Debug, thiserror::Error)]
#[error("what is to be remembered of LUN {lun} could not be kept")]
pub struct UnitStoreError {
    /// The LUN.
    pub lun: LunId,
    /// Why.
    pub source: Box<dyn Error + Send + Sync>,
}
