//! INQUIRY: standard data and the VPD pages.

use lunshadow_control::{Association, CodeSet, Designator, DesignatorKind};
use lunshadow_lun::{LunHandle, PRODUCT, REVISION, VENDOR, identity_of};
use lunshadow_scsi::vpd::{
    BlockDeviceCharacteristics, BlockLimits, DeviceIdentification, ExtendedInquiry, LogicalBlockProvisioning,
    ProvisioningType, SupportedPages, UnitSerialNumber, page,
};
use lunshadow_scsi::{Sense, StandardInquiry, version_descriptor};

use super::atomic::{COMPARE_AND_WRITE_BLOCKS_MAX, atomic_limits};
use super::extended_copy::third_party_copy;
use super::log::THRESHOLD_EXPONENT;
use super::medium::TRANSFER_BLOCKS_MAX;
use super::unit::Unit;
use super::unmap::{UNMAP_BLOCKS_MAX, UNMAP_DESCRIPTORS_MAX, UNMAP_GRANULARITY_BLOCKS};
use super::write_same::WRITE_SAME_BLOCKS_MAX;
use super::{PortalGroup, TargetPorts, invalid_field};

/// The target's ports, and the one that a command came through.
type Through<'a> = (&'a TargetPorts, PortalGroup);

/// The whole data, before it is cut to the allocation length.
pub(super) fn inquiry(unit: &Unit, through: Through<'_>, page: Option<u8>) -> Result<Vec<u8>, Sense> {
    let Some(page) = page else { return Ok(standard(unit, through.0).to_bytes()) };
    let peripheral = unit.peripheral();
    // Only pages of the list are answered, so that the list is right.
    if !pages(unit).contains(&page) {
        return Err(invalid_field(2));
    }
    let bytes = match (page, unit) {
        (page::SUPPORTED_PAGES, _) => SupportedPages { pages: pages(unit).to_vec() }.to_bytes(peripheral),
        (page::DEVICE_IDENTIFICATION, _) => identification(unit, through).to_bytes(peripheral),
        (page::UNIT_SERIAL_NUMBER, Unit::Disk(disk)) => {
            UnitSerialNumber { serial: identity_of(disk.lun.id()).serial }.to_bytes(peripheral)
        }
        (page::EXTENDED_INQUIRY, Unit::Disk(_)) => EXTENDED.to_bytes(peripheral),
        (page::THIRD_PARTY_COPY, Unit::Disk(_)) => third_party_copy().to_bytes(peripheral),
        (page::BLOCK_LIMITS, Unit::Disk(disk)) => block_limits(&disk.lun).to_bytes(peripheral),
        (page::BLOCK_DEVICE_CHARACTERISTICS, Unit::Disk(_)) => CHARACTERISTICS.to_bytes(peripheral),
        (page::LOGICAL_BLOCK_PROVISIONING, Unit::Disk(_)) => PROVISIONING.to_bytes(peripheral),
        _ => return Err(invalid_field(2)),
    };
    Ok(bytes)
}

/// In strictly ascending order: Windows ignores the pages of SBC otherwise.
const fn pages(unit: &Unit) -> &'static [u8] {
    match unit {
        Unit::Disk(_) => &[
            page::SUPPORTED_PAGES,
            page::UNIT_SERIAL_NUMBER,
            page::DEVICE_IDENTIFICATION,
            page::EXTENDED_INQUIRY,
            page::THIRD_PARTY_COPY,
            page::BLOCK_LIMITS,
            page::BLOCK_DEVICE_CHARACTERISTICS,
            page::LOGICAL_BLOCK_PROVISIONING,
        ],
        Unit::Controller => &[page::SUPPORTED_PAGES, page::DEVICE_IDENTIFICATION],
        Unit::Absent => &[page::SUPPORTED_PAGES],
    }
}

const EXTENDED: ExtendedInquiry =
    ExtendedInquiry { task_attributes: (true, true, true), volatile_cache: true, nexus_wide_clear: true };

fn block_limits(lun: &LunHandle) -> BlockLimits {
    BlockLimits {
        write_same_nonzero: true,
        compare_and_write_max: COMPARE_AND_WRITE_BLOCKS_MAX,
        // A physical block.
        transfer_granularity: 8,
        transfer_max: TRANSFER_BLOCKS_MAX,
        transfer_optimal: 0,
        prefetch_max: 0,
        unmap_blocks_max: UNMAP_BLOCKS_MAX,
        unmap_descriptors_max: UNMAP_DESCRIPTORS_MAX,
        unmap_granularity: UNMAP_GRANULARITY_BLOCKS,
        unmap_alignment: Some(0),
        write_same_max: u64::from(WRITE_SAME_BLOCKS_MAX),
        atomic: atomic_limits(lun),
    }
}

const CHARACTERISTICS: BlockDeviceCharacteristics = BlockDeviceCharacteristics {
    rotation_rate: BlockDeviceCharacteristics::SOLID_STATE,
    form_factor: 0,
    // What was erased reads as zeros.
    after_block_erase: 1,
};

const PROVISIONING: LogicalBlockProvisioning = LogicalBlockProvisioning {
    threshold_exponent: THRESHOLD_EXPONENT,
    unmap: true,
    write_same: (true, true),
    unmapped_reads_zeros: true,
    anchored: false,
    provisioning: ProvisioningType::THIN,
};

fn standard(unit: &Unit, ports: &TargetPorts) -> StandardInquiry {
    let (product, standard) = match unit {
        Unit::Disk(_) => (PRODUCT, Some(version_descriptor::SBC_3)),
        Unit::Controller | Unit::Absent => ("ARRAY CONTROLLER", None),
    };
    let common = [version_descriptor::SAM_5, version_descriptor::ISCSI, version_descriptor::SPC_4];
    StandardInquiry {
        peripheral: unit.peripheral(),
        removable: matches!(unit, Unit::Disk(disk) if disk.lun.presentation().removable),
        version: StandardInquiry::SPC_4,
        target_port_groups: match unit {
            // Explicit and implicit: states change when initiators set them, and when an administrator does.
            Unit::Disk(_) if ports.are_several() => 3,
            // Implicit: the states are reported, and no initiator sets them.
            Unit::Disk(_) | Unit::Controller => 1,
            Unit::Absent => 0,
        },
        third_party_copy: matches!(unit, Unit::Disk(_)),
        multi_port: ports.are_several(),
        command_queuing: true,
        vendor: VENDOR.to_owned(),
        product: product.to_owned(),
        revision: REVISION.to_owned(),
        version_descriptors: common.into_iter().chain(standard).collect(),
    }
}

/// The LUN's own designators first, then those of the port that is asked.
fn identification(unit: &Unit, (ports, group): Through<'_>) -> DeviceIdentification {
    let of_lun = |lun: &LunHandle| identity_of(lun.id()).designators;
    let mut designators = if let Unit::Disk(disk) = unit { of_lun(&disk.lun) } else { Vec::new() };
    let of_port = |code_set, kind, bytes| Designator { code_set, association: Association::TARGET_PORT, kind, bytes };
    let number = || u32::from(group.tag()).to_be_bytes().to_vec();
    designators.extend([
        of_port(CodeSet::BINARY, DesignatorKind::RELATIVE_TARGET_PORT, number()),
        of_port(CodeSet::BINARY, DesignatorKind::TARGET_PORT_GROUP, number()),
        of_port(CodeSet::UTF8, DesignatorKind::SCSI_NAME, ports.name_of(group).into_bytes()),
    ]);
    DeviceIdentification { designators }
}
