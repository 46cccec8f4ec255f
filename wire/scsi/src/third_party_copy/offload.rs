//! The parameter lists of POPULATE TOKEN and WRITE USING TOKEN (SBC-3 5.7 and 5.42).

use zerocopy::big_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::{RodToken, RodType};
use crate::FieldPointer;

/// SBC-3 table 60, block device range descriptor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenRange {
    /// The first block.
    pub lba: u64,
    /// How many blocks; 0 is no error.
    pub block_count: u32,
}

/// SBC-3 5.7.2: which blocks a token is to stand for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PopulateToken {
    /// IMMED: answer before it is done.
    pub immediate: bool,
    /// ROD TYPE, if RTV says that it counts.
    pub rod_type: Option<RodType>,
    /// INACTIVITY TIMEOUT in seconds, 0 for the default.
    pub inactivity_timeout_s: u32,
    /// The ranges, in the order of the data.
    pub ranges: Vec<TokenRange>,
}

/// SBC-3 5.42.2: where the data of a token goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WriteUsingToken {
    /// IMMED: answer before it is done.
    pub immediate: bool,
    /// DEL_TKN: the token is not needed afterwards.
    pub delete_token: bool,
    /// OFFSET INTO ROD, in blocks.
    pub offset: u64,
    /// The token.
    pub token: RodToken,
    /// The ranges, in the order of the data.
    pub ranges: Vec<TokenRange>,
}

/// What is wrong with a parameter list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OffloadListError {
    /// It ends before its header does: PARAMETER LIST LENGTH ERROR, 1Ah/00h.
    #[error("a parameter list of {0} bytes has no room for its header")]
    NoHeader(usize),
    /// A field has a value that it cannot have: INVALID FIELD IN PARAMETER LIST, 26h/00h.
    #[error("the field at byte {} of the parameter list is invalid", .0.byte)]
    InvalidField(FieldPointer),
}

impl PopulateToken {
    /// The parameter list.
    ///
    /// # Panics
    /// For more than 4000 ranges.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let header = PopulateHeader {
            data_len: data_len::<PopulateHeader>(&self.ranges),
            flags: u8::from(self.immediate) | u8::from(self.rod_type.is_some()) << 1,
            reserved_3: 0,
            inactivity_timeout: self.inactivity_timeout_s.into(),
            rod_type: self.rod_type.unwrap_or(RodType::UNSPECIFIED).0.into(),
            reserved_12: [0; 2],
            ranges_len: ranges_len(&self.ranges),
        };
        [header.as_bytes(), &ranges_to_bytes(&self.ranges)].concat()
    }

    /// Reads a parameter list.
    ///
    /// # Errors
    /// What the device server has to answer.
    pub fn parse(bytes: &[u8]) -> Result<Self, OffloadListError> {
        let (header, rest) = header::<PopulateHeader>(bytes)?;
        check_reserved(bytes, 2, !0x03)?;
        let ranges = ranges(bytes, header.data_len.get(), header.ranges_len.get(), rest)?;
        Ok(Self {
            immediate: header.flags & 1 != 0,
            rod_type: (header.flags & 2 != 0).then_some(RodType(header.rod_type.get())),
            inactivity_timeout_s: header.inactivity_timeout.get(),
            ranges,
        })
    }
}

impl WriteUsingToken {
    /// The parameter list.
    ///
    /// # Panics
    /// For more than 4000 ranges.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let header = WriteHeader {
            data_len: data_len::<WriteHeader>(&self.ranges),
            flags: u8::from(self.immediate) | u8::from(self.delete_token) << 1,
            reserved_3: [0; 5],
            offset: self.offset.into(),
            token: *self.token.as_bytes(),
            reserved_528: [0; 6],
            ranges_len: ranges_len(&self.ranges),
        };
        [header.as_bytes(), &ranges_to_bytes(&self.ranges)].concat()
    }

    /// Reads a parameter list.
    ///
    /// # Errors
    /// What the device server has to answer.
    pub fn parse(bytes: &[u8]) -> Result<Self, OffloadListError> {
        let (header, rest) = header::<WriteHeader>(bytes)?;
        check_reserved(bytes, 2, !0x03)?;
        let ranges = ranges(bytes, header.data_len.get(), header.ranges_len.get(), rest)?;
        Ok(Self {
            immediate: header.flags & 1 != 0,
            delete_token: header.flags & 2 != 0,
            offset: header.offset.get(),
            token: RodToken::of(&header.token),
            ranges,
        })
    }
}

fn header<T: FromBytes + KnownLayout + Immutable + Unaligned>(bytes: &[u8]) -> Result<(&T, &[u8]), OffloadListError> {
    T::ref_from_prefix(bytes).map_err(|_| OffloadListError::NoHeader(bytes.len()))
}

fn check_reserved(bytes: &[u8], byte: usize, reserved: u8) -> Result<(), OffloadListError> {
    if bytes[byte] & reserved == 0 {
        return Ok(());
    }
    Err(OffloadListError::InvalidField(FieldPointer::byte(byte)))
}

/// The ranges behind a header. At least one is wanted, and only whole ones.
fn ranges(list: &[u8], data_len: u16, ranges_len: u16, rest: &[u8]) -> Result<Vec<TokenRange>, OffloadListError> {
    let header_len = list.len() - rest.len();
    let ranges_len = usize::from(ranges_len);
    if usize::from(data_len) + 2 < header_len + ranges_len {
        return Err(OffloadListError::InvalidField(FieldPointer::byte(0)));
    }
    let listed = rest.get(..ranges_len).filter(|_| ranges_len > 0 && ranges_len.is_multiple_of(size_of::<Range>()));
    let listed = listed.ok_or(OffloadListError::InvalidField(FieldPointer::byte(header_len - 2)))?;
    let listed = <[Range]>::ref_from_bytes(listed).expect("a multiple of the descriptor's size");
    Ok(listed.iter().map(|range| TokenRange { lba: range.lba.get(), block_count: range.count.get() }).collect())
}

fn ranges_to_bytes(ranges: &[TokenRange]) -> Vec<u8> {
    let range = |range: &TokenRange| Range { lba: range.lba.into(), count: range.block_count.into(), reserved: [0; 4] };
    ranges.iter().map(range).flat_map(|range| range.as_bytes().to_vec()).collect()
}

fn ranges_len(ranges: &[TokenRange]) -> U16 {
    u16::try_from(ranges.len() * size_of::<Range>()).expect("at most 4000 ranges").into()
}

fn data_len<H>(ranges: &[TokenRange]) -> U16 {
    u16::try_from(size_of::<H>() - 2 + ranges.len() * size_of::<Range>()).expect("at most 4000 ranges").into()
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct PopulateHeader {
    data_len: U16,
    flags: u8,
    reserved_3: u8,
    inactivity_timeout: U32,
    rod_type: U32,
    reserved_12: [u8; 2],
    ranges_len: U16,
}
const _: () = assert!(size_of::<PopulateHeader>() == 16);

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct WriteHeader {
    data_len: U16,
    flags: u8,
    reserved_3: [u8; 5],
    offset: U64,
    token: [u8; RodToken::LEN],
    reserved_528: [u8; 6],
    ranges_len: U16,
}
const _: () = assert!(size_of::<WriteHeader>() == 536);

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Range {
    lba: U64,
    count: U32,
    reserved: [u8; 4],
}
const _: () = assert!(size_of::<Range>() == 16);
