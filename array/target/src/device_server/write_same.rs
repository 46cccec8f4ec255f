//! WRITE SAME: one block over a whole range.

use bytes::Bytes;
use lunshadow_lun::Lba;
use lunshadow_scsi::{BlockRange, Sense};

use super::invalid_field;
use super::medium::{
    BLOCK_BYTES, Kind, Operation, PIECE_BLOCKS, blocks, check_count, invalid_count, range_of, report, start, written,
};
use super::read_write::pieces;
use super::unit::Disk;

/// MAXIMUM WRITE SAME LENGTH: what the form of ten bytes can say, just under 32 MiB, so that none takes long.
pub(super) const WRITE_SAME_BLOCKS_MAX: u32 = u16::MAX as u32;

impl Operation {
    /// UNMAP needs nothing of its own: blocks of zeros are given back anyway, and others have to be written (SBC-3 5.43.1, LBPRZ=1).
    pub(super) fn write_same(disk: Disk, range: BlockRange, anchor: bool, no_data_out: bool) -> Result<Self, Sense> {
        if anchor {
            return Err(invalid_field(1));
        }
        let at = start(&disk.lun, range)?;
        // WSNZ: a count of 0, all blocks up to the end, is more than the limit for most LUNs.
        if range.block_count() == 0 {
            return Err(invalid_count(range));
        }
        check_count(range, WRITE_SAME_BLOCKS_MAX)?;
        let kind = Kind::WriteSame { at, blocks: range.block_count(), no_data_out };
        Ok(Self { disk, kind })
    }
}

/// `data` is the block; without it, zeros are meant.
pub(super) async fn write_same(disk: &Disk, at: Lba, count: u32, data: Option<&Bytes>) -> Result<(), Sense> {
    let block = match data {
        None => None,
        // NUMBER OF LOGICAL BLOCKS does not say how much data-out there is: it is always a block.
        Some(data) => Some(data.get(..BLOCK_BYTES).ok_or_else(|| invalid_field(0))?),
    };
    let _held = disk.state.ranges.shared(range_of(at, count)).await;
    let Some(block) = block.filter(|block| block.iter().any(|byte| *byte != 0)) else {
        disk.lun.discard(at, blocks(count)).await.map_err(|error| report(&disk.lun, &error))?;
        return written(disk, false).await;
    };
    let piece = Bytes::from(block.repeat(PIECE_BLOCKS.min(count) as usize));
    for (at, count) in pieces(at, count) {
        let len = usize::try_from(count.bytes()).expect("at most a piece");
        disk.lun.write(at, piece.slice(..len)).await.map_err(|error| report(&disk.lun, &error))?;
    }
    written(disk, false).await
}
