//! What a failure looks like on the wire.

use axum::http::header::{CONTENT_TYPE, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use lunshadow_catalog::CatalogError;
use lunshadow_control::ProblemCode;
use lunshadow_control::api::{PROBLEM_MEDIA_TYPE, Problem, status_of};

/// What the log has of a refusal, as an extension of the answer: there the peer's address is known.
#[derive(Debug, Clone)]
pub(crate) struct Noted {
    pub(crate) code: ProblemCode,
    pub(crate) detail: String,
}

/// Why a request is not done.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) code: ProblemCode,
    pub(crate) detail: String,
    status: u16,
}

impl Refusal {
    pub(crate) fn new(code: ProblemCode, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into(), status: status_of(code) }
    }

    /// A request that HTTP has a status of its own for.
    pub(crate) fn with_status(status: StatusCode, detail: impl Into<String>) -> Self {
        Self { code: ProblemCode::InvalidRequest, detail: detail.into(), status: status.as_u16() }
    }
}

impl From<CatalogError> for Refusal {
    fn from(error: CatalogError) -> Self {
        Self::new(error.code(), error.to_string())
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let Self { code, detail, status } = self;
        let noted = Noted { code, detail: detail.clone() };
        let body = serde_json::to_vec(&Problem { status, ..Problem::new(code, detail) }).unwrap_or_default();
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, [(CONTENT_TYPE, PROBLEM_MEDIA_TYPE)], body).into_response();
        if status == StatusCode::UNAUTHORIZED {
            // RFC 9110 section 15.5.2 wants it.
            response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response.extensions_mut().insert(noted);
        response
    }
}
