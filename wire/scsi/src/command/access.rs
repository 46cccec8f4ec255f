//! What keeps a command from a unit: reservations of others (SPC-4 table 65, SBC-3 table 13), its state, and that of the port.

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

/// In which asymmetric access states of a target port a unit answers a command (SPC-4 5.15.2.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// In all of them, unavailable too.
    Always,
    /// On standby, too.
    OnStandby,
    /// Only where the port is active.
    Active,
}

impl Command {
    /// Through which target ports the command is answered. REPORT SUPPORTED OPERATION CODES, its like and READ CAPACITY are among those that SPC-4
    /// leaves to the device server: a host that finds the path on standby can set up the disk then.
    #[must_use]
    pub const fn reach(&self) -> Reach {
        match self {
            Self::Inquiry { .. }
            | Self::ReportLuns { .. }
            | Self::RequestSense { .. }
            | Self::ReportTargetPortGroups { .. }
            | Self::SetTargetPortGroups { .. } => Reach::Always,
            Self::LogSense { .. }
            | Self::ModeSense { .. }
            | Self::ModeSelect { .. }
            | Self::PersistentReserveIn { .. }
            | Self::PersistentReserveOut { .. }
            | Self::ReportSupportedOperationCodes { .. }
            | Self::ReportSupportedTaskManagementFunctions { .. }
            | Self::ReadCapacity10
            | Self::ReadCapacity16 { .. } => Reach::OnStandby,
            Self::TestUnitReady
            | Self::Reserve(_)
            | Self::Release(_)
            | Self::StartStopUnit { .. }
            | Self::PreventAllowMediumRemoval { .. }
            | Self::Sanitize { .. }
            | Self::ReadDefectData { .. }
            | Self::GetLbaStatus { .. }
            | Self::Read { .. }
            | Self::Write { .. }
            | Self::Verify { .. }
            | Self::WriteAndVerify { .. }
            | Self::CompareAndWrite { .. }
            | Self::WriteAtomic { .. }
            | Self::WriteSame { .. }
            | Self::OrWrite { .. }
            | Self::PreFetch { .. }
            | Self::SynchronizeCache { .. }
            | Self::Unmap { .. }
            | Self::ExtendedCopy { .. }
            | Self::PopulateToken { .. }
            | Self::WriteUsingToken { .. }
            | Self::ReceiveCopyStatus { .. }
            | Self::ReceiveCopyOperatingParameters { .. }
            | Self::ReceiveRodTokenInformation { .. } => Reach::Active,
        }
    }

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
            | Self::SetTargetPortGroups { .. }
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
            | Self::SetTargetPortGroups { .. }
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
