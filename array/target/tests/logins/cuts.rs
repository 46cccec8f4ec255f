//! Sessions that are cut off behind each of their PDUs, of either end: what was answered is there, and nothing stays of them.
//!
//! Between the initiator and the target stands somebody who carries PDUs, counts them, and cuts the connection to the target when it is time. The
//! initiator's own connection stays open, so that it waits for ever and is dropped where it is.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::{Bytes, BytesMut};
use lunshadow_iscsi::discovery::SEND_TARGETS;
use lunshadow_iscsi::negotiation::Preferences;
use lunshadow_iscsi::pdu::{
    DigestConfig, FINAL, LogoutReason, LogoutRequest, Pdu, PduDecoder, RESERVED_TAG, Response, Tag, TaskFunction,
    TaskResponse, TextRequest,
};
use lunshadow_iscsi::text::TextKeys;
use lunshadow_scsi::{
    BlockRange, ByteCheck, Command, ModeForm, PageControl, ReserveForm, Status, UnmapRange, page_code,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

use crate::peer::{Array, Peer, TARGET_NAME, login, pattern, write};
use crate::tests::settled;

/// What the session writes: an address and a length, in blocks. The first goes with its command, the second in unsolicited data, the third is asked
/// for in several bursts.
const WRITES: [(u64, u32); 3] = [(0, 4), (100, 16), (200, 100)];
/// A stretch that is written and unmapped before the session is cut, so that it reads as zeros whenever that is.
const UNMAPPED: (u64, u32) = (1000, 8);

/// Which end's PDUs are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Initiator,
    Target,
}

/// Where a connection is cut.
#[derive(Debug, Clone, Copy)]
struct Cut {
    end: End,
    after_pdus: usize,
    /// By RST, as when a machine goes down and comes back; otherwise by FIN.
    abruptly: bool,
}

impl Cut {
    fn limit(cut: Option<Self>, end: End) -> usize {
        cut.filter(|cut| cut.end == end).map_or(usize::MAX, |cut| cut.after_pdus)
    }
}

fn preferences() -> Preferences {
    Preferences {
        max_recv_data_segment_length: 4096,
        first_burst_length: 8192,
        max_burst_length: 16384,
        max_outstanding_r2t: 1,
        ..Preferences::default()
    }
}

/// Carries PDUs one way until there have been so many; how many there were, and whether they were enough.
async fn carry(from: &mut OwnedReadHalf, to: &mut OwnedWriteHalf, limit_pdus: usize) -> (usize, bool) {
    let decoder = PduDecoder::new(1 << 20);
    let mut buffer = BytesMut::new();
    let mut count = 0;
    while count < limit_pdus {
        match decoder.decode(&mut buffer).expect("a PDU") {
            Some(pdu) => {
                let mut encoded = pdu.encode(DigestConfig::default());
                // Who has closed its end hears nothing any more.
                if to.write_all_buf(&mut encoded).await.is_err() {
                    return (count, false);
                }
                count += 1;
            }
            None if from.read_buf(&mut buffer).await.unwrap_or(0) == 0 => {
                // Closing goes the same way.
                let _ = to.shutdown().await;
                return (count, false);
            }
            None => {}
        }
    }
    (count, true)
}

/// Carries one connection until it is cut or both ends have closed it: how many PDUs each end has sent if it was not cut, and the initiator's end.
async fn stand_between(
    listener: &TcpListener,
    target: SocketAddr,
    cut: Option<Cut>,
) -> (Option<[usize; 2]>, (OwnedReadHalf, OwnedWriteHalf)) {
    let (initiator_side, _) = listener.accept().await.expect("the initiator connects");
    let target_side = TcpStream::connect(target).await.expect("the target listens");
    for side in [&initiator_side, &target_side] {
        side.set_nodelay(true).expect("a TCP socket");
    }
    if cut.is_some_and(|cut| cut.abruptly) {
        target_side.set_zero_linger().expect("a TCP socket");
    }
    let (mut from_initiator, mut to_initiator) = initiator_side.into_split();
    let (mut from_target, mut to_target) = target_side.into_split();
    let counts = {
        let mut out = std::pin::pin!(carry(&mut from_initiator, &mut to_target, Cut::limit(cut, End::Initiator)));
        let mut back = std::pin::pin!(carry(&mut from_target, &mut to_initiator, Cut::limit(cut, End::Target)));
        let (sent, received) = tokio::select! {
            sent = &mut out => (Some(sent), if sent.1 { None } else { Some(back.await) }),
            received = &mut back => (if received.1 { None } else { Some(out.await) }, Some(received)),
        };
        match (sent, received) {
            (Some((sent, false)), Some((received, false))) => Some([sent, received]),
            _ => None,
        }
    };
    // What is not read yet makes the system cut it off by RST in any case.
    drop((from_target, to_target));
    (counts, (from_initiator, to_initiator))
}

/// A session with all kinds of PDUs. `answered` counts the writes that were.
async fn session(address: SocketAddr, seed: u8, answered: &AtomicUsize) {
    let mut peer = Peer::log_in(address, login("one", preferences())).await.expect("a login");
    let attention = peer.run(Command::TestUnitReady, Bytes::new(), 0).await;
    assert_eq!(attention.status, Status::CHECK_CONDITION, "power on is reported first");
    assert_eq!(peer.ping(b"are you there").await, "are you there");
    discover(&mut peer).await;
    good(&mut peer, Command::Reserve(ReserveForm::Six), Bytes::new(), 0).await;
    for (lba, count) in WRITES {
        good(&mut peer, write(lba, count), pattern(seed, count), 0).await;
        answered.fetch_add(1, Ordering::Relaxed);
    }
    for (lba, count) in WRITES {
        assert_eq!(peer.read_blocks(lba, count).await, pattern(seed, count));
    }
    let range = BlockRange::new(WRITES[1].0, WRITES[1].1);
    good(&mut peer, Command::Verify { range, check: ByteCheck::Blocks }, pattern(seed, WRITES[1].1), 0).await;
    let (lba, block_count) = UNMAPPED;
    let list = UnmapRange::list_to_bytes(&[UnmapRange { lba, block_count }]);
    let parameter_len = u16::try_from(list.len()).expect("it is short");
    good(&mut peer, Command::Unmap { anchor: false, parameter_len }, Bytes::from(list), 0).await;
    good(&mut peer, mode_sense(), Bytes::new(), 192).await;
    good(&mut peer, Command::SynchronizeCache { range: BlockRange::new(0, 0), immediate: false }, Bytes::new(), 0)
        .await;
    let abort = peer.send_management(TaskFunction::ABORT_TASK, Tag::new(1)).await;
    assert_eq!(peer.expect_managed(abort).await, TaskResponse::TASK_DOES_NOT_EXIST);
    let reset = peer.send_management(TaskFunction::LOGICAL_UNIT_RESET, RESERVED_TAG).await;
    assert_eq!(peer.expect_managed(reset).await, TaskResponse::FUNCTION_COMPLETE);
    let header = LogoutRequest { itt: peer.new_itt(), ..LogoutRequest::default() };
    peer.send(Pdu::bare(header.with_reason(LogoutReason::CLOSE_SESSION))).await;
    assert!(matches!(peer.expect().await.bhs.response(), Response::Logout(_)));
    assert_eq!(peer.receive().await, None);
}

async fn good(peer: &mut Peer, command: Command, data_out: Bytes, expected_len: u32) {
    let outcome = peer.run(command, data_out, expected_len).await;
    assert_eq!(outcome.status, Status::GOOD, "{command:?}: {:?}", outcome.sense);
}

fn mode_sense() -> Command {
    Command::ModeSense {
        form: ModeForm::Ten,
        without_block_descriptor: false,
        control: PageControl::Current,
        page: page_code::ALL,
        subpage: 0,
        allocation_len: 192,
    }
}

async fn discover(peer: &mut Peer) {
    let keys: TextKeys = [(SEND_TARGETS, TARGET_NAME)].into_iter().collect();
    let header = TextRequest { flags: FINAL, itt: peer.new_itt(), ttt: RESERVED_TAG, ..TextRequest::default() };
    peer.send(Pdu::new(header, keys.encode())).await;
    let answer = peer.expect().await;
    assert!(matches!(answer.bhs.response(), Response::Text(_)), "{:?}", answer.bhs);
}

/// One session, which is cut or comes to its end: what [`stand_between`] counts, and how many writes were answered.
async fn run(array: &Array, seed: u8, cut: Option<Cut>) -> (Option<[usize; 2]>, usize) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it listens");
    let answered = AtomicUsize::new(0);
    let mut script = std::pin::pin!(session(address, seed, &answered));
    let mut between = std::pin::pin!(stand_between(&listener, array.address(), cut));
    let counts = tokio::select! {
        (counts, _initiator_side) = &mut between => counts,
        () = &mut script => between.await.0,
    };
    if counts.is_some() {
        // The initiator has its last PDU, and may not have seen the end yet.
        return (counts, WRITES.len());
    }
    (counts, answered.load(Ordering::Relaxed))
}

/// A new session finds what was answered, and of the write that was not what storage made of it: in the blocks of each write the old or the new.
async fn look(array: &Array, seeds: &mut [u8; WRITES.len()], new_seed: u8, answered: usize) {
    // Not the initiator that was cut off: what that one had reserved must be free.
    let mut peer = array.peer_with("two", preferences()).await;
    for (place, (lba, count)) in WRITES.into_iter().enumerate() {
        let found = peer.read_blocks(lba, count).await;
        let (old, new) = (pattern(seeds[place], count), pattern(new_seed, count));
        match place.cmp(&answered) {
            std::cmp::Ordering::Less => assert_eq!(found, new, "write {place} was answered"),
            std::cmp::Ordering::Equal => assert!(found == old || found == new, "write {place} is neither old nor new"),
            std::cmp::Ordering::Greater => assert_eq!(found, old, "write {place} was not sent"),
        }
        if found == new {
            seeds[place] = new_seed;
        }
    }
    assert_eq!(peer.run(write(UNMAPPED.0, UNMAPPED.1), pattern(1, UNMAPPED.1), 0).await.status, Status::GOOD);
}

/// Cuts a session behind each of its PDUs, first those of one end, then those of the other; how many cuts that were.
pub(crate) async fn cut_everywhere(array: &Array) -> usize {
    let mut seed = 1;
    let mut seeds = [seed; WRITES.len()];
    let (counts, answered) = run(array, seed, None).await;
    let [sent, received] = counts.expect("nothing was cut");
    look(array, &mut seeds, seed, answered).await;
    let mut cuts = 0;
    // Behind the last PDU of the target there is nothing to cut.
    for (end, pdus) in [(End::Initiator, sent + 1), (End::Target, received)] {
        for after_pdus in 0..pdus {
            for abruptly in [false, true] {
                seed = seed % u8::MAX + 1;
                let (counts, answered) = run(array, seed, Some(Cut { end, after_pdus, abruptly })).await;
                assert_eq!(counts, None, "{end:?} {after_pdus}: it was not cut");
                settled(array, usize::MAX).await;
                look(array, &mut seeds, seed, answered).await;
                settled(array, usize::MAX).await;
                cuts += 1;
            }
        }
    }
    cuts
}
