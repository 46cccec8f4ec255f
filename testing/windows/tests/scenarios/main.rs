//! The product between the real array and a simulated Windows host: COM between processes, TLS, and iSCSI.
//!
//! The array is the one that `cargo xtask windows` serves on the Linux side. Each test has hosts and LUNs of its own there.
#![cfg(windows)]

mod creation;
mod failures;
mod recovery;
mod reports;
mod transport;
