//! Memory: nothing that came in grows, what is new is task memory, and what is VSS's stays.

use lunshadow_vss::{BusType, DiskSignature, Interconnect, LunInformation};
use lunshadow_windows::planted::{foreign_lun, lun_of_the_array};
use lunshadow_windows::raw::LunArray;
use uuid::Uuid;

use crate::rig::{DEVICE, OK, array_of, begin, server, shadows_of, sources};

/// A way to the LUN, as the host has it.
fn interconnect(byte: u8) -> Interconnect {
    Interconnect { address_type: 3, port: vec![byte; 8], address: vec![byte; 24] }
}

/// A LUN of which nothing is known but what names it.
fn bare(number: u128) -> LunInformation {
    let whole = lun_of_the_array(number);
    LunInformation {
        version: 0,
        bus_type: BusType::ISCSI,
        vendor_id: None,
        product_id: None,
        product_revision: None,
        disk_signature: DiskSignature(Uuid::from_u128(7)),
        identifiers: Vec::new(),
        ..whole
    }
}

#[test]
fn p_020_null_members_are_filled_with_task_memory() {
    let server = server();
    let provider = server.provider();
    let mut lun = array_of(&[bare(1)]);
    assert_eq!(provider.fill_in_lun_info(DEVICE, &mut lun), (OK, true));
    assert_eq!(lun.read(), [lun_of_the_array(1)]);
    // Dropping the array frees every block by itself, those of the stub as well.
    assert_eq!(lun.overrun(), 0);
}

#[test]
fn p_020_values_that_fit_are_changed_in_place() {
    let server = server();
    let provider = server.provider();
    let canonical = lun_of_the_array(1);
    let padded = |text: &Option<String>| text.as_ref().map(|text| format!("{text}   "));
    let mut seen = LunInformation {
        vendor_id: padded(&canonical.vendor_id),
        product_id: padded(&canonical.product_id),
        serial_number: canonical.serial_number.as_ref().map(|serial| serial.to_uppercase()),
        disk_signature: DiskSignature(Uuid::from_u128(7)),
        ..canonical.clone()
    };
    seen.identifiers[1].bytes.extend_from_slice(b"    ");
    let mut lun = array_of(&[seen]);
    assert_eq!(provider.fill_in_lun_info(DEVICE, &mut lun), (OK, true));
    assert_eq!(lun.read(), [canonical]);
    assert_eq!(lun.overrun(), 0);
}

#[test]
fn p_020_values_that_do_not_fit_leave_what_is_there() {
    let server = server();
    let provider = server.provider();
    let canonical = lun_of_the_array(1);
    let mut seen = LunInformation {
        vendor_id: Some("L".to_owned()),
        product_id: Some(String::new()),
        disk_signature: DiskSignature(Uuid::from_u128(7)),
        ..canonical.clone()
    };
    seen.identifiers.truncate(1);
    let mut lun = array_of(&[seen.clone()]);
    assert_eq!(provider.fill_in_lun_info(DEVICE, &mut lun), (OK, true));
    assert_eq!(lun.read(), [LunInformation { disk_signature: DiskSignature::default(), ..seen }]);
    assert_eq!(lun.overrun(), 0, "something grew through the stub's storage");
}

#[test]
fn p_023_interconnects_are_not_touched() {
    let server = server();
    let provider = server.provider();
    let mut seen = bare(1);
    seen.interconnects = vec![interconnect(1), interconnect(2)];
    let mut lun = array_of(&[seen.clone()]);
    assert_eq!(provider.fill_in_lun_info(DEVICE, &mut lun), (OK, true));
    assert_eq!(lun.read()[0].interconnects, seen.interconnects);
    let mut lun = array_of(&[seen.clone()]);
    assert_eq!(provider.are_luns_supported(0, &[DEVICE], &mut lun), (OK, true));
    assert_eq!(lun.read(), [seen], "AreLunsSupported changes nothing at all");
    assert_eq!(lun.overrun(), 0);
}

#[test]
fn p_022_arrays_that_only_go_in_stay_as_they_are() {
    let server = server();
    let provider = server.provider();
    let shadows = shadows_of(&provider, &[1, 2]);
    let (mut sources, mut located) = (sources(&[1, 2]), array_of(&shadows));
    let (before, shadows_before) = (sources.read(), located.read());
    assert_eq!(provider.get_target_luns(Some(&mut sources), &mut LunArray::zeroed(2)), OK);
    assert_eq!(provider.locate(2, Some(&mut located)), OK);
    assert_eq!(provider.on_lun_state_change(Some(&mut located), Some(&mut sources), 2, 0x800), OK);
    assert_eq!((sources.read(), located.read()), (before, shadows_before));
    assert_eq!((sources.overrun(), located.overrun()), (0, 0));
}

#[test]
fn p_021_a_failure_leaves_structures_as_they_came() {
    let server = server();
    let provider = server.provider();
    let mut seen = [bare(1), foreign_lun()];
    seen[1].product_id = None;
    let mut luns = array_of(&seen);
    let answer = provider.begin_prepare((Uuid::new_v4(), Uuid::new_v4()), 0, &[DEVICE, DEVICE], &mut luns);
    assert!(answer.is_failure());
    assert_eq!(luns.read(), seen);
    // Empty destinations stay empty.
    let mut destinations = LunArray::zeroed(1);
    assert!(provider.get_target_luns(Some(&mut sources(&[3])), &mut destinations).is_failure());
    assert_eq!(destinations.read(), LunArray::zeroed(1).read());
    assert_eq!(begin(&provider, Uuid::new_v4(), &[1]), OK);
}
