//! The portal groups by which hosts reach the array: which there are, and what an administrator has decided about them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::sync::Arc;

use lunshadow_control::{Outcome, PortalGroupRecord, PortalGroupState};
use lunshadow_lun::{Pool, PortalGroupStates};
use parking_lot::Mutex;

use crate::catalog::Inner;
use crate::records::Change;
use crate::{Catalog, CatalogError};

/// What is known of portal groups.
#[derive(Debug, Default)]
pub(crate) struct Portals {
    /// What is decided; the database has the same.
    pub(crate) states: Arc<PortalGroupStates>,
    /// Where the target listens.
    served: Mutex<BTreeMap<NonZeroU16, Vec<SocketAddr>>>,
}

impl Portals {
    pub(crate) fn new(decided: Vec<(NonZeroU16, PortalGroupState)>) -> Self {
        let portals = Self::default();
        decided.into_iter().for_each(|(group, state)| portals.states.set(group, state));
        portals
    }

    /// Whether some other group than this one leads to LUNs.
    fn are_others_active(&self, group: NonZeroU16) -> bool {
        self.served.lock().keys().any(|other| *other != group && self.states.of(*other).is_active())
    }
}

impl<P: Pool> Catalog<P> {
    /// Says where the target listens, by portal groups.
    pub fn note_portals(&self, portals: impl IntoIterator<Item = (NonZeroU16, SocketAddr)>) {
        let mut served = self.inner.portals.served.lock();
        served.clear();
        for (group, address) in portals {
            served.entry(group).or_default().push(address);
        }
    }

    /// All portal groups that are listened on, or that something is decided about.
    #[must_use]
    pub fn portal_groups(&self) -> Vec<PortalGroupRecord> {
        let Portals { states, served } = &self.inner.portals;
        let (served, decided) = (served.lock().clone(), states.all());
        let groups: BTreeSet<NonZeroU16> = served.keys().chain(decided.keys()).copied().collect();
        let record = |group: NonZeroU16| PortalGroupRecord {
            group: group.get(),
            portals: served.get(&group).into_iter().flatten().map(ToString::to_string).collect(),
            state: states.of(group),
        };
        groups.into_iter().map(record).collect()
    }

    /// Decides how LUNs are reached through a portal group; hosts are told. It outlives restarts.
    ///
    /// # Errors
    /// `UnknownPortalGroup`, `LastPortalGroup` (hosts would not reach their LUNs any more), `Database`.
    pub async fn set_portal_group(&self, group: NonZeroU16, state: PortalGroupState) -> Result<Outcome, CatalogError> {
        let inner = Arc::clone(&self.inner);
        self.complete(async move { inner.set_portal_group(group, state).await }).await
    }
}

impl<P: Pool> Inner<P> {
    async fn set_portal_group(&self, group: NonZeroU16, state: PortalGroupState) -> Result<Outcome, CatalogError> {
        let _changes = self.changes.lock().await;
        let Portals { states, served } = &self.portals;
        let is_served = served.lock().contains_key(&group);
        if !is_served && !states.all().contains_key(&group) {
            return Err(CatalogError::UnknownPortalGroup(group));
        }
        if states.of(group) == state {
            return Ok(Outcome::AlreadySo);
        }
        if is_served && !state.is_active() && !self.portals.are_others_active(group) {
            return Err(CatalogError::LastPortalGroup(group));
        }
        let kept = (state != PortalGroupState::Optimized).then_some(state);
        self.write(vec![Change::SetPortalGroup(group, kept)]).await?;
        states.set(group, state);
        tracing::info!(%group, %state, "an administrator has decided about a portal group");
        Ok(Outcome::Done)
    }
}
