//! Sessions: logins, commands in flight, data in both directions, and the ways that a connection ends.

use std::time::Duration;

use bytes::Bytes;
use lunshadow_initiator::{ConnectionError, DataDirection, InitiatorError, Residual, Session, SessionConfig, discover};
use lunshadow_iscsi::discovery::{Portal, TargetRecord, TargetTextExchange, TextStep, target_keys};
use lunshadow_iscsi::login::{LoginError, LoginStatus};
use lunshadow_iscsi::negotiation::{Digest, Preferences};
use lunshadow_iscsi::pdu::{
    AsyncEvent, AsyncMessage, DataIn, FINAL, LoginResponse, LogoutRequest, LogoutResponse, NopIn, NopOut, Pdu,
    ReadyToTransfer, RejectReason, ScsiResponse, ServiceResponse, Tag, TaskFunction, TaskManagementRequest,
    TaskManagementResponse, TaskResponse, TextRequest,
};
use lunshadow_scsi::{BlockRange, Cdb, Command, LunAddress, Status};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::peer::{INITIATOR, Peer, TARGET, config, connected, connected_as};

const LUN: LunAddress = LunAddress::peripheral(1);

fn read(lba: u64) -> Cdb {
    Command::Read { range: BlockRange::new(lba, 1), fua: false }.to_cdb()
}

fn write(lba: u64) -> Cdb {
    Command::Write { range: BlockRange::new(lba, 1), fua: false }.to_cdb()
}

fn in_background(
    session: &Session,
    cdb: Cdb,
    direction: DataDirection,
) -> tokio::task::JoinHandle<Result<lunshadow_initiator::ScsiResponse, InitiatorError>> {
    let session = session.clone();
    tokio::spawn(async move { session.command(LUN, &cdb, direction).await })
}

async fn plain() -> (Session, Peer<tokio::io::DuplexStream>) {
    connected(Preferences::default(), Preferences::default(), 32).await
}

fn ending<T: std::fmt::Debug>(outcome: Result<T, InitiatorError>) -> ConnectionError {
    match outcome.expect_err("the connection is lost") {
        InitiatorError::ConnectionLost(ending) => ending,
        other => unreachable!("the connection should be lost: {other}"),
    }
}

#[tokio::test]
async fn targets_are_discovered_over_tcp() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let portal = listener.local_addr().expect("bound");
    let targets: Vec<_> = (0..20)
        .map(|number| TargetRecord {
            name: format!("{TARGET}{number}"),
            portals: vec![Portal { address: portal.to_string(), group_tag: 1 }],
        })
        .collect();
    let answer = target_keys(&targets);
    let script = async {
        let (stream, _) = listener.accept().await.expect("a connection");
        let mut peer = Peer::accept(stream, Preferences::default(), 8).await;
        assert_eq!(peer.session.identity.initiator_name, INITIATOR);
        assert_eq!(peer.session.identity.target_name, None);
        // Portions of 100 bytes: the initiator has to come back for each.
        let mut exchange = TargetTextExchange::new(Tag::new(5), 100);
        let mut rounds = 0;
        loop {
            let pdu = peer.receive().await.expect("a request");
            let Some(request) = pdu.bhs.view::<TextRequest>() else {
                let logout = pdu.bhs.view::<LogoutRequest>().expect("a text request or a logout");
                peer.send(Pdu::bare(LogoutResponse { itt: logout.itt, ..LogoutResponse::default() })).await;
                return rounds;
            };
            rounds += 1;
            let response = match exchange.handle(request, &pdu.data).expect("sound text") {
                TextStep::Respond(response) => response,
                TextStep::Asked(keys) => {
                    assert_eq!(keys.get("SendTargets"), Some("All"));
                    exchange.answer(request, &answer)
                }
            };
            peer.send(response).await;
        }
    };
    let name = INITIATOR.parse().expect("a valid name");
    let (found, rounds) = tokio::join!(discover(portal, &name), script);
    assert_eq!(found.expect("discovered"), targets);
    assert_eq!(rounds, answer.encode().len().div_ceil(100));
}

#[tokio::test]
async fn a_refused_login_says_why() {
    let (near, mut far) = tokio::io::duplex(1 << 16);
    let script = async {
        let mut request = [0; 48];
        far.read_exact(&mut request).await.expect("a login request");
        let header = LoginResponse { status: LoginStatus::AUTHORIZATION_FAILURE, ..LoginResponse::default() };
        let mut response = Pdu::bare(header).encode(Default::default());
        far.write_all_buf(&mut response).await.expect("the initiator listens");
        far
    };
    let (outcome, _far) = tokio::join!(Session::over(near, config()), script);
    let status = LoginStatus::AUTHORIZATION_FAILURE;
    assert!(matches!(outcome, Err(InitiatorError::Login(LoginError::Refused { status: s })) if s == status));
}

#[tokio::test]
async fn a_portal_that_is_not_there_is_an_error() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let portal = listener.local_addr().expect("bound");
    drop(listener);
    let outcome = Session::connect(portal, config()).await;
    assert!(matches!(outcome, Err(InitiatorError::Connect(_))), "{outcome:?}");
}

#[tokio::test]
async fn responses_find_their_commands_in_any_order() {
    let (session, mut peer) = plain().await;
    let reads: Vec<_> = (0..8).map(|lba| in_background(&session, read(lba), DataDirection::In(512))).collect();
    let mut commands = Vec::new();
    for _ in 0..8 {
        commands.push(peer.command().await.0);
    }
    for command in commands.iter().rev() {
        peer.respond_with_data(command, &Bytes::from(vec![command.cdb[5]; 512])).await;
    }
    for (lba, read) in (0_u8..).zip(reads) {
        let response = read.await.expect("no panic").expect("answered");
        assert_eq!((response.status, response.residual), (Status::GOOD, Residual::None));
        assert_eq!(response.data, vec![lba; 512]);
    }
}

#[tokio::test]
async fn commands_wait_for_the_window() {
    let (session, mut peer) = connected(Preferences::default(), Preferences::default(), 2).await;
    let waiting: Vec<_> = (0..5).map(|lba| in_background(&session, read(lba), DataDirection::In(512))).collect();
    let mut open = vec![peer.command().await.0, peer.command().await.0];
    while !open.is_empty() {
        // Had the initiator another command to send, it would come before the answer to this.
        peer.send(Pdu::bare(NopIn { itt: Tag::default(), ttt: Tag::new(3), ..NopIn::default() })).await;
        let answer = peer.receive().await.expect("an answer");
        let nop = answer.bhs.view::<NopOut>().expect("the window is full");
        assert_eq!((nop.ttt, nop.itt), (Tag::new(3), Tag::default()));
        let done = open.remove(0);
        let more_to_come = done.cmd_sn.get() <= 3;
        peer.respond_with_data(&done, &Bytes::from(vec![0; 512])).await;
        if more_to_come {
            open.push(peer.command().await.0);
        }
    }
    for task in waiting {
        assert_eq!(task.await.expect("no panic").expect("answered").status, Status::GOOD);
    }
}

/// Writes 20 kB under every mix of rules; the peer checks each PDU with the target's machine.
#[tokio::test]
async fn writes_arrive_whatever_was_agreed() {
    let data: Bytes = (0..20_000_u32).flat_map(u32::to_be_bytes).take(20_000).collect::<Vec<_>>().into();
    for (initial_r2t, immediate_data, first_burst_length, r2ts) in [
        (true, false, 512, 20),
        (true, true, 512, 20),
        (false, false, 3000, 17),
        (false, true, 3000, 17),
        (false, true, 65_536, 20),
    ] {
        let theirs = Preferences {
            initial_r2t,
            immediate_data,
            first_burst_length,
            max_burst_length: 1000,
            max_recv_data_segment_length: 700,
            max_outstanding_r2t: 3,
            ..Preferences::default()
        };
        let theirs =
            Preferences { max_burst_length: theirs.max_burst_length.max(first_burst_length.min(3000)), ..theirs };
        let (session, mut peer) = connected(Preferences::default(), theirs.clone(), 8).await;
        let task = in_background(&session, write(0), DataDirection::Out(data.clone()));
        let (command, immediate) = peer.command().await;
        assert_eq!(immediate.is_empty(), !immediate_data);
        let (arrived, r2ts_sent) = peer.collect(&command, &immediate).await;
        assert_eq!(arrived, data);
        assert!(r2ts_sent > 0 && r2ts_sent <= r2ts, "{r2ts_sent} R2Ts with {theirs:?}");
        peer.respond(command.itt, Status::GOOD, None).await;
        assert_eq!(task.await.expect("no panic").expect("answered").status, Status::GOOD);
    }
}

#[tokio::test]
async fn a_read_comes_in_parts_and_may_be_short() {
    let own = Preferences { max_recv_data_segment_length: 600, max_burst_length: 1500, ..Preferences::default() };
    let (session, mut peer) = connected(own, Preferences::default(), 8).await;
    let task = in_background(&session, read(0), DataDirection::In(5000));
    let (command, _) = peer.command().await;
    let data: Bytes = (0..4096_u32).map(|i| i.to_be_bytes()[3]).collect::<Vec<_>>().into();
    peer.respond_with_data(&command, &data).await;
    let response = task.await.expect("no panic").expect("answered");
    assert_eq!(response.data, data);
    assert_eq!(response.residual, Residual::Underflow(904));

    let empty = in_background(&session, read(0), DataDirection::In(5000));
    let (command, _) = peer.command().await;
    peer.respond_with_data(&command, &Bytes::new()).await;
    let response = empty.await.expect("no panic").expect("answered");
    assert_eq!((response.data.len(), response.residual), (0, Residual::Underflow(5000)));
}

#[tokio::test]
async fn digests_protect_both_directions() {
    let with_digests = Preferences {
        header_digests: vec![Digest::Crc32c],
        data_digests: vec![Digest::Crc32c],
        ..Preferences::default()
    };
    let (session, mut peer) = connected(with_digests, Preferences::default(), 8).await;
    assert!(peer.session.parameters.digests().header && peer.session.parameters.digests().data);
    let data = Bytes::from_static(b"13 bytes long");
    let task = in_background(&session, write(0), DataDirection::Out(data.clone()));
    let (command, immediate) = peer.command().await;
    assert_eq!(immediate, data);
    peer.respond(command.itt, Status::GOOD, None).await;
    task.await.expect("no panic").expect("answered");
    let task = in_background(&session, read(0), DataDirection::In(13));
    let (command, _) = peer.command().await;
    peer.respond_with_data(&command, &data).await;
    assert_eq!(task.await.expect("no panic").expect("answered").data, data);
}

#[tokio::test]
async fn a_cut_connection_fails_everything_under_way() {
    let (session, mut peer) = plain().await;
    let mut attentions = session.unit_attentions();
    let tasks: Vec<_> = (0..4).map(|lba| in_background(&session, read(lba), DataDirection::In(512))).collect();
    for _ in 0..4 {
        peer.command().await;
    }
    drop(peer);
    for task in tasks {
        assert!(matches!(ending(task.await.expect("no panic")), ConnectionError::Closed | ConnectionError::Io(_)));
    }
    let later = session.command(LUN, &read(0), DataDirection::In(512)).await;
    assert!(matches!(ending(later), ConnectionError::Closed | ConnectionError::Io(_)));
    assert_eq!(attentions.recv().await, None, "the queue ends with the connection");
}

#[tokio::test]
async fn what_breaks_the_protocol_ends_the_connection() {
    let wrong_data_sn = |itt| {
        let header = DataIn { flags: FINAL | DataIn::STATUS, itt, data_sn: 1.into(), ..DataIn::default() };
        Pdu::new(header, Bytes::from_static(&[0; 512]))
    };
    let too_much = |itt| {
        let header = DataIn { flags: FINAL | DataIn::STATUS, itt, ..DataIn::default() };
        Pdu::new(header, Bytes::from_static(&[0; 513]))
    };
    let unknown_task = |_| Pdu::bare(ScsiResponse { itt: Tag::new(99), ..ScsiResponse::default() });
    let r2t_for_a_read = |itt| {
        let desired_data_transfer_length = 512.into();
        Pdu::bare(ReadyToTransfer { itt, desired_data_transfer_length, ..ReadyToTransfer::default() })
    };
    let login_again = |_| Pdu::bare(LoginResponse::default());
    let scripts: [&dyn Fn(Tag) -> Pdu; 5] = [&wrong_data_sn, &too_much, &unknown_task, &r2t_for_a_read, &login_again];
    for (case, script) in scripts.into_iter().enumerate() {
        let (session, mut peer) = plain().await;
        let task = in_background(&session, read(0), DataDirection::In(512));
        let (command, _) = peer.command().await;
        peer.send(script(command.itt)).await;
        let ending = ending(task.await.expect("no panic"));
        match case {
            0 | 1 => assert!(matches!(ending, ConnectionError::Read(_)), "{ending}"),
            _ => assert!(matches!(ending, ConnectionError::Protocol { .. }), "{ending}"),
        }
        assert!(peer.receive().await.is_none(), "the initiator closes the connection");
    }
}

#[tokio::test]
async fn a_missing_response_ends_the_connection() {
    let (session, mut peer) = plain().await;
    let task = in_background(&session, read(0), DataDirection::In(512));
    let (command, _) = peer.command().await;
    peer.stat_sn = peer.stat_sn.next();
    peer.respond(command.itt, Status::GOOD, None).await;
    assert!(matches!(ending(task.await.expect("no panic")), ConnectionError::StatSn(_)));
}

#[tokio::test]
async fn a_failure_of_the_target_and_a_reject_fail_one_command() {
    let (session, mut peer) = plain().await;
    let failed = in_background(&session, read(0), DataDirection::In(512));
    let (command, _) = peer.command().await;
    let header =
        ScsiResponse { response: ServiceResponse::TARGET_FAILURE, itt: command.itt, ..ScsiResponse::default() };
    peer.send(Pdu::bare(header)).await;
    assert!(matches!(failed.await.expect("no panic"), Err(InitiatorError::TargetFailure)));

    let rejected = in_background(&session, read(0), DataDirection::In(512));
    let refused = peer.receive().await.expect("a command");
    peer.send(refused.reject(RejectReason::LONG_OPERATION_REJECT)).await;
    let outcome = rejected.await.expect("no panic");
    let reason = RejectReason::LONG_OPERATION_REJECT;
    assert!(matches!(outcome, Err(InitiatorError::Rejected { reason: r }) if r == reason), "{outcome:?}");

    let fine = in_background(&session, read(0), DataDirection::In(512));
    let (command, _) = peer.command().await;
    peer.respond_with_data(&command, &Bytes::from_static(&[7; 512])).await;
    assert_eq!(fine.await.expect("no panic").expect("answered").data, vec![7; 512]);
}

#[tokio::test]
async fn pings_and_task_management_are_answered() {
    let (session, mut peer) = plain().await;
    let script = async {
        let ping = peer.receive().await.expect("a ping");
        let header = NopIn { itt: ping.bhs.itt, ttt: Tag::default(), ..NopIn::default() };
        peer.send(Pdu::new(header, ping.data)).await;
        let request = peer.receive().await.expect("a request");
        let header = request.bhs.view::<TaskManagementRequest>().expect("task management");
        assert_eq!((header.function(), header.lun), (TaskFunction::LOGICAL_UNIT_RESET, LUN));
        let response = TaskResponse::LUN_DOES_NOT_EXIST;
        peer.send(Pdu::bare(TaskManagementResponse { response, itt: header.itt, ..TaskManagementResponse::default() }))
            .await;
    };
    let asking = async {
        let echo = session.ping(Bytes::from_static(b"ping")).await.expect("answered");
        let response = session.task_management(TaskFunction::LOGICAL_UNIT_RESET, LUN).await.expect("answered");
        (echo, response)
    };
    let ((echo, response), ()) = tokio::join!(asking, script);
    assert_eq!(&echo[..], b"ping");
    assert_eq!(response, TaskResponse::LUN_DOES_NOT_EXIST);
}

#[tokio::test]
async fn a_logout_ends_the_session() {
    let (session, mut peer) = plain().await;
    let under_way = in_background(&session, read(0), DataDirection::In(512));
    peer.command().await;
    let script = async {
        let logout = peer.receive().await.expect("a logout");
        peer.send(Pdu::bare(LogoutResponse { itt: logout.bhs.itt, ..LogoutResponse::default() })).await;
        assert!(peer.receive().await.is_none());
    };
    let (outcome, ()) = tokio::join!(session.logout(), script);
    outcome.expect("logged out");
    assert!(matches!(ending(under_way.await.expect("no panic")), ConnectionError::LoggedOut));
    assert!(matches!(ending(session.logout().await), ConnectionError::LoggedOut));
}

#[tokio::test]
async fn a_target_that_asks_for_a_logout_gets_it() {
    let (session, mut peer) = plain().await;
    let under_way = in_background(&session, read(0), DataDirection::In(512));
    let (command, _) = peer.command().await;
    let event = AsyncEvent::LOGOUT_REQUESTED;
    peer.send(Pdu::bare(AsyncMessage { event, itt: Tag::default(), ..AsyncMessage::default() })).await;
    // The answer to this shows that the message before it has been taken.
    peer.send(Pdu::bare(NopIn { itt: Tag::default(), ttt: Tag::new(3), ..NopIn::default() })).await;
    assert!(peer.receive().await.expect("an answer").bhs.view::<NopOut>().is_some());
    let refused = session.command(LUN, &read(0), DataDirection::In(512)).await;
    assert!(matches!(ending(refused), ConnectionError::LogoutRequested));
    peer.respond_with_data(&command, &Bytes::from_static(&[7; 512])).await;
    assert_eq!(under_way.await.expect("no panic").expect("still served").data, vec![7; 512]);
    let logout = peer.receive().await.expect("a logout");
    assert!(logout.bhs.view::<LogoutRequest>().is_some(), "{logout:?}");
    peer.send(Pdu::bare(LogoutResponse { itt: logout.bhs.itt, ..LogoutResponse::default() })).await;
    assert!(peer.receive().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_target_that_does_not_answer_is_given_up() {
    let limit = Duration::from_secs(7);
    let config = SessionConfig { command_limit: limit, ..config() };
    let (session, mut peer) = connected_as(config, Preferences::default(), 8).await;
    let started = tokio::time::Instant::now();
    let outcome = session.command(LUN, &read(0), DataDirection::In(512)).await;
    assert!(matches!(ending(outcome), ConnectionError::TimedOut { limit: l } if l == limit));
    assert_eq!(started.elapsed().as_secs(), 7);
    assert!(peer.receive().await.is_some(), "the command");
    assert!(peer.receive().await.is_none(), "the initiator closes the connection");
    let later = session.command(LUN, &read(0), DataDirection::In(512)).await;
    assert!(matches!(ending(later), ConnectionError::TimedOut { .. }));
}

#[tokio::test]
async fn the_last_clone_closes_the_connection() {
    let (session, mut peer) = plain().await;
    let clone = session.clone();
    drop(session);
    let ping = async {
        let ping = peer.receive().await.expect("a ping");
        peer.send(Pdu::bare(NopIn { itt: ping.bhs.itt, ttt: Tag::default(), ..NopIn::default() })).await;
    };
    let (echo, ()) = tokio::join!(clone.ping(Bytes::new()), ping);
    assert!(echo.expect("answered").is_empty());
    drop(clone);
    assert!(peer.receive().await.is_none());
}
