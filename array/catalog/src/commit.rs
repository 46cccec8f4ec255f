//! Arming and committing a set, and the watchdog over the commit.

use std::sync::Arc;
use std::time::Duration;

use lunshadow_control::{HostId, Outcome, ShadowSetId};
use lunshadow_lun::Pool;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

use crate::catalog::Inner;
use crate::shadow_set::{AbortReason, SetState};
use crate::{COMMIT_WITHIN_DEFAULT, COMMIT_WITHIN_MAX, Catalog, CatalogError};

/// How long after the pool's own deadline the watchdog waits for the pool's own answer; and how long the answer of a commit that failed waits until the
/// end of the set is durable.
const GRACE: Duration = Duration::from_millis(250);

impl<P: Pool> Catalog<P> {
    /// Whether a set can be armed: its preparation is finished, and it is not committed yet.
    ///
    /// # Errors
    /// `UnknownHost`, `UnknownSet`, `NotReady`, `WrongState`, `SetAborted`.
    pub fn check_armable(&self, host: HostId, set: ShadowSetId) -> Result<(), CatalogError> {
        self.inner.state.lock().set_of(host, set)?.check_armable().map(|_| ())
    }

    /// Says that the commit comes next and has to be durable within `commit_within` of its arrival: [`COMMIT_WITHIN_DEFAULT`] if
    /// that is not given, never more than [`COMMIT_WITHIN_MAX`]. Until the commit is answered, at most for 10 s, the database is
    /// not written, so that the commit has the medium for itself.
    ///
    /// # Errors
    /// `UnknownHost`, `UnknownSet`, `NotReady`, `WrongState`, `SetAborted`.
    pub async fn arm(
        &self,
        host: HostId,
        set: ShadowSetId,
        commit_within: Option<Duration>,
    ) -> Result<Outcome, CatalogError> {
        let outcome = {
            let mut state = self.inner.state.lock();
            let found = state.set_of_mut(host, set)?;
            let outcome = found.check_armable()?;
            found.commit_within = commit_within.unwrap_or(COMMIT_WITHIN_DEFAULT).min(COMMIT_WITHIN_MAX);
            let lease = found.lease;
            found.enter(SetState::Armed, lease);
            self.inner.database.quiet.begin(set);
            outcome
        };
        self.inner.database.wait_idle().await;
        Ok(outcome)
    }

    /// Fixes the point in time for all LUNs of an armed set, and answers when that is durable. Whatever the pool does, the answer comes within
    /// the time that was given when the set was armed and half a second, and never after [`COMMIT_WITHIN_MAX`]. A set that is answered to be
    /// over stays so after a crash, unless its end could not be made durable in a quarter of a second.
    ///
    /// # Errors
    /// `UnknownHost`, `UnknownSet`, `WrongState` (not armed), `SetAborted`; and with the set aborted by it: `DeadlinePassed`,
    /// `UnknownLun` (a source was deleted), `OutOfSpace`, `PoolReadOnly`, `Medium`, `Disagreement`, `BrokenOff`.
    pub async fn commit(&self, host: HostId, set: ShadowSetId) -> Result<Outcome, CatalogError> {
        let inner = Arc::clone(&self.inner);
        let arrived = Instant::now();
        self.complete(async move {
            let answer = Arc::clone(&inner).commit(host, set, arrived).await;
            let until = (Instant::now() + GRACE).min(arrived + COMMIT_WITHIN_MAX);
            inner.end_known(set, &answer, until).await;
            answer
        })
        .await
    }
}

type PoolCommit = JoinHandle<Result<(), CatalogError>>;

impl<P: Pool> Inner<P> {
    async fn commit(
        self: Arc<Self>,
        host: HostId,
        set: ShadowSetId,
        arrived: Instant,
    ) -> Result<Outcome, CatalogError> {
        let Some(at_most) = self.begin_commit(host, set).await? else { return Ok(Outcome::AlreadySo) };
        let watchdog = arrived + (at_most + GRACE).min(COMMIT_WITHIN_MAX);
        // A task of its own: the pool may hang, and its answer is still wanted when nobody waits any more.
        let inner = Arc::clone(&self);
        let mut pool_commit: PoolCommit = tokio::spawn(async move { inner.commit_in_pool(set, at_most).await });
        match timeout_at(watchdog, &mut pool_commit).await {
            Ok(answer) => self.settle(set, Ok(answer.unwrap_or(Err(CatalogError::BrokenOff)))),
            Err(_) => {
                let result = self.settle(set, Err(CatalogError::DeadlinePassed { set, at_most }));
                tokio::spawn(self.outlast(set, pool_commit));
                result
            }
        }
    }

    /// Captures, and makes those shadow LUNs independent that are to be full copies.
    async fn commit_in_pool(&self, set: ShadowSetId, at_most: Duration) -> Result<(), CatalogError> {
        self.pool.commit(set, at_most).await.map_err(|error| CatalogError::from_commit(set, error))?;
        self.split_mirrors(set).await
    }

    /// Moves an armed set on and answers its time, or `None` if it is committed. A second request waits for the first.
    async fn begin_commit(&self, host: HostId, set: ShadowSetId) -> Result<Option<Duration>, CatalogError> {
        loop {
            let mut changed = {
                let mut state = self.state.lock();
                let found = state.set_of_mut(host, set)?;
                let changed = found.changed.subscribe();
                if found.state != SetState::Committing {
                    if found.check_committable()? == Outcome::AlreadySo {
                        return Ok(None);
                    }
                    found.in_pool_commit = true;
                    found.commit_began = Some(self.settings.clock.now());
                    found.enter(SetState::Committing, None);
                    self.database.quiet.begin(set);
                    return Ok(Some(found.commit_within));
                }
                changed
            };
            // The sender lives as long as the set; if it is gone, the next look finds no set.
            let _ = changed.changed().await;
        }
    }

    /// Decides what becomes of the set. The outer error is the watchdog's: the pool has not answered.
    fn settle(
        self: &Arc<Self>,
        set: ShadowSetId,
        answer: Result<Result<(), CatalogError>, CatalogError>,
    ) -> Result<Outcome, CatalogError> {
        let mut state = self.state.lock();
        self.database.quiet.end(set);
        let Some(found) = state.sets.get_mut(&set) else { return Err(CatalogError::UnknownSet(set)) };
        found.in_pool_commit = answer.is_err();
        let inner = Arc::clone(self);
        if found.state != SetState::Committing {
            // It was aborted in the meantime; what the pool made of it has to go.
            let aborted = found.aborted();
            tokio::spawn(async move { inner.clear(set).await });
            return Err(aborted);
        }
        match answer.flatten() {
            Ok(()) => {
                let now = self.settings.clock.now();
                let lease = now.after(self.settings.leases.committed);
                let began = found.commit_began.take().unwrap_or(now);
                found.commit_took_us = u64::try_from(now.0.saturating_sub(began.0).as_micros()).ok();
                found.committed_at_unix_ms = Some(self.settings.clock.unix_ms());
                found.enter(SetState::Committed, Some(lease));
                self.leases_changed.notify_one();
                if !found.mirrors.is_empty() {
                    tokio::spawn(async move { inner.drop_mirrors(set, None).await });
                }
                Ok(Outcome::Done)
            }
            Err(error) => {
                self.note_failure(&error);
                tracing::warn!(%set, %error, "the commit of a shadow set failed");
                let reason = match error {
                    CatalogError::DeadlinePassed { .. } => AbortReason::DeadlinePassed,
                    _ => AbortReason::CommitFailed,
                };
                let slots = self.end_set(&mut state, set, reason);
                // Durable as soon as possible; the host has its answer soon in any case.
                tokio::spawn(async move { inner.finish_end(set, slots).await });
                Err(error)
            }
        }
    }

    /// Waits for a pool that answers too late, and removes what it made.
    async fn outlast(self: Arc<Self>, set: ShadowSetId, pool_commit: PoolCommit) {
        let answer = pool_commit.await;
        tracing::warn!(%set, ?answer, "the pool answered a commit after its deadline");
        if let Some(found) = self.state.lock().sets.get_mut(&set) {
            found.in_pool_commit = false;
        }
        self.clear(set).await;
    }
}
