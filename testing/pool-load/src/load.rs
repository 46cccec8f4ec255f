//! Requests in flight, and how long each took.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use bytes::Bytes;
use clap::{Args, ValueEnum};
use lunshadow_lun::{BlockCount, LOGICAL_BLOCK_BYTES, Lba, LunHandle};
use rand::rngs::SmallRng;
use rand::seq::SliceRandom as _;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Value, json};
use tokio::task::JoinSet;

const LOGICAL_LEN: u64 = LOGICAL_BLOCK_BYTES as u64;
/// What buffers begin at a multiple of, as those of any program that bypasses the page cache do.
const ALIGNMENT: usize = 4096;

/// Which requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Pattern {
    /// Reads of random places
    RandomRead,
    /// Writes to random places
    RandomWrite,
    /// Reads from the beginning on, and round again
    Read,
    /// Writes from the beginning on, and round again
    Write,
}

/// What to do to the LUN.
#[derive(Debug, Clone, Args)]
pub(crate) struct Load {
    /// Which requests
    #[arg(long)]
    pub(crate) pattern: Pattern,
    /// The length of each
    #[arg(long)]
    pub(crate) block_bytes: u64,
    /// How many are in flight at any time
    #[arg(long)]
    pub(crate) depth: u64,
    /// Flush after each write, before the next one
    #[arg(long)]
    pub(crate) flush: bool,
    /// How long. Without it, so many bytes as `--bytes` says are read or written, no place twice
    #[arg(long)]
    pub(crate) seconds: Option<f64>,
    /// How much, where no time is given; the whole LUN by default
    #[arg(long)]
    pub(crate) bytes: Option<u64>,
}

/// Hands out places to the tasks.
enum Places {
    /// Any, again and again.
    Random { count: u64 },
    /// One after another, and round again.
    Round { count: u64, next: AtomicU64 },
    /// These, each once.
    Once { places: Vec<u64>, next: AtomicU64 },
}

impl Places {
    fn of(load: &Load, lun_bytes: u64, random: &mut SmallRng) -> anyhow::Result<Self> {
        let count = lun_bytes / load.block_bytes;
        ensure!(count > 0, "the LUN is shorter than one request");
        let is_random = matches!(load.pattern, Pattern::RandomRead | Pattern::RandomWrite);
        if load.seconds.is_some() {
            return Ok(if is_random { Self::Random { count } } else { Self::Round { count, next: AtomicU64::new(0) } });
        }
        let mut places: Vec<u64> = (0..count).collect();
        if is_random {
            places.shuffle(random);
        }
        let wanted = load.bytes.unwrap_or(lun_bytes) / load.block_bytes;
        places.truncate(usize::try_from(wanted)?);
        Ok(Self::Once { places, next: AtomicU64::new(0) })
    }

    fn next(&self, random: &mut SmallRng) -> Option<u64> {
        match self {
            Self::Random { count } => Some(random.random_range(0..*count)),
            Self::Round { count, next } => Some(next.fetch_add(1, Ordering::Relaxed) % count),
            Self::Once { places, next } => {
                let at = usize::try_from(next.fetch_add(1, Ordering::Relaxed)).ok()?;
                places.get(at).copied()
            }
        }
    }
}

/// Tasks with one request in flight each.
pub(crate) struct Running {
    tasks: JoinSet<anyhow::Result<Vec<Duration>>>,
    stop: Arc<AtomicBool>,
    begin: Instant,
    block_bytes: u64,
}

/// Begins a load, which is spread over LUNs of the same length.
pub(crate) fn begin(luns: &[LunHandle], load: &Load) -> anyhow::Result<Running> {
    let first = luns.first().context("no LUN")?;
    let mut random = SmallRng::seed_from_u64(rand::random());
    let places = Arc::new(Places::of(load, first.block_count().bytes(), &mut random)?);
    let stop = Arc::new(AtomicBool::new(false));
    let mut tasks = JoinSet::new();
    let begin = Instant::now();
    for task in 0..load.depth {
        let task = Task {
            luns: luns.to_vec(),
            load: load.clone(),
            places: Arc::clone(&places),
            stop: Arc::clone(&stop),
            random: SmallRng::seed_from_u64(random.random::<u64>() ^ task),
            data: aligned_data(usize::try_from(load.block_bytes)?, &mut random),
        };
        tasks.spawn(task.run(begin));
    }
    Ok(Running { tasks, stop, begin, block_bytes: load.block_bytes })
}

impl Running {
    /// Waits for the load's own end.
    pub(crate) async fn finish(mut self) -> anyhow::Result<Value> {
        let mut latencies = Vec::new();
        while let Some(task) = self.tasks.join_next().await {
            latencies.extend(task.context("a task panicked")??);
        }
        let elapsed_s = self.begin.elapsed().as_secs_f64();
        let count = u32::try_from(latencies.len())?;
        let per_s = f64::from(count) / elapsed_s;
        let block_bytes = f64::from(u32::try_from(self.block_bytes)?);
        Ok(json!({
            "operations_per_s": per_s,
            "bytes_per_s": per_s * block_bytes,
            "p50_us": percentile_us(&mut latencies, 50),
            "p99_us": percentile_us(&mut latencies, 99),
        }))
    }

    /// Ends the load now.
    pub(crate) async fn end(self) -> anyhow::Result<Value> {
        self.stop.store(true, Ordering::Relaxed);
        self.finish().await
    }
}

struct Task {
    luns: Vec<LunHandle>,
    load: Load,
    places: Arc<Places>,
    stop: Arc<AtomicBool>,
    random: SmallRng,
    data: Bytes,
}

impl Task {
    async fn run(mut self, begin: Instant) -> anyhow::Result<Vec<Duration>> {
        let mut latencies = Vec::new();
        let limit = self.load.seconds.map(Duration::try_from_secs_f64).transpose()?;
        while !self.stop.load(Ordering::Relaxed) && limit.is_none_or(|limit| begin.elapsed() < limit) {
            match self.one().await? {
                ControlFlow::Continue(latency) => latencies.push(latency),
                ControlFlow::Break(()) => break,
            }
        }
        Ok(latencies)
    }

    async fn one(&mut self) -> anyhow::Result<ControlFlow<(), Duration>> {
        let Some(place) = self.places.next(&mut self.random) else { return Ok(ControlFlow::Break(())) };
        let at = Lba(place * self.load.block_bytes / LOGICAL_LEN);
        let lun = &self.luns[self.random.random_range(0..self.luns.len())];
        let begin = Instant::now();
        if matches!(self.load.pattern, Pattern::RandomRead | Pattern::Read) {
            let content = lun.read(at, BlockCount(self.load.block_bytes / LOGICAL_LEN)).await?;
            if content.len() != self.data.len() {
                bail!("a read gave {} bytes", content.len());
            }
        } else {
            lun.write(at, self.data.clone()).await?;
            if self.load.flush {
                lun.flush().await?;
            }
        }
        Ok(ControlFlow::Continue(begin.elapsed()))
    }
}

/// Random bytes that begin at a multiple of [`ALIGNMENT`].
fn aligned_data(len: usize, random: &mut SmallRng) -> Bytes {
    let mut buffer = vec![0; len + ALIGNMENT];
    random.fill(&mut buffer[..]);
    let skip = buffer.as_ptr().align_offset(ALIGNMENT);
    Bytes::from(buffer).slice(skip..skip + len)
}

/// The latency that so many percent of the requests do not exceed; zero if there was none.
pub(crate) fn percentile_us(latencies: &mut [Duration], percent: usize) -> f64 {
    if latencies.is_empty() {
        return 0.0;
    }
    let at = (latencies.len() * percent / 100).min(latencies.len() - 1);
    latencies.select_nth_unstable(at).1.as_secs_f64() * 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(pattern: Pattern, seconds: Option<f64>, bytes: Option<u64>) -> Load {
        Load { pattern, block_bytes: 4096, depth: 1, flush: false, seconds, bytes }
    }

    fn taken(places: &Places, at_most: usize) -> Vec<u64> {
        let mut random = SmallRng::seed_from_u64(1);
        std::iter::from_fn(|| places.next(&mut random)).take(at_most).collect()
    }

    #[test]
    fn a_load_without_a_time_takes_each_place_once() {
        let mut random = SmallRng::seed_from_u64(1);
        let places = Places::of(&load(Pattern::RandomWrite, None, None), 8 * 4096, &mut random).expect("long enough");
        let mut all = taken(&places, 100);
        assert_ne!(all, (0..8).collect::<Vec<_>>(), "they are shuffled");
        all.sort_unstable();
        assert_eq!(all, (0..8).collect::<Vec<_>>());
        let half = load(Pattern::Write, None, Some(4 * 4096));
        assert_eq!(taken(&Places::of(&half, 8 * 4096, &mut random).expect("long enough"), 100), [0, 1, 2, 3]);
    }

    #[test]
    fn a_load_with_a_time_goes_round() {
        let mut random = SmallRng::seed_from_u64(1);
        let read = load(Pattern::Read, Some(1.0), None);
        assert_eq!(taken(&Places::of(&read, 2 * 4096, &mut random).expect("long enough"), 5), [0, 1, 0, 1, 0]);
        let random_read = load(Pattern::RandomRead, Some(1.0), None);
        let places = Places::of(&random_read, 2 * 4096, &mut random).expect("long enough");
        assert!(taken(&places, 100).iter().all(|place| *place < 2));
    }

    #[test]
    fn percentiles_are_of_the_sorted_latencies() {
        let mut latencies: Vec<_> = (1..=200).rev().map(Duration::from_micros).collect();
        assert!((percentile_us(&mut latencies, 50) - 101.0).abs() < 1e-6);
        assert!((percentile_us(&mut latencies, 99) - 199.0).abs() < 1e-6);
        assert!(percentile_us(&mut [], 99).abs() < 1e-6);
    }

    #[test]
    fn buffers_are_aligned() {
        let data = aligned_data(4096, &mut SmallRng::seed_from_u64(1));
        assert_eq!((data.len(), data.as_ptr().align_offset(ALIGNMENT)), (4096, 0));
    }
}
