//! Where the target keeps what must outlive it.

use std::error::Error;
use std::future::Future;
use std::pin::Pin;

use bytes::Bytes;

use crate::LunId;

/// Keeps the persistent reservations of LUNs over restarts (SPC-4 5.9.5, APTPL). What is in a record is the target's affair.
pub trait ReservationStore: Send + Sync {
    /// The record of a LUN. Cheap: it is asked for when an initiator sees a LUN for the first time.
    fn kept(&self, lun: LunId) -> Option<Bytes>;

    /// Keeps another record of a LUN, or none. It is durable when this is done, and goes when the LUN is deleted.
    fn keep(
        &self,
        lun: LunId,
        record: Option<Bytes>,
    ) -> Pin<Box<dyn Future<Output = Result<(), ReservationStoreError>> + Send + '_>>;
}

/// A record could not be kept; the one before is still there.
#[derive(Debug, thiserror::Error)]
#[error("the reservations of LUN {lun} could not be kept")]
pub struct ReservationStoreError {
    /// The LUN.
    pub lun: LunId,
    /// Why.
    pub source: Box<dyn Error + Send + Sync>,
}
