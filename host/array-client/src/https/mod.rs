//! An array over HTTPS: `wire/control`'s API from the host's end.

mod answer;
mod array;
mod commit;
mod connector;
mod enrolment;
mod http;
mod tls;

use std::time::Duration;

use lunshadow_control::Fingerprint;

pub use array::HttpsArray;
pub use enrolment::{EnrolError, Enrolment, enrol};
pub(crate) use http::{Http, Verb};

/// Where an array's control service is, and how to know it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// A name or address and a port, IPv6 addresses in brackets.
    pub address: String,
    /// The certificate that it shows. Names and dates in the certificate mean nothing.
    pub fingerprint: Fingerprint,
}

/// How long the requests may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HttpsTimeouts {
    /// A connection with its TLS handshake.
    pub connect: Duration,
    /// A request, in addition to what it asks the array to wait.
    pub request: Duration,
    /// Arming a set: writers are frozen.
    pub arm: Duration,
}

impl Default for HttpsTimeouts {
    /// 5 s to connect, 20 s for a request, 2 s to arm.
    fn default() -> Self {
        Self { connect: Duration::from_secs(5), request: Duration::from_secs(20), arm: Duration::from_secs(2) }
    }
}

/// A part of a path: ids have no letters that would need escaping, names may.
pub(crate) fn path_segment(text: &str) -> String {
    let mut segment = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            segment.push(char::from(byte));
        } else {
            segment.push_str(&format!("%{byte:02X}"));
        }
    }
    segment
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_leave_their_segment_of_a_path() {
        assert_eq!(path_segment("sql-1.data"), "sql-1.data");
        assert_eq!(path_segment("../x y?é"), "..%2Fx%20y%3F%C3%A9");
    }
}
