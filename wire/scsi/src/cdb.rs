//! The layouts of the CDBs (SPC-4 6, SBC-3 5), as they stand in memory.

use zerocopy::big_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Operation codes (SPC-4 annex E) of the commands that [`crate::Command`] has.
pub mod opcode {
    #![expect(missing_docs, reason = "each constant is the standard's name of the command")]
    pub const TEST_UNIT_READY: u8 = 0x00;
    pub const REQUEST_SENSE: u8 = 0x03;
    pub const READ_6: u8 = 0x08;
    pub const WRITE_6: u8 = 0x0a;
    pub const INQUIRY: u8 = 0x12;
    pub const MODE_SELECT_6: u8 = 0x15;
    pub const RESERVE_6: u8 = 0x16;
    pub const RELEASE_6: u8 = 0x17;
    pub const MODE_SENSE_6: u8 = 0x1a;
    pub const START_STOP_UNIT: u8 = 0x1b;
    pub const PREVENT_ALLOW_MEDIUM_REMOVAL: u8 = 0x1e;
    pub const READ_CAPACITY_10: u8 = 0x25;
    pub const READ_10: u8 = 0x28;
    pub const WRITE_10: u8 = 0x2a;
    pub const WRITE_AND_VERIFY_10: u8 = 0x2e;
    pub const VERIFY_10: u8 = 0x2f;
    pub const PRE_FETCH_10: u8 = 0x34;
    pub const SYNCHRONIZE_CACHE_10: u8 = 0x35;
    pub const READ_DEFECT_DATA_10: u8 = 0x37;
    pub const WRITE_SAME_10: u8 = 0x41;
    pub const UNMAP: u8 = 0x42;
    pub const SANITIZE: u8 = 0x48;
    pub const LOG_SENSE: u8 = 0x4d;
    pub const MODE_SELECT_10: u8 = 0x55;
    pub const RESERVE_10: u8 = 0x56;
    pub const RELEASE_10: u8 = 0x57;
    pub const MODE_SENSE_10: u8 = 0x5a;
    pub const PERSISTENT_RESERVE_IN: u8 = 0x5e;
    pub const PERSISTENT_RESERVE_OUT: u8 = 0x5f;
    pub const THIRD_PARTY_COPY_OUT: u8 = 0x83;
    pub const THIRD_PARTY_COPY_IN: u8 = 0x84;
    pub const READ_16: u8 = 0x88;
    pub const COMPARE_AND_WRITE: u8 = 0x89;
    pub const WRITE_16: u8 = 0x8a;
    pub const OR_WRITE_16: u8 = 0x8b;
    pub const WRITE_AND_VERIFY_16: u8 = 0x8e;
    pub const VERIFY_16: u8 = 0x8f;
    pub const PRE_FETCH_16: u8 = 0x90;
    pub const SYNCHRONIZE_CACHE_16: u8 = 0x91;
    pub const WRITE_SAME_16: u8 = 0x93;
    pub const WRITE_ATOMIC_16: u8 = 0x9c;
    pub const SERVICE_ACTION_IN_16: u8 = 0x9e;
    pub const REPORT_LUNS: u8 = 0xa0;
    pub const MAINTENANCE_IN: u8 = 0xa3;
    pub const MAINTENANCE_OUT: u8 = 0xa4;
    pub const READ_12: u8 = 0xa8;
    pub const WRITE_12: u8 = 0xaa;
    pub const WRITE_AND_VERIFY_12: u8 = 0xae;
    pub const VERIFY_12: u8 = 0xaf;
    pub const READ_DEFECT_DATA_12: u8 = 0xb7;
}

/// SERVICE ACTION of the commands whose operation code stands for several (SPC-4 annex E).
pub(crate) mod service_action {
    pub(crate) const SANITIZE_OVERWRITE: u8 = 0x01;
    pub(crate) const SANITIZE_BLOCK_ERASE: u8 = 0x02;
    pub(crate) const SANITIZE_EXIT_FAILURE_MODE: u8 = 0x1f;
    pub(crate) const EXTENDED_COPY_LID1: u8 = 0x00;
    pub(crate) const POPULATE_TOKEN: u8 = 0x10;
    pub(crate) const WRITE_USING_TOKEN: u8 = 0x11;
    pub(crate) const RECEIVE_COPY_STATUS_LID1: u8 = 0x00;
    pub(crate) const RECEIVE_COPY_OPERATING_PARAMETERS: u8 = 0x03;
    pub(crate) const RECEIVE_ROD_TOKEN_INFORMATION: u8 = 0x07;
    pub(crate) const READ_CAPACITY_16: u8 = 0x10;
    pub(crate) const GET_LBA_STATUS: u8 = 0x12;
    pub(crate) const REPORT_TARGET_PORT_GROUPS: u8 = 0x0a;
    pub(crate) const SET_TARGET_PORT_GROUPS: u8 = 0x0a;
    pub(crate) const REPORT_SUPPORTED_OPERATION_CODES: u8 = 0x0c;
    pub(crate) const REPORT_SUPPORTED_TASK_MANAGEMENT_FUNCTIONS: u8 = 0x0d;
}

/// A CDB of 6 to 16 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cdb {
    /// INVARIANT: zero from `len` on, as iSCSI wants its field filled (RFC 7143 11.3.5).
    bytes: [u8; 16],
    len: usize,
}

impl Cdb {
    /// Exactly the bytes of the CDB.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    /// The CDB filled up with zeros to 16 bytes, as transports carry it.
    #[must_use]
    pub fn padded(&self) -> [u8; 16] {
        self.bytes
    }

    pub(crate) fn of(layout: &(impl IntoBytes + Immutable)) -> Self {
        let source = layout.as_bytes();
        let mut bytes = [0; 16];
        bytes[..source.len()].copy_from_slice(source);
        Self { bytes, len: source.len() }
    }
}

/// Declares a layout with its size.
macro_rules! layout {
    ($(#[$doc:meta])* $name:ident, $len:literal { $($field:ident: $kind:ty),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, Default, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
        #[repr(C)]
        pub(crate) struct $name { $(pub(crate) $field: $kind),* }
        const _: () = assert!(size_of::<$name>() == $len);
    };
}

layout!(
    /// SPC-4 6.47, TEST UNIT READY, and every other CDB of six bytes without parameters.
    PlainCdb6, 6 { opcode: u8, reserved: [u8; 4], control: u8 }
);
layout!(
    /// SPC-4 6.39, REQUEST SENSE.
    RequestSenseCdb, 6 { opcode: u8, desc: u8, reserved: [u8; 2], allocation_len: u8, control: u8 }
);
layout!(
    /// SPC-4 6.6.1, INQUIRY.
    InquiryCdb, 6 { opcode: u8, evpd: u8, page: u8, allocation_len: U16, control: u8 }
);
layout!(
    /// SPC-4 6.33, REPORT LUNS.
    ReportLunsCdb, 12 {
        opcode: u8, reserved_1: u8, select: u8, reserved_3: [u8; 3], allocation_len: U32, reserved_10: u8, control: u8,
    }
);
layout!(
    /// SPC-4 6.11, MODE SENSE(6).
    ModeSenseCdb6, 6 { opcode: u8, flags: u8, page: u8, subpage: u8, allocation_len: u8, control: u8 }
);
layout!(
    /// SPC-4 6.12, MODE SENSE(10).
    ModeSenseCdb10, 10 {
        opcode: u8, flags: u8, page: u8, subpage: u8, reserved: [u8; 3], allocation_len: U16, control: u8,
    }
);
layout!(
    /// SBC-3 5.8 and 5.30, READ(6) and WRITE(6): 21 bits of address.
    BlockCdb6, 6 { opcode: u8, lba: [u8; 3], count: u8, control: u8 }
);
layout!(
    /// SBC-3 5.9, READ(10), and all commands of its shape: WRITE, VERIFY, SYNCHRONIZE CACHE, READ CAPACITY.
    BlockCdb10, 10 { opcode: u8, flags: u8, lba: U32, group: u8, count: U16, control: u8 }
);
layout!(
    /// SBC-3 5.10, READ(12), and all commands of its shape.
    BlockCdb12, 12 { opcode: u8, flags: u8, lba: U32, count: U32, group: u8, control: u8 }
);
layout!(
    /// SBC-3 5.11, READ(16), and all commands of its shape.
    BlockCdb16, 16 { opcode: u8, flags: u8, lba: U64, count: U32, group: u8, control: u8 }
);
layout!(
    /// SBC-3 5.16, READ CAPACITY(16), and 5.5, GET LBA STATUS, which has no PMI.
    ServiceActionInCdb16, 16 {
        opcode: u8, service_action: u8, lba: U64, allocation_len: U32, pmi: u8, control: u8,
    }
);
layout!(
    /// SBC-3 5.28, UNMAP.
    UnmapCdb, 10 { opcode: u8, anchor: u8, reserved: [u8; 4], group: u8, parameter_len: U16, control: u8 }
);
layout!(
    /// SBC-3 5.17, READ DEFECT DATA(10).
    ReadDefectDataCdb10, 10 { opcode: u8, reserved_1: u8, which: u8, reserved_3: [u8; 4], allocation_len: U16, control: u8 }
);
layout!(
    /// SBC-3 5.18, READ DEFECT DATA(12).
    ReadDefectDataCdb12, 12 {
        opcode: u8, which: u8, index: U32, allocation_len: U32, reserved_10: u8, control: u8,
    }
);
layout!(
    /// SBC-3 5.25, START STOP UNIT.
    StartStopCdb, 6 { opcode: u8, immed: u8, reserved: u8, modifier: u8, power: u8, control: u8 }
);
layout!(
    /// SBC-3 5, PREVENT ALLOW MEDIUM REMOVAL.
    PreventAllowCdb, 6 { opcode: u8, reserved: [u8; 3], prevent: u8, control: u8 }
);
layout!(
    /// SBC-3 5.24, SANITIZE.
    SanitizeCdb, 10 { opcode: u8, action: u8, reserved: [u8; 5], parameter_len: U16, control: u8 }
);
layout!(
    /// SPC-4 6.9, MODE SELECT(6).
    ModeSelectCdb6, 6 { opcode: u8, flags: u8, reserved: [u8; 2], parameter_len: u8, control: u8 }
);
layout!(
    /// SPC-4 6.10, MODE SELECT(10).
    ModeSelectCdb10, 10 { opcode: u8, flags: u8, reserved: [u8; 5], parameter_len: U16, control: u8 }
);
layout!(
    /// SPC-4 6.8, LOG SENSE.
    LogSenseCdb, 10 {
        opcode: u8, saving: u8, page: u8, subpage: u8, reserved: u8, parameter: U16, allocation_len: U16, control: u8,
    }
);
layout!(
    /// SPC-2 7.16 and 7.18, RESERVE(10) and RELEASE(10) without third parties.
    ReserveCdb10, 10 { opcode: u8, reserved: [u8; 8], control: u8 }
);
layout!(
    /// SPC-4 6.15, PERSISTENT RESERVE IN.
    PersistentReserveInCdb, 10 { opcode: u8, action: u8, reserved: [u8; 5], allocation_len: U16, control: u8 }
);
layout!(
    /// SPC-4 6.16, PERSISTENT RESERVE OUT.
    PersistentReserveOutCdb, 10 {
        opcode: u8, action: u8, scope_and_type: u8, reserved: [u8; 2], parameter_len: U32, control: u8,
    }
);
layout!(
    /// SPC-4 6.35 to 6.37, the service actions of MAINTENANCE IN: what stands in bytes 2 to 5 is the service action's own.
    MaintenanceInCdb, 12 {
        opcode: u8, action: u8, options: u8, asked_opcode: u8, asked_action: U16, allocation_len: U32, reserved: u8,
        control: u8,
    }
);
layout!(
    /// SPC-4 6.45, SET TARGET PORT GROUPS, a service action of MAINTENANCE OUT.
    SetTargetPortGroupsCdb, 12 {
        opcode: u8, action: u8, reserved_2: [u8; 4], parameter_len: U32, reserved_10: u8, control: u8,
    }
);
layout!(
    /// SBC-4 5.48, WRITE ATOMIC(16).
    WriteAtomicCdb, 16 { opcode: u8, flags: u8, lba: U64, boundary: U16, count: U16, group: u8, control: u8 }
);
layout!(
    /// SPC-4 6.4, EXTENDED COPY(LID1), which has no list identifier here; SBC-3 5.7 and 5.42, POPULATE TOKEN and WRITE USING TOKEN.
    ThirdPartyCopyOutCdb, 16 {
        opcode: u8, action: u8, reserved_2: [u8; 4], list_id: U32, parameter_len: U32, group: u8, control: u8,
    }
);
layout!(
    /// SPC-4 6.28 and 6.29, RECEIVE COPY OPERATING PARAMETERS, which has no list identifier, and RECEIVE COPY STATUS(LID1).
    ReceiveCopyCdb, 16 {
        opcode: u8, action: u8, list_id: u8, reserved_3: [u8; 7], allocation_len: U32, reserved_14: u8, control: u8,
    }
);
layout!(
    /// SPC-4 6.30, RECEIVE ROD TOKEN INFORMATION.
    ReceiveTokenCdb, 16 {
        opcode: u8, action: u8, list_id: U32, reserved_6: [u8; 4], allocation_len: U32, reserved_14: u8, control: u8,
    }
);
layout!(
    /// SBC-3 5.2, COMPARE AND WRITE.
    CompareAndWriteCdb, 16 {
        opcode: u8, flags: u8, lba: U64, reserved: [u8; 3], count: u8, group: u8, control: u8,
    }
);
