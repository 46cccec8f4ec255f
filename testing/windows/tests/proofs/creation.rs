//! The creation of a set, in and out of order.

use std::time::{Duration, Instant};

use lunshadow_vss::{Context, HResult};
use lunshadow_windows::planted::{Command, foreign_lun};
use uuid::Uuid;

use crate::rig::{DEVICE, NOT_FOUND, OK, Upto, VETO, array_of, begin, server, set_of, shadows_of, sources, targets_of};

#[test]
fn p_039_two_volumes_share_a_lun() {
    let server = server();
    let provider = server.provider();
    let set = Uuid::new_v4();
    assert_eq!(begin(&provider, set, &[1]), OK);
    assert_eq!(begin(&provider, set, &[1]), OK);
    for step in
        [provider.end_prepare(set), provider.pre_commit(set), provider.commit(set), provider.post_commit(set, 2)]
    {
        assert_eq!(step, OK);
    }
    assert_eq!(server.state().shadows, 1);
}

#[test]
fn p_040_p_115_a_new_set_ends_an_unfinished_one() {
    let server = server();
    let provider = server.provider();
    let old = set_of(&provider, &[1], Upto::Committed);
    let new = set_of(&provider, &[2], Upto::Prepared);
    assert_eq!(server.state().unfinished_sets, 1);
    assert_eq!(provider.abort(old), OK);
    for step in [provider.pre_commit(new), provider.commit(new), provider.post_commit(new, 1)] {
        assert_eq!(step, OK);
    }
    assert_eq!(server.state().shadows, 1);
}

#[test]
fn p_042_p_054_unknown_sets_are_not_found() {
    let server = server();
    let provider = server.provider();
    let unknown = Uuid::new_v4();
    // Before any set, and while another one is current.
    for _ in 0..2 {
        assert_eq!(provider.end_prepare(unknown), NOT_FOUND);
        assert_eq!(provider.pre_commit(unknown), NOT_FOUND);
        assert_eq!(provider.commit(unknown), NOT_FOUND);
        assert_eq!(provider.post_commit(unknown, 1), NOT_FOUND);
        assert_eq!(provider.pre_final(unknown), OK, "its page has no code for an unknown set");
        assert_eq!(provider.post_final(unknown), OK, "its page has no code for an unknown set");
        set_of(&provider, &[1], Upto::PostCommitted);
    }
    assert_eq!(server.state().shadows, 2);
}

#[test]
fn p_044_an_abort_ends_a_wait_in_another_call() {
    let server = server();
    let provider = server.provider();
    server.ask(&Command::Preparing(true)).expect("the process runs");
    let set = Uuid::new_v4();
    assert_eq!(begin(&provider, set, &[1]), OK);
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| provider.end_prepare(set));
        // Others are served meanwhile.
        assert_eq!(provider.are_luns_supported(0, &[DEVICE], &mut sources(&[2])), (OK, true));
        assert!(!waiting.is_finished(), "the preparation goes on");
        let aborted = Instant::now();
        assert_eq!(provider.abort(set), OK);
        assert_eq!(waiting.join().expect("it ends"), VETO);
        assert!(aborted.elapsed() < Duration::from_secs(1));
    });
    let state = server.state();
    assert_eq!((state.shadows, state.unfinished_sets), (0, 0));
}

#[test]
fn p_045_sixty_four_luns_and_volumes_in_one_set() {
    let server = server();
    let provider = server.provider();
    let set = Uuid::new_v4();
    for number in 1..=64 {
        assert_eq!(begin(&provider, set, &[number]), OK, "{number}");
    }
    assert_eq!(begin(&provider, set, &[1]), HResult::VSS_E_MAXIMUM_NUMBER_OF_VOLUMES_REACHED);
    for step in
        [provider.end_prepare(set), provider.pre_commit(set), provider.commit(set), provider.post_commit(set, 64)]
    {
        assert_eq!(step, OK);
    }
    assert_eq!(targets_of(&provider, &(1..=64).collect::<Vec<_>>()).len(), 64);
}

#[test]
fn p_041_p_047_what_is_not_supported_has_a_code_of_its_own() {
    let server = server();
    let provider = server.provider();
    let (set, snapshot) = (Uuid::new_v4(), Uuid::new_v4());
    assert_eq!(begin(&provider, set, &[1]), OK);
    let both = (Context::DIFFERENTIAL | Context::PLEX).bits().cast_signed();
    let answer = provider.begin_prepare((set, snapshot), both, &[DEVICE], &mut sources(&[2]));
    assert_eq!(answer, HResult::VSS_E_UNSUPPORTED_CONTEXT);
    let answer = provider.begin_prepare((set, snapshot), 0, &[DEVICE], &mut array_of(&[foreign_lun()]));
    assert_eq!(answer, HResult::VSS_E_VOLUME_NOT_SUPPORTED_BY_PROVIDER);
    // The volume that was there before is not hurt.
    assert_eq!(provider.end_prepare(set), OK);
}

#[test]
fn p_055_calls_out_of_order_veto_and_the_next_set_works() {
    let server = server();
    let provider = server.provider();
    type Step<'a> = (&'a str, Upto, &'a dyn Fn(Uuid) -> HResult);
    let steps: [Step<'_>; 6] = [
        ("end twice", Upto::Prepared, &|set| provider.end_prepare(set)),
        ("commit without pre-commit", Upto::Prepared, &|set| provider.commit(set)),
        ("post-commit without commit", Upto::PreCommitted, &|set| provider.post_commit(set, 1)),
        ("pre-commit twice", Upto::PreCommitted, &|set| provider.pre_commit(set)),
        ("commit twice", Upto::Committed, &|set| provider.commit(set)),
        ("pre-final before post-commit", Upto::Committed, &|set| provider.pre_final(set)),
    ];
    for (what, upto, step) in steps {
        let set = set_of(&provider, &[1], upto);
        assert_eq!(step(set), VETO, "{what}");
        assert_eq!(provider.abort(set), OK, "{what}");
        let state = server.state();
        assert_eq!((state.shadows, state.unfinished_sets), (0, 0), "{what}");
    }
    assert_eq!(shadows_of(&provider, &[1]).len(), 1);
}

#[test]
fn p_056_any_count_is_accepted() {
    let server = server();
    let provider = server.provider();
    for count in [0, 1, 2, 64, -1, i32::MAX] {
        let set = set_of(&provider, &[1], Upto::Committed);
        assert_eq!(provider.post_commit(set, count), OK, "{count}");
    }
}

#[test]
fn p_113_an_abort_removes_every_object_of_the_set() {
    let server = server();
    let provider = server.provider();
    for upto in [Upto::Prepared, Upto::PreCommitted, Upto::Committed] {
        let set = set_of(&provider, &[1, 2], upto);
        assert_eq!(provider.abort(set), OK);
        let state = server.state();
        assert_eq!((state.shadows, state.mapped, state.unfinished_sets), (0, 0, 0), "{upto:?}");
    }
}

#[test]
fn p_114_p_116_aborts_can_be_repeated_and_harm_nobody_else() {
    let server = server();
    let provider = server.provider();
    let kept = set_of(&provider, &[1], Upto::Created);
    assert_eq!(provider.abort(kept), OK, "a set that exists stays");
    assert_eq!(server.state().shadows, 1);
    let set = set_of(&provider, &[2], Upto::Committed);
    for _ in 0..3 {
        assert_eq!(provider.abort(set), OK);
        assert!([OK, NOT_FOUND].contains(&provider.abort(Uuid::new_v4())));
        assert_eq!(server.state().shadows, 1);
    }
}
