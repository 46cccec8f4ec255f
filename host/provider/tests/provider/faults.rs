//! P-12 to P-14: every problem of the array at every request, in every method.

use lunshadow_control::ProblemCode;
use lunshadow_vss::{Context, CreateSnapshotSet, HResult, HardwareProvider, LunStateChange, Method, is_legal};

use crate::fake_array::Fault;
use crate::rig::{NEXT_SET, Rig, SET, Until, luns, view, views};

/// The requests that can fail.
pub(crate) const REQUESTS: [&str; 18] = [
    "resolve",
    "prepare",
    "wait_prepared",
    "open_commit_channel",
    "arm",
    "commit",
    "keep",
    "abort",
    "withdraw",
    "targets",
    "map",
    "unmap",
    "release",
    "note_use",
    "start_resync",
    "resync_state",
    "cancel_resync",
    "overview",
];

/// All problems. The match makes a new code fail to compile here until it is listed.
fn faults() -> Vec<Fault> {
    use ProblemCode as P;
    let next = |code| match code {
        P::UnknownLun => Some(P::UnknownSet),
        P::UnknownSet => Some(P::SetAborted),
        P::SetAborted => Some(P::WrongState),
        P::WrongState => Some(P::WrongRole),
        P::WrongRole => Some(P::OutOfSpace),
        P::OutOfSpace => Some(P::LimitReached),
        P::LimitReached => Some(P::DeadlinePassed),
        P::DeadlinePassed => Some(P::NotAllowed),
        P::NotAllowed => Some(P::PoolReadOnly),
        P::PoolReadOnly => Some(P::InUse),
        P::InUse => Some(P::NotAuthenticated),
        P::NotAuthenticated => Some(P::EnrolmentRefused),
        P::EnrolmentRefused => Some(P::InvalidRequest),
        P::InvalidRequest => Some(P::Internal),
        P::Internal => None,
    };
    let codes = std::iter::successors(Some(P::UnknownLun), |code| next(*code));
    codes.map(Fault::Refused).chain([Fault::Unreachable, Fault::AnswerLost]).collect()
}

/// Calls a method at a time when it is in order, and answers with its code.
fn call(rig: &Rig, method: Method) -> HResult {
    let code = |answer: Result<(), HResult>| answer.err().unwrap_or(HResult::S_OK);
    let shadow = || rig.array.ledger().shadows().first().copied().map(view).into_iter().collect::<Vec<_>>();
    let provider = &rig.provider;
    code(match method {
        Method::AreLunsSupported => rig.supports(Context::CTX_BACKUP, &views(&luns(1))).map(drop),
        Method::FillInLunInfo => return rig.fill_in(&mut views(&luns(1))[0]).0,
        Method::BeginPrepareSnapshot => rig.begin(SET, 2, &luns(1)),
        Method::GetTargetLuns => rig.targets(&luns(1)).map(drop),
        Method::LocateLuns => provider.locate_luns(&shadow()),
        Method::OnLunEmpty => provider.on_lun_empty(None, shadow().first()),
        Method::EndPrepareSnapshots => provider.end_prepare_snapshots(SET),
        Method::PreCommitSnapshots => provider.pre_commit_snapshots(SET),
        Method::CommitSnapshots => provider.commit_snapshots(SET),
        Method::PostCommitSnapshots => provider.post_commit_snapshots(SET, 1),
        Method::PreFinalCommitSnapshots => provider.pre_final_commit_snapshots(SET),
        Method::PostFinalCommitSnapshots => provider.post_final_commit_snapshots(SET),
        Method::AbortSnapshots => provider.abort_snapshots(SET),
        Method::GetProviderCapabilities => provider.get_provider_capabilities().map(drop),
        Method::OnLunStateChange => provider.on_lun_state_change(&shadow(), &[], LunStateChange::DO_MASK_LUNS),
        Method::ResyncLuns => provider.resync_luns(&shadow(), &views(&luns(1))).map(drop),
        Method::OnReuseLuns => provider.on_reuse_luns(&shadow(), &[]),
        Method::OnLoad => provider.on_load(),
        Method::OnUnload => provider.on_unload(true),
    })
}

/// How far the creation is when the method is in order.
fn before(method: Method) -> Until {
    match method {
        Method::AreLunsSupported | Method::BeginPrepareSnapshot | Method::EndPrepareSnapshots => Until::Begun,
        Method::PreCommitSnapshots => Until::Prepared,
        Method::CommitSnapshots => Until::PreCommitted,
        Method::PostCommitSnapshots | Method::AbortSnapshots | Method::OnUnload => Until::Committed,
        Method::PostFinalCommitSnapshots => Until::PreFinal,
        _ => Until::PostCommitted,
    }
}

#[test]
fn p_012_p_013_p_014_every_problem_in_every_method() {
    let mut failures = 0;
    for &method in Method::ALL {
        for request in REQUESTS.into_iter().chain(["who_am_i"]) {
            for fault in faults() {
                let rig = Rig::new(1);
                rig.create(SET, &luns(1), before(method));
                rig.take_events();
                rig.array.fail(request, fault);
                let code = call(&rig, method);
                let case = format!("{method} with {fault:?} in {request}");
                assert!(is_legal(method, code), "{case}: {code}");
                assert_ne!(code, HResult::S_FALSE, "{case}");
                rig.array.heal();
                assert_eq!(rig.provider.abort_snapshots(SET), Ok(()), "{case}");
                let errors = rig.take_errors();
                if code == HResult::VSS_E_PROVIDER_VETO {
                    assert_eq!(errors.len(), 1, "{case}: {errors:?}");
                } else {
                    assert!(errors.len() <= usize::from(code.is_failure()), "{case}: {errors:?}");
                }
                failures += usize::from(code.is_failure());
                rig.begin(NEXT_SET, 1, &luns(1)).unwrap_or_else(|code| unreachable!("{case}: then {code}"));
                assert_eq!(rig.array.ledger().unfinished().len(), 1, "{case}: only the next set is there");
            }
        }
    }
    assert!(failures > 100, "the faults were felt: {failures}");
}

#[test]
fn p_028_the_question_about_support_never_fails() {
    for fault in faults() {
        let rig = Rig::new(1);
        rig.array.fail("resolve", fault);
        assert_eq!(call(&rig, Method::AreLunsSupported), HResult::S_OK);
        assert_eq!(rig.take_events(), []);
    }
}
