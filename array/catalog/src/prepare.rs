//! Preparing shadow sets.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use lunshadow_control::{HostId, LunId, LunRole, Outcome, ShadowKind, ShadowSetId};
use lunshadow_lun::{Pool, ShadowMember};
use tokio::time::{Instant, timeout, timeout_at};

use crate::catalog::Inner;
use crate::records::Change;
use crate::shadow_set::{AbortReason, SetState, ShadowSet};
use crate::state::State;
use crate::{Catalog, CatalogError};

/// How long a request waits for the pool before it is answered and the preparation goes on alone. Long enough that what is
/// quick is answered with its result.
const PATIENCE: Duration = Duration::from_secs(1);

/// How far the preparation of a shadow set is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Preparation {
    /// All LUNs of the set are ready.
    Ready,
    /// Not yet; the time given to wait has passed.
    Running,
}

impl<P: Pool> Catalog<P> {
    /// Adds LUNs to a set of the asking host, which comes to be with the first call and gets a lease. All or none are added; a LUN
    /// that is given twice is in it once. A preparation that takes long goes on after the return; if it fails then, the set is
    /// aborted and [`Self::wait_prepared`] tells why.
    ///
    /// # Errors
    /// `UnknownHost`, `UnknownLun`, `NotASource`, `UnknownSet` (another host's), `WrongState`, `SetAborted`, `OutOfSpace`, `LimitReached`,
    /// `PoolReadOnly`, `Medium`, `Database`. The set is then as it was before.
    pub async fn prepare(&self, host: HostId, set: ShadowSetId, luns: &[LunId]) -> Result<Outcome, CatalogError> {
        self.prepare_as(ShadowKind::Sharing, host, set, luns).await
    }

    /// The same with shadow LUNs of a certain kind. [Full copies](ShadowKind::FullCopy) are filled as part of the preparation.
    ///
    /// # Errors
    /// As [`Self::prepare`]; `OutOfSpace` also for full copies that the pool has no room for, `NotCopied`.
    pub async fn prepare_as(
        &self,
        kind: ShadowKind,
        host: HostId,
        set: ShadowSetId,
        luns: &[LunId],
    ) -> Result<Outcome, CatalogError> {
        let mut wanted = luns.to_vec();
        wanted.sort();
        wanted.dedup();
        let inner = Arc::clone(&self.inner);
        inner.admit(host, set)?;
        let ticket = Ticket(Arc::new(AtomicU8::new(Ticket::WAITING)));
        let theirs = Ticket(Arc::clone(&ticket.0));
        let mut work = tokio::spawn(async move { inner.prepare_in_turn(kind, host, set, &wanted, &theirs).await });
        // Whether this call is answered with the result is decided once, by the ticket. It is left too if the caller goes away.
        let waiter = Waiter(&ticket);
        if let Ok(result) = timeout(PATIENCE, &mut work).await {
            return result.unwrap_or(Err(CatalogError::BrokenOff));
        }
        if waiter.0.leave() { Ok(Outcome::Done) } else { work.await.unwrap_or(Err(CatalogError::BrokenOff)) }
    }

    /// Waits until the preparation of a set is finished, at most for `at_most`. An abort ends the wait. Full copies are brought up to date
    /// as part of it.
    ///
    /// # Errors
    /// `UnknownHost`, `UnknownSet`, `SetAborted`, or what the preparation failed with; `OutOfSpace` and `PoolReadOnly` also if the pool has become so
    /// since, which leaves the set to be aborted or waited for again.
    pub async fn wait_prepared(
        &self,
        host: HostId,
        set: ShadowSetId,
        at_most: Duration,
    ) -> Result<Preparation, CatalogError> {
        let until = Instant::now() + at_most;
        let mut changed = self.inner.state.lock().set_of(host, set)?.changed.subscribe();
        loop {
            let (is_ready, is_to_come);
            {
                let state = self.inner.state.lock();
                let found = state.set_of(host, set)?;
                if found.state == SetState::Aborted {
                    return Err(found.failure.clone().unwrap_or_else(|| found.aborted()));
                }
                is_ready = found.preparing == 0;
                is_to_come = found.state == SetState::Prepared;
            }
            if is_ready && self.inner.catch_up(host, set)? {
                if is_to_come {
                    // Others have written since there was room for the members.
                    self.inner.check_room()?;
                }
                return Ok(Preparation::Ready);
            }
            if timeout_at(until, changed.changed()).await.is_err() {
                return Ok(Preparation::Running);
            }
        }
    }
}

/// Whether a set is over when a preparation of it is finished.
#[derive(Debug)]
pub(crate) enum Ended {
    No,
    /// By its failure; with what has to be taken away from hosts.
    Now(Vec<(HostId, u8)>),
    Before,
}

/// Decides whether a preparation's caller still waits when it ends.
#[derive(Debug)]
struct Ticket(Arc<AtomicU8>);

impl Ticket {
    const WAITING: u8 = 0;
    const LEFT: u8 = 1;
    const FINISHED: u8 = 2;

    /// The caller leaves; `false` if the result is there.
    fn leave(&self) -> bool {
        self.0.compare_exchange(Self::WAITING, Self::LEFT, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// The result is there; `false` if the caller has left.
    fn finish(&self) -> bool {
        self.0.compare_exchange(Self::WAITING, Self::FINISHED, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }
}

/// Leaves when it is dropped.
struct Waiter<'a>(&'a Ticket);

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        self.0.leave();
    }
}

impl<P: Pool> Inner<P> {
    /// Lets one more preparation of a set begin, and makes the set if it is new.
    fn admit(&self, host: HostId, set: ShadowSetId) -> Result<(), CatalogError> {
        let mut state = self.state.lock();
        state.host(host)?;
        let lease = self.settings.clock.now().after(self.settings.leases.prepared);
        let created_at_unix_ms = self.settings.clock.unix_ms();
        let found = state.sets.entry(set).or_insert_with(|| ShadowSet::new(set, host, created_at_unix_ms));
        if found.owner != host {
            return Err(CatalogError::UnknownSet(set));
        }
        found.check_preparable()?;
        found.preparing += 1;
        found.lease = Some(lease);
        self.leases_changed.notify_one();
        Ok(())
    }

    async fn prepare_in_turn(
        self: Arc<Self>,
        kind: ShadowKind,
        host: HostId,
        set: ShadowSetId,
        wanted: &[LunId],
        ticket: &Ticket,
    ) -> Result<Outcome, CatalogError> {
        let turn = self.state.lock().set_of(host, set).map(|found| Arc::clone(&found.turn))?;
        let turn = turn.lock().await;
        let result = self.add_members(kind, host, set, wanted).await;
        let caller_waits = ticket.finish();
        let ended = self.preparation_ended(host, set, &result, caller_waits);
        drop(turn);
        self.after_preparation(set, ended).await?;
        result
    }

    /// Takes note that a preparation is finished. One that failed after its caller has left ends the set.
    pub(crate) fn preparation_ended(
        &self,
        host: HostId,
        set: ShadowSetId,
        result: &Result<Outcome, CatalogError>,
        caller_waits: bool,
    ) -> Result<Ended, CatalogError> {
        let mut state = self.state.lock();
        let found = state.set_of_mut(host, set)?;
        found.preparing -= 1;
        found.joining.clear();
        found.changed.send_replace(());
        match result {
            _ if found.state == SetState::Aborted => Ok(Ended::Before),
            Err(error) if !caller_waits => {
                found.failure = Some(error.clone());
                Ok(Ended::Now(self.end_set(&mut state, set, AbortReason::PreparationFailed)))
            }
            Ok(_) | Err(_) => {
                if found.members.is_empty() && found.preparing == 0 {
                    state.sets.remove(&set);
                }
                Ok(Ended::No)
            }
        }
    }

    /// What is left to do for a set that is over by then.
    pub(crate) async fn after_preparation(
        self: &Arc<Self>,
        set: ShadowSetId,
        ended: Result<Ended, CatalogError>,
    ) -> Result<(), CatalogError> {
        match ended? {
            Ended::No => {}
            Ended::Now(slots) => self.finish_end(set, slots).await?,
            // The pool may have prepared it after it was told to forget it.
            Ended::Before => self.clear(set).await,
        }
        Ok(())
    }

    async fn add_members(
        self: &Arc<Self>,
        kind: ShadowKind,
        host: HostId,
        set: ShadowSetId,
        wanted: &[LunId],
    ) -> Result<Outcome, CatalogError> {
        let joining = self.plan_members(&mut self.state.lock(), kind, host, set, wanted)?;
        if joining.is_empty() {
            return Ok(Outcome::AlreadySo);
        }
        let result = async {
            if kind == ShadowKind::FullCopy {
                self.fill_mirrors(set, &joining).await?;
            }
            self.join(host, set, &joining).await
        };
        let result = result.await;
        if result.is_err() {
            self.drop_mirrors(set, Some(&joining)).await;
            let mut state = self.state.lock();
            joining.iter().for_each(|member| state.forget_id(member.shadow));
        }
        result.map(|()| Outcome::Done)
    }

    /// Checks everything that can be checked, and chooses the shadow LUNs' ids.
    fn plan_members(
        &self,
        state: &mut State,
        kind: ShadowKind,
        host: HostId,
        set: ShadowSetId,
        wanted: &[LunId],
    ) -> Result<Vec<ShadowMember>, CatalogError> {
        let limits = &self.settings.limits;
        let found = state.set_of(host, set)?;
        found.check_preparable()?;
        let is_new = |lun: &&LunId| found.members.iter().all(|member| member.source != **lun);
        let sources: Vec<LunId> = wanted.iter().filter(is_new).copied().collect();
        if found.members.len() + sources.len() > limits.luns_in_set {
            return Err(CatalogError::LimitReached { what: "LUNs in one set", limit: limits.luns_in_set });
        }
        let shadow_counts = state.shadow_counts();
        for lun in &sources {
            match state.role_of(*lun).filter(|role| state.may_see(host, *lun, *role)) {
                Some(LunRole::Source) => {}
                Some(LunRole::Shadow { .. }) => return Err(CatalogError::NotASource(*lun)),
                None => return Err(CatalogError::UnknownLun(*lun)),
            }
            if shadow_counts.get(lun).is_some_and(|count| *count >= limits.shadows_of_lun) {
                return Err(CatalogError::LimitReached {
                    what: "shadow LUNs of one LUN",
                    limit: limits.shadows_of_lun,
                });
            }
        }
        if !sources.is_empty() {
            let copied = if kind == ShadowKind::FullCopy { state.bytes_to_copy(&sources) } else { 0 };
            self.check_room_for(copied)?;
        }
        let draw = |source| ShadowMember { source, shadow: state.draw_id(&*self.settings.ids, &*self.pool) };
        let joining: Vec<ShadowMember> = sources.into_iter().map(draw).collect();
        state.set_of_mut(host, set)?.joining.clone_from(&joining);
        Ok(joining)
    }

    /// Lets the pool prepare, then makes the new members durable.
    async fn join(
        self: &Arc<Self>,
        host: HostId,
        set: ShadowSetId,
        joining: &[ShadowMember],
    ) -> Result<(), CatalogError> {
        self.pool.prepare(set, joining).await.map_err(|error| self.pool_failed(error))?;
        let written = self.join_durably(host, set, joining).await;
        if let Err(error) = &written {
            // The pool has members now that the set has not, and neither can be taken out of it alone.
            let slots = {
                let mut state = self.state.lock();
                let found = state.set_of_mut(host, set)?;
                if found.state == SetState::Aborted {
                    return written;
                }
                found.failure = Some(error.clone());
                self.end_set(&mut state, set, AbortReason::PreparationFailed)
            };
            self.finish_end(set, slots).await?;
        }
        written
    }

    async fn join_durably(&self, host: HostId, set: ShadowSetId, joining: &[ShadowMember]) -> Result<(), CatalogError> {
        let _changes = self.changes.lock().await;
        let doc = {
            let state = self.state.lock();
            let found = state.set_of(host, set)?;
            found.check_preparable()?;
            let mut doc = found.to_doc();
            doc.members.extend(joining.iter().copied().map(crate::records::MemberDoc::from));
            doc
        };
        self.write(vec![Change::PutSet(set, doc)]).await?;
        let mut state = self.state.lock();
        let lease = self.settings.clock.now().after(self.settings.leases.prepared);
        let found = state.set_of_mut(host, set)?;
        found.check_preparable()?;
        found.lease = Some(lease);
        found.members.extend_from_slice(joining);
        found.joining.clear();
        for member in joining {
            state.set_of_shadow.insert(member.shadow, set);
        }
        self.leases_changed.notify_one();
        Ok(())
    }
}
