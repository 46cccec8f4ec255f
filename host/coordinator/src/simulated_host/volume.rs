//! How the simulated host describes LUNs and names volumes.

use std::collections::BTreeMap;

use lunshadow_scsi::vpd::DeviceIdentification;
use lunshadow_scsi::{DeviceType, PeripheralQualifier, StandardInquiry};
use lunshadow_vss::{BusType, DeviceName, DiskSignature, LUN_INFORMATION_VERSION, LunInformation, StorageIdentifier};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::AttachedLun;
use crate::disk::{DiskLayout, FileSystemKind, Partition, PartitionTable};
use crate::platform::{DiskExtent, VolumeName};

/// A volume of the simulated host.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HostVolume {
    /// Its name.
    pub name: VolumeName,
    /// The disk that it lies on. This host has no volumes that span disks.
    pub device: DeviceName,
    /// [`Volume::index`](crate::disk::Volume::index).
    pub index: u32,
    /// Where it lies on the disk.
    pub extent: DiskExtent,
    /// Its file system.
    pub file_system: FileSystemKind,
}

/// Whether there is a disk behind what answered.
pub(super) fn is_disk(inquiry: &StandardInquiry) -> bool {
    inquiry.peripheral.device_type == DeviceType::DISK && inquiry.peripheral.qualifier == PeripheralQualifier::CONNECTED
}

/// What Windows makes of INQUIRY data and the pages 0x80 and 0x83 (section 5.5 of the contract), without the disk's signature.
pub(super) fn lun_information(lun: &AttachedLun) -> LunInformation {
    let AttachedLun { inquiry, serial_number, identification, .. } = lun;
    let text = |field: &str| (!field.is_empty()).then(|| field.to_owned());
    LunInformation {
        version: LUN_INFORMATION_VERSION,
        device_type: inquiry.peripheral.device_type.0,
        device_type_modifier: 0,
        command_queueing: inquiry.command_queuing,
        bus_type: BusType::ISCSI,
        vendor_id: text(&inquiry.vendor),
        product_id: text(&inquiry.product),
        product_revision: text(&inquiry.revision),
        serial_number: serial_number.as_deref().and_then(text),
        disk_signature: DiskSignature::default(),
        descriptor_version: 1,
        identifiers: identifiers(identification),
        interconnects: Vec::new(),
    }
}

/// Identifiers have no association in VSS's structure, so only those of the LUN itself belong there (section 3.1).
fn identifiers(identification: &DeviceIdentification) -> Vec<StorageIdentifier> {
    let of_lun = identification.of_lun();
    of_lun
        .map(|of| StorageIdentifier { code_set: of.code_set.0.into(), kind: of.kind.0.into(), bytes: of.bytes.clone() })
        .collect()
}

/// The signature of a disk.
pub(super) fn disk_signature(layout: &DiskLayout) -> DiskSignature {
    DiskSignature(layout.table.signature_guid())
}

/// The ids of the partitions of a GPT disk, by their numbers.
pub(super) fn partition_ids(layout: &DiskLayout) -> BTreeMap<u32, Uuid> {
    let id = |volume: &crate::disk::Volume| match volume.partition {
        Partition::Gpt { partition_guid, .. } => Some((volume.index, partition_guid)),
        Partition::Mbr { .. } | Partition::WholeDisk => None,
    };
    layout.volumes.iter().filter_map(id).collect()
}

/// The volumes of a disk. One without any known structure is one raw volume, so that a set can have it.
pub(super) fn volumes_of(device: &DeviceName, lun: &LunInformation, layout: &DiskLayout) -> Vec<HostVolume> {
    let volume = |index, offset_bytes, len_bytes, file_system| HostVolume {
        name: volume_name(lun, offset_bytes),
        device: device.clone(),
        index,
        extent: DiskExtent { offset_bytes, len_bytes },
        file_system,
    };
    if layout.volumes.is_empty() && layout.table == PartitionTable::None {
        return vec![volume(0, 0, layout.len_bytes, FileSystemKind::Unknown)];
    }
    let of_table = |it: &crate::disk::Volume| volume(it.index, it.offset_bytes, it.len_bytes, it.file_system);
    layout.volumes.iter().map(of_table).collect()
}

/// A volume's name: the same whenever the LUN is seen, and another one for the same volume on a copy of the LUN.
fn volume_name(lun: &LunInformation, offset_bytes: u64) -> VolumeName {
    let mut digest = Sha256::new();
    for identifier in &lun.identifiers {
        digest.update(identifier.kind.to_be_bytes());
        digest.update(identifier.bytes.len().to_be_bytes());
        digest.update(&identifier.bytes);
    }
    digest.update(lun.serial_number.as_deref().unwrap_or_default());
    digest.update(offset_bytes.to_be_bytes());
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest.finalize()[..16]);
    let guid = uuid::Builder::from_custom_bytes(bytes).into_uuid();
    VolumeName(format!(r"\\?\Volume{}\", Uuid::braced(guid)))
}
