//! A pool beside its model, as in `model`, but one that may refuse: what a request that failed has left is looked up, and must be the
//! old or the new content of each leaf of the map, whole.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use lunshadow_lun::{
    BlockCount, CommitError, Lba, LunError, LunHandle, LunId, Pool as _, PoolError, RevertPair, ShadowMember,
    ShadowSetId,
};
use lunshadow_store::StorePool;
use proptest::prelude::{Just, Strategy, any, prop_oneof};

/// The physical blocks of a LUN: three leaves of its map, below one page above them.
pub(crate) const LUN_BLOCKS: u64 = 1200;
const LEAF_BLOCKS: u64 = 512;
const LUNS_MAX: usize = 8;

/// The stamp of each block that is not zero.
pub(crate) type Blocks = Arc<BTreeMap<u64, u32>>;

/// What each LUN holds.
pub(crate) type Contents = BTreeMap<LunId, Blocks>;

/// Numbers are taken modulo what there is.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Deed {
    Create,
    Write { lun: u8, at: u16, count: u16 },
    Discard { lun: u8, at: u16, count: u16 },
    Snapshot { mask: u8 },
    Delete { lun: u8 },
    Revert { from: u8, to: u8 },
    Flush { lun: u8 },
    Checkpoint,
}

/// What came of a deed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    Done,
    /// It is done, and so is all before it, whatever happens.
    Durable,
    /// There is no space.
    Full,
    /// The medium failed.
    Failed,
}

/// See the module.
pub(crate) struct Tolerant {
    pub(crate) pool: StorePool,
    pub(crate) now: Contents,
    /// What else the pool may hold after a crash, since the last answer that made everything durable.
    pub(crate) possible: Vec<Contents>,
    stamps: u32,
}

pub(crate) fn deed() -> impl Strategy<Value = Deed> {
    let place = || (any::<u8>(), any::<u16>());
    prop_oneof![
        2 => Just(Deed::Create),
        // A few blocks, or several leaves.
        10 => (place(), 1..40_u16).prop_map(|((lun, at), count)| Deed::Write { lun, at, count }),
        8 => (place(), 200..1200_u16).prop_map(|((lun, at), count)| Deed::Write { lun, at, count }),
        3 => (place(), 1..1200_u16).prop_map(|((lun, at), count)| Deed::Discard { lun, at, count }),
        3 => any::<u8>().prop_map(|mask| Deed::Snapshot { mask }),
        3 => any::<u8>().prop_map(|lun| Deed::Delete { lun }),
        1 => (any::<u8>(), any::<u8>()).prop_map(|(from, to)| Deed::Revert { from, to }),
        3 => any::<u8>().prop_map(|lun| Deed::Flush { lun }),
        1 => Just(Deed::Checkpoint),
    ]
}

fn block(stamp: u32, number: u64) -> Bytes {
    let mut block = vec![stamp.to_le_bytes()[1] | 1; 4096];
    block[..4].copy_from_slice(&stamp.to_le_bytes());
    block[4..12].copy_from_slice(&number.to_le_bytes());
    Bytes::from(block)
}

/// What a LUN holds in some of its blocks, which must be nothing else than what was written there.
async fn blocks_of(lun: &LunHandle, range: Range<u64>) -> Result<BTreeMap<u64, u32>, LunError> {
    let data = lun.read(Lba(range.start * 8), BlockCount((range.end - range.start) * 8)).await?;
    let mut found = BTreeMap::new();
    for (number, content) in range.zip(data.chunks_exact(4096)) {
        let stamp = u32::from_le_bytes(*content.first_chunk().unwrap());
        if stamp == 0 {
            assert!(content.iter().all(|byte| *byte == 0), "block {number} is torn");
        } else {
            assert!(content == block(stamp, number), "block {number} holds what was never written");
            found.insert(number, stamp);
        }
    }
    Ok(found)
}

/// What a pool holds now.
pub(crate) async fn contents(pool: &StorePool) -> Contents {
    let mut contents = Contents::new();
    for summary in pool.luns() {
        contents.insert(summary.lun, content(&pool.open(summary.lun).unwrap()).await);
    }
    contents
}

/// What a LUN holds now.
pub(crate) async fn content(lun: &LunHandle) -> Blocks {
    Arc::new(blocks_of(lun, 0..LUN_BLOCKS).await.unwrap())
}

fn answer_of(error: &LunError) -> Answer {
    if matches!(error, LunError::OutOfSpace) { Answer::Full } else { Answer::Failed }
}

fn answer_of_pool(error: &PoolError) -> Answer {
    if matches!(error, PoolError::OutOfSpace) { Answer::Full } else { Answer::Failed }
}

impl Tolerant {
    pub(crate) fn new(pool: StorePool, now: Contents, stamps: u32) -> Self {
        Self { pool, possible: vec![now.clone()], now, stamps }
    }

    pub(crate) fn stamps(&self) -> u32 {
        self.stamps
    }

    fn pick(&self, number: u8) -> Option<LunId> {
        let count = self.now.len();
        (count > 0).then(|| *self.now.keys().nth(usize::from(number) % count).expect("below the count"))
    }

    /// Does it in the pool, and in the model as far as it was done.
    pub(crate) async fn act(&mut self, deed: Deed) -> Answer {
        let answer = match deed {
            Deed::Create => self.create().await,
            Deed::Write { lun, at, count } => self.change(lun, at, count, true).await,
            Deed::Discard { lun, at, count } => self.change(lun, at, count, false).await,
            Deed::Snapshot { mask } => self.snapshot(mask).await,
            Deed::Delete { lun } => self.delete(lun).await,
            Deed::Revert { from, to } => self.revert(from, to).await,
            Deed::Flush { lun } => match self.pick(lun) {
                Some(lun) => match self.pool.open(lun).unwrap().flush().await {
                    Ok(()) => Answer::Durable,
                    Err(error) => answer_of(&error),
                },
                None => Answer::Done,
            },
            Deed::Checkpoint => {
                self.pool.close().await.map_or_else(|error| answer_of_pool(&error), |()| Answer::Durable)
            }
        };
        if answer == Answer::Durable {
            self.possible.clear();
        }
        self.possible.push(self.now.clone());
        answer
    }

    async fn create(&mut self) -> Answer {
        if self.now.len() >= LUNS_MAX {
            return Answer::Done;
        }
        let lun = LunId::random();
        let created = self.pool.create(lun, BlockCount(LUN_BLOCKS * 8)).await;
        self.settle(created.map(drop), |now| {
            now.insert(lun, Blocks::default());
        })
    }

    /// Takes over what a request to the pool did, or may have done.
    fn settle(&mut self, result: Result<(), PoolError>, done: impl FnOnce(&mut Contents)) -> Answer {
        let mut after = self.now.clone();
        done(&mut after);
        let luns: Vec<LunId> = self.pool.luns().iter().map(|summary| summary.lun).collect();
        if result.is_ok() || (after.len() != self.now.len() && luns.iter().eq(after.keys())) {
            self.now = after;
        } else {
            self.possible.push(after);
        }
        result.map_or_else(|error| answer_of_pool(&error), |()| Answer::Durable)
    }

    /// Writes or unmaps blocks, and looks up what is there if that was refused.
    async fn change(&mut self, lun: u8, at: u16, count: u16, is_write: bool) -> Answer {
        let Some(id) = self.pick(lun) else { return Answer::Done };
        let start = u64::from(at) % LUN_BLOCKS;
        let range = start..(start + u64::from(count)).min(LUN_BLOCKS);
        self.stamps += 1;
        let stamp = self.stamps;
        let lun = self.pool.open(id).unwrap();
        let lba = Lba(range.start * 8);
        let changed = if is_write {
            let data: Vec<u8> = range.clone().flat_map(|number| block(stamp, number)).collect();
            lun.write(lba, Bytes::from(data)).await
        } else {
            lun.discard(lba, BlockCount((range.end - range.start) * 8)).await
        };
        let parts = (range.start / LEAF_BLOCKS..range.end.div_ceil(LEAF_BLOCKS))
            .map(|leaf| (leaf * LEAF_BLOCKS).max(range.start)..((leaf + 1) * LEAF_BLOCKS).min(range.end));
        for part in parts {
            let mut old = self.now[&id].range(part.clone()).map(|(number, stamp)| (*number, *stamp));
            let new = part.clone().filter(|_| is_write).map(|number| (number, stamp));
            if changed.is_err() {
                let found = blocks_of(&lun, part.clone()).await.unwrap();
                if found.iter().map(|(number, stamp)| (*number, *stamp)).eq(&mut old) {
                    continue;
                }
                assert!(found.into_iter().eq(new.clone()), "a request that failed has done half of a leaf: {part:?}");
            }
            let blocks = Arc::make_mut(self.now.get_mut(&id).unwrap());
            blocks.retain(|number, _| !part.contains(number));
            blocks.extend(new);
            self.possible.push(self.now.clone());
        }
        changed.map_or_else(|error| answer_of(&error), |()| Answer::Done)
    }

    async fn snapshot(&mut self, mask: u8) -> Answer {
        let room = LUNS_MAX.saturating_sub(self.now.len());
        let chosen = self.now.keys().enumerate().filter(|(number, _)| mask & (1 << number) != 0).take(room);
        let members: Vec<_> =
            chosen.map(|(_, source)| ShadowMember { source: *source, shadow: LunId::random() }).collect();
        if members.is_empty() {
            return Answer::Done;
        }
        let set = ShadowSetId(uuid::Uuid::new_v4());
        let committed = match self.pool.prepare(set, &members).await {
            Ok(_) => self.pool.commit(set, Duration::from_secs(60)).await,
            Err(_) => return Answer::Failed,
        };
        let committed = committed.map(drop).map_err(|error| match error {
            CommitError::Io(error) if error.kind() == io::ErrorKind::StorageFull => PoolError::OutOfSpace,
            CommitError::Io(error) => PoolError::Io(error),
            _ => PoolError::Poisoned,
        });
        self.settle(committed, |now| {
            for member in members {
                now.insert(member.shadow, Arc::clone(&now[&member.source]));
            }
        })
    }

    async fn delete(&mut self, lun: u8) -> Answer {
        let Some(lun) = self.pick(lun) else { return Answer::Done };
        let deleted = self.pool.delete(lun).await.map(drop);
        self.settle(deleted, |now| {
            now.remove(&lun);
        })
    }

    async fn revert(&mut self, from: u8, to: u8) -> Answer {
        let (Some(from), Some(to)) = (self.pick(from), self.pick(to)) else { return Answer::Done };
        let reverted = self.pool.revert(&[RevertPair { from, to }]).await;
        let revert = |now: &mut Contents| {
            let content = Arc::clone(&now[&from]);
            now.insert(to, content);
        };
        if let Err(error) = &reverted
            && !matches!(error, PoolError::Io(_))
        {
            // It is done, but not durable.
            self.possible.push(self.now.clone());
            let found = blocks_of(&self.pool.open(to).unwrap(), 0..LUN_BLOCKS).await.unwrap();
            if found == *self.now[&from] {
                revert(&mut self.now);
            }
            return answer_of_pool(error);
        }
        self.settle(reverted, revert)
    }
}
