//! The border between the array's errors and VSS: which code and which event each becomes.

use lunshadow_array_client::ArrayError;
use lunshadow_control::ProblemCode;
use lunshadow_vss::{HResult, Method};

use crate::EventId;

/// The code that `method` answers for an error of the array. Only codes of the method's own page; the veto where it has no better one.
/// `AreLunsSupported` does not come here with the array's errors: it declines (P-28).
pub(crate) fn code_of(method: Method, error: &ArrayError) -> HResult {
    use HResult as H;
    use Method as M;
    use ProblemCode as P;
    let Some(code) = error.code() else { return H::VSS_E_PROVIDER_VETO };
    match (code, method) {
        (P::UnknownLun | P::WrongRole, M::BeginPrepareSnapshot) => H::VSS_E_VOLUME_NOT_SUPPORTED_BY_PROVIDER,
        (P::LimitReached, M::BeginPrepareSnapshot) => H::VSS_E_MAXIMUM_NUMBER_OF_VOLUMES_REACHED,
        (P::OutOfSpace, M::EndPrepareSnapshots | M::ResyncLuns) => H::VSS_E_INSUFFICIENT_STORAGE,
        (
            P::UnknownSet,
            M::EndPrepareSnapshots
            | M::PreCommitSnapshots
            | M::CommitSnapshots
            | M::PostCommitSnapshots
            | M::AbortSnapshots,
        ) => H::VSS_E_OBJECT_NOT_FOUND,
        (
            P::UnknownLun
            | P::UnknownSet
            | P::SetAborted
            | P::WrongState
            | P::WrongRole
            | P::OutOfSpace
            | P::LimitReached
            | P::DeadlinePassed
            | P::NotAllowed
            | P::PoolReadOnly
            | P::InUse
            | P::NotAuthenticated
            | P::EnrolmentRefused
            | P::InvalidRequest
            | P::Internal,
            _,
        ) => H::VSS_E_PROVIDER_VETO,
    }
}

/// The event that goes with an error of the array.
pub(crate) fn event_of(error: &ArrayError) -> EventId {
    match error {
        ArrayError::Unreachable { .. } => EventId::ArrayUnreachable,
        ArrayError::Refused { code, .. } => match code {
            ProblemCode::UnknownLun => EventId::UnknownLun,
            ProblemCode::UnknownSet => EventId::UnknownSet,
            ProblemCode::SetAborted => EventId::SetAborted,
            ProblemCode::WrongState => EventId::ArrayStateMismatch,
            ProblemCode::WrongRole => EventId::NotAShadowLun,
            ProblemCode::OutOfSpace => EventId::OutOfSpace,
            ProblemCode::LimitReached => EventId::LimitReached,
            ProblemCode::DeadlinePassed => EventId::CommitTooLate,
            ProblemCode::NotAllowed => EventId::HostNotAllowed,
            ProblemCode::PoolReadOnly => EventId::PoolReadOnly,
            ProblemCode::InUse => EventId::LunInUse,
            ProblemCode::NotAuthenticated | ProblemCode::EnrolmentRefused => EventId::CredentialRefused,
            ProblemCode::InvalidRequest | ProblemCode::Internal => EventId::ArrayFailed,
        },
    }
}

/// What the array or the channel says, for the text of the event.
pub(crate) fn detail_of(error: ArrayError) -> String {
    match error {
        ArrayError::Refused { detail, .. } | ArrayError::Unreachable { detail } => detail,
    }
}

#[cfg(test)]
mod tests {
    use lunshadow_vss::is_legal;

    use super::*;

    /// The methods whose pages have the veto: the others never answer with an error of the array.
    fn methods() -> impl Iterator<Item = Method> {
        Method::ALL.iter().copied().filter(|&method| is_legal(method, HResult::VSS_E_PROVIDER_VETO))
    }

    #[test]
    fn p_012_no_code_leaves_its_page() {
        for method in methods() {
            let unreachable = ArrayError::Unreachable { detail: String::new() };
            assert_eq!(code_of(method, &unreachable), HResult::VSS_E_PROVIDER_VETO);
            for &code in ProblemCode::ALL {
                let answer = code_of(method, &ArrayError::Refused { code, detail: String::new() });
                assert!(is_legal(method, answer), "{method}: {code:?} became {answer}");
                assert!(answer.is_failure(), "{method}: {code:?} became {answer}");
            }
        }
    }

    #[test]
    fn better_codes_than_the_veto_are_used() {
        let answer = |method, code| code_of(method, &ArrayError::Refused { code, detail: String::new() });
        let space = HResult::VSS_E_INSUFFICIENT_STORAGE;
        assert_eq!(answer(Method::EndPrepareSnapshots, ProblemCode::OutOfSpace), space);
        assert_eq!(answer(Method::BeginPrepareSnapshot, ProblemCode::OutOfSpace), HResult::VSS_E_PROVIDER_VETO);
        let volumes = HResult::VSS_E_MAXIMUM_NUMBER_OF_VOLUMES_REACHED;
        assert_eq!(answer(Method::BeginPrepareSnapshot, ProblemCode::LimitReached), volumes);
        let unsupported = HResult::VSS_E_VOLUME_NOT_SUPPORTED_BY_PROVIDER;
        assert_eq!(answer(Method::BeginPrepareSnapshot, ProblemCode::UnknownLun), unsupported);
        assert_eq!(answer(Method::CommitSnapshots, ProblemCode::UnknownSet), HResult::VSS_E_OBJECT_NOT_FOUND);
        assert_eq!(answer(Method::LocateLuns, ProblemCode::UnknownSet), HResult::VSS_E_PROVIDER_VETO);
    }
}
