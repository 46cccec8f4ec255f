//! The service actions of MAINTENANCE IN and OUT: what a unit can do, and how it is reached.

use super::table::{form, invalid_bit, layout};
use super::{CdbError, Command, CommandForm};
use crate::OperationCodes;
use crate::cdb::{MaintenanceInCdb, SetTargetPortGroupsCdb, opcode, service_action};

pub(super) const FORMS: &[CommandForm] = &[
    form!(
        "REPORT TARGET PORT GROUPS",
        action [
            opcode::MAINTENANCE_IN, 0xe0 | service_action::REPORT_TARGET_PORT_GROUPS, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0, 0,
        ],
        target_port_groups
    ),
    form!(
        "REPORT SUPPORTED OPERATION CODES",
        action [
            opcode::MAINTENANCE_IN, service_action::REPORT_SUPPORTED_OPERATION_CODES, 0x87, 0xff, 0xff, 0xff, 0xff,
            0xff, 0xff, 0xff, 0, 0,
        ],
        supported_operation_codes
    ),
    form!(
        "REPORT SUPPORTED TASK MANAGEMENT FUNCTIONS",
        action [
            opcode::MAINTENANCE_IN, service_action::REPORT_SUPPORTED_TASK_MANAGEMENT_FUNCTIONS, 0x80, 0, 0, 0, 0xff,
            0xff, 0xff, 0xff, 0, 0,
        ],
        supported_task_management_functions
    ),
    form!(
        "SET TARGET PORT GROUPS",
        action [
            opcode::MAINTENANCE_OUT, service_action::SET_TARGET_PORT_GROUPS, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0, 0,
        ],
        set_target_port_groups
    ),
];

fn target_port_groups(cdb: &[u8]) -> Result<Command, CdbError> {
    let cdb: &MaintenanceInCdb = layout(cdb)?;
    let extended = match cdb.action >> 5 {
        0 => false,
        1 => true,
        _ => return Err(invalid_bit(1, 7)),
    };
    Ok(Command::ReportTargetPortGroups { extended, allocation_len: cdb.allocation_len.get() })
}

fn supported_operation_codes(cdb: &[u8]) -> Result<Command, CdbError> {
    let cdb: &MaintenanceInCdb = layout(cdb)?;
    let (opcode, action) = (cdb.asked_opcode, cdb.asked_action.get());
    let which = match cdb.options & 7 {
        0 => OperationCodes::All,
        1 => OperationCodes::Without { opcode },
        2 => OperationCodes::With { opcode, action },
        3 => OperationCodes::Either { opcode, action },
        _ => return Err(invalid_bit(2, 2)),
    };
    let timeouts = cdb.options & 0x80 != 0;
    Ok(Command::ReportSupportedOperationCodes { which, timeouts, allocation_len: cdb.allocation_len.get() })
}

fn supported_task_management_functions(cdb: &[u8]) -> Result<Command, CdbError> {
    let cdb: &MaintenanceInCdb = layout(cdb)?;
    let (extended, allocation_len) = (cdb.options & 0x80 != 0, cdb.allocation_len.get());
    Ok(Command::ReportSupportedTaskManagementFunctions { extended, allocation_len })
}

fn set_target_port_groups(cdb: &[u8]) -> Result<Command, CdbError> {
    let cdb: &SetTargetPortGroupsCdb = layout(cdb)?;
    Ok(Command::SetTargetPortGroups { parameter_len: cdb.parameter_len.get() })
}
