//! DiskShadow's scripts and prompt on the hosts of a file, for the programs that bring a provider.
//!
//! ```text
//!  script, prompt ──▶ Session (host/diskshadow) ──▶ CoordinatedVss ──▶ coordinator ──▶ provider (the program's) ──▶ array
//!                         └──▶ LocalMachine: metadata files, programs        └──▶ simulated host over iSCSI
//!  hosts.toml ──▶ hosts ──▶ host (logs in, finds volumes, remembers shadow copies)
//!  expose ──▶ Exposer (the program's) ──▶ exposure: which LUN to attach, where nothing is mounted
//! ```
//!
//! A program says with a [`Rehearsal`] what is its own: where the provider is, and what shows the files of shadow copies. `lunshadow shadow`
//! has the provider in its process, `lunshadow-shadow.exe` behind COM. Everything here runs on Windows as on Linux.

pub mod console;
mod exposure;
mod folders;
mod host;
mod hosts;
mod kept;
mod machine;
mod metadata;
mod run;
mod script_text;

pub use console::Console;
pub use exposure::{ExposedLuns, LunExposer};
pub use folders::Folders;
pub use host::{Portal, RehearsedHost, Surroundings};
pub use hosts::{ArrayPlace, Control, HostSettings, ProviderPlace};
pub use kept::KeptFile;
pub use run::{HostArgs, Rehearsal, ScriptFile};
