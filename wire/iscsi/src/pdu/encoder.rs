//! A PDU on its way out: header, padding and digests around data that is not copied.

use std::io::IoSlice;

use bytes::{Buf, Bytes, BytesMut};
use zerocopy::IntoBytes;

use super::{BHS_BYTES, Pdu};

/// Which CRC32C digests a connection carries (RFC 7143 13.1). The default is none, as in the login phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Hash)]
pub struct DigestConfig {
    /// A digest follows the headers.
    pub header: bool,
    /// A digest follows the data and its padding, where there is data.
    pub data: bool,
}

/// A PDU as it travels, ready for one vectored write: up to four pieces, none of which copies the PDU's data. As a [`Buf`] it
/// can be handed to `write_all_buf` or written piece by piece.
#[derive(Clone, Debug)]
pub struct EncodedPdu {
    header: [u8; BHS_BYTES],
    /// Additional header segments and the header digest.
    after_header: Bytes,
    data: Bytes,
    /// Padding and the data digest.
    trailer: [u8; 7],
    trailer_bytes: usize,
    position: usize,
}

impl Pdu {
    /// The PDU as it travels. The lengths in its header must be those of its data, as [`Pdu::new`] sets them.
    #[must_use]
    pub fn encode(&self, digests: DigestConfig) -> EncodedPdu {
        debug_assert_eq!(self.bhs.lengths.data_bytes(), self.data.len(), "data changed after the header was built");
        debug_assert_eq!(
            self.bhs.lengths.ahs_bytes(),
            self.ahs.len(),
            "header segments changed after the header was built"
        );
        let mut after_header = self.ahs.clone();
        if digests.header {
            let digest = digest_of(&[self.bhs.as_bytes(), &self.ahs]);
            let mut joined = BytesMut::with_capacity(self.ahs.len() + digest.len());
            joined.extend_from_slice(&self.ahs);
            joined.extend_from_slice(&digest);
            after_header = joined.freeze();
        }
        let mut trailer = [0; 7];
        let padding_bytes = padding_after(self.data.len());
        let mut trailer_bytes = padding_bytes;
        if digests.data && !self.data.is_empty() {
            let (padding, rest) = trailer.split_at_mut(padding_bytes);
            let digest = digest_of(&[&self.data, padding]);
            rest[..digest.len()].copy_from_slice(&digest);
            trailer_bytes += digest.len();
        }
        let mut header = [0; BHS_BYTES];
        header.copy_from_slice(self.bhs.as_bytes());
        EncodedPdu { header, after_header, data: self.data.clone(), trailer, trailer_bytes, position: 0 }
    }
}

impl EncodedPdu {
    /// The pieces in the order that they travel; some may be empty. They are whole, whatever [`Buf::advance`] has passed.
    #[must_use]
    pub fn segments(&self) -> [&[u8]; 4] {
        [&self.header, &self.after_header, &self.data, &self.trailer[..self.trailer_bytes]]
    }

    /// Bytes on the wire in all.
    #[must_use]
    pub fn len_bytes(&self) -> usize {
        self.segments().iter().map(|segment| segment.len()).sum()
    }

    /// What is left of the pieces from the position on, without the empty ones.
    fn pieces_left(&self) -> impl Iterator<Item = &[u8]> {
        let mut passed = self.position;
        self.segments().into_iter().filter_map(move |segment| {
            let skip = passed.min(segment.len());
            passed -= skip;
            Some(&segment[skip..]).filter(|rest| !rest.is_empty())
        })
    }
}

impl Buf for EncodedPdu {
    fn remaining(&self) -> usize {
        self.len_bytes() - self.position
    }

    fn chunk(&self) -> &[u8] {
        self.pieces_left().next().unwrap_or(&[])
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let mut filled = 0;
        for (slot, piece) in slices.iter_mut().zip(self.pieces_left()) {
            *slot = IoSlice::new(piece);
            filled += 1;
        }
        filled
    }

    fn advance(&mut self, bytes: usize) {
        assert!(bytes <= self.remaining(), "cannot advance past the end of a PDU");
        self.position += bytes;
    }
}

/// Bytes of zeros that bring `len_bytes` to a multiple of 4.
pub(super) const fn padding_after(len_bytes: usize) -> usize {
    len_bytes.next_multiple_of(4) - len_bytes
}

/// The CRC32C of `pieces` in the byte order that it travels in: the least significant byte first (RFC 7143 13.1).
// RFC 7143 §13.1 MUST: CRC32C is there, as the RFC computes it, and so is None.
pub(super) fn digest_of(pieces: &[&[u8]]) -> [u8; 4] {
    pieces.iter().fold(0, |crc, piece| crc32c::crc32c_append(crc, piece)).to_le_bytes()
}
