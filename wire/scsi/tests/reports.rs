//! What a unit can do and how it is reached: the table of commands, MAINTENANCE IN, MODE SELECT's list, page 86h.

use lunshadow_scsi::vpd::ExtendedInquiry;
use lunshadow_scsi::{
    AccessState, BlockRange, ByteCheck, CdbForm, Command, CommandDescriptor, CommandForm, CommandList, FieldPointer,
    LogPage, ModeData, ModeForm, ModeList, ModeListError, ModePage, OneCommand, OperationCodes, Peripheral,
    ProvisioningParameter, ResourceScope, SetTargetPortGroup, TargetPortGroup, TaskManagementFunctions, opcode,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

fn check_cdb(command: Command, cdb: &[u8]) {
    assert_eq!(command.to_cdb().as_bytes(), cdb, "{command:?}");
    assert_eq!(Command::parse(cdb), Ok(command));
}

#[test]
fn cdbs_are_laid_out_as_in_the_standards() {
    let which = OperationCodes::With { opcode: 0x9e, action: 0x0110 };
    check_cdb(
        Command::ReportSupportedOperationCodes { which, timeouts: true, allocation_len: 0x0102_0304 },
        &[0xa3, 0x0c, 0x82, 0x9e, 0x01, 0x10, 1, 2, 3, 4, 0, 0],
    );
    check_cdb(
        Command::ReportSupportedTaskManagementFunctions { extended: true, allocation_len: 16 },
        &[0xa3, 0x0d, 0x80, 0, 0, 0, 0, 0, 0, 16, 0, 0],
    );
    check_cdb(
        Command::ReportTargetPortGroups { extended: true, allocation_len: 255 },
        &[0xa3, 0x2a, 0, 0, 0, 0, 0, 0, 0, 255, 0, 0],
    );
    check_cdb(Command::SetTargetPortGroups { parameter_len: 0x0102_0304 }, &[0xa4, 0x0a, 0, 0, 0, 0, 1, 2, 3, 4, 0, 0]);
    check_cdb(
        Command::LogSense { page: 0x0c, subpage: 0xff, parameter: 0x0102, allocation_len: 0x0304 },
        &[0x4d, 0, 0x4c, 0xff, 0, 1, 2, 3, 4, 0],
    );
    let select = |form| Command::ModeSelect { form, page_format: true, save: true, parameter_len: 24 };
    check_cdb(select(ModeForm::Six), &[0x15, 0x11, 0, 0, 24, 0]);
    check_cdb(select(ModeForm::Ten), &[0x55, 0x11, 0, 0, 0, 0, 0, 0, 24, 0]);
    check_cdb(
        Command::CompareAndWrite { lba: 0x0102_0304_0506_0708, block_count: 9, fua: true },
        &[0x89, 8, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0, 9, 0, 0],
    );
    check_cdb(
        Command::WriteAtomic { lba: 8, boundary: 0x0102, block_count: 0x0304, fua: true },
        &[0x9c, 8, 0, 0, 0, 0, 0, 0, 0, 8, 1, 2, 3, 4, 0, 0],
    );
    let ten = BlockRange::new(1, 2);
    check_cdb(
        Command::WriteSame { range: ten, unmap: true, anchor: true, no_data_out: false },
        &[0x41, 0x18, 0, 0, 0, 1, 0, 0, 2, 0],
    );
    let sixteen = BlockRange::with_form(CdbForm::Sixteen, 1, 2).expect("a range");
    check_cdb(
        Command::WriteSame { range: sixteen, unmap: false, anchor: false, no_data_out: true },
        &[0x93, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0],
    );
    check_cdb(Command::OrWrite { range: sixteen, fua: true }, &[0x8b, 8, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0]);
    check_cdb(Command::PreFetch { range: ten, immediate: true }, &[0x34, 2, 0, 0, 0, 1, 0, 0, 2, 0]);
    let check = ByteCheck::Blocks;
    check_cdb(Command::WriteAndVerify { range: ten, check }, &[0x2e, 2, 0, 0, 0, 1, 0, 0, 2, 0]);
}

#[test]
fn a_block_without_data_out_takes_the_form_that_can_say_so() {
    let command = Command::WriteSame { range: BlockRange::new(1, 2), unmap: false, anchor: false, no_data_out: true };
    assert_eq!(command.to_cdb().as_bytes()[..2], [0x93, 1]);
}

#[test]
fn the_table_has_each_command_once_and_rows_of_one_code_together() {
    let mut seen = Vec::new();
    for form in CommandForm::all() {
        let name = (form.opcode(), form.service_action);
        assert!(!seen.contains(&name), "{} is there twice", form.name);
        seen.push(name);
        assert!(matches!(form.usage.len(), 6 | 10 | 12 | 16), "{}", form.name);
        // The group code says how long the CDB is (SPC-4 4.2.5.1).
        let len = match form.opcode() >> 5 {
            0 => 6,
            1 | 2 => 10,
            4 => 16,
            5 => 12,
            _ => panic!("{} has a group code of the vendor", form.name),
        };
        assert_eq!(form.usage.len(), len, "{}", form.name);
        let found = CommandForm::of_opcode(form.opcode()).any(|found| std::ptr::eq(found, form));
        assert!(found, "{} is not found by its code", form.name);
        let mut cdb = vec![0; len];
        cdb[..2].copy_from_slice(&[form.opcode(), form.service_action.unwrap_or(0)]);
        let by_cdb = CommandForm::of_cdb(&cdb).expect("it is there");
        assert!(std::ptr::eq(by_cdb, form), "{} is read as {}", form.name, by_cdb.name);
        // LOG SENSE is built to ask for cumulative values.
        if form.opcode() == opcode::LOG_SENSE {
            cdb[2] = 0x40;
        }
        // A CDB of a form is built in the same form.
        if let Ok(command) = form.parse(&cdb) {
            assert_eq!(command.to_cdb().as_bytes(), cdb, "{}", form.name);
        }
    }
    assert_eq!(seen.len(), 69);
}

#[test]
fn states_of_target_port_groups_are_laid_out_as_in_spc() {
    let states = [AccessState::ACTIVE_OPTIMIZED, AccessState::STANDBY, AccessState::UNAVAILABLE];
    assert_eq!(states.map(AccessState::support_bit), [1, 4, 8]);
    assert_eq!(AccessState(0xe).support_bit(), 0);
    let set = [
        SetTargetPortGroup { group: 0x0102, state: AccessState::STANDBY },
        SetTargetPortGroup { group: 3, state: AccessState::ACTIVE_NON_OPTIMIZED },
    ];
    let list = [0, 0, 0, 0, 2, 0, 1, 2, 1, 0, 0, 3];
    assert_eq!((SetTargetPortGroup::list_to_bytes(&set), SetTargetPortGroup::list_len(2)), (list.to_vec(), list.len()));
    assert_eq!(SetTargetPortGroup::parse_list(&list), Ok(set.to_vec()));
    for len in (0..4).chain(5..8) {
        assert_eq!(SetTargetPortGroup::parse_list(&list[..len]), Err(None), "{len} bytes");
    }
    // Reserved bits: of the header, beside a state, behind it.
    let reserved = [(2, FieldPointer::byte(2)), (8, FieldPointer::bit(8, 7)), (5, FieldPointer::byte(5))];
    for (byte, field) in reserved {
        let mut list = list;
        list[byte] |= 0x10;
        assert_eq!(SetTargetPortGroup::parse_list(&list), Err(Some(field)));
    }
}

#[test]
fn reports_are_laid_out_as_in_spc() {
    let commands = vec![
        CommandDescriptor { opcode: 0x28, service_action: None, cdb_len: 10 },
        CommandDescriptor { opcode: 0x9e, service_action: Some(0x10), cdb_len: 16 },
    ];
    let list = CommandList { commands, timeouts: false };
    let expected = [0, 0, 0, 16, 0x28, 0, 0, 0, 0, 0, 0, 10, 0x9e, 0, 0, 0x10, 0, 1, 0, 16];
    assert_eq!(list.to_bytes(), expected);
    let with_timeouts = CommandList { timeouts: true, ..list }.to_bytes();
    assert_eq!(with_timeouts[3], 40);
    assert_eq!(with_timeouts[9..24], [2, 0, 10, 0, 10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);

    let usage = [0x28, 0x18, 0xff, 0xff, 0xff, 0xff, 0x1f, 0xff, 0xff, 0];
    let read = CommandForm::of_opcode(opcode::READ_10).next().expect("it is there");
    assert_eq!(read.usage, usage);
    let one = OneCommand { usage: Some(&usage), timeouts: false }.to_bytes();
    assert_eq!(one, [&[0, 3, 0, 10][..], &usage].concat());
    let with_timeouts = OneCommand { usage: Some(&usage), timeouts: true }.to_bytes();
    assert_eq!((with_timeouts[1], with_timeouts.len()), (0x83, 4 + 10 + 12));
    assert_eq!(OneCommand { usage: None, timeouts: true }.to_bytes(), [0, 1, 0, 0]);

    let functions = TaskManagementFunctions {
        abort_task: true,
        abort_task_set: true,
        clear_aca: false,
        clear_task_set: true,
        logical_unit_reset: true,
        target_reset: true,
    };
    assert_eq!(functions.to_bytes(false), [0xda, 0, 0, 0]);
    let extended = functions.to_bytes(true);
    assert_eq!((&extended[..4], extended.len()), (&[0xda, 0, 0, 12][..], 16));

    let group = TargetPortGroup {
        group: 0x0102,
        preferred: true,
        state: AccessState::ACTIVE_NON_OPTIMIZED,
        supported_states: 3,
        ports: vec![0x0304],
    };
    let descriptor = [0x81, 3, 1, 2, 0, 0, 0, 1, 0, 0, 3, 4];
    assert_eq!(
        TargetPortGroup::list_to_bytes(std::slice::from_ref(&group), false),
        [&[0, 0, 0, 12][..], &descriptor].concat()
    );
    let extended = TargetPortGroup::list_to_bytes(&[group], true);
    assert_eq!(extended, [&[0, 0, 0, 16, 0x10, 0, 0, 0][..], &descriptor].concat());

    let parameters = [
        ProvisioningParameter { code: 1, resource_count: 0x0102_0304, scope: ResourceScope::SHARED },
        ProvisioningParameter { code: 2, resource_count: 5, scope: ResourceScope::DEDICATED },
    ];
    let body = ProvisioningParameter::list_to_bytes(&parameters);
    let expected = [0, 1, 3, 8, 1, 2, 3, 4, 2, 0, 0, 0, 0, 2, 3, 8, 0, 0, 0, 5, 1, 0, 0, 0];
    assert_eq!(body, expected);
    let log = LogPage { page: 0x0c, subpage: 0, body }.to_bytes();
    assert_eq!(log, [&[0x8c, 0, 0, 24][..], &expected].concat());
    assert_eq!(LogPage { page: 0, subpage: 0xff, body: vec![0, 0] }.to_bytes(), [0xc0, 0xff, 0, 2, 0, 0]);

    let page = ExtendedInquiry { task_attributes: (true, true, true), volatile_cache: true, nexus_wide_clear: true };
    let bytes = page.to_bytes(Peripheral::DISK);
    assert_eq!((bytes.len(), &bytes[..8]), (64, &[0, 0x86, 0, 0x3c, 0, 7, 1, 1][..]));
}

#[test]
fn damaged_mode_lists_are_refused() {
    let page = ModePage::InformationalExceptions;
    for form in [ModeForm::Six, ModeForm::Ten] {
        let block_descriptor = Some((7, 512));
        let list = ModeData { block_descriptor, pages: vec![page.clone()], ..ModeData::default() }.to_bytes(form);
        let header_len = if form == ModeForm::Six { 4 } else { 8 };
        let parsed = ModeList::parse(form, &list).expect("a list");
        assert_eq!(parsed.block_descriptor, block_descriptor);
        assert_eq!((parsed.pages[0].offset, &parsed.pages[0].page), (header_len + 8, &page));
        assert_eq!(parsed.pages[0].bytes, page.to_bytes());
        for len in 1..list.len() {
            let cut = ModeList::parse(form, &list[..len]);
            // Without any page it is whole as well.
            let expected = if len == header_len + 8 { Ok(0) } else { Err(ModeListError::CutOff(len)) };
            assert_eq!(cut.map(|list| list.pages.len()), expected, "{len} bytes");
        }
        let mut odd = list.clone();
        odd[header_len - 1] = 16;
        let field = FieldPointer::byte(header_len - 1);
        assert_eq!(ModeList::parse(form, &odd), Err(ModeListError::InvalidField(field)));
        assert_eq!(ModeList::parse(form, &[]), Ok(ModeList::default()));
    }
}

proptest! {
    #[test]
    fn what_is_built_reads_back(
        descriptors in vec((any::<u8>(), option::of(any::<u16>()), any::<u16>()), 0..20),
        (timeouts, extended) in any::<(bool, bool)>(),
        usage in option::of(vec(any::<u8>(), 6..=16)),
        flags in any::<[bool; 6]>(),
        (page, subpage, parameters) in (0..64_u8, any::<u8>(), vec((any::<u16>(), any::<u32>(), 0..4_u8), 0..4)),
        groups in vec((any::<(u16, bool, u8)>(), 0..16_u8, vec(any::<u16>(), 0..4)), 0..4),
    ) {
        let commands: Vec<_> = descriptors
            .into_iter()
            .map(|(opcode, service_action, cdb_len)| CommandDescriptor { opcode, service_action, cdb_len })
            .collect();
        let list = CommandList { timeouts: timeouts && !commands.is_empty(), commands };
        prop_assert_eq!(CommandList::parse(&list.to_bytes()), Ok(list));
        let one = OneCommand { usage: usage.as_deref(), timeouts: timeouts && usage.is_some() };
        let bytes = one.to_bytes();
        prop_assert_eq!(OneCommand::parse(&bytes), Ok(one));
        let [abort_task, abort_task_set, clear_aca, clear_task_set, logical_unit_reset, target_reset] = flags;
        let functions = TaskManagementFunctions {
            abort_task, abort_task_set, clear_aca, clear_task_set, logical_unit_reset, target_reset,
        };
        prop_assert_eq!(TaskManagementFunctions::parse(&functions.to_bytes(extended)), Ok(functions));
        let parameters: Vec<_> = parameters
            .into_iter()
            .map(|(code, resource_count, scope)| ProvisioningParameter {
                code, resource_count, scope: ResourceScope(scope),
            })
            .collect();
        let body = ProvisioningParameter::list_to_bytes(&parameters);
        prop_assert_eq!(ProvisioningParameter::parse_list(&body), parameters);
        let log = LogPage { page, subpage, body };
        prop_assert_eq!(LogPage::parse(&log.to_bytes()), Ok(log));
        let groups: Vec<_> = groups
            .into_iter()
            .map(|((group, preferred, supported_states), state, ports)| TargetPortGroup {
                group, preferred, state: AccessState(state), supported_states, ports,
            })
            .collect();
        let bytes = TargetPortGroup::list_to_bytes(&groups, extended);
        prop_assert_eq!(TargetPortGroup::parse_list(&bytes, extended), Ok(groups));
    }

    #[test]
    fn no_bytes_make_a_parser_panic(bytes in vec(any::<u8>(), 0..200)) {
        prop_assert_eq!(CommandList::parse(&bytes).is_err(), bytes.len() < 4);
        prop_assert_eq!(TaskManagementFunctions::parse(&bytes).is_err(), bytes.len() < 4);
        prop_assert_eq!(TargetPortGroup::parse_list(&bytes, false).is_err(), bytes.len() < 4);
        let _ = TargetPortGroup::parse_list(&bytes, true);
        if let Ok(groups) = SetTargetPortGroup::parse_list(&bytes) {
            prop_assert_eq!(SetTargetPortGroup::list_to_bytes(&groups), bytes.clone());
        }
        prop_assert_eq!(LogPage::parse(&bytes).is_err(), bytes.len() < 4);
        let _ = ProvisioningParameter::parse_list(&bytes);
        let _ = OneCommand::parse(&bytes);
        let _ = ModeList::parse(ModeForm::Six, &bytes);
        let _ = ModeList::parse(ModeForm::Ten, &bytes);
    }
}
