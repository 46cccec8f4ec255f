//! Disks that arrive, are mapped, masked and deleted.

use lunshadow_vss::{DiskSignature, HResult, LUN_INFORMATION_VERSION, LunInformation, Method};
use lunshadow_windows::planted::{Fault, foreign_lun, lun_of_the_array};
use uuid::Uuid;

use crate::rig::{DEVICE, INVALID, OK, VETO, array_of, server, shadows_of, sources};

#[test]
fn p_070_p_072_locating_is_all_or_none_and_can_be_repeated() {
    let server = server();
    let provider = server.provider();
    let shadows = shadows_of(&provider, &[1, 2]);
    let with_foreign = [shadows[0].clone(), foreign_lun()];
    assert_eq!(provider.locate(2, Some(&mut array_of(&with_foreign))), VETO);
    assert_eq!(server.state().mapped, 0);
    let twice = [shadows.clone(), shadows].concat();
    for _ in 0..2 {
        assert_eq!(provider.locate(4, Some(&mut array_of(&twice))), OK);
        assert_eq!(server.state().mapped, 2);
    }
}

#[test]
fn p_073_a_foreign_disk_is_left_as_it_is() {
    let server = server();
    let provider = server.provider();
    let disk = LunInformation { version: 0, disk_signature: DiskSignature(Uuid::from_u128(7)), ..foreign_lun() };
    let mut lun = array_of(std::slice::from_ref(&disk));
    assert_eq!(provider.fill_in_lun_info(DEVICE, &mut lun), (OK, false));
    assert_eq!(lun.read(), [disk]);
    assert_eq!(server.state().events, Vec::<u16>::new());
}

#[test]
fn p_074_p_075_p_077_a_shadow_lun_is_what_get_target_luns_said() {
    let server = server();
    let provider = server.provider();
    let shadow = shadows_of(&provider, &[1]).remove(0);
    let mut seen = LunInformation {
        version: 0,
        disk_signature: DiskSignature(Uuid::from_u128(7)),
        vendor_id: shadow.vendor_id.as_ref().map(|vendor| format!("{vendor} ")),
        product_revision: None,
        serial_number: shadow.serial_number.as_ref().map(|serial| serial.to_uppercase()),
        ..shadow.clone()
    };
    seen.identifiers.reverse();
    seen.identifiers[0].bytes.resize(64, b' ');
    seen.identifiers[1].bytes.resize(8, 0);
    let mut lun = array_of(&[seen]);
    assert_eq!(provider.fill_in_lun_info(DEVICE, &mut lun), (OK, true));
    let filled = lun.read().remove(0);
    assert_eq!((filled.version, filled.disk_signature), (LUN_INFORMATION_VERSION, DiskSignature::default()));
    let texts = |lun: &LunInformation| {
        [lun.vendor_id.clone(), lun.product_id.clone(), lun.product_revision.clone(), lun.serial_number.clone()]
    };
    assert_eq!(texts(&filled), texts(&shadow));
    assert_eq!(lun.overrun(), 0);
    assert!(filled.matches_strictly(&shadow));
}

#[test]
fn p_076_the_answer_is_there_on_every_path() {
    let server = server();
    let provider = server.provider();
    let faults = [
        Fault::Panic,
        Fault::Code(HResult::E_OUTOFMEMORY.bits()),
        Fault::Code(HResult::VSS_E_PROVIDER_VETO.bits()),
        Fault::Code(HResult::E_FAIL.bits()),
        Fault::Code(HResult::S_FALSE.bits()),
    ];
    for fault in faults {
        server.plant(Method::FillInLunInfo.name(), fault);
        let mut lun = sources(&[1]);
        // Here the provider says yes together with its code.
        let (answer, supported) = provider.fill_in_lun_info(DEVICE, &mut lun);
        assert!(answer.is_failure() && !supported, "{fault:?}: {answer}");
        assert_eq!(lun.read(), [lun_of_the_array(1)]);
    }
    server.heal();
    let long = LunInformation { vendor_id: Some("v".repeat(5_000)), ..lun_of_the_array(1) };
    assert_eq!(provider.fill_in_lun_info(DEVICE, &mut array_of(&[long])), (INVALID, false));
}

#[test]
fn p_078_a_hundred_disks_arrive_at_once_while_a_set_is_created() {
    let server = server();
    let provider = server.provider();
    std::thread::scope(|scope| {
        let arriving: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    (0..25).all(|_| {
                        provider.fill_in_lun_info(DEVICE, &mut array_of(&[foreign_lun()])) == (OK, false)
                            && provider.fill_in_lun_info(DEVICE, &mut sources(&[3])) == (OK, true)
                    })
                })
            })
            .collect();
        assert_eq!(shadows_of(&provider, &[1, 2]).len(), 2);
        assert!(arriving.into_iter().all(|thread| thread.join().expect("it ends")));
    });
}

#[test]
fn p_084_p_085_p_086_deletion_is_exact_and_needs_no_device() {
    let server = server();
    let provider = server.provider();
    let shadows = shadows_of(&provider, &[1, 2]);
    let one = || array_of(&shadows[..1]);
    assert_eq!(provider.on_lun_empty(None, Some(&mut sources(&[1]))), VETO);
    assert_eq!(provider.on_lun_empty(None, Some(&mut array_of(&[foreign_lun()]))), VETO);
    assert_eq!(server.state().releases, 0);
    assert_eq!(provider.on_lun_empty(None, Some(&mut one())), OK);
    assert_eq!(provider.on_lun_empty(DEVICE, Some(&mut one())), OK, "it is gone, as it should be");
    let state = server.state();
    assert_eq!((state.shadows, state.releases), (1, 1));
}

#[test]
fn p_095_p_096_p_097_state_changes() {
    let server = server();
    let provider = server.provider();
    let shadows = shadows_of(&provider, &[1]);
    let array = || array_of(&shadows);
    assert_eq!(provider.locate(1, Some(&mut array())), OK);
    for notify in [0x100, 0x200, 0x400, 0x700, 0x8000_0000] {
        assert_eq!(provider.on_lun_state_change(Some(&mut array()), Some(&mut sources(&[1])), 1, notify), OK);
        assert_eq!(server.state().mapped, 1, "{notify:#x}");
    }
    for mask in [0x900, 0x800, 0x8000_0800] {
        assert_eq!(provider.on_lun_state_change(Some(&mut array()), None, 1, mask), OK);
        assert_eq!((server.state().mapped, server.state().shadows), (0, 1), "{mask:#x}");
    }
    assert_eq!(provider.locate(1, Some(&mut array())), OK);
}

#[test]
fn p_098_reserved_methods_are_there_and_do_nothing() {
    let server = server();
    let provider = server.provider();
    let before = server.state();
    assert_eq!(provider.capabilities(), (HResult::E_NOTIMPL, 0));
    assert_eq!(provider.reuse(Some(&mut sources(&[1])), Some(&mut sources(&[2])), 1), HResult::E_NOTIMPL);
    assert_eq!(provider.reuse(None, None, 7), HResult::E_NOTIMPL);
    assert_eq!(server.state(), before);
}
