//! Who asks, and what for: the parts of a request.

use std::str::FromStr;
use std::sync::Arc;

use axum::body::to_bytes;
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::StatusCode;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use lunshadow_catalog::{Catalog, Name};
use lunshadow_control::api::REQUEST_BYTES_MAX;
use lunshadow_control::{Fingerprint, HostId, ProblemCode, Secret, ShadowSetId};
use lunshadow_lun::Pool;
use serde::de::DeserializeOwned;
use sha2::{Digest as _, Sha256};

use crate::problem::Refusal;

/// What all requests need.
pub(crate) struct Service<P> {
    pub(crate) catalog: Arc<Catalog<P>>,
    pub(crate) fingerprint: Fingerprint,
    /// The SHA-256 of the administrator's credential. Comparing digests tells nothing about the text.
    pub(crate) administrator: [u8; 32],
}

pub(crate) type Shared<P> = Arc<Service<P>>;

pub(crate) fn digest_of(secret: &Secret) -> [u8; 32] {
    Sha256::digest(secret.expose().as_bytes()).into()
}

/// A host with a credential.
pub(crate) struct AskingHost(pub(crate) HostId);

/// Whoever has the administrator's credential.
pub(crate) struct Administrator;

fn credential(parts: &Parts) -> Result<Secret, Refusal> {
    let field = parts.headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    // The scheme's name is case-insensitive (RFC 9110 section 11.1).
    let bearer =
        field.and_then(|field| field.split_once(' ')).filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
    let missing = || Refusal::new(ProblemCode::NotAuthenticated, "the request has no bearer credential");
    bearer.map(|(_, credential)| Secret::new(credential.trim())).ok_or_else(missing)
}

impl<P: Pool> FromRequestParts<Shared<P>> for AskingHost {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, service: &Shared<P>) -> Result<Self, Refusal> {
        let credential = credential(parts)?;
        if digest_of(&credential) == service.administrator {
            let detail = "this is for hosts; the administrator's credential is not one of a host";
            return Err(Refusal::new(ProblemCode::NotAllowed, detail));
        }
        Ok(Self(service.catalog.authenticate(&credential)?))
    }
}

impl<P: Pool> FromRequestParts<Shared<P>> for Administrator {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, service: &Shared<P>) -> Result<Self, Refusal> {
        let credential = credential(parts)?;
        if digest_of(&credential) == service.administrator {
            return Ok(Self);
        }
        service.catalog.authenticate(&credential)?;
        Err(Refusal::new(ProblemCode::NotAllowed, "this is for administrators, not for hosts"))
    }
}

/// A JSON body.
pub(crate) struct Body<T>(pub(crate) T);

impl<P: Pool, T: DeserializeOwned> FromRequest<Shared<P>> for Body<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, _: &Shared<P>) -> Result<Self, Refusal> {
        let too_long = || {
            let detail = format!("the body is cut off, or longer than {REQUEST_BYTES_MAX} bytes");
            Refusal::with_status(StatusCode::PAYLOAD_TOO_LARGE, detail)
        };
        let bytes = to_bytes(request.into_body(), REQUEST_BYTES_MAX).await.map_err(|_| too_long())?;
        let malformed = |error| Refusal::new(ProblemCode::InvalidRequest, format!("the body cannot be read: {error}"));
        serde_json::from_slice(&bytes).map(Self).map_err(malformed)
    }
}

/// An id out of a path.
pub(crate) fn id<T: FromStr>(text: &str, what: &'static str) -> Result<T, Refusal> {
    text.parse().map_err(|_| Refusal::new(ProblemCode::InvalidRequest, format!("{text:?} is no {what}")))
}

/// A shadow set's id out of a path.
pub(crate) fn set_id(text: &str) -> Result<ShadowSetId, Refusal> {
    id(text, "shadow set id").map(ShadowSetId)
}

/// A name out of a path or body.
pub(crate) fn name(text: &str) -> Result<Name, Refusal> {
    text.parse()
        .map_err(|error: lunshadow_catalog::InvalidName| Refusal::new(ProblemCode::InvalidRequest, error.to_string()))
}
