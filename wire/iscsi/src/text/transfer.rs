//! Text that takes more than one PDU: gathered where it arrives, cut into portions where it leaves (RFC 7143 6.2, C bit).

use bytes::{Bytes, BytesMut};

use super::{TextError, TextKeys};

/// Gathers the text of PDUs with the C bit until the one without it.
#[derive(Clone, Debug)]
pub struct TextGather {
    gathered: BytesMut,
    limit_bytes: usize,
}

impl TextGather {
    /// Takes at most `limit_bytes` over all PDUs of one text.
    #[must_use]
    pub fn new(limit_bytes: usize) -> Self {
        Self { gathered: BytesMut::new(), limit_bytes }
    }

    /// Takes one PDU's text. `continued` is its C bit: the answer is `None` while there is more to come.
    ///
    /// # Errors
    /// See [`TextError`]; the text is then dropped and the exchange cannot go on.
    pub fn push(&mut self, text: &[u8], continued: bool) -> Result<Option<TextKeys>, TextError> {
        if self.gathered.len() + text.len() > self.limit_bytes {
            self.gathered.clear();
            return Err(TextError::TooLong { limit_bytes: self.limit_bytes });
        }
        self.gathered.extend_from_slice(text);
        if continued {
            return Ok(None);
        }
        TextKeys::parse(&self.gathered.split()).map(Some)
    }
}

/// Text on its way out, in portions that fit the receiver's MaxRecvDataSegmentLength.
#[derive(Clone, Debug, Default)]
pub struct TextPortions {
    rest: Bytes,
}

impl TextPortions {
    /// All of `text`, which may be empty.
    #[must_use]
    pub const fn new(text: Bytes) -> Self {
        Self { rest: text }
    }

    /// The next portion of at most `bytes_max`, and whether more follows (the C bit).
    pub fn next_portion(&mut self, bytes_max: usize) -> (Bytes, bool) {
        let portion = self.rest.split_to(self.rest.len().min(bytes_max));
        (portion, !self.rest.is_empty())
    }

    /// Whether all of the text has been taken.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }
}
