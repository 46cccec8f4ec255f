//! The simulated host over LUNs in memory.
#![cfg(test)]

mod memory;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use lunshadow_coordinator::disk::{FileSystemKind, PartitionTable, ShadowFlags, read_layout, read_shadow_flags};
use lunshadow_coordinator::{
    DiskIdentity, HoldError, Platform, PlatformError, ShadowVolume, SimulatedHost, VolumeName, Writer, WriterError,
    WriterEvent,
};
use lunshadow_vss::{BusType, DeviceName, SnapshotSetId, StorageIdentifier};
use memory::{MemoryAdapter, MemoryLun, sample_lun};
use tokio::runtime::Runtime;
use uuid::Uuid;

struct Rig {
    runtime: Runtime,
    adapter: Arc<MemoryAdapter>,
    host: Arc<SimulatedHost>,
}

/// A host with a GPT disk at LUN 1 and a blank one at LUN 2.
fn rig() -> Rig {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let adapter = Arc::new(MemoryAdapter::default());
    adapter.put(1, sample_lun("a"));
    adapter.put(2, MemoryLun::blank("b", 1 << 20));
    let host = SimulatedHost::new(adapter.clone(), runtime.handle().clone()).unwrap();
    Rig { runtime, adapter, host: Arc::new(host) }
}

impl Rig {
    fn device(&self, serial: &str) -> DeviceName {
        self.host.device_by_serial_number(serial).unwrap()
    }

    fn volume(&self, serial: &str) -> VolumeName {
        self.host.volumes(&self.device(serial)).unwrap()[0].name.clone()
    }

    /// Begins a write to a disk and says when it is answered.
    fn write(&self, serial: &str) -> std::sync::mpsc::Receiver<()> {
        let disk = self.host.application_disk(&self.device(serial)).unwrap();
        let (answered, answer) = std::sync::mpsc::channel();
        self.runtime.spawn(async move {
            disk.write_at(0, Bytes::from_static(&[7; 512])).await.unwrap();
            answered.send(()).unwrap();
        });
        answer
    }

    /// Waits until the host counts this many waiting writes.
    fn await_waiting(&self, count: usize) {
        while self.host.gate_counts().waiting != count {
            std::thread::yield_now();
        }
    }
}

const SOON: Duration = Duration::from_secs(60);

fn set_id() -> SnapshotSetId {
    SnapshotSetId(Uuid::from_u128(1))
}

#[test]
fn luns_are_described_as_windows_does() {
    let rig = rig();
    let disk = rig.host.disk(&rig.device("a")).unwrap();
    assert_eq!(disk.device, DeviceName(r"\\?\PhysicalDrive0".into()));
    assert_eq!(disk.lun.vendor_id.as_deref(), Some("MEMORY"));
    assert_eq!(disk.lun.serial_number.as_deref(), Some("a"));
    assert_eq!(disk.lun.bus_type, BusType::ISCSI);
    assert!(disk.lun.command_queueing);
    // The designator of the port is not one of the LUN.
    let kinds: Vec<_> = disk.lun.identifiers.iter().map(|identifier| identifier.kind).collect();
    assert_eq!(kinds, [StorageIdentifier::VENDOR_ID]);
    let layout = read_layout(&*rig.host.disk_io(&disk.device).unwrap()).unwrap();
    let PartitionTable::Gpt { disk_guid } = layout.table else { panic!("{:?}", layout.table) };
    assert_eq!(disk.lun.disk_signature.0, disk_guid);
}

#[test]
fn volumes_have_stable_names_and_blank_disks_are_one_raw_volume() {
    let rig = rig();
    let of_gpt = rig.host.volumes(&rig.device("a")).unwrap();
    assert_eq!(of_gpt.len(), 1);
    assert_eq!(of_gpt[0].file_system, FileSystemKind::Fat);
    let raw = rig.host.volumes(&rig.device("b")).unwrap();
    assert_eq!((raw[0].extent.offset_bytes, raw[0].extent.len_bytes), (0, 1 << 20));
    assert!(of_gpt[0].name.0.starts_with(r"\\?\Volume{") && of_gpt[0].name.0.ends_with(r"}\"));

    let again = SimulatedHost::new(rig.adapter.clone(), rig.runtime.handle().clone()).unwrap();
    assert_eq!(again.volumes(&again.device_by_serial_number("a").unwrap()).unwrap()[0].name, of_gpt[0].name);
    // A copy of the LUN has the same bytes, and other names.
    rig.adapter.put(3, MemoryLun { serial: "copy".into(), ..rig.adapter.lun(1) });
    rig.host.rescan().unwrap();
    assert_ne!(rig.volume("copy"), of_gpt[0].name);

    let luns = rig.host.luns_of(&of_gpt[0].name).unwrap();
    assert_eq!(luns.len(), 1);
    assert_eq!(luns[0].extents, [of_gpt[0].extent]);
    let unknown = rig.host.luns_of(&VolumeName("x".into()));
    assert!(matches!(unknown, Err(PlatformError::UnknownVolume(_))));
}

#[test]
fn held_writes_wait_and_others_go_on() {
    let rig = rig();
    rig.write("b").recv_timeout(SOON).unwrap();
    rig.host.flush_and_hold(&[rig.volume("b")]).unwrap();
    assert_eq!(rig.adapter.lun(2).flush_count(), 1);
    let held = rig.write("b");
    rig.await_waiting(1);
    rig.write("a").recv_timeout(SOON).unwrap();
    assert_eq!(held.try_recv(), Err(std::sync::mpsc::TryRecvError::Empty));
    rig.host.release_writes(&[]);
    held.recv_timeout(SOON).unwrap();
    assert_eq!(rig.host.gate_counts().delayed, 1);
}

#[test]
fn a_release_ends_a_flush_that_stalls_and_nothing_is_held() {
    let rig = rig();
    rig.adapter.lun(2).stall_flushes();
    let volume = rig.volume("b");
    let (host, adapter) = (rig.host.clone(), rig.adapter.clone());
    let holder = std::thread::spawn(move || host.flush_and_hold(&[volume]));
    while adapter.lun(2).flush_count() == 0 {
        std::thread::yield_now();
    }
    rig.host.release_writes(&[]);
    assert!(matches!(holder.join().unwrap(), Err(HoldError::FlushTimeout)));
    rig.write("b").recv_timeout(SOON).unwrap();
}

#[test]
fn a_failed_flush_and_an_unknown_volume_hold_nothing() {
    let rig = rig();
    let volumes = [rig.volume("a"), rig.volume("b")];
    rig.adapter.lun(2).fail_flushes();
    assert!(matches!(rig.host.flush_and_hold(&volumes), Err(HoldError::Flush(_))));
    assert!(matches!(rig.host.flush_and_hold(&[VolumeName("x".into())]), Err(HoldError::Flush(_))));
    for serial in ["a", "b"] {
        rig.write(serial).recv_timeout(SOON).unwrap();
    }
}

#[test]
fn flags_are_set_on_disks_with_a_table_and_taken_back_without_a_trace() {
    let rig = rig();
    let before = [rig.adapter.lun(1).bytes(), rig.adapter.lun(2).bytes()];
    let devices = [rig.device("a"), rig.device("b")];
    rig.host.set_shadow_flags(&devices).unwrap();
    assert_eq!(rig.host.flagged(), devices);
    assert_eq!(read_shadow_flags(&*rig.host.disk_io(&devices[0]).unwrap()).unwrap(), ShadowFlags::all());
    rig.host.clear_shadow_flags(&devices).unwrap();
    assert!(rig.host.flagged().is_empty());
    assert!([rig.adapter.lun(1).bytes(), rig.adapter.lun(2).bytes()] == before, "the disks are as they were");
    rig.host.clear_shadow_flags(&devices).unwrap();
}

#[test]
fn flags_that_could_not_be_cleared_can_be_cleared_later() {
    let rig = rig();
    let before = rig.adapter.lun(1).bytes();
    let devices = [rig.device("a")];
    rig.host.set_shadow_flags(&devices).unwrap();
    rig.adapter.lun(1).fail_writes(true);
    assert!(matches!(rig.host.clear_shadow_flags(&devices), Err(PlatformError::Disk { .. })));
    assert_eq!(rig.host.flagged(), devices);
    rig.adapter.lun(1).fail_writes(false);
    rig.host.clear_shadow_flags(&devices).unwrap();
    assert!(rig.adapter.lun(1).bytes() == before);
}

#[test]
fn a_disks_name_means_one_lun_for_ever() {
    let rig = rig();
    let old = rig.device("b");
    rig.adapter.put(2, MemoryLun::blank("c", 1 << 20));
    rig.host.rescan().unwrap();
    assert_ne!(rig.device("c"), old);
    assert!(matches!(rig.host.disk(&old), Err(PlatformError::UnknownDisk(_))));
    rig.adapter.take(2);
    let disks = rig.host.rescan().unwrap();
    assert_eq!(disks.iter().map(|disk| &disk.device).collect::<Vec<_>>(), [&rig.device("a")]);
    // What cannot be looked at, and what is no disk, is left out.
    rig.adapter.put(4, MemoryLun { is_broken: true, ..MemoryLun::blank("broken", 1 << 20) });
    rig.adapter.put(5, MemoryLun { is_controller: true, ..MemoryLun::blank("controller", 1 << 20) });
    assert_eq!(rig.host.rescan().unwrap().len(), 1);
}

#[test]
fn a_disk_that_has_grown_is_the_same_and_longer() {
    let rig = rig();
    let device = rig.device("b");
    let before = rig.host.disk(&device).unwrap().len_bytes;
    rig.adapter.put(2, MemoryLun::blank("b", usize::try_from(before).unwrap() + (1 << 20)));
    rig.host.rescan().unwrap();
    assert_eq!(rig.device("b"), device);
    assert_eq!(rig.host.disk(&device).unwrap().len_bytes, before + (1 << 20));
    assert_eq!(rig.host.disk_io(&device).unwrap().len_bytes(), before + (1 << 20));
}

#[test]
fn an_arrived_copy_gets_an_identity_of_its_own() {
    let rig = rig();
    rig.adapter.put(3, MemoryLun { serial: "copy".into(), ..rig.adapter.lun(1).copy() });
    rig.host.rescan().unwrap();
    let signature = |serial| rig.host.disk(&rig.device(serial)).unwrap().lun.disk_signature;
    let of_source = signature("a");
    assert_eq!(signature("copy"), of_source);
    rig.host.assign_new_identity(&rig.device("copy")).unwrap();
    assert_ne!(signature("copy"), of_source);
    assert_eq!(signature("a"), of_source);
}

#[test]
fn a_copy_without_its_original_gets_the_identity_of_it_back() {
    let rig = rig();
    rig.adapter.put(3, MemoryLun { serial: "copy".into(), ..rig.adapter.lun(1).copy() });
    rig.host.rescan().unwrap();
    let copy = rig.device("copy");
    let (before, original) = (rig.adapter.lun(3).bytes(), rig.host.disk(&rig.device("a")).unwrap());
    assert_eq!(original.partition_ids.len(), 1);
    rig.host.assign_new_identity(&copy).unwrap();
    assert_ne!(rig.host.disk(&copy).unwrap().partition_ids, original.partition_ids);
    let identity = DiskIdentity { signature: original.lun.disk_signature, partition_ids: original.partition_ids };
    rig.host.set_disk_identity(&copy, &identity).unwrap();
    assert!(rig.adapter.lun(3).bytes() == before, "every byte is as it was");
}

#[test]
fn waiting_ends_with_a_change_or_with_patience() {
    let rig = rig();
    rig.host.wait_for_change(Duration::from_millis(1));
    let host = rig.host.clone();
    let waiter = std::thread::spawn(move || host.wait_for_change(Duration::from_secs(3600)));
    rig.adapter.announce_change();
    waiter.join().unwrap();
}

struct Recorder {
    heard: Mutex<Vec<WriterEvent>>,
    answer: Result<(), WriterError>,
    freeze_at_most: Option<Duration>,
}

impl Writer for Recorder {
    fn on_event(&self, _set: SnapshotSetId, event: WriterEvent) -> Result<(), WriterError> {
        self.heard.lock().unwrap().push(event);
        self.answer
    }

    fn freeze_at_most(&self) -> Option<Duration> {
        self.freeze_at_most
    }
}

fn recorder(answer: Result<(), WriterError>, freeze_at_most: Option<u64>) -> Arc<Recorder> {
    let freeze_at_most = freeze_at_most.map(Duration::from_secs);
    Arc::new(Recorder { heard: Mutex::default(), answer, freeze_at_most })
}

#[test]
fn the_least_patient_writer_says_how_long_all_can_be_frozen() {
    let rig = rig();
    assert_eq!(rig.host.freeze_at_most(), None);
    for (of_writer, of_all) in [(None, None), (Some(30), Some(30)), (Some(20), Some(20)), (Some(40), Some(20))] {
        rig.host.add_writer(recorder(Ok(()), of_writer));
        assert_eq!(rig.host.freeze_at_most(), of_all.map(Duration::from_secs));
    }
}

#[test]
fn every_writer_hears_of_every_event_and_the_first_failure_counts() {
    let rig = rig();
    let answers = [Ok(()), Err(WriterError::Timeout), Err(WriterError::Retryable), Ok(())];
    let writers = answers.map(|answer| recorder(answer, None));
    for writer in &writers {
        rig.host.add_writer(writer.clone());
    }
    assert_eq!(rig.host.notify_writers(set_id(), WriterEvent::Freeze), Err(WriterError::Timeout));
    for writer in &writers {
        assert_eq!(*writer.heard.lock().unwrap(), [WriterEvent::Freeze]);
    }
}

#[test]
fn applications_write_to_a_shadow_copy_only_while_writers_recover_it() {
    let rig = rig();
    // A copy that was made while its source had the flags.
    let source = [rig.device("a")];
    rig.host.set_shadow_flags(&source).unwrap();
    rig.adapter.put(3, MemoryLun { serial: "copy".into(), ..rig.adapter.lun(1).copy() });
    rig.host.rescan().unwrap();
    let write = |serial| {
        let disk = rig.host.application_disk(&rig.device(serial)).unwrap();
        let written = rig.runtime.block_on(disk.write_at(1 << 20, Bytes::from_static(&[7; 512])));
        written.map_err(|error| error.kind())
    };
    assert_eq!(write("a"), Ok(()), "a source has the flags for a moment only");
    assert_eq!(write("copy"), Err(std::io::ErrorKind::ReadOnlyFilesystem));
    rig.host.clear_shadow_flags(&source).unwrap();

    let copy = rig.device("copy");
    let volume = ShadowVolume { volume: rig.volume("a"), disks: vec![(copy.clone(), Vec::new())] };
    rig.host.begin_recovery(set_id(), std::slice::from_ref(&volume)).unwrap();
    assert_eq!(rig.host.recovering(set_id()), std::slice::from_ref(&volume));
    assert_eq!(write("copy"), Ok(()));
    rig.host.end_recovery(set_id());
    assert_eq!(write("copy"), Err(std::io::ErrorKind::ReadOnlyFilesystem));
    assert!(rig.host.recovering(set_id()).is_empty());
    let gone = ShadowVolume { disks: vec![(DeviceName("gone".into()), Vec::new())], ..volume };
    assert!(matches!(rig.host.begin_recovery(set_id(), &[gone]), Err(PlatformError::UnknownDisk(_))));

    // A copy that is made an ordinary disk is one for applications too.
    rig.host.remove_shadow_flags(&[copy]).unwrap();
    assert_eq!(write("copy"), Ok(()));
}

#[test]
fn a_disk_is_exclusive_when_nobody_else_has_it_open() {
    let rig = rig();
    let (disk, other) = (rig.device("a"), rig.device("b"));
    let programs = [rig.host.open_disk(&disk).unwrap(), rig.host.open_disk(&disk).unwrap()];
    let at_once = |device: &DeviceName| rig.host.open_exclusively(device, Duration::ZERO);
    assert!(matches!(at_once(&disk), Err(PlatformError::InUse(device)) if device == disk));
    at_once(&other).unwrap();
    assert!(matches!(rig.host.open_disk(&other), Err(PlatformError::InUse(_))));
    assert!(matches!(at_once(&other), Err(PlatformError::InUse(_))), "VSS has it once");

    // It is had as soon as the last program closes it.
    let [first, last] = programs;
    drop(first);
    assert!(at_once(&disk).is_err());
    let (host, device) = (rig.host.clone(), disk.clone());
    let waiter = std::thread::spawn(move || host.open_exclusively(&device, SOON));
    drop(last);
    waiter.join().unwrap().unwrap();
    assert!(rig.host.open_disk(&disk).is_err());
    rig.host.close_exclusive(&disk);
    rig.host.close_exclusive(&disk);
    let again = rig.host.open_disk(&disk).unwrap();
    rig.host.close_exclusive(&disk);
    assert!(at_once(&disk).is_err(), "what a program has open stays open");
    drop(again);
    at_once(&disk).unwrap();
    assert!(matches!(at_once(&DeviceName("gone".into())), Err(PlatformError::UnknownDisk(_))));
}
