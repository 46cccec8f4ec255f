//! DiskShadow's language: its scripts and its prompt, over any VSS.
//!
//! ```text
//!  line ──▶ words (quotation marks, %aliases%) ──▶ parser ──▶ Command ──▶ Session ──▶ trait Vss, trait Machine
//!                                                                           └───────▶ Output
//! ```
//!
//! A [`Session`] knows what is set, added, loaded and begun, and which commands go with that. What VSS does is behind [`Vss`], what
//! the machine does behind [`Machine`]; [`CoordinatedVss`] is the one over our own coordinator. `docs/diskshadow.md` has the commands.

mod aliases;
mod command;
mod coordinated;
mod fault;
mod listing;
mod parser;
mod script;
mod session;
mod usage;
mod vss;
mod words;

pub use command::{
    BreakChoice, Command, ContextChoice, CopyKind, DeletionChoice, Exposed, Options, Place, ShadowSelection,
    WriterDetail,
};
pub use coordinated::{CoordinatedVss, Exposer, KeptShadows, MountedVolume, RehearsedWriter, WriterStep};
pub use fault::{Fault, StateError};
pub use parser::{ParseError, parse};
pub use script::{ScriptError, run_script};
pub use session::{Flow, Session};
pub use vss::{
    CreatedSet, CreationOrder, Imported, Machine, MachineFailure, Metadata, Output, RegisteredProvider, ShadowCopy,
    Volume, Vss, VssFailure, WriterNotice, WriterReport,
};
pub use words::{Variables, split};
