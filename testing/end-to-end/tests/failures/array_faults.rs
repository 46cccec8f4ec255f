//! Every request to the array, refused in every way there is, or done with its answer lost.

use lunshadow_array_client::ArrayError;
use lunshadow_control::ProblemCode;
use lunshadow_vss::SnapshotSetId;

use crate::faulty_array::{Request, refused, unreachable};
use crate::plan::Fault;
use crate::rig::Rig;

/// Each way in which `request` can be refused during a creation ends without a trace, and does happen.
fn is_refused_without_a_trace(request: Request) {
    let rig = Rig::new();
    for &code in ProblemCode::ALL {
        fails_without_a_trace(&rig, request, Fault::Refuse(refused(code)), &format!("{request:?}: {code:?}"));
    }
    let after = format!("{request:?}: unreachable");
    let set = fails_without_a_trace(&rig, request, Fault::Refuse(unreachable()), &after);
    rig.assert_nothing_is_left(set, &after);
}

/// The same for a request that is carried out and whose answer does not come.
fn is_lost_without_a_trace(request: Request) {
    let rig = Rig::new();
    let after = format!("{request:?}: lost answer");
    let set = fails_without_a_trace(&rig, request, Fault::LoseAnswer(unreachable()), &after);
    rig.assert_nothing_is_left(set, &after);
}

fn fails_without_a_trace(rig: &Rig, request: Request, fault: Fault<ArrayError>, after: &str) -> SnapshotSetId {
    rig.array_script.plan.add(request, fault);
    let (requester, set, result) = rig.create();
    assert_eq!(rig.array_script.plan.clear(), 0, "{after}: the fault did not happen");
    // A volume that is declined or fails to be prepared is missing from the set; everything else fails the set.
    let is_before_the_set = matches!(request, Request::Resolve | Request::Prepare);
    match result {
        Ok(copies) => assert!(is_before_the_set && copies.len() == 1, "{after}"),
        Err(failure) => assert!(failure.code().is_failure(), "{after}: {}", failure.code()),
    }
    drop(requester);
    rig.assert_sources_are_free(after);
    rig.assert_array_is_clean(set, after);
    set
}

#[test]
fn resolve() {
    is_refused_without_a_trace(Request::Resolve);
    is_lost_without_a_trace(Request::Resolve);
}

#[test]
fn prepare() {
    is_refused_without_a_trace(Request::Prepare);
    is_lost_without_a_trace(Request::Prepare);
}

#[test]
fn wait_prepared() {
    is_refused_without_a_trace(Request::WaitPrepared);
    is_lost_without_a_trace(Request::WaitPrepared);
}

#[test]
fn open_commit_channel() {
    is_refused_without_a_trace(Request::OpenCommitChannel);
    is_lost_without_a_trace(Request::OpenCommitChannel);
}

#[test]
fn arm() {
    is_refused_without_a_trace(Request::Arm);
    is_lost_without_a_trace(Request::Arm);
}

#[test]
fn commit() {
    is_refused_without_a_trace(Request::Commit);
    is_lost_without_a_trace(Request::Commit);
}

#[test]
fn keep() {
    is_refused_without_a_trace(Request::Keep);
    is_lost_without_a_trace(Request::Keep);
}

#[test]
fn targets() {
    is_refused_without_a_trace(Request::Targets);
    is_lost_without_a_trace(Request::Targets);
}

#[test]
fn map() {
    is_refused_without_a_trace(Request::Map);
    is_lost_without_a_trace(Request::Map);
}
