//! The basic header segment as such, and the way from it to the header of one PDU type and back.

use std::fmt;

use zerocopy::byteorder::big_endian::U32;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::codes::Opcode;
use super::fields::{Operation, SegmentLengths, Tag};
use super::requests::{DataOut, LoginRequest, LogoutRequest, NopOut, ScsiCommand, TaskManagementRequest, TextRequest};
use super::responses::{
    AsyncMessage, DataIn, LoginResponse, LogoutResponse, NopIn, ReadyToTransfer, Reject, ScsiResponse,
    TaskManagementResponse, TextResponse,
};
use crate::serial::SerialNumber;

/// A basic header segment of any type (RFC 7143 11.2.1): the first 48 bytes of every PDU.
#[derive(Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Bhs {
    /// Opcode and I bit.
    pub operation: Operation,
    /// The flags of byte 1.
    pub flags: u8,
    /// Bytes 2 and 3, which depend on the opcode.
    pub specific_2: [u8; 2],
    /// Lengths of what follows the header.
    pub lengths: SegmentLengths,
    /// Bytes 8 to 15: the LUN in most PDU types.
    pub specific_8: [u8; 8],
    /// The Initiator Task Tag.
    pub itt: Tag,
    /// Bytes 20 to 23: the Target Transfer Tag in most PDU types.
    pub specific_20: [u8; 4],
    /// The sender's own number: CmdSN from initiators (not in Data-Out), StatSN from targets.
    pub own_sn: U32,
    /// ExpStatSN from initiators, ExpCmdSN from targets.
    pub expected_sn: U32,
    /// MaxCmdSN from targets.
    pub max_cmd_sn: U32,
    /// Bytes 36 to 47, which depend on the opcode.
    pub specific_36: [u8; 12],
}

/// Bytes of a basic header segment.
pub const BHS_BYTES: usize = 48;
const _: () = assert!(size_of::<Bhs>() == BHS_BYTES);

/// The header of one PDU type. Every implementor is a 48-byte structure without padding, so that a [`Bhs`] can be looked at
/// as one.
pub trait Header: FromBytes + IntoBytes + Immutable + KnownLayout + Unaligned + Copy {
    /// The opcode of this type.
    const OPCODE: Opcode;

    /// The header as one of any type.
    #[must_use]
    fn to_bhs(&self) -> Bhs {
        Bhs::read_from_bytes(self.as_bytes()).expect("every header type is 48 bytes long")
    }
}

/// A header that initiators send, by type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each variant is documented at the header that it holds")]
pub enum Request<'a> {
    NopOut(&'a NopOut),
    ScsiCommand(&'a ScsiCommand),
    TaskManagement(&'a TaskManagementRequest),
    Login(&'a LoginRequest),
    Text(&'a TextRequest),
    DataOut(&'a DataOut),
    Logout(&'a LogoutRequest),
    /// An opcode that no initiator sends with ErrorRecoveryLevel 0.
    Other(Opcode),
}

/// A header that targets send, by type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each variant is documented at the header that it holds")]
pub enum Response<'a> {
    NopIn(&'a NopIn),
    Scsi(&'a ScsiResponse),
    TaskManagement(&'a TaskManagementResponse),
    Login(&'a LoginResponse),
    Text(&'a TextResponse),
    DataIn(&'a DataIn),
    Logout(&'a LogoutResponse),
    ReadyToTransfer(&'a ReadyToTransfer),
    Async(&'a AsyncMessage),
    Reject(&'a Reject),
    /// An opcode that no target sends.
    Other(Opcode),
}

impl Bhs {
    /// The opcode.
    #[must_use]
    pub const fn opcode(&self) -> Opcode {
        self.operation.opcode()
    }

    /// Whether the I bit is set.
    #[must_use]
    pub const fn is_immediate(&self) -> bool {
        self.operation.is_immediate()
    }

    /// The header as one of type `H`, if the opcode is that type's.
    #[must_use]
    // RFC 7143 §11 MUST: what is reserved is not looked at when it comes.
    pub fn view<H: Header>(&self) -> Option<&H> {
        if self.opcode() != H::OPCODE {
            return None;
        }
        H::ref_from_bytes(self.as_bytes()).ok()
    }

    /// The header as an initiator's, by type.
    #[must_use]
    pub fn request(&self) -> Request<'_> {
        let typed = match self.opcode() {
            Opcode::NOP_OUT => self.view().map(Request::NopOut),
            Opcode::SCSI_COMMAND => self.view().map(Request::ScsiCommand),
            Opcode::TASK_MANAGEMENT_REQUEST => self.view().map(Request::TaskManagement),
            Opcode::LOGIN_REQUEST => self.view().map(Request::Login),
            Opcode::TEXT_REQUEST => self.view().map(Request::Text),
            Opcode::DATA_OUT => self.view().map(Request::DataOut),
            Opcode::LOGOUT_REQUEST => self.view().map(Request::Logout),
            _ => None,
        };
        typed.unwrap_or(Request::Other(self.opcode()))
    }

    /// The header as a target's, by type.
    #[must_use]
    pub fn response(&self) -> Response<'_> {
        let typed = match self.opcode() {
            Opcode::NOP_IN => self.view().map(Response::NopIn),
            Opcode::SCSI_RESPONSE => self.view().map(Response::Scsi),
            Opcode::TASK_MANAGEMENT_RESPONSE => self.view().map(Response::TaskManagement),
            Opcode::LOGIN_RESPONSE => self.view().map(Response::Login),
            Opcode::TEXT_RESPONSE => self.view().map(Response::Text),
            Opcode::DATA_IN => self.view().map(Response::DataIn),
            Opcode::LOGOUT_RESPONSE => self.view().map(Response::Logout),
            Opcode::READY_TO_TRANSFER => self.view().map(Response::ReadyToTransfer),
            Opcode::ASYNC_MESSAGE => self.view().map(Response::Async),
            Opcode::REJECT => self.view().map(Response::Reject),
            _ => None,
        };
        typed.unwrap_or(Response::Other(self.opcode()))
    }

    /// Stamps a target's PDU with the numbers of the moment that it is sent (RFC 7143 4.2.2). `stat_sn` is the connection's
    /// next StatSN; whether this PDU also takes it, [`consumes_stat_sn`](Self::consumes_stat_sn) says.
    pub fn stamp_response(&mut self, stat_sn: SerialNumber, exp_cmd_sn: SerialNumber, max_cmd_sn: SerialNumber) {
        let without_stat_sn = matches!(self.response(), Response::DataIn(data) if !data.has_status());
        self.own_sn = if without_stat_sn { U32::ZERO } else { stat_sn.into() };
        self.expected_sn = exp_cmd_sn.into();
        self.max_cmd_sn = max_cmd_sn.into();
    }

    /// Whether this target PDU takes its StatSN, so that the next one carries the following number. Data-In without status,
    /// R2T, and a NOP-In that answers nothing do not.
    #[must_use]
    pub fn consumes_stat_sn(&self) -> bool {
        match self.response() {
            Response::DataIn(data) => data.has_status(),
            Response::ReadyToTransfer(_) => false,
            Response::NopIn(nop) => !nop.itt.is_reserved(),
            _ => true,
        }
    }

    /// Stamps an initiator's PDU with the numbers of the moment that it is sent. A Data-Out has no CmdSN.
    pub fn stamp_request(&mut self, cmd_sn: SerialNumber, exp_stat_sn: SerialNumber) {
        if self.opcode() != Opcode::DATA_OUT {
            self.own_sn = cmd_sn.into();
        }
        self.expected_sn = exp_stat_sn.into();
    }
}

impl fmt::Debug for Bhs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.opcode().0 < 0x20 { self.request().fmt(f) } else { self.response().fmt(f) }
    }
}

/// Ties a header structure to its opcode: size, default (zeros with that opcode and the flags that are always set), [`Header`].
macro_rules! header {
    ($name:ident, $opcode:expr, $flags:expr) => {
        const _: () = assert!(size_of::<$name>() == crate::pdu::BHS_BYTES);

        impl crate::pdu::Header for $name {
            const OPCODE: Opcode = $opcode;
        }

        impl Default for $name {
            fn default() -> Self {
                // RFC 7143 §11 MUST: what is reserved is 0 when it is sent.
                let mut header: Self = zerocopy::FromZeros::new_zeroed();
                header.operation = Operation::new($opcode);
                header.flags = $flags;
                header
            }
        }
    };
}
pub(crate) use header;
