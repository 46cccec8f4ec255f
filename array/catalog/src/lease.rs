//! The reaper: ends sets whose lease ran out, finishes removals that failed, forgets what is long over.

use std::sync::Arc;
use std::time::Duration;

use lunshadow_control::{HostId, ShadowSetId};
use lunshadow_lun::Pool;
use tokio::task::JoinHandle;

use crate::catalog::Inner;
use crate::records::Change;
use crate::shadow_set::{AbortReason, SetState};
use crate::{Catalog, CatalogError, Moment};

/// After what time a removal that failed is tried again.
const RETRY: Duration = Duration::from_secs(30);

/// The background task of [`Catalog::spawn_reaper`]; it ends when this is dropped.
#[derive(Debug)]
#[must_use = "the reaper stops when this is dropped"]
pub struct Reaper {
    task: JoinHandle<()>,
}

impl Drop for Reaper {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl<P: Pool> Catalog<P> {
    /// Ends the sets whose lease ran out by `now`, removes their shadow LUNs, tries failed removals again, and forgets the oldest
    /// sets that are over if there are too many. Answers the sets that it ended.
    ///
    /// # Errors
    /// `Database`. The sets are ended all the same.
    pub async fn reap(&self, now: Moment) -> Result<Vec<ShadowSetId>, CatalogError> {
        let inner = Arc::clone(&self.inner);
        self.complete(async move { inner.reap(now).await }).await
    }

    /// Starts a task that calls [`Self::reap`] whenever there is something to do, and sleeps in between. One is enough.
    pub fn spawn_reaper(&self) -> Reaper {
        let clock = Arc::clone(&self.inner.settings.clock);
        let leases_changed = Arc::clone(&self.inner.leases_changed);
        // The task must not keep the catalog, and with it the database file, open.
        let inner = Arc::downgrade(&self.inner);
        let task = tokio::spawn(async move {
            loop {
                let due = match inner.upgrade() {
                    Some(inner) => inner.next_due(),
                    None => return,
                };
                let sleep = async {
                    match due {
                        Some(at) => clock.sleep_until(at).await,
                        None => std::future::pending().await,
                    }
                };
                tokio::select! {
                    () = sleep => {}
                    () = leases_changed.notified() => continue,
                }
                let Some(inner) = inner.upgrade() else { return };
                if let Err(error) = inner.reap(clock.now()).await {
                    tracing::error!(%error, "the end of a lease could not be made durable");
                }
            }
        });
        Reaper { task }
    }
}

impl<P: Pool> Inner<P> {
    async fn reap(self: Arc<Self>, now: Moment) -> Result<Vec<ShadowSetId>, CatalogError> {
        let ended: Vec<(ShadowSetId, Vec<(HostId, u8)>)> = {
            let mut state = self.state.lock();
            let expired = |lease: Option<Moment>| lease.is_some_and(|lease| lease <= now);
            let sets: Vec<ShadowSetId> =
                state.sets.values().filter(|set| expired(set.lease)).map(|set| set.set).collect();
            let end = |set| (set, self.end_set(&mut state, set, AbortReason::LeaseExpired));
            sets.into_iter().map(end).collect()
        };
        for set in self.uncleared() {
            if ended.iter().all(|(just_ended, _)| *just_ended != set) {
                self.clear_patiently(set).await;
            }
        }
        let sets = ended.iter().map(|(set, _)| *set).collect();
        let mut result = Ok(sets);
        for (set, slots) in ended {
            if let Err(error) = self.finish_end(set, slots).await {
                result = Err(error);
            }
        }
        self.forget_history().await?;
        result
    }

    /// When there is something to reap next.
    fn next_due(&self) -> Option<Moment> {
        let lease = self.state.lock().sets.values().filter_map(|set| set.lease).min();
        let retry = (!self.uncleared().is_empty()).then(|| self.settings.clock.now().after(RETRY));
        lease.into_iter().chain(retry).min()
    }

    /// Sets that are over and whose shadow LUNs the pool may still have, with nobody at work on it.
    fn uncleared(&self) -> Vec<ShadowSetId> {
        let state = self.state.lock();
        let left = state.sets.values().filter(|set| set.state == SetState::Aborted && !set.cleared && set.is_idle());
        left.map(|set| set.set).collect()
    }

    async fn forget_history(&self) -> Result<(), CatalogError> {
        let _changes = self.changes.lock().await;
        let forgotten: Vec<ShadowSetId> = {
            let state = self.state.lock();
            let mut history: Vec<_> = state.sets.values().filter(|set| set.is_history()).collect();
            history.sort_by_key(|set| set.ended);
            let excess = history.len().saturating_sub(self.settings.limits.ended_sets);
            history.iter().take(excess).map(|set| set.set).collect()
        };
        self.write(forgotten.iter().map(|set| Change::DropSet(*set)).collect()).await?;
        let mut state = self.state.lock();
        for set in forgotten {
            let members = state.sets.remove(&set).map(|set| set.members).unwrap_or_default();
            members.iter().for_each(|member| state.forget_id(member.shadow));
        }
        Ok(())
    }
}
