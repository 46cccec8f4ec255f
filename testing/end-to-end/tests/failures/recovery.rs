//! Auto-recovery, section 4(h): a writer changes the shadow copy between the two final calls, over iSCSI, and at no other time.

use std::io;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use lunshadow_coordinator::{
    Platform as _, Settings, SimulatedHost, TransportableRecovery, Writer, WriterError, WriterEvent,
};
use lunshadow_vss::{Context, DeviceName, SnapshotSetId};
use tokio::runtime::Handle;

use crate::rig::{RECORD_AT_BYTES, Rig};

/// What the writer writes to the shadow copy.
const RECOVERED: [u8; 512] = [0xac; 512];

/// A writer that repairs the shadow copies that it is given in `PostSnapshot`, as a database does.
struct Repairing {
    host: Arc<SimulatedHost>,
    runtime: Handle,
    /// What came of it, shadow disk by shadow disk.
    written: Mutex<Vec<(DeviceName, bool)>>,
    /// Whether it asks for auto-recovery.
    asks: bool,
}

impl Repairing {
    fn write(&self, device: &DeviceName) -> io::Result<()> {
        let disk = self.host.application_disk(device).map_err(io::Error::other)?;
        self.runtime.block_on(async {
            disk.write_at(RECORD_AT_BYTES[0], Bytes::from_static(&RECOVERED)).await?;
            disk.flush().await
        })
    }
}

impl Writer for Repairing {
    fn on_event(&self, set: SnapshotSetId, event: WriterEvent) -> Result<(), WriterError> {
        if event == WriterEvent::PostSnapshot {
            let shadows = self.host.recovering(set);
            // The sample disk's copy; the other disk has no table that could carry the mark.
            for (device, _) in shadows.iter().take(1).flat_map(|volume| &volume.disks) {
                let written = self.write(device).is_ok();
                self.written.lock().unwrap().push((device.clone(), written));
            }
        }
        Ok(())
    }

    fn recovers(&self) -> bool {
        self.asks
    }
}

/// A rig with such a writer, and what a creation in a context comes to: the bytes on the shadow copy where the writer writes.
struct Recovered {
    /// Before the rig, which it needs for its end.
    requester: lunshadow_coordinator::Requester,
    rig: Rig,
    writer: Arc<Repairing>,
    shadow: DeviceName,
    attributes: Context,
}

/// Adds such a writer to a rig.
fn repairing(rig: &Rig, asks: bool) -> Arc<Repairing> {
    let (host, runtime) = (Arc::clone(&rig.host), rig.runtime.handle().clone());
    let writer = Arc::new(Repairing { host, runtime, written: Mutex::default(), asks });
    rig.host.add_writer(writer.clone());
    writer
}

fn create_in(context: Context, asks: bool) -> Recovered {
    let rig = Rig::new();
    let writer = repairing(&rig, asks);
    let requester = rig.coordinator.requester();
    requester.set_context(context).unwrap();
    requester.start_snapshot_set().unwrap();
    for index in 0..2 {
        requester.add_to_snapshot_set(&rig.volume(index), None).unwrap();
    }
    let copies = requester.do_snapshot_set().unwrap();
    let (shadow, attributes) = (copies[0].luns[0].device.clone(), copies[0].attributes);
    Recovered { requester, rig, writer, shadow, attributes }
}

impl Recovered {
    fn record_on(&self, device: &DeviceName) -> Vec<u8> {
        let mut record = vec![0; RECOVERED.len()];
        self.rig.host.disk_io(device).unwrap().read_at(RECORD_AT_BYTES[0], &mut record).unwrap();
        record
    }
}

#[test]
fn what_a_writer_changes_in_time_is_kept_and_nothing_afterwards() {
    for (context, asks) in [
        // The writer's own wish, and the requester's.
        (Context::CTX_BACKUP, true),
        (Context::CTX_BACKUP | Context::ROLLBACK_RECOVERY, false),
        (Context::CTX_APP_ROLLBACK | Context::TXF_RECOVERY | Context::PLEX, false),
    ] {
        let set = create_in(context, asks);
        let source = set.rig.devices[0].clone();
        let before = set.record_on(&source);
        assert_eq!(*set.writer.written.lock().unwrap(), [(set.shadow.clone(), true)], "{context:?}");
        assert_eq!(set.attributes.contains(Context::AUTORECOVER), asks, "{context:?}");
        assert_eq!(set.record_on(&set.shadow), RECOVERED, "{context:?}: what was recovered is kept");
        assert_ne!(before, RECOVERED, "{context:?}: the source has not changed");
        // Read-only is the volume's mark, not the LUN's: applications are refused, VSS itself is not (P-93).
        let refused = set.writer.write(&set.shadow).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ReadOnlyFilesystem, "{context:?}");
        set.rig.host.assign_new_identity(&set.shadow).unwrap();

        // What was recovered is what another mapping shows (P-91).
        let Recovered { rig, shadow, requester, .. } = set;
        let number = rig.host.lun_of(&shadow).unwrap();
        assert!(number > 0);
        rig.host.rescan().unwrap();
        drop(requester);
        for shadow in rig.shadows() {
            rig.delete_as_administrator(&[shadow]);
        }
    }
}

#[test]
fn without_auto_recovery_a_writer_is_given_nothing_to_change() {
    for (context, asks) in [
        (Context::CTX_BACKUP, false),
        (Context::CTX_BACKUP | Context::NO_AUTORECOVERY, true),
        (Context::CTX_FILE_SHARE_BACKUP, true),
    ] {
        let set = create_in(context, asks);
        assert!(set.writer.written.lock().unwrap().is_empty(), "{context:?}");
        assert!(!set.attributes.contains(Context::AUTORECOVER), "{context:?}");
        assert_eq!(set.record_on(&set.shadow), set.record_on(&set.rig.devices[0]), "{context:?}");
        let refused = set.writer.write(&set.shadow).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ReadOnlyFilesystem, "{context:?}");
    }
}

#[test]
fn a_writer_that_fails_while_it_recovers_leaves_nothing_writable() {
    let rig = Rig::new();
    repairing(&rig, true);
    rig.host_script.fail_at(crate::faulty_host::Step::Writers(WriterEvent::PostSnapshot));
    let (requester, set, result) = rig.create();
    result.unwrap_err();
    assert!(rig.host.recovering(set).is_empty());
    drop(requester);
    rig.assert_nothing_is_left(set, "a failed recovery");
}

/// Section 4(b), number 4: the LUNs of a transportable set come in for the writers, are masked again, and bring along what was recovered to whom
/// imports them.
#[test]
fn what_is_recovered_of_a_transportable_set_is_there_when_it_is_imported() {
    let rig = Rig::with_settings(Settings {
        transportable_recovery: TransportableRecovery::OnCreatingHost,
        ..Settings::default()
    });
    let writer = repairing(&rig, true);
    let requester = rig.coordinator.requester();
    requester.set_context(Context::CTX_BACKUP | Context::TRANSPORTABLE).unwrap();
    requester.start_snapshot_set().unwrap();
    for index in 0..2 {
        requester.add_to_snapshot_set(&rig.volume(index), None).unwrap();
    }
    let disks = || rig.host.rescan().unwrap().len();
    let before = disks();
    let copies = requester.do_snapshot_set().unwrap();
    let written = writer.written.lock().unwrap().clone();
    assert!(matches!(&written[..], [(_, true)]), "{written:?}");
    assert!(copies.iter().all(|copy| copy.luns.is_empty() && copy.attributes.contains(Context::AUTORECOVER)));
    assert_eq!(disks(), before, "they are masked again");
    let document = requester.document().unwrap();
    assert_eq!(requester.release().unwrap(), 0);
    assert_eq!(rig.shadows().len(), 2, "they belong to whom imports them");

    let importer = rig.coordinator.requester();
    importer.load_document(document);
    let imported = importer.import_snapshots().unwrap();
    assert_eq!(imported.copies.len(), 2);
    let mut record = vec![0; RECOVERED.len()];
    let shadow = &imported.copies[0].luns[0].device;
    rig.host.disk_io(shadow).unwrap().read_at(RECORD_AT_BYTES[0], &mut record).unwrap();
    assert_eq!(record, RECOVERED);
    assert_eq!(importer.release().unwrap(), 2);
    assert!(rig.shadows().is_empty());
}
