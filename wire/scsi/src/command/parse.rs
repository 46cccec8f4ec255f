//! From CDB bytes to a command.

use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

use super::{BlockRange, ByteCheck, CdbError, CdbForm, Command, PageControl, Power};
use crate::cdb::{
    BlockCdb6, BlockCdb10, BlockCdb12, BlockCdb16, GET_LBA_STATUS, InquiryCdb, ModeSenseCdb6, ModeSenseCdb10,
    READ_CAPACITY_16, ReportLunsCdb, RequestSenseCdb, ServiceActionInCdb16, StartStopCdb, UnmapCdb, opcode,
};
use crate::{FieldPointer, ModeForm, SelectReport, SenseFormat};

impl Command {
    /// Reads a command from its CDB. Bytes that follow it are padding and not looked at.
    ///
    /// Reserved fields are not checked, which SPC-4 4.2.1 leaves open, but a request for something that the standards know
    /// and this crate does not have is refused: protection information, ACA, obsolete ways to ask.
    ///
    /// # Errors
    /// What the device server has to answer.
    pub fn parse(cdb: &[u8]) -> Result<Self, CdbError> {
        let code = *cdb.first().ok_or(CdbError::InvalidOperationCode(0))?;
        let parse = parser(code).ok_or(CdbError::InvalidOperationCode(code))?;
        let len = CdbForm::of(code).len();
        let cdb = cdb.get(..len).ok_or(invalid_byte(cdb.len()))?;
        // NACA in the CONTROL byte, which is the last one (SAM-5 5.2): there is no ACA here.
        if cdb[len - 1] & 0x04 != 0 {
            return Err(invalid_bit(len - 1, 2));
        }
        parse(cdb)
    }
}

type Parser = fn(&[u8]) -> Result<Command, CdbError>;

fn parser(code: u8) -> Option<Parser> {
    Some(match code {
        opcode::TEST_UNIT_READY => |_| Ok(Command::TestUnitReady),
        opcode::REQUEST_SENSE => request_sense,
        opcode::INQUIRY => inquiry,
        opcode::REPORT_LUNS => report_luns,
        opcode::MODE_SENSE_6 => mode_sense_6,
        opcode::MODE_SENSE_10 => mode_sense_10,
        opcode::START_STOP_UNIT => start_stop_unit,
        opcode::READ_CAPACITY_10 => read_capacity_10,
        opcode::SERVICE_ACTION_IN_16 => service_action_in_16,
        opcode::READ_6 | opcode::READ_10 | opcode::READ_12 | opcode::READ_16 => read,
        opcode::WRITE_6 | opcode::WRITE_10 | opcode::WRITE_12 | opcode::WRITE_16 => write,
        opcode::VERIFY_10 | opcode::VERIFY_12 | opcode::VERIFY_16 => verify,
        opcode::SYNCHRONIZE_CACHE_10 | opcode::SYNCHRONIZE_CACHE_16 => synchronize_cache,
        opcode::UNMAP => unmap,
        _ => return None,
    })
}

impl CdbForm {
    /// The form that the group code in the upper three bits of an operation code stands for (SPC-4 4.2.5.1). Only for
    /// operation codes that have a parser, of which none is of variable length.
    const fn of(code: u8) -> Self {
        match code >> 5 {
            0 => Self::Six,
            1 | 2 => Self::Ten,
            5 => Self::Twelve,
            _ => Self::Sixteen,
        }
    }

    const fn len(self) -> usize {
        match self {
            Self::Six => 6,
            Self::Ten => 10,
            Self::Twelve => 12,
            Self::Sixteen => 16,
        }
    }
}

fn invalid_byte(byte: usize) -> CdbError {
    CdbError::InvalidField(FieldPointer::byte(byte))
}

fn invalid_bit(byte: usize, bit: u8) -> CdbError {
    CdbError::InvalidField(FieldPointer::bit(byte, bit))
}

/// The CDB as a layout; `Command::parse` has checked the length.
fn layout<T: FromBytes + KnownLayout + Immutable + Unaligned>(cdb: &[u8]) -> Result<&T, CdbError> {
    T::ref_from_bytes(cdb).map_err(|_| invalid_byte(cdb.len()))
}

fn request_sense(cdb: &[u8]) -> Result<Command, CdbError> {
    let cdb: &RequestSenseCdb = layout(cdb)?;
    let format = if cdb.desc & 1 == 0 { SenseFormat::Fixed } else { SenseFormat::Descriptor };
    Ok(Command::RequestSense { format, allocation_len: cdb.allocation_len })
}

fn inquiry(cdb: &[u8]) -> Result<Command, CdbError> {
    let cdb: &InquiryCdb = layout(cdb)?;
    // CMDDT, by which SPC-2 asked for command support data.
    if cdb.evpd & 2 != 0 {
        return Err(invalid_bit(1, 1));
    }
    let page = match (cdb.evpd & 1, cdb.page) {
        (0, 0) => None,
        (0, _) => return Err(invalid_byte(2)),
        (_, page) => Some(page),
    };
    Ok(Command::Inquiry { page, allocation_len: cdb.allocation_len.get() })
}

fn report_luns(cdb: &[u8]) -> Result<Command, CdbError> {
    let cdb: &ReportLunsCdb = layout(cdb)?;
    let select = SelectReport::from_code(cdb.select).ok_or(invalid_byte(2))?;
    Ok(Command::ReportLuns { select, allocation_len: cdb.allocation_len.get() })
}

fn mode_sense_6(cdb: &[u8]) -> Result<Command, CdbError> {
    let cdb: &ModeSenseCdb6 = layout(cdb)?;
    Ok(mode_sense(ModeForm::Six, cdb.flags, cdb.page, cdb.subpage, u16::from(cdb.allocation_len)))
}

fn mode_sense_10(cdb: &[u8]) -> Result<Command, CdbError> {
    let cdb: &ModeSenseCdb10 = layout(cdb)?;
    Ok(mode_sense(ModeForm::Ten, cdb.flags, cdb.page, cdb.subpage, cdb.allocation_len.get()))
}

fn mode_sense(form: ModeForm, flags: u8, page: u8, subpage: u8, allocation_len: u16) -> Command {
    let control = match page >> 6 {
        0 => PageControl::Current,
        1 => PageControl::Changeable,
        2 => PageControl::Default,
        _ => PageControl::Saved,
    };
    Command::ModeSense {
        form,
        without_block_descriptor: flags & 0x08 != 0,
        control,
        page: page & 0x3f,
        subpage,
        allocation_len,
    }
}

fn start_stop_unit(cdb: &[u8]) -> Result<Command, CdbError> {
    let cdb: &StartStopCdb = layout(cdb)?;
    let power = match (cdb.power >> 4, cdb.power & 3) {
        (0, 0) => Power::Stop,
        (0, 1) => Power::Start,
        (0, 2) => Power::Eject,
        (0, _) => Power::Load,
        (condition, _) => Power::Condition(condition),
    };
    Ok(Command::StartStopUnit { power, immediate: cdb.immed & 1 != 0 })
}

fn read_capacity_10(cdb: &[u8]) -> Result<Command, CdbError> {
    let cdb: &BlockCdb10 = layout(cdb)?;
    // Byte 8 holds PMI; without it an address is an error (SBC-3 5.15.1), and with it the answer is the same.
    if cdb.count.get() & 1 == 0 && cdb.lba.get() != 0 {
        return Err(invalid_byte(2));
    }
    Ok(Command::ReadCapacity10)
}

fn service_action_in_16(cdb: &[u8]) -> Result<Command, CdbError> {
    let cdb: &ServiceActionInCdb16 = layout(cdb)?;
    let (lba, allocation_len) = (cdb.lba.get(), cdb.allocation_len.get());
    match cdb.service_action & 0x1f {
        READ_CAPACITY_16 if cdb.pmi & 1 == 0 && lba != 0 => Err(invalid_byte(2)),
        READ_CAPACITY_16 => Ok(Command::ReadCapacity16 { allocation_len }),
        GET_LBA_STATUS => Ok(Command::GetLbaStatus { lba, allocation_len }),
        _ => Err(invalid_bit(1, 4)),
    }
}

fn read(cdb: &[u8]) -> Result<Command, CdbError> {
    let (range, flags) = block_range(cdb)?;
    Ok(Command::Read { range, fua: flags.without_protection()?.fua() })
}

fn write(cdb: &[u8]) -> Result<Command, CdbError> {
    let (range, flags) = block_range(cdb)?;
    Ok(Command::Write { range, fua: flags.without_protection()?.fua() })
}

fn verify(cdb: &[u8]) -> Result<Command, CdbError> {
    let (range, flags) = block_range(cdb)?;
    let check = match flags.without_protection()?.0 >> 1 & 3 {
        0 => ByteCheck::Medium,
        1 => ByteCheck::Blocks,
        3 => ByteCheck::OneBlock,
        _ => return Err(invalid_bit(1, 2)),
    };
    Ok(Command::Verify { range, check })
}

fn synchronize_cache(cdb: &[u8]) -> Result<Command, CdbError> {
    let (range, flags) = block_range(cdb)?;
    Ok(Command::SynchronizeCache { range, immediate: flags.0 & 2 != 0 })
}

fn unmap(cdb: &[u8]) -> Result<Command, CdbError> {
    let cdb: &UnmapCdb = layout(cdb)?;
    Ok(Command::Unmap { anchor: cdb.anchor & 1 != 0, parameter_len: cdb.parameter_len.get() })
}

/// Byte 1 of a command on blocks.
#[derive(Clone, Copy)]
struct Flags(u8);

impl Flags {
    /// RDPROTECT, WRPROTECT and VRPROTECT, the upper three bits, must be 0 where no LUN has protection information.
    fn without_protection(self) -> Result<Self, CdbError> {
        if self.0 >> 5 == 0 { Ok(self) } else { Err(invalid_bit(1, 7)) }
    }

    fn fua(self) -> bool {
        self.0 & 0x08 != 0
    }
}

fn block_range(cdb: &[u8]) -> Result<(BlockRange, Flags), CdbError> {
    let range = |form, lba, block_count| BlockRange { form, lba, block_count };
    Ok(match cdb.len() {
        6 => {
            let cdb: &BlockCdb6 = layout(cdb)?;
            let [high, middle, low] = cdb.lba;
            let lba = u64::from(u32::from_be_bytes([0, high & 0x1f, middle, low]));
            let block_count = if cdb.count == 0 { 256 } else { u32::from(cdb.count) };
            (range(CdbForm::Six, lba, block_count), Flags(0))
        }
        10 => {
            let cdb: &BlockCdb10 = layout(cdb)?;
            (range(CdbForm::Ten, u64::from(cdb.lba.get()), u32::from(cdb.count.get())), Flags(cdb.flags))
        }
        12 => {
            let cdb: &BlockCdb12 = layout(cdb)?;
            (range(CdbForm::Twelve, u64::from(cdb.lba.get()), cdb.count.get()), Flags(cdb.flags))
        }
        _ => {
            let cdb: &BlockCdb16 = layout(cdb)?;
            (range(CdbForm::Sixteen, cdb.lba.get(), cdb.count.get()), Flags(cdb.flags))
        }
    })
}
