//! What a provider asks of an array, whatever the channel, and the channel over HTTPS.
//!
//! `host/provider` is written against [`Array`] only. In `lunshadow try` the array is in the same process; over HTTPS
//! ([`HttpsArray`]) or in-band the requests are the same. All calls block: a provider's methods are COM calls, which block too,
//! and each runs on a thread of its own.
//!
//! ```text
//!  provider ──▶ SeveralArrays ──▶ HttpsArray ──▶ http.rs (ureq) ──▶ connector.rs ──▶ tls.rs (rustls, pinned)
//!                                     └─────────▶ commit.rs, one connection of its own ─────┘
//! ```
//!
//! Every action may be repeated. A second time it answers [`Outcome::AlreadySo`](lunshadow_control::Outcome). So a request whose
//! connection was lost before the answer is sent once more.

mod admin;
mod array;
mod https;
mod several;

pub use admin::AdminClient;
pub use array::{Array, ArrayError, CommitChannel, Preparation};
pub use https::{Endpoint, EnrolError, Enrolment, HttpsArray, HttpsTimeouts, enrol};
pub use several::{NamedArray, SeveralArrays};
