//! `AreLunsSupported`.

use lunshadow_vss::{Context, HResult, Method};
use lunshadow_windows::planted::{Fault, foreign_lun, lun_of_the_array};

use crate::rig::{DEVICE, INVALID, OK, Upto, array_of, server, set_of, shadows_of, sources};

#[test]
fn p_026_p_027_what_is_foreign_is_declined() {
    let server = server();
    let provider = server.provider();
    assert_eq!(provider.are_luns_supported(0, &[DEVICE], &mut array_of(&[foreign_lun()])), (OK, false));
    let mut mixed = array_of(&[lun_of_the_array(1), foreign_lun(), lun_of_the_array(2)]);
    assert_eq!(provider.are_luns_supported(0, &[DEVICE; 3], &mut mixed), (OK, false));
    assert_eq!(server.state().events, Vec::<u16>::new());
}

#[test]
fn p_029_p_030_p_031_p_032_contexts_are_honoured_or_declined() {
    let server = server();
    let provider = server.provider();
    let contexts = [
        (Context::CTX_BACKUP, true),
        (Context::CTX_APP_ROLLBACK, true),
        (Context::TRANSPORTABLE, true),
        (Context::DIFFERENTIAL, true),
        (Context::PLEX, false),
        (Context::DIFFERENTIAL | Context::PLEX, false),
        (Context::CTX_CLIENT_ACCESSIBLE, false),
        (Context::FILE_SHARE, false),
        // A bit that nobody knows, and the highest one: the context is signed on the wire.
        (Context::from_bits_retain(0x8000_0000), true),
    ];
    for (context, expected) in contexts {
        let answer = provider.are_luns_supported(context.bits().cast_signed(), &[DEVICE], &mut sources(&[1]));
        assert_eq!(answer, (OK, expected), "{context:?}");
    }
}

#[test]
fn p_033_a_thousand_questions_leave_no_trace() {
    let server = server();
    let provider = server.provider();
    let before = server.state();
    for _ in 0..1_000 {
        assert_eq!(provider.are_luns_supported(0, &[DEVICE], &mut sources(&[1])), (OK, true));
    }
    assert_eq!(server.state(), before);
}

#[test]
fn p_034_a_yes_is_kept() {
    let server = server();
    let provider = server.provider();
    let numbers: Vec<u128> = (1..=64).collect();
    assert_eq!(provider.are_luns_supported(0, &[], &mut sources(&numbers)), (OK, true));
    set_of(&provider, &numbers, Upto::Created);
}

#[test]
fn p_035_a_shadow_lun_is_ours() {
    let server = server();
    let provider = server.provider();
    let shadows = shadows_of(&provider, &[1]);
    assert_eq!(provider.are_luns_supported(0, &[DEVICE], &mut array_of(&shadows)), (OK, true));
}

#[test]
fn p_036_the_answer_is_no_with_every_failure() {
    let server = server();
    let provider = server.provider();
    for code in [HResult::E_OUTOFMEMORY, HResult::VSS_E_PROVIDER_VETO, HResult::E_FAIL, HResult::S_FALSE] {
        server.plant(Method::AreLunsSupported.name(), Fault::Code(code.bits()));
        let (answer, supported) = provider.are_luns_supported(0, &[DEVICE], &mut sources(&[1]));
        assert!(answer.is_failure() && !supported, "{code}");
    }
    server.plant(Method::AreLunsSupported.name(), Fault::Panic);
    assert!(!provider.are_luns_supported(0, &[DEVICE], &mut sources(&[1])).1);
    server.heal();
    let many = vec![lun_of_the_array(1); 65];
    assert_eq!(provider.are_luns_supported(0, &[], &mut array_of(&many)), (INVALID, false));
}
