//! What the medium is like.

use zerocopy::big_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::{padded_body, page, with_header};
use crate::Peripheral;
use crate::response::ResponseError;

/// SBC-3 6.6.2, Block Device Characteristics.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BlockDeviceCharacteristics {
    /// MEDIUM ROTATION RATE: 0 unknown, 1 does not rotate, else rotations a minute.
    pub rotation_rate: u16,
    /// NOMINAL FORM FACTOR, 0 if none.
    pub form_factor: u8,
    /// WABEREQ: what reading a block answers between BLOCK ERASE and the next write to it; 0 if that is not said, 1 if data comes.
    pub after_block_erase: u8,
}

impl BlockDeviceCharacteristics {
    /// MEDIUM ROTATION RATE of what does not rotate.
    pub const SOLID_STATE: u16 = 1;

    /// The page.
    #[must_use]
    pub fn to_bytes(&self, peripheral: Peripheral) -> Vec<u8> {
        let bytes = Bytes {
            rotation_rate: self.rotation_rate.into(),
            product_type: 0,
            form_factor: self.form_factor & 0x0f | (self.after_block_erase & 3) << 6,
            reserved: [0; 56],
        };
        with_header(peripheral, page::BLOCK_DEVICE_CHARACTERISTICS, bytes.as_bytes())
    }

    /// Reads the page.
    ///
    /// # Errors
    /// Too few bytes for a header, or another page.
    pub fn parse(bytes: &[u8]) -> Result<Self, ResponseError> {
        let data: Bytes = padded_body(page::BLOCK_DEVICE_CHARACTERISTICS, bytes)?;
        Ok(Self {
            rotation_rate: data.rotation_rate.get(),
            form_factor: data.form_factor & 0x0f,
            after_block_erase: data.form_factor >> 6,
        })
    }
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Bytes {
    rotation_rate: U16,
    product_type: u8,
    form_factor: u8,
    reserved: [u8; 56],
}
const _: () = assert!(size_of::<Bytes>() == 0x3c);
