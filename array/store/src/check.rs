//! The offline check: walks every root and proves that each block is owned as often as its count says, or free; names what is damaged,
//! and repairs what follows from something else.
//!
//! A pool that was not closed is brought back first, as opening it does; a check that repairs nothing does that beside the medium, in
//! memory. Memory is bounded by [`CheckOptions::memory_bytes`], a few bits for each block that is used, and what is damaged; a pool
//! whose counts do not fit is walked several times.

mod overlay;
mod repair;
mod roots;
mod tally;
mod walk;

use std::path::Path;
use std::sync::Arc;

use lunshadow_lun::LunDamage;

use crate::location::medium_of;
use crate::media::{FileMedia, Media};
use crate::pool::OpenError;
use crate::recovery;
use crate::tail::Tail;
use overlay::{Overlay, SharedMedia};
use roots::Roots;
pub(crate) use tally::BlockSet;

/// The cache of the pool that is opened to bring it back to what was last made durable.
const RECOVERY_CACHE_BYTES: u64 = 64 << 20;

/// What a check does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CheckOptions {
    /// Whether the data of all LUNs is read and verified, and not only what describes it.
    pub verify_data: bool,
    /// Whether damaged copies of pages are written again, wrong counts are corrected and leaked blocks become free.
    pub repair: bool,
    /// How much memory counts may take.
    pub memory_bytes: u64,
}

impl Default for CheckOptions {
    /// Verifies data, repairs nothing, 256 MiB.
    fn default() -> Self {
        Self { verify_data: true, repair: false, memory_bytes: 256 << 20 }
    }
}

/// How far a check is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CheckProgress {
    /// How many map pages have been looked at.
    pub map_pages: u64,
    /// How many blocks of data have been verified.
    pub verified_blocks: u64,
}

/// Something damaged that is not part of one LUN.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MetadataDamage {
    /// The part.
    pub what: &'static str,
    /// The block of the medium, in units of 4096 bytes.
    pub block: u64,
}

/// What became of a repair that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repair {
    /// There was nothing to repair.
    NotNeeded,
    /// All that can be repaired is, and a second walk has proved it.
    Done,
    /// Copies were written again, but counts are as they were: with pages that cannot be read, nobody knows which blocks are in use. They
    /// can be corrected when the LUNs that are damaged that way are deleted.
    CountsUnknown,
}

/// What a check found. Damaged copies, leaks and wrong counts can be repaired; the rest cannot.
#[derive(Debug, Default)]
pub struct CheckReport {
    /// How many LUNs and shadow LUNs there are.
    pub luns: u64,
    /// How many different map pages they have, without second copies.
    pub map_pages: u64,
    /// How many different blocks of data they have.
    pub data_blocks: u64,
    /// What of LUNs cannot be read, in order. Of a LUN that is being deleted nothing is named.
    pub damage: Vec<LunDamage>,
    /// More is damaged than `damage` has room for.
    pub damage_left_out: bool,
    /// What else is damaged.
    pub metadata: Vec<MetadataDamage>,
    /// Pages of which one of two copies is damaged, so that nothing is lost yet.
    pub damaged_copies: u64,
    /// Blocks that are in use according to their count, and that nothing refers to.
    pub leaked_blocks: u64,
    /// Blocks in use whose count is greater than what refers to them: they would leak later.
    pub overcounted_blocks: u64,
    /// Blocks whose count is less than what refers to them: they would be freed too early.
    pub undercounted_blocks: u64,
    /// Blocks that are used for more than one purpose.
    pub conflicting_blocks: u64,
    /// The totals in the superblock are wrong.
    pub wrong_totals: bool,
    /// Why the pool does not open. What is said of LUNs is about the last checkpoint then.
    pub unopenable: Option<OpenError>,
    /// What became of the repair, if it was asked for.
    pub repair: Option<Repair>,
}

impl CheckReport {
    /// Whether nothing at all was found.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        !self.is_repairable()
            && self.damage.is_empty()
            && !self.damage_left_out
            && self.metadata.is_empty()
            && self.conflicting_blocks == 0
            && self.unopenable.is_none()
    }

    /// Whether something was found that a repair corrects.
    #[must_use]
    pub fn is_repairable(&self) -> bool {
        let wrong = self.damaged_copies + self.leaked_blocks + self.overcounted_blocks + self.undercounted_blocks;
        wrong > 0 || self.wrong_totals || self.metadata.iter().any(|damage| roots::follows_from_maps(damage.what))
    }
}

/// Checks the pool in a directory or on a block device, which nobody else may have open. If a process was killed that had it, what it has left in
/// `tail_folder` is part of the pool, as for whoever opens it: see [`StorePool::open_outliving`](crate::StorePool::open_outliving).
///
/// # Errors
/// As for opening a pool, but damage that leaves something to check is part of the report.
pub fn check(
    directory: &Path,
    tail_folder: Option<&Path>,
    options: &CheckOptions,
    progress: &mut dyn FnMut(CheckProgress),
) -> Result<CheckReport, OpenError> {
    let media = FileMedia::open(&medium_of(directory))?;
    let pool_id = |media: &FileMedia| recovery::newest_superblock(media).map(|newest| newest.superblock.pool_id.get());
    // One without a superblock has nothing to do with a tail; why it has none is said below.
    let tail = tail_folder.and_then(|folder| Tail::left(folder, pool_id(&media).ok()?));
    check_with(media, tail.as_ref(), options, progress)
}

/// Checks the pool on a medium.
///
/// # Errors
/// As [`check`].
pub fn check_on(
    media: impl Media,
    options: &CheckOptions,
    progress: &mut dyn FnMut(CheckProgress),
) -> Result<CheckReport, OpenError> {
    check_with(media, None, options, progress)
}

fn check_with(
    media: impl Media,
    tail: Option<&Tail>,
    options: &CheckOptions,
    progress: &mut dyn FnMut(CheckProgress),
) -> Result<CheckReport, OpenError> {
    let media: Arc<dyn Media> = if options.repair { Arc::new(media) } else { Arc::new(Overlay::over(media)) };
    let unopenable = bring_back(&media, tail)?;
    if let Some(tail) = tail.filter(|_| options.repair && unopenable.is_none()) {
        tail.remove();
    }
    let mut report = walk_all(&media, options, progress)?;
    report.unopenable = unopenable;
    if !options.repair {
        return Ok(report);
    }
    report.repair = Some(if !report.is_repairable() {
        Repair::NotNeeded
    } else {
        // The second walk needs no data: the first one has seen it.
        let again = CheckOptions { verify_data: false, repair: false, ..*options };
        if report.unopenable.is_some() {
            report.unopenable = bring_back(&media, tail)?;
        }
        let left = walk_all(&media, &again, progress)?;
        if left.is_repairable() { Repair::CountsUnknown } else { Repair::Done }
    });
    Ok(report)
}

/// Brings a pool back to what was last made durable, as opening it does; why that cannot be, if damage is in the way.
fn bring_back(media: &Arc<dyn Media>, tail: Option<&Tail>) -> Result<Option<OpenError>, OpenError> {
    match recovery::open(Box::new(SharedMedia(Arc::clone(media))), (RECOVERY_CACHE_BYTES, 0), tail) {
        Ok(_) => Ok(None),
        Err(error @ OpenError::Damaged { .. }) => Ok(Some(error)),
        Err(error) => Err(error),
    }
}

fn walk_all(
    media: &Arc<dyn Media>,
    options: &CheckOptions,
    progress: &mut dyn FnMut(CheckProgress),
) -> Result<CheckReport, OpenError> {
    let mut report = CheckReport::default();
    let roots = Roots::read(&**media, options.repair, &mut report)?;
    walk::run(&**media, &roots, options, progress, &mut report)?;
    Ok(report)
}
