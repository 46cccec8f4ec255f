//! LOG SENSE: how much room a thin LUN takes, and how much there is.

use lunshadow_lun::{LOGICAL_BLOCK_BYTES, LunHandle, LunUsage};
use lunshadow_scsi::{LogPage, ProvisioningParameter, ResourceScope, Sense, Threshold, log_page};

use super::invalid_field;
use super::unit::Disk;

/// THRESHOLD EXPONENT: counts of room are in units of 2^11 blocks, which are 1 MiB. 32 bits of them are 4 PiB.
pub(super) const THRESHOLD_EXPONENT: u8 = 11;
const UNIT_BYTES: u64 = (LOGICAL_BLOCK_BYTES as u64) << THRESHOLD_EXPONENT;

/// The whole data, before it is cut to the allocation length.
pub(super) fn log_sense(disk: &Disk, (page, subpage): (u8, u8), parameter: u16) -> Result<Vec<u8>, Sense> {
    let usage = disk.lun.usage();
    let pages = pages(usage.is_some());
    let body = match (page, subpage) {
        (log_page::SUPPORTED_PAGES, 0) => pages.to_vec(),
        // Pairs of page and subpage.
        (log_page::SUPPORTED_PAGES, log_page::ALL_SUBPAGES) => {
            let own = [[log_page::SUPPORTED_PAGES, 0], [log_page::SUPPORTED_PAGES, log_page::ALL_SUBPAGES]];
            let others = pages.iter().skip(1).map(|page| [*page, 0]);
            own.into_iter().chain(others).flatten().collect()
        }
        (log_page::LOGICAL_BLOCK_PROVISIONING, 0) => {
            let usage = usage.ok_or_else(|| invalid_field(2))?;
            // PARAMETER POINTER: the parameters from this one on.
            let parameters: Vec<_> = provisioning(usage).into_iter().filter(|found| found.code >= parameter).collect();
            if parameters.is_empty() {
                return Err(invalid_field(5));
            }
            ProvisioningParameter::list_to_bytes(&parameters)
        }
        (log_page::SUPPORTED_PAGES | log_page::LOGICAL_BLOCK_PROVISIONING, _) => return Err(invalid_field(3)),
        _ => return Err(invalid_field(2)),
    };
    Ok(LogPage { page, subpage, body }.to_bytes())
}

/// In ascending order.
const fn pages(tells_usage: bool) -> &'static [u8] {
    if tells_usage {
        &[log_page::SUPPORTED_PAGES, log_page::LOGICAL_BLOCK_PROVISIONING]
    } else {
        &[log_page::SUPPORTED_PAGES]
    }
}

/// The threshold at which initiators get THIN PROVISIONING SOFT THRESHOLD REACHED, where storage tells.
pub(super) fn soft_threshold(lun: &LunHandle) -> Option<Threshold> {
    let units = lun.usage()?.low_bytes / UNIT_BYTES;
    Some(Threshold {
        enabled: true,
        // Counts; armed while the resource gets less.
        kind: 0,
        arming: 0,
        resource: u8::try_from(ProvisioningParameter::AVAILABLE).expect("0001h"),
        count: u32::try_from(units).unwrap_or(u32::MAX),
    })
}

/// What is available is rounded down and what is used up, so that neither sounds better than it is.
fn provisioning(usage: LunUsage) -> [ProvisioningParameter; 2] {
    let count = |units: u64| u32::try_from(units).unwrap_or(u32::MAX);
    [
        ProvisioningParameter {
            code: ProvisioningParameter::AVAILABLE,
            resource_count: count(usage.available_bytes / UNIT_BYTES),
            scope: ResourceScope::SHARED,
        },
        ProvisioningParameter {
            code: ProvisioningParameter::USED,
            resource_count: count(usage.mapped_bytes.div_ceil(UNIT_BYTES)),
            scope: ResourceScope::DEDICATED,
        },
    ]
}
