//! A command between its arrival and its end: what there is to do, by what right, and how it ended.

use std::sync::Arc;

use bytes::Bytes;
use lunshadow_scsi::{Access, AdditionalSense, Command, Reach, Readiness, Sense, SenseFormat, Status};

use super::illegal_request;
use super::medium::Operation;
use super::nexus::Nexus;
use super::unit::{Disk, UnitId};

/// How a command ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Completion {
    /// The status byte.
    pub status: Status,
    /// Why, if the status is CHECK CONDITION.
    pub sense: Option<Sense>,
    /// What goes to the initiator, cut to the allocation length of the command.
    pub data_in: Bytes,
}

/// A command that was accepted, before its I/O.
#[derive(Debug)]
pub struct Task {
    pub(super) unit: Option<UnitId>,
    pub(super) data_out_len: u32,
    pub(super) sense_format: SenseFormat,
    pub(super) work: Work,
}

#[derive(Debug)]
pub(super) enum Work {
    /// There is nothing left to do but to answer.
    Answer(Completion),
    /// The medium has to be read or written, as far as reservations let it still be when its data has come.
    Medium(Operation, Permit),
}

/// By what right a command uses its unit.
#[derive(Debug, Clone)]
pub(super) struct Permit {
    pub(super) nexus: Arc<Nexus>,
    reach: Reach,
    access: Access,
    readiness: Readiness,
}

impl Completion {
    /// GOOD without data.
    #[must_use]
    pub const fn good() -> Self {
        Self::data(Bytes::new())
    }

    /// GOOD with data.
    #[must_use]
    pub const fn data(data_in: Bytes) -> Self {
        Self { status: Status::GOOD, sense: None, data_in }
    }

    /// CHECK CONDITION.
    #[must_use]
    pub const fn check(sense: Sense) -> Self {
        Self { status: Status::CHECK_CONDITION, sense: Some(sense), data_in: Bytes::new() }
    }
}

impl Work {
    /// GOOD with as much of `data` as the allocation length admits (SPC-4 4.2.5.6).
    pub(super) fn data(mut data: Vec<u8>, allocation_len: impl Into<u32>) -> Self {
        data.truncate(usize::try_from(allocation_len.into()).unwrap_or(usize::MAX));
        Self::Answer(Completion::data(data.into()))
    }
}

impl Permit {
    pub(super) fn new(nexus: &Arc<Nexus>, command: &Command) -> Self {
        let (reach, access, readiness) = (command.reach(), command.access(), command.readiness());
        Self { nexus: nexus.clone(), reach, access, readiness }
    }

    /// Why the unit cannot be used like this now, if it cannot.
    pub(super) fn refusal(&self, disk: &Disk) -> Option<Completion> {
        if let Err(sense) = disk.state.access.check(self.nexus.group(), self.reach) {
            return Some(Completion::check(sense));
        }
        if !disk.state.admits(&self.nexus, self.access, false) {
            return Some(Completion::conflict());
        }
        disk.check(self.readiness).err().map(Completion::check)
    }
}

impl Task {
    /// The unit that the task is for, or `None` if there is none at its LUN.
    #[must_use]
    pub const fn unit(&self) -> Option<UnitId> {
        self.unit
    }

    /// The format that the unit's sense data has at present.
    #[must_use]
    pub const fn sense_format(&self) -> SenseFormat {
        self.sense_format
    }

    /// How many bytes of data-out the command takes. 0 for a command that is refused anyway.
    #[must_use]
    pub const fn data_out_len(&self) -> u32 {
        self.data_out_len
    }

    /// Says how much data-out the initiator offers. A command that takes exactly so much or nothing is refused if that is not it.
    #[must_use]
    pub fn offered(self, len: u32) -> Self {
        match &self.work {
            Work::Medium(operation, _) if operation.takes_exactly() && len != self.data_out_len => {
                let sense = illegal_request(AdditionalSense::INVALID_FIELD_IN_CDB);
                Self { data_out_len: 0, work: Work::Answer(Completion::check(sense)), ..self }
            }
            _ => self,
        }
    }

    /// How many bytes of data-in the command will produce at most, so that a transport can keep to a budget.
    #[must_use]
    pub fn data_in_len_max(&self) -> u32 {
        match &self.work {
            Work::Answer(completion) => u32::try_from(completion.data_in.len()).unwrap_or(u32::MAX),
            Work::Medium(operation, _) => operation.data_in_len(),
        }
    }

    /// Whether what the command begins goes on when [`run`](Self::run) is given up.
    pub(crate) const fn goes_on_alone(&self) -> bool {
        matches!(&self.work, Work::Medium(operation, _) if operation.goes_on_alone())
    }

    /// The completion, if there is nothing left to do but to answer; otherwise the task again.
    ///
    /// # Errors
    /// The task, which has to run.
    #[expect(clippy::result_large_err, reason = "no command is to need an allocation for this")]
    pub fn into_answer(self) -> Result<Completion, Self> {
        match self.work {
            Work::Answer(completion) => Ok(completion),
            work @ Work::Medium(..) => Err(Self { work, ..self }),
        }
    }

    /// As [`run`](Self::run), if that takes nobody else and no waiting. The task and the data again, if not. Whoever calls this
    /// [finishes up](lunshadow_lun::finish_up) once the answer is on its way.
    ///
    /// # Errors
    /// What is to be run.
    #[expect(clippy::result_large_err, reason = "no command is to need an allocation for this")]
    pub fn run_now(self, mut data_out: Bytes) -> Result<Completion, (Self, Bytes)> {
        data_out.truncate(usize::try_from(self.data_out_len).unwrap_or(usize::MAX));
        let done = match &self.work {
            // As in `run`, which tells what is in the way.
            Work::Medium(operation, permit) if permit.refusal(&operation.disk).is_none() => operation.run_now(data_out),
            _ => Err(data_out),
        };
        done.map_err(|data_out| (self, data_out))
    }

    /// Does the command. `data_out` may be shorter than [`data_out_len`](Self::data_out_len) if the initiator had less to
    /// give; then only whole blocks of it count. What is beyond it does not count.
    pub async fn run(self, mut data_out: Bytes) -> Completion {
        data_out.truncate(usize::try_from(self.data_out_len).unwrap_or(usize::MAX));
        let (operation, permit) = match self.work {
            Work::Answer(completion) => return completion,
            Work::Medium(operation, permit) => (operation, permit),
        };
        // Somebody may have been preempted, or the LUN may be sanitized or protected, since the command was accepted.
        match permit.refusal(&operation.disk) {
            Some(refused) => refused,
            None => operation.run(data_out).await,
        }
    }
}
