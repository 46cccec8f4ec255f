//! Standard INQUIRY data: what kind of thing answers.

use zerocopy::big_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::response::{ResponseError, text_field, text_of};

/// SPC-4 table 140, PERIPHERAL DEVICE TYPE. Types that are not named here are kept as they came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct DeviceType(pub u8);

impl DeviceType {
    /// Direct access block device: a disk.
    pub const DISK: Self = Self(0x00);
    /// Storage array controller device.
    pub const ARRAY_CONTROLLER: Self = Self(0x0c);
    /// Unknown, or no device.
    pub const NONE: Self = Self(0x1f);
}

/// SPC-4 table 139, PERIPHERAL QUALIFIER: whether there is a device behind the LUN.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PeripheralQualifier(pub u8);

impl PeripheralQualifier {
    /// There is, or it cannot be told.
    pub const CONNECTED: Self = Self(0);
    /// There could be one, but there is none now.
    pub const NOT_CONNECTED: Self = Self(1);
    /// There cannot be one.
    pub const NOT_SUPPORTED: Self = Self(3);
}

/// The first byte of standard INQUIRY data and of every VPD page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Peripheral {
    /// Whether there is a device.
    pub qualifier: PeripheralQualifier,
    /// Which kind of device.
    pub device_type: DeviceType,
}

impl Peripheral {
    /// A disk that is there.
    pub const DISK: Self = Self { qualifier: PeripheralQualifier::CONNECTED, device_type: DeviceType::DISK };
    /// The controller of an array that is there.
    pub const ARRAY_CONTROLLER: Self =
        Self { qualifier: PeripheralQualifier::CONNECTED, device_type: DeviceType::ARRAY_CONTROLLER };
    /// What a LUN without a device says (SPC-4 6.6.2).
    pub const ABSENT: Self = Self { qualifier: PeripheralQualifier::NOT_SUPPORTED, device_type: DeviceType::NONE };

    pub(crate) const fn from_byte(byte: u8) -> Self {
        Self { qualifier: PeripheralQualifier(byte >> 5), device_type: DeviceType(byte & 0x1f) }
    }

    pub(crate) const fn byte(self) -> u8 {
        self.qualifier.0 << 5 | self.device_type.0 & 0x1f
    }
}

/// SPC-4 table 142, VERSION DESCRIPTOR values.
pub mod version_descriptor {
    /// SAM-5, no version claimed.
    pub const SAM_5: u16 = 0x00a0;
    /// SPC-4, no version claimed.
    pub const SPC_4: u16 = 0x0460;
    /// SBC-3, no version claimed.
    pub const SBC_3: u16 = 0x04c0;
    /// iSCSI, no version claimed.
    pub const ISCSI: u16 = 0x0960;
}

/// SPC-4 6.6.2, standard INQUIRY data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StandardInquiry {
    /// What is there.
    pub peripheral: Peripheral,
    /// RMB.
    pub removable: bool,
    /// VERSION: 6 is SPC-4.
    pub version: u8,
    /// TPGS: 0 none, 1 implicit, 2 explicit, 3 both.
    pub target_port_groups: u8,
    /// 3PC: there are third-party copy commands.
    pub third_party_copy: bool,
    /// MULTIP: there is more than one port.
    pub multi_port: bool,
    /// CMDQUE: several commands at a time.
    pub command_queuing: bool,
    /// T10 VENDOR IDENTIFICATION, up to 8 characters.
    pub vendor: String,
    /// PRODUCT IDENTIFICATION, up to 16 characters.
    pub product: String,
    /// PRODUCT REVISION LEVEL, up to 4 characters.
    pub revision: String,
    /// Up to eight version descriptors, without the zeros that fill the list.
    pub version_descriptors: Vec<u16>,
}

impl StandardInquiry {
    /// VERSION of a device by SPC-4.
    pub const SPC_4: u8 = 6;
    /// The length of the data in bytes.
    pub const LEN: usize = size_of::<Bytes>();

    /// The parameter data.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut version_descriptors = [U16::ZERO; 8];
        for (place, descriptor) in version_descriptors.iter_mut().zip(&self.version_descriptors) {
            *place = (*descriptor).into();
        }
        let bytes = Bytes {
            peripheral: self.peripheral.byte(),
            removable: u8::from(self.removable) << 7,
            version: self.version,
            format: RESPONSE_DATA_FORMAT,
            additional_len: u8::try_from(Self::LEN - 5).expect("96 bytes"),
            groups: (self.target_port_groups & 3) << 4 | u8::from(self.third_party_copy) << 3,
            ports: u8::from(self.multi_port) << 4,
            queuing: u8::from(self.command_queuing) << 1,
            vendor: text_field(&self.vendor),
            product: text_field(&self.product),
            revision: text_field(&self.revision),
            vendor_specific: [0; 20],
            reserved_56: [0; 2],
            version_descriptors,
            reserved_74: [0; 22],
        };
        bytes.as_bytes().to_vec()
    }

    /// Reads parameter data. What comes after the 36 bytes that every device has counts as zero where it is missing.
    ///
    /// # Errors
    /// Less than 36 bytes.
    pub fn parse(bytes: &[u8]) -> Result<Self, ResponseError> {
        if bytes.len() < MINIMUM_LEN {
            let (needed_len, len) = (MINIMUM_LEN, bytes.len());
            return Err(ResponseError::Truncated { what: "standard INQUIRY data", needed_len, len });
        }
        let mut padded = [0; Self::LEN];
        let len = bytes.len().min(Self::LEN);
        padded[..len].copy_from_slice(&bytes[..len]);
        let data = Bytes::read_from_bytes(&padded).expect("the length is that of the layout");
        Ok(Self {
            peripheral: Peripheral::from_byte(data.peripheral),
            removable: data.removable & 0x80 != 0,
            version: data.version,
            target_port_groups: data.groups >> 4 & 3,
            third_party_copy: data.groups & 0x08 != 0,
            multi_port: data.ports & 0x10 != 0,
            command_queuing: data.queuing & 0x02 != 0,
            vendor: text_of(&data.vendor),
            product: text_of(&data.product),
            revision: text_of(&data.revision),
            version_descriptors: data.version_descriptors.iter().map(|d| d.get()).filter(|d| *d != 0).collect(),
        })
    }
}

/// RESPONSE DATA FORMAT: the only one that SPC-4 has.
const RESPONSE_DATA_FORMAT: u8 = 2;
/// What SPC-4 6.6.2 wants at least.
const MINIMUM_LEN: usize = 36;

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Bytes {
    peripheral: u8,
    removable: u8,
    version: u8,
    format: u8,
    additional_len: u8,
    groups: u8,
    ports: u8,
    queuing: u8,
    vendor: [u8; 8],
    product: [u8; 16],
    revision: [u8; 4],
    vendor_specific: [u8; 20],
    reserved_56: [u8; 2],
    version_descriptors: [U16; 8],
    reserved_74: [u8; 22],
}
const _: () = assert!(size_of::<Bytes>() == 96);
