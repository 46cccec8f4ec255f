//! PDUs out of a stream of bytes, in whatever portions the bytes come.

use bytes::{Buf, BytesMut};
use zerocopy::FromBytes;

use super::encoder::{DigestConfig, digest_of, padding_after};
use super::{BHS_BYTES, Bhs, Pdu};

/// Cuts a byte stream into PDUs. The caller owns the buffer, appends what it reads, and calls [`decode`](Self::decode) until
/// it answers `None`. Data is handed out as a part of the buffer, not copied.
///
/// ```text
/// socket ──read_buf──▶ BytesMut ──decode──▶ Pdu, Pdu, …
/// ```
#[derive(Clone, Debug)]
pub struct PduDecoder {
    digests: DigestConfig,
    data_bytes_max: usize,
}

/// What [`PduDecoder::take`] found at the front of a buffer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Taken {
    /// A whole PDU, which is no longer in the buffer.
    Pdu(Pdu),
    /// The beginning of one, or nothing.
    Missing {
        /// How much has to come at least before there can be more to say.
        byte_count: usize,
    },
}

/// A stream that cannot be cut into PDUs.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// A header announces more data than this end declared to take (MaxRecvDataSegmentLength). Nothing after it can be
    /// trusted; the connection has to be closed.
    #[error("a PDU announces {data_bytes} bytes of data where {limit_bytes} are the limit")]
    DataSegmentTooLong {
        /// The header.
        header: Box<Bhs>,
        /// What it announces.
        data_bytes: usize,
        /// What this end takes.
        limit_bytes: usize,
    },
    /// The header digest does not match. The lengths cannot be trusted; the connection has to be closed.
    #[error("the header digest of a PDU does not match")]
    HeaderDigestMismatch,
    /// The data digest does not match. The PDU is dropped and the stream goes on behind it; a target answers with a Reject.
    #[error("the data digest of a PDU does not match")]
    DataDigestMismatch {
        /// The header, which is sound as far as is known.
        header: Box<Bhs>,
    },
}

impl PduDecoder {
    /// A decoder for a connection in its login phase: no digests, and no data segment longer than `data_bytes_max`.
    #[must_use]
    pub fn new(data_bytes_max: usize) -> Self {
        Self { digests: DigestConfig::default(), data_bytes_max }
    }

    /// Takes over what a login agreed on, from the next PDU on.
    pub fn reconfigure(&mut self, digests: DigestConfig, data_bytes_max: usize) {
        *self = Self { digests, data_bytes_max };
    }

    /// How far behind its beginning a PDU's data lies, unless it has additional header segments.
    #[must_use]
    pub const fn data_offset_bytes(&self) -> usize {
        BHS_BYTES + if self.digests.header { 4 } else { 0 }
    }

    /// Takes the next PDU off the front of `buffer`; `None` if it is not complete yet, after reserving room for the rest of it.
    ///
    /// # Errors
    /// See [`DecodeError`]; a length is refused before any memory is reserved for it.
    pub fn decode(&self, buffer: &mut BytesMut) -> Result<Option<Pdu>, DecodeError> {
        match self.take(buffer)? {
            Taken::Pdu(pdu) => Ok(Some(pdu)),
            Taken::Missing { byte_count } => {
                buffer.reserve(byte_count);
                Ok(None)
            }
        }
    }

    /// As [`decode`](Self::decode), but leaves it to the caller to make room, who may care where data comes to lie.
    ///
    /// # Errors
    /// See [`DecodeError`].
    pub fn take(&self, buffer: &mut BytesMut) -> Result<Taken, DecodeError> {
        let missing = |total_bytes: usize, has_bytes: usize| Ok(Taken::Missing { byte_count: total_bytes - has_bytes });
        let Ok((&bhs, _)) = Bhs::ref_from_prefix(buffer) else { return missing(BHS_BYTES, buffer.len()) };
        let header_bytes = BHS_BYTES + bhs.lengths.ahs_bytes();
        let header_digest_bytes = if self.digests.header { 4 } else { 0 };
        if self.digests.header {
            // The lengths are used only once they are known to be sound.
            let Some(digest) = buffer.get(header_bytes..header_bytes + 4) else {
                return missing(header_bytes + 4, buffer.len());
            };
            // RFC 7143 §7.8 MUST: a PDU whose header digest does not match is not used, or closes the connection.
            if digest != digest_of(&[&buffer[..header_bytes]]) {
                return Err(DecodeError::HeaderDigestMismatch);
            }
        }
        let data_bytes = bhs.lengths.data_bytes();
        // RFC 7143 §7.7 MUST: a PDU that breaks the format closes the connection.
        if data_bytes > self.data_bytes_max {
            let header = Box::new(bhs);
            return Err(DecodeError::DataSegmentTooLong { header, data_bytes, limit_bytes: self.data_bytes_max });
        }
        let padding_bytes = padding_after(data_bytes);
        let data_digest_bytes = if self.digests.data && data_bytes > 0 { 4 } else { 0 };
        let total_bytes = header_bytes + header_digest_bytes + data_bytes + padding_bytes + data_digest_bytes;
        if buffer.len() < total_bytes {
            return missing(total_bytes, buffer.len());
        }
        let mut whole = buffer.split_to(total_bytes);
        whole.advance(BHS_BYTES);
        let ahs = whole.split_to(bhs.lengths.ahs_bytes()).freeze();
        whole.advance(header_digest_bytes);
        if data_digest_bytes > 0 {
            let (covered, digest) = whole.split_at(data_bytes + padding_bytes);
            if digest != digest_of(&[covered]) {
                return Err(DecodeError::DataDigestMismatch { header: Box::new(bhs) });
            }
        }
        whole.truncate(data_bytes);
        Ok(Taken::Pdu(Pdu { bhs, ahs, data: whole.freeze() }))
    }
}
