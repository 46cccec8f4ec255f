//! MODE SELECT: what it changes, what it refuses, and who hears of it.

use std::sync::atomic::Ordering;

use bytes::Bytes;
use lunshadow_scsi::{
    AdditionalSense, CachingPage, Command, ControlPage, FieldPointer, LunAddress, ModeData, ModeForm, ModeList,
    ModePage, PageControl, Sense, SenseFormat, SenseKey, SensePointer, Status, page_code,
};
use lunshadow_target::{Completion, PortalGroup, UnitId};

use crate::device_server::{Bench, DISK, attention_of, illegal, invalid_field, port, read, write};

fn list(form: ModeForm, pages: &[ModePage]) -> Vec<u8> {
    ModeData { pages: pages.to_vec(), ..ModeData::default() }.to_bytes(form)
}

fn select(form: ModeForm, list: &[u8]) -> Command {
    let parameter_len = u16::try_from(list.len()).expect("short");
    Command::ModeSelect { form, page_format: true, save: false, parameter_len }
}

async fn pages(bench: &Bench, control: PageControl) -> ModeData {
    let form = ModeForm::Ten;
    let command = Command::ModeSense {
        form,
        without_block_descriptor: true,
        control,
        page: page_code::ALL,
        subpage: 0,
        allocation_len: 255,
    };
    ModeData::parse(form, &bench.data(DISK, command).await).expect("mode data")
}

const DEFAULT_CONTROL: ControlPage = ControlPage {
    descriptor_sense: false,
    unrestricted_reordering: true,
    software_write_protect: false,
    task_aborted_status: false,
};

const WRITE_THROUGH: ModePage = ModePage::Caching(CachingPage { write_cache: false, read_cache_disabled: false });

#[tokio::test]
async fn without_a_write_cache_every_write_is_durable() {
    let bench = Bench::new().await;
    for form in [ModeForm::Six, ModeForm::Ten] {
        let list = list(form, &[WRITE_THROUGH]);
        assert_eq!(bench.run(DISK, select(form, &list), list.clone()).await, Completion::good());
    }
    assert_eq!(pages(&bench, PageControl::Current).await.pages[0], WRITE_THROUGH);
    assert_ne!(pages(&bench, PageControl::Default).await.pages[0], WRITE_THROUGH);
    let before = bench.controls.flushes.load(Ordering::Relaxed);
    assert_eq!(bench.run(DISK, write(0, 1), vec![1; 512]).await, Completion::good());
    let swap = Command::CompareAndWrite { lba: 0, block_count: 1, fua: false };
    assert_eq!(bench.run(DISK, swap, [vec![1; 512], vec![2; 512]].concat()).await, Completion::good());
    assert_eq!(bench.controls.flushes.load(Ordering::Relaxed) - before, 2);
}

#[tokio::test]
async fn software_write_protection_stops_everything_that_writes() {
    let bench = Bench::new().await;
    let protect = ModePage::Control(ControlPage { software_write_protect: true, ..DEFAULT_CONTROL });
    let list = list(ModeForm::Six, &[protect]);
    assert_eq!(bench.run(DISK, select(ModeForm::Six, &list), list.clone()).await, Completion::good());
    assert!(pages(&bench, PageControl::Current).await.write_protected);
    let range = lunshadow_scsi::BlockRange::new(0, 1);
    let protected = Sense::new(SenseKey::DATA_PROTECT, AdditionalSense::LOGICAL_UNIT_WRITE_PROTECTED);
    let commands = [
        write(0, 1),
        Command::WriteAndVerify { range, check: lunshadow_scsi::ByteCheck::Blocks },
        Command::OrWrite { range, fua: false },
        Command::CompareAndWrite { lba: 0, block_count: 1, fua: false },
        Command::WriteSame { range, unmap: false, anchor: false, no_data_out: false },
        Command::Unmap { anchor: false, parameter_len: 24 },
    ];
    for command in commands {
        assert_eq!(bench.ask(DISK, command).await, Completion::check(protected), "{command:?}");
    }
    assert_eq!(bench.ask(DISK, read(0, 1)).await.status, Status::GOOD);
    // A reset brings back what power on would.
    let disk = bench.server.unit(&bench.nexus, LunAddress::peripheral(DISK)).expect("it is there");
    assert!(matches!(disk, UnitId::Disk(_)));
    bench.server.reset(Some(disk));
    assert_eq!(bench.ask(DISK, read(0, 1)).await, attention_of(AdditionalSense::BUS_DEVICE_RESET));
    assert_eq!(bench.run(DISK, write(0, 1), vec![1; 512]).await, Completion::good());
}

#[tokio::test]
async fn sense_data_comes_in_the_format_that_was_chosen() {
    let bench = Bench::new().await;
    let cdb = read(u64::MAX, 1).to_cdb();
    let accept = || bench.server.accept(&bench.nexus, LunAddress::peripheral(DISK), cdb.as_bytes());
    assert_eq!(accept().sense_format(), SenseFormat::Fixed);
    let descriptors = ModePage::Control(ControlPage { descriptor_sense: true, ..DEFAULT_CONTROL });
    let list = list(ModeForm::Ten, &[descriptors]);
    assert_eq!(bench.run(DISK, select(ModeForm::Ten, &list), list.clone()).await, Completion::good());
    assert_eq!(accept().sense_format(), SenseFormat::Descriptor);
}

#[tokio::test]
async fn the_other_nexuses_hear_of_a_change_and_of_nothing_else() {
    let bench = Bench::new().await;
    let other = bench.server.connect(port("one"), PortalGroup::FIRST).expect("known");
    let ask = async || {
        let cdb = Command::TestUnitReady.to_cdb();
        bench.server.accept(&other, LunAddress::peripheral(DISK), cdb.as_bytes()).run(Bytes::new()).await
    };
    assert_eq!(ask().await, attention_of(AdditionalSense::POWER_ON_OR_RESET));
    let unchanged = list(ModeForm::Six, &[ModePage::Control(DEFAULT_CONTROL)]);
    assert_eq!(bench.run(DISK, select(ModeForm::Six, &unchanged), unchanged.clone()).await, Completion::good());
    assert_eq!(ask().await, Completion::good());
    let changed = list(ModeForm::Six, &[WRITE_THROUGH]);
    assert_eq!(bench.run(DISK, select(ModeForm::Six, &changed), changed.clone()).await, Completion::good());
    assert_eq!(ask().await, attention_of(AdditionalSense::MODE_PARAMETERS_CHANGED));
    assert_eq!(bench.ask(DISK, Command::TestUnitReady).await, Completion::good(), "it changed them itself");
}

#[tokio::test]
async fn what_cannot_be_changed_is_refused_and_nothing_is_changed_then() {
    let bench = Bench::new().await;
    let before = pages(&bench, PageControl::Current).await;
    let form = ModeForm::Six;
    let invalid = |byte| {
        let sense = Sense::new(SenseKey::ILLEGAL_REQUEST, AdditionalSense::INVALID_FIELD_IN_PARAMETER_LIST);
        Completion::check(sense.with_pointer(SensePointer::ParameterList(FieldPointer::byte(byte))))
    };
    let unordered = ModePage::Control(ControlPage { unrestricted_reordering: false, ..DEFAULT_CONTROL });
    let uncached = ModePage::Caching(CachingPage { write_cache: true, read_cache_disabled: true });
    let unknown = ModePage::Other { page: 0x1a, subpage: None, body: vec![0; 10] };
    let short = ModePage::Other { page: page_code::CONTROL, subpage: None, body: vec![0; 6] };
    let cases = [
        (list(form, std::slice::from_ref(&unordered)), invalid(4 + 3)),
        // The first page is right, and does not count either.
        (list(form, &[WRITE_THROUGH, unordered]), invalid(4 + 20 + 3)),
        (list(form, &[uncached]), invalid(4 + 2)),
        (list(form, &[unknown]), invalid(4)),
        (list(form, &[short]), invalid(4 + 1)),
        (vec![0, 0, 0, 16], invalid(3)),
        // A block length of 1024.
        ([&[0, 0, 0, 8][..], &[0; 6], &[4, 0]].concat(), invalid(4)),
        (vec![0; 3], illegal(AdditionalSense::PARAMETER_LIST_LENGTH_ERROR)),
        (list(form, &[WRITE_THROUGH])[..20].to_vec(), illegal(AdditionalSense::PARAMETER_LIST_LENGTH_ERROR)),
    ];
    for (list, expected) in cases {
        assert_eq!(bench.run(DISK, select(form, &list), list.clone()).await, expected, "{list:02x?}");
        assert_eq!(pages(&bench, PageControl::Current).await, before);
    }
    for (page_format, save) in [(false, false), (true, true)] {
        let command = Command::ModeSelect { form, page_format, save, parameter_len: 4 };
        assert_eq!(bench.ask(DISK, command).await, invalid_field(FieldPointer::byte(1)));
    }
    assert_eq!(bench.run(DISK, select(form, &[]), Bytes::new()).await, Completion::good(), "nothing to change");
    let with_descriptor = [&[0, 0, 0, 8, 0, 0, 8, 0, 0, 0, 2, 0][..], &WRITE_THROUGH.to_bytes()].concat();
    assert_eq!(bench.run(DISK, select(form, &with_descriptor), with_descriptor.clone()).await, Completion::good());
    let parsed = ModeList::parse(form, &with_descriptor).expect("a list");
    assert_eq!(parsed.block_descriptor, Some((2048, 512)));
}
