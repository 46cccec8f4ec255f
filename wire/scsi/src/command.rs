//! The commands, independent of how their CDBs are laid out.

mod access;
mod build;
mod mode;
mod primary;
mod provisioning;
mod reports;
mod reservation;
mod sanitize;
mod table;
mod third_party_copy;
mod transfer;

pub use access::{Access, Reach, Readiness};
pub use table::CommandForm;

use std::ops::RangeInclusive;

use crate::{
    DefectForm, DefectRequest, FieldPointer, ModeForm, OperationCodes, ReservationKind, ReserveInAction,
    ReserveOutAction, SanitizeAction, SelectReport, SenseFormat,
};

/// A command with its parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// SPC-4 6.47.
    TestUnitReady,
    /// SPC-4 6.39.
    RequestSense {
        /// The format to answer in.
        format: SenseFormat,
        /// ALLOCATION LENGTH in bytes.
        allocation_len: u8,
    },
    /// SPC-4 6.6.
    Inquiry {
        /// The VPD page, or `None` for standard INQUIRY data.
        page: Option<u8>,
        /// ALLOCATION LENGTH in bytes.
        allocation_len: u16,
    },
    /// SPC-4 6.33.
    ReportLuns {
        /// Which LUNs to report.
        select: SelectReport,
        /// ALLOCATION LENGTH in bytes.
        allocation_len: u32,
    },
    /// SPC-4 6.11 and 6.12.
    ModeSense {
        /// MODE SENSE(6) or (10), which decides about the header.
        form: ModeForm,
        /// DBD: leave the block descriptor out.
        without_block_descriptor: bool,
        /// Which values of the pages.
        control: PageControl,
        /// PAGE CODE, 3Fh for all.
        page: u8,
        /// SUBPAGE CODE, FFh for all.
        subpage: u8,
        /// ALLOCATION LENGTH in bytes; at most 255 in MODE SENSE(6).
        allocation_len: u16,
    },
    /// SPC-4 6.9 and 6.10.
    ModeSelect {
        /// MODE SELECT(6) or (10), which decides about the header.
        form: ModeForm,
        /// PF: the pages are those of the standard.
        page_format: bool,
        /// SP: keep the pages over power off.
        save: bool,
        /// PARAMETER LIST LENGTH in bytes; at most 255 in MODE SELECT(6).
        parameter_len: u16,
    },
    /// SPC-4 6.8.
    LogSense {
        /// PAGE CODE.
        page: u8,
        /// SUBPAGE CODE.
        subpage: u8,
        /// PARAMETER POINTER: the first parameter to report.
        parameter: u16,
        /// ALLOCATION LENGTH in bytes.
        allocation_len: u16,
    },
    /// SPC-4 6.35.
    ReportSupportedOperationCodes {
        /// Which commands to report.
        which: OperationCodes,
        /// RCTD: with timeouts.
        timeouts: bool,
        /// ALLOCATION LENGTH in bytes.
        allocation_len: u32,
    },
    /// SPC-4 6.36.
    ReportSupportedTaskManagementFunctions {
        /// REPD: the long format.
        extended: bool,
        /// ALLOCATION LENGTH in bytes.
        allocation_len: u32,
    },
    /// SPC-4 6.37.
    ReportTargetPortGroups {
        /// PARAMETER DATA FORMAT: with the extended header.
        extended: bool,
        /// ALLOCATION LENGTH in bytes.
        allocation_len: u32,
    },
    /// SPC-4 6.45.
    SetTargetPortGroups {
        /// PARAMETER LIST LENGTH in bytes.
        parameter_len: u32,
    },
    /// SPC-4 6.15.
    PersistentReserveIn {
        /// What to report.
        action: ReserveInAction,
        /// ALLOCATION LENGTH in bytes.
        allocation_len: u16,
    },
    /// SPC-4 6.16.
    PersistentReserveOut {
        /// What to do.
        action: ReserveOutAction,
        /// SCOPE: 0 is the logical unit.
        scope: u8,
        /// TYPE.
        kind: ReservationKind,
        /// PARAMETER LIST LENGTH in bytes.
        parameter_len: u32,
    },
    /// SPC-2 7.16 and 7.17, without extents and third parties.
    Reserve(ReserveForm),
    /// SPC-2 7.18 and 7.19, without extents and third parties.
    Release(ReserveForm),
    /// SBC-3 5.25.
    StartStopUnit {
        /// What to do.
        power: Power,
        /// IMMED: answer before it is done.
        immediate: bool,
    },
    /// SBC-3 5, PREVENT ALLOW MEDIUM REMOVAL.
    PreventAllowMediumRemoval {
        /// PREVENT: keep the medium in the unit until it is allowed again.
        prevent: bool,
    },
    /// SBC-3 5.24.
    Sanitize {
        /// What to do.
        action: SanitizeAction,
        /// IMMED: answer before it is done.
        immediate: bool,
        /// AUSE: a failure may be ended by EXIT FAILURE MODE.
        unrestricted_exit: bool,
        /// PARAMETER LIST LENGTH in bytes.
        parameter_len: u16,
    },
    /// SBC-3 5.15.
    ReadCapacity10,
    /// SBC-3 5.16.
    ReadCapacity16 {
        /// ALLOCATION LENGTH in bytes.
        allocation_len: u32,
    },
    /// SBC-3 5.17 and 5.18.
    ReadDefectData {
        /// READ DEFECT DATA(10) or (12), which decides about the header.
        form: DefectForm,
        /// What is asked for.
        request: DefectRequest,
        /// ADDRESS DESCRIPTOR INDEX, of the form of 12 bytes only: which of the descriptors is to come first.
        index: u32,
        /// ALLOCATION LENGTH in bytes; at most 65535 in the form of 10 bytes.
        allocation_len: u32,
    },
    /// SBC-3 5.5.
    GetLbaStatus {
        /// STARTING LOGICAL BLOCK ADDRESS.
        lba: u64,
        /// ALLOCATION LENGTH in bytes.
        allocation_len: u32,
    },
    /// SBC-3 5.8 to 5.11.
    Read {
        /// What to read.
        range: BlockRange,
        /// FUA: from the medium, not from a cache that could be lost.
        fua: bool,
    },
    /// SBC-3 5.30 to 5.33.
    Write {
        /// What to write.
        range: BlockRange,
        /// FUA: answer when the data is durable.
        fua: bool,
    },
    /// SBC-3 5.29 to 5.31 (VERIFY).
    Verify {
        /// What to verify.
        range: BlockRange,
        /// What to compare it with.
        check: ByteCheck,
    },
    /// SBC-3 5.39 to 5.41 (WRITE AND VERIFY).
    WriteAndVerify {
        /// What to write.
        range: BlockRange,
        /// Whether to compare it afterwards; never [`ByteCheck::OneBlock`].
        check: ByteCheck,
    },
    /// SBC-3 5.2. The data-out holds what has to be there, then what is to be written.
    CompareAndWrite {
        /// LOGICAL BLOCK ADDRESS.
        lba: u64,
        /// NUMBER OF LOGICAL BLOCKS.
        block_count: u8,
        /// FUA: answer when the data is durable.
        fua: bool,
    },
    /// SBC-4 5.48: all of it is written or nothing, also over a loss of power.
    WriteAtomic {
        /// LOGICAL BLOCK ADDRESS.
        lba: u64,
        /// ATOMIC BOUNDARY: pieces of so many blocks are atomic, each for itself; 0 if the whole is to be.
        boundary: u16,
        /// TRANSFER LENGTH in blocks.
        block_count: u16,
        /// FUA: answer when the data is durable.
        fua: bool,
    },
    /// SBC-3 5.43 and 5.44. The data-out is one block.
    WriteSame {
        /// What to write. A count of 0 means up to the end.
        range: BlockRange,
        /// UNMAP: give the blocks back if they read as the data-out says then.
        unmap: bool,
        /// ANCHOR: keep the space reserved.
        anchor: bool,
        /// NDOB, of the form of 16 bytes only: there is no data-out, and the block holds zeros.
        no_data_out: bool,
    },
    /// SBC-3 5.6.
    OrWrite {
        /// What to change.
        range: BlockRange,
        /// FUA: answer when the data is durable.
        fua: bool,
    },
    /// SBC-3 5.7 and 5.8. A count of 0 means up to the end.
    PreFetch {
        /// What to have ready.
        range: BlockRange,
        /// IMMED: answer before it is done.
        immediate: bool,
    },
    /// SBC-3 5.26 and 5.27. A count of 0 means up to the end.
    SynchronizeCache {
        /// What to make durable.
        range: BlockRange,
        /// IMMED: answer before it is done.
        immediate: bool,
    },
    /// SBC-3 5.28.
    Unmap {
        /// ANCHOR: keep the space reserved.
        anchor: bool,
        /// PARAMETER LIST LENGTH in bytes.
        parameter_len: u16,
    },
    /// SPC-4 6.4, EXTENDED COPY(LID1).
    ExtendedCopy {
        /// PARAMETER LIST LENGTH in bytes.
        parameter_len: u32,
    },
    /// SBC-3 5.7.
    PopulateToken {
        /// LIST IDENTIFIER: under which the result can be asked for.
        list_id: u32,
        /// PARAMETER LIST LENGTH in bytes.
        parameter_len: u32,
    },
    /// SBC-3 5.42.
    WriteUsingToken {
        /// LIST IDENTIFIER: under which the result can be asked for.
        list_id: u32,
        /// PARAMETER LIST LENGTH in bytes.
        parameter_len: u32,
    },
    /// SPC-4 6.29, RECEIVE COPY STATUS(LID1).
    ReceiveCopyStatus {
        /// LIST IDENTIFIER of an EXTENDED COPY.
        list_id: u8,
        /// ALLOCATION LENGTH in bytes.
        allocation_len: u32,
    },
    /// SPC-4 6.28.
    ReceiveCopyOperatingParameters {
        /// ALLOCATION LENGTH in bytes.
        allocation_len: u32,
    },
    /// SPC-4 6.30.
    ReceiveRodTokenInformation {
        /// LIST IDENTIFIER of a POPULATE TOKEN or WRITE USING TOKEN.
        list_id: u32,
        /// ALLOCATION LENGTH in bytes.
        allocation_len: u32,
    },
}

/// The length of a CDB in bytes, which is part of the command's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum CdbForm {
    /// 21 bits of address, up to 256 blocks.
    Six,
    /// 32 bits of address, 16 bits of count.
    Ten,
    /// 32 bits of address, 32 bits of count.
    Twelve,
    /// 64 bits of address, 32 bits of count.
    Sixteen,
}

/// Consecutive logical blocks, as a CDB of a certain form names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockRange {
    /// INVARIANT: `lba` and `block_count` fit the fields of `form`.
    form: CdbForm,
    lba: u64,
    block_count: u32,
}

impl BlockRange {
    /// A range in the shorter of the usual forms, (10) and (16), that holds it.
    #[must_use]
    pub fn new(lba: u64, block_count: u32) -> Self {
        let form = if u32::try_from(lba).is_ok() && u16::try_from(block_count).is_ok() {
            CdbForm::Ten
        } else {
            CdbForm::Sixteen
        };
        Self { form, lba, block_count }
    }

    /// A range in a form of one's choice, or `None` if the form's fields cannot hold it.
    #[must_use]
    pub fn with_form(form: CdbForm, lba: u64, block_count: u32) -> Option<Self> {
        let fits = match form {
            CdbForm::Six => lba < 1 << 21 && (1..=256).contains(&block_count),
            CdbForm::Ten => u32::try_from(lba).is_ok() && u16::try_from(block_count).is_ok(),
            CdbForm::Twelve => u32::try_from(lba).is_ok(),
            CdbForm::Sixteen => true,
        };
        fits.then_some(Self { form, lba, block_count })
    }

    /// The form of the CDB.
    #[must_use]
    pub const fn form(self) -> CdbForm {
        self.form
    }

    /// LOGICAL BLOCK ADDRESS.
    #[must_use]
    pub const fn lba(self) -> u64 {
        self.lba
    }

    /// TRANSFER LENGTH in blocks, what 0 stands for in a CDB of six bytes included.
    #[must_use]
    pub const fn block_count(self) -> u32 {
        self.block_count
    }
}

/// RESERVE and RELEASE of six or ten bytes; they mean the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReserveForm {
    /// Six bytes.
    Six,
    /// Ten bytes.
    Ten,
}

/// SBC-3 5.29, BYTCHK: what VERIFY compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ByteCheck {
    /// Only whether the medium can be read. No data-out.
    Medium,
    /// All blocks with the data-out.
    Blocks,
    /// Each block with the one block of data-out.
    OneBlock,
}

/// SPC-4 6.11.1, PC: which values of a mode page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PageControl {
    /// Those in force.
    Current,
    /// A mask of what can be changed.
    Changeable,
    /// Those after power on.
    Default,
    /// Those kept over power off.
    Saved,
}

/// What START STOP UNIT asks for (SBC-3 5.25).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Power {
    /// START=0, LOEJ=0.
    Stop,
    /// START=1, LOEJ=0.
    Start,
    /// LOEJ=1, START=0.
    Eject,
    /// LOEJ=1, START=1.
    Load,
    /// A POWER CONDITION other than 0, which then decides. Only those that are defined.
    Condition(u8),
}

impl Power {
    /// The POWER CONDITION MODIFIERs that a POWER CONDITION has: `None` for 0 and for one that is reserved or obsolete.
    const fn modifiers_of(condition: u8) -> Option<RangeInclusive<u8>> {
        match condition {
            // ACTIVE, LU_CONTROL.
            1 | 7 => Some(0..=0),
            // IDLE, FORCE_IDLE_0: a, b, c.
            2 | 0xa => Some(0..=2),
            // STANDBY, FORCE_STANDBY_0: z, y.
            3 | 0xb => Some(0..=1),
            _ => None,
        }
    }
}

/// What is wrong with a CDB: the device server answers ILLEGAL REQUEST with the additional sense code of the same name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CdbError {
    /// INVALID COMMAND OPERATION CODE, 20h/00h.
    #[error("operation code {0:02X}h is not supported")]
    InvalidOperationCode(u8),
    /// INVALID FIELD IN CDB, 24h/00h.
    #[error("the field at byte {} of the CDB is invalid", .0.byte)]
    InvalidField(FieldPointer),
}
