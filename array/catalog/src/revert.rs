//! What an administrator makes of shadow LUNs: LUNs of their own, or the content of the LUN that they are of.

use std::sync::Arc;

use lunshadow_control::{LunId, LunRole, Outcome, ResyncPair};
use lunshadow_lun::Pool;

use crate::catalog::Inner;
use crate::{Catalog, CatalogError, Name};

impl<P: Pool> Catalog<P> {
    /// Makes a shadow LUN a LUN of its own, of that name. Nothing is copied, and hosts that see it go on to.
    ///
    /// # Errors
    /// `UnknownLun`, `WrongState` (its set is not kept), `NameTaken`, `PoolReadOnly`, `Medium`, `Database`.
    pub async fn promote(&self, shadow: LunId, name: Name) -> Result<Outcome, CatalogError> {
        let inner = Arc::clone(&self.inner);
        self.complete(async move {
            let outcome = inner.break_off(None, shadow, Some(name.clone())).await?;
            inner.pool.promote(shadow).await.map_err(|error| inner.pool_failed(error))?;
            match outcome {
                Outcome::Done => Ok(outcome),
                // It was a LUN of its own already, if under another name.
                Outcome::AlreadySo => inner.rename_lun(shadow, name).await,
            }
        })
        .await
    }

    /// Gives a LUN the content and the length that one of its shadow LUNs has. What it held before is gone; its identity stays.
    ///
    /// # Errors
    /// `UnknownLun`, `NotASource`, `NotAShadow`, `ShadowOfAnother`, `WrongState` or `SetAborted` (the shadow's set), `WouldOverwrite` while
    /// hosts see the LUN, unless it is to happen by `force`; `WriteProtected`, `BeingSanitized`, `OutOfSpace`, `PoolReadOnly`, `Medium`, `Database`.
    pub async fn revert_lun(&self, lun: LunId, shadow: LunId, force: bool) -> Result<(), CatalogError> {
        let inner = Arc::clone(&self.inner);
        self.complete(async move {
            let _source_luns = inner.source_luns.lock().await;
            inner.check_revert(lun, shadow, force)?;
            inner.revert_all(&[ResyncPair { shadow, target: lun }]).await
        })
        .await
    }
}

impl<P: Pool> Inner<P> {
    fn check_revert(&self, lun: LunId, shadow: LunId, force: bool) -> Result<(), CatalogError> {
        let state = self.state.lock();
        let name = match (state.role_of(lun), state.luns.get(&lun)) {
            (Some(LunRole::Source), Some(doc)) => doc.name.clone(),
            (Some(LunRole::Shadow { .. }), _) => return Err(CatalogError::NotASource(lun)),
            _ => return Err(CatalogError::UnknownLun(lun)),
        };
        let (source, set) = match state.role_of(shadow).filter(|_| !state.releasing.contains(&shadow)) {
            Some(LunRole::Shadow { source, set }) => (source, set),
            Some(LunRole::Source) => return Err(CatalogError::NotAShadow(shadow)),
            None => return Err(CatalogError::UnknownLun(shadow)),
        };
        state.sets.get(&set).ok_or(CatalogError::UnknownSet(set))?.check_reachable("reverted to")?;
        if source != lun {
            return Err(CatalogError::ShadowOfAnother { name, shadow });
        }
        if !force && !state.slots_of(lun).is_empty() {
            return Err(CatalogError::WouldOverwrite(name));
        }
        self.check_overwritable(&state, lun)
    }
}
