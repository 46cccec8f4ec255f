//! What can happen between VSS, a provider and the array.

use std::fmt;

use super::told::Step;

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// It arrives, and so does its answer.
    Through,
    /// It arrives twice; the second answer arrives.
    Twice,
    /// It arrives, its answer does not.
    AnswerLost,
    /// It does not arrive, as far as anybody knows; it can do so later.
    Late,
}

/// Something that happens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// VSS calls.
    Call(u8, Step),
    /// Something becomes of the request at a place of those that are under way.
    Channel(usize, String, Way),
    /// A late request arrives.
    Arrive(usize, String),
    /// The provider's process ends, and another one begins.
    ProviderCrash,
    /// The array crashes and is started again.
    ArrayCrash,
    /// The leases of committed sets run out.
    CommittedLeasesEnd,
    /// All leases run out.
    LeasesEnd,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Call(set, step) => write!(f, "VSS calls {step} of set {}", set + 1),
            Self::Channel(_, request, Way::Through) => write!(f, "the array gets and answers: {request}"),
            Self::Channel(_, request, Way::Twice) => write!(f, "the array gets twice and answers: {request}"),
            Self::Channel(_, request, Way::AnswerLost) => {
                write!(f, "the array gets, and its answer is lost: {request}")
            }
            Self::Channel(_, request, Way::Late) => write!(f, "the array does not get yet: {request}"),
            Self::Arrive(_, request) => write!(f, "the array gets late: {request}"),
            Self::ProviderCrash => f.write_str("the provider crashes and is started again"),
            Self::ArrayCrash => f.write_str("the array crashes and is started again"),
            Self::CommittedLeasesEnd => f.write_str("the leases of committed sets run out"),
            Self::LeasesEnd => f.write_str("all leases run out"),
        }
    }
}
