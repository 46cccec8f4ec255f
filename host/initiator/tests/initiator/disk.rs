//! Disks: identity, requests split to the disk's limits, and what happens when the disk does not answer with GOOD.

use bytes::Bytes;
use lunshadow_initiator::{DataDirection, Disk, DiskError, UnitAttention};
use lunshadow_iscsi::negotiation::Preferences;
use lunshadow_scsi::{AdditionalSense, Command, LunAddress, ModePage, Sense, SenseKey, Status, UnmapRange};
use tokio::task::JoinHandle;

use crate::peer::connected;
use crate::ram_disk::{BLOCK_BYTES, BLOCKS, CHANGE, RamDisk, TRANSFER_MAX, capacity, designators, inquiry, luns};

const LUN: LunAddress = LunAddress::peripheral(1);

async fn attached(ram_disk: RamDisk) -> (Disk, JoinHandle<RamDisk>) {
    let (session, peer) = connected(Preferences::default(), Preferences::default(), 8).await;
    (Disk::new(session, LUN), tokio::spawn(ram_disk.serve(peer)))
}

fn attention(code: AdditionalSense) -> Sense {
    Sense::new(SenseKey::UNIT_ATTENTION, code)
}

#[tokio::test]
async fn a_disk_says_who_it_is() {
    let (disk, _) = attached(RamDisk::new()).await;
    let identity = disk.identity().await.expect("answered");
    assert_eq!(identity.inquiry, inquiry());
    assert_eq!(identity.serial.as_deref(), Some("0123456789abcdef"));
    assert_eq!(identity.designators, designators());
    let query = identity.to_query();
    assert_eq!((query.serial, query.designators), (identity.serial, designators()[..1].to_vec()));
    assert_eq!(disk.read_capacity().await.expect("answered"), capacity());
    let geometry = disk.geometry().await.expect("answered");
    assert_eq!((geometry.block_count, geometry.block_bytes, geometry.blocks_per_physical), (BLOCKS, BLOCK_BYTES, 8));
    assert_eq!(geometry.limits.transfer_max, TRANSFER_MAX);
    assert_eq!(disk.report_luns().await.expect("answered"), luns());
    let mode = disk.mode_sense(0x19).await.expect("answered");
    assert!(mode.write_protected);
    assert_eq!(mode.pages, [ModePage::Other { page: 0x19, subpage: None, body: vec![1, 2, 3] }]);
    disk.test_unit_ready().await.expect("ready");
}

#[tokio::test]
async fn pages_that_are_not_listed_are_not_asked_for() {
    let (disk, served) = attached(RamDisk { pages: vec![0x00, 0x80], ..RamDisk::new() }).await;
    let identity = disk.identity().await.expect("answered");
    assert_eq!((identity.serial.is_some(), identity.designators.len()), (true, 0));
    assert_eq!(disk.geometry().await.expect("answered").limits.transfer_max, 0);
    drop(disk);
    let asked = served.await.expect("no panic").commands;
    assert!(!asked.iter().any(|c| matches!(c, Command::Inquiry { page: Some(0x83 | 0xb0), .. })), "{asked:?}");
}

#[tokio::test]
async fn what_is_written_is_read_back_through_the_limits() {
    let (disk, served) = attached(RamDisk::new()).await;
    let data: Bytes = (0..20 * BLOCK_BYTES / 4).flat_map(u32::to_be_bytes).collect::<Vec<_>>().into();
    disk.write(100, data.clone()).await.expect("written");
    disk.flush().await.expect("flushed");
    assert_eq!(disk.read(100, 20).await.expect("read"), data);
    let middle = data.slice(3 * BLOCK_BYTES as usize..5 * BLOCK_BYTES as usize);
    assert_eq!(disk.read(103, 2).await.expect("read"), middle);
    assert!(disk.read(103, 0).await.expect("nothing to read").is_empty());
    disk.write(103, Bytes::new()).await.expect("nothing to write");
    drop(disk);
    let served = served.await.expect("no panic");
    assert_eq!(served.blocks[100 * 512..120 * 512], data[..]);
    assert_eq!(served.flushes, 1);
    let transfers = |write: bool| {
        let is = |command: &&Command| match command {
            Command::Read { .. } => !write,
            Command::Write { .. } => write,
            _ => false,
        };
        served.commands.iter().filter(is).count()
    };
    assert_eq!((transfers(true), transfers(false)), (3, 4), "8 + 8 + 4 blocks each way, and 2 blocks");
}

#[tokio::test]
async fn ranges_are_given_back_within_the_limits() {
    let (disk, served) = attached(RamDisk::new()).await;
    let range = |lba, block_count| UnmapRange { lba, block_count };
    disk.unmap(&[range(0, 150), range(500, 10), range(600, 0)]).await.expect("unmapped");
    drop(disk);
    let served = served.await.expect("no panic");
    assert_eq!(served.unmapped, [range(0, 100), range(100, 50), range(500, 10)]);
    let commands = served.commands.iter().filter(|command| matches!(command, Command::Unmap { .. })).count();
    assert_eq!(commands, 2, "100 blocks in one");
}

#[tokio::test]
async fn requests_that_cannot_be_are_refused() {
    let (disk, _) = attached(RamDisk::new()).await;
    let odd = disk.write(0, Bytes::from_static(&[0; 513])).await;
    assert!(matches!(odd, Err(DiskError::NotBlocks { len_bytes: 513, block_bytes: 512 })), "{odd:?}");
    let beyond = disk.read(BLOCKS - 1, 2).await.expect_err("beyond the end");
    let DiskError::CheckCondition { command: "READ", sense } = beyond else { panic!("{beyond:?}") };
    assert_eq!(sense.code, AdditionalSense::LBA_OUT_OF_RANGE);
}

#[tokio::test]
async fn unit_attentions_are_reported_once_and_the_command_repeated() {
    let codes = [AdditionalSense::POWER_ON_OR_RESET, AdditionalSense::REPORTED_LUNS_DATA_CHANGED];
    let (disk, served) = attached(RamDisk { refusals: codes.map(attention).to_vec(), ..RamDisk::new() }).await;
    let mut attentions = disk.session().unit_attentions();
    disk.write(5, Bytes::from_static(&[9; 512])).await.expect("repeated until it was written");
    assert_eq!(disk.read(5, 1).await.expect("read"), vec![9; 512]);
    for code in codes {
        assert_eq!(attentions.recv().await, Some(UnitAttention { lun: LUN, sense: attention(code) }));
    }
    drop(disk);
    assert_eq!(attentions.recv().await, None, "each came once");
    assert_eq!(served.await.expect("no panic").blocks[5 * 512], 9);
}

#[tokio::test]
async fn geometry_is_looked_up_again_after_a_unit_attention() {
    let (disk, served) = attached(RamDisk::new()).await;
    disk.read(0, 1).await.expect("read");
    disk.read(0, 1).await.expect("read");
    // After this command the disk answers the next one with a change of its capacity.
    disk.session().command(LUN, &CHANGE.to_cdb(), DataDirection::None).await.expect("answered");
    disk.read(0, 1).await.expect("read");
    disk.read(0, 1).await.expect("read");
    drop(disk);
    let commands = served.await.expect("no panic").commands;
    let lookups = commands.iter().filter(|command| matches!(command, Command::ReadCapacity16 { .. })).count();
    assert_eq!(lookups, 2, "{commands:?}");
}

#[tokio::test]
async fn a_disk_that_never_stops_reporting_is_an_error() {
    let endless = vec![attention(AdditionalSense::POWER_ON_OR_RESET); 10];
    let (disk, served) = attached(RamDisk { refusals: endless, ..RamDisk::new() }).await;
    let outcome = disk.test_unit_ready().await;
    assert!(matches!(outcome, Err(DiskError::CheckCondition { sense, .. }) if sense.key == SenseKey::UNIT_ATTENTION));
    drop(disk);
    assert_eq!(served.await.expect("no panic").commands.len(), 10);
}

#[tokio::test(start_paused = true)]
async fn a_busy_disk_is_asked_again() {
    let (disk, _) = attached(RamDisk { busy: 3, ..RamDisk::new() }).await;
    disk.test_unit_ready().await.expect("ready in the end");
    let (disk, _) = attached(RamDisk { busy: 10, ..RamDisk::new() }).await;
    let outcome = disk.test_unit_ready().await;
    assert!(matches!(outcome, Err(DiskError::Status { status: Status::BUSY, .. })), "{outcome:?}");
}
