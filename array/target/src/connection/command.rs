//! SCSI commands on a connection: their data, their turn, their answer.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use lunshadow_iscsi::pdu::{DataOut, Pdu, ReadyToTransfer, RejectReason, ScsiCommand, Tag, TaskAttribute};
use lunshadow_iscsi::transfer::{ReadyToTransferGrant, WriteError, WriteTransfer};
use lunshadow_scsi::{AdditionalSense, LunAddress, Sense, SenseKey};

use bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;

use super::full_feature::{Event, FullFeature};
use super::intake::settled;
use crate::claim::Claim;
use crate::session::Session;
use crate::tasks::{Accepted, Claims, Ready, Receiving, Slot, Step};
use crate::{Completion, Task, answer};

/// Permits of a session's order of commands: more than it can ever have commands.
pub(super) const TURNS: u32 = 1 << 24;

impl FullFeature<'_> {
    /// Takes a SCSI Command and the data that came with it.
    pub(super) fn command(
        &mut self,
        session: &Session,
        command: ScsiCommand,
        immediate: Bytes,
        slot: Option<Slot>,
    ) -> Result<(), RejectReason> {
        if command.itt.is_reserved() || session.tasks.contains(command.itt) {
            return Err(RejectReason::TASK_IN_PROGRESS);
        }
        // No command here moves data in both directions.
        if command.is_read() && command.is_write() {
            return Err(RejectReason::INVALID_PDU_FIELD);
        }
        let offered = if command.is_write() { command.expected_data_transfer_length.get() } else { 0 };
        let task = self.shared.device_server.accept(&session.nexus, command.lun, &command.cdb).offered(offered);
        let (unit, data_out_len, sense_format) = (task.unit(), task.data_out_len(), task.sense_format());
        let accepted = Accepted { command, unit, data_out_len, sense_format, slot };
        if command.is_write() {
            self.write(session, accepted, task, immediate);
            return Ok(());
        }
        match task.into_answer() {
            Ok(completion) => self.respond(accepted, completion, None),
            Err(task) => {
                let claims = self.claim(&accepted, task.data_in_len_max());
                self.begin_command(session, accepted, task, claims, Bytes::new());
            }
        }
        Ok(())
    }

    /// Runs a command that has its data: here and now if that can be, so that nobody sees it run, or as soon as it can.
    #[expect(clippy::result_large_err, reason = "no command is to need an allocation for this")]
    fn begin_command(&mut self, session: &Session, accepted: Accepted, task: Task, claims: Claims, data_out: Bytes) {
        let (task, data_out) = if claims.room.is_served() && claims.turn.is_served() {
            match catch_unwind(AssertUnwindSafe(|| task.run_now(data_out))) {
                Ok(Ok(completion)) => return self.respond(accepted, completion, claims.room.granted()),
                Ok(Err(again)) => again,
                // As if it were a job, so that the connection ends after the others.
                Err(panic) => return self.jobs.begin(async { resume_unwind(panic) }),
            }
        } else {
            (task, data_out)
        };
        let ready = session.tasks.enter_ready(accepted, task, claims, data_out);
        self.run_command(ready);
    }

    /// A command with data-out: what came with it may be all, more may come unasked, and the rest is asked for.
    fn write(&mut self, session: &Session, accepted: Accepted, task: Task, immediate: Bytes) {
        // The initiator may announce any amount. What comes unasked has to be taken, what is asked for need not be more than the
        // command takes.
        let announced = accepted.command.expected_data_transfer_length.get();
        let total_len = announced.min(accepted.data_out_len.max(self.parameters.first_burst_length));
        let limited = ScsiCommand { expected_data_transfer_length: total_len.into(), ..accepted.command };
        let transfer = match WriteTransfer::new(&self.parameters, &limited, immediate.len()) {
            Ok(transfer) => transfer,
            Err(error) => {
                let transfer = WriteTransfer::refused(&self.parameters, &limited, immediate.len());
                let itt = accepted.command.itt;
                session.tasks.enter_spoiled(accepted, transfer, sense_of_data(error));
                return self.advance(itt);
            }
        };
        let unasked_len =
            if limited.is_final() { transfer.received() } else { total_len.min(self.parameters.first_burst_length) };
        let is_asked_for = accepted.data_out_len > 0 && total_len > unasked_len;
        let claims = self.claim(&accepted, if is_asked_for { total_len } else { 0 });
        let unsolicited = transfer.received() < unasked_len;
        if transfer.is_complete() && !unsolicited {
            return self.begin_command(session, accepted, task, claims, settled(immediate));
        }
        let itt = accepted.command.itt;
        let mut receiving = Receiving::new(task, claims, transfer, immediate, total_len);
        receiving.unsolicited = unsolicited;
        session.tasks.enter_receiving(accepted, receiving);
        self.advance(itt);
    }

    /// Takes a Data-Out.
    pub(super) fn data_out(&mut self, header: &DataOut, data: Bytes) {
        let Some(session) = &self.session else { return };
        match session.tasks.data_out(header, data) {
            Ok(()) => self.advance(header.itt),
            Err(error) => {
                tracing::info!(error = &error as &dyn std::error::Error, "a write was ended");
                self.spoil(header, sense_of_data(error));
            }
        }
    }

    /// Ends a write because of a Data-Out that cannot be taken. It is answered when all data that is on its way has come.
    // RFC 7143 §7.3 MUST NOT: a Reject is the end of a command that has begun.
    // RFC 7143 §11.17.1 MUST: a command that ends because of a Reject gets CHECK CONDITION.
    pub(super) fn spoil(&mut self, header: &DataOut, sense: Sense) {
        if let Some(session) = &self.session {
            session.tasks.spoil(header, sense);
            self.advance(header.itt);
        }
    }

    /// Takes a command that waits for data as far as it can go.
    pub(super) fn advance(&mut self, itt: Tag) {
        let Some(session) = self.session.clone() else { return };
        match session.tasks.step(itt, &mut self.ttts) {
            Step::Run(ready) => self.run_command(ready),
            Step::End(accepted, sense) => self.respond(*accepted, Completion::check(sense), None),
            Step::Data { lun, grants } => {
                for grant in grants {
                    self.outlet.send(ready_to_transfer(itt, lun, grant), None);
                }
                if let Some(claim) = session.tasks.take_room_claim(itt) {
                    self.jobs.begin(async move {
                        let room = claim.served().await.map_or(Claim::Nothing, Claim::Granted);
                        Event::Room { itt, room }
                    });
                }
            }
        }
    }

    /// Sends the end of a command.
    pub(super) fn respond(
        &mut self,
        mut accepted: Accepted,
        completion: Completion,
        mut room: Option<OwnedSemaphorePermit>,
    ) {
        // Before its PDUs are numbered, so that they tell the initiator of the place that is free now.
        drop(accepted.slot.take());
        let mut pdus = answer::pdus(&self.parameters, &accepted, completion).into_iter().peekable();
        while let Some(pdu) = pdus.next() {
            let room = if pdus.peek().is_none() { room.take() } else { None };
            self.outlet.send(pdu, room);
        }
    }

    /// Claims a command's turn, and room for `len` bytes of data.
    fn claim(&self, accepted: &Accepted, len: u32) -> Claims {
        let turns = match accepted.command.attribute() {
            TaskAttribute::ORDERED => TURNS,
            TaskAttribute::HEAD_OF_QUEUE => 0,
            _ => 1,
        };
        let kib = len.div_ceil(1024).min(self.room_kib);
        Claims {
            turn: if turns == 0 { Claim::Nothing } else { Claim::make(&self.order, turns) },
            room: if kib == 0 { Claim::Nothing } else { Claim::make(&self.room, kib) },
        }
    }

    /// Runs a command once it is its turn, unless it is not wanted any more by then.
    fn run_command(&mut self, ready: Box<Ready>) {
        self.jobs.begin(async move {
            let Ready { itt, task, claims, data_out, flight } = *ready;
            let served = async { (claims.room.served().await, claims.turn.served().await) };
            let (room, turn) = tokio::select! {
                biased;
                () = flight.unwanted() => return Event::Ran { itt, completion: None, room: None },
                served = served => served,
            };
            let completion = if task.goes_on_alone() {
                tokio::select! {
                    biased;
                    () = flight.unwanted() => None,
                    completion = task.run(data_out) => Some(completion),
                }
            } else {
                Some(task.run(data_out).await)
            };
            drop((turn, flight));
            Event::Ran { itt, completion, room }
        });
    }
}

// RFC 7143 §11.7.4 MUST: a Target Transfer Tag comes with the LUN of its command.
fn ready_to_transfer(itt: Tag, lun: LunAddress, grant: ReadyToTransferGrant) -> Pdu {
    Pdu::bare(ReadyToTransfer {
        lun,
        itt,
        ttt: grant.ttt,
        r2t_sn: grant.r2t_sn.into(),
        buffer_offset: grant.offset.into(),
        desired_data_transfer_length: grant.length.into(),
        ..ReadyToTransfer::default()
    })
}

/// The table from what is wrong with a command's data to its sense (RFC 7143 11.4.7.2, SPC-4 for what is more exact).
fn sense_of_data(error: WriteError) -> Sense {
    let code = match error {
        WriteError::UnexpectedUnsolicited | WriteError::UnsolicitedTooLong { .. } => {
            AdditionalSense::UNEXPECTED_UNSOLICITED_DATA
        }
        WriteError::SequenceLength { .. } => AdditionalSense::NOT_ENOUGH_UNSOLICITED_DATA,
        WriteError::UnknownTransfer { .. } => AdditionalSense::INVALID_TRANSFER_TAG,
        // RFC 7143 §7.9 MUST: a gap in the DataSN is taken for a Data-Out that came damaged.
        WriteError::DataSn { .. } => AdditionalSense::PROTOCOL_SERVICE_CRC_ERROR,
        WriteError::Offset { .. } => AdditionalSense::DATA_OFFSET_ERROR,
    };
    Sense::new(SenseKey::ABORTED_COMMAND, code)
}
