//! The SCSI device server: takes a CDB for a LUN number and does what it says, whatever the transport.
//!
//! A command goes through two steps, so that a transport can fetch write data in between:
//!
//! ```text
//! accept(nexus, lun, cdb) ──▶ Task ── data_out_len() bytes from the initiator ──▶ run(data_out) ──▶ Completion
//! ```
//!
//! `accept` decides everything that depends on the order of commands: unit attentions, which LUN is meant, whether the CDB is
//! right. It does no I/O and costs little, so a transport calls it in the order of arrival. `run` does the I/O; any number
//! of tasks run at a time.

mod capacity;
mod failure;
mod inquiry;
mod medium;
mod mode;
mod nexus;
mod unit;
mod unmap;

use std::sync::{Arc, Weak};

use bytes::Bytes;
use lunshadow_lun::{InitiatorName, Inventory, LunMap};
use lunshadow_scsi::{
    AdditionalSense, CdbError, Command, FieldPointer, LunAddress, LunList, SelectReport, Sense, SenseKey, SensePointer,
    Status, opcode,
};
use parking_lot::Mutex;

pub use failure::sense_of;
pub use medium::TRANSFER_BLOCKS_MAX;
pub use nexus::Nexus;
pub use unit::UnitId;
pub use unmap::{UNMAP_BLOCKS_MAX, UNMAP_DESCRIPTORS_MAX, UNMAP_GRANULARITY_BLOCKS};

use medium::Operation;
use unit::Unit;

/// The port through which initiators reach the LUNs, as page 0x83 names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetPort {
    /// The iSCSI name of the target.
    pub target_name: String,
    /// RELATIVE TARGET PORT IDENTIFIER, and the target portal group tag of the SCSI name.
    pub relative_port: u16,
    /// TARGET PORT GROUP.
    pub group: u16,
}

/// Executes commands on the LUNs that a [`LunMap`] shows to initiators.
pub struct DeviceServer {
    map: Arc<dyn LunMap>,
    port: TargetPort,
    nexuses: Mutex<Vec<Weak<Nexus>>>,
}

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
    unit: Option<UnitId>,
    data_out_len: u32,
    work: Work,
}

#[derive(Debug)]
enum Work {
    /// There is nothing left to do but to answer.
    Answer(Completion),
    /// The medium has to be read or written.
    Medium(Operation),
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
    fn data(mut data: Vec<u8>, allocation_len: impl Into<u32>) -> Self {
        data.truncate(usize::try_from(allocation_len.into()).unwrap_or(usize::MAX));
        Self::Answer(Completion::data(data.into()))
    }
}

impl Task {
    /// The unit that the task is for, or `None` if there is none at its LUN.
    #[must_use]
    pub const fn unit(&self) -> Option<UnitId> {
        self.unit
    }

    /// How many bytes of data-out the command takes. 0 for a command that is refused anyway.
    #[must_use]
    pub const fn data_out_len(&self) -> u32 {
        self.data_out_len
    }

    /// How many bytes of data-in the command will produce at most, so that a transport can keep to a budget.
    #[must_use]
    pub fn data_in_len_max(&self) -> u32 {
        match &self.work {
            Work::Answer(completion) => u32::try_from(completion.data_in.len()).unwrap_or(u32::MAX),
            Work::Medium(operation) => operation.data_in_len(),
        }
    }

    /// The completion, if there is nothing left to do but to answer; otherwise the task again.
    ///
    /// # Errors
    /// The task, which has to run.
    pub fn into_answer(self) -> Result<Completion, Self> {
        match self.work {
            Work::Answer(completion) => Ok(completion),
            work @ Work::Medium(_) => Err(Self { work, ..self }),
        }
    }

    /// Does the command. `data_out` may be shorter than [`data_out_len`](Self::data_out_len) if the initiator had less to
    /// give; then only whole blocks of it count. What is beyond it does not count.
    pub async fn run(self, mut data_out: Bytes) -> Completion {
        data_out.truncate(usize::try_from(self.data_out_len).unwrap_or(usize::MAX));
        match self.work {
            Work::Answer(completion) => completion,
            Work::Medium(operation) => operation.run(data_out).await,
        }
    }

    const fn answer(unit: Option<UnitId>, completion: Completion) -> Self {
        Self { unit, data_out_len: 0, work: Work::Answer(completion) }
    }
}

impl DeviceServer {
    /// A device server for the LUNs of `map`, reached through `port`.
    #[must_use]
    pub fn new(map: Arc<dyn LunMap>, port: TargetPort) -> Self {
        Self { map, port, nexuses: Mutex::new(Vec::new()) }
    }

    /// Makes the nexus of an initiator that has logged in, or `None` if the array does not know the initiator. Its units report
    /// POWER ON, RESET, OR BUS DEVICE RESET OCCURRED first.
    #[must_use]
    pub fn connect(&self, initiator: InitiatorName) -> Option<Arc<Nexus>> {
        self.map.inventory(&initiator)?;
        let nexus = Arc::new(Nexus::new(initiator));
        let mut nexuses = self.nexuses.lock();
        nexuses.retain(|nexus| nexus.strong_count() > 0);
        nexuses.push(Arc::downgrade(&nexus));
        Some(nexus)
    }

    /// Whether the array knows the initiator.
    #[must_use]
    pub fn admits(&self, initiator: &InitiatorName) -> bool {
        self.map.inventory(initiator).is_some()
    }

    /// The unit at a LUN, if there is one.
    #[must_use]
    pub fn unit(&self, nexus: &Nexus, lun: LunAddress) -> Option<UnitId> {
        let inventory = self.map.inventory(nexus.initiator()).unwrap_or_default();
        Unit::at(&inventory, lun).id()
    }

    /// Lets every nexus but `except` find a unit attention on `unit`, or on all units.
    pub fn post_attention(&self, unit: Option<UnitId>, code: AdditionalSense, except: Option<&Nexus>) {
        let nexuses = self.nexuses.lock();
        for nexus in nexuses.iter().filter_map(Weak::upgrade) {
            if !except.is_some_and(|except| std::ptr::eq(except, &raw const *nexus)) {
                nexus.post(unit, code);
            }
        }
    }

    /// Accepts a command. Does no I/O.
    #[must_use]
    pub fn accept(&self, nexus: &Nexus, lun: LunAddress, cdb: &[u8]) -> Task {
        // An initiator that was removed while it was logged in sees nothing any more.
        let inventory = self.map.inventory(nexus.initiator()).unwrap_or_default();
        nexus.observe(&inventory);
        let unit = Unit::at(&inventory, lun);
        let id = unit.id();
        if !exempt_from_attention(cdb)
            && let Some(code) = id.and_then(|id| nexus.take_attention(id))
        {
            return Task::answer(id, Completion::check(Sense::new(SenseKey::UNIT_ATTENTION, code)));
        }
        let work = match Command::parse(cdb) {
            Ok(command) => self.work(nexus, &inventory, &unit, command),
            Err(_) if id.is_none() => Err(not_supported()),
            Err(error) => Err(sense_of_cdb(error)),
        };
        match work {
            Ok(Work::Medium(operation)) => {
                Task { unit: id, data_out_len: operation.data_out_len(), work: Work::Medium(operation) }
            }
            Ok(Work::Answer(completion)) => Task::answer(id, completion),
            Err(sense) => Task::answer(id, Completion::check(sense)),
        }
    }

    /// The table of commands: which family answers each, and for which kinds of unit.
    fn work(&self, nexus: &Nexus, inventory: &Inventory, unit: &Unit, command: Command) -> Result<Work, Sense> {
        match command {
            Command::Inquiry { page, allocation_len } => {
                inquiry::inquiry(unit, &self.port, page).map(|data| Work::data(data, allocation_len))
            }
            Command::RequestSense { format, allocation_len } => {
                Ok(Work::data(request_sense(nexus, unit.id()).to_bytes(format), allocation_len))
            }
            Command::ReportLuns { select, allocation_len } => {
                unit.present()?;
                nexus.luns_reported();
                Ok(Work::data(report_luns(inventory, select).to_bytes(), allocation_len))
            }
            Command::TestUnitReady => unit.present().map(|()| Work::Answer(Completion::good())),
            Command::ModeSense { form, without_block_descriptor, control, page, subpage, allocation_len } => {
                let blocks = unit.disk()?.block_count();
                let pages = mode::Selection { control, page, subpage };
                let data = mode::mode_sense(pages, (!without_block_descriptor).then_some(blocks))?;
                Ok(Work::data(data.to_bytes(form), allocation_len))
            }
            Command::ReadCapacity10 => unit.disk().map(|lun| Work::data(capacity::read_capacity_10(&lun), u32::MAX)),
            Command::ReadCapacity16 { allocation_len } => {
                unit.disk().map(|lun| Work::data(capacity::read_capacity_16(&lun), allocation_len))
            }
            Command::GetLbaStatus { lba, allocation_len } => {
                capacity::get_lba_status(&unit.disk()?, lba).map(|data| Work::data(data, allocation_len))
            }
            Command::Read { range, fua } => Operation::read(unit.disk()?, range, fua).map(Work::Medium),
            Command::Write { range, fua } => Operation::write(unit.disk()?, range, fua).map(Work::Medium),
            Command::Verify { range, check } => Operation::verify(unit.disk()?, range, check).map(Work::Medium),
            Command::SynchronizeCache { range, .. } => {
                Operation::synchronize_cache(unit.disk()?, range).map(Work::Medium)
            }
            Command::StartStopUnit { power, .. } => Operation::start_stop(unit.disk()?, power).map(Work::Medium),
            Command::Unmap { anchor, parameter_len } => {
                Operation::unmap(unit.disk()?, anchor, parameter_len).map(Work::Medium)
            }
        }
    }
}

/// SAM-5 5.14.1: INQUIRY and REPORT LUNS work while a unit attention is pending and leave it there; REQUEST SENSE has it as its data.
fn exempt_from_attention(cdb: &[u8]) -> bool {
    matches!(cdb.first(), Some(&(opcode::INQUIRY | opcode::REPORT_LUNS | opcode::REQUEST_SENSE)))
}

/// SPC-4 6.39: what is pending becomes the data; a LUN without a unit says so in the data, with the status GOOD.
fn request_sense(nexus: &Nexus, unit: Option<UnitId>) -> Sense {
    match unit {
        None => not_supported(),
        Some(unit) => nexus.take_attention(unit).map_or(Sense::NONE, |code| Sense::new(SenseKey::UNIT_ATTENTION, code)),
    }
}

/// LUN 0 is always there; there are no well-known logical units.
fn report_luns(inventory: &Inventory, select: SelectReport) -> LunList {
    let numbers = inventory.luns.keys().map(|number| number.0).filter(|number| *number != 0);
    LunList::of(match select {
        SelectReport::WellKnown => Vec::new(),
        SelectReport::Addressable | SelectReport::All => {
            std::iter::once(0).chain(numbers).map(LunAddress::peripheral).collect()
        }
    })
}

const fn not_supported() -> Sense {
    Sense::new(SenseKey::ILLEGAL_REQUEST, AdditionalSense::LOGICAL_UNIT_NOT_SUPPORTED)
}

fn sense_of_cdb(error: CdbError) -> Sense {
    match error {
        CdbError::InvalidOperationCode(_) => {
            Sense::new(SenseKey::ILLEGAL_REQUEST, AdditionalSense::INVALID_COMMAND_OPERATION_CODE)
        }
        CdbError::InvalidField(field) => Sense::new(SenseKey::ILLEGAL_REQUEST, AdditionalSense::INVALID_FIELD_IN_CDB)
            .with_pointer(SensePointer::Cdb(field)),
    }
}

/// INVALID FIELD IN CDB for the field that begins at `byte`.
fn invalid_field(byte: usize) -> Sense {
    sense_of_cdb(CdbError::InvalidField(FieldPointer::byte(byte)))
}
