//! SANITIZE, which makes what a unit held unreadable (SBC-3 5.24).

use super::table::{form, invalid_bit, layout};
use super::{CdbError, Command, CommandForm};
use crate::SanitizeAction;
use crate::cdb::{SanitizeCdb, opcode, service_action};

/// IMMED and AUSE. ZNR is about zones, which no unit here has.
const FLAGS: u8 = 0xa0;

/// There is no CRYPTOGRAPHIC ERASE: no key is thrown away here.
pub(super) const FORMS: &[CommandForm] = &[
    form!(
        "SANITIZE, OVERWRITE",
        action [opcode::SANITIZE, FLAGS | service_action::SANITIZE_OVERWRITE, 0, 0, 0, 0, 0, 0xff, 0xff, 0],
        sanitize
    ),
    form!(
        "SANITIZE, BLOCK ERASE",
        action [opcode::SANITIZE, FLAGS | service_action::SANITIZE_BLOCK_ERASE, 0, 0, 0, 0, 0, 0xff, 0xff, 0],
        sanitize
    ),
    form!(
        "SANITIZE, EXIT FAILURE MODE",
        action [opcode::SANITIZE, FLAGS | service_action::SANITIZE_EXIT_FAILURE_MODE, 0, 0, 0, 0, 0, 0xff, 0xff, 0],
        sanitize
    ),
];

fn sanitize(cdb: &[u8]) -> Result<Command, CdbError> {
    let cdb: &SanitizeCdb = layout(cdb)?;
    Ok(Command::Sanitize {
        action: SanitizeAction::from_code(cdb.action & 0x1f).ok_or(invalid_bit(1, 4))?,
        immediate: cdb.action & 0x80 != 0,
        unrestricted_exit: cdb.action & 0x20 != 0,
        parameter_len: cdb.parameter_len.get(),
    })
}
