//! What is built reads back, and nothing that comes from the wire makes a parser panic.

use lunshadow_control::{Association, CodeSet, Designator, DesignatorKind};
use lunshadow_scsi::vpd::{
    AtomicLimits, BlockDeviceCharacteristics, BlockLimits, DeviceIdentification, LogicalBlockProvisioning,
    ProvisioningType, SupportedPages, UnitSerialNumber,
};
use lunshadow_scsi::{
    AdditionalSense, BlockRange, ByteCheck, CachingPage, Capacity10, Capacity16, CdbForm, Command, ControlPage,
    DeviceType, FieldPointer, LbaStatus, LunAddress, LunList, ModeData, ModeForm, ModePage, OperationCodes,
    OverwriteParameters, PageControl, Peripheral, PeripheralQualifier, Power, ReservationKind, ReserveInAction,
    ReserveOutAction, SanitizeAction, SelectReport, Sense, SenseFormat, SenseKey, SensePointer, StandardInquiry,
    UnmapRange, opcode,
};
use lunshadow_scsi::{ProvisioningPage, Threshold};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

fn forms(from: CdbForm) -> impl Strategy<Value = BlockRange> {
    let six = (0..1_u64 << 21, 1..=256_u32).prop_map(|(lba, count)| (CdbForm::Six, lba, count));
    let ten = (any::<u32>(), any::<u16>()).prop_map(|(lba, count)| (CdbForm::Ten, lba.into(), count.into()));
    let twelve = any::<(u32, u32)>().prop_map(|(lba, count)| (CdbForm::Twelve, lba.into(), count));
    let sixteen = any::<(u64, u32)>().prop_map(|(lba, count)| (CdbForm::Sixteen, lba, count));
    prop_oneof![six, ten, twelve, sixteen]
        .prop_filter("a form that the command has", move |(form, ..)| *form >= from)
        .prop_map(|(form, lba, count)| BlockRange::with_form(form, lba, count).expect("within the form's fields"))
}

fn commands() -> impl Strategy<Value = Command> {
    let formats = || prop_oneof![Just(SenseFormat::Fixed), Just(SenseFormat::Descriptor)];
    let selects = prop_oneof![Just(SelectReport::Addressable), Just(SelectReport::WellKnown), Just(SelectReport::All)];
    let controls = prop_oneof![
        Just(PageControl::Current),
        Just(PageControl::Changeable),
        Just(PageControl::Default),
        Just(PageControl::Saved)
    ];
    let mode_forms = prop_oneof![Just(ModeForm::Six), Just(ModeForm::Ten)];
    let powers = prop_oneof![
        Just(Power::Stop),
        Just(Power::Start),
        Just(Power::Eject),
        Just(Power::Load),
        prop::sample::select(vec![1, 2, 3, 7, 10, 11]).prop_map(Power::Condition)
    ];
    let checks = prop_oneof![Just(ByteCheck::Medium), Just(ByteCheck::Blocks), Just(ByteCheck::OneBlock)];
    let mode_sense = (mode_forms, any::<bool>(), controls, 0..64_u8, any::<u8>(), any::<u16>()).prop_map(
        |(form, without_block_descriptor, control, page, subpage, allocation_len)| {
            let allocation_len = if form == ModeForm::Six { allocation_len & 0xff } else { allocation_len };
            Command::ModeSense { form, without_block_descriptor, control, page, subpage, allocation_len }
        },
    );
    prop_oneof![
        Just(Command::TestUnitReady),
        Just(Command::ReadCapacity10),
        (formats(), any::<u8>()).prop_map(|(format, allocation_len)| Command::RequestSense { format, allocation_len }),
        (option::of(any::<u8>()), any::<u16>())
            .prop_map(|(page, allocation_len)| Command::Inquiry { page, allocation_len }),
        (selects, any::<u32>()).prop_map(|(select, allocation_len)| Command::ReportLuns { select, allocation_len }),
        mode_sense,
        (powers, any::<bool>()).prop_map(|(power, immediate)| Command::StartStopUnit { power, immediate }),
        any::<bool>().prop_map(|prevent| Command::PreventAllowMediumRemoval { prevent }),
        sanitizing(),
        any::<u32>().prop_map(|allocation_len| Command::ReadCapacity16 { allocation_len }),
        any::<(u64, u32)>().prop_map(|(lba, allocation_len)| Command::GetLbaStatus { lba, allocation_len }),
        forms(CdbForm::Six).prop_map(|range| Command::Read { range, fua: false }),
        forms(CdbForm::Ten).prop_map(|range| Command::Read { range, fua: true }),
        forms(CdbForm::Six).prop_map(|range| Command::Write { range, fua: false }),
        forms(CdbForm::Ten).prop_map(|range| Command::Write { range, fua: true }),
        (forms(CdbForm::Ten), checks).prop_map(|(range, check)| Command::Verify { range, check }),
        (forms(CdbForm::Ten), any::<bool>())
            .prop_filter("no form of 12 bytes", |(range, _)| range.form() != CdbForm::Twelve)
            .prop_map(|(range, immediate)| Command::SynchronizeCache { range, immediate }),
        any::<(bool, u16)>().prop_map(|(anchor, parameter_len)| Command::Unmap { anchor, parameter_len }),
        block_commands(),
        reservations(),
        third_party_copies(),
    ]
}

fn block_commands() -> impl Strategy<Value = Command> {
    let sixteen = || forms(CdbForm::Sixteen);
    let ten_or_sixteen =
        || forms(CdbForm::Ten).prop_filter("no form of 12 bytes", |range| range.form() != CdbForm::Twelve);
    prop_oneof![
        (forms(CdbForm::Ten), any::<bool>()).prop_map(|(range, compares)| {
            let check = if compares { ByteCheck::Blocks } else { ByteCheck::Medium };
            Command::WriteAndVerify { range, check }
        }),
        any::<(u64, u8, bool)>().prop_map(|(lba, block_count, fua)| Command::CompareAndWrite { lba, block_count, fua }),
        any::<(u64, u16, u16, bool)>()
            .prop_map(|(lba, boundary, block_count, fua)| { Command::WriteAtomic { lba, boundary, block_count, fua } }),
        (ten_or_sixteen(), any::<(bool, bool, bool)>()).prop_map(|(range, (unmap, anchor, no_data_out))| {
            let no_data_out = no_data_out && range.form() == CdbForm::Sixteen;
            Command::WriteSame { range, unmap, anchor, no_data_out }
        }),
        (sixteen(), any::<bool>()).prop_map(|(range, fua)| Command::OrWrite { range, fua }),
        (ten_or_sixteen(), any::<bool>()).prop_map(|(range, immediate)| Command::PreFetch { range, immediate }),
    ]
}

fn sanitizing() -> impl Strategy<Value = Command> {
    let actions = prop::sample::select(vec![
        SanitizeAction::Overwrite,
        SanitizeAction::BlockErase,
        SanitizeAction::ExitFailureMode,
    ]);
    (actions, any::<(bool, bool, u16)>()).prop_map(|(action, (immediate, unrestricted_exit, parameter_len))| {
        Command::Sanitize { action, immediate, unrestricted_exit, parameter_len }
    })
}

fn third_party_copies() -> impl Strategy<Value = Command> {
    prop_oneof![
        any::<u32>().prop_map(|parameter_len| Command::ExtendedCopy { parameter_len }),
        any::<(u32, u32)>().prop_map(|(list_id, parameter_len)| Command::PopulateToken { list_id, parameter_len }),
        any::<(u32, u32)>().prop_map(|(list_id, parameter_len)| Command::WriteUsingToken { list_id, parameter_len }),
        any::<(u8, u32)>().prop_map(|(list_id, allocation_len)| Command::ReceiveCopyStatus { list_id, allocation_len }),
        any::<u32>().prop_map(|allocation_len| Command::ReceiveCopyOperatingParameters { allocation_len }),
        any::<(u32, u32)>()
            .prop_map(|(list_id, allocation_len)| Command::ReceiveRodTokenInformation { list_id, allocation_len }),
    ]
}

fn reservations() -> impl Strategy<Value = Command> {
    let ins = prop::sample::select(vec![
        ReserveInAction::ReadKeys,
        ReserveInAction::ReadReservation,
        ReserveInAction::ReportCapabilities,
        ReserveInAction::ReadFullStatus,
    ]);
    let outs = prop::sample::select(vec![
        ReserveOutAction::Register,
        ReserveOutAction::Reserve,
        ReserveOutAction::Release,
        ReserveOutAction::Clear,
        ReserveOutAction::Preempt,
        ReserveOutAction::PreemptAndAbort,
        ReserveOutAction::RegisterAndIgnoreExistingKey,
        ReserveOutAction::RegisterAndMove,
    ]);
    let selections = prop_oneof![
        Just(OperationCodes::All),
        any::<u8>().prop_map(|opcode| OperationCodes::Without { opcode }),
        any::<(u8, u16)>().prop_map(|(opcode, action)| OperationCodes::With { opcode, action }),
        any::<(u8, u16)>().prop_map(|(opcode, action)| OperationCodes::Either { opcode, action }),
    ];
    prop_oneof![
        (ins, any::<u16>())
            .prop_map(|(action, allocation_len)| Command::PersistentReserveIn { action, allocation_len }),
        (outs, 0..16_u8, 0..16_u8, any::<u32>()).prop_map(|(action, scope, kind, parameter_len)| {
            Command::PersistentReserveOut { action, scope, kind: ReservationKind(kind), parameter_len }
        }),
        (selections, any::<(bool, u32)>()).prop_map(|(which, (timeouts, allocation_len))| {
            Command::ReportSupportedOperationCodes { which, timeouts, allocation_len }
        }),
        any::<(bool, u32)>().prop_map(|(extended, allocation_len)| {
            Command::ReportSupportedTaskManagementFunctions { extended, allocation_len }
        }),
        any::<(bool, u32)>()
            .prop_map(|(extended, allocation_len)| Command::ReportTargetPortGroups { extended, allocation_len }),
        any::<u32>().prop_map(|parameter_len| Command::SetTargetPortGroups { parameter_len }),
        any::<(bool, bool, bool, u16)>().prop_map(|(six, page_format, save, parameter_len)| {
            let form = if six { ModeForm::Six } else { ModeForm::Ten };
            let parameter_len = if six { parameter_len & 0xff } else { parameter_len };
            Command::ModeSelect { form, page_format, save, parameter_len }
        }),
    ]
}

fn peripherals() -> impl Strategy<Value = Peripheral> {
    (0..8_u8, 0..32_u8).prop_map(|(qualifier, device_type)| Peripheral {
        qualifier: PeripheralQualifier(qualifier),
        device_type: DeviceType(device_type),
    })
}

fn designators() -> impl Strategy<Value = Designator> {
    (0..16_u8, 0..4_u8, 0..16_u8, vec(1..=255_u8, 0..=251)).prop_map(|(code_set, association, kind, bytes)| {
        Designator {
            code_set: CodeSet(code_set),
            association: Association(association),
            kind: DesignatorKind(kind),
            bytes,
        }
    })
}

fn mode_pages() -> impl Strategy<Value = ModePage> {
    prop_oneof![
        any::<(bool, bool)>().prop_map(|(write_cache, read_cache_disabled)| {
            ModePage::Caching(CachingPage { write_cache, read_cache_disabled })
        }),
        any::<(bool, bool, bool, bool)>().prop_map(|(a, b, c, d)| {
            ModePage::Control(ControlPage {
                descriptor_sense: a,
                unrestricted_reordering: b,
                software_write_protect: c,
                task_aborted_status: d,
            })
        }),
        Just(ModePage::InformationalExceptions),
        (any::<bool>(), vec(thresholds(), 0..4)).prop_map(|(single_attention, thresholds)| {
            ModePage::Provisioning(ProvisioningPage { single_attention, thresholds })
        }),
        (0x20..0x3f_u8, option::of(any::<u8>()), vec(any::<u8>(), 0..40))
            .prop_map(|(page, subpage, body)| ModePage::Other { page, subpage, body }),
    ]
}

fn thresholds() -> impl Strategy<Value = Threshold> {
    (any::<bool>(), 0..8_u8, 0..8_u8, any::<u8>(), any::<u32>())
        .prop_map(|(enabled, kind, arming, resource, count)| Threshold { enabled, kind, arming, resource, count })
}

fn senses() -> impl Strategy<Value = Sense> {
    let fields = (any::<u16>(), option::of(0..8_u8)).prop_map(|(byte, bit)| FieldPointer { byte, bit });
    let pointers = option::of((any::<bool>(), fields).prop_map(|(in_cdb, field)| {
        if in_cdb { SensePointer::Cdb(field) } else { SensePointer::ParameterList(field) }
    }));
    let progresses = option::of(any::<u16>());
    (any::<(u8, u8, u8)>(), option::of(any::<u32>()), pointers, progresses, any::<bool>()).prop_map(
        |((key, asc, ascq), information, pointer, progress, deferred)| {
            let progress = progress.filter(|_| pointer.is_none());
            let key = match (pointer, progress) {
                (Some(_), _) => SenseKey::ILLEGAL_REQUEST,
                (None, Some(_)) => SenseKey::NOT_READY,
                (None, None) => SenseKey(key & 0x0f),
            };
            let information = information.map(u64::from);
            Sense { key, code: AdditionalSense { asc, ascq }, information, pointer, progress, deferred }
        },
    )
}

proptest! {
    #[test]
    fn commands_read_back(command in commands(), padding in vec(any::<u8>(), 0..20)) {
        let cdb = command.to_cdb();
        prop_assert_eq!(Command::parse(cdb.as_bytes()), Ok(command));
        let padded = [cdb.as_bytes(), &padding].concat();
        prop_assert_eq!(Command::parse(&padded), Ok(command));
    }

    #[test]
    fn any_cdb_parses_or_is_refused(code in any::<u8>(), rest in vec(any::<u8>(), 0..32)) {
        let cdb = [&[code][..], &rest].concat();
        if let Ok(command) = Command::parse(&cdb) {
            // What was understood is said again in the same way, reserved bits and the address of READ CAPACITY aside.
            prop_assert_eq!(Command::parse(command.to_cdb().as_bytes()), Ok(command));
            prop_assert_eq!(command.to_cdb().as_bytes()[0], code);
        }
    }

    #[test]
    fn known_commands_are_never_unknown(code in prop::sample::select(vec![
        opcode::INQUIRY, opcode::READ_6, opcode::READ_10, opcode::READ_12, opcode::READ_16, opcode::UNMAP,
        opcode::REPORT_LUNS, opcode::MODE_SENSE_6, opcode::MODE_SENSE_10, opcode::SERVICE_ACTION_IN_16,
    ]), rest in vec(any::<u8>(), 15)) {
        let unknown = lunshadow_scsi::CdbError::InvalidOperationCode(code);
        prop_assert_ne!(Command::parse(&[&[code][..], &rest].concat()), Err(unknown));
    }

    #[test]
    fn sense_reads_back(sense in senses()) {
        for format in [SenseFormat::Fixed, SenseFormat::Descriptor] {
            let bytes = sense.to_bytes(format);
            prop_assert_eq!(Sense::parse(&bytes), Ok(sense));
        }
    }

    #[test]
    fn inquiry_data_reads_back(
        peripheral in peripherals(),
        (removable, third_party_copy, multi_port, command_queuing) in any::<(bool, bool, bool, bool)>(),
        (version, target_port_groups) in (any::<u8>(), 0..4_u8),
        (vendor, product, revision) in ("[!->@-~]{0,8}", "[!->@-~]{0,16}", "[!->@-~]{0,4}"),
        version_descriptors in vec(1..=u16::MAX, 0..=8),
    ) {
        let inquiry = StandardInquiry {
            peripheral, removable, version, target_port_groups, third_party_copy, multi_port, command_queuing, vendor,
            product, revision, version_descriptors,
        };
        prop_assert_eq!(StandardInquiry::parse(&inquiry.to_bytes()), Ok(inquiry));
    }

    #[test]
    fn vpd_pages_read_back(
        peripheral in peripherals(),
        pages in vec(any::<u8>(), 0..20),
        serial in "[!->@-~]{0,40}",
        list in vec(designators(), 0..6),
        (rotation_rate, form_factor, after_block_erase) in (any::<u16>(), 0..16_u8, 0..4_u8),
        ((a, b, c, d), kind, threshold_exponent) in (any::<(bool, bool, bool, bool)>(), 0..8_u8, any::<u8>()),
    ) {
        let supported = SupportedPages { pages };
        prop_assert_eq!(SupportedPages::parse(&supported.to_bytes(peripheral)), Ok(supported));
        let number = UnitSerialNumber { serial };
        prop_assert_eq!(UnitSerialNumber::parse(&number.to_bytes(peripheral)), Ok(number));
        let identification = DeviceIdentification { designators: list };
        prop_assert_eq!(DeviceIdentification::parse(&identification.to_bytes(peripheral)), Ok(identification));
        let characteristics = BlockDeviceCharacteristics { rotation_rate, form_factor, after_block_erase };
        prop_assert_eq!(BlockDeviceCharacteristics::parse(&characteristics.to_bytes(peripheral)), Ok(characteristics));
        let provisioning = LogicalBlockProvisioning {
            threshold_exponent, unmap: a, write_same: (b, c), unmapped_reads_zeros: d, anchored: a ^ b,
            provisioning: ProvisioningType(kind),
        };
        prop_assert_eq!(LogicalBlockProvisioning::parse(&provisioning.to_bytes(peripheral)), Ok(provisioning));
    }

    #[test]
    fn overwrite_parameters_read_back(invert: bool, passes in 1..32_u8, pattern in vec(any::<u8>(), 1..=512)) {
        let parameters = OverwriteParameters { invert, passes, pattern };
        let bytes = parameters.to_bytes();
        prop_assert_eq!(OverwriteParameters::parse(&bytes, 512), Ok(parameters));
        prop_assert!(OverwriteParameters::parse(&bytes[..bytes.len() - 1], 512).is_err());
    }

    #[test]
    fn block_limits_read_back(
        (compare_and_write_max, transfer_granularity, transfer_max, transfer_optimal) in any::<(u8, u16, u32, u32)>(),
        (write_same_nonzero, prefetch_max) in any::<(bool, u32)>(),
        (unmap_blocks_max, unmap_descriptors_max, unmap_granularity, write_same_max) in any::<(u32, u32, u32, u64)>(),
        unmap_alignment in option::of(0..1_u32 << 31),
        (transfer_max_atomic, alignment, granularity, bounded_transfer_max, boundary_max) in any::<(u32, u32, u32, u32, u32)>(),
    ) {
        let atomic = AtomicLimits {
            transfer_max: transfer_max_atomic, alignment, granularity, bounded_transfer_max, boundary_max,
        };
        let limits = BlockLimits {
            compare_and_write_max, transfer_granularity, transfer_max, transfer_optimal, unmap_blocks_max,
            unmap_descriptors_max, unmap_granularity, unmap_alignment, write_same_max, write_same_nonzero, prefetch_max, atomic,
        };
        prop_assert_eq!(BlockLimits::parse(&limits.to_bytes(Peripheral::DISK)), Ok(limits));
    }

    #[test]
    fn other_parameter_data_reads_back(
        (last_lba, block_bytes, physical_exponent, lowest_aligned_lba) in (any::<u64>(), any::<u32>(), 0..16_u8, 0..0x4000_u16),
        (thin, unmapped_reads_zeros, write_protected, fua_supported) in any::<(bool, bool, bool, bool)>(),
        luns in vec(any::<[u8; 8]>().prop_map(LunAddress), 0..20),
        ranges in vec(any::<(u64, u32)>().prop_map(|(lba, block_count)| UnmapRange { lba, block_count }), 0..40),
        block_descriptor in option::of((any::<u32>(), 0..1_u32 << 24)),
        pages in vec(mode_pages(), 0..4),
    ) {
        let capacity =
            Capacity16 { last_lba, block_bytes, physical_exponent, lowest_aligned_lba, thin, unmapped_reads_zeros };
        prop_assert_eq!(Capacity16::parse(&capacity.to_bytes()), Ok(capacity));
        let capacity = Capacity10::of(last_lba, block_bytes);
        prop_assert_eq!(Capacity10::parse(&capacity.to_bytes()), Ok(capacity));
        let list = LunList::of(luns);
        prop_assert_eq!(LunList::parse(&list.to_bytes()), Ok(list));
        prop_assert_eq!(UnmapRange::parse_list(&UnmapRange::list_to_bytes(&ranges)), Ok(ranges));
        let mode = ModeData { write_protected, fua_supported, block_descriptor, pages };
        for form in [ModeForm::Six, ModeForm::Ten] {
            prop_assert_eq!(ModeData::parse(form, &mode.to_bytes(form)), Ok(mode.clone()));
        }
    }

    #[test]
    fn no_bytes_make_a_parser_panic(mut bytes in vec(any::<u8>(), 0..300)) {
        // Every parser is tried with its page code in place as well, so that it gets beyond the header.
        let pages = [0x00, 0x80, 0x83, 0xb0, 0xb1, 0xb2];
        for page in pages.into_iter().map(Some).chain([None]) {
            if let (Some(page), Some(place)) = (page, bytes.get_mut(1)) {
                *place = page;
            }
            let _ = SupportedPages::parse(&bytes);
            let _ = UnitSerialNumber::parse(&bytes);
            let _ = DeviceIdentification::parse(&bytes);
            let _ = BlockLimits::parse(&bytes);
            let _ = BlockDeviceCharacteristics::parse(&bytes);
            let _ = LogicalBlockProvisioning::parse(&bytes);
        }
        for code in [0x70, 0x71, 0x72, 0x73, 0xf0] {
            if let Some(place) = bytes.first_mut() {
                *place = code;
            }
            prop_assert_eq!(Sense::parse(&bytes).is_err(), bytes.len() < if code & 2 == 0 { 3 } else { 8 });
        }
        prop_assert_eq!(StandardInquiry::parse(&bytes).is_err(), bytes.len() < 36);
        prop_assert_eq!(Capacity10::parse(&bytes).is_err(), bytes.len() < 8);
        prop_assert_eq!(Capacity16::parse(&bytes).is_err(), bytes.len() < 12);
        prop_assert_eq!(LunList::parse(&bytes).is_err(), bytes.len() < 8);
        prop_assert_eq!(LbaStatus::parse(&bytes).is_err(), bytes.len() < 8);
        let _ = UnmapRange::parse_list(&bytes);
        let _ = ModeData::parse(ModeForm::Six, &bytes);
        let _ = ModeData::parse(ModeForm::Ten, &bytes);
    }
}
