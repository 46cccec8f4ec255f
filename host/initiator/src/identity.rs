//! Who a disk is.

use lunshadow_control::{Association, Designator, LunQuery};
use lunshadow_scsi::StandardInquiry;

/// What a disk says about itself in standard INQUIRY data and in the VPD pages 80h and 83h.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskIdentity {
    /// Standard INQUIRY data.
    pub inquiry: StandardInquiry,
    /// The unit serial number, if the disk has page 80h.
    pub serial: Option<String>,
    /// All designators of page 83h in the order of the page, those of ports and of the target among them; none if the disk
    /// does not have the page.
    pub designators: Vec<Designator>,
}

impl DiskIdentity {
    /// The designators that name the logical unit itself.
    pub fn lun_designators(&self) -> impl Iterator<Item = &Designator> {
        self.designators.iter().filter(|designator| designator.association == Association::LUN)
    }

    /// The question whether the array knows this disk.
    #[must_use]
    pub fn to_query(&self) -> LunQuery {
        LunQuery { serial: self.serial.clone(), designators: self.lun_designators().cloned().collect() }
    }
}
