//! Persistent reservations, which the target keeps here over restarts.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use lunshadow_control::LunId;
use lunshadow_lun::{Pool, ReservationStore, ReservationStoreError};
use parking_lot::RwLock;

use crate::catalog::Inner;
use crate::records::Change;
use crate::state::State;
use crate::{Catalog, CatalogError};

/// The records in memory; the database has the same.
#[derive(Debug, Default)]
pub(crate) struct Reservations(RwLock<HashMap<LunId, Bytes>>);

impl Reservations {
    /// The records of LUNs that are still known; `changes` drops the others.
    pub(crate) fn of_known(kept: Vec<(LunId, Bytes)>, state: &State, changes: &mut Vec<Change>) -> Self {
        let is_known = |lun: &LunId| state.luns.contains_key(lun) || state.set_of_shadow.contains_key(lun);
        let (known, gone): (Vec<_>, Vec<_>) = kept.into_iter().partition(|(lun, _)| is_known(lun));
        changes.extend(gone.into_iter().map(|(lun, _)| Change::DropReservations(lun)));
        Self(RwLock::new(known.into_iter().collect()))
    }

    /// A LUN is gone, and its id does not come back.
    pub(crate) fn forget(&self, lun: LunId) {
        self.0.write().remove(&lun);
    }
}

impl<P: Pool> ReservationStore for Catalog<P> {
    fn kept(&self, lun: LunId) -> Option<Bytes> {
        self.inner.reservations.0.read().get(&lun).cloned()
    }

    fn keep(
        &self,
        lun: LunId,
        record: Option<Bytes>,
    ) -> Pin<Box<dyn Future<Output = Result<(), ReservationStoreError>> + Send + '_>> {
        let inner = Arc::clone(&self.inner);
        let kept = self.complete(async move { inner.keep_reservations(lun, record).await });
        Box::pin(async move { kept.await.map_err(|source| ReservationStoreError { lun, source: source.into() }) })
    }
}

impl<P: Pool> Inner<P> {
    /// The target brings the changes of one LUN one after the other.
    async fn keep_reservations(&self, lun: LunId, record: Option<Bytes>) -> Result<(), CatalogError> {
        let change = match &record {
            Some(record) => Change::PutReservations(lun, record.clone()),
            None => Change::DropReservations(lun),
        };
        self.write(vec![change]).await?;
        let mut kept = self.reservations.0.write();
        match record {
            Some(record) => kept.insert(lun, record),
            None => kept.remove(&lun),
        };
        Ok(())
    }
}
