//! Shadow LUNs that are full copies: they share nothing with their source.
//!
//! A mirror is an internal LUN that is filled with the source's content while the set is prepared, and brought up to date before the
//! preparation is finished. The commit fixes the point in time as for any other shadow LUN. Before it is answered, what has changed since is
//! copied to the mirror, and the shadow LUN gets the mirror's blocks in place of those that it shares: its content is the same before and
//! after, and at no time another one. If that does not come to its end within the commit's deadline, the commit fails.
//!
//! INVARIANT: a shadow LUN whose first mirror is still in the pool may share with its source. Its commit was not answered: the set is over
//! if the array is started again. So the shadow LUNs of a set that failed go before its mirrors do.

use std::collections::BTreeSet;
use std::sync::Arc;

use lunshadow_control::{HostId, LunId, Outcome, ShadowSetId};
use lunshadow_lun::{Copier, CopyError, Lba, LunError, LunHandle, Pool, RevertPair, ShadowMember};
use serde::{Deserialize, Serialize};

use crate::catalog::Inner;
use crate::internal::WorkDoc;
use crate::reconcile::delete;
use crate::records::Change;
use crate::shadow_set::{AbortReason, SetState};
use crate::state::State;
use crate::{Catalog, CatalogError};

/// A preparation ends with a round of catching up that copied no more than this, so that little is left for the commit.
const LITTLE_BYTES: u64 = 16 << 20;

/// After so many rounds it ends in any case: the source changes faster than it can be copied.
const ROUNDS_MAX: usize = 8;

/// The mirror of one LUN of a set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mirror {
    shadow: LunId,
    source: LunId,
    /// The internal LUN that is filled.
    fill: LunId,
    /// Frozen contents of the source: first the one that `fill` holds or is being filled with, then the one that it catches up with.
    bases: Vec<LunId>,
}

/// The record of a mirror, under the id of the LUN that is filled.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct MirrorDoc {
    pub(crate) set: ShadowSetId,
    /// The frozen contents that it is filled from.
    pub(crate) bases: Vec<LunId>,
}

impl<P: Pool> Catalog<P> {
    /// Ends the sets whose mirrors are being filled: they would be over after a restart in any case.
    pub(crate) async fn end_mirrors(&self) {
        let ended: Vec<_> = {
            let mut state = self.inner.state.lock();
            let open = state.sets.values().filter(|set| set.state == SetState::Prepared && !set.mirrors.is_empty());
            let open: Vec<ShadowSetId> = open.map(|set| set.set).collect();
            let mut end = |set| (set, self.inner.end_set(&mut state, set, AbortReason::Restarted));
            open.into_iter().map(&mut end).collect()
        };
        for (set, slots) in ended {
            if let Err(error) = self.inner.finish_end(set, slots).await {
                tracing::warn!(%set, %error, "the end of a shadow set could not be made durable");
            }
        }
    }
}

impl<P: Pool> Inner<P> {
    /// Makes and fills the mirrors of LUNs that are about to join a set.
    pub(crate) async fn fill_mirrors(&self, set: ShadowSetId, joining: &[ShadowMember]) -> Result<(), CatalogError> {
        for member in joining {
            let (fill, base) = (self.draw_internal(), self.draw_internal());
            {
                let mut state = self.state.lock();
                let found = state.sets.get_mut(&set).ok_or(CatalogError::UnknownSet(set))?;
                found.check_preparable()?;
                let (shadow, source) = (member.shadow, member.source);
                found.mirrors.push(Mirror { shadow, source, fill, bases: Vec::new() });
                found.is_caught_up = false;
            }
            self.note_bases(set, fill, vec![base]).await?;
            let frozen = self.freeze(member.source, base).await?;
            let length = frozen.block_count();
            let to = self.pool.create(fill, length).await.map_err(|error| self.pool_failed(error))?;
            self.copy_mirror(set, Copier::new(frozen, to, Lba(0)), SetState::Prepared).await?;
        }
        Ok(())
    }

    /// Brings the mirrors of a set up to date, in the background, if that was not done since they were filled. Answers whether there is
    /// nothing to wait for.
    pub(crate) fn catch_up(self: &Arc<Self>, host: HostId, set: ShadowSetId) -> Result<bool, CatalogError> {
        {
            let mut state = self.state.lock();
            let found = state.set_of_mut(host, set)?;
            if found.state != SetState::Prepared || found.mirrors.is_empty() || found.is_caught_up {
                return Ok(true);
            }
            found.is_caught_up = true;
            found.preparing += 1;
        }
        let inner = Arc::clone(self);
        tokio::spawn(async move {
            let turn = inner.state.lock().set_of(host, set).map(|found| Arc::clone(&found.turn));
            let Ok(turn) = turn else { return };
            let turn = turn.lock().await;
            let result = inner.catch_up_in_rounds(set).await;
            let ended = inner.preparation_ended(host, set, &result, false);
            drop(turn);
            if let Err(error) = inner.after_preparation(set, ended).await {
                tracing::warn!(%set, %error, "the end of a shadow set could not be made durable");
            }
        });
        Ok(false)
    }

    async fn catch_up_in_rounds(&self, set: ShadowSetId) -> Result<Outcome, CatalogError> {
        for _ in 0..ROUNDS_MAX {
            let mut written_bytes = 0;
            for mirror in self.mirrors_of(set) {
                written_bytes += self.catch_up_once(set, &mirror).await?;
            }
            if written_bytes <= LITTLE_BYTES {
                break;
            }
        }
        Ok(Outcome::Done)
    }

    /// Copies to a mirror what its source has changed since; how many bytes that was.
    async fn catch_up_once(&self, set: ShadowSetId, mirror: &Mirror) -> Result<u64, CatalogError> {
        let Mirror { source, fill, ref bases, .. } = *mirror;
        let base = *bases.first().ok_or(CatalogError::NotReady(set))?;
        let now = self.draw_internal();
        self.note_bases(set, fill, vec![base, now]).await?;
        let frozen = self.freeze(source, now).await?;
        let (held, to) = (self.open(base)?, self.open(fill)?);
        if frozen.block_count() > to.block_count() {
            self.pool.grow(fill, frozen.block_count()).await.map_err(|error| self.pool_failed(error))?;
        }
        let copier = Copier::catching_up(frozen, held, to);
        let written_bytes = self.copy_mirror(set, copier, SetState::Prepared).await?;
        self.pool.delete(base).await.map_err(|error| self.pool_failed(error))?;
        self.note_bases(set, fill, vec![now]).await?;
        let mut state = self.state.lock();
        state.internal.remove(&base);
        state.forget_id(base);
        Ok(written_bytes)
    }

    /// After the pool has committed a set: gives its shadow LUNs blocks of their own, all or none.
    pub(crate) async fn split_mirrors(&self, set: ShadowSetId) -> Result<(), CatalogError> {
        let mirrors = self.mirrors_of(set);
        let Some(first) = mirrors.first() else { return Ok(()) };
        for mirror in &mirrors {
            let base = *mirror.bases.first().ok_or(CatalogError::NotReady(set))?;
            let (from, held, to) = (self.open(mirror.shadow)?, self.open(base)?, self.open(mirror.fill)?);
            if from.block_count() > to.block_count() {
                self.pool.grow(mirror.fill, from.block_count()).await.map_err(|error| self.pool_failed(error))?;
            } else if from.block_count() < to.block_count() {
                // The source was given an older, shorter content; the mirror is longer than that.
                return Err(CatalogError::NotReady(set));
            }
            self.copy_mirror(set, Copier::catching_up(from, held, to.clone()), SetState::Committing).await?;
            to.flush().await.map_err(|error| copy_failed(CopyError::Write(error)))?;
        }
        let swap = |mirror: &Mirror| RevertPair { from: mirror.fill, to: mirror.shadow };
        let swaps: Vec<_> = mirrors.iter().map(swap).collect();
        self.pool.revert(&swaps).await.map_err(|error| self.pool_failed(error))?;
        // The sign that it is done; the rest of the mirrors goes when nobody waits.
        self.pool.delete(first.fill).await.map_err(|error| self.pool_failed(error))?;
        Ok(())
    }

    /// Deletes the mirrors of a set, or those of some of its shadow LUNs. Answers whether they are gone.
    pub(crate) async fn drop_mirrors(&self, set: ShadowSetId, of: Option<&[ShadowMember]>) -> bool {
        let is_meant = |mirror: &Mirror| of.is_none_or(|of| of.iter().any(|member| member.shadow == mirror.shadow));
        let mut all_gone = true;
        for mirror in self.mirrors_of(set).into_iter().filter(is_meant) {
            let luns: Vec<LunId> = std::iter::once(mirror.fill).chain(mirror.bases).collect();
            if self.drop_internal(mirror.fill, &luns).await != Outcome::Done {
                all_gone = false;
            } else if let Some(found) = self.state.lock().sets.get_mut(&set)
                // Who fills it may make another frozen content just now; the end of the preparation comes here again.
                && (of.is_some() || found.preparing == 0)
            {
                found.mirrors.retain(|known| known.fill != mirror.fill);
            }
        }
        all_gone
    }

    fn open(&self, lun: LunId) -> Result<LunHandle, CatalogError> {
        self.pool.open(lun).map_err(|error| self.pool_failed(error))
    }

    fn mirrors_of(&self, set: ShadowSetId) -> Vec<Mirror> {
        self.state.lock().sets.get(&set).map(|found| found.mirrors.clone()).unwrap_or_default()
    }

    /// Explains the LUNs of a mirror before they come to be, and forgets those that are gone.
    async fn note_bases(&self, set: ShadowSetId, fill: LunId, bases: Vec<LunId>) -> Result<(), CatalogError> {
        {
            let mut state = self.state.lock();
            let found = state.sets.get_mut(&set).ok_or(CatalogError::UnknownSet(set))?;
            found.check_preparable()?;
            let mirror = found.mirrors.iter_mut().find(|mirror| mirror.fill == fill);
            mirror.ok_or(CatalogError::NotReady(set))?.bases.clone_from(&bases);
        }
        let _changes = self.changes.lock().await;
        self.write(vec![Change::PutWork(fill, WorkDoc::Mirror(MirrorDoc { set, bases }))]).await
    }

    /// Copies as long as the set is in a state. While it is being prepared, its lease begins anew with each step.
    async fn copy_mirror(&self, set: ShadowSetId, mut copier: Copier, during: SetState) -> Result<u64, CatalogError> {
        let mut written_bytes = 0;
        loop {
            {
                let lease = self.settings.clock.now().after(self.settings.leases.prepared);
                let mut state = self.state.lock();
                let found = state.sets.get_mut(&set).ok_or(CatalogError::UnknownSet(set))?;
                if found.state != during {
                    return Err(found.aborted());
                }
                if during == SetState::Prepared {
                    found.lease = Some(lease);
                }
            }
            match copier.step().await.map_err(copy_failed)? {
                Some(step) => written_bytes += step.written_bytes,
                None => return Ok(written_bytes),
            }
        }
    }
}

fn copy_failed(error: CopyError) -> CatalogError {
    match error {
        CopyError::Write(LunError::OutOfSpace) => CatalogError::OutOfSpace,
        CopyError::Write(LunError::Poisoned) => CatalogError::PoolReadOnly,
        error => CatalogError::NotCopied(Arc::new(error)),
    }
}

/// Sets of whose shadow LUNs some may share with their sources, since none of their mirrors has been used up.
pub(crate) fn unsplit(mirrors: &[(LunId, MirrorDoc)], is_in_pool: impl Fn(LunId) -> bool) -> BTreeSet<ShadowSetId> {
    let used_up = |set| mirrors.iter().any(|(fill, mirror)| mirror.set == set && !is_in_pool(*fill));
    mirrors.iter().map(|(_, mirror)| mirror.set).filter(|set| !used_up(*set)).collect()
}

/// Removes what is left of the mirrors of an earlier run, but for those of sets whose shadow LUNs could not be removed.
pub(crate) async fn remove_all<P: Pool>(
    pool: &P,
    mirrors: Vec<(LunId, MirrorDoc)>,
    state: &State,
    changes: &mut Vec<Change>,
) {
    let is_stuck =
        |set: ShadowSetId| state.sets.get(&set).is_some_and(|set| set.state == SetState::Aborted && !set.cleared);
    for (fill, mirror) in mirrors.into_iter().filter(|(_, mirror)| !is_stuck(mirror.set)) {
        let mut gone = true;
        for lun in std::iter::once(fill).chain(mirror.bases) {
            gone &= delete(pool, lun).await;
        }
        if gone {
            changes.push(Change::DropWork(fill));
        }
    }
}
