//! Moving data on the medium while it is used. To everybody else it is a write of what is there anyway: it goes to free blocks, the map is
//! changed, the log has a record of it.

use std::sync::Arc;

use lunshadow_lun::AlignedBuffer;

use crate::changes::LeafPlace;
use crate::lun::StoreLun;
use crate::map::Leaf;
use crate::media::WritePart;
use crate::page::{BLOCK_BYTES, BLOCK_LEN, Entry};
use crate::state::{PageError, Shared};
use crate::views::LeafOf;
use crate::writing::Mapped;

/// Mapped entries of a leaf that follow each other there, and the place of the first.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Row<'a> {
    pub(crate) at: usize,
    pub(crate) entries: &'a [Entry],
}

/// Does something with a leaf whose LUN is still there. Reading it, or the scrub, tells what is damaged; here, such data stays where it is.
pub(crate) fn with_lun<T: Default>(
    shared: &Arc<Shared>,
    leaf: LeafOf,
    work: impl FnOnce(&StoreLun) -> Result<T, PageError>,
) -> T {
    let lun = {
        let state = shared.state.lock();
        let entry = state.luns.get(leaf.slot).filter(|entry| entry.birth == leaf.birth && entry.is_live());
        entry.map(|entry| StoreLun {
            shared: Arc::clone(shared),
            slot: leaf.slot,
            birth: leaf.birth,
            id: entry.id,
            length: Arc::clone(&entry.shown_length),
        })
    };
    let Some(lun) = lun else { return T::default() };
    // From before the look-up until the map is changed, so that an entry that is the same then has the same content.
    let reader = shared.reader(leaf.slot);
    let done = work(&lun).unwrap_or_else(|error| {
        tracing::info!(lun = %lun.id, leaf = leaf.leaf, error = %error, "data stays where it is");
        T::default()
    });
    drop(reader);
    done
}

/// The entries of a leaf, those that are not the LUN's alone as if they were not mapped. `None` if there is nothing to move.
pub(crate) fn movable(lun: &StoreLun, leaf: u64) -> Result<Option<Vec<Entry>>, PageError> {
    lun.shared.with_pages(|state, faults| {
        let Ok(entry) = lun.entry(state) else { return Some(None) };
        let tree = entry.tree;
        let Leaf::Mapped(page) = state.pages.leaf(&tree, leaf, faults)? else { return Some(None) };
        if state.pages.is_shared(&tree, leaf, faults)? {
            return Some(None);
        }
        let mut entries: Vec<Entry> = page.entries().collect();
        for entry in &mut entries {
            if state.pages.touch_count(*entry, faults) && state.pages.has_other_owners(*entry) {
                *entry = Entry::UNMAPPED;
            }
        }
        faults.is_empty().then_some(Some(entries))
    })
}

/// The rows of mapped entries among those of a leaf.
pub(crate) fn rows_of(entries: &[Entry]) -> impl Iterator<Item = Row<'_>> {
    let mut next = 0;
    let rows = entries.chunk_by(|one, other| one.is_unmapped() == other.is_unmapped()).map(move |entries| {
        let at = next;
        next += entries.len();
        Row { at, entries }
    });
    rows.filter(|row| !row.entries[0].is_unmapped())
}

/// Moves rows of a leaf to blocks that were taken for them; how many blocks came to be there. Those of rows that cannot be moved, or that were
/// overtaken by a write or a snapshot, are let go.
pub(crate) fn move_rows(lun: &StoreLun, leaf: u64, rows: &[Row<'_>], blocks: &[u64]) -> Result<usize, PageError> {
    let entries: Vec<Entry> = rows.iter().flat_map(|row| row.entries).copied().collect();
    let mut content = AlignedBuffer::of_len(entries.len() * BLOCK_BYTES);
    let is_copied = lun.fetch(&entries, &mut content).is_ok() && store(lun, &entries, blocks, &content);
    let (mut moved, mut rest, mut result) = (0, blocks, Ok(()));
    for row in rows {
        let (blocks, others) = rest.split_at(row.entries.len());
        rest = others;
        let is_mapped = is_copied && result.is_ok() && {
            let mapped = map(lun, leaf, *row, blocks);
            let is_mapped = matches!(mapped, Ok(true));
            result = mapped.map(drop);
            is_mapped
        };
        if is_mapped {
            moved += blocks.len();
        } else {
            let mut state = lun.shared.state.lock();
            blocks.iter().for_each(|block| state.pages.space.unhold(*block));
        }
    }
    result.map(|()| moved)
}

/// Writes what other blocks hold to blocks, neighbours as one part.
fn store(lun: &StoreLun, from: &[Entry], blocks: &[u64], content: &[u8]) -> bool {
    let mut rest = content;
    let mut parts = Vec::new();
    for run in blocks.chunk_by(|one, next| one + 1 == *next) {
        let (data, others) = rest.split_at(run.len() * BLOCK_BYTES);
        rest = others;
        parts.push(WritePart { offset_bytes: run[0] * BLOCK_LEN, data });
    }
    lun.shared.move_data(from, blocks, &parts).is_ok()
}

/// Lets a row refer to other blocks with the same content. False, and nothing has happened, if it was overtaken.
fn map(lun: &StoreLun, leaf: u64, row: Row<'_>, blocks: &[u64]) -> Result<bool, PageError> {
    let entries: Vec<Entry> =
        blocks.iter().zip(row.entries).map(|(block, old)| Entry::new(*block, old.check())).collect();
    let mapped = lun.shared.with_pages(|state, faults| {
        let tree = match lun.entry(state) {
            Ok(entry) => entry.tree,
            Err(gone) => return Some(Err(gone)),
        };
        // A snapshot may have been taken meanwhile, which the old blocks belong to, too.
        if state.pages.is_shared(&tree, leaf, faults)? {
            return Some(Ok(Mapped::Overtaken));
        }
        let first = LeafPlace { leaf, at: row.at }.block() * BLOCK_LEN;
        lun.map_locked(state, &(first..first + 1), |at| Some(row.entries[at]), &entries, faults)
    })?;
    Ok(matches!(mapped, Ok(Mapped::Done)))
}
