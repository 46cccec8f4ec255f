//! A relay between hosts and an array: requests and answers pass as they are, unless the array is to be in some trouble.
//!
//! The array that is built here prepares and resyncs at once, and a commit takes it milliseconds. A provider also has to be right with one that
//! takes its time, so those who test one put this before it. It shows the array's own certificate, whose key lies beside the pool; hosts that
//! are enrolled through it notice nothing.
//!
//! ```text
//!  provider ──TLS──▶ relay ──TLS──▶ array
//!                      ▲
//!                      └── condition: one word and a line end on standard input
//! ```

mod condition;
mod passing;
mod relay;

pub use condition::{Condition, UnknownCondition};
pub use relay::Relay;
