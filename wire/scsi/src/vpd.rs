//! Vital product data: the pages of INQUIRY (SPC-4 7.8, SBC-3 6.6).
//!
//! Each page is a type with `to_bytes`, which makes the whole page with its header, and `parse`, which takes one.

mod block_limits;
mod characteristics;
mod extended_inquiry;
mod identification;
mod provisioning;
mod third_party_copy;

pub use block_limits::{AtomicLimits, BlockLimits};
pub use characteristics::BlockDeviceCharacteristics;
pub use extended_inquiry::ExtendedInquiry;
pub use identification::DeviceIdentification;
pub use provisioning::{LogicalBlockProvisioning, ProvisioningType};
pub use third_party_copy::{CopyLimits, ThirdPartyCopy, TokenLimits};

use zerocopy::big_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::Peripheral;
use crate::response::{ResponseError, prefix, text_of};

/// PAGE CODE of the pages that are known here.
pub mod page {
    /// SPC-4 7.8.17, Supported VPD Pages.
    pub const SUPPORTED_PAGES: u8 = 0x00;
    /// SPC-4 7.8.18, Unit Serial Number.
    pub const UNIT_SERIAL_NUMBER: u8 = 0x80;
    /// SPC-4 7.8.6, Device Identification.
    pub const DEVICE_IDENTIFICATION: u8 = 0x83;
    /// SPC-4 7.8.8, Extended INQUIRY Data.
    pub const EXTENDED_INQUIRY: u8 = 0x86;
    /// SPC-4 7.8.20, Third-party Copy.
    pub const THIRD_PARTY_COPY: u8 = 0x8f;
    /// SBC-3 6.6.3, Block Limits.
    pub const BLOCK_LIMITS: u8 = 0xb0;
    /// SBC-3 6.6.2, Block Device Characteristics.
    pub const BLOCK_DEVICE_CHARACTERISTICS: u8 = 0xb1;
    /// SBC-3 6.6.4, Logical Block Provisioning.
    pub const LOGICAL_BLOCK_PROVISIONING: u8 = 0xb2;
}

/// SPC-4 7.8.17, Supported VPD Pages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SupportedPages {
    /// The codes of the pages. Windows wants them strictly ascending, the first being 00h.
    pub pages: Vec<u8>,
}

impl SupportedPages {
    /// The page.
    #[must_use]
    pub fn to_bytes(&self, peripheral: Peripheral) -> Vec<u8> {
        with_header(peripheral, page::SUPPORTED_PAGES, &self.pages)
    }

    /// Reads the page.
    ///
    /// # Errors
    /// Too few bytes for a header, or another page.
    pub fn parse(bytes: &[u8]) -> Result<Self, ResponseError> {
        Ok(Self { pages: body(page::SUPPORTED_PAGES, bytes)?.to_vec() })
    }
}

/// SPC-4 7.8.18, Unit Serial Number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnitSerialNumber {
    /// The serial number, without the blanks around it.
    pub serial: String,
}

impl UnitSerialNumber {
    /// The page.
    #[must_use]
    pub fn to_bytes(&self, peripheral: Peripheral) -> Vec<u8> {
        with_header(peripheral, page::UNIT_SERIAL_NUMBER, self.serial.as_bytes())
    }

    /// Reads the page.
    ///
    /// # Errors
    /// Too few bytes for a header, or another page.
    pub fn parse(bytes: &[u8]) -> Result<Self, ResponseError> {
        Ok(Self { serial: text_of(body(page::UNIT_SERIAL_NUMBER, bytes)?) })
    }
}

fn with_header(peripheral: Peripheral, page: u8, body: &[u8]) -> Vec<u8> {
    let page_len = u16::try_from(body.len()).expect("pages are made of bounded parts").into();
    let header = Header { peripheral: peripheral.byte(), page, page_len };
    [header.as_bytes(), body].concat()
}

/// What follows the header, as far as it came.
fn body(expected: u8, bytes: &[u8]) -> Result<&[u8], ResponseError> {
    let (header, rest): (&Header, _) = prefix("the header of a VPD page", bytes)?;
    if header.page != expected {
        return Err(ResponseError::WrongPage { expected, found: header.page });
    }
    Ok(&rest[..rest.len().min(usize::from(header.page_len.get()))])
}

/// The body as a layout that is padded with zeros, since pages grew from one version of the standard to the next.
fn padded_body<T: FromBytes>(expected: u8, bytes: &[u8]) -> Result<T, ResponseError> {
    let mut padded = body(expected, bytes)?.to_vec();
    padded.resize(size_of::<T>(), 0);
    Ok(T::read_from_bytes(&padded).expect("the length is that of the layout"))
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Header {
    peripheral: u8,
    page: u8,
    page_len: U16,
}
const _: () = assert!(size_of::<Header>() == 4);
