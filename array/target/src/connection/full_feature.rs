//! The full feature phase: takes requests in the order of their numbers, and sends what comes of them.

use std::collections::HashSet;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use lunshadow_iscsi::login::NegotiatedSession;
use lunshadow_iscsi::negotiation::SessionParameters;
use lunshadow_iscsi::pdu::{
    AsyncEvent, AsyncMessage, Bhs, DecodeError, LogoutReason, LogoutRequest, LogoutResponse, LogoutResponseCode, NopIn,
    NopOut, Pdu, PduDecoder, RESERVED_TAG, RejectReason, Request, Tag, Taken, TaskAttribute, TaskFunction,
    TaskResponse,
};
use lunshadow_iscsi::sequence::CmdSnVerdict;
use lunshadow_lun::{InitiatorName, finish_up};
use lunshadow_scsi::{AdditionalSense, Sense, SenseKey};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::tcp::OwnedWriteHalf;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::Instant;

use super::ConnectionError;
use super::attention::Attention;
use super::command::TURNS;
use super::fence::Fence;
use super::intake;
use super::jobs::Jobs;
use super::pulse::{Due, Pulse};
use super::text::TextNegotiation;
use crate::Completion;
use crate::claim::Claim;
use crate::outlet::Outlet;
use crate::portals::NetworkPortal;
use crate::session::Session;
use crate::target::{Phase, Shared};
use crate::tasks::{Slot, Ttts};

/// How long the last PDUs of a connection may take on their way out.
const FLUSH_TIME: Duration = Duration::from_secs(5);
/// Requests that a session may have under way besides those of the window (RFC 7143 4.2.2.1 asks for one at least).
// RFC 7143 §4.2.2.1 MUST: one immediate task management request and one other immediate request are taken at any time.
const IMMEDIATE_REQUESTS_MAX: usize = 16;

/// A connection in its full feature phase.
pub(super) struct FullFeature<'a> {
    pub(super) shared: &'a Shared,
    pub(super) parameters: SessionParameters,
    cid: u16,
    /// `None` in a discovery session.
    pub(super) session: Option<Arc<Session>>,
    pub(super) initiator: InitiatorName,
    /// The portal that the initiator has reached the target at.
    pub(super) reached: NetworkPortal,
    pub(super) outlet: Outlet<OwnedWriteHalf>,
    /// What goes on besides reading. Commands are never dropped while they touch storage.
    pub(super) jobs: Jobs,
    /// Turns of commands: simple ones take one permit, ordered ones all.
    pub(super) order: Arc<Semaphore>,
    /// The connection's budget of data, in KiB.
    pub(super) room: Arc<Semaphore>,
    /// How much that is.
    pub(super) room_kib: u32,
    /// How much it is to be.
    share_bytes: watch::Receiver<u32>,
    pulse: Pulse,
    /// Task management that is not answered yet.
    pub(super) managing: HashSet<Tag>,
    pub(super) fence: Fence,
    pub(super) ttts: Ttts,
    pub(super) text: Option<TextNegotiation>,
}

/// What a job has come to.
pub(super) enum Event {
    /// A command has run, or was not wanted any more. Its room is needed until its data is on its way.
    Ran { itt: Tag, completion: Option<Completion>, room: Option<OwnedSemaphorePermit> },
    /// There is room for a command's data now.
    Room { itt: Tag, room: Claim },
    /// A task management function is done. After a cold reset nothing more comes.
    Managed { itt: Tag, function: TaskFunction, response: TaskResponse, slot: Option<Slot> },
    /// The connection's budget has become smaller.
    Shrunk,
}

/// Why a connection ends in order.
pub(super) enum Ending {
    /// The initiator logs out and wants to hear about it.
    Logout(LogoutRequest),
    /// The initiator has closed the connection.
    Hangup,
    /// The target shuts down.
    Drained,
    /// The target is reset, because this initiator wants it.
    Reset,
    /// A request came damaged. Its number is missing for good.
    Gap,
}

impl<'a> FullFeature<'a> {
    pub(super) fn new(
        shared: &'a Shared,
        negotiated: NegotiatedSession,
        session: Option<Arc<Session>>,
        initiator: InitiatorName,
        reached: NetworkPortal,
        writer: OwnedWriteHalf,
    ) -> Self {
        let digests = negotiated.parameters.digests();
        let limits = &shared.limits;
        // The login has granted the whole window.
        let window = limits.command_window.max(2);
        let numbers = (negotiated.next_stat_sn, negotiated.first_cmd_sn);
        let room_kib = room_kib(limits.connection_bytes);
        let mut share_bytes = shared.session_places.share_bytes();
        share_bytes.mark_changed();
        Self {
            shared,
            cid: negotiated.identity.cid,
            parameters: negotiated.parameters,
            session,
            initiator,
            reached,
            outlet: Outlet::new(writer, digests, numbers, window, limits.answer_time),
            jobs: Jobs::default(),
            order: Arc::new(Semaphore::new(TURNS as usize)),
            room: Arc::new(Semaphore::new(usize::try_from(room_kib).unwrap_or(usize::MAX))),
            room_kib,
            share_bytes,
            pulse: Pulse::new(limits, Instant::now()),
            managing: HashSet::new(),
            fence: Fence::new(negotiated.next_stat_sn),
            ttts: Ttts::default(),
            text: None,
        }
    }

    /// Serves until the connection ends. May be dropped at any await: [`end`](Self::end) then cleans up.
    pub(super) async fn run(
        &mut self,
        reader: &mut (impl AsyncRead + Unpin),
        decoder: &PduDecoder,
        mut buffer: BytesMut,
        mut phase: watch::Receiver<Phase>,
        mut attention: Attention,
    ) -> Result<Ending, ConnectionError> {
        let session = self.session.clone();
        let mut alarm = pin!(tokio::time::sleep_until(self.pulse.next()));
        loop {
            if let Some(ending) = self.take(decoder, &mut buffer)? {
                return Ok(ending);
            }
            // Here and not below, since an initiator could keep these from being heard by sending all the time.
            if Instant::now() >= alarm.deadline() {
                self.look()?;
                alarm.as_mut().reset(self.pulse.next());
            }
            if phase.has_changed().map_err(|_| ConnectionError::ShuttingDown)?
                && let Some(ending) = self.phase(*phase.borrow_and_update())
            {
                return Ok(ending);
            }
            if self.share_bytes.has_changed().is_ok_and(|has_changed| has_changed) {
                self.take_share();
            }
            // RFC 7143 §11.4.11 MUST: a NOP-In tells of a new MaxCmdSN if no other PDU does.
            // RFC 7143 §11.19.1 MUST: a NOP-In that wants no answer has the reserved Target Transfer Tag.
            if self.session.is_some() && self.outlet.has_more_to_tell() {
                self.outlet.send(Pdu::bare(NopIn { itt: RESERVED_TAG, ttt: RESERVED_TAG, ..NopIn::default() }), None);
            }
            let stays_awake = attention.holds(Instant::now, self.jobs.len());
            tokio::select! {
                // All that is to be written goes together.
                biased;
                Some(event) = self.jobs.next() => {
                    attention.heard(Instant::now());
                    if let Some(ending) = self.event(event?) {
                        return Ok(ending);
                    }
                }
                written = self.outlet.write(), if !self.outlet.is_empty() => {
                    written?;
                    // Nobody waits for that.
                    finish_up();
                }
                read = reader.read_buf(&mut buffer), if !self.outlet.is_full() => {
                    if read? == 0 {
                        return Ok(Ending::Hangup);
                    }
                    let now = Instant::now();
                    attention.heard(now);
                    if self.pulse.heard(now) {
                        alarm.as_mut().reset(self.pulse.next());
                    }
                }
                // What they tell is looked at above.
                _ = phase.changed() => phase.mark_changed(),
                Ok(()) = self.share_bytes.changed() => self.share_bytes.mark_changed(),
                () = places_freed(session.as_deref()) => {}
                () = &mut alarm => {}
                () = tokio::task::yield_now(), if stays_awake => {}
            }
        }
    }

    /// Takes the PDUs that have come, as long as what comes of them can be written.
    fn take(&mut self, decoder: &PduDecoder, buffer: &mut BytesMut) -> Result<Option<Ending>, ConnectionError> {
        while !self.outlet.is_full() {
            let ending = match decoder.take(buffer) {
                Ok(Taken::Pdu(pdu)) if is_inconsistent(&pdu) => return Err(ConnectionError::Inconsistent),
                Ok(Taken::Pdu(pdu)) => self.receive(pdu),
                Ok(Taken::Missing { byte_count }) => {
                    intake::make_room(buffer, decoder.data_offset_bytes(), byte_count);
                    break;
                }
                Err(DecodeError::DataDigestMismatch { header }) => self.damaged(&header),
                Err(error) => return Err(error.into()),
            };
            if ending.is_some() {
                return Ok(ending);
            }
        }
        Ok(None)
    }

    /// Goes along with the target, which begins to shut down.
    fn phase(&mut self, phase: Phase) -> Option<Ending> {
        match phase {
            Phase::Serving => {}
            Phase::LoggingOut if self.session.is_some() => self.ask_for_logout(),
            Phase::LoggingOut | Phase::Draining => return Some(Ending::Drained),
        }
        None
    }

    /// Looks whether the initiator is still there and does what it said.
    fn look(&mut self) -> Result<(), ConnectionError> {
        let now = Instant::now();
        if self.pulse.looks_at_data(now) && self.session.as_ref().is_some_and(|session| session.tasks.look()) {
            return Err(ConnectionError::DataTime);
        }
        match self.pulse.due(now) {
            Due::Nothing => Ok(()),
            Due::Burial => Err(ConnectionError::Silent),
            // In a discovery session there is nothing but text and logout (RFC 7143 4.3).
            Due::Question if self.session.is_none() => Ok(()),
            Due::Question => {
                self.question();
                Ok(())
            }
        }
    }

    /// Has the initiator say what it expects next, at once.
    pub(super) fn hurry(&mut self) {
        if self.pulse.ask(Instant::now()) {
            self.question();
        }
    }

    // RFC 7143 §11.19 MUST: a NOP-In that answers no NOP-Out has the reserved Initiator Task Tag.
    // RFC 7143 §11.19 MUST NOT: a NOP-In that answers no NOP-Out has data.
    fn question(&mut self) {
        let header = NopIn { itt: RESERVED_TAG, ttt: self.ttts.take(), ..NopIn::default() };
        self.outlet.send(Pdu::bare(header), None);
    }

    /// Keeps to what the connection may hold now.
    fn take_share(&mut self) {
        let share_bytes = *self.share_bytes.borrow_and_update();
        self.outlet.resize(self.shared.limits.window(share_bytes, self.parameters.first_burst_length));
        let (before, after) = (self.room_kib, room_kib(share_bytes));
        self.room_kib = after;
        if after >= before {
            self.room.add_permits(usize::try_from(after - before).unwrap_or(0));
            return;
        }
        // It is served in its turn, so that commands which claimed room before have what they need.
        let claim = Claim::make(&self.room, before - after);
        self.jobs.begin(async move {
            if let Some(room) = claim.served().await {
                room.forget();
            }
            Event::Shrunk
        });
    }

    /// Ends the connection. No command touches storage any more when this returns.
    pub(super) async fn end(mut self, ending: Result<Ending, ConnectionError>) -> Result<(), ConnectionError> {
        finish_up();
        let ended = match ending {
            Ok(Ending::Logout(request)) => self.log_out(&request).await.map(|()| true),
            Ok(Ending::Drained) => self.finish_commands().await.map(|()| true),
            // The initiator hears why, and nothing is answered any more.
            Ok(ending @ (Ending::Reset | Ending::Gap)) => {
                let finished = self.outlet.finish(FLUSH_TIME).await;
                if matches!(ending, Ending::Reset) {
                    // RFC 7143 §11.6.1 MUST: a cold reset closes all connections to all initiators.
                    self.shared.resets.send_modify(|count| *count += 1);
                }
                if let Some(session) = &self.session {
                    drop(session.tasks.end(|_| true));
                }
                self.jobs.end().await;
                return Ok(finished?);
            }
            Ok(Ending::Hangup) => Ok(false),
            Err(error) => Err(error),
        };
        // RFC 7143 §11.15 MUST: the connection is closed after a logout.
        if matches!(ended, Ok(true)) {
            return Ok(self.outlet.finish(FLUSH_TIME).await?);
        }
        // The initiator learns at once that the connection is gone. Commands that run are waited for, and not answered.
        drop(self.outlet);
        if let Some(session) = &self.session {
            drop(session.tasks.end(|_| true));
        }
        self.jobs.end().await;
        ended.map(|_| ())
    }

    /// Lets the commands that have all they need finish, and answers them.
    async fn finish_commands(&mut self) -> Result<(), ConnectionError> {
        if let Some(session) = &self.session {
            session.tasks.drop_receiving();
        }
        while let Some(event) = self.jobs.next().await {
            self.event(event?);
            while self.outlet.is_full() {
                self.outlet.write().await?;
            }
        }
        self.lift_fence();
        Ok(())
    }

    fn event(&mut self, event: Event) -> Option<Ending> {
        match event {
            Event::Shrunk => {}
            Event::Ran { itt, completion, room } => {
                let accepted = self.session.as_ref().and_then(|session| session.tasks.finish(itt));
                if let (Some(accepted), Some(completion)) = (accepted, completion) {
                    self.respond(accepted, completion, room);
                }
            }
            Event::Room { itt, room } => {
                if let Some(session) = &self.session {
                    session.tasks.give_room(itt, room);
                }
                self.advance(itt);
            }
            Event::Managed { itt, function, response, slot } => {
                self.managed(itt, function, response, slot);
                return (function == TaskFunction::TARGET_COLD_RESET).then_some(Ending::Reset);
            }
        }
        None
    }

    /// Takes a PDU as it comes.
    fn receive(&mut self, pdu: Pdu) -> Option<Ending> {
        self.acknowledged(pdu.bhs.expected_sn.into());
        if let Request::DataOut(header) = pdu.bhs.request() {
            let header = *header;
            self.data_out(&header, pdu.data);
            return None;
        }
        if !takes_number(&pdu) {
            self.reject(&pdu.bhs, RejectReason::COMMAND_NOT_SUPPORTED);
            return None;
        }
        // RFC 7143 §4.2.2.1 MUST: commands reach SCSI in the order of their CmdSN.
        if pdu.bhs.is_immediate() {
            if self.is_full() {
                self.reject(&pdu.bhs, RejectReason::IMMEDIATE_COMMAND_REJECT);
                return None;
            }
            if let Some(ending) = self.serve(pdu, None) {
                return Some(ending);
            }
        } else {
            let cmd_sn = pdu.bhs.own_sn.into();
            match self.outlet.accept(cmd_sn, pdu) {
                CmdSnVerdict::Ready(pdu) => {
                    let slot = self.outlet.slot();
                    if let Some(ending) = self.serve(pdu, Some(slot)) {
                        return Some(ending);
                    }
                }
                CmdSnVerdict::Held => return None,
                CmdSnVerdict::Dropped => {
                    tracing::debug!(%cmd_sn, "a request outside the command window was dropped");
                    return None;
                }
            }
        }
        // Those that waited for this one, or for one that it has aborted.
        while let Some(pdu) = self.outlet.take_next() {
            let slot = self.outlet.slot();
            if let Some(ending) = self.serve(pdu, Some(slot)) {
                return Some(ending);
            }
        }
        None
    }

    /// Takes a request whose turn it is, or rejects it.
    // RFC 7143 §7.3 MUST NOT: the CmdSN of a request that is rejected counts as received.
    fn serve(&mut self, pdu: Pdu, slot: Option<Slot>) -> Option<Ending> {
        let (header, has_slot) = (pdu.bhs, slot.is_some());
        self.request(pdu, slot).unwrap_or_else(|reason| {
            if has_slot {
                self.outlet.take_back();
            }
            self.reject(&header, reason);
            None
        })
    }

    /// Nothing has been sent, and the slot is not held any more, when a request is to be rejected.
    fn request(&mut self, pdu: Pdu, slot: Option<Slot>) -> Result<Option<Ending>, RejectReason> {
        require_known_codes(&pdu.bhs)?;
        match (pdu.bhs.request(), &self.session) {
            // RFC 7143 §4.3 MUST: what is neither SendTargets nor a logout that closes the session is rejected in a discovery session.
            (Request::Logout(request), None) if request.reason() != LogoutReason::CLOSE_SESSION => {
                return Err(RejectReason::PROTOCOL_ERROR);
            }
            (Request::Logout(&request), _) => match self.logout_code(&request) {
                LogoutResponseCode::CLOSED => return Ok(Some(Ending::Logout(request))),
                refused => {
                    drop(slot);
                    let response = self.logout_response(&request, refused);
                    self.outlet.send(Pdu::bare(response), None);
                }
            },
            (Request::NopOut(&request), Some(_)) => self.nop_out(request, pdu.data, slot),
            (Request::Text(&request), _) => self.text(&request, &pdu.data, slot)?,
            (Request::ScsiCommand(&command), Some(session)) => {
                let session = session.clone();
                self.command(&session, command, pdu.data, slot)?;
            }
            (Request::TaskManagement(&request), Some(session)) => {
                let session = session.clone();
                self.manage(&session, &request, slot);
            }
            // RFC 7143 §4.2.4 MUST NOT: there is a second login on a connection.
            // No commands and no pings in discovery sessions, no logins in the full feature phase.
            _ => return Err(RejectReason::PROTOCOL_ERROR),
        }
        Ok(None)
    }

    /// RFC 7143 11.18: a NOP-Out that wants an answer gets its data back.
    // RFC 7143 §11.19 MUST: a NOP-In that answers a NOP-Out has the reserved Target Transfer Tag.
    // RFC 7143 §11.19 MUST: a NOP-Out with a valid Initiator Task Tag is answered with the same tag and as much of its data as the initiator takes.
    fn nop_out(&mut self, request: NopOut, data: Bytes, slot: Option<Slot>) {
        drop(slot);
        if request.itt.is_reserved() {
            return;
        }
        let data = data.slice(..data.len().min(self.initiator_bytes_max()));
        let header = NopIn { itt: request.itt, ttt: RESERVED_TAG, ..NopIn::default() };
        self.outlet.send(Pdu::new(header, data), None);
    }

    /// What runs is answered before the logout is (RFC 7143 11.14: nothing comes after it).
    // RFC 7143 §11.14 MUST: a logout ends the commands that are pending.
    async fn log_out(&mut self, request: &LogoutRequest) -> Result<(), ConnectionError> {
        self.finish_commands().await?;
        // Whoever hears of the logout finds what the session had reserved free.
        if let Some(session) = &self.session {
            session.nexus.lose();
        }
        let response = self.logout_response(request, LogoutResponseCode::CLOSED);
        self.outlet.send(Pdu::bare(response), None);
        Ok(())
    }

    fn logout_response(&self, request: &LogoutRequest, response: LogoutResponseCode) -> LogoutResponse {
        LogoutResponse {
            response,
            itt: request.itt,
            time2wait: seconds(self.parameters.default_time2wait).into(),
            time2retain: seconds(self.parameters.default_time2retain).into(),
            ..LogoutResponse::default()
        }
    }

    fn logout_code(&self, request: &LogoutRequest) -> LogoutResponseCode {
        match request.reason() {
            LogoutReason::CLOSE_CONNECTION if request.cid.get() != self.cid => LogoutResponseCode::CID_NOT_FOUND,
            LogoutReason::CLOSE_SESSION | LogoutReason::CLOSE_CONNECTION => LogoutResponseCode::CLOSED,
            _ => LogoutResponseCode::RECOVERY_NOT_SUPPORTED,
        }
    }

    fn ask_for_logout(&mut self) {
        let at_most = self.shared.limits.logout_time.as_secs().max(1);
        let header = AsyncMessage {
            event: AsyncEvent::LOGOUT_REQUESTED,
            parameter3: u16::try_from(at_most).unwrap_or(u16::MAX).into(),
            ..AsyncMessage::default()
        };
        self.outlet.send(Pdu::bare(header), None);
    }

    /// A PDU whose data came damaged. A write ends with it; anything else leaves a gap in the numbers that nothing but a new
    /// session can close (ErrorRecoveryLevel 0).
    // RFC 7143 §7.8 MUST: a PDU whose data digest does not match is discarded and rejected with the reason data digest error.
    fn damaged(&mut self, header: &Bhs) -> Option<Ending> {
        self.reject(header, RejectReason::DATA_DIGEST_ERROR);
        let Request::DataOut(data_out) = header.request() else { return Some(Ending::Gap) };
        self.spoil(data_out, Sense::new(SenseKey::ABORTED_COMMAND, AdditionalSense::PROTOCOL_SERVICE_CRC_ERROR));
        None
    }

    fn reject(&mut self, header: &Bhs, reason: RejectReason) {
        tracing::info!(request = ?header, ?reason, "a request was rejected");
        self.outlet.send(Pdu { bhs: *header, ahs: Bytes::new(), data: Bytes::new() }.reject(reason), None);
    }

    pub(super) fn initiator_bytes_max(&self) -> usize {
        usize::try_from(self.parameters.initiator_max_recv_data_segment_length).unwrap_or(usize::MAX)
    }

    /// Whether there is no place for another immediate request, which the window does not bound. Jobs are commands that run and
    /// task management that waits for them.
    fn is_full(&self) -> bool {
        let commands = self.session.as_ref().map_or(0, |session| session.tasks.len());
        let window = usize::try_from(self.shared.limits.command_window.max(2)).unwrap_or(usize::MAX);
        commands.max(self.jobs.len()) >= window.saturating_add(IMMEDIATE_REQUESTS_MAX)
    }
}

/// Whether a command that writes nothing comes with data, or without the bit that says that no data follows (RFC 7143 11.3.1).
// RFC 7143 §7.7 MUST: a PDU that breaks the format closes the connection.
fn is_inconsistent(pdu: &Pdu) -> bool {
    match pdu.bhs.request() {
        Request::ScsiCommand(command) => !command.is_write() && (!command.is_final() || !pdu.data.is_empty()),
        _ => false,
    }
}

/// Checks that the codes of a request are among those that there are.
// RFC 7143 §11 MUST: a reserved value of a field with codes is reported as a protocol error.
fn require_known_codes(header: &Bhs) -> Result<(), RejectReason> {
    let is_known = match header.request() {
        Request::ScsiCommand(command) => command.attribute().0 <= TaskAttribute::ACA.0,
        Request::TaskManagement(request) => {
            (TaskFunction::ABORT_TASK.0..=TaskFunction::TASK_REASSIGN.0).contains(&request.function().0)
        }
        Request::Logout(request) => request.reason().0 <= LogoutReason::REMOVE_FOR_RECOVERY.0,
        _ => true,
    };
    if is_known { Ok(()) } else { Err(RejectReason::PROTOCOL_ERROR) }
}

/// Whether a PDU is of a type that has a CmdSN.
fn takes_number(pdu: &Pdu) -> bool {
    match pdu.bhs.request() {
        Request::NopOut(_)
        | Request::ScsiCommand(_)
        | Request::TaskManagement(_)
        | Request::Login(_)
        | Request::Text(_)
        | Request::Logout(_) => true,
        Request::DataOut(_) | Request::Other(_) => false,
    }
}

/// Resolves when somebody else has ended commands of the session.
async fn places_freed(session: Option<&Session>) {
    match session {
        Some(session) => session.tasks.places_freed().await,
        None => std::future::pending().await,
    }
}

/// A budget in the unit in which it is given out.
const fn room_kib(bytes: u32) -> u32 {
    if bytes < 1024 { 1 } else { bytes / 1024 }
}

/// The keys hold at most 3600.
fn seconds(value: u32) -> u16 {
    u16::try_from(value).unwrap_or(u16::MAX)
}
