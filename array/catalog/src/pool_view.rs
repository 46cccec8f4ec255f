//! The pool as an administrator sees it: where its space is, LUN by LUN, under the names that the catalog has.

use std::time::Duration;

use lunshadow_control::{LunId, LunRole, Outcome, PoolLevel, PoolLun, PoolLunKind, PoolLunsAnswer, PoolStatus};
use lunshadow_lun::{EnlargeError, LunSummary, Pool, PoolCare, PoolError};

use crate::catalog::Inner;
use crate::state::State;
use crate::{Catalog, CatalogError};

/// For how long one answer about LUNs looks at them, though at one at least.
const LOOK_AT_MOST: Duration = Duration::from_secs(5);

/// How many LUNs one answer has at most.
const LUNS_AT_MOST: usize = 1024;

impl<P: PoolCare> Catalog<P> {
    /// Where the pool's space is.
    #[must_use]
    pub fn pool_status(&self) -> PoolStatus {
        let pool = &self.inner.pool;
        let (usage, low_bytes) = (pool.usage(), pool.low_bytes());
        PoolStatus {
            io_engine: pool.io_engine(),
            read_cache: pool.read_cache(),
            capacity_bytes: usage.capacity_bytes,
            used_bytes: usage.used_bytes,
            free_bytes: usage.capacity_bytes.saturating_sub(usage.used_bytes),
            own_bytes: usage.own_bytes,
            map_bytes: usage.map_bytes,
            data_bytes: usage.data_bytes,
            freed_bytes: usage.freed_bytes,
            reclaiming_bytes: usage.reclaiming_bytes,
            available_bytes: usage.available_bytes,
            low_bytes,
            level: match usage.available_bytes {
                0 => PoolLevel::Full,
                available if available < low_bytes => PoolLevel::Low,
                _ => PoolLevel::Plenty,
            },
            provisioned_bytes: usage.provisioned_bytes,
            mapped_bytes: usage.mapped_bytes,
            lun_count: u32::try_from(usage.lun_count).unwrap_or(u32::MAX),
        }
    }

    /// Gives the pool more capacity.
    ///
    /// # Errors
    /// [`EnlargeError`].
    pub async fn enlarge_pool(&self, capacity_bytes: u64) -> Result<Outcome, EnlargeError> {
        let pool = self.inner.pool.clone();
        let enlarged = tokio::spawn(async move { pool.enlarge(capacity_bytes).await }).await;
        // It goes on if the asker goes away; a panic in it is the pool's.
        enlarged.unwrap_or(Err(EnlargeError::Poisoned))
    }
}

impl<P: Pool> Catalog<P> {
    /// The LUNs of the pool whose ids come after `after`, with what each takes; as many as can be looked at in a few seconds.
    ///
    /// # Errors
    /// `PoolReadOnly`, `Medium`.
    pub async fn pool_luns(&self, after: Option<LunId>) -> Result<PoolLunsAnswer, CatalogError> {
        let clock = &self.inner.settings.clock;
        let until = clock.now().after(LOOK_AT_MOST);
        // One more than is looked at, which tells whether there are more.
        let rest = self.inner.pool.luns_after(after, LUNS_AT_MOST + 1);
        let (count, mut looked, mut luns) = (rest.len(), 0, Vec::new());
        for summary in rest {
            if looked > 0 && (clock.now() >= until || looked == LUNS_AT_MOST) {
                break;
            }
            luns.extend(self.inner.pool_lun(&summary).await?);
            looked += 1;
        }
        // Those that were deleted meanwhile are no more; an answer without any that goes on would begin from the same place again.
        Ok(PoolLunsAnswer { more: looked < count && !luns.is_empty(), luns })
    }
}

impl<P: Pool> Inner<P> {
    /// What a LUN takes; `None` if it was deleted meanwhile.
    async fn pool_lun(&self, summary: &LunSummary) -> Result<Option<PoolLun>, CatalogError> {
        let unique_bytes = match self.pool.unique_bytes(summary.lun).await {
            Ok(unique_bytes) => unique_bytes,
            Err(PoolError::UnknownLun(_)) => return Ok(None),
            Err(error) => return Err(self.pool_failed(error)),
        };
        let usage = self.pool.open(summary.lun).ok().and_then(|handle| handle.usage());
        Ok(Some(PoolLun {
            lun: summary.lun,
            kind: self.state.lock().pool_lun_kind(summary.lun),
            len_bytes: summary.block_count.bytes(),
            mapped_bytes: usage.map_or(0, |usage| usage.mapped_bytes),
            unique_bytes,
        }))
    }
}

impl State {
    /// What a LUN of the pool is there for.
    pub(crate) fn pool_lun_kind(&self, lun: LunId) -> PoolLunKind {
        match self.role_of(lun) {
            Some(LunRole::Source) => {
                let name = self.luns.get(&lun).map(|doc| doc.name.to_string());
                PoolLunKind::Lun { name: name.unwrap_or_default() }
            }
            Some(LunRole::Shadow { source, set }) => {
                PoolLunKind::Shadow { source_name: self.luns.get(&source).map(|doc| doc.name.to_string()), set }
            }
            None if self.internal.contains(&lun) || self.luns.contains_key(&lun) => PoolLunKind::Internal,
            None => PoolLunKind::Unknown,
        }
    }
}
