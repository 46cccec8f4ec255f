//! How much one command may ask for.

use zerocopy::big_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::{padded_body, page, with_header};
use crate::Peripheral;
use crate::response::ResponseError;

/// SBC-3 6.6.3, Block Limits. Lengths are in logical blocks, 0 means that nothing is said.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BlockLimits {
    /// WSNZ: WRITE SAME does not take a count of 0.
    pub write_same_nonzero: bool,
    /// MAXIMUM COMPARE AND WRITE LENGTH.
    pub compare_and_write_max: u8,
    /// OPTIMAL TRANSFER LENGTH GRANULARITY.
    pub transfer_granularity: u16,
    /// MAXIMUM TRANSFER LENGTH.
    pub transfer_max: u32,
    /// OPTIMAL TRANSFER LENGTH.
    pub transfer_optimal: u32,
    /// MAXIMUM PREFETCH LENGTH.
    pub prefetch_max: u32,
    /// MAXIMUM UNMAP LBA COUNT.
    pub unmap_blocks_max: u32,
    /// MAXIMUM UNMAP BLOCK DESCRIPTOR COUNT.
    pub unmap_descriptors_max: u32,
    /// OPTIMAL UNMAP GRANULARITY.
    pub unmap_granularity: u32,
    /// UNMAP GRANULARITY ALIGNMENT, if UGAVALID says so.
    pub unmap_alignment: Option<u32>,
    /// MAXIMUM WRITE SAME LENGTH.
    pub write_same_max: u64,
    /// What WRITE ATOMIC does.
    pub atomic: AtomicLimits,
}

/// SBC-4 6.6.4, the limits of WRITE ATOMIC, in logical blocks. All 0 if there is no such command.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AtomicLimits {
    /// MAXIMUM ATOMIC TRANSFER LENGTH, of a write without boundaries.
    pub transfer_max: u32,
    /// ATOMIC ALIGNMENT, of the first block.
    pub alignment: u32,
    /// ATOMIC TRANSFER LENGTH GRANULARITY.
    pub granularity: u32,
    /// MAXIMUM ATOMIC TRANSFER LENGTH WITH ATOMIC BOUNDARY.
    pub bounded_transfer_max: u32,
    /// MAXIMUM ATOMIC BOUNDARY SIZE.
    pub boundary_max: u32,
}

impl BlockLimits {
    /// The page.
    #[must_use]
    pub fn to_bytes(&self, peripheral: Peripheral) -> Vec<u8> {
        let bytes = Bytes {
            write_same_nonzero: u8::from(self.write_same_nonzero),
            compare_and_write_max: self.compare_and_write_max,
            transfer_granularity: self.transfer_granularity.into(),
            transfer_max: self.transfer_max.into(),
            transfer_optimal: self.transfer_optimal.into(),
            prefetch_max: self.prefetch_max.into(),
            unmap_blocks_max: self.unmap_blocks_max.into(),
            unmap_descriptors_max: self.unmap_descriptors_max.into(),
            unmap_granularity: self.unmap_granularity.into(),
            unmap_alignment: self.unmap_alignment.map_or(0, |blocks| ALIGNMENT_VALID | blocks).into(),
            write_same_max: self.write_same_max.into(),
            atomic_transfer_max: self.atomic.transfer_max.into(),
            atomic_alignment: self.atomic.alignment.into(),
            atomic_granularity: self.atomic.granularity.into(),
            atomic_bounded_transfer_max: self.atomic.bounded_transfer_max.into(),
            atomic_boundary_max: self.atomic.boundary_max.into(),
        };
        with_header(peripheral, page::BLOCK_LIMITS, bytes.as_bytes())
    }

    /// Reads the page. Older versions of it are shorter; what is missing counts as zero.
    ///
    /// # Errors
    /// Too few bytes for a header, or another page.
    pub fn parse(bytes: &[u8]) -> Result<Self, ResponseError> {
        let data: Bytes = padded_body(page::BLOCK_LIMITS, bytes)?;
        let alignment = data.unmap_alignment.get();
        Ok(Self {
            write_same_nonzero: data.write_same_nonzero & 1 != 0,
            compare_and_write_max: data.compare_and_write_max,
            transfer_granularity: data.transfer_granularity.get(),
            transfer_max: data.transfer_max.get(),
            transfer_optimal: data.transfer_optimal.get(),
            prefetch_max: data.prefetch_max.get(),
            unmap_blocks_max: data.unmap_blocks_max.get(),
            unmap_descriptors_max: data.unmap_descriptors_max.get(),
            unmap_granularity: data.unmap_granularity.get(),
            unmap_alignment: (alignment & ALIGNMENT_VALID != 0).then_some(alignment & !ALIGNMENT_VALID),
            write_same_max: data.write_same_max.get(),
            atomic: AtomicLimits {
                transfer_max: data.atomic_transfer_max.get(),
                alignment: data.atomic_alignment.get(),
                granularity: data.atomic_granularity.get(),
                bounded_transfer_max: data.atomic_bounded_transfer_max.get(),
                boundary_max: data.atomic_boundary_max.get(),
            },
        })
    }
}

/// UGAVALID.
const ALIGNMENT_VALID: u32 = 1 << 31;

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Bytes {
    write_same_nonzero: u8,
    compare_and_write_max: u8,
    transfer_granularity: U16,
    transfer_max: U32,
    transfer_optimal: U32,
    prefetch_max: U32,
    unmap_blocks_max: U32,
    unmap_descriptors_max: U32,
    unmap_granularity: U32,
    unmap_alignment: U32,
    write_same_max: U64,
    atomic_transfer_max: U32,
    atomic_alignment: U32,
    atomic_granularity: U32,
    atomic_bounded_transfer_max: U32,
    atomic_boundary_max: U32,
}
const _: () = assert!(size_of::<Bytes>() == 0x3c);
