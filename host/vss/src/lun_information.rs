//! `VDS_LUN_INFORMATION`: what VSS and a provider tell each other about a LUN.

use std::fmt;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// `VER_VDS_LUN_INFORMATION`, the only version there is.
pub const LUN_INFORMATION_VERSION: u32 = 1;

/// The name of a disk on a Windows host. Its format is undocumented and it goes stale after rescans: for logging only.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DeviceName(pub String);

impl fmt::Display for DeviceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// `VDS_STORAGE_BUS_TYPE`. Any value may come.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BusType(pub u32);

impl BusType {
    /// SCSI, what a provider normally reports.
    pub const SCSI: Self = Self(1);
    /// iSCSI, what a host normally sees.
    pub const ISCSI: Self = Self(9);
}

/// The signature of an MBR disk in the first four bytes (as they stand on the disk), or the disk GUID of a GPT disk; nil if unknown.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DiskSignature(pub Uuid);

/// `VDS_STORAGE_IDENTIFIER`: a page-0x83 designator that is associated with the LUN. Code set and type have the numbers of SPC.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct StorageIdentifier {
    /// `VDS_STORAGE_IDENTIFIER_CODE_SET`.
    pub code_set: u32,
    /// `VDS_STORAGE_IDENTIFIER_TYPE`.
    pub kind: u32,
    /// The identifier.
    pub bytes: Vec<u8>,
}

/// `VDS_INTERCONNECT`: a way to the LUN. A provider leaves these alone.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Interconnect {
    /// `VDS_INTERCONNECT_ADDRESS_TYPE`.
    pub address_type: u32,
    /// The port.
    pub port: Vec<u8>,
    /// The address on the port.
    pub address: Vec<u8>,
}

/// `VDS_LUN_INFORMATION`, section 3.4 of the contract. Strings are the bytes of 8-bit strings; an absent string is `None`, and an
/// empty one means the same.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct LunInformation {
    /// Always [`LUN_INFORMATION_VERSION`].
    pub version: u32,
    /// SCSI peripheral device type; 0 for disks.
    pub device_type: u8,
    /// SCSI-2 device type modifier; 0 if none.
    pub device_type_modifier: u8,
    /// Whether the LUN takes more than one command at a time.
    pub command_queueing: bool,
    /// How the host reaches it; ignored in comparisons.
    pub bus_type: BusType,
    /// INQUIRY bytes 8 to 15.
    pub vendor_id: Option<String>,
    /// INQUIRY bytes 16 to 31.
    pub product_id: Option<String>,
    /// INQUIRY bytes 32 to 35.
    pub product_revision: Option<String>,
    /// VPD page 0x80.
    pub serial_number: Option<String>,
    /// Given by VSS for sources; nil in everything that a provider answers; ignored in comparisons.
    pub disk_signature: DiskSignature,
    /// `m_deviceIdDescriptor.m_version`: not to be relied on, but kept equal between `GetTargetLuns` and `FillInLunInfo`.
    pub descriptor_version: u32,
    /// VPD page 0x83, the LUN-associated ones.
    pub identifiers: Vec<StorageIdentifier>,
    /// Ways to the LUN; ignored in comparisons.
    pub interconnects: Vec<Interconnect>,
}
