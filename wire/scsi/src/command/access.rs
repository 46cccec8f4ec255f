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

impl Command {
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
            | Self::Write { .. }
            | Self::WriteAndVerify { .. }
            | Self::CompareAndWrite { .. }
            | Self::WriteAtomic { .. }
            | Self::WriteSame { .. }
            | Self::OrWrite { .. }
            | Self::SynchronizeCache { .. }
            | Self::Unmap { .. }
            | Self::ExtendedCopy { .. }
            | Self::WriteUsingToken { .. } => Access::Changing,
            Self::PersistentReserveIn { .. }
            | Self::PersistentReserveOut { .. }
            | Self::Reserve(_)
            | Self::Release(_) => Access::Reserving,
        }
    }
}
