//! A provider's process that dies.

use lunshadow_vss::{HResult, Method};
use lunshadow_windows::planted::Fault;
use lunshadow_windows::raw::RawProvider;
use uuid::Uuid;

use crate::rig::{OK, Upto, is_lost, server, set_of, shadows_of, wait_until_delayed};

/// Longer than any test waits.
const FOR_LONG: Fault = Fault::DelayMs(600_000);

#[test]
fn p_120_a_process_killed_in_a_call_is_a_failure_of_the_call_and_a_new_one_works() {
    type Step<'a> = (Method, Upto, &'a (dyn Fn(&RawProvider, Uuid) -> HResult + Sync));
    let steps: [Step<'_>; 3] = [
        (Method::PreCommitSnapshots, Upto::Prepared, &|provider, set| provider.pre_commit(set)),
        (Method::CommitSnapshots, Upto::PreCommitted, &|provider, set| provider.commit(set)),
        (Method::PostCommitSnapshots, Upto::Committed, &|provider, set| provider.post_commit(set, 1)),
    ];
    for (method, upto, step) in steps {
        let mut server = server();
        let provider = server.provider();
        let set = set_of(&provider, &[1], upto);
        server.plant(method.name(), FOR_LONG);
        let answer = std::thread::scope(|scope| {
            let calling = scope.spawn(|| step(&provider, set));
            wait_until_delayed(&server);
            server.kill();
            calling.join().expect("it ends")
        });
        assert!(is_lost(answer), "{method}: {answer}");
        assert!(is_lost(provider.on_load()), "{method}: what is gone stays gone");
        let next = crate::rig::server();
        assert_eq!(shadows_of(&next.provider(), &[1]).len(), 1, "after {method}");
    }
}

#[test]
fn p_120_a_process_that_is_stopped_finishes_its_calls() {
    let server = server();
    let provider = server.provider();
    server.plant(Method::OnLoad.name(), Fault::DelayMs(1_000));
    let (answer, in_good_order) = std::thread::scope(|scope| {
        let calling = scope.spawn(|| provider.on_load());
        wait_until_delayed(&server);
        let in_good_order = server.stop();
        (calling.join().expect("it ends"), in_good_order)
    });
    assert!(in_good_order);
    // The answer may lose the race against the end of the process, but the call has ended.
    assert!(answer == OK || is_lost(answer), "{answer}");
}
