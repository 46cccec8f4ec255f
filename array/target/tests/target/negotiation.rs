//! What is negotiated by text after the login, and what sessions of each kind take.

use bytes::Bytes;
use lunshadow_iscsi::discovery::SEND_TARGETS;
use lunshadow_iscsi::login::{InitiatorLogin, InitiatorLoginConfig, LoginStatus};
use lunshadow_iscsi::negotiation::Preferences;
use lunshadow_iscsi::pdu::{
    DigestConfig, FINAL, LoginRequest, LogoutReason, LogoutRequest, NopOut, Pdu, PduDecoder, RESERVED_TAG,
    RejectReason, Response, ScsiCommand, Tag, TextRequest,
};
use lunshadow_iscsi::serial::SerialNumber;
use lunshadow_iscsi::text::TextKeys;
use lunshadow_scsi::{AdditionalSense, SenseKey, Status};
use lunshadow_target::Limits;

use crate::front_end::ask;
use crate::life_cycle::{expect_r2t, solicited};
use crate::peer::{Array, Peer, login, pattern, read, write};

const LENGTH: &str = "MaxRecvDataSegmentLength";

async fn expect_reject(peer: &mut Peer) -> RejectReason {
    let pdu = peer.expect().await;
    let Response::Reject(reject) = pdu.bhs.response() else { panic!("{:?} is no Reject", pdu.bhs) };
    reject.reason
}

// RFC 7143 §4.3 MUST: what is neither SendTargets nor a logout that closes the session is rejected in a discovery session.
#[tokio::test]
async fn a_discovery_session_is_for_discovery_only() {
    let array = Array::new(Limits::default()).await;
    let config = InitiatorLoginConfig { target_name: None, ..login("one", Preferences::default()) };
    let mut peer = Peer::log_in(array.address(), config).await.expect("a login");
    for keys in [&[(LENGTH, "512")][..], &[("X-org.example.key", "1")]] {
        assert_eq!(ask(&mut peer, keys).await, Err(RejectReason::PROTOCOL_ERROR), "{keys:?}");
    }
    let logout = LogoutRequest { itt: peer.new_itt(), ..LogoutRequest::default() };
    for reason in [LogoutReason::CLOSE_CONNECTION, LogoutReason::REMOVE_FOR_RECOVERY] {
        peer.send(Pdu::bare(logout.with_reason(reason))).await;
        assert_eq!(expect_reject(&mut peer).await, RejectReason::PROTOCOL_ERROR, "{reason:?}");
    }
    assert!(ask(&mut peer, &[(SEND_TARGETS, "All"), (LENGTH, "512")]).await.is_ok_and(|found| !found.is_empty()));
    peer.send(Pdu::bare(logout.with_reason(LogoutReason::CLOSE_SESSION))).await;
    let answer = peer.expect().await;
    assert!(matches!(answer.bhs.response(), Response::Logout(_)), "{:?}", answer.bhs);
    assert_eq!(peer.receive().await, None);
}

// RFC 7143 §4.2.4 MUST NOT: there is a second login on a connection.
#[tokio::test]
async fn there_is_one_login_on_a_connection() {
    let array = Array::new(Limits::default()).await;
    let mut peer = array.peer("one").await;
    let (_, request) = InitiatorLogin::start(login("one", Preferences::default()));
    peer.send(request).await;
    assert_eq!(expect_reject(&mut peer).await, RejectReason::PROTOCOL_ERROR);
    assert_eq!(peer.ping(b"still here").await, "still here");
}

// RFC 7143 §4.4.3 MUST: a login refers to a session by the TSIH that the session was given.
#[tokio::test]
async fn a_session_has_one_tsih() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let array = Array::new(Limits::default()).await;
    let mut peer = array.peer("one").await;
    for (name, tsih, expected) in [
        ("one", peer.tsih, LoginStatus::TOO_MANY_CONNECTIONS),
        ("one", peer.tsih ^ 0x4000, LoginStatus::SESSION_DOES_NOT_EXIST),
        ("two", peer.tsih, LoginStatus::SESSION_DOES_NOT_EXIST),
    ] {
        let (_, request) = InitiatorLogin::start(login(name, Preferences::default()));
        let header = *request.bhs.view::<LoginRequest>().expect("a login request");
        let request = Pdu::new(LoginRequest { tsih: tsih.into(), ..header }, request.data);
        let mut stream = tokio::net::TcpStream::connect(array.address()).await.expect("the target listens");
        stream.write_all_buf(&mut request.encode(DigestConfig::default())).await.expect("it is open");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.expect("it is closed in order");
        let answer = PduDecoder::new(8192).decode(&mut bytes::BytesMut::from(&answer[..]));
        let answer = answer.expect("a PDU").expect("all of it");
        let Response::Login(response) = answer.bhs.response() else { panic!("{:?} is no login", answer.bhs) };
        assert_eq!(response.status, expected, "{name}, {tsih}");
    }
    assert_eq!(peer.ping(b"still here").await, "still here");
}

// RFC 7143 §6.2 MUST NOT: a key of the RFC is answered with NotUnderstood.
// RFC 7143 §6.2 MUST NOT: Reject, Irrelevant or NotUnderstood is offered, which ends the negotiation.
#[tokio::test]
async fn keys_of_a_login_are_known_after_it() {
    let array = Array::new(Limits::default()).await;
    let mut peer = array.peer("one").await;
    for (key, value, expected) in [
        ("MaxBurstLength", "65536", Some("Reject")),
        ("HeaderDigest", "None", Some("Reject")),
        ("OFMarkInt", "2048", Some("Reject")),
        ("IFMarker", "No", Some("Reject")),
        ("TargetPortalGroupTag", "1", Some("Reject")),
        ("AuthMethod", "None", Some("Reject")),
        ("InitiatorAlias", "another", None),
        ("X-org.example.key", "1", Some("NotUnderstood")),
    ] {
        let answer = ask(&mut peer, &[(key, value)]).await.expect("an answer");
        assert_eq!(answer.get(key), expected, "{key}");
        assert_eq!(answer.iter().count(), usize::from(expected.is_some()), "{answer:?}");
    }
    for value in ["Reject", "Irrelevant", "NotUnderstood"] {
        assert_eq!(ask(&mut peer, &[("X-org.example.key", value)]).await, Err(RejectReason::PROTOCOL_ERROR));
    }
}

/// Sends a part of a negotiation, which is the last one if `is_final`; answers the response's F bit, tag and keys.
async fn go_on(peer: &mut Peer, ttt: Tag, is_final: bool, keys: &[(&str, &str)]) -> (bool, Tag, TextKeys) {
    let keys: TextKeys = keys.iter().copied().collect();
    let flags = if is_final { FINAL } else { 0 };
    peer.send(Pdu::new(TextRequest { flags, itt: Tag::new(99), ttt, ..TextRequest::default() }, keys.encode())).await;
    let answer = peer.expect().await;
    let Response::Text(header) = answer.bhs.response() else { panic!("{:?} is no answer to text", answer.bhs) };
    (header.is_final(), header.ttt, TextKeys::parse(&answer.data).expect("text"))
}

// RFC 7143 §6.2 MUST: what is negotiated holds all together once a text exchange is over, or not at all if it fails.
// RFC 7143 §6.4 MUST: a key that comes twice in a text exchange is rejected with the reason protocol error.
// RFC 7143 §6.4 MUST: a Text Response without the F bit has a Target Transfer Tag that is not reserved.
#[tokio::test]
async fn a_negotiation_holds_when_it_is_over_or_not_at_all() {
    let array = Array::new(Limits::default()).await;
    let mut peer = array.peer("one").await;
    // It fails for a key behind the length.
    let failed = ask(&mut peer, &[(LENGTH, "512"), (SEND_TARGETS, "All")]).await;
    assert_eq!(failed, Err(RejectReason::PROTOCOL_ERROR));
    assert_eq!(peer.ping(&[7; 1000]).await.len(), 1000);
    // It is not over, and then fails.
    let (is_final, ttt, _) = go_on(&mut peer, RESERVED_TAG, false, &[(LENGTH, "512")]).await;
    assert!(!is_final && !ttt.is_reserved(), "the initiator has more to say");
    assert_eq!(peer.ping(&[7; 1000]).await.len(), 1000);
    let twice: TextKeys = [(LENGTH, "1024")].into_iter().collect();
    let header = TextRequest { flags: FINAL, itt: Tag::new(99), ttt, ..TextRequest::default() };
    peer.send(Pdu::new(header, twice.encode())).await;
    assert_eq!(expect_reject(&mut peer).await, RejectReason::PROTOCOL_ERROR);
    assert_eq!(peer.ping(&[7; 1000]).await.len(), 1000);
    // It begins anew, goes on and ends.
    let (_, ttt, _) = go_on(&mut peer, RESERVED_TAG, false, &[(LENGTH, "512")]).await;
    let (is_final, _, answer) = go_on(&mut peer, ttt, false, &[("X-org.example.key", "1")]).await;
    assert_eq!((is_final, answer.get("X-org.example.key")), (false, Some("NotUnderstood")));
    let (is_final, last, answer) = go_on(&mut peer, ttt, true, &[]).await;
    assert!(is_final && last.is_reserved() && answer.is_empty());
    assert_eq!(peer.ping(&[7; 1000]).await.len(), 512);
}

// RFC 7143 §13.11 MUST: data that comes unasked where ImmediateData is No and InitialR2T is Yes is refused.
#[tokio::test]
async fn data_that_nobody_asked_for_is_refused() {
    let array = Array::new(Limits::default()).await;
    let mut peer = array.peer_with("one", solicited()).await;
    let immediate = peer.header(write(0, 1), 512);
    peer.send(Pdu::new(immediate, pattern(1, 1))).await;
    let sense = peer.finish(immediate.itt, &Bytes::new(), 0).await.sense.expect("sense data");
    assert_eq!((sense.key, sense.code), (SenseKey::ABORTED_COMMAND, AdditionalSense::UNEXPECTED_UNSOLICITED_DATA));
    // The same for data that follows of its own accord, here before the R2T is answered.
    let itt = peer.send_write(write(0, 1), &pattern(1, 1)).await;
    let (ttt, sequence) = expect_r2t(&mut peer, itt).await;
    peer.send_data_out(itt, RESERVED_TAG, 0..512, &pattern(1, 1)).await;
    peer.send_data_out(itt, ttt, sequence, &pattern(1, 1)).await;
    let sense = peer.finish(itt, &Bytes::new(), 0).await.sense.expect("sense data");
    assert_eq!((sense.key, sense.code), (SenseKey::ABORTED_COMMAND, AdditionalSense::UNEXPECTED_UNSOLICITED_DATA));
    assert_eq!(peer.read_blocks(0, 1).await, [0; 512]);
}

// RFC 7143 §4.2.2.1 MUST NOT: the CmdSNs that are acknowledged have holes.
// RFC 7143 §4.2.2.1 MUST NOT: a response comes before the command is acknowledged.
#[tokio::test]
async fn answers_acknowledge_their_commands_and_nothing_beyond_a_gap() {
    let array = Array::new(Limits::default()).await;
    let mut peer = array.peer("one").await;
    let (first, second): (ScsiCommand, ScsiCommand) = (peer.header(read(0, 1), 512), peer.header(read(1, 1), 512));
    let first_sn = peer.cmd_sn;
    peer.cmd_sn = first_sn.next();
    peer.send(Pdu::bare(second)).await;
    // A ping that overtakes it finds that nothing is acknowledged.
    let mut ping = NopOut { itt: peer.new_itt(), ttt: RESERVED_TAG, ..NopOut::default() };
    ping.operation = ping.operation.immediate();
    peer.send(Pdu::bare(ping)).await;
    assert_eq!(SerialNumber::from(peer.expect().await.bhs.expected_sn), first_sn);
    peer.cmd_sn = first_sn;
    peer.send(Pdu::bare(first)).await;
    for _ in [first, second] {
        let answer = peer.expect().await;
        let Response::DataIn(header) = answer.bhs.response() else { panic!("{:?} is no data", answer.bhs) };
        assert!(header.has_status() && Status(header.status) == Status::GOOD);
        assert_eq!(SerialNumber::from(answer.bhs.expected_sn), first_sn.plus(2));
    }
}
