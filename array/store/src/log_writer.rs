//! The thread that writes the log: one batch, one sync, and on.
//!
//! A batch is written only when the one before it is durable. So at most the last batch of the log can have survived a crash
//! without the data that its records refer to, and recovery has to verify the data of that one only.

use std::io;

use crate::geometry::Geometry;
use crate::media::Media;
use crate::state::Shared;

/// Runs until the pool stops or is poisoned.
pub(crate) fn run(shared: &Shared) {
    while let Some(batch) = next_batch(shared) {
        let geometry = *shared.state.lock().pages.space.geometry();
        let written = write_ring(&*shared.media, &geometry, batch.position, &batch.bytes).and_then(|()| shared.sync());
        match written {
            Ok(()) => {
                let mut state = shared.state.lock();
                state.log.written(&batch);
                shared.publish(&state);
            }
            Err(error) => return shared.poison(&error),
        }
    }
}

fn next_batch(shared: &Shared) -> Option<std::sync::Arc<crate::log::Batch>> {
    let mut state = shared.state.lock();
    loop {
        if !state.running || state.poisoned {
            return None;
        }
        match state.log.front() {
            Some(batch) if state.log.has_room_for(&batch) => return Some(batch),
            Some(_) => {
                shared.want_checkpoint(&mut state);
            }
            None => {}
        }
        shared.log_wake.wait(&mut state);
    }
}

/// Writes into the ring, in two parts where it ends.
pub(crate) fn write_ring(media: &dyn Media, geometry: &Geometry, position: u64, bytes: &[u8]) -> io::Result<()> {
    let until_end = geometry.log_blocks() - position % geometry.log_blocks();
    let split = bytes.len().min(crate::page::index(until_end * crate::page::BLOCK_LEN));
    media.write_at(geometry.log_offset_bytes(position), &bytes[..split])?;
    if split < bytes.len() {
        media.write_at(geometry.log_offset_bytes(0), &bytes[split..])?;
    }
    Ok(())
}
