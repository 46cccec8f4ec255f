//! The catalog itself: what it is made of, and how its use cases run.

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwap;
use lunshadow_control::{ChapAccounts, HostId, InitiatorName, LunId, Outcome, ScrubPhase};
use lunshadow_lun::{Inventory, LunMap, LunNumber, Pool, PoolError, PortalGroupStates, PresentationCell, UnitStore};
use parking_lot::{Mutex, RwLock};
use tokio::sync::Notify;

use crate::copies::Copies;
use crate::database::Database;
use crate::enrolment::SecretDigest;
use crate::portals::Portals;
use crate::record_store::RecordStore;
use crate::records::{Change, LunDoc};
use crate::redb_file::RedbFile;
use crate::resync::Resyncs;
use crate::scrub::Scrubbing;
use crate::state::State;
use crate::transfers::Transfers;
use crate::unit_records::UnitRecords;
use crate::{CatalogError, OpenError, Settings, reconcile};

/// Who is who on the array, and its use cases.
///
/// All methods take `&self` and may run concurrently, on a tokio runtime with its timer enabled. A use case that has begun runs to its end even
/// if its caller goes away. Actions can be repeated; the repetition is [`Outcome::AlreadySo`].
#[derive(Debug)]
pub struct Catalog<P> {
    pub(crate) inner: Arc<Inner<P>>,
}

/// What an action made, or had made before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Made<T> {
    /// The thing's id.
    pub id: T,
    /// Whether this call made it.
    pub outcome: Outcome,
}

/// What all use cases work on.
pub(crate) struct Inner<P> {
    pub(crate) pool: Arc<P>,
    pub(crate) database: Database,
    pub(crate) settings: Settings,
    /// Never held across a wait.
    pub(crate) state: Mutex<State>,
    /// Held from the look at `state` that a durable change rests on until the change is in `state` too. Nobody holds it while
    /// waiting for the pool.
    pub(crate) changes: tokio::sync::Mutex<()>,
    /// One creation or deletion of a source LUN at a time; these wait for the pool.
    pub(crate) source_luns: tokio::sync::Mutex<()>,
    /// What each known initiator sees. Changed while `state` is held, and looked at without any lock: every command does.
    inventories: ArcSwap<HashMap<InitiatorName, Arc<Inventory>>>,
    /// Whose credential has which digest. Taken after `state`, if both are; read on its own by every request over the channel.
    pub(crate) credentials: RwLock<HashMap<SecretDigest, HostId>>,
    pub(crate) unit_records: UnitRecords,
    pub(crate) resyncs: Mutex<Resyncs>,
    pub(crate) scrubbing: Scrubbing,
    pub(crate) portals: Portals,
    pub(crate) copies: Copies,
    pub(crate) transfers: Transfers,
    /// Wakes the reaper when there is a lease, or a removal that failed, that it does not know.
    pub(crate) leases_changed: Arc<Notify>,
    /// Whether the pool has answered that it refuses changes.
    read_only: AtomicBool,
}

impl<P> fmt::Debug for Inner<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inner").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl<P: Pool> Catalog<P> {
    /// Opens the database at `path`, or makes one, and reconciles it with the pool: prepared sets are aborted, sets whose shadow
    /// LUNs exist but were not kept get a fresh lease, what is left of aborted sets is deleted.
    ///
    /// # Errors
    /// [`OpenError`]; another catalog may have the file open.
    pub async fn open(pool: Arc<P>, path: &Path, settings: Settings) -> Result<Self, OpenError> {
        let file = RedbFile::open(path.to_owned()).await?;
        Self::open_on(pool, Arc::new(file), settings).await
    }

    /// The same with the records in another store than a file.
    ///
    /// # Errors
    /// [`OpenError`].
    pub async fn open_on(pool: Arc<P>, records: Arc<dyn RecordStore>, settings: Settings) -> Result<Self, OpenError> {
        let (database, mut content) = Database::open(records).await?;
        let kept = std::mem::take(&mut content.unit_records);
        let scrubbing = Scrubbing::new(content.scrub.take());
        let portals = Portals::new(std::mem::take(&mut content.portal_groups));
        let (state, copies, mut changes) = reconcile::reconcile(pool.as_ref(), content, &settings).await?;
        let unit_records = UnitRecords::of_known(kept, &state, &mut changes);
        database.write(changes).await?;
        let inner = Inner {
            pool,
            database,
            settings,
            state: Mutex::new(state),
            changes: tokio::sync::Mutex::new(()),
            source_luns: tokio::sync::Mutex::new(()),
            inventories: ArcSwap::default(),
            credentials: RwLock::new(HashMap::new()),
            unit_records,
            resyncs: Mutex::default(),
            scrubbing,
            portals,
            copies: Copies::new(copies),
            transfers: Transfers::default(),
            leases_changed: Arc::new(Notify::new()),
            read_only: AtomicBool::new(false),
        };
        {
            let mut state = inner.state.lock();
            let hosts: Vec<HostId> = state.hosts.keys().copied().collect();
            inner.publish(&mut state, hosts);
            inner.publish_credentials(&state);
        }
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The pool.
    #[must_use]
    pub fn pool(&self) -> &Arc<P> {
        &self.inner.pool
    }

    /// Lets go of what runs in the background; it goes on when the catalog is opened again. Only sets that full copies are being made for are
    /// over. For before the pool is closed.
    pub async fn rest(&self) {
        self.end_mirrors().await;
        self.inner.copies.pause().await;
        self.inner.scrubbing.stop(ScrubPhase::Running).await;
    }

    /// LUNs in the pool that the catalog does not know, in the order of their ids: made by something else, or left by a lost
    /// database. They are never touched.
    #[must_use]
    pub fn orphans(&self) -> Vec<LunId> {
        let luns = self.inner.pool.luns();
        let state = self.inner.state.lock();
        let known = |lun: &LunId| {
            state.luns.contains_key(lun) || state.set_of_shadow.contains_key(lun) || state.internal.contains(lun)
        };
        luns.into_iter().map(|summary| summary.lun).filter(|lun| !known(lun)).collect()
    }

    /// Runs a use case to its end, even if the caller goes away in the middle.
    pub(crate) async fn complete<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, CatalogError>> + Send + 'static,
    ) -> Result<T, CatalogError> {
        tokio::spawn(work).await.unwrap_or(Err(CatalogError::BrokenOff))
    }
}

impl<P: Pool> LunMap for Catalog<P> {
    fn inventory(&self, initiator: &InitiatorName) -> Option<Arc<Inventory>> {
        self.inner.inventories.load().get(initiator).cloned()
    }

    fn chap(&self, initiator: &InitiatorName) -> Option<ChapAccounts> {
        let state = self.inner.state.lock();
        let host = state.hosts.values().find(|entry| entry.doc.initiators.contains(initiator))?;
        host.doc.chap.clone()
    }

    fn portal_groups(&self) -> Arc<PortalGroupStates> {
        Arc::clone(&self.inner.portals.states)
    }

    fn unit_store(&self) -> Option<&dyn UnitStore> {
        Some(self)
    }
}

impl<P: Pool> Inner<P> {
    /// Writes to the database.
    pub(crate) async fn write(&self, changes: Vec<Change>) -> Result<(), CatalogError> {
        Ok(self.database.write(changes).await?)
    }

    /// Lets the initiators of `hosts` see what is mapped to them now.
    pub(crate) fn publish(&self, state: &mut State, hosts: impl IntoIterator<Item = HostId>) {
        let mut inventories = HashMap::clone(&self.inventories.load());
        for host in hosts {
            let State { hosts, luns, handles, presentations, generation, .. } = &mut *state;
            let Some(entry) = hosts.get(&host) else { continue };
            let handle = |(number, lun): (&u8, &LunId)| {
                let presentation = || luns.get(lun).map(LunDoc::presentation).unwrap_or_default();
                let cell = || Arc::new(PresentationCell::new(presentation()));
                let cell = presentations.entry(*lun).or_insert_with(cell);
                Some((LunNumber(*number), handles.get(lun)?.presented(Arc::clone(cell))))
            };
            let luns = entry.mappings.iter().filter_map(handle).collect();
            *generation += 1;
            let inventory = Arc::new(Inventory { generation: *generation, luns });
            let initiators = entry.doc.initiators.iter();
            inventories.extend(initiators.map(|initiator| (initiator.clone(), Arc::clone(&inventory))));
        }
        self.inventories.store(Arc::new(inventories));
    }

    /// Lets nobody see by these names what a host sees. The state is held.
    pub(crate) fn unpublish(&self, _: &mut State, initiators: &[InitiatorName]) {
        let mut inventories = HashMap::clone(&self.inventories.load());
        inventories.retain(|initiator, _| !initiators.contains(initiator));
        self.inventories.store(Arc::new(inventories));
    }

    /// What a failure of the pool means to the asker; remembers whether the pool takes changes.
    pub(crate) fn pool_failed(&self, error: PoolError) -> CatalogError {
        let error = CatalogError::from(error);
        self.note_failure(&error);
        error
    }

    /// Remembers whether the pool takes changes.
    pub(crate) fn note_failure(&self, error: &CatalogError) {
        if matches!(error, CatalogError::PoolReadOnly) {
            self.read_only.store(true, Ordering::Relaxed);
        }
    }

    /// Whether there is room in the pool for one more shadow LUN, and the pool takes changes as far as is known.
    pub(crate) fn check_room(&self) -> Result<(), CatalogError> {
        self.check_room_for(0)
    }

    /// The same for shadow LUNs that take so much at once.
    pub(crate) fn check_room_for(&self, bytes: u64) -> Result<(), CatalogError> {
        if self.read_only.load(Ordering::Relaxed) {
            return Err(CatalogError::PoolReadOnly);
        }
        // What a pool keeps for itself is no room: a source whose content is held can only be written to where there is room for data.
        // What is on its way back counts: whoever writes waits for that.
        let usage = self.pool.usage();
        let room_bytes = usage.available_bytes.saturating_add(usage.reclaiming_bytes);
        if room_bytes < self.settings.limits.headroom_bytes.saturating_add(bytes) {
            return Err(CatalogError::OutOfSpace);
        }
        Ok(())
    }
}
