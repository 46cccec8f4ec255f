//! LUNs in memory behind an adapter, which fail and stall as they are told.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use bytes::Bytes;
use lunshadow_control::{Association, CodeSet, Designator, DesignatorKind};
use lunshadow_coordinator::disk::make_sample_disk;
use lunshadow_coordinator::{AdapterDisk, AdapterFuture, AttachedLun, HostAdapter};
use lunshadow_scsi::vpd::DeviceIdentification;
use lunshadow_scsi::{LunAddress, Peripheral, StandardInquiry};
use tokio::sync::Notify;

#[derive(Default)]
pub(crate) struct MemoryAdapter {
    luns: Mutex<BTreeMap<u8, MemoryLun>>,
    changed: Notify,
}

impl MemoryAdapter {
    pub(crate) fn put(&self, number: u8, lun: MemoryLun) {
        self.luns.lock().unwrap().insert(number, lun);
    }

    pub(crate) fn take(&self, number: u8) {
        self.luns.lock().unwrap().remove(&number);
    }

    pub(crate) fn lun(&self, number: u8) -> MemoryLun {
        self.luns.lock().unwrap()[&number].clone()
    }

    /// Wakes who waits now, or next.
    pub(crate) fn announce_change(&self) {
        self.changed.notify_one();
    }
}

impl HostAdapter for MemoryAdapter {
    fn lun_addresses(&self) -> AdapterFuture<'_, Vec<LunAddress>> {
        let numbers = self.luns.lock().unwrap().keys().map(|&number| LunAddress::peripheral(number)).collect();
        Box::pin(async { Ok(numbers) })
    }

    fn attach(&self, lun: LunAddress) -> AdapterFuture<'_, AttachedLun> {
        let lun = self.lun(u8::try_from(lun.number().unwrap()).unwrap());
        Box::pin(async move { if lun.is_broken { Err(io::Error::other("told so")) } else { Ok(lun.attached()) } })
    }

    fn wait_for_change(&self) -> AdapterFuture<'_, ()> {
        Box::pin(async {
            self.changed.notified().await;
            Ok(())
        })
    }
}

/// A LUN. Clones are the same one.
#[derive(Clone)]
pub(crate) struct MemoryLun {
    pub(crate) serial: String,
    pub(crate) is_controller: bool,
    pub(crate) is_broken: bool,
    pub(crate) content: Arc<Content>,
}

#[derive(Default)]
pub(crate) struct Content {
    bytes: Mutex<Vec<u8>>,
    flushes: AtomicUsize,
    stalls_flushes: AtomicBool,
    fails_flushes: AtomicBool,
    fails_writes: AtomicBool,
}

/// A LUN with a GPT and a FAT volume.
pub(crate) fn sample_lun(serial: &str) -> MemoryLun {
    // To make one takes time; all tests begin with the same bytes.
    static SAMPLE: OnceLock<Vec<u8>> = OnceLock::new();
    let bytes = SAMPLE.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("disk.img");
        make_sample_disk(&path, 16 << 20, 1).unwrap();
        std::fs::read(path).unwrap()
    });
    MemoryLun::new(serial, bytes.clone())
}

impl MemoryLun {
    pub(crate) fn blank(serial: &str, len_bytes: usize) -> Self {
        Self::new(serial, vec![0; len_bytes])
    }

    fn new(serial: &str, bytes: Vec<u8>) -> Self {
        let content = Arc::new(Content { bytes: Mutex::new(bytes), ..Content::default() });
        Self { serial: serial.to_owned(), is_controller: false, is_broken: false, content }
    }

    /// Another LUN with the same bytes.
    pub(crate) fn copy(&self) -> Self {
        Self::new(&self.serial, self.bytes())
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.content.bytes.lock().unwrap().clone()
    }

    pub(crate) fn flush_count(&self) -> usize {
        self.content.flushes.load(Ordering::SeqCst)
    }

    pub(crate) fn stall_flushes(&self) {
        self.content.stalls_flushes.store(true, Ordering::SeqCst);
    }

    pub(crate) fn fail_flushes(&self) {
        self.content.fails_flushes.store(true, Ordering::SeqCst);
    }

    pub(crate) fn fail_writes(&self, fail: bool) {
        self.content.fails_writes.store(fail, Ordering::SeqCst);
    }

    fn attached(self) -> AttachedLun {
        let designator = |association, kind, bytes| Designator { code_set: CodeSet::ASCII, association, kind, bytes };
        let t10 = format!("MEMORY  {}", self.serial).into_bytes();
        AttachedLun {
            inquiry: StandardInquiry {
                peripheral: if self.is_controller { Peripheral::ARRAY_CONTROLLER } else { Peripheral::DISK },
                removable: false,
                version: StandardInquiry::SPC_4,
                target_port_groups: 0,
                third_party_copy: false,
                multi_port: false,
                command_queuing: true,
                vendor: "MEMORY".into(),
                product: "TEST".into(),
                revision: "1".into(),
                version_descriptors: Vec::new(),
            },
            serial_number: Some(self.serial.clone()),
            identification: DeviceIdentification {
                designators: vec![
                    designator(Association::LUN, DesignatorKind::T10_VENDOR_ID, t10),
                    designator(Association::TARGET_PORT, DesignatorKind::RELATIVE_TARGET_PORT, vec![0, 0, 0, 1]),
                ],
            },
            disk: Arc::new(self),
        }
    }
}

fn told_so<T>() -> io::Result<T> {
    Err(io::Error::other("told so"))
}

impl AdapterDisk for MemoryLun {
    fn len_bytes(&self) -> u64 {
        self.content.bytes.lock().unwrap().len() as u64
    }

    fn read_at(&self, offset_bytes: u64, len_bytes: usize) -> AdapterFuture<'_, Bytes> {
        let at = usize::try_from(offset_bytes).unwrap();
        let data = Bytes::copy_from_slice(&self.content.bytes.lock().unwrap()[at..at + len_bytes]);
        Box::pin(async { Ok(data) })
    }

    fn write_at(&self, offset_bytes: u64, data: Bytes) -> AdapterFuture<'_, ()> {
        Box::pin(async move {
            if self.content.fails_writes.load(Ordering::SeqCst) {
                return told_so();
            }
            let at = usize::try_from(offset_bytes).unwrap();
            self.content.bytes.lock().unwrap()[at..at + data.len()].copy_from_slice(&data);
            Ok(())
        })
    }

    fn flush(&self) -> AdapterFuture<'_, ()> {
        Box::pin(async {
            self.content.flushes.fetch_add(1, Ordering::SeqCst);
            if self.content.stalls_flushes.load(Ordering::SeqCst) {
                std::future::pending::<()>().await;
            }
            if self.content.fails_flushes.load(Ordering::SeqCst) { told_so() } else { Ok(()) }
        })
    }
}
