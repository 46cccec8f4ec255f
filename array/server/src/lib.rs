//! The array's control service: the control API over HTTPS, in front of the catalog.
//!
//! ```text
//!  host, administrator ══ TLS ══▶ listener.rs ──▶ routes.rs ──▶ asker.rs (who is it?) ──▶ host.rs, admin.rs, pool.rs, content.rs ──▶ catalog
//! ```
//!
//! Decisions are the catalog's: which host may do what to which LUN, and what happens to sets. Here a credential becomes a host, bytes
//! become a request, and an error becomes a problem (RFC 9457). Refused credentials and enrolments, and requests for what a
//! host may not see, are logged with the peer's address; secrets never are.

mod admin;
mod asker;
mod certificate;
mod content;
mod credential;
mod host;
mod kept_file;
mod listener;
mod pool;
mod portals;
mod problem;
mod routes;

pub use certificate::{CertificateError, ServerCertificate};
pub use credential::{CredentialError, administrator_credential, administrator_credential_file, read_credential};
pub use listener::{Limits, ServeError, Server, ServerConfig};
