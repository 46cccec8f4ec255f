//! Codes: none that a method's page does not have, and one event for each veto.

use lunshadow_vss::{HResult, Method, is_legal};
use lunshadow_windows::planted::{Fault, foreign_lun};
use lunshadow_windows::raw::LunArray;
use uuid::Uuid;

use crate::rig::{DEVICE, OK, Upto, VETO, array_of, begin, call, server, set_of, shadows_of, sources};

/// The event of a fault of the provider itself.
const PANICKED: u16 = 30;

#[test]
fn p_012_p_013_no_illegal_code_comes_out_of_any_method() {
    let server = server();
    let provider = server.provider();
    let illegal = [
        HResult::S_OK,
        HResult::S_FALSE,
        HResult::E_FAIL,
        HResult::E_UNEXPECTED,
        HResult::E_ABORT,
        HResult::E_POINTER,
        HResult::VSS_E_BAD_STATE,
        HResult::VSS_E_VOLUME_NOT_SUPPORTED,
        HResult::VSS_E_UNEXPECTED_PROVIDER_ERROR,
    ];
    for &method in Method::ALL {
        // `FillInLunInfo` has its answer beside the code, so that success is one there.
        for code in illegal.into_iter().filter(|code| (method, *code) != (Method::FillInLunInfo, HResult::S_OK)) {
            server.plant(method.name(), Fault::Code(code.bits()));
            let answer = call(&provider, method);
            assert!(is_legal(method, answer), "{method} answered {answer} for {code}");
            let may_succeed = method == Method::OnUnload;
            assert!(answer.is_failure() || may_succeed, "{method} answered {answer} for {code}");
            server.heal();
        }
    }
}

#[test]
fn p_012_legal_codes_come_out_as_they_are() {
    let server = server();
    let provider = server.provider();
    for &method in Method::ALL {
        for &code in lunshadow_vss::legal_codes(method).iter().filter(|code| **code != HResult::S_OK) {
            server.plant(method.name(), Fault::Code(code.bits()));
            assert_eq!(call(&provider, method), code, "{method}");
            server.heal();
        }
    }
    // What somebody else planted is no fault of the provider's.
    assert_eq!(server.state().panics, Vec::<String>::new());
}

#[test]
fn p_014_a_code_that_was_replaced_by_the_veto_has_one_event() {
    let server = server();
    let provider = server.provider();
    for &method in Method::ALL.iter().filter(|method| is_legal(**method, VETO)) {
        server.plant(method.name(), Fault::Code(HResult::E_FAIL.bits()));
        server.state();
        assert_eq!(call(&provider, method), VETO, "{method}");
        if method == Method::CommitSnapshots {
            // Writes may be held, so it waits.
            assert_eq!(server.state().events, Vec::<u16>::new());
            assert_eq!(provider.on_unload(true), OK);
        }
        assert_eq!(server.state().events, [PANICKED], "{method}");
        server.heal();
    }
}

#[test]
fn p_014_each_veto_has_one_event() {
    let server = server();
    let provider = server.provider();
    let shadow = shadows_of(&provider, &[1]);
    let set = Uuid::new_v4();
    assert_eq!(begin(&provider, set, &[1]), OK);
    let foreign = || array_of(&[foreign_lun()]);
    let vetoed: [(&str, &dyn Fn() -> HResult); 7] = [
        ("targets before the commit", &|| provider.get_target_luns(Some(&mut sources(&[1])), &mut LunArray::zeroed(1))),
        ("locating a disk of somebody else", &|| provider.locate(1, Some(&mut foreign()))),
        ("deleting a source", &|| provider.on_lun_empty(DEVICE, Some(&mut sources(&[1])))),
        ("deleting a disk of somebody else", &|| provider.on_lun_empty(DEVICE, Some(&mut foreign()))),
        ("masking a source", &|| provider.on_lun_state_change(Some(&mut sources(&[1])), None, 1, 0x800)),
        ("a resync onto a disk of somebody else", &|| {
            provider.resync(Some(&mut array_of(&shadow)), Some(&mut foreign()), 1).0
        }),
        ("a commit out of order", &|| provider.pre_commit(set)),
    ];
    for (what, refused) in vetoed {
        server.state();
        assert_eq!(refused(), VETO, "{what}");
        // What is said of the commit's steps waits for the next one that may write.
        provider.abort(set);
        assert_eq!(server.state().events.len(), 1, "{what}");
    }
}

#[test]
fn p_015_nothing_is_written_from_the_commit_until_writes_go_on() {
    let server = server();
    let provider = server.provider();
    let set = set_of(&provider, &[1], Upto::PreCommitted);
    server.state();
    assert_eq!(provider.commit(set), OK);
    // Other calls have something to say meanwhile.
    assert_eq!(provider.locate(1, Some(&mut array_of(&[foreign_lun()]))), VETO);
    server.plant(Method::FillInLunInfo.name(), Fault::Panic);
    assert_eq!(provider.fill_in_lun_info(DEVICE, &mut sources(&[1])), (VETO, false));
    let silent = server.state();
    assert_eq!((silent.events, silent.panics.len()), (Vec::new(), 1));
    assert_eq!(provider.post_commit(set, 1), OK);
    assert_eq!(server.state().events, [24, PANICKED]);
}
