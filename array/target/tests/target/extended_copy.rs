//! EXTENDED COPY (LID1) between disks, and what is reported of it.

use lunshadow_control::Designator;
use lunshadow_lun::{LunHandle, LunId, identity_of};
use lunshadow_scsi::{
    AdditionalSense, BlockSegment, Command, CopyDescriptor, CopyList, CopyParameters, CopyProgress, FieldPointer,
    ListIdUsage, ReservationKind, ReserveInAction, ReserveOutAction, ReserveParameters, Sense, SenseKey, SensePointer,
};
use lunshadow_target::{Completion, PortalGroup};

use crate::device_server::{Bench, DISK, LUN_BLOCKS, illegal, initiator, invalid_field, new_disk, read, write};

const OTHER_ID: u128 = 77;
const OTHER: u8 = 2;

fn named(designator: &Designator) -> CopyDescriptor {
    CopyDescriptor { designator: designator.clone(), block_bytes: 512, null: false }
}

fn naa_of(id: LunId) -> CopyDescriptor {
    named(&identity_of(id).designators[0])
}

fn segment(from: u16, from_lba: u64, to: u16, to_lba: u64, block_count: u16) -> BlockSegment {
    BlockSegment { from, to, block_count, from_lba, to_lba }
}

struct TwoDisks {
    bench: Bench,
    other: LunHandle,
    list: CopyList,
}

impl TwoDisks {
    /// Both are in the list, the first being 0.
    async fn new() -> Self {
        let bench = Bench::new().await;
        let (other, _) = new_disk(OTHER_ID);
        bench.map.show(&initiator("one"), [(DISK, bench.disk.clone()), (OTHER, other.clone())]);
        for lun in [DISK, OTHER] {
            while bench.ask(lun, Command::TestUnitReady).await != Completion::good() {}
        }
        let descriptors = vec![naa_of(bench.disk.id()), naa_of(other.id())];
        Self {
            bench,
            other,
            list: CopyList { list_id: 9, usage: ListIdUsage::Held, descriptors, segments: Vec::new() },
        }
    }

    async fn copy(&self, list: &[u8]) -> Completion {
        let parameter_len = u32::try_from(list.len()).expect("a short list");
        self.bench.run(DISK, Command::ExtendedCopy { parameter_len }, list.to_vec()).await
    }

    async fn segments(&self, segments: &[BlockSegment]) -> Completion {
        self.copy(&CopyList { segments: segments.to_vec(), ..self.list.clone() }.to_bytes()).await
    }

    async fn status(&self) -> CopyProgress {
        let command = Command::ReceiveCopyStatus { list_id: 9, allocation_len: 255 };
        CopyProgress::parse(&self.bench.data(DISK, command).await).expect("a status")
    }
}

fn blocks(first: u8, count: u8) -> Vec<u8> {
    (first..first + count).flat_map(|fill| [fill; 512]).collect()
}

fn aborted(code: AdditionalSense) -> Completion {
    Completion::check(Sense::new(SenseKey::COPY_ABORTED, code))
}

#[tokio::test]
async fn segments_are_copied_in_order_and_reported() {
    let disks = TwoDisks::new().await;
    disks.bench.run(DISK, write(0, 32), blocks(1, 32)).await;
    let segments =
        [segment(0, 2, 1, 100, 20), segment(1, 101, 0, 500, 5), segment(0, 0, 0, 3, 10), segment(0, 0, 1, 0, 0)];
    assert_eq!(disks.segments(&segments).await, Completion::good());
    assert_eq!(disks.bench.data(OTHER, read(100, 20)).await, blocks(3, 20));
    assert_eq!(disks.bench.data(DISK, read(500, 5)).await, blocks(4, 5));
    // It lies over its own source.
    assert_eq!(disks.bench.data(DISK, read(0, 15)).await, [blocks(1, 3), blocks(1, 10), blocks(14, 2)].concat());
    let progress = disks.status().await;
    assert_eq!((progress.ended_well, progress.segments, progress.bytes), (Some(true), 4, 35 * 512));
    let again = disks.bench.ask(DISK, Command::ReceiveCopyStatus { list_id: 9, allocation_len: 255 }).await;
    assert_eq!(again, invalid_field(FieldPointer::byte(2)), "it was told");
    let bare = CopyList { list_id: 0, usage: ListIdUsage::None, segments: segments.to_vec(), ..disks.list.clone() };
    assert_eq!(disks.copy(&bare.to_bytes()).await, Completion::good());
}

#[tokio::test]
async fn what_cannot_be_copied_aborts_the_copy() {
    let disks = TwoDisks::new().await;
    let end = LUN_BLOCKS - 1;
    for wrong in [segment(0, end, 1, 0, 2), segment(0, 0, 1, end, 2), segment(1, u64::MAX, 0, 0, 1)] {
        let ended = disks.segments(&[segment(0, 0, 1, 0, 4), wrong]).await;
        assert_eq!(ended, aborted(AdditionalSense::NONE));
        let progress = disks.status().await;
        assert_eq!((progress.ended_well, progress.segments, progress.bytes), (Some(false), 1, 4 * 512));
    }
    let segments = vec![segment(0, 0, 1, 0, 1)];
    let elsewhere = vec![naa_of(disks.bench.disk.id()), naa_of(LunId::from_u128(1234))];
    let unknown = CopyList { descriptors: elsewhere, segments: segments.clone(), ..disks.list.clone() };
    let unreachable = aborted(AdditionalSense::COPY_TARGET_DEVICE_NOT_REACHABLE);
    assert_eq!(disks.copy(&unknown.to_bytes()).await, unreachable);
    let mut null = CopyList { segments, ..disks.list.clone() };
    null.descriptors[1].null = true;
    assert_eq!(disks.copy(&null.to_bytes()).await, unreachable);
    for absent in [segment(2, 0, 0, 8, 1), segment(0, 0, 2, 8, 1)] {
        assert_eq!(disks.segments(&[absent]).await, unreachable);
    }
}

#[tokio::test]
async fn reservations_hold_on_every_disk_of_a_copy() {
    let disks = TwoDisks::new().await;
    disks.bench.map.show(&initiator("two"), [(OTHER, disks.other.clone())]);
    let two =
        disks.bench.server.connect(crate::device_server::port("two"), PortalGroup::FIRST).expect("the map knows it");
    let on_other = async |command: Command, data: Vec<u8>| {
        let address = lunshadow_scsi::LunAddress::peripheral(OTHER);
        disks.bench.server.accept(&two, address, command.to_cdb().as_bytes()).run(data.into()).await
    };
    while on_other(Command::TestUnitReady, Vec::new()).await != Completion::good() {}
    let kind = ReservationKind::EXCLUSIVE_ACCESS;
    for (action, parameters) in [
        (ReserveOutAction::Register, ReserveParameters { action_key: 5, ..ReserveParameters::default() }),
        (ReserveOutAction::Reserve, ReserveParameters { key: 5, ..ReserveParameters::default() }),
    ] {
        let command = Command::PersistentReserveOut { action, scope: 0, kind, parameter_len: 24 };
        assert_eq!(on_other(command, parameters.to_bytes()).await, Completion::good());
    }
    let keys = Command::PersistentReserveIn { action: ReserveInAction::ReadKeys, allocation_len: 255 };
    assert_eq!(on_other(keys, Vec::new()).await.data_in.len(), 16);
    let failed = aborted(AdditionalSense::THIRD_PARTY_DEVICE_FAILURE);
    assert_eq!(disks.segments(&[segment(0, 0, 1, 0, 1)]).await, failed, "it may not be written");
    assert_eq!(disks.segments(&[segment(1, 0, 0, 0, 1)]).await, failed, "it may not be read");
    assert_eq!(disks.segments(&[segment(0, 0, 0, 8, 1)]).await, Completion::good());
}

#[tokio::test]
async fn parameter_lists_that_are_wrong_are_refused() {
    let disks = TwoDisks::new().await;
    let good = CopyList { segments: vec![segment(0, 0, 1, 0, 1)], ..disks.list.clone() };
    let bytes = good.to_bytes();
    let pointed = |code: AdditionalSense, byte: usize| {
        let pointer = SensePointer::ParameterList(FieldPointer::byte(byte));
        Completion::check(Sense::new(SenseKey::ILLEGAL_REQUEST, code).with_pointer(pointer))
    };
    let invalid = |byte| pointed(AdditionalSense::INVALID_FIELD_IN_PARAMETER_LIST, byte);
    let cases = [
        (1, 0x18, invalid(0), "a list identifier that is not to be used"),
        (3, 63, invalid(2), "half a CSCD descriptor"),
        (15, 1, illegal(AdditionalSense::INLINE_DATA_LENGTH_EXCEEDED), "inline data"),
        (16, 0xe5, pointed(AdditionalSense::UNSUPPORTED_TARGET_DESCRIPTOR, 16), "another CSCD descriptor"),
        (17, 0x01, invalid(17), "a tape"),
        (23, 21, invalid(23), "a designator that is too long"),
        (46, 0x10, invalid(45), "other blocks"),
        (80, 0x0b, pointed(AdditionalSense::UNSUPPORTED_SEGMENT_DESCRIPTOR, 80), "another segment descriptor"),
        (83, 0x14, invalid(82), "a segment of another length"),
    ];
    for (at, value, expected, what) in cases {
        let mut list = bytes.clone();
        list[at] = value;
        assert_eq!(disks.copy(&list).await, expected, "{what}");
    }
    let reserved = CopyList { list_id: 0, ..good.clone() }.to_bytes();
    let mut reserved_usage = reserved;
    reserved_usage[1] = 0x08;
    assert!(disks.copy(&reserved_usage).await.sense.is_some(), "a reserved LIST ID USAGE");
    let truncated = illegal(AdditionalSense::PARAMETER_LIST_LENGTH_ERROR);
    for len in [1, 15, 40, 79, 90, bytes.len() - 1] {
        assert_eq!(disks.copy(&bytes[..len]).await, truncated, "{len} bytes");
    }
    let many = CopyList { descriptors: vec![good.descriptors[0].clone(); 17], ..good.clone() };
    assert_eq!(disks.copy(&many.to_bytes()).await, illegal(AdditionalSense::TOO_MANY_TARGET_DESCRIPTORS));
    let long = CopyList { descriptors: vec![good.descriptors[0].clone(); 72], ..good.clone() };
    assert_eq!(disks.copy(&long.to_bytes()).await, truncated, "longer than all that are possible");
    let many = CopyList { descriptors: Vec::new(), segments: vec![good.segments[0]; 65], ..good.clone() };
    assert_eq!(disks.copy(&many.to_bytes()).await, illegal(AdditionalSense::TOO_MANY_SEGMENT_DESCRIPTORS));
    assert_eq!(disks.copy(&[]).await, Completion::good(), "no parameters");
    let too_long = disks.bench.ask(DISK, Command::ExtendedCopy { parameter_len: u32::MAX }).await;
    assert_eq!(too_long, truncated);
    let unknown = disks.bench.ask(DISK, Command::ReceiveCopyStatus { list_id: 9, allocation_len: 255 }).await;
    assert_eq!(unknown, invalid_field(FieldPointer::byte(2)), "nothing of this was begun");
}

#[tokio::test]
async fn the_limits_are_reported() {
    let disks = TwoDisks::new().await;
    let command = Command::ReceiveCopyOperatingParameters { allocation_len: 255 };
    let parameters = CopyParameters::parse(&disks.bench.data(DISK, command).await).expect("parameters");
    assert_eq!((parameters.descriptors_max, parameters.segments_max), (16, 64));
    assert_eq!(parameters.list_len_max, 16 * 32 + 64 * 28);
    assert_eq!(parameters.descriptor_types, [0x02, 0xe4]);
    assert!(parameters.without_list_id);
}
