//! The records of the table of LUNs as they lie on the medium, 32 to a page.

use std::sync::Arc;

use lunshadow_lun::{BlockCount, LunId, LunOrigin, ShadowSetId};
use zerocopy::little_endian::{U64, U128};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::lun_table::{Life, LunEntry};
use crate::map::Tree;
use crate::page::{BLOCK_BYTES, Page, PageRef};

const RECORD_BYTES: usize = 128;
/// How many records a page of the table has.
pub(crate) const RECORDS_PER_PAGE: usize = BLOCK_BYTES / RECORD_BYTES;
const _: () = assert!(size_of::<LunRecord>() == RECORD_BYTES);

/// A LUN's record on the medium.
#[derive(Debug, Clone, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
struct LunRecord {
    /// 0: free, 1: live, 2: being given back, 3: kept for copies, which ends when the pool is opened.
    state: u8,
    levels: u8,
    /// 0: it began empty, 1: it is a shadow LUN.
    origin: u8,
    reserved: [u8; 5],
    /// In logical blocks of 512 bytes.
    length: U64,
    id: U128,
    source: U128,
    set: U128,
    root: U64,
    mapped_blocks: U64,
    cursor: U64,
    /// The second half of the reference to the root.
    root_copy: U64,
    family: U128,
    unused: [u8; 16],
}

/// A record of the table that makes no sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BadRecord;

/// A page of the table as it is written.
pub(crate) fn encode_page(luns: &[Option<LunEntry>]) -> Page {
    let mut page = Page::zeroed();
    for (lun, bytes) in luns.iter().zip(page.bytes_mut().chunks_exact_mut(RECORD_BYTES)) {
        if let Some(lun) = lun {
            bytes.copy_from_slice(LunRecord::from_entry(lun).as_bytes());
        }
    }
    page
}

/// What a page of the table holds, slot by slot.
pub(crate) fn decode_page(page: &Page) -> impl Iterator<Item = Result<Option<LunEntry>, BadRecord>> {
    page.bytes().chunks_exact(RECORD_BYTES).map(|bytes| {
        let record = LunRecord::read_from_bytes(bytes).map_err(|_| BadRecord)?;
        if record.state == 0 { Ok(None) } else { record.into_entry().map(Some) }
    })
}

impl LunRecord {
    fn from_entry(lun: &LunEntry) -> Self {
        let (state, cursor) = match lun.life {
            // A capture that a checkpoint makes durable is durable.
            Life::Hidden | Life::Live => (1, 0),
            Life::Deleted { cursor } => (2, cursor),
            Life::Pinned => (3, 0),
        };
        let (origin, source, set) = match lun.origin {
            LunOrigin::Empty => (0, 0, 0),
            LunOrigin::Shadow { source, set } => (1, source.as_u128(), set.0.as_u128()),
        };
        Self {
            state,
            levels: lun.tree.levels,
            origin,
            reserved: [0; 5],
            length: lun.length.0.into(),
            id: lun.id.as_u128().into(),
            source: source.into(),
            set: set.into(),
            root: lun.tree.root.raw()[0].into(),
            mapped_blocks: lun.mapped_blocks.into(),
            cursor: cursor.into(),
            root_copy: lun.tree.root.raw()[1].into(),
            family: lun.family.as_u128().into(),
            unused: [0; 16],
        }
    }

    fn into_entry(self) -> Result<LunEntry, BadRecord> {
        let life = match self.state {
            1 => Life::Live,
            2 => Life::Deleted { cursor: self.cursor.get() },
            3 => Life::Pinned,
            _ => return Err(BadRecord),
        };
        let origin = match self.origin {
            0 => LunOrigin::Empty,
            1 => LunOrigin::Shadow {
                source: LunId::from_u128(self.source.get()),
                set: ShadowSetId(uuid::Uuid::from_u128(self.set.get())),
            },
            _ => return Err(BadRecord),
        };
        let length = BlockCount(self.length.get());
        let fitting = tree_for(length).ok_or(BadRecord)?;
        if self.levels != fitting.levels || self.cursor.get() > fitting.span() {
            return Err(BadRecord);
        }
        Ok(LunEntry {
            id: LunId::from_u128(self.id.get()),
            length,
            shown_length: Arc::default(),
            tree: Tree { root: PageRef::from_raw(self.root.get(), self.root_copy.get()), ..fitting },
            origin,
            life,
            mapped_blocks: self.mapped_blocks.get(),
            family: LunId::from_u128(self.family.get()),
            birth: 0,
        })
    }
}

/// An empty map for a LUN of this length, if that is possible.
pub(crate) fn tree_for(length: BlockCount) -> Option<Tree> {
    (length.0 > 0).then(|| Tree::for_blocks(length.0.div_ceil(8))).flatten()
}
