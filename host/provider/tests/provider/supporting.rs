//! `AreLunsSupported`: section 9.4.

use std::sync::Arc;
use std::time::Duration;

use lunshadow_array_client::{Array, NamedArray, SeveralArrays};
use lunshadow_control::{LunId, ProblemCode};
use lunshadow_provider::{Provider, ProviderConfig};
use lunshadow_vss::{Context, DeviceName, HResult, HardwareProvider};

use crate::fake_array::{FakeArray, Fault};
use crate::rig::{NEXT_SET, Rig, SET, Spy, Until, foreign, lun, luns, view, views};

#[test]
fn p_026_an_unknown_lun_is_declined_without_an_event() {
    let rig = Rig::new(1);
    assert_eq!(rig.supports(Context::CTX_BACKUP, &[foreign()]), Ok(false));
    assert_eq!(rig.supports(Context::CTX_BACKUP, &[view(lun(99))]), Ok(false));
    assert_eq!(rig.take_events(), []);
}

#[test]
fn p_027_one_foreign_lun_declines_the_volume() {
    let rig = Rig::new(2);
    assert_eq!(rig.supports(Context::CTX_BACKUP, &views(&luns(2))), Ok(true));
    assert_eq!(rig.supports(Context::CTX_BACKUP, &[view(lun(1)), foreign()]), Ok(false));
}

#[test]
fn p_027_a_volume_on_two_arrays_is_declined() {
    let named = |name: &str, sources| NamedArray {
        name: name.to_owned(),
        array: Arc::new(FakeArray::with(sources)) as Arc<dyn Array>,
    };
    let arrays = SeveralArrays::new(vec![named("one", 1..=2), named("two", 3..=3)]);
    let (log, now) = (Arc::new(Spy::default()), || Duration::ZERO);
    let provider = Provider::new(Arc::new(arrays), log, Arc::new(now), ProviderConfig::default());
    let supports = |luns: &[LunId]| provider.are_luns_supported(Context::CTX_BACKUP, &[], &mut views(luns));
    assert_eq!(supports(&[lun(1), lun(2)]), Ok(true));
    assert_eq!(supports(&[lun(3)]), Ok(true));
    assert_eq!(supports(&[lun(2), lun(3)]), Ok(false));
}

#[test]
fn p_028_what_fails_for_now_is_declined_and_not_an_error() {
    let rig = Rig::new(1);
    for fault in [Fault::Unreachable, Fault::Refused(ProblemCode::Internal), Fault::Refused(ProblemCode::NotAllowed)] {
        rig.array.fail("resolve", fault);
        assert_eq!(rig.supports(Context::CTX_BACKUP, &[view(lun(1))]), Ok(false), "{fault:?}");
    }
    rig.array.set_full();
    assert_eq!(rig.supports(Context::CTX_BACKUP, &[view(lun(1))]), Ok(false));
    assert_eq!(rig.take_events(), []);
}

#[test]
fn p_029_to_p_032_contexts_are_honoured_or_declined() {
    let rig = Rig::new(1);
    let supported = |context| rig.supports(context, &[view(lun(1))]);
    for context in [
        Context::CTX_BACKUP,
        Context::DIFFERENTIAL,
        Context::PLEX,
        Context::TRANSPORTABLE,
        Context::PLEX | Context::TRANSPORTABLE | Context::ROLLBACK_RECOVERY,
        Context::CTX_APP_ROLLBACK | Context::TRANSPORTABLE | Context::DIFFERENTIAL,
        Context::AUTORECOVER | Context::TXF_RECOVERY,
        Context::from_bits_retain(0x8000_0000),
    ] {
        assert_eq!(supported(context), Ok(true), "{context:?}");
    }
    for context in [
        Context::PLEX | Context::DIFFERENTIAL,
        Context::CTX_CLIENT_ACCESSIBLE,
        Context::CTX_CLIENT_ACCESSIBLE_WRITERS,
        Context::FILE_SHARE,
    ] {
        assert_eq!(supported(context), Ok(false), "{context:?}");
    }
}

#[test]
fn p_029_a_full_copy_is_declined_without_room_for_it() {
    let rig = Rig::new(1);
    rig.array.set_low();
    assert_eq!(rig.supports(Context::PLEX, &[view(lun(1))]), Ok(false));
    assert_eq!(rig.supports(Context::DIFFERENTIAL, &[view(lun(1))]), Ok(true));
    assert_eq!(rig.supports(Context::CTX_BACKUP, &[view(lun(1))]), Ok(true), "the default is what there is room for");
    assert_eq!(rig.take_events(), []);
}

#[test]
fn p_033_the_question_leaves_no_trace() {
    let rig = Rig::new(2);
    rig.create(SET, &luns(2), Until::Prepared);
    let (ledger, set, views) = (rig.array.ledger(), rig.provider.current_set(), views(&luns(2)));
    for _ in 0..1000 {
        assert_eq!(rig.supports(Context::CTX_BACKUP, &views), Ok(true));
    }
    assert_eq!((rig.array.ledger(), rig.provider.current_set()), (ledger, set));
    let mut seen = views.clone();
    rig.provider.are_luns_supported(Context::CTX_BACKUP, &[], &mut seen).unwrap();
    assert_eq!(seen, views, "the structures are left alone, P-23");
}

#[test]
fn p_034_a_yes_is_kept() {
    let rig = Rig::new(2);
    assert_eq!(rig.supports(Context::CTX_BACKUP, &views(&luns(2))), Ok(true));
    rig.create(SET, &luns(2), Until::Created);
    assert_eq!(rig.supports(Context::CTX_BACKUP, &views(&luns(2))), Ok(true));
    rig.create(NEXT_SET, &luns(2), Until::Created);
}

#[test]
fn p_035_a_shadow_lun_of_ours_is_ours() {
    let rig = Rig::new(1);
    rig.create(SET, &luns(1), Until::Created);
    let shadow = rig.targets(&luns(1)).unwrap();
    rig.array.set_full();
    assert_eq!(rig.supports(Context::CTX_BACKUP, &shadow), Ok(true));
}

#[test]
fn p_025_arrays_that_do_not_fit_together_are_bad_arguments() {
    let rig = Rig::new(2);
    assert_eq!(rig.supports(Context::CTX_BACKUP, &[]), Err(HResult::E_INVALIDARG));
    let one_name = [DeviceName("disk".to_owned())];
    let answer = rig.provider.are_luns_supported(Context::CTX_BACKUP, &one_name, &mut views(&luns(2)));
    assert_eq!(answer, Err(HResult::E_INVALIDARG));
    assert_eq!(rig.begin(SET, 1, &[]), Err(HResult::E_INVALIDARG));
    rig.create(SET, &luns(1), Until::PostCommitted);
    assert_eq!(rig.targets(&[]), Err(HResult::E_INVALIDARG));
    assert_eq!(rig.provider.locate_luns(&[]), Err(HResult::E_INVALIDARG));
}

#[test]
fn p_024_absent_fields_are_no_problem() {
    let rig = Rig::new(1);
    let mut bare = foreign();
    (bare.vendor_id, bare.product_id, bare.product_revision, bare.serial_number) = (None, None, None, None);
    bare.identifiers.clear();
    assert_eq!(rig.supports(Context::CTX_BACKUP, &[bare.clone()]), Ok(false));
    assert_eq!(rig.fill_in(&mut bare.clone()), (HResult::S_OK, false));
    assert_eq!(rig.delete(&bare), Err(HResult::VSS_E_PROVIDER_VETO));
    assert_eq!(rig.provider.locate_luns(&[bare]), Err(HResult::VSS_E_PROVIDER_VETO));
}
