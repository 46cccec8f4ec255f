//! Disks that VSS has for itself alone, so that nobody sees them change: step 3.2 of section 4(g).

use std::time::Duration;

use lunshadow_vss::DeviceName;

use crate::platform::PlatformError;
use crate::service::Service;
use crate::timeline::Phase;

/// For how long VSS tries again while another program has a disk open (section 7).
const PATIENCE: Duration = Duration::from_secs(5);

/// The disks. They are let go when this is dropped.
pub(crate) struct ExclusiveDisks<'a> {
    service: &'a Service,
    devices: Vec<DeviceName>,
}

impl<'a> ExclusiveDisks<'a> {
    /// Takes all of them or none.
    ///
    /// # Errors
    /// What the first disk that is not to be had failed with.
    pub(crate) fn open<'b>(
        service: &'a Service,
        devices: impl Iterator<Item = &'b DeviceName>,
    ) -> Result<Self, (DeviceName, PlatformError)> {
        let mut disks = Self { service, devices: Vec::new() };
        for device in devices {
            let open = || service.platform.open_exclusively(device, PATIENCE);
            if let Err(error) = service.recorder.phase(Phase::OpenExclusively, open) {
                tracing::error!(%device, %error, "LUN resync cannot get a handle of its destination");
                return Err((device.clone(), error));
            }
            disks.devices.push(device.clone());
        }
        Ok(disks)
    }
}

impl Drop for ExclusiveDisks<'_> {
    fn drop(&mut self) {
        self.devices.iter().for_each(|device| self.service.platform.close_exclusive(device));
    }
}
