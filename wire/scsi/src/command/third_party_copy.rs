//! The service actions of THIRD-PARTY COPY OUT and IN (SPC-4 5.17, SBC-3 5.7 and 5.42).

use super::table::{form, layout};
use super::{CdbError, Command, CommandForm};
use crate::cdb::{ReceiveCopyCdb, ReceiveTokenCdb, ThirdPartyCopyOutCdb, opcode, service_action};

/// A row with a list identifier of 32 bits at byte 6.
macro_rules! token_out {
    ($name:literal, $action:ident, $parse:expr) => {
        form!(
            $name,
            action [
                opcode::THIRD_PARTY_COPY_OUT, service_action::$action, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
                0xff, 0xff, 0x1f, 0,
            ],
            $parse
        )
    };
}

pub(super) const FORMS: &[CommandForm] = &[
    form!(
        "EXTENDED COPY(LID1)",
        action [
            opcode::THIRD_PARTY_COPY_OUT, service_action::EXTENDED_COPY_LID1, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff,
            0xff, 0, 0,
        ],
        extended_copy
    ),
    token_out!("POPULATE TOKEN", POPULATE_TOKEN, populate_token),
    token_out!("WRITE USING TOKEN", WRITE_USING_TOKEN, write_using_token),
    form!(
        "RECEIVE COPY STATUS(LID1)",
        action [
            opcode::THIRD_PARTY_COPY_IN, service_action::RECEIVE_COPY_STATUS_LID1, 0xff, 0, 0, 0, 0, 0, 0, 0, 0xff,
            0xff, 0xff, 0xff, 0, 0,
        ],
        copy_status
    ),
    form!(
        "RECEIVE COPY OPERATING PARAMETERS",
        action [
            opcode::THIRD_PARTY_COPY_IN, service_action::RECEIVE_COPY_OPERATING_PARAMETERS, 0, 0, 0, 0, 0, 0, 0, 0,
            0xff, 0xff, 0xff, 0xff, 0, 0,
        ],
        operating_parameters
    ),
    form!(
        "RECEIVE ROD TOKEN INFORMATION",
        action [
            opcode::THIRD_PARTY_COPY_IN, service_action::RECEIVE_ROD_TOKEN_INFORMATION, 0xff, 0xff, 0xff, 0xff, 0, 0, 0,
            0, 0xff, 0xff, 0xff, 0xff, 0, 0,
        ],
        token_information
    ),
];

fn extended_copy(cdb: &[u8]) -> Result<Command, CdbError> {
    let cdb: &ThirdPartyCopyOutCdb = layout(cdb)?;
    Ok(Command::ExtendedCopy { parameter_len: cdb.parameter_len.get() })
}

fn populate_token(cdb: &[u8]) -> Result<Command, CdbError> {
    let cdb: &ThirdPartyCopyOutCdb = layout(cdb)?;
    Ok(Command::PopulateToken { list_id: cdb.list_id.get(), parameter_len: cdb.parameter_len.get() })
}

fn write_using_token(cdb: &[u8]) -> Result<Command, CdbError> {
    let cdb: &ThirdPartyCopyOutCdb = layout(cdb)?;
    Ok(Command::WriteUsingToken { list_id: cdb.list_id.get(), parameter_len: cdb.parameter_len.get() })
}

fn copy_status(cdb: &[u8]) -> Result<Command, CdbError> {
    let cdb: &ReceiveCopyCdb = layout(cdb)?;
    Ok(Command::ReceiveCopyStatus { list_id: cdb.list_id, allocation_len: cdb.allocation_len.get() })
}

fn operating_parameters(cdb: &[u8]) -> Result<Command, CdbError> {
    let cdb: &ReceiveCopyCdb = layout(cdb)?;
    Ok(Command::ReceiveCopyOperatingParameters { allocation_len: cdb.allocation_len.get() })
}

fn token_information(cdb: &[u8]) -> Result<Command, CdbError> {
    let cdb: &ReceiveTokenCdb = layout(cdb)?;
    Ok(Command::ReceiveRodTokenInformation { list_id: cdb.list_id.get(), allocation_len: cdb.allocation_len.get() })
}
