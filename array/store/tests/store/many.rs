//! A pool with very many shadow LUNs: `LUNSHADOW_STORE_SOURCES` LUNs with `LUNSHADOW_STORE_SHADOWS` shadow LUNs each. By default there are
//! so many that the index of the table of LUNs has pages on both sides of where one is full.

use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use lunshadow_lun::{BlockCount, Lba, LunHandle, LunId, Pool as _, ShadowMember, ShadowSetId};
use lunshadow_store::{CheckOptions, ScrubOptions, StoreConfig, StorePool, check};

use crate::crash::from_environment;

const AT_MOST: Duration = Duration::from_secs(60);
/// How many LUNs are captured at once.
const GROUP: usize = 64;

fn config() -> StoreConfig {
    StoreConfig {
        capacity_bytes: 4 << 30,
        log_bytes: 4 << 20,
        cache_bytes: 64 << 20,
        background_percent: 100,
        ..StoreConfig::default()
    }
}

fn source_id(number: u64) -> LunId {
    LunId::from_u128((1 << 100) + u128::from(number))
}

fn shadow_id(source: u64, round: u64) -> LunId {
    LunId::from_u128(u128::from(round << 32 | source) + 1)
}

/// What a LUN holds in a round, in a block that moves.
async fn write(lun: &LunHandle, round: u64) {
    lun.write(Lba(round % 64 * 8), Bytes::from(vec![stamp(round); 4096])).await.unwrap();
}

fn stamp(round: u64) -> u8 {
    u8::try_from(round % 251).expect("below 251") + 1
}

async fn expect_round(pool: &StorePool, lun: LunId, round: u64) {
    let lun = pool.open(lun).unwrap();
    let read = lun.read(Lba(0), BlockCount(64 * 8)).await.unwrap();
    for (at, block) in (0..64).zip(read.chunks_exact(4096)) {
        let last = (0..=round).rev().find(|round| round % 64 == at);
        assert!(block.iter().all(|byte| *byte == last.map_or(0, stamp)), "block {at} in round {round}");
    }
}

/// The times are told, and the memory that the process takes, since that is what makes the whole worth a look.
#[expect(clippy::print_stderr, reason = "nothing depends on it")]
fn tell(what: &str, since: Instant) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let memory = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or("").trim().to_owned();
    eprintln!("{what}: {:?}, {memory} in memory", since.elapsed());
}

#[expect(clippy::disallowed_methods, reason = "the time is told, and nothing depends on it")]
fn now() -> Instant {
    Instant::now()
}

async fn commit_all(pool: &StorePool, sources: u64, round: u64) {
    let numbers: Vec<u64> = (0..sources).collect();
    for (group, numbers) in (0_u64..).zip(numbers.chunks(GROUP)) {
        let set = ShadowSetId(uuid::Uuid::from_u128(u128::from(round << 32 | group) + 1));
        let member = |number: &u64| ShadowMember { source: source_id(*number), shadow: shadow_id(*number, round) };
        let members: Vec<ShadowMember> = numbers.iter().map(member).collect();
        pool.prepare(set, &members).await.unwrap();
        pool.commit(set, AT_MOST).await.unwrap();
    }
}

fn expect_clean(directory: &Path, luns: u64) {
    let report = check(directory, None, &CheckOptions::default(), &mut |_| ()).unwrap();
    assert!(report.is_clean(), "{report:?}");
    assert_eq!(report.luns, luns);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pool_with_very_many_shadow_luns_is_like_any_other() {
    let sources = from_environment("LUNSHADOW_STORE_SOURCES", 64);
    let rounds = from_environment("LUNSHADOW_STORE_SHADOWS", 66);
    let all = sources * (rounds + 1);
    assert!(all > 128 * 32, "the index has one page only");
    let directory = tempfile::tempdir().unwrap();
    let pool = StorePool::create(directory.path(), &config()).unwrap();
    let begin = now();
    let mut luns = Vec::new();
    for number in 0..sources {
        luns.push(pool.create(source_id(number), BlockCount(1 << 20)).await.unwrap());
    }
    for round in 0..rounds {
        write(&luns[0], round).await;
        write(&luns[1], round).await;
        commit_all(&pool, sources, round).await;
    }
    tell("made", begin);
    assert_eq!(pool.usage().lun_count, all);
    // What was made since the last checkpoint is in the log only, and its slots are none of the table that the checkpoint has.
    drop((luns, pool));

    let begin = now();
    let pool = StorePool::open(directory.path(), &config()).unwrap();
    tell("opened, with a log", begin);
    let begin = now();
    assert_eq!(u64::try_from(pool.luns().len()).unwrap(), all);
    tell("listed", begin);
    let usage = pool.usage();
    assert_eq!((usage.lun_count, usage.provisioned_bytes), (all, all << 29));
    for round in (0..rounds).step_by(7).chain([rounds - 1]) {
        expect_round(&pool, shadow_id(1, round), round).await;
        assert!(pool.summary(shadow_id(sources - 1, round)).is_some());
    }
    let report = pool.scrub(ScrubOptions::default(), |_| ()).await.unwrap();
    assert!(report.damage.is_empty() && report.healed_copies == 0, "{report:?}");
    pool.close().await.unwrap();
    drop(pool);
    let begin = now();
    expect_clean(directory.path(), all);
    tell("checked", begin);

    let begin = now();
    let pool = StorePool::open(directory.path(), &config()).unwrap();
    tell("opened", begin);
    let begin = now();
    pool.delete(shadow_id(0, rounds / 2)).await.unwrap();
    tell("deleted one", begin);
    pool.wait_reclaimed().await.unwrap();
    let begin = now();
    commit_all(&pool, sources.min(64), rounds).await;
    tell("took one more group", begin);
    expect_round(&pool, shadow_id(0, rounds / 2 + 1), rounds / 2 + 1).await;
    pool.close().await.unwrap();
    drop(pool);
    expect_clean(directory.path(), all - 1 + sources.min(64));
}
