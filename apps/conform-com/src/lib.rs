//! `lunshadow-conform.exe`: the conformance suite of `host/conform` over any hardware provider that Windows knows by its class.
//!
//! ```text
//!  suite (host/conform) ──▶ Class ──▶ RemoteProvider, SlotCaller ═ COM ═▶ the provider's process ═▶ its array
//!        ├──▶ Described: LUNs by iSCSI (a simulated host), or as the file describes them ═══════════════▶ ▲
//!        └──▶ Ledger: Lunshadow's control service, as an administrator ══════════════════════════════════▶ ┘
//! ```
//!
//! What COM and the file do not give is not tested, and the report says so: events, another host or trouble of the array, each without a command for
//! it. Only [`Class`] knows COM, so that all else is tested on Linux too.

mod announced;
pub mod arguments;
mod array;
mod bed;
#[cfg(windows)]
mod com;
mod commands;
pub mod description;
mod disks;
#[cfg(test)]
mod fake;
mod heard;
mod machine;
mod run;
mod trouble;

pub use bed::{Class, ComBed};
#[cfg(windows)]
pub use com::{RegisteredClass, asked_as_stranger, fare_as_stranger};
pub use run::run;
