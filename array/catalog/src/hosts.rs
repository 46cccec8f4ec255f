//! The administrator's use cases of hosts, and what a host may ask about itself.

use std::collections::BTreeMap;
use std::sync::Arc;

use lunshadow_control::{HostId, HostOverview, HostRecord, InitiatorName, Outcome};
use lunshadow_lun::Pool;
use uuid::Uuid;

use crate::catalog::Inner;
use crate::records::{Change, HostDoc};
use crate::state::Host;
use crate::{Catalog, CatalogError, Made, Name};

impl<P: Pool> Catalog<P> {
    /// Makes a host known. One of the same name with the same initiators is `AlreadySo`.
    ///
    /// # Errors
    /// `NameTaken` by a host with other initiators, `InitiatorTaken`, `Database`.
    pub async fn add_host(&self, name: Name, initiators: Vec<InitiatorName>) -> Result<Made<HostId>, CatalogError> {
        let inner = Arc::clone(&self.inner);
        self.complete(async move { inner.add_host(name, initiators).await }).await
    }

    /// All hosts, in the order of their ids.
    #[must_use]
    pub fn hosts(&self) -> Vec<HostRecord> {
        self.inner.state.lock().hosts.iter().map(|(host, entry)| record_of(*host, entry)).collect()
    }

    /// The host that an initiator belongs to.
    #[must_use]
    pub fn host_of(&self, initiator: &InitiatorName) -> Option<HostId> {
        let state = self.inner.state.lock();
        state.hosts.iter().find(|(_, entry)| entry.doc.initiators.contains(initiator)).map(|(host, _)| *host)
    }

    /// All that concerns the asking host, for people to look at.
    ///
    /// # Errors
    /// `UnknownHost`.
    pub fn overview(&self, _host: HostId) -> Result<HostOverview, CatalogError> {
        Err(CatalogError::BrokenOff)
    }

    /// What the array knows of the asking host.
    ///
    /// # Errors
    /// `UnknownHost`.
    pub fn who_am_i(&self, host: HostId) -> Result<HostRecord, CatalogError> {
        self.inner.state.lock().host(host).map(|entry| record_of(host, entry))
    }
}

impl<P: Pool> Inner<P> {
    async fn add_host(&self, name: Name, mut initiators: Vec<InitiatorName>) -> Result<Made<HostId>, CatalogError> {
        initiators.sort();
        initiators.dedup();
        let _changes = self.changes.lock().await;
        {
            let state = self.state.lock();
            if let Some((host, found)) = state.hosts.iter().find(|(_, entry)| entry.doc.name == name) {
                return if found.doc.initiators == initiators {
                    Ok(Made { id: *host, outcome: Outcome::AlreadySo })
                } else {
                    Err(CatalogError::NameTaken(name))
                };
            }
            let taken =
                |initiator: &&InitiatorName| state.hosts.values().any(|entry| entry.doc.initiators.contains(initiator));
            if let Some(initiator) = initiators.iter().find(taken) {
                return Err(CatalogError::InitiatorTaken(initiator.clone()));
            }
        }
        let host = HostId(Uuid::new_v4());
        let doc = HostDoc { name, initiators, last_number: 0 };
        self.write(vec![Change::PutHost(host, doc.clone())]).await?;
        let mut state = self.state.lock();
        state.hosts.insert(host, Host { doc, mappings: BTreeMap::new() });
        self.publish(&mut state, [host]);
        Ok(Made { id: host, outcome: Outcome::Done })
    }
}

fn record_of(host: HostId, entry: &Host) -> HostRecord {
    HostRecord { host, name: entry.doc.name.to_string(), initiators: entry.doc.initiators.clone() }
}
