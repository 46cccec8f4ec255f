//! `OnLunEmpty`: section 9.9.

use std::sync::Arc;
use std::thread;

use lunshadow_control::ProblemCode;
use lunshadow_provider::EventId;
use lunshadow_vss::{DeviceName, HResult, HardwareProvider, LunInformation};

use crate::fake_array::{Fault, Moment};
use crate::rig::{NEXT_SET, Rig, SET, Until, foreign, lun, luns, view};

/// A rig with a complete and imported set of `count` LUNs, and its shadow LUNs.
fn imported(count: u128) -> (Rig, Vec<LunInformation>) {
    let rig = Rig::new(count);
    rig.create(SET, &luns(count), Until::Created);
    let shadows = rig.targets(&luns(count)).unwrap();
    rig.provider.locate_luns(&shadows).unwrap();
    rig.take_events();
    (rig, shadows)
}

#[test]
fn p_081_p_086_exactly_the_named_lun_is_removed() {
    let (rig, shadows) = imported(3);
    let mut expected = rig.array.ledger();
    let doomed = rig.array.ledger().sets.values().next().unwrap().members[&lun(2)];
    expected.luns.remove(&doomed);
    expected.mapped.remove(&doomed);
    assert_eq!(rig.delete(&shadows[1]), Ok(()));
    assert_eq!(rig.array.ledger(), expected);
    assert_eq!(rig.take_events(), []);
}

#[test]
fn p_084_a_lun_that_is_gone_is_a_success() {
    let (rig, shadows) = imported(1);
    for _ in 0..3 {
        assert_eq!(rig.delete(&shadows[0]), Ok(()));
    }
    rig.array.fail("release", Fault::Refused(ProblemCode::UnknownLun));
    assert_eq!(rig.delete(&shadows[0]), Ok(()));
    assert_eq!(rig.take_events(), []);
    assert_eq!(Rig::on(rig.array.clone()).delete(&shadows[0]), Ok(()), "a fresh process answers the same");
}

#[test]
fn p_085_source_and_foreign_luns_are_refused() {
    let (rig, shadows) = imported(1);
    let before = rig.array.ledger();
    let mut contradicting = shadows[0].clone();
    contradicting.serial_number = Some("f".repeat(32));
    for (lun, event) in [
        (view(lun(1)), EventId::NotAShadowLun),
        (foreign(), EventId::ForeignDisk),
        (contradicting, EventId::ForeignDisk),
    ] {
        assert_eq!(rig.delete(&lun), Err(HResult::VSS_E_PROVIDER_VETO));
        assert_eq!(rig.take_events(), [event]);
        assert_eq!(rig.array.ledger(), before);
    }
}

#[test]
fn p_085_a_serial_number_that_speaks_against_it_saves_the_lun() {
    let (rig, shadows) = imported(1);
    // Rewritten by something on the way: good enough to find the LUN by page 0x83, not to delete it.
    let rewritten = LunInformation { serial_number: Some("0815".to_owned()), ..shadows[0].clone() };
    assert_eq!(rig.fill_in(&mut rewritten.clone()), (HResult::S_OK, true));
    assert_eq!(rig.delete(&rewritten), Err(HResult::VSS_E_PROVIDER_VETO));
    assert_eq!(rig.array.ledger().shadows().len(), 1);
}

#[test]
fn p_024_p_086_null_parameters() {
    let (rig, shadows) = imported(1);
    assert_eq!(rig.provider.on_lun_empty(None, None), Err(HResult::E_INVALIDARG));
    let device = DeviceName("disk".to_owned());
    assert_eq!(rig.provider.on_lun_empty(Some(&device), Some(&shadows[0])), Ok(()));
}

#[test]
fn p_087_a_deletion_whose_answer_was_lost_can_be_repeated() {
    let (rig, shadows) = imported(2);
    rig.array.fail("release", Fault::AnswerLost);
    assert_eq!(rig.delete(&shadows[0]), Err(HResult::VSS_E_PROVIDER_VETO));
    assert_eq!(rig.take_events(), [EventId::ArrayUnreachable]);
    assert_eq!(rig.delete(&shadows[0]), Ok(()));
    assert_eq!(rig.array.ledger().shadows().len(), 1);
}

#[test]
fn p_088_other_copies_of_the_source_stay() {
    let (rig, older) = imported(1);
    rig.create(NEXT_SET, &luns(1), Until::Created);
    let younger = rig.targets(&luns(1)).unwrap();
    assert_eq!(rig.delete(&older[0]), Ok(()));
    assert_eq!(rig.targets(&luns(1)).unwrap(), younger);
    assert_eq!(rig.provider.locate_luns(&younger), Ok(()));
}

#[test]
fn p_118_unloading_waits_for_deletions_unless_it_is_forced() {
    let (rig, shadows) = imported(1);
    rig.array.hold(Some(("release", Moment::BeforeTheWork)));
    let provider = Arc::clone(&rig.provider);
    let deletion = thread::spawn(move || provider.on_lun_empty(None, Some(&shadows[0])));
    rig.array.await_waiting();
    assert_eq!(rig.provider.on_unload(false), Err(HResult::S_FALSE));
    assert_eq!(rig.provider.on_unload(true), Ok(()));
    rig.array.hold(None);
    assert_eq!(deletion.join().unwrap(), Ok(()));
    assert_eq!(rig.provider.on_unload(false), Ok(()));
}
