//! More pages for the table of LUNs, in blocks that are taken like those of map pages.

use lunshadow_lun::PoolError;

use crate::record::LunSlot;
use crate::space::{Claimed, Faults, Purpose};
use crate::state::State;
use crate::table_index::{LUNS_MAX, Site};

/// Whether there are slots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Provided {
    Enough,
    /// There are as many LUNs as there can be.
    TooMany,
    /// There is no block for a page.
    Full,
}

impl Provided {
    /// What to answer to who needs slots.
    pub(crate) fn as_result(self) -> Result<(), PoolError> {
        match self {
            Self::Enough => Ok(()),
            Self::TooMany => Err(PoolError::LimitReached { what: "LUNs", limit: LUNS_MAX }),
            Self::Full => Err(PoolError::OutOfSpace),
        }
    }
}

impl State {
    /// Makes sure that so many slots of the table can be taken. `None` if pages are missing.
    pub(crate) fn provide_slots(&mut self, count: usize, faults: &mut Faults) -> Option<Provided> {
        while self.luns.free_count() < count {
            match self.grow_table(faults)? {
                Provided::Enough => {}
                other => return Some(other),
            }
        }
        Some(Provided::Enough)
    }

    /// Makes sure that the table has a slot. `None` if pages are missing.
    pub(crate) fn provide_slot(&mut self, slot: LunSlot, faults: &mut Faults) -> Option<Provided> {
        while !self.luns.has_slot(slot) {
            match self.grow_table(faults)? {
                Provided::Enough => {}
                other => return Some(other),
            }
        }
        Some(Provided::Enough)
    }

    /// Adds a page to the table.
    fn grow_table(&mut self, faults: &mut Faults) -> Option<Provided> {
        let Some(sites) = self.luns.index().growth() else { return Some(Provided::TooMany) };
        let wanted = u64::try_from(4 * sites).expect("one or two");
        // Half of what is kept for map pages is theirs alone. Recovery takes again what was taken before.
        if self.running && self.pages.space.free_count() < self.limits.reserve_blocks / 2 + wanted {
            return Some(Provided::Full);
        }
        let places = self.claim_for_table(Purpose::Map, 2 * sites, faults)?;
        let Some(copies) = self.claim_for_table(Purpose::MapCopy, 2 * sites, faults) else {
            places.into_iter().for_each(|block| self.pages.space.unhold(block));
            return None;
        };
        if places.is_empty() || copies.is_empty() {
            places.into_iter().chain(copies).for_each(|block| self.pages.space.unhold(block));
            return Some(Provided::Full);
        }
        for block in places.iter().chain(&copies) {
            self.pages.space.increment(&mut self.pages.cache, *block);
        }
        self.pages.space.count_map_blocks(i64::try_from(wanted).expect("four or eight"));
        let site = |at: usize| Site::of_fresh([places[at], places[at + 1]], [copies[at], copies[at + 1]]);
        self.luns.grow(site(0), (sites > 1).then(|| site(2)));
        Some(Provided::Enough)
    }

    /// Takes blocks whose counts are in memory then. None at all if there are not so many.
    fn claim_for_table(&mut self, purpose: Purpose, count: usize, faults: &mut Faults) -> Option<Claimed> {
        let space = &mut self.pages.space;
        let blocks = space.claim(&mut self.pages.cache, purpose, count, faults)?;
        let before = faults.len();
        for block in &blocks {
            space.touch(&mut self.pages.cache, *block, faults);
        }
        if faults.len() > before {
            blocks.into_iter().for_each(|block| space.unhold(block));
            return None;
        }
        Some(blocks)
    }
}
