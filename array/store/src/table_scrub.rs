//! The scrub's look at the table of LUNs. The table is in memory as a whole, so whatever is damaged on the medium is written again.

use std::sync::atomic::Ordering;

use crate::geometry::Geometry;
use crate::media;
use crate::page::{BLOCK_LEN, Entry, Page};
use crate::state::Shared;
use crate::table_index::TableIndex;

/// Looks at one page: the root of the index comes first, then its pages, then those of the table. How many bytes were read; `None` behind the
/// last page.
pub(crate) fn look(shared: &Shared, number: usize) -> Option<u64> {
    let (copies, page) = place(shared.state.lock().luns.index(), number)?;
    // A page without a check is not on the medium yet.
    let copies: Vec<Entry> = copies.into_iter().filter(|copy| copy.check() != 0).collect();
    let bytes = BLOCK_LEN * u64::try_from(copies.len()).expect("two at most");
    let damaged = copies.iter().filter(|copy| !is_whole(shared, **copy)).count();
    if damaged > 0 {
        let mut state = shared.state.lock();
        // It may have been written to its other place meanwhile, and then this one is on its way to something else.
        let is_there =
            place(state.luns.index(), number).is_some_and(|(now, _)| copies.iter().all(|copy| now.contains(copy)));
        if is_there && !state.poisoned {
            tracing::warn!(
                block = copies[0].block(),
                damaged,
                "a page of the table of LUNs was damaged, and is written again"
            );
            state.luns.touch_page(page);
            shared.want_checkpoint(&mut state);
            shared.healed_pages.fetch_add(u64::try_from(damaged).expect("two at most"), Ordering::Relaxed);
        }
    }
    Some(bytes)
}

/// The copies of a page, and which page of the table has it written again.
fn place(index: &TableIndex, number: usize) -> Option<([Entry; 2], usize)> {
    let (root, lower, pages) = (index.root(), index.lower(), index.pages());
    let Some(number) = number.checked_sub(1) else {
        let copy = Geometry::table_index().copy_of(root.block()).filter(|_| !root.is_unmapped());
        return copy.map(|copy| ([root, Entry::new(copy, root.check())], 0));
    };
    if let Some(site) = lower.get(number) {
        return Some((site.now().copies(), TableIndex::first_page_below(number)));
    }
    let number = number - lower.len();
    pages.get(number).map(|site| (site.now().copies(), number))
}

fn is_whole(shared: &Shared, copy: Entry) -> bool {
    let mut page = Page::zeroed();
    media::read_page(&*shared.media, copy.block(), &mut page).is_ok() && copy.matches(page.bytes())
}
