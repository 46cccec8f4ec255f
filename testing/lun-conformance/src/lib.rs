//! One suite that every pool and every LUN must pass.
//!
//! A pool's own tests implement [`Subject`] and call [`run_all`], or single suites to see them as tests of their own. Each case gets a
//! fresh pool. Failures are errors that say which promise of [`lunshadow_lun`] was broken.

mod consistency;
mod copies;
mod data;
mod isolation;
mod life;
mod sets;
mod shape;

use std::future::Future;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use bytes::Bytes;
use lunshadow_lun::{BlockCount, Lba, LunHandle, LunId, Pool, ShadowMember, ShadowSetId};

/// What suites and subjects answer; libraries that run the suites need no dependency of their own for it.
pub use anyhow::Result;
pub use consistency::group_snapshots_are_prefixes;
pub use copies::{blocks_are_copied, changes_are_found_and_copied, pinned_contents_stay};
pub use data::{
    concurrent_writers_of_one_block_both_survive, data_is_read_as_it_was_written, discarded_blocks_are_zeros,
    requests_outside_a_lun_are_refused,
};
pub use isolation::{a_shadow_of_a_shadow_stands_alone, shadows_and_sources_do_not_see_each_others_writes};
pub use life::{deleted_luns_are_gone, luns_survive_reopening, space_comes_back};
pub use sets::{commits_can_be_repeated, preparations_can_be_repeated_and_aborted};
pub use shape::{luns_are_reverted, luns_grow, shadows_are_promoted};

/// How long the suites let a commit take.
pub const COMMIT_AT_MOST: Duration = Duration::from_secs(60);

/// Something that makes pools to be tested. They need room for 64 MiB of data.
pub trait Subject: Send + Sync {
    /// The kind of pool.
    type Pool: Pool;

    /// Makes an empty pool.
    fn make(&self) -> impl Future<Output = Result<Self::Pool>> + Send;

    /// Ends a pool and opens it again. The suites hold no handle of it then.
    fn reopen(&self, pool: Self::Pool) -> impl Future<Output = Result<Self::Pool>> + Send;

    /// Waits until the space of everything that was deleted has come back.
    fn reclaimed(&self, pool: &Self::Pool) -> impl Future<Output = Result<()>> + Send;
}

/// Runs all suites.
///
/// # Errors
/// The first promise that was broken.
pub async fn run_all<S: Subject>(subject: &S) -> Result<()> {
    requests_outside_a_lun_are_refused(subject).await.context("requests outside a LUN")?;
    data_is_read_as_it_was_written(subject).await.context("data")?;
    discarded_blocks_are_zeros(subject).await.context("discard")?;
    concurrent_writers_of_one_block_both_survive(subject).await.context("concurrent writers")?;
    shadows_and_sources_do_not_see_each_others_writes(subject).await.context("isolation")?;
    a_shadow_of_a_shadow_stands_alone(subject).await.context("shadow of a shadow")?;
    preparations_can_be_repeated_and_aborted(subject).await.context("preparation")?;
    commits_can_be_repeated(subject).await.context("commit")?;
    deleted_luns_are_gone(subject).await.context("deletion")?;
    luns_survive_reopening(subject).await.context("reopening")?;
    space_comes_back(subject).await.context("space")?;
    luns_grow(subject).await.context("growth")?;
    luns_are_reverted(subject).await.context("revert")?;
    shadows_are_promoted(subject).await.context("promotion")?;
    pinned_contents_stay(subject).await.context("pinned contents")?;
    blocks_are_copied(subject).await.context("copies")?;
    changes_are_found_and_copied(subject).await.context("changes")?;
    group_snapshots_are_prefixes(subject).await.context("group snapshots")
}

/// A LUN that a suite works on: 1 MiB and a bit, so that its end cuts a physical block.
const SMALL: BlockCount = BlockCount(2048 + 3);

async fn small_lun<P: Pool>(pool: &P) -> Result<LunHandle> {
    Ok(pool.create(LunId::random(), SMALL).await?)
}

fn random_set() -> ShadowSetId {
    ShadowSetId(uuid::Uuid::new_v4())
}

/// Prepares and commits a set of shadows of `sources`; the ids of the shadows, in the same order.
async fn capture<P: Pool>(pool: &P, sources: &[LunId]) -> Result<Vec<LunId>> {
    let set = random_set();
    let members: Vec<ShadowMember> =
        sources.iter().map(|source| ShadowMember { source: *source, shadow: LunId::random() }).collect();
    pool.prepare(set, &members).await?;
    pool.commit(set, COMMIT_AT_MOST).await?;
    Ok(members.iter().map(|member| member.shadow).collect())
}

/// Blocks that tell what they are: each is filled with `tag` and its number.
fn blocks(tag: u8, first: u64, count: u64) -> Bytes {
    let block = |number: u64| {
        let mut block = [tag; 512];
        block[..8].copy_from_slice(&number.to_be_bytes());
        block
    };
    Bytes::from((first..first + count).flat_map(block).collect::<Vec<u8>>())
}

/// Checks a whole LUN against what it should hold.
async fn expect(lun: &LunHandle, expected: &[u8], what: &str) -> Result<()> {
    let found = lun.read(Lba(0), lun.block_count()).await?;
    ensure!(found.len() == expected.len(), "{what}: {} bytes instead of {}", found.len(), expected.len());
    let differs = found.chunks(512).zip(expected.chunks(512)).position(|(found, expected)| found != expected);
    match differs {
        Some(block) => bail!("{what}: block {block} of {} differs", lun.id()),
        None => Ok(()),
    }
}
