//! The array's use cases for a host in the same process: the channel without a wire.
//!
//! `host/provider` calls [`Array`], which blocks; the catalog is async. So each call runs on the array's runtime while the calling
//! thread waits. That thread must not be one of the runtime's workers (tokio panics there, since the worker would wait for
//! itself): a provider's methods run on threads of their own, as COM's do.

use std::sync::Arc;
use std::time::Duration;

use lunshadow_array_client::{Array, ArrayError, CommitChannel, Preparation};
use lunshadow_catalog::{Catalog, CatalogError};
use lunshadow_control::{
    HostId, HostOverview, HostRecord, LunId, LunQuery, LunRecord, Outcome, ResyncId, ResyncPair, ResyncState,
    ShadowKind, ShadowSetId, ShadowTarget, ShadowUse,
};
use lunshadow_lun::Pool;
use tokio::runtime::Handle;

/// The array, as one host sees it, in the same process.
#[derive(Debug)]
pub struct InProcessArray<P> {
    catalog: Arc<Catalog<P>>,
    runtime: Handle,
    host: HostId,
}

impl<P: Pool> InProcessArray<P> {
    /// Speaks for `host`. `runtime` is the one that the catalog was opened on; its timer has to be enabled.
    #[must_use]
    pub fn new(catalog: Arc<Catalog<P>>, runtime: Handle, host: HostId) -> Self {
        Self { catalog, runtime, host }
    }
}

/// What a problem of the catalog is to a host. Which code belongs to which error is the catalog's one table
/// ([`CatalogError::code`]), the same for every channel; a catalog in the same process is never out of reach.
#[must_use]
pub fn array_error(error: &CatalogError) -> ArrayError {
    ArrayError::Refused { code: error.code(), detail: error.to_string() }
}

fn answer<T>(result: Result<T, CatalogError>) -> Result<T, ArrayError> {
    result.map_err(|error| array_error(&error))
}

impl<P: Pool> Array for InProcessArray<P> {
    fn who_am_i(&self) -> Result<HostRecord, ArrayError> {
        answer(self.catalog.who_am_i(self.host))
    }

    fn resolve(&self, queries: &[LunQuery]) -> Result<Vec<Option<LunRecord>>, ArrayError> {
        answer(self.catalog.resolve(self.host, queries))
    }

    fn prepare(&self, set: ShadowSetId, luns: &[LunId]) -> Result<Outcome, ArrayError> {
        answer(self.runtime.block_on(self.catalog.prepare(self.host, set, luns)))
    }

    fn prepare_as(&self, kind: ShadowKind, set: ShadowSetId, luns: &[LunId]) -> Result<Outcome, ArrayError> {
        answer(self.runtime.block_on(self.catalog.prepare_as(kind, self.host, set, luns)))
    }

    fn wait_prepared(&self, set: ShadowSetId, at_most: Duration) -> Result<Preparation, ArrayError> {
        let preparation = self.runtime.block_on(self.catalog.wait_prepared(self.host, set, at_most));
        answer(preparation).map(|preparation| match preparation {
            lunshadow_catalog::Preparation::Ready => Preparation::Ready,
            lunshadow_catalog::Preparation::Running => Preparation::Running,
        })
    }

    fn open_commit_channel(&self, set: ShadowSetId) -> Result<Box<dyn CommitChannel>, ArrayError> {
        answer(self.catalog.check_armable(self.host, set))?;
        let (catalog, runtime) = (Arc::clone(&self.catalog), self.runtime.clone());
        Ok(Box::new(InProcessCommitChannel { catalog, runtime, host: self.host, set }))
    }

    fn keep(&self, set: ShadowSetId) -> Result<Outcome, ArrayError> {
        answer(self.runtime.block_on(self.catalog.keep(self.host, set)))
    }

    fn abort(&self, set: ShadowSetId) -> Result<Outcome, ArrayError> {
        answer(self.runtime.block_on(self.catalog.abort(self.host, set)))
    }

    fn withdraw(&self, set: ShadowSetId) -> Result<Outcome, ArrayError> {
        answer(self.runtime.block_on(self.catalog.withdraw(self.host, set)))
    }

    fn targets(&self, set: ShadowSetId) -> Result<Vec<ShadowTarget>, ArrayError> {
        answer(self.catalog.targets(self.host, set))
    }

    fn map(&self, luns: &[LunId]) -> Result<Vec<Outcome>, ArrayError> {
        answer(self.runtime.block_on(self.catalog.map(self.host, luns)))
    }

    fn unmap(&self, luns: &[LunId]) -> Result<Vec<Outcome>, ArrayError> {
        answer(self.runtime.block_on(self.catalog.unmap(self.host, luns)))
    }

    fn release(&self, shadow: LunId) -> Result<Outcome, ArrayError> {
        answer(self.runtime.block_on(self.catalog.release(self.host, shadow)))
    }

    fn note_use(&self, shadows: &[LunId], used: ShadowUse) -> Result<Vec<Outcome>, ArrayError> {
        answer(self.runtime.block_on(self.catalog.note_use(self.host, shadows, used)))
    }

    fn start_resync(&self, resync: ResyncId, pairs: &[ResyncPair]) -> Result<ResyncState, ArrayError> {
        answer(self.runtime.block_on(self.catalog.start_resync(self.host, resync, pairs)))
    }

    fn resync_state(&self, resync: ResyncId, at_most: Duration) -> Result<ResyncState, ArrayError> {
        answer(self.runtime.block_on(self.catalog.resync_state(self.host, resync, at_most)))
    }

    fn cancel_resync(&self, resync: ResyncId) -> Result<ResyncState, ArrayError> {
        answer(self.runtime.block_on(self.catalog.cancel_resync(self.host, resync)))
    }

    fn overview(&self) -> Result<HostOverview, ArrayError> {
        answer(self.catalog.overview(self.host))
    }
}

/// The channel of one set. There is nothing to connect in the same process.
#[derive(Debug)]
struct InProcessCommitChannel<P> {
    catalog: Arc<Catalog<P>>,
    runtime: Handle,
    host: HostId,
    set: ShadowSetId,
}

impl<P: Pool> CommitChannel for InProcessCommitChannel<P> {
    fn arm(&mut self, commit_at_most: Duration) -> Result<(), ArrayError> {
        answer(self.runtime.block_on(self.catalog.arm(self.host, self.set, Some(commit_at_most)))).map(|_| ())
    }

    fn commit(&mut self) -> Result<(), ArrayError> {
        answer(self.runtime.block_on(self.catalog.commit(self.host, self.set))).map(|_| ())
    }
}
