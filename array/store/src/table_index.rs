//! Where the pages of the table of LUNs lie: an index of two levels, whose root has a fixed place.
//!
//! A page of the table, or of the index's lower level, gets four blocks when its first slot is needed, and keeps them: two that are
//! referred to, and two that the next checkpoint which changes it writes. So a checkpoint and a deletion never need a block for the table.

use std::collections::BTreeMap;

use crate::geometry::Geometry;
use crate::lun_record::RECORDS_PER_PAGE;
use crate::page::{Entry, Page, PageRef, index};

/// How many pages a page of the index refers to.
const SITES: usize = 128;
/// [`SITES`] for arithmetic on the numbers of pages.
const SITES_LEN: u64 = 128;
/// How many pages the table has at most.
const PAGES_MAX: usize = SITES * SITES;

/// How many LUNs, shadow LUNs and deleted LUNs on their way out a pool can have.
pub(crate) const LUNS_MAX: usize = PAGES_MAX * RECORDS_PER_PAGE;

/// The blocks of a page that has four.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Site {
    /// Where the last durable checkpoint has the page, and its check; no check, if none has it.
    now: PageRef,
    /// Where it is written next. Never with a check.
    next: PageRef,
}

impl Site {
    /// Blocks for a page that was never written: two places, and those of their second copies.
    pub(crate) fn of_fresh(places: [u64; 2], copies: [u64; 2]) -> Self {
        let at = |number: usize| PageRef::unsealed(places[number], copies[number]);
        Self { now: at(0), next: at(1) }
    }

    pub(crate) fn now(self) -> PageRef {
        self.now
    }

    /// All four blocks.
    pub(crate) fn blocks(self) -> [u64; 4] {
        [self.now.block(), self.now.copy(), self.next.block(), self.next.copy()]
    }

    /// The same page, written to its other place with this check.
    fn turned(self, check: u32) -> Self {
        Self { now: self.next.sealed(check), next: PageRef::unsealed(self.now.block(), self.now.copy()) }
    }

    fn is_unused(self) -> bool {
        self == Self::default()
    }

    fn is_plausible(self, can_be: impl Fn(u64) -> bool) -> bool {
        let [one, two, three, four] = self.blocks();
        let differ = one != three && one != four && two != three && two != four;
        !self.now.is_unmapped()
            && !self.next.is_unmapped()
            && differ
            && self.next.first().check() == 0
            && self.now.is_plausible(&can_be)
            && self.next.is_plausible(&can_be)
    }
}

/// A page of the index as it is written.
fn encode(sites: &[Site]) -> Page {
    let mut page = Page::zeroed();
    for (at, site) in sites.iter().enumerate() {
        page.set_child(2 * at, site.now);
        page.set_child(2 * at + 1, site.next);
    }
    page
}

/// What a page of the index refers to, or nothing if that makes no sense: it is filled from its beginning.
pub(crate) fn decode(page: &Page, geometry: &Geometry) -> Option<Vec<Site>> {
    let all = (0..SITES).map(|at| Site { now: page.child(2 * at), next: page.child(2 * at + 1) });
    let (used, unused): (Vec<_>, Vec<_>) = all.enumerate().partition(|(_, site)| !site.is_unused());
    let is_dense = used.last().is_none_or(|(at, _)| unused.iter().all(|(unused, _)| unused > at));
    let can_be = |block| geometry.place(block).is_some();
    let sites: Vec<Site> = used.into_iter().map(|(_, site)| site).collect();
    (is_dense && sites.iter().all(|site| site.is_plausible(can_be))).then_some(sites)
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct TableIndex {
    root: Entry,
    /// The pages of the lower level.
    lower: Vec<Site>,
    /// The pages of the table.
    pages: Vec<Site>,
}

impl TableIndex {
    /// An index whose root the superblock refers to.
    pub(crate) fn of_root(root: Entry, lower: Vec<Site>) -> Self {
        Self { root, lower, pages: Vec::new() }
    }

    /// Adds what the next page of the lower level refers to. False if that cannot be: all pages but the last are full, and each block is
    /// used once.
    pub(crate) fn push(&mut self, sites: Vec<Site>, geometry: &Geometry) -> bool {
        let is_next = self.pages.len().is_multiple_of(SITES) && self.pages.len() / SITES < self.lower.len();
        self.pages.extend(sites);
        is_next && self.block_count() <= geometry.usable_blocks()
    }

    pub(crate) fn root(&self) -> Entry {
        self.root
    }

    pub(crate) fn lower(&self) -> &[Site] {
        &self.lower
    }

    pub(crate) fn pages(&self) -> &[Site] {
        &self.pages
    }

    /// How many blocks the pages have in all.
    pub(crate) fn block_count(&self) -> u64 {
        4 * u64::try_from(self.pages.len() + self.lower.len()).unwrap_or(u64::MAX / 4)
    }

    /// The first page of the table that a page of the lower level refers to.
    pub(crate) fn first_page_below(lower: usize) -> usize {
        lower * SITES
    }

    /// How many pages need blocks for the table to have one page more; `None` if it has all that it can have.
    pub(crate) fn growth(&self) -> Option<usize> {
        (self.pages.len() < PAGES_MAX).then(|| 1 + usize::from(self.pages.len().is_multiple_of(SITES)))
    }

    /// Adds a page of the table, and with it a page of the lower level if that is where the table has come to.
    pub(crate) fn grow(&mut self, page: Site, lower: Option<Site>) {
        self.lower.extend(lower);
        self.pages.push(page);
        debug_assert_eq!(self.lower.len(), self.pages.len().div_ceil(SITES), "as many as `growth` says");
    }

    /// What a checkpoint needs to know to write these pages of the table.
    pub(crate) fn freeze(&self, pages: impl Iterator<Item = u64>) -> FrozenIndex {
        let mut frozen = FrozenIndex { root: self.root, lower: self.lower.clone(), pages: BTreeMap::new() };
        for number in pages.map(|page| page / SITES_LEN) {
            let first = index(number) * SITES;
            let sites = || self.pages[first..(first + SITES).min(self.pages.len())].to_vec();
            frozen.pages.entry(number).or_insert_with(sites);
        }
        frozen
    }

    /// The checkpoint is durable. Only checkpoints change where a page is; pages that came meanwhile are behind the others.
    pub(crate) fn thaw(&mut self, frozen: FrozenIndex) {
        self.root = frozen.root;
        self.lower[..frozen.lower.len()].copy_from_slice(&frozen.lower);
        for (number, sites) in frozen.pages {
            self.pages[index(number) * SITES..][..sites.len()].copy_from_slice(&sites);
        }
    }
}

/// The parts of an index that a checkpoint changes.
pub(crate) struct FrozenIndex {
    root: Entry,
    lower: Vec<Site>,
    /// By the numbers of the pages of the lower level.
    pages: BTreeMap<u64, Vec<Site>>,
}

impl FrozenIndex {
    /// A page of the table is written with this check; where to.
    pub(crate) fn turn_page(&mut self, page: u64, check: u32) -> PageRef {
        let sites = self.pages.get_mut(&(page / SITES_LEN)).expect("frozen for all pages that are written");
        let site = &mut sites[index(page % SITES_LEN)];
        *site = site.turned(check);
        site.now
    }

    /// The pages of the lower level that change, with their numbers.
    pub(crate) fn lower_pages(&self) -> Vec<(u64, Page)> {
        self.pages.iter().map(|(number, sites)| (*number, encode(sites))).collect()
    }

    /// A page of the lower level is written with this check; where to.
    pub(crate) fn turn_lower(&mut self, number: u64, check: u32) -> PageRef {
        let site = &mut self.lower[index(number)];
        *site = site.turned(check);
        site.now
    }

    /// The root's page.
    pub(crate) fn root_page(&self) -> Page {
        encode(&self.lower)
    }

    pub(crate) fn root(&self) -> Entry {
        self.root
    }

    pub(crate) fn set_root(&mut self, root: Entry) {
        self.root = root;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn geometry() -> Geometry {
        Geometry::new(200_000, 64).unwrap()
    }

    fn site(number: u64) -> Site {
        let first = geometry().region_start(1) + 10 + 4 * number;
        Site::of_fresh([first, first + 2], [first + 1, first + 3])
    }

    #[test]
    fn pages_are_written_to_their_places_in_turn() {
        let fresh = site(0);
        let first = fresh.turned(7);
        assert_eq!((first.now().block(), first.now().first().check()), (fresh.blocks()[2], 7));
        let second = first.turned(8);
        assert_eq!(second.now(), PageRef::unsealed(fresh.now().block(), fresh.now().copy()).sealed(8));
        assert_eq!(second.blocks(), fresh.blocks());
    }

    #[test]
    fn an_index_is_found_again_as_it_was_written() {
        let geometry = geometry();
        let mut index = TableIndex::default();
        let mut number = 0;
        let mut next = || {
            number += 1;
            site(number)
        };
        for _ in 0..SITES + 3 {
            let lower = (index.growth() == Some(2)).then(&mut next);
            index.grow(next(), lower);
        }
        assert_eq!((index.pages().len(), index.lower().len()), (131, 2));
        let mut frozen = index.freeze([3, 130].into_iter());
        assert_eq!(frozen.turn_page(3, 5).block(), index.pages()[3].blocks()[2]);
        let lower = frozen.lower_pages();
        assert_eq!(lower.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [0, 1]);
        frozen.turn_lower(0, 6);
        let root_page = frozen.root_page();
        index.thaw(frozen);
        assert_eq!(index.pages()[3].now().first().check(), 5);

        let mut again = TableIndex::of_root(Entry::UNMAPPED, decode(&root_page, &geometry).unwrap());
        assert!(lower.iter().all(|(_, page)| again.push(decode(page, &geometry).unwrap(), &geometry)));
        assert_eq!((again.pages(), again.lower()), (index.pages(), index.lower()));
        assert!(!again.push(Vec::new(), &geometry), "the index has no third page");
    }

    #[test]
    fn an_index_that_makes_no_sense_is_none() {
        let geometry = geometry();
        let with_gap = encode(&[site(0), Site::default(), site(1)]);
        let twice = encode(&[Site { now: site(0).now, next: site(0).now }]);
        let outside = encode(&[Site::of_fresh([3, 4], [5, 6])]);
        for page in [with_gap, twice, outside] {
            assert_eq!(decode(&page, &geometry), None);
        }
        assert_eq!(decode(&Page::zeroed(), &geometry), Some(Vec::new()));
    }
}
