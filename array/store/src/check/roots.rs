//! What everything else is reached from: the superblock, the table of LUNs, and the index of regions. Read as far as it can be read.

use crate::check::{CheckReport, MetadataDamage};
use crate::geometry::{Geometry, Places};
use crate::lun_table::LunTable;
use crate::media::{self, Media};
use crate::page::{Entry, FANOUT_LEN, Page, index};
use crate::pool::OpenError;
use crate::recovery::{Newest, newest_superblock};
use crate::superblock::Superblock;
use crate::table_index::{self, Site};

const TABLE: &str = "table of LUNs";
const REGIONS: &str = "index of regions";
pub(super) const COUNTS: &str = "reference counts";

/// Whether a part can be made anew from the maps of all LUNs.
pub(super) fn follows_from_maps(what: &str) -> bool {
    what == REGIONS || what == COUNTS
}

/// See the module.
pub(super) struct Roots {
    pub(super) superblock: Superblock,
    pub(super) geometry: Geometry,
    pub(super) luns: LunTable,
    /// The level-1 pages of the index of regions.
    pub(super) level_1: Vec<Entry>,
    /// The pages of counts.
    pub(super) counts: Vec<Entry>,
    /// Where the pages of the table of LUNs lie, and those of its index.
    pub(super) table: Vec<Site>,
    /// Some of the LUNs are not known.
    pub(super) incomplete: bool,
}

impl Roots {
    /// Reads what is there. Damaged copies are written again if `repair` says so.
    pub(super) fn read(media: &dyn Media, repair: bool, report: &mut CheckReport) -> Result<Self, OpenError> {
        let Newest { superblock, geometry, .. } = newest_superblock(media)?;
        let mut roots = Self {
            superblock,
            geometry,
            luns: LunTable::default(),
            level_1: Vec::new(),
            counts: Vec::new(),
            table: Vec::new(),
            incomplete: false,
        };
        let mut reader = PlacedReader { media, repair, report };
        roots.read_table(&mut reader);
        roots.read_regions(&mut reader);
        Ok(roots)
    }

    fn read_table(&mut self, reader: &mut PlacedReader<'_>) {
        let root = Entry::from_raw(self.superblock.table_index.get());
        let page = match root.is_unmapped() {
            true => Some(Page::zeroed()),
            false => reader.page(root, Geometry::table_index(), TABLE),
        };
        let lower = self.sites_on(page, root.block(), reader);
        let mut pages = Vec::new();
        for site in &lower {
            let page = reader.copies(&site.now().copies(), TABLE);
            pages.extend(self.sites_on(page, site.now().block(), reader));
        }
        for site in &pages {
            let page = reader.copies(&site.now().copies(), TABLE);
            let is_known = page.is_some();
            if self.luns.load_page(page.as_ref(), |_| true).is_err() {
                reader.note(TABLE, site.now().block());
                self.incomplete = true;
            }
            self.incomplete |= !is_known;
        }
        self.table = lower;
        self.table.extend(pages);
    }

    /// What a page of the table's index refers to; nothing, and that not all LUNs are known, if it is damaged.
    fn sites_on(&mut self, page: Option<Page>, block: u64, reader: &mut PlacedReader<'_>) -> Vec<Site> {
        let sites = page.map(|page| table_index::decode(&page, &self.geometry));
        if sites == Some(None) {
            reader.note(TABLE, block);
        }
        sites.flatten().unwrap_or_else(|| {
            self.incomplete = true;
            Vec::new()
        })
    }

    fn read_regions(&mut self, reader: &mut PlacedReader<'_>) {
        let geometry = self.geometry;
        let level_1_count = geometry.region_count().div_ceil(FANOUT_LEN);
        for number in 0..level_1_count.div_ceil(FANOUT_LEN) {
            let entry = Entry::from_raw(self.superblock.region_roots[index(number)].get());
            let count = FANOUT_LEN.min(level_1_count - number * FANOUT_LEN);
            let entries = reader.entries(entry, geometry.index_page(2, number), REGIONS, count);
            self.level_1.extend(entries.unwrap_or_else(|| vec![Entry::UNMAPPED; index(count)]));
        }
        for (number, entry) in (0..).zip(self.level_1.clone()) {
            let count = FANOUT_LEN.min(geometry.region_count() - number * FANOUT_LEN);
            let entries = reader.entries(entry, geometry.index_page(1, number), REGIONS, count);
            self.counts.extend(entries.unwrap_or_else(|| vec![Entry::UNMAPPED; index(count)]));
        }
    }
}

/// Reads a block; an error of the medium is damage like any other.
pub(super) fn read_block(media: &dyn Media, block: u64) -> Option<Page> {
    let mut page = Page::zeroed();
    media::read_page(media, block, &mut page).ok().map(|()| page)
}

/// Reads pages that have two places.
struct PlacedReader<'a> {
    media: &'a dyn Media,
    repair: bool,
    report: &'a mut CheckReport,
}

impl PlacedReader<'_> {
    fn entries(&mut self, entry: Entry, places: Places, what: &'static str, count: u64) -> Option<Vec<Entry>> {
        let page = if entry.is_unmapped() { Page::zeroed() } else { self.page(entry, places, what)? };
        Some(page.entries().take(index(count)).collect())
    }

    fn page(&mut self, entry: Entry, places: Places, what: &'static str) -> Option<Page> {
        let place = entry.block();
        if !places.places.contains(&place) {
            self.note(what, place);
            return None;
        }
        let copy = places.copy_of(place).map(|copy| Entry::new(copy, entry.check()));
        self.copies(&std::iter::once(entry).chain(copy).collect::<Vec<_>>(), what)
    }

    /// Reads all copies of a page.
    fn copies(&mut self, copies: &[Entry], what: &'static str) -> Option<Page> {
        let whole = |copy: &Entry| read_block(self.media, copy.block()).filter(|page| copy.matches(page.bytes()));
        let read: Vec<Option<Page>> = copies.iter().map(whole).collect();
        let Some(page) = read.iter().flatten().next().cloned() else {
            self.note(what, copies[0].block());
            return None;
        };
        for (copy, _) in copies.iter().zip(&read).filter(|(_, read)| read.is_none()) {
            self.report.damaged_copies += 1;
            write_again(self.media, self.repair, copy.block(), &page);
        }
        Some(page)
    }

    fn note(&mut self, what: &'static str, block: u64) {
        self.report.metadata.push(MetadataDamage { what, block });
    }
}

/// Writes a damaged copy again, if that is wanted.
pub(super) fn write_again(media: &dyn Media, repair: bool, block: u64, page: &Page) {
    if repair && let Err(error) = media::write_page(media, block, page) {
        tracing::error!(block, %error, "a damaged copy cannot be written again");
    }
}
