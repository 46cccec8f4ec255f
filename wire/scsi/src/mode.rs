//! Mode parameters: a header, perhaps a block descriptor, and pages (SPC-4 7.5, SBC-3 6.5).

mod provisioning;
mod select;

pub use provisioning::{ProvisioningPage, Threshold};
pub use select::{ListedPage, ModeList, ModeListError};

use zerocopy::big_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::response::{ResponseError, prefix};

/// PAGE CODE of the mode pages that are known here.
pub mod page_code {
    /// SBC-3 6.5.5, Caching.
    pub const CACHING: u8 = 0x08;
    /// SPC-4 7.5.8, Control.
    pub const CONTROL: u8 = 0x0a;
    /// SPC-4 7.5.14, Informational Exceptions Control.
    pub const INFORMATIONAL_EXCEPTIONS: u8 = 0x1c;
    /// SBC-3 6.5.8, Logical Block Provisioning: a subpage of 1Ch.
    pub const PROVISIONING: (u8, u8) = (0x1c, 0x02);
    /// All pages.
    pub const ALL: u8 = 0x3f;
    /// SUBPAGE CODE for all subpages.
    pub const ALL_SUBPAGES: u8 = 0xff;
}

/// MODE SENSE(6) or MODE SENSE(10): the headers differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ModeForm {
    /// A header of four bytes.
    Six,
    /// A header of eight bytes.
    Ten,
}

/// SPC-4 7.5.4, mode parameter list, with the DEVICE-SPECIFIC PARAMETER of disks (SBC-3 6.5.1).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ModeData {
    /// WP: writes are refused.
    pub write_protected: bool,
    /// DPOFUA: the commands have DPO and FUA.
    pub fua_supported: bool,
    /// NUMBER OF LOGICAL BLOCKS (`u32::MAX` for more) and LOGICAL BLOCK LENGTH of the first block descriptor.
    pub block_descriptor: Option<(u32, u32)>,
    /// The pages.
    pub pages: Vec<ModePage>,
}

/// A mode page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ModePage {
    /// SBC-3 6.5.5.
    Caching(CachingPage),
    /// SPC-4 7.5.8.
    Control(ControlPage),
    /// SPC-4 7.5.14: nothing of it is in use here.
    InformationalExceptions,
    /// SBC-3 6.5.8.
    Provisioning(ProvisioningPage),
    /// A page that is not known here.
    Other {
        /// PAGE CODE.
        page: u8,
        /// SUBPAGE CODE, if the page has that format.
        subpage: Option<u8>,
        /// What follows the header of the page.
        body: Vec<u8>,
    },
}

/// SBC-3 6.5.5, Caching: the fields that are in use here.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CachingPage {
    /// WCE: a write may be answered before it is durable, so SYNCHRONIZE CACHE matters.
    pub write_cache: bool,
    /// RCD: reads always go to the medium.
    pub read_cache_disabled: bool,
}

/// SPC-4 7.5.8, Control: the fields that are in use here.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ControlPage {
    /// D_SENSE: sense data comes in descriptor format.
    pub descriptor_sense: bool,
    /// QUEUE ALGORITHM MODIFIER 1: simple commands may overtake each other.
    pub unrestricted_reordering: bool,
    /// SWP: writes are refused.
    pub software_write_protect: bool,
    /// TAS: commands that another nexus aborts are answered.
    pub task_aborted_status: bool,
}

impl ModeData {
    /// The parameter list.
    #[must_use]
    pub fn to_bytes(&self, form: ModeForm) -> Vec<u8> {
        let specific = u8::from(self.write_protected) << 7 | u8::from(self.fua_supported) << 4;
        let mut tail = Vec::new();
        if let Some((block_count, block_bytes)) = self.block_descriptor {
            let descriptor =
                BlockDescriptor { block_count: block_count.into(), block_bytes: (block_bytes & 0x00ff_ffff).into() };
            tail.extend(descriptor.as_bytes());
        }
        let descriptors_len = u8::try_from(tail.len()).expect("one short descriptor");
        for page in &self.pages {
            page.write(&mut tail);
        }
        let mut bytes = match form {
            ModeForm::Six => {
                // The length does not count itself. A list that needs more than the byte says so is for MODE SENSE(10).
                let data_len = u8::try_from(tail.len() + 3).unwrap_or(u8::MAX);
                Header6 { data_len, medium: 0, specific, descriptors_len }.as_bytes().to_vec()
            }
            ModeForm::Ten => {
                let data_len = u16::try_from(tail.len() + 6).unwrap_or(u16::MAX).into();
                let descriptors_len = u16::from(descriptors_len).into();
                let header = Header10 { data_len, medium: 0, specific, reserved: [0; 2], descriptors_len };
                header.as_bytes().to_vec()
            }
        };
        bytes.extend(tail);
        bytes
    }

    /// Reads a parameter list. A page that is cut off is left out.
    ///
    /// # Errors
    /// Less than the header and the block descriptors that it announces.
    pub fn parse(form: ModeForm, bytes: &[u8]) -> Result<Self, ResponseError> {
        let (specific, data_len, descriptors_len, rest) = match form {
            ModeForm::Six => {
                let (header, rest): (&Header6, _) = prefix("mode parameter header", bytes)?;
                let data_len = usize::from(header.data_len).saturating_sub(3);
                (header.specific, data_len, usize::from(header.descriptors_len), rest)
            }
            ModeForm::Ten => {
                let (header, rest): (&Header10, _) = prefix("mode parameter header", bytes)?;
                let data_len = usize::from(header.data_len.get()).saturating_sub(6);
                (header.specific, data_len, usize::from(header.descriptors_len.get()), rest)
            }
        };
        let rest = &rest[..rest.len().min(data_len)];
        let (descriptors, mut rest) = rest.split_at_checked(descriptors_len).ok_or(ResponseError::Truncated {
            what: "block descriptors",
            needed_len: descriptors_len,
            len: rest.len(),
        })?;
        let block_descriptor = BlockDescriptor::ref_from_prefix(descriptors)
            .ok()
            .map(|(descriptor, _)| (descriptor.block_count.get(), descriptor.block_bytes.get() & 0x00ff_ffff));
        let mut pages = Vec::new();
        while let Some((page, next)) = ModePage::read(rest) {
            pages.push(page);
            rest = next;
        }
        Ok(Self { write_protected: specific & 0x80 != 0, fua_supported: specific & 0x10 != 0, block_descriptor, pages })
    }
}

impl ModePage {
    /// The page with its header.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.write(&mut bytes);
        bytes
    }

    /// PAGE CODE and SUBPAGE CODE; the latter is 0 for a page that has none.
    #[must_use]
    pub const fn code(&self) -> (u8, u8) {
        match self {
            Self::Caching(_) => (page_code::CACHING, 0),
            Self::Control(_) => (page_code::CONTROL, 0),
            Self::InformationalExceptions => (page_code::INFORMATIONAL_EXCEPTIONS, 0),
            Self::Provisioning(_) => page_code::PROVISIONING,
            Self::Other { page, subpage: Some(subpage), .. } => (*page & 0x3f, *subpage),
            Self::Other { page, subpage: None, .. } => (*page & 0x3f, 0),
        }
    }

    fn write(&self, out: &mut Vec<u8>) {
        let mut body = match self {
            Self::Caching(page) => {
                vec![u8::from(page.write_cache) << 2 | u8::from(page.read_cache_disabled)]
            }
            Self::Control(page) => vec![
                u8::from(page.descriptor_sense) << 2,
                u8::from(page.unrestricted_reordering) << 4,
                u8::from(page.software_write_protect) << 3,
                u8::from(page.task_aborted_status) << 6,
            ],
            Self::InformationalExceptions => Vec::new(),
            Self::Provisioning(page) => page.body(),
            Self::Other { body, .. } => body.clone(),
        };
        let (page, subpage) = self.code();
        let len = match self {
            Self::Caching(_) => CACHING_LEN,
            Self::Control(_) => CONTROL_LEN,
            Self::InformationalExceptions => EXCEPTIONS_LEN,
            Self::Other { subpage: None, .. } => body.len().min(usize::from(u8::MAX)),
            Self::Provisioning(_) | Self::Other { subpage: Some(_), .. } => {
                let len = u16::try_from(body.len()).unwrap_or(u16::MAX);
                out.extend([SUBPAGE_FORMAT | page, subpage]);
                out.extend(len.to_be_bytes());
                out.extend(body.into_iter().take(usize::from(len)));
                return;
            }
        };
        body.resize(len, 0);
        out.extend([page, u8::try_from(len).expect("bounded above")]);
        out.extend(body);
    }

    fn read(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let (code, subpage, len, rest) = match bytes {
            [code, subpage, high, low, rest @ ..] if code & SUBPAGE_FORMAT != 0 => {
                (*code, Some(*subpage), u16::from_be_bytes([*high, *low]), rest)
            }
            [code, len, rest @ ..] if code & SUBPAGE_FORMAT == 0 => (*code, None, u16::from(*len), rest),
            _ => return None,
        };
        let (body, next) = rest.split_at_checked(usize::from(len))?;
        let flag = |byte: usize, bit: u8| body.get(byte).is_some_and(|byte| byte >> bit & 1 != 0);
        let page = match (code & 0x3f, subpage) {
            (page_code::CACHING, None) => {
                Self::Caching(CachingPage { write_cache: flag(0, 2), read_cache_disabled: flag(0, 0) })
            }
            (page_code::CONTROL, None) => Self::Control(ControlPage {
                descriptor_sense: flag(0, 2),
                unrestricted_reordering: body.get(1).is_some_and(|byte| byte >> 4 == 1),
                software_write_protect: flag(2, 3),
                task_aborted_status: flag(3, 6),
            }),
            (page_code::INFORMATIONAL_EXCEPTIONS, None) => Self::InformationalExceptions,
            (page, Some(subpage)) if (page, subpage) == page_code::PROVISIONING => ProvisioningPage::read(body)
                .map_or_else(|| Self::Other { page, subpage: Some(subpage), body: body.to_vec() }, Self::Provisioning),
            (page, subpage) => Self::Other { page, subpage, body: body.to_vec() },
        };
        Some((page, next))
    }
}

/// SPF in the first byte of a page.
const SUBPAGE_FORMAT: u8 = 0x40;
/// PAGE LENGTH of the pages.
const CACHING_LEN: usize = 0x12;
const CONTROL_LEN: usize = 0x0a;
const EXCEPTIONS_LEN: usize = 0x0a;

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Header6 {
    data_len: u8,
    medium: u8,
    specific: u8,
    descriptors_len: u8,
}
const _: () = assert!(size_of::<Header6>() == 4);

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Header10 {
    data_len: U16,
    medium: u8,
    specific: u8,
    reserved: [u8; 2],
    descriptors_len: U16,
}
const _: () = assert!(size_of::<Header10>() == 8);

/// SBC-3 table 180, short LBA mode parameter block descriptor; the upper byte of the length is reserved.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct BlockDescriptor {
    block_count: U32,
    block_bytes: U32,
}
const _: () = assert!(size_of::<BlockDescriptor>() == 8);
