//! MODE SENSE and MODE SELECT.

use super::table::{form, layout};
use super::{CdbError, Command, CommandForm, PageControl};
use crate::ModeForm;
use crate::cdb::{ModeSelectCdb6, ModeSelectCdb10, ModeSenseCdb6, ModeSenseCdb10, opcode};

pub(super) const FORMS: &[CommandForm] = &[
    form!("MODE SENSE(6)", [opcode::MODE_SENSE_6, 0x08, 0xff, 0xff, 0xff, 0], sense_6),
    // LLBAA is looked at, but the long block descriptor is never needed.
    form!("MODE SENSE(10)", [opcode::MODE_SENSE_10, 0x18, 0xff, 0xff, 0, 0, 0, 0xff, 0xff, 0], sense_10),
    form!("MODE SELECT(6)", [opcode::MODE_SELECT_6, 0x11, 0, 0, 0xff, 0], select_6),
    form!("MODE SELECT(10)", [opcode::MODE_SELECT_10, 0x11, 0, 0, 0, 0, 0, 0xff, 0xff, 0], select_10),
];

fn sense_6(cdb: &[u8]) -> Result<Command, CdbError> {
    let cdb: &ModeSenseCdb6 = layout(cdb)?;
    Ok(sense(ModeForm::Six, cdb.flags, cdb.page, cdb.subpage, u16::from(cdb.allocation_len)))
}

fn sense_10(cdb: &[u8]) -> Result<Command, CdbError> {
    let cdb: &ModeSenseCdb10 = layout(cdb)?;
    Ok(sense(ModeForm::Ten, cdb.flags, cdb.page, cdb.subpage, cdb.allocation_len.get()))
}

fn sense(form: ModeForm, flags: u8, page: u8, subpage: u8, allocation_len: u16) -> Command {
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

fn select_6(cdb: &[u8]) -> Result<Command, CdbError> {
    let cdb: &ModeSelectCdb6 = layout(cdb)?;
    Ok(select(ModeForm::Six, cdb.flags, u16::from(cdb.parameter_len)))
}

fn select_10(cdb: &[u8]) -> Result<Command, CdbError> {
    let cdb: &ModeSelectCdb10 = layout(cdb)?;
    Ok(select(ModeForm::Ten, cdb.flags, cdb.parameter_len.get()))
}

fn select(form: ModeForm, flags: u8, parameter_len: u16) -> Command {
    Command::ModeSelect { form, page_format: flags & 0x10 != 0, save: flags & 1 != 0, parameter_len }
}
