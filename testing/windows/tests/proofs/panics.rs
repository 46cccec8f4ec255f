//! Panics: they end in the shell, with an event, and nothing else has changed.

use lunshadow_vss::{HResult, Method, is_legal};
use lunshadow_windows::planted::Fault;
use uuid::Uuid;

use crate::rig::{DEVICE, OK, Upto, VETO, begin, call, server, set_of, shadows_of, sources, targets_of};

/// The event of a fault of the provider itself.
const PANICKED: u16 = 30;

#[test]
fn p_017_a_panic_in_any_method_is_a_veto_with_an_event() {
    let server = server();
    let provider = server.provider();
    for &method in Method::ALL {
        server.plant(method.name(), Fault::Panic);
        server.state();
        let answer = call(&provider, method);
        let expected = match method {
            Method::OnUnload => OK,
            Method::GetProviderCapabilities | Method::OnReuseLuns => HResult::E_NOTIMPL,
            _ => VETO,
        };
        assert_eq!(answer, expected, "{method}");
        assert!(is_legal(method, answer), "{method}");
        let state = server.state();
        assert_eq!(state.panics, [method.name()]);
        server.heal();
        // What the commit has to say waits until writes may go on.
        assert_eq!(provider.on_unload(true), OK);
        let events = [state.events, server.state().events].concat();
        assert_eq!(events, [PANICKED], "{method}");
        // The process, and the object, are as before.
        assert_eq!(shadows_of(&provider, &[1, 2]).len(), 2, "after a panic in {method}");
    }
    assert!(server.stop(), "it ends in good order");
}

#[test]
fn p_017_a_panic_in_a_step_leaves_the_set_to_be_aborted() {
    let steps =
        [Method::EndPrepareSnapshots, Method::PreCommitSnapshots, Method::CommitSnapshots, Method::PostCommitSnapshots];
    let server = server();
    let provider = server.provider();
    for method in steps {
        server.plant(method.name(), Fault::Panic);
        let set = Uuid::new_v4();
        assert_eq!(begin(&provider, set, &[1, 2]), OK);
        let answers =
            [provider.end_prepare(set), provider.pre_commit(set), provider.commit(set), provider.post_commit(set, 1)];
        assert!(answers.contains(&VETO), "{method}: {answers:?}");
        server.heal();
        assert_eq!(provider.abort(set), OK);
        let state = server.state();
        assert_eq!((state.shadows, state.unfinished_sets), (0, 0), "{method}");
    }
}

#[test]
fn p_017_a_panic_in_one_call_does_not_touch_the_set_of_another() {
    let server = server();
    let provider = server.provider();
    let set = set_of(&provider, &[1], Upto::Committed);
    server.plant(Method::AreLunsSupported.name(), Fault::Panic);
    assert_eq!(provider.are_luns_supported(0, &[DEVICE], &mut sources(&[2])), (VETO, false));
    assert_eq!(provider.post_commit(set, 1), OK);
    assert_eq!(targets_of(&provider, &[1]).len(), 1);
}
