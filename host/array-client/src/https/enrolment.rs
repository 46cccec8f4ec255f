//! Enrolment: the one request without a credential.

use std::time::Duration;

use lunshadow_control::api::{ENROL, EnrolAnswer, EnrolRequest};
use lunshadow_control::{EnrolmentString, HostRecord, Secret};

use super::{Endpoint, Http, HttpsTimeouts, Verb};
use crate::ArrayError;

/// What a host has after its enrolment.
#[derive(Debug, Clone)]
pub struct Enrolment {
    /// Where the array is, and how to know it.
    pub endpoint: Endpoint,
    /// What the host authenticates with. To be stored at once: the token is used up.
    pub credential: Secret,
    /// Who the host is at the array.
    pub host: HostRecord,
}

/// Why a host was not enrolled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EnrolError {
    /// The array took no enrolment with this token.
    #[error("the array refused the enrolment: {detail}")]
    Refused {
        /// What the array says.
        detail: String,
    },
    /// There was no answer, or the wrong server answered.
    #[error("the array cannot be reached: {detail}")]
    Unreachable {
        /// What the channel says.
        detail: String,
    },
}

/// Exchanges the token of an enrolment string for a credential.
///
/// # Errors
/// [`EnrolError`]. If the answer is lost the token is used up all the same: the administrator issues another one.
pub fn enrol(string: &EnrolmentString, timeouts: HttpsTimeouts) -> Result<Enrolment, EnrolError> {
    let endpoint = Endpoint { address: string.address.clone(), fingerprint: string.fingerprint };
    let http = Http::new(endpoint.clone(), None, timeouts);
    let request = EnrolRequest { token: string.token.clone() };
    let answer: Result<EnrolAnswer, _> = http.send(Verb::Post, ENROL, &request, Duration::ZERO);
    match answer {
        Ok(EnrolAnswer { host, credential }) => Ok(Enrolment { endpoint, credential, host }),
        Err(ArrayError::Refused { detail, .. }) => Err(EnrolError::Refused { detail }),
        Err(ArrayError::Unreachable { detail }) => Err(EnrolError::Unreachable { detail }),
    }
}
