//! What reservations of others keep a command from (SPC-4 table 65, SBC-3 table 13).

use super::{Command, Power};

/// How a command uses a unit, as far as reservations care.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// No persistent reservation forbids it.
    Harmless,
    /// It reads the medium: a reservation that is exclusive for all access forbids it.
    Reading,
    /// It changes the medium or the unit, or learns what only its users need: every reservation forbids it.
    Changing,
    /// It deals with reservations and has rules of its own.
    Reserving,
}

/// What state a unit has to be in for a command (SBC-3 4.3 and 4.11).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readiness {
    /// Any: it says what is there, or how it is.
    Any,
    /// It has to be done with sanitizing.
    Sane,
    /// There has to be a medium, too.
    Loaded,
    /// And the medium must not be protected.
    Writable,
    /// There has to be a medium, though it may be one that could not be sanitized.
    Erasable,
}

impl Command {
    /// What state the unit has to be in.
    #[must_use]
    pub const fn readiness(&self) -> Readiness {
        match self {
            Self::RequestSense { .. }
            | Self::Inquiry { .. }
            | Self::ReportLuns { .. }
            | Self::ReportSupportedOperationCodes { .. }
            | Self::ReportSupportedTaskManagementFunctions { .. } => Readiness::Any,
            Self::LogSense { .. }
            | Self::ModeSense { .. }
            | Self::ModeSelect { .. }
            | Self::ReportTargetPortGroups { .. }
            | Self::PersistentReserveIn { .. }
            | Self::PersistentReserveOut { .. }
            | Self::Reserve(_)
            | Self::Release(_)
            | Self::StartStopUnit { .. }
            | Self::PreventAllowMediumRemoval { .. }
            | Self::ReceiveCopyStatus { .. }
            | Self::ReceiveCopyOperatingParameters { .. }
            | Self::ReceiveRodTokenInformation { .. } => Readiness::Sane,
            Self::TestUnitReady
            | Self::ReadCapacity10
            | Self::ReadCapacity16 { .. }
            | Self::ReadDefectData { .. }
            | Self::GetLbaStatus { .. }
            | Self::Read { .. }
            | Self::Verify { .. }
            | Self::PreFetch { .. }
            | Self::SynchronizeCache { .. }
            | Self::ExtendedCopy { .. }
            | Self::PopulateToken { .. } => Readiness::Loaded,
            Self::Write { .. }
            | Self::WriteAndVerify { .. }
            | Self::CompareAndWrite { .. }
            | Self::WriteAtomic { .. }
            | Self::WriteSame { .. }
            | Self::OrWrite { .. }
            | Self::Unmap { .. }
            | Self::WriteUsingToken { .. } => Readiness::Writable,
            Self::Sanitize { .. } => Readiness::Erasable,
        }
    }

    /// How the command uses the unit.
    #[must_use]
    pub const fn access(&self) -> Access {
        match self {
            Self::TestUnitReady
            | Self::RequestSense { .. }
            | Self::Inquiry { .. }
            | Self::ReportLuns { .. }
            | Self::LogSense { .. }
            | Self::ReportTargetPortGroups { .. }
            | Self::StartStopUnit { power: Power::Start, .. }
            | Self::PreventAllowMediumRemoval { prevent: false }
            | Self::ReadCapacity10
            | Self::ReadCapacity16 { .. }
            | Self::ReadDefectData { .. }
            | Self::ReceiveCopyStatus { .. }
            | Self::ReceiveCopyOperatingParameters { .. }
            | Self::ReceiveRodTokenInformation { .. } => Access::Harmless,
            Self::PopulateToken { .. }
            | Self::GetLbaStatus { .. }
            | Self::Read { .. }
            | Self::Verify { .. }
            | Self::PreFetch { .. } => Access::Reading,
            Self::ModeSense { .. }
            | Self::ModeSelect { .. }
            | Self::ReportSupportedOperationCodes { .. }
            | Self::ReportSupportedTaskManagementFunctions { .. }
            | Self::StartStopUnit { .. }
            | Self::PreventAllowMediumRemoval { .. }
            | Self::Write { .. }
            | Self::WriteAndVerify { .. }
            | Self::CompareAndWrite { .. }
            | Self::WriteAtomic { .. }
            | Self::WriteSame { .. }
            | Self::OrWrite { .. }
            | Self::SynchronizeCache { .. }
            | Self::Unmap { .. }
            | Self::Sanitize { .. }
            | Self::ExtendedCopy { .. }
            | Self::WriteUsingToken { .. } => Access::Changing,
            Self::PersistentReserveIn { .. }
            | Self::PersistentReserveOut { .. }
            | Self::Reserve(_)
            | Self::Release(_) => Access::Reserving,
        }
    }
}
