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

mod atomic;
mod background;
mod capacity;
mod copies;
mod extended_copy;
mod failure;
mod inquiry;
mod log;
mod medium;
mod mode;
mod nexus;
mod offload;
mod port_groups;
mod ports;
mod ranges;
mod read_write;
mod reports;
mod reservation_commands;
mod reservations;
mod sanitize;
mod sanitizing;
mod start_stop;
mod task;
mod tokens;
mod tray;
mod unit;
mod unit_state;
mod unmap;
mod write_same;

use std::sync::Arc;

use lunshadow_lun::{ChapAccounts, InitiatorName, Inventory, LunMap, UnitRecord};
use lunshadow_scsi::{
    AdditionalSense, CdbError, Command, CommandForm, FieldPointer, LunAddress, LunList, Reach, Readiness, SelectReport,
    Sense, SenseFormat, SenseKey, SensePointer, opcode,
};
use tokio::runtime::Handle;

pub(crate) use background::Background;
pub use failure::sense_of;
pub use medium::TRANSFER_BLOCKS_MAX;
pub use nexus::{InitiatorPort, Nexus, TaskSet};
pub use ports::{PortalGroup, TargetPorts};
pub use task::{Completion, Task};
pub use unit::UnitId;
pub use unmap::{UNMAP_BLOCKS_MAX, UNMAP_DESCRIPTORS_MAX, UNMAP_GRANULARITY_BLOCKS};

use copies::CopyAction;
use extended_copy::ExtendedCopy;
use medium::Operation;
use nexus::{NexusPorts, Nexuses};
use offload::Offload;
use port_groups::SetPortGroups;
use reservation_commands::ReserveOut;
use sanitize::{Jobs, Sanitize};
use task::{Permit, Work};
use tokens::Tokens;
use unit::Unit;
use unit_state::UnitStates;

/// Executes commands on the LUNs that a [`LunMap`] shows to initiators.
pub struct DeviceServer {
    map: Arc<dyn LunMap>,
    ports: Arc<TargetPorts>,
    nexuses: Arc<Nexuses>,
    states: UnitStates,
    tokens: Arc<Tokens>,
    /// Sanitize operations.
    jobs: Arc<Jobs>,
    background: Arc<Background>,
}

impl DeviceServer {
    /// A device server for the LUNs of `map`, reached through `ports`. What goes on without a command runs on the runtime that this is called on, which has
    /// timers.
    ///
    /// # Panics
    /// Outside a runtime of Tokio.
    #[must_use]
    pub fn new(map: Arc<dyn LunMap>, ports: TargetPorts) -> Self {
        let states = UnitStates::new(map.clone(), ports.are_several());
        let tokens = Arc::<Tokens>::default();
        let background = Arc::new(Background::new(Handle::current()));
        let jobs = Arc::new(Jobs::new(map.clone(), tokens.clone(), background.clone()));
        Self { map, ports: Arc::new(ports), nexuses: Arc::default(), states, tokens, jobs, background }
    }

    /// Goes on with the sanitize operations that a restart has interrupted. For before anybody logs in.
    pub fn resume(&self) {
        let Some(store) = self.map.unit_store() else { return };
        for lun in store.all_kept(UnitRecord::Sanitize) {
            let Some(record) = store.kept(lun.id(), UnitRecord::Sanitize) else { continue };
            let state = self.states.of(lun.id());
            self.jobs.resume(unit::Disk { lun, state }, &record);
        }
    }

    /// What goes on without a command.
    pub(crate) const fn background(&self) -> &Arc<Background> {
        &self.background
    }

    /// Makes the nexus of an initiator that has logged in through a portal group, or `None` if the array does not know the initiator. Its
    /// units report POWER ON, RESET, OR BUS DEVICE RESET OCCURRED first.
    #[must_use]
    pub fn connect(&self, initiator: InitiatorPort, group: PortalGroup) -> Option<Arc<Nexus>> {
        self.map.inventory(&initiator.name)?;
        let nexus = Arc::new(Nexus::new(NexusPorts { initiator, group }));
        self.nexuses.add(&nexus);
        Some(nexus)
    }

    /// Whether the array knows the initiator.
    #[must_use]
    pub fn admits(&self, initiator: &InitiatorName) -> bool {
        self.map.inventory(initiator).is_some()
    }

    /// What an initiator has to prove when it logs in.
    pub(crate) fn chap(&self, initiator: &InitiatorName) -> Option<ChapAccounts> {
        self.map.chap(initiator)
    }

    /// The unit at a LUN, if there is one.
    #[must_use]
    pub fn unit(&self, nexus: &Nexus, lun: LunAddress) -> Option<UnitId> {
        let inventory = self.map.inventory(nexus.initiator()).unwrap_or_default();
        Unit::id_at(&inventory, lun)
    }

    /// Lets every nexus but `except` find a unit attention on `unit`, or on all units.
    pub fn post_attention(&self, unit: Option<UnitId>, code: AdditionalSense, except: Option<&Nexus>) {
        self.nexuses.post(unit, code, except.map(Nexus::id));
    }

    /// Resets a unit, or all: RESERVE and mode pages are as after power on. All nexuses learn of it, the one that asked for it
    /// included (SAM-5 6.3.3). Commands are for the transport to end.
    pub fn reset(&self, unit: Option<UnitId>) {
        match unit {
            None => self.states.reset(None),
            Some(UnitId::Disk(lun)) => self.states.reset(Some(lun)),
            Some(UnitId::Controller) => {}
        }
        self.nexuses.post(unit, AdditionalSense::BUS_DEVICE_RESET, None);
    }

    /// Accepts a command. Does no I/O.
    #[must_use]
    pub fn accept(&self, nexus: &Arc<Nexus>, lun: LunAddress, cdb: &[u8]) -> Task {
        // An initiator that was removed while it was logged in sees nothing any more.
        let inventory = self.map.inventory(nexus.initiator()).unwrap_or_default();
        nexus.observe(&inventory, &self.states);
        let unit = nexus.unit_at(&inventory, lun);
        let work = self.admitted(nexus, &inventory, &unit, cdb);
        let work = work.unwrap_or_else(|sense| Work::Answer(Completion::check(sense)));
        let sense_format = if let Unit::Disk(disk) = &unit { disk.state.sense_format() } else { SenseFormat::Fixed };
        let data_out_len = if let Work::Medium(operation, _) = &work { operation.data_out_len() } else { 0 };
        Task { unit: unit.id(), data_out_len, sense_format, work }
    }

    /// Unit attentions come first, then whether there is such a command, then whether the port leads to the unit and whether a reservation
    /// forbids it (SAM-5 5.3.3).
    fn admitted(&self, nexus: &Arc<Nexus>, inventory: &Inventory, unit: &Unit, cdb: &[u8]) -> Result<Work, Sense> {
        let exempt = is_always_answered(cdb);
        if !exempt && let Some(code) = unit.id().and_then(|id| nexus.take_attention(id)) {
            return Err(Sense::new(SenseKey::UNIT_ATTENTION, code));
        }
        let form = CommandForm::of_cdb(cdb);
        match (&form, unit) {
            (Ok(form), _) if unit.has(form, &self.ports) => {}
            (_, Unit::Absent) => return Err(not_supported()),
            (Ok(form), _) => return Err(sense_of_cdb(CdbError::InvalidOperationCode(form.opcode()))),
            (Err(_), _) => {}
        }
        let command = form.and_then(|form| form.parse(cdb)).map_err(sense_of_cdb)?;
        if let Unit::Disk(disk) = unit {
            disk.state.access.check(nexus.group(), command.reach())?;
            if !disk.state.admits(nexus, command.access(), exempt) {
                return Ok(Work::Answer(Completion::conflict()));
            }
            disk.check(command.readiness())?;
        }
        self.work(nexus, inventory, unit, command)
    }

    /// Which family answers each command.
    fn work(&self, nexus: &Arc<Nexus>, inventory: &Inventory, unit: &Unit, command: Command) -> Result<Work, Sense> {
        match command {
            Command::Inquiry { page, allocation_len } => {
                inquiry::inquiry(unit, (&*self.ports, nexus.group()), page).map(|data| Work::data(data, allocation_len))
            }
            Command::RequestSense { format, allocation_len } => {
                Ok(Work::data(request_sense(nexus, unit).to_bytes(format), allocation_len))
            }
            Command::ReportLuns { select, allocation_len } => {
                nexus.luns_reported();
                Ok(Work::data(report_luns(inventory, select).to_bytes(), allocation_len))
            }
            Command::TestUnitReady => Ok(Work::Answer(Completion::good())),
            Command::ReportSupportedOperationCodes { which, timeouts, allocation_len } => {
                reports::operation_codes(unit, &self.ports, which, timeouts)
                    .map(|data| Work::data(data, allocation_len))
            }
            Command::ReportSupportedTaskManagementFunctions { extended, allocation_len } => {
                Ok(Work::data(self.ports.functions.to_bytes(extended), allocation_len))
            }
            Command::ReportTargetPortGroups { extended, allocation_len } => {
                Ok(Work::data(port_groups::report(unit, &self.ports, extended), allocation_len))
            }
            Command::SetTargetPortGroups { parameter_len } => {
                let (nexus, nexuses, ports) = (nexus.clone(), self.nexuses.clone(), self.ports.clone());
                let permit = Permit::new(&nexus, &command);
                let set = SetPortGroups { parameter_len, nexus, nexuses, ports, map: self.map.clone() };
                Ok(Work::Medium(Operation::set_port_groups(unit.disk()?, set)?, permit))
            }
            Command::ExtendedCopy { .. }
            | Command::PopulateToken { .. }
            | Command::WriteUsingToken { .. }
            | Command::ReceiveCopyStatus { .. }
            | Command::ReceiveCopyOperatingParameters { .. }
            | Command::ReceiveRodTokenInformation { .. } => {
                self.third_party_copy(nexus, inventory, unit.disk()?, command)
            }
            Command::PersistentReserveIn { .. }
            | Command::PersistentReserveOut { .. }
            | Command::Reserve(_)
            | Command::Release(_) => self.reservation(nexus, unit.disk()?, command),
            _ => self.work_of_disk(nexus, unit.disk()?, command),
        }
    }

    /// The commands that only disks have.
    fn work_of_disk(&self, nexus: &Arc<Nexus>, disk: unit::Disk, command: Command) -> Result<Work, Sense> {
        let permit = Permit::new(nexus, &command);
        let operation = match command {
            Command::ModeSense { form, without_block_descriptor, control, page, subpage, allocation_len } => {
                let pages = mode::Selection { control, page, subpage };
                let data = mode::mode_sense(&disk, pages, !without_block_descriptor)?;
                return Ok(Work::data(data.to_bytes(form), allocation_len));
            }
            Command::ReadCapacity10 => return Ok(Work::data(capacity::read_capacity_10(&disk.lun), u32::MAX)),
            Command::ReadCapacity16 { allocation_len } => {
                return Ok(Work::data(capacity::read_capacity_16(&disk.lun), allocation_len));
            }
            // What is damaged is found by checksums, block by block, and is no defect of a medium that the LUN has.
            Command::ReadDefectData { form, request, allocation_len, .. } => {
                return Ok(Work::data(request.empty_list(form), allocation_len));
            }
            Command::LogSense { page, subpage, parameter, allocation_len } => {
                return log::log_sense(&disk, (page, subpage), parameter).map(|data| Work::data(data, allocation_len));
            }
            Command::GetLbaStatus { lba, allocation_len } => Operation::get_lba_status(disk, lba, allocation_len)?,
            Command::ModeSelect { form, page_format, save, parameter_len } => {
                Operation::mode_select(disk, form, (page_format, save), parameter_len, (nexus, &self.nexuses))?
            }
            Command::Read { range, fua } => Operation::read(disk, range, fua)?,
            Command::Write { range, fua } => Operation::write(disk, range, fua)?,
            Command::WriteAndVerify { range, check } => Operation::write_and_verify(disk, range, check)?,
            Command::Verify { range, check } => Operation::verify(disk, range, check)?,
            Command::CompareAndWrite { lba, block_count, fua } => {
                Operation::compare_and_write(disk, lba, block_count, fua)?
            }
            Command::WriteAtomic { lba, boundary, block_count, fua } => {
                Operation::write_atomic(disk, lba, (boundary, block_count), fua)?
            }
            Command::OrWrite { range, fua } => Operation::or_write(disk, range, fua)?,
            Command::WriteSame { range, anchor, no_data_out, .. } => {
                Operation::write_same(disk, range, anchor, no_data_out)?
            }
            Command::PreFetch { range, .. } => Operation::pre_fetch(disk, range)?,
            Command::SynchronizeCache { range, .. } => Operation::synchronize_cache(disk, range)?,
            Command::PreventAllowMediumRemoval { prevent } => {
                disk.state.tray.prevent(nexus.id(), prevent);
                return Ok(Work::Answer(Completion::good()));
            }
            Command::StartStopUnit { power, .. } => Operation::start_stop(disk, power, (nexus, &self.nexuses))?,
            Command::Sanitize { action, immediate, unrestricted_exit, parameter_len } => {
                let jobs = self.jobs.clone();
                Operation::sanitize(disk, Sanitize { action, immediate, unrestricted_exit, parameter_len, jobs })?
            }
            Command::Unmap { anchor, parameter_len } => Operation::unmap(disk, anchor, parameter_len)?,
            Command::TestUnitReady
            | Command::RequestSense { .. }
            | Command::Inquiry { .. }
            | Command::ReportLuns { .. }
            | Command::ReportSupportedOperationCodes { .. }
            | Command::ReportSupportedTaskManagementFunctions { .. }
            | Command::ReportTargetPortGroups { .. }
            | Command::SetTargetPortGroups { .. }
            | Command::PersistentReserveIn { .. }
            | Command::PersistentReserveOut { .. }
            | Command::Reserve(_)
            | Command::Release(_)
            | Command::ExtendedCopy { .. }
            | Command::PopulateToken { .. }
            | Command::WriteUsingToken { .. }
            | Command::ReceiveCopyStatus { .. }
            | Command::ReceiveCopyOperatingParameters { .. }
            | Command::ReceiveRodTokenInformation { .. } => unreachable!("they have been taken above"),
        };
        Ok(Work::Medium(operation, permit))
    }

    /// Who may use the disk.
    fn reservation(&self, nexus: &Arc<Nexus>, disk: unit::Disk, command: Command) -> Result<Work, Sense> {
        let permit = Permit::new(nexus, &command);
        match command {
            Command::PersistentReserveIn { action, allocation_len } => {
                let data = reservation_commands::reserve_in(&disk, action, self.map.unit_store().is_some());
                Ok(data.map_or_else(
                    |refusal| Work::Answer(Completion::refused(refusal)),
                    |data| Work::data(data, allocation_len),
                ))
            }
            Command::Reserve(_) => Ok(reservation_commands::reserve_unit(&disk, nexus)),
            Command::Release(_) => Ok(reservation_commands::release_unit(&disk, nexus)),
            Command::PersistentReserveOut { action, scope, kind, parameter_len } => {
                let (nexus, nexuses, ports) = (nexus.clone(), self.nexuses.clone(), self.ports.clone());
                let map = self.map.clone();
                let reserve = ReserveOut { action, kind, parameter_len, nexus, nexuses, ports, map };
                Ok(Work::Medium(Operation::reserve_out(disk, scope, reserve)?, permit))
            }
            _ => unreachable!("only reservations come here"),
        }
    }

    /// Third-party copy, which is about other disks, too.
    fn third_party_copy(
        &self,
        nexus: &Arc<Nexus>,
        inventory: &Inventory,
        disk: unit::Disk,
        command: Command,
    ) -> Result<Work, Sense> {
        let permit = Permit::new(nexus, &command);
        let offload = |action, list_id, parameter_len| {
            let (tokens, permit, background) = (self.tokens.clone(), permit.clone(), self.background.clone());
            Operation::offload(disk.clone(), Offload { action, list_id, parameter_len, tokens, permit, background })
        };
        let operation = match command {
            Command::ReceiveCopyStatus { list_id, allocation_len } => {
                return extended_copy::copy_status(nexus, list_id).map(|data| Work::data(data, allocation_len));
            }
            Command::ReceiveCopyOperatingParameters { allocation_len } => {
                return Ok(Work::data(extended_copy::operating_parameters(), allocation_len));
            }
            Command::ReceiveRodTokenInformation { list_id, allocation_len } => {
                return offload::token_information(nexus, list_id).map(|data| Work::data(data, allocation_len));
            }
            Command::PopulateToken { list_id, parameter_len } => {
                offload(CopyAction::POPULATE_TOKEN, list_id, parameter_len)?
            }
            Command::WriteUsingToken { list_id, parameter_len } => {
                offload(CopyAction::WRITE_USING_TOKEN, list_id, parameter_len)?
            }
            Command::ExtendedCopy { parameter_len } => {
                let copy = ExtendedCopy { parameter_len, nexus: nexus.clone(), disks: nexus.disks(inventory) };
                Operation::extended_copy(disk, copy)?
            }
            _ => unreachable!("only third-party copy comes here"),
        };
        Ok(Work::Medium(operation, permit))
    }
}

/// SAM-5 5.14.1: INQUIRY and REPORT LUNS work while a unit attention is pending and leave it there; REQUEST SENSE has it as its data.
/// RESERVE does not keep anybody from them either (SPC-2 5.5.1).
fn is_always_answered(cdb: &[u8]) -> bool {
    matches!(cdb.first(), Some(&(opcode::INQUIRY | opcode::REPORT_LUNS | opcode::REQUEST_SENSE)))
}

/// SPC-4 6.39: what is pending becomes the data; a LUN without a unit says so in the data, with the status GOOD.
fn request_sense(nexus: &Nexus, unit: &Unit) -> Sense {
    let Some(id) = unit.id() else { return not_supported() };
    if let Some(code) = nexus.take_attention(id) {
        return Sense::new(SenseKey::UNIT_ATTENTION, code);
    }
    let Unit::Disk(disk) = unit else { return Sense::NONE };
    let accessible = disk.state.access.check(nexus.group(), Reach::Active);
    accessible.and_then(|()| disk.check(Readiness::Loaded)).err().unwrap_or(Sense::NONE)
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
    illegal_request(AdditionalSense::LOGICAL_UNIT_NOT_SUPPORTED)
}

const fn illegal_request(code: AdditionalSense) -> Sense {
    Sense::new(SenseKey::ILLEGAL_REQUEST, code)
}

fn sense_of_cdb(error: CdbError) -> Sense {
    match error {
        CdbError::InvalidOperationCode(_) => illegal_request(AdditionalSense::INVALID_COMMAND_OPERATION_CODE),
        CdbError::InvalidField(field) => {
            illegal_request(AdditionalSense::INVALID_FIELD_IN_CDB).with_pointer(SensePointer::Cdb(field))
        }
    }
}

/// INVALID FIELD IN CDB for the field that begins at `byte`.
fn invalid_field(byte: usize) -> Sense {
    sense_of_cdb(CdbError::InvalidField(FieldPointer::byte(byte)))
}

/// INVALID FIELD IN PARAMETER LIST.
fn invalid_parameter(field: FieldPointer) -> Sense {
    illegal_request(AdditionalSense::INVALID_FIELD_IN_PARAMETER_LIST).with_pointer(SensePointer::ParameterList(field))
}
