//! PDUs: a header of 48 bytes, additional header segments, and data (RFC 7143 11).

mod bhs;
mod codes;
mod decoder;
mod encoder;
mod fields;
mod requests;
mod responses;

use bytes::Bytes;

pub use bhs::{BHS_BYTES, Bhs, Header, Request, Response};
pub use codes::{
    AsyncEvent, LogoutReason, LogoutResponseCode, Opcode, RejectReason, ServiceResponse, Stage, TaskAttribute,
    TaskFunction, TaskResponse,
};
pub use decoder::{DecodeError, PduDecoder, Taken};
pub use encoder::{DigestConfig, EncodedPdu};
pub use fields::{CONTINUE, FINAL, Isid, Operation, RESERVED_TAG, SegmentLengths, Tag};
pub use requests::{DataOut, LoginRequest, LogoutRequest, NopOut, ScsiCommand, TaskManagementRequest, TextRequest};
pub use responses::{
    AsyncMessage, DataIn, LoginResponse, LogoutResponse, NopIn, ReadyToTransfer, Reject, ScsiResponse,
    TaskManagementResponse, TextResponse,
};

/// One PDU, without padding and digests, which belong to its encoding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pdu {
    /// The basic header segment.
    pub bhs: Bhs,
    /// The additional header segments as they travel, a multiple of 4 bytes; see [`ahs_segments`](Self::ahs_segments).
    pub ahs: Bytes,
    /// The data segment.
    pub data: Bytes,
}

/// One additional header segment (RFC 7143 11.2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AhsSegment<'a> {
    /// The bytes of a CDB from the 17th on (11.2.2.3).
    ExtendedCdb(&'a [u8]),
    /// The read length of a bidirectional command, in bytes (11.2.2.4).
    BidirectionalReadLength(u32),
    /// A type that is not known.
    Other {
        /// AHSType.
        ahs_type: u8,
        /// What follows the type.
        specific: &'a [u8],
    },
}

impl Pdu {
    /// A PDU of `header` and `data`; fills in the header's lengths.
    ///
    /// # Panics
    /// If `data` is longer than a PDU can carry (2^24 - 1 bytes): the sender cuts data to the receiver's
    /// MaxRecvDataSegmentLength, which is never larger.
    #[must_use]
    pub fn new(header: impl Header, data: Bytes) -> Self {
        let mut bhs = header.to_bhs();
        // RFC 7143 §11.2.1.5 MUST: TotalAHSLength and DataSegmentLength are 0 in a PDU that has neither.
        bhs.lengths = SegmentLengths::new(0, data.len()).expect("data is cut to MaxRecvDataSegmentLength");
        Self { bhs, ahs: Bytes::new(), data }
    }

    /// A PDU without data.
    #[must_use]
    pub fn bare(header: impl Header) -> Self {
        Self::new(header, Bytes::new())
    }

    /// The Reject (RFC 7143 11.17) that answers this PDU: it carries the header that it refuses.
    #[must_use]
    pub fn reject(&self, reason: RejectReason) -> Self {
        use zerocopy::IntoBytes;
        let header = Reject { reason, itt: RESERVED_TAG, ..Reject::default() };
        Self::new(header, Bytes::copy_from_slice(self.bhs.as_bytes()))
    }

    /// The additional header segments one by one; the walk ends at the first one that is not well formed.
    pub fn ahs_segments(&self) -> impl Iterator<Item = AhsSegment<'_>> {
        let mut rest: &[u8] = &self.ahs;
        std::iter::from_fn(move || {
            // AHSLength counts what follows AHSType, without padding (RFC 7143 11.2.2.1).
            let (&[high, low, ahs_type], tail) = rest.split_first_chunk()?;
            let length = usize::from(u16::from_be_bytes([high, low]));
            let specific = tail.get(..length)?;
            rest = rest.get((3 + length).next_multiple_of(4)..).unwrap_or(&[]);
            Some(match (ahs_type & 0x3f, specific) {
                (1, [_reserved, cdb @ ..]) => AhsSegment::ExtendedCdb(cdb),
                (2, &[_reserved, a, b, c, d]) => AhsSegment::BidirectionalReadLength(u32::from_be_bytes([a, b, c, d])),
                (ahs_type, specific) => AhsSegment::Other { ahs_type, specific },
            })
        })
    }
}
