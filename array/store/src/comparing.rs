//! Comparing LUNs by their maps: what two LUNs share, they hold both. Nothing of the data is read.

use std::ops::Range;

use lunshadow_lun::{BlockCount, Comparison, LOGICAL_BLOCK_BYTES, Lba, LunError, LunHandle};

use crate::changes::LeafPlace;
use crate::lun::{LookUpError, StoreLun, blocking};
use crate::map::{Compared, Leaf};
use crate::page::{BLOCK_LEN, FANOUT_LEN, index};

const LOGICAL_LEN: u64 = LOGICAL_BLOCK_BYTES as u64;

/// Consecutive blocks that are all shared or all not.
struct Run {
    blocks: u64,
    shared: bool,
}

impl StoreLun {
    /// See [`Lun::compare`](lunshadow_lun::Lun::compare).
    pub(crate) async fn compare_with(
        &self,
        at: Lba,
        count: BlockCount,
        base: &LunHandle,
    ) -> Result<Comparison, LunError> {
        let bytes = self.checked(at, count)?;
        let base = base.downcast_ref::<Self>().filter(|base| std::sync::Arc::ptr_eq(&base.shared, &self.shared));
        let Some(base) = base.cloned() else { return Ok(Comparison { count, same: false }) };
        let this = self.clone();
        blocking(move || this.compare_blocking(&bytes, &base)).await
    }

    /// The first blocks that are all shared or all not, looked at leaf by leaf.
    fn compare_blocking(&self, bytes: &Range<u64>, base: &Self) -> Result<Comparison, LunError> {
        let blocks = bytes.start / BLOCK_LEN..bytes.end.div_ceil(BLOCK_LEN);
        let (mut from, mut same) = (blocks.start, None);
        while from < blocks.end {
            let run = self.run_from(from, blocks.end, base).map_err(|error| match error {
                LookUpError::Lun(error) => error,
                LookUpError::Page(error) => Self::damaged_at(from * BLOCK_LEN)(error),
            })?;
            if *same.get_or_insert(run.shared) != run.shared {
                break;
            }
            from += run.blocks;
        }
        let end = (from * BLOCK_LEN).min(bytes.end);
        Ok(Comparison { count: BlockCount((end - bytes.start) / LOGICAL_LEN), same: same == Some(true) })
    }

    /// What begins at a block, at most up to the end of its leaf or of what both maps share.
    fn run_from(&self, block: u64, end: u64, base: &Self) -> Result<Run, LookUpError> {
        let place = LeafPlace::of(block);
        let found = self.shared.with_pages(|state, faults| {
            let trees = match (self.entry(state), base.entry(state)) {
                (Ok(lun), Ok(base)) => (lun.tree, base.tree),
                (Err(error), _) | (_, Err(error)) => return Some(Err(LookUpError::Lun(error))),
            };
            state.pages.compare(&trees.0, &trees.1, place.leaf, faults).map(Ok)
        });
        Ok(match found.map_err(LookUpError::Page)?? {
            Compared::SameUntil(leaf) => Run { blocks: leaf.saturating_mul(FANOUT_LEN).min(end) - block, shared: true },
            Compared::Leaves(one, other) => {
                run_in(&one, &other, place.at..index(end.min((place.leaf + 1) * FANOUT_LEN) - place.leaf * FANOUT_LEN))
            }
        })
    }
}

/// What begins at the first of the places of two leaves.
fn run_in(one: &Leaf, other: &Leaf, places: Range<usize>) -> Run {
    let is_shared = |at: usize| one.entry(at) == other.entry(at);
    let shared = is_shared(places.start);
    let alike = places.take_while(|at| is_shared(*at) == shared).count();
    Run { blocks: u64::try_from(alike).expect("at most a leaf"), shared }
}
