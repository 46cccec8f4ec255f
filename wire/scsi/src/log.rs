//! Log pages: LOG SENSE (SPC-4 7.3, SBC-3 6.4).

use zerocopy::big_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::response::{ResponseError, prefix};

/// PAGE CODE of the log pages that are known here.
pub mod log_page {
    /// SPC-4 7.3.15, Supported Log Pages; with subpage FFh, Supported Log Pages and Subpages.
    pub const SUPPORTED_PAGES: u8 = 0x00;
    /// SBC-3 6.4.4, Logical Block Provisioning.
    pub const LOGICAL_BLOCK_PROVISIONING: u8 = 0x0c;
    /// SUBPAGE CODE for all subpages.
    pub const ALL_SUBPAGES: u8 = 0xff;
}

/// A log page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogPage {
    /// PAGE CODE.
    pub page: u8,
    /// SUBPAGE CODE, 0 if the page has none.
    pub subpage: u8,
    /// What follows the header of the page.
    pub body: Vec<u8>,
}

/// SBC-3 6.4.4, a parameter of the Logical Block Provisioning log page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProvisioningParameter {
    /// PARAMETER CODE.
    pub code: u16,
    /// RESOURCE COUNT, in units of 2 to the power of the threshold exponent blocks.
    pub resource_count: u32,
    /// SCOPE.
    pub scope: ResourceScope,
}

/// SBC-3 table 171, SCOPE. Values that are not named here are kept as they came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ResourceScope(pub u8);

impl ResourceScope {
    /// The count is about this logical unit alone.
    pub const DEDICATED: Self = Self(1);
    /// The count is about what this logical unit shares with others.
    pub const SHARED: Self = Self(2);
}

impl ProvisioningParameter {
    /// Available LBA Mapping Resource Count.
    pub const AVAILABLE: u16 = 0x0001;
    /// Used LBA Mapping Resource Count.
    pub const USED: u16 = 0x0002;

    /// The body of a page with these parameters.
    #[must_use]
    pub fn list_to_bytes(parameters: &[Self]) -> Vec<u8> {
        let parameters = parameters.iter().map(|parameter| Parameter {
            code: parameter.code.into(),
            control: BINARY_LIST,
            len: 8,
            resource_count: parameter.resource_count.into(),
            scope: parameter.scope.0 & 3,
            reserved: [0; 3],
        });
        parameters.flat_map(|parameter| parameter.as_bytes().to_vec()).collect()
    }

    /// Reads the body of a page; parameters of another length are left out.
    #[must_use]
    pub fn parse_list(body: &[u8]) -> Vec<Self> {
        let mut rest = body;
        let mut parameters = Vec::new();
        while let [_, _, _, len, following @ ..] = rest {
            let Some(next) = following.get(usize::from(*len)..) else { break };
            if let Ok((parameter, _)) = Parameter::ref_from_prefix(rest)
                && parameter.len == 8
            {
                parameters.push(Self {
                    code: parameter.code.get(),
                    resource_count: parameter.resource_count.get(),
                    scope: ResourceScope(parameter.scope & 3),
                });
            }
            rest = next;
        }
        parameters
    }
}

impl LogPage {
    /// The parameter data. Nothing is ever saved (DS).
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let format = if self.subpage == 0 { 0 } else { SUBPAGE_FORMAT };
        let header = Header {
            page: NOT_SAVED | format | self.page & 0x3f,
            subpage: self.subpage,
            len: u16::try_from(self.body.len()).expect("log pages are short").into(),
        };
        [header.as_bytes(), &self.body].concat()
    }

    /// Reads parameter data, as far as it came.
    ///
    /// # Errors
    /// Less than the header of 4 bytes.
    pub fn parse(bytes: &[u8]) -> Result<Self, ResponseError> {
        let (header, rest): (&Header, _) = prefix("a log page", bytes)?;
        let body = rest[..rest.len().min(usize::from(header.len.get()))].to_vec();
        Ok(Self { page: header.page & 0x3f, subpage: header.subpage, body })
    }
}

/// DS and SPF in the first byte of a page.
const NOT_SAVED: u8 = 0x80;
const SUBPAGE_FORMAT: u8 = 0x40;
/// FORMAT AND LINKING of a parameter that is a binary list.
const BINARY_LIST: u8 = 0x03;

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Header {
    page: u8,
    subpage: u8,
    len: U16,
}
const _: () = assert!(size_of::<Header>() == 4);

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Parameter {
    code: U16,
    control: u8,
    len: u8,
    resource_count: zerocopy::big_endian::U32,
    scope: u8,
    reserved: [u8; 3],
}
const _: () = assert!(size_of::<Parameter>() == 12);
