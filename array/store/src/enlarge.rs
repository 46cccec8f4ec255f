//! A pool that gets more capacity while it is used.

use std::sync::Arc;

use lunshadow_lun::{EnlargeError, Outcome};

use crate::geometry::Geometry;
use crate::page::BLOCK_LEN;
use crate::state::{Refusal, Shared};

/// Gives the pool this capacity. The new blocks are used from when a superblock that knows of them is durable, so that no record of the log
/// refers to blocks beyond the capacity that recovery knows.
pub(crate) async fn run(shared: &Arc<Shared>, asked_bytes: u64) -> Result<Outcome, EnlargeError> {
    let asked_blocks = asked_bytes / BLOCK_LEN;
    let geometry = {
        let state = shared.state.lock();
        let geometry = state.pages.space.geometry();
        let has_blocks = geometry.total_blocks();
        if asked_blocks == has_blocks {
            return Ok(Outcome::AlreadySo);
        }
        if asked_blocks < has_blocks {
            return Err(EnlargeError::WouldShrink { has_bytes: has_blocks * BLOCK_LEN, asked_bytes });
        }
        Geometry::new(asked_blocks, geometry.log_blocks()).ok_or(EnlargeError::UnsupportedSize { asked_bytes })?
    };
    let medium = Arc::clone(shared);
    let lengthened = tokio::task::spawn_blocking(move || {
        let wanted = geometry.total_blocks() * BLOCK_LEN;
        if medium.media.len_bytes()? < wanted {
            medium.media.set_len_bytes(wanted)?;
        }
        Ok(medium.sync().inspect_err(|error| medium.poison(error)).is_ok())
    });
    let lengthened = lengthened.await.unwrap_or_else(|error| Err(std::io::Error::other(error)));
    let synced = lengthened.map_err(|error| EnlargeError::MediumFull { asked_bytes, error: Some(error) })?;
    if !synced {
        return Err(EnlargeError::Poisoned);
    }
    let generation = {
        let mut state = shared.state.lock();
        // Of two that come at once, the greater one wins.
        let wins = |other: Geometry| other.total_blocks() < geometry.total_blocks();
        if state.next_geometry.is_none_or(wins) && wins(*state.pages.space.geometry()) {
            state.next_geometry = Some(geometry);
        }
        shared.want_checkpoint(&mut state)
    };
    shared.checkpointed(generation).await.map_err(|refusal| match refusal {
        Refusal::Poisoned => EnlargeError::Poisoned,
        Refusal::MediumFull => EnlargeError::MediumFull { asked_bytes, error: None },
    })?;
    Ok(Outcome::Done)
}
