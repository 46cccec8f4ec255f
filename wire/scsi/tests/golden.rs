//! Bytes as the tables of SPC-4 and SBC-3 lay them out, against what is built and read.

use lunshadow_control::{Association, CodeSet, Designator, DesignatorKind};
use lunshadow_scsi::vpd::{
    BlockDeviceCharacteristics, BlockLimits, DeviceIdentification, LogicalBlockProvisioning, ProvisioningType,
    SupportedPages, UnitSerialNumber,
};
use lunshadow_scsi::{
    AdditionalSense, BlockRange, ByteCheck, CachingPage, Capacity10, Capacity16, CdbError, CdbForm, Command,
    ControlPage, DefectForm, DefectRequest, FieldPointer, LbaExtent, LbaStatus, LunAddress, LunList, ModeData,
    ModeForm, ModePage, OverwriteListError, OverwriteParameters, PageControl, Peripheral, Power, ProvisioningPage,
    ProvisioningStatus, ResponseError, SanitizeAction, SelectReport, Sense, SenseFormat, SenseKey, SensePointer,
    StandardInquiry, Status, Threshold, UnmapListError, UnmapRange, page_code, version_descriptor,
};

fn check_cdb(command: Command, cdb: &[u8]) {
    assert_eq!(command.to_cdb().as_bytes(), cdb, "{command:?}");
    assert_eq!(Command::parse(cdb), Ok(command));
    // Transports carry 16 bytes.
    assert_eq!(Command::parse(&command.to_cdb().padded()), Ok(command));
}

fn ranged(form: CdbForm, lba: u64, block_count: u32) -> BlockRange {
    BlockRange::with_form(form, lba, block_count).expect("a range of the form")
}

#[test]
fn cdbs_of_primary_commands_are_laid_out_as_in_spc() {
    let format = SenseFormat::Descriptor;
    check_cdb(Command::TestUnitReady, &[0; 6]);
    check_cdb(Command::RequestSense { format, allocation_len: 252 }, &[0x03, 1, 0, 0, 252, 0]);
    check_cdb(Command::Inquiry { page: None, allocation_len: 0x1234 }, &[0x12, 0, 0, 0x12, 0x34, 0]);
    check_cdb(Command::Inquiry { page: Some(0x83), allocation_len: 255 }, &[0x12, 1, 0x83, 0, 255, 0]);
    let select = SelectReport::All;
    check_cdb(Command::ReportLuns { select, allocation_len: 0x0001_0203 }, &[0xa0, 0, 2, 0, 0, 0, 0, 1, 2, 3, 0, 0]);
    let sense = |form, allocation_len| Command::ModeSense {
        form,
        without_block_descriptor: true,
        control: PageControl::Saved,
        page: 0x3f,
        subpage: 0xff,
        allocation_len,
    };
    check_cdb(sense(ModeForm::Six, 192), &[0x1a, 8, 0xff, 0xff, 192, 0]);
    check_cdb(sense(ModeForm::Ten, 0x0102), &[0x5a, 8, 0xff, 0xff, 0, 0, 0, 1, 2, 0]);
}

#[test]
fn cdbs_of_block_commands_are_laid_out_as_in_sbc() {
    let read = |range, fua| Command::Read { range, fua };
    let write = |range, fua| Command::Write { range, fua };
    check_cdb(read(ranged(CdbForm::Six, 0x1f_ff_fe, 256), false), &[0x08, 0x1f, 0xff, 0xfe, 0, 0]);
    check_cdb(write(ranged(CdbForm::Six, 1, 255), false), &[0x0a, 0, 0, 1, 255, 0]);
    check_cdb(read(ranged(CdbForm::Ten, 0x0102_0304, 0x0506), true), &[0x28, 8, 1, 2, 3, 4, 0, 5, 6, 0]);
    check_cdb(write(ranged(CdbForm::Ten, 5, 0), false), &[0x2a, 0, 0, 0, 0, 5, 0, 0, 0, 0]);
    check_cdb(write(ranged(CdbForm::Twelve, 1, 0x0102_0304), true), &[0xaa, 8, 0, 0, 0, 1, 1, 2, 3, 4, 0, 0]);
    check_cdb(
        read(ranged(CdbForm::Sixteen, 0x0102_0304_0506_0708, 0x090a_0b0c), false),
        &[0x88, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 0, 0],
    );
    let check = ByteCheck::OneBlock;
    check_cdb(Command::Verify { range: ranged(CdbForm::Ten, 1, 2), check }, &[0x2f, 6, 0, 0, 0, 1, 0, 0, 2, 0]);
    check_cdb(
        Command::SynchronizeCache { range: ranged(CdbForm::Ten, 0, 0), immediate: true },
        &[0x35, 2, 0, 0, 0, 0, 0, 0, 0, 0],
    );
    check_cdb(Command::ReadCapacity10, &[0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    check_cdb(Command::ReadCapacity16 { allocation_len: 32 }, &[0x9e, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 32, 0, 0]);
    check_cdb(
        Command::GetLbaStatus { lba: 0x0102, allocation_len: 24 },
        &[0x9e, 0x12, 0, 0, 0, 0, 0, 0, 1, 2, 0, 0, 0, 24, 0, 0],
    );
    let request = DefectRequest { primary: true, grown: false, format: 5 };
    let defects = |form, index| Command::ReadDefectData { form, request, index, allocation_len: 0x0102 };
    check_cdb(defects(DefectForm::Ten, 0), &[0x37, 0, 0x15, 0, 0, 0, 0, 1, 2, 0]);
    check_cdb(defects(DefectForm::Twelve, 0x0304), &[0xb7, 0x15, 0, 0, 3, 4, 0, 0, 1, 2, 0, 0]);
    assert_eq!(request.empty_list(DefectForm::Ten), [0, 0x15, 0, 0]);
    assert_eq!(request.empty_list(DefectForm::Twelve), [0, 0x15, 0, 0, 0, 0, 0, 0]);
    check_cdb(Command::Unmap { anchor: true, parameter_len: 24 }, &[0x42, 1, 0, 0, 0, 0, 0, 0, 24, 0]);
    check_cdb(Command::StartStopUnit { power: Power::Eject, immediate: true }, &[0x1b, 1, 0, 0, 2, 0]);
    check_cdb(Command::PreventAllowMediumRemoval { prevent: true }, &[0x1e, 0, 0, 0, 1, 0]);
    let sanitize = |action, immediate, unrestricted_exit, parameter_len| Command::Sanitize {
        action,
        immediate,
        unrestricted_exit,
        parameter_len,
    };
    check_cdb(sanitize(SanitizeAction::Overwrite, true, false, 8), &[0x48, 0x81, 0, 0, 0, 0, 0, 0, 8, 0]);
    check_cdb(sanitize(SanitizeAction::BlockErase, false, true, 0), &[0x48, 0x22, 0, 0, 0, 0, 0, 0, 0, 0]);
    check_cdb(sanitize(SanitizeAction::ExitFailureMode, false, false, 0), &[0x48, 0x1f, 0, 0, 0, 0, 0, 0, 0, 0]);
    check_cdb(Command::StartStopUnit { power: Power::Condition(3), immediate: false }, &[0x1b, 0, 0, 0, 0x30, 0]);
}

#[test]
fn ranges_take_the_shortest_usual_form() {
    assert_eq!(BlockRange::new(u64::from(u32::MAX), 65535).form(), CdbForm::Ten);
    assert_eq!(BlockRange::new(u64::from(u32::MAX) + 1, 1).form(), CdbForm::Sixteen);
    assert_eq!(BlockRange::new(0, 65536).form(), CdbForm::Sixteen);
    assert_eq!(BlockRange::with_form(CdbForm::Six, 1 << 21, 1), None);
    assert_eq!(BlockRange::with_form(CdbForm::Six, 0, 0), None);
    assert_eq!(BlockRange::with_form(CdbForm::Ten, 0, 65536), None);
    assert_eq!(BlockRange::with_form(CdbForm::Twelve, 1 << 32, 1), None);
}

#[test]
fn forms_that_a_command_lacks_are_widened() {
    let six = ranged(CdbForm::Six, 7, 256);
    let fua = Command::Write { range: six, fua: true };
    assert_eq!(fua.to_cdb().as_bytes(), [0x2a, 8, 0, 0, 0, 7, 0, 1, 0, 0]);
    let verify = Command::Verify { range: six, check: ByteCheck::Medium };
    assert_eq!(verify.to_cdb().as_bytes()[0], 0x2f);
    let range = ranged(CdbForm::Twelve, 7, 1);
    assert_eq!(Command::SynchronizeCache { range, immediate: false }.to_cdb().as_bytes()[0], 0x91);
}

#[test]
fn power_conditions_are_those_that_are_defined() {
    // ACTIVE, IDLE, STANDBY, LU_CONTROL, FORCE_IDLE_0, FORCE_STANDBY_0, with how many modifiers each.
    let defined = [(1, 1), (2, 3), (3, 2), (7, 1), (0xa, 3), (0xb, 2)];
    for condition in 1..16_u8 {
        let modifiers = defined.iter().find(|(defined, _)| *defined == condition).map_or(0, |(_, count)| *count);
        for modifier in 0..16_u8 {
            // LOEJ does not count.
            let parsed = Command::parse(&[0x1b, 0, 0, modifier, condition << 4 | 2, 0]);
            let expected = match modifiers {
                0 => Err(CdbError::InvalidField(FieldPointer::bit(4, 7))),
                count if modifier >= count => Err(CdbError::InvalidField(FieldPointer::bit(3, 3))),
                _ => Ok(Command::StartStopUnit { power: Power::Condition(condition), immediate: false }),
            };
            assert_eq!(parsed, expected, "condition {condition}, modifier {modifier}");
        }
    }
}

#[test]
fn malformed_cdbs_name_the_field() {
    let byte = |byte| Err(CdbError::InvalidField(FieldPointer::byte(byte)));
    let bit = |byte, bit| Err(CdbError::InvalidField(FieldPointer::bit(byte, bit)));
    let cases: [(&[u8], Result<Command, CdbError>); 14] = [
        (&[], Err(CdbError::InvalidOperationCode(0))),
        (&[0xff; 16], Err(CdbError::InvalidOperationCode(0xff))),
        (&[0x7f; 16], Err(CdbError::InvalidOperationCode(0x7f))),
        // Cut off.
        (&[0x28, 0, 0], byte(3)),
        // NACA.
        (&[0, 0, 0, 0, 0, 4], bit(5, 2)),
        (&[0x28, 0, 0, 0, 0, 0, 0, 0, 1, 4], bit(9, 2)),
        // A page code without EVPD; CMDDT.
        (&[0x12, 0, 0x83, 0, 255, 0], byte(2)),
        (&[0x12, 2, 0, 0, 255, 0], bit(1, 1)),
        // SELECT REPORT.
        (&[0xa0, 0, 3, 0, 0, 0, 0, 0, 0, 16, 0, 0], byte(2)),
        // RDPROTECT, WRPROTECT.
        (&[0x28, 0x20, 0, 0, 0, 0, 0, 0, 1, 0], bit(1, 7)),
        (&[0x8a, 0xe0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0], bit(1, 7)),
        // BYTCHK 2.
        (&[0x2f, 4, 0, 0, 0, 0, 0, 0, 1, 0], bit(1, 2)),
        // READ CAPACITY with an address and without PMI; an unknown service action.
        (&[0x25, 0, 0, 0, 0, 1, 0, 0, 0, 0], byte(2)),
        (&[0x9e, 0x13, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 32, 0, 0], bit(1, 4)),
    ];
    for (cdb, expected) in cases {
        assert_eq!(Command::parse(cdb), expected, "{cdb:02x?}");
    }
    assert_eq!(Command::parse(&[0x25, 0, 0, 0, 0, 1, 0, 0, 1, 0]), Ok(Command::ReadCapacity10));
}

#[test]
fn sense_data_is_laid_out_as_in_spc() {
    let pointer = SensePointer::Cdb(FieldPointer::bit(1, 7));
    let invalid_field = Sense::new(SenseKey::ILLEGAL_REQUEST, AdditionalSense::INVALID_FIELD_IN_CDB);
    let sense = invalid_field.with_pointer(pointer);
    let fixed = [0x70, 0, 5, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0x24, 0, 0, 0xcf, 0, 1];
    assert_eq!(sense.to_bytes(SenseFormat::Fixed), fixed);
    assert_eq!(Sense::parse(&fixed), Ok(sense));
    let descriptors = [0x72, 5, 0x24, 0, 0, 0, 0, 8, 2, 6, 0, 0, 0xcf, 0, 1, 0];
    assert_eq!(sense.to_bytes(SenseFormat::Descriptor), descriptors);
    assert_eq!(Sense::parse(&descriptors), Ok(sense));

    let busy = Sense::new(SenseKey::NOT_READY, AdditionalSense::SANITIZE_IN_PROGRESS).with_progress(0x4000);
    let fixed = [0x70, 0, 2, 0, 0, 0, 0, 10, 0, 0, 0, 0, 4, 0x1b, 0, 0x80, 0x40, 0];
    assert_eq!(busy.to_bytes(SenseFormat::Fixed), fixed);
    assert_eq!(Sense::parse(&fixed), Ok(busy));
    let descriptors = [0x72, 2, 4, 0x1b, 0, 0, 0, 8, 2, 6, 0, 0, 0x80, 0x40, 0, 0];
    assert_eq!(busy.to_bytes(SenseFormat::Descriptor), descriptors);

    let medium = Sense::new(SenseKey::MEDIUM_ERROR, AdditionalSense::UNRECOVERED_READ_ERROR);
    let damaged = medium.with_information(0x0102_0304);
    let fixed = [0xf0, 0, 3, 1, 2, 3, 4, 10, 0, 0, 0, 0, 0x11, 0, 0, 0, 0, 0];
    assert_eq!(damaged.to_bytes(SenseFormat::Fixed), fixed);
    let descriptors = [0x72, 3, 0x11, 0, 0, 0, 0, 12, 0, 10, 0x80, 0, 0, 0, 0, 0, 1, 2, 3, 4];
    assert_eq!(damaged.to_bytes(SenseFormat::Descriptor), descriptors);
    // An address of more than 32 bits has no place in the fixed format, and half of it would be a lie.
    let far = medium.with_information(1 << 32);
    assert_eq!(Sense::parse(&far.to_bytes(SenseFormat::Fixed)), Ok(medium));

    assert_eq!(Sense::parse(&fixed[..3]).map(|sense| sense.key), Ok(SenseKey::MEDIUM_ERROR));
    assert_eq!(Sense::parse(&[0x7e, 0, 0]), Err(ResponseError::NotSense(0x7e)));
    assert!(matches!(Sense::parse(&[0x70]), Err(ResponseError::Truncated { .. })));
    assert_eq!(damaged.to_string(), "MEDIUM ERROR, UNRECOVERED READ ERROR, information 16909060");
    assert_eq!(Status::CHECK_CONDITION.to_string(), "CHECK CONDITION");
}

#[test]
fn no_two_additional_sense_codes_are_the_same() {
    for (at, (code, text)) in AdditionalSense::NAMED.iter().enumerate() {
        for (other, other_text) in &AdditionalSense::NAMED[..at] {
            assert_ne!((code, text), (other, other_text));
            assert!(code != other && text != other_text, "{text} is there twice");
        }
    }
}

#[test]
fn standard_inquiry_data_is_laid_out_as_in_spc() {
    let inquiry = StandardInquiry {
        peripheral: Peripheral::ARRAY_CONTROLLER,
        removable: false,
        version: StandardInquiry::SPC_4,
        target_port_groups: 1,
        third_party_copy: true,
        multi_port: true,
        command_queuing: true,
        vendor: "LUNSHDW".to_owned(),
        product: "SHADOW LUN".to_owned(),
        revision: "0001".to_owned(),
        version_descriptors: vec![version_descriptor::SAM_5, version_descriptor::ISCSI],
    };
    let bytes = inquiry.to_bytes();
    assert_eq!(bytes.len(), 96);
    assert_eq!(bytes[..8], [0x0c, 0, 6, 2, 91, 0x18, 0x10, 0x02]);
    assert_eq!(bytes[8..36], *b"LUNSHDW SHADOW LUN      0001");
    assert_eq!(bytes[58..64], [0x00, 0xa0, 0x09, 0x60, 0, 0]);
    assert_eq!(StandardInquiry::parse(&bytes), Ok(inquiry.clone()));
    let without_versions = StandardInquiry { version_descriptors: Vec::new(), ..inquiry };
    assert_eq!(StandardInquiry::parse(&bytes[..36]), Ok(without_versions));
    assert!(matches!(StandardInquiry::parse(&bytes[..35]), Err(ResponseError::Truncated { .. })));
}

#[test]
fn vpd_pages_are_laid_out_as_in_spc_and_sbc() {
    let disk = Peripheral::DISK;
    let pages = SupportedPages { pages: vec![0, 0x80, 0x83] };
    assert_eq!(pages.to_bytes(disk), [0, 0, 0, 3, 0, 0x80, 0x83]);
    let serial = UnitSerialNumber { serial: "0af".to_owned() };
    assert_eq!(serial.to_bytes(Peripheral::ABSENT), [0x7f, 0x80, 0, 3, b'0', b'a', b'f']);
    let wrong = ResponseError::WrongPage { expected: 0x80, found: 0 };
    assert_eq!(UnitSerialNumber::parse(&pages.to_bytes(disk)), Err(wrong));

    let characteristics = BlockDeviceCharacteristics { rotation_rate: 1, form_factor: 3, after_block_erase: 1 };
    let characteristics = characteristics.to_bytes(disk);
    assert_eq!(characteristics.len(), 64);
    assert_eq!(characteristics[..8], [0, 0xb1, 0, 0x3c, 0, 1, 0, 0x43]);

    let provisioning = LogicalBlockProvisioning {
        threshold_exponent: 0,
        unmap: true,
        write_same: (false, false),
        unmapped_reads_zeros: true,
        anchored: false,
        provisioning: ProvisioningType::THIN,
    };
    assert_eq!(provisioning.to_bytes(disk), [0, 0xb2, 0, 4, 0, 0x84, 2, 0]);

    let limits = BlockLimits {
        transfer_granularity: 8,
        transfer_max: 0x0001_0000,
        unmap_blocks_max: 0x0020_0000,
        unmap_descriptors_max: 255,
        unmap_granularity: 128,
        unmap_alignment: Some(0),
        ..BlockLimits::default()
    };
    let bytes = limits.to_bytes(disk);
    assert_eq!(bytes.len(), 64);
    assert_eq!(bytes[..12], [0, 0xb0, 0, 0x3c, 0, 0, 0, 8, 0, 1, 0, 0]);
    assert_eq!(bytes[20..36], [0, 0x20, 0, 0, 0, 0, 0, 255, 0, 0, 0, 128, 0x80, 0, 0, 0]);
    // As SBC-2 had it: without the fields of UNMAP.
    let old = BlockLimits { transfer_granularity: 8, transfer_max: 0x0001_0000, ..BlockLimits::default() };
    assert_eq!(BlockLimits::parse(&bytes[..16]), Ok(old));
}

#[test]
fn device_identification_is_laid_out_as_in_spc() {
    let designator =
        |code_set, association, kind, bytes: &[u8]| Designator { code_set, association, kind, bytes: bytes.to_vec() };
    let page = DeviceIdentification {
        designators: vec![
            designator(CodeSet::BINARY, Association::LUN, DesignatorKind::NAA, &[0x31, 2, 3, 4, 5, 6, 7, 8]),
            designator(CodeSet::BINARY, Association::TARGET_PORT, DesignatorKind::RELATIVE_TARGET_PORT, &[0, 0, 0, 1]),
            designator(CodeSet::UTF8, Association::TARGET_PORT, DesignatorKind::SCSI_NAME, b"iqn.x,t,1"),
        ],
    };
    let bytes = page.to_bytes(Peripheral::DISK);
    let expected = [
        &[0, 0x83, 0, 36, 0x01, 0x03, 0, 8, 0x31, 2, 3, 4, 5, 6, 7, 8][..],
        &[0x51, 0x94, 0, 4, 0, 0, 0, 1],
        b"\x53\x98\x00\x0ciqn.x,t,1\x00\x00\x00",
    ];
    assert_eq!(bytes, expected.concat());
    assert_eq!(DeviceIdentification::parse(&bytes), Ok(page.clone()));
    assert_eq!(page.of_lun().count(), 1);
    // The last descriptor is cut off and left out.
    let cut = DeviceIdentification::parse(&bytes[..bytes.len() - 1]).expect("a whole header");
    assert_eq!(cut.designators, page.designators[..2]);
}

#[test]
fn capacity_is_laid_out_as_in_sbc() {
    assert_eq!(Capacity10::of(0x0102_0304, 512).to_bytes(), [1, 2, 3, 3, 0, 0, 2, 0]);
    assert_eq!(Capacity10::of(1 << 32, 512).last_lba, u32::MAX);
    assert_eq!(Capacity10::of((1 << 32) + 1, 512).last_lba, u32::MAX);
    let capacity = Capacity16 {
        last_lba: 0x0102_0304_0506_0708,
        block_bytes: 512,
        physical_exponent: 3,
        lowest_aligned_lba: 0,
        thin: true,
        unmapped_reads_zeros: true,
    };
    let bytes = capacity.to_bytes();
    assert_eq!(bytes.len(), 32);
    assert_eq!(bytes[..16], [1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 2, 0, 0, 3, 0xc0, 0]);
    assert_eq!(Capacity16::parse(&bytes), Ok(capacity));
    let short = Capacity16::parse(&bytes[..12]).expect("the first fields");
    assert_eq!((short.last_lba, short.physical_exponent, short.thin), (capacity.last_lba, 0, false));
}

#[test]
fn lba_status_is_laid_out_as_in_sbc() {
    let extent = |lba, block_count, status| LbaExtent { lba, block_count, status };
    let extents =
        vec![extent(0x0102, 0x0304, ProvisioningStatus::MAPPED), extent(0x0406, 1, ProvisioningStatus::DEALLOCATED)];
    let status = LbaStatus { extents };
    let bytes = status.to_bytes();
    let expected = [
        &[0, 0, 0, 36, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 0, 0, 3, 4, 0, 0, 0, 0][..],
        &[0, 0, 0, 0, 0, 0, 4, 6, 0, 0, 0, 1, 1, 0, 0, 0],
    ];
    assert_eq!(bytes, expected.concat());
    assert_eq!(LbaStatus::parse(&bytes), Ok(status.clone()));
    let cut = LbaStatus::parse(&bytes[..39]).expect("a whole header");
    assert_eq!(cut.extents, status.extents[..1]);
}

#[test]
fn lun_lists_and_addresses_are_laid_out_as_in_sam_and_spc() {
    let list = LunList::of(vec![LunAddress::peripheral(0), LunAddress::peripheral(255)]);
    let bytes = list.to_bytes();
    assert_eq!(bytes, [0, 0, 0, 16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 0, 0, 0, 0, 0, 0]);
    assert_eq!(list.whole_bytes(), 24);
    // Cut off by the allocation length: the header tells how long it would be.
    let cut = LunList::parse(&bytes[..20]).expect("a whole header");
    assert_eq!((cut.luns.len(), cut.list_bytes), (1, 16));

    assert_eq!(LunAddress::peripheral(7).number(), Some(7));
    assert_eq!(LunAddress([0x41, 2, 0, 0, 0, 0, 0, 0]).number(), Some(0x0102));
    assert_eq!(LunAddress([1, 7, 0, 0, 0, 0, 0, 0]).number(), None);
    assert_eq!(LunAddress([0, 7, 0, 1, 0, 0, 0, 0]).number(), None);
    assert_eq!(LunAddress::WELL_KNOWN_REPORT_LUNS.number(), None);
}

#[test]
fn mode_parameters_are_laid_out_as_in_spc_and_sbc() {
    let data = ModeData {
        write_protected: true,
        fua_supported: true,
        block_descriptor: Some((0x0102_0304, 512)),
        pages: vec![
            ModePage::Caching(CachingPage { write_cache: true, read_cache_disabled: false }),
            ModePage::Control(ControlPage { unrestricted_reordering: true, ..ControlPage::default() }),
            ModePage::InformationalExceptions,
        ],
    };
    let six = data.to_bytes(ModeForm::Six);
    assert_eq!(six.len(), 4 + 8 + 20 + 12 + 12);
    assert_eq!(six[..15], [55, 0, 0x90, 8, 1, 2, 3, 4, 0, 0, 2, 0, 0x08, 0x12, 0x04]);
    assert_eq!(six[32..36], [0x0a, 0x0a, 0, 0x10]);
    assert_eq!(six[44..46], [0x1c, 0x0a]);
    assert_eq!(ModeData::parse(ModeForm::Six, &six), Ok(data.clone()));
    let ten = data.to_bytes(ModeForm::Ten);
    assert_eq!(ten[..8], [0, 58, 0, 0x90, 0, 0, 0, 8]);
    assert_eq!(ten[8..], six[4..]);
    assert_eq!(ModeData::parse(ModeForm::Ten, &ten), Ok(data));
}

#[test]
fn unmap_parameter_lists_are_laid_out_as_in_sbc() {
    let ranges = [UnmapRange { lba: 0x0102_0304_0506_0708, block_count: 9 }, UnmapRange { lba: 0, block_count: 0 }];
    let bytes = UnmapRange::list_to_bytes(&ranges);
    assert_eq!(bytes[..24], [0, 38, 0, 32, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0, 9, 0, 0, 0, 0]);
    assert_eq!(UnmapRange::parse_list(&bytes), Ok(ranges.to_vec()));
    assert_eq!(UnmapRange::parse_list(&[]), Ok(Vec::new()));
    assert_eq!(UnmapRange::parse_list(&bytes[..7]), Err(UnmapListError::NoHeader(7)));
    let descriptors = FieldPointer::byte(2);
    assert_eq!(UnmapRange::parse_list(&bytes[..39]), Err(UnmapListError::InvalidLength(descriptors)));
    // The last descriptor is not whole: it is not used.
    let mut partial = bytes.clone();
    partial[3] = 31;
    assert_eq!(UnmapRange::parse_list(&partial), Ok(ranges[..1].to_vec()));
    // UNMAP DATA LENGTH has to cover the descriptors.
    let mut short = bytes;
    short[1] = 37;
    assert_eq!(UnmapRange::parse_list(&short), Err(UnmapListError::InvalidLength(FieldPointer::byte(0))));
}

#[test]
fn thresholds_are_laid_out_as_in_sbc() {
    let threshold = Threshold { enabled: true, kind: 0, arming: 1, resource: 2, count: 0x0102_0304 };
    let page = ModePage::Provisioning(ProvisioningPage { single_attention: true, thresholds: vec![threshold] });
    let expected = [0x5c, 2, 0, 20, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x81, 2, 0, 0, 1, 2, 3, 4];
    assert_eq!(page.to_bytes(), expected);
    assert_eq!(page.code(), page_code::PROVISIONING);
}

#[test]
fn the_parameters_of_an_overwrite_are_laid_out_as_in_sbc() {
    let parameters = OverwriteParameters { invert: true, passes: 2, pattern: vec![0xaa, 0x55] };
    let bytes = [0x82, 0, 0, 2, 0xaa, 0x55];
    assert_eq!(parameters.to_bytes(), bytes);
    assert_eq!(OverwriteParameters::parse(&bytes, 512), Ok(parameters));
    let invalid = |field| Err(OverwriteListError::InvalidField(field));
    let cases: [(&[u8], _); 7] = [
        (&[1, 0, 0], Err(OverwriteListError::CutOff)),
        (&[1, 0, 0, 2, 0], Err(OverwriteListError::CutOff)),
        (&[0, 0, 0, 1, 0], invalid(FieldPointer::bit(0, 4))),
        (&[0x21, 0, 0, 1, 0], invalid(FieldPointer::bit(0, 6))),
        (&[1, 1, 0, 1, 0], invalid(FieldPointer::byte(1))),
        (&[1, 0, 0, 0], invalid(FieldPointer::byte(2))),
        (&[1, 0, 2, 1, 0], invalid(FieldPointer::byte(2))),
    ];
    for (bytes, expected) in cases {
        assert_eq!(OverwriteParameters::parse(bytes, 512), expected, "{bytes:02x?}");
    }
}
