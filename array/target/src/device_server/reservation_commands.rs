//! PERSISTENT RESERVE IN and OUT, RESERVE, RELEASE: commands in, the machine of [`super::reservations`] behind.

use std::sync::Arc;

use bytes::Bytes;
use lunshadow_scsi::{
    AdditionalSense, FieldPointer, MoveParameters, ReservationCapabilities, ReservationKind, ReserveInAction,
    ReserveOutAction, ReserveParameters, Sense, Status,
};
use tokio::sync::oneshot;

use super::medium::{Kind, Operation};
use super::nexus::{InitiatorPort, Nexus, Nexuses};
use super::reservations::{Effects, Refusal};
use super::unit::Disk;
use super::{Completion, TargetPort, Work, illegal_request, invalid_field, invalid_parameter};

/// Registrations live as long as the target runs; PTPL_C says so.
const CAPABILITIES: ReservationCapabilities = ReservationCapabilities {
    all_target_ports: true,
    persist_through_power_loss: false,
    persist_active: false,
    kinds: None,
};

/// A PERSISTENT RESERVE OUT that waits for its parameters.
#[derive(Debug)]
pub(super) struct ReserveOut {
    pub(super) action: ReserveOutAction,
    pub(super) kind: ReservationKind,
    pub(super) parameter_len: u32,
    pub(super) nexus: Arc<Nexus>,
    pub(super) nexuses: Arc<Nexuses>,
    pub(super) relative_port: u16,
}

/// PERSISTENT RESERVE IN.
pub(super) fn reserve_in(disk: &Disk, action: ReserveInAction, port: &TargetPort) -> Result<Vec<u8>, Refusal> {
    disk.state.with_reservations(|reservations| {
        reservations.check_persistent()?;
        Ok(match action {
            ReserveInAction::ReadKeys => reservations.keys().to_bytes(),
            ReserveInAction::ReadReservation => reservations.report().to_bytes(),
            ReserveInAction::ReportCapabilities => {
                let kinds = Some(ReservationCapabilities::all_kinds());
                ReservationCapabilities { kinds, ..CAPABILITIES }.to_bytes()
            }
            ReserveInAction::ReadFullStatus => reservations.full_status(port.relative_port).to_bytes(),
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

impl ReserveOut {
    pub(super) async fn run(self, disk: &Disk, list: &[u8]) -> Completion {
        let done = if self.action == ReserveOutAction::RegisterAndMove {
            self.register_and_move(disk, list)
        } else {
            self.change(disk, list)
        };
        match done {
            Ok(effects) => {
                self.tell(disk, effects).await;
                Completion::good()
            }
            Err(refusal) => Completion::refused(refusal),
        }
    }

    fn change(&self, disk: &Disk, list: &[u8]) -> Result<Effects, Refusal> {
        let length_error = || Refusal::Sense(illegal_request(AdditionalSense::PARAMETER_LIST_LENGTH_ERROR));
        let parameters = ReserveParameters::parse(list).ok_or_else(length_error)?;
        let ReserveParameters { key, action_key, specify_initiators, all_target_ports, persist } = parameters;
        let (port, kind) = (self.nexus.port(), self.kind);
        let registers =
            matches!(self.action, ReserveOutAction::Register | ReserveOutAction::RegisterAndIgnoreExistingKey);
        // SIP_C and PTPL_C say that these are not there.
        if registers && (specify_initiators || persist) {
            return Err(Refusal::Sense(invalid_parameter(FieldPointer::bit(
                20,
                if specify_initiators { 3 } else { 0 },
            ))));
        }
        if registers && list.len() != ReserveParameters::LEN {
            return Err(length_error());
        }
        disk.state.with_reservations(|reservations| {
            reservations.check_persistent()?;
            match self.action {
                ReserveOutAction::Register => reservations.register(port, Some(key), action_key, all_target_ports),
                ReserveOutAction::RegisterAndIgnoreExistingKey => {
                    reservations.register(port, None, action_key, all_target_ports)
                }
                ReserveOutAction::Reserve => reservations.reserve(port, key, kind),
                ReserveOutAction::Release => reservations.release(port, key, kind),
                ReserveOutAction::Clear => reservations.clear(port, key),
                ReserveOutAction::Preempt | ReserveOutAction::PreemptAndAbort => {
                    reservations.preempt(port, key, action_key, kind)
                }
                ReserveOutAction::RegisterAndMove => unreachable!("it has a list of its own"),
            }
        })
    }

    fn register_and_move(&self, disk: &Disk, list: &[u8]) -> Result<Effects, Refusal> {
        let parameters = MoveParameters::parse(list).map_err(|field| {
            Refusal::Sense(
                field.map_or_else(|| illegal_request(AdditionalSense::PARAMETER_LIST_LENGTH_ERROR), invalid_parameter),
            )
        })?;
        let MoveParameters { key, action_key, unregister, persist, relative_port, initiator } = parameters;
        let invalid = |byte| Refusal::Sense(invalid_parameter(FieldPointer::byte(byte)));
        if persist {
            return Err(Refusal::Sense(invalid_parameter(FieldPointer::bit(17, 0))));
        }
        if relative_port != self.relative_port {
            return Err(invalid(18));
        }
        let name = initiator.name.parse().map_err(|_| invalid(24))?;
        let to = InitiatorPort { name, isid: initiator.isid.ok_or_else(|| invalid(24))? };
        disk.state.with_reservations(|reservations| {
            reservations.check_persistent()?;
            reservations.register_and_move(self.nexus.port(), key, (to, action_key), unregister)
        })
    }

    /// Tells the others, and ends the commands of those that were preempted if that was asked for. They do not touch storage
    /// any more when this returns.
    async fn tell(&self, disk: &Disk, effects: Effects) {
        let unit = disk.id();
        for (port, code) in &effects.attentions {
            self.nexuses.post_to(port, unit, *code);
        }
        if self.action != ReserveOutAction::PreemptAndAbort {
            return;
        }
        let mut ended = Vec::new();
        for nexus in self.nexuses.all().iter().filter(|nexus| effects.preempted.contains(nexus.port())) {
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
