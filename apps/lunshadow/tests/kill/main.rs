//! The built program is killed while initiators write to it, again and again: what was answered is there, flushed or not.
//!
//! Here each writer has a session and blocks of its own. It notes what was answered; after the next start, each block must hold that, or something newer
//! that was on its way. `LUNSHADOW_KILL_ROUNDS` is the number of kills,
//! `LUNSHADOW_KILL_SEED` the seed.
#![expect(clippy::print_stderr, reason = "a run says what it has done")]

mod fio;
mod served;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use lunshadow::array::{Storage, TARGET_NAME};
use lunshadow::serve::GUEST;
use lunshadow_initiator::{Disk, DiskError, Session, SessionConfig};
use lunshadow_lun::{BlockCount, Pool as _};
use lunshadow_scsi::LunAddress;
use lunshadow_store::{StoreConfig, StorePool};
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use served::{Served, check, from_environment};

const LUNS: u64 = 3;
const WRITERS: u64 = 6;
/// How many blocks of 4096 bytes a writer has; those of the writers of one LUN are beside each other.
const BLOCKS: u64 = 1500;
const BLOCK_BYTES: usize = 4096;

/// What a block may hold.
#[derive(Debug, Clone, Default)]
struct Known {
    /// What was answered last.
    answered: u64,
    /// What was sent since.
    newer: Vec<u64>,
}

struct Writer {
    number: u64,
    lun: u8,
    random: SmallRng,
    stamp: u64,
    blocks: BTreeMap<u64, Known>,
}

fn content(stamp: u64, block: u64) -> Vec<u8> {
    let words = if stamp == 0 { [0, 0] } else { [stamp, block] };
    words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<u8>>().repeat(BLOCK_BYTES / 16)
}

impl Writer {
    fn new(number: u64, luns: &[u8], seed: u64) -> Self {
        let random = SmallRng::seed_from_u64(seed.wrapping_mul(WRITERS) + number);
        let lun = luns[usize::try_from(number % LUNS).expect("a small number")];
        Self { number, lun, random, stamp: 0, blocks: BTreeMap::new() }
    }

    async fn disk(&self, portal: SocketAddr) -> anyhow::Result<Disk> {
        let name = format!("iqn.2026-11.com.example:writer-{}", self.number).parse()?;
        let session = Session::connect(portal, SessionConfig::new(name, TARGET_NAME)).await?;
        Ok(Disk::new(session, LunAddress::peripheral(self.lun)))
    }

    fn first_block(&self) -> u64 {
        self.number / LUNS * BLOCKS
    }

    /// Writes until the array is gone, and says so to `flushed` after each flush that was answered.
    async fn write(&mut self, disk: &Disk, flushed: &mpsc::UnboundedSender<()>) -> Result<(), DiskError> {
        loop {
            for _ in 0..self.random.random_range(1..12) {
                let count = self.random.random_range(1..=24).min(BLOCKS);
                let at = self.first_block() + self.random.random_range(0..=BLOCKS - count);
                self.stamp += 1;
                let mut data = Vec::new();
                for block in at..at + count {
                    data.extend(content(self.stamp, block));
                    self.blocks.entry(block).or_default().newer.push(self.stamp);
                }
                disk.write(at * 8, Bytes::from(data)).await?;
                for block in at..at + count {
                    self.blocks.insert(block, Known { answered: self.stamp, newer: Vec::new() });
                }
            }
            disk.flush().await?;
            // Nobody listens any more when the array is being killed.
            flushed.send(()).ok();
        }
    }

    /// Compares everything with what is known, and knows it better afterwards. How many blocks hold something newer than what was answered.
    async fn verify(&mut self, disk: &Disk) -> anyhow::Result<usize> {
        let (mut at, end) = (self.first_block(), self.first_block() + BLOCKS);
        let mut newer = 0;
        while at < end {
            let count = (end - at).min(250);
            let data = disk.read(at * 8, u32::try_from(count * 8)?).await?;
            for (block, found) in (at..at + count).zip(data.chunks_exact(BLOCK_BYTES)) {
                let stamp = u64::from_le_bytes(*found.first_chunk().context("a block is longer")?);
                ensure!(found == content(stamp, block), "writer {}: block {block} is torn", self.number);
                let known = self.blocks.entry(block).or_default();
                ensure!(
                    stamp == known.answered || known.newer.contains(&stamp),
                    "writer {}: block {block} holds {stamp}, and may hold {known:?}",
                    self.number
                );
                newer += usize::from(stamp != known.answered);
                *known = Known { answered: stamp, newer: Vec::new() };
            }
            at += count;
        }
        Ok(newer)
    }
}

/// A pool with LUNs for everybody; their numbers.
async fn make_pool(folder: &Path, luns: u64) -> anyhow::Result<Vec<u8>> {
    // A short log, so that a round has many checkpoints.
    let config = StoreConfig { capacity_bytes: 4 << 30, log_bytes: 1 << 20, ..StoreConfig::default() };
    StorePool::create(folder, &config)?.close().await?;
    let storage = Storage::open(folder).await?;
    let guest = storage.host("guest", &GUEST.parse()?).await?;
    let mut numbers = Vec::new();
    for _ in 0..luns {
        let (_, _, number) = storage.new_lun("data", BlockCount(2 * BLOCKS * 8), guest).await?;
        numbers.push(number.0);
    }
    storage.close().await?;
    Ok(numbers)
}

/// A round: what the last one has left is verified, then all write until the array is killed. What was newer than it had to be, and
/// how many flushes were answered.
async fn round(pool: &Path, writers: &mut Vec<Writer>, kill_after: usize) -> anyhow::Result<(usize, usize)> {
    let served = Served::start(pool).await?;
    let mut newer = 0;
    let mut disks = Vec::new();
    for writer in writers.iter_mut() {
        let disk = writer.disk(served.portal).await?;
        newer += writer.verify(&disk).await?;
        disks.push(disk);
    }
    let (send, mut flushed) = mpsc::unbounded_channel();
    let mut tasks = JoinSet::new();
    for (mut writer, disk) in writers.drain(..).zip(disks) {
        let send = send.clone();
        tasks.spawn(async move {
            let ended = writer.write(&disk, &send).await;
            (writer, ended)
        });
    }
    drop(send);
    let mut flushes = 0;
    while flushes < kill_after && flushed.recv().await.is_some() {
        flushes += 1;
    }
    ensure!(
        flushes == kill_after,
        "the writers have ended before the array was killed: {:?}",
        tasks.join_next().await.map(|ended| ended.map(|(_, ended)| ended))
    );
    served.kill(pool)?;
    while let Some(ended) = tasks.join_next().await {
        writers.push(ended?.0);
    }
    check(pool)?;
    Ok((newer, flushes))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_array_has_lost_nothing_that_was_answered() -> anyhow::Result<()> {
    let (rounds, seed) = (from_environment("LUNSHADOW_KILL_ROUNDS", 3), from_environment("LUNSHADOW_KILL_SEED", 1));
    let folder = tempfile::tempdir()?;
    let pool = folder.path().join("pool");
    let luns = make_pool(&pool, LUNS).await?;
    let mut writers: Vec<Writer> = (0..WRITERS).map(|number| Writer::new(number, &luns, seed)).collect();
    let mut random = SmallRng::seed_from_u64(seed);
    let (mut newer, mut flushes) = (0, 0);
    for number in 0..rounds {
        let kill_after = random.random_range(20..200);
        let seen = round(&pool, &mut writers, kill_after).await;
        let seen = seen.with_context(|| format!("seed {seed}, round {number}, killed after {kill_after} flushes"))?;
        newer += seen.0;
        flushes += seen.1;
    }
    let served = Served::start(&pool).await?;
    for writer in &mut writers {
        let disk = writer.disk(served.portal).await?;
        newer += writer.verify(&disk).await?;
    }
    let stamps: u64 = writers.iter().map(|writer| writer.stamp).sum();
    eprintln!(
        "{rounds} kills, {stamps} writes, {flushes} flushes; {newer} blocks newer than what was answered were there"
    );
    Ok(())
}
