//! Offloaded data transfer: POPULATE TOKEN, WRITE USING TOKEN, RECEIVE ROD TOKEN INFORMATION.

use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use lunshadow_lun::LunError;
use lunshadow_scsi::vpd::{ThirdPartyCopy, page};
use lunshadow_scsi::{
    AdditionalSense, Command, CopyStatus, FieldPointer, PopulateToken, RodToken, RodTokenInformation, RodType, Sense,
    SenseKey, SensePointer, StandardInquiry, Status, TokenRange, WriteUsingToken,
};
use lunshadow_target::{Completion, Limits};

use crate::device_server::{Bench, DISK, LUN_BLOCKS, illegal, invalid_field, read, write};
use crate::faulty::FaultyLun;
use crate::peer::Array;

fn range(lba: u64, block_count: u32) -> TokenRange {
    TokenRange { lba, block_count }
}

fn populate(ranges: &[TokenRange]) -> PopulateToken {
    PopulateToken { immediate: false, rod_type: None, inactivity_timeout_s: 0, ranges: ranges.to_vec() }
}

fn using(token: RodToken, offset: u64, ranges: &[TokenRange]) -> WriteUsingToken {
    WriteUsingToken { immediate: false, delete_token: false, offset, token, ranges: ranges.to_vec() }
}

fn len(list: &[u8]) -> u32 {
    u32::try_from(list.len()).expect("a short list")
}

impl Bench {
    async fn populate(&self, list_id: u32, list: &[u8]) -> Completion {
        let command = Command::PopulateToken { list_id, parameter_len: len(list) };
        self.run(DISK, command, list.to_vec()).await
    }

    async fn write_using(&self, list_id: u32, list: &[u8]) -> Completion {
        let command = Command::WriteUsingToken { list_id, parameter_len: len(list) };
        self.run(DISK, command, list.to_vec()).await
    }

    async fn information(&self, list_id: u32) -> RodTokenInformation {
        let command = Command::ReceiveRodTokenInformation { list_id, allocation_len: 4096 };
        RodTokenInformation::parse(&self.data(DISK, command).await).expect("information")
    }

    /// A token for ranges.
    async fn token(&self, ranges: &[TokenRange]) -> RodToken {
        assert_eq!(self.populate(1, &populate(ranges).to_bytes()).await, Completion::good());
        let information = self.information(1).await;
        assert_eq!((information.status, information.service_action), (CopyStatus::COMPLETED, 0x10));
        assert_eq!(information.blocks, ranges.iter().map(|range| u64::from(range.block_count)).sum::<u64>());
        information.token.expect("a token")
    }

    /// How many contents of the disk are kept.
    fn disk_pins(&self) -> usize {
        self.disk.downcast_ref::<FaultyLun>().expect("the disk of the bench").pins()
    }

    /// Waits until a copy has ended.
    async fn ended(&self, list_id: u32) -> RodTokenInformation {
        loop {
            let information = self.information(list_id).await;
            if !information.status.is_in_progress() {
                return information;
            }
            tokio::task::yield_now().await;
        }
    }
}

fn blocks(first: u8, count: u8) -> Vec<u8> {
    (first..first + count).flat_map(|fill| [fill; 512]).collect()
}

#[tokio::test]
async fn a_token_stands_for_what_was_there_when_it_was_made() {
    let bench = Bench::new().await;
    bench.run(DISK, write(0, 32), blocks(1, 32)).await;
    let token = bench.token(&[range(4, 8), range(0, 2), range(20, 5)]).await;
    assert_eq!((token.rod_type(), token.bytes_represented()), (RodType::POINT_IN_TIME, 15 * 512));
    let expected = [blocks(5, 8), blocks(1, 2), blocks(21, 5)].concat();
    bench.run(DISK, write(0, 32), blocks(100, 32)).await;
    // In one piece, and cut otherwise than the token is.
    assert_eq!(bench.write_using(2, &using(token.clone(), 0, &[range(1000, 15)]).to_bytes()).await, Completion::good());
    assert_eq!(bench.data(DISK, read(1000, 15)).await, expected);
    let cut = using(token.clone(), 1, &[range(200, 3), range(100, 0), range(300, 11)]).to_bytes();
    assert_eq!(bench.write_using(3, &cut).await, Completion::good());
    assert_eq!(bench.data(DISK, read(200, 3)).await, expected[512..4 * 512]);
    assert_eq!(bench.data(DISK, read(300, 11)).await, expected[4 * 512..]);
    let information = bench.information(3).await;
    assert_eq!((information.status, information.service_action, information.blocks), (CopyStatus::COMPLETED, 0x11, 14));
    assert_eq!(information.token, None);
    // Over its own source.
    assert_eq!(bench.write_using(4, &using(token, 0, &[range(0, 15)]).to_bytes()).await, Completion::good());
    assert_eq!(bench.data(DISK, read(0, 15)).await, expected);
}

#[tokio::test]
async fn a_token_with_less_than_is_asked_for_is_written_in_part() {
    let bench = Bench::new().await;
    bench.run(DISK, write(0, 8), blocks(1, 8)).await;
    let token = bench.token(&[range(0, 8)]).await;
    let list = using(token.clone(), 5, &[range(100, 2), range(200, 6)]).to_bytes();
    assert_eq!(bench.write_using(2, &list).await, Completion::good());
    let information = bench.information(2).await;
    assert_eq!((information.status, information.blocks), (CopyStatus::PARTIAL, 3));
    assert_eq!(bench.data(DISK, read(100, 2)).await, blocks(6, 2));
    assert_eq!(bench.data(DISK, read(200, 2)).await, [blocks(8, 1), vec![0; 512]].concat());
    let beyond = bench.write_using(2, &using(token, 8, &[range(100, 1)]).to_bytes()).await;
    assert_eq!(beyond, invalid_in_list(8));
}

#[tokio::test]
async fn everybody_knows_the_token_for_zeros() {
    let bench = Bench::new().await;
    bench.run(DISK, write(0, 16), blocks(1, 16)).await;
    let list = using(RodToken::zero(), 1 << 40, &[range(4, 6)]).to_bytes();
    assert_eq!(bench.write_using(2, &list).await, Completion::good());
    let expected = [blocks(1, 4), vec![0; 6 * 512], blocks(11, 6)].concat();
    assert_eq!(bench.data(DISK, read(0, 16)).await, expected);
}

#[tokio::test]
async fn copies_go_on_in_the_background_if_the_initiator_wants_it() {
    let bench = Bench::new().await;
    let token = bench.token(&[range(0, 64)]).await;
    // Writes wait until the test lets them.
    let permits = bench.controls.writes.available_permits();
    bench.controls.writes.forget_permits(permits);
    let list = WriteUsingToken { immediate: true, ..using(token, 0, &[range(128, 64)]) }.to_bytes();
    assert_eq!(bench.write_using(7, &list).await, Completion::good());
    bench.controls.writes_begun.acquire().await.expect("it is never closed").forget();
    let information = bench.information(7).await;
    assert_eq!((information.status, information.blocks), (CopyStatus::IN_BACKGROUND, 0));
    assert!(information.update_delay_ms.is_some());
    let again = bench.write_using(7, &list).await;
    assert_eq!(again, illegal(AdditionalSense::OPERATION_IN_PROGRESS));
    bench.controls.writes.add_permits(permits);
    let information = bench.ended(7).await;
    assert_eq!((information.status, information.blocks), (CopyStatus::COMPLETED, 64));
}

#[tokio::test]
async fn a_target_that_goes_ends_copies_in_the_background() {
    let array = Array::new(Limits::default()).await;
    let mut peer = array.peer("one").await;
    let list = Bytes::from(populate(&[range(0, 16)]).to_bytes());
    let command = Command::PopulateToken { list_id: 1, parameter_len: len(&list) };
    assert_eq!(peer.run(command, list, 0).await.status, Status::GOOD);
    let command = Command::ReceiveRodTokenInformation { list_id: 1, allocation_len: 4096 };
    let information = peer.run(command, Bytes::new(), 4096).await;
    let token = RodTokenInformation::parse(&information.data).expect("information").token.expect("a token");
    array.controls.writes.forget_permits(usize::MAX);
    let list = using(token, 0, &[range(128, 8), range(256, 8)]);
    let list = Bytes::from(WriteUsingToken { immediate: true, ..list }.to_bytes());
    let command = Command::WriteUsingToken { list_id: 2, parameter_len: len(&list) };
    assert_eq!(peer.run(command, list, 0).await.status, Status::GOOD);
    array.controls.writes_begun.acquire().await.expect("it is never closed").forget();
    drop(peer);
    // The piece that is being written is, no more.
    let controls = array.controls.clone();
    array.shut_down_amid_a_write().await;
    assert_eq!(controls.writes_done.load(Ordering::Relaxed), 1);
    assert_eq!(controls.writes_begun.available_permits(), 0);
}

#[tokio::test]
async fn what_fails_says_so_in_both_places() {
    let bench = Bench::new().await;
    let token = bench.token(&[range(0, 8)]).await;
    *bench.controls.failure.lock() = Some(|| LunError::OutOfSpace);
    let full = Sense::new(SenseKey::DATA_PROTECT, AdditionalSense::SPACE_ALLOCATION_FAILED);
    let list = using(token, 0, &[range(100, 8)]);
    assert_eq!(bench.write_using(2, &list.to_bytes()).await, Completion::check(full));
    let information = bench.information(2).await;
    assert_eq!((information.status, information.completion_status), (CopyStatus::FAILED, Status::CHECK_CONDITION.0));
    assert_eq!(Sense::parse(&information.sense).map(|sense| sense.code), Ok(full.code));
    // In the background, only there.
    let list = WriteUsingToken { immediate: true, ..list }.to_bytes();
    assert_eq!(bench.write_using(3, &list).await, Completion::good());
    assert_eq!(bench.ended(3).await.status, CopyStatus::FAILED);
    *bench.controls.failure.lock() = None;
    bench.controls.pins.store(false, Ordering::Relaxed);
    let no_room = bench.populate(4, &populate(&[range(0, 8)]).to_bytes()).await;
    assert_eq!(no_room, illegal(AdditionalSense::INSUFFICIENT_RESOURCES_FOR_TOKEN));
    assert_eq!(bench.information(4).await.token, None);
}

#[tokio::test]
async fn only_tokens_as_they_were_made_are_taken() {
    let bench = Bench::new().await;
    let token = bench.token(&[range(0, 8)]).await;
    let forged = |at: usize, value: u8| {
        let mut list = using(token.clone(), 0, &[range(100, 8)]).to_bytes();
        list[16 + at] = value;
        list
    };
    let cases = [
        (forged(140, token.as_bytes()[140] ^ 1), AdditionalSense::TOKEN_CORRUPT),
        (forged(511, 1), AdditionalSense::TOKEN_CORRUPT),
        (forged(15, token.as_bytes()[15] ^ 1), AdditionalSense::TOKEN_UNKNOWN),
        (forged(1, 0x01), AdditionalSense::UNSUPPORTED_TOKEN_TYPE),
        (forged(7, 0xf0), AdditionalSense::INVALID_TOKEN_LENGTH),
    ];
    for (list, code) in cases {
        assert_eq!(bench.write_using(2, &list).await, illegal(code));
    }
    let list = WriteUsingToken { delete_token: true, ..using(token, 0, &[range(100, 8)]) }.to_bytes();
    assert_eq!(bench.write_using(2, &list).await, Completion::good());
    assert_eq!(bench.write_using(2, &list).await, illegal(AdditionalSense::TOKEN_UNKNOWN));
}

#[tokio::test(start_paused = true)]
async fn tokens_end_when_nobody_uses_them() {
    let bench = Bench::new().await;
    let list = PopulateToken { inactivity_timeout_s: 30, ..populate(&[range(0, 8)]) }.to_bytes();
    assert_eq!(bench.populate(1, &list).await, Completion::good());
    let token = bench.information(1).await.token.expect("a token");
    let list = using(token, 0, &[range(100, 8)]).to_bytes();
    for _ in 0..3 {
        tokio::time::advance(Duration::from_secs(29)).await;
        assert_eq!(bench.write_using(2, &list).await, Completion::good());
    }
    assert_eq!(bench.disk_pins(), 1);
    tokio::time::sleep(Duration::from_secs(31)).await;
    assert_eq!(bench.disk_pins(), 0, "what it held is let go");
    assert_eq!(bench.write_using(2, &list).await, illegal(AdditionalSense::TOKEN_UNKNOWN));
}

#[tokio::test]
async fn the_oldest_tokens_go_when_an_initiator_makes_too_many() {
    let bench = Bench::new().await;
    let mut tokens = Vec::new();
    for _ in 0..65 {
        tokens.push(bench.token(&[range(0, 8)]).await);
    }
    assert_eq!(bench.disk_pins(), 64);
    let mut good = 0;
    for token in &tokens {
        let written = bench.write_using(2, &using(token.clone(), 0, &[range(100, 8)]).to_bytes()).await;
        good += u32::from(written == Completion::good());
    }
    assert_eq!(good, 64);
    let newest = bench.write_using(2, &using(tokens[64].clone(), 0, &[range(100, 8)]).to_bytes()).await;
    assert_eq!(newest, Completion::good());
}

fn invalid_in_list(byte: usize) -> Completion {
    let sense = Sense::new(SenseKey::ILLEGAL_REQUEST, AdditionalSense::INVALID_FIELD_IN_PARAMETER_LIST);
    Completion::check(sense.with_pointer(SensePointer::ParameterList(FieldPointer::byte(byte))))
}

#[tokio::test]
async fn parameter_lists_that_are_wrong_are_refused() {
    let bench = Bench::new().await;
    let token = bench.token(&[range(0, 8)]).await;
    let out_of_range = illegal(AdditionalSense::LBA_OUT_OF_RANGE);
    let too_short = illegal(AdditionalSense::PARAMETER_LIST_LENGTH_ERROR);
    for ranges in [[range(LUN_BLOCKS, 1), range(0, 1)], [range(0, 1), range(u64::MAX, 1)]] {
        assert_eq!(bench.populate(5, &populate(&ranges).to_bytes()).await, out_of_range);
        assert_eq!(bench.write_using(5, &using(token.clone(), 0, &ranges).to_bytes()).await, out_of_range);
    }
    let overlapping = [range(10, 10), range(0, 11)];
    assert_eq!(bench.populate(5, &populate(&overlapping).to_bytes()).await, invalid_in_list(16));
    assert_eq!(bench.write_using(5, &using(token.clone(), 0, &overlapping).to_bytes()).await, invalid_in_list(536));
    let many = vec![range(0, 0); 1025];
    let too_many = illegal(AdditionalSense::TOO_MANY_SEGMENT_DESCRIPTORS);
    assert_eq!(bench.populate(5, &populate(&many).to_bytes()).await, too_many);
    assert_eq!(bench.write_using(5, &using(token.clone(), 0, &many).to_bytes()).await, too_many);
    let good = populate(&[range(0, 8)]);
    let late = PopulateToken { inactivity_timeout_s: 601, ..good.clone() };
    assert_eq!(bench.populate(5, &late.to_bytes()).await, invalid_in_list(4));
    let other_type = PopulateToken { rod_type: Some(RodType(0x0080_0001)), ..good.clone() };
    assert_eq!(bench.populate(5, &other_type.to_bytes()).await, invalid_in_list(8));
    for (list, header) in [(good.to_bytes(), 16), (using(token, 0, &[range(0, 8)]).to_bytes(), 536)] {
        let run = async |list: &[u8]| match header {
            16 => bench.populate(5, list).await,
            _ => bench.write_using(5, list).await,
        };
        assert_eq!(run(&list[..header - 1]).await, too_short);
        let with = |at: usize, value: u8| {
            let mut list = list.clone();
            list[at] = value;
            list
        };
        assert_eq!(run(&with(1, list[1] - 1)).await, invalid_in_list(0), "less than its header and ranges");
        assert_eq!(run(&with(2, 0x04)).await, invalid_in_list(2), "a reserved bit");
        assert_eq!(run(&with(header - 1, 0)).await, invalid_in_list(header - 2), "no ranges");
        assert_eq!(run(&with(header - 1, 15)).await, invalid_in_list(header - 2), "less than a range");
        assert_eq!(run(&list[..list.len() - 1]).await, invalid_in_list(header - 2), "a range that is cut off");
        assert_eq!(run(&[]).await, Completion::good(), "no parameters");
    }
    let too_long = bench.ask(DISK, Command::PopulateToken { list_id: 5, parameter_len: u32::MAX }).await;
    assert_eq!(too_long, too_short);
    let unknown = bench.ask(DISK, Command::ReceiveRodTokenInformation { list_id: 5, allocation_len: 255 }).await;
    assert_eq!(unknown, invalid_field(FieldPointer::byte(2)), "nothing of this was begun");
}

#[tokio::test]
async fn windows_finds_what_it_looks_for() {
    let bench = Bench::new().await;
    let standard = StandardInquiry::parse(&bench.data(DISK, Command::Inquiry { page: None, allocation_len: 96 }).await);
    assert!(standard.expect("standard data").third_party_copy);
    let command = Command::Inquiry { page: Some(page::THIRD_PARTY_COPY), allocation_len: u16::MAX };
    let bytes = bench.data(DISK, command).await;
    let limits = ThirdPartyCopy::parse_token_limits(&bytes).expect("the page").expect("the first descriptor");
    assert_eq!((limits.ranges_max, limits.transfer_max_blocks), (1024, 1 << 19));
    assert_eq!((limits.inactivity_default_s, limits.inactivity_max_s), (60, 600));
    // Every descriptor is where the one before it ends, and their types ascend.
    let (mut at, mut kinds) = (4, Vec::new());
    while at < bytes.len() {
        let word = |at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
        kinds.push(word(at));
        assert!(word(at + 2).is_multiple_of(4));
        at += 4 + usize::from(word(at + 2));
    }
    assert_eq!((at, &kinds[..]), (bytes.len(), &[0, 1, 4, 8, 0x106, 0x108, 0x8001][..]));
    let zero = RodToken::zero();
    assert_eq!((zero.as_bytes()[..8].to_vec(), zero.has_length()), (vec![0xff, 0xff, 0, 1, 0, 0, 1, 0xf8], true));
    // The information is cut to the allocation length like everything else.
    bench.token(&[range(0, 1)]).await;
    for allocation_len in [0, 4, 32, 36, 38, 550, 1000] {
        let command = Command::ReceiveRodTokenInformation { list_id: 1, allocation_len };
        assert_eq!(bench.data(DISK, command).await.len(), (allocation_len as usize).min(32 + 4 + 2 + 512));
    }
    let nothing: Bytes = bench.data(DISK, read(0, 1)).await;
    assert_eq!(nothing, vec![0; 512]);
}
