//! WRITE AND VERIFY, WRITE SAME, PRE-FETCH, ORWRITE, COMPARE AND WRITE: what they do to the blocks, and at the limits.

use std::sync::atomic::Ordering;

use bytes::Bytes;
use lunshadow_scsi::vpd::{BlockLimits, page};
use lunshadow_scsi::{AdditionalSense, BlockRange, ByteCheck, CdbForm, Command, FieldPointer, Sense, SenseKey, Status};
use lunshadow_target::{Completion, TRANSFER_BLOCKS_MAX};

use crate::device_server::{Bench, DISK, LUN_BLOCKS, illegal, invalid_field, read, write};

fn range(lba: u64, block_count: u32) -> BlockRange {
    BlockRange::new(lba, block_count)
}

fn long(lba: u64, block_count: u32) -> BlockRange {
    BlockRange::with_form(CdbForm::Sixteen, lba, block_count).expect("every range has a form of 16 bytes")
}

const fn write_same(range: BlockRange, unmap: bool) -> Command {
    Command::WriteSame { range, unmap, anchor: false, no_data_out: false }
}

fn miscompare() -> Sense {
    Sense::new(SenseKey::MISCOMPARE, AdditionalSense::MISCOMPARE_DURING_VERIFY)
}

#[tokio::test]
async fn write_and_verify_writes_through_and_compares() {
    let bench = Bench::new().await;
    let data = [vec![1; 512], vec![2; 512]].concat();
    for form in [CdbForm::Ten, CdbForm::Twelve, CdbForm::Sixteen] {
        for check in [ByteCheck::Medium, ByteCheck::Blocks] {
            let range = BlockRange::with_form(form, LUN_BLOCKS - 2, 2).expect("a range");
            let before = bench.controls.flushes.load(Ordering::Relaxed);
            let completion = bench.run(DISK, Command::WriteAndVerify { range, check }, data.clone()).await;
            assert_eq!(completion, Completion::good(), "{form:?} {check:?}");
            assert_eq!(bench.controls.flushes.load(Ordering::Relaxed) - before, 1, "it is on the medium");
            assert_eq!(bench.data(DISK, read(LUN_BLOCKS - 2, 2)).await, data);
        }
    }
    // Three for BYTCHK compares with one block, which is not for commands that bring all.
    let cdb = [0x2e, 6, 0, 0, 0, 0, 0, 0, 1, 0];
    let completion = bench.run_cdb(lunshadow_scsi::LunAddress::peripheral(DISK), &cdb, Bytes::new()).await;
    assert_eq!(completion, invalid_field(FieldPointer::bit(1, 2)));
}

#[tokio::test]
async fn write_same_fills_and_gives_back() {
    let bench = Bench::new().await;
    let block: Vec<u8> = (0..512_u32).map(|at| u8::try_from(at % 251).expect("below 251")).collect();
    for (unmap, at) in [(false, 3), (true, 100)] {
        assert_eq!(bench.run(DISK, write_same(range(at, 5), unmap), block.clone()).await, Completion::good());
        let expected = [vec![0; 512], block.repeat(5), vec![0; 512]].concat();
        assert_eq!(
            bench.data(DISK, read(at - 1, 7)).await,
            expected,
            "UNMAP does not matter to a block that is not zero"
        );
    }
    // Zeros, with and without data-out, at the beginning and up to the end.
    let whole = u32::try_from(LUN_BLOCKS).expect("small");
    for (command, data) in [
        (write_same(range(4, 2), false), vec![0; 512]),
        (write_same(range(4, 2), true), vec![0; 512]),
        (Command::WriteSame { range: long(4, 2), unmap: false, anchor: false, no_data_out: true }, Vec::new()),
        (Command::WriteSame { range: long(4, 2), unmap: true, anchor: false, no_data_out: true }, Vec::new()),
    ] {
        assert_eq!(bench.run(DISK, write_same(range(0, whole), false), block.clone()).await, Completion::good());
        assert_eq!(bench.run(DISK, command, data).await, Completion::good(), "{command:?}");
        let expected = [block.clone(), vec![0; 2 * 512], block.clone()].concat();
        assert_eq!(bench.data(DISK, read(3, 4)).await, expected, "{command:?}");
        assert_eq!(bench.data(DISK, read(LUN_BLOCKS - 1, 1)).await, block);
    }
}

#[tokio::test]
async fn write_same_keeps_to_its_limits() {
    let bench = Bench::new().await;
    let limits = bench.data(DISK, Command::Inquiry { page: Some(page::BLOCK_LIMITS), allocation_len: 255 }).await;
    let limits = BlockLimits::parse(&limits).expect("the page");
    assert!(limits.write_same_nonzero);
    let block = vec![7; 512];
    let none = bench.run(DISK, write_same(range(0, 0), false), block.clone()).await;
    assert_eq!(none, invalid_field(FieldPointer::byte(7)));
    let too_many = u32::try_from(limits.write_same_max + 1).expect("it fits");
    bench.controls.growth.store(u64::from(too_many), Ordering::Relaxed);
    // Growth is reported first.
    assert_eq!(bench.ask(DISK, read(0, 1)).await.status, Status::CHECK_CONDITION);
    let too_long = bench.run(DISK, write_same(long(0, too_many), false), block.clone()).await;
    assert_eq!(too_long, invalid_field(FieldPointer::byte(10)));
    let anchor = Command::WriteSame { range: range(0, 1), unmap: true, anchor: true, no_data_out: false };
    assert_eq!(bench.run(DISK, anchor, block).await, invalid_field(FieldPointer::byte(1)));
    let short = bench.run(DISK, write_same(range(0, 1), false), vec![7; 511]).await;
    assert_eq!(short.sense.map(|sense| sense.code), Some(AdditionalSense::INVALID_FIELD_IN_CDB));
}

#[tokio::test]
async fn pre_fetch_reads_and_promises_nothing() {
    let bench = Bench::new().await;
    for range in [range(0, 0), range(5, 1), long(LUN_BLOCKS - 1, 1), long(LUN_BLOCKS, 0)] {
        for immediate in [false, true] {
            assert_eq!(bench.ask(DISK, Command::PreFetch { range, immediate }).await, Completion::good());
        }
    }
    let beyond = Command::PreFetch { range: range(LUN_BLOCKS - 1, 2), immediate: true };
    assert_eq!(bench.ask(DISK, beyond).await, illegal(AdditionalSense::LBA_OUT_OF_RANGE));
}

#[tokio::test]
async fn or_write_sets_bits() {
    let bench = Bench::new().await;
    assert_eq!(bench.run(DISK, write(10, 2), vec![0b0101; 1024]).await, Completion::good());
    let or = |lba, count, fua| Command::OrWrite { range: long(lba, count), fua };
    let before = bench.controls.flushes.load(Ordering::Relaxed);
    assert_eq!(bench.run(DISK, or(11, 2, false), vec![0b0011; 1024]).await, Completion::good());
    assert_eq!(bench.controls.flushes.load(Ordering::Relaxed), before);
    assert_eq!(bench.run(DISK, or(11, 0, true), Bytes::new()).await, Completion::good());
    assert_eq!(bench.controls.flushes.load(Ordering::Relaxed), before + 1, "FUA");
    let expected = [vec![0b0101; 512], vec![0b0111; 512], vec![0b0011; 512]].concat();
    assert_eq!(bench.data(DISK, read(10, 3)).await, expected);
    let too_long = bench.ask(DISK, or(0, TRANSFER_BLOCKS_MAX + 1, false)).await;
    assert_eq!(too_long, invalid_field(FieldPointer::byte(10)));
}

#[tokio::test]
async fn compare_and_write_writes_only_what_it_found() {
    let bench = Bench::new().await;
    let swap = |lba, block_count| Command::CompareAndWrite { lba, block_count, fua: false };
    let ones_to_twos = [vec![1; 1024], vec![2; 1024]].concat();
    assert_eq!(bench.run(DISK, write(8, 2), vec![1; 1024]).await, Completion::good());
    assert_eq!(bench.run(DISK, swap(8, 2), ones_to_twos.clone()).await, Completion::good());
    assert_eq!(bench.data(DISK, read(7, 4)).await, [vec![0; 512], vec![2; 1024], vec![0; 512]].concat());

    // INFORMATION says where the first byte is that differs.
    let mut expected = vec![2; 1024];
    expected[700] = 9;
    let stale = [expected, vec![3; 1024]].concat();
    let completion = bench.run(DISK, swap(8, 2), stale).await;
    assert_eq!(completion, Completion::check(miscompare().with_information(700)));
    assert_eq!(bench.data(DISK, read(8, 2)).await, vec![2; 1024], "nothing was written");

    assert_eq!(bench.run(DISK, swap(LUN_BLOCKS, 0), Bytes::new()).await, Completion::good());
    assert_eq!(bench.ask(DISK, swap(LUN_BLOCKS - 1, 2)).await, illegal(AdditionalSense::LBA_OUT_OF_RANGE));
    let short = bench.run(DISK, swap(8, 2), ones_to_twos[..1024].to_vec()).await;
    assert_eq!(short.sense.map(|sense| sense.code), Some(AdditionalSense::INVALID_FIELD_IN_CDB));
    let before = bench.controls.flushes.load(Ordering::Relaxed);
    let fua = Command::CompareAndWrite { lba: 0, block_count: 1, fua: true };
    assert_eq!(bench.run(DISK, fua, [vec![0; 512], vec![5; 512]].concat()).await, Completion::good());
    assert_eq!(bench.controls.flushes.load(Ordering::Relaxed), before + 1);
}

#[tokio::test]
async fn write_atomic_writes_whole_physical_blocks_as_far_as_storage_writes_as_one() {
    let bench = Bench::new().await;
    let limits = bench.data(DISK, Command::Inquiry { page: Some(page::BLOCK_LIMITS), allocation_len: 255 }).await;
    let limits = BlockLimits::parse(&limits).expect("the page").atomic;
    assert_eq!((limits.transfer_max, limits.alignment, limits.granularity), (8, 8, 8));
    let atomic = |lba, boundary, block_count| Command::WriteAtomic { lba, boundary, block_count, fua: false };
    let block = vec![3; 4096];
    assert_eq!(bench.run(DISK, atomic(16, 0, 8), block.clone()).await, Completion::good());
    assert_eq!(bench.data(DISK, read(15, 10)).await, [vec![0; 512], block, vec![0; 512]].concat());
    assert_eq!(bench.run(DISK, atomic(LUN_BLOCKS - 8, 0, 8), vec![4; 4096]).await, Completion::good());
    assert_eq!(bench.ask(DISK, atomic(LUN_BLOCKS, 0, 0)).await, Completion::good());
    let refused = [
        (atomic(16, 8, 8), invalid_field(FieldPointer::byte(10))),
        (atomic(16, 0, 7), invalid_field(FieldPointer::byte(12))),
        (atomic(16, 0, 16), invalid_field(FieldPointer::byte(12))),
        (atomic(17, 0, 8), invalid_field(FieldPointer::byte(2))),
        (atomic(LUN_BLOCKS - 7, 0, 8), illegal(AdditionalSense::LBA_OUT_OF_RANGE)),
    ];
    for (command, expected) in refused {
        assert_eq!(bench.ask(DISK, command).await, expected, "{command:?}");
    }
    // Storage that writes more as one.
    for (blocks, expected) in [(2048, 2048), (29, 24), (1 << 40, TRANSFER_BLOCKS_MAX)] {
        bench.controls.atomic_blocks.store(blocks, Ordering::Relaxed);
        let limits = bench.data(DISK, Command::Inquiry { page: Some(page::BLOCK_LIMITS), allocation_len: 255 }).await;
        let limits = BlockLimits::parse(&limits).expect("the page").atomic;
        assert_eq!((limits.transfer_max, limits.alignment, limits.granularity), (expected, 8, 8));
        assert_eq!((limits.bounded_transfer_max, limits.boundary_max), (0, 0));
        let too_long = u16::try_from(expected + 8).expect("it is short");
        if u64::from(too_long) <= LUN_BLOCKS {
            assert_eq!(bench.ask(DISK, atomic(0, 0, too_long)).await, invalid_field(FieldPointer::byte(12)));
        }
    }
    bench.controls.atomic_blocks.store(2048, Ordering::Relaxed);
    assert_eq!(bench.run(DISK, atomic(24, 0, 24), vec![7; 24 * 512]).await, Completion::good());
    assert_eq!(bench.data(DISK, read(24, 24)).await, vec![7; 24 * 512]);
    assert_eq!(bench.ask(DISK, atomic(24, 0, 23)).await, invalid_field(FieldPointer::byte(12)));
    // With less data than that nothing is written.
    let short = bench.run(DISK, atomic(24, 0, 24), vec![8; 8 * 512]).await;
    assert_eq!(short, illegal(AdditionalSense::INVALID_FIELD_IN_CDB));
    assert_eq!(bench.data(DISK, read(24, 24)).await, vec![7; 24 * 512]);
}

#[tokio::test]
async fn another_amount_of_data_than_the_command_takes_is_refused() {
    let bench = Bench::new().await;
    let commands = [
        (Command::CompareAndWrite { lba: 0, block_count: 1, fua: false }, 1024),
        (Command::CompareAndWrite { lba: 0, block_count: 0, fua: false }, 0),
        (write_same(range(0, 8), false), 512),
        (Command::OrWrite { range: long(0, 2), fua: false }, 1024),
        (Command::WriteAtomic { lba: 0, boundary: 0, block_count: 0, fua: false }, 0),
    ];
    for (command, takes) in commands {
        for offered in [0, 256, 512, 1024, 2048] {
            let cdb = command.to_cdb();
            let lun = lunshadow_scsi::LunAddress::peripheral(DISK);
            let task = bench.server.accept(&bench.nexus, lun, cdb.as_bytes()).offered(offered);
            assert_eq!(task.data_out_len(), if offered == takes { takes } else { 0 }, "{command:?} with {offered}");
            if offered != takes {
                let refused = task.run(Bytes::new()).await;
                assert_eq!(refused, illegal(AdditionalSense::INVALID_FIELD_IN_CDB), "{command:?} with {offered}");
            }
        }
    }
    // A plain write takes what there is.
    let cdb = write(0, 2).to_cdb();
    let lun = lunshadow_scsi::LunAddress::peripheral(DISK);
    let task = bench.server.accept(&bench.nexus, lun, cdb.as_bytes()).offered(512);
    assert_eq!(task.run(vec![1; 512].into()).await, Completion::good());
}
