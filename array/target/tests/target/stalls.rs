//! Storage that does not answer for a while: who has to wait, and who has not.

use std::sync::atomic::Ordering;

use bytes::Bytes;
use lunshadow_iscsi::login::InitiatorLoginConfig;
use lunshadow_iscsi::negotiation::Preferences;
use lunshadow_iscsi::pdu::{Isid, Pdu, RESERVED_TAG, ScsiCommand, Tag, TaskFunction, TaskResponse};
use lunshadow_lun::{LunHandle, LunMap, LunNumber};
use lunshadow_scsi::{AdditionalSense, Command, LunAddress, Status};
use lunshadow_target::Limits;
use tokio::sync::Semaphore;

use crate::life_cycle::{hold_writes, writes_begun};
use crate::memory::MemoryLun;
use crate::peer::{Array, LUN_BLOCKS, Peer, initiator, login, pattern, read, write};

/// The LUN whose storage is sound.
const SOUND: LunAddress = LunAddress::peripheral(2);

/// An array whose second LUN has other storage.
async fn array(limits: Limits) -> Array {
    let array = Array::new(limits).await;
    let inventory = array.map.inventory(&initiator("one")).expect("it is known");
    let first = inventory.luns.get(&LunNumber(1)).expect("the LUN is there").clone();
    let second = LunHandle::new(MemoryLun::new(2, LUN_BLOCKS));
    for name in ["one", "two"] {
        array.map.show(&initiator(name), [(1, first.clone()), (2, second.clone())]);
    }
    array
}

/// A session that has heard of everything.
async fn peer(array: &Array, name: &str) -> Peer {
    let mut peer = array.peer(name).await;
    assert_eq!(on_sound(&mut peer, Command::TestUnitReady, 0).await.status, Status::CHECK_CONDITION);
    peer
}

async fn on_sound(peer: &mut Peer, command: Command, expected_len: u32) -> crate::peer::Outcome {
    let header = ScsiCommand { lun: SOUND, ..peer.header(command, expected_len) };
    peer.send(Pdu::bare(header)).await;
    peer.finish(header.itt, &Bytes::new(), expected_len).await
}

async fn sound_is_served(peer: &mut Peer, seed: u8) {
    let header = ScsiCommand { lun: SOUND, ..peer.header(write(0, 1), 512) };
    peer.send(Pdu::new(header, pattern(seed, 1))).await;
    assert_eq!(peer.finish(header.itt, &Bytes::new(), 0).await.status, Status::GOOD);
    assert_eq!(on_sound(peer, read(0, 1), 512).await.data, pattern(seed, 1));
}

fn hold_reads(array: &Array) {
    array.controls.reads.forget_permits(usize::MAX);
}

fn let_all_go(array: &Array) {
    for semaphore in [&array.controls.reads, &array.controls.writes] {
        semaphore.add_permits(Semaphore::MAX_PERMITS - semaphore.available_permits());
    }
}

async fn reads_begun(array: &Array, count: u32) {
    array.controls.reads_begun.acquire_many(count).await.expect("it is never closed").forget();
}

async fn send_read(peer: &mut Peer, lba: u64) -> Tag {
    let header = peer.header(read(lba, 1), 512);
    peer.send(Pdu::bare(header)).await;
    header.itt
}

#[tokio::test]
async fn a_lun_that_hangs_holds_up_no_other_and_its_commands_can_be_aborted() {
    let array = array(Limits::default()).await;
    let (mut one, mut two) = (peer(&array, "one").await, peer(&array, "two").await);
    hold_reads(&array);
    hold_writes(&array);
    let hanging_read = send_read(&mut one, 0).await;
    one.send_write(write(0, 1), &pattern(1, 1)).await;
    let read_of_two = send_read(&mut two, 0).await;
    reads_begun(&array, 2).await;
    writes_begun(&array, 1).await;
    sound_is_served(&mut one, 2).await;
    sound_is_served(&mut two, 3).await;
    // An abort has to wait for storage, which could still write. Nobody else waits for the abort.
    let abort = one.send_management(TaskFunction::ABORT_TASK, hanging_read).await;
    let reset = two.send_management(TaskFunction::LOGICAL_UNIT_RESET, RESERVED_TAG).await;
    assert_eq!((one.ping(b"1").await, two.ping(b"2").await), ("1".into(), "2".into()));
    sound_is_served(&mut one, 4).await;
    sound_is_served(&mut two, 5).await;
    let_all_go(&array);
    assert_eq!(one.expect_managed(abort).await, TaskResponse::FUNCTION_COMPLETE);
    assert_eq!(two.expect_managed(reset).await, TaskResponse::FUNCTION_COMPLETE);
    // None of the three is answered any more, and all three tags are free.
    for (peer, itt) in [(&mut one, hanging_read), (&mut two, read_of_two)] {
        let attention = peer.run(Command::TestUnitReady, Bytes::new(), 0).await;
        assert_eq!(attention.sense.map(|sense| sense.code), Some(AdditionalSense::BUS_DEVICE_RESET));
        let header = ScsiCommand { itt, ..peer.header(read(0, 1), 512) };
        peer.send(Pdu::bare(header)).await;
        assert_eq!(peer.finish(itt, &Bytes::new(), 512).await.data, pattern(1, 1), "storage has finished the write");
    }
    assert_eq!(array.controls.writes_done.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_window_full_of_commands_that_hang_is_cleared_by_who_cannot_send_more() {
    let array = array(Limits { command_window: 4, ..Limits::default() }).await;
    let mut one = peer(&array, "one").await;
    hold_reads(&array);
    for lba in 0..4 {
        send_read(&mut one, lba).await;
    }
    reads_begun(&array, 4).await;
    let clear = one.send_management(TaskFunction::CLEAR_TASK_SET, RESERVED_TAG).await;
    // What comes behind it is answered at once, so that it has been taken.
    let behind = one.send_management(TaskFunction::ABORT_TASK, Tag::new(1)).await;
    assert_eq!(one.expect_managed(behind).await, TaskResponse::TASK_DOES_NOT_EXIST);
    let_all_go(&array);
    assert_eq!(one.expect_managed(clear).await, TaskResponse::FUNCTION_COMPLETE);
    // The whole window is there again.
    let window = one.cmd_sn.distance_to(one.max_cmd_sn).map_or(0, |distance| distance + 1);
    assert_eq!(window, 4);
    assert_eq!(one.read_blocks(0, 1).await, [0; 512]);
}

#[tokio::test]
async fn a_session_that_is_cut_off_while_storage_hangs_is_over_when_storage_answers() {
    let array = array(Limits::default()).await;
    let mut lost = peer(&array, "one").await;
    hold_reads(&array);
    hold_writes(&array);
    send_read(&mut lost, 0).await;
    lost.send_write(write(5, 1), &pattern(1, 1)).await;
    reads_begun(&array, 1).await;
    writes_begun(&array, 1).await;
    drop(lost);
    // Another path of the same initiator is there at once, and its other LUN is served.
    let another_path =
        InitiatorLoginConfig { isid: Isid::random_type([9, 9, 9], 9), ..login("one", Preferences::default()) };
    let mut again = Peer::log_in(array.address(), another_path).await.expect("a login");
    assert_eq!(on_sound(&mut again, Command::TestUnitReady, 0).await.status, Status::CHECK_CONDITION);
    for seed in 1..50 {
        sound_is_served(&mut again, seed).await;
    }
    assert_eq!(array.target.sessions(), 2, "commands of the first one touch storage");
    let_all_go(&array);
    while array.target.sessions() > 1 {
        sound_is_served(&mut again, 7).await;
    }
    assert_eq!(again.run(Command::TestUnitReady, Bytes::new(), 0).await.status, Status::CHECK_CONDITION);
    assert_eq!(again.read_blocks(5, 1).await, pattern(1, 1), "what storage had begun is done");
}

static PANICS: Semaphore = Semaphore::const_new(0);

#[tokio::test]
async fn a_panic_ends_its_session_when_storage_has_answered_what_was_begun_before() {
    let array = array(Limits::default()).await;
    let (mut one, mut two) = (peer(&array, "one").await, peer(&array, "two").await);
    let inventory = array.map.inventory(&initiator("one")).expect("it is known");
    let first = inventory.luns.get(&LunNumber(1)).expect("the LUN is there").clone();
    let broken = LunHandle::new(MemoryLun::new(3, LUN_BLOCKS).at_once(|_| {
        PANICS.add_permits(1);
        panic!("planted")
    }));
    array.map.show(&initiator("one"), [(1, first), (2, broken)]);
    while one.run(Command::TestUnitReady, Bytes::new(), 0).await.status != Status::GOOD {}
    hold_writes(&array);
    one.send_write(write(5, 1), &pattern(1, 1)).await;
    writes_begun(&array, 1).await;
    // What comes of a new LUN first is that it is new.
    while PANICS.available_permits() == 0 {
        let header = ScsiCommand { lun: SOUND, ..one.header(read(0, 1), 512) };
        one.send(Pdu::bare(header)).await;
        tokio::select! {
            _ = PANICS.acquire() => {}
            answer = one.receive() => assert!(answer.is_some(), "the connection ends only after the write"),
        }
    }
    for seed in 1..50 {
        sound_is_served(&mut two, seed).await;
    }
    assert_eq!(array.target.sessions(), 2, "a command of the first one touches storage");
    let_all_go(&array);
    assert!(one.receive().await.is_none());
    assert_eq!(two.read_blocks(5, 1).await, pattern(1, 1), "what storage had begun is done");
}
