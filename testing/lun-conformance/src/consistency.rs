//! A group snapshot is one instant over all its LUNs: of writes that depend on each other, none is in without those it depends on.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use lunshadow_lun::{BlockCount, Lba, LunHandle, LunId, Pool as _};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::{Subject, capture};

const LUNS: u64 = 4;
const IN_FLIGHT: u64 = 64;
const RECORDS: u64 = 6000;
const SNAPSHOTS: u64 = 12;

/// Numbered records go round all LUNs, 64 in flight. Record n is written only when record n − 64 has been answered. So in each
/// group snapshot, a record that is there has every record before it that lies 64 or more back; and all records that
/// were answered before the commit began are there.
///
/// # Errors
/// The promise that was broken.
pub async fn group_snapshots_are_prefixes(subject: &impl Subject) -> Result<()> {
    let pool = subject.make().await?;
    let length = BlockCount(RECORDS.div_ceil(LUNS) + 8);
    let mut luns = Vec::new();
    for _ in 0..LUNS {
        luns.push(pool.create(LunId::random(), length).await?);
    }
    let ids: Vec<LunId> = luns.iter().map(LunHandle::id).collect();
    let answered = Arc::new(AtomicU64::new(0));
    let writer = tokio::spawn(write_records(luns, Arc::clone(&answered)));
    let mut snapshots = Vec::new();
    for _ in 0..SNAPSHOTS {
        let prefix_before = answered.load(Ordering::Acquire);
        let shadows = capture(&pool, &ids).await?;
        snapshots.push((prefix_before, shadows));
        let next = (prefix_before + RECORDS / SNAPSHOTS).min(RECORDS);
        while answered.load(Ordering::Acquire) < next && !writer.is_finished() {
            tokio::task::yield_now().await;
        }
    }
    writer.await??;
    let mut partial = 0;
    for (number, (prefix_before, shadows)) in snapshots.iter().enumerate() {
        let mut found = BTreeSet::new();
        for shadow in shadows {
            found.extend(records_of(&pool.open(*shadow)?).await?);
        }
        check(*prefix_before, &found).with_context(|| format!("snapshot {number}"))?;
        partial += usize::from(!found.is_empty() && found.len() < usize::try_from(RECORDS)?);
    }
    ensure!(partial > 0, "no snapshot was taken while records were written");
    Ok(())
}

/// Writes the records in dependent order, and publishes how long the prefix is that has been answered.
async fn write_records(luns: Vec<LunHandle>, answered: Arc<AtomicU64>) -> Result<()> {
    // One slot for each residue: record n waits for record n − 64.
    let slots: Vec<_> = (0..IN_FLIGHT).map(|_| Arc::new(Semaphore::new(1))).collect();
    let mut writes: JoinSet<Result<u64>> = JoinSet::new();
    let (mut done, mut prefix) = (BTreeSet::new(), 0);
    for record in 0..RECORDS {
        let slot = Arc::clone(&slots[usize::try_from(record % IN_FLIGHT)?]);
        let permit = slot.acquire_owned().await?;
        let lun = luns[usize::try_from(record % LUNS)?].clone();
        writes.spawn(async move {
            let mut block = vec![0xa5; 512];
            block[..8].copy_from_slice(&(record + 1).to_be_bytes());
            lun.write(Lba(record / LUNS), Bytes::from(block)).await?;
            drop(permit);
            Ok(record)
        });
        while let Some(write) = writes.try_join_next() {
            done.insert(write??);
        }
        while done.remove(&prefix) {
            prefix += 1;
        }
        answered.store(prefix, Ordering::Release);
    }
    while let Some(write) = writes.join_next().await {
        write??;
    }
    answered.store(RECORDS, Ordering::Release);
    Ok(())
}

async fn records_of(lun: &LunHandle) -> Result<Vec<u64>> {
    let data = lun.read(Lba(0), lun.block_count()).await?;
    let number = |block: &[u8]| block.first_chunk().map_or(0, |number| u64::from_be_bytes(*number));
    Ok(data.chunks_exact(512).map(number).filter(|number| *number > 0).map(|number| number - 1).collect())
}

fn check(prefix_before: u64, found: &BTreeSet<u64>) -> Result<()> {
    let missing = (0..prefix_before).find(|record| !found.contains(record));
    ensure!(missing.is_none(), "record {missing:?} had been answered before the commit and is missing");
    for slot in 0..IN_FLIGHT {
        let in_order = (slot..RECORDS).step_by(usize::try_from(IN_FLIGHT)?);
        let mut gap = None;
        for record in in_order {
            match (found.contains(&record), gap) {
                (false, None) => gap = Some(record),
                (true, Some(gap)) => anyhow::bail!("record {record} is there, and record {gap} before it is not"),
                _ => {}
            }
        }
    }
    Ok(())
}
