//! The additional sense codes that are used here (SPC-4 annex E.2).

use std::fmt;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// ADDITIONAL SENSE CODE and ADDITIONAL SENSE CODE QUALIFIER. Codes that are not named here are kept as they came.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct AdditionalSense {
    /// ADDITIONAL SENSE CODE.
    pub asc: u8,
    /// ADDITIONAL SENSE CODE QUALIFIER.
    pub ascq: u8,
}
const _: () = assert!(size_of::<AdditionalSense>() == 2);

/// Declares the constants and their names together, so that the two cannot drift.
macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $asc:literal, $ascq:literal, $text:literal;)*) => {
        impl AdditionalSense {
            $($(#[$doc])* pub const $name: Self = Self { asc: $asc, ascq: $ascq };)*

            /// All codes that have a name here.
            pub const NAMED: &[(Self, &str)] = &[$((Self::$name, $text)),*];
        }
    };
}

codes! {
    /// There is nothing to say.
    NONE = 0x00, 0x00, "NO ADDITIONAL SENSE INFORMATION";
    /// The logical unit is not ready; nothing is known about when it will be.
    NOT_READY = 0x04, 0x00, "LOGICAL UNIT NOT READY, CAUSE NOT REPORTABLE";
    /// The port that the command came through is not to be used as long as there are others.
    TARGET_PORT_IN_STANDBY = 0x04, 0x0b, "LOGICAL UNIT NOT ACCESSIBLE, TARGET PORT IN STANDBY STATE";
    /// The port that the command came through leads nowhere.
    TARGET_PORT_UNAVAILABLE = 0x04, 0x0c, "LOGICAL UNIT NOT ACCESSIBLE, TARGET PORT IN UNAVAILABLE STATE";
    /// The pool is out of space for a while.
    SPACE_ALLOCATION_IN_PROGRESS = 0x04, 0x14, "LOGICAL UNIT NOT READY, SPACE ALLOCATION IN PROGRESS";
    /// A sanitize operation is under way.
    SANITIZE_IN_PROGRESS = 0x04, 0x1b, "LOGICAL UNIT NOT READY, SANITIZE IN PROGRESS";
    /// The list identifier is that of a copy that is not done.
    OPERATION_IN_PROGRESS = 0x00, 0x16, "OPERATION IN PROGRESS";
    /// A logical unit of an EXTENDED COPY cannot be reached.
    COPY_TARGET_DEVICE_NOT_REACHABLE = 0x0d, 0x02, "COPY TARGET DEVICE NOT REACHABLE";
    /// A logical unit of an EXTENDED COPY failed.
    THIRD_PARTY_DEVICE_FAILURE = 0x0d, 0x01, "THIRD PARTY DEVICE FAILURE";
    /// Writing failed.
    WRITE_ERROR = 0x0c, 0x00, "WRITE ERROR";
    /// Write data came that nobody asked for.
    UNEXPECTED_UNSOLICITED_DATA = 0x0c, 0x0c, "WRITE ERROR - UNEXPECTED UNSOLICITED DATA";
    /// Write data did not come as it was announced.
    NOT_ENOUGH_UNSOLICITED_DATA = 0x0c, 0x0d, "WRITE ERROR - NOT ENOUGH UNSOLICITED DATA";
    /// The blocks cannot be read.
    UNRECOVERED_READ_ERROR = 0x11, 0x00, "UNRECOVERED READ ERROR";
    /// The parameter list ends before its fields do.
    PARAMETER_LIST_LENGTH_ERROR = 0x1a, 0x00, "PARAMETER LIST LENGTH ERROR";
    /// What is on the medium differs from the data of the command.
    MISCOMPARE_DURING_VERIFY = 0x1d, 0x00, "MISCOMPARE DURING VERIFY OPERATION";
    /// No such command.
    INVALID_COMMAND_OPERATION_CODE = 0x20, 0x00, "INVALID COMMAND OPERATION CODE";
    /// Blocks beyond the end.
    LBA_OUT_OF_RANGE = 0x21, 0x00, "LOGICAL BLOCK ADDRESS OUT OF RANGE";
    /// The token is of a kind that is not supported.
    UNSUPPORTED_TOKEN_TYPE = 0x23, 0x01, "INVALID TOKEN OPERATION, UNSUPPORTED TOKEN TYPE";
    /// There is no such token, or not any more.
    TOKEN_UNKNOWN = 0x23, 0x04, "INVALID TOKEN OPERATION, TOKEN UNKNOWN";
    /// The token is not as it was made.
    TOKEN_CORRUPT = 0x23, 0x05, "INVALID TOKEN OPERATION, TOKEN CORRUPT";
    /// The token has another length than tokens have.
    INVALID_TOKEN_LENGTH = 0x23, 0x0a, "INVALID TOKEN OPERATION, INVALID TOKEN LENGTH";
    /// A field of the CDB has a value that is not supported.
    INVALID_FIELD_IN_CDB = 0x24, 0x00, "INVALID FIELD IN CDB";
    /// There is nothing at this LUN.
    LOGICAL_UNIT_NOT_SUPPORTED = 0x25, 0x00, "LOGICAL UNIT NOT SUPPORTED";
    /// A field of the parameter list has a value that is not supported.
    INVALID_FIELD_IN_PARAMETER_LIST = 0x26, 0x00, "INVALID FIELD IN PARAMETER LIST";
    /// The reservation is there, and is another one than was to be released.
    INVALID_RELEASE_OF_PERSISTENT_RESERVATION = 0x26, 0x04, "INVALID RELEASE OF PERSISTENT RESERVATION";
    /// There are more CSCD descriptors than the copy manager takes.
    TOO_MANY_TARGET_DESCRIPTORS = 0x26, 0x06, "TOO MANY TARGET DESCRIPTORS";
    /// A CSCD descriptor is of a kind that the copy manager does not know.
    UNSUPPORTED_TARGET_DESCRIPTOR = 0x26, 0x07, "UNSUPPORTED TARGET DESCRIPTOR TYPE CODE";
    /// There are more segments or ranges than the copy manager takes.
    TOO_MANY_SEGMENT_DESCRIPTORS = 0x26, 0x08, "TOO MANY SEGMENT DESCRIPTORS";
    /// A segment descriptor is of a kind that the copy manager does not know.
    UNSUPPORTED_SEGMENT_DESCRIPTOR = 0x26, 0x09, "UNSUPPORTED SEGMENT DESCRIPTOR TYPE CODE";
    /// There is more inline data than the copy manager takes.
    INLINE_DATA_LENGTH_EXCEEDED = 0x26, 0x0b, "INLINE DATA LENGTH EXCEEDED";
    /// The logical unit does not take writes.
    WRITE_PROTECTED = 0x27, 0x00, "WRITE PROTECTED";
    /// The logical unit's own software does not take writes.
    LOGICAL_UNIT_WRITE_PROTECTED = 0x27, 0x02, "LOGICAL UNIT SOFTWARE WRITE PROTECTED";
    /// The pool is full.
    SPACE_ALLOCATION_FAILED = 0x27, 0x07, "SPACE ALLOCATION FAILED WRITE PROTECT";
    /// There are as many copies as the copy manager takes.
    INSUFFICIENT_RESOURCES = 0x55, 0x03, "INSUFFICIENT RESOURCES";
    /// There is no room for what a token would stand for.
    INSUFFICIENT_RESOURCES_FOR_TOKEN = 0x55, 0x0d, "INSUFFICIENT RESOURCES TO CREATE ROD TOKEN";
    /// There are as many registrations as the target takes.
    INSUFFICIENT_REGISTRATION_RESOURCES = 0x55, 0x04, "INSUFFICIENT REGISTRATION RESOURCES";
    /// The last sanitize operation failed.
    SANITIZE_COMMAND_FAILED = 0x31, 0x03, "SANITIZE COMMAND FAILED";
    /// The pool has less room than the administrator wants to be told of.
    THIN_PROVISIONING_SOFT_THRESHOLD_REACHED = 0x38, 0x07, "THIN PROVISIONING SOFT THRESHOLD REACHED";
    /// Saved values of mode pages were asked for, and there are none.
    SAVING_PARAMETERS_NOT_SUPPORTED = 0x39, 0x00, "SAVING PARAMETERS NOT SUPPORTED";
    /// A medium was put in.
    MEDIUM_MAY_HAVE_CHANGED = 0x28, 0x00, "NOT READY TO READY CHANGE, MEDIUM MAY HAVE CHANGED";
    /// The first command after the nexus came into being.
    POWER_ON_OR_RESET = 0x29, 0x00, "POWER ON, RESET, OR BUS DEVICE RESET OCCURRED";
    /// The logical unit, or the target, was reset by task management.
    BUS_DEVICE_RESET = 0x29, 0x03, "BUS DEVICE RESET FUNCTION OCCURRED";
    /// The session is a new one in the place of an old one.
    NEXUS_LOSS = 0x29, 0x07, "I_T NEXUS LOSS OCCURRED";
    /// Another nexus changed mode parameters.
    MODE_PARAMETERS_CHANGED = 0x2a, 0x01, "MODE PARAMETERS CHANGED";
    /// Another nexus took or cleared the reservation.
    RESERVATIONS_PREEMPTED = 0x2a, 0x03, "RESERVATIONS PREEMPTED";
    /// Another nexus released the reservation.
    RESERVATIONS_RELEASED = 0x2a, 0x04, "RESERVATIONS RELEASED";
    /// Another nexus removed the registration.
    REGISTRATIONS_PREEMPTED = 0x2a, 0x05, "REGISTRATIONS PREEMPTED";
    /// Another nexus has set the states of target port groups.
    ASYMMETRIC_ACCESS_STATE_CHANGED = 0x2a, 0x06, "ASYMMETRIC ACCESS STATE CHANGED";
    /// The length of the logical unit changed.
    CAPACITY_DATA_CHANGED = 0x2a, 0x09, "CAPACITY DATA HAS CHANGED";
    /// Another nexus aborted commands of this one.
    COMMANDS_CLEARED_BY_ANOTHER = 0x2f, 0x00, "COMMANDS CLEARED BY ANOTHER INITIATOR";
    /// There is no medium in the unit.
    MEDIUM_NOT_PRESENT = 0x3a, 0x00, "MEDIUM NOT PRESENT";
    /// INQUIRY would answer something else than before.
    INQUIRY_DATA_CHANGED = 0x3f, 0x03, "INQUIRY DATA HAS CHANGED";
    /// The list of LUNs is not what REPORT LUNS answered last.
    REPORTED_LUNS_DATA_CHANGED = 0x3f, 0x0e, "REPORTED LUNS DATA HAS CHANGED";
    /// The target failed in itself.
    INTERNAL_TARGET_FAILURE = 0x44, 0x00, "INTERNAL TARGET FAILURE";
    /// Somebody keeps the medium in the unit.
    MEDIUM_REMOVAL_PREVENTED = 0x53, 0x02, "MEDIUM REMOVAL PREVENTED";
    /// The transport lost or damaged data.
    PROTOCOL_SERVICE_CRC_ERROR = 0x47, 0x05, "PROTOCOL SERVICE CRC ERROR";
    /// Data came out of sequence.
    DATA_PHASE_ERROR = 0x4b, 0x00, "DATA PHASE ERROR";
    /// Data came for a transfer that is not open.
    INVALID_TRANSFER_TAG = 0x4b, 0x01, "INVALID TARGET PORT TRANSFER TAG RECEIVED";
    /// The states of target port groups could not be set.
    SET_TARGET_PORT_GROUPS_FAILED = 0x67, 0x0a, "SET TARGET PORT GROUPS COMMAND FAILED";
    /// Data came at the wrong place.
    DATA_OFFSET_ERROR = 0x4b, 0x05, "DATA OFFSET ERROR";
}

impl fmt::Display for AdditionalSense {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Self::NAMED.iter().find(|(code, _)| code == self) {
            Some((_, text)) => f.write_str(text),
            None => write!(f, "additional sense {:02X}h/{:02X}h", self.asc, self.ascq),
        }
    }
}
