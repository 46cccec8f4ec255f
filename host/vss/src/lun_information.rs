//! `VDS_LUN_INFORMATION`: what VSS and a provider tell each other about a LUN.

use std::collections::{BTreeMap, BTreeSet};
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

impl StorageIdentifier {
    /// T10 vendor identification, in [`kind`](Self::kind).
    pub const VENDOR_ID: u32 = 1;
    /// EUI-64.
    pub const EUI64: u32 = 2;
    /// NAA.
    pub const FCPH_NAME: u32 = 3;
    /// SCSI name string.
    pub const SCSI_NAME_STRING: u32 = 8;

    /// Whether VSS takes identifiers of this kind for unique (section 3.1).
    #[must_use]
    pub const fn is_unique(&self) -> bool {
        matches!(self.kind, Self::VENDOR_ID | Self::EUI64 | Self::FCPH_NAME | Self::SCSI_NAME_STRING)
    }
}

/// How surely two descriptions are of one LUN (section 5.3), the surest first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum MatchLevel {
    /// Every field that counts is equal, byte for byte. Bus type, disk signature, interconnects and versions do not count.
    Strict,
    /// A unique identifier of page 0x83 is the same in both, and no kind of them contradicts.
    Page83,
    /// Serial number, vendor and product are equal.
    Page80,
}

impl LunInformation {
    /// The surest level on which `self` and `other` describe one LUN, if there is any.
    #[must_use]
    pub fn match_level(&self, other: &Self) -> Option<MatchLevel> {
        if self.matches_strictly(other) {
            Some(MatchLevel::Strict)
        } else if self.matches_by_page83(other) {
            Some(MatchLevel::Page83)
        } else {
            self.matches_by_page80(other).then_some(MatchLevel::Page80)
        }
    }

    /// [`MatchLevel::Strict`]. The order of identifiers does not count.
    #[must_use]
    pub fn matches_strictly(&self, other: &Self) -> bool {
        let fields = |lun: &Self| (lun.device_type, lun.device_type_modifier, lun.command_queueing);
        fields(self) == fields(other)
            && text(&self.vendor_id) == text(&other.vendor_id)
            && text(&self.product_id) == text(&other.product_id)
            && text(&self.product_revision) == text(&other.product_revision)
            && text(&self.serial_number) == text(&other.serial_number)
            && self.identifiers.iter().collect::<BTreeSet<_>>() == other.identifiers.iter().collect()
    }

    /// [`MatchLevel::Page83`].
    #[must_use]
    pub fn matches_by_page83(&self, other: &Self) -> bool {
        let unique = |lun: &Self| -> BTreeMap<u32, BTreeSet<StorageIdentifier>> {
            let mut by_kind = BTreeMap::new();
            for identifier in lun.identifiers.iter().filter(|identifier| identifier.is_unique()) {
                by_kind.entry(identifier.kind).or_insert_with(BTreeSet::new).insert(identifier.clone());
            }
            by_kind
        };
        let theirs = unique(other);
        let mut in_both =
            unique(self).into_iter().filter_map(|(kind, ours)| Some((ours, theirs.get(&kind)?))).peekable();
        in_both.peek().is_some() && in_both.all(|(ours, theirs)| !ours.is_disjoint(theirs))
    }

    /// [`MatchLevel::Page80`]. An absent serial number matches nothing.
    #[must_use]
    pub fn matches_by_page80(&self, other: &Self) -> bool {
        !text(&self.serial_number).is_empty()
            && text(&self.serial_number) == text(&other.serial_number)
            && text(&self.vendor_id) == text(&other.vendor_id)
            && text(&self.product_id) == text(&other.product_id)
    }
}

/// An absent string and an empty one are the same.
fn text(field: &Option<String>) -> &str {
    field.as_deref().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lun() -> LunInformation {
        let identifier = |code_set, kind, bytes: &[u8]| StorageIdentifier { code_set, kind, bytes: bytes.to_vec() };
        LunInformation {
            version: LUN_INFORMATION_VERSION,
            device_type: 0,
            device_type_modifier: 0,
            command_queueing: true,
            bus_type: BusType::SCSI,
            vendor_id: Some("ACME".into()),
            product_id: Some("DISK".into()),
            product_revision: Some("1".into()),
            serial_number: Some("0815".into()),
            disk_signature: DiskSignature::default(),
            descriptor_version: 1,
            identifiers: vec![
                identifier(1, StorageIdentifier::FCPH_NAME, &[0x30, 1]),
                identifier(2, StorageIdentifier::VENDOR_ID, b"ACME    0815"),
            ],
            interconnects: Vec::new(),
        }
    }

    fn level(change: impl FnOnce(&mut LunInformation)) -> Option<MatchLevel> {
        let mut other = lun();
        change(&mut other);
        assert_eq!(lun().match_level(&other), other.match_level(&lun()), "the comparison is symmetric");
        lun().match_level(&other)
    }

    #[test]
    fn what_hosts_change_does_not_count() {
        assert_eq!(level(|_| ()), Some(MatchLevel::Strict));
        assert_eq!(level(|lun| lun.identifiers.reverse()), Some(MatchLevel::Strict));
        assert_eq!(
            level(|lun| {
                lun.bus_type = BusType::ISCSI;
                lun.disk_signature = DiskSignature(Uuid::from_u128(7));
                lun.interconnects.push(Interconnect { address_type: 0, port: vec![1], address: vec![2] });
            }),
            Some(MatchLevel::Strict)
        );
    }

    #[test]
    fn every_field_of_the_strict_level_counts() {
        let changes: [fn(&mut LunInformation); 8] = [
            |lun| lun.vendor_id = None,
            |lun| lun.product_id = Some("DISK ".into()),
            |lun| lun.product_revision = Some("2".into()),
            |lun| lun.serial_number = Some("0816".into()),
            |lun| lun.device_type = 5,
            |lun| lun.device_type_modifier = 1,
            |lun| lun.command_queueing = false,
            |lun| drop(lun.identifiers.pop()),
        ];
        for change in changes {
            assert_eq!(level(change), Some(MatchLevel::Page83));
        }
    }

    #[test]
    fn an_absent_string_is_an_empty_one() {
        let (mut absent, mut empty) = (lun(), lun());
        absent.product_revision = None;
        empty.product_revision = Some(String::new());
        assert!(absent.matches_strictly(&empty));
    }

    #[test]
    fn a_contradicting_identifier_rules_page_83_out() {
        assert_eq!(level(|lun| lun.identifiers[0].bytes[1] = 2), Some(MatchLevel::Page80));
        assert_eq!(level(|lun| drop(lun.identifiers.remove(0))), Some(MatchLevel::Page83));
    }

    #[test]
    fn identifiers_that_are_not_unique_prove_nothing() {
        let (mut one, mut other) = (lun(), lun());
        for lun in [&mut one, &mut other] {
            lun.identifiers = vec![StorageIdentifier { code_set: 1, kind: 5, bytes: vec![0, 0, 0, 1] }];
        }
        assert!(!one.matches_by_page83(&other));
    }

    #[test]
    fn without_a_serial_number_page_80_matches_nothing() {
        let (mut one, mut other) = (lun(), lun());
        for lun in [&mut one, &mut other] {
            lun.serial_number = None;
        }
        assert!(!one.matches_by_page80(&other));
        assert_eq!(
            level(|lun| {
                lun.identifiers.clear();
                lun.serial_number = Some("4711".into());
            }),
            None
        );
    }
}
