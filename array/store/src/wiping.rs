//! Overwriting what blocks hold that nobody uses any more.
//!
//! A pool never writes in place, so what LUNs held before lies in free blocks until these are taken for something else. Free blocks may be
//! written to at any time: nothing refers to them, after a crash either.

use std::sync::Arc;

use lunshadow_lun::{LunError, PoolError};

use crate::lun::blocking;
use crate::media;
use crate::page::BLOCK_LEN;
use crate::space::Faults;
use crate::state::{Shared, State};

/// Overwrites all free blocks, once what is being given back has come back. Those that are taken meanwhile are overwritten by whoever takes them.
/// When this is dropped, what was begun of it ends by itself.
pub(crate) async fn run(shared: &Arc<Shared>) -> Result<(), LunError> {
    given_back(shared).await.map_err(|error| match error {
        PoolError::OutOfSpace => LunError::OutOfSpace,
        _ => LunError::Poisoned,
    })?;
    // What is kept in memory of what is overwritten is of no use to anybody.
    shared.read_cache.clear();
    let mut region = 0;
    while region < shared.state.lock().pages.space.geometry().region_count() {
        let this = Arc::clone(shared);
        blocking(move || wipe(&this, region)).await?;
        region += 1;
    }
    Ok(())
}

/// Waits until the space of all LUNs that are deleted by now, and of all that was written over, has come back, as far as it can be given back.
pub(crate) async fn given_back(shared: &Shared) -> Result<(), PoolError> {
    let mut watch = shared.watch();
    let mut checkpoint = None;
    // A checkpoint that waits for the medium to have space tries again first.
    shared.want_checkpoint(&mut shared.state.lock());
    loop {
        {
            let mut state = shared.state.lock();
            if state.poisoned {
                return Err(PoolError::Poisoned);
            }
            if state.medium_full {
                return Err(PoolError::OutOfSpace);
            }
            if shared.hurry_reclaim(&mut state) {
                // News come with each step.
            } else if checkpoint.is_none() {
                checkpoint = Some(shared.want_checkpoint(&mut state));
            }
            if checkpoint.is_some_and(|generation| state.pages.space.released_generation() >= generation) {
                return Ok(());
            }
        }
        watch.changed().await.map_err(|_| PoolError::Poisoned)?;
    }
}

/// Overwrites the free blocks of a region, durably. Whoever needs room meanwhile waits for them.
fn wipe(shared: &Shared, region: u64) -> Result<(), LunError> {
    let held = shared.with_pages(|state: &mut State, faults: &mut Faults| {
        let pages = &mut state.pages;
        pages.space.hold_free(&mut pages.cache, region, faults)
    });
    // If its counts cannot be read, nothing is known of what is free there.
    let held = held.map_err(|error| LunError::Io(error.into()))?;
    let bytes: Vec<_> = held.iter().map(|run| run.start * BLOCK_LEN..run.end * BLOCK_LEN).collect();
    let wiped = shared.media.wipe(&bytes);
    {
        let mut state = shared.state.lock();
        state.pages.space.let_go(&held);
        shared.publish(&state);
    }
    wiped.map_err(|error| if media::is_full(&error) { LunError::OutOfSpace } else { LunError::Io(error) })
}
