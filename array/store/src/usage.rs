//! Where a pool's space is.

use std::io;
use std::sync::Arc;

use lunshadow_lun::{LOGICAL_BLOCK_BYTES, LunId, PoolError, PoolUsage};

use crate::page::BLOCK_LEN;
use crate::state::{Shared, State};

/// See [`Pool::usage`](lunshadow_lun::Pool::usage).
pub(crate) fn of(state: &State) -> PoolUsage {
    let space = &state.pages.space;
    let geometry = space.geometry();
    let freed = space.returning_count();
    // How much of a deleted LUN others share is known when it has been walked through; until then this is the most
    // that it can be.
    let luns = state.luns.totals();
    let table = state.luns.index().block_count();
    let fixed = geometry.total_blocks() - space.usable_count();
    let bytes = |blocks: u128, block_bytes: u64| u64::try_from(blocks * u128::from(block_bytes)).unwrap_or(u64::MAX);
    PoolUsage {
        lun_count: luns.live,
        capacity_bytes: geometry.total_blocks() * BLOCK_LEN,
        used_bytes: (fixed + space.used_count() + freed) * BLOCK_LEN,
        reclaiming_bytes: (freed * BLOCK_LEN)
            .saturating_add(bytes(luns.deleted_mapped.min(space.used_count().into()), BLOCK_LEN)),
        own_bytes: (fixed + table) * BLOCK_LEN,
        map_bytes: space.map_count().saturating_sub(table) * BLOCK_LEN,
        data_bytes: space.used_count().saturating_sub(space.map_count()) * BLOCK_LEN,
        freed_bytes: freed * BLOCK_LEN,
        available_bytes: state.available_blocks() * BLOCK_LEN,
        provisioned_bytes: bytes(luns.live_length, LOGICAL_BLOCK_BYTES.into()),
        mapped_bytes: bytes(luns.live_mapped, BLOCK_LEN),
    }
}

/// See [`Pool::unique_bytes`](lunshadow_lun::Pool::unique_bytes). A leaf at a time, so that others get the lock; what changes
/// meanwhile is counted as it was or as it is.
pub(crate) async fn unique_bytes(shared: &Arc<Shared>, lun: LunId) -> Result<u64, PoolError> {
    let shared = Arc::clone(shared);
    let walk = move || {
        let (mut cursor, mut blocks) = (0, 0);
        loop {
            let step = shared.with_pages(|state, faults| {
                let tree = match state.luns.find(lun).filter(|(_, entry)| entry.is_live()) {
                    Some((_, entry)) => entry.tree,
                    None => return Some(Err(PoolError::UnknownLun(lun))),
                };
                if cursor >= tree.span() {
                    return Some(Ok(None));
                }
                state.pages.unique_blocks(&tree, cursor, faults).map(|found| Ok(Some(found)))
            });
            match step.map_err(|error| PoolError::Io(io::Error::from(error)))?? {
                Some((next, found)) => (cursor, blocks) = (next, blocks + found),
                None => return Ok(blocks * BLOCK_LEN),
            }
        }
    };
    tokio::task::spawn_blocking(walk).await.map_err(|error| PoolError::Io(io::Error::other(error)))?
}
