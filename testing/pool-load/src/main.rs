//! `lunshadow-pool-load PLACE`: a pool under load, driven by commands on standard input, each answered with one line of JSON.
//!
//! It calls the pool as the target does, with tasks of tokio that have one request in flight each: what fio is for files. The pool's folder must
//! not exist, or the device hold no pool; whoever starts this program removes it.
#![expect(clippy::print_stdout, reason = "a command line program answers there")]

mod load;

use std::io::BufRead as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use bytes::Bytes;
use clap::Parser;
use lunshadow_lun::{BlockCount, LOGICAL_BLOCK_BYTES, Lba, LunHandle, LunId, Pool as _, ShadowMember, ShadowSetId};
use lunshadow_store::{IoMode, StoreConfig, StorePool};
use serde_json::{Value, json};

use load::{Load, Pattern, percentile_us};

const COMMIT_AT_MOST: Duration = Duration::from_secs(60);
/// How many requests are in flight while groups are captured.
const WRITERS: u64 = 32;
/// How many snapshots are many.
const SNAPSHOTS: usize = 64;

/// A pool under load.
#[derive(Parser)]
struct Arguments {
    /// The folder of the new pool, or a block device
    place: PathBuf,
    /// How much the pool may use
    #[arg(long)]
    capacity_bytes: u64,
    /// The length of the LUN
    #[arg(long)]
    lun_bytes: u64,
    /// Make the pool's file one that is not sparse
    #[arg(long)]
    preallocate: bool,
    /// Memory for data that was read or written
    #[arg(long, default_value_t = 0)]
    read_cache_bytes: u64,
}

/// What standard input may hold.
#[derive(Parser)]
#[command(no_binary_name = true)]
enum Command {
    /// Puts the LUN under load
    Load(Load),
    /// Takes a snapshot of the LUN
    Snapshot,
    /// Deletes all snapshots
    DeleteSnapshots,
    /// Lets the pool do what it does when nobody asks for anything
    Rest,
    /// Where the pool's space is
    Usage,
    /// Takes snapshots of LUNs in several states by turns
    SnapshotsByTurns(ByTurns),
    /// Captures a group of LUNs again and again, while writers keep all of them busy
    Group(Group),
}

#[derive(Debug, clap::Args)]
struct Group {
    /// How many LUNs, which share the length of the one LUN
    #[arg(long)]
    luns: u64,
    /// How many times
    #[arg(long)]
    times: usize,
}

#[derive(Debug, clap::Args)]
struct ByTurns {
    /// How many of each
    #[arg(long)]
    times: usize,
}

struct Bench {
    pool: StorePool,
    lun: LunHandle,
    shadows: Vec<LunId>,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let capacity_bytes = arguments.capacity_bytes;
    let Arguments { preallocate, read_cache_bytes, .. } = arguments;
    let config = StoreConfig { capacity_bytes, preallocate, read_cache_bytes, ..StoreConfig::default() };
    StorePool::create(&arguments.place, &config)?.close().await?;
    let pool = StorePool::open_with(&arguments.place, &config, IoMode::Auto)?;
    tokio::spawn(pool.driver());
    let lun = pool.create(LunId::random(), blocks(arguments.lun_bytes)).await?;
    let mut bench = Bench { pool, lun, shadows: Vec::new() };
    println!("{}", json!({ "ready": true }));
    for line in std::io::stdin().lock().lines() {
        let line = line.context("standard input cannot be read")?;
        let answer = bench.answer(Command::try_parse_from(line.split_whitespace())?).await?;
        println!("{answer}");
    }
    Ok(())
}

impl Bench {
    async fn answer(&mut self, command: Command) -> anyhow::Result<Value> {
        match command {
            Command::Load(load) => load::begin(std::slice::from_ref(&self.lun), &load)?.finish().await,
            Command::Snapshot => {
                let (taken, members) = self.capture(std::slice::from_ref(&self.lun)).await?;
                self.shadows.extend(members);
                Ok(json!({ "taken_us": micros(taken) }))
            }
            Command::DeleteSnapshots => self.delete_snapshots().await,
            Command::Rest => {
                let begin = Instant::now();
                self.pool.wait_defragmented().await?;
                Ok(json!({ "took_us": micros(begin.elapsed()) }))
            }
            Command::Usage => {
                let usage = self.pool.usage();
                Ok(json!({
                    "used_bytes": usage.used_bytes - usage.own_bytes - usage.freed_bytes,
                    "map_bytes": usage.map_bytes,
                    "data_bytes": usage.data_bytes,
                }))
            }
            Command::SnapshotsByTurns(by_turns) => self.by_turns(by_turns.times).await,
            Command::Group(group) => self.group(&group).await,
        }
    }

    /// One set of these LUNs: how long it took, preparation included, and the shadow LUNs.
    async fn capture(&self, luns: &[LunHandle]) -> anyhow::Result<(Duration, Vec<LunId>)> {
        let set = ShadowSetId(uuid::Uuid::new_v4());
        let members: Vec<ShadowMember> =
            luns.iter().map(|lun| ShadowMember { source: lun.id(), shadow: LunId::random() }).collect();
        let begin = Instant::now();
        self.pool.prepare(set, &members).await?;
        self.pool.commit(set, COMMIT_AT_MOST).await?;
        Ok((begin.elapsed(), members.iter().map(|member| member.shadow).collect()))
    }

    async fn delete_snapshots(&mut self) -> anyhow::Result<Value> {
        let begin = Instant::now();
        for shadow in self.shadows.drain(..) {
            self.pool.delete(shadow).await?;
        }
        let answered = begin.elapsed();
        self.pool.wait_reclaimed().await?;
        Ok(json!({ "answered_us": micros(answered), "space_back_us": micros(begin.elapsed()) }))
    }

    /// The medians of the latencies of snapshots of a LUN, of a larger one, of one that was overwritten at random, and of one that has many.
    async fn by_turns(&mut self, times: usize) -> anyhow::Result<Value> {
        let len_bytes = self.lun.block_count().bytes() / 8;
        let fresh = self.filled(len_bytes).await?;
        let large = self.filled(4 * len_bytes).await?;
        let overwritten = self.filled(len_bytes).await?;
        let scatter = load_of(Pattern::RandomWrite, 4096, WRITERS, None);
        load::begin(std::slice::from_ref(&overwritten), &scatter)?.finish().await?;
        let many = self.filled(len_bytes).await?;
        let mut of_many = Vec::new();
        for _ in 0..SNAPSHOTS {
            let few = Load { bytes: Some(len_bytes / 64), ..load_of(Pattern::RandomWrite, 4096, WRITERS, None) };
            load::begin(std::slice::from_ref(&many), &few)?.finish().await?;
            of_many.extend(self.capture(std::slice::from_ref(&many)).await?.1);
        }
        let states = [
            ("written in order", fresh),
            ("four times as large", large),
            ("overwritten at random", overwritten),
            ("with 64 snapshots", many),
        ];
        let mut latencies = states.each_ref().map(|_| Vec::new());
        for _ in 0..times {
            for ((_, lun), latencies) in states.iter().zip(&mut latencies) {
                // What was written before is no part of a snapshot's own time, but there is always something that changed.
                lun.write(Lba(0), Bytes::from(vec![1; 4096])).await?;
                lun.flush().await?;
                let (taken, shadows) = self.capture(std::slice::from_ref(lun)).await?;
                latencies.push(taken);
                of_many.extend(shadows);
                self.pool.delete(of_many.pop().context("one was taken")?).await?;
            }
        }
        for lun in of_many.into_iter().chain(states.iter().map(|(_, lun)| lun.id())) {
            self.pool.delete(lun).await?;
        }
        self.pool.wait_reclaimed().await?;
        let figures = states.iter().zip(&mut latencies);
        Ok(figures.map(|((state, _), latencies)| (*state, percentile_us(latencies, 50))).collect())
    }

    /// A LUN that was written in order.
    async fn filled(&self, len_bytes: u64) -> anyhow::Result<LunHandle> {
        let lun = self.pool.create(LunId::random(), blocks(len_bytes)).await?;
        load::begin(std::slice::from_ref(&lun), &load_of(Pattern::Write, 1 << 20, 8, None))?.finish().await?;
        lun.flush().await?;
        Ok(lun)
    }

    async fn group(&mut self, group: &Group) -> anyhow::Result<Value> {
        let len_bytes = self.lun.block_count().bytes() / group.luns;
        ensure!(len_bytes > 0, "there are more LUNs than the LUN has bytes");
        let mut luns = Vec::new();
        for _ in 0..group.luns {
            luns.push(self.filled(len_bytes).await?);
        }
        let running = load::begin(&luns, &load_of(Pattern::RandomWrite, 4096, WRITERS, Some(f64::from(u32::MAX))))?;
        let mut latencies = Vec::new();
        for _ in 0..group.times {
            let (taken, shadows) = self.capture(&luns).await?;
            latencies.push(taken);
            for shadow in shadows {
                self.pool.delete(shadow).await?;
            }
        }
        let load = running.end().await?;
        for lun in luns {
            self.pool.delete(lun.id()).await?;
        }
        self.pool.wait_reclaimed().await?;
        Ok(json!({
            "p50_us": percentile_us(&mut latencies, 50),
            "p99_us": percentile_us(&mut latencies, 99),
            "longest_us": percentile_us(&mut latencies, 100),
            "load": load,
        }))
    }
}

fn load_of(pattern: Pattern, block_bytes: u64, depth: u64, seconds: Option<f64>) -> Load {
    Load { pattern, block_bytes, depth, flush: false, seconds, bytes: None }
}

fn blocks(bytes: u64) -> BlockCount {
    BlockCount(bytes / u64::from(LOGICAL_BLOCK_BYTES))
}

fn micros(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}
