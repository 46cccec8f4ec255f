//! What the target keeps here over restarts: records of LUNs, such as their persistent reservations.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use lunshadow_control::LunId;
use lunshadow_lun::{LunHandle, Pool, UnitRecord, UnitStore, UnitStoreError};
use parking_lot::RwLock;

use crate::catalog::Inner;
use crate::records::Change;
use crate::state::State;
use crate::{Catalog, CatalogError};

/// The records in memory; the database has the same.
#[derive(Debug, Default)]
pub(crate) struct UnitRecords(RwLock<HashMap<(LunId, UnitRecord), Bytes>>);

impl UnitRecords {
    /// The records of LUNs that are still known; `changes` drops the others.
    pub(crate) fn of_known(kept: Vec<(LunId, UnitRecord, Bytes)>, state: &State, changes: &mut Vec<Change>) -> Self {
        let is_known = |lun: &LunId| state.luns.contains_key(lun) || state.set_of_shadow.contains_key(lun);
        let (known, gone): (Vec<_>, Vec<_>) = kept.into_iter().partition(|(lun, ..)| is_known(lun));
        changes.extend(gone.into_iter().flat_map(|(lun, ..)| Change::drop_unit_records(lun)));
        Self(RwLock::new(known.into_iter().map(|(lun, record, bytes)| ((lun, record), bytes)).collect()))
    }

    /// Whether there is such a record.
    pub(crate) fn has(&self, lun: LunId, record: UnitRecord) -> bool {
        self.0.read().contains_key(&(lun, record))
    }

    /// A LUN is gone, and its id does not come back.
    pub(crate) fn forget(&self, lun: LunId) {
        self.0.write().retain(|(of, _), _| *of != lun);
    }
}

impl<P: Pool> UnitStore for Catalog<P> {
    fn kept(&self, lun: LunId, record: UnitRecord) -> Option<Bytes> {
        self.inner.unit_records.0.read().get(&(lun, record)).cloned()
    }

    fn all_kept(&self, record: UnitRecord) -> Vec<LunHandle> {
        let kept = self.inner.unit_records.0.read();
        let luns = kept.keys().filter(|(_, of)| *of == record).map(|(lun, _)| *lun);
        // One that the pool does not have was lost with a pool.
        luns.filter_map(|lun| self.inner.pool.open(lun).ok()).collect()
    }

    fn keep(
        &self,
        lun: LunId,
        record: UnitRecord,
        bytes: Option<Bytes>,
    ) -> Pin<Box<dyn Future<Output = Result<(), UnitStoreError>> + Send + '_>> {
        let inner = Arc::clone(&self.inner);
        let kept = self.complete(async move { inner.keep_unit_record(lun, record, bytes).await });
        Box::pin(async move { kept.await.map_err(|source| UnitStoreError { lun, source: source.into() }) })
    }
}

impl<P: Pool> Inner<P> {
    /// The target brings the changes of one record one after the other.
    async fn keep_unit_record(&self, lun: LunId, record: UnitRecord, bytes: Option<Bytes>) -> Result<(), CatalogError> {
        // A sanitize operation begins before the LUN gets other content, or after it: see `Inner::check_overwritable`.
        let begins_sanitizing = record == UnitRecord::Sanitize && bytes.is_some();
        let _source_luns = if begins_sanitizing { Some(self.source_luns.lock().await) } else { None };
        self.write(vec![Change::SetUnitRecord(lun, record, bytes.clone())]).await?;
        let mut kept = self.unit_records.0.write();
        match bytes {
            Some(bytes) => kept.insert((lun, record), bytes),
            None => kept.remove(&(lun, record)),
        };
        Ok(())
    }
}
