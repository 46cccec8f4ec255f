//! iSCSI on the wire (RFC 7143): PDUs, text keys, login and full-feature machines for both ends.
//!
//! Everything here is bytes and types: no I/O, no clock, no threads. A target and an initiator put sockets and tasks around it:
//!
//! ```text
//!            bytes                     PDUs                                 events
//! socket ──────────▶ PduDecoder ──────────────▶ TargetLogin, CmdSnWindow, ──────────▶ target or initiator
//!        ◀────────── EncodedPdu ◀────────────── WriteTransfer, …          ◀──────────
//! ```
//!
//! * [`pdu`] has the 48-byte headers, decoder, encoder, digests.
//! * [`text`] has `key=value` text, its limits, and its way over several PDUs.
//! * [`negotiation`] has what two ends agree on.
//! * [`login`] has the login phase of both ends.
//! * [`sequence`] has command window and status numbers of both ends.
//! * [`transfer`] has a task's data in both directions: immediate, unsolicited, R2T, Data-In.
//! * [`discovery`] has SendTargets.
//!
//! Each module has its own error type; what is refused is said before anything is allocated for it.

pub mod discovery;
pub mod login;
pub mod negotiation;
pub mod pdu;
pub mod sequence;
pub mod serial;
pub mod text;
pub mod transfer;

/// The TCP port of iSCSI (RFC 7143 13.8, IANA).
pub const PORT: u16 = 3260;
