//! Resync: LUNs get the content of shadow LUNs.
//!
//! The pool replaces the content of all targets at one instant or of none, so a resync that was interrupted has happened or has not.
//! What is kept here, in memory, is only who asked and how it went.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use lunshadow_control::{HostId, LunId, LunRole, ResyncId, ResyncPair, ResyncState};
use lunshadow_lun::{Pool, RevertPair, UnitRecord};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::catalog::Inner;
use crate::records::Change;
use crate::state::State;
use crate::{Catalog, CatalogError};

/// How many resyncs are remembered. Those that run are never forgotten.
const REMEMBERED_AT_MOST: usize = 256;

/// The resyncs, in the order in which they began.
#[derive(Debug, Default)]
pub(crate) struct Resyncs(VecDeque<Resync>);

#[derive(Debug)]
struct Resync {
    id: ResyncId,
    owner: HostId,
    state: watch::Sender<ResyncState>,
    /// Whether the pool was asked, after which nobody can stop it.
    in_pool: bool,
}

impl Resyncs {
    fn find(&mut self, owner: HostId, id: ResyncId) -> Option<&mut Resync> {
        self.0.iter_mut().find(|resync| resync.id == id && resync.owner == owner)
    }

    fn add(&mut self, owner: HostId, id: ResyncId) {
        if self.0.len() >= REMEMBERED_AT_MOST {
            let ended = self.0.iter().position(|resync| *resync.state.borrow() != ResyncState::Running);
            ended.map(|index| self.0.remove(index));
        }
        self.0.push_back(Resync { id, owner, state: watch::Sender::new(ResyncState::Running), in_pool: false });
    }
}

impl<P: Pool> Catalog<P> {
    /// Begins a resync, or answers how the one of that id stands.
    ///
    /// # Errors
    /// `UnknownHost`, `UnknownLun`, `NotAShadow`, `NotASource`, `WrongState` (the shadow's set), `InUse`, `DuplicateTarget`,
    /// `WriteProtected`, `BeingSanitized`.
    pub async fn start_resync(
        &self,
        host: HostId,
        resync: ResyncId,
        pairs: &[ResyncPair],
    ) -> Result<ResyncState, CatalogError> {
        {
            let mut resyncs = self.inner.resyncs.lock();
            if let Some(found) = resyncs.find(host, resync) {
                return Ok(found.state.borrow().clone());
            }
            self.inner.check_resync(host, pairs)?;
            resyncs.add(host, resync);
        }
        tokio::spawn(Arc::clone(&self.inner).run_resync(host, resync, pairs.to_vec()));
        Ok(ResyncState::Running)
    }

    /// How a resync of this host stands, after waiting for its end for at most `at_most`.
    ///
    /// # Errors
    /// `UnknownResync`.
    pub async fn resync_state(
        &self,
        host: HostId,
        resync: ResyncId,
        at_most: Duration,
    ) -> Result<ResyncState, CatalogError> {
        let mut state = {
            let mut resyncs = self.inner.resyncs.lock();
            resyncs.find(host, resync).ok_or(CatalogError::UnknownResync(resync))?.state.subscribe()
        };
        // Whether it has ended or the time is up: what counts is how it stands then.
        let _ = timeout(at_most, state.wait_for(|state| *state != ResyncState::Running)).await;
        Ok(state.borrow().clone())
    }

    /// Stops a resync if nothing was changed yet; answers how it stands then, which is still running if it cannot be stopped any more.
    ///
    /// # Errors
    /// `UnknownResync`.
    pub async fn cancel_resync(&self, host: HostId, resync: ResyncId) -> Result<ResyncState, CatalogError> {
        let mut resyncs = self.inner.resyncs.lock();
        let found = resyncs.find(host, resync).ok_or(CatalogError::UnknownResync(resync))?;
        if !found.in_pool {
            found.state.send_if_modified(|state| {
                let runs = *state == ResyncState::Running;
                if runs {
                    *state = ResyncState::Cancelled;
                }
                runs
            });
        }
        Ok(found.state.borrow().clone())
    }
}

impl<P: Pool> Inner<P> {
    async fn run_resync(self: Arc<Self>, host: HostId, resync: ResyncId, pairs: Vec<ResyncPair>) {
        // Nobody renames or deletes a source LUN meanwhile.
        let _source_luns = self.source_luns.lock().await;
        {
            let mut resyncs = self.resyncs.lock();
            let Some(found) = resyncs.find(host, resync) else { return };
            if *found.state.borrow() != ResyncState::Running {
                return;
            }
            found.in_pool = true;
        }
        let ended = match self.revert(host, &pairs).await {
            Ok(()) => ResyncState::Finished,
            Err(error) => {
                tracing::warn!(%resync, %error, "a resync failed");
                ResyncState::Failed { code: error.code(), detail: error.to_string() }
            }
        };
        if let Some(found) = self.resyncs.lock().find(host, resync) {
            found.state.send_replace(ended);
        }
    }

    async fn revert(&self, host: HostId, pairs: &[ResyncPair]) -> Result<(), CatalogError> {
        // Things may have changed while the resync waited for its turn.
        self.check_resync(host, pairs)?;
        self.revert_all(pairs).await
    }

    fn check_resync(&self, host: HostId, pairs: &[ResyncPair]) -> Result<(), CatalogError> {
        let state = self.state.lock();
        check(&state, host, pairs)?;
        pairs.iter().try_for_each(|pair| self.check_overwritable(&state, pair.target))
    }

    /// Whether a LUN may get other content: nobody is to change one that is protected, and what a sanitize operation has erased must not come back.
    /// With `source_luns` held it stays so.
    pub(crate) fn check_overwritable(&self, state: &State, lun: LunId) -> Result<(), CatalogError> {
        let doc = state.luns.get(&lun).ok_or(CatalogError::UnknownLun(lun))?;
        if doc.presentation().write_protected {
            return Err(CatalogError::WriteProtected(doc.name.clone()));
        }
        if self.unit_records.has(lun, UnitRecord::Sanitize) {
            return Err(CatalogError::BeingSanitized(doc.name.clone()));
        }
        Ok(())
    }

    /// Gives LUNs the content of shadow LUNs, which the caller has looked at.
    pub(crate) async fn revert_all(&self, pairs: &[ResyncPair]) -> Result<(), CatalogError> {
        let reverts: Vec<_> = pairs.iter().map(|pair| RevertPair { from: pair.shadow, to: pair.target }).collect();
        self.pool.revert(&reverts).await.map_err(|error| self.pool_failed(error))?;
        let targets: BTreeSet<LunId> = pairs.iter().map(|pair| pair.target).collect();
        let in_pool: Vec<_> = targets.iter().filter_map(|target| self.pool.summary(*target)).collect();
        let _changes = self.changes.lock().await;
        let docs: Vec<_> = {
            let state = self.state.lock();
            let doc = |summary: &lunshadow_lun::LunSummary| {
                let doc = state.luns.get(&summary.lun)?;
                (doc.block_count() != summary.block_count)
                    .then(|| (summary.lun, doc.with_block_count(summary.block_count)))
            };
            in_pool.iter().filter_map(doc).collect()
        };
        // The content is there whatever becomes of the record: the next opening would correct it.
        let written = self.write(docs.iter().cloned().map(|(lun, doc)| Change::PutLun(lun, doc)).collect()).await;
        if let Err(error) = written {
            tracing::error!(%error, "the new length of a LUN could not be noted");
        }
        self.state.lock().luns.extend(docs);
        Ok(())
    }
}

/// Whether the host may do it, and everything is what it should be.
fn check(state: &State, host: HostId, pairs: &[ResyncPair]) -> Result<(), CatalogError> {
    state.host(host)?;
    let mut targets = BTreeSet::new();
    for ResyncPair { shadow, target } in pairs {
        let seen = |lun: LunId| {
            let visible = |role: &LunRole| !state.releasing.contains(&lun) && state.may_see(host, lun, *role);
            state.role_of(lun).filter(visible).ok_or(CatalogError::UnknownLun(lun))
        };
        let LunRole::Shadow { set, .. } = seen(*shadow)? else { return Err(CatalogError::NotAShadow(*shadow)) };
        state.sets.get(&set).ok_or(CatalogError::UnknownSet(set))?.check_reachable("resynced from")?;
        if let LunRole::Shadow { .. } = seen(*target)? {
            return Err(CatalogError::NotASource(*target));
        }
        if state.slots_of(*target).iter().any(|(other, _)| *other != host) {
            return Err(CatalogError::InUse(*target));
        }
        if !targets.insert(*target) {
            return Err(CatalogError::DuplicateTarget(*target));
        }
    }
    Ok(())
}
