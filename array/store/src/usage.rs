//! Where a pool's space is.

use std::io;
use std::sync::Arc;

use lunshadow_lun::{LunId, PoolError, PoolUsage};

use crate::page::BLOCK_LEN;
use crate::state::{Shared, State};

/// See [`Pool::usage`](lunshadow_lun::Pool::usage).
pub(crate) fn of(state: &State) -> PoolUsage {
    let space = &state.pages.space;
    let geometry = space.geometry();
    let freed = space.returning_count();
    // How much of a deleted LUN others share is known when it has been walked through; until then this is the most
    // that it can be.
    let deleted: u64 = state.luns.deleted().map(|(_, lun)| lun.mapped_blocks).sum();
    let own = geometry.total_blocks() - space.usable_count();
    let live = || state.luns.entries().filter(|lun| lun.is_live());
    PoolUsage {
        capacity_bytes: geometry.total_blocks() * BLOCK_LEN,
        used_bytes: (own + space.used_count() + freed) * BLOCK_LEN,
        reclaiming_bytes: (freed + deleted.min(space.used_count())) * BLOCK_LEN,
        own_bytes: own * BLOCK_LEN,
        map_bytes: space.map_count() * BLOCK_LEN,
        data_bytes: space.used_count().saturating_sub(space.map_count()) * BLOCK_LEN,
        freed_bytes: freed * BLOCK_LEN,
        available_bytes: state.available_blocks() * BLOCK_LEN,
        provisioned_bytes: live().map(|lun| lun.length.bytes()).fold(0, u64::saturating_add),
        mapped_bytes: live().map(|lun| lun.mapped_blocks * BLOCK_LEN).fold(0, u64::saturating_add),
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
