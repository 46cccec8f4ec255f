//! What can go wrong with a session, and with a disk.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use lunshadow_iscsi::login::LoginError;
use lunshadow_iscsi::pdu::{DecodeError, Opcode, RejectReason};
use lunshadow_iscsi::sequence::StatSnGap;
use lunshadow_iscsi::text::TextError;
use lunshadow_iscsi::transfer::ReadError;
use lunshadow_scsi::{ResponseError, Sense, Status};

/// What a session cannot do.
#[derive(Clone, Debug, thiserror::Error)]
pub enum InitiatorError {
    /// There is no TCP connection to the portal.
    #[error("cannot connect to the portal")]
    Connect(#[source] Arc<io::Error>),
    /// The target did not let the initiator in, or the two could not agree.
    #[error("the login failed")]
    Login(#[from] LoginError),
    /// The connection failed during the login, or while the command was under way, or before. Whether the command was
    /// carried out is not known.
    #[error("the connection to the target is lost")]
    ConnectionLost(#[from] ConnectionError),
    /// The target refused the request as such.
    #[error("the target rejected the request: {reason:?}")]
    Rejected {
        /// Why.
        reason: RejectReason,
    },
    /// The target failed while it carried out the command; there is no SCSI status.
    #[error("the target failed to carry out the command")]
    TargetFailure,
    /// The text that the target sent is not valid.
    #[error("the target's text is not valid")]
    Text(#[from] TextError),
    /// The command has more data than iSCSI can announce (2^32 - 1 bytes).
    #[error("{len_bytes} bytes are more than one command can carry")]
    TooMuchData {
        /// How much it has.
        len_bytes: usize,
    },
}

/// Why a connection ended.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ConnectionError {
    /// The target closed it.
    #[error("the target closed the connection")]
    Closed,
    /// The network failed.
    #[error("the network failed")]
    Io(#[source] Arc<io::Error>),
    /// The target did not answer in time.
    #[error("the target did not answer within {limit:?}")]
    TimedOut {
        /// The limit.
        limit: Duration,
    },
    /// The target sent what is no PDU.
    #[error("the target's bytes are not valid")]
    Decode(#[from] DecodeError),
    /// A response is missing.
    #[error("the target's responses have a gap")]
    StatSn(#[from] StatSnGap),
    /// A read's data does not fit the read.
    #[error("the target's data does not fit the command")]
    Read(#[from] ReadError),
    /// A PDU that makes no sense here.
    #[error("{opcode:?} breaks the protocol: {reason}")]
    Protocol {
        /// The PDU's type.
        opcode: Opcode,
        /// In what way.
        reason: &'static str,
    },
    /// The target announced that it drops the connection.
    #[error("the target dropped the connection")]
    Dropped,
    /// The target asked for a logout and takes no new commands.
    #[error("the target asked for a logout")]
    LogoutRequested,
    /// The session was logged out.
    #[error("the session was logged out")]
    LoggedOut,
}

/// What a disk cannot do.
#[derive(Clone, Debug, thiserror::Error)]
pub enum DiskError {
    /// The session failed.
    #[error(transparent)]
    Session(#[from] InitiatorError),
    /// The command ended with CHECK CONDITION.
    #[error("{command} failed: {sense}")]
    CheckCondition {
        /// The command.
        command: &'static str,
        /// Why.
        sense: Sense,
    },
    /// The command ended with a status other than GOOD, as often as it was repeated.
    #[error("{command} ended with {status}")]
    Status {
        /// The command.
        command: &'static str,
        /// The status.
        status: Status,
    },
    /// The disk's answer cannot be read.
    #[error("the answer to {command} is not valid")]
    Response {
        /// The command.
        command: &'static str,
        /// What is wrong with it.
        source: ResponseError,
    },
    /// A read was answered with GOOD and less data than asked for.
    #[error("{command} gave {received_bytes} of {expected_bytes} bytes")]
    ShortData {
        /// The command.
        command: &'static str,
        /// What came.
        received_bytes: usize,
        /// What was asked for.
        expected_bytes: usize,
    },
    /// The data of a write is not a number of blocks.
    #[error("{len_bytes} bytes are not a number of blocks of {block_bytes} bytes")]
    NotBlocks {
        /// The length of the data.
        len_bytes: usize,
        /// The disk's block length.
        block_bytes: u32,
    },
    /// The disk says that it has no blocks, or blocks of no length.
    #[error("the disk has no block length")]
    NoBlockLength,
}

impl InitiatorError {
    pub(crate) fn io(error: io::Error) -> Self {
        Self::ConnectionLost(ConnectionError::io(error))
    }
}

impl ConnectionError {
    pub(crate) fn io(error: io::Error) -> Self {
        Self::Io(Arc::new(error))
    }
}
