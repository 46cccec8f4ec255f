//! TEST UNIT READY, REQUEST SENSE, INQUIRY, REPORT LUNS, START STOP UNIT, PREVENT ALLOW MEDIUM REMOVAL, LOG SENSE: what a unit is and how it is.

use super::table::{form, invalid_bit, invalid_byte, layout};
use super::{CdbError, Command, CommandForm, Power};
use crate::cdb::{InquiryCdb, LogSenseCdb, PreventAllowCdb, ReportLunsCdb, RequestSenseCdb, StartStopCdb, opcode};
use crate::{SelectReport, SenseFormat};

pub(super) const FORMS: &[CommandForm] = &[
    form!("TEST UNIT READY", [opcode::TEST_UNIT_READY, 0, 0, 0, 0, 0], |_| Ok(Command::TestUnitReady)),
    form!("REQUEST SENSE", [opcode::REQUEST_SENSE, 0x01, 0, 0, 0xff, 0], request_sense),
    form!("INQUIRY", [opcode::INQUIRY, 0x01, 0xff, 0xff, 0xff, 0], inquiry),
    form!("REPORT LUNS", [opcode::REPORT_LUNS, 0, 0xff, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0, 0], report_luns),
    form!("START STOP UNIT", [opcode::START_STOP_UNIT, 0x01, 0, 0x0f, 0xf7, 0], start_stop_unit),
    form!(
        "PREVENT ALLOW MEDIUM REMOVAL",
        [opcode::PREVENT_ALLOW_MEDIUM_REMOVAL, 0, 0, 0, 0x01, 0],
        prevent_allow_medium_removal
    ),
    form!("LOG SENSE", [opcode::LOG_SENSE, 0, 0xff, 0xff, 0, 0xff, 0xff, 0xff, 0xff, 0], log_sense),
];

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

fn start_stop_unit(cdb: &[u8]) -> Result<Command, CdbError> {
    let cdb: &StartStopCdb = layout(cdb)?;
    let power = match (cdb.power >> 4, cdb.power & 3) {
        (0, 0) => Power::Stop,
        (0, 1) => Power::Start,
        (0, 2) => Power::Eject,
        (0, _) => Power::Load,
        (condition, _) => match Power::modifiers_of(condition) {
            None => return Err(invalid_bit(4, 7)),
            Some(modifiers) if !modifiers.contains(&(cdb.modifier & 0x0f)) => return Err(invalid_bit(3, 3)),
            Some(_) => Power::Condition(condition),
        },
    };
    Ok(Command::StartStopUnit { power, immediate: cdb.immed & 1 != 0 })
}

fn prevent_allow_medium_removal(cdb: &[u8]) -> Result<Command, CdbError> {
    let cdb: &PreventAllowCdb = layout(cdb)?;
    // The upper bit of PREVENT was for media changers and is obsolete.
    Ok(Command::PreventAllowMediumRemoval { prevent: cdb.prevent & 1 != 0 })
}

fn log_sense(cdb: &[u8]) -> Result<Command, CdbError> {
    let cdb: &LogSenseCdb = layout(cdb)?;
    // PC says which of a counter's values are meant; the pages here have no counters (SPC-4 6.8.1).
    Ok(Command::LogSense {
        page: cdb.page & 0x3f,
        subpage: cdb.subpage,
        parameter: cdb.parameter.get(),
        allocation_len: cdb.allocation_len.get(),
    })
}
