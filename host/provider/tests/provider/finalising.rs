//! `PreFinalCommitSnapshots` to `OnLunStateChange`: section 9.10; and what is not supported.

use lunshadow_control::{ProblemCode, ShadowUse};
use lunshadow_provider::EventId;
use lunshadow_vss::{CreateSnapshotSet, HResult, HardwareProvider, LunStateChange, SnapshotState};

use crate::fake_array::Fault;
use crate::rig::{NEXT_SET, Rig, SET, Until, foreign, lun, luns, view, views};

#[test]
fn p_089_nothing_is_to_be_done() {
    let rig = Rig::new(1);
    rig.create(SET, &luns(1), Until::PostCommitted);
    rig.array.take_calls();
    assert_eq!(rig.provider.pre_final_commit_snapshots(NEXT_SET), Ok(()), "an unknown set is harmless");
    assert_eq!(rig.provider.post_final_commit_snapshots(NEXT_SET), Ok(()));
    assert_eq!(rig.provider.pre_final_commit_snapshots(SET), Ok(()));
    assert_eq!(rig.provider.post_final_commit_snapshots(SET), Ok(()));
    assert_eq!(rig.array.take_calls(), Vec::<&str>::new());
    assert_eq!(rig.provider.current_set(), Some((SET, SnapshotState::CREATED)));
    let texts = rig.take_texts();
    assert!(matches!(&texts[..], [text] if text.contains(": 1 LUNs, committed in 0 ms.")), "P-19: {texts:?}");
}

#[test]
fn p_092_targets_before_and_after_the_final_steps() {
    let (before, after) = (Rig::new(1), Rig::new(1));
    before.create(SET, &luns(1), Until::PostCommitted);
    let targets = before.targets(&luns(1)).unwrap();
    before.provider.locate_luns(&targets).unwrap();
    before.step(SET, Until::PreFinal).unwrap();
    before.step(SET, Until::Created).unwrap();
    after.create(SET, &luns(1), Until::Created);
    assert_eq!(after.targets(&luns(1)).unwrap(), targets);
    assert_eq!(after.provider.locate_luns(&targets), Ok(()));
}

#[test]
fn p_095_p_126_masking_unmaps_and_the_lun_can_be_located_again() {
    let rig = Rig::new(2);
    rig.create(SET, &luns(2), Until::Created);
    let shadows = rig.targets(&luns(2)).unwrap();
    rig.provider.locate_luns(&shadows).unwrap();
    rig.provider.on_lun_state_change(&shadows, &views(&luns(2)), LunStateChange::DO_MASK_LUNS).unwrap();
    assert!(rig.array.ledger().mapped.is_empty());
    assert_eq!(rig.array.ledger().shadows().len(), 2);
    let other = Rig::on(rig.array.clone());
    assert_eq!(other.provider.locate_luns(&shadows), Ok(()));
    let mut seen = shadows[0].clone();
    assert_eq!(other.fill_in(&mut seen), (HResult::S_OK, true));
    assert_eq!(seen, shadows[0]);
}

#[test]
fn p_096_notifications_only_tell_the_array_what_the_luns_are_used_for() {
    let rig = Rig::new(1);
    rig.create(SET, &luns(1), Until::Created);
    let shadows = rig.targets(&luns(1)).unwrap();
    let shadow = rig.array.ledger().shadows()[0];
    rig.provider.locate_luns(&shadows).unwrap();
    rig.take_events();
    for (change, used) in [
        (LunStateChange::NOTIFY_LUN_PRE_RECOVERY, ShadowUse::Recovering),
        (LunStateChange::NOTIFY_LUN_POST_RECOVERY, ShadowUse::Recovered),
        (LunStateChange::NOTIFY_LUN_PRE_RECOVERY | LunStateChange::NOTIFY_LUN_POST_RECOVERY, ShadowUse::Recovered),
        (LunStateChange::NOTIFY_READ_WRITE, ShadowUse::ReadWrite),
        // It is no shadow LUN any more, so there is nothing to tell.
        (LunStateChange::NOTIFY_LUN_PRE_RECOVERY, ShadowUse::ReadWrite),
    ] {
        assert_eq!(rig.provider.on_lun_state_change(&shadows, &[], change), Ok(()), "{change:?}");
        assert_eq!(rig.array.ledger().uses.get(&shadow), Some(&used), "{change:?}");
        assert!(rig.array.ledger().mapped.contains(&shadow), "{change:?}");
    }
    assert_eq!(rig.take_events(), []);
}

#[test]
fn p_096_bits_without_a_meaning_ask_nothing() {
    let rig = Rig::new(1);
    rig.create(SET, &luns(1), Until::Created);
    let shadows = rig.targets(&luns(1)).unwrap();
    rig.array.take_calls();
    for change in [LunStateChange::from_bits_retain(0xffff_f0ff), LunStateChange::empty()] {
        assert_eq!(rig.provider.on_lun_state_change(&shadows, &[], change), Ok(()), "{change:?}");
    }
    assert_eq!(rig.provider.on_lun_state_change(&[], &[], LunStateChange::NOTIFY_READ_WRITE), Ok(()));
    assert_eq!(rig.array.take_calls(), Vec::<&str>::new());
}

#[test]
fn p_096_notifications_succeed_without_the_array() {
    for request in ["resolve", "note_use"] {
        for fault in [Fault::Unreachable, Fault::Refused(ProblemCode::Internal)] {
            let rig = Rig::new(1);
            rig.create(SET, &luns(1), Until::Created);
            let shadows = rig.targets(&luns(1)).unwrap();
            rig.take_events();
            for (change, events) in [
                (LunStateChange::NOTIFY_LUN_PRE_RECOVERY, vec![]),
                (LunStateChange::NOTIFY_LUN_POST_RECOVERY, vec![]),
                (LunStateChange::NOTIFY_READ_WRITE, vec![EventId::UseNotNoted]),
            ] {
                rig.array.fail(request, fault);
                assert_eq!(rig.provider.on_lun_state_change(&shadows, &[], change), Ok(()), "{request}, {fault:?}");
                assert_eq!(rig.take_events(), events, "{request}, {fault:?}, {change:?}");
            }
        }
    }
}

#[test]
fn p_096_disks_of_others_are_not_told_about() {
    let rig = Rig::new(1);
    let change = LunStateChange::NOTIFY_READ_WRITE;
    assert_eq!(rig.provider.on_lun_state_change(&[foreign(), view(lun(1))], &[], change), Ok(()));
    assert_eq!(rig.array.take_calls(), ["resolve"]);
}

#[test]
fn p_085_p_097_a_lun_that_is_read_write_is_masked_but_never_deleted() {
    let rig = Rig::new(1);
    rig.create(SET, &luns(1), Until::Created);
    let shadows = rig.targets(&luns(1)).unwrap();
    let shadow = rig.array.ledger().shadows()[0];
    rig.provider.locate_luns(&shadows).unwrap();
    rig.take_events();
    let both = LunStateChange::NOTIFY_READ_WRITE | LunStateChange::DO_MASK_LUNS;
    assert_eq!(rig.provider.on_lun_state_change(&shadows, &[], both), Ok(()));
    let ledger = rig.array.ledger();
    assert_eq!((ledger.mapped.len(), ledger.uses.get(&shadow)), (0, Some(&ShadowUse::ReadWrite)));
    assert_eq!(rig.delete(&shadows[0]), Err(HResult::VSS_E_PROVIDER_VETO));
    assert_eq!(rig.take_events(), [EventId::NotAShadowLun]);
    assert_eq!(rig.array.ledger(), ledger);
}

#[test]
fn p_097_what_was_made_read_write_can_still_be_masked_and_nothing_else_can() {
    let rig = Rig::new(2);
    rig.create(SET, &luns(1), Until::Created);
    let shadows = rig.targets(&luns(1)).unwrap();
    rig.provider.locate_luns(&shadows).unwrap();
    assert_eq!(rig.provider.on_lun_state_change(&shadows, &[], LunStateChange::NOTIFY_READ_WRITE), Ok(()));
    rig.take_events();
    for _ in 0..2 {
        assert_eq!(rig.provider.on_lun_state_change(&shadows, &[], LunStateChange::DO_MASK_LUNS), Ok(()));
        assert!(rig.array.ledger().mapped.is_empty());
    }
    let source = rig.provider.on_lun_state_change(&[view(lun(1))], &[], LunStateChange::DO_MASK_LUNS);
    assert_eq!(source, Err(HResult::VSS_E_PROVIDER_VETO));
    assert_eq!(rig.take_events(), [EventId::NotAShadowLun]);
}

#[test]
fn p_085_an_array_that_knows_better_keeps_the_lun() {
    let rig = Rig::new(1);
    rig.create(SET, &luns(1), Until::Created);
    let shadows = rig.targets(&luns(1)).unwrap();
    rig.take_events();
    rig.array.fail("release", Fault::Refused(ProblemCode::WrongRole));
    assert_eq!(rig.delete(&shadows[0]), Err(HResult::VSS_E_PROVIDER_VETO));
    assert_eq!(rig.take_events(), [EventId::NotAShadowLun]);
    assert_eq!(rig.array.ledger().shadows().len(), 1);
}

#[test]
fn p_097_masking_in_every_combination_and_twice() {
    let rig = Rig::new(1);
    rig.create(SET, &luns(1), Until::Created);
    let shadows = rig.targets(&luns(1)).unwrap();
    for bits in [0x800, 0xe00, 0x8000_0800] {
        rig.provider.locate_luns(&shadows).unwrap();
        for _ in 0..2 {
            let change = LunStateChange::from_bits_retain(bits);
            assert_eq!(rig.provider.on_lun_state_change(&shadows, &[], change), Ok(()), "{bits:#x}");
            assert!(rig.array.ledger().mapped.is_empty(), "{bits:#x}");
        }
    }
    rig.delete(&shadows[0]).unwrap();
    assert_eq!(rig.provider.on_lun_state_change(&shadows, &[], LunStateChange::DO_MASK_LUNS), Ok(()));
    assert_eq!(rig.provider.on_lun_state_change(&[], &[], LunStateChange::DO_MASK_LUNS), Ok(()));
}

#[test]
fn only_shadow_luns_are_masked() {
    let rig = Rig::new(1);
    for (stranger, event) in [(view(lun(1)), EventId::NotAShadowLun), (foreign(), EventId::ForeignDisk)] {
        let answer = rig.provider.on_lun_state_change(&[stranger], &[], LunStateChange::DO_MASK_LUNS);
        assert_eq!(answer, Err(HResult::VSS_E_PROVIDER_VETO));
        assert_eq!(rig.take_events(), [event]);
    }
    assert!(!rig.array.take_calls().contains(&"unmap"));
}

#[test]
fn p_098_reserved_methods_have_no_effect() {
    let rig = Rig::new(1);
    assert_eq!(rig.provider.get_provider_capabilities(), Err(HResult::E_NOTIMPL));
    assert_eq!(rig.provider.on_reuse_luns(&views(&luns(1)), &[]), Err(HResult::E_NOTIMPL));
    assert_eq!((rig.array.take_calls(), rig.take_events()), (vec![], vec![]));
}

#[test]
fn loading_succeeds_without_the_array() {
    let rig = Rig::new(1);
    assert_eq!(rig.provider.on_load(), Ok(()));
    assert_eq!(rig.take_events(), []);
    for fault in [Fault::Unreachable, Fault::Refused(ProblemCode::NotAllowed)] {
        rig.array.fail("who_am_i", fault);
        assert_eq!(rig.provider.on_load(), Ok(()));
        assert_eq!(rig.take_events(), [EventId::ArrayNotReady]);
    }
}
