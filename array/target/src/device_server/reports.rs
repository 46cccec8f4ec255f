//! REPORT SUPPORTED OPERATION CODES, REPORT TARGET PORT GROUPS: what a unit can do, and how it is reached.

use lunshadow_scsi::{AccessState, CommandForm, CommandList, OneCommand, OperationCodes, Sense, TargetPortGroup};

use super::unit::Unit;
use super::{TargetPort, invalid_field};

/// Taken from the table that reads CDBs, so what is reported is what is there.
pub(super) fn operation_codes(unit: &Unit, which: OperationCodes, timeouts: bool) -> Result<Vec<u8>, Sense> {
    let forms_of = |opcode| CommandForm::of_opcode(opcode).filter(|form| unit.has(form));
    let has_actions = |opcode| forms_of(opcode).any(|form| form.service_action.is_some());
    let with_action =
        |opcode, action: u16| forms_of(opcode).find(|form| form.service_action.map_or(0, u16::from) == action);
    let form = match which {
        OperationCodes::All => {
            let commands = CommandForm::all().filter(|form| unit.has(form)).map(CommandForm::descriptor).collect();
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

/// All ports are alike: they lead to the same process (implicit ALUA with one state).
pub(super) fn target_port_groups(port: &TargetPort, extended: bool) -> Vec<u8> {
    let group = TargetPortGroup {
        group: port.group,
        preferred: false,
        state: AccessState::ACTIVE_OPTIMIZED,
        supported_states: TargetPortGroup::SUPPORTS_ACTIVE_OPTIMIZED,
        ports: vec![port.relative_port],
    };
    TargetPortGroup::list_to_bytes(&[group], extended)
}
