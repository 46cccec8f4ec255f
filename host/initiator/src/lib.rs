//! A user-space iSCSI initiator: sessions with targets, and the disks behind them.
//!
//! The coordinator's simulated host reads and writes through it, and the in-band control channel travels over it. The protocol
//! itself is in `lunshadow-iscsi` and `lunshadow-scsi`; this crate puts sockets and tasks around it:
//!
//! ```text
//!  Disk ──┐                ┌── writer task ──▶ socket
//!  Disk ──┼─▶ Session ─────┤      ▲ R2T, NOP answers
//!  Disk ──┘  (many commands│      │
//!             in flight)   └── reader task ◀── socket
//! ```
//!
//! * [`discover`] asks a portal for its targets.
//! * [`Session::login`] opens a session; clones of it share the one connection.
//! * [`Session::command`] runs any SCSI command; [`Disk`] has those of a disk, splits them to the target's limits and repeats
//!   what a unit attention interrupted.
//! * [`Session::unit_attentions`] tells what targets have to report, so that a rescan can follow 3F/0E.
//!
//! Errors are [`InitiatorError`] for what the session cannot do and [`DiskError`] for what the disk answers. A connection that
//! is lost stays lost: every command under way fails, and so does every later one; log in again.

mod connection;
mod discovery;
mod disk;
mod error;
mod identity;
mod login;
mod reader;
mod session;
mod task;
mod writer;

pub use discovery::{DiscoveredTarget, discover};
pub use disk::{Disk, Geometry};
pub use error::{ConnectionError, DiskError, InitiatorError};
pub use identity::DiskIdentity;
pub use session::{Session, SessionConfig};
pub use task::{DataDirection, Residual, ScsiResponse, UnitAttention};
