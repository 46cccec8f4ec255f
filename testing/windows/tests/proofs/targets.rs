//! `GetTargetLuns`.

use std::collections::BTreeSet;

use lunshadow_vss::{DiskSignature, LUN_INFORMATION_VERSION};
use lunshadow_windows::planted::lun_of_the_array;
use lunshadow_windows::raw::LunArray;

use crate::rig::{OK, Upto, VETO, server, set_of, sources, targets_of};

#[test]
fn p_059_element_i_is_the_copy_of_source_i() {
    let server = server();
    let provider = server.provider();
    set_of(&provider, &[1, 2, 3], Upto::PostCommitted);
    let forwards = targets_of(&provider, &[1, 2, 3]);
    let backwards = targets_of(&provider, &[3, 2, 1]);
    assert_eq!(forwards.len(), 3);
    assert_eq!(forwards, backwards.into_iter().rev().collect::<Vec<_>>());
    assert_eq!(targets_of(&provider, &[2]), forwards[1..2]);
}

#[test]
fn p_060_p_061_p_062_the_identities_are_whole_and_new() {
    let server = server();
    let provider = server.provider();
    let mut known: BTreeSet<_> = (1..=4).flat_map(|number| lun_of_the_array(number).identifiers).collect();
    for _ in 0..3 {
        set_of(&provider, &[1, 2, 3, 4], Upto::PostCommitted);
        for target in targets_of(&provider, &[1, 2, 3, 4]) {
            assert_eq!(target.version, LUN_INFORMATION_VERSION);
            assert_eq!(target.disk_signature, DiskSignature::default());
            assert!(target.interconnects.is_empty());
            assert!(target.identifiers.iter().any(|identifier| identifier.is_unique()));
            for identifier in target.identifiers.into_iter().filter(|identifier| identifier.is_unique()) {
                assert!(known.insert(identifier.clone()), "{identifier:?} was there before");
            }
        }
    }
}

#[test]
fn p_063_the_answer_is_the_same_every_time() {
    let server = server();
    let provider = server.provider();
    set_of(&provider, &[1], Upto::PostCommitted);
    let first = targets_of(&provider, &[1]);
    assert_eq!(targets_of(&provider, &[1]), first);
    // Two volumes of one LUN in one call, and another object of the class.
    assert_eq!(targets_of(&provider, &[1, 1]), [first[0].clone(), first[0].clone()]);
    assert_eq!(targets_of(&server.provider(), &[1]), first);
}

#[test]
fn p_064_nothing_is_mapped_yet() {
    let server = server();
    let provider = server.provider();
    set_of(&provider, &[1], Upto::PostCommitted);
    targets_of(&provider, &[1]);
    assert_eq!(server.state().mapped, 0);
}

#[test]
fn p_065_a_source_outside_the_set_is_vetoed_and_nothing_is_filled() {
    let server = server();
    let provider = server.provider();
    set_of(&provider, &[1], Upto::PostCommitted);
    server.state();
    let mut destinations = LunArray::zeroed(2);
    assert_eq!(provider.get_target_luns(Some(&mut sources(&[1, 2])), &mut destinations), VETO);
    assert_eq!(destinations.read(), LunArray::zeroed(2).read());
    assert_eq!(server.state().events.len(), 1);
    assert_eq!(provider.get_target_luns(Some(&mut sources(&[1])), &mut LunArray::zeroed(1)), OK);
}
