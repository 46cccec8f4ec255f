//! READ CAPACITY, GET LBA STATUS, UNMAP, READ DEFECT DATA: how long a disk is, what of it has space, and what is bad.

use super::table::{form, invalid_byte, layout};
use super::{CdbError, Command, CommandForm};
use crate::cdb::{
    BlockCdb10, ReadDefectDataCdb10, ReadDefectDataCdb12, ServiceActionInCdb16, UnmapCdb, opcode, service_action,
};
use crate::{DefectForm, DefectRequest};

pub(super) const FORMS: &[CommandForm] = &[
    form!("READ CAPACITY(10)", [opcode::READ_CAPACITY_10, 0, 0xff, 0xff, 0xff, 0xff, 0, 0, 0x01, 0], read_capacity_10),
    form!(
        "READ CAPACITY(16)",
        action [
            opcode::SERVICE_ACTION_IN_16, service_action::READ_CAPACITY_16, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
            0xff, 0xff, 0xff, 0xff, 0xff, 0x01, 0,
        ],
        read_capacity_16
    ),
    form!(
        "GET LBA STATUS",
        action [
            opcode::SERVICE_ACTION_IN_16, service_action::GET_LBA_STATUS, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
            0xff, 0xff, 0xff, 0xff, 0xff, 0, 0,
        ],
        get_lba_status
    ),
    form!(
        "READ DEFECT DATA(10)",
        [opcode::READ_DEFECT_DATA_10, 0, 0x1f, 0, 0, 0, 0, 0xff, 0xff, 0],
        read_defect_data_10
    ),
    form!(
        "READ DEFECT DATA(12)",
        [opcode::READ_DEFECT_DATA_12, 0x1f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0],
        read_defect_data_12
    ),
    form!("UNMAP", [opcode::UNMAP, 0x01, 0, 0, 0, 0, 0x1f, 0xff, 0xff, 0], unmap),
];

fn read_capacity_10(cdb: &[u8]) -> Result<Command, CdbError> {
    let cdb: &BlockCdb10 = layout(cdb)?;
    // Byte 8 holds PMI; without it an address is an error (SBC-3 5.15.1), and with it the answer is the same.
    if cdb.count.get() & 1 == 0 && cdb.lba.get() != 0 {
        return Err(invalid_byte(2));
    }
    Ok(Command::ReadCapacity10)
}

fn read_capacity_16(cdb: &[u8]) -> Result<Command, CdbError> {
    let cdb: &ServiceActionInCdb16 = layout(cdb)?;
    if cdb.pmi & 1 == 0 && cdb.lba.get() != 0 {
        return Err(invalid_byte(2));
    }
    Ok(Command::ReadCapacity16 { allocation_len: cdb.allocation_len.get() })
}

fn read_defect_data_10(cdb: &[u8]) -> Result<Command, CdbError> {
    let cdb: &ReadDefectDataCdb10 = layout(cdb)?;
    let request = DefectRequest::from_byte(cdb.which);
    let allocation_len = u32::from(cdb.allocation_len.get());
    Ok(Command::ReadDefectData { form: DefectForm::Ten, request, index: 0, allocation_len })
}

fn read_defect_data_12(cdb: &[u8]) -> Result<Command, CdbError> {
    let cdb: &ReadDefectDataCdb12 = layout(cdb)?;
    let (request, index) = (DefectRequest::from_byte(cdb.which), cdb.index.get());
    let allocation_len = cdb.allocation_len.get();
    Ok(Command::ReadDefectData { form: DefectForm::Twelve, request, index, allocation_len })
}

fn get_lba_status(cdb: &[u8]) -> Result<Command, CdbError> {
    let cdb: &ServiceActionInCdb16 = layout(cdb)?;
    Ok(Command::GetLbaStatus { lba: cdb.lba.get(), allocation_len: cdb.allocation_len.get() })
}

fn unmap(cdb: &[u8]) -> Result<Command, CdbError> {
    let cdb: &UnmapCdb = layout(cdb)?;
    Ok(Command::Unmap { anchor: cdb.anchor & 1 != 0, parameter_len: cdb.parameter_len.get() })
}
