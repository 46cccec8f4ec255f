//! The administrator's use cases of hosts, and what a host may ask about itself.

use std::collections::BTreeMap;
use std::sync::Arc;

use lunshadow_control::{ChapAccounts, HostId, HostRecord, InitiatorName, Outcome};
use lunshadow_lun::Pool;

use crate::catalog::Inner;
use crate::records::{Change, HostDoc};
use crate::state::{Host, State};
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

    /// The host of that name.
    #[must_use]
    pub fn host_named(&self, name: &Name) -> Option<HostId> {
        let state = self.inner.state.lock();
        state.hosts.iter().find(|(_, entry)| entry.doc.name == *name).map(|(host, _)| *host)
    }

    /// Gives a host other initiators.
    ///
    /// # Errors
    /// `UnknownHost`, `InitiatorTaken`, `Database`.
    pub async fn set_initiators(&self, host: HostId, initiators: Vec<InitiatorName>) -> Result<Outcome, CatalogError> {
        let inner = Arc::clone(&self.inner);
        self.complete(async move { inner.set_initiators(host, initiators).await }).await
    }

    /// Lets a host see, map and release the shadow LUNs of the other hosts' sets, of these and of no others; that is how a
    /// backup server imports transportable shadow copies.
    ///
    /// # Errors
    /// `UnknownHost` (any of them), `Database`.
    pub async fn set_imports(&self, host: HostId, from: Vec<HostId>) -> Result<Outcome, CatalogError> {
        let inner = Arc::clone(&self.inner);
        self.complete(async move {
            for other in &from {
                inner.state.lock().host(*other)?;
            }
            inner.change_host(host, |found| found.imports_from = from.into_iter().collect()).await
        })
        .await
    }

    /// Has the initiators of a host prove who they are when they log in, or no longer. Sessions that there are go on.
    ///
    /// # Errors
    /// `UnknownHost`, `InvalidChap`, `Database`.
    pub async fn set_chap(&self, host: HostId, accounts: Option<ChapAccounts>) -> Result<Outcome, CatalogError> {
        if let Some(accounts) = &accounts {
            accounts.check()?;
        }
        let inner = Arc::clone(&self.inner);
        self.complete(async move {
            if inner.state.lock().host(host)?.doc.chap == accounts {
                return Ok(Outcome::AlreadySo);
            }
            inner.change_host(host, |found| found.chap = accounts).await
        })
        .await
    }

    /// Forgets a host, its credential and its token. Its kept shadow sets stay; their LUNs can be released by hosts that have the
    /// sources. An unknown host is `AlreadySo`.
    ///
    /// # Errors
    /// `HostInUse` while LUNs are mapped to it, `Database`.
    pub async fn remove_host(&self, host: HostId) -> Result<Outcome, CatalogError> {
        let inner = Arc::clone(&self.inner);
        self.complete(async move { inner.remove_host(host).await }).await
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
            check_free(&state, &initiators, None)?;
        }
        let host = HostId(self.settings.draw_uuid());
        let doc = HostDoc::new(name, initiators);
        self.write(vec![Change::PutHost(host, doc.clone())]).await?;
        let mut state = self.state.lock();
        state.hosts.insert(host, Host { doc, mappings: BTreeMap::new() });
        self.publish(&mut state, [host]);
        Ok(Made { id: host, outcome: Outcome::Done })
    }

    async fn set_initiators(&self, host: HostId, mut initiators: Vec<InitiatorName>) -> Result<Outcome, CatalogError> {
        initiators.sort();
        initiators.dedup();
        let _changes = self.changes.lock().await;
        let (before, doc) = {
            let state = self.state.lock();
            let entry = state.host(host)?;
            if entry.doc.initiators == initiators {
                return Ok(Outcome::AlreadySo);
            }
            check_free(&state, &initiators, Some(host))?;
            (entry.doc.initiators.clone(), HostDoc { initiators, ..entry.doc.clone() })
        };
        self.put_host(host, doc).await?;
        let mut state = self.state.lock();
        self.unpublish(&mut state, &before);
        self.publish(&mut state, [host]);
        Ok(Outcome::Done)
    }

    async fn remove_host(&self, host: HostId) -> Result<Outcome, CatalogError> {
        let _changes = self.changes.lock().await;
        let initiators = {
            let state = self.state.lock();
            let Some(entry) = state.hosts.get(&host) else { return Ok(Outcome::AlreadySo) };
            if !entry.mappings.is_empty() {
                return Err(CatalogError::HostInUse(entry.doc.name.clone()));
            }
            entry.doc.initiators.clone()
        };
        self.write(vec![Change::DropHost(host)]).await?;
        let mut state = self.state.lock();
        state.hosts.remove(&host);
        self.unpublish(&mut state, &initiators);
        self.publish_credentials(&state);
        Ok(Outcome::Done)
    }
}

/// Whether no host but `but` has one of the initiators.
fn check_free(state: &State, initiators: &[InitiatorName], but: Option<HostId>) -> Result<(), CatalogError> {
    let others = || state.hosts.iter().filter(|(host, _)| Some(**host) != but);
    let taken = |initiator: &&InitiatorName| others().any(|(_, entry)| entry.doc.initiators.contains(initiator));
    match initiators.iter().find(taken) {
        Some(initiator) => Err(CatalogError::InitiatorTaken(initiator.clone())),
        None => Ok(()),
    }
}

pub(crate) fn record_of(host: HostId, entry: &Host) -> HostRecord {
    HostRecord { host, name: entry.doc.name.to_string(), initiators: entry.doc.initiators.clone() }
}
