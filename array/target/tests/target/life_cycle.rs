//! Commands under way: order, window, budget, task management, reinstatement, shutdown.

use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use lunshadow_iscsi::negotiation::Preferences;
use lunshadow_iscsi::pdu::{
    AsyncEvent, FINAL, LogoutReason, LogoutRequest, NopOut, Pdu, RESERVED_TAG, RejectReason, Response, ScsiCommand,
    Tag, TaskAttribute, TaskFunction, TaskManagementRequest, TaskResponse,
};
use lunshadow_iscsi::serial::SerialNumber;
use lunshadow_scsi::{AdditionalSense, BlockRange, Command, Status};
use lunshadow_target::Limits;
use tokio::net::TcpStream;

use crate::peer::{Array, LUN, Peer, login, pattern, read, write};

/// Waits until `count` more writes have reached the LUN.
pub(crate) async fn writes_begun(array: &Array, count: u32) {
    array.controls.writes_begun.acquire_many(count).await.expect("it is never closed").forget();
}

pub(crate) fn hold_writes(array: &Array) {
    array.controls.writes.forget_permits(usize::MAX);
}

/// A peer that has to be asked for all its data.
pub(crate) fn solicited() -> Preferences {
    Preferences { immediate_data: false, initial_r2t: true, ..Preferences::default() }
}

pub(crate) async fn expect_r2t(peer: &mut Peer, itt: Tag) -> (Tag, std::ops::Range<u32>) {
    let pdu = peer.expect().await;
    match pdu.bhs.response() {
        Response::ReadyToTransfer(grant) if grant.itt == itt => {
            let start = grant.buffer_offset.get();
            (grant.ttt, start..start + grant.desired_data_transfer_length.get())
        }
        other => panic!("{other:?} is no R2T for the command"),
    }
}

// RFC 7143 §7.11 MUST: the abort of a command that was answered finds no task.
// RFC 7143 §11.5.1 MUST: the abort of task management is answered with function rejected.
// RFC 7143 §11.5.1 MUST: nothing comes for a command behind the response to the function that has ended it.
#[tokio::test]
async fn a_command_that_runs_is_aborted_when_it_is_over() {
    let array = Array::new(Limits::default()).await;
    let mut peer = array.peer("one").await;
    hold_writes(&array);
    let itt = peer.send_write(write(0, 1), &pattern(1, 1)).await;
    writes_begun(&array, 1).await;
    let abort = peer.send_management(TaskFunction::ABORT_TASK, itt).await;
    // Nor is there an abort of an abort.
    let second = peer.send_management(TaskFunction::ABORT_TASK, abort).await;
    assert_eq!(peer.expect_managed(second).await, TaskResponse::FUNCTION_REJECTED);
    // The connection goes on meanwhile, and the abort is not answered.
    assert_eq!(peer.ping(b"1").await, "1");
    assert_eq!(peer.read_blocks(8, 1).await, [0; 512]);
    assert_eq!(array.controls.writes_done.load(Ordering::Relaxed), 0);
    array.controls.writes.add_permits(1);
    assert_eq!(peer.expect_managed(abort).await, TaskResponse::FUNCTION_COMPLETE);
    assert_eq!(array.controls.writes_done.load(Ordering::Relaxed), 1, "storage was not interrupted");
    // No response for the command itself comes any more.
    assert_eq!(peer.ping(b"2").await, "2");
    let abort = peer.send_management(TaskFunction::ABORT_TASK, itt).await;
    assert_eq!(peer.expect_managed(abort).await, TaskResponse::TASK_DOES_NOT_EXIST);
}

#[tokio::test]
async fn a_command_that_waits_for_data_is_aborted_at_once() {
    let array = Array::new(Limits::default()).await;
    let mut peer = array.peer_with("one", solicited()).await;
    let data = pattern(1, 2);
    let itt = peer.send_write(write(0, 2), &data).await;
    let (ttt, sequence) = expect_r2t(&mut peer, itt).await;
    let abort = peer.send_management(TaskFunction::ABORT_TASK, itt).await;
    assert_eq!(peer.expect_managed(abort).await, TaskResponse::FUNCTION_COMPLETE);
    // Its data may still be on the way, and goes nowhere.
    peer.send_data_out(itt, ttt, sequence, &data).await;
    assert_eq!(peer.read_blocks(0, 2).await, [0; 1024]);
    assert_eq!(array.controls.writes_done.load(Ordering::Relaxed), 0);
}

// RFC 7143 §7.11 MUST: the command that an abort is about counts as received if it has not come, and the function is complete.
#[tokio::test]
async fn a_command_that_never_comes_is_aborted_and_keeps_nobody_waiting() {
    let array = Array::new(Limits::default()).await;
    let mut peer = array.peer("one").await;
    let (lost, held, next) = (peer.cmd_sn, peer.cmd_sn.next(), peer.header(read(2, 1), 512));
    let waiting = peer.header(write(0, 1), 512);
    peer.cmd_sn = held;
    peer.send(Pdu::new(waiting, pattern(1, 1))).await;
    peer.send(Pdu::bare(next)).await;
    let abort = async |peer: &mut Peer, referenced_task: Tag, ref_cmd_sn: SerialNumber| {
        let mut header = TaskManagementRequest {
            lun: LUN,
            itt: peer.new_itt(),
            referenced_task,
            ref_cmd_sn: ref_cmd_sn.into(),
            ..TaskManagementRequest::default()
        }
        .with_function(TaskFunction::ABORT_TASK);
        header.operation = header.operation.immediate();
        peer.send(Pdu::bare(header)).await;
        header.itt
    };
    // The one that waits for the lost one, then the lost one itself. Only the third one is served.
    let itt = abort(&mut peer, waiting.itt, held).await;
    assert_eq!(peer.expect_managed(itt).await, TaskResponse::FUNCTION_COMPLETE);
    let itt = abort(&mut peer, Tag::new(77), lost).await;
    let mut answers = [peer.expect().await, peer.expect().await].map(|pdu| pdu.bhs.itt.get());
    answers.sort_unstable();
    let mut expected = [itt.get(), next.itt.get()];
    expected.sort_unstable();
    assert_eq!(answers, expected);
    // Once more it is too late.
    let itt = abort(&mut peer, Tag::new(77), lost).await;
    assert_eq!(peer.expect_managed(itt).await, TaskResponse::TASK_DOES_NOT_EXIST);
    assert_eq!(peer.read_blocks(0, 1).await, [0; 512], "the write was not done");
}

// RFC 7143 §7.2.2 MUST: a target that does not move tasks between connections says so.
// RFC 7143 §11.5.1 MUST: a task management function is answered.
#[tokio::test]
async fn functions_that_are_not_there_are_refused() {
    let array = Array::new(Limits::default()).await;
    let mut peer = array.peer("one").await;
    let cases = [
        (TaskFunction::CLEAR_ACA, TaskResponse::FUNCTION_NOT_SUPPORTED),
        (TaskFunction::TASK_REASSIGN, TaskResponse::REASSIGNMENT_NOT_SUPPORTED),
    ];
    for (function, expected) in cases {
        let itt = peer.send_management(function, Tag::default()).await;
        assert_eq!(peer.expect_managed(itt).await, expected, "{function:?}");
    }
    array.map.show(&crate::peer::initiator("one"), []);
    for function in [TaskFunction::ABORT_TASK_SET, TaskFunction::CLEAR_TASK_SET, TaskFunction::LOGICAL_UNIT_RESET] {
        let itt = peer.send_management(function, Tag::default()).await;
        assert_eq!(peer.expect_managed(itt).await, TaskResponse::LUN_DOES_NOT_EXIST, "{function:?}");
    }
}

// RFC 7143 §4.2.3.3 MUST: the functions that end more than one task wait for the data that the session which asks for them was asked for.
// RFC 7143 §4.2.3.3 MUST NOT: the response to a multi-task abort comes before the tasks that it affects are over.
// RFC 7143 §11.5.1 MUST: the function that ends a task set waits for the data that this session was asked for.
// RFC 7143 §11.5.1 MUST: a task management function is answered.
#[tokio::test]
async fn task_sets_and_resets_reach_the_sessions_that_they_are_about() {
    let cases = [
        (TaskFunction::ABORT_TASK_SET, false, None, None),
        (TaskFunction::CLEAR_TASK_SET, true, None, Some(AdditionalSense::COMMANDS_CLEARED_BY_ANOTHER)),
        (
            TaskFunction::LOGICAL_UNIT_RESET,
            true,
            Some(AdditionalSense::BUS_DEVICE_RESET),
            Some(AdditionalSense::BUS_DEVICE_RESET),
        ),
        (
            TaskFunction::TARGET_WARM_RESET,
            true,
            Some(AdditionalSense::BUS_DEVICE_RESET),
            Some(AdditionalSense::BUS_DEVICE_RESET),
        ),
    ];
    for (function, reaches_other, own_attention, other_attention) in cases {
        let array = Array::new(Limits::default()).await;
        let mut own = array.peer_with("one", solicited()).await;
        let mut other = array.peer("two").await;
        hold_writes(&array);
        let data = pattern(1, 1);
        let waiting = own.send_write(write(0, 1), &data).await;
        let (ttt, sequence) = expect_r2t(&mut own, waiting).await;
        let running = other.send_write(write(1, 1), &data).await;
        writes_begun(&array, 1).await;

        let itt = own.send_management(function, Tag::default()).await;
        if reaches_other {
            // Twice, since the first may have come together with the function.
            for _ in 0..2 {
                assert_eq!(own.ping(b"").await, "", "it waits for the command of the other session");
            }
            array.controls.writes.add_permits(1);
        }
        while array.controls.writes_done.load(Ordering::Relaxed) < u64::from(reaches_other) {
            assert_eq!(own.ping(b"").await, "");
        }
        assert_eq!(own.ping(b"").await, "", "it waits for the data that was asked for");
        own.send_data_out(waiting, ttt, sequence, &data).await;
        assert_eq!(own.expect_managed(itt).await, TaskResponse::FUNCTION_COMPLETE, "{function:?}");
        if !reaches_other {
            array.controls.writes.add_permits(1);
            assert_eq!(other.finish(running, &Bytes::new(), 0).await.status, Status::GOOD);
        }
        for (peer, attention) in [(&mut own, own_attention), (&mut other, other_attention)] {
            let outcome = peer.run(read(0, 1), Bytes::new(), 512).await;
            assert_eq!(outcome.sense.map(|sense| sense.code), attention, "{function:?}");
            assert_eq!(peer.read_blocks(0, 1).await, [0; 512]);
        }
    }
}

// RFC 7143 §11.5.1 MUST: the function that ends a task set waits for the data that this session was asked for.
#[tokio::test]
async fn a_task_set_that_is_ended_twice_is_over_for_both_at_once() {
    let array = Array::new(Limits::default()).await;
    let mut peer = array.peer_with("one", solicited()).await;
    let data = pattern(1, 1);
    let waiting = peer.send_write(write(0, 1), &data).await;
    let (ttt, sequence) = expect_r2t(&mut peer, waiting).await;
    let functions = [TaskFunction::ABORT_TASK_SET, TaskFunction::CLEAR_TASK_SET, TaskFunction::ABORT_TASK_SET];
    let mut itts = Vec::new();
    for function in functions {
        itts.push(peer.send_management(function, Tag::default()).await);
        assert_eq!(peer.ping(b"").await, "", "{function:?} waits for the data that was asked for");
    }
    // Twice, since answers may follow one of them.
    assert_eq!(peer.ping(b"").await, "", "and so do those before");
    peer.send_data_out(waiting, ttt, sequence, &data).await;
    let mut answered = Vec::new();
    for _ in functions {
        answered.push(peer.expect_answering().await.bhs.itt);
    }
    answered.sort_unstable_by_key(|itt| itt.get());
    assert_eq!(answered, itts);
    assert_eq!(peer.read_blocks(0, 1).await, [0; 512], "the write was not done");
}

/// Some initiators send no data after a reset.
#[tokio::test]
async fn a_reset_does_not_wait_for_ever_for_data() {
    for function in [TaskFunction::LOGICAL_UNIT_RESET, TaskFunction::TARGET_WARM_RESET] {
        let array = Array::new(Limits::default()).await;
        let mut peer = array.peer_with("one", solicited()).await;
        let data = pattern(1, 1);
        let waiting = peer.send_write(write(0, 1), &data).await;
        let (ttt, sequence) = expect_r2t(&mut peer, waiting).await;
        let itt = peer.send_management(function, Tag::default()).await;
        let (later, at_once) = (peer.send_write(write(1, 1), &data).await, peer.expect().await);
        assert!(at_once.bhs.itt == later, "commands go on meanwhile: {:?}", at_once.bhs);
        assert_eq!(peer.expect_managed(itt).await, TaskResponse::FUNCTION_COMPLETE);
        // What comes late is none of anybody's business.
        peer.send_data_out(waiting, ttt, sequence, &data).await;
        assert_eq!(peer.read_blocks(0, 1).await, [0; 512]);
    }
}

// RFC 7143 §11.6.1 MUST: the end of a task set is answered when the initiator has acknowledged all answers before.
#[tokio::test]
async fn the_end_of_a_task_set_waits_until_all_before_it_is_acknowledged() {
    let array = Array::new(Limits::default()).await;
    for function in [TaskFunction::ABORT_TASK_SET, TaskFunction::CLEAR_TASK_SET] {
        let mut peer = array.peer("one").await;
        let itt = peer.send_management(function, Tag::default()).await;
        assert_eq!(peer.expect().await.bhs.itt, itt, "all is acknowledged by the request itself");
        // Two requests at once, of which the second cannot acknowledge the answer to the first.
        let header = NopOut { itt: peer.new_itt(), ttt: RESERVED_TAG, ..NopOut::default() };
        peer.send(Pdu::bare(header)).await;
        let itt = peer.send_management(function, Tag::default()).await;
        assert_eq!(peer.expect().await.bhs.itt, header.itt);
        let question = peer.expect().await;
        let Response::NopIn(&question) = question.bhs.response() else { panic!("{:?} came too soon", question.bhs) };
        assert!(!question.ttt.is_reserved(), "{question:?} wants no answer");
        peer.answer(question).await;
        assert_eq!(peer.expect_managed(itt).await, TaskResponse::FUNCTION_COMPLETE);
    }
}

// RFC 7143 §11.4.11 MUST: a NOP-In tells of a new MaxCmdSN if no other PDU does.
// RFC 7143 §11.19.1 MUST: a NOP-In that wants no answer has the reserved Target Transfer Tag.
#[tokio::test]
async fn a_window_that_opens_without_an_answer_is_told_of() {
    let array = Array::new(Limits { command_window: 2, ..Limits::default() }).await;
    let mut own = array.peer_with("one", solicited()).await;
    let mut other = array.peer("two").await;
    for lba in 0..2 {
        let itt = own.send_write(write(lba, 1), &pattern(1, 1)).await;
        expect_r2t(&mut own, itt).await;
    }
    let full = own.max_cmd_sn;
    assert_eq!(own.cmd_sn.distance_to(full), None, "the window is closed");
    let itt = other.send_management(TaskFunction::CLEAR_TASK_SET, Tag::default()).await;
    assert_eq!(other.expect_managed(itt).await, TaskResponse::FUNCTION_COMPLETE);
    while own.max_cmd_sn != full.plus(2) {
        let news = own.receive_any().await.expect("the connection is open");
        let Response::NopIn(nop) = news.bhs.response() else { panic!("{:?} is no NOP-In", news.bhs) };
        assert!(nop.itt.is_reserved() && nop.ttt.is_reserved() && news.data.is_empty(), "{nop:?}");
    }
}

#[tokio::test]
async fn an_ordered_command_waits_for_older_ones_and_newer_ones_for_it() {
    let array = Array::new(Limits::default()).await;
    let mut peer = array.peer("one").await;
    hold_writes(&array);
    let first = peer.send_write(write(0, 1), &pattern(1, 1)).await;
    writes_begun(&array, 1).await;
    let flush = Command::SynchronizeCache { range: BlockRange::new(0, 0), immediate: false };
    let ordered = ScsiCommand { flags: FINAL | TaskAttribute::ORDERED.0, ..peer.header(flush, 0) };
    peer.send(Pdu::bare(ordered)).await;
    let newer = peer.header(read(0, 1), 512);
    peer.send(Pdu::bare(newer)).await;
    let head = ScsiCommand {
        flags: FINAL | ScsiCommand::READ | TaskAttribute::HEAD_OF_QUEUE.0,
        ..peer.header(read(2, 1), 512)
    };
    peer.send(Pdu::bare(head)).await;
    // A command at the head of the queue overtakes all of them.
    assert_eq!(peer.finish(head.itt, &Bytes::new(), 512).await.status, Status::GOOD);
    assert_eq!(peer.ping(b"").await, "");
    assert_eq!(array.controls.flushes.load(Ordering::Relaxed), 0);
    array.controls.writes.add_permits(1);
    assert_eq!(peer.finish(first, &Bytes::new(), 0).await.status, Status::GOOD);
    assert_eq!(peer.finish(ordered.itt, &Bytes::new(), 0).await.status, Status::GOOD);
    let newer = peer.finish(newer.itt, &Bytes::new(), 512).await;
    assert_eq!(newer.data, pattern(1, 1), "it has seen what came before");
}

// RFC 7143 §4.2.2.1 MUST: a request that is not immediate and lies outside the window, or came before, is ignored without a word.
// RFC 7143 §4.2.2.1 MUST: commands reach SCSI in the order of their CmdSN.
#[tokio::test]
async fn commands_run_in_the_order_of_their_numbers_within_the_window() {
    let limits = Limits { command_window: 4, ..Limits::default() };
    let array = Array::new(limits).await;
    let mut peer = array.peer("one").await;
    let granted = peer.cmd_sn.distance_to(peer.max_cmd_sn).expect("an open window") + 1;
    assert_eq!(granted, 4);
    // The second command comes first: it waits for the one before it.
    let (first, second) = (peer.header(read(0, 1), 512), peer.header(read(1, 1), 512));
    let first_sn = peer.cmd_sn;
    peer.cmd_sn = first_sn.next();
    peer.send(Pdu::bare(second)).await;
    peer.cmd_sn = first_sn;
    peer.send(Pdu::bare(first)).await;
    peer.cmd_sn = first_sn.plus(2);
    for header in [first, second] {
        assert_eq!(peer.finish(header.itt, &Bytes::new(), 512).await.status, Status::GOOD);
    }
    // Four under way fill the window; a fifth is dropped without a word.
    hold_writes(&array);
    let mut held = Vec::new();
    for lba in 0..4 {
        held.push(peer.send_write(write(lba, 1), &pattern(1, 1)).await);
    }
    let beyond = peer.cmd_sn;
    let dropped = peer.header(read(0, 1), 512);
    peer.send(Pdu::bare(dropped)).await;
    peer.cmd_sn = beyond;
    // This is read after it, and not dropped.
    peer.ping_at_once(b"the window is closed").await;
    array.controls.writes.add_permits(4);
    for _ in &held {
        let pdu = peer.expect().await;
        assert!(held.contains(&pdu.bhs.itt), "{:?} is not about the writes", pdu.bhs);
    }
    assert_eq!(peer.cmd_sn.distance_to(peer.max_cmd_sn), Some(3), "the window has opened again");
    assert_eq!(peer.read_blocks(3, 1).await, pattern(1, 1));
}

// RFC 7143 §4.2.2.1 MUST: one immediate task management request and one other immediate request are taken at any time.
#[tokio::test]
async fn immediate_requests_have_a_limit_beyond_the_window() {
    let array = Array::new(Limits { command_window: 2, ..Limits::default() }).await;
    let mut peer = array.peer("one").await;
    hold_writes(&array);
    let immediate = async |peer: &mut Peer| {
        let mut header = ScsiCommand { flags: FINAL | ScsiCommand::WRITE, ..peer.header(write(0, 1), 512) };
        header.operation = header.operation.immediate();
        peer.send(Pdu::new(header, pattern(1, 1))).await;
    };
    for _ in 0..18 {
        immediate(&mut peer).await;
    }
    writes_begun(&array, 18).await;
    immediate(&mut peer).await;
    let answer = peer.expect().await;
    let Response::Reject(reject) = answer.bhs.response() else { panic!("{:?} is no Reject", answer.bhs) };
    assert_eq!(reject.reason, RejectReason::IMMEDIATE_COMMAND_REJECT);
    array.controls.writes.add_permits(18);
    for _ in 0..18 {
        assert!(matches!(peer.expect().await.bhs.response(), Response::Scsi(_)));
    }
    assert_eq!(peer.read_blocks(0, 1).await, pattern(1, 1));
}

#[tokio::test]
async fn data_is_asked_for_when_there_is_room_for_it() {
    let limits = Limits { connection_bytes: 64 * 1024, ..Limits::default() };
    let array = Array::new(limits).await;
    let mut peer = array.peer_with("one", solicited()).await;
    let data = pattern(1, 96);
    let first = peer.send_write(write(0, 96), &data).await;
    let second = peer.send_write(write(100, 96), &data).await;
    let (ttt, sequence) = expect_r2t(&mut peer, first).await;
    assert_eq!(sequence, 0..96 * 512);
    // No R2T for the second while the first one has the room.
    assert_eq!(peer.ping(b"").await, "");
    peer.send_data_out(first, ttt, sequence, &data).await;
    assert_eq!(peer.finish(first, &data, 0).await.status, Status::GOOD);
    assert_eq!(peer.finish(second, &data, 0).await.status, Status::GOOD);
    assert_eq!(peer.read_blocks(100, 96).await, data);
    // More than all the room there is: alone, it is let through.
    let large = pattern(2, 1024);
    assert_eq!(peer.run(write(0, 1024), large.clone(), 0).await.status, Status::GOOD);
    assert_eq!(peer.read_blocks(0, 1024).await, large);
}

#[tokio::test]
async fn an_initiator_that_does_not_read_stops_only_itself() {
    let array = Array::new(Limits::default()).await;
    let mut lazy = array.peer("one").await;
    let mut busy = array.peer("two").await;
    // 128 MiB of answers do not fit into any socket buffer.
    let mut reads = Vec::new();
    for _ in 0..32 {
        let header = lazy.header(read(0, 8192), 8192 * 512);
        lazy.send(Pdu::bare(header)).await;
        reads.push((header.itt, 0));
    }
    for _ in 0..50 {
        assert_eq!(busy.read_blocks(0, 8).await, [0; 8 * 512]);
    }
    let mut ended = 0;
    while ended < reads.len() {
        let pdu = lazy.expect().await;
        let Response::DataIn(header) = pdu.bhs.response() else { panic!("{:?} is no data", pdu.bhs) };
        let (_, received) = reads.iter_mut().find(|(itt, _)| *itt == header.itt).expect("one of the reads");
        *received += pdu.data.len();
        if header.has_status() {
            assert_eq!(*received, 8192 * 512);
            ended += 1;
        }
    }
}

// RFC 7143 §6.3.5 MUST: a login with the name and the ISID of a session ends that session before the new one begins.
// RFC 7143 §7.15 MUST: session reinstatement is there for initiators whose session has failed.
#[tokio::test]
async fn a_login_with_the_same_isid_takes_the_session_over() {
    let array = Array::new(Limits::default()).await;
    let mut old = array.peer("one").await;
    let mut bystander = array.peer("two").await;
    hold_writes(&array);
    old.send_write(write(0, 1), &pattern(1, 1)).await;
    writes_begun(&array, 1).await;
    let config = login("one", Preferences::default());
    let logging_in = tokio::spawn(Peer::log_in(array.address(), config));
    // The old connection goes, but the new session is not there before the old one's command is over.
    assert_eq!(old.receive().await, None);
    assert_eq!(bystander.ping(b"").await, "");
    assert!(!logging_in.is_finished());
    array.controls.writes.add_permits(1);
    let mut new = logging_in.await.expect("no panic").expect("a login");
    let attention = new.run(Command::TestUnitReady, Bytes::new(), 0).await;
    assert_eq!(attention.sense.map(|sense| sense.code), Some(AdditionalSense::POWER_ON_OR_RESET));
    assert_eq!(new.read_blocks(0, 1).await, pattern(1, 1));
    assert_eq!(bystander.ping(b"").await, "");
}

async fn log_out(peer: &mut Peer) {
    let header = LogoutRequest { itt: peer.new_itt(), ..LogoutRequest::default() };
    peer.send(Pdu::bare(header.with_reason(LogoutReason::CLOSE_SESSION))).await;
    let answer = peer.expect().await;
    assert!(matches!(answer.bhs.response(), Response::Logout(_)), "{:?}", answer.bhs);
}

async fn expect_logout_request(peer: &mut Peer) {
    let pdu = peer.expect().await;
    let Response::Async(message) = pdu.bhs.response() else { panic!("{:?} is no message", pdu.bhs) };
    assert_eq!(message.event, AsyncEvent::LOGOUT_REQUESTED);
    assert!(message.parameter3.get() > 0);
}

#[tokio::test]
async fn a_shutdown_ends_when_all_have_logged_out() {
    // Far more time than the test has: what ends the shutdown is the logout.
    let limits = Limits { logout_time: Duration::from_secs(3600), ..Limits::default() };
    let array = Array::new(limits).await;
    let address = array.address();
    let mut peer = array.peer("one").await;
    let shutdown = tokio::spawn(array.target.shutdown());
    expect_logout_request(&mut peer).await;
    // Commands are served until the initiator has logged out.
    assert_eq!(peer.read_blocks(0, 1).await, [0; 512]);
    assert!(TcpStream::connect(address).await.is_err(), "nobody listens any more");
    log_out(&mut peer).await;
    assert_eq!(peer.receive().await, None);
    shutdown.await.expect("no panic");
}

#[tokio::test]
async fn a_shutdown_answers_what_is_under_way() {
    let limits = Limits { logout_time: Duration::from_millis(20), ..Limits::default() };
    let array = Array::new(limits).await;
    let mut peer = array.peer("one").await;
    hold_writes(&array);
    let itt = peer.send_write(write(0, 1), &pattern(1, 1)).await;
    writes_begun(&array, 1).await;
    let controls = array.controls.clone();
    let shutdown = tokio::spawn(array.target.shutdown());
    expect_logout_request(&mut peer).await;
    assert!(!shutdown.is_finished());
    controls.writes.add_permits(1);
    assert_eq!(peer.finish(itt, &Bytes::new(), 0).await.status, Status::GOOD);
    assert_eq!(peer.receive().await, None, "it did not log out in time");
    shutdown.await.expect("no panic");
    assert_eq!(controls.writes_done.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_target_that_is_dropped_closes_its_connections() {
    let array = Array::new(Limits::default()).await;
    let mut peer = array.peer("one").await;
    drop(array.target);
    assert_eq!(peer.receive().await, None);
}
