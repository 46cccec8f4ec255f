//! Sessions at work on a LUN whose storage hangs, fails and is full, as the dice have it: every answer is one of those that fit, and what was
//! answered is there in the end.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use lunshadow_iscsi::login::InitiatorLoginConfig;
use lunshadow_iscsi::negotiation::Preferences;
use lunshadow_iscsi::pdu::{Isid, LogoutReason, LogoutRequest, Pdu, Response, Tag, TaskFunction, TaskResponse};
use lunshadow_lun::{BlockCount, Lba, Lun, LunError, LunHandle, LunId, SpaceLevel};
use lunshadow_scsi::{AdditionalSense, BlockRange, Command, Sense, SenseKey, Status, UnmapRange};
use lunshadow_target::Limits;
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use crate::memory::MemoryLun;
use crate::peer::{Array, Outcome, Peer, initiator, login, pattern, read, write};

/// The logical blocks of a place of its own, which is the unit in which storage has room.
const PLACE_BLOCKS: u32 = 8;
/// The places of each session. Nobody else uses them.
const PLACES: u64 = 16;
const SESSIONS: u64 = 4;
/// For how many places there is room: not for all.
const ROOM: usize = 24;
const COMMANDS: usize = 200;

/// Storage in trouble.
struct TroubledLun {
    lun: MemoryLun,
    dice: Mutex<StdRng>,
    /// The places that take room.
    mapped: Mutex<BTreeSet<u64>>,
    trouble: Arc<AtomicBool>,
}

impl TroubledLun {
    /// Hangs for a while, or not. Whether the request fails then.
    async fn meets_trouble(&self) -> bool {
        if !self.trouble.load(Ordering::Relaxed) {
            return false;
        }
        let (turns, fails) = {
            let mut dice = self.dice.lock();
            (if dice.random_ratio(1, 4) { dice.random_range(0..3000) } else { 0 }, dice.random_ratio(1, 8))
        };
        for _ in 0..turns {
            tokio::task::yield_now().await;
        }
        fails
    }

    fn failure() -> LunError {
        LunError::Io(std::io::Error::other("no luck"))
    }
}

impl Lun for TroubledLun {
    fn id(&self) -> LunId {
        self.lun.id()
    }

    fn block_count(&self) -> BlockCount {
        self.lun.block_count()
    }

    fn space(&self) -> SpaceLevel {
        match self.mapped.lock().len() {
            ROOM.. => SpaceLevel::Full,
            taken if taken > ROOM - 8 => SpaceLevel::Low,
            _ => SpaceLevel::Plenty,
        }
    }

    async fn read(&self, at: Lba, count: BlockCount) -> Result<Bytes, LunError> {
        if self.meets_trouble().await {
            return Err(Self::failure());
        }
        self.lun.read(at, count).await
    }

    async fn write(&self, at: Lba, data: Bytes) -> Result<(), LunError> {
        let fails = self.meets_trouble().await;
        let place = at.0 / u64::from(PLACE_BLOCKS);
        {
            let mut mapped = self.mapped.lock();
            if !mapped.contains(&place) && mapped.len() >= ROOM {
                return Err(LunError::OutOfSpace);
            }
            mapped.insert(place);
        }
        // One that fails may have been done.
        self.lun.write(at, data).await?;
        if fails { Err(Self::failure()) } else { Ok(()) }
    }

    async fn flush(&self) -> Result<(), LunError> {
        if self.meets_trouble().await { Err(Self::failure()) } else { Ok(()) }
    }

    async fn discard(&self, at: Lba, count: BlockCount) -> Result<(), LunError> {
        if self.meets_trouble().await {
            return Err(Self::failure());
        }
        self.lun.discard(at, count).await?;
        self.mapped.lock().remove(&(at.0 / u64::from(PLACE_BLOCKS)));
        Ok(())
    }
}

/// What a place may hold: patterns of these seeds, 0 being zeros.
type MayHold = Vec<u8>;

fn content(seed: u8) -> Bytes {
    if seed == 0 { vec![0; PLACE_BLOCKS as usize * 512].into() } else { pattern(seed, PLACE_BLOCKS) }
}

/// How a command ended, as far as this test cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Good,
    /// It has failed or was aborted, and may have been done.
    Unknown,
    /// There was no room, and nothing was done.
    Full,
    /// It was not looked at, since there was something to tell first.
    Attention,
}

fn end_of(outcome: &Outcome) -> End {
    let code = |key, code| Some(Sense::new(key, code));
    match (outcome.status, outcome.sense) {
        (Status::GOOD, _) => End::Good,
        (_, sense) if sense == code(SenseKey::DATA_PROTECT, AdditionalSense::SPACE_ALLOCATION_FAILED) => End::Full,
        (_, sense) if sense == code(SenseKey::HARDWARE_ERROR, AdditionalSense::INTERNAL_TARGET_FAILURE) => End::Unknown,
        (_, Some(Sense { key: SenseKey::UNIT_ATTENTION, code, .. }))
            if code == AdditionalSense::THIN_PROVISIONING_SOFT_THRESHOLD_REACHED =>
        {
            End::Attention
        }
        (status, sense) => panic!("{status:?} with {sense:?} is no answer that fits"),
    }
}

/// One session and its places.
struct Worker {
    peer: Peer,
    first_place: u64,
    places: Vec<MayHold>,
    dice: StdRng,
}

impl Worker {
    async fn work(mut self) -> (Peer, u64, Vec<MayHold>, [usize; 4]) {
        let mut ends = [0; 4];
        for number in 0..COMMANDS {
            let place = self.dice.random_range(0..self.places.len());
            let end = match self.dice.random_range(0..10) {
                0..4 => self.write(place, u8::try_from(number % 250).expect("small") + 1).await,
                4..7 => self.read(place).await,
                7..9 => self.unmap(place).await,
                _ => {
                    let flush = Command::SynchronizeCache { range: BlockRange::new(0, 0), immediate: false };
                    end_of(&self.peer.run(flush, Bytes::new(), 0).await)
                }
            };
            ends[end as usize] += 1;
        }
        (self.peer, self.first_place, self.places, ends)
    }

    fn lba(&self, place: usize) -> u64 {
        (self.first_place + u64::try_from(place).expect("few")) * u64::from(PLACE_BLOCKS)
    }

    async fn write(&mut self, place: usize, seed: u8) -> End {
        let command = write(self.lba(place), PLACE_BLOCKS);
        let end = if self.dice.random_ratio(1, 5) {
            let itt = self.peer.send_write(command, &content(seed)).await;
            self.abort(itt).await
        } else {
            end_of(&self.peer.run(command, content(seed), 0).await)
        };
        self.changed(place, seed, end)
    }

    async fn unmap(&mut self, place: usize) -> End {
        let list = UnmapRange::list_to_bytes(&[UnmapRange { lba: self.lba(place), block_count: PLACE_BLOCKS }]);
        let parameter_len = u16::try_from(list.len()).expect("it is short");
        let end = end_of(&self.peer.run(Command::Unmap { anchor: false, parameter_len }, list, 0).await);
        assert_ne!(end, End::Full, "giving back takes no room");
        self.changed(place, 0, end)
    }

    fn changed(&mut self, place: usize, seed: u8, end: End) -> End {
        match end {
            End::Good => self.places[place] = vec![seed],
            End::Unknown => self.places[place].push(seed),
            End::Full | End::Attention => {}
        }
        end
    }

    async fn read(&mut self, place: usize) -> End {
        let outcome = self.peer.run(read(self.lba(place), PLACE_BLOCKS), Bytes::new(), PLACE_BLOCKS * 512).await;
        let end = end_of(&outcome);
        assert_ne!(end, End::Full, "reading takes no room");
        if end == End::Good {
            self.places[place].retain(|seed| outcome.data == content(*seed));
            assert!(!self.places[place].is_empty(), "place {place} holds something else");
        }
        end
    }

    /// Aborts a command that may have ended already.
    async fn abort(&mut self, itt: Tag) -> End {
        let abort = self.peer.send_management(TaskFunction::ABORT_TASK, itt).await;
        let mut end = End::Unknown;
        loop {
            let pdu = self.peer.expect().await;
            match pdu.bhs.response() {
                Response::Scsi(header) if header.itt == itt => {
                    let sense = (!pdu.data.is_empty()).then(|| Sense::parse(&pdu.data[2..]).expect("sense data"));
                    end = end_of(&Outcome { status: Status(header.status), sense, data: Vec::new(), residual: 0 });
                }
                Response::TaskManagement(header) if header.itt == abort => {
                    let expected = if end == End::Unknown {
                        [TaskResponse::FUNCTION_COMPLETE, TaskResponse::TASK_DOES_NOT_EXIST]
                    } else {
                        [TaskResponse::TASK_DOES_NOT_EXIST; 2]
                    };
                    assert!(expected.contains(&header.response), "{:?} after {end:?}", header.response);
                    return end;
                }
                other => panic!("{other:?} is about something else"),
            }
        }
    }
}

async fn log_in(array: &Array, number: u64) -> Peer {
    let name = if number.is_multiple_of(2) { "one" } else { "two" };
    let qualifier = u16::try_from(number).expect("few");
    let config =
        InitiatorLoginConfig { isid: Isid::random_type([1, 2, 3], qualifier), ..login(name, Preferences::default()) };
    let mut peer = Peer::log_in(array.address(), config).await.expect("a login");
    assert_eq!(peer.run(Command::TestUnitReady, Bytes::new(), 0).await.status, Status::CHECK_CONDITION);
    peer
}

async fn work_in_trouble(seed: u64) {
    let array = Array::new(Limits::default()).await;
    let trouble = Arc::new(AtomicBool::new(true));
    let lun = LunHandle::new(TroubledLun {
        lun: MemoryLun::new(3, SESSIONS * PLACES * u64::from(PLACE_BLOCKS)),
        dice: Mutex::new(StdRng::seed_from_u64(seed)),
        mapped: Mutex::default(),
        trouble: trouble.clone(),
    });
    for name in ["one", "two"] {
        array.map.show(&initiator(name), [(1, lun.clone())]);
    }
    let mut workers = tokio::task::JoinSet::new();
    for number in 0..SESSIONS {
        let worker = Worker {
            peer: log_in(&array, number).await,
            first_place: number * PLACES,
            places: (0..PLACES).map(|_| vec![0]).collect(),
            dice: StdRng::seed_from_u64(seed ^ ((number + 1) << 32)),
        };
        workers.spawn(worker.work());
    }
    let done = workers.join_all().await;
    trouble.store(false, Ordering::Relaxed);
    let mut ends = [0; 4];
    for (mut peer, first_place, places, of_worker) in done {
        for (place, may_hold) in (first_place..).zip(places) {
            let lba = place * u64::from(PLACE_BLOCKS);
            let mut found = peer.run(read(lba, PLACE_BLOCKS), Bytes::new(), PLACE_BLOCKS * 512).await;
            if end_of(&found) == End::Attention {
                found = peer.run(read(lba, PLACE_BLOCKS), Bytes::new(), PLACE_BLOCKS * 512).await;
            }
            assert!(may_hold.iter().any(|seed| found.data == content(*seed)), "place {place} holds something else");
        }
        let header = LogoutRequest { itt: peer.new_itt(), ..LogoutRequest::default() };
        peer.send(Pdu::bare(header.with_reason(LogoutReason::CLOSE_SESSION))).await;
        assert!(matches!(peer.expect().await.bhs.response(), Response::Logout(_)));
        assert_eq!(peer.receive().await, None);
        ends.iter_mut().zip(of_worker).for_each(|(sum, count)| *sum += count);
    }
    assert!(ends.iter().all(|count| *count > 0), "good, unknown, full, attention: {ends:?}: nothing of one kind");
    while array.target.sessions() > 0 {
        tokio::task::yield_now().await;
    }
}

/// `LUNSHADOW_TROUBLE_SEEDS` is how many, from `LUNSHADOW_TROUBLE_SEED` on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[expect(clippy::print_stdout, reason = "a failure has to name its seed")]
async fn what_was_answered_is_there_whatever_storage_does() {
    let number = |name, or| std::env::var(name).ok().and_then(|number| number.parse().ok()).unwrap_or(or);
    let first: u64 = number("LUNSHADOW_TROUBLE_SEED", 0);
    for seed in first..first + number("LUNSHADOW_TROUBLE_SEEDS", 4) {
        println!("seed {seed}");
        work_in_trouble(seed).await;
    }
}
