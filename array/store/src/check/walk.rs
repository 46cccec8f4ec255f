//! The walk from all roots to all blocks.

use std::ops::Range;

use lunshadow_lun::{BlockCount, LOGICAL_BLOCK_BYTES, Lba, LunDamage, LunId};

use crate::check::repair::Corrections;
use crate::check::roots::{COUNTS, Roots, read_block, write_again};
use crate::check::tally::{BlockSet, Difference, Tally, Use, windows};
use crate::check::{CheckOptions, CheckProgress, CheckReport, MetadataDamage};
use crate::lun_table::{Life, LunEntry};
use crate::map::entry_span;
use crate::media::Media;
use crate::page::{BLOCK_LEN, Entry, Page, PageRef, index};
use crate::pool::OpenError;
use crate::verify::verify_run;

const SECTORS_PER_BLOCK: u64 = BLOCK_LEN / LOGICAL_BLOCK_BYTES as u64;
/// How many ranges of damaged blocks a report names.
const DAMAGE_MAX: usize = 65536;

/// What the first pass found out about damage, for the walk that names the LUNs.
#[derive(Default)]
struct Damage {
    /// Map pages of which no copy is whole.
    pages: BlockSet,
    /// Blocks of data.
    data: BlockSet,
    /// Pages from which damage can be reached.
    on_path: BlockSet,
}

/// One pass from all roots.
struct Pass<'a> {
    media: &'a dyn Media,
    roots: &'a Roots,
    options: &'a CheckOptions,
    progress: &'a mut dyn FnMut(CheckProgress),
    report: &'a mut CheckReport,
    damage: &'a mut Damage,
    so_far: &'a mut CheckProgress,
    tally: Tally,
    seen: BlockSet,
    verified: BlockSet,
    /// The first pass compares the copies of pages; all of them count.
    is_first: bool,
}

/// Walks as often as needed, compares counts, and corrects them if that is wanted and possible.
pub(super) fn run(
    media: &dyn Media,
    roots: &Roots,
    options: &CheckOptions,
    progress: &mut dyn FnMut(CheckProgress),
    report: &mut CheckReport,
) -> Result<(), OpenError> {
    let mut damage = Damage::default();
    let mut so_far = CheckProgress::default();
    let mut corrections = Corrections::default();
    let mut used_blocks = 0;
    for (number, window) in windows(&roots.counts, options.memory_bytes).into_iter().enumerate() {
        let mut pass = Pass {
            media,
            roots,
            options,
            progress,
            report,
            damage: &mut damage,
            so_far: &mut so_far,
            tally: Tally::new(roots.geometry, window.clone()),
            seen: BlockSet::default(),
            verified: BlockSet::default(),
            is_first: number == 0,
        };
        pass.walk_table();
        pass.walk_luns();
        used_blocks += pass.tally.used();
        pass.compare(window, &mut corrections)?;
    }
    report.luns = u64::try_from(roots.luns.entries().filter(|lun| lun.is_live()).count()).unwrap_or(u64::MAX);
    let map_blocks = 2 * report.map_pages + 4 * u64::try_from(roots.table.len()).unwrap_or(u64::MAX / 4);
    report.data_blocks = used_blocks.saturating_sub(map_blocks);
    let totals = (roots.superblock.used_blocks.get(), roots.superblock.map_blocks.get());
    let known = damage.pages.is_empty() && !roots.incomplete;
    report.wrong_totals = known && totals != (used_blocks, map_blocks);
    name_damage(media, roots, &damage, report);
    if options.repair && known && (!corrections.is_empty() || report.is_repairable()) {
        corrections.apply(media, roots, used_blocks, map_blocks).map_err(OpenError::Io)?;
    }
    // Copies that were written again.
    if options.repair { media.sync().map_err(OpenError::Io) } else { Ok(()) }
}

impl Pass<'_> {
    fn walk_table(&mut self) {
        for block in self.roots.table.iter().flat_map(|site| site.blocks()) {
            self.tally.add(block, Use::Table { block });
        }
    }

    fn walk_luns(&mut self) {
        for lun in self.roots.luns.entries() {
            let cursor = if let Life::Deleted { cursor } = lun.life { cursor } else { 0 };
            if !lun.tree.root.is_unmapped() && cursor < lun.tree.span() {
                self.page(lun.tree.root, lun.tree.levels - 1, 0, cursor);
            }
        }
    }

    /// Follows a reference to a page. What ends at `cursor` or before it has been given back. True if there is damage below.
    fn page(&mut self, page: PageRef, level: u8, base: u64, cursor: u64) -> bool {
        self.tally.add(page.block(), Use::Page { level, base });
        if !self.seen.insert(page.block()) {
            return self.damage.on_path.contains(page.block());
        }
        self.tally.add(page.copy(), Use::Copy { level, base });
        if self.is_first {
            self.report.map_pages += 1;
            self.so_far.map_pages += 1;
            (self.progress)(*self.so_far);
        }
        let Some(content) = self.read_page(page, level) else {
            self.damage.pages.insert(page.block());
            self.damage.on_path.insert(page.block());
            return true;
        };
        let mut damaged = false;
        if level == 0 {
            damaged = self.leaf(&content);
        } else {
            for (place, child) in (0..).zip(content.children()) {
                let child_base = base + place * entry_span(level);
                if !child.is_unmapped() && child_base + entry_span(level) > cursor {
                    damaged |= self.page(child, level - 1, child_base, cursor);
                }
            }
        }
        if damaged {
            self.damage.on_path.insert(page.block());
        }
        damaged
    }

    /// A page, if it has a whole copy. The first pass looks at both.
    fn read_page(&mut self, page: PageRef, level: u8) -> Option<Page> {
        let geometry = self.roots.geometry;
        let can_be = |block| geometry.place(block).is_some();
        if !page.is_plausible(can_be) {
            return None;
        }
        let whole = |entry: Entry| {
            let content = read_block(self.media, entry.block()).filter(|content| entry.matches(content.bytes()));
            content.filter(|content| content.is_plausible_map(level, can_be))
        };
        let first = whole(page.first());
        if !self.is_first && first.is_some() {
            return first;
        }
        let second = whole(page.second());
        let (bad, content) = match (first, second) {
            (Some(first), Some(_)) => return Some(first),
            (Some(first), None) => (page.copy(), first),
            (None, Some(second)) => (page.block(), second),
            (None, None) => return None,
        };
        if self.is_first {
            self.report.damaged_copies += 1;
            write_again(self.media, self.options.repair, bad, &content);
        }
        Some(content)
    }

    /// Looks at the data of a leaf, neighbours at once.
    fn leaf(&mut self, page: &Page) -> bool {
        let entries: Vec<Entry> = page.entries().collect();
        for entry in entries.iter().filter(|entry| !entry.is_unmapped()) {
            self.tally.add(entry.block(), Use::Data);
        }
        if !self.options.verify_data {
            return false;
        }
        // Each pass verifies what lies in its window, so that what it remembers of that is bounded as its counts are.
        let is_here = |entry: &Entry| !entry.is_unmapped() && self.tally.covers(entry.block());
        let runs = entries.chunk_by(|one, next| one.is_followed_by(next) && is_here(one) == is_here(next));
        let runs: Vec<&[Entry]> = runs.filter(|run| is_here(&run[0])).collect();
        for run in runs {
            if run.iter().any(|entry| !self.verified.contains(entry.block())) {
                self.verify(run);
            }
        }
        !self.damage.data.is_empty() && entries.iter().any(|entry| self.damage.data.contains(entry.block()))
    }

    fn verify(&mut self, run: &[Entry]) {
        let bad = |block| {
            self.damage.data.insert(block);
        };
        let read_at = |offset_bytes, buffer: &mut _| self.media.read_at(offset_bytes, buffer);
        self.so_far.verified_blocks += verify_run(read_at, run, &mut self.verified, bad);
        (self.progress)(*self.so_far);
    }

    /// Compares the counts of the window's regions with what was walked.
    fn compare(&mut self, window: Range<u64>, corrections: &mut Corrections) -> Result<(), OpenError> {
        self.report.conflicting_blocks += self.tally.conflicting;
        for region in window {
            let entry = self.roots.counts[index(region)];
            let places = self.roots.geometry.count_page(region);
            let found = match entry.is_unmapped() {
                true => Some(Page::zeroed()),
                false => Some(entry.block())
                    .filter(|block| places.places.contains(block))
                    .and_then(|block| read_block(self.media, block))
                    .filter(|page| entry.matches(page.bytes())),
            };
            let is_known = found.is_some();
            if !is_known {
                self.report.metadata.push(MetadataDamage { what: COUNTS, block: entry.block() });
            }
            let (difference, right) = self.tally.compare(region, &found.unwrap_or_else(Page::zeroed));
            if is_known {
                self.report.leaked_blocks += difference.leaked;
                self.report.overcounted_blocks += difference.over;
                self.report.undercounted_blocks += difference.under;
            }
            let wrong = !is_known || difference != Difference::default();
            if wrong && self.options.repair {
                let new = Corrections::write_counts(self.media, places, entry, &right).map_err(OpenError::Io)?;
                corrections.counts.insert(region, new);
            }
        }
        Ok(())
    }
}

/// Names the blocks of LUNs that damage can be reached from.
fn name_damage(media: &dyn Media, roots: &Roots, damage: &Damage, report: &mut CheckReport) {
    if damage.on_path.is_empty() {
        return;
    }
    let mut luns: Vec<&LunEntry> = roots.luns.entries().filter(|lun| lun.is_live()).collect();
    luns.sort_by_key(|lun| lun.id);
    for lun in luns {
        let mut named = Named { media, damage, report, lun: lun.id, length: lun.length };
        if !lun.tree.root.is_unmapped() {
            named.page(lun.tree.root, lun.tree.levels - 1, 0);
        }
    }
}

struct Named<'a> {
    media: &'a dyn Media,
    damage: &'a Damage,
    report: &'a mut CheckReport,
    lun: LunId,
    length: BlockCount,
}

impl Named<'_> {
    fn page(&mut self, page: PageRef, level: u8, base: u64) {
        if !self.damage.on_path.contains(page.block()) {
            return;
        }
        let whole = |entry: Entry| read_block(self.media, entry.block()).filter(|read| entry.matches(read.bytes()));
        let content = Some(page).filter(|page| !self.damage.pages.contains(page.block()));
        let Some(content) = content.and_then(|page| whole(page.first()).or_else(|| whole(page.second()))) else {
            return self.name(base, entry_span(level + 1));
        };
        if level > 0 {
            for (place, child) in (0..).zip(content.children()).filter(|(_, child)| !child.is_unmapped()) {
                self.page(child, level - 1, base + place * entry_span(level));
            }
            return;
        }
        for (block, entry) in (base..).zip(content.entries()) {
            if !entry.is_unmapped() && self.damage.data.contains(entry.block()) {
                self.name(block, 1);
            }
        }
    }

    fn name(&mut self, block: u64, count: u64) {
        let at = (block * SECTORS_PER_BLOCK).min(self.length.0);
        let end = ((block + count) * SECTORS_PER_BLOCK).min(self.length.0);
        let damage = &mut self.report.damage;
        let is_full = damage.len() == DAMAGE_MAX;
        match damage.last_mut() {
            Some(last) if last.lun == self.lun && last.at.0 + last.count.0 == at => last.count.0 += end - at,
            _ if is_full => self.report.damage_left_out = true,
            _ => damage.push(LunDamage { lun: self.lun, at: Lba(at), count: BlockCount(end - at) }),
        }
    }
}
