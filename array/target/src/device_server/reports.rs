//! REPORT SUPPORTED OPERATION CODES: what a unit can do.

use lunshadow_scsi::{CommandForm, CommandList, OneCommand, OperationCodes, Sense};

use super::unit::Unit;
use super::{TargetPorts, invalid_field};

/// Taken from the table that reads CDBs, so what is reported is what is there.
pub(super) fn operation_codes(
    unit: &Unit,
    ports: &TargetPorts,
    which: OperationCodes,
    timeouts: bool,
) -> Result<Vec<u8>, Sense> {
    let forms_of = |opcode| CommandForm::of_opcode(opcode).filter(|form| unit.has(form, ports));
    let has_actions = |opcode| forms_of(opcode).any(|form| form.service_action.is_some());
    let with_action =
        |opcode, action: u16| forms_of(opcode).find(|form| form.service_action.map_or(0, u16::from) == action);
    let form = match which {
        OperationCodes::All => {
            let commands =
                CommandForm::all().filter(|form| unit.has(form, ports)).map(CommandForm::descriptor).collect();
            return Ok(CommandList { commands, timeouts }.to_bytes());
        }
        // REPORTING OPTIONS that do not fit the operation code (SPC-4 table 266).
        OperationCodes::Without { opcode } if has_actions(opcode) => return Err(invalid_field(2)),
        OperationCodes::With { opcode, .. } if forms_of(opcode).next().is_some() && !has_actions(opcode) => {
            return Err(invalid_field(2));
        }
        OperationCodes::Without { opcode } => forms_of(opcode).next(),
        OperationCodes::With { opcode, action } | OperationCodes::Either { opcode, action } => {
            with_action(opcode, action)
        }
    };
    Ok(OneCommand { usage: form.map(|form| form.usage), timeouts }.to_bytes())
}
