//! Headers, decoder and encoder against byte vectors worked out from RFC 7143 11, and against each other.

use bytes::{Buf, Bytes, BytesMut};
use lunshadow_iscsi::login::LoginStatus;
use lunshadow_iscsi::pdu::{
    AhsSegment, AsyncEvent, AsyncMessage, Bhs, CONTINUE, DataIn, DataOut, DecodeError, DigestConfig, FINAL, Header,
    Isid, LoginRequest, LoginResponse, LogoutReason, LogoutRequest, LogoutResponse, NopIn, NopOut, Opcode, Pdu,
    PduDecoder, ReadyToTransfer, Reject, RejectReason, Request, Response, ScsiCommand, ScsiResponse, SegmentLengths,
    ServiceResponse, Tag, TaskFunction, TaskManagementRequest, TaskManagementResponse, TaskResponse, TextRequest,
    TextResponse,
};
use lunshadow_iscsi::serial::SerialNumber;
use lunshadow_scsi::LunAddress;
use proptest::prelude::*;
use zerocopy::IntoBytes;

fn encoded(pdu: &Pdu, digests: DigestConfig) -> Vec<u8> {
    let mut pieces = pdu.encode(digests);
    let bytes = pieces.copy_to_bytes(pieces.remaining());
    bytes.to_vec()
}

/// Checks a header against the words of its layout in the RFC, big-endian, and that it is found again by its opcode.
fn check<H: Header + PartialEq + std::fmt::Debug>(header: H, words: [u32; 12]) {
    let expected: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
    assert_eq!(header.as_bytes(), expected, "{header:?}");
    assert_eq!(header.to_bhs().view::<H>(), Some(&header));
}

#[test]
fn initiator_headers_have_the_layout_of_the_rfc() {
    let lun = LunAddress::peripheral(3);
    check(
        NopOut {
            lun,
            itt: Tag::new(7),
            ttt: Tag::new(9),
            cmd_sn: 1.into(),
            exp_stat_sn: 2.into(),
            ..NopOut::default()
        },
        [0x0080_0000, 0, 0x0003_0000, 0, 7, 9, 1, 2, 0, 0, 0, 0],
    );
    let mut cdb = [0; 16];
    cdb[..10].copy_from_slice(&[0x28, 0, 0, 0, 1, 0, 0, 0, 8, 0]);
    let read = ScsiCommand {
        flags: FINAL | ScsiCommand::READ | 1,
        lun,
        itt: Tag::new(5),
        expected_data_transfer_length: 4096.into(),
        cmd_sn: 10.into(),
        exp_stat_sn: 20.into(),
        cdb,
        ..ScsiCommand::default()
    };
    check(read, [0x01c1_0000, 0, 0x0003_0000, 0, 5, 4096, 10, 20, 0x2800_0000, 0x0100_0000, 0x0800_0000, 0]);
    assert!(read.is_read() && !read.is_write() && read.is_final());
    let abort = TaskManagementRequest {
        itt: Tag::new(6),
        referenced_task: Tag::new(5),
        cmd_sn: 11.into(),
        exp_stat_sn: 20.into(),
        ref_cmd_sn: 10.into(),
        ..TaskManagementRequest::default()
    };
    let mut abort = abort.with_function(TaskFunction::ABORT_TASK);
    abort.operation = abort.operation.immediate();
    check(abort, [0x4281_0000, 0, 0, 0, 6, 5, 11, 20, 10, 0, 0, 0]);
}

#[test]
fn other_initiator_headers_have_the_layout_of_the_rfc() {
    let lun = LunAddress::peripheral(3);
    let mut login = LoginRequest {
        flags: FINAL | 1 << 2 | 3,
        isid: Isid([0x80, 1, 2, 3, 0, 4]),
        tsih: 0x0506.into(),
        itt: Tag::new(1),
        cid: 2.into(),
        cmd_sn: 3.into(),
        exp_stat_sn: 4.into(),
        ..LoginRequest::default()
    };
    login.operation = login.operation.immediate();
    check(login, [0x4387_0000, 0, 0x8001_0203, 0x0004_0506, 1, 0x0002_0000, 3, 4, 0, 0, 0, 0]);
    check(
        TextRequest {
            flags: FINAL | CONTINUE,
            itt: Tag::new(2),
            cmd_sn: 3.into(),
            exp_stat_sn: 4.into(),
            ttt: Tag::new(8),
            ..TextRequest::default()
        },
        [0x04c0_0000, 0, 0, 0, 2, 8, 3, 4, 0, 0, 0, 0],
    );
    check(
        DataOut {
            flags: FINAL,
            lun,
            itt: Tag::new(2),
            ttt: Tag::default(),
            exp_stat_sn: 4.into(),
            data_sn: 5.into(),
            buffer_offset: 6.into(),
            ..DataOut::default()
        },
        [0x0580_0000, 0, 0x0003_0000, 0, 2, 0xffff_ffff, 0, 4, 0, 5, 6, 0],
    );
    check(
        LogoutRequest {
            itt: Tag::new(2),
            cid: 1.into(),
            cmd_sn: 3.into(),
            exp_stat_sn: 4.into(),
            ..LogoutRequest::default()
        }
        .with_reason(LogoutReason::CLOSE_CONNECTION),
        [0x0681_0000, 0, 0, 0, 2, 0x0001_0000, 3, 4, 0, 0, 0, 0],
    );
}

// RFC 7143 §11 MUST: what is reserved is 0 when it is sent.
// RFC 7143 §11.2.1.5 MUST: TotalAHSLength and DataSegmentLength are 0 in a PDU that has neither.
#[test]
fn target_headers_have_the_layout_of_the_rfc() {
    let lun = LunAddress::peripheral(3);
    let (stat_sn, exp_cmd_sn, max_cmd_sn) = (0x11.into(), 0x12.into(), 0x13.into());
    check(
        NopIn { lun, itt: Tag::new(1), ttt: Tag::new(2), stat_sn, exp_cmd_sn, max_cmd_sn, ..NopIn::default() },
        [0x2080_0000, 0, 0x0003_0000, 0, 1, 2, 0x11, 0x12, 0x13, 0, 0, 0],
    );
    let response = ScsiResponse {
        flags: FINAL | ScsiResponse::UNDERFLOW,
        response: ServiceResponse::TARGET_FAILURE,
        status: 2,
        itt: Tag::new(1),
        stat_sn,
        exp_cmd_sn,
        max_cmd_sn,
        exp_data_sn: 4.into(),
        residual_count: 5.into(),
        ..ScsiResponse::default()
    };
    check(response, [0x2182_0102, 0, 0, 0, 1, 0, 0x11, 0x12, 0x13, 4, 0, 5]);
    check(
        TaskManagementResponse {
            response: TaskResponse::FUNCTION_REJECTED,
            itt: Tag::new(1),
            stat_sn,
            exp_cmd_sn,
            max_cmd_sn,
            ..TaskManagementResponse::default()
        },
        [0x2280_ff00, 0, 0, 0, 1, 0, 0x11, 0x12, 0x13, 0, 0, 0],
    );
}

#[test]
fn login_and_text_responses_have_the_layout_of_the_rfc() {
    let (stat_sn, exp_cmd_sn, max_cmd_sn) = (0x11.into(), 0x12.into(), 0x13.into());
    check(
        LoginResponse {
            flags: 4,
            isid: Isid([0x80, 1, 2, 3, 0, 4]),
            tsih: 9.into(),
            itt: Tag::new(1),
            stat_sn,
            exp_cmd_sn,
            max_cmd_sn,
            status: LoginStatus::TARGET_NOT_FOUND,
            ..LoginResponse::default()
        },
        [0x2304_0000, 0, 0x8001_0203, 0x0004_0009, 1, 0, 0x11, 0x12, 0x13, 0x0203_0000, 0, 0],
    );
    check(
        TextResponse {
            flags: FINAL,
            itt: Tag::new(1),
            ttt: Tag::default(),
            stat_sn,
            exp_cmd_sn,
            max_cmd_sn,
            ..TextResponse::default()
        },
        [0x2480_0000, 0, 0, 0, 1, 0xffff_ffff, 0x11, 0x12, 0x13, 0, 0, 0],
    );
    check(
        DataIn {
            flags: FINAL | DataIn::STATUS | DataIn::OVERFLOW,
            status: 8,
            itt: Tag::new(1),
            ttt: Tag::default(),
            stat_sn,
            exp_cmd_sn,
            max_cmd_sn,
            data_sn: 4.into(),
            buffer_offset: 5.into(),
            residual_count: 6.into(),
            ..DataIn::default()
        },
        [0x2585_0008, 0, 0, 0, 1, 0xffff_ffff, 0x11, 0x12, 0x13, 4, 5, 6],
    );
    check(
        LogoutResponse {
            itt: Tag::new(1),
            stat_sn,
            exp_cmd_sn,
            max_cmd_sn,
            time2wait: 2.into(),
            time2retain: 20.into(),
            ..LogoutResponse::default()
        },
        [0x2680_0000, 0, 0, 0, 1, 0, 0x11, 0x12, 0x13, 0, 0x0002_0014, 0],
    );
}

#[test]
fn requests_of_the_target_have_the_layout_of_the_rfc() {
    let lun = LunAddress::peripheral(3);
    let (stat_sn, exp_cmd_sn, max_cmd_sn) = (0x11.into(), 0x12.into(), 0x13.into());
    check(
        ReadyToTransfer {
            lun,
            itt: Tag::new(1),
            ttt: Tag::new(2),
            stat_sn,
            exp_cmd_sn,
            max_cmd_sn,
            r2t_sn: 3.into(),
            buffer_offset: 4.into(),
            desired_data_transfer_length: 5.into(),
            ..ReadyToTransfer::default()
        },
        [0x3180_0000, 0, 0x0003_0000, 0, 1, 2, 0x11, 0x12, 0x13, 3, 4, 5],
    );
    check(
        AsyncMessage {
            itt: Tag::default(),
            stat_sn,
            exp_cmd_sn,
            max_cmd_sn,
            event: AsyncEvent::LOGOUT_REQUESTED,
            vendor_code: 1,
            parameter1: 2.into(),
            parameter2: 3.into(),
            parameter3: 4.into(),
            ..AsyncMessage::default()
        },
        [0x3280_0000, 0, 0, 0, 0xffff_ffff, 0, 0x11, 0x12, 0x13, 0x0101_0002, 0x0003_0004, 0],
    );
    check(
        Reject {
            reason: RejectReason::PROTOCOL_ERROR,
            itt: Tag::default(),
            stat_sn,
            exp_cmd_sn,
            max_cmd_sn,
            data_sn: 4.into(),
            ..Reject::default()
        },
        [0x3f80_0400, 0, 0, 0, 0xffff_ffff, 0, 0x11, 0x12, 0x13, 4, 0, 0],
    );
}

#[test]
fn every_opcode_is_dispatched_by_its_end() {
    let bhs = |opcode: u8| {
        let mut bytes = [0_u8; 48];
        bytes[0] = opcode;
        zerocopy::transmute!(bytes)
    };
    for opcode in 0..64 {
        let header: Bhs = bhs(opcode);
        let known_request = (0x00..=0x06).contains(&opcode);
        let known_response = (0x20..=0x26).contains(&opcode) || [0x31, 0x32, 0x3f].contains(&opcode);
        assert_eq!(matches!(header.request(), Request::Other(_)), !known_request, "{opcode:#x}");
        assert_eq!(matches!(header.response(), Response::Other(_)), !known_response, "{opcode:#x}");
        assert!(!format!("{header:?}").is_empty());
    }
}

/// RFC 7143 A.4 (CRC32C examples): the digest of a SCSI Read (10) command's header.
// RFC 7143 §13.1 MUST: CRC32C is there, as the RFC computes it, and so is None.
#[test]
fn digests_are_those_of_the_rfc() {
    let words: [u32; 12] =
        [0x01c0_0000, 0, 0, 0, 0x1400_0000, 0x0000_0400, 0x0000_0014, 0x0000_0018, 0x2800_0000, 0, 0x0200_0000, 0];
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
    let mut buffer = BytesMut::from(&bytes[..]);
    let pdu = PduDecoder::new(0).decode(&mut buffer).expect("sound").expect("complete");
    let both = DigestConfig { header: true, data: true };
    assert_eq!(encoded(&pdu, both)[48..], [0x56, 0x3a, 0x96, 0xd9], "no data, no data digest");

    // 32 bytes of zeros have the digest aa 36 91 8a.
    let pdu = Pdu::new(NopOut::default(), Bytes::from_static(&[0; 32]));
    let data_only = DigestConfig { header: false, data: true };
    assert_eq!(encoded(&pdu, data_only)[48 + 32..], [0xaa, 0x36, 0x91, 0x8a]);
}

// RFC 7143 §7.8 MUST: a PDU whose header digest does not match is not used, or closes the connection.
#[test]
fn digests_cover_header_segments_data_and_padding() {
    let both = DigestConfig { header: true, data: true };
    let mut pdu = Pdu::new(ScsiCommand::default(), Bytes::from_static(b"12345"));
    pdu.ahs = Bytes::from_static(&[0, 5, 2, 0, 0, 0, 0x10, 0]);
    pdu.bhs.lengths = SegmentLengths::new(8, 5).expect("small");
    let sound = encoded(&pdu, both);
    assert_eq!(sound.len(), 48 + 8 + 4 + 8 + 4);
    let mut decoder = PduDecoder::new(5);
    decoder.reconfigure(both, 5);
    for at in 0..sound.len() {
        // A header byte that changes the lengths may also make the decoder wait for more; the rest is caught by a digest.
        if (4..8).contains(&at) {
            continue;
        }
        let mut broken = BytesMut::from(&sound[..]);
        broken[at] ^= 0x10;
        match decoder.decode(&mut broken) {
            Err(DecodeError::HeaderDigestMismatch) => assert!(at < 60, "byte {at}"),
            Err(DecodeError::DataDigestMismatch { header }) => {
                assert!(at >= 60, "byte {at}");
                assert_eq!(*header, pdu.bhs);
                assert!(broken.is_empty(), "the stream goes on behind the PDU");
            }
            other => panic!("byte {at}: {other:?}"),
        }
    }
    assert_eq!(decoder.decode(&mut BytesMut::from(&sound[..])), Ok(Some(pdu)));
}

#[test]
fn too_much_data_is_refused_before_memory_is_taken() {
    let pdu = Pdu::new(NopOut::default(), Bytes::from(vec![0; 513]));
    let bytes = encoded(&pdu, DigestConfig::default());
    let mut buffer = BytesMut::from(&bytes[..48]);
    let capacity = buffer.capacity();
    let refusal = PduDecoder::new(512).decode(&mut buffer);
    assert_eq!(
        refusal,
        Err(DecodeError::DataSegmentTooLong { header: Box::new(pdu.bhs), data_bytes: 513, limit_bytes: 512 })
    );
    assert_eq!(buffer.capacity(), capacity);
    assert_eq!(PduDecoder::new(513).decode(&mut BytesMut::from(&bytes[..])), Ok(Some(pdu)));
}

#[test]
fn header_segments_are_told_apart() {
    let mut pdu = Pdu::bare(ScsiCommand::default());
    // An extended CDB of 3 bytes (length counts its reserved byte), a read length, and an unknown type.
    pdu.ahs = Bytes::from_static(&[0, 4, 1, 0, 7, 8, 9, 0, 0, 5, 2, 0, 0, 0, 0x10, 0, 0, 1, 0x3e, 5]);
    let segments: Vec<_> = pdu.ahs_segments().collect();
    let expected = [
        AhsSegment::ExtendedCdb(&[7, 8, 9]),
        AhsSegment::BidirectionalReadLength(4096),
        AhsSegment::Other { ahs_type: 0x3e, specific: &[5] },
    ];
    assert_eq!(segments, expected);
    pdu.ahs = Bytes::from_static(&[0xff, 0xff, 1, 0]);
    assert_eq!(pdu.ahs_segments().count(), 0, "a length beyond the end");
}

#[test]
fn stamps_follow_the_kind_of_pdu() {
    let (stat_sn, exp, max) = (SerialNumber(1), SerialNumber(2), SerialNumber(3));
    let check = |pdu: Pdu, own: u32, consumes: bool| {
        let mut bhs = pdu.bhs;
        bhs.stamp_response(stat_sn, exp, max);
        assert_eq!((bhs.own_sn.get(), bhs.expected_sn.get(), bhs.max_cmd_sn.get()), (own, 2, 3), "{bhs:?}");
        assert_eq!(bhs.consumes_stat_sn(), consumes, "{bhs:?}");
    };
    check(Pdu::bare(DataIn::default()), 0, false);
    check(Pdu::bare(DataIn { flags: FINAL | DataIn::STATUS, ..DataIn::default() }), 1, true);
    check(Pdu::bare(ReadyToTransfer::default()), 1, false);
    check(Pdu::bare(NopIn { itt: Tag::default(), ..NopIn::default() }), 1, false);
    check(Pdu::bare(NopIn { itt: Tag::new(4), ..NopIn::default() }), 1, true);
    check(Pdu::bare(ScsiResponse::default()), 1, true);
    let mut out = Pdu::bare(DataOut::default()).bhs;
    out.stamp_request(SerialNumber(5), SerialNumber(6));
    assert_eq!((out.own_sn.get(), out.expected_sn.get()), (0, 6));
    let mut command = Pdu::bare(ScsiCommand::default()).bhs;
    command.stamp_request(SerialNumber(5), SerialNumber(6));
    assert_eq!((command.own_sn.get(), command.expected_sn.get()), (5, 6));
}

#[test]
fn a_reject_carries_the_header_that_it_refuses() {
    let pdu = Pdu::new(NopOut { cmd_sn: 9.into(), ..NopOut::default() }, Bytes::from_static(b"ping"));
    let reject = pdu.reject(RejectReason::INVALID_PDU_FIELD);
    assert_eq!(reject.bhs.opcode(), Opcode::REJECT);
    assert_eq!(&reject.data[..], pdu.bhs.as_bytes());
}

fn any_pdu() -> impl Strategy<Value = Pdu> {
    let header =
        proptest::array::uniform32(any::<u8>()).prop_flat_map(|a| (Just(a), proptest::array::uniform16(any::<u8>())));
    let data = proptest::collection::vec(any::<u8>(), 0..40);
    let ahs = proptest::collection::vec(any::<[u8; 4]>(), 0..4);
    (header, data, ahs).prop_map(|((front, back), data, ahs)| {
        let mut bytes = [0; 48];
        bytes[..32].copy_from_slice(&front);
        bytes[32..].copy_from_slice(&back);
        let mut bhs: Bhs = zerocopy::transmute!(bytes);
        let ahs = ahs.concat();
        bhs.lengths = SegmentLengths::new(ahs.len(), data.len()).expect("small");
        Pdu { bhs, ahs: Bytes::from(ahs), data: Bytes::from(data) }
    })
}

proptest! {
    #[test]
    fn what_is_encoded_is_decoded_at_every_split(pdus in proptest::collection::vec(any_pdu(), 1..3), header: bool, data: bool) {
        let digests = DigestConfig { header, data };
        let stream: Vec<u8> = pdus.iter().flat_map(|pdu| encoded(pdu, digests)).collect();
        let mut decoder = PduDecoder::new(0);
        decoder.reconfigure(digests, 40);
        for split in 0..=stream.len() {
            let mut buffer = BytesMut::new();
            let mut decoded = Vec::new();
            for part in [&stream[..split], &stream[split..]] {
                buffer.extend_from_slice(part);
                while let Some(pdu) = decoder.decode(&mut buffer).expect("a sound stream") {
                    decoded.push(pdu);
                }
            }
            prop_assert_eq!(&decoded, &pdus);
            prop_assert!(buffer.is_empty());
        }
    }

    #[test]
    fn bytes_of_any_kind_are_taken_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300), header: bool, data: bool) {
        let mut decoder = PduDecoder::new(0);
        decoder.reconfigure(DigestConfig { header, data }, 64);
        let mut buffer = BytesMut::from(&bytes[..]);
        while let Ok(Some(pdu)) = decoder.decode(&mut buffer) {
            prop_assert!(pdu.data.len() <= 64);
            prop_assert!(pdu.ahs_segments().count() <= 255);
        }
        prop_assert!(buffer.capacity() <= 300 + 48 + 1020 + 64 + 8, "{} bytes reserved", buffer.capacity());
    }

    #[test]
    fn the_pieces_are_the_whole_however_they_are_taken(pdu in any_pdu(), header: bool, data: bool, step in 1_usize..60) {
        let digests = DigestConfig { header, data };
        let mut pieces = pdu.encode(digests);
        let whole = pieces.segments().concat();
        prop_assert_eq!(whole.len(), pieces.len_bytes());
        let mut taken = Vec::new();
        while pieces.has_remaining() {
            let mut slices = [std::io::IoSlice::new(&[]); 8];
            let filled = pieces.chunks_vectored(&mut slices);
            prop_assert_eq!(slices[..filled].iter().map(|slice| slice.len()).sum::<usize>(), pieces.remaining());
            let amount = step.min(pieces.chunk().len());
            taken.extend_from_slice(&pieces.chunk()[..amount]);
            pieces.advance(amount);
        }
        prop_assert_eq!(taken, whole);
    }
}
