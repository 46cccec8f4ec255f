//! START STOP UNIT and PREVENT ALLOW MEDIUM REMOVAL.

use std::sync::Arc;

use lunshadow_scsi::{AdditionalSense, Power, Sense};

use super::invalid_field;
use super::medium::{Kind, Operation, flush};
use super::nexus::{Nexus, Nexuses};
use super::unit::Disk;

/// What to do with the medium of a removable unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Move {
    Eject,
    Load,
}

impl Operation {
    /// The LUN may be shared, so stopping it for one host must not stop it for the others. All that a stop promises, that
    /// nothing is lost afterwards, holds. Only who ejects a medium takes it from all.
    pub(super) fn start_stop(
        disk: Disk,
        power: Power,
        (nexus, nexuses): (&Arc<Nexus>, &Arc<Nexuses>),
    ) -> Result<Self, Sense> {
        let (nexus, nexuses) = (nexus.clone(), nexuses.clone());
        let kind = match power {
            Power::Start => {
                disk.loaded()?;
                Kind::Nothing
            }
            Power::Stop => Kind::Flush,
            Power::Eject if disk.lun.presentation().removable => Kind::Tray { to: Move::Eject, nexus, nexuses },
            Power::Load if disk.lun.presentation().removable => Kind::Tray { to: Move::Load, nexus, nexuses },
            // The unit is as ready in all of them as in ACTIVE, and there are no timers. START and LOEJ do not count then.
            Power::Condition(_) => Kind::Nothing,
            Power::Eject | Power::Load => return Err(invalid_field(4)),
        };
        Ok(Self { disk, kind })
    }
}

pub(super) async fn move_medium(disk: &Disk, to: Move, nexus: &Nexus, nexuses: &Nexuses) -> Result<(), Sense> {
    match to {
        Move::Eject => {
            disk.state.tray.move_to(true)?;
            flush(&disk.lun).await
        }
        Move::Load => {
            if disk.state.tray.move_to(false)? {
                // Whoever loads it knows (SPC-4 5.13).
                nexuses.post(Some(disk.id()), AdditionalSense::MEDIUM_MAY_HAVE_CHANGED, Some(nexus.id()));
            }
            Ok(())
        }
    }
}
