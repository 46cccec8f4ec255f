//! `GetTargetLuns`: section 9.7.

use std::collections::HashSet;

use lunshadow_provider::EventId;
use lunshadow_vss::{
    BusType, CreateSnapshotSet, DiskSignature, HResult, HardwareProvider, LUN_INFORMATION_VERSION, StorageIdentifier,
};

use crate::rig::{NEXT_SET, Rig, SET, Until, foreign, lun, luns, views};

#[test]
fn p_059_element_i_is_the_copy_of_source_i() {
    let rig = Rig::new(3);
    rig.create(SET, &luns(3), Until::PostCommitted);
    let forwards = rig.targets(&luns(3)).unwrap();
    let mut backwards = rig.targets(&[lun(3), lun(2), lun(1)]).unwrap();
    backwards.reverse();
    assert_eq!(forwards.len(), 3);
    assert_eq!(forwards, backwards);
    for (number, target) in (1..).zip(&forwards) {
        assert_eq!(rig.targets(&[lun(number)]).unwrap(), std::slice::from_ref(target));
    }
}

#[test]
fn p_060_the_answer_is_canonical() {
    let rig = Rig::new(1);
    rig.create(SET, &luns(1), Until::PostCommitted);
    let target = &rig.targets(&luns(1)).unwrap()[0];
    assert_eq!(target.version, LUN_INFORMATION_VERSION);
    assert_eq!(target.disk_signature, DiskSignature::default());
    assert_eq!((target.device_type, target.device_type_modifier, target.command_queueing), (0, 0, true));
    assert_eq!(target.bus_type, BusType::SCSI);
    assert_eq!(target.interconnects, []);
    for text in [&target.vendor_id, &target.product_id, &target.product_revision, &target.serial_number] {
        assert!(text.as_ref().is_some_and(|text| !text.is_empty()));
    }
}

#[test]
fn p_061_p_062_identifiers_are_unique_among_all_luns_ever() {
    let rig = Rig::new(4);
    let mut seen: HashSet<StorageIdentifier> = HashSet::new();
    for lun in views(&luns(4)) {
        seen.extend(lun.identifiers);
    }
    for set in [SET, NEXT_SET] {
        rig.create(set, &luns(4), Until::Created);
        for target in rig.targets(&luns(4)).unwrap() {
            assert!(target.identifiers.iter().any(StorageIdentifier::is_unique));
            for identifier in target.identifiers {
                assert!(seen.insert(identifier.clone()), "{identifier:?} was there before");
            }
        }
    }
}

#[test]
fn p_063_the_answer_is_the_same_every_time() {
    let rig = Rig::new(2);
    rig.create(SET, &luns(2), Until::PostCommitted);
    let first = rig.targets(&luns(2)).unwrap();
    rig.provider.locate_luns(&first).unwrap();
    for step in [Until::PreFinal, Until::Created] {
        assert_eq!(rig.targets(&luns(2)).unwrap(), first);
        rig.step(SET, step).unwrap();
    }
    assert_eq!(rig.targets(&luns(2)).unwrap(), first);
}

#[test]
fn p_064_the_shadow_lun_is_not_mapped_yet() {
    let rig = Rig::new(1);
    rig.create(SET, &luns(1), Until::PostCommitted);
    rig.targets(&luns(1)).unwrap();
    assert!(rig.array.ledger().ever_mapped.is_empty());
}

#[test]
fn p_065_a_source_outside_the_set_is_vetoed() {
    let rig = Rig::new(2);
    rig.create(SET, &[lun(1)], Until::PostCommitted);
    for sources in [views(&[lun(2)]), views(&[lun(1), lun(2)]), vec![foreign()]] {
        assert_eq!(rig.provider.get_target_luns(&[], &sources), Err(HResult::VSS_E_PROVIDER_VETO));
        assert_eq!(rig.take_errors(), [EventId::SourceNotInSet]);
    }
}

#[test]
fn before_the_post_commit_there_are_no_targets() {
    for until in [Until::Begun, Until::Prepared, Until::Committed] {
        let rig = Rig::new(1);
        rig.create(SET, &luns(1), until);
        assert_eq!(rig.targets(&luns(1)), Err(HResult::VSS_E_PROVIDER_VETO), "{until:?}");
        rig.provider.abort_snapshots(SET).unwrap();
        assert_eq!(rig.take_errors(), [EventId::CallOutOfOrder], "{until:?}");
    }
}
