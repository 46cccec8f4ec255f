//! The Windows provider, proven through COM between processes.
//!
//! Two programs stand beside the product: a stand-in for the part of VSS that registers providers (`stand_in`), and the provider
//! with planted faults ([`planted`]). `raw` is a client that can misuse a provider's interfaces. `layout` holds what is compared with
//! the headers of C, and `rig` the whole system with the real array and the product itself.
#![cfg_attr(windows, expect(unsafe_code, reason = "COM's interfaces are unsafe to call and to implement"))]

#[cfg(windows)]
pub mod layout;
pub mod logged;
pub mod planted;
#[cfg(windows)]
pub mod raw;
#[cfg(windows)]
pub mod rig;
#[cfg(windows)]
pub mod stand_in;
#[cfg(windows)]
mod start;

#[cfg(windows)]
pub use start::start;
