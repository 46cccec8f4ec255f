//! What is reported of EXTENDED COPY (LID1): its limits, and what became of a command.

use zerocopy::big_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::UNITS_BYTES;
use crate::response::{ResponseError, prefix};

/// SPC-4 6.28, RECEIVE COPY OPERATING PARAMETERS. What cannot be done, inline data, held data and streams, is 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyParameters {
    /// SNLID: commands without list identifiers are taken.
    pub without_list_id: bool,
    /// MAXIMUM CSCD DESCRIPTOR COUNT.
    pub descriptors_max: u16,
    /// MAXIMUM SEGMENT DESCRIPTOR COUNT.
    pub segments_max: u16,
    /// MAXIMUM DESCRIPTOR LIST LENGTH in bytes.
    pub list_len_max: u32,
    /// MAXIMUM SEGMENT LENGTH in bytes.
    pub segment_len_max: u32,
    /// MAXIMUM CONCURRENT COPIES.
    pub concurrent_max: u8,
    /// DATA SEGMENT GRANULARITY, as a power of two.
    pub granularity_exponent: u8,
    /// The codes of segment and CSCD descriptors, ascending.
    pub descriptor_types: Vec<u8>,
}

/// SPC-4 6.29, RECEIVE COPY STATUS (LID1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CopyProgress {
    /// COPY COMMAND STATUS: `None` while it goes on, then whether it ended without errors.
    pub ended_well: Option<bool>,
    /// SEGMENTS PROCESSED.
    pub segments: u16,
    /// TRANSFER COUNT in bytes.
    pub bytes: u32,
}

impl CopyParameters {
    /// The parameter data.
    ///
    /// # Panics
    /// For more than 255 types of descriptors.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let types_len = u8::try_from(self.descriptor_types.len()).expect("few types");
        let header = ParametersHeader {
            available: u32::try_from(size_of::<ParametersHeader>() - 4 + self.descriptor_types.len())
                .expect("a short list")
                .into(),
            flags: u8::from(self.without_list_id),
            reserved_5: [0; 3],
            descriptors_max: self.descriptors_max.into(),
            segments_max: self.segments_max.into(),
            list_len_max: self.list_len_max.into(),
            segment_len_max: self.segment_len_max.into(),
            inline_max: 0.into(),
            held_max: 0.into(),
            stream_max: 0.into(),
            reserved_32: [0; 2],
            total_concurrent: u16::from(self.concurrent_max).into(),
            concurrent_max: self.concurrent_max,
            granularity_exponent: self.granularity_exponent,
            inline_granularity: 0,
            held_granularity: 0,
            reserved_40: [0; 3],
            types_len,
        };
        [header.as_bytes(), &self.descriptor_types].concat()
    }

    /// Reads parameter data.
    ///
    /// # Errors
    /// Too few bytes for the header.
    pub fn parse(bytes: &[u8]) -> Result<Self, ResponseError> {
        let (header, rest): (&ParametersHeader, _) = prefix("copy operating parameters", bytes)?;
        Ok(Self {
            without_list_id: header.flags & 1 != 0,
            descriptors_max: header.descriptors_max.get(),
            segments_max: header.segments_max.get(),
            list_len_max: header.list_len_max.get(),
            segment_len_max: header.segment_len_max.get(),
            concurrent_max: header.concurrent_max,
            granularity_exponent: header.granularity_exponent,
            descriptor_types: rest[..rest.len().min(usize::from(header.types_len))].to_vec(),
        })
    }
}

impl CopyProgress {
    /// The parameter data.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let bytes = ProgressBytes {
            available: u32::try_from(size_of::<ProgressBytes>() - 4).expect("8").into(),
            status: match self.ended_well {
                None => 0,
                Some(true) => 1,
                Some(false) => 2,
            },
            segments: self.segments.into(),
            units: UNITS_BYTES,
            transfer_count: self.bytes.into(),
        };
        bytes.as_bytes().to_vec()
    }

    /// Reads parameter data.
    ///
    /// # Errors
    /// Too few bytes.
    pub fn parse(bytes: &[u8]) -> Result<Self, ResponseError> {
        let (bytes, _): (&ProgressBytes, _) = prefix("the status of a copy", bytes)?;
        let status = bytes.status & 0x7f;
        let ended_well = (status != 0).then_some(status == 1);
        Ok(Self { ended_well, segments: bytes.segments.get(), bytes: bytes.transfer_count.get() })
    }
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct ParametersHeader {
    available: U32,
    flags: u8,
    reserved_5: [u8; 3],
    descriptors_max: U16,
    segments_max: U16,
    list_len_max: U32,
    segment_len_max: U32,
    inline_max: U32,
    held_max: U32,
    stream_max: U32,
    reserved_32: [u8; 2],
    total_concurrent: U16,
    concurrent_max: u8,
    granularity_exponent: u8,
    inline_granularity: u8,
    held_granularity: u8,
    reserved_40: [u8; 3],
    types_len: u8,
}
const _: () = assert!(size_of::<ParametersHeader>() == 44);

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct ProgressBytes {
    available: U32,
    status: u8,
    segments: U16,
    units: u8,
    transfer_count: U32,
}
const _: () = assert!(size_of::<ProgressBytes>() == 12);
