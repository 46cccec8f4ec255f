//! Sets that another host imports, by their document alone.

use std::sync::Arc;

use lunshadow_control::LunId;
use lunshadow_coordinator::{BackupDocument, Coordinator, Requester, SnapshotProperties, WriterEvent};
use lunshadow_vss::{
    BreakOptions, Context, HardwareProvider, LunInformation, LunStateChange, MatchLevel, SnapshotSetId,
};
use lunshadow_windows::rig::{
    Activation, ArraySide, Host, Identity, PERSISTENT, Product, RECORD_AT_BYTES, Stage, new_name, provider_id,
    settings, shadow_of,
};

use crate::creation::At;

const TRANSPORTABLE: Context = PERSISTENT.union(Context::TRANSPORTABLE);

/// Another host that may import what the stage's host creates, with a provider process of its own. The fields go in this order.
struct Importer {
    coordinator: Coordinator,
    provider: Arc<dyn HardwareProvider>,
    host: Host,
    exporting_host: Host,
    luns: Vec<LunId>,
    array: ArraySide,
    _product: Product,
    _identity: Identity,
}

impl Importer {
    /// The creating host's provider process ends for it, since one class has one process.
    fn take_over(stage: Stage) -> Self {
        let Stage { coordinator, provider, host: exporting_host, product, identity: exporter, luns, array } = stage;
        drop((coordinator, provider));
        let identity = Identity::enrol(&array, &new_name("importer"), Some(&exporter.host));
        product.speak_for(&identity);
        let provider: Arc<dyn HardwareProvider> = product.activate();
        let host = Host::log_in(&identity.host, array.portal()).expect("the array lets the host in");
        assert!(host.devices().is_empty(), "the other host has no LUN of its own");
        let coordinator = host.coordinator(provider_id(), Arc::clone(&provider), settings());
        Self { coordinator, provider, host, exporting_host, luns, array, _product: product, _identity: identity }
    }

    fn import(&self, document: &str) -> (Requester, Vec<SnapshotProperties>) {
        let requester = self.coordinator.requester();
        requester.load_document(BackupDocument::from_xml(document).expect("it is as it was written"));
        let imported = requester.import_snapshots().expect("the shadow LUNs arrive");
        assert_eq!(imported.missing, []);
        (requester, imported.copies)
    }
}

/// Creates a transportable set of all LUNs. What is left of it on this host is the document.
fn create(stage: &Stage) -> (SnapshotSetId, String) {
    let (requester, set) = stage.host.begin(&stage.coordinator, TRANSPORTABLE, &stage.luns);
    let copies = requester.do_snapshot_set().expect("nothing is in the way");
    assert!(copies.iter().all(|copy| copy.luns.is_empty()), "nothing is surfaced here");
    (set, requester.document().expect("a transportable set ends with its document").to_xml())
}

fn shadows_in(document: &str) -> (Vec<LunInformation>, Vec<LunInformation>) {
    let document = BackupDocument::from_xml(document).expect("it is as it was written");
    let luns = document.snapshots.iter().flat_map(|snapshot| &snapshot.luns);
    luns.map(|lun| (lun.shadow.clone(), lun.source.clone())).unzip()
}

#[test]
fn p_067_located_luns_are_mapped_read_write_when_the_call_returns() {
    let stage = Stage::new("locate", Activation::Service, 2);
    let (_, document) = create(&stage);
    let before = stage.host.devices();
    stage.provider.locate_luns(&shadows_in(&document).0).expect("the array has them");
    let arrived: Vec<_> = stage.host.devices().difference(&before).cloned().collect();
    assert_eq!(arrived.len(), 2, "one look after the call shows both");
    for device in arrived {
        stage.host.disk(&device).write_at(RECORD_AT_BYTES, &[9; 512]).expect("it can be written");
    }
}

#[test]
fn p_071_a_fresh_provider_of_another_host_imports_by_the_document() {
    let stage = Stage::new("export", Activation::Service, 2);
    stage.write_records(4);
    let (set, document) = create(&stage);
    stage.write_records(5);
    let importer = Importer::take_over(stage);
    let (requester, copies) = importer.import(&document);
    assert_eq!(copies.len(), 2);
    for copy in &copies {
        assert_eq!(importer.host.record(shadow_of(copy).1), 4);
    }
    assert_eq!(requester.delete_snapshots(lunshadow_coordinator::Deletion::Set(set)).expect("they are its own"), 2);
    assert!(importer.host.devices().is_empty());
    assert_eq!(importer.exporting_host.devices().len(), 2, "the creating host has its sources");
    assert!(importer.luns.iter().all(|lun| importer.array.shadow_count(*lun) == 0));
}

#[test]
fn p_074_arrived_disks_are_recognised_as_what_was_announced() {
    let stage = Stage::new("strict", Activation::Service, 1);
    let (_, document) = create(&stage);
    let importer = Importer::take_over(stage);
    let (_requester, copies) = importer.import(&document);
    assert_eq!(copies[0].luns[0].match_level, MatchLevel::Strict);
    let (announced, device) = shadow_of(&copies[0]);
    let seen = importer.host.lun_of(device);
    let mut filled = seen.clone();
    assert!(importer.provider.fill_in_lun_info(device, &mut filled).1, "it is the provider's");
    assert!(filled.matches_strictly(announced));
    assert_eq!(filled.interconnects, seen.interconnects);
}

#[test]
fn p_080_an_import_can_be_repeated_after_masking() {
    let stage = Stage::new("again", Activation::Service, 1);
    let (set, document) = create(&stage);
    let importer = Importer::take_over(stage);
    for round in 1..=3 {
        let (requester, copies) = importer.import(&document);
        let (_, device) = shadow_of(&copies[0]);
        importer.host.disk(device).write_at(RECORD_AT_BYTES, &[round; 512]).expect("it can be written");
        requester.break_set(set, BreakOptions::MASK_LUNS).expect("the LUNs are masked");
        assert!(importer.host.devices().is_empty(), "round {round}");
    }
    let (_requester, copies) = importer.import(&document);
    assert_eq!(importer.host.record(shadow_of(&copies[0]).1), 3, "the LUN is the same each time");
}

#[test]
fn p_126_what_the_creating_host_writes_and_masks_another_host_finds() {
    let stage = Stage::new("masked", Activation::Service, 1);
    let (_, document) = create(&stage);
    let copies = {
        let requester = stage.coordinator.requester();
        requester.load_document(BackupDocument::from_xml(&document).expect("it is as it was written"));
        requester.import_snapshots().expect("the creating host imports it itself").copies
    };
    let (_, device) = shadow_of(&copies[0]);
    stage.host.disk(device).write_at(RECORD_AT_BYTES, &[6; 512]).expect("it can be written");
    let seen = stage.host.lun_of(device);
    let (shadows, originals) = shadows_in(&document);
    let masked = stage.provider.on_lun_state_change(&shadows, &originals, LunStateChange::DO_MASK_LUNS);
    masked.expect("the array masks them");
    assert_eq!(stage.host.devices().len(), 1, "the creating host has its source only");

    let importer = Importer::take_over(stage);
    let (_importing, copies) = importer.import(&document);
    let (_, device) = shadow_of(&copies[0]);
    assert_eq!(importer.host.record(device), 6);
    assert_eq!(importer.host.lun_of(device).identifiers, seen.identifiers);
    assert_eq!(importer.host.lun_of(device).serial_number, seen.serial_number);
}

#[test]
fn p_091_changes_of_the_recovery_are_there_after_masking_and_on_another_host() {
    let stage = Stage::new("carried", Activation::Service, 1);
    let (_, document) = create(&stage);
    let copies = {
        let requester = stage.coordinator.requester();
        requester.load_document(BackupDocument::from_xml(&document).expect("it is as it was written"));
        requester.import_snapshots().expect("the creating host imports it itself").copies
    };
    let (shadows, originals) = shadows_in(&document);
    let tell = |change| stage.provider.on_lun_state_change(&shadows, &originals, change).expect("it is told");
    tell(LunStateChange::NOTIFY_LUN_PRE_RECOVERY);
    let (_, device) = shadow_of(&copies[0]);
    let bulk = vec![0xa7; 1 << 20];
    for mebibyte in 4..6 {
        stage.host.disk(device).write_at(mebibyte << 20, &bulk).expect("it can be written");
    }
    tell(LunStateChange::NOTIFY_LUN_POST_RECOVERY | LunStateChange::DO_MASK_LUNS);
    assert_eq!(stage.host.devices().len(), 1);

    let importer = Importer::take_over(stage);
    let (_importing, copies) = importer.import(&document);
    let (_, device) = shadow_of(&copies[0]);
    assert!(importer.host.read(device, 4 << 20, 1 << 20) == bulk);
    assert!(importer.host.read(device, 5 << 20, 1 << 20) == bulk);
}

#[test]
fn p_093_a_finished_copy_takes_vsss_own_writes_and_the_source_stays_as_it_is() {
    let stage = Stage::new("finished", Activation::Service, 1);
    let source = stage.host.device_of(stage.luns[0]);
    let original = stage.host.whole(&source);
    // Writers do nothing here; the copy is finished when the creation is.
    stage.host.windows.add_writer(Arc::new(At(WriterEvent::PostSnapshot, || ())));
    let copies = stage.create();
    let (_, device) = shadow_of(&copies[0]);
    let flags = |device| lunshadow_coordinator::disk::read_shadow_flags(&*stage.host.disk(device));
    assert!(!flags(device).expect("it has a table").is_empty());
    let requester = stage.coordinator.requester();
    let broken = requester.break_set(copies[0].set, BreakOptions::MAKE_READ_WRITE);
    broken.expect("the marks of a shadow copy can be taken off");
    assert!(flags(device).expect("it has a table").is_empty());
    assert!(stage.host.whole(&source) == original);
}
