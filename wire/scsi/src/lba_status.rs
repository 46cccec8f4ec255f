//! Which blocks of a thin LUN have space of their own.

use zerocopy::big_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::response::{ResponseError, prefix};

/// SBC-3 5.5.2, GET LBA STATUS parameter data.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LbaStatus {
    /// Consecutive extents, the first of which contains the block that was asked about.
    pub extents: Vec<LbaExtent>,
}

/// SBC-3 5.5.2.2, LBA status descriptor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LbaExtent {
    /// The first block.
    pub lba: u64,
    /// How many blocks.
    pub block_count: u32,
    /// What is known of them.
    pub status: ProvisioningStatus,
}

/// SBC-3 table 53, PROVISIONING STATUS. Codes that are not named here are kept as they came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ProvisioningStatus(pub u8);

impl ProvisioningStatus {
    /// Mapped, or unknown.
    pub const MAPPED: Self = Self(0);
    /// Without space of their own.
    pub const DEALLOCATED: Self = Self(1);
    /// Without data, with space set aside.
    pub const ANCHORED: Self = Self(2);
}

impl LbaStatus {
    /// The parameter data.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let data_len = self.extents.len() * size_of::<Descriptor>() + 4;
        let data_len = u32::try_from(data_len).expect("a list of bounded length").into();
        let mut bytes = Header { data_len, reserved: [0; 4] }.as_bytes().to_vec();
        for extent in &self.extents {
            let descriptor = Descriptor {
                lba: extent.lba.into(),
                block_count: extent.block_count.into(),
                status: extent.status.0 & 0x0f,
                reserved: [0; 3],
            };
            bytes.extend(descriptor.as_bytes());
        }
        bytes
    }

    /// Reads parameter data, whole descriptors of it.
    ///
    /// # Errors
    /// Less than the header of 8 bytes.
    pub fn parse(bytes: &[u8]) -> Result<Self, ResponseError> {
        let (header, rest): (&Header, _) = prefix("GET LBA STATUS data", bytes)?;
        let listed = usize::try_from(header.data_len.get()).unwrap_or(usize::MAX).saturating_sub(4);
        let rest = &rest[..rest.len().min(listed)];
        let extents = rest.chunks_exact(size_of::<Descriptor>()).filter_map(|chunk| {
            let descriptor = Descriptor::read_from_bytes(chunk).ok()?;
            let status = ProvisioningStatus(descriptor.status & 0x0f);
            Some(LbaExtent { lba: descriptor.lba.get(), block_count: descriptor.block_count.get(), status })
        });
        Ok(Self { extents: extents.collect() })
    }
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Header {
    data_len: U32,
    reserved: [u8; 4],
}
const _: () = assert!(size_of::<Header>() == 8);

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Descriptor {
    lba: U64,
    block_count: U32,
    status: u8,
    reserved: [u8; 3],
}
const _: () = assert!(size_of::<Descriptor>() == 16);
