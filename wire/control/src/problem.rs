//! What can be wrong with a request. The codes are stable: a provider decides by them what VSS is told, in a table that has to
//! grow with them.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

macro_rules! problem_codes {
    ($($(#[$documentation:meta])* $name:ident,)*) => {
        /// The reason why the array refused or failed a request. Every code is something that the asker can act on.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
        #[serde(rename_all = "kebab-case")]
        pub enum ProblemCode {
            $($(#[$documentation])* $name,)*
        }

        impl ProblemCode {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name),*];
        }
    };
}

problem_codes! {
    /// No such LUN, or none that the asking host may see: the array does not tell which.
    UnknownLun,
    /// No such shadow set, or one of another host.
    UnknownSet,
    /// The set was aborted, by a request, by its deadline or because its lease ran out.
    SetAborted,
    /// The set is not in the state that the request needs, for example a commit of a set that was not armed.
    WrongState,
    /// The LUN is a source LUN (or a broken-off one) where a shadow LUN is needed, or the other way round.
    WrongRole,
    /// The pool has no room for what was asked.
    OutOfSpace,
    /// A limit of the array is reached (LUNs in a set, shadow LUNs of a LUN, LUN numbers of a host).
    LimitReached,
    /// The commit did not become durable before its deadline. The set is gone; writes go on.
    DeadlinePassed,
    /// The asker has no right to do this.
    NotAllowed,
    /// The pool refuses writes since an I/O error; an administrator has to look.
    PoolReadOnly,
    /// Another host uses the LUN, and what was asked would take its data from under it.
    InUse,
    /// The request carries no credential, or one that the array does not know (any more).
    NotAuthenticated,
    /// The enrolment token is unknown, used already, or expired.
    EnrolmentRefused,
    /// The request cannot be understood, or is longer than allowed.
    InvalidRequest,
    /// The array failed; its log tells more.
    Internal,
}
