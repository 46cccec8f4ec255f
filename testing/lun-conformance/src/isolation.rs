//! Shadow LUNs and their sources stand alone from the capture on.

use anyhow::{Result, ensure};
use lunshadow_lun::{BlockCount, Lba, LunOrigin, Pool as _};

use crate::{SMALL, Subject, blocks, capture, expect, small_lun};

/// Writes and discards on either side are not seen on the other, and deletion of the source leaves the shadow.
///
/// # Errors
/// The promise that was broken.
pub async fn shadows_and_sources_do_not_see_each_others_writes(subject: &impl Subject) -> Result<()> {
    let pool = subject.make().await?;
    let lun = small_lun(&pool).await?;
    lun.write(Lba(0), blocks(1, 0, SMALL.0)).await?;
    let shadow_id = capture(&pool, &[lun.id()]).await?[0];
    let shadow = pool.open(shadow_id)?;
    let summary = pool.luns().into_iter().find(|summary| summary.lun == shadow_id);
    let origin = summary.map(|summary| summary.origin);
    ensure!(
        matches!(origin, Some(LunOrigin::Shadow { source, .. }) if source == lun.id()),
        "the shadow LUN's origin is {origin:?}"
    );
    ensure!(shadow.block_count() == SMALL, "the shadow LUN has another length");

    lun.write(Lba(3), blocks(2, 3, 50)).await?;
    lun.discard(Lba(200), BlockCount(64)).await?;
    expect(&shadow, &blocks(1, 0, SMALL.0), "the shadow after writes to the source").await?;
    let source_now = lun.read(Lba(0), SMALL).await?;
    shadow.write(Lba(40), blocks(3, 40, 500)).await?;
    shadow.discard(Lba(1000), BlockCount(100)).await?;
    expect(&lun, &source_now, "the source after writes to the shadow").await?;

    let shadow_now = shadow.read(Lba(0), SMALL).await?;
    pool.delete(lun.id()).await?;
    subject.reclaimed(&pool).await?;
    expect(&shadow, &shadow_now, "the shadow after the source is gone").await
}

/// A shadow LUN can be captured in turn, and its shadow outlives it.
///
/// # Errors
/// The promise that was broken.
pub async fn a_shadow_of_a_shadow_stands_alone(subject: &impl Subject) -> Result<()> {
    let pool = subject.make().await?;
    let lun = small_lun(&pool).await?;
    let mut generations = vec![lun];
    for tag in 1..=5_u8 {
        let newest = &generations[generations.len() - 1];
        newest.write(Lba(u64::from(tag) * 100), blocks(tag, 0, 30)).await?;
        let shadow = capture(&pool, &[newest.id()]).await?[0];
        generations.push(pool.open(shadow)?);
    }
    let mut expected = Vec::new();
    for lun in &generations {
        expected.push(lun.read(Lba(0), SMALL).await?);
    }
    for (tag, lun) in (1_u8..).zip(&generations) {
        let known = &expected[usize::from(tag) - 1];
        let seen = (1..tag).all(|earlier| known[usize::from(earlier) * 100 * 512 + 100] == earlier);
        ensure!(seen, "generation {tag} lacks what was captured");
        expect(lun, known, "a generation").await?;
    }
    // The ones in the middle go; first and last stay.
    for lun in generations.drain(1..5) {
        pool.delete(lun.id()).await?;
    }
    subject.reclaimed(&pool).await?;
    expect(&generations[0], &expected[0], "the first generation").await?;
    expect(&generations[1], &expected[5], "the last generation").await
}
