//! What follows a commit, and the ends of a set.

use std::sync::Arc;
use std::time::Duration;

use lunshadow_control::{HostId, Outcome, ShadowSetId, ShadowTarget};
use lunshadow_lun::{Pool, identity_of};
use tokio::time::{Instant, timeout, timeout_at};

use crate::catalog::Inner;
use crate::records::Change;
use crate::shadow_set::{AbortReason, SetState, ShadowSet};
use crate::state::State;
use crate::{Catalog, CatalogError};

/// How long the end of a set waits for the pool to remove it. The set is out of reach already; the removal goes on.
const REMOVAL_PATIENCE: Duration = Duration::from_secs(2);

impl<P: Pool> Catalog<P> {
    /// Makes a committed set permanent: it has no lease any more and lives until its LUNs are released.
    ///
    /// # Errors
    /// `UnknownHost`, `UnknownSet`, `WrongState`, `SetAborted`, `Database`.
    pub async fn keep(&self, host: HostId, set: ShadowSetId) -> Result<Outcome, CatalogError> {
        let inner = Arc::clone(&self.inner);
        self.complete(async move {
            let answer = inner.keep(host, set).await;
            inner.end_known(set, &answer, Instant::now() + REMOVAL_PATIENCE).await;
            answer
        })
        .await
    }

    /// Ends a set that is not kept and removes its shadow LUNs. One that is unknown or over is `AlreadySo`.
    ///
    /// # Errors
    /// `UnknownHost`, `WrongState` (kept), `Database`.
    pub async fn abort(&self, host: HostId, set: ShadowSetId) -> Result<Outcome, CatalogError> {
        let inner = Arc::clone(&self.inner);
        self.complete(async move { inner.end(host, set, ShadowSet::check_abortable).await }).await
    }

    /// Ends a set even if it is kept, as long as none of its shadow LUNs was ever mapped.
    ///
    /// # Errors
    /// `UnknownHost`, `SeenByHosts`, `Database`.
    pub async fn withdraw(&self, host: HostId, set: ShadowSetId) -> Result<Outcome, CatalogError> {
        let inner = Arc::clone(&self.inner);
        self.complete(async move { inner.end(host, set, ShadowSet::check_withdrawable).await }).await
    }

    /// Ends a set of any host, at an administrator's word, whatever its state and whoever sees its shadow LUNs. They are gone for
    /// all hosts on return.
    ///
    /// # Errors
    /// `UnknownSet`, `Database`.
    pub async fn delete_set(&self, set: ShadowSetId) -> Result<Outcome, CatalogError> {
        let inner = Arc::clone(&self.inner);
        self.complete(async move { inner.delete_set(set).await }).await
    }

    /// The shadow LUNs of a committed set of the asking host, in the order of their sources' ids within each preparation. The same question gets the
    /// same answer for as long as they exist.
    ///
    /// # Errors
    /// `UnknownHost`, `UnknownSet`, `WrongState`, `SetAborted`.
    pub fn targets(&self, host: HostId, set: ShadowSetId) -> Result<Vec<ShadowTarget>, CatalogError> {
        let state = self.inner.state.lock();
        let found = state.set_of(host, set)?;
        found.check_reachable("read")?;
        let target = |member: &lunshadow_lun::ShadowMember| ShadowTarget {
            source: member.source,
            shadow: member.shadow,
            identity: identity_of(member.shadow),
        };
        Ok(found.members.iter().map(target).collect())
    }

    /// Where a set of the asking host stands.
    ///
    /// # Errors
    /// `UnknownHost`, `UnknownSet`.
    pub fn set_state(&self, host: HostId, set: ShadowSetId) -> Result<SetState, CatalogError> {
        self.inner.state.lock().set_of(host, set).map(|found| found.state)
    }

    /// Whether transactions wait because a set is armed or committing. They do for some seconds at most.
    #[must_use]
    pub fn asks_for_quiet(&self, set: ShadowSetId) -> bool {
        self.inner.database.quiet.is_asked_by(set)
    }
}

impl<P: Pool> Inner<P> {
    async fn keep(&self, host: HostId, set: ShadowSetId) -> Result<Outcome, CatalogError> {
        let _changes = self.changes.lock().await;
        let doc = {
            let state = self.state.lock();
            let found = state.set_of(host, set)?;
            if found.check_keepable()? == Outcome::AlreadySo {
                return Ok(Outcome::AlreadySo);
            }
            let mut doc = found.to_doc();
            doc.state = SetState::Kept;
            doc
        };
        self.write(vec![Change::PutSet(set, doc)]).await?;
        let mut state = self.state.lock();
        let found = state.set_of_mut(host, set)?;
        // It may have ended while it was written; then its end is written next.
        let outcome = found.check_keepable()?;
        found.enter(SetState::Kept, None);
        Ok(outcome)
    }

    async fn end(
        self: Arc<Self>,
        host: HostId,
        set: ShadowSetId,
        check: impl Fn(&ShadowSet) -> Result<Outcome, CatalogError>,
    ) -> Result<Outcome, CatalogError> {
        let slots = {
            let mut state = self.state.lock();
            state.host(host)?;
            let Ok(found) = state.set_of(host, set) else { return Ok(Outcome::AlreadySo) };
            if check(found)? == Outcome::AlreadySo {
                return Ok(Outcome::AlreadySo);
            }
            self.end_set(&mut state, set, AbortReason::Requested)
        };
        self.finish_end(set, slots).await?;
        Ok(Outcome::Done)
    }

    async fn delete_set(self: Arc<Self>, set: ShadowSetId) -> Result<Outcome, CatalogError> {
        let slots = {
            let mut state = self.state.lock();
            let found = state.sets.get(&set).ok_or(CatalogError::UnknownSet(set))?;
            if found.deletion() == Outcome::AlreadySo {
                return Ok(Outcome::AlreadySo);
            }
            self.end_set(&mut state, set, AbortReason::Deleted)
        };
        self.finish_end(set, slots).await?;
        Ok(Outcome::Done)
    }

    /// Ends a set in memory, at once: nobody reaches its shadow LUNs from here on. The answer is what [`Self::finish_end`] needs.
    pub(crate) fn end_set(&self, state: &mut State, set: ShadowSetId, reason: AbortReason) -> Vec<(HostId, u8)> {
        let ended = state.next_ended;
        state.next_ended += 1;
        let Some(found) = state.sets.get_mut(&set) else { return Vec::new() };
        found.reason = Some(reason);
        found.ended = Some(ended);
        found.enter(SetState::Aborted, None);
        let members = found.members.clone();
        let slots: Vec<(HostId, u8)> = members.iter().flat_map(|member| state.slots_of(member.shadow)).collect();
        self.take_away(state, slots.iter().copied());
        for member in members {
            state.handles.remove(&member.shadow);
        }
        self.database.quiet.end(set);
        tracing::info!(%set, %reason, "a shadow set was aborted");
        slots
    }

    /// Makes the end of a set durable and removes it from the pool.
    pub(crate) async fn finish_end(
        self: &Arc<Self>,
        set: ShadowSetId,
        slots: Vec<(HostId, u8)>,
    ) -> Result<(), CatalogError> {
        let written = {
            let _changes = self.changes.lock().await;
            let changes = {
                let state = self.state.lock();
                let slots = slots.iter().map(|(host, number)| state.slot_change(*host, *number));
                slots.chain([state.set_change(set)]).collect()
            };
            self.write(changes).await
        };
        match &written {
            Ok(()) => {
                if let Some(found) = self.state.lock().sets.get_mut(&set) {
                    found.end_is_durable = true;
                    found.changed.send_replace(());
                }
            }
            Err(error) => tracing::error!(%set, %error, "the end of a shadow set could not be made durable"),
        }
        self.clear_patiently(set).await;
        written
    }

    /// Before a host is told that a set is over: waits until the records say so too, so that a crash does not bring back what was called
    /// over. Not after `until`, since the host may hold its writes for the answer.
    pub(crate) async fn end_known<T>(&self, set: ShadowSetId, answer: &Result<T, CatalogError>, until: Instant) {
        if answer.is_ok() {
            return;
        }
        let subscribe = |found: &ShadowSet| found.changed.subscribe();
        let Some(mut changed) = self.state.lock().sets.get(&set).map(subscribe) else { return };
        let is_open = || {
            let state = self.state.lock();
            state.sets.get(&set).is_some_and(|found| found.state == SetState::Aborted && !found.end_is_durable)
        };
        while is_open() && timeout_at(until, changed.changed()).await.is_ok() {}
    }

    /// Removes an aborted set from the pool, and leaves it going on alone if that takes long.
    pub(crate) async fn clear_patiently(self: &Arc<Self>, set: ShadowSetId) {
        let inner = Arc::clone(self);
        let removal = tokio::spawn(async move { inner.clear(set).await });
        if timeout(REMOVAL_PATIENCE, removal).await.is_err() {
            tracing::warn!(%set, "the pool takes long to remove an aborted shadow set");
        }
    }

    /// Removes an aborted set from the pool. What fails is tried again by the reaper, and when the catalog is opened next.
    pub(crate) async fn clear(self: &Arc<Self>, set: ShadowSetId) {
        let members = {
            let mut state = self.state.lock();
            let found = state.sets.get_mut(&set).filter(|found| found.state == SetState::Aborted);
            let Some(found) = found else { return };
            found.clearing += 1;
            found.members.clone()
        };
        let pool = Arc::clone(&self.pool);
        // The call is not async and may wait for a pool that hangs. That the pool has committed the set is no failure: then its
        // shadow LUNs are deleted.
        let forgotten = tokio::task::spawn_blocking(move || pool.abort(set)).await;
        tracing::debug!(%set, ?forgotten, "told the pool to forget a shadow set");
        let mut is_gone = true;
        for member in &members {
            if let Err(error) = self.pool.delete(member.shadow).await {
                let error = self.pool_failed(error);
                tracing::warn!(%set, shadow = %member.shadow, %error, "a shadow LUN of an aborted set is still there");
                is_gone = false;
            }
        }
        // Not before the shadow LUNs: as long as a mirror is there, a restart knows that they are not to be found again.
        is_gone = is_gone && self.drop_mirrors(set, None).await;
        if let Some(found) = self.state.lock().sets.get_mut(&set) {
            found.clearing -= 1;
            found.cleared = is_gone && !found.in_pool_commit && found.preparing == 0;
        }
        if !is_gone {
            self.leases_changed.notify_one();
        }
    }
}
