//! The parameter list of EXTENDED COPY (LID1), as far as it is about block devices.

use lunshadow_control::{Association, CodeSet, Designator, DesignatorKind};
use zerocopy::big_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::FieldPointer;

/// SPC-4 table 109, codes of segment descriptors and of CSCD descriptors.
pub mod descriptor_type {
    /// Segment: block device to block device.
    pub const BLOCK_TO_BLOCK: u8 = 0x02;
    /// CSCD: a logical unit by one of the designators of its page 83h.
    pub const IDENTIFICATION: u8 = 0xe4;
}

/// SPC-4 table 104, LIST ID USAGE.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListIdUsage {
    /// 00b: what is known of the command is held until it is asked for.
    Held,
    /// 10b: it need not be held.
    NotHeld,
    /// 11b: there is no list identifier.
    None,
}

/// SPC-4 6.4.3, parameter list of EXTENDED COPY (LID1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyList {
    /// LIST IDENTIFIER.
    pub list_id: u8,
    /// LIST ID USAGE.
    pub usage: ListIdUsage,
    /// The logical units.
    pub descriptors: Vec<CopyDescriptor>,
    /// What is copied, in order.
    pub segments: Vec<BlockSegment>,
}

/// SPC-4 6.4.5.2, identification descriptor CSCD descriptor of a block device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyDescriptor {
    /// A designator of the logical unit.
    pub designator: Designator,
    /// DISK BLOCK LENGTH in bytes; 24 bits.
    pub block_bytes: u32,
    /// NUL: there is no device, and what goes there is lost.
    pub null: bool,
}

/// SPC-4 6.4.6.4, block device to block device operations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockSegment {
    /// SOURCE CSCD DESCRIPTOR ID: the place in the list.
    pub from: u16,
    /// DESTINATION CSCD DESCRIPTOR ID.
    pub to: u16,
    /// BLOCK DEVICE NUMBER OF BLOCKS.
    pub block_count: u16,
    /// SOURCE BLOCK DEVICE LOGICAL BLOCK ADDRESS.
    pub from_lba: u64,
    /// DESTINATION BLOCK DEVICE LOGICAL BLOCK ADDRESS.
    pub to_lba: u64,
}

/// How long a parameter list may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CopyListLimits {
    /// MAXIMUM CSCD DESCRIPTOR COUNT.
    pub descriptors: usize,
    /// MAXIMUM SEGMENT DESCRIPTOR COUNT.
    pub segments: usize,
    /// MAXIMUM DESCRIPTOR LIST LENGTH in bytes, of both kinds together.
    pub list_len: usize,
}

/// What is wrong with a parameter list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CopyListError {
    /// It ends before its fields do: PARAMETER LIST LENGTH ERROR, 1Ah/00h.
    #[error("the parameter list is cut off")]
    Truncated,
    /// A field has a value that it cannot have: INVALID FIELD IN PARAMETER LIST, 26h/00h.
    #[error("the field at byte {} of the parameter list is invalid", .0.byte)]
    InvalidField(FieldPointer),
    /// Its descriptors are longer than all that are possible: PARAMETER LIST LENGTH ERROR, 1Ah/00h.
    #[error("the descriptors are longer than all that are possible")]
    TooLong,
    /// TOO MANY TARGET DESCRIPTORS, 26h/06h.
    #[error("there are too many CSCD descriptors")]
    TooManyDescriptors,
    /// UNSUPPORTED TARGET DESCRIPTOR TYPE CODE, 26h/07h.
    #[error("a CSCD descriptor is of an unsupported type, at byte {}", .0.byte)]
    UnsupportedDescriptor(FieldPointer),
    /// TOO MANY SEGMENT DESCRIPTORS, 26h/08h.
    #[error("there are too many segment descriptors")]
    TooManySegments,
    /// UNSUPPORTED SEGMENT DESCRIPTOR TYPE CODE, 26h/09h.
    #[error("a segment descriptor is of an unsupported type, at byte {}", .0.byte)]
    UnsupportedSegment(FieldPointer),
    /// INLINE DATA LENGTH EXCEEDED, 26h/0Bh.
    #[error("there is inline data")]
    InlineData,
}

impl CopyList {
    /// The parameter list.
    ///
    /// # Panics
    /// For more descriptors than the lengths in the header can say.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let usage = match self.usage {
            ListIdUsage::Held => 0,
            ListIdUsage::NotHeld => 2,
            ListIdUsage::None => 3,
        };
        let header = Header {
            list_id: self.list_id,
            flags: usage << 3,
            descriptors_len: u16::try_from(self.descriptors.len() * DESCRIPTOR_LEN).expect("a short list").into(),
            reserved_4: [0; 4],
            segments_len: u32::try_from(self.segments.len() * size_of::<Segment>()).expect("a short list").into(),
            inline_len: 0.into(),
        };
        let descriptors = self.descriptors.iter().flat_map(CopyDescriptor::to_bytes);
        let segments = self.segments.iter().flat_map(|segment| Segment::of(segment).as_bytes().to_vec());
        header.as_bytes().iter().copied().chain(descriptors).chain(segments).collect()
    }

    /// Reads a parameter list within the limits. A list without segments copies nothing. Segments may name CSCD descriptors that are not there: that is
    /// for whoever copies them to find.
    ///
    /// # Errors
    /// What the copy manager has to answer.
    pub fn parse(bytes: &[u8], limits: &CopyListLimits) -> Result<Self, CopyListError> {
        let (header, rest) = Header::ref_from_prefix(bytes).map_err(|_| CopyListError::Truncated)?;
        let usage = match header.flags >> 3 & 3 {
            0 => ListIdUsage::Held,
            2 => ListIdUsage::NotHeld,
            3 if header.list_id == 0 => ListIdUsage::None,
            3 => return Err(CopyListError::InvalidField(FieldPointer::byte(0))),
            _ => return Err(CopyListError::InvalidField(FieldPointer::bit(1, 4))),
        };
        let descriptors_len = usize::from(header.descriptors_len.get());
        let segments_len = usize::try_from(header.segments_len.get()).unwrap_or(usize::MAX);
        if header.inline_len.get() != 0 {
            return Err(CopyListError::InlineData);
        }
        if !descriptors_len.is_multiple_of(DESCRIPTOR_LEN) {
            return Err(CopyListError::InvalidField(FieldPointer::byte(2)));
        }
        if descriptors_len.saturating_add(segments_len) > limits.list_len {
            return Err(CopyListError::TooLong);
        }
        if descriptors_len / DESCRIPTOR_LEN > limits.descriptors {
            return Err(CopyListError::TooManyDescriptors);
        }
        if segments_len / size_of::<Segment>() > limits.segments {
            return Err(CopyListError::TooManySegments);
        }
        let (listed, rest) = rest.split_at_checked(descriptors_len).ok_or(CopyListError::Truncated)?;
        let at = |index: usize| size_of::<Header>() + index * DESCRIPTOR_LEN;
        let descriptors = listed.chunks_exact(DESCRIPTOR_LEN).enumerate();
        let descriptors = descriptors.map(|(index, bytes)| CopyDescriptor::parse(bytes, at(index)));
        let descriptors: Vec<_> = descriptors.collect::<Result<_, _>>()?;
        let segments = rest.get(..segments_len).ok_or(CopyListError::Truncated)?;
        let segments = BlockSegment::parse_list(segments, size_of::<Header>() + descriptors_len)?;
        Ok(Self { list_id: header.list_id, usage, descriptors, segments })
    }
}

impl CopyDescriptor {
    /// The descriptor. A designator of more than 20 bytes, for which it has no room, is cut.
    #[must_use]
    pub(crate) fn to_bytes(&self) -> [u8; DESCRIPTOR_LEN] {
        let mut designator = [0; DESIGNATOR_MAX];
        let len = self.designator.bytes.len().min(DESIGNATOR_MAX);
        designator[..len].copy_from_slice(&self.designator.bytes[..len]);
        let [_, block_bytes @ ..] = self.block_bytes.to_be_bytes();
        let descriptor = Descriptor {
            code: descriptor_type::IDENTIFICATION,
            device: u8::from(self.null) << 5,
            initiator_port: 0.into(),
            code_set: self.designator.code_set.0,
            kind: self.designator.association.0 << 4 | self.designator.kind.0,
            reserved_6: 0,
            len: u8::try_from(len).expect("at most 20"),
            designator,
            pad: 0,
            block_bytes,
        };
        descriptor.as_bytes().try_into().expect("the length is asserted below")
    }

    /// `at` is where the descriptor begins in the parameter list.
    fn parse(bytes: &[u8], at: usize) -> Result<Self, CopyListError> {
        let descriptor = Descriptor::ref_from_bytes(bytes).expect("cut into descriptors");
        let invalid = |byte| CopyListError::InvalidField(FieldPointer::byte(at + byte));
        // LU ID TYPE says how to read a LU IDENTIFIER, of which this kind has none.
        if descriptor.code != descriptor_type::IDENTIFICATION {
            return Err(CopyListError::UnsupportedDescriptor(FieldPointer::byte(at)));
        }
        if descriptor.device & 0x1f != 0 {
            return Err(invalid(1));
        }
        let designator = descriptor.designator.get(..usize::from(descriptor.len)).ok_or(invalid(7))?;
        let [high, middle, low] = descriptor.block_bytes;
        Ok(Self {
            designator: Designator {
                code_set: CodeSet(descriptor.code_set & 0x0f),
                association: Association(descriptor.kind >> 4 & 3),
                kind: DesignatorKind(descriptor.kind & 0x0f),
                bytes: designator.to_vec(),
            },
            block_bytes: u32::from_be_bytes([0, high, middle, low]),
            null: descriptor.device & 0x20 != 0,
        })
    }
}

impl BlockSegment {
    fn parse_list(mut bytes: &[u8], mut at: usize) -> Result<Vec<Self>, CopyListError> {
        let mut segments = Vec::new();
        while !bytes.is_empty() {
            if bytes[0] != descriptor_type::BLOCK_TO_BLOCK {
                return Err(CopyListError::UnsupportedSegment(FieldPointer::byte(at)));
            }
            let (segment, rest) = Segment::ref_from_prefix(bytes).map_err(|_| CopyListError::Truncated)?;
            if usize::from(segment.rest_len.get()) != size_of::<Segment>() - 4 {
                return Err(CopyListError::InvalidField(FieldPointer::byte(at + 2)));
            }
            let (from, to) = (segment.from.get(), segment.to.get());
            let (from_lba, to_lba) = (segment.from_lba.get(), segment.to_lba.get());
            segments.push(Self { from, to, block_count: segment.block_count.get(), from_lba, to_lba });
            (bytes, at) = (rest, at + size_of::<Segment>());
        }
        Ok(segments)
    }
}

const DESCRIPTOR_LEN: usize = size_of::<Descriptor>();
const DESIGNATOR_MAX: usize = 20;

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Header {
    list_id: u8,
    flags: u8,
    descriptors_len: U16,
    reserved_4: [u8; 4],
    segments_len: U32,
    inline_len: U32,
}
const _: () = assert!(size_of::<Header>() == 16);

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Descriptor {
    code: u8,
    device: u8,
    initiator_port: U16,
    code_set: u8,
    kind: u8,
    reserved_6: u8,
    len: u8,
    designator: [u8; DESIGNATOR_MAX],
    pad: u8,
    block_bytes: [u8; 3],
}
const _: () = assert!(size_of::<Descriptor>() == 32);

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Segment {
    code: u8,
    flags: u8,
    rest_len: U16,
    from: U16,
    to: U16,
    reserved_8: [u8; 2],
    block_count: U16,
    from_lba: U64,
    to_lba: U64,
}
const _: () = assert!(size_of::<Segment>() == 28);

impl Segment {
    fn of(segment: &BlockSegment) -> Self {
        Self {
            code: descriptor_type::BLOCK_TO_BLOCK,
            flags: 0,
            rest_len: u16::try_from(size_of::<Self>() - 4).expect("24").into(),
            from: segment.from.into(),
            to: segment.to.into(),
            reserved_8: [0; 2],
            block_count: segment.block_count.into(),
            from_lba: segment.from_lba.into(),
            to_lba: segment.to_lba.into(),
        }
    }
}
