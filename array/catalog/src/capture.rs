//! A whole shadow set at an administrator's word.

use std::collections::BTreeSet;
use std::time::Duration;

use lunshadow_control::{HostId, LunId, Outcome, ShadowSetId};
use lunshadow_lun::Pool;

use crate::prepare::Preparation;
use crate::shadow_set::SetState;
use crate::{Catalog, CatalogError};

/// How long the preparation may take. Nobody holds writes meanwhile, so it is only the administrator who waits.
const PREPARE_AT_MOST: Duration = Duration::from_secs(60);

impl<P: Pool> Catalog<P> {
    /// Captures LUNs of a host at one instant, as a set of that host that is kept: prepares, arms and commits in turn. Nothing is
    /// asked of the host, so the shadow LUNs are what the LUNs would be after a power cut. If it fails half-way, or is left by who called it,
    /// nothing stays: at the latest, when the lease of the set ends. Repeated with the same set, it goes on from where it was.
    ///
    /// # Errors
    /// As [`Self::prepare`], [`Self::commit`] and [`Self::keep`]; `NotReady` if the pool takes longer than a minute to prepare.
    pub async fn capture(&self, host: HostId, set: ShadowSetId, luns: &[LunId]) -> Result<Outcome, CatalogError> {
        match self.set_state(host, set) {
            Ok(SetState::Armed | SetState::Committing | SetState::Committed | SetState::Kept)
                if self.has_sources(host, set, luns)? =>
            {
                self.commit(host, set).await?;
                self.keep(host, set).await
            }
            // Somebody has begun it: if this fails, the set is left to whoever that was, and to its lease.
            Ok(_) => self.capture_in_turn(host, set, luns).await,
            Err(_) => {
                let result = self.capture_in_turn(host, set, luns).await;
                if result.is_err() {
                    // What ended it is the answer; if this fails too, the lease ends the set.
                    self.abort(host, set).await.ok();
                }
                result
            }
        }
    }

    async fn capture_in_turn(&self, host: HostId, set: ShadowSetId, luns: &[LunId]) -> Result<Outcome, CatalogError> {
        self.prepare(host, set, luns).await?;
        if self.wait_prepared(host, set, PREPARE_AT_MOST).await? == Preparation::Running {
            return Err(CatalogError::NotReady(set));
        }
        self.arm(host, set, None).await?;
        self.commit(host, set).await?;
        self.keep(host, set).await
    }

    /// Whether a set is of exactly these LUNs.
    fn has_sources(&self, host: HostId, set: ShadowSetId, luns: &[LunId]) -> Result<bool, CatalogError> {
        let state = self.inner.state.lock();
        let sources: BTreeSet<LunId> = state.set_of(host, set)?.members.iter().map(|member| member.source).collect();
        Ok(sources == luns.iter().copied().collect())
    }
}
