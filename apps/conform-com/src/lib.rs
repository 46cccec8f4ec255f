//! `lunshadow-conform.exe`: the conformance suite of `host/conform` over any hardware provider that Windows knows by its class.
//!
//! ```text
//!  suite (host/conform) ──▶ Class ──▶ RemoteProvider ═ COM ═▶ the provider's process ═▶ its array
//!        ├──▶ Described: LUNs by iSCSI (a simulated host), or as the file describes them ═══▶ ▲
//!        └──▶ Ledger: Lunshadow's control service, as an administrator ══════════════════════▶ ┘
//! ```
//!
//! What COM and the file do not give is not tested, and the report says so: another host, an array in trouble, the event log. Only
//! [`Class`] knows COM, so that all else is tested on Linux too.

mod announced;
pub mod arguments;
mod array;
mod bed;
#[cfg(windows)]
mod com;
pub mod description;
mod disks;
mod run;

pub use bed::{Class, ComBed};
#[cfg(windows)]
pub use com::RegisteredClass;
pub use run::run;
