//! The codes that PDU headers carry. They are open: a value that this file does not name is kept and can be answered.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

macro_rules! open_codes {
    ($(#[$doc:meta])* $name:ident { $($(#[$value_doc:meta])* $value:ident = $number:expr,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
        #[repr(transparent)]
        pub struct $name(pub u8);

        impl $name {
            $($(#[$value_doc])* pub const $value: Self = Self($number);)*
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                match *self {
                    $(Self::$value => f.write_str(stringify!($value)),)*
                    Self(other) => write!(f, concat!(stringify!($name), "({:#04x})"), other),
                }
            }
        }
    };
}

open_codes! {
    /// The low six bits of a header's first byte (RFC 7143 11.2.1.2). Initiators send 0x00 to 0x1f, targets 0x20 to 0x3f.
    Opcode {
        /// NOP-Out (11.18).
        NOP_OUT = 0x00,
        /// SCSI Command (11.3).
        SCSI_COMMAND = 0x01,
        /// Task Management Function Request (11.5).
        TASK_MANAGEMENT_REQUEST = 0x02,
        /// Login Request (11.12).
        LOGIN_REQUEST = 0x03,
        /// Text Request (11.10).
        TEXT_REQUEST = 0x04,
        /// SCSI Data-Out (11.7).
        DATA_OUT = 0x05,
        /// Logout Request (11.14).
        LOGOUT_REQUEST = 0x06,
        /// SNACK Request (11.16); only with an ErrorRecoveryLevel above 0.
        SNACK_REQUEST = 0x10,
        /// NOP-In (11.19).
        NOP_IN = 0x20,
        /// SCSI Response (11.4).
        SCSI_RESPONSE = 0x21,
        /// Task Management Function Response (11.6).
        TASK_MANAGEMENT_RESPONSE = 0x22,
        /// Login Response (11.13).
        LOGIN_RESPONSE = 0x23,
        /// Text Response (11.11).
        TEXT_RESPONSE = 0x24,
        /// SCSI Data-In (11.7).
        DATA_IN = 0x25,
        /// Logout Response (11.15).
        LOGOUT_RESPONSE = 0x26,
        /// Ready To Transfer (11.8).
        READY_TO_TRANSFER = 0x31,
        /// Asynchronous Message (11.9).
        ASYNC_MESSAGE = 0x32,
        /// Reject (11.17).
        REJECT = 0x3f,
    }
}

open_codes! {
    /// How a task is queued: the ATTR field of a SCSI Command (RFC 7143 11.3.1).
    TaskAttribute {
        /// No attribute given.
        UNTAGGED = 0,
        /// May run in any order with other simple tasks.
        SIMPLE = 1,
        /// Runs after all older tasks and before all newer ones.
        ORDERED = 2,
        /// Runs before all tasks that have not begun.
        HEAD_OF_QUEUE = 3,
        /// Runs during an auto contingent allegiance.
        ACA = 4,
    }
}

open_codes! {
    /// What became of the command at iSCSI's level (RFC 7143 11.4.3).
    ServiceResponse {
        /// The command completed at the target; its SCSI status counts.
        COMMAND_COMPLETED = 0x00,
        /// The target failed; there is no SCSI status.
        TARGET_FAILURE = 0x01,
    }
}

open_codes! {
    /// A task management function (RFC 7143 11.5.1).
    TaskFunction {
        /// Aborts the task that the Referenced Task Tag names.
        ABORT_TASK = 1,
        /// Aborts all tasks of this session on the logical unit.
        ABORT_TASK_SET = 2,
        /// Clears the auto contingent allegiance condition.
        CLEAR_ACA = 3,
        /// Aborts all tasks of all sessions on the logical unit.
        CLEAR_TASK_SET = 4,
        /// Resets one logical unit.
        LOGICAL_UNIT_RESET = 5,
        /// Resets all logical units of the target.
        TARGET_WARM_RESET = 6,
        /// Resets the target and ends all its sessions.
        TARGET_COLD_RESET = 7,
        /// Moves a task to this connection; only with ErrorRecoveryLevel 2.
        TASK_REASSIGN = 8,
    }
}

open_codes! {
    /// The answer to a task management function (RFC 7143 11.6.1).
    TaskResponse {
        /// Done.
        FUNCTION_COMPLETE = 0,
        /// There is no such task.
        TASK_DOES_NOT_EXIST = 1,
        /// There is no such logical unit.
        LUN_DOES_NOT_EXIST = 2,
        /// The task still belongs to another connection.
        TASK_STILL_ALLEGIANT = 3,
        /// Tasks cannot be moved between connections.
        REASSIGNMENT_NOT_SUPPORTED = 4,
        /// The function is not supported.
        FUNCTION_NOT_SUPPORTED = 5,
        /// The initiator may not ask for this.
        AUTHORIZATION_FAILED = 6,
        /// The function was refused.
        FUNCTION_REJECTED = 255,
    }
}

open_codes! {
    /// Why the initiator logs out (RFC 7143 11.14.1).
    LogoutReason {
        /// Ends the session with all its connections.
        CLOSE_SESSION = 0,
        /// Ends one connection.
        CLOSE_CONNECTION = 1,
        /// Takes a connection out to recover its tasks.
        REMOVE_FOR_RECOVERY = 2,
    }
}

open_codes! {
    /// The answer to a logout (RFC 7143 11.15.1).
    LogoutResponseCode {
        /// Closed.
        CLOSED = 0,
        /// There is no such connection.
        CID_NOT_FOUND = 1,
        /// Connections cannot be recovered.
        RECOVERY_NOT_SUPPORTED = 2,
        /// The clean-up failed.
        CLEANUP_FAILED = 3,
    }
}

open_codes! {
    /// What happened at the target (RFC 7143 11.9.1).
    AsyncEvent {
        /// A SCSI asynchronous event; the data segment has sense data.
        SCSI_EVENT = 0,
        /// The target asks for a logout within Parameter3 seconds.
        LOGOUT_REQUESTED = 1,
        /// The target will drop, or dropped, connection Parameter1.
        CONNECTION_DROPPED = 2,
        /// The target will drop all connections of the session.
        SESSION_DROPPED = 3,
        /// The target asks for a text negotiation.
        NEGOTIATION_REQUESTED = 4,
        /// All tasks of this session on the logical unit were terminated.
        TASKS_TERMINATED = 5,
        /// Defined by the vendor.
        VENDOR_SPECIFIC = 255,
    }
}

open_codes! {
    /// Why a PDU was refused (RFC 7143 11.17.1).
    RejectReason {
        /// The data digest did not match.
        DATA_DIGEST_ERROR = 0x02,
        /// The SNACK cannot be served.
        SNACK_REJECT = 0x03,
        /// The PDU breaks the protocol in this state.
        PROTOCOL_ERROR = 0x04,
        /// The PDU type is not supported.
        COMMAND_NOT_SUPPORTED = 0x05,
        /// Too many immediate commands.
        IMMEDIATE_COMMAND_REJECT = 0x06,
        /// The task tag is in use.
        TASK_IN_PROGRESS = 0x07,
        /// The data acknowledgement is not valid.
        INVALID_DATA_ACK = 0x08,
        /// A field of the PDU has a wrong value.
        INVALID_PDU_FIELD = 0x09,
        /// The target is too busy to work on this.
        LONG_OPERATION_REJECT = 0x0a,
        /// The target waits for a logout.
        WAITING_FOR_LOGOUT = 0x0c,
    }
}

open_codes! {
    /// A stage of the login phase (RFC 7143 6.3, 11.12.3).
    Stage {
        /// Who the two ends are.
        SECURITY = 0,
        /// How they will work together.
        OPERATIONAL = 1,
        /// The login is over.
        FULL_FEATURE = 3,
    }
}
