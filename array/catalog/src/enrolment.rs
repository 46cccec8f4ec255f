//! Enrolment: a token that a host can use once, and the credential that it gets for it.
//!
//! Both are 256 bits from the operating system's random source. The catalog keeps their SHA-256 only: whoever reads the database cannot
//! speak for a host. Since a digest says nothing of the text that it was made of, looking it up in a table needs no
//! constant time.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use lunshadow_control::{HostId, Outcome, Secret};
use lunshadow_lun::Pool;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use crate::catalog::Inner;
use crate::records::{Change, HostDoc, TokenDoc};
use crate::state::State;
use crate::{Catalog, CatalogError};

/// The SHA-256 of a token or credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct SecretDigest([u8; 32]);

impl SecretDigest {
    fn of(secret: &Secret) -> Self {
        Self(Sha256::digest(secret.expose().as_bytes()).into())
    }
}

/// Why a token is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EnrolmentFault {
    /// It was never given out, or another one was given out since.
    Unknown,
    /// A host has enrolled with it.
    Used,
    /// Its time is over.
    Expired,
}

impl fmt::Display for EnrolmentFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unknown => "is not known, or a newer one was issued",
            Self::Used => "has been used already",
            Self::Expired => "has expired",
        })
    }
}

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
    pub async fn issue_enrolment(&self, host: HostId, valid_for: Duration) -> Result<IssuedEnrolment, CatalogError> {
        let inner = Arc::clone(&self.inner);
        let valid_for_ms = u64::try_from(valid_for.as_millis()).unwrap_or(u64::MAX);
        let expires_at_unix_ms = inner.settings.clock.unix_ms().saturating_add(valid_for_ms);
        let token = draw_secret();
        let doc = TokenDoc { digest: SecretDigest::of(&token), expires_at_unix_ms, used: false };
        self.complete(async move { inner.change_host(host, |found| found.token = Some(doc)).await }).await?;
        Ok(IssuedEnrolment { token, expires_at_unix_ms })
    }

    /// Exchanges a token for a credential. If the answer is lost, so is the credential: another token has to be issued.
    ///
    /// # Errors
    /// `EnrolmentRefused`, `Database`.
    pub async fn enrol(&self, token: &Secret) -> Result<Enrolled, CatalogError> {
        let inner = Arc::clone(&self.inner);
        let digest = SecretDigest::of(token);
        self.complete(async move { inner.enrol(digest).await }).await
    }

    /// Whose credential it is. Cheap: it is asked with every request over the channel, those of the commit among them.
    ///
    /// # Errors
    /// `NotAuthenticated`.
    pub fn authenticate(&self, credential: &Secret) -> Result<HostId, CatalogError> {
        let digest = SecretDigest::of(credential);
        self.inner.credentials.read().get(&digest).copied().ok_or(CatalogError::NotAuthenticated)
    }

    /// Makes a host's credential and token useless.
    ///
    /// # Errors
    /// `UnknownHost`, `Database`.
    pub async fn revoke(&self, host: HostId) -> Result<Outcome, CatalogError> {
        let inner = Arc::clone(&self.inner);
        self.complete(async move {
            let revoke = |found: &mut HostDoc| (found.token, found.credential) = (None, None);
            inner.change_host(host, revoke).await
        })
        .await
    }
}

impl<P: Pool> Inner<P> {
    async fn enrol(&self, digest: SecretDigest) -> Result<Enrolled, CatalogError> {
        let credential = draw_secret();
        let _changes = self.changes.lock().await;
        let (host, doc) = {
            let state = self.state.lock();
            let has_token = |doc: &HostDoc| doc.token.as_ref().is_some_and(|token| token.digest == digest);
            let found = state.hosts.iter().find(|(_, entry)| has_token(&entry.doc));
            let refused = CatalogError::EnrolmentRefused;
            let (host, entry) = found.ok_or(refused(EnrolmentFault::Unknown))?;
            let mut doc = entry.doc.clone();
            let token = doc.token.as_mut().ok_or(refused(EnrolmentFault::Unknown))?;
            if token.used {
                return Err(refused(EnrolmentFault::Used));
            }
            if self.settings.clock.unix_ms() >= token.expires_at_unix_ms {
                return Err(refused(EnrolmentFault::Expired));
            }
            token.used = true;
            doc.credential = Some(SecretDigest::of(&credential));
            (*host, doc)
        };
        self.put_host(host, doc).await?;
        Ok(Enrolled { host, credential })
    }

    /// Changes what is known of a host. `AlreadySo` is not told apart: the callers' changes are never without effect.
    pub(crate) async fn change_host(
        &self,
        host: HostId,
        change: impl FnOnce(&mut HostDoc),
    ) -> Result<Outcome, CatalogError> {
        let _changes = self.changes.lock().await;
        let mut doc = self.state.lock().host(host)?.doc.clone();
        change(&mut doc);
        self.put_host(host, doc).await?;
        Ok(Outcome::Done)
    }

    /// Writes what is known of a host, and lets it take effect. The caller holds `changes`.
    pub(crate) async fn put_host(&self, host: HostId, doc: HostDoc) -> Result<(), CatalogError> {
        self.write(vec![Change::PutHost(host, doc.clone())]).await?;
        let mut state = self.state.lock();
        if let Some(entry) = state.hosts.get_mut(&host) {
            entry.doc = doc;
        }
        self.publish_credentials(&state);
        Ok(())
    }

    /// Lets the credentials of all hosts be known.
    pub(crate) fn publish_credentials(&self, state: &State) {
        let with_credential = state.hosts.iter().filter_map(|(host, entry)| Some((entry.doc.credential?, *host)));
        *self.credentials.write() = with_credential.collect();
    }
}

/// 256 random bits as 64 hexadecimal digits: four random UUIDs carry 122 bits each, and the digest mixes them.
fn draw_secret() -> Secret {
    let mut mixed = Sha256::new();
    for _ in 0..4 {
        mixed.update(Uuid::new_v4().as_bytes());
    }
    let digest: [u8; 32] = mixed.finalize().into();
    Secret::new(digest.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
}
