//! Every command of the table: bits that no field has, addresses beyond the end, and what REPORT SUPPORTED OPERATION CODES says of it.

use bytes::Bytes;
use lunshadow_scsi::{
    AdditionalSense, Command, CommandForm, CommandList, FieldPointer, LunAddress, OneCommand, OperationCodes, SenseKey,
    SensePointer, Status, TaskManagementFunctions, opcode,
};

use crate::device_server::{Bench, DISK, LUN_BLOCKS, illegal, invalid_field};

/// The shortest CDB of a form.
fn cdb_of(form: &CommandForm) -> Vec<u8> {
    let mut cdb = vec![0; form.usage.len()];
    cdb[0] = form.opcode();
    cdb[1] = form.service_action.unwrap_or(0);
    cdb
}

#[tokio::test]
async fn reserved_bits_are_refused_by_every_command() {
    let bench = Bench::new().await;
    for form in CommandForm::all() {
        let control = form.usage.len() - 1;
        for byte in 1..control {
            for bit in 0..8 {
                let in_action = byte == 1 && form.service_action.is_some() && bit < 5;
                if in_action || form.usage[byte] >> bit & 1 != 0 {
                    continue;
                }
                let mut cdb = cdb_of(form);
                cdb[byte] |= 1 << bit;
                let completion = bench.run_cdb(LunAddress::peripheral(DISK), &cdb, Bytes::new()).await;
                let sense =
                    completion.sense.unwrap_or_else(|| panic!("{}: bit {bit} of byte {byte} is taken", form.name));
                assert_eq!(sense.code, AdditionalSense::INVALID_FIELD_IN_CDB, "{}", form.name);
                let Some(SensePointer::Cdb(field)) = sense.pointer else { panic!("{}: no pointer", form.name) };
                let Ok(byte) = u16::try_from(byte) else { panic!("CDBs are short") };
                assert_eq!(field.byte, byte, "{}: bit {bit}", form.name);
                assert!(field.bit.is_none_or(|field| field >= bit), "{}: {field:?} for bit {bit}", form.name);
            }
        }
        // NACA.
        let mut cdb = cdb_of(form);
        cdb[control] = 0x04;
        let completion = bench.run_cdb(LunAddress::peripheral(DISK), &cdb, Bytes::new()).await;
        assert_eq!(completion, invalid_field(FieldPointer::bit(control, 2)), "{}", form.name);
    }
}

/// Where a CDB of the block commands has its address.
fn address_of(form: &CommandForm) -> Option<std::ops::Range<usize>> {
    let is_block_command = form.name.starts_with("READ(")
        || form.name.starts_with("WRITE") && form.opcode() != opcode::THIRD_PARTY_COPY_OUT
        || ["VERIFY", "SYNCHRONIZE", "PRE-FETCH", "ORWRITE", "COMPARE", "GET LBA"]
            .iter()
            .any(|name| form.name.starts_with(name));
    is_block_command.then_some(match form.usage.len() {
        6 => 1..4,
        16 => 2..10,
        _ => 2..6,
    })
}

#[tokio::test]
async fn addresses_beyond_the_end_are_refused_by_every_block_command() {
    let bench = Bench::new().await;
    let out_of_range = illegal(AdditionalSense::LBA_OUT_OF_RANGE);
    let mut block_commands = 0;
    for form in CommandForm::all() {
        let Some(place) = address_of(form) else { continue };
        block_commands += 1;
        for lba in [LUN_BLOCKS + 1, 0x1f_ffff] {
            let mut cdb = cdb_of(form);
            let len = place.len();
            cdb[place.clone()].copy_from_slice(&lba.to_be_bytes()[8 - len..]);
            let completion = bench.run_cdb(LunAddress::peripheral(DISK), &cdb, Bytes::new()).await;
            assert_eq!(completion, out_of_range, "{} at {lba}", form.name);
        }
    }
    assert_eq!(block_commands, 24);
}

async fn one_command(bench: &Bench, lun: u8, which: OperationCodes) -> Option<Vec<u8>> {
    let command = Command::ReportSupportedOperationCodes { which, timeouts: true, allocation_len: 255 };
    let data = bench.data(lun, command).await;
    let one = OneCommand::parse(&data).expect("one command");
    assert_eq!(one.timeouts, one.usage.is_some(), "timeouts were asked for");
    one.usage.map(<[u8]>::to_vec)
}

#[tokio::test]
async fn the_list_of_commands_is_the_table() {
    let bench = Bench::new().await;
    let all = |timeouts| Command::ReportSupportedOperationCodes {
        which: OperationCodes::All,
        timeouts,
        allocation_len: u32::MAX,
    };
    let list = CommandList::parse(&bench.data(DISK, all(false)).await).expect("a list");
    assert!(list.commands.iter().copied().eq(CommandForm::all().map(CommandForm::descriptor)));
    assert!(!list.timeouts);
    let with_timeouts = bench.data(DISK, all(true)).await;
    assert_eq!(with_timeouts.len(), 4 + 20 * list.commands.len());
    let with_timeouts = CommandList::parse(&with_timeouts).expect("a list");
    assert!(with_timeouts.timeouts && with_timeouts.commands == list.commands);

    for form in CommandForm::all() {
        let (opcode, action) = (form.opcode(), form.service_action.map(u16::from));
        let asked = match action {
            None => OperationCodes::Without { opcode },
            Some(action) => OperationCodes::With { opcode, action },
        };
        assert_eq!(one_command(&bench, DISK, asked).await.as_deref(), Some(form.usage), "{}", form.name);
        let either = OperationCodes::Either { opcode, action: action.unwrap_or(0) };
        assert_eq!(one_command(&bench, DISK, either).await.as_deref(), Some(form.usage), "{}", form.name);
    }
}

#[tokio::test]
async fn what_is_not_there_is_reported_so() {
    let bench = Bench::new().await;
    let unknown = [
        OperationCodes::Without { opcode: 0xff },
        OperationCodes::With { opcode: opcode::SERVICE_ACTION_IN_16, action: 0x1f },
        OperationCodes::Either { opcode: opcode::SERVICE_ACTION_IN_16, action: 0x110 },
        OperationCodes::Either { opcode: opcode::READ_10, action: 1 },
    ];
    for which in unknown {
        assert_eq!(one_command(&bench, DISK, which).await, None, "{which:?}");
    }
    let contradictions = [
        OperationCodes::Without { opcode: opcode::SERVICE_ACTION_IN_16 },
        OperationCodes::With { opcode: opcode::READ_10, action: 0 },
    ];
    for which in contradictions {
        let command = Command::ReportSupportedOperationCodes { which, timeouts: false, allocation_len: 255 };
        assert_eq!(bench.ask(DISK, command).await, invalid_field(FieldPointer::byte(2)), "{which:?}");
    }
    // The controller has only what every unit has.
    assert_eq!(one_command(&bench, 0, OperationCodes::Without { opcode: opcode::READ_10 }).await, None);
    assert!(one_command(&bench, 0, OperationCodes::Without { opcode: opcode::INQUIRY }).await.is_some());
    let read = [opcode::READ_10, 0, 0, 0, 0, 0, 0, 0, 1, 0];
    let completion = bench.run_cdb(LunAddress::peripheral(0), &read, Bytes::new()).await;
    assert_eq!(completion, illegal(AdditionalSense::INVALID_COMMAND_OPERATION_CODE));
    let absent = bench.run_cdb(LunAddress::peripheral(7), &read, Bytes::new()).await;
    assert_eq!(absent, illegal(AdditionalSense::LOGICAL_UNIT_NOT_SUPPORTED));
}

#[tokio::test]
async fn the_transport_says_which_task_management_functions_there_are() {
    let bench = Bench::new().await;
    for (extended, len) in [(false, 4), (true, 16)] {
        let command = Command::ReportSupportedTaskManagementFunctions { extended, allocation_len: 255 };
        let data = bench.data(DISK, command).await;
        assert_eq!(data.len(), len);
        let expected = TaskManagementFunctions { abort_task: true, ..TaskManagementFunctions::default() };
        assert_eq!(TaskManagementFunctions::parse(&data), Ok(expected));
    }
}

#[tokio::test]
async fn unknown_operation_codes_and_service_actions_are_refused() {
    let bench = Bench::new().await;
    for code in 0..=u8::MAX {
        if CommandForm::of_opcode(code).next().is_none() {
            let mut cdb = [0; 16];
            cdb[0] = code;
            let completion = bench.run_cdb(LunAddress::peripheral(DISK), &cdb, Bytes::new()).await;
            assert_eq!(completion, illegal(AdditionalSense::INVALID_COMMAND_OPERATION_CODE), "{code:02x}");
        }
    }
    let with_actions = [
        opcode::PERSISTENT_RESERVE_IN,
        opcode::PERSISTENT_RESERVE_OUT,
        opcode::MAINTENANCE_IN,
        opcode::MAINTENANCE_OUT,
        opcode::SANITIZE,
        opcode::THIRD_PARTY_COPY_OUT,
        opcode::THIRD_PARTY_COPY_IN,
    ];
    for code in with_actions {
        for action in 0..=0x1f {
            if CommandForm::of_opcode(code).any(|form| form.service_action == Some(action)) {
                continue;
            }
            let mut cdb = [0; 16];
            cdb[..2].copy_from_slice(&[code, action]);
            let completion = bench.run_cdb(LunAddress::peripheral(DISK), &cdb, Bytes::new()).await;
            assert_eq!(completion, invalid_field(FieldPointer::bit(1, 4)), "{code:02x}/{action:02x}");
            assert_eq!(completion.status, Status::CHECK_CONDITION);
            assert_eq!(completion.sense.map(|sense| sense.key), Some(SenseKey::ILLEGAL_REQUEST));
        }
    }
}
