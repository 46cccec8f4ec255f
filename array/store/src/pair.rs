//! Writes across the border of two leaves of a map, made as one.
//!
//! The changes of one leaf are made under one hold of the pool's lock and logged in one batch, so that readers, snapshots and what is left after a
//! crash see all of them or none. So are these, as long as they are not longer than [`ATOMIC_BYTES_MAX`], which is what the pool promises wherever a
//! write begins. Only whole blocks are: a block of which a part is written depends on others who write to it.

use std::ops::Range;

use bytes::Bytes;
use lunshadow_lun::LunError;

use crate::changes::{LeafPlace, Updated};
use crate::lun::StoreLun;
use crate::page::{BLOCK_LEN, Entry, FANOUT_LEN, index};
use crate::writing::{LeafWrite, Piece, Written};

/// The longest write that is made as one wherever it begins: less than a leaf, so that it touches two at most.
pub(crate) const ATOMIC_BYTES_MAX: u64 = 1 << 20;
const LEAF_BYTES: u64 = FANOUT_LEN * BLOCK_LEN;
const _: () = assert!(ATOMIC_BYTES_MAX <= LEAF_BYTES);

/// A write of whole blocks in two leaves.
#[derive(Debug, Clone)]
pub(crate) struct PairWrite([LeafWrite; 2]);

impl PairWrite {
    /// The write, if it is one of these.
    pub(crate) fn of(bytes: &Range<u64>, data: &Bytes) -> Option<Self> {
        let border = (bytes.start / LEAF_BYTES + 1) * LEAF_BYTES;
        let is_whole = bytes.start.is_multiple_of(BLOCK_LEN) && bytes.end.is_multiple_of(BLOCK_LEN);
        if bytes.end <= border || bytes.end - bytes.start > ATOMIC_BYTES_MAX || !is_whole {
            return None;
        }
        let first = index(border - bytes.start);
        let part = |bytes, data| LeafWrite { bytes, data };
        Some(Self([part(bytes.start..border, data.slice(..first)), part(border..bytes.end, data.slice(first..))]))
    }

    /// How many blocks it may take.
    pub(crate) fn blocks(&self) -> u64 {
        self.0.iter().map(|part| (part.bytes.end - part.bytes.start) / BLOCK_LEN).sum()
    }

    pub(crate) fn run(&self, lun: &StoreLun) -> Result<Written, LunError> {
        lun.shared.note_scattered(self.0.iter().map(|part| lun.leaf_of(part.bytes.start / LEAF_BYTES)));
        let pieces = self.0.each_ref().map(LeafWrite::whole_pieces);
        let wants = pieces.each_ref().map(|pieces| pieces.iter().filter(|piece| piece.takes_a_block()).count());
        let Some(claimed) = self.0[0].claim(lun, wants.iter().sum())? else { return Ok(Written::Full) };
        let written = self.write(lun, &pieces, claimed.split_at(wants[0]));
        if !matches!(written, Ok(Written::Done)) {
            let mut state = lun.shared.state.lock();
            claimed.iter().for_each(|block| state.pages.space.unhold(*block));
        }
        written
    }

    fn write(&self, lun: &StoreLun, pieces: &[Vec<Piece>; 2], claimed: (&[u64], &[u64])) -> Result<Written, LunError> {
        let [first, second] = &self.0;
        let entries = [first.store(lun, &pieces[0], claimed.0)?, second.store(lun, &pieces[1], claimed.1)?];
        self.map(lun, &entries)
    }

    fn map(&self, lun: &StoreLun, entries: &[Vec<Entry>; 2]) -> Result<Written, LunError> {
        let [first, second] = &self.0;
        let place = |part: &LeafWrite| LeafPlace::of(part.bytes.start / BLOCK_LEN);
        let parts = [(place(first), entries[0].as_slice()), (place(second), entries[1].as_slice())];
        let mapped = lun.shared.with_pages(|state, faults| {
            if let Err(gone) = lun.entry_until(state, &(first.bytes.start..second.bytes.end)) {
                return Some(Err(gone));
            }
            if state.poisoned {
                return Some(Err(LunError::Poisoned));
            }
            Some(Ok(match state.update_maps(lun.slot, &parts, faults)? {
                Updated::Full => Written::Full,
                Updated::Unchanged => Written::Done,
                Updated::Changed => {
                    if state.log_updates(lun.slot, &parts) {
                        lun.shared.log_wake.notify_one();
                    }
                    Written::Done
                }
            }))
        });
        mapped.map_err(StoreLun::damaged_at(first.bytes.start))?
    }
}
