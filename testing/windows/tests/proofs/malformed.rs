//! Arguments that do not fit together, or are absurd.

use lunshadow_vss::{LunInformation, StorageIdentifier};
use lunshadow_windows::planted::{foreign_lun, lun_of_the_array};
use lunshadow_windows::raw::LunArray;
use uuid::Uuid;

use crate::rig::{DEVICE, INVALID, OK, VETO, array_of, server, shadows_of, sources};

/// Nothing at all.
fn empty_lun() -> LunInformation {
    LunArray::zeroed(1).read().remove(0)
}

#[test]
fn p_024_null_members_are_no_problem() {
    let server = server();
    let provider = server.provider();
    let empty = || array_of(&[empty_lun()]);
    let ids = (Uuid::new_v4(), Uuid::new_v4());
    assert_eq!(provider.are_luns_supported(0, &[DEVICE], &mut empty()), (OK, false));
    assert_eq!(provider.fill_in_lun_info(DEVICE, &mut empty()), (OK, false));
    assert!(provider.begin_prepare(ids, 0, &[DEVICE], &mut empty()).is_failure());
    assert_eq!(provider.get_target_luns(Some(&mut empty()), &mut LunArray::zeroed(1)), VETO);
    assert_eq!(provider.locate(1, Some(&mut empty())), VETO);
    assert_eq!(provider.on_lun_empty(None, Some(&mut empty())), VETO);
    assert_eq!(provider.on_lun_state_change(Some(&mut empty()), Some(&mut empty()), 1, 0x800), VETO);
    let (answer, operation) = provider.resync(Some(&mut empty()), Some(&mut empty()), 1);
    assert_eq!((answer, operation.is_none()), (VETO, true));
    assert!(server.state().panics.is_empty());
}

#[test]
fn p_024_null_arrays_are_no_problem() {
    let server = server();
    let provider = server.provider();
    shadows_of(&provider, &[1]);
    // Device names may be missing, all of them or one.
    assert_eq!(provider.are_luns_supported(0, &[], &mut sources(&[1])), (OK, true));
    assert_eq!(provider.are_luns_supported(0, &[None], &mut sources(&[1])), (OK, true));
    assert_eq!(provider.fill_in_lun_info(None, &mut sources(&[1])), (OK, true));
    assert_eq!(provider.begin_prepare((Uuid::new_v4(), Uuid::new_v4()), 0, &[], &mut sources(&[1])), OK);
    assert_eq!(provider.get_target_luns(None, &mut LunArray::zeroed(1)), INVALID);
    assert_eq!(provider.locate(1, None), INVALID);
    assert_eq!(provider.locate(0, None), INVALID);
    assert_eq!(provider.on_lun_empty(None, None), INVALID);
    assert_eq!(provider.on_lun_state_change(None, None, 1, 0x800), INVALID);
    assert_eq!(provider.on_lun_state_change(None, None, 0, 0x100), OK);
    assert!(server.state().panics.is_empty());
}

#[test]
fn p_024_p_105_a_resync_of_nothing_is_vetoed_with_an_event() {
    let server = server();
    let provider = server.provider();
    let shadows = shadows_of(&provider, &[1]);
    server.state();
    for count in [0, 1, 10_000] {
        let (answer, operation) = provider.resync(None, None, count);
        assert_eq!((answer, operation.is_none()), (VETO, true), "{count}");
        assert_eq!(server.state().events, [28], "{count}");
    }
    let (answer, operation) = provider.resync(Some(&mut array_of(&shadows)), None, 1);
    assert_eq!((answer, operation.is_none()), (VETO, true));
    assert_eq!(server.state().events, [28]);
}

#[test]
fn p_025_counts_out_of_range_are_bad_arguments() {
    let server = server();
    let provider = server.provider();
    for count in [-1, i32::MIN, 65, 10_000, i32::MAX] {
        assert_eq!(provider.locate(count, None), INVALID, "{count}");
    }
    for count in [65, 10_000, u32::MAX] {
        assert_eq!(provider.on_lun_state_change(None, None, count, 0x100), INVALID, "{count}");
    }
    let many = vec![lun_of_the_array(1); 65];
    let ids = (Uuid::new_v4(), Uuid::new_v4());
    assert_eq!(provider.are_luns_supported(0, &[], &mut array_of(&many)), (INVALID, false));
    assert_eq!(provider.begin_prepare(ids, 0, &[], &mut array_of(&many)), INVALID);
    assert_eq!(provider.get_target_luns(Some(&mut array_of(&many)), &mut LunArray::zeroed(65)), INVALID);
    assert_eq!(provider.locate(65, Some(&mut array_of(&many))), INVALID);
    assert_eq!(provider.are_luns_supported(0, &[], &mut array_of(&many[..64])), (OK, true));
}

#[test]
fn p_025_identifiers_of_any_length_are_handled() {
    let server = server();
    let provider = server.provider();
    let with = |length: usize| {
        let mut lun = lun_of_the_array(1);
        lun.identifiers.push(StorageIdentifier { code_set: 1, kind: 0, bytes: vec![0x55; length] });
        array_of(&[lun])
    };
    for length in [0, 1, 64 * 1024] {
        assert_eq!(provider.fill_in_lun_info(DEVICE, &mut with(length)), (OK, true), "{length}");
        assert_eq!(provider.are_luns_supported(0, &[DEVICE], &mut with(length)), (OK, true), "{length}");
    }
    assert_eq!(provider.fill_in_lun_info(DEVICE, &mut with(64 * 1024 + 1)), (INVALID, false));
    let mut crowded = foreign_lun();
    crowded.identifiers = vec![crowded.identifiers[0].clone(); 1025];
    assert_eq!(provider.are_luns_supported(0, &[DEVICE], &mut array_of(&[crowded])), (INVALID, false));
}

#[test]
fn p_025_strings_of_any_length_are_handled() {
    let server = server();
    let provider = server.provider();
    let with = |length: usize| {
        array_of(&[LunInformation { product_revision: Some("r".repeat(length)), ..lun_of_the_array(1) }])
    };
    for length in [0, 255, 4096] {
        let mut lun = with(length);
        assert_eq!(provider.fill_in_lun_info(DEVICE, &mut lun), (OK, true), "{length}");
        assert_eq!(lun.overrun(), 0, "{length}");
    }
    assert_eq!(provider.fill_in_lun_info(DEVICE, &mut with(4097)), (INVALID, false));
    let name = "d".repeat(40_000);
    assert_eq!(provider.are_luns_supported(0, &[Some(&name)], &mut sources(&[1])), (INVALID, false));
    assert_eq!(provider.on_lun_empty(Some(&name), None), INVALID);
}
