//! The adapter over TCP: our own iSCSI initiator.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use lunshadow_control::InitiatorName;
use lunshadow_initiator::{Disk, DiskError, InitiatorError, Session, UnitAttention};
use lunshadow_scsi::vpd::DeviceIdentification;
use lunshadow_scsi::{AdditionalSense, LunAddress};
use tokio::net::ToSocketAddrs;
use tokio::sync::{Mutex, mpsc};

use super::adapter::{AdapterDisk, AdapterFuture, AttachedLun, HostAdapter};

/// A unit attention comes with the answer of a command only, so an idle host asks this often.
const ASK_AGAIN: Duration = Duration::from_millis(20);

/// A session with an iSCSI target, as a host bus adapter.
pub struct IscsiAdapter {
    session: Session,
    attentions: Mutex<mpsc::UnboundedReceiver<UnitAttention>>,
    announcements: AtomicU64,
}

impl IscsiAdapter {
    /// Logs in to `target_name` at a portal.
    ///
    /// # Errors
    /// If the target refuses or cannot be reached.
    pub async fn log_in(
        portal: impl ToSocketAddrs,
        initiator_name: &InitiatorName,
        target_name: &str,
    ) -> Result<Self, InitiatorError> {
        let session = Session::login(portal, initiator_name, target_name).await?;
        let attentions = Mutex::new(session.unit_attentions());
        Ok(Self { session, attentions, announcements: AtomicU64::new(0) })
    }

    /// Logs out.
    ///
    /// # Errors
    /// If the connection is lost.
    pub async fn log_out(&self) -> Result<(), InitiatorError> {
        self.session.logout().await
    }

    /// How often the target has announced so far that its LUNs have changed.
    #[must_use]
    pub fn announcements(&self) -> u64 {
        self.announcements.load(Ordering::Relaxed)
    }

    /// Whether an announcement is among the attentions that have come; all are taken.
    fn take(&self, attentions: &mut mpsc::UnboundedReceiver<UnitAttention>) -> bool {
        let mut announced = false;
        while let Ok(attention) = attentions.try_recv() {
            if attention.sense.code == AdditionalSense::REPORTED_LUNS_DATA_CHANGED {
                self.announcements.fetch_add(1, Ordering::Relaxed);
                announced = true;
            }
        }
        announced
    }

    fn disk(&self, lun: LunAddress) -> Disk {
        Disk::new(self.session.clone(), lun)
    }

    /// Whatever is at LUN 0 always answers.
    fn controller(&self) -> Disk {
        self.disk(LunAddress::peripheral(0))
    }
}

impl HostAdapter for IscsiAdapter {
    fn lun_addresses(&self) -> AdapterFuture<'_, Vec<LunAddress>> {
        Box::pin(async {
            // REPORT LUNS would clear an announcement without telling it (SPC-4 6.33). Who waits for changes sees to them itself.
            if let Ok(mut attentions) = self.attentions.try_lock() {
                // What LUN 0 answers does not matter here; a lost session shows with the next command.
                drop(self.controller().test_unit_ready().await);
                self.take(&mut attentions);
            }
            self.controller().report_luns().await.map_err(io_error)
        })
    }

    fn attach(&self, lun: LunAddress) -> AdapterFuture<'_, AttachedLun> {
        Box::pin(async move {
            let disk = self.disk(lun);
            let identity = disk.identity().await.map_err(io_error)?;
            let identification = DeviceIdentification { designators: identity.designators };
            // What is not a disk, such as the array's controller, has no capacity.
            let len_bytes = match disk.geometry().await {
                Ok(geometry) => geometry.block_count * u64::from(geometry.block_bytes),
                Err(DiskError::CheckCondition { .. }) => 0,
                Err(error) => return Err(io_error(error)),
            };
            let inquiry = identity.inquiry;
            Ok(AttachedLun {
                inquiry,
                serial_number: identity.serial,
                identification,
                disk: Arc::new(IscsiDisk { disk, len_bytes }),
            })
        })
    }

    fn wait_for_change(&self) -> AdapterFuture<'_, ()> {
        Box::pin(async {
            let mut attentions = self.attentions.lock().await;
            loop {
                if self.take(&mut attentions) {
                    return Ok(());
                }
                // Whatever LUN 0 answers, an attention of the target comes along; only a lost session ends this.
                if let Err(DiskError::Session(error)) = self.controller().test_unit_ready().await {
                    return Err(io::Error::other(error));
                }
                if attentions.is_empty() {
                    tokio::time::sleep(ASK_AGAIN).await;
                }
            }
        })
    }
}

/// A LUN behind the session.
struct IscsiDisk {
    disk: Disk,
    len_bytes: u64,
}

impl IscsiDisk {
    async fn block_bytes(&self) -> io::Result<u64> {
        Ok(u64::from(self.disk.geometry().await.map_err(io_error)?.block_bytes))
    }
}

impl AdapterDisk for IscsiDisk {
    fn len_bytes(&self) -> u64 {
        self.len_bytes
    }

    fn read_at(&self, offset_bytes: u64, len_bytes: usize) -> AdapterFuture<'_, Bytes> {
        Box::pin(async move {
            let block_bytes = self.block_bytes().await?;
            let blocks = u32::try_from(len_bytes as u64 / block_bytes).map_err(io::Error::other)?;
            self.disk.read(offset_bytes / block_bytes, blocks).await.map_err(io_error)
        })
    }

    fn write_at(&self, offset_bytes: u64, data: Bytes) -> AdapterFuture<'_, ()> {
        Box::pin(async move {
            let block_bytes = self.block_bytes().await?;
            self.disk.write(offset_bytes / block_bytes, data).await.map_err(io_error)
        })
    }

    fn flush(&self) -> AdapterFuture<'_, ()> {
        Box::pin(async { self.disk.flush().await.map_err(io_error) })
    }
}

/// A disk's error as the operating system above the adapter sees it.
fn io_error(error: DiskError) -> io::Error {
    io::Error::other(error)
}
