//! Clearing: makes runs of free blocks where there are none.
//!
//! Blocks are taken one after another, wherever they are free. When a LUN has been overwritten at random often enough, the free blocks lie as
//! scattered as the data does, and there is no run that anything could be moved to to be in order. So the regions with most free blocks are
//! kept clear: nothing new goes there, and what the leaves that wait to be put in order have there is moved to free blocks elsewhere. After
//! the next checkpoint, runs are free there, as long as what is left is not another LUN's or shared.

use std::sync::Arc;

use crate::lun::StoreLun;
use crate::moving::{Row, movable, move_rows, rows_of, with_lun};
use crate::page::Entry;
use crate::space::{Claimed, Purpose};
use crate::state::{PageError, Shared};
use crate::views::LeafOf;

/// Chooses the regions, for a leaf that found no room, if that can help.
pub(crate) fn begin(shared: &Shared, leaf: LeafOf) {
    if !shared.scattered.may_clear() {
        return;
    }
    let chosen = shared.with_pages(|state, faults| {
        if !state.has_room_for_order(0) {
            return Some(false);
        }
        let pages = &mut state.pages;
        pages.space.keep_sparse_clear(&mut pages.cache, faults)
    });
    match chosen {
        Ok(true) => shared.scattered.begin_clearing(leaf),
        Ok(false) => {}
        Err(error) => tracing::info!(error = %error, "scattered data stays where it is"),
    }
}

/// Takes away what a leaf has in the regions that are to be clear; how many blocks that were.
pub(crate) fn step(shared: &Arc<Shared>, leaf: LeafOf) -> usize {
    with_lun(shared, leaf, |lun| take_away(lun, leaf.leaf))
}

fn take_away(lun: &StoreLun, leaf: u64) -> Result<usize, PageError> {
    let Some(mut entries) = movable(lun, leaf)? else { return Ok(0) };
    let blocks = {
        let state = lun.shared.state.lock();
        let stays = |entry: &Entry| !state.pages.space.is_kept_clear(entry.block());
        entries
            .iter_mut()
            .filter(|entry| !entry.is_unmapped() && stays(entry))
            .for_each(|entry| *entry = Entry::UNMAPPED);
        entries.iter().filter(|entry| !entry.is_unmapped()).count()
    };
    if blocks == 0 {
        return Ok(0);
    }
    let claimed = lun.shared.with_pages(|state, faults| {
        if !state.has_room_for_order(blocks) {
            return Some(Claimed::new());
        }
        let pages = &mut state.pages;
        pages.space.claim(&mut pages.cache, Purpose::Data, blocks, faults)
    })?;
    if claimed.is_empty() {
        return Ok(0);
    }
    let rows: Vec<Row<'_>> = rows_of(&entries).collect();
    move_rows(lun, leaf, &rows, &claimed)
}
