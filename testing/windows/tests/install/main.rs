//! The provider's own installer, on a machine whose VSS is the stand-in: what it leaves, and that it leaves nothing.
#![cfg(windows)]
#![expect(unsafe_code, reason = "Windows' interfaces are unsafe to call")]

mod failures;
mod machine;
mod messages;
mod reports;
mod rolling_out;
mod serving;
