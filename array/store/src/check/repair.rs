//! Corrected counts go where a checkpoint would write them, and become valid as a whole with a superblock.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use zerocopy::little_endian::U64;

use crate::check::roots::Roots;
use crate::geometry::Places;
use crate::media::{self, Media};
use crate::page::{Entry, FANOUT_LEN, Page, check_of, index};

/// The pages of counts that were written anew.
#[derive(Default)]
pub(super) struct Corrections {
    pub(super) counts: BTreeMap<u64, Entry>,
}

impl Corrections {
    pub(super) fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }

    /// Writes a page to the place that the superblock does not refer to, and to its second copy if it has one.
    pub(super) fn write_counts(media: &dyn Media, places: Places, old: Entry, page: &Page) -> io::Result<Entry> {
        let block = places.other(old.block());
        media::write_page(media, block, page)?;
        if let Some(copy) = places.copy_of(block) {
            media::write_page(media, copy, page)?;
        }
        Ok(Entry::new(block, check_of(page.bytes())))
    }

    /// Makes the corrections valid. The index of regions is written as a whole, since parts of it may have been damaged.
    pub(super) fn apply(self, media: &dyn Media, roots: &Roots, used_blocks: u64, map_blocks: u64) -> io::Result<()> {
        let geometry = &roots.geometry;
        let mut counts = roots.counts.clone();
        self.counts.iter().for_each(|(region, entry)| counts[index(*region)] = *entry);
        let mut level_1 = roots.level_1.clone();
        let mut superblock = roots.superblock.clone();
        let mut upper = BTreeSet::new();
        for (number, regions) in (0..).zip(counts.chunks(index(FANOUT_LEN))) {
            let old = level_1[index(number)];
            if regions.iter().any(|entry| !entry.is_unmapped()) || !old.is_unmapped() {
                level_1[index(number)] =
                    Self::write_counts(media, geometry.index_page(1, number), old, &page_of(regions))?;
                upper.insert(number / FANOUT_LEN);
            }
        }
        for number in upper {
            let root = &mut superblock.region_roots[index(number)];
            let first = index(number * FANOUT_LEN);
            let page = page_of(&level_1[first..(first + index(FANOUT_LEN)).min(level_1.len())]);
            let old = Entry::from_raw(root.get());
            *root = U64::new(Self::write_counts(media, geometry.index_page(2, number), old, &page)?.raw());
        }
        superblock.used_blocks = used_blocks.into();
        superblock.map_blocks = map_blocks.into();
        superblock.generation += 1;
        media.sync()?;
        superblock.write(media)?;
        media.sync()
    }
}

fn page_of(entries: &[Entry]) -> Page {
    let mut page = Page::zeroed();
    entries.iter().enumerate().for_each(|(at, entry)| page.set_entry(at, *entry));
    page
}
