//! Where the LUNs of a shadow copy can be attached whose files are not mounted.

use std::error::Error;
use std::fmt::Display;
use std::sync::Arc;

use anyhow::Context as _;
use lunshadow_control::InitiatorName;
use lunshadow_coordinator::{ShadowLun, SimulatedHost, SnapshotProperties};
use lunshadow_diskshadow::{Exposer, Place};
use lunshadow_vss::SnapshotId;

use crate::host::Portal;

/// The LUNs that a host sees.
pub struct ExposedLuns {
    /// The host.
    pub windows: Arc<SimulatedHost>,
    pub(crate) portal: Portal,
    pub(crate) initiator: InitiatorName,
}

impl ExposedLuns {
    /// Says where the LUNs of a shadow copy can be attached, and why its files are not mounted.
    ///
    /// # Errors
    /// If one of them is gone.
    pub fn of(&self, copy: &SnapshotProperties, place: &Place, reason: impl Display) -> anyhow::Result<String> {
        let luns = copy.luns.iter().map(|lun| self.lun(lun)).collect::<anyhow::Result<Vec<_>>>()?;
        let (luns, initiator) = (luns.join(" and "), &self.initiator);
        Ok(format!(
            "{} stands for {place} and is not mounted, because {reason}; attach {luns}, as the initiator {initiator}",
            copy.snapshot
        ))
    }

    /// Says why nothing is shared.
    #[must_use]
    pub fn no_share(name: &str) -> String {
        format!("a simulated host shares nothing, so not {name}; give a drive letter or a folder")
    }

    fn lun(&self, lun: &ShadowLun) -> anyhow::Result<String> {
        let Portal { address, target } = &self.portal;
        let number = self.windows.lun_of(&lun.device).with_context(|| format!("its disk {} is gone", lun.device))?;
        let offsets: Vec<_> = lun.extents.iter().map(|extent| extent.offset_bytes.to_string()).collect();
        Ok(format!("iscsi://{address}/{target}/{number} from byte {}", offsets.join(", ")))
    }
}

/// Says which LUNs to attach, for a program that mounts nothing.
pub struct LunExposer {
    /// The LUNs.
    pub luns: ExposedLuns,
    /// Why it mounts nothing.
    pub reason: &'static str,
}

impl Exposer for LunExposer {
    fn expose(&mut self, copy: &SnapshotProperties, place: &Place) -> Result<String, Box<dyn Error + Send + Sync>> {
        match place {
            Place::Share(name) => Err(ExposedLuns::no_share(name).into()),
            Place::Drive(_) | Place::MountPoint(_) => Ok(self.luns.of(copy, place, self.reason)?),
        }
    }

    fn unexpose(&mut self, _copy: SnapshotId) -> Result<(), Box<dyn Error + Send + Sync>> {
        Ok(())
    }
}
