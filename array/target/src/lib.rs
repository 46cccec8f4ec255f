//! The SCSI device server and the iSCSI target over `array/lun`.
//!
//! ```text
//! socket ──▶ connection ──▶ device server ──▶ LunMap, Lun
//!        ◀── outlet ◀─────── (completion)
//! ```
//!
//! [`DeviceServer`] knows SCSI and no transport; [`Target`] puts iSCSI around it with the machines of `wire/iscsi`. A connection is
//! one task: it reads, does at once what takes no waiting, goes on with the commands that wait for storage, and writes. What an initiator can make the target
//! hold is bounded by [`Limits`]: an initiator that does not read, or sends more than it may, stops nobody but itself.
//!
//! Errors end where they arise: a failed command is sense data, a broken connection is its own end and a line in the log.
//!
//! # Ports
//!
//! Each target portal group is one SCSI target port and one target port group ([`PortalGroup`]): a session is with one of them, persistent
//! reservations belong to an initiator port and a target port together, and initiators set how each LUN is reached through each (explicit ALUA,
//! SPC-4 5.15). With one group there is nothing to set, and the LUNs are active/optimized through it.
//!
//! # SANITIZE
//!
//! SBC-3 4.11, by [`Lun::discard`](lunshadow_lun::Lun::discard) (BLOCK ERASE) or [`Lun::write`](lunshadow_lun::Lun::write)
//! (OVERWRITE), of all that the LUN has for itself: shadow LUNs are LUNs of their own and keep what they share with it. The operation
//! is noted in the [`UnitStore`](lunshadow_lun::UnitStore) before it is answered, survives resets, logouts and restarts
//! ([`DeviceServer::resume`]), and ends with a flush and [`Lun::wipe_unused`](lunshadow_lun::Lun::wipe_unused): storage that never writes
//! in place has the old bytes in places that nobody uses any more. More than storage can do for its medium is not promised.

mod answer;
mod claim;
mod connection;
mod connection_threads;
mod device_server;
mod limits;
mod outlet;
mod places;
mod portals;
mod session;
mod target;
mod tasks;

pub use connection_threads::ConnectionThreads;
pub use device_server::{
    Completion, DeviceServer, InitiatorPort, Nexus, PortalGroup, TRANSFER_BLOCKS_MAX, TargetPorts, Task, TaskSet,
    UNMAP_BLOCKS_MAX, UNMAP_DESCRIPTORS_MAX, UNMAP_GRANULARITY_BLOCKS, UnitId, sense_of,
};
pub use limits::Limits;
pub use portals::{InvalidPortal, NetworkPortal};
pub use target::{BindError, Target, TargetConfig};
