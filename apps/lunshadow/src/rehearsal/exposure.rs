//! How a shadow copy is exposed: as the LUN that it is.

use std::error::Error;
use std::sync::Arc;

use lunshadow_control::InitiatorName;
use lunshadow_coordinator::{ShadowLun, SimulatedHost, SnapshotProperties};
use lunshadow_diskshadow::{Exposer, Place};
use lunshadow_vss::SnapshotId;

/// Says where the LUN of a shadow copy can be attached.
pub(super) struct LunExposer {
    pub(super) windows: Arc<SimulatedHost>,
    pub(super) portal: String,
    pub(super) target: String,
    pub(super) initiator: InitiatorName,
}

impl LunExposer {
    fn lun(&self, lun: &ShadowLun) -> Result<String, Box<dyn Error + Send + Sync>> {
        let number = self.windows.lun_of(&lun.device).ok_or_else(|| format!("its disk {} is gone", lun.device))?;
        let offsets: Vec<_> = lun.extents.iter().map(|extent| extent.offset_bytes.to_string()).collect();
        Ok(format!("iscsi://{}/{}/{number} from byte {}", self.portal, self.target, offsets.join(", ")))
    }
}

impl Exposer for LunExposer {
    fn expose(&mut self, copy: &SnapshotProperties, place: &Place) -> Result<String, Box<dyn Error + Send + Sync>> {
        if let Place::Share(name) = place {
            return Err(
                format!("a simulated host shares nothing, so not {name}; give a drive letter or a folder").into()
            );
        }
        let luns = copy.luns.iter().map(|lun| self.lun(lun)).collect::<Result<Vec<_>, _>>()?;
        let initiator = &self.initiator;
        Ok(format!(
            "{} stands for {place}; a simulated host mounts nothing: attach {}, as the initiator {initiator}",
            copy.snapshot,
            luns.join(" and ")
        ))
    }

    fn unexpose(&mut self, _copy: SnapshotId) -> Result<(), Box<dyn Error + Send + Sync>> {
        // Nothing is attached by this program.
        Ok(())
    }
}
