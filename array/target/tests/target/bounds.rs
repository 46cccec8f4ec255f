//! Initiators that are slow, silent, greedy or hostile: what they get, and that the others notice nothing.

use std::time::Duration;

use bytes::Bytes;
use lunshadow_iscsi::login::{InitiatorLoginConfig, LoginError, LoginStatus};
use lunshadow_iscsi::negotiation::Preferences;
use lunshadow_iscsi::pdu::{Isid, NopIn, Pdu, RESERVED_TAG, Response, ScsiCommand, TaskFunction, TaskResponse};
use lunshadow_scsi::{AdditionalSense, Command, Status};
use lunshadow_target::Limits;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::life_cycle::{expect_r2t, hold_writes, solicited, writes_begun};
use crate::peer::{Array, Peer, login, pattern, read, write};

/// Longer than any test.
const LONG: Duration = Duration::from_secs(3600);
/// So short that a test need not wait.
const SHORT: Duration = Duration::from_millis(20);

/// Another session of the same initiator.
fn session(name: &str, qualifier: u16) -> InitiatorLoginConfig {
    InitiatorLoginConfig {
        isid: Isid::random_type([0, 0, name.as_bytes()[0]], qualifier),
        ..login(name, Preferences::default())
    }
}

fn discovery(name: &str) -> InitiatorLoginConfig {
    InitiatorLoginConfig { target_name: None, ..login(name, Preferences::default()) }
}

async fn refused(array: &Array, config: InitiatorLoginConfig) -> bool {
    let error = Peer::log_in(array.address(), config).await.err();
    matches!(error, Some(LoginError::Refused { status: LoginStatus::OUT_OF_RESOURCES }))
}

/// All that the target still says on a connection before it closes it.
async fn rest_of(mut stream: TcpStream) -> Vec<u8> {
    let mut rest = Vec::new();
    // Cut off is closed as well.
    let _ = stream.read_to_end(&mut rest).await;
    rest
}

#[tokio::test]
async fn a_connection_that_does_not_log_in_is_closed() {
    let array = Array::new(Limits { login_time: SHORT, ..Limits::default() }).await;
    let mute = TcpStream::connect(array.address()).await.expect("the target listens");
    assert_eq!(rest_of(mute).await, [0; 0]);
    // Nor does it help to begin.
    let mut slow = TcpStream::connect(array.address()).await.expect("the target listens");
    slow.write_all(&[0x43, 0x87, 0]).await.expect("it is open");
    assert_eq!(rest_of(slow).await, [0; 0]);
}

#[tokio::test]
async fn a_flood_of_connections_keeps_nobody_out() {
    let array = Array::new(Limits { logins: 4, login_time: LONG, ..Limits::default() }).await;
    let mut flood = Vec::new();
    for _ in 0..4 {
        flood.push(TcpStream::connect(array.address()).await.expect("the target listens"));
    }
    let mut peer = array.peer("one").await;
    // The oldest had to make room.
    assert_eq!(rest_of(flood.remove(0)).await, [0; 0]);
    for _ in 0..50 {
        flood.push(TcpStream::connect(array.address()).await.expect("the target listens"));
        if flood.len() > 8 {
            assert_eq!(rest_of(flood.remove(0)).await, [0; 0]);
        }
    }
    assert_eq!(peer.read_blocks(0, 1).await, [0; 512], "who is logged in does not notice");
    array.peer("two").await;
}

#[tokio::test]
async fn no_initiator_takes_all_the_sessions() {
    let array = Array::new(Limits { sessions: 4, sessions_per_initiator: 2, ..Limits::default() }).await;
    let mut first = Peer::log_in(array.address(), session("one", 1)).await.expect("a login");
    let second = Peer::log_in(array.address(), discovery("one")).await.expect("a login");
    assert!(refused(&array, session("one", 2)).await && refused(&array, discovery("one")).await);
    let _others = [array.peer("two").await, Peer::log_in(array.address(), session("two", 2)).await.expect("a login")];
    assert!(refused(&array, session("two", 3)).await);
    // Who comes back takes its own place, whether or not the target has noticed that the old connection is gone.
    let mut again = Peer::log_in(array.address(), session("one", 1)).await.expect("a login");
    assert_eq!(first.receive().await, None);
    assert_eq!(again.ping(b"").await, "");
    drop(second);
    // The target notices at its own time.
    while refused(&array, session("one", 2)).await {
        tokio::task::yield_now().await;
    }
}

async fn expect_question(peer: &mut Peer) -> NopIn {
    let pdu = peer.expect().await;
    let Response::NopIn(&question) = pdu.bhs.response() else { panic!("{:?} is no NOP-In", pdu.bhs) };
    assert!(question.itt.is_reserved() && !question.ttt.is_reserved(), "it wants an answer: {question:?}");
    assert!(pdu.data.is_empty(), "there is nothing to say");
    question
}

// RFC 7143 §11.19 MUST: a NOP-In that answers no NOP-Out has the reserved Initiator Task Tag.
// RFC 7143 §11.19 MUST NOT: a NOP-In that answers no NOP-Out has data.
#[tokio::test]
async fn a_silent_initiator_is_asked_whether_it_is_there() {
    let array = Array::new(Limits { probe_after: SHORT, answer_time: LONG, ..Limits::default() }).await;
    let mut peer = Peer::log_in(array.address(), login("one", Preferences::default())).await.expect("a login");
    for _ in 0..3 {
        let question = expect_question(&mut peer).await;
        // It has no answer of its own, or the next PDU would be that one.
        peer.answer(question).await;
    }
}

#[tokio::test]
async fn an_initiator_that_does_not_answer_is_given_up() {
    let array = Array::new(Limits { probe_after: SHORT, answer_time: SHORT, ..Limits::default() }).await;
    let mut peer = Peer::log_in(array.address(), login("one", Preferences::default())).await.expect("a login");
    expect_question(&mut peer).await;
    assert_eq!(peer.receive().await, None);
    // There are no questions in a discovery session.
    let mut peer = Peer::log_in(array.address(), discovery("one")).await.expect("a login");
    assert_eq!(peer.receive().await, None);
}

#[tokio::test]
async fn data_that_does_not_come_ends_the_session_and_frees_its_room() {
    let limits = Limits { probe_after: LONG, answer_time: SHORT, ..Limits::default() };
    let array = Array::new(limits).await;
    // A command that storage keeps waiting is not the initiator's fault.
    let mut patient = array.peer("two").await;
    hold_writes(&array);
    let held = patient.send_write(write(0, 1), &pattern(1, 1)).await;
    writes_begun(&array, 1).await;
    let mut slow = array.peer_with("one", solicited()).await;
    let itt = slow.send_write(write(0, 2), &pattern(1, 2)).await;
    expect_r2t(&mut slow, itt).await;
    assert_eq!(slow.receive().await, None);
    // Unsolicited data that was announced is the same.
    let mut slow = array.peer("one").await;
    let header = ScsiCommand { flags: ScsiCommand::WRITE, ..slow.header(write(0, 2), 1024) };
    slow.send(Pdu::bare(header)).await;
    assert_eq!(slow.receive().await, None);
    array.controls.writes.add_permits(1);
    assert_eq!(patient.finish(held, &Bytes::new(), 0).await.status, Status::GOOD);
}

#[tokio::test]
async fn an_initiator_that_takes_nothing_is_given_up() {
    let limits = Limits { probe_after: LONG, answer_time: Duration::from_millis(200), ..Limits::default() };
    let array = Array::new(limits).await;
    let mut deaf = array.peer("one").await;
    for _ in 0..32 {
        let header = deaf.header(read(0, 8192), 8192 * 512);
        deaf.send(Pdu::bare(header)).await;
    }
    // Nothing is read until the target has given up: then there is a place again.
    let mut other = array.peer("two").await;
    loop {
        assert_eq!(other.read_blocks(0, 1).await, [0; 512]);
        if array.target.sessions() == 1 {
            break;
        }
    }
}

#[tokio::test]
async fn each_session_has_its_share_of_what_all_may_hold() {
    let limits = Limits { total_bytes: 128 << 10, connection_bytes: 128 << 10, command_window: 8, ..Limits::default() };
    let array = Array::new(limits).await;
    let preferences = Preferences { first_burst_length: 16 << 10, max_burst_length: 64 << 10, ..solicited() };
    let mut one = array.peer_with("one", preferences.clone()).await;
    let window = |peer: &Peer| peer.cmd_sn.distance_to(peer.max_cmd_sn).map_or(0, |distance| distance + 1);
    assert_eq!(window(&one), 8);
    let mut two = array.peer_with("two", preferences).await;
    // There are two now, and half of the window for each: it closes as commands end, and never goes back.
    for _ in 0..8 {
        assert_eq!(one.read_blocks(0, 1).await, [0; 512]);
    }
    assert_eq!(window(&one), 4);
    // Room too: two of these need more than a half, although not more than the whole.
    let data = pattern(1, 96);
    let (first, second) = (one.send_write(write(0, 96), &data).await, one.send_write(write(96, 96), &data).await);
    let (ttt, sequence) = expect_r2t(&mut one, first).await;
    assert_eq!(one.ping(b"").await, "", "no R2T for the second");
    // The other session has all its share meanwhile.
    assert_eq!(two.run(write(200, 96), data.clone(), 0).await.status, Status::GOOD);
    one.send_data_out(first, ttt, sequence, &data).await;
    assert_eq!(one.finish(first, &data, 0).await.status, Status::GOOD);
    assert_eq!(one.finish(second, &data, 0).await.status, Status::GOOD);
    drop(two);
    while window(&one) < 8 {
        assert_eq!(one.ping(b"").await, "");
    }
}

// RFC 7143 §11.6.1 MUST: a cold reset closes all connections to all initiators.
#[tokio::test]
async fn a_cold_reset_ends_all_connections() {
    let array = Array::new(Limits::default()).await;
    let mut own = array.peer("one").await;
    let mut other = array.peer("two").await;
    let mut looking = Peer::log_in(array.address(), discovery("two")).await.expect("a login");
    let logging_in = TcpStream::connect(array.address()).await.expect("the target listens");
    hold_writes(&array);
    other.send_write(write(0, 1), &pattern(1, 1)).await;
    writes_begun(&array, 1).await;
    let itt = own.send_management(TaskFunction::TARGET_COLD_RESET, RESERVED_TAG).await;
    assert_eq!(own.ping(b"").await, "", "it waits for the command of the other session");
    array.controls.writes.add_permits(1);
    assert_eq!(own.expect_managed(itt).await, TaskResponse::FUNCTION_COMPLETE);
    for peer in [&mut own, &mut other, &mut looking] {
        assert_eq!(peer.receive().await, None);
    }
    assert_eq!(rest_of(logging_in).await, [0; 0]);
    // Power on is what a new session hears of, and nothing else.
    let mut new = Peer::log_in(array.address(), login("two", Preferences::default())).await.expect("a login");
    let attention = new.run(Command::TestUnitReady, Bytes::new(), 0).await;
    assert_eq!(attention.sense.map(|sense| sense.code), Some(AdditionalSense::POWER_ON_OR_RESET));
    assert_eq!(new.run(Command::TestUnitReady, Bytes::new(), 0).await.status, Status::GOOD);
}

// RFC 7143 §11.8 MUST: the R2Ts of a command ask for ranges that follow each other.
#[tokio::test]
async fn several_r2ts_are_open_at_once() {
    let array = Array::new(Limits::default()).await;
    for agreed in [1, 3] {
        let preferences = Preferences {
            max_burst_length: 4096,
            first_burst_length: 4096,
            max_outstanding_r2t: agreed,
            ..solicited()
        };
        let mut peer = array.peer_with("one", preferences).await;
        let data = pattern(7, 32);
        let itt = peer.send_write(write(0, 32), &data).await;
        let mut open = Vec::new();
        for _ in 0..agreed {
            open.push(expect_r2t(&mut peer, itt).await);
        }
        assert_eq!(peer.ping(b"").await, "", "not one more than agreed on");
        let mut sequences = open.len();
        let mut next = 0;
        while !open.is_empty() {
            let (ttt, sequence) = open.remove(0);
            assert_eq!(sequence, next..next + 4096);
            next += 4096;
            peer.send_data_out(itt, ttt, sequence, &data).await;
            if sequences < 4 {
                open.push(expect_r2t(&mut peer, itt).await);
                sequences += 1;
            }
        }
        assert_eq!(peer.finish(itt, &data, 0).await.status, Status::GOOD);
        assert_eq!(peer.read_blocks(0, 32).await, data);
    }
}
