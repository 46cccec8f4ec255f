//! From a command to CDB bytes.

use super::{BlockRange, ByteCheck, CdbForm, Command, PageControl, Power};
use crate::cdb::{
    BlockCdb6, BlockCdb10, BlockCdb12, BlockCdb16, Cdb, GET_LBA_STATUS, InquiryCdb, ModeSenseCdb6, ModeSenseCdb10,
    PlainCdb6, READ_CAPACITY_16, ReportLunsCdb, RequestSenseCdb, ServiceActionInCdb16, StartStopCdb, UnmapCdb, opcode,
};
use crate::{ModeForm, SenseFormat};

/// The operation codes of one command in the forms of 6, 10, 12 and 16 bytes.
type Forms = [Option<u8>; 4];

const READ: Forms = [Some(opcode::READ_6), Some(opcode::READ_10), Some(opcode::READ_12), Some(opcode::READ_16)];
const WRITE: Forms = [Some(opcode::WRITE_6), Some(opcode::WRITE_10), Some(opcode::WRITE_12), Some(opcode::WRITE_16)];
const VERIFY: Forms = [None, Some(opcode::VERIFY_10), Some(opcode::VERIFY_12), Some(opcode::VERIFY_16)];
const SYNCHRONIZE_CACHE: Forms = [None, Some(opcode::SYNCHRONIZE_CACHE_10), None, Some(opcode::SYNCHRONIZE_CACHE_16)];

impl Command {
    /// Builds the CDB. A range whose form the command does not have is put into the next longer one; READ(6) and WRITE(6) have
    /// no FUA, so a command that needs it becomes one of ten bytes.
    #[must_use]
    pub fn to_cdb(&self) -> Cdb {
        match *self {
            Self::TestUnitReady => Cdb::of(&PlainCdb6 { opcode: opcode::TEST_UNIT_READY, ..PlainCdb6::default() }),
            Self::RequestSense { format, allocation_len } => Cdb::of(&RequestSenseCdb {
                opcode: opcode::REQUEST_SENSE,
                desc: u8::from(format == SenseFormat::Descriptor),
                allocation_len,
                ..RequestSenseCdb::default()
            }),
            Self::Inquiry { page, allocation_len } => Cdb::of(&InquiryCdb {
                opcode: opcode::INQUIRY,
                evpd: u8::from(page.is_some()),
                page: page.unwrap_or(0),
                allocation_len: allocation_len.into(),
                control: 0,
            }),
            Self::ReportLuns { select, allocation_len } => Cdb::of(&ReportLunsCdb {
                opcode: opcode::REPORT_LUNS,
                select: select.code(),
                allocation_len: allocation_len.into(),
                ..ReportLunsCdb::default()
            }),
            Self::ModeSense { form, without_block_descriptor, control, page, subpage, allocation_len } => {
                let flags = u8::from(without_block_descriptor) << 3;
                mode_sense(form, flags, page_byte(control, page), subpage, allocation_len)
            }
            Self::StartStopUnit { power, immediate } => start_stop_unit(power, immediate),
            Self::ReadCapacity10 => Cdb::of(&BlockCdb10 { opcode: opcode::READ_CAPACITY_10, ..BlockCdb10::default() }),
            Self::ReadCapacity16 { allocation_len } => Cdb::of(&ServiceActionInCdb16 {
                opcode: opcode::SERVICE_ACTION_IN_16,
                service_action: READ_CAPACITY_16,
                allocation_len: allocation_len.into(),
                ..ServiceActionInCdb16::default()
            }),
            Self::GetLbaStatus { lba, allocation_len } => Cdb::of(&ServiceActionInCdb16 {
                opcode: opcode::SERVICE_ACTION_IN_16,
                service_action: GET_LBA_STATUS,
                lba: lba.into(),
                allocation_len: allocation_len.into(),
                ..ServiceActionInCdb16::default()
            }),
            Self::Read { range, fua } => blocks(&READ, range, u8::from(fua) << 3),
            Self::Write { range, fua } => blocks(&WRITE, range, u8::from(fua) << 3),
            Self::Verify { range, check } => {
                let byte_check = match check {
                    ByteCheck::Medium => 0,
                    ByteCheck::Blocks => 1,
                    ByteCheck::OneBlock => 3,
                };
                blocks(&VERIFY, range, byte_check << 1)
            }
            Self::SynchronizeCache { range, immediate } => blocks(&SYNCHRONIZE_CACHE, range, u8::from(immediate) << 1),
            Self::Unmap { anchor, parameter_len } => Cdb::of(&UnmapCdb {
                opcode: opcode::UNMAP,
                anchor: u8::from(anchor),
                parameter_len: parameter_len.into(),
                ..UnmapCdb::default()
            }),
        }
    }
}

fn blocks(forms: &Forms, range: BlockRange, flags: u8) -> Cdb {
    let wanted = if flags == 0 { range.form() } else { range.form().max(CdbForm::Ten) };
    let by_form = [CdbForm::Six, CdbForm::Ten, CdbForm::Twelve, CdbForm::Sixteen].into_iter().zip(forms);
    let (form, opcode) = by_form
        .filter_map(|(form, code)| code.map(|code| (form, code)))
        .find(|(form, _)| *form >= wanted)
        .expect("every command on blocks has a form of 16 bytes");
    // INVARIANT of BlockRange: the values fit its own form, and the forms only get wider.
    let lba_32 = || u32::try_from(range.lba()).expect("the address fits the form");
    match form {
        CdbForm::Six => {
            let [_, high, middle, low] = lba_32().to_be_bytes();
            // 256 blocks are written as 0.
            let count = u8::try_from(range.block_count()).unwrap_or(0);
            Cdb::of(&BlockCdb6 { opcode, lba: [high, middle, low], count, control: 0 })
        }
        CdbForm::Ten => {
            let count = u16::try_from(range.block_count()).expect("the count fits the form");
            let (lba, count) = (lba_32().into(), count.into());
            Cdb::of(&BlockCdb10 { opcode, flags, lba, count, ..BlockCdb10::default() })
        }
        CdbForm::Twelve => {
            let (lba, count) = (lba_32().into(), range.block_count().into());
            Cdb::of(&BlockCdb12 { opcode, flags, lba, count, ..BlockCdb12::default() })
        }
        CdbForm::Sixteen => {
            let (lba, count) = (range.lba().into(), range.block_count().into());
            Cdb::of(&BlockCdb16 { opcode, flags, lba, count, ..BlockCdb16::default() })
        }
    }
}

fn page_byte(control: PageControl, page: u8) -> u8 {
    let control = match control {
        PageControl::Current => 0,
        PageControl::Changeable => 1,
        PageControl::Default => 2,
        PageControl::Saved => 3,
    };
    control << 6 | page & 0x3f
}

fn mode_sense(form: ModeForm, flags: u8, page: u8, subpage: u8, allocation_len: u16) -> Cdb {
    match form {
        ModeForm::Six => Cdb::of(&ModeSenseCdb6 {
            opcode: opcode::MODE_SENSE_6,
            flags,
            page,
            subpage,
            allocation_len: u8::try_from(allocation_len).unwrap_or(u8::MAX),
            control: 0,
        }),
        ModeForm::Ten => Cdb::of(&ModeSenseCdb10 {
            opcode: opcode::MODE_SENSE_10,
            flags,
            page,
            subpage,
            allocation_len: allocation_len.into(),
            ..ModeSenseCdb10::default()
        }),
    }
}

fn start_stop_unit(power: Power, immediate: bool) -> Cdb {
    let power = match power {
        Power::Stop => 0,
        Power::Start => 1,
        Power::Eject => 2,
        Power::Load => 3,
        Power::Condition(condition) => condition << 4,
    };
    let immed = u8::from(immediate);
    Cdb::of(&StartStopCdb { opcode: opcode::START_STOP_UNIT, immed, power, ..StartStopCdb::default() })
}
