//! `LocateLuns` and `FillInLunInfo`: section 9.8.

use std::thread;

use lunshadow_control::ProblemCode;
use lunshadow_provider::EventId;
use lunshadow_vss::{
    BusType, DeviceName, DiskSignature, HResult, HardwareProvider, Interconnect, LunInformation, StorageIdentifier,
};
use uuid::Uuid;

use crate::fake_array::Fault;
use crate::rig::{NEXT_SET, Rig, SET, Until, foreign, lun, luns, view};

/// A rig with a complete set of `count` LUNs, and its shadow LUNs.
fn created(count: u128) -> (Rig, Vec<LunInformation>) {
    let rig = Rig::new(count);
    rig.create(SET, &luns(count), Until::Created);
    let shadows = rig.targets(&luns(count)).unwrap();
    rig.take_events();
    (rig, shadows)
}

#[test]
fn p_067_p_068_locating_maps_all_luns_with_one_request() {
    let (rig, shadows) = created(3);
    rig.array.take_calls();
    assert_eq!(rig.provider.locate_luns(&shadows), Ok(()));
    assert_eq!(rig.array.take_calls(), ["resolve", "map"]);
    assert_eq!(rig.array.ledger().mapped.into_iter().collect::<Vec<_>>(), rig.array.ledger().shadows());
}

#[test]
fn p_070_duplicates_and_repetitions_are_fine() {
    let (rig, shadows) = created(2);
    let twice = [shadows.clone(), shadows.clone()].concat();
    assert_eq!(rig.provider.locate_luns(&twice), Ok(()));
    assert_eq!(rig.provider.locate_luns(&shadows), Ok(()));
    assert_eq!(rig.array.ledger().mapped.len(), 2);
    assert_eq!(rig.take_events(), []);
}

#[test]
fn p_071_p_079_p_122_a_fresh_process_without_loading_locates_and_identifies() {
    let (rig, shadows) = created(2);
    let other = Rig::on(rig.array.clone());
    assert_eq!(other.provider.locate_luns(&shadows), Ok(()));
    for shadow in &shadows {
        let mut seen = mangled(shadow);
        assert_eq!(other.fill_in(&mut seen), (HResult::S_OK, true));
        assert!(seen.matches_strictly(shadow));
        assert_eq!(other.delete(&seen), Ok(()));
    }
    assert_eq!(other.array.ledger().shadows(), []);
}

#[test]
fn p_072_all_or_none() {
    let (rig, shadows) = created(2);
    rig.provider.locate_luns(&shadows[..1]).unwrap();
    let before = rig.array.ledger();
    let gone = view(lun(99));
    for (stranger, event) in
        [(foreign(), EventId::ForeignDisk), (gone, EventId::UnknownLun), (view(lun(1)), EventId::NotAShadowLun)]
    {
        let list = [shadows.clone(), vec![stranger]].concat();
        assert_eq!(rig.provider.locate_luns(&list), Err(HResult::VSS_E_PROVIDER_VETO));
        assert_eq!(rig.take_events(), [event]);
        assert_eq!(rig.array.ledger(), before, "{event:?}");
    }
    rig.array.fail("map", Fault::Refused(ProblemCode::LimitReached));
    assert_eq!(rig.provider.locate_luns(&shadows), Err(HResult::VSS_E_PROVIDER_VETO));
    assert_eq!(rig.take_events(), [EventId::LimitReached]);
    assert_eq!(rig.array.ledger(), before);
}

#[test]
fn p_073_p_076_a_foreign_disk_is_left_as_it_is() {
    let (rig, _) = created(1);
    let mut seen = foreign();
    assert_eq!(rig.fill_in(&mut seen), (HResult::S_OK, false));
    assert_eq!(seen, foreign());
    for fault in [Fault::Unreachable, Fault::Refused(ProblemCode::Internal)] {
        rig.array.fail("resolve", fault);
        assert_eq!(rig.fill_in(&mut seen), (HResult::VSS_E_PROVIDER_VETO, false));
        assert_eq!(seen, foreign());
        assert_eq!(rig.take_events().len(), 1);
    }
}

#[test]
fn p_023_p_074_p_077_a_lun_of_ours_is_canonical() {
    let (rig, shadows) = created(1);
    let mut seen = LunInformation {
        bus_type: BusType::ISCSI,
        disk_signature: DiskSignature(Uuid::from_u128(9)),
        interconnects: vec![Interconnect { address_type: 5, port: vec![1], address: vec![2] }],
        version: 0,
        ..shadows[0].clone()
    };
    let interconnects = seen.interconnects.clone();
    assert_eq!(rig.fill_in(&mut seen), (HResult::S_OK, true));
    assert_eq!(seen, LunInformation { interconnects, ..shadows[0].clone() });
}

#[test]
fn p_075_p_079_however_the_host_spells_it() {
    type Mangle = fn(&mut LunInformation);
    let ways: [(&str, Mangle); 11] = [
        ("padded", |lun| lun.serial_number = lun.serial_number.take().map(|serial| format!("  {serial:<40}"))),
        ("terminated", |lun| lun.serial_number.as_mut().unwrap().push('\0')),
        ("upper case", |lun| lun.serial_number = lun.serial_number.take().map(|serial| serial.to_uppercase())),
        ("no page 0x80", |lun| lun.serial_number = None),
        ("an empty page 0x80", |lun| lun.serial_number = Some(String::new())),
        ("no page 0x83", |lun| lun.identifiers.clear()),
        ("page 0x83 without the vendor id", |lun| drop(lun.identifiers.pop())),
        ("page 0x83 reversed", |lun| lun.identifiers.reverse()),
        ("a padded vendor id", |lun| lun.identifiers[1].bytes.extend_from_slice(b" \0\0")),
        ("an additional identifier", |lun| {
            lun.identifiers.push(StorageIdentifier { code_set: 1, kind: 4, bytes: vec![0, 0, 0, 1] });
        }),
        ("other INQUIRY texts", |lun| {
            (lun.vendor_id, lun.product_id) = (None, Some("VIRTUAL DISK".to_owned()));
            lun.product_revision = Some("0002".to_owned());
        }),
    ];
    let (rig, shadows) = created(1);
    for (way, mangle) in ways {
        let mut seen = shadows[0].clone();
        mangle(&mut seen);
        assert_eq!(rig.fill_in(&mut seen), (HResult::S_OK, true), "{way}");
        assert_eq!(seen, shadows[0], "{way}");
    }
}

#[test]
fn p_078_p_124_a_hundred_disks_arrive_while_a_set_is_created() {
    let (rig, shadows) = created(2);
    let device = DeviceName("disk".to_owned());
    thread::scope(|scope| {
        for number in 0..100 {
            let (provider, device, shadows) = (&rig.provider, &device, &shadows);
            scope.spawn(move || {
                let ours = number % 10 == 0;
                let mut seen = if ours { mangled(&shadows[0]) } else { foreign() };
                assert_eq!(provider.fill_in_lun_info(device, &mut seen), (HResult::S_OK, ours));
            });
        }
        rig.create(NEXT_SET, &luns(2), Until::Created);
    });
    assert_eq!(rig.targets(&luns(2)).unwrap().len(), 2);
}

#[test]
fn p_124_older_sets_are_imported_and_deleted_while_a_new_one_is_created() {
    for until in Until::ALL {
        let (rig, shadows) = created(1);
        rig.create(NEXT_SET, &luns(1), until);
        assert_eq!(rig.provider.locate_luns(&shadows), Ok(()), "{until:?}");
        let mut seen = mangled(&shadows[0]);
        assert_eq!(rig.fill_in(&mut seen), (HResult::S_OK, true), "{until:?}");
        assert_eq!(rig.delete(&seen), Ok(()), "{until:?}");
        for step in Until::ALL.into_iter().filter(|step| *step > until) {
            rig.step(NEXT_SET, step).unwrap();
        }
        assert_eq!(rig.array.ledger().shadows().len(), 1, "{until:?}");
    }
}

/// A LUN as some other host sees it.
fn mangled(lun: &LunInformation) -> LunInformation {
    LunInformation {
        bus_type: BusType::ISCSI,
        serial_number: lun.serial_number.as_ref().map(|serial| format!(" {}", serial.to_uppercase())),
        disk_signature: DiskSignature(Uuid::from_u128(3)),
        ..lun.clone()
    }
}
