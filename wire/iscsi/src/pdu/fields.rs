//! The fields that several PDU headers share (RFC 7143 11.2.1).

use std::fmt;

use zerocopy::byteorder::big_endian::U32;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::codes::Opcode;

/// Bit 7 of a header's second byte: the last, or only, PDU of a sequence (F); in logins the wish to leave the stage (T).
pub const FINAL: u8 = 0x80;
/// Bit 6 of the second byte of login and text PDUs: the text goes on in the next PDU (C).
pub const CONTINUE: u8 = 0x40;
/// The value of a task tag that names no task (RFC 7143 11.2.1.8).
pub const RESERVED_TAG: Tag = Tag(U32::new(0xffff_ffff));

/// A header's first byte: the opcode and the bit that marks a request for immediate delivery (I).
#[derive(Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(transparent)]
pub struct Operation(u8);

impl Operation {
    /// An opcode without the I bit.
    #[must_use]
    pub const fn new(opcode: Opcode) -> Self {
        Self(opcode.0 & 0x3f)
    }

    /// The same with the I bit: the PDU takes no CmdSN and is not subject to the command window.
    #[must_use]
    pub const fn immediate(self) -> Self {
        Self(self.0 | 0x40)
    }

    /// The opcode.
    #[must_use]
    pub const fn opcode(self) -> Opcode {
        Opcode(self.0 & 0x3f)
    }

    /// Whether the I bit is set.
    #[must_use]
    pub const fn is_immediate(self) -> bool {
        self.0 & 0x40 != 0
    }
}

impl fmt::Debug for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}{}", self.opcode(), if self.is_immediate() { " immediate" } else { "" })
    }
}

/// TotalAHSLength and DataSegmentLength, bytes 4 to 7 of every header. [`Pdu`](super::Pdu) fills them in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct SegmentLengths {
    ahs_words: u8,
    data: [u8; 3],
}

impl SegmentLengths {
    /// The longest data segment that the field can name: 2^24 - 1 bytes.
    pub const DATA_BYTES_MAX: usize = (1 << 24) - 1;
    /// The longest additional header segments that the field can name.
    pub const AHS_BYTES_MAX: usize = 255 * 4;

    /// Lengths of the additional header segments (a multiple of 4) and of the data, without padding; `None` if a field
    /// cannot hold its length.
    #[must_use]
    pub fn new(ahs_bytes: usize, data_bytes: usize) -> Option<Self> {
        let ahs_words = u8::try_from(ahs_bytes / 4).ok().filter(|_| ahs_bytes.is_multiple_of(4))?;
        let [0, data @ ..] = u32::try_from(data_bytes).ok()?.to_be_bytes() else { return None };
        Some(Self { ahs_words, data })
    }

    /// Bytes of additional header segments.
    #[must_use]
    pub fn ahs_bytes(self) -> usize {
        usize::from(self.ahs_words) * 4
    }

    /// Bytes of data, without padding.
    #[must_use]
    pub fn data_bytes(self) -> usize {
        let [high, middle, low] = self.data;
        usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low)
    }
}

/// An Initiator Task Tag or Target Transfer Tag: chosen by one end, handed back unchanged by the other.
#[derive(Clone, Copy, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(transparent)]
pub struct Tag(pub U32);

impl Tag {
    /// A tag from its number.
    #[must_use]
    pub const fn new(number: u32) -> Self {
        Self(U32::new(number))
    }

    /// The tag's number.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0.get()
    }

    /// Whether this is [`RESERVED_TAG`].
    #[must_use]
    pub const fn is_reserved(self) -> bool {
        self.get() == u32::MAX
    }
}

/// [`RESERVED_TAG`], so that a header that is built without naming a tag names no task.
impl Default for Tag {
    fn default() -> Self {
        RESERVED_TAG
    }
}

impl fmt::Debug for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tag({:#010x})", self.get())
    }
}

/// The initiator's part of a session's identity (RFC 7143 11.12.5): type, naming authority and qualifier.
#[derive(
    Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(transparent)]
pub struct Isid(pub [u8; 6]);

impl Isid {
    /// An ISID of the *random* type (T = 10b): 24 random bits and a qualifier that tells the sessions of one initiator apart.
    #[must_use]
    pub fn random_type(random: [u8; 3], qualifier: u16) -> Self {
        let [a, b, c] = random;
        let [high, low] = qualifier.to_be_bytes();
        Self([0x80, a, b, c, high, low])
    }
}

impl fmt::Debug for Isid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "Isid({a:02x}{b:02x}{c:02x}{d:02x}{e:02x}{g:02x})")
    }
}
