//! LUNs as they are addressed, and the list of them.

use std::fmt;

use crate::response::{ResponseError, prefix};
use zerocopy::big_endian::U32;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// SAM-5 4.7, a LUN of eight bytes.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned,
)]
#[repr(transparent)]
pub struct LunAddress(pub [u8; 8]);
const _: () = assert!(size_of::<LunAddress>() == 8);

impl LunAddress {
    /// SAM-5 4.7.7.5.2, the well-known logical unit REPORT LUNS.
    pub const WELL_KNOWN_REPORT_LUNS: Self = Self([0xc1, 0x01, 0, 0, 0, 0, 0, 0]);

    /// SAM-5 4.7.7.2, peripheral device addressing on bus 0.
    #[must_use]
    pub const fn peripheral(number: u8) -> Self {
        Self([0, number, 0, 0, 0, 0, 0, 0])
    }

    /// The number of a single-level LUN, whether it is written by peripheral device addressing on bus 0 or by flat space
    /// addressing (SAM-5 4.7.7.3); `None` for all other addresses.
    #[must_use]
    pub fn number(self) -> Option<u16> {
        let Self([method, low, rest @ ..]) = self;
        if rest != [0; 6] {
            return None;
        }
        match method {
            0 => Some(u16::from(low)),
            0x40..=0x7f => Some(u16::from_be_bytes([method & 0x3f, low])),
            _ => None,
        }
    }
}

impl fmt::Debug for LunAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LunAddress({self})")
    }
}

impl fmt::Display for LunAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.number() {
            Some(number) => write!(f, "LUN {number}"),
            None => write!(f, "LUN {:016x}", u64::from_be_bytes(self.0)),
        }
    }
}

/// SPC-4 table 254, SELECT REPORT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SelectReport {
    /// 00h: all but well-known logical units.
    Addressable,
    /// 01h: well-known logical units only.
    WellKnown,
    /// 02h: all.
    All,
}

impl SelectReport {
    pub(crate) const fn from_code(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::Addressable),
            1 => Some(Self::WellKnown),
            2 => Some(Self::All),
            _ => None,
        }
    }

    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::Addressable => 0,
            Self::WellKnown => 1,
            Self::All => 2,
        }
    }
}

/// SPC-4 6.33.2, REPORT LUNS parameter data.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LunList {
    /// The LUNs that came.
    pub luns: Vec<LunAddress>,
    /// LUN LIST LENGTH: how many bytes of LUNs there are, of which the allocation length may have cut some off.
    pub list_bytes: u32,
}

impl LunList {
    /// A whole list.
    #[must_use]
    pub fn of(luns: Vec<LunAddress>) -> Self {
        let list_bytes = u32::try_from(luns.len() * size_of::<LunAddress>()).expect("no target has 2^29 LUNs");
        Self { luns, list_bytes }
    }

    /// The allocation length with which the whole list comes.
    #[must_use]
    pub fn whole_bytes(&self) -> u32 {
        self.list_bytes.saturating_add(8)
    }

    /// The parameter data.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let header = Header { list_bytes: self.list_bytes.into(), reserved: [0; 4] };
        [header.as_bytes(), self.luns.as_bytes()].concat()
    }

    /// Reads parameter data, whole LUNs of it.
    ///
    /// # Errors
    /// Less than the header of 8 bytes.
    pub fn parse(bytes: &[u8]) -> Result<Self, ResponseError> {
        let (header, rest): (&Header, _) = prefix("REPORT LUNS data", bytes)?;
        let list_bytes = header.list_bytes.get();
        let listed = usize::try_from(list_bytes).unwrap_or(usize::MAX).min(rest.len());
        let luns = rest[..listed].chunks_exact(8).filter_map(|lun| LunAddress::read_from_bytes(lun).ok()).collect();
        Ok(Self { luns, list_bytes })
    }
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Header {
    list_bytes: U32,
    reserved: [u8; 4],
}
const _: () = assert!(size_of::<Header>() == 8);
