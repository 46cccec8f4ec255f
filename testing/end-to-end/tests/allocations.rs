//! Small commands in a steady state take no memory from the allocator, but for what is kept of their data: what they need is used again.
//!
//! The initiator is as plain as can be, so that it takes none either: what is counted is the whole process.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use anyhow::ensure;
use bytes::{Buf as _, Bytes};
use lunshadow_end_to_end::array::{INITIATOR, TestArray};
use lunshadow_iscsi::pdu::{DigestConfig, FINAL, Isid, LoginRequest, Pdu, ScsiCommand, Stage, Tag};
use lunshadow_scsi::LunAddress;
use lunshadow_store::{IoMode, StoreConfig, StorePool};

#[global_allocator]
static ALLOCATOR: dhat::Alloc = dhat::Alloc;

const BLOCK_BYTES: usize = 4096;
const LUN_BYTES: u64 = 64 << 20;
/// How much of the LUN is read and written, in blocks: it fits into the read cache.
const BLOCKS: u64 = 256;
/// Until everything has its size.
const WARM_UP: u64 = 4000;
const COUNTED: u64 = 5000;
/// For what the pool does meanwhile by itself.
const BESIDES: u64 = COUNTED / 50;
const BHS_BYTES: usize = 48;
// Where a SCSI Command has these fields, and the CDB of a READ (16) or WRITE (16) in it its LBA.
const ITT_AT: usize = 16;
const CMD_SN_AT: usize = 24;
const EXP_STAT_SN_AT: usize = 28;
const LBA_AT: usize = 34;

/// One command at a time.
struct Initiator {
    stream: TcpStream,
    cmd_sn: u32,
    exp_stat_sn: u32,
    read: Vec<u8>,
    write: Vec<u8>,
    answer: Vec<u8>,
}

fn bytes_of(pdu: &Pdu) -> Vec<u8> {
    let mut encoded = pdu.encode(DigestConfig::default());
    encoded.copy_to_bytes(encoded.remaining()).into()
}

/// The header of a PDU, whose data is of no interest.
fn read_short_answer(stream: &mut TcpStream) -> anyhow::Result<[u8; BHS_BYTES]> {
    let mut header = [0; BHS_BYTES];
    stream.read_exact(&mut header)?;
    let data_len = usize::from(header[6]) << 8 | usize::from(header[7]);
    stream.read_exact(&mut vec![0; data_len.next_multiple_of(4)])?;
    Ok(header)
}

impl Initiator {
    /// Logs in with what the target offers by default: immediate data, no digests.
    fn log_in(portal: SocketAddr, target_name: &str, lun: LunAddress) -> anyhow::Result<Self> {
        let mut stream = TcpStream::connect(portal)?;
        stream.set_nodelay(true)?;
        let keys = format!("InitiatorName={INITIATOR}\0TargetName={target_name}\0SessionType=Normal\0");
        // Operational negotiation, and from there to the full feature phase.
        let flags = FINAL | Stage::OPERATIONAL.0 << 2 | Stage::FULL_FEATURE.0;
        let login =
            LoginRequest { flags, isid: Isid([0x80, 0, 0, 0, 0, 1]), itt: Tag::new(1), ..LoginRequest::default() };
        stream.write_all(&bytes_of(&Pdu::new(login, keys.into())))?;
        let header = read_short_answer(&mut stream)?;
        ensure!(header[1] == flags && header[36] == 0, "the login is not over: {header:?}");
        let command = |opcode: u8, direction: u8, data: Bytes| {
            let mut cdb = [0; 16];
            (cdb[0], cdb[13]) = (opcode, 8);
            let header = ScsiCommand {
                flags: FINAL | direction | 1,
                lun,
                expected_data_transfer_length: 4096.into(),
                cdb,
                ..ScsiCommand::default()
            };
            bytes_of(&Pdu::new(header, data))
        };
        let stat_sn = u32::from_be_bytes([header[24], header[25], header[26], header[27]]);
        // The first command hears that the unit is new (SAM-5 5.14).
        stream.write_all(&command(0x88, ScsiCommand::READ, Bytes::new()))?;
        read_short_answer(&mut stream)?;
        Ok(Self {
            stream,
            cmd_sn: 1,
            exp_stat_sn: stat_sn.wrapping_add(2),
            read: command(0x88, ScsiCommand::READ, Bytes::new()),
            write: command(0x8a, ScsiCommand::WRITE, Bytes::from(vec![7; BLOCK_BYTES])),
            answer: vec![0; BHS_BYTES + BLOCK_BYTES],
        })
    }

    /// Reads or writes a block, which is then in `answer` or was filled with `tag`.
    fn run(&mut self, block: u64, tag: Option<u8>) -> anyhow::Result<()> {
        let command = if tag.is_some() { &mut self.write } else { &mut self.read };
        command[ITT_AT..ITT_AT + 4].copy_from_slice(&self.cmd_sn.to_be_bytes());
        command[CMD_SN_AT..CMD_SN_AT + 4].copy_from_slice(&self.cmd_sn.to_be_bytes());
        command[EXP_STAT_SN_AT..EXP_STAT_SN_AT + 4].copy_from_slice(&self.exp_stat_sn.to_be_bytes());
        command[LBA_AT..LBA_AT + 8].copy_from_slice(&(8 * block).to_be_bytes());
        let answer_len = match tag {
            Some(tag) => {
                command[BHS_BYTES..].fill(tag);
                BHS_BYTES
            }
            None => BHS_BYTES + BLOCK_BYTES,
        };
        self.stream.write_all(command)?;
        self.stream.read_exact(&mut self.answer[..answer_len])?;
        let (opcode, status) = (self.answer[0], self.answer[3]);
        let expected_opcode = if tag.is_some() { 0x21 } else { 0x25 };
        ensure!((opcode, status) == (expected_opcode, 0), "block {block} was answered {:?}", &self.answer[..BHS_BYTES]);
        self.cmd_sn = self.cmd_sn.wrapping_add(1);
        self.exp_stat_sn = self.exp_stat_sn.wrapping_add(1);
        Ok(())
    }

    /// How many allocations `COUNTED` commands cost.
    fn count(&mut self, mut command: impl FnMut(&mut Self, u64) -> anyhow::Result<()>) -> anyhow::Result<u64> {
        for number in 0..WARM_UP {
            command(self, number)?;
        }
        let before = dhat::HeapStats::get().total_blocks;
        for number in 0..COUNTED {
            command(self, number)?;
        }
        Ok(dhat::HeapStats::get().total_blocks - before)
    }
}

/// All over the part that is used, neighbours not one after the other.
const fn block_of(number: u64) -> u64 {
    number * 89 % BLOCKS
}

fn tag_of(number: u64) -> u8 {
    (number % 250).to_le_bytes()[0] + 1
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_take_no_memory_from_the_allocator_and_writes_what_keeps_their_data() -> anyhow::Result<()> {
    let config = StoreConfig { read_cache_bytes: 64 << 20, write_behind_bytes: 64 << 20, ..StoreConfig::default() };
    let array = TestArray::start_with(vec![SocketAddr::from(([127, 0, 0, 1], 0)).into()], |folder| {
        drop(StorePool::create(folder, &config)?);
        Ok(StorePool::open_with(folder, &config, IoMode::Uring)?)
    });
    let array = array.await?;
    let lun = array.add_lun("data", LUN_BYTES).await?;
    let (portal, target_name) = (array.portal(), array.target_name().to_owned());
    let profiler = dhat::Profiler::builder().testing().build();
    let counts = tokio::task::spawn_blocking(move || {
        let mut initiator = Initiator::log_in(portal, &target_name, LunAddress::peripheral(lun.number.0))?;
        let writes = initiator.count(|initiator, number| initiator.run(block_of(number), Some(tag_of(number))))?;
        let reads = initiator.count(|initiator, number| {
            initiator.run(block_of(number), None)?;
            ensure!(initiator.answer[BHS_BYTES] != 0, "block {} is not what was written", block_of(number));
            Ok(())
        })?;
        anyhow::Ok((reads, writes))
    });
    let (reads, writes) = counts.await??;
    drop(profiler);
    ensure!(reads <= BESIDES, "{COUNTED} reads cost {reads} allocations");
    // What is written is copied for the read cache, into memory that is used again; the count of those who share it is not. What waits for a slow medium
    // goes there together, which takes a few for all of it.
    ensure!(writes <= 3 * COUNTED, "{COUNTED} writes cost {writes} allocations");
    Ok(())
}
