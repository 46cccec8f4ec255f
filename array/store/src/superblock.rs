//! The superblock: two slots, written in turn, each one the root of a whole checkpoint, each one in two copies.

use std::io;

use lunshadow_lun::{AlignedBuffer, LunId};
use zerocopy::little_endian::{U32, U64, U128};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::geometry::{Geometry, ROOT_ENTRIES};
use crate::log::LogPlace;
use crate::media::Media;
use crate::page::{BLOCK_BYTES, BLOCK_LEN};
use crate::scrub::ScrubCursor;

/// The only format version that this code writes and reads.
pub(crate) const FORMAT_VERSION: u32 = 3;
/// Features that a reader must know to read a pool, one bit each. Bit 0: a block can lie at several places of a LUN, and there are
/// records and LUNs of the kinds that belong to that. A pool without it gets it when it is opened.
pub(crate) const KNOWN_FEATURES: u64 = 1;

const MAGIC: [u8; 8] = *b"LUNSHDW\x01";

/// A superblock as it lies on the medium. `crc` covers all bytes before it.
#[derive(Debug, Clone, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub(crate) struct Superblock {
    magic: [u8; 8],
    pub(crate) version: U32,
    reserved: U32,
    pub(crate) features: U64,
    pub(crate) pool_id: U128,
    /// The number of this checkpoint. Slot `generation % 2` holds it.
    pub(crate) generation: U64,
    /// Changes with each opening, so that log batches of an earlier one are never taken for new ones.
    pub(crate) epoch: U64,
    /// The sequence number of the first log batch that is not part of this checkpoint.
    pub(crate) log_sequence: U64,
    /// The position of that batch in the log, in blocks, ever growing.
    pub(crate) log_position: U64,
    pub(crate) total_blocks: U64,
    pub(crate) log_blocks: U64,
    /// How many blocks have a reference count above zero.
    pub(crate) used_blocks: U64,
    /// The entry of the root of the index of the table of LUNs.
    pub(crate) table_index: U64,
    /// The entries of the level-2 pages of the index of regions.
    pub(crate) region_roots: [U64; ROOT_ENTRIES],
    /// How many of the blocks with a reference count above zero hold map pages, or belong to the table of LUNs.
    pub(crate) map_blocks: U64,
    /// How far the scrub has come: the LUN that it is at, zero if there is none, and the block of the LUN where it goes on.
    pub(crate) scrub_lun: U128,
    pub(crate) scrub_block: U64,
    unused: [u8; BLOCK_BYTES - 140 - 8 * ROOT_ENTRIES],
    crc: U32,
}

const _: () = assert!(size_of::<Superblock>() == BLOCK_BYTES);
const CRC_AT: usize = BLOCK_BYTES - 4;

/// What a superblock's slot holds.
#[derive(Debug)]
pub(crate) enum Slot {
    /// A superblock whose checksum holds.
    Valid(Box<Superblock>),
    /// Something that says it is one, but is torn or damaged.
    Damaged,
    /// Something else.
    Foreign,
}

impl Superblock {
    /// A superblock of a pool that holds nothing yet.
    pub(crate) fn empty(geometry: &Geometry, pool_id: u128) -> Self {
        let zeros = [0_u8; BLOCK_BYTES];
        let mut superblock = Self::read_from_bytes(&zeros).expect("the length is asserted above");
        superblock.magic = MAGIC;
        superblock.version = FORMAT_VERSION.into();
        superblock.features = KNOWN_FEATURES.into();
        superblock.pool_id = pool_id.into();
        superblock.log_sequence = 1.into();
        superblock.total_blocks = geometry.total_blocks().into();
        superblock.log_blocks = geometry.log_blocks().into();
        superblock
    }

    /// Whether what grows with each opening, checkpoint or batch is far from its end, where no pool comes in its life.
    pub(crate) fn can_count_on(&self) -> bool {
        let counts = [self.generation, self.epoch, self.log_sequence, self.log_position];
        counts.iter().all(|count| count.get() <= u64::MAX / 2)
    }

    /// Where the log goes on behind this checkpoint.
    pub(crate) fn log_place(&self) -> LogPlace {
        let (sequence, position) = (self.log_sequence.get(), self.log_position.get());
        LogPlace { epoch: self.epoch.get(), sequence, position }
    }

    /// Where the scrub goes on.
    pub(crate) fn scrub_cursor(&self) -> Option<ScrubCursor> {
        let (lun, block) = (self.scrub_lun.get(), self.scrub_block.get());
        (lun != 0).then(|| (LunId::from_u128(lun), block))
    }

    pub(crate) fn set_scrub_cursor(&mut self, cursor: Option<ScrubCursor>) {
        let (lun, block) = cursor.map_or((0, 0), |(lun, block)| (lun.as_u128(), block));
        (self.scrub_lun, self.scrub_block) = (lun.into(), block.into());
    }

    /// Writes both copies. They are as durable as any other write.
    pub(crate) fn write(self, media: &dyn Media) -> io::Result<()> {
        let places = Geometry::superblock(self.generation.get());
        let bytes = self.sealed();
        places.iter().try_for_each(|block| media.write_at(block * BLOCK_LEN, &bytes))
    }

    /// The bytes to write, with their checksum.
    fn sealed(mut self) -> AlignedBuffer {
        self.crc = crc32c::crc32c(&self.as_bytes()[..CRC_AT]).into();
        AlignedBuffer::copy_of(self.as_bytes())
    }

    /// Reads what a slot holds.
    pub(crate) fn parse(bytes: &[u8]) -> Slot {
        let Ok(superblock) = Self::read_from_bytes(bytes) else { return Slot::Foreign };
        if superblock.crc.get() == crc32c::crc32c(&bytes[..CRC_AT]) && superblock.magic == MAGIC {
            Slot::Valid(Box::new(superblock))
        } else if superblock.magic == MAGIC {
            Slot::Damaged
        } else {
            Slot::Foreign
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_that_come_to_their_end_are_not_believed() {
        let sound = Superblock::empty(&Geometry::new(100_000, 64).unwrap(), 7);
        assert!(sound.can_count_on());
        let fields: [fn(&mut Superblock) -> &mut U64; 4] = [
            |superblock| &mut superblock.generation,
            |superblock| &mut superblock.epoch,
            |superblock| &mut superblock.log_sequence,
            |superblock| &mut superblock.log_position,
        ];
        for field in fields {
            let mut forged = sound.clone();
            *field(&mut forged) = u64::MAX.into();
            assert!(!forged.can_count_on());
        }
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let geometry = Geometry::new(100_000, 64).unwrap();
        let bytes = Superblock::empty(&geometry, 7).sealed();
        assert!(matches!(Superblock::parse(&bytes), Slot::Valid(s) if s.pool_id.get() == 7));
        for bit in 0..BLOCK_BYTES * 8 {
            let mut flipped = bytes.to_vec();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(!matches!(Superblock::parse(&flipped), Slot::Valid(_)), "bit {bit}");
        }
    }
}
