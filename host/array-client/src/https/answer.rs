//! What an HTTP answer means.

use lunshadow_control::ProblemCode;
use lunshadow_control::api::Problem;
use serde::de::DeserializeOwned;

use crate::ArrayError;

/// The longest answer that is read, in bytes: 64 LUNs with long designators are far below it.
pub(super) const ANSWER_BYTES_MAX: usize = 4 << 20;

/// The value of a success, the problem of a failure. What is neither comes from something else than an array.
pub(super) fn read<T: DeserializeOwned>(status: u16, body: &[u8]) -> Result<T, ArrayError> {
    if (200..300).contains(&status) {
        return serde_json::from_slice(body).map_err(|error| ArrayError::Refused {
            code: ProblemCode::Internal,
            detail: format!(
                "its answer cannot be understood ({error}); array and provider may be of different versions"
            ),
        });
    }
    match serde_json::from_slice::<Problem>(body) {
        Ok(problem) => Err(ArrayError::Refused { code: problem.code, detail: problem.detail }),
        Err(_) => Err(ArrayError::Unreachable {
            detail: format!("HTTP status {status} came from something that is not an array"),
        }),
    }
}

#[cfg(test)]
mod tests {
    use lunshadow_control::api::OutcomeAnswer;
    use proptest::prelude::*;

    use super::*;

    fn outcome(status: u16, body: &str) -> Result<OutcomeAnswer, ArrayError> {
        read(status, body.as_bytes())
    }

    #[test]
    fn a_problem_keeps_its_code_and_its_words() {
        let body = r#"{"type":"urn:lunshadow:problem:in-use","status":409,"code":"in-use","detail":"host B has it"}"#;
        let refused = ArrayError::Refused { code: ProblemCode::InUse, detail: "host B has it".into() };
        assert_eq!(outcome(409, body), Err(refused));
    }

    #[test]
    fn what_is_no_problem_does_not_come_from_an_array() {
        for body in ["", "<html>Bad Gateway</html>", r#"{"code":"of-the-future","detail":"","type":"","status":1}"#] {
            assert!(matches!(outcome(502, body), Err(ArrayError::Unreachable { .. })), "{body}");
        }
    }

    #[test]
    fn a_success_that_cannot_be_read_is_a_fault_of_the_array() {
        let error = outcome(200, r#"{"outcome":"perhaps"}"#).expect_err("it was taken");
        assert_eq!(error.code(), Some(ProblemCode::Internal));
    }

    proptest! {
        #[test]
        fn any_bytes_are_an_answer_or_an_error(status in 100_u16..600, body in proptest::collection::vec(any::<u8>(), 0..200)) {
            // Random bytes are no answer of ours; what matters is that each gets an error.
            prop_assert!(read::<OutcomeAnswer>(status, &body).is_err());
        }
    }
}
