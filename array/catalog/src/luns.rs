//! The administrator's use cases of source LUNs.

use std::collections::HashMap;
use std::sync::Arc;

use lunshadow_control::{LunId, LunRole, Outcome};
use lunshadow_lun::{BlockCount, Pool, Presentation};

use crate::catalog::Inner;
use crate::records::{Change, LunDoc, LunPhase};
use crate::state::State;
use crate::{Catalog, CatalogError, Made, Name};

/// What may happen when a LUN is deleted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LunDeletion {
    /// It is taken away from the hosts that see it; without this it must not be mapped.
    pub unmap: bool,
    /// Its shadow LUNs, which live on, lose the LUN that they are of; without this it must have none.
    pub keep_shadows: bool,
}

/// A LUN as the administrator sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CatalogedLun {
    /// Its id.
    pub lun: LunId,
    /// Its name; shadow LUNs have none.
    pub name: Option<Name>,
    /// Its length.
    pub block_count: BlockCount,
    /// Source or shadow.
    pub role: LunRole,
    /// Whether the pool has it. One that is missing was lost with a pool, or the pool is the wrong one.
    pub in_pool: bool,
}

impl<P: Pool> Catalog<P> {
    /// Makes an empty LUN. One of the same name and length is `AlreadySo`.
    ///
    /// # Errors
    /// `NameTaken` by a LUN of another length, `UnsupportedSize`, `OutOfSpace`, `LimitReached`, `PoolReadOnly`, `Medium`, `Database`.
    pub async fn create_lun(&self, name: Name, block_count: BlockCount) -> Result<Made<LunId>, CatalogError> {
        let inner = Arc::clone(&self.inner);
        self.complete(async move { inner.create_lun(name, block_count).await }).await
    }

    /// Gives a LUN another name.
    ///
    /// # Errors
    /// `UnknownLun`, `NotASource`, `NameTaken`, `Database`.
    pub async fn rename_lun(&self, lun: LunId, name: Name) -> Result<Outcome, CatalogError> {
        let inner = Arc::clone(&self.inner);
        self.complete(async move { inner.rename_lun(lun, name).await }).await
    }

    /// Makes a LUN longer, also while hosts use it: the target tells their initiators. The length that it has is `AlreadySo`.
    ///
    /// # Errors
    /// `UnknownLun`, `NotASource`, `WouldShrink`, `UnsupportedSize`, `OutOfSpace`, `PoolReadOnly`, `Medium`, `Database`.
    pub async fn grow_lun(&self, lun: LunId, block_count: BlockCount) -> Result<Outcome, CatalogError> {
        let inner = Arc::clone(&self.inner);
        self.complete(async move { inner.grow_lun(lun, block_count).await }).await
    }

    /// Has initiators see a LUN otherwise, also while they use it: the target tells them. Shadow LUNs and copies of it are seen as any other.
    /// What is `None` stays as it is.
    ///
    /// # Errors
    /// `UnknownLun`, `NotASource`, `Database`.
    pub async fn present_lun(
        &self,
        lun: LunId,
        removable: Option<bool>,
        write_protected: Option<bool>,
    ) -> Result<Outcome, CatalogError> {
        let inner = Arc::clone(&self.inner);
        self.complete(async move { inner.present_lun(lun, removable, write_protected).await }).await
    }

    /// Deletes a source LUN. Shadow LUNs of it live on. An unknown LUN is `AlreadySo`.
    ///
    /// # Errors
    /// `NotASource`, `Mapped`, `HasShadows`, `PoolReadOnly`, `Medium`, `Database`.
    pub async fn delete_lun(&self, lun: LunId, deletion: LunDeletion) -> Result<Outcome, CatalogError> {
        let inner = Arc::clone(&self.inner);
        self.complete(async move { inner.delete_lun(lun, deletion).await }).await
    }

    /// All LUNs, in the order of their ids: source LUNs, and the shadow LUNs of committed and kept sets.
    #[must_use]
    pub fn luns(&self) -> Vec<CatalogedLun> {
        let in_pool = self.inner.pool.luns();
        let in_pool: HashMap<LunId, BlockCount> =
            in_pool.into_iter().map(|summary| (summary.lun, summary.block_count)).collect();
        let length = |lun| in_pool.get(&lun).copied();
        let state = self.inner.state.lock();
        let sources = state.luns.iter().filter(|(_, doc)| doc.phase == LunPhase::Live).map(|(lun, doc)| {
            let found = length(*lun);
            CatalogedLun {
                lun: *lun,
                name: Some(doc.name.clone()),
                block_count: found.unwrap_or_else(|| doc.block_count()),
                role: LunRole::Source,
                in_pool: found.is_some(),
            }
        });
        let alive = state.sets.values().filter(|set| set.check_reachable("listed").is_ok());
        let shadows = alive.flat_map(|set| set.members.iter().map(|member| (set.set, member))).map(|(set, member)| {
            let found = length(member.shadow);
            CatalogedLun {
                lun: member.shadow,
                name: None,
                block_count: found.unwrap_or_default(),
                role: LunRole::Shadow { source: member.source, set },
                in_pool: found.is_some(),
            }
        });
        let mut luns: Vec<CatalogedLun> = sources.chain(shadows).collect();
        luns.sort_by_key(|entry| entry.lun);
        luns
    }

    /// The source LUN of that name.
    #[must_use]
    pub fn lun_named(&self, name: &Name) -> Option<LunId> {
        let state = self.inner.state.lock();
        state.luns.iter().find(|(_, doc)| doc.phase == LunPhase::Live && doc.name == *name).map(|(lun, _)| *lun)
    }
}

impl<P: Pool> Inner<P> {
    async fn create_lun(&self, name: Name, block_count: BlockCount) -> Result<Made<LunId>, CatalogError> {
        let _source_luns = self.source_luns.lock().await;
        let found = {
            let state = self.state.lock();
            state.luns.iter().find(|(_, doc)| doc.name == name).map(|(lun, doc)| (*lun, doc.clone()))
        };
        if let Some((id, doc)) = found {
            let same = doc.phase == LunPhase::Live && doc.block_count() == block_count;
            return if same {
                Ok(Made { id, outcome: Outcome::AlreadySo })
            } else {
                Err(CatalogError::NameTaken(name))
            };
        }
        let lun = self.state.lock().draw_id(&*self.settings.ids, &*self.pool);
        let doc = LunDoc::new(name, block_count);
        if let Err(error) = self.put_lun(lun, doc.clone()).await {
            self.state.lock().forget_id(lun);
            return Err(error);
        }
        match self.pool.create(lun, block_count).await {
            Ok(handle) => {
                self.put_lun(lun, doc.in_phase(LunPhase::Live)).await?;
                self.state.lock().handles.insert(lun, handle);
                Ok(Made { id: lun, outcome: Outcome::Done })
            }
            Err(error) => {
                let error = self.pool_failed(error);
                self.drop_lun(lun).await?;
                Err(error)
            }
        }
    }

    pub(crate) async fn rename_lun(&self, lun: LunId, name: Name) -> Result<Outcome, CatalogError> {
        let _source_luns = self.source_luns.lock().await;
        let doc = {
            let state = self.state.lock();
            let doc = source(&state, lun)?;
            if state.luns.iter().any(|(other, doc)| *other != lun && doc.name == name) {
                return Err(CatalogError::NameTaken(name));
            }
            doc
        };
        // Names that differ in case are equal, and yet a change.
        if doc.name.as_str() == name.as_str() {
            return Ok(Outcome::AlreadySo);
        }
        self.put_lun(lun, LunDoc { name, ..doc }).await?;
        Ok(Outcome::Done)
    }

    async fn grow_lun(&self, lun: LunId, block_count: BlockCount) -> Result<Outcome, CatalogError> {
        let _source_luns = self.source_luns.lock().await;
        let doc = source(&self.state.lock(), lun)?;
        let has = doc.block_count();
        if block_count < has {
            return Err(CatalogError::WouldShrink { name: doc.name, has, asked: block_count });
        }
        let outcome = self.pool.grow(lun, block_count).await.map_err(|error| self.pool_failed(error))?;
        // If this fails, the next opening finds the length in the pool.
        if has != block_count {
            self.put_lun(lun, doc.with_block_count(block_count)).await?;
        }
        Ok(outcome)
    }

    async fn present_lun(
        &self,
        lun: LunId,
        removable: Option<bool>,
        write_protected: Option<bool>,
    ) -> Result<Outcome, CatalogError> {
        let _source_luns = self.source_luns.lock().await;
        let doc = source(&self.state.lock(), lun)?;
        let before = doc.presentation();
        let presentation = Presentation {
            removable: removable.unwrap_or(before.removable),
            write_protected: write_protected.unwrap_or(before.write_protected),
        };
        if presentation == before {
            return Ok(Outcome::AlreadySo);
        }
        self.put_lun(lun, doc.with_presentation(presentation)).await?;
        Ok(Outcome::Done)
    }

    async fn delete_lun(&self, lun: LunId, deletion: LunDeletion) -> Result<Outcome, CatalogError> {
        let _source_luns = self.source_luns.lock().await;
        {
            let _changes = self.changes.lock().await;
            let (doc, slots) = {
                let state = self.state.lock();
                if state.set_of_shadow.contains_key(&lun) {
                    return Err(CatalogError::NotASource(lun));
                }
                let Some(doc) = state.luns.get(&lun) else { return Ok(Outcome::AlreadySo) };
                let slots = state.slots_of(lun);
                if !deletion.unmap && !slots.is_empty() {
                    return Err(CatalogError::Mapped(doc.name.clone()));
                }
                let count = state.shadow_counts().get(&lun).copied().unwrap_or(0);
                if !deletion.keep_shadows && count > 0 {
                    return Err(CatalogError::HasShadows { name: doc.name.clone(), count });
                }
                (doc.in_phase(LunPhase::Deleting), slots)
            };
            let mut changes = vec![Change::PutLun(lun, doc.clone())];
            changes.extend(slots.iter().map(|(host, number)| Change::DropMapping(*host, *number)));
            self.write(changes).await?;
            let mut state = self.state.lock();
            state.luns.insert(lun, doc);
            self.take_away(&mut state, slots);
        }
        self.pool.delete(lun).await.map_err(|error| self.pool_failed(error))?;
        self.drop_lun(lun).await?;
        Ok(Outcome::Done)
    }

    pub(crate) async fn put_lun(&self, lun: LunId, doc: LunDoc) -> Result<(), CatalogError> {
        let _changes = self.changes.lock().await;
        self.write(vec![Change::PutLun(lun, doc.clone())]).await?;
        let mut state = self.state.lock();
        if let Some(cell) = state.presentations.get(&lun) {
            cell.set(doc.presentation());
        }
        state.luns.insert(lun, doc);
        Ok(())
    }

    pub(crate) async fn drop_lun(&self, lun: LunId) -> Result<(), CatalogError> {
        let _changes = self.changes.lock().await;
        self.write(std::iter::once(Change::DropLun(lun)).chain(Change::drop_unit_records(lun)).collect()).await?;
        self.unit_records.forget(lun);
        let mut state = self.state.lock();
        state.luns.remove(&lun);
        state.forget_id(lun);
        Ok(())
    }
}

/// The record of a LUN that is a source LUN.
fn source(state: &State, lun: LunId) -> Result<LunDoc, CatalogError> {
    match state.role_of(lun) {
        Some(LunRole::Source) => state.luns.get(&lun).cloned().ok_or(CatalogError::UnknownLun(lun)),
        Some(LunRole::Shadow { .. }) => Err(CatalogError::NotASource(lun)),
        None => Err(CatalogError::UnknownLun(lun)),
    }
}
