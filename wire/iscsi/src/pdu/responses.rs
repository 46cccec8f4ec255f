//! The headers that targets send: one 48-byte structure for each PDU type.

use lunshadow_scsi::LunAddress;
use zerocopy::byteorder::big_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::bhs::header;
use super::codes::{AsyncEvent, LogoutResponseCode, Opcode, RejectReason, ServiceResponse, TaskResponse};
use super::fields::{CONTINUE, FINAL, Isid, Operation, SegmentLengths, Tag};
use crate::login::LoginStatus;

/// RFC 7143 11.19, NOP-In: answers a NOP-Out, or asks whether the initiator is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct NopIn {
    /// Opcode and I bit.
    pub operation: Operation,
    /// The flags of byte 1.
    pub flags: u8,
    /// Reserved: zero when sent, not looked at when received.
    pub reserved_2: [u8; 2],
    /// Filled in by [`Pdu::new`](super::Pdu::new).
    pub lengths: SegmentLengths,
    /// The logical unit of a ping that wants an answer.
    pub lun: LunAddress,
    /// The NOP-Out's tag; reserved in the target's own ping.
    pub itt: Tag,
    /// Names the target's ping; reserved when no answer is wanted.
    pub ttt: Tag,
    /// StatSN.
    pub stat_sn: U32,
    /// ExpCmdSN: the next command number that the target expects.
    pub exp_cmd_sn: U32,
    /// MaxCmdSN: the last command number that the target takes.
    pub max_cmd_sn: U32,
    /// Reserved: zero when sent, not looked at when received.
    pub reserved_36: [u8; 12],
}

header!(NopIn, Opcode::NOP_IN, FINAL);

/// RFC 7143 11.4, SCSI Response. Its data segment is SenseLength (2 bytes, big-endian) and sense data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct ScsiResponse {
    /// Opcode and I bit.
    pub operation: Operation,
    /// The flags of byte 1.
    pub flags: u8,
    /// Whether the command completed at the target at all.
    pub response: ServiceResponse,
    /// The SCSI status, if it did.
    pub status: u8,
    /// Filled in by [`Pdu::new`](super::Pdu::new).
    pub lengths: SegmentLengths,
    /// Reserved: zero when sent, not looked at when received.
    pub reserved_8: [u8; 8],
    /// The task.
    pub itt: Tag,
    /// Copied by a SNACK; 0 with ErrorRecoveryLevel 0.
    pub snack_tag: U32,
    /// StatSN.
    pub stat_sn: U32,
    /// ExpCmdSN: the next command number that the target expects.
    pub exp_cmd_sn: U32,
    /// MaxCmdSN: the last command number that the target takes.
    pub max_cmd_sn: U32,
    /// ExpDataSN: Data-In (and R2T) PDUs that were sent for the task.
    pub exp_data_sn: U32,
    /// The read residual of a bidirectional command.
    pub bidi_read_residual_count: U32,
    /// Bytes that were not moved (U) or would have been needed (O).
    pub residual_count: U32,
}

header!(ScsiResponse, Opcode::SCSI_RESPONSE, FINAL);

/// RFC 7143 11.6, Task Management Function Response.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct TaskManagementResponse {
    /// Opcode and I bit.
    pub operation: Operation,
    /// The flags of byte 1.
    pub flags: u8,
    /// What became of the request.
    pub response: TaskResponse,
    /// Reserved: zero when sent, not looked at when received.
    pub reserved_3: u8,
    /// Filled in by [`Pdu::new`](super::Pdu::new).
    pub lengths: SegmentLengths,
    /// Reserved: zero when sent, not looked at when received.
    pub reserved_8: [u8; 8],
    /// The request.
    pub itt: Tag,
    /// Reserved: zero when sent, not looked at when received.
    pub reserved_20: [u8; 4],
    /// StatSN.
    pub stat_sn: U32,
    /// ExpCmdSN: the next command number that the target expects.
    pub exp_cmd_sn: U32,
    /// MaxCmdSN: the last command number that the target takes.
    pub max_cmd_sn: U32,
    /// Reserved: zero when sent, not looked at when received.
    pub reserved_36: [u8; 12],
}

header!(TaskManagementResponse, Opcode::TASK_MANAGEMENT_RESPONSE, FINAL);

/// RFC 7143 11.13, Login Response.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct LoginResponse {
    /// Opcode and I bit.
    pub operation: Operation,
    /// The flags of byte 1.
    pub flags: u8,
    /// The highest protocol version that the target speaks; 0.
    pub version_max: u8,
    /// The version in use; 0.
    pub version_active: u8,
    /// Filled in by [`Pdu::new`](super::Pdu::new).
    pub lengths: SegmentLengths,
    /// As in the request.
    pub isid: Isid,
    /// Names the session, in the last response of a login; until then as in the request.
    pub tsih: U16,
    /// As in the request.
    pub itt: Tag,
    /// Reserved: zero when sent, not looked at when received.
    pub reserved_20: [u8; 4],
    /// StatSN.
    pub stat_sn: U32,
    /// ExpCmdSN: the next command number that the target expects.
    pub exp_cmd_sn: U32,
    /// MaxCmdSN: the last command number that the target takes.
    pub max_cmd_sn: U32,
    /// How the login fares. Everything but ITT is without meaning when it is not a success.
    pub status: LoginStatus,
    /// Reserved: zero when sent, not looked at when received.
    pub reserved_38: [u8; 10],
}

header!(LoginResponse, Opcode::LOGIN_RESPONSE, 0);

/// RFC 7143 11.11, Text Response.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct TextResponse {
    /// Opcode and I bit.
    pub operation: Operation,
    /// The flags of byte 1.
    pub flags: u8,
    /// Reserved: zero when sent, not looked at when received.
    pub reserved_2: [u8; 2],
    /// Filled in by [`Pdu::new`](super::Pdu::new).
    pub lengths: SegmentLengths,
    /// Together with the tag, what the next request hands back.
    pub lun: LunAddress,
    /// The exchange.
    pub itt: Tag,
    /// Reserved in the last response; otherwise what the next request hands back.
    pub ttt: Tag,
    /// StatSN.
    pub stat_sn: U32,
    /// ExpCmdSN: the next command number that the target expects.
    pub exp_cmd_sn: U32,
    /// MaxCmdSN: the last command number that the target takes.
    pub max_cmd_sn: U32,
    /// Reserved: zero when sent, not looked at when received.
    pub reserved_36: [u8; 12],
}

header!(TextResponse, Opcode::TEXT_RESPONSE, 0);

/// RFC 7143 11.7, SCSI Data-In.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct DataIn {
    /// Opcode and I bit.
    pub operation: Operation,
    /// The flags of byte 1.
    pub flags: u8,
    /// Reserved: zero when sent, not looked at when received.
    pub reserved_2: u8,
    /// The SCSI status, when the S bit is set.
    pub status: u8,
    /// Filled in by [`Pdu::new`](super::Pdu::new).
    pub lengths: SegmentLengths,
    /// Only with the A bit; otherwise zero.
    pub lun: LunAddress,
    /// The task.
    pub itt: Tag,
    /// Only with the A bit; otherwise reserved.
    pub ttt: Tag,
    /// StatSN, when the S bit is set.
    pub stat_sn: U32,
    /// ExpCmdSN: the next command number that the target expects.
    pub exp_cmd_sn: U32,
    /// MaxCmdSN: the last command number that the target takes.
    pub max_cmd_sn: U32,
    /// DataSN: counts from 0 over all Data-In PDUs of the task.
    pub data_sn: U32,
    /// Where in the task's data this segment begins, in bytes.
    pub buffer_offset: U32,
    /// As in the SCSI Response, when the S bit is set.
    pub residual_count: U32,
}

header!(DataIn, Opcode::DATA_IN, 0);

/// RFC 7143 11.15, Logout Response.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct LogoutResponse {
    /// Opcode and I bit.
    pub operation: Operation,
    /// The flags of byte 1.
    pub flags: u8,
    /// What became of the request.
    pub response: LogoutResponseCode,
    /// Reserved: zero when sent, not looked at when received.
    pub reserved_3: u8,
    /// Filled in by [`Pdu::new`](super::Pdu::new).
    pub lengths: SegmentLengths,
    /// Reserved: zero when sent, not looked at when received.
    pub reserved_8: [u8; 8],
    /// The request.
    pub itt: Tag,
    /// Reserved: zero when sent, not looked at when received.
    pub reserved_20: [u8; 4],
    /// StatSN.
    pub stat_sn: U32,
    /// ExpCmdSN: the next command number that the target expects.
    pub exp_cmd_sn: U32,
    /// MaxCmdSN: the last command number that the target takes.
    pub max_cmd_sn: U32,
    /// Reserved: zero when sent, not looked at when received.
    pub reserved_36: [u8; 4],
    /// Seconds to wait before the session may be resumed.
    pub time2wait: U16,
    /// Seconds after that during which it may be.
    pub time2retain: U16,
    /// Reserved: zero when sent, not looked at when received.
    pub reserved_44: [u8; 4],
}

header!(LogoutResponse, Opcode::LOGOUT_RESPONSE, FINAL);

/// RFC 7143 11.8, Ready To Transfer (R2T): asks for a part of a write's data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct ReadyToTransfer {
    /// Opcode and I bit.
    pub operation: Operation,
    /// The flags of byte 1.
    pub flags: u8,
    /// Reserved: zero when sent, not looked at when received.
    pub reserved_2: [u8; 2],
    /// Filled in by [`Pdu::new`](super::Pdu::new).
    pub lengths: SegmentLengths,
    /// The logical unit.
    pub lun: LunAddress,
    /// The task.
    pub itt: Tag,
    /// Names this R2T; the Data-Outs that answer it carry it.
    pub ttt: Tag,
    /// The next StatSN; an R2T does not take it.
    pub stat_sn: U32,
    /// ExpCmdSN: the next command number that the target expects.
    pub exp_cmd_sn: U32,
    /// MaxCmdSN: the last command number that the target takes.
    pub max_cmd_sn: U32,
    /// R2TSN: counts from 0 over the R2Ts of the task.
    pub r2t_sn: U32,
    /// Where in the task's data the part begins, in bytes.
    pub buffer_offset: U32,
    /// Length of the part in bytes, never 0.
    pub desired_data_transfer_length: U32,
}

header!(ReadyToTransfer, Opcode::READY_TO_TRANSFER, FINAL);

/// RFC 7143 11.9, Asynchronous Message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct AsyncMessage {
    /// Opcode and I bit.
    pub operation: Operation,
    /// The flags of byte 1.
    pub flags: u8,
    /// Reserved: zero when sent, not looked at when received.
    pub reserved_2: [u8; 2],
    /// Filled in by [`Pdu::new`](super::Pdu::new).
    pub lengths: SegmentLengths,
    /// The logical unit of a SCSI event.
    pub lun: LunAddress,
    /// Reserved.
    pub itt: Tag,
    /// Reserved: zero when sent, not looked at when received.
    pub reserved_20: [u8; 4],
    /// StatSN.
    pub stat_sn: U32,
    /// ExpCmdSN: the next command number that the target expects.
    pub exp_cmd_sn: U32,
    /// MaxCmdSN: the last command number that the target takes.
    pub max_cmd_sn: U32,
    /// What happened.
    pub event: AsyncEvent,
    /// AsyncVCode, with a vendor-specific event.
    pub vendor_code: u8,
    /// Depends on the event.
    pub parameter1: U16,
    /// Depends on the event; Time2Wait in seconds.
    pub parameter2: U16,
    /// Depends on the event; Time2Retain, or the time to log out, in seconds.
    pub parameter3: U16,
    /// Reserved: zero when sent, not looked at when received.
    pub reserved_44: [u8; 4],
}

header!(AsyncMessage, Opcode::ASYNC_MESSAGE, FINAL);

/// RFC 7143 11.17, Reject. Its data segment is the header of the PDU that was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Reject {
    /// Opcode and I bit.
    pub operation: Operation,
    /// The flags of byte 1.
    pub flags: u8,
    /// Why.
    pub reason: RejectReason,
    /// Reserved: zero when sent, not looked at when received.
    pub reserved_3: u8,
    /// Filled in by [`Pdu::new`](super::Pdu::new).
    pub lengths: SegmentLengths,
    /// Reserved: zero when sent, not looked at when received.
    pub reserved_8: [u8; 8],
    /// Reserved.
    pub itt: Tag,
    /// Reserved: zero when sent, not looked at when received.
    pub reserved_20: [u8; 4],
    /// StatSN.
    pub stat_sn: U32,
    /// ExpCmdSN: the next command number that the target expects.
    pub exp_cmd_sn: U32,
    /// MaxCmdSN: the last command number that the target takes.
    pub max_cmd_sn: U32,
    /// DataSN or R2TSN, for a refused SNACK.
    pub data_sn: U32,
    /// Reserved: zero when sent, not looked at when received.
    pub reserved_40: [u8; 8],
}

header!(Reject, Opcode::REJECT, FINAL);
impl ScsiResponse {
    /// O bit: the command would have moved `residual_count` bytes more than the initiator expected.
    pub const OVERFLOW: u8 = 0x04;
    /// U bit: the command moved `residual_count` bytes fewer than the initiator expected.
    pub const UNDERFLOW: u8 = 0x02;
}

impl DataIn {
    /// A bit: the initiator is to acknowledge the data; only with an ErrorRecoveryLevel above 0.
    pub const ACKNOWLEDGE: u8 = 0x40;
    /// O bit, as in the SCSI Response; only with the S bit.
    pub const OVERFLOW: u8 = ScsiResponse::OVERFLOW;
    /// U bit, as in the SCSI Response; only with the S bit.
    pub const UNDERFLOW: u8 = ScsiResponse::UNDERFLOW;
    /// S bit: this PDU ends the task with a status (only GOOD and the like: there is no room for sense data).
    pub const STATUS: u8 = 0x01;

    /// Whether the S bit is set.
    #[must_use]
    pub const fn has_status(&self) -> bool {
        self.flags & Self::STATUS != 0
    }

    /// Whether the F bit is set: the last PDU of its sequence.
    #[must_use]
    pub const fn is_final(&self) -> bool {
        self.flags & FINAL != 0
    }
}

impl TextResponse {
    /// Whether the F bit is set: the exchange ends here.
    #[must_use]
    pub const fn is_final(&self) -> bool {
        self.flags & FINAL != 0
    }

    /// Whether the C bit is set: the text goes on in the next response.
    #[must_use]
    pub const fn is_continued(&self) -> bool {
        self.flags & CONTINUE != 0
    }
}
