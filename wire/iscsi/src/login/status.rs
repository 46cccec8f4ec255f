//! Status class and detail of a Login Response (RFC 7143 11.13.5).

use std::fmt;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// How a login fares.
#[derive(Clone, Copy, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct LoginStatus {
    /// 0 success, 1 redirection, 2 the initiator's fault, 3 the target's.
    pub class: u8,
    /// The case within the class.
    pub detail: u8,
}

macro_rules! statuses {
    ($($(#[$doc:meta])* $name:ident = $class:literal $detail:literal $text:literal,)*) => {
        impl LoginStatus {
            $($(#[$doc])* pub const $name: Self = Self { class: $class, detail: $detail };)*
        }

        impl fmt::Display for LoginStatus {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let Self { class, detail } = self;
                let text = match *self {
                    $(Self::$name => $text,)*
                    _ => "a status that RFC 7143 does not name",
                };
                write!(f, "{text} ({class:02x}{detail:02x}h)")
            }
        }
    };
}

statuses! {
    /// The login goes on, or is complete.
    SUCCESS = 0 0 "success",
    /// The target is somewhere else for now; the response has its TargetAddress.
    MOVED_TEMPORARILY = 1 1 "target moved temporarily",
    /// The target is somewhere else for good; the response has its TargetAddress.
    MOVED_PERMANENTLY = 1 2 "target moved permanently",
    /// The initiator broke the protocol.
    INITIATOR_ERROR = 2 0 "initiator error",
    /// The initiator could not be authenticated, or the ends have no method in common.
    AUTHENTICATION_FAILURE = 2 1 "authentication failure",
    /// The initiator may not use the target.
    AUTHORIZATION_FAILURE = 2 2 "authorization failure",
    /// There is no such target.
    TARGET_NOT_FOUND = 2 3 "target not found",
    /// The target is gone, and nothing says where to.
    TARGET_REMOVED = 2 4 "target removed",
    /// No protocol version in common.
    UNSUPPORTED_VERSION = 2 5 "unsupported version",
    /// No more connections in this session.
    TOO_MANY_CONNECTIONS = 2 6 "too many connections",
    /// A key that must be given was not: InitiatorName or TargetName.
    MISSING_PARAMETER = 2 7 "missing parameter",
    /// The connection cannot be in this session.
    CANNOT_INCLUDE_IN_SESSION = 2 8 "cannot include in session",
    /// The SessionType is not supported.
    SESSION_TYPE_NOT_SUPPORTED = 2 9 "session type not supported",
    /// The session that the connection wants to join does not exist.
    SESSION_DOES_NOT_EXIST = 2 0x0a "session does not exist",
    /// Something other than a Login Request came during the login.
    INVALID_DURING_LOGIN = 2 0x0b "invalid request during login",
    /// The target failed.
    TARGET_ERROR = 3 0 "target error",
    /// The target does not take logins now.
    SERVICE_UNAVAILABLE = 3 1 "service unavailable",
    /// The target has no resources for the session.
    OUT_OF_RESOURCES = 3 2 "out of resources",
}

impl LoginStatus {
    /// Whether the login goes on or is complete.
    #[must_use]
    pub const fn is_success(self) -> bool {
        self.class == 0
    }
}

impl fmt::Debug for LoginStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LoginStatus({self})")
    }
}
