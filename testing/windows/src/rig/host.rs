//! A simulated Windows host under Wine: its disks come from the array by real iSCSI, its provider is another process.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use lunshadow_control::{LunId, TARGET_NAME};
use lunshadow_coordinator::disk::{DiskIo, make_sample_disk};
use lunshadow_coordinator::{
    Coordinator, IscsiAdapter, Platform, ProviderRegistration, Requester, Settings, SimulatedHost, SystemClock,
    VolumeName,
};
use lunshadow_vss::{Context, DeviceName, HardwareProvider, LunInformation, ProviderId, SnapshotSetId};
use tokio::runtime::Runtime;

use super::array_side::iqn_of;

/// The length of a sample disk.
pub const SAMPLE_MEBIBYTES: u64 = 16;

/// Where tests write on a sample disk: between the end of its volume and the second copy of its table.
pub const RECORD_AT_BYTES: u64 = (SAMPLE_MEBIBYTES << 20) - (512 << 10);

/// The host. Dropping it ends its session.
pub struct Host {
    /// Its side of VSS.
    pub windows: Arc<SimulatedHost>,
    runtime: Runtime,
}

impl Host {
    /// Logs in to the array as the host of this name.
    ///
    /// # Errors
    /// If the array is not there, or does not know the host.
    pub fn log_in(name: &str, portal: std::net::SocketAddr) -> io::Result<Self> {
        let runtime = Runtime::new()?;
        let initiator = iqn_of(name).parse().map_err(io::Error::other)?;
        let adapter = runtime.block_on(IscsiAdapter::log_in(portal, &initiator, TARGET_NAME));
        let adapter = Arc::new(adapter.map_err(io::Error::other)?);
        let windows = SimulatedHost::new(adapter, runtime.handle().clone()).map_err(io::Error::other)?;
        Ok(Self { windows: Arc::new(windows), runtime })
    }

    /// The disk that is a LUN.
    ///
    /// # Panics
    /// If the host does not see it.
    #[must_use]
    pub fn device_of(&self, lun: LunId) -> DeviceName {
        let device = self.windows.device_by_serial_number(&lun.to_string());
        device.expect("the LUN is mapped to the host")
    }

    /// What the host knows of the LUN below a disk.
    ///
    /// # Panics
    /// If it is gone.
    #[must_use]
    pub fn lun_of(&self, device: &DeviceName) -> LunInformation {
        self.windows.disk(device).expect("the disk is there").lun
    }

    /// A disk to read and write past the host's gate.
    ///
    /// # Panics
    /// If it is gone.
    #[must_use]
    pub fn disk(&self, device: &DeviceName) -> Arc<dyn DiskIo> {
        self.windows.disk_io(device).expect("the disk is there")
    }

    /// Puts a partition table and a volume with files on a LUN. The same seed gives the same bytes.
    ///
    /// # Panics
    /// If the LUN cannot be written.
    pub fn fill(&self, lun: LunId, seed: u64) {
        const CHUNK: usize = 1 << 20;
        let folder = tempfile::tempdir().expect("a folder for the sample");
        let path = folder.path().join("sample.img");
        make_sample_disk(&path, SAMPLE_MEBIBYTES << 20, seed).expect("the sample is made");
        let sample = std::fs::read(&path).expect("the sample is there");
        let disk = self.disk(&self.device_of(lun));
        for (index, chunk) in sample.chunks(CHUNK).enumerate().filter(|(_, chunk)| chunk.iter().any(|byte| *byte != 0))
        {
            disk.write_at((index * CHUNK) as u64, chunk).expect("the LUN can be written");
        }
        disk.flush().expect("the LUN can be flushed");
    }

    /// The one volume of a sample disk.
    ///
    /// # Panics
    /// If the disk has none.
    #[must_use]
    pub fn volume_of(&self, device: &DeviceName) -> VolumeName {
        let volumes = self.windows.volumes(device).expect("the disk can be read");
        volumes.first().expect("the disk has a volume").name.clone()
    }

    /// Writes a record as an application does: it waits while writes are held.
    ///
    /// # Panics
    /// If the disk cannot be written.
    pub fn write_record(&self, device: &DeviceName, record: u8) {
        let disk = self.windows.application_disk(device).expect("the disk is there");
        let write = disk.write_at(RECORD_AT_BYTES, Bytes::from(vec![record; 512]));
        self.runtime.block_on(write).expect("the disk can be written");
    }

    /// What was written last as a record.
    ///
    /// # Panics
    /// If the disk cannot be read.
    #[must_use]
    pub fn record(&self, device: &DeviceName) -> u8 {
        self.read(device, RECORD_AT_BYTES, 512)[0]
    }

    /// Reads a piece of a disk.
    ///
    /// # Panics
    /// If the disk cannot be read.
    #[must_use]
    pub fn read(&self, device: &DeviceName, offset_bytes: u64, len_bytes: usize) -> Vec<u8> {
        let mut bytes = vec![0; len_bytes];
        self.disk(device).read_at(offset_bytes, &mut bytes).expect("the disk can be read");
        bytes
    }

    /// All of a disk.
    ///
    /// # Panics
    /// If the disk cannot be read.
    #[must_use]
    pub fn whole(&self, device: &DeviceName) -> Vec<u8> {
        const CHUNK: usize = 1 << 20;
        let disk = self.disk(device);
        let mut bytes = vec![0; usize::try_from(disk.len_bytes()).expect("a small disk")];
        for (index, chunk) in bytes.chunks_mut(CHUNK).enumerate() {
            disk.read_at((index * CHUNK) as u64, chunk).expect("the disk can be read");
        }
        bytes
    }

    /// Looks for disks that have come or gone, and answers with all.
    ///
    /// # Panics
    /// If the array is not there.
    #[must_use]
    pub fn devices(&self) -> BTreeSet<DeviceName> {
        self.windows.rescan().expect("the array is there");
        self.windows.devices().into_iter().collect()
    }

    /// Where the host's asynchronous work runs.
    #[must_use]
    pub fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    /// VSS on this host, with a provider.
    ///
    /// # Panics
    /// Never: it is the first provider.
    #[must_use]
    pub fn coordinator(&self, id: ProviderId, provider: Arc<dyn HardwareProvider>, settings: Settings) -> Coordinator {
        let platform = Arc::clone(&self.windows) as Arc<dyn Platform>;
        let coordinator = Coordinator::new(platform, Arc::new(SystemClock::new()), settings);
        let registration = ProviderRegistration { id, name: "Lunshadow".to_owned(), provider };
        coordinator.register_provider(registration).expect("it is the first provider");
        coordinator
    }

    /// A requester with a set of the volumes of these LUNs, ready for `DoSnapshotSet`.
    ///
    /// # Panics
    /// If a volume cannot be added.
    #[must_use]
    pub fn begin(&self, coordinator: &Coordinator, context: Context, luns: &[LunId]) -> (Requester, SnapshotSetId) {
        let requester = coordinator.requester();
        requester.set_context(context).expect("the context is one of VSS");
        let set = requester.start_snapshot_set().expect("no other set is under way");
        for lun in luns {
            let volume = self.volume_of(&self.device_of(*lun));
            requester.add_to_snapshot_set(&volume, None).expect("the provider takes the volume");
        }
        (requester, set)
    }
}
