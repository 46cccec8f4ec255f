//! PERSISTENT RESERVE IN and OUT, RESERVE and RELEASE.

use super::table::{form, layout};
use super::{CdbError, Command, CommandForm, ReserveForm};
use crate::cdb::{PersistentReserveInCdb, PersistentReserveOutCdb, opcode};
use crate::{ReservationKind, ReserveInAction, ReserveOutAction};

macro_rules! reserve_in {
    ($name:literal, $action:ident) => {
        form!(
            $name,
            action [
                opcode::PERSISTENT_RESERVE_IN, ReserveInAction::$action.code(), 0, 0, 0, 0, 0, 0xff, 0xff, 0,
            ],
            |cdb| reserve_in(ReserveInAction::$action, cdb)
        )
    };
}
macro_rules! reserve_out {
    ($name:literal, $action:ident) => {
        form!(
            $name,
            action [
                opcode::PERSISTENT_RESERVE_OUT, ReserveOutAction::$action.code(), 0xff, 0, 0, 0xff, 0xff, 0xff, 0xff, 0,
            ],
            |cdb| reserve_out(ReserveOutAction::$action, cdb)
        )
    };
}

pub(super) const FORMS: &[CommandForm] = &[
    reserve_in!("PERSISTENT RESERVE IN - READ KEYS", ReadKeys),
    reserve_in!("PERSISTENT RESERVE IN - READ RESERVATION", ReadReservation),
    reserve_in!("PERSISTENT RESERVE IN - REPORT CAPABILITIES", ReportCapabilities),
    reserve_in!("PERSISTENT RESERVE IN - READ FULL STATUS", ReadFullStatus),
    reserve_out!("PERSISTENT RESERVE OUT - REGISTER", Register),
    reserve_out!("PERSISTENT RESERVE OUT - RESERVE", Reserve),
    reserve_out!("PERSISTENT RESERVE OUT - RELEASE", Release),
    reserve_out!("PERSISTENT RESERVE OUT - CLEAR", Clear),
    reserve_out!("PERSISTENT RESERVE OUT - PREEMPT", Preempt),
    reserve_out!("PERSISTENT RESERVE OUT - PREEMPT AND ABORT", PreemptAndAbort),
    reserve_out!("PERSISTENT RESERVE OUT - REGISTER AND IGNORE EXISTING KEY", RegisterAndIgnoreExistingKey),
    reserve_out!("PERSISTENT RESERVE OUT - REGISTER AND MOVE", RegisterAndMove),
    form!("RESERVE(6)", [opcode::RESERVE_6, 0, 0, 0, 0, 0], |_| Ok(Command::Reserve(ReserveForm::Six))),
    form!("RELEASE(6)", [opcode::RELEASE_6, 0, 0, 0, 0, 0], |_| Ok(Command::Release(ReserveForm::Six))),
    form!("RESERVE(10)", [opcode::RESERVE_10, 0, 0, 0, 0, 0, 0, 0, 0, 0], |_| Ok(Command::Reserve(ReserveForm::Ten))),
    form!("RELEASE(10)", [opcode::RELEASE_10, 0, 0, 0, 0, 0, 0, 0, 0, 0], |_| Ok(Command::Release(ReserveForm::Ten))),
];

fn reserve_in(action: ReserveInAction, cdb: &[u8]) -> Result<Command, CdbError> {
    let cdb: &PersistentReserveInCdb = layout(cdb)?;
    Ok(Command::PersistentReserveIn { action, allocation_len: cdb.allocation_len.get() })
}

fn reserve_out(action: ReserveOutAction, cdb: &[u8]) -> Result<Command, CdbError> {
    let cdb: &PersistentReserveOutCdb = layout(cdb)?;
    Ok(Command::PersistentReserveOut {
        action,
        scope: cdb.scope_and_type >> 4,
        kind: ReservationKind(cdb.scope_and_type & 0x0f),
        parameter_len: cdb.parameter_len.get(),
    })
}
