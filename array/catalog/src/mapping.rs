//! Mapping LUNs to hosts, and releasing shadow LUNs.

use std::collections::BTreeSet;
use std::sync::Arc;

use lunshadow_control::{HostId, LunId, LunRole, Outcome, ShadowSetId};
use lunshadow_lun::{LunHandle, LunNumber, Pool};

use crate::catalog::Inner;
use crate::records::{Change, HostDoc};
use crate::state::{Host, State};
use crate::{Catalog, CatalogError};

/// A LUN's place at a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Assigned {
    /// The number that the host sees it under.
    pub number: LunNumber,
    /// Whether this call gave it.
    pub outcome: Outcome,
}

/// By whose rights a request runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asker {
    Administrator,
    Host,
}

/// What a request for mappings will do.
struct Plan {
    outcomes: Vec<Outcome>,
    slots: Vec<(u8, LunId)>,
    /// The sets of the shadow LUNs among them.
    sets: BTreeSet<ShadowSetId>,
    host_doc: HostDoc,
}

impl<P: Pool> Catalog<P> {
    /// Maps a LUN to a host, by an administrator's right. On return the target serves it.
    ///
    /// # Errors
    /// `UnknownHost`, `UnknownLun`, `WrongState` or `SetAborted` for a shadow LUN that does not exist, `LimitReached`, `Database`.
    pub async fn assign(&self, host: HostId, lun: LunId) -> Result<Assigned, CatalogError> {
        let inner = Arc::clone(&self.inner);
        self.complete(async move {
            let outcomes = inner.map(host, &[lun], Asker::Administrator).await?;
            let number = inner.state.lock().host(host)?.number_of(lun).ok_or(CatalogError::UnknownLun(lun))?;
            Ok(Assigned { number: LunNumber(number), outcome: outcomes.first().copied().unwrap_or(Outcome::AlreadySo) })
        })
        .await
    }

    /// Takes a LUN away from a host, by an administrator's right.
    ///
    /// # Errors
    /// `UnknownHost`, `Database`.
    pub async fn unassign(&self, host: HostId, lun: LunId) -> Result<Outcome, CatalogError> {
        let inner = Arc::clone(&self.inner);
        self.complete(async move {
            let outcomes = inner.unmap(host, &[lun], Asker::Administrator).await?;
            Ok(outcomes.first().copied().unwrap_or(Outcome::AlreadySo))
        })
        .await
    }

    /// What is mapped to a host, in the order of the LUN numbers.
    ///
    /// # Errors
    /// `UnknownHost`.
    pub fn mappings(&self, host: HostId) -> Result<Vec<(LunNumber, LunId)>, CatalogError> {
        let state = self.inner.state.lock();
        Ok(state.host(host)?.mappings.iter().map(|(number, lun)| (LunNumber(*number), *lun)).collect())
    }

    /// Maps LUNs to the asking host, all or none; element *i* tells whether LUN *i* was mapped by this call. A host may map the
    /// shadow LUNs that it may see, once their set is committed. On return the target serves them.
    ///
    /// # Errors
    /// `UnknownHost`, `UnknownLun`, `WrongState` (not committed), `SetAborted`, `LimitReached`, `Database`.
    pub async fn map(&self, host: HostId, luns: &[LunId]) -> Result<Vec<Outcome>, CatalogError> {
        let (inner, luns) = (Arc::clone(&self.inner), luns.to_vec());
        self.complete(async move { inner.map(host, &luns, Asker::Host).await }).await
    }

    /// Takes shadow LUNs away from the asking host, all or none, and what were such until it broke them off. What is not mapped to it is `AlreadySo`.
    ///
    /// # Errors
    /// `UnknownHost`, `NotAllowed` for other source LUNs, which are the administrator's to map; `Database`.
    pub async fn unmap(&self, host: HostId, luns: &[LunId]) -> Result<Vec<Outcome>, CatalogError> {
        let (inner, luns) = (Arc::clone(&self.inner), luns.to_vec());
        self.complete(async move { inner.unmap(host, &luns, Asker::Host).await }).await
    }

    /// Unmaps a shadow LUN from every host and deletes it. One that is gone is `AlreadySo`.
    ///
    /// # Errors
    /// `UnknownHost`, `NotAShadow`, `NotAllowed`, `WrongState` (not committed), `PoolReadOnly`, `Medium`, `Database`.
    pub async fn release(&self, host: HostId, shadow: LunId) -> Result<Outcome, CatalogError> {
        let inner = Arc::clone(&self.inner);
        self.complete(async move { inner.release(host, shadow).await }).await
    }
}

impl<P: Pool> Inner<P> {
    async fn map(&self, host: HostId, luns: &[LunId], asker: Asker) -> Result<Vec<Outcome>, CatalogError> {
        let _changes = self.changes.lock().await;
        let plan = self.plan_map(&self.state.lock(), host, luns, asker)?;
        if plan.slots.is_empty() {
            return Ok(plan.outcomes);
        }
        let open = |(_, lun): &(u8, LunId)| self.pool.open(*lun).map_err(|error| self.pool_failed(error));
        let handles: Vec<LunHandle> = plan.slots.iter().map(open).collect::<Result<_, _>>()?;
        let mut changes = vec![Change::PutHost(host, plan.host_doc.clone())];
        changes.extend(plan.slots.iter().map(|(number, lun)| Change::PutMapping(host, *number, *lun)));
        {
            let state = self.state.lock();
            for set in plan.sets.iter().filter_map(|set| state.sets.get(set)).filter(|set| !set.ever_mapped) {
                let mut doc = set.to_doc();
                doc.ever_mapped = true;
                changes.push(Change::PutSet(set.set, doc));
            }
        }
        self.write(changes).await?;
        let undo = match self.apply_map(host, &plan, handles) {
            Ok(()) => return Ok(plan.outcomes),
            Err(error) => error,
        };
        let changes = {
            let state = self.state.lock();
            let slots = plan.slots.iter().map(|(number, _)| state.slot_change(host, *number));
            slots.chain(plan.sets.iter().map(|set| state.set_change(*set))).collect()
        };
        self.write(changes).await?;
        Err(undo)
    }

    /// Decides on everything before anything changes.
    fn plan_map(&self, state: &State, host: HostId, luns: &[LunId], asker: Asker) -> Result<Plan, CatalogError> {
        let entry = state.host(host)?;
        let mut plan =
            Plan { outcomes: Vec::new(), slots: Vec::new(), sets: BTreeSet::new(), host_doc: entry.doc.clone() };
        for lun in luns {
            if entry.number_of(*lun).is_some() || plan.slots.iter().any(|(_, planned)| planned == lun) {
                plan.outcomes.push(Outcome::AlreadySo);
                continue;
            }
            let role = state.role_of(*lun).filter(|role| {
                !state.releasing.contains(lun) && (asker == Asker::Administrator || state.may_see(host, *lun, *role))
            });
            match role.ok_or(CatalogError::UnknownLun(*lun))? {
                LunRole::Source => {}
                LunRole::Shadow { set, .. } => {
                    state.sets.get(&set).ok_or(CatalogError::UnknownSet(set))?.check_reachable("mapped")?;
                    plan.sets.insert(set);
                }
            }
            let number = next_number(entry, &plan, self.settings.limits.luns_of_host)?;
            plan.host_doc.last_number = number;
            plan.slots.push((number, *lun));
            plan.outcomes.push(Outcome::Done);
        }
        Ok(plan)
    }

    /// Makes the plan true, unless one of its sets ended while it was being written.
    fn apply_map(&self, host: HostId, plan: &Plan, handles: Vec<LunHandle>) -> Result<(), CatalogError> {
        let mut state = self.state.lock();
        for set in &plan.sets {
            state.sets.get(set).ok_or(CatalogError::UnknownSet(*set))?.check_reachable("mapped")?;
        }
        for set in &plan.sets {
            if let Some(set) = state.sets.get_mut(set) {
                set.ever_mapped = true;
            }
        }
        for handle in handles {
            state.handles.insert(handle.id(), handle);
        }
        if let Some(entry) = state.hosts.get_mut(&host) {
            entry.doc = plan.host_doc.clone();
            entry.mappings.extend(plan.slots.iter().copied());
        }
        self.publish(&mut state, [host]);
        Ok(())
    }

    async fn unmap(&self, host: HostId, luns: &[LunId], asker: Asker) -> Result<Vec<Outcome>, CatalogError> {
        let _changes = self.changes.lock().await;
        let mut outcomes = Vec::new();
        let mut slots = BTreeSet::new();
        {
            let state = self.state.lock();
            let entry = state.host(host)?;
            for lun in luns {
                let Some(number) = entry.number_of(*lun) else {
                    outcomes.push(Outcome::AlreadySo);
                    continue;
                };
                let is_of_host = || state.luns.get(lun).is_some_and(|doc| doc.broken_off_by == Some(host));
                if asker == Asker::Host && !state.set_of_shadow.contains_key(lun) && !is_of_host() {
                    return Err(CatalogError::NotAllowed(*lun));
                }
                outcomes.push(if slots.insert(number) { Outcome::Done } else { Outcome::AlreadySo });
            }
        }
        self.write(slots.iter().map(|number| Change::DropMapping(host, *number)).collect()).await?;
        let mut state = self.state.lock();
        self.take_away(&mut state, slots.into_iter().map(|number| (host, number)));
        Ok(outcomes)
    }

    async fn release(&self, host: HostId, shadow: LunId) -> Result<Outcome, CatalogError> {
        let set = {
            let _changes = self.changes.lock().await;
            let (set, slots) = {
                let mut state = self.state.lock();
                let Some(set) = check_release(&state, host, shadow)? else { return Ok(Outcome::AlreadySo) };
                state.releasing.insert(shadow);
                (set, state.slots_of(shadow))
            };
            let drops = slots.iter().map(|(host, number)| Change::DropMapping(*host, *number)).collect();
            if let Err(error) = self.write(drops).await {
                self.state.lock().releasing.remove(&shadow);
                return Err(error);
            }
            self.take_away(&mut self.state.lock(), slots);
            set
        };
        // The record outlives the LUN: if the array stops in between, the release can be repeated.
        let deleted = self.pool.delete(shadow).await.map_err(|error| self.pool_failed(error));
        let _changes = self.changes.lock().await;
        self.state.lock().releasing.remove(&shadow);
        deleted?;
        let doc = {
            let mut state = self.state.lock();
            let ended = state.next_ended;
            state.next_ended += 1;
            let Some(found) = state.sets.get_mut(&set) else { return Ok(Outcome::Done) };
            found.members.retain(|member| member.shadow != shadow);
            if found.members.is_empty() {
                found.ended.get_or_insert(ended);
            }
            let doc = found.to_doc();
            state.forget_id(shadow);
            doc
        };
        // Memory first here, since the LUN is gone whatever the database says.
        self.unit_records.forget(shadow);
        let put = std::iter::once(Change::PutSet(set, doc));
        self.write(put.chain(Change::drop_unit_records(shadow)).collect()).await?;
        Ok(Outcome::Done)
    }

    /// Removes mappings from memory and shows the hosts.
    pub(crate) fn take_away(&self, state: &mut State, slots: impl IntoIterator<Item = (HostId, u8)>) {
        let mut hosts = BTreeSet::new();
        for (host, number) in slots {
            let removed = state.hosts.get_mut(&host).and_then(|entry| entry.mappings.remove(&number));
            if removed.is_some() {
                hosts.insert(host);
            }
        }
        self.publish(state, hosts);
    }
}

/// The set of a shadow LUN that is to be released, or `None` if the LUN is gone already.
fn check_release(state: &State, host: HostId, shadow: LunId) -> Result<Option<ShadowSetId>, CatalogError> {
    state.host(host)?;
    let Some(role) = state.role_of(shadow) else { return Ok(None) };
    if !state.may_see(host, shadow, role) {
        return Err(CatalogError::NotAllowed(shadow));
    }
    let LunRole::Shadow { set, .. } = role else { return Err(CatalogError::NotAShadow(shadow)) };
    let Some(found) = state.sets.get(&set).filter(|found| found.reason.is_none()) else { return Ok(None) };
    found.check_reachable("released from")?;
    Ok(Some(set))
}

/// The first free number after the one that was given out last, in a circle from 1 to 255. Number 0 is the array's controller.
fn next_number(entry: &Host, plan: &Plan, limit: usize) -> Result<u8, CatalogError> {
    let taken =
        |number: u8| entry.mappings.contains_key(&number) || plan.slots.iter().any(|(planned, _)| *planned == number);
    let last = plan.host_doc.last_number;
    let circle = (last..u8::MAX).map(|number| number + 1).chain(1..=last);
    let within_limit = entry.mappings.len() + plan.slots.len() < limit;
    let free = within_limit.then(|| circle.into_iter().find(|number| !taken(*number))).flatten();
    free.ok_or(CatalogError::LimitReached { what: "LUNs of one host", limit: limit.min(usize::from(u8::MAX)) })
}
