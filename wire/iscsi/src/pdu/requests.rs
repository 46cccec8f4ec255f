//! The headers that initiators send: one 48-byte structure for each PDU type.

use lunshadow_scsi::LunAddress;
use zerocopy::byteorder::big_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::bhs::header;
use super::codes::{LogoutReason, Opcode, TaskAttribute, TaskFunction};
use super::fields::{CONTINUE, FINAL, Isid, Operation, SegmentLengths, Tag};

/// RFC 7143 11.18, NOP-Out: asks whether the target is there, or answers its NOP-In. Data is echoed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct NopOut {
    /// Opcode and I bit.
    pub operation: Operation,
    /// The flags of byte 1.
    pub flags: u8,
    /// Reserved: zero when sent, not looked at when received.
    pub reserved_2: [u8; 2],
    /// Filled in by [`Pdu::new`](super::Pdu::new).
    pub lengths: SegmentLengths,
    /// The NOP-In's LUN field when this answers one; otherwise zero.
    pub lun: LunAddress,
    /// Names this ping; [`RESERVED_TAG`](super::RESERVED_TAG) when no answer is wanted.
    pub itt: Tag,
    /// The NOP-In's tag when this answers one; otherwise reserved.
    pub ttt: Tag,
    /// CmdSN.
    pub cmd_sn: U32,
    /// ExpStatSN.
    pub exp_stat_sn: U32,
    /// Reserved: zero when sent, not looked at when received.
    pub reserved_32: [u8; 16],
}

header!(NopOut, Opcode::NOP_OUT, FINAL);

/// RFC 7143 11.3, SCSI Command. Its data segment is the immediate data of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct ScsiCommand {
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
    /// Names the task.
    pub itt: Tag,
    /// Bytes that the initiator expects to travel, in either direction.
    pub expected_data_transfer_length: U32,
    /// CmdSN.
    pub cmd_sn: U32,
    /// ExpStatSN.
    pub exp_stat_sn: U32,
    /// The command descriptor block, padded with zeros; longer ones go on in an extended CDB AHS.
    pub cdb: [u8; 16],
}

header!(ScsiCommand, Opcode::SCSI_COMMAND, 0);

/// RFC 7143 11.5, Task Management Function Request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct TaskManagementRequest {
    /// Opcode and I bit.
    pub operation: Operation,
    /// The flags of byte 1.
    pub flags: u8,
    /// Reserved: zero when sent, not looked at when received.
    pub reserved_2: [u8; 2],
    /// Filled in by [`Pdu::new`](super::Pdu::new).
    pub lengths: SegmentLengths,
    /// The logical unit, for the functions that name one.
    pub lun: LunAddress,
    /// Names this request.
    pub itt: Tag,
    /// The task that ABORT TASK names; otherwise reserved.
    pub referenced_task: Tag,
    /// CmdSN.
    pub cmd_sn: U32,
    /// ExpStatSN.
    pub exp_stat_sn: U32,
    /// RefCmdSN: the CmdSN of the task that ABORT TASK names.
    pub ref_cmd_sn: U32,
    /// ExpDataSN, for task reassignment.
    pub exp_data_sn: U32,
    /// Reserved: zero when sent, not looked at when received.
    pub reserved_40: [u8; 8],
}

header!(TaskManagementRequest, Opcode::TASK_MANAGEMENT_REQUEST, FINAL);

/// RFC 7143 11.12, Login Request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct LoginRequest {
    /// Opcode and I bit.
    pub operation: Operation,
    /// The flags of byte 1.
    pub flags: u8,
    /// The highest protocol version that the initiator speaks; 0.
    pub version_max: u8,
    /// The lowest one; 0.
    pub version_min: u8,
    /// Filled in by [`Pdu::new`](super::Pdu::new).
    pub lengths: SegmentLengths,
    /// The initiator's part of the session's identity.
    pub isid: Isid,
    /// The target's part: 0 for a new session.
    pub tsih: U16,
    /// The same in all requests of one login.
    pub itt: Tag,
    /// Names the connection within the session.
    pub cid: U16,
    /// Reserved: zero when sent, not looked at when received.
    pub reserved_22: [u8; 2],
    /// CmdSN: where the session's command numbers begin.
    pub cmd_sn: U32,
    /// ExpStatSN.
    pub exp_stat_sn: U32,
    /// Reserved: zero when sent, not looked at when received.
    pub reserved_32: [u8; 16],
}

header!(LoginRequest, Opcode::LOGIN_REQUEST, 0);

/// RFC 7143 11.10, Text Request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct TextRequest {
    /// Opcode and I bit.
    pub operation: Operation,
    /// The flags of byte 1.
    pub flags: u8,
    /// Reserved: zero when sent, not looked at when received.
    pub reserved_2: [u8; 2],
    /// Filled in by [`Pdu::new`](super::Pdu::new).
    pub lengths: SegmentLengths,
    /// The LUN field of the Text Response that this goes on from; otherwise zero.
    pub lun: LunAddress,
    /// Names the exchange.
    pub itt: Tag,
    /// The tag of the Text Response that this goes on from; reserved in a new exchange.
    pub ttt: Tag,
    /// CmdSN.
    pub cmd_sn: U32,
    /// ExpStatSN.
    pub exp_stat_sn: U32,
    /// Reserved: zero when sent, not looked at when received.
    pub reserved_32: [u8; 16],
}

header!(TextRequest, Opcode::TEXT_REQUEST, 0);

/// RFC 7143 11.7, SCSI Data-Out. It has no CmdSN.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct DataOut {
    /// Opcode and I bit.
    pub operation: Operation,
    /// The flags of byte 1.
    pub flags: u8,
    /// Reserved: zero when sent, not looked at when received.
    pub reserved_2: [u8; 2],
    /// Filled in by [`Pdu::new`](super::Pdu::new).
    pub lengths: SegmentLengths,
    /// The R2T's LUN field when this answers one; otherwise zero.
    pub lun: LunAddress,
    /// The task.
    pub itt: Tag,
    /// The R2T's tag; [`RESERVED_TAG`](super::RESERVED_TAG) in unsolicited data.
    pub ttt: Tag,
    /// Reserved: zero when sent, not looked at when received.
    pub reserved_24: [u8; 4],
    /// ExpStatSN.
    pub exp_stat_sn: U32,
    /// Reserved: zero when sent, not looked at when received.
    pub reserved_32: [u8; 4],
    /// DataSN: counts from 0 in each sequence.
    pub data_sn: U32,
    /// Where in the task's data this segment begins, in bytes.
    pub buffer_offset: U32,
    /// Reserved: zero when sent, not looked at when received.
    pub reserved_44: [u8; 4],
}

header!(DataOut, Opcode::DATA_OUT, 0);

/// RFC 7143 11.14, Logout Request. The reason sits in the low seven bits of `flags`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct LogoutRequest {
    /// Opcode and I bit.
    pub operation: Operation,
    /// The flags of byte 1.
    pub flags: u8,
    /// Reserved: zero when sent, not looked at when received.
    pub reserved_2: [u8; 2],
    /// Filled in by [`Pdu::new`](super::Pdu::new).
    pub lengths: SegmentLengths,
    /// Reserved: zero when sent, not looked at when received.
    pub reserved_8: [u8; 8],
    /// Names this request.
    pub itt: Tag,
    /// The connection, unless the whole session is closed.
    pub cid: U16,
    /// Reserved: zero when sent, not looked at when received.
    pub reserved_22: [u8; 2],
    /// CmdSN.
    pub cmd_sn: U32,
    /// ExpStatSN.
    pub exp_stat_sn: U32,
    /// Reserved: zero when sent, not looked at when received.
    pub reserved_32: [u8; 16],
}

header!(LogoutRequest, Opcode::LOGOUT_REQUEST, FINAL);
impl ScsiCommand {
    /// R bit: the initiator expects data from the target.
    pub const READ: u8 = 0x40;
    /// W bit: the initiator has data for the target.
    pub const WRITE: u8 = 0x20;

    /// The task's queueing attribute.
    #[must_use]
    pub const fn attribute(&self) -> TaskAttribute {
        TaskAttribute(self.flags & 0x07)
    }

    /// Whether the R bit is set.
    #[must_use]
    pub const fn is_read(&self) -> bool {
        self.flags & Self::READ != 0
    }

    /// Whether the W bit is set.
    #[must_use]
    pub const fn is_write(&self) -> bool {
        self.flags & Self::WRITE != 0
    }

    /// Whether the F bit is set: no unsolicited Data-Out follows.
    #[must_use]
    pub const fn is_final(&self) -> bool {
        self.flags & FINAL != 0
    }
}

impl TaskManagementRequest {
    /// The function asked for.
    #[must_use]
    pub const fn function(&self) -> TaskFunction {
        TaskFunction(self.flags & 0x7f)
    }

    /// Sets the function.
    #[must_use]
    pub const fn with_function(mut self, function: TaskFunction) -> Self {
        self.flags = FINAL | function.0 & 0x7f;
        self
    }
}

impl TextRequest {
    /// Whether the F bit is set: the initiator has no more to say after this.
    #[must_use]
    pub const fn is_final(&self) -> bool {
        self.flags & FINAL != 0
    }

    /// Whether the C bit is set: the text goes on in the next request.
    #[must_use]
    pub const fn is_continued(&self) -> bool {
        self.flags & CONTINUE != 0
    }
}

impl DataOut {
    /// Whether the F bit is set: the last PDU of its sequence.
    #[must_use]
    pub const fn is_final(&self) -> bool {
        self.flags & FINAL != 0
    }
}

impl LogoutRequest {
    /// Why the initiator logs out.
    #[must_use]
    pub const fn reason(&self) -> LogoutReason {
        LogoutReason(self.flags & 0x7f)
    }

    /// Sets the reason.
    #[must_use]
    pub const fn with_reason(mut self, reason: LogoutReason) -> Self {
        self.flags = FINAL | reason.0 & 0x7f;
        self
    }
}
