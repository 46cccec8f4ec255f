//! The login phase of both ends (RFC 7143 6.3): PDUs in, PDUs out.

mod chap;
mod initiator;
mod status;
mod target;

use crate::negotiation::SessionParameters;
use crate::pdu::Isid;
use crate::serial::SerialNumber;

pub use chap::{
    CHAP_CHALLENGE_BYTES, CHAP_SECRET_BYTES_MAX, CHAP_SECRET_BYTES_MIN, ChapAlgorithm, ChapChallenge, ChapCredential,
    ChapError, ChapSecret, SecretLengthError,
};
pub use initiator::{InitiatorChap, InitiatorLogin, InitiatorLoginConfig, InitiatorStep, LoginError, LoginPath};
pub use status::LoginStatus;
pub use target::{Admission, Authentication, OutOfLogin, TargetLogin, TargetLoginConfig, TargetStep};

/// Longest iSCSI name in bytes (RFC 7143 4.2.7.1).
pub const NAME_BYTES_MAX: usize = 223;

/// What a session is for (RFC 7143 13.21).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SessionKind {
    /// Only to ask for targets.
    Discovery,
    /// To use one target.
    Normal,
}

/// Who logs in, and to what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoginIdentity {
    /// The initiator's name as it was given. Names compare without regard to case.
    pub initiator_name: String,
    /// The initiator's own words about itself.
    pub initiator_alias: Option<String>,
    /// The target asked for; always there in a normal session.
    pub target_name: Option<String>,
    /// What the session is for.
    pub kind: SessionKind,
    /// The initiator's part of the session's identity.
    pub isid: Isid,
    /// The target's part: 0 asks for a new session; another value for a connection of an existing one.
    pub tsih: u16,
    /// The connection within the session.
    pub cid: u16,
}

/// A session that has reached the full feature phase.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NegotiatedSession {
    /// Who and what; `tsih` is what the target assigned.
    pub identity: LoginIdentity,
    /// How data travels.
    pub parameters: SessionParameters,
    /// The CmdSN of the first command.
    pub first_cmd_sn: SerialNumber,
    /// The last CmdSN that the target takes for now.
    pub max_cmd_sn: SerialNumber,
    /// The StatSN of the target's next response.
    pub next_stat_sn: SerialNumber,
}

/// Keys that say who logs in, taken once at the beginning (RFC 7143 13.4 to 13.7, 13.21).
mod key {
    pub(super) const INITIATOR_NAME: &str = "InitiatorName";
    pub(super) const INITIATOR_ALIAS: &str = "InitiatorAlias";
    pub(super) const TARGET_NAME: &str = "TargetName";
    pub(super) const TARGET_ALIAS: &str = "TargetAlias";
    pub(super) const TARGET_ADDRESS: &str = "TargetAddress";
    pub(super) const TARGET_PORTAL_GROUP_TAG: &str = "TargetPortalGroupTag";
    pub(super) const SESSION_TYPE: &str = "SessionType";
    pub(super) const AUTH_METHOD: &str = "AuthMethod";
}

/// Whether a key has its place in a login: who logs in, how it proves that, or what a session agrees on.
// RFC 7143 §6.2 MUST NOT: a key of the RFC is answered with NotUnderstood.
#[must_use]
pub fn is_login_key(name: &str) -> bool {
    let named = [key::INITIATOR_NAME, key::INITIATOR_ALIAS, key::TARGET_NAME, key::SESSION_TYPE, key::AUTH_METHOD];
    named.contains(&name)
        || TARGET_KEYS.contains(&name)
        || chap::key::ALL.contains(&name)
        || crate::negotiation::is_negotiated(name)
}

/// What a target says about itself, and an initiator never does.
const TARGET_KEYS: &[&str] = &[key::TARGET_ALIAS, key::TARGET_ADDRESS, key::TARGET_PORTAL_GROUP_TAG];

/// Methods of authentication (RFC 7143 12.1).
mod method {
    pub(super) const NONE: &str = "None";
    pub(super) const CHAP: &str = "CHAP";
}

/// The bits of a login PDU's second byte below T and C: current stage in bits 3 and 2, next stage in bits 1 and 0.
fn stage_bits(current: crate::pdu::Stage, next: crate::pdu::Stage) -> u8 {
    (current.0 & 3) << 2 | next.0 & 3
}

/// The two stages of a login PDU's second byte.
fn stages_of(flags: u8) -> (crate::pdu::Stage, crate::pdu::Stage) {
    (crate::pdu::Stage(flags >> 2 & 3), crate::pdu::Stage(flags & 3))
}
