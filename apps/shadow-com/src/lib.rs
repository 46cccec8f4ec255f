//! `lunshadow-shadow.exe`: DiskShadow's scripts and prompt over any hardware provider that Windows knows by its class.
//!
//! ```text
//!  script, prompt ──▶ Rehearsal (apps/rehearsal) ──▶ coordinator ──▶ Class ──▶ RemoteProvider ═ COM ═▶ the provider's process ═▶ its array
//!                                                        └──▶ simulated host over iSCSI ═════════════════════════════════════▶ ▲
//! ```
//!
//! Only [`Class`] knows COM, so that all else is tested on Linux too.

pub mod arguments;
mod class;
#[cfg(windows)]
mod com;
mod run;

pub use class::{Class, VssName};
#[cfg(windows)]
pub use com::RegisteredClass;
pub use run::run;
