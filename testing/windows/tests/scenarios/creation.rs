//! Sets that come to be, arrive, and go.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use lunshadow_control::{SetPhase, ShadowSetId};
use lunshadow_coordinator::disk::{ShadowFlags, list_files, read_layout, read_shadow_flags};
use lunshadow_coordinator::{Deletion, Entry, Timeline, Writer, WriterError, WriterEvent};
use lunshadow_vss::{Context, DeviceName, MatchLevel, SnapshotSetId};
use lunshadow_windows::rig::{Activation, Host, PERSISTENT, RECORD_AT_BYTES, Stage, servers, shadow_of};

/// A writer that does one thing at one event.
pub(crate) struct At<F>(pub(crate) WriterEvent, pub(crate) F);

impl<F: Fn() + Send + Sync> Writer for At<F> {
    fn on_event(&self, _: SnapshotSetId, event: WriterEvent) -> Result<(), WriterError> {
        if event == self.0 {
            (self.1)();
        }
        Ok(())
    }
}

/// How long the calls of one method took together.
pub(crate) fn duration_of(timeline: &Timeline, method: &str) -> Duration {
    let of_method = |entry: &&Entry| entry.activity.to_string() == method;
    Duration::from_micros(timeline.entries.iter().filter(of_method).map(|entry| entry.duration_us).sum())
}

/// A creation from the beginning to the deletion, and what everybody sees of it.
fn create_and_delete(activation: Activation) {
    let stage = Stage::new("whole", activation, 2);
    stage.write_records(1);
    let copies = stage.create();
    stage.write_records(2);
    assert_eq!(servers().len(), 1, "one process serves, started by the activation");
    assert_eq!(stage.shadow_counts(), [1, 1]);
    let set = stage.array.set(ShadowSetId(copies[0].set.0)).expect("the array knows the set");
    assert_eq!(set.summary.phase, SetPhase::Kept);
    for (copy, lun) in copies.iter().zip(&stage.luns) {
        let (_, device) = shadow_of(copy);
        assert_eq!(copy.luns[0].match_level, MatchLevel::Strict);
        assert_eq!(stage.host.record(device), 1, "the shadow LUN has what was there at the instant");
        assert_eq!(stage.host.record(&stage.host.device_of(*lun)), 2);
        assert_eq!(files_of(&stage.host, device), files_of(&stage.host, &stage.host.device_of(*lun)));
    }
    let requester = stage.coordinator.requester();
    assert_eq!(requester.delete_snapshots(Deletion::Set(copies[0].set)).expect("nothing is in the way"), 2);
    stage.assert_nothing_is_left(copies[0].set, "the deletion");
}

/// The names and lengths of the files on a disk.
fn files_of(host: &Host, device: &DeviceName) -> Vec<(String, u64)> {
    let disk = host.disk(device);
    let layout = read_layout(&*disk).expect("it has a table");
    let volume = layout.volumes.first().expect("it has a volume");
    let files = list_files(&*disk, volume).expect("its files can be read");
    files.into_iter().map(|file| (file.path, file.len_bytes)).collect()
}

#[test]
fn a_service_creates_surfaces_and_deletes_a_set() {
    create_and_delete(Activation::Service);
}

#[test]
fn a_local_server_creates_surfaces_and_deletes_a_set() {
    create_and_delete(Activation::LocalServer);
}

#[test]
fn p_046_what_is_written_between_prepare_and_commit_is_captured() {
    let stage = Stage::new("between", Activation::LocalServer, 1);
    let device = stage.host.device_of(stage.luns[0]);
    stage.host.write_record(&device, 1);
    let (windows, runtime, source) = (&stage.host.windows, stage.host.runtime().handle().clone(), device.clone());
    let application = windows.application_disk(&device).expect("the disk is there");
    // The writers prepare after EndPrepareSnapshots and before the commit.
    let write = move || {
        let record = application.write_at(RECORD_AT_BYTES, Bytes::from_static(&[2; 512]));
        runtime.block_on(record).expect("the disk can be written");
    };
    windows.add_writer(Arc::new(At(WriterEvent::PrepareSnapshot, write)));
    let copies = stage.create();
    let (_, shadow) = shadow_of(&copies[0]);
    assert_eq!(stage.host.record(shadow), 2);
    // So are the marks of a shadow copy, which VSS sets after EndPrepareSnapshots and takes away after the commit.
    let flags = |device: &DeviceName| read_shadow_flags(&*stage.host.disk(device)).expect("it has a table");
    assert_eq!(flags(shadow), ShadowFlags::all());
    assert_eq!(flags(&source), ShadowFlags::empty());
}

#[test]
fn p_052_the_16_luns_of_a_set_have_one_instant() {
    const LUNS: u32 = 16;
    let stage = Stage::new("instant", Activation::LocalServer, u64::from(LUNS));
    let disk_of = |lun: &_| stage.host.windows.application_disk(&stage.host.device_of(*lun)).expect("it is there");
    let disks: Vec<_> = stage.luns.iter().map(disk_of).collect();
    let write = |number: u32| {
        let sector = Bytes::from(number.to_le_bytes().repeat(128));
        let write = disks[(number % LUNS) as usize].write_at(RECORD_AT_BYTES, sector);
        stage.host.runtime().block_on(write).expect("the disk can be written");
    };
    (0..LUNS).for_each(write);
    let stops = AtomicBool::new(false);
    let copies = std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            // A number goes to the next LUN only when the one before is written.
            let mut numbers = LUNS..;
            while !stops.load(Ordering::Relaxed) {
                numbers.by_ref().take(1).for_each(write);
            }
            numbers.start
        });
        let copies = stage.create();
        stops.store(true, Ordering::Relaxed);
        assert!(writer.join().expect("the writer works") > LUNS, "it has written during the creation");
        copies
    });
    let number_on = |device: &DeviceName| {
        let sector = stage.host.read(device, RECORD_AT_BYTES, 512);
        u32::from_le_bytes(sector[..4].try_into().expect("four bytes"))
    };
    let captured: Vec<u32> = copies.iter().map(|copy| number_on(shadow_of(copy).1)).collect();
    let last = *captured.iter().max().expect("there are LUNs");
    for (index, number) in (0..LUNS).zip(&captured) {
        let expected = last - (last + LUNS - index) % LUNS;
        assert_eq!(*number, expected, "LUN {index} of {captured:?} misses a write, or has one too many");
    }
}

#[test]
fn p_049_64_luns_commit_within_a_second() {
    let stage = Stage::with_blank_luns("many", Activation::LocalServer, 64);
    let copies = stage.create();
    assert_eq!(copies.len(), 64);
    let timeline = stage.coordinator.timeline();
    assert!(duration_of(&timeline, "CommitSnapshots") <= Duration::from_secs(1));
    for method in ["PreCommitSnapshots", "PostCommitSnapshots"] {
        assert!(duration_of(&timeline, method) <= Duration::from_secs(2), "{method}");
    }
    let requester = stage.coordinator.requester();
    assert_eq!(requester.delete_snapshots(Deletion::Set(copies[0].set)).expect("nothing is in the way"), 64);
    stage.assert_nothing_is_left(copies[0].set, "the deletion of 64 copies");
}

#[test]
fn p_062_no_shadow_lun_has_the_identity_of_another() {
    let stage = Stage::new("identities", Activation::Service, 1);
    let source = stage.host.lun_of(&stage.host.device_of(stage.luns[0]));
    let mut identifiers: BTreeSet<_> = source.identifiers.into_iter().filter(|it| it.is_unique()).collect();
    // Two sets in a row, a deletion, and a third: identities of what is gone do not come back.
    for round in 0..3 {
        let copies = stage.create();
        let (shadow, _) = shadow_of(&copies[0]);
        for identifier in shadow.identifiers.iter().filter(|it| it.is_unique()) {
            assert!(identifiers.insert(identifier.clone()), "round {round}: {identifier:?} came twice");
        }
        if round == 1 {
            let requester = stage.coordinator.requester();
            requester.delete_snapshots(Deletion::Set(copies[0].set)).expect("nothing is in the way");
        }
    }
    assert_eq!(stage.shadow_counts(), [2]);
}

#[test]
fn p_069_vss_gives_the_arrived_disks_signatures_of_their_own() {
    let stage = Stage::new("signature", Activation::LocalServer, 1);
    let copies = stage.create();
    let (_, device) = shadow_of(&copies[0]);
    let signature = |device: &DeviceName| stage.host.lun_of(device).disk_signature;
    assert_ne!(signature(device), signature(&stage.host.device_of(stage.luns[0])));
    assert_ne!(signature(device), lunshadow_vss::DiskSignature::default());
}

#[test]
fn p_090_writers_change_a_tenth_of_the_copy_and_p_094_never_the_source() {
    let stage = Stage::new("recovery", Activation::LocalServer, 1);
    let source = stage.host.device_of(stage.luns[0]);
    let before = stage.host.devices();
    let original = stage.host.whole(&source);
    let tenth = original.len() / 10 / 512 * 512;
    let windows = Arc::clone(&stage.host.windows);
    let write = move || {
        // Auto-recovery: the one disk that was not there before is the shadow LUN.
        let device = windows.devices().into_iter().find(|device| !before.contains(device)).expect("it has arrived");
        let disk = windows.disk_io(&device).expect("it is there");
        for start in (0..tenth).step_by(1 << 20) {
            let chunk = vec![0x5a; (tenth - start).min(1 << 20)];
            disk.write_at((2 << 20) + start as u64, &chunk).expect("the copy can be written");
        }
        disk.flush().expect("the copy can be flushed");
    };
    stage.host.windows.add_writer(Arc::new(At(WriterEvent::PostSnapshot, write)));
    let (requester, set) = stage.host.begin(&stage.coordinator, PERSISTENT | Context::AUTORECOVER, &stage.luns);
    let copies = requester.do_snapshot_set().expect("nothing is in the way");
    let (_, shadow) = shadow_of(&copies[0]);
    let changed = stage.host.read(shadow, 2 << 20, tenth);
    assert!(changed.iter().all(|byte| *byte == 0x5a), "what the writers wrote persists");
    assert!(stage.host.whole(&source) == original, "the source is as it was");
    requester.delete_snapshots(Deletion::Set(set)).expect("nothing is in the way");
    assert!(stage.host.whole(&source) == original, "the source is as it was after the deletion");
}

#[test]
fn p_119_fifty_loads_and_unloads_leave_a_provider_that_works() {
    let stage = Stage::new("loads", Activation::LocalServer, 1);
    let began = servers();
    for _ in 0..50 {
        let provider = stage.product.activate();
        lunshadow_vss::HardwareProvider::on_load(&*provider).expect("it loads");
        lunshadow_vss::HardwareProvider::on_unload(&*provider, false).expect("nothing is under way");
    }
    assert_eq!(servers(), began, "one process has served all of them");
    let copies = stage.create();
    assert!(stage.coordinator.unload_providers(true), "a forced unloading is not declined");
    let requester = stage.coordinator.requester();
    requester.delete_snapshots(Deletion::Set(copies[0].set)).expect("it is loaded again when it is needed");
    stage.assert_nothing_is_left(copies[0].set, "the deletion");
}

#[test]
fn two_sets_of_two_requesters_follow_one_another() {
    let stage = Stage::new("two", Activation::Service, 2);
    let began = Instant::now();
    let first = stage.create();
    stage.write_records(3);
    let second = stage.create();
    assert_eq!(stage.shadow_counts(), [2, 2]);
    assert_ne!(first[0].set, second[0].set);
    for copy in &second {
        assert_eq!(stage.host.record(shadow_of(copy).1), 3);
    }
    let requester = stage.coordinator.requester();
    for set in [first[0].set, second[0].set] {
        assert_eq!(requester.delete_snapshots(Deletion::Set(set)).expect("nothing is in the way"), 2);
    }
    stage.assert_nothing_is_left(second[0].set, "both deletions");
    assert!(began.elapsed() < Duration::from_secs(60));
}
