//! What UNMAP gives back.

use zerocopy::big_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::FieldPointer;

/// SBC-3 5.28.2, UNMAP block descriptor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnmapRange {
    /// The first block.
    pub lba: u64,
    /// How many blocks; 0 gives back nothing and is no error.
    pub block_count: u32,
}

/// What is wrong with the parameter list of UNMAP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UnmapListError {
    /// The header is not there whole: PARAMETER LIST LENGTH ERROR, 1Ah/00h.
    #[error("a parameter list of {0} bytes has no room for its header")]
    NoHeader(usize),
    /// The lengths in the header contradict each other: INVALID FIELD IN PARAMETER LIST, 26h/00h.
    #[error("the length at byte {} of the parameter list is invalid", .0.byte)]
    InvalidLength(FieldPointer),
}

impl UnmapRange {
    /// The parameter list for ranges, of which 4095 are the most that it holds.
    #[must_use]
    pub fn list_to_bytes(ranges: &[Self]) -> Vec<u8> {
        let descriptors_len = ranges.len() * size_of::<Descriptor>();
        let data_len = u16::try_from(descriptors_len + 6).expect("at most 4095 ranges");
        let header = Header { data_len: data_len.into(), descriptors_len: (data_len - 6).into(), reserved: [0; 4] };
        let mut bytes = header.as_bytes().to_vec();
        for range in ranges {
            let descriptor =
                Descriptor { lba: range.lba.into(), block_count: range.block_count.into(), reserved: [0; 4] };
            bytes.extend(descriptor.as_bytes());
        }
        bytes
    }

    /// Reads a parameter list. An empty one has no ranges (SBC-3 5.28.1); a descriptor that is cut off is not used (5.28.2).
    ///
    /// # Errors
    /// What the device server has to answer.
    pub fn parse_list(bytes: &[u8]) -> Result<Vec<Self>, UnmapListError> {
        if bytes.is_empty() {
            return Ok(Vec::new());
        }
        let (header, rest) = Header::ref_from_prefix(bytes).map_err(|_| UnmapListError::NoHeader(bytes.len()))?;
        let descriptors_len = usize::from(header.descriptors_len.get());
        if usize::from(header.data_len.get()) < descriptors_len.saturating_add(6) {
            return Err(UnmapListError::InvalidLength(FieldPointer::byte(0)));
        }
        let listed = rest.get(..descriptors_len).ok_or(UnmapListError::InvalidLength(FieldPointer::byte(2)))?;
        let whole = &listed[..listed.len() / size_of::<Descriptor>() * size_of::<Descriptor>()];
        let descriptors = <[Descriptor]>::ref_from_bytes(whole).expect("a multiple of the descriptor's size");
        Ok(descriptors.iter().map(|d| Self { lba: d.lba.get(), block_count: d.block_count.get() }).collect())
    }
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Header {
    data_len: U16,
    descriptors_len: U16,
    reserved: [u8; 4],
}
const _: () = assert!(size_of::<Header>() == 8);

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Descriptor {
    lba: U64,
    block_count: U32,
    reserved: [u8; 4],
}
const _: () = assert!(size_of::<Descriptor>() == 16);
