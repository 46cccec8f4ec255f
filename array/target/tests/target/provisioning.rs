//! What a thin LUN says of its space.

use lunshadow_lun::{LunUsage, SpaceLevel};
use lunshadow_scsi::vpd::{LogicalBlockProvisioning, page};
use lunshadow_scsi::{
    AdditionalSense, Command, FieldPointer, LbaExtent, LbaStatus, LogPage, ModeData, ModeForm, ModePage, PageControl,
    ProvisioningPage, ProvisioningParameter, ProvisioningStatus, ResourceScope, Status, Threshold, log_page, page_code,
};
use lunshadow_target::Completion;

use crate::device_server::{Bench, DISK, LUN_BLOCKS, attention_of, invalid_field, read};

fn log_sense(page: u8, subpage: u8, parameter: u16) -> Command {
    Command::LogSense { page, subpage, parameter, allocation_len: 255 }
}

#[tokio::test]
async fn extents_are_reported_as_far_as_there_is_room() {
    let bench = Bench::new().await;
    *bench.controls.holes.lock() = vec![8..16, 100..LUN_BLOCKS];
    let extent =
        |lba, end: u64, status| LbaExtent { lba, block_count: u32::try_from(end - lba).expect("small"), status };
    let (mapped, hole) = (ProvisioningStatus::MAPPED, ProvisioningStatus::DEALLOCATED);
    let all = [extent(0, 8, mapped), extent(8, 16, hole), extent(16, 100, mapped), extent(100, LUN_BLOCKS, hole)];
    for room in 0..6_u32 {
        let command = Command::GetLbaStatus { lba: 0, allocation_len: 8 + 16 * room };
        let status = LbaStatus::parse(&bench.data(DISK, command).await).expect("a status");
        assert_eq!(status.extents, all[..(room as usize).min(4)], "room for {room}");
    }
    let command = Command::GetLbaStatus { lba: 12, allocation_len: 24 };
    let status = LbaStatus::parse(&bench.data(DISK, command).await).expect("a status");
    assert_eq!(status.extents, [extent(12, 16, hole)]);
    for allocation_len in 0..=24 {
        let command = Command::GetLbaStatus { lba: 0, allocation_len };
        assert_eq!(bench.data(DISK, command).await.len(), allocation_len as usize);
    }
}

#[tokio::test]
async fn the_log_tells_how_much_room_there_is() {
    let bench = Bench::new().await;
    let supported = async || LogPage::parse(&bench.data(DISK, log_sense(0, 0, 0)).await).expect("a page").body;
    assert_eq!(supported().await, [0]);
    let unknown = bench.ask(DISK, log_sense(log_page::LOGICAL_BLOCK_PROVISIONING, 0, 0)).await;
    assert_eq!(unknown, invalid_field(FieldPointer::byte(2)));

    let mapped_bytes = (5 << 20) + 1;
    let available_bytes = (7 << 20) - 1;
    *bench.controls.usage.lock() = Some(LunUsage { mapped_bytes, available_bytes, low_bytes: 0 });
    assert_eq!(supported().await, [0, 0x0c]);
    let subpages = LogPage::parse(&bench.data(DISK, log_sense(0, 0xff, 0)).await).expect("a page");
    assert_eq!((subpages.subpage, subpages.body), (0xff, vec![0, 0, 0, 0xff, 0x0c, 0]));
    let b2 = bench.data(DISK, Command::Inquiry { page: Some(page::LOGICAL_BLOCK_PROVISIONING), allocation_len: 255 });
    let exponent = LogicalBlockProvisioning::parse(&b2.await).expect("the page").threshold_exponent;
    assert_eq!(512 << exponent, 1 << 20);
    let available = ProvisioningParameter { code: 1, resource_count: 6, scope: ResourceScope::SHARED };
    let used = ProvisioningParameter { code: 2, resource_count: 6, scope: ResourceScope::DEDICATED };
    for (from, expected) in [(0, vec![available, used]), (1, vec![available, used]), (2, vec![used])] {
        let log = LogPage::parse(&bench.data(DISK, log_sense(0x0c, 0, from)).await).expect("a page");
        assert_eq!(ProvisioningParameter::parse_list(&log.body), expected, "from {from}");
    }
    assert_eq!(bench.ask(DISK, log_sense(0x0c, 0, 3)).await, invalid_field(FieldPointer::byte(5)));
    assert_eq!(bench.ask(DISK, log_sense(0x0c, 1, 0)).await, invalid_field(FieldPointer::byte(3)));
    assert_eq!(bench.ask(DISK, log_sense(0x0d, 0, 0)).await, invalid_field(FieldPointer::byte(2)));
}

#[tokio::test]
async fn little_room_is_told_once_until_there_was_plenty_again() {
    let bench = Bench::new().await;
    let low = attention_of(AdditionalSense::THIN_PROVISIONING_SOFT_THRESHOLD_REACHED);
    for _ in 0..2 {
        *bench.controls.space.lock() = SpaceLevel::Low;
        assert_eq!(bench.ask(DISK, read(0, 1)).await, low);
        assert_eq!(bench.ask(DISK, read(0, 1)).await.status, Status::GOOD);
        *bench.controls.space.lock() = SpaceLevel::Full;
        assert_eq!(bench.ask(DISK, read(0, 1)).await.status, Status::GOOD, "the writes that fail will tell");
        *bench.controls.space.lock() = SpaceLevel::Plenty;
        assert_eq!(bench.ask(DISK, Command::TestUnitReady).await, Completion::good());
    }
    *bench.controls.space.lock() = SpaceLevel::Full;
    assert_eq!(bench.ask(DISK, read(0, 1)).await, low);
}

fn threshold_pages(control: PageControl, (page, subpage): (u8, u8)) -> Command {
    let (form, without_block_descriptor, allocation_len) = (ModeForm::Ten, true, 255);
    Command::ModeSense { form, without_block_descriptor, control, page, subpage, allocation_len }
}

#[tokio::test]
async fn a_mode_page_tells_the_threshold() {
    let bench = Bench::new().await;
    let missing = bench.ask(DISK, threshold_pages(PageControl::Current, page_code::PROVISIONING)).await;
    assert_eq!(missing, invalid_field(FieldPointer::byte(3)), "storage does not say");
    let usage = LunUsage { mapped_bytes: 0, available_bytes: 9 << 20, low_bytes: (3 << 20) + 5 };
    *bench.controls.usage.lock() = Some(usage);
    let pages = async |control, code| {
        let data = bench.data(DISK, threshold_pages(control, code)).await;
        ModeData::parse(ModeForm::Ten, &data).expect("mode data").pages
    };
    let threshold = Threshold { enabled: true, kind: 0, arming: 0, resource: 1, count: 3 };
    let page = ModePage::Provisioning(ProvisioningPage { single_attention: false, thresholds: vec![threshold] });
    for control in [PageControl::Current, PageControl::Default] {
        assert_eq!(pages(control, page_code::PROVISIONING).await, std::slice::from_ref(&page));
    }
    let (informational, subpage) = page_code::PROVISIONING;
    let of_page = pages(PageControl::Current, (informational, page_code::ALL_SUBPAGES)).await;
    assert_eq!(of_page, [ModePage::InformationalExceptions, page.clone()]);
    assert_eq!(pages(PageControl::Current, (informational, 0)).await, [ModePage::InformationalExceptions]);
    assert_eq!(pages(PageControl::Current, (page_code::ALL, page_code::ALL_SUBPAGES)).await[3], page);
    assert_eq!(pages(PageControl::Current, (page_code::ALL, 0)).await.len(), 3);
    for code in [(page_code::ALL, subpage), (page_code::CACHING, subpage)] {
        let refused = bench.ask(DISK, threshold_pages(PageControl::Current, code)).await;
        assert_eq!(refused, invalid_field(FieldPointer::byte(3)), "{code:?}");
    }
    // The administrator's threshold is not for initiators to change; as it is it may be sent back.
    let select = async |page: &ModePage| {
        let list = ModeData { pages: vec![page.clone()], ..ModeData::default() }.to_bytes(ModeForm::Ten);
        let parameter_len = u16::try_from(list.len()).expect("short");
        let command = Command::ModeSelect { form: ModeForm::Ten, page_format: true, save: false, parameter_len };
        bench.run(DISK, command, list).await
    };
    assert_eq!(select(&page).await, Completion::good());
    let thresholds = vec![Threshold { count: 4, ..threshold }];
    let other = ModePage::Provisioning(ProvisioningPage { single_attention: false, thresholds });
    assert_eq!(select(&other).await.status, Status::CHECK_CONDITION);
    let body = vec![1, 2, 3];
    let wrong = ModePage::Other { page: informational, subpage: Some(subpage), body };
    assert_eq!(select(&wrong).await.status, Status::CHECK_CONDITION);
}
