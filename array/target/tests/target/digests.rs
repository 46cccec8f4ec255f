//! Digests that do not match, over TCP.

use bytes::{Buf as _, Bytes};
use lunshadow_iscsi::negotiation::{Digest, Preferences};
use lunshadow_iscsi::pdu::{DataOut, FINAL, NopOut, Pdu, RESERVED_TAG, RejectReason, Response};
use lunshadow_scsi::{AdditionalSense, SenseKey, Status};
use lunshadow_target::Limits;

use crate::life_cycle::expect_r2t;
use crate::peer::{Array, LUN, Peer, pattern, write};

fn with_digests() -> Preferences {
    Preferences {
        header_digests: vec![Digest::Crc32c],
        data_digests: vec![Digest::Crc32c],
        immediate_data: false,
        initial_r2t: true,
        ..Preferences::default()
    }
}

/// The bytes of a PDU, with one bit of them wrong.
fn damaged(peer: &Peer, mut pdu: Pdu, at: impl FnOnce(usize) -> usize) -> Vec<u8> {
    if pdu.bhs.opcode() != <DataOut as lunshadow_iscsi::pdu::Header>::OPCODE {
        pdu.bhs.own_sn = peer.cmd_sn.into();
    }
    let mut encoded = pdu.encode(peer.parameters.digests());
    let mut bytes = encoded.copy_to_bytes(encoded.remaining()).to_vec();
    let at = at(bytes.len());
    bytes[at] ^= 1;
    bytes
}

async fn expect_reject(peer: &mut Peer) {
    let pdu = peer.expect().await;
    let Response::Reject(reject) = pdu.bhs.response() else { panic!("{:?} is no Reject", pdu.bhs) };
    assert_eq!(reject.reason, RejectReason::DATA_DIGEST_ERROR);
}

// RFC 7143 §7.8 MUST: a PDU whose data digest does not match is discarded and rejected with the reason data digest error.
// RFC 7143 §11.17.1 MUST: a command that ends because of a Reject gets CHECK CONDITION.
#[tokio::test]
async fn damaged_data_ends_its_write_and_the_session_goes_on() {
    let array = Array::new(Limits::default()).await;
    let mut peer = array.peer_with("one", with_digests()).await;
    let data = pattern(1, 2);
    let itt = peer.send_write(write(0, 2), &data).await;
    let (ttt, _) = expect_r2t(&mut peer, itt).await;
    let header = DataOut { flags: FINAL, lun: LUN, itt, ttt, ..DataOut::default() };
    let bytes = damaged(&peer, Pdu::new(header, data), |len| len - 5);
    peer.write_raw(&bytes).await;
    expect_reject(&mut peer).await;
    let outcome = peer.finish(itt, &Bytes::new(), 0).await;
    assert_eq!(outcome.status, Status::CHECK_CONDITION);
    let sense = outcome.sense.expect("sense data");
    assert_eq!((sense.key, sense.code), (SenseKey::ABORTED_COMMAND, AdditionalSense::PROTOCOL_SERVICE_CRC_ERROR));
    assert_eq!(peer.read_blocks(0, 2).await, [0; 1024], "nothing of it was written");
}

// RFC 7143 §7.3 MUST NOT: a Reject is the end of a command that has begun.
// RFC 7143 §11.4.2 MUST: a command that ends while its data still comes is answered after the last F bit.
#[tokio::test]
async fn damaged_data_is_answered_when_all_data_has_come() {
    let array = Array::new(Limits::default()).await;
    let preferences =
        Preferences { max_outstanding_r2t: 2, max_burst_length: 1024, first_burst_length: 1024, ..with_digests() };
    let mut peer = array.peer_with("one", preferences).await;
    let data = pattern(1, 4);
    let itt = peer.send_write(write(0, 4), &data).await;
    let (first, _) = expect_r2t(&mut peer, itt).await;
    let (second, sequence) = expect_r2t(&mut peer, itt).await;
    let header = DataOut { lun: LUN, itt, ttt: first, ..DataOut::default() };
    let bytes = damaged(&peer, Pdu::new(header, data.slice(..512)), |len| len - 5);
    peer.write_raw(&bytes).await;
    expect_reject(&mut peer).await;
    assert_eq!(peer.ping(b"").await, "", "half of the first sequence is on its way");
    peer.send_data_out(itt, first, 512..1024, &data).await;
    assert_eq!(peer.ping(b"").await, "", "the second one is on its way");
    peer.send_data_out(itt, second, sequence, &data).await;
    let outcome = peer.finish(itt, &Bytes::new(), 0).await;
    let sense = outcome.sense.expect("sense data");
    assert_eq!((sense.key, sense.code), (SenseKey::ABORTED_COMMAND, AdditionalSense::PROTOCOL_SERVICE_CRC_ERROR));
    assert_eq!(peer.read_blocks(0, 4).await, [0; 2048], "nothing of it was written");
}

// RFC 7143 §7.8 MUST: a PDU whose data digest does not match is discarded and rejected with the reason data digest error.
#[tokio::test]
async fn damaged_data_of_a_request_leaves_a_gap_that_ends_the_session() {
    let array = Array::new(Limits::default()).await;
    let mut peer = array.peer_with("one", with_digests()).await;
    let ping = NopOut { itt: peer.new_itt(), ttt: RESERVED_TAG, ..NopOut::default() };
    let bytes = damaged(&peer, Pdu::new(ping, Bytes::from_static(b"ping")), |len| len - 5);
    peer.write_raw(&bytes).await;
    expect_reject(&mut peer).await;
    assert_eq!(peer.receive().await, None);
}

// RFC 7143 §7.8 MUST: a PDU whose header digest does not match is not used, or closes the connection.
#[tokio::test]
async fn a_damaged_header_closes_the_connection() {
    let array = Array::new(Limits::default()).await;
    for at in [16, 50] {
        let mut peer = array.peer_with("one", with_digests()).await;
        let ping = NopOut { itt: peer.new_itt(), ttt: RESERVED_TAG, ..NopOut::default() };
        let bytes = damaged(&peer, Pdu::bare(ping), |_| at);
        peer.write_raw(&bytes).await;
        assert_eq!(peer.receive().await, None);
    }
    assert_eq!(array.peer("one").await.ping(b"").await, "");
}
