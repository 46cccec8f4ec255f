//! Enrolment: a token that a host can use once, and the credential that it gets for it.

use std::time::Duration;

use lunshadow_control::{HostId, Outcome, Secret};
use lunshadow_lun::Pool;

use crate::{Catalog, CatalogError};

/// A token that was given out.
#[derive(Debug, Clone)]
pub struct IssuedEnrolment {
    /// The token, shown once; the catalog keeps its hash.
    pub token: Secret,
    /// When it ceases to be good, in milliseconds since 1970.
    pub expires_at_unix_ms: u64,
}

/// What a token was exchanged for.
#[derive(Debug, Clone)]
pub struct Enrolled {
    /// The host.
    pub host: HostId,
    /// Its credential, shown once; the catalog keeps its hash. A credential that the host had before is not good any more.
    pub credential: Secret,
}

impl<P: Pool> Catalog<P> {
    /// Makes a token by which a host can enrol once within `valid_for`. A token that the host was given before is not good any more.
    ///
    /// # Errors
    /// `UnknownHost`, `Database`.
    pub async fn issue_enrolment(&self, _host: HostId, _valid_for: Duration) -> Result<IssuedEnrolment, CatalogError> {
        Err(CatalogError::BrokenOff)
    }

    /// Exchanges a token for a credential.
    ///
    /// # Errors
    /// `EnrolmentRefused`, `Database`.
    pub async fn enrol(&self, _token: &Secret) -> Result<Enrolled, CatalogError> {
        Err(CatalogError::BrokenOff)
    }

    /// Whose credential it is. Cheap, and takes the same time for every wrong one.
    ///
    /// # Errors
    /// `NotAuthenticated`.
    pub fn authenticate(&self, _credential: &Secret) -> Result<HostId, CatalogError> {
        Err(CatalogError::BrokenOff)
    }

    /// Makes a host's credential and token useless.
    ///
    /// # Errors
    /// `UnknownHost`, `Database`.
    pub async fn revoke(&self, _host: HostId) -> Result<Outcome, CatalogError> {
        Err(CatalogError::BrokenOff)
    }
}
