//! Small writes that come at the same time.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use lunshadow_lun::{BlockCount, Lba, LunError, LunHandle, LunId, Pool as _};
use lunshadow_store::StorePool;
use rand::rngs::SmallRng;
use rand::seq::SliceRandom as _;
use rand::{RngExt as _, SeedableRng as _};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::check::assert_clean;
use crate::model::{patient_pool, small_config, small_pool};
use crate::sim_media::{Attempt, Loss, SimMedia, after_power_cut};

const BLOCKS: u64 = 1200;
const LENGTH: BlockCount = BlockCount(BLOCKS * 8);
/// Where the data area of a pool with this geometry begins, or before it.
const LOG_END_BYTES: u64 = 72 * 4096;
/// Longer than any thread waits for a processor.
const GIVEN_BACK_WITHIN: Duration = Duration::from_secs(60);

/// Writes blocks at the same time, each filled with its tag; what became of each.
async fn write_all(lun: &LunHandle, writes: &[(u64, u8)]) -> Vec<(u64, Result<(), LunError>)> {
    let mut tasks = JoinSet::new();
    for (block, tag) in writes.iter().copied() {
        let lun = lun.clone();
        tasks.spawn(async move { (block, lun.write(Lba(block * 8), Bytes::from(vec![tag; 4096])).await) });
    }
    let mut results = Vec::new();
    while let Some(result) = tasks.join_next().await {
        results.push(result.unwrap());
    }
    results
}

async fn tag_of(lun: &LunHandle, block: u64) -> u8 {
    let content = lun.read(Lba(block * 8), BlockCount(8)).await.unwrap();
    assert!(content.iter().all(|byte| *byte == content[0]), "block {block} is whole");
    content[0]
}

/// Different blocks of both leaves, with tags of which some are zero, so that they take no block.
fn random_writes(random: &mut SmallRng, count: usize) -> Vec<(u64, u8)> {
    let mut blocks: Vec<u64> = (0..BLOCKS).collect();
    blocks.shuffle(random);
    blocks.truncate(count);
    blocks.into_iter().map(|block| (block, random.random_range(0..8))).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_of_many_writes_are_there() {
    let mut random = SmallRng::seed_from_u64(1);
    let (media, pool) = small_pool(4096);
    let lun = pool.create(LunId::random(), LENGTH).await.unwrap();
    let mut tags = BTreeMap::new();
    for _ in 0..20 {
        let writes = random_writes(&mut random, 200);
        for (block, result) in write_all(&lun, &writes).await {
            assert!(result.is_ok(), "{block}: {result:?}");
        }
        tags.extend(writes);
    }
    for (block, tag) in &tags {
        assert_eq!(tag_of(&lun, *block).await, *tag, "block {block}");
    }
    let mapped = tags.values().filter(|tag| **tag != 0).count();
    assert_eq!(lun.usage().unwrap().mapped_bytes, mapped as u64 * 4096);
    lun.flush().await.unwrap();
    pool.close().await.unwrap();
    drop((lun, pool));
    assert_clean(&media.image(), "after many writes");
}

/// The last of several writes to a block that are under way at the same time wins, whichever it is, and nothing is left of the others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_many_writes_to_a_block_wins() {
    let (media, pool) = small_pool(4096);
    let lun = pool.create(LunId::random(), LENGTH).await.unwrap();
    for _ in 0..20 {
        let writes: Vec<(u64, u8)> = (1..100).map(|tag| (7, tag)).collect();
        assert!(write_all(&lun, &writes).await.iter().all(|(_, result)| result.is_ok()));
        assert!((1..100).contains(&tag_of(&lun, 7).await));
    }
    assert_eq!(lun.usage().unwrap().mapped_bytes, 4096);
    pool.close().await.unwrap();
    drop((lun, pool));
    assert_clean(&media.image(), "after many writes to one block");
}

fn is_data(attempt: Attempt) -> bool {
    matches!(attempt, Attempt::Write { offset_bytes } if offset_bytes >= LOG_END_BYTES)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_that_failed_together_with_others_is_tried_alone() {
    let mut random = SmallRng::seed_from_u64(2);
    let (media, pool) = patient_pool(4096);
    let lun = pool.create(LunId::random(), LENGTH).await.unwrap();
    pool.wait_reclaimed().await.unwrap();
    let available = lun.usage().unwrap().available_bytes;
    // Every transfer fails: each write hears of it, and keeps no blocks.
    media.fail_when(|attempt| is_data(attempt).then(|| io::Error::other("the medium is broken")));
    let writes: Vec<(u64, u8)> = (0..200).map(|block| (block, 9)).collect();
    for (block, result) in write_all(&lun, &writes).await {
        assert!(matches!(result, Err(LunError::Io(_))), "{block}: {result:?}");
    }
    // A gatherer gives back what it took in advance when it is done, which may be behind its last answer.
    let given_back = async {
        while lun.usage().unwrap().available_bytes != available {
            tokio::task::yield_now().await;
        }
    };
    timeout(GIVEN_BACK_WITHIN, given_back).await.expect("all blocks come back");
    // Some transfers fail, so that of the writes that go together all are tried again, and few fail at last.
    let mut attempts = 0;
    media.fail_when(move |attempt| {
        attempts += u32::from(is_data(attempt));
        (is_data(attempt) && attempts % 20 == 0).then(|| io::Error::other("the medium is broken at times"))
    });
    let mut failed = Vec::new();
    for (block, result) in write_all(&lun, &random_writes(&mut random, 400)).await {
        match result {
            Ok(()) => {}
            Err(LunError::Io(_)) => failed.push(block),
            Err(error) => panic!("{block}: {error}"),
        }
    }
    assert!(failed.len() < 100, "{} failed", failed.len());
    media.fail_no_more();
    for block in failed {
        assert_eq!(tag_of(&lun, block).await, 0, "block {block}");
    }
    pool.close().await.unwrap();
    drop((lun, pool));
    assert_clean(&media.image(), "after failed writes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn power_cuts_lose_no_gathered_write_that_was_durable() {
    const ROUNDS: u8 = 3;
    let seed = 3;
    let mut random = SmallRng::seed_from_u64(seed);
    let (media, pool) = small_pool(4096);
    let lun = pool.create(LunId::random(), LENGTH).await.unwrap();
    let id = lun.id();
    pool.wait_reclaimed().await.unwrap();
    let start = media.image();
    media.clear_trace();
    // For each round: what was written, and how long the trace was before and when all of it was durable.
    let mut rounds = Vec::new();
    for round in 1..=ROUNDS {
        let began = media.trace_len();
        let writes: Vec<(u64, u8)> =
            random_writes(&mut random, 40).into_iter().map(|(block, _)| (block % 64, round)).collect();
        assert!(write_all(&lun, &writes).await.iter().all(|(_, result)| result.is_ok()));
        lun.flush().await.unwrap();
        rounds.push((writes, began, media.trace_len()));
    }
    drop((lun, pool));
    let trace = media.trace();
    for cut in 0..=trace.len() {
        for loss in [Loss::Nothing, Loss::Everything, Loss::Random { seed: seed ^ cut as u64 }] {
            let image = after_power_cut(&start, &trace, cut, loss);
            assert_clean(&image, &format!("seed {seed}, cut behind {cut}, {loss:?}"));
            let pool = StorePool::open_on(SimMedia::with(image), &small_config(4096)).unwrap();
            let lun = pool.open(id).unwrap();
            for block in 0..64 {
                let wrote = |round: &&(Vec<(u64, u8)>, usize, usize)| round.0.iter().any(|(at, _)| *at == block);
                let tags = |round: &(Vec<(u64, u8)>, usize, usize)| round.0[0].1;
                let least =
                    rounds.iter().filter(wrote).filter(|round| round.2 <= cut).map(tags).next_back().unwrap_or(0);
                let possible: Vec<u8> = std::iter::once(least)
                    .chain(rounds.iter().filter(wrote).filter(|round| round.1 <= cut).map(tags))
                    .filter(|tag| *tag >= least)
                    .collect();
                let found = tag_of(&lun, block).await;
                assert!(
                    possible.contains(&found),
                    "seed {seed}, cut behind {cut}, {loss:?}, block {block}: {found}, possible were {possible:?}"
                );
            }
        }
    }
}
