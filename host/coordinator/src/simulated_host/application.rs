//! How applications on the simulated host, and the coordinator itself, reach a disk.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use lunshadow_vss::DeviceName;
use tokio::runtime::Handle;

use super::AdapterDisk;
use super::gate::WriteGate;
use super::protection::Protection;
use crate::disk::DiskIo;

/// The most that is transferred by one command.
const TRANSFER_BYTES_MAX: usize = 1 << 20;

/// A disk as an application has it: its writes go through the host's gate, and wait while writes are held. Clones are the same
/// disk; requests run concurrently.
#[derive(Clone)]
pub struct ApplicationDisk {
    pub(super) device: DeviceName,
    pub(super) disk: Arc<dyn AdapterDisk>,
    pub(super) gate: Arc<WriteGate>,
    pub(super) protection: Arc<Protection>,
}

impl ApplicationDisk {
    /// The disk's name.
    #[must_use]
    pub fn device(&self) -> &DeviceName {
        &self.device
    }

    /// The disk's length in bytes.
    #[must_use]
    pub fn len_bytes(&self) -> u64 {
        self.disk.len_bytes()
    }

    /// Reads whole blocks of 512 bytes.
    ///
    /// # Errors
    /// What the disk or the way to it failed with.
    pub async fn read_at(&self, offset_bytes: u64, len_bytes: usize) -> io::Result<Bytes> {
        self.disk.read_at(offset_bytes, len_bytes).await
    }

    /// Writes whole blocks of 512 bytes, once the gate is open.
    ///
    /// # Errors
    /// [`io::ErrorKind::ReadOnlyFilesystem`] for a shadow copy, unless writers recover it just now; what the disk or the way to it failed with.
    pub async fn write_at(&self, offset_bytes: u64, data: Bytes) -> io::Result<()> {
        self.protection.check_writable(&self.device)?;
        let _passage = self.gate.pass(&self.device).await;
        self.disk.write_at(offset_bytes, data).await
    }

    /// Makes durable what was written before.
    ///
    /// # Errors
    /// What the disk or the way to it failed with.
    pub async fn flush(&self) -> io::Result<()> {
        self.disk.flush().await
    }
}

/// A disk for code that blocks. Its writes do not go through the gate: it serves VSS itself, and readers.
pub(super) struct BlockingDisk {
    pub(super) disk: Arc<dyn AdapterDisk>,
    pub(super) runtime: Handle,
}

impl DiskIo for BlockingDisk {
    fn len_bytes(&self) -> u64 {
        self.disk.len_bytes()
    }

    fn read_at(&self, offset_bytes: u64, into: &mut [u8]) -> io::Result<()> {
        let mut at = offset_bytes;
        for part in into.chunks_mut(TRANSFER_BYTES_MAX) {
            let data = self.runtime.block_on(self.disk.read_at(at, part.len()))?;
            if data.len() != part.len() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            part.copy_from_slice(&data);
            at += data.len() as u64;
        }
        Ok(())
    }

    fn write_at(&self, offset_bytes: u64, from: &[u8]) -> io::Result<()> {
        let mut at = offset_bytes;
        for part in from.chunks(TRANSFER_BYTES_MAX) {
            self.runtime.block_on(self.disk.write_at(at, Bytes::copy_from_slice(part)))?;
            at += part.len() as u64;
        }
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        self.runtime.block_on(self.disk.flush())
    }
}
