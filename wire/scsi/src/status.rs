//! The status byte that ends a command.

use std::fmt;

/// SAM-5 5.3.1, status code. Codes that are not named here are kept as they came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Status(pub u8);

impl Status {
    /// The command did what it was asked.
    pub const GOOD: Self = Self(0x00);
    /// It did not; sense data says why.
    pub const CHECK_CONDITION: Self = Self(0x02);
    /// PRE-FETCH found all blocks in the cache.
    pub const CONDITION_MET: Self = Self(0x04);
    /// The logical unit cannot take the command now.
    pub const BUSY: Self = Self(0x08);
    /// A reservation of another nexus forbids it.
    pub const RESERVATION_CONFLICT: Self = Self(0x18);
    /// There is no room for another command.
    pub const TASK_SET_FULL: Self = Self(0x28);
    /// An auto contingent allegiance stands in the way.
    pub const ACA_ACTIVE: Self = Self(0x30);
    /// Another nexus aborted the command, and this one had asked to be told (TAS).
    pub const TASK_ABORTED: Self = Self(0x40);
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match *self {
            Self::GOOD => "GOOD",
            Self::CHECK_CONDITION => "CHECK CONDITION",
            Self::CONDITION_MET => "CONDITION MET",
            Self::BUSY => "BUSY",
            Self::RESERVATION_CONFLICT => "RESERVATION CONFLICT",
            Self::TASK_SET_FULL => "TASK SET FULL",
            Self::ACA_ACTIVE => "ACA ACTIVE",
            Self::TASK_ABORTED => "TASK ABORTED",
            Self(code) => return write!(f, "status {code:02X}h"),
        };
        f.write_str(name)
    }
}
