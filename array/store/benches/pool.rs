//! What a group snapshot costs, and what it costs the writes after it.
//!
//! * `commit`: the time from the commit of a set to its answer, durability included, while 32 writers keep all LUNs busy.
//! * `write_4k`: random writes of 4 KiB to a LUN of 512 MiB that is full, with 32 in flight, or one by one with a flush after each;
//!   as long as nothing is shared, and from the moment of a fresh snapshot on.
//!
//! The pool lies in the folder for temporary files, or in `LUNSHADOW_BENCH_DIR`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use lunshadow_lun::{BlockCount, Lba, LunHandle, LunId, Pool as _, ShadowMember, ShadowSetId};
use lunshadow_store::{StoreConfig, StorePool};
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

const WRITERS: u64 = 32;
const LUN_BYTES: u64 = 512 << 20;
/// How many writes follow a snapshot in one measurement with 32 in flight, and one by one.
const WRITES_AT_ONCE: u64 = 32768;
const WRITES_WITH_FLUSH: u64 = 512;
const AT_MOST: Duration = Duration::from_secs(60);

struct Bench {
    runtime: Runtime,
    pool: StorePool,
    _directory: TempDir,
}

impl Bench {
    fn new() -> Self {
        let parent = std::env::var_os("LUNSHADOW_BENCH_DIR").map_or_else(std::env::temp_dir, Into::into);
        let directory = tempfile::tempdir_in(parent).expect("a folder for the pool");
        let config = StoreConfig { capacity_bytes: 16 << 30, ..StoreConfig::default() };
        let pool = StorePool::create(&directory.path().join("pool"), &config).expect("a new pool");
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("threads");
        Self { runtime, pool, _directory: directory }
    }

    /// A LUN whose blocks all hold something.
    async fn full_lun(&self, len_bytes: u64) -> LunHandle {
        let lun = self.pool.create(LunId::random(), BlockCount(len_bytes / 512)).await.expect("a LUN");
        for at in (0..len_bytes).step_by(1 << 20) {
            lun.write(Lba(at / 512), Bytes::from(vec![1; 1 << 20])).await.expect("a write");
        }
        lun.flush().await.expect("a flush");
        lun
    }

    async fn prepared(&self, luns: &[LunHandle]) -> (ShadowSetId, Vec<ShadowMember>) {
        let set = ShadowSetId(uuid::Uuid::new_v4());
        let members: Vec<ShadowMember> =
            luns.iter().map(|lun| ShadowMember { source: lun.id(), shadow: LunId::random() }).collect();
        self.pool.prepare(set, &members).await.expect("a preparation");
        (set, members)
    }

    async fn delete(&self, members: &[ShadowMember]) {
        for member in members {
            self.pool.delete(member.shadow).await.expect("a deletion");
        }
    }
}

/// One write of 4 KiB to a random place.
async fn write_somewhere(lun: &LunHandle, random: &mut SmallRng) {
    let blocks = lun.block_count().0 / 8;
    let at = Lba(random.random_range(0..blocks) * 8);
    let data = Bytes::from(vec![random.random::<u8>() | 1; 4096]);
    lun.write(at, data).await.expect("a write");
}

/// So many writes, with [`WRITERS`] in flight.
async fn write_at_once(lun: &LunHandle, writes: u64, seed: u64) {
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let lun = lun.clone();
        writers.spawn(async move {
            let mut random = SmallRng::seed_from_u64(seed * WRITERS + writer);
            for _ in 0..writes / WRITERS {
                write_somewhere(&lun, &mut random).await;
            }
        });
    }
    while let Some(writer) = writers.join_next().await {
        writer.expect("a writer");
    }
}

#[expect(clippy::disallowed_methods, reason = "a benchmark measures the machine's time")]
fn now() -> Instant {
    Instant::now()
}

fn commit(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("commit");
    group.sample_size(20).warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(8));
    for luns in [1_u64, 8, 64] {
        let bench = Bench::new();
        let stop = Arc::new(AtomicBool::new(false));
        let sources = bench.runtime.block_on(async {
            let mut sources = Vec::new();
            for _ in 0..luns {
                sources.push(bench.full_lun(LUN_BYTES / 64).await);
            }
            sources
        });
        let writers = (0..WRITERS).map(|writer| {
            let (stop, sources) = (Arc::clone(&stop), sources.clone());
            bench.runtime.spawn(async move {
                let mut random = SmallRng::seed_from_u64(writer);
                while !stop.load(Ordering::Relaxed) {
                    let lun = random.random_range(0..sources.len());
                    write_somewhere(&sources[lun], &mut random).await;
                }
            })
        });
        let writers: Vec<_> = writers.collect();
        group.bench_function(BenchmarkId::from_parameter(luns), |bencher| {
            bencher.to_async(&bench.runtime).iter_custom(|rounds| {
                let (bench, sources) = (&bench, &sources);
                async move {
                    let mut taken = Duration::ZERO;
                    for _ in 0..rounds {
                        let (set, members) = bench.prepared(sources).await;
                        let begin = now();
                        bench.pool.commit(set, AT_MOST).await.expect("a commit");
                        taken += begin.elapsed();
                        bench.delete(&members).await;
                    }
                    taken
                }
            });
        });
        stop.store(true, Ordering::Relaxed);
        for writer in writers {
            bench.runtime.block_on(writer).expect("a writer");
        }
    }
    group.finish();
}

fn write_4k(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("write_4k");
    group.sample_size(10).warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(8));
    let bench = Bench::new();
    let lun = bench.runtime.block_on(bench.full_lun(LUN_BYTES));
    for fresh_snapshot in [false, true] {
        let state = if fresh_snapshot { "fresh_snapshot" } else { "no_snapshot" };
        for (depth, writes) in [("32_in_flight", WRITES_AT_ONCE), ("1_with_flush", WRITES_WITH_FLUSH)] {
            group.throughput(Throughput::Elements(writes));
            group.bench_function(BenchmarkId::new(depth, state), |bencher| {
                bencher.to_async(&bench.runtime).iter_custom(|rounds| {
                    let (bench, lun) = (&bench, &lun);
                    async move {
                        let mut taken = Duration::ZERO;
                        for round in 0..rounds {
                            taken += write_once(bench, lun, fresh_snapshot, writes, round).await;
                        }
                        taken
                    }
                });
            });
        }
    }
    group.finish();
}

/// The time of some writes, right after a snapshot if there is to be one.
async fn write_once(bench: &Bench, lun: &LunHandle, fresh_snapshot: bool, writes: u64, seed: u64) -> Duration {
    let (set, members) = bench.prepared(std::slice::from_ref(lun)).await;
    if fresh_snapshot {
        bench.pool.commit(set, AT_MOST).await.expect("a commit");
    } else {
        bench.pool.abort(set).expect("an abort");
    }
    let begin = now();
    if writes == WRITES_AT_ONCE {
        write_at_once(lun, writes, seed).await;
    } else {
        let mut random = SmallRng::seed_from_u64(seed);
        for _ in 0..writes {
            write_somewhere(lun, &mut random).await;
            lun.flush().await.expect("a flush");
        }
    }
    let taken = begin.elapsed();
    if fresh_snapshot {
        bench.delete(&members).await;
    }
    // With a snapshot or without, the next measurement begins with nothing left to do.
    bench.pool.wait_reclaimed().await.expect("space");
    taken
}

criterion_group!(benches, commit, write_4k);
criterion_main!(benches);
