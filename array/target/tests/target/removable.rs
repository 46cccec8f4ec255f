//! Removable and write protected LUNs: what initiators can do with the medium, who keeps it, and who hears of what.

use std::sync::Arc;

use bytes::Bytes;
use lunshadow_lun::{Presentation, PresentationCell};
use lunshadow_scsi::{
    AdditionalSense, BlockRange, Command, LunAddress, ModeData, ModeForm, Power, Sense, SenseFormat, SenseKey,
    StandardInquiry, Status, UnmapRange, opcode, page_code,
};
use lunshadow_target::{Completion, Nexus, PortalGroup};

use crate::device_server::{Bench, DISK, attention_of, illegal, initiator, invalid_field, port, read, write};

const REMOVABLE: Presentation = Presentation { removable: true, write_protected: false };
const PROTECTED: Presentation = Presentation { removable: false, write_protected: true };
const EJECT: Command = Command::StartStopUnit { power: Power::Eject, immediate: false };
const LOAD: Command = Command::StartStopUnit { power: Power::Load, immediate: true };
const PREVENT: Command = Command::PreventAllowMediumRemoval { prevent: true };
const ALLOW: Command = Command::PreventAllowMediumRemoval { prevent: false };
const TUR: Command = Command::TestUnitReady;

/// A disk of two initiators, and how they see it.
struct Shared {
    bench: Bench,
    other: Arc<Nexus>,
    cell: Arc<PresentationCell>,
}

impl Shared {
    async fn new(presentation: Presentation) -> Self {
        let bench = Bench::new().await;
        let cell = Arc::new(PresentationCell::new(presentation));
        let disk = bench.disk.presented(cell.clone());
        for name in ["one", "two"] {
            bench.map.show(&initiator(name), [(DISK, disk.clone())]);
        }
        let nexus = bench.server.connect(port("one"), PortalGroup::FIRST).expect("it is known");
        let other = bench.server.connect(port("two"), PortalGroup::FIRST).expect("it is known");
        let shared = Self { bench: Bench { nexus, ..bench }, other, cell };
        for nexus in [&shared.bench.nexus, &shared.other] {
            assert_eq!(shared.by(nexus, TUR).await, attention_of(AdditionalSense::POWER_ON_OR_RESET));
        }
        shared
    }

    async fn by(&self, nexus: &Arc<Nexus>, command: Command) -> Completion {
        let task = self.bench.server.accept(nexus, LunAddress::peripheral(DISK), command.to_cdb().as_bytes());
        task.run(Bytes::new()).await
    }

    async fn one(&self, command: Command) -> Completion {
        self.bench.ask(DISK, command).await
    }

    async fn two(&self, command: Command) -> Completion {
        self.by(&self.other, command).await
    }

    async fn standard_inquiry(&self) -> StandardInquiry {
        let inquiry = Command::Inquiry { page: None, allocation_len: 255 };
        StandardInquiry::parse(&self.bench.data(DISK, inquiry).await).expect("standard data")
    }

    async fn is_protected(&self) -> bool {
        let command = Command::ModeSense {
            form: ModeForm::Ten,
            without_block_descriptor: true,
            control: lunshadow_scsi::PageControl::Current,
            page: page_code::ALL,
            subpage: 0,
            allocation_len: 255,
        };
        ModeData::parse(ModeForm::Ten, &self.bench.data(DISK, command).await).expect("mode data").write_protected
    }
}

fn no_medium() -> Completion {
    Completion::check(Sense::new(SenseKey::NOT_READY, AdditionalSense::MEDIUM_NOT_PRESENT))
}

fn prevented() -> Completion {
    illegal(AdditionalSense::MEDIUM_REMOVAL_PREVENTED)
}

#[tokio::test]
async fn an_ejected_medium_is_out_of_sight_until_it_is_loaded() {
    let shared = Shared::new(REMOVABLE).await;
    assert!(shared.standard_inquiry().await.removable);
    shared.bench.run(DISK, write(0, 1), vec![7; 512]).await;
    assert_eq!(shared.one(EJECT).await, Completion::good());
    let start = Command::StartStopUnit { power: Power::Start, immediate: false };
    let flush = Command::SynchronizeCache { range: BlockRange::new(0, 0), immediate: false };
    for command in [TUR, read(0, 1), write(0, 1), Command::ReadCapacity10, start, flush] {
        assert_eq!(shared.one(command).await, no_medium(), "{command:?}");
        assert_eq!(shared.two(command).await, no_medium(), "{command:?}");
    }
    let request_sense = Command::RequestSense { format: SenseFormat::Fixed, allocation_len: 252 };
    let sense = Sense::parse(&shared.bench.data(DISK, request_sense).await);
    assert_eq!(sense.ok(), no_medium().sense);
    assert!(shared.standard_inquiry().await.removable, "who is there is always said");
    // Twice is as good as once.
    assert_eq!(shared.two(EJECT).await, Completion::good());
    // Whoever loads it is not told of it.
    assert_eq!(shared.one(LOAD).await, Completion::good());
    assert_eq!(shared.bench.data(DISK, read(0, 1)).await, vec![7; 512]);
    assert_eq!(shared.two(TUR).await, attention_of(AdditionalSense::MEDIUM_MAY_HAVE_CHANGED));
    assert_eq!(shared.two(TUR).await, Completion::good());
    // Nothing was loaded that was not out.
    assert_eq!(shared.one(LOAD).await, Completion::good());
    assert_eq!(shared.two(TUR).await, Completion::good());
}

#[tokio::test]
async fn power_conditions_move_no_medium() {
    for presentation in [Presentation::default(), REMOVABLE] {
        let shared = Shared::new(presentation).await;
        for condition in [1, 2, 3, 7, 10, 11] {
            // With LOEJ, which would eject it otherwise.
            let cdb = [opcode::START_STOP_UNIT, 1, 0, 0, condition << 4 | 2, 0];
            let completion = shared.bench.run_cdb(LunAddress::peripheral(DISK), &cdb, Bytes::new()).await;
            assert_eq!(completion, Completion::good(), "condition {condition}");
            assert_eq!((shared.one(TUR).await, shared.two(TUR).await), (Completion::good(), Completion::good()));
        }
        let reserved = [opcode::START_STOP_UNIT, 1, 0, 0, 0x42, 0];
        let completion = shared.bench.run_cdb(LunAddress::peripheral(DISK), &reserved, Bytes::new()).await;
        assert_eq!(completion, invalid_field(lunshadow_scsi::FieldPointer::bit(4, 7)));
        assert_eq!(shared.one(TUR).await, Completion::good());
    }
}

#[tokio::test]
async fn each_nexus_that_prevents_removal_has_to_allow_it_again() {
    let shared = Shared::new(REMOVABLE).await;
    for command in [PREVENT, PREVENT] {
        assert_eq!(shared.one(command).await, Completion::good());
    }
    assert_eq!((shared.one(EJECT).await, shared.two(EJECT).await), (prevented(), prevented()));
    assert_eq!(shared.one(TUR).await, Completion::good());
    assert_eq!(shared.two(PREVENT).await, Completion::good());
    assert_eq!(shared.one(ALLOW).await, Completion::good());
    assert_eq!(shared.one(EJECT).await, prevented());
    assert_eq!(shared.two(ALLOW).await, Completion::good());
    assert_eq!(shared.one(EJECT).await, Completion::good());
    // It is kept where it is, wherever that is.
    assert_eq!(shared.two(PREVENT).await, Completion::good());
    assert_eq!(shared.one(LOAD).await, prevented());
    assert_eq!(shared.two(ALLOW).await, Completion::good());
    assert_eq!(shared.one(LOAD).await, Completion::good());
}

#[tokio::test]
async fn a_reset_or_the_loss_of_the_nexus_allows_removal() {
    let shared = Shared::new(REMOVABLE).await;
    shared.two(PREVENT).await;
    shared.other.lose();
    assert_eq!(shared.one(EJECT).await, Completion::good());
    assert_eq!(shared.one(LOAD).await, Completion::good());
    for everything in [false, true] {
        let unit = shared.bench.server.unit(&shared.bench.nexus, LunAddress::peripheral(DISK));
        assert_eq!(shared.one(PREVENT).await, Completion::good());
        shared.bench.server.reset(unit.filter(|_| !everything));
        assert_eq!(shared.one(TUR).await, attention_of(AdditionalSense::BUS_DEVICE_RESET));
        assert_eq!(shared.one(EJECT).await, Completion::good());
        // A reset moves no medium.
        shared.bench.server.reset(unit);
        assert_eq!(shared.one(TUR).await, attention_of(AdditionalSense::BUS_DEVICE_RESET));
        assert_eq!(shared.one(TUR).await, no_medium());
        assert_eq!(shared.one(LOAD).await, Completion::good());
    }
}

#[tokio::test]
async fn the_medium_of_a_disk_like_any_other_stays() {
    let shared = Shared::new(Presentation::default()).await;
    assert!(!shared.standard_inquiry().await.removable);
    for command in [EJECT, LOAD] {
        assert_eq!(shared.one(command).await, invalid_field(lunshadow_scsi::FieldPointer::byte(4)));
    }
    assert_eq!((shared.one(PREVENT).await, shared.one(ALLOW).await), (Completion::good(), Completion::good()));
    assert_eq!(shared.one(TUR).await, Completion::good());
}

#[tokio::test]
async fn initiators_hear_that_a_disk_is_removable_from_now_on() {
    let shared = Shared::new(Presentation::default()).await;
    let changed = attention_of(AdditionalSense::INQUIRY_DATA_CHANGED);
    shared.cell.set(REMOVABLE);
    assert_eq!((shared.one(TUR).await, shared.two(TUR).await), (changed.clone(), changed.clone()));
    assert_eq!((shared.one(TUR).await, shared.two(EJECT).await), (Completion::good(), Completion::good()));
    assert_eq!(shared.one(TUR).await, no_medium());
    // What is not removable any more is there.
    shared.cell.set(Presentation::default());
    assert_eq!((shared.one(TUR).await, shared.two(TUR).await), (changed.clone(), changed));
    assert_eq!((shared.one(TUR).await, shared.two(read(0, 1)).await.status), (Completion::good(), Status::GOOD));
}

#[tokio::test]
async fn a_protected_disk_takes_no_writes_not_even_those_under_way() {
    let shared = Shared::new(Presentation::default()).await;
    assert!(!shared.is_protected().await);
    let cdb = write(0, 1).to_cdb();
    let late = shared.bench.server.accept(&shared.bench.nexus, LunAddress::peripheral(DISK), cdb.as_bytes());
    shared.cell.set(PROTECTED);
    let protected = Completion::check(Sense::new(SenseKey::DATA_PROTECT, AdditionalSense::WRITE_PROTECTED));
    assert_eq!(late.run(vec![1; 512].into()).await, protected);
    let changed = attention_of(AdditionalSense::MODE_PARAMETERS_CHANGED);
    assert_eq!((shared.one(TUR).await, shared.two(TUR).await), (changed.clone(), changed.clone()));
    assert!(shared.is_protected().await);
    assert!(!shared.standard_inquiry().await.removable);
    let range = BlockRange::new(0, 1);
    let (action, immediate, unrestricted_exit) = (lunshadow_scsi::SanitizeAction::BlockErase, false, false);
    let writes = [
        write(0, 1),
        Command::WriteAndVerify { range, check: lunshadow_scsi::ByteCheck::Blocks },
        Command::OrWrite { range, fua: false },
        Command::CompareAndWrite { lba: 0, block_count: 1, fua: false },
        Command::WriteAtomic { lba: 0, boundary: 0, block_count: 8, fua: false },
        Command::WriteSame { range, unmap: false, anchor: false, no_data_out: false },
        Command::Unmap { anchor: false, parameter_len: 24 },
        Command::WriteUsingToken { list_id: 1, parameter_len: 536 },
        Command::Sanitize { action, immediate, unrestricted_exit, parameter_len: 0 },
    ];
    for command in writes {
        assert_eq!(shared.one(command).await, protected, "{command:?}");
    }
    assert_eq!(shared.bench.data(DISK, read(0, 1)).await, vec![0; 512]);
    let flush = Command::SynchronizeCache { range: BlockRange::new(0, 0), immediate: false };
    assert_eq!((shared.one(TUR).await, shared.one(flush).await), (Completion::good(), Completion::good()));
    shared.cell.set(Presentation::default());
    assert_eq!((shared.one(TUR).await, shared.two(TUR).await), (changed.clone(), changed));
    assert_eq!(shared.bench.run(DISK, write(0, 1), vec![1; 512]).await, Completion::good());
    let list = UnmapRange::list_to_bytes(&[UnmapRange { lba: 0, block_count: 1 }]);
    let unmap = Command::Unmap { anchor: false, parameter_len: 24 };
    assert_eq!(shared.bench.run(DISK, unmap, list).await, Completion::good());
}
