//! The iSCSI target over loopback: logins, discovery, data in every way that it can travel, residuals.

use bytes::Bytes;
use lunshadow_iscsi::discovery::{SEND_TARGETS, parse_targets};
use lunshadow_iscsi::login::{InitiatorLogin, LoginError, LoginPath, LoginStatus};
use lunshadow_iscsi::negotiation::{Digest, Preferences};
use lunshadow_iscsi::pdu::{
    DataOut, DigestConfig, FINAL, LogoutReason, LogoutRequest, LogoutResponseCode, NopOut, Pdu, PduDecoder,
    RESERVED_TAG, RejectReason, Response, ScsiCommand, TaskFunction, TaskManagementRequest, TextRequest,
};
use lunshadow_iscsi::serial::SerialNumber;
use lunshadow_iscsi::text::TextKeys;
use lunshadow_scsi::{AdditionalSense, Command, LunAddress, SenseKey, Status};
use lunshadow_target::{BindError, Limits, Target, TargetConfig};

use crate::peer::{Array, LUN, Outcome, Peer, TARGET_NAME, initiator, login, pattern, read, write};

#[tokio::test]
async fn logins_are_refused_by_name() {
    let array = Array::new(Limits::default()).await;
    let stranger = login("stranger", Preferences::default());
    let unknown_target = lunshadow_iscsi::login::InitiatorLoginConfig {
        target_name: Some("iqn.2026-11.org.example:other".to_owned()),
        ..login("one", Preferences::default())
    };
    for (config, expected) in
        [(stranger, LoginStatus::AUTHORIZATION_FAILURE), (unknown_target, LoginStatus::TARGET_NOT_FOUND)]
    {
        let refused = Peer::log_in(array.address(), config).await.err().expect("a refusal");
        assert!(matches!(refused, LoginError::Refused { status } if status == expected), "{refused}");
    }
    for path in [LoginPath::SecurityThenOperational, LoginPath::OperationalOnly, LoginPath::SecurityOnly] {
        let config = lunshadow_iscsi::login::InitiatorLoginConfig { path, ..login("one", Preferences::default()) };
        let mut peer = Peer::log_in(array.address(), config).await.expect("a login");
        assert_eq!(peer.ping(b"hello").await, "hello");
    }
}

#[tokio::test]
async fn a_target_needs_a_name_and_an_address_of_its_own() {
    let array = Array::new(Limits::default()).await;
    let config = |name: &str| TargetConfig {
        listen: vec![array.address().into()],
        name: name.to_owned(),
        alias: None,
        limits: Limits::default(),
    };
    let taken = Target::bind(config(TARGET_NAME), array.map.clone()).await;
    assert!(matches!(taken, Err(BindError::Listen { address, .. }) if address == array.address()));
    let nameless = Target::bind(config("target"), array.map.clone()).await;
    assert!(matches!(nameless, Err(BindError::InvalidName(name)) if name == "target"));
}

// RFC 7143 §4.2.4 MUST: a connection that does not begin with a Login Request is closed at once.
#[tokio::test]
async fn what_does_not_begin_with_a_login_is_closed() {
    let array = Array::new(Limits::default()).await;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    for bytes in [&[0_u8; 48][..], b"GET / HTTP/1.1\r\nHost: localhost\r\nUser-Agent: a browser\r\n\r\n"] {
        let mut stream = tokio::net::TcpStream::connect(array.address()).await.expect("the target listens");
        stream.write_all(bytes).await.expect("it is open");
        let mut answer = Vec::new();
        // Closed, or cut off because not all that was sent has been read.
        let _ = stream.read_to_end(&mut answer).await;
        assert!(answer.is_empty());
    }
}

// RFC 7143 §11.13.5 MUST: a connection whose login is refused is closed.
#[tokio::test]
async fn a_refused_login_has_one_answer_and_closes_the_connection() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let array = Array::new(Limits::default()).await;
    let (_, request) = InitiatorLogin::start(login("stranger", Preferences::default()));
    let mut stream = tokio::net::TcpStream::connect(array.address()).await.expect("the target listens");
    stream.write_all_buf(&mut request.encode(DigestConfig::default())).await.expect("it is open");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.expect("it is closed in order");
    let mut answer = bytes::BytesMut::from(&answer[..]);
    let response = PduDecoder::new(8192).decode(&mut answer).expect("a PDU").expect("all of it");
    let Response::Login(response) = response.bhs.response() else { panic!("{:?} is no login", response.bhs) };
    assert_eq!(response.status, LoginStatus::AUTHORIZATION_FAILURE);
    assert!(answer.is_empty());
}

fn text(peer: &mut Peer, keys: &[(&str, &str)]) -> Pdu {
    let keys: TextKeys = keys.iter().copied().collect();
    let header = TextRequest { flags: FINAL, itt: peer.new_itt(), ttt: RESERVED_TAG, ..TextRequest::default() };
    Pdu::new(header, keys.encode())
}

/// The answer to text, or the reason of a Reject.
pub(crate) async fn ask(peer: &mut Peer, keys: &[(&str, &str)]) -> Result<TextKeys, RejectReason> {
    let request = text(peer, keys);
    peer.send(request).await;
    let answer = peer.expect().await;
    match answer.bhs.response() {
        Response::Text(header) if header.is_final() => Ok(TextKeys::parse(&answer.data).expect("text")),
        Response::Reject(header) => Err(header.reason),
        other => panic!("{other:?} is no answer to text"),
    }
}

// RFC 7143 §4.3 MUST: what is neither SendTargets nor a logout that closes the session is rejected in a discovery session.
// RFC 7143 §6.2 MUST: a key that is not known is answered with NotUnderstood.
// RFC 7143 §C MUST: SendTargets=All is answered in a discovery session.
// RFC 7143 §C MUST NOT: SendTargets=All is answered in a normal session.
// RFC 7143 §C MUST: SendTargets for the session's own target is answered in a normal session.
#[tokio::test]
async fn targets_are_discovered_in_both_kinds_of_session() {
    let array = Array::new(Limits::default()).await;
    let discovery =
        lunshadow_iscsi::login::InitiatorLoginConfig { target_name: None, ..login("one", Preferences::default()) };
    let mut discovery = Peer::log_in(array.address(), discovery).await.expect("a login");
    let mut normal = array.peer("one").await;
    for value in ["All", "", TARGET_NAME] {
        let peer = if value == "All" { &mut discovery } else { &mut normal };
        let found = parse_targets(&ask(peer, &[(SEND_TARGETS, value)]).await.expect("an answer"));
        assert_eq!((found.len(), found[0].name.as_str()), (1, TARGET_NAME));
        assert_eq!(found[0].portals[0].address, array.address().to_string());
        assert_eq!(found[0].portals[0].group_tag, 1);
    }
    let nothing = ask(&mut normal, &[(SEND_TARGETS, "iqn.2026-11.org.example:other")]).await;
    assert_eq!(nothing, Ok(TextKeys::default()));
    assert_eq!(ask(&mut normal, &[(SEND_TARGETS, "All")]).await, Err(RejectReason::PROTOCOL_ERROR));
    assert_eq!(ask(&mut discovery, &[(SEND_TARGETS, "")]).await, Err(RejectReason::PROTOCOL_ERROR));
    let unknown = ask(&mut normal, &[("X-org.example.key", "1")]).await.expect("an answer");
    assert_eq!(unknown.get("X-org.example.key"), Some("NotUnderstood"));
    // There are no commands and no pings in a discovery session.
    let command = Pdu::bare(discovery.header(Command::TestUnitReady, 0));
    let ping = Pdu::bare(NopOut { itt: discovery.new_itt(), ttt: RESERVED_TAG, ..NopOut::default() });
    for pdu in [command, ping] {
        discovery.send(pdu).await;
        let rejected = discovery.expect().await;
        assert!(matches!(rejected.bhs.response(), Response::Reject(_)), "{:?}", rejected.bhs);
    }
}

// RFC 7143 §4.2.2.2 MUST: responses are numbered by StatSN.
// RFC 7143 §4.2.2.4 MUST: the Data-Ins and R2Ts of a command are numbered from 0.
// RFC 7143 §13.1 MUST: a digest that was agreed on is in every PDU of the full feature phase.
// RFC 7143 §13.19 MUST: the sequences of a command's data come in the order of their offsets.
// RFC 7143 §4.2.5.3 MUST: an R2T has the LUN of its command.
// RFC 7143 §11.4.8 MUST: ExpDataSN is 0 if no Data-In was sent for the command.
// RFC 7143 §11.7.3 MUST: a Data-In with a status has its F bit set.
// RFC 7143 §11.8.4 MUST NOT: an R2T asks for more than MaxBurstLength.
// RFC 7143 §11.8.4 MUST NOT: an R2T asks for no data.
// RFC 7143 §11.7.2 MUST NOT: a Data-In asks for an acknowledgment.
#[tokio::test]
async fn data_travels_in_every_way_that_is_agreed_on() {
    let array = Array::new(Limits::default()).await;
    let base = Preferences {
        max_recv_data_segment_length: 4096,
        first_burst_length: 8192,
        max_burst_length: 16384,
        max_outstanding_r2t: 1,
        ..Preferences::default()
    };
    let mut seed = 0;
    for immediate_data in [false, true] {
        for initial_r2t in [false, true] {
            for digests in [vec![Digest::None], vec![Digest::Crc32c]] {
                let preferences = Preferences {
                    immediate_data,
                    initial_r2t,
                    header_digests: digests.clone(),
                    data_digests: digests,
                    max_outstanding_r2t: 1 + u32::from(immediate_data) * 3,
                    ..base.clone()
                };
                let mut peer = array.peer_with("one", preferences).await;
                assert_eq!(
                    (peer.parameters.immediate_data, peer.parameters.initial_r2t),
                    (immediate_data, initial_r2t)
                );
                for blocks in [1, 8, 16, 17, 300] {
                    seed += 1;
                    let data = pattern(seed, blocks);
                    let outcome = peer.run(write(5, blocks), data.clone(), 0).await;
                    assert_eq!((outcome.status, outcome.residual), (Status::GOOD, 0));
                    assert_eq!(peer.read_blocks(5, blocks).await, data, "{blocks} blocks");
                }
            }
        }
    }
}

// RFC 7143 §13.12 MUST: a data segment is no longer than the other end's MaxRecvDataSegmentLength.
// RFC 7143 §7.12 MUST NOT: a part of a negotiation that fails takes effect.
#[tokio::test]
async fn a_new_segment_length_holds_from_then_on() {
    let array = Array::new(Limits::default()).await;
    let mut peer = array.peer("one").await;
    let answer = ask(&mut peer, &[("MaxRecvDataSegmentLength", "512")]).await;
    assert_eq!(answer, Ok(TextKeys::default()), "a declaration has no answer");
    peer.parameters.initiator_max_recv_data_segment_length = 512;
    assert_eq!(peer.read_blocks(0, 9).await, [0; 9 * 512]);
    // What fails as a whole changes nothing.
    let failed = ask(&mut peer, &[("MaxRecvDataSegmentLength", "4096"), (SEND_TARGETS, "All")]).await;
    assert_eq!(failed, Err(RejectReason::PROTOCOL_ERROR));
    assert_eq!(peer.read_blocks(0, 9).await, [0; 9 * 512]);
    let refused = ask(&mut peer, &[("MaxRecvDataSegmentLength", "511")]).await.expect("an answer");
    assert_eq!(refused.get("MaxRecvDataSegmentLength"), Some("Reject"));
}

// RFC 7143 §11.4.7 MUST: a SCSI Response with CHECK CONDITION has the sense data of its command.
// RFC 7143 §11.4.5.2 MUST: a command that would move less than was expected has the U bit and the difference.
// RFC 7143 §11.4.5.2 MUST: a command that would move more than was expected has the O bit and the difference.
// RFC 7143 §11.7.3 MUST: a command that fails is answered with a SCSI Response, never with a Data-In.
#[tokio::test]
async fn residuals_tell_what_did_not_fit_together() {
    let array = Array::new(Limits::default()).await;
    let mut peer = array.peer("one").await;
    let data = pattern(1, 4);
    let good = |data: &[u8], residual| Outcome { status: Status::GOOD, sense: None, data: data.to_vec(), residual };
    assert_eq!(peer.run(write(0, 4), data.clone(), 0).await, good(&[], 0));
    // Reads: too little room, too much, none.
    assert_eq!(peer.run(read(0, 4), Bytes::new(), 1000).await, good(&data[..1000], -1048));
    assert_eq!(peer.run(read(0, 4), Bytes::new(), 10_000).await, good(&data, 10_000 - 2048));
    assert_eq!(peer.run(read(0, 4), Bytes::new(), 0).await, good(&[], -2048));
    // Writes: less than the command takes, and more.
    let other = pattern(2, 4);
    assert_eq!(peer.run(write(0, 4), other.slice(..512), 0).await, good(&[], -1536));
    assert_eq!(peer.run(write(1, 1), other.slice(512..2048), 0).await, good(&[], 1024));
    let expected = [&other[..1024], &data[1024..]].concat();
    assert_eq!(peer.read_blocks(0, 4).await, expected);
    // More than the bursts hold: what comes unasked is taken, nothing more is asked for.
    let much = pattern(3, 4096);
    assert_eq!(peer.run(write(0, 1), much, 0).await, good(&[], 4095 * 512));
    // A refused command moves nothing, and says so.
    let beyond = peer.run(read(1 << 40, 1), Bytes::new(), 512).await;
    assert_eq!((beyond.status, beyond.residual), (Status::CHECK_CONDITION, 512));
    let sense = beyond.sense.expect("sense data");
    assert_eq!((sense.key, sense.code), (SenseKey::ILLEGAL_REQUEST, AdditionalSense::LBA_OUT_OF_RANGE));
    let beyond = peer.run(write(1 << 40, 1), pattern(4, 1), 0).await;
    assert_eq!((beyond.status, beyond.residual), (Status::CHECK_CONDITION, 512));
}

// RFC 7143 §11 MUST: a reserved value of a field with codes is reported as a protocol error.
#[tokio::test]
async fn what_breaks_the_protocol_is_rejected_and_the_session_goes_on() {
    let array = Array::new(Limits::default()).await;
    let mut peer = array.peer("one").await;
    let rejected = async |peer: &mut Peer, pdu: Pdu| {
        peer.send(pdu.clone()).await;
        let answer = peer.expect().await;
        let Response::Reject(header) = answer.bhs.response() else { panic!("{:?} is no Reject", answer.bhs) };
        assert_eq!(answer.data.len(), 48, "the header that was refused");
        assert_eq!(answer.data[16..20], pdu.bhs.itt.get().to_be_bytes());
        header.reason
    };
    let both_ways =
        ScsiCommand { flags: FINAL | ScsiCommand::READ | ScsiCommand::WRITE, ..peer.header(read(0, 1), 512) };
    assert_eq!(rejected(&mut peer, Pdu::bare(both_ways)).await, RejectReason::INVALID_PDU_FIELD);
    let without_tag = ScsiCommand { itt: RESERVED_TAG, ..peer.header(read(0, 1), 512) };
    assert_eq!(rejected(&mut peer, Pdu::bare(without_tag)).await, RejectReason::TASK_IN_PROGRESS);
    let mut snack = Pdu::bare(peer.header(read(0, 1), 512));
    snack.bhs.operation = lunshadow_iscsi::pdu::Operation::new(lunshadow_iscsi::pdu::Opcode::SNACK_REQUEST).immediate();
    assert_eq!(rejected(&mut peer, snack).await, RejectReason::COMMAND_NOT_SUPPORTED);
    let follow_up = TextRequest {
        flags: FINAL,
        itt: peer.new_itt(),
        ttt: lunshadow_iscsi::pdu::Tag::new(5),
        ..TextRequest::default()
    };
    assert_eq!(rejected(&mut peer, Pdu::bare(follow_up)).await, RejectReason::INVALID_PDU_FIELD);
    let reserved_attribute = ScsiCommand { flags: FINAL | ScsiCommand::READ | 5, ..peer.header(read(0, 1), 512) };
    assert_eq!(rejected(&mut peer, Pdu::bare(reserved_attribute)).await, RejectReason::PROTOCOL_ERROR);
    for function in [0, 9] {
        let header = TaskManagementRequest { itt: peer.new_itt(), ..TaskManagementRequest::default() };
        let request = Pdu::bare(header.with_function(TaskFunction(function)));
        assert_eq!(rejected(&mut peer, request).await, RejectReason::PROTOCOL_ERROR);
    }
    let logout = LogoutRequest { itt: peer.new_itt(), ..LogoutRequest::default() }.with_reason(LogoutReason(3));
    assert_eq!(rejected(&mut peer, Pdu::bare(logout)).await, RejectReason::PROTOCOL_ERROR);
    // The tag of a command that is under way.
    let held = write(0, 2);
    array.controls.writes.forget_permits(usize::MAX);
    let itt = peer.send_write(held, &pattern(1, 2)).await;
    let again = ScsiCommand { itt, ..peer.header(read(0, 1), 512) };
    assert_eq!(rejected(&mut peer, Pdu::bare(again)).await, RejectReason::TASK_IN_PROGRESS);
    array.controls.writes.add_permits(1);
    assert_eq!(peer.finish(itt, &Bytes::new(), 0).await.status, Status::GOOD);
    assert_eq!(peer.read_blocks(0, 2).await, pattern(1, 2));
}

// RFC 7143 §7.3 MUST NOT: the CmdSN of a request that is rejected counts as received.
#[tokio::test]
async fn a_request_that_is_rejected_leaves_its_number_to_another() {
    let array = Array::new(Limits::default()).await;
    let mut peer = array.peer("one").await;
    let number = peer.cmd_sn;
    let window = number.distance_to(peer.max_cmd_sn);
    let wrong = ScsiCommand { flags: FINAL | ScsiCommand::READ | ScsiCommand::WRITE, ..peer.header(read(0, 1), 512) };
    peer.send(Pdu::bare(wrong)).await;
    let behind = peer.header(read(1, 1), 512);
    peer.send(Pdu::bare(behind)).await;
    let answer = peer.expect().await;
    assert!(matches!(answer.bhs.response(), Response::Reject(_)), "{:?}", answer.bhs);
    assert_eq!(SerialNumber::from(answer.bhs.expected_sn), number);
    // What was sent behind it waits for a request with that number.
    let instead = peer.header(read(0, 1), 512);
    peer.cmd_sn = number;
    peer.send(Pdu::bare(instead)).await;
    for header in [instead, behind] {
        assert_eq!(peer.finish(header.itt, &Bytes::new(), 512).await.status, Status::GOOD);
    }
    peer.cmd_sn = number.plus(2);
    assert_eq!(peer.ping(b"").await, "");
    assert_eq!(peer.cmd_sn.distance_to(peer.max_cmd_sn), window, "the window is as it was");
}

// RFC 7143 §7.9 MUST: a gap in the DataSN is taken for a Data-Out that came damaged.
// RFC 7143 §11.7.4 MUST: a Target Transfer Tag comes with the LUN of its command.
// RFC 7143 §4.2.5.3 MUST: a Data-Out for an R2T has the LUN of its command, or the command ends.
#[tokio::test]
async fn data_out_of_sequence_ends_its_command_only() {
    let array = Array::new(Limits::default()).await;
    let preferences = Preferences { immediate_data: false, initial_r2t: true, ..Preferences::default() };
    let mut peer = array.peer_with("one", preferences).await;
    let cases = [
        (AdditionalSense::INVALID_TRANSFER_TAG, LUN, 1, 0, 0),
        (AdditionalSense::INVALID_TRANSFER_TAG, LunAddress::peripheral(2), 0, 0, 0),
        (AdditionalSense::PROTOCOL_SERVICE_CRC_ERROR, LUN, 0, 1, 0),
        (AdditionalSense::DATA_OFFSET_ERROR, LUN, 0, 0, 512),
    ];
    for (expected, lun, ttt_off, data_sn, offset) in cases {
        let data = pattern(9, 2);
        let itt = peer.send_write(write(0, 2), &data).await;
        let grant = peer.expect().await;
        let Response::ReadyToTransfer(grant) = grant.bhs.response() else { panic!("{:?} is no R2T", grant.bhs) };
        assert_eq!(grant.lun, LUN);
        let header = DataOut {
            flags: FINAL,
            lun,
            itt,
            ttt: lunshadow_iscsi::pdu::Tag::new(grant.ttt.get() + ttt_off),
            data_sn: data_sn.into(),
            buffer_offset: offset.into(),
            ..DataOut::default()
        };
        peer.send(Pdu::new(header, data)).await;
        let outcome = peer.finish(itt, &Bytes::new(), 0).await;
        let sense = outcome.sense.expect("sense data");
        assert_eq!((sense.key, sense.code), (SenseKey::ABORTED_COMMAND, expected));
    }
    assert_eq!(peer.read_blocks(0, 2).await, [0; 1024], "nothing was written");
}

// RFC 7143 §11.4.2 MUST: a command that ends while its data still comes is answered after the last F bit.
#[tokio::test]
async fn a_write_that_is_refused_is_answered_when_its_data_has_come() {
    let array = Array::new(Limits::default()).await;
    let preferences = Preferences { immediate_data: false, initial_r2t: true, ..Preferences::default() };
    let mut peer = array.peer_with("one", preferences).await;
    let data = pattern(9, 8);
    // Immediate data that was not agreed on, and more announced.
    let header = ScsiCommand { flags: ScsiCommand::WRITE | 1, ..peer.header(write(0, 8), 4096) };
    peer.send(Pdu::new(header, data.slice(..512))).await;
    assert_eq!(peer.ping(b"").await, "");
    peer.send_data_out(header.itt, RESERVED_TAG, 512..4096, &data).await;
    let sense = peer.finish(header.itt, &Bytes::new(), 0).await.sense.expect("sense data");
    assert_eq!(sense.code, AdditionalSense::UNEXPECTED_UNSOLICITED_DATA);
    // A Data-Out out of sequence, in the middle of what was asked for.
    let itt = peer.send_write(write(0, 8), &data).await;
    let grant = peer.expect().await;
    let Response::ReadyToTransfer(grant) = grant.bhs.response() else { panic!("{:?} is no R2T", grant.bhs) };
    let header = DataOut { lun: LUN, itt, ttt: grant.ttt, data_sn: 1.into(), ..DataOut::default() };
    peer.send(Pdu::new(header, data.slice(..512))).await;
    assert_eq!(peer.ping(b"").await, "");
    peer.send_data_out(itt, grant.ttt, 512..4096, &data).await;
    assert_eq!(peer.finish(itt, &Bytes::new(), 0).await.status, Status::CHECK_CONDITION);
    assert_eq!(peer.read_blocks(0, 8).await, [0; 4096], "nothing was written");
}

// RFC 7143 §7.7 MUST: a PDU that breaks the format closes the connection.
#[tokio::test]
async fn a_pdu_that_is_longer_than_agreed_closes_the_connection() {
    let array = Array::new(Limits::default()).await;
    let mut peer = array.peer("one").await;
    let mut header = [0_u8; 48];
    header[5..8].copy_from_slice(&[0xff, 0xff, 0xff]);
    peer.write_raw(&header).await;
    assert_eq!(peer.receive().await, None);
    assert_eq!(array.peer("one").await.read_blocks(0, 1).await, [0; 512]);
}

// RFC 7143 §7.7 MUST: a PDU that breaks the format closes the connection.
#[tokio::test]
async fn a_command_that_contradicts_itself_closes_the_connection() {
    let array = Array::new(Limits::default()).await;
    let mut peer = array.peer("one").await;
    let stray_data = Pdu::new(peer.header(read(0, 1), 512), Bytes::from_static(&[0; 512]));
    peer.send(stray_data).await;
    assert_eq!(peer.receive().await, None, "it has data and writes nothing");
    let mut peer = array.peer("one").await;
    let more_to_come = ScsiCommand { flags: ScsiCommand::READ, ..peer.header(read(0, 1), 512) };
    peer.send(Pdu::bare(more_to_come)).await;
    assert_eq!(peer.receive().await, None, "it announces data and writes nothing");
    assert_eq!(array.peer("one").await.read_blocks(0, 1).await, [0; 512]);
}

// RFC 7143 §11.19 MUST: a NOP-In that answers a NOP-Out has the reserved Target Transfer Tag.
// RFC 7143 §11.19 MUST: a NOP-Out with a valid Initiator Task Tag is answered with the same tag and as much of its data as the initiator takes.
// RFC 7143 §11 MUST: what is reserved is not looked at when it comes.
#[tokio::test]
async fn a_ping_comes_back_as_far_as_it_fits() {
    let array = Array::new(Limits::default()).await;
    let mut peer = array.peer("one").await;
    assert_eq!(peer.ping(&[7; 1000]).await[..], [7; 1000]);
    assert_eq!(ask(&mut peer, &[("MaxRecvDataSegmentLength", "512")]).await, Ok(TextKeys::default()));
    assert_eq!(peer.ping(&[7; 1000]).await[..], [7; 512]);
    // What is reserved may hold anything.
    let mut strange = Pdu::bare(NopOut { itt: peer.new_itt(), ttt: RESERVED_TAG, ..NopOut::default() });
    (strange.bhs.flags, strange.bhs.specific_2, strange.bhs.specific_36) = (0xff, [0xff; 2], [0xff; 12]);
    strange.bhs.max_cmd_sn = u32::MAX.into();
    peer.send(strange).await;
    assert!(matches!(peer.expect().await.bhs.response(), Response::NopIn(_)));
    // Without a tag nothing comes back: the next answer is that of the next ping.
    let unanswered = NopOut { itt: RESERVED_TAG, ttt: RESERVED_TAG, ..NopOut::default() };
    peer.send(Pdu::bare(unanswered)).await;
    assert_eq!(peer.ping(b"next").await, "next");
}

// RFC 7143 §11.14 MUST: a logout ends the commands that are pending.
#[tokio::test]
async fn a_logout_ends_what_waits_for_data() {
    let array = Array::new(Limits::default()).await;
    let preferences = Preferences { immediate_data: false, initial_r2t: true, ..Preferences::default() };
    let mut peer = array.peer_with("one", preferences).await;
    peer.send_write(write(0, 2), &pattern(1, 2)).await;
    let grant = peer.expect().await;
    assert!(matches!(grant.bhs.response(), Response::ReadyToTransfer(_)), "{:?}", grant.bhs);
    let header = LogoutRequest { itt: peer.new_itt(), ..LogoutRequest::default() };
    peer.send(Pdu::bare(header.with_reason(LogoutReason::CLOSE_SESSION))).await;
    let answer = peer.expect().await;
    assert!(matches!(answer.bhs.response(), Response::Logout(_)), "{:?}", answer.bhs);
    assert_eq!(peer.receive().await, None);
    assert_eq!(array.peer("one").await.read_blocks(0, 2).await, [0; 1024]);
}

// RFC 7143 §11.15 MUST: the connection is closed after a logout.
#[tokio::test]
async fn logouts_are_answered_and_close_the_connection() {
    let array = Array::new(Limits::default()).await;
    let cases = [
        (LogoutReason::CLOSE_SESSION, 0, LogoutResponseCode::CLOSED),
        (LogoutReason::CLOSE_CONNECTION, 0, LogoutResponseCode::CLOSED),
        (LogoutReason::CLOSE_CONNECTION, 9, LogoutResponseCode::CID_NOT_FOUND),
        (LogoutReason::REMOVE_FOR_RECOVERY, 0, LogoutResponseCode::RECOVERY_NOT_SUPPORTED),
    ];
    for (reason, cid, expected) in cases {
        let mut peer = array.peer("one").await;
        let header = LogoutRequest { itt: peer.new_itt(), cid: cid.into(), ..LogoutRequest::default() };
        peer.send(Pdu::bare(header.with_reason(reason))).await;
        let answer = peer.expect().await;
        let Response::Logout(response) = answer.bhs.response() else { panic!("{:?} is no logout", answer.bhs) };
        assert_eq!((response.itt, response.response), (header.itt, expected));
        if expected == LogoutResponseCode::CLOSED {
            assert_eq!(peer.receive().await, None);
        } else {
            assert_eq!(peer.ping(b"still here").await, "still here");
        }
    }
}

#[tokio::test]
async fn a_changed_inventory_reaches_the_initiator() {
    let array = Array::new(Limits::default()).await;
    let mut peer = array.peer("one").await;
    array.map.show(&initiator("one"), []);
    let outcome = peer.run(read(0, 1), Bytes::new(), 512).await;
    let sense = outcome.sense.expect("sense data");
    assert_eq!(sense.code, AdditionalSense::LOGICAL_UNIT_NOT_SUPPORTED);
    let header = ScsiCommand { lun: LunAddress::peripheral(0), ..peer.header(Command::TestUnitReady, 0) };
    for expected in [AdditionalSense::POWER_ON_OR_RESET, AdditionalSense::REPORTED_LUNS_DATA_CHANGED] {
        let header = ScsiCommand { itt: peer.new_itt(), ..header };
        peer.send(Pdu::bare(header)).await;
        let sense = peer.finish(header.itt, &Bytes::new(), 0).await.sense.expect("sense data");
        assert_eq!(sense.code, expected);
    }
}
