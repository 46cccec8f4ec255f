//! What each command answers, unit attentions, and failures.

use std::io;
use std::num::NonZeroU16;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use lunshadow_control::{Association, DesignatorKind};
use lunshadow_lun::{BlockCount, InitiatorName, Lba, LunError, LunHandle, LunId, identity_of};
use lunshadow_scsi::vpd::{
    BlockDeviceCharacteristics, BlockLimits, DeviceIdentification, LogicalBlockProvisioning, ProvisioningType,
    SupportedPages, UnitSerialNumber, page,
};
use lunshadow_scsi::{
    AdditionalSense, BlockRange, ByteCheck, CachingPage, Capacity10, Capacity16, Command, DeviceType, FieldPointer,
    LbaExtent, LbaStatus, LunAddress, LunList, ModeData, ModeForm, ModePage, PageControl, Peripheral,
    PeripheralQualifier, Power, ProvisioningStatus, SelectReport, Sense, SenseFormat, SenseKey, SensePointer,
    StandardInquiry, Status, TaskManagementFunctions, UnmapRange, version_descriptor,
};
use lunshadow_target::{
    Completion, DeviceServer, InitiatorPort, Nexus, PortalGroup, TRANSFER_BLOCKS_MAX, TargetPorts, UNMAP_BLOCKS_MAX,
    UnitId, sense_of,
};

use crate::faulty::{Controls, FaultyLun};
use crate::memory::{Map, MemoryLun};

pub(crate) const LUN_BLOCKS: u64 = 2048;
const DISK_ID: u128 = 0x0123_4567_89ab_cdef_0123_4567_89ab_cdef;
/// The number that the disk has; there is nothing at LUN 0 unless a test puts it there.
pub(crate) const DISK: u8 = 1;

/// The other port of the device server.
pub(crate) const SECOND: PortalGroup = PortalGroup(NonZeroU16::MIN.saturating_add(1));

/// A device server with one initiator, which sees one disk.
pub(crate) struct Bench {
    pub(crate) server: DeviceServer,
    pub(crate) map: Arc<Map>,
    pub(crate) nexus: Arc<Nexus>,
    pub(crate) disk: LunHandle,
    pub(crate) controls: Arc<Controls>,
}

pub(crate) fn initiator(name: &str) -> InitiatorName {
    format!("iqn.2026-11.org.example:{name}").parse().expect("a valid name")
}

pub(crate) fn port(name: &str) -> InitiatorPort {
    InitiatorPort { name: initiator(name), isid: [0x80, 0, 0, 0, 0, 1] }
}

pub(crate) fn new_disk(id: u128) -> (LunHandle, Arc<Controls>) {
    let (lun, controls) = FaultyLun::new(MemoryLun::new(id, LUN_BLOCKS));
    (LunHandle::new(lun), controls)
}

impl Bench {
    /// The power-on unit attentions have been taken.
    pub(crate) async fn new() -> Self {
        let bench = Self::just_connected();
        for lun in [0, DISK] {
            let attention = bench.ask(lun, Command::TestUnitReady).await;
            assert_eq!(attention, attention_of(AdditionalSense::POWER_ON_OR_RESET));
        }
        bench
    }

    fn just_connected() -> Self {
        Self::over(Arc::new(Map::default()))
    }

    /// A new device server with two ports over a map, as after a restart.
    pub(crate) fn over(map: Arc<Map>) -> Self {
        Self::with_ports(map, [PortalGroup::FIRST, SECOND])
    }

    /// The initiator comes through the first port.
    pub(crate) fn with_ports<const N: usize>(map: Arc<Map>, groups: [PortalGroup; N]) -> Self {
        let (disk, controls) = new_disk(DISK_ID);
        map.show(&initiator("one"), [(DISK, disk.clone())]);
        let target_name = "iqn.2026-11.org.example:t".to_owned();
        let functions = TaskManagementFunctions { abort_task: true, ..TaskManagementFunctions::default() };
        let ports = TargetPorts { target_name, groups: groups.into(), functions };
        let server = DeviceServer::new(map.clone(), ports);
        let nexus = server.connect(port("one"), PortalGroup::FIRST).expect("the map knows it");
        Self { server, map, nexus, disk, controls }
    }

    pub(crate) async fn run(&self, lun: u8, command: Command, data_out: impl Into<Bytes>) -> Completion {
        self.run_cdb(LunAddress::peripheral(lun), command.to_cdb().as_bytes(), data_out).await
    }

    pub(crate) async fn run_cdb(&self, lun: LunAddress, cdb: &[u8], data_out: impl Into<Bytes>) -> Completion {
        self.server.accept(&self.nexus, lun, cdb).run(data_out.into()).await
    }

    pub(crate) async fn ask(&self, lun: u8, command: Command) -> Completion {
        self.run(lun, command, Bytes::new()).await
    }

    /// The data of a command that ends well.
    pub(crate) async fn data(&self, lun: u8, command: Command) -> Bytes {
        let completion = self.ask(lun, command).await;
        assert_eq!(completion.status, Status::GOOD, "{command:?}: {:?}", completion.sense);
        completion.data_in
    }
}

pub(crate) fn attention_of(code: AdditionalSense) -> Completion {
    Completion::check(Sense::new(SenseKey::UNIT_ATTENTION, code))
}

pub(crate) fn illegal(code: AdditionalSense) -> Completion {
    Completion::check(Sense::new(SenseKey::ILLEGAL_REQUEST, code))
}

pub(crate) fn invalid_field(field: FieldPointer) -> Completion {
    let sense = Sense::new(SenseKey::ILLEGAL_REQUEST, AdditionalSense::INVALID_FIELD_IN_CDB);
    Completion::check(sense.with_pointer(SensePointer::Cdb(field)))
}

const fn inquiry(page: Option<u8>) -> Command {
    Command::Inquiry { page, allocation_len: 255 }
}

const fn mode_sense(form: ModeForm, control: PageControl, page: u8) -> Command {
    Command::ModeSense { form, without_block_descriptor: false, control, page, subpage: 0, allocation_len: 255 }
}

pub(crate) fn read(lba: u64, block_count: u32) -> Command {
    Command::Read { range: BlockRange::new(lba, block_count), fua: false }
}

pub(crate) fn write(lba: u64, block_count: u32) -> Command {
    Command::Write { range: BlockRange::new(lba, block_count), fua: false }
}

const REPORT_LUNS: Command = Command::ReportLuns { select: SelectReport::Addressable, allocation_len: 4096 };
const REQUEST_SENSE: Command = Command::RequestSense { format: SenseFormat::Fixed, allocation_len: 252 };

#[tokio::test]
async fn inquiry_tells_what_is_at_each_lun() {
    let bench = Bench::new().await;
    let disk = StandardInquiry::parse(&bench.data(DISK, inquiry(None)).await).expect("standard data");
    assert_eq!((disk.peripheral, disk.version, disk.command_queuing), (Peripheral::DISK, 6, true));
    assert_eq!((disk.vendor.as_str(), disk.product.as_str()), ("LUNSHDW", "SHADOW LUN"));
    assert_eq!(disk.revision, "0001");
    for standard in [version_descriptor::ISCSI, version_descriptor::SPC_4, version_descriptor::SBC_3] {
        assert!(disk.version_descriptors.contains(&standard), "{standard:04x} is missing");
    }
    let controller = StandardInquiry::parse(&bench.data(0, inquiry(None)).await).expect("standard data");
    assert_eq!(controller.peripheral.device_type, DeviceType::ARRAY_CONTROLLER);
    assert_eq!(controller.peripheral.qualifier, PeripheralQualifier::CONNECTED);
    let absent = StandardInquiry::parse(&bench.data(7, inquiry(None)).await).expect("standard data");
    assert_eq!(absent.peripheral, Peripheral::ABSENT);
}

#[tokio::test]
async fn the_list_of_vpd_pages_ascends_and_every_page_of_it_is_there() {
    let bench = Bench::new().await;
    for (lun, expected) in [(DISK, &[0, 0x80, 0x83, 0x86, 0x8f, 0xb0, 0xb1, 0xb2][..]), (0, &[0, 0x83]), (7, &[0])] {
        let listed = bench.data(lun, inquiry(Some(page::SUPPORTED_PAGES))).await;
        let pages = SupportedPages::parse(&listed).expect("the page").pages;
        assert_eq!(pages, expected);
        for page in 0..=u8::MAX {
            let completion = bench.ask(lun, inquiry(Some(page))).await;
            if pages.contains(&page) {
                assert_eq!((completion.status, completion.data_in[1]), (Status::GOOD, page));
            } else {
                assert_eq!(completion, invalid_field(FieldPointer::byte(2)));
            }
        }
    }
}

// RFC 7143 §4.4.2 MUST: the SCSI name of a target port is the iSCSI name with the portal group tag in hexadecimal digits.
#[tokio::test]
async fn vpd_pages_of_a_disk_say_what_it_is() {
    let bench = Bench::new().await;
    let identity = identity_of(LunId::from_u128(DISK_ID));
    let serial = bench.data(DISK, inquiry(Some(page::UNIT_SERIAL_NUMBER))).await;
    assert_eq!(UnitSerialNumber::parse(&serial).expect("the page").serial, identity.serial);

    let identification = bench.data(DISK, inquiry(Some(page::DEVICE_IDENTIFICATION))).await;
    let identification = DeviceIdentification::parse(&identification).expect("the page");
    assert!(identification.of_lun().eq(&identity.designators), "the LUN's own designators and no others");
    let of_port: Vec<_> =
        identification.designators.iter().filter(|d| d.association == Association::TARGET_PORT).collect();
    let kinds = [DesignatorKind::RELATIVE_TARGET_PORT, DesignatorKind::TARGET_PORT_GROUP, DesignatorKind::SCSI_NAME];
    assert_eq!(of_port.iter().map(|d| d.kind).collect::<Vec<_>>(), kinds);
    assert_eq!(of_port[2].bytes, b"iqn.2026-11.org.example:t,t,0x0001");

    let limits = BlockLimits::parse(&bench.data(DISK, inquiry(Some(page::BLOCK_LIMITS))).await).expect("the page");
    assert_eq!((limits.unmap_granularity, limits.unmap_alignment), (128, Some(0)));
    assert_eq!((limits.transfer_max, limits.unmap_blocks_max), (TRANSFER_BLOCKS_MAX, UNMAP_BLOCKS_MAX));
    let characteristics = bench.data(DISK, inquiry(Some(page::BLOCK_DEVICE_CHARACTERISTICS))).await;
    assert_eq!(BlockDeviceCharacteristics::parse(&characteristics).expect("the page").rotation_rate, 1);
    let provisioning = bench.data(DISK, inquiry(Some(page::LOGICAL_BLOCK_PROVISIONING))).await;
    let provisioning = LogicalBlockProvisioning::parse(&provisioning).expect("the page");
    assert_eq!(provisioning.provisioning, ProvisioningType::THIN);
    assert!(provisioning.unmap && provisioning.unmapped_reads_zeros);
}

#[tokio::test]
async fn a_disk_tells_its_capacity_and_modes() {
    let bench = Bench::new().await;
    let ten = Capacity10::parse(&bench.data(DISK, Command::ReadCapacity10).await).expect("capacity");
    assert_eq!(ten, Capacity10 { last_lba: 2047, block_bytes: 512 });
    let sixteen = Command::ReadCapacity16 { allocation_len: 32 };
    let sixteen = Capacity16::parse(&bench.data(DISK, sixteen).await).expect("capacity");
    assert_eq!((sixteen.last_lba, sixteen.block_bytes, sixteen.physical_exponent), (2047, 512, 3));
    assert!(sixteen.thin && sixteen.unmapped_reads_zeros);

    for lba in [0, 5, LUN_BLOCKS - 1] {
        let status = bench.data(DISK, Command::GetLbaStatus { lba, allocation_len: 24 }).await;
        let block_count = u32::try_from(LUN_BLOCKS - lba).expect("small");
        let extent = LbaExtent { lba, block_count, status: ProvisioningStatus::MAPPED };
        assert_eq!(LbaStatus::parse(&status).expect("a status").extents, [extent]);
    }
    let beyond = bench.ask(DISK, Command::GetLbaStatus { lba: LUN_BLOCKS, allocation_len: 24 }).await;
    assert_eq!(beyond, illegal(AdditionalSense::LBA_OUT_OF_RANGE));

    for form in [ModeForm::Six, ModeForm::Ten] {
        let all = bench.data(DISK, mode_sense(form, PageControl::Current, 0x3f)).await;
        let all = ModeData::parse(form, &all).expect("mode data");
        assert!(all.fua_supported && !all.write_protected);
        assert_eq!(all.block_descriptor, Some((2048, 512)));
        let caching = ModePage::Caching(CachingPage { write_cache: true, read_cache_disabled: false });
        assert_eq!(all.pages[0], caching);
        assert!(matches!(all.pages[1..], [ModePage::Control(_), ModePage::InformationalExceptions]));
        let changeable = bench.data(DISK, mode_sense(form, PageControl::Changeable, 0x08)).await;
        let changeable = ModeData::parse(form, &changeable).expect("mode data");
        let write_cache_only = CachingPage { write_cache: true, read_cache_disabled: false };
        assert_eq!(changeable.pages, [ModePage::Caching(write_cache_only)]);
    }
    let saved = bench.ask(DISK, mode_sense(ModeForm::Six, PageControl::Saved, 0x08)).await;
    assert_eq!(saved, illegal(AdditionalSense::SAVING_PARAMETERS_NOT_SUPPORTED));
    let unknown = bench.ask(DISK, mode_sense(ModeForm::Six, PageControl::Current, 0x1a)).await;
    assert_eq!(unknown, invalid_field(FieldPointer::byte(2)));
}

#[tokio::test]
async fn allocation_lengths_cut_every_answer() {
    let bench = Bench::new().await;
    let with_length: [fn(u8) -> Command; 7] = [
        |len| Command::Inquiry { page: None, allocation_len: u16::from(len) },
        |len| Command::Inquiry { page: Some(page::DEVICE_IDENTIFICATION), allocation_len: u16::from(len) },
        |len| Command::RequestSense { format: SenseFormat::Fixed, allocation_len: len },
        |len| Command::ReportLuns { select: SelectReport::All, allocation_len: u32::from(len) },
        |len| Command::ReadCapacity16 { allocation_len: u32::from(len) },
        |len| Command::ModeSense {
            form: ModeForm::Six,
            without_block_descriptor: false,
            control: PageControl::Current,
            page: 0x3f,
            subpage: 0,
            allocation_len: u16::from(len),
        },
        |len| Command::ModeSense {
            form: ModeForm::Ten,
            without_block_descriptor: true,
            control: PageControl::Current,
            page: 0x3f,
            subpage: 0xff,
            allocation_len: u16::from(len),
        },
    ];
    for command in with_length {
        let whole = bench.data(DISK, command(255)).await;
        assert!((18..255).contains(&whole.len()), "{:?} has {} bytes", command(255), whole.len());
        for len in 0..=255 {
            let cut = bench.data(DISK, command(len)).await;
            // The length fields inside tell how long it would be, so the bytes are those of the whole.
            assert_eq!(cut, whole[..whole.len().min(usize::from(len))], "{:?}", command(len));
        }
    }
}

#[tokio::test]
async fn report_luns_lists_lun_0_first_and_no_well_known_units() {
    let bench = Bench::new().await;
    let (other, _) = new_disk(2);
    let numbers = |list: &[u8]| -> Vec<_> {
        let list = LunList::parse(list).expect("a list");
        assert_eq!(list.list_bytes as usize, list.luns.len() * 8);
        list.luns.iter().map(|lun| lun.number().expect("a single level")).collect()
    };
    assert_eq!(numbers(&bench.data(DISK, REPORT_LUNS).await), [0, u16::from(DISK)]);
    bench.map.show(bench.nexus.initiator(), [(255, other.clone()), (0, bench.disk.clone())]);
    assert_eq!(numbers(&bench.data(0, REPORT_LUNS).await), [0, 255]);
    let well_known = Command::ReportLuns { select: SelectReport::WellKnown, allocation_len: 4096 };
    assert_eq!(numbers(&bench.data(0, well_known).await), [0_u16; 0]);
}

#[tokio::test]
async fn absent_luns_and_the_controller_refuse_what_only_disks_do() {
    let bench = Bench::new().await;
    let everything = [
        read(0, 1),
        write(0, 1),
        Command::ReadCapacity10,
        Command::ReadCapacity16 { allocation_len: 32 },
        Command::SynchronizeCache { range: BlockRange::new(0, 0), immediate: false },
        Command::Unmap { anchor: false, parameter_len: 8 },
        Command::StartStopUnit { power: Power::Start, immediate: false },
        mode_sense(ModeForm::Six, PageControl::Current, 0x08),
    ];
    for command in everything {
        let address = LunAddress::peripheral(0);
        assert_eq!(bench.server.accept(&bench.nexus, address, command.to_cdb().as_bytes()).data_out_len(), 0);
        assert_eq!(bench.ask(0, command).await, illegal(AdditionalSense::INVALID_COMMAND_OPERATION_CODE));
        assert_eq!(bench.ask(7, command).await, illegal(AdditionalSense::LOGICAL_UNIT_NOT_SUPPORTED));
    }
    for command in [Command::TestUnitReady, REPORT_LUNS] {
        assert_eq!(bench.ask(0, command).await.status, Status::GOOD);
        assert_eq!(bench.ask(7, command).await, illegal(AdditionalSense::LOGICAL_UNIT_NOT_SUPPORTED));
    }
    // Addresses that are not single-level name nothing; an unknown command to nothing is about the LUN, not the command.
    for (address, cdb) in [(LunAddress([0x80, 0, 0, 0, 0, 0, 0, 0]), [0; 6]), (LunAddress::peripheral(7), [0xff; 6])] {
        let completion = bench.run_cdb(address, &cdb, Bytes::new()).await;
        assert_eq!(completion, illegal(AdditionalSense::LOGICAL_UNIT_NOT_SUPPORTED));
    }
    // REQUEST SENSE to nothing says so in its data.
    let sense = Sense::parse(&bench.data(7, REQUEST_SENSE).await).expect("sense data");
    assert_eq!(sense.code, AdditionalSense::LOGICAL_UNIT_NOT_SUPPORTED);
    let unknown = bench.run_cdb(LunAddress::peripheral(DISK), &[0xc0; 16], Bytes::new()).await;
    assert_eq!(unknown, illegal(AdditionalSense::INVALID_COMMAND_OPERATION_CODE));
}

#[tokio::test]
async fn unit_attentions_are_reported_once_per_nexus_and_unit() {
    let bench = Bench::just_connected();
    let power_on = attention_of(AdditionalSense::POWER_ON_OR_RESET);
    // INQUIRY and REPORT LUNS work and leave it pending.
    assert_eq!(bench.ask(DISK, inquiry(None)).await.status, Status::GOOD);
    assert_eq!(bench.ask(DISK, REPORT_LUNS).await.status, Status::GOOD);
    assert_eq!(bench.ask(DISK, read(0, 1)).await, power_on);
    assert_eq!(bench.ask(DISK, read(0, 1)).await.status, Status::GOOD);
    // REQUEST SENSE takes it as its data.
    let sense = Sense::parse(&bench.data(0, REQUEST_SENSE).await).expect("sense data");
    assert_eq!((sense.key, sense.code), (SenseKey::UNIT_ATTENTION, AdditionalSense::POWER_ON_OR_RESET));
    let sense = Sense::parse(&bench.data(0, REQUEST_SENSE).await).expect("sense data");
    assert_eq!(sense, Sense::NONE);
    assert_eq!(bench.ask(0, Command::TestUnitReady).await.status, Status::GOOD);
    // Another nexus of the same initiator has its own.
    let other = bench.server.connect(port("one"), PortalGroup::FIRST).expect("known");
    let cdb = Command::TestUnitReady.to_cdb();
    let task = bench.server.accept(&other, LunAddress::peripheral(DISK), cdb.as_bytes());
    assert_eq!(task.run(Bytes::new()).await, power_on);
    assert!(bench.server.connect(port("stranger"), PortalGroup::FIRST).is_none());
}

#[tokio::test]
async fn a_changed_inventory_is_reported_on_every_unit_until_report_luns() {
    let bench = Bench::new().await;
    let (other, _) = new_disk(2);
    let changed = attention_of(AdditionalSense::REPORTED_LUNS_DATA_CHANGED);
    bench.map.show(bench.nexus.initiator(), [(DISK, bench.disk.clone()), (9, other.clone())]);
    assert_eq!(bench.ask(DISK, Command::TestUnitReady).await, changed);
    assert_eq!(bench.ask(DISK, Command::TestUnitReady).await.status, Status::GOOD);
    assert_eq!(bench.ask(0, Command::TestUnitReady).await, changed);
    // A LUN that is new to the nexus has to say that, too.
    assert_eq!(bench.ask(9, Command::TestUnitReady).await, attention_of(AdditionalSense::POWER_ON_OR_RESET));
    assert_eq!(bench.ask(9, Command::TestUnitReady).await, changed);

    bench.map.show(bench.nexus.initiator(), [(DISK, bench.disk.clone())]);
    assert_eq!(bench.ask(0, REPORT_LUNS).await.status, Status::GOOD);
    for lun in [0, DISK] {
        assert_eq!(bench.ask(lun, Command::TestUnitReady).await.status, Status::GOOD, "REPORT LUNS has cleared it");
    }
    // Another LUN under the same number is another unit.
    bench.map.show(bench.nexus.initiator(), [(DISK, other)]);
    assert_eq!(bench.ask(DISK, read(0, 1)).await, attention_of(AdditionalSense::POWER_ON_OR_RESET));
    assert_eq!(bench.ask(DISK, read(0, 1)).await, changed);
    assert_eq!(bench.ask(DISK, read(0, 1)).await.status, Status::GOOD);
}

#[tokio::test]
async fn growth_and_resets_are_unit_attentions() {
    let bench = Bench::new().await;
    bench.controls.growth.store(100, Ordering::Relaxed);
    assert_eq!(bench.ask(DISK, read(0, 1)).await, attention_of(AdditionalSense::CAPACITY_DATA_CHANGED));
    let capacity = Capacity10::parse(&bench.data(DISK, Command::ReadCapacity10).await).expect("capacity");
    assert_eq!(u64::from(capacity.last_lba), LUN_BLOCKS + 99);

    let disk = UnitId::Disk(LunId::from_u128(DISK_ID));
    assert_eq!(bench.server.unit(&bench.nexus, LunAddress::peripheral(DISK)), Some(disk));
    let reset = AdditionalSense::BUS_DEVICE_RESET;
    bench.server.post_attention(Some(disk), reset, Some(&bench.nexus));
    assert_eq!(bench.ask(DISK, Command::TestUnitReady).await.status, Status::GOOD, "it was excepted");
    for _ in 0..2 {
        bench.server.post_attention(Some(disk), reset, None);
    }
    assert_eq!(bench.ask(0, Command::TestUnitReady).await.status, Status::GOOD, "it is about the disk");
    assert_eq!(bench.ask(DISK, Command::TestUnitReady).await, attention_of(reset));
    assert_eq!(bench.ask(DISK, Command::TestUnitReady).await.status, Status::GOOD, "once is enough");
    bench.server.post_attention(None, reset, None);
    for lun in [0, DISK] {
        assert_eq!(bench.ask(lun, Command::TestUnitReady).await, attention_of(reset));
    }
}

#[tokio::test]
async fn every_failure_of_a_lun_has_its_sense() {
    let damaged = Sense::new(SenseKey::MEDIUM_ERROR, AdditionalSense { asc: 0x11, ascq: 0 }).with_information(5);
    let table: [(fn() -> LunError, Sense); 8] = [
        (
            || LunError::OutOfRange { at: Lba(1), count: BlockCount(2), size: BlockCount(2) },
            Sense::new(SenseKey::ILLEGAL_REQUEST, AdditionalSense { asc: 0x21, ascq: 0 }),
        ),
        (
            || LunError::NotWholeBlocks { byte_len: 1 },
            Sense::new(SenseKey::HARDWARE_ERROR, AdditionalSense { asc: 0x44, ascq: 0 }),
        ),
        (|| LunError::OutOfSpace, Sense::new(SenseKey::DATA_PROTECT, AdditionalSense { asc: 0x27, ascq: 7 })),
        (|| LunError::Damaged { at: Lba(5) }, damaged),
        (|| LunError::Poisoned, Sense::new(SenseKey::DATA_PROTECT, AdditionalSense { asc: 0x27, ascq: 2 })),
        (|| LunError::Gone, Sense::new(SenseKey::ILLEGAL_REQUEST, AdditionalSense { asc: 0x25, ascq: 0 })),
        (|| LunError::ReadOnly, Sense::new(SenseKey::DATA_PROTECT, AdditionalSense { asc: 0x27, ascq: 0 })),
        (
            || LunError::Io(io::Error::other("the medium is on fire")),
            Sense::new(SenseKey::HARDWARE_ERROR, AdditionalSense { asc: 0x44, ascq: 0 }),
        ),
    ];
    let bench = Bench::new().await;
    let unmap = UnmapRange::list_to_bytes(&[UnmapRange { lba: 0, block_count: 1 }]);
    let commands = [
        (read(0, 1), Vec::new()),
        (write(0, 1), vec![1; 512]),
        (Command::Verify { range: BlockRange::new(0, 1), check: ByteCheck::Medium }, Vec::new()),
        (Command::SynchronizeCache { range: BlockRange::new(0, 0), immediate: true }, Vec::new()),
        (Command::Unmap { anchor: false, parameter_len: 24 }, unmap),
    ];
    for (failure, expected) in table {
        assert_eq!(sense_of(&failure()), expected);
        *bench.controls.failure.lock() = Some(failure);
        for (command, data) in &commands {
            let completion = bench.run(DISK, *command, data.clone()).await;
            assert_eq!(completion, Completion::check(expected), "{command:?}");
        }
    }
}

#[tokio::test]
async fn flushing_is_what_fua_and_synchronize_cache_and_stop_do() {
    let bench = Bench::new().await;
    let range = BlockRange::new(0, 1);
    let cases = [
        (Command::Write { range, fua: false }, 0),
        (Command::Write { range, fua: true }, 1),
        (Command::Read { range, fua: false }, 0),
        (Command::Read { range, fua: true }, 1),
        (Command::SynchronizeCache { range: BlockRange::new(0, 0), immediate: false }, 1),
        (Command::SynchronizeCache { range, immediate: true }, 1),
        (Command::StartStopUnit { power: Power::Stop, immediate: false }, 1),
        (Command::StartStopUnit { power: Power::Start, immediate: false }, 0),
    ];
    for (command, expected) in cases {
        let before = bench.controls.flushes.load(Ordering::Relaxed);
        assert_eq!(bench.run(DISK, command, vec![7; 512]).await.status, Status::GOOD, "{command:?}");
        assert_eq!(bench.controls.flushes.load(Ordering::Relaxed) - before, expected, "{command:?}");
    }
    let eject = Command::StartStopUnit { power: Power::Eject, immediate: false };
    assert_eq!(bench.ask(DISK, eject).await, invalid_field(FieldPointer::byte(4)));
}

#[tokio::test]
async fn ranges_and_lengths_are_checked_before_data_moves() {
    let bench = Bench::new().await;
    let out_of_range = illegal(AdditionalSense::LBA_OUT_OF_RANGE);
    let ranges = [(LUN_BLOCKS, 1), (LUN_BLOCKS - 1, 2), (LUN_BLOCKS + 1, 0), (u64::MAX, 1), (1 << 40, 0)];
    for (lba, count) in ranges {
        let range = BlockRange::new(lba, count);
        let check = ByteCheck::Medium;
        let commands = [
            read(lba, count),
            write(lba, count),
            Command::Verify { range, check },
            Command::SynchronizeCache { range, immediate: false },
        ];
        for command in commands {
            let cdb = command.to_cdb();
            let task = bench.server.accept(&bench.nexus, LunAddress::peripheral(DISK), cdb.as_bytes());
            assert_eq!(task.data_out_len(), 0, "no data is fetched for {command:?}");
            assert_eq!(task.run(Bytes::new()).await, out_of_range, "{command:?}");
        }
    }
    assert_eq!(bench.ask(DISK, read(LUN_BLOCKS, 0)).await, Completion::good());
    assert_eq!(bench.ask(DISK, read(LUN_BLOCKS - 1, 1)).await.data_in.len(), 512);
    let too_long = read(0, TRANSFER_BLOCKS_MAX + 1);
    assert_eq!(bench.ask(DISK, too_long).await, invalid_field(FieldPointer::byte(7)));
    assert_eq!(bench.ask(DISK, read(1 << 33, u32::MAX)).await, invalid_field(FieldPointer::byte(10)));
}

#[tokio::test]
async fn data_beyond_or_short_of_the_transfer_length_does_not_reach_other_blocks() {
    let bench = Bench::new().await;
    assert_eq!(bench.run(DISK, write(0, 3), vec![1; 3 * 512]).await, Completion::good());
    assert_eq!(bench.run(DISK, write(0, 1), vec![2; 2 * 512]).await, Completion::good());
    assert_eq!(bench.run(DISK, write(1, 2), vec![3; 512 + 511]).await, Completion::good());
    let expected = [vec![2; 512], vec![3; 512], vec![1; 512]].concat();
    assert_eq!(bench.data(DISK, read(0, 3)).await, expected);
}

#[tokio::test]
async fn verify_compares() {
    let bench = Bench::new().await;
    let blocks = [vec![1; 512], vec![2; 512]].concat();
    assert_eq!(bench.run(DISK, write(8, 2), blocks.clone()).await, Completion::good());
    let verify = |lba, count, check| Command::Verify { range: BlockRange::new(lba, count), check };
    let miscompare = Completion::check(Sense::new(SenseKey::MISCOMPARE, AdditionalSense::MISCOMPARE_DURING_VERIFY));
    assert_eq!(bench.run(DISK, verify(8, 2, ByteCheck::Blocks), blocks.clone()).await, Completion::good());
    assert_eq!(bench.run(DISK, verify(9, 2, ByteCheck::Blocks), blocks.clone()).await, miscompare);
    assert_eq!(bench.run(DISK, verify(8, 1, ByteCheck::OneBlock), vec![1; 512]).await, Completion::good());
    assert_eq!(bench.run(DISK, verify(8, 2, ByteCheck::OneBlock), vec![1; 512]).await, miscompare);
    let all = u32::try_from(LUN_BLOCKS).expect("small");
    assert_eq!(bench.ask(DISK, verify(0, all, ByteCheck::Medium)).await, Completion::good());
    assert_eq!(bench.run(DISK, verify(10, all - 10, ByteCheck::OneBlock), vec![0; 512]).await, Completion::good());
}

#[tokio::test]
async fn unmap_gives_back_all_or_nothing() {
    let bench = Bench::new().await;
    assert_eq!(bench.run(DISK, write(0, 16), vec![9; 16 * 512]).await, Completion::good());
    let unmap = |ranges: &[(u64, u32)]| {
        let ranges: Vec<_> =
            ranges.iter().map(|(lba, block_count)| UnmapRange { lba: *lba, block_count: *block_count }).collect();
        UnmapRange::list_to_bytes(&ranges)
    };
    let command =
        |list: &[u8]| Command::Unmap { anchor: false, parameter_len: u16::try_from(list.len()).expect("short") };
    let list = unmap(&[(0, 2), (LUN_BLOCKS, 1)]);
    let completion = bench.run(DISK, command(&list), list.clone()).await;
    assert_eq!(completion, illegal(AdditionalSense::LBA_OUT_OF_RANGE));
    assert_eq!(bench.data(DISK, read(0, 16)).await, vec![9; 16 * 512], "the good range is untouched as well");

    let list = unmap(&[(1, 2), (LUN_BLOCKS, 0), (8, 8)]);
    assert_eq!(bench.run(DISK, command(&list), list.clone()).await, Completion::good());
    let found = bench.data(DISK, read(0, 16)).await;
    let expected = [vec![9; 512], vec![0; 1024], vec![9; 5 * 512], vec![0; 8 * 512]].concat();
    assert_eq!(found, expected);

    let list = unmap(&[(0, UNMAP_BLOCKS_MAX), (0, 1)]);
    let completion = bench.run(DISK, command(&list), list.clone()).await;
    assert_eq!(completion.sense.map(|sense| sense.code), Some(AdditionalSense::INVALID_FIELD_IN_PARAMETER_LIST));
    assert_eq!(
        bench.run(DISK, command(&[0; 4]), vec![0; 4]).await,
        illegal(AdditionalSense::PARAMETER_LIST_LENGTH_ERROR)
    );
    assert_eq!(bench.run(DISK, command(&[]), Bytes::new()).await, Completion::good());
    let anchor = Command::Unmap { anchor: true, parameter_len: 8 };
    assert_eq!(bench.run(DISK, anchor, vec![0; 8]).await, invalid_field(FieldPointer::byte(1)));
}

#[tokio::test]
async fn an_initiator_that_is_removed_sees_nothing_any_more() {
    let bench = Bench::new().await;
    bench.map.forget(bench.nexus.initiator());
    assert_eq!(bench.ask(DISK, read(0, 1)).await, illegal(AdditionalSense::LOGICAL_UNIT_NOT_SUPPORTED));
    let list = LunList::parse(&bench.data(0, REPORT_LUNS).await).expect("a list");
    assert_eq!(list.luns, [LunAddress::peripheral(0)]);
}
