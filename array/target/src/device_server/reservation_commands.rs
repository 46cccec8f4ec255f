//! PERSISTENT RESERVE IN and OUT, RESERVE, RELEASE: commands in, the machine of [`super::reservations`] behind.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use lunshadow_lun::{LunMap, UnitRecord};
use lunshadow_scsi::{
    AdditionalSense, FieldPointer, MoveParameters, ReservationCapabilities, ReservationKind, ReserveInAction,
    ReserveOutAction, ReserveParameters, Sense, Status,
};
use tokio::sync::oneshot;

use super::medium::{Kind, Operation};
use super::nexus::{InitiatorPort, Nexus, NexusPorts, Nexuses};
use super::reservations::{Effects, Refusal, Reservations};
use super::unit::Disk;
use super::{Completion, TargetPorts, Work, illegal_request, invalid_field, invalid_parameter};

/// A PERSISTENT RESERVE OUT that waits for its parameters.
pub(super) struct ReserveOut {
    pub(super) action: ReserveOutAction,
    pub(super) kind: ReservationKind,
    pub(super) parameter_len: u32,
    pub(super) nexus: Arc<Nexus>,
    pub(super) nexuses: Arc<Nexuses>,
    pub(super) ports: Arc<TargetPorts>,
    pub(super) map: Arc<dyn LunMap>,
}

impl fmt::Debug for ReserveOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReserveOut").field("action", &self.action).finish_non_exhaustive()
    }
}

/// PERSISTENT RESERVE IN. `keeps`: whether reservations can be kept over restarts.
pub(super) fn reserve_in(disk: &Disk, action: ReserveInAction, keeps: bool) -> Result<Vec<u8>, Refusal> {
    disk.state.with_reservations(|reservations| {
        reservations.check_persistent()?;
        Ok(match action {
            ReserveInAction::ReadKeys => reservations.keys().to_bytes(),
            ReserveInAction::ReadReservation => reservations.report().to_bytes(),
            ReserveInAction::ReportCapabilities => {
                let capabilities = ReservationCapabilities {
                    all_target_ports: true,
                    persist_through_power_loss: keeps,
                    persist_active: reservations.persists(),
                    kinds: Some(ReservationCapabilities::all_kinds()),
                };
                capabilities.to_bytes()
            }
            ReserveInAction::ReadFullStatus => reservations.full_status().to_bytes(),
        })
    })
}

/// RESERVE.
pub(super) fn reserve_unit(disk: &Disk, nexus: &Nexus) -> Work {
    let done = disk.state.with_reservations(|reservations| reservations.reserve_unit(nexus.id()));
    Work::Answer(done.map_or_else(Completion::refused, |_| Completion::good()))
}

/// RELEASE.
pub(super) fn release_unit(disk: &Disk, nexus: &Nexus) -> Work {
    let done = disk.state.with_reservations(|reservations| reservations.release_unit(nexus.id()));
    Work::Answer(done.map_or_else(Completion::refused, |_| Completion::good()))
}

impl Operation {
    pub(super) fn reserve_out(disk: Disk, scope: u8, reserve: ReserveOut) -> Result<Self, Sense> {
        let uses_kind = matches!(
            reserve.action,
            ReserveOutAction::Reserve
                | ReserveOutAction::Release
                | ReserveOutAction::Preempt
                | ReserveOutAction::PreemptAndAbort
        );
        if uses_kind && scope != 0 {
            return Err(invalid_field(2));
        }
        if reserve.action == ReserveOutAction::Reserve && !ReservationKind::ALL.contains(&reserve.kind) {
            return Err(invalid_field(2));
        }
        let basic_len = u32::try_from(ReserveParameters::LEN).expect("24 bytes");
        let fits = match reserve.action {
            ReserveOutAction::RegisterAndMove => (basic_len..=MOVE_PARAMETERS_MAX).contains(&reserve.parameter_len),
            // More than the basic list names other initiators (SPEC_I_PT), of which the answer is about.
            ReserveOutAction::Register | ReserveOutAction::RegisterAndIgnoreExistingKey => {
                (basic_len..=MOVE_PARAMETERS_MAX).contains(&reserve.parameter_len)
            }
            _ => reserve.parameter_len == basic_len,
        };
        if !fits {
            return Err(illegal_request(AdditionalSense::PARAMETER_LIST_LENGTH_ERROR));
        }
        Ok(Self { disk, kind: Kind::ReserveOut(Box::new(reserve)) })
    }
}

/// Far more than a TransportID of iSCSI needs.
const MOVE_PARAMETERS_MAX: u32 = 4096;

/// A change of reservations that is not made yet.
type Change = Box<dyn FnOnce(&mut Reservations) -> Result<Effects, Refusal> + Send>;

impl ReserveOut {
    pub(super) async fn run(self, disk: &Disk, list: &[u8]) -> Completion {
        let change =
            if self.action == ReserveOutAction::RegisterAndMove { self.moving(list) } else { self.change(list) };
        let done = match change {
            Ok(change) => self.make(disk, change).await,
            Err(refusal) => Err(refusal),
        };
        match done {
            Ok(effects) => {
                self.tell(disk, effects).await;
                Completion::good()
            }
            Err(refusal) => Completion::refused(refusal),
        }
    }

    /// Makes a change when it is kept, or not at all.
    async fn make(&self, disk: &Disk, change: Change) -> Result<Effects, Refusal> {
        let _changing = disk.state.changing.lock().await;
        let (mut changed, before) = disk.state.with_reservations(|reservations| {
            reservations.check_persistent()?;
            let copy = reservations.clone();
            reservations.hold(true);
            Ok((copy, reservations.record()))
        })?;
        let kept = match change(&mut changed) {
            Ok(effects) => self.keep(disk, before, &changed).await.map(|()| effects),
            Err(refusal) => Err(refusal),
        };
        disk.state.with_reservations(|reservations| {
            reservations.hold(false);
            if kept.is_ok() {
                *reservations = changed;
            }
        });
        kept
    }

    async fn keep(&self, disk: &Disk, before: Option<Vec<u8>>, changed: &Reservations) -> Result<(), Refusal> {
        let record = changed.record();
        let Some(store) = self.map.unit_store().filter(|_| record != before) else { return Ok(()) };
        store.keep(disk.lun.id(), UnitRecord::Reservations, record.map(Bytes::from)).await.map_err(|error| {
            tracing::error!(error = &error as &dyn std::error::Error, "a change of persistent reservations is refused");
            Refusal::Sense(illegal_request(AdditionalSense::INSUFFICIENT_REGISTRATION_RESOURCES))
        })
    }

    fn change(&self, list: &[u8]) -> Result<Change, Refusal> {
        let length_error = || Refusal::Sense(illegal_request(AdditionalSense::PARAMETER_LIST_LENGTH_ERROR));
        let parameters = ReserveParameters::parse(list).ok_or_else(length_error)?;
        let ReserveParameters { key, action_key, specify_initiators, all_target_ports, persist } = parameters;
        let (ports, kind, action) = (self.nexus.ports().clone(), self.kind, self.action);
        if matches!(action, ReserveOutAction::Register | ReserveOutAction::RegisterAndIgnoreExistingKey) {
            // SIP_C says that this is not there.
            if specify_initiators {
                return Err(Refusal::Sense(invalid_parameter(FieldPointer::bit(20, 3))));
            }
            self.check_persist(persist, 20)?;
            if list.len() != ReserveParameters::LEN {
                return Err(length_error());
            }
        }
        let all = if all_target_ports { self.of_all_target_ports() } else { vec![ports.clone()] };
        Ok(Box::new(move |reservations| match action {
            ReserveOutAction::Register => reservations.register(&all, Some(key), action_key, persist),
            ReserveOutAction::RegisterAndIgnoreExistingKey => reservations.register(&all, None, action_key, persist),
            ReserveOutAction::Reserve => reservations.reserve(&ports, key, kind),
            ReserveOutAction::Release => reservations.release(&ports, key, kind),
            ReserveOutAction::Clear => reservations.clear(&ports, key),
            ReserveOutAction::Preempt | ReserveOutAction::PreemptAndAbort => {
                reservations.preempt(&ports, key, action_key, kind)
            }
            ReserveOutAction::RegisterAndMove => unreachable!("it has a list of its own"),
        }))
    }

    /// The nexuses of the initiator port with all ports of the target.
    fn of_all_target_ports(&self) -> Vec<NexusPorts> {
        let initiator = &self.nexus.ports().initiator;
        self.ports.groups.iter().map(|group| NexusPorts { initiator: initiator.clone(), group: *group }).collect()
    }

    fn moving(&self, list: &[u8]) -> Result<Change, Refusal> {
        let parameters = MoveParameters::parse(list).map_err(|field| {
            Refusal::Sense(
                field.map_or_else(|| illegal_request(AdditionalSense::PARAMETER_LIST_LENGTH_ERROR), invalid_parameter),
            )
        })?;
        let MoveParameters { key, action_key, unregister, persist, relative_port, initiator } = parameters;
        let invalid = |byte| Refusal::Sense(invalid_parameter(FieldPointer::byte(byte)));
        self.check_persist(persist, 17)?;
        let group = self.ports.with_tag(relative_port).ok_or_else(|| invalid(18))?;
        let name = initiator.name.parse().map_err(|_| invalid(24))?;
        let initiator = InitiatorPort { name, isid: initiator.isid.ok_or_else(|| invalid(24))? };
        let to = NexusPorts { initiator, group };
        let ports = self.nexus.ports().clone();
        Ok(Box::new(move |reservations| {
            reservations.register_and_move(&ports, key, (to, action_key), (unregister, persist))
        }))
    }

    /// APTPL, the lowest bit of `byte`, needs something that keeps reservations; PTPL_C says whether there is.
    fn check_persist(&self, persist: bool, byte: usize) -> Result<(), Refusal> {
        if persist && self.map.unit_store().is_none() {
            return Err(Refusal::Sense(invalid_parameter(FieldPointer::bit(byte, 0))));
        }
        Ok(())
    }

    /// Tells the others, and ends the commands of those that were preempted if that was asked for. They do not touch storage
    /// any more when this returns.
    async fn tell(&self, disk: &Disk, effects: Effects) {
        let unit = disk.id();
        for (ports, code) in &effects.attentions {
            self.nexuses.post_to(ports, unit, *code);
        }
        if self.action != ReserveOutAction::PreemptAndAbort {
            return;
        }
        let mut ended = Vec::new();
        for nexus in self.nexuses.all().iter().filter(|nexus| effects.preempted.contains(nexus.ports())) {
            let Some(tasks) = nexus.tasks() else { continue };
            let (over, is_over) = oneshot::channel::<()>();
            let count = tasks.abort(unit, Box::new(move || drop(over)));
            if count > 0 {
                nexus.post(Some(unit), AdditionalSense::COMMANDS_CLEARED_BY_ANOTHER);
            }
            ended.push(is_over);
        }
        for is_over in ended {
            // Nothing is ever sent: what is waited for is that the sender goes.
            drop(is_over.await);
        }
    }
}

impl Completion {
    /// What a refused reservation answers.
    pub(super) fn refused(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Conflict => Self::conflict(),
            Refusal::Sense(sense) => Self::check(sense),
        }
    }

    /// RESERVATION CONFLICT.
    #[must_use]
    pub const fn conflict() -> Self {
        Self { status: Status::RESERVATION_CONFLICT, sense: None, data_in: Bytes::new() }
    }
}
