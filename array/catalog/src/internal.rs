//! LUNs that are the array's own for a while: what a copy or an import fills, and what a copy or an export reads. Nobody can map
//! them, and a record in the database explains each, so that a crash leaves nothing behind.

use std::collections::BTreeMap;
use std::num::NonZeroU64;

use lunshadow_control::{LunId, LunRole, Outcome, ShadowSetId};
use lunshadow_lun::{BlockCount, LunHandle, LunSummary, Pool, ShadowMember};
use serde::{Deserialize, Serialize};

use crate::catalog::Inner;
use crate::mirror::MirrorDoc;
use crate::reconcile::delete;
use crate::records::{Change, LunDoc, LunPhase};
use crate::state::State;
use crate::{COMMIT_WITHIN_MAX, CatalogError, Name};

/// What an internal LUN is there for.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub(crate) enum WorkDoc {
    /// A full copy, under the id of the LUN that it fills.
    Copy(CopyDoc),
    /// An import, under the id of the LUN that it fills.
    Import,
    /// An export, under the id of the shadow LUN that it reads.
    Export,
    /// The mirror of a LUN of a shadow set, under the id of the LUN that it fills.
    Mirror(MirrorDoc),
}

/// A full copy.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct CopyDoc {
    /// What is copied.
    pub(crate) source: LunId,
    /// Its content when the copy was begun.
    pub(crate) frozen: LunId,
    pub(crate) bytes_per_second: Option<NonZeroU64>,
    /// So much of it is durable.
    pub(crate) done_blocks: u64,
}

impl State {
    /// Whether a LUN may be copied or exported: a LUN, or a shadow LUN that hosts could map.
    pub(crate) fn check_readable(&self, lun: LunId) -> Result<(), CatalogError> {
        match self.role_of(lun).filter(|_| !self.releasing.contains(&lun)) {
            None => Err(CatalogError::UnknownLun(lun)),
            Some(LunRole::Source) => Ok(()),
            Some(LunRole::Shadow { set, .. }) => {
                self.sets.get(&set).ok_or(CatalogError::UnknownSet(set))?.check_reachable("copied from")
            }
        }
    }

    pub(crate) fn check_name_free(&self, name: &Name) -> Result<(), CatalogError> {
        match self.luns.values().any(|doc| doc.name == *name) {
            true => Err(CatalogError::NameTaken(name.clone())),
            false => Ok(()),
        }
    }
}

impl<P: Pool> Inner<P> {
    /// An id for an internal LUN.
    pub(crate) fn draw_internal(&self) -> LunId {
        let mut state = self.state.lock();
        let lun = state.draw_id(&*self.settings.ids, &*self.pool);
        state.internal.insert(lun);
        lun
    }

    /// Captures a LUN for the array's own use. The record that explains `frozen` is in the database already.
    pub(crate) async fn freeze(&self, source: LunId, frozen: LunId) -> Result<LunHandle, CatalogError> {
        let set = ShadowSetId(self.settings.draw_uuid());
        let member = ShadowMember { source, shadow: frozen };
        self.pool.prepare(set, &[member]).await.map_err(|error| self.pool_failed(error))?;
        let committed = self.pool.commit(set, COMMIT_WITHIN_MAX).await;
        committed
            .map_err(|error| CatalogError::from_commit(set, error))
            .inspect_err(|error| self.note_failure(error))?;
        self.pool.open(frozen).map_err(|error| self.pool_failed(error))
    }

    /// Makes the LUN that is to be filled: there, but for nobody to see, with a name that nobody else gets.
    pub(crate) async fn make_filling(
        &self,
        lun: LunId,
        name: Name,
        block_count: BlockCount,
        work: WorkDoc,
    ) -> Result<(), CatalogError> {
        let _changes = self.changes.lock().await;
        let doc = LunDoc::new(name, block_count).in_phase(LunPhase::Filling);
        self.write(vec![Change::PutLun(lun, doc.clone()), Change::PutWork(lun, work)]).await?;
        self.state.lock().luns.insert(lun, doc);
        Ok(())
    }

    /// Lets a LUN that is filled be a LUN like any other.
    pub(crate) async fn show_filled(&self, lun: LunId, handle: LunHandle) -> Result<(), CatalogError> {
        let _changes = self.changes.lock().await;
        let doc = self.state.lock().luns.get(&lun).map(|doc| doc.in_phase(LunPhase::Live));
        let doc = doc.ok_or(CatalogError::UnknownLun(lun))?;
        self.write(vec![Change::PutLun(lun, doc.clone())]).await?;
        let mut state = self.state.lock();
        state.luns.insert(lun, doc);
        state.handles.insert(lun, handle);
        state.internal.remove(&lun);
        Ok(())
    }

    /// Deletes internal LUNs and, when they are gone, the record `work` that explains them. What fails is done when the catalog is opened
    /// again.
    pub(crate) async fn drop_internal(&self, work: LunId, luns: &[LunId]) -> Outcome {
        let mut changes = vec![Change::DropWork(work)];
        for lun in luns {
            if let Err(error) = self.pool.delete(*lun).await {
                tracing::warn!(%lun, %error, "a LUN that only the array used could not be deleted yet");
                return Outcome::AlreadySo;
            }
            changes.push(Change::DropLun(*lun));
        }
        let _changes = self.changes.lock().await;
        if let Err(error) = self.write(changes).await {
            tracing::warn!(%error, "the end of a copy, import or export could not be noted yet");
            return Outcome::AlreadySo;
        }
        let mut state = self.state.lock();
        for lun in luns {
            state.internal.remove(lun);
            state.luns.remove(lun);
            state.forget_id(*lun);
        }
        Outcome::Done
    }
}

/// Decides about internal LUNs when a catalog is opened: copies go on, everything else is removed but for mirrors. Answers the copies and
/// the mirrors.
pub(crate) async fn reconcile<P: Pool>(
    pool: &P,
    in_pool: &BTreeMap<LunId, LunSummary>,
    work: Vec<(LunId, WorkDoc)>,
    luns: &mut Vec<(LunId, LunDoc)>,
    state: &mut State,
    changes: &mut Vec<Change>,
) -> (BTreeMap<LunId, CopyDoc>, Vec<(LunId, MirrorDoc)>) {
    let (mut copies, mut mirrors) = (BTreeMap::new(), Vec::new());
    for (key, doc) in work {
        let phase = luns.iter().find(|(lun, _)| *lun == key).map(|(_, doc)| doc.phase);
        let is_live = phase == Some(LunPhase::Live);
        let unneeded: Vec<LunId> = match doc {
            WorkDoc::Copy(copy) if is_live => vec![copy.frozen],
            WorkDoc::Copy(copy)
                if phase == Some(LunPhase::Filling)
                    && [key, copy.frozen].iter().all(|lun| in_pool.contains_key(lun)) =>
            {
                state.internal.extend([key, copy.frozen]);
                state.know_id(copy.frozen);
                copies.insert(key, copy);
                continue;
            }
            WorkDoc::Copy(copy) => vec![key, copy.frozen],
            WorkDoc::Import if is_live => Vec::new(),
            WorkDoc::Import | WorkDoc::Export => vec![key],
            // They are decided about when it is known what has become of their sets.
            WorkDoc::Mirror(mirror) => {
                mirrors.push((key, mirror));
                continue;
            }
        };
        let mut gone = true;
        for lun in &unneeded {
            gone &= delete(pool, *lun).await;
        }
        if !gone {
            continue;
        }
        changes.push(Change::DropWork(key));
        if unneeded.contains(&key) {
            luns.retain(|(lun, _)| *lun != key);
            changes.push(Change::DropLun(key));
        }
    }
    (copies, mirrors)
}
