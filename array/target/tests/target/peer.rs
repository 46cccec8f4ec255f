//! An initiator that a test has in its hand, PDU by PDU, and a target for it.

use std::net::SocketAddr;
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use lunshadow_iscsi::login::{InitiatorLogin, InitiatorLoginConfig, InitiatorStep, LoginError, LoginPath};
use lunshadow_iscsi::negotiation::{Preferences, SessionParameters};
use lunshadow_iscsi::pdu::{
    DataOut, DigestConfig, FINAL, Header, Isid, NopIn, NopOut, Pdu, PduDecoder, RESERVED_TAG, Response, ScsiCommand,
    ScsiResponse, Tag, TaskFunction, TaskManagementRequest, TaskResponse,
};
use lunshadow_iscsi::sequence::StatSnTracker;
use lunshadow_iscsi::serial::SerialNumber;
use lunshadow_iscsi::transfer::{ReadTransfer, WritePlan, data_out_slices};
use lunshadow_lun::{InitiatorName, LunHandle};
use lunshadow_scsi::{BlockRange, Command, LunAddress, Sense, Status};
use lunshadow_target::{ConnectionThreads, Limits, Target, TargetConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::faulty::{Controls, FaultyLun};
use crate::memory::{Map, MemoryLun};

pub(crate) const TARGET_NAME: &str = "iqn.2026-11.org.example:target";
pub(crate) const LUN: LunAddress = LunAddress::peripheral(1);
pub(crate) const LUN_BLOCKS: u64 = 8192;
/// Whatever a test waits for is a bug if it takes longer.
const PATIENCE: Duration = Duration::from_secs(20);

/// The A bit of a Data-In.
const ACKNOWLEDGE: u8 = 0x40;

/// A target with one LUN, which the initiators `one` and `two` see.
pub(crate) struct Array {
    pub(crate) target: Target,
    pub(crate) map: Arc<Map>,
    pub(crate) controls: Arc<Controls>,
    threads: Weak<ConnectionThreads>,
}

/// An initiator after its login.
pub(crate) struct Peer {
    stream: TcpStream,
    decoder: PduDecoder,
    buffer: BytesMut,
    pub(crate) parameters: SessionParameters,
    pub(crate) tsih: u16,
    pub(crate) cmd_sn: SerialNumber,
    pub(crate) max_cmd_sn: SerialNumber,
    stat_sn: StatSnTracker,
    next_itt: u32,
}

/// How a command ended on the wire.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) status: Status,
    pub(crate) sense: Option<Sense>,
    pub(crate) data: Vec<u8>,
    /// Positive: underflow; negative: overflow.
    pub(crate) residual: i64,
}

pub(crate) fn initiator(name: &str) -> InitiatorName {
    format!("iqn.2026-11.org.example:{name}").parse().expect("a valid name")
}

impl Array {
    pub(crate) async fn new(limits: Limits) -> Self {
        Self::on(&["127.0.0.1:0"], limits).await
    }

    pub(crate) async fn on(portals: &[&str], limits: Limits) -> Self {
        let (lun, controls) = FaultyLun::new(MemoryLun::new(1, LUN_BLOCKS));
        let lun = LunHandle::new(lun);
        let map = Arc::new(Map::default());
        for name in ["one", "two"] {
            map.show(&initiator(name), [(1, lun.clone())]);
        }
        let listen = portals.iter().map(|portal| portal.parse().expect("a portal")).collect();
        let config = TargetConfig { listen, name: TARGET_NAME.to_owned(), alias: None, limits };
        // As the daemon does it. Other tests have connections on their own runtime.
        let threads = ConnectionThreads::start(Duration::from_micros(150)).expect("threads");
        let alive = Arc::downgrade(&threads);
        let target = Target::bind_on(config, map.clone(), threads).await.expect("a free port");
        Self { target, map, controls, threads: alive }
    }

    /// Shuts the target down while storage holds a write that no connection waits for. Lets storage go on when the threads of connections are not
    /// held any more.
    pub(crate) async fn shut_down_amid_a_write(self) {
        let shutdown = tokio::spawn(self.target.shutdown());
        while self.threads.strong_count() > 0 {
            tokio::task::yield_now().await;
        }
        assert!(!shutdown.is_finished(), "storage is not waited for");
        self.controls.writes.add_permits(1);
        shutdown.await.expect("no panic");
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.target.local_addr()
    }

    /// Logs in with preferences and takes the power-on unit attention.
    pub(crate) async fn peer_with(&self, name: &str, preferences: Preferences) -> Peer {
        let mut peer = Peer::log_in(self.address(), login(name, preferences)).await.expect("a login");
        let attention = peer.run(Command::TestUnitReady, Bytes::new(), 0).await;
        assert_eq!(attention.status, Status::CHECK_CONDITION, "power on is reported first");
        peer
    }

    pub(crate) async fn peer(&self, name: &str) -> Peer {
        self.peer_with(name, Preferences::default()).await
    }
}

/// The usual login of an initiator, whose ISID comes from its name.
pub(crate) fn login(name: &str, preferences: Preferences) -> InitiatorLoginConfig {
    InitiatorLoginConfig {
        initiator_name: initiator(name).to_string(),
        initiator_alias: None,
        target_name: Some(TARGET_NAME.to_owned()),
        isid: Isid::random_type([0, 0, name.as_bytes()[0]], 0),
        path: LoginPath::SecurityThenOperational,
        chap: None,
        preferences,
        first_cmd_sn: SerialNumber(u32::MAX - 3),
    }
}

impl Peer {
    pub(crate) async fn log_in(address: SocketAddr, config: InitiatorLoginConfig) -> Result<Self, LoginError> {
        let stream = TcpStream::connect(address).await.expect("the target listens");
        stream.set_nodelay(true).expect("a TCP socket");
        let own_bytes_max = config.preferences.max_recv_data_segment_length as usize;
        let (mut login, mut request) = InitiatorLogin::start(config);
        let mut peer = Self {
            stream,
            decoder: PduDecoder::new(own_bytes_max),
            buffer: BytesMut::new(),
            parameters: SessionParameters::default(),
            tsih: 0,
            cmd_sn: SerialNumber(0),
            max_cmd_sn: SerialNumber(0),
            stat_sn: StatSnTracker::new(SerialNumber(0)),
            next_itt: 7,
        };
        loop {
            peer.write(&request).await;
            let response = peer.read().await.expect("an answer to the login");
            match login.handle(&response)? {
                InitiatorStep::Send(next) => request = next,
                InitiatorStep::Complete(session) => {
                    peer.decoder.reconfigure(session.parameters.digests(), own_bytes_max);
                    peer.parameters = session.parameters;
                    peer.tsih = session.identity.tsih;
                    (peer.cmd_sn, peer.max_cmd_sn) = (session.first_cmd_sn, session.max_cmd_sn);
                    peer.stat_sn = StatSnTracker::new(session.next_stat_sn);
                    return Ok(peer);
                }
            }
        }
    }

    /// Sends a request and takes its CmdSN, if it is not immediate.
    pub(crate) async fn send(&mut self, mut pdu: Pdu) {
        pdu.bhs.stamp_request(self.cmd_sn, self.stat_sn.exp_stat_sn());
        if !pdu.bhs.is_immediate() && pdu.bhs.opcode() != DataOut::OPCODE {
            self.cmd_sn = self.cmd_sn.next();
        }
        self.write(&pdu).await;
    }

    /// The target's next PDU that is more than news of the window, `None` if it has closed the connection.
    pub(crate) async fn receive(&mut self) -> Option<Pdu> {
        loop {
            let pdu = self.receive_any().await?;
            let is_news = matches!(
                pdu.bhs.response(),
                Response::NopIn(nop) if nop.itt.is_reserved() && nop.ttt.is_reserved()
            );
            if !is_news {
                return Some(pdu);
            }
        }
    }

    /// The target's next PDU. StatSN must be in sequence.
    pub(crate) async fn receive_any(&mut self) -> Option<Pdu> {
        let pdu = self.read().await?;
        if pdu.bhs.consumes_stat_sn() {
            self.stat_sn.take(pdu.bhs.own_sn.into()).expect("StatSN counts the responses");
        }
        let max_cmd_sn = pdu.bhs.max_cmd_sn.into();
        assert!(!SerialNumber::precedes(max_cmd_sn, self.max_cmd_sn), "MaxCmdSN went back");
        assert!(!SerialNumber::precedes(max_cmd_sn, SerialNumber::from(pdu.bhs.expected_sn).minus(1)), "{:?}", pdu.bhs);
        self.max_cmd_sn = max_cmd_sn;
        if matches!(pdu.bhs.response(), Response::Reject(_)) {
            self.close_gap(&pdu);
        }
        Some(pdu)
    }

    /// The next request has the number of the last one, if that was rejected.
    fn close_gap(&mut self, reject: &Pdu) {
        let rejected = SerialNumber(u32::from_be_bytes(reject.data[24..28].try_into().expect("a header")));
        let is_immediate = reject.data[0] & 0x40 != 0;
        if !is_immediate && rejected.next() == self.cmd_sn && SerialNumber::from(reject.bhs.expected_sn) == rejected {
            self.cmd_sn = rejected;
        }
    }

    pub(crate) async fn expect(&mut self) -> Pdu {
        self.receive().await.expect("the connection is open")
    }

    pub(crate) fn new_itt(&mut self) -> Tag {
        self.next_itt += 1;
        Tag::new(self.next_itt)
    }

    /// The header of a command that moves `expected_len` bytes.
    pub(crate) fn header(&mut self, command: Command, expected_len: u32) -> ScsiCommand {
        let direction = match command {
            _ if expected_len == 0 => 0,
            Command::Write { .. }
            | Command::Unmap { .. }
            | Command::Verify { .. }
            | Command::PersistentReserveOut { .. }
            | Command::ModeSelect { .. }
            | Command::SetTargetPortGroups { .. }
            | Command::PopulateToken { .. }
            | Command::WriteUsingToken { .. }
            | Command::Sanitize { .. } => ScsiCommand::WRITE,
            _ => ScsiCommand::READ,
        };
        ScsiCommand {
            flags: FINAL | direction | 1,
            lun: LUN,
            itt: self.new_itt(),
            expected_data_transfer_length: expected_len.into(),
            cdb: command.to_cdb().padded(),
            ..ScsiCommand::default()
        }
    }

    /// Sends a write with all the immediate and unsolicited data that the session allows.
    pub(crate) async fn send_write(&mut self, command: Command, data: &Bytes) -> Tag {
        let len = u32::try_from(data.len()).expect("short");
        let mut header = self.header(command, len);
        let plan = WritePlan::new(&self.parameters, len);
        let unsolicited = plan.unsolicited.clone();
        if !unsolicited.is_empty() {
            header.flags &= !FINAL;
        }
        let immediate = data.slice(plan.immediate.start as usize..plan.immediate.end as usize);
        self.send(Pdu::new(header, immediate)).await;
        self.send_data_out(header.itt, RESERVED_TAG, unsolicited, data).await;
        header.itt
    }

    pub(crate) async fn send_data_out(&mut self, itt: Tag, ttt: Tag, sequence: std::ops::Range<u32>, data: &Bytes) {
        for slice in data_out_slices(&self.parameters.clone(), sequence) {
            let header = DataOut {
                flags: if slice.is_final { FINAL } else { 0 },
                lun: LUN,
                itt,
                ttt,
                data_sn: slice.data_sn.into(),
                buffer_offset: slice.offset.into(),
                ..DataOut::default()
            };
            let start = slice.offset as usize;
            self.send(Pdu::new(header, data.slice(start..start + slice.length as usize))).await;
        }
    }

    /// Serves a command until it ends: answers R2Ts, gathers Data-In. Nothing else may come meanwhile.
    pub(crate) async fn finish(&mut self, itt: Tag, data_out: &Bytes, expected_len: u32) -> Outcome {
        let mut transfer = ReadTransfer::new(expected_len);
        let (mut r2ts, mut asked_for) = (0, 0);
        let mut data = Vec::new();
        let mut data_ins = 0;
        loop {
            let pdu = self.expect().await;
            assert_eq!(pdu.bhs.itt, itt, "{:?} is not about this command", pdu.bhs);
            match pdu.bhs.response() {
                Response::ReadyToTransfer(grant) => {
                    let start = grant.buffer_offset.get();
                    let len = grant.desired_data_transfer_length.get();
                    assert!(
                        (1..=self.parameters.max_burst_length).contains(&len),
                        "{len} is not within MaxBurstLength"
                    );
                    assert_eq!(grant.lun, LUN, "the unit of the command");
                    assert!(r2ts == 0 || grant.r2t_sn.get() == r2ts, "{grant:?} is number {r2ts}");
                    assert!(start >= asked_for, "{grant:?} goes back");
                    (r2ts, asked_for) = (grant.r2t_sn.get() + 1, start + len);
                    let ttt = grant.ttt;
                    self.send_data_out(itt, ttt, start..start + len, data_out).await;
                }
                Response::DataIn(header) => {
                    data_ins += 1;
                    assert!(
                        header.flags & ACKNOWLEDGE == 0,
                        "{header:?} asks for what ErrorRecoveryLevel 0 does not have"
                    );
                    let limit = self.parameters.initiator_max_recv_data_segment_length as usize;
                    assert!(pdu.data.len() <= limit, "{} bytes in one PDU", pdu.data.len());
                    transfer.accept(header, pdu.data.len()).expect("data in sequence");
                    data.extend_from_slice(&pdu.data);
                    if header.has_status() {
                        assert!(header.flags & FINAL != 0, "{header:?} has a status and is not the last");
                        assert_eq!(Status(header.status), Status::GOOD, "other ends have a response of their own");
                        let residual = residual_of(header.flags, header.residual_count.get());
                        return Outcome { status: Status(header.status), sense: None, data, residual };
                    }
                }
                Response::Scsi(header) => {
                    assert_eq!(header.exp_data_sn.get(), data_ins, "the Data-In PDUs");
                    let residual = residual_of(header.flags, header.residual_count.get());
                    let sense = (!pdu.data.is_empty()).then(|| Sense::parse(&pdu.data[2..]).expect("sense data"));
                    return Outcome { status: Status(header.status), sense, data, residual };
                }
                other => panic!("{other:?} is no answer to a command"),
            }
        }
    }

    /// Runs one command. `expected_len` is what it reads; what it writes is the length of `data_out`.
    pub(crate) async fn run(&mut self, command: Command, data_out: impl Into<Bytes>, expected_len: u32) -> Outcome {
        let data_out = data_out.into();
        let itt = if data_out.is_empty() {
            let header = self.header(command, expected_len);
            self.send(Pdu::bare(header)).await;
            header.itt
        } else {
            self.send_write(command, &data_out).await
        };
        self.finish(itt, &data_out, expected_len).await
    }

    pub(crate) async fn read_blocks(&mut self, lba: u64, count: u32) -> Vec<u8> {
        let outcome = self.run(read(lba, count), Bytes::new(), count * 512).await;
        assert_eq!((outcome.status, outcome.residual), (Status::GOOD, 0), "{:?}", outcome.sense);
        outcome.data
    }

    /// Sends a NOP-Out and waits for its answer, so that all that was sent before has been taken.
    pub(crate) async fn ping(&mut self, data: &'static [u8]) -> Bytes {
        let header = NopOut { itt: self.new_itt(), ttt: RESERVED_TAG, ..NopOut::default() };
        self.ping_by(header, data).await
    }

    /// As [`ping`](Self::ping), and whether the window is open does not matter.
    pub(crate) async fn ping_at_once(&mut self, data: &'static [u8]) -> Bytes {
        let mut header = NopOut { itt: self.new_itt(), ttt: RESERVED_TAG, ..NopOut::default() };
        header.operation = header.operation.immediate();
        self.ping_by(header, data).await
    }

    async fn ping_by(&mut self, header: NopOut, data: &'static [u8]) -> Bytes {
        self.send(Pdu::new(header, Bytes::from_static(data))).await;
        let pong = self.expect().await;
        let Response::NopIn(nop) = pong.bhs.response() else { panic!("{:?} is no answer to a ping", pong.bhs) };
        assert!(nop.itt == header.itt && nop.ttt.is_reserved(), "{nop:?}");
        pong.data
    }

    pub(crate) async fn send_management(&mut self, function: TaskFunction, referenced_task: Tag) -> Tag {
        let mut header = TaskManagementRequest {
            lun: LUN,
            itt: self.new_itt(),
            referenced_task,
            ref_cmd_sn: self.cmd_sn.into(),
            ..TaskManagementRequest::default()
        }
        .with_function(function);
        header.operation = header.operation.immediate();
        self.send(Pdu::bare(header)).await;
        header.itt
    }

    /// Answers a NOP-In that wants an answer.
    pub(crate) async fn answer(&mut self, question: NopIn) {
        let mut answer = NopOut { itt: RESERVED_TAG, ttt: question.ttt, lun: question.lun, ..NopOut::default() };
        answer.operation = answer.operation.immediate();
        self.send(Pdu::bare(answer)).await;
    }

    /// The target's next PDU, once it has its answer if it wants to know what this initiator expects.
    pub(crate) async fn expect_answering(&mut self) -> Pdu {
        let pdu = self.expect().await;
        match pdu.bhs.response() {
            Response::NopIn(&question) if !question.ttt.is_reserved() => {
                self.answer(question).await;
                self.expect().await
            }
            _ => pdu,
        }
    }

    pub(crate) async fn expect_managed(&mut self, itt: Tag) -> TaskResponse {
        let pdu = self.expect_answering().await;
        match pdu.bhs.response() {
            Response::TaskManagement(header) if header.itt == itt => header.response,
            other => panic!("{other:?} is no answer to task management"),
        }
    }

    /// Writes bytes that need not be a PDU.
    pub(crate) async fn write_raw(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.expect("the connection is open");
    }

    async fn write(&mut self, pdu: &Pdu) {
        let digests: DigestConfig = self.parameters.digests();
        self.stream.write_all_buf(&mut pdu.encode(digests)).await.expect("the connection is open");
    }

    async fn read(&mut self) -> Option<Pdu> {
        loop {
            if let Some(pdu) = self.decoder.decode(&mut self.buffer).expect("a PDU") {
                return Some(pdu);
            }
            let read = tokio::time::timeout(PATIENCE, self.stream.read_buf(&mut self.buffer)).await;
            // A connection that the target has cut off counts as closed.
            if read.expect("the target answers").unwrap_or(0) == 0 {
                return None;
            }
        }
    }
}

pub(crate) fn read(lba: u64, count: u32) -> Command {
    Command::Read { range: BlockRange::new(lba, count), fua: false }
}

pub(crate) fn write(lba: u64, count: u32) -> Command {
    Command::Write { range: BlockRange::new(lba, count), fua: false }
}

/// Bytes of which no two blocks are the same.
pub(crate) fn pattern(seed: u8, blocks: u32) -> Bytes {
    (0..blocks).flat_map(|block| [[seed; 4], block.to_be_bytes()].concat().repeat(64)).collect()
}

fn residual_of(flags: u8, count: u32) -> i64 {
    match flags & (ScsiResponse::OVERFLOW | ScsiResponse::UNDERFLOW) {
        0 => {
            assert_eq!(count, 0, "a residual without a direction");
            0
        }
        ScsiResponse::OVERFLOW => -i64::from(count),
        ScsiResponse::UNDERFLOW => i64::from(count),
        _ => panic!("a residual in both directions"),
    }
}
