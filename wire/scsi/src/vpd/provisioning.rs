//! Whether a LUN is thin, and how space is given back.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::{padded_body, page, with_header};
use crate::Peripheral;
use crate::response::ResponseError;

/// SBC-3 6.6.4, Logical Block Provisioning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogicalBlockProvisioning {
    /// THRESHOLD EXPONENT, 0 if there are no thresholds.
    pub threshold_exponent: u8,
    /// LBPU: UNMAP gives space back.
    pub unmap: bool,
    /// LBPWS and LBPWS10: WRITE SAME(16) and (10) give space back.
    pub write_same: (bool, bool),
    /// LBPRZ: blocks that were given back read as zeros.
    pub unmapped_reads_zeros: bool,
    /// ANC_SUP: blocks can be anchored.
    pub anchored: bool,
    /// PROVISIONING TYPE.
    pub provisioning: ProvisioningType,
}

/// SBC-3 table 217, PROVISIONING TYPE. Types that are not named here are kept as they came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ProvisioningType(pub u8);

impl ProvisioningType {
    /// Nothing is said.
    pub const NOT_REPORTED: Self = Self(0);
    /// All the LUN's space is its own.
    pub const RESOURCE: Self = Self(1);
    /// The LUN takes space as it is written.
    pub const THIN: Self = Self(2);
}

impl LogicalBlockProvisioning {
    /// The page.
    #[must_use]
    pub fn to_bytes(&self, peripheral: Peripheral) -> Vec<u8> {
        let flags = u8::from(self.unmap) << 7
            | u8::from(self.write_same.0) << 6
            | u8::from(self.write_same.1) << 5
            | u8::from(self.unmapped_reads_zeros) << 2
            | u8::from(self.anchored) << 1;
        let bytes = Bytes {
            threshold_exponent: self.threshold_exponent,
            flags,
            provisioning: self.provisioning.0 & 7,
            threshold_percentage: 0,
        };
        with_header(peripheral, page::LOGICAL_BLOCK_PROVISIONING, bytes.as_bytes())
    }

    /// Reads the page.
    ///
    /// # Errors
    /// Too few bytes for a header, or another page.
    pub fn parse(bytes: &[u8]) -> Result<Self, ResponseError> {
        let data: Bytes = padded_body(page::LOGICAL_BLOCK_PROVISIONING, bytes)?;
        let flag = |bit: u8| data.flags >> bit & 1 != 0;
        Ok(Self {
            threshold_exponent: data.threshold_exponent,
            unmap: flag(7),
            write_same: (flag(6), flag(5)),
            unmapped_reads_zeros: flag(2),
            anchored: flag(1),
            provisioning: ProvisioningType(data.provisioning & 7),
        })
    }
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Bytes {
    threshold_exponent: u8,
    flags: u8,
    provisioning: u8,
    threshold_percentage: u8,
}
const _: () = assert!(size_of::<Bytes>() == 4);
