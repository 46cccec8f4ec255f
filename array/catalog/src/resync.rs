//! Resync: LUNs get the content of shadow LUNs.

use std::time::Duration;

use lunshadow_control::{HostId, LunId, Outcome, ResyncId, ResyncPair, ResyncState, ShadowUse};
use lunshadow_lun::Pool;

use crate::{Catalog, CatalogError};

impl<P: Pool> Catalog<P> {
    /// Begins a resync, or answers how the one of that id stands.
    ///
    /// # Errors
    /// `UnknownHost`, `UnknownLun`, `NotAShadow`, `NotASource`, `InUse`, `NotAllowed`, `OutOfSpace`.
    pub async fn start_resync(
        &self,
        _host: HostId,
        _resync: ResyncId,
        _pairs: &[ResyncPair],
    ) -> Result<ResyncState, CatalogError> {
        Err(CatalogError::BrokenOff)
    }

    /// How a resync of this host stands, after waiting for its end for at most `at_most`.
    ///
    /// # Errors
    /// `UnknownResync`.
    pub async fn resync_state(
        &self,
        _host: HostId,
        _resync: ResyncId,
        _at_most: Duration,
    ) -> Result<ResyncState, CatalogError> {
        Err(CatalogError::BrokenOff)
    }

    /// Stops a resync if nothing was changed yet.
    ///
    /// # Errors
    /// `UnknownResync`.
    pub async fn cancel_resync(&self, _host: HostId, _resync: ResyncId) -> Result<ResyncState, CatalogError> {
        Err(CatalogError::BrokenOff)
    }

    /// Notes what a host does with shadow LUNs.
    ///
    /// # Errors
    /// `UnknownHost`, `UnknownLun`, `NotAShadow`, `Database`.
    pub async fn note_use(
        &self,
        _host: HostId,
        _shadows: &[LunId],
        _used: ShadowUse,
    ) -> Result<Vec<Outcome>, CatalogError> {
        Err(CatalogError::BrokenOff)
    }
}
