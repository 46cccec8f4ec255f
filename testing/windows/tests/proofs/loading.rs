//! Loading and unloading.

use lunshadow_vss::HResult;
use lunshadow_windows::planted::{Command, ResyncEnd};

use crate::rig::{OK, Upto, array_of, server, set_of, shadows_of, sources};

#[test]
fn p_117_a_forced_unloading_succeeds_and_cleans_up() {
    let server = server();
    let provider = server.provider();
    for upto in [Upto::Prepared, Upto::PreCommitted, Upto::Committed] {
        set_of(&provider, &[1], upto);
        assert_eq!(provider.on_unload(true), OK, "{upto:?}");
        let state = server.state();
        assert_eq!((state.shadows, state.unfinished_sets), (0, 0), "{upto:?}");
    }
    set_of(&provider, &[1], Upto::PostCommitted);
    assert_eq!(provider.on_unload(true), OK);
    assert_eq!(server.state().shadows, 1, "a set that exists stays");
}

#[test]
fn p_118_unloading_asks_to_stay_while_a_resync_runs() {
    let server = server();
    let provider = server.provider();
    let shadows = shadows_of(&provider, &[1]);
    assert_eq!(provider.on_unload(false), OK);
    let (answer, operation) = provider.resync(Some(&mut array_of(&shadows)), Some(&mut sources(&[1])), 1);
    assert_eq!(answer, OK);
    assert_eq!(provider.on_unload(false), HResult::S_FALSE);
    assert_eq!(provider.on_unload(true), OK);
    assert_eq!(provider.on_unload(false), HResult::S_FALSE);
    server.ask(&Command::EndResync(ResyncEnd::Finished)).expect("the process runs");
    assert_eq!(operation.expect("an object").wait(u32::MAX), OK);
    assert_eq!(provider.on_unload(false), OK);
}

#[test]
fn p_119_a_hundred_loads_change_nothing() {
    let server = server();
    for _ in 0..100 {
        let provider = server.provider();
        assert_eq!(provider.on_load(), OK);
        assert_eq!(provider.on_unload(false), OK);
    }
    let provider = server.provider();
    assert_eq!(provider.on_load(), OK);
    assert_eq!(shadows_of(&provider, &[1, 2]).len(), 2);
    let state = server.state();
    assert_eq!((state.shadows, state.unfinished_sets, state.panics.len()), (2, 0, 0));
}

#[test]
fn p_121_loading_needs_no_callback() {
    let server = server();
    let provider = server.provider();
    assert_eq!(provider.on_load(), OK);
    assert_eq!(provider.on_load(), OK);
    assert_eq!(server.state().events, Vec::<u16>::new());
}

#[test]
fn p_122_everything_works_without_loading() {
    let server = server();
    let provider = server.provider();
    let shadows = shadows_of(&provider, &[1]);
    assert_eq!(provider.locate(1, Some(&mut array_of(&shadows))), OK);
    assert_eq!(provider.on_lun_empty(None, Some(&mut array_of(&shadows))), OK);
}

/// VSS may make several objects: the set is the process's.
#[test]
fn objects_share_the_current_set() {
    let server = server();
    let (one, other) = (server.provider(), server.provider());
    let set = set_of(&one, &[1], Upto::Prepared);
    drop(one);
    assert_eq!(other.pre_commit(set), OK);
    assert_eq!(other.commit(set), OK);
    assert_eq!(server.provider().post_commit(set, 1), OK);
}
