//! What any bytes do to everything that takes bytes from initiators: PDUs, text, logins, CDBs, and the device server against a plain array of
//! bytes. The fuzz targets in `fuzz/` make the bytes; the tests here replay those that were worth keeping.

use std::num::NonZeroU16;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use lunshadow_iscsi::discovery::parse_targets;
use lunshadow_iscsi::login::{
    Admission, Authentication, ChapChallenge, ChapCredential, ChapSecret, TargetLogin, TargetLoginConfig, TargetStep,
};
use lunshadow_iscsi::negotiation::Preferences;
use lunshadow_iscsi::pdu::{CONTINUE, DigestConfig, FINAL, LoginRequest, Pdu, PduDecoder};
use lunshadow_iscsi::serial::SerialNumber;
use lunshadow_iscsi::text::{TextGather, TextKeys};
use lunshadow_lun::{BlockCount, InitiatorName, Lba, LunHandle};
use lunshadow_scsi::{LunAddress, Status, TaskManagementFunctions};
use lunshadow_target::{Completion, DeviceServer, InitiatorPort, Nexus, PortalGroup, TargetPorts};

use crate::memory::{Map, MemoryLun};

/// Bytes that are read off one by one; zeros when there are no more.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn byte(&mut self) -> u8 {
        let (first, rest) = self.0.split_first().unwrap_or((&0, &[]));
        self.0 = rest;
        *first
    }

    fn number(&mut self) -> u16 {
        u16::from_be_bytes([self.byte(), self.byte()])
    }

    fn bytes(&mut self, len: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        taken
    }

    const fn is_over(&self) -> bool {
        self.0.is_empty()
    }
}

/// A stream of PDUs: what is decoded is within the limit, and is the same after another way through encoder and decoder.
pub(crate) fn pdus(data: &[u8]) {
    const LIMIT: usize = 1024;
    let mut input = Input(data);
    let kind = input.byte();
    let digests = DigestConfig { header: kind & 1 != 0, data: kind & 2 != 0 };
    let mut decoder = PduDecoder::new(LIMIT);
    decoder.reconfigure(digests, LIMIT);
    let mut stream = BytesMut::from(input.0);
    while let Ok(Some(pdu)) = decoder.decode(&mut stream) {
        assert!(pdu.data.len() <= LIMIT);
        let _ = (pdu.bhs.request(), pdu.bhs.response(), pdu.ahs_segments().count());
        let mut again = BytesMut::new();
        bytes::BufMut::put(&mut again, pdu.encode(digests));
        assert_eq!(decoder.decode(&mut again), Ok(Some(pdu)));
        assert!(again.is_empty());
    }
}

/// Text: what is read is the same after another way through encoder and parser, and in pieces.
pub(crate) fn text(data: &[u8]) {
    let mut input = Input(data);
    let cut = usize::from(input.byte());
    let whole = TextKeys::parse(input.0);
    if let Ok(keys) = &whole {
        assert_eq!(TextKeys::parse(&keys.encode()).as_ref(), Ok(keys));
        let _ = parse_targets(keys);
    }
    let (first, second) = input.0.split_at(cut.min(input.0.len()));
    let mut gather = TextGather::new(4096);
    if gather.push(first, true) == Ok(None) {
        match (gather.push(second, false), whole) {
            (Ok(Some(pieces)), Ok(whole)) => assert_eq!(pieces, whole),
            (Err(_), Err(_)) => {}
            (pieces, whole) => panic!("{whole:?} in pieces is {pieces:?}"),
        }
    }
}

const KEYS: &[&str] = &[
    "InitiatorName=iqn.2026-11.org.example:one",
    "TargetName=iqn.2026-11.org.example:target",
    "SessionType=Discovery",
    "AuthMethod=CHAP,None",
    "CHAP_A=5,7",
    "CHAP_N=one",
    "CHAP_R=0x00",
    "CHAP_I=1",
    "CHAP_C=0x0102030405060708",
    "HeaderDigest=CRC32C,None",
    "MaxBurstLength=512",
    "FirstBurstLength=1024",
    "MaxRecvDataSegmentLength=512",
    "InitialR2T=No",
    "X-unknown=1",
];

/// A login, by requests of any form: nobody comes in without the secret, and the responses keep the rules.
pub(crate) fn login(data: &[u8]) {
    let mut input = Input(data);
    let wants_secret = input.byte() & 1 != 0;
    let secret = ChapSecret::new(b"a secret that no input has").expect("it is long enough");
    let credential = ChapCredential { name: "one".to_owned(), secret };
    let authentication = if wants_secret {
        let challenge = ChapChallenge { identifier: 7, bytes: [9; _] };
        Authentication::Chap { initiator: credential, target: None, challenge }
    } else {
        Authentication::None
    };
    let admission = Admission { tsih: NonZeroU16::MIN, portal_group_tag: 1, target_alias: None, authentication };
    let mut target = TargetLogin::new(TargetLoginConfig {
        preferences: Preferences::default(),
        command_window: 32,
        first_stat_sn: SerialNumber(u32::MAX),
    });
    let mut stat_sn = SerialNumber(u32::MAX);
    while !input.is_over() {
        let request = login_request(&mut input);
        let mut step = target.handle(&request).expect("it is a login request");
        if let TargetStep::Admit(_) = step {
            step = target.admit(admission.clone());
        }
        let (response, is_over) = match step {
            TargetStep::Send(response) => (response, false),
            TargetStep::Complete { response, session } => {
                assert!(!wants_secret, "nobody knows the secret");
                assert_eq!(session.identity.tsih, 1);
                assert!(session.parameters.first_burst_length <= session.parameters.max_burst_length);
                (response, true)
            }
            TargetStep::Refused { response, .. } => (response, true),
            TargetStep::Admit(_) => panic!("it asks twice"),
        };
        assert_eq!(SerialNumber::from(response.bhs.own_sn), stat_sn.take());
        assert!(response.bhs.flags & (FINAL | CONTINUE) != FINAL | CONTINUE && response.data.len() <= 8192);
        if is_over {
            return;
        }
    }
}

fn login_request(input: &mut Input<'_>) -> Pdu {
    let mut header = LoginRequest { flags: input.byte(), ..LoginRequest::default() };
    header.operation = header.operation.immediate();
    let mut text = Vec::new();
    for _ in 0..input.byte() % 8 {
        match KEYS.get(usize::from(input.byte() % 16)) {
            Some(pair) => text.extend_from_slice(pair.as_bytes()),
            None => {
                let len = usize::from(input.byte());
                text.extend_from_slice(input.bytes(len));
            }
        }
        text.push(0);
    }
    Pdu::new(header, Bytes::from(text))
}

const BLOCK_BYTES: usize = 512;
const BLOCKS: u64 = 1024;

/// A device server with one disk for the oracle, and one for whatever comes.
struct Bench {
    server: DeviceServer,
    disk: LunHandle,
    careful: Arc<Nexus>,
    careless: Arc<Nexus>,
}

impl Bench {
    fn new() -> Self {
        let map = Arc::new(Map::default());
        let memory = |id| LunHandle::new(MemoryLun::new(id, BLOCKS).at_once(|number| number.is_multiple_of(2)));
        let disk = memory(1);
        let names = ["careful", "careless"]
            .map(|name| -> InitiatorName { format!("iqn.2026-11.org.example:{name}").parse().expect("a name") });
        map.show(&names[0], [(1, disk.clone())]);
        map.show(&names[1], [(1, memory(2))]);
        // So that SET TARGET PORT GROUPS is there.
        let groups = [PortalGroup::FIRST, PortalGroup(NonZeroU16::MAX)];
        let ports = TargetPorts {
            target_name: "iqn.2026-11.org.example:t".to_owned(),
            groups: groups.into(),
            functions: TaskManagementFunctions::default(),
        };
        let server = DeviceServer::new(map, ports);
        let [careful, careless] = names.map(|name| {
            server
                .connect(InitiatorPort { name, isid: [0x80, 0, 0, 0, 0, 1] }, PortalGroup::FIRST)
                .expect("the map knows it")
        });
        Self { server, disk, careful, careless }
    }

    async fn run(&self, nexus: &Arc<Nexus>, lun: u8, cdb: &[u8], data_out: Vec<u8>) -> Completion {
        let offered = u32::try_from(data_out.len()).expect("short");
        let task = self.server.accept(nexus, LunAddress::peripheral(lun), cdb).offered(offered);
        let most = task.data_in_len_max();
        let completion = match task.run_now(data_out.into()) {
            Ok(completion) => completion,
            Err((task, data_out)) => task.run(data_out).await,
        };
        assert!(completion.data_in.len() <= usize::try_from(most).expect("it fits"), "{cdb:02x?}");
        assert_eq!(completion.status == Status::CHECK_CONDITION, completion.sense.is_some(), "{cdb:02x?}");
        completion
    }
}

fn run_to_end(future: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime").block_on(future);
}

/// Any CDBs with any data.
pub(crate) fn cdbs(data: &[u8]) {
    let mut input = Input(data);
    run_to_end(async {
        let bench = Bench::new();
        while !input.is_over() {
            let lun = input.byte() % 3;
            let len = usize::from(input.byte() % 17);
            let cdb = input.bytes(len);
            let len = usize::from(input.number() % 2048);
            let data_out = input.bytes(len).to_vec();
            bench.run(&bench.careless, lun, cdb, data_out).await;
        }
    });
}

/// What a command is to do to the blocks.
enum Effect {
    Read,
    /// Writes these bytes.
    Write(Vec<u8>),
    /// Writes the second half if the first one is there.
    CompareAndWrite(Vec<u8>),
    Or(Vec<u8>),
    /// Compares with these bytes.
    Compare(Vec<u8>),
}

/// A command with its place, data and effect.
struct Step {
    cdb: Vec<u8>,
    data_out: Vec<u8>,
    lba: u64,
    blocks: u64,
    effect: Effect,
}

/// Commands that read and write blocks against a plain array of bytes.
pub(crate) fn blocks(data: &[u8]) {
    let mut input = Input(data);
    run_to_end(async {
        let bench = Bench::new();
        // Power on is reported first.
        bench.run(&bench.careful, 1, &[0; 6], Vec::new()).await;
        let mut oracle = vec![0; usize::try_from(BLOCKS).expect("small") * BLOCK_BYTES];
        while !input.is_over() {
            let step = step(&mut input, &oracle);
            let (expected, data_in) = apply(&step, &mut oracle);
            let completion = bench.run(&bench.careful, 1, &step.cdb, step.data_out).await;
            assert_eq!(completion.status, expected, "{:02x?}: {:?}", step.cdb, completion.sense);
            assert!(completion.data_in[..] == data_in[..], "{:02x?} reads something else", step.cdb);
        }
        let found = bench.disk.read(Lba(0), BlockCount(BLOCKS)).await.expect("it reads");
        assert!(found[..] == oracle[..], "the blocks are not what was written");
    });
}

/// What the command does to the oracle, and what is to come back.
fn apply(step: &Step, oracle: &mut [u8]) -> (Status, Vec<u8>) {
    if step.lba + step.blocks > BLOCKS {
        return (Status::CHECK_CONDITION, Vec::new());
    }
    let start = usize::try_from(step.lba).expect("small") * BLOCK_BYTES;
    let place = &mut oracle[start..start + usize::try_from(step.blocks).expect("small") * BLOCK_BYTES];
    match &step.effect {
        Effect::Read => return (Status::GOOD, place.to_vec()),
        Effect::Write(new) => place.copy_from_slice(new),
        Effect::Or(new) => place.iter_mut().zip(new).for_each(|(byte, new)| *byte |= new),
        Effect::Compare(expected) if *place != expected[..] => return (Status::CHECK_CONDITION, Vec::new()),
        Effect::Compare(_) => {}
        Effect::CompareAndWrite(both) => {
            let (expected, new) = both.split_at(place.len());
            if *place != *expected {
                return (Status::CHECK_CONDITION, Vec::new());
            }
            place.copy_from_slice(new);
        }
    }
    (Status::GOOD, Vec::new())
}

fn step(input: &mut Input<'_>, oracle: &[u8]) -> Step {
    let kind = input.byte();
    // Some reach beyond the end.
    let lba = u64::from(input.number()) % (BLOCKS + 8);
    let blocks = u64::from(input.byte());
    let fill = input.byte();
    let len = usize::try_from(blocks).expect("small") * BLOCK_BYTES;
    let mut pattern = Vec::with_capacity(len);
    for block in 0..u8::try_from(blocks).expect("a byte it was") {
        pattern.resize(pattern.len() + BLOCK_BYTES, fill ^ block);
    }
    // What is there, or not quite: one bit of it is wrong for some.
    let mut there = pattern.clone();
    let start = usize::try_from(lba).expect("small") * BLOCK_BYTES;
    if let Some(found) = oracle.get(start..start + len) {
        there.copy_from_slice(found);
    }
    if fill.is_multiple_of(4) && len > 0 {
        there[usize::from(fill) * 7 % len] ^= 1;
    }
    let command = |opcode: u8, data_out: Vec<u8>, effect| Step {
        cdb: cdb(opcode, 0, lba, blocks),
        data_out,
        lba,
        blocks,
        effect,
    };
    let writes = |opcode| command(opcode, pattern.clone(), Effect::Write(pattern.clone()));
    match kind % 16 {
        0 => command(0x28, Vec::new(), Effect::Read),
        1 => command(0xa8, Vec::new(), Effect::Read),
        2 => command(0x88, Vec::new(), Effect::Read),
        3 => writes(0x2a),
        4 => writes(0xaa),
        5 => writes(0x8a),
        6 => writes(0x2e),
        7 => writes(0x8e),
        8 => command(0x8b, pattern.clone(), Effect::Or(pattern)),
        9 => Step { cdb: cdb(0x2f, 2, lba, blocks), ..command(0x2f, there.clone(), Effect::Compare(there)) },
        10 => compare_and_write(lba, blocks, &there, &pattern),
        11 => write_same(0x41, 0, lba, blocks, fill),
        12 => write_same(0x93, 8, lba, blocks, fill & 1),
        _ => unmap(lba, blocks),
    }
}

fn compare_and_write(lba: u64, blocks: u64, there: &[u8], new: &[u8]) -> Step {
    let mut cdb = cdb(0x89, 0, lba, 0);
    cdb[13] = u8::try_from(blocks).expect("a byte it was");
    let both = [there, new].concat();
    Step { cdb, data_out: both.clone(), lba, blocks, effect: Effect::CompareAndWrite(both) }
}

/// One block for all. `flags`: 8 allows that zeros are unmapped. None at all would mean all that there are.
fn write_same(opcode: u8, flags: u8, lba: u64, blocks: u64, fill: u8) -> Step {
    let blocks = blocks.max(1);
    let all = vec![fill; usize::try_from(blocks).expect("small") * BLOCK_BYTES];
    let cdb = cdb(opcode, flags, lba, blocks);
    Step { cdb, data_out: vec![fill; BLOCK_BYTES], lba, blocks, effect: Effect::Write(all) }
}

fn unmap(lba: u64, blocks: u64) -> Step {
    let mut list = vec![0, 22, 0, 16, 0, 0, 0, 0];
    list.extend(lba.to_be_bytes());
    list.extend(u32::try_from(blocks).expect("small").to_be_bytes());
    list.extend([0; 4]);
    let zeros = vec![0; usize::try_from(blocks).expect("small") * BLOCK_BYTES];
    let cdb = vec![0x42, 0, 0, 0, 0, 0, 0, 0, 24, 0];
    Step { cdb, data_out: list, lba, blocks, effect: Effect::Write(zeros) }
}

/// A CDB of 10, 12 or 16 bytes, by its operation code (SPC-4 4.2.5.1).
fn cdb(opcode: u8, flags: u8, lba: u64, blocks: u64) -> Vec<u8> {
    let (long, short) = (lba.to_be_bytes(), u32::try_from(lba).expect("small").to_be_bytes());
    let count = u32::try_from(blocks).expect("small").to_be_bytes();
    match opcode >> 5 {
        1 | 2 => [&[opcode, flags][..], &short, &[0], &count[2..], &[0]].concat(),
        5 => [&[opcode, flags][..], &short, &count, &[0, 0]].concat(),
        _ => [&[opcode, flags][..], &long, &count, &[0, 0]].concat(),
    }
}
