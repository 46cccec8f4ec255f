//! ROD tokens: what stands for the data of ranges of blocks.

use std::fmt;

use lunshadow_control::Designator;
use zerocopy::big_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::copy_list::CopyDescriptor;

/// SPC-4 table 114, ROD TYPE. Codes that are not named here are kept as they came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RodType(pub u32);

impl RodType {
    /// The copy manager's choice, in the parameter list of POPULATE TOKEN.
    pub const UNSPECIFIED: Self = Self(0);
    /// Point in time copy, default: the data as it was when the token was made.
    pub const POINT_IN_TIME: Self = Self(0x0080_0000);
    /// Block device zero ROD (SBC-3 4.28.4): everybody knows its token, and it stands for zeros.
    pub const BLOCK_ZERO: Self = Self(0xffff_0001);
}

/// SPC-4 5.17.6.6, a ROD token. It is a secret: whoever has it can read what it stands for.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct RodToken(Box<[u8; Self::LEN]>);

impl fmt::Debug for RodToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RodToken").field("rod_type", &self.rod_type()).field("id", &self.id()).finish_non_exhaustive()
    }
}

impl RodToken {
    /// The length of every token here, in bytes.
    pub const LEN: usize = size_of::<Bytes>();

    /// A token for the data of a block device at one instant. `creator` is a designator of the logical unit, `secret` what makes that nobody
    /// can guess the token.
    #[must_use]
    pub fn point_in_time(
        id: u64,
        creator: &Designator,
        bytes_represented: u64,
        block_bytes: u32,
        secret: [u8; 32],
    ) -> Self {
        let bytes = Bytes {
            rod_type: RodType::POINT_IN_TIME.0.into(),
            reserved_4: [0; 2],
            rest_len: REST_LEN.into(),
            id: id.into(),
            creator: CopyDescriptor { designator: creator.clone(), block_bytes, null: false }.to_bytes(),
            represented_high: 0.into(),
            represented: bytes_represented.into(),
            specific: [0; 32],
            block_bytes: block_bytes.into(),
            device_specific: [0; 28],
            secret,
            extended: [0; 352],
        };
        Self::of(bytes.as_bytes())
    }

    /// SBC-3 table 43, the token for zeros.
    #[must_use]
    pub fn zero() -> Self {
        let mut bytes = Bytes::read_from_bytes(&[0; Self::LEN]).expect("the length is that of the layout");
        bytes.rod_type = RodType::BLOCK_ZERO.0.into();
        bytes.rest_len = REST_LEN.into();
        Self::of(bytes.as_bytes())
    }

    /// A token as it came.
    ///
    /// # Panics
    /// If there are not [`Self::LEN`] bytes.
    pub(crate) fn of(bytes: &[u8]) -> Self {
        Self(Box::new(bytes.try_into().expect("the length is that of a token")))
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; Self::LEN] {
        &self.0
    }

    /// ROD TYPE.
    #[must_use]
    pub fn rod_type(&self) -> RodType {
        RodType(self.layout().rod_type.get())
    }

    /// COPY MANAGER ROD TOKEN IDENTIFIER.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.layout().id.get()
    }

    /// NUMBER OF BYTES REPRESENTED, as far as 64 bits hold it.
    #[must_use]
    pub fn bytes_represented(&self) -> u64 {
        self.layout().represented.get()
    }

    /// Whether ROD TOKEN LENGTH says what it has to.
    #[must_use]
    pub fn has_length(&self) -> bool {
        self.layout().rest_len.get() == REST_LEN
    }

    fn layout(&self) -> &Bytes {
        Bytes::ref_from_bytes(&self.0[..]).expect("the length is that of the layout")
    }
}

/// ROD TOKEN LENGTH: what follows it.
const REST_LEN: u16 = 0x01f8;

/// SPC-4 table 128, with the device type specific data of block devices (SBC-3 table 41) and, in the extended data, the secret.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Bytes {
    rod_type: U32,
    reserved_4: [u8; 2],
    rest_len: U16,
    id: U64,
    creator: [u8; 32],
    represented_high: U64,
    represented: U64,
    specific: [u8; 32],
    block_bytes: U32,
    device_specific: [u8; 28],
    secret: [u8; 32],
    extended: [u8; 352],
}
const _: () = assert!(size_of::<Bytes>() == 512);
