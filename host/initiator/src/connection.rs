//! What the reader task, the writer task and the callers of one session share.

use std::collections::HashMap;

use lunshadow_iscsi::login::NegotiatedSession;
use lunshadow_iscsi::pdu::{LogoutReason, LogoutRequest, Operation, Pdu, Tag};
use lunshadow_iscsi::sequence::{CommandWindow, StatSnTracker};
use lunshadow_iscsi::serial::SerialNumber;
use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc, oneshot, watch};

use crate::error::{ConnectionError, InitiatorError};
use crate::task::{Task, UnitAttention};
use crate::writer::Outgoing;

/// One connection in its full feature phase.
pub(crate) struct Connection {
    /// What was agreed at login.
    pub(crate) session: NegotiatedSession,
    /// The target's command window may have opened.
    pub(crate) window_moved: Notify,
    state: Mutex<State>,
    outgoing: mpsc::UnboundedSender<Outgoing>,
    /// Turns true once, when the connection ends.
    ended: watch::Sender<bool>,
}

struct State {
    window: CommandWindow,
    stat_sn: StatSnTracker,
    /// INVARIANT: empty once `ending` is set.
    tasks: HashMap<u32, Task>,
    next_itt: u32,
    ending: Option<ConnectionError>,
    draining: Draining,
    attention_queues: Vec<mpsc::UnboundedSender<UnitAttention>>,
}

/// How far the logout is that the target asked for. From the first step on there are no new requests.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Draining {
    NotAsked,
    /// The logout goes out as soon as nothing is under way.
    WaitsForTasks,
    LogsOut,
}

impl Connection {
    /// The connection, and what the writer takes its work from.
    pub(crate) fn new(session: NegotiatedSession) -> (Self, mpsc::UnboundedReceiver<Outgoing>) {
        let (outgoing, work) = mpsc::unbounded_channel();
        let state = State {
            window: CommandWindow::new(session.first_cmd_sn, session.max_cmd_sn),
            stat_sn: StatSnTracker::new(session.next_stat_sn),
            tasks: HashMap::new(),
            next_itt: 0,
            ending: None,
            draining: Draining::NotAsked,
            attention_queues: Vec::new(),
        };
        let connection = Self {
            session,
            window_moved: Notify::new(),
            state: Mutex::new(state),
            outgoing,
            ended: watch::Sender::new(false),
        };
        (connection, work)
    }

    /// Puts a request under way: `build` gets its tag and gives the task and what has to be sent for it.
    pub(crate) fn begin(&self, build: impl FnOnce(Tag) -> (Task, Outgoing)) -> Result<(), InitiatorError> {
        let mut state = self.state.lock();
        if let Some(ending) = &state.ending {
            return Err(ending.clone().into());
        }
        if state.draining != Draining::NotAsked {
            return Err(ConnectionError::LogoutRequested.into());
        }
        self.put_under_way(&mut state, build);
        Ok(())
    }

    fn put_under_way(&self, state: &mut State, build: impl FnOnce(Tag) -> (Task, Outgoing)) {
        let itt = state.free_tag();
        let (task, outgoing) = build(Tag::new(itt));
        state.tasks.insert(itt, task);
        self.send(outgoing);
    }

    /// Hands the writer something to send.
    pub(crate) fn send(&self, outgoing: Outgoing) {
        // A writer that is gone has ended the connection before, which every task has been told.
        drop(self.outgoing.send(outgoing));
    }

    /// Ends the connection: everything under way fails with `ending`. Only the first ending counts.
    pub(crate) fn end(&self, ending: ConnectionError) {
        let tasks = {
            let mut state = self.state.lock();
            if state.ending.is_some() {
                return;
            }
            tracing::debug!(%ending, tasks = state.tasks.len(), "connection ended");
            state.ending = Some(ending.clone());
            state.attention_queues.clear();
            std::mem::take(&mut state.tasks)
        };
        self.ended.send_replace(true);
        for task in tasks.into_values() {
            task.fail(ending.clone().into());
        }
    }

    /// Waits for the end of the connection.
    pub(crate) async fn ended(&self) {
        // The sender lives as long as `self`.
        drop(self.ended.subscribe().wait_for(|ended| *ended).await);
    }

    /// Takes the numbers that every target PDU carries.
    pub(crate) fn note_numbers(&self, pdu: &Pdu) -> Result<(), ConnectionError> {
        let mut state = self.state.lock();
        state.window.update(pdu.bhs.expected_sn.into(), pdu.bhs.max_cmd_sn.into());
        if pdu.bhs.consumes_stat_sn() {
            state.stat_sn.take(pdu.bhs.own_sn.into())?;
        }
        drop(state);
        self.window_moved.notify_one();
        Ok(())
    }

    /// The numbers for a request that takes a CmdSN; `None` while the window is shut.
    pub(crate) fn take_cmd_sn(&self) -> Option<(SerialNumber, SerialNumber)> {
        let mut state = self.state.lock();
        let cmd_sn = state.window.take()?;
        Some((cmd_sn, state.stat_sn.exp_stat_sn()))
    }

    /// The numbers for a PDU that takes no CmdSN.
    pub(crate) fn current_numbers(&self) -> (SerialNumber, SerialNumber) {
        let state = self.state.lock();
        (state.window.next_cmd_sn(), state.stat_sn.exp_stat_sn())
    }

    /// Works on a task that goes on.
    pub(crate) fn with_task<T>(&self, itt: Tag, work: impl FnOnce(&mut Task) -> T) -> Option<T> {
        self.state.lock().tasks.get_mut(&itt.get()).map(work)
    }

    /// Takes a task that ends.
    pub(crate) fn take_task(&self, itt: Tag) -> Option<Task> {
        let mut state = self.state.lock();
        let task = state.tasks.remove(&itt.get());
        self.log_out_if_drained(&mut state);
        task
    }

    /// The target asked for a logout.
    pub(crate) fn drain(&self) {
        let mut state = self.state.lock();
        if state.draining == Draining::NotAsked && state.ending.is_none() {
            state.draining = Draining::WaitsForTasks;
            self.log_out_if_drained(&mut state);
        }
    }

    fn log_out_if_drained(&self, state: &mut State) {
        if state.draining == Draining::WaitsForTasks && state.tasks.is_empty() && state.ending.is_none() {
            state.draining = Draining::LogsOut;
            // Nobody waits for this answer: it ends the connection.
            let (reply, _) = oneshot::channel();
            self.put_under_way(state, |itt| (Task::Logout(reply), logout_request(itt)));
        }
    }

    pub(crate) fn subscribe(&self) -> mpsc::UnboundedReceiver<UnitAttention> {
        let (queue, attentions) = mpsc::unbounded_channel();
        let mut state = self.state.lock();
        if state.ending.is_none() {
            state.attention_queues.push(queue);
        }
        attentions
    }

    pub(crate) fn report(&self, attention: UnitAttention) {
        self.state.lock().attention_queues.retain(|queue| queue.send(attention).is_ok());
    }
}

impl State {
    /// A tag that no task has. There are far fewer tasks than tags.
    fn free_tag(&mut self) -> u32 {
        loop {
            let itt = self.next_itt;
            self.next_itt = itt.wrapping_add(1);
            if itt != u32::MAX && !self.tasks.contains_key(&itt) {
                return itt;
            }
        }
    }
}

/// A request to close the session, which does not wait for the command window.
pub(crate) fn logout_request(itt: Tag) -> Outgoing {
    let operation = Operation::new(lunshadow_iscsi::pdu::Opcode::LOGOUT_REQUEST).immediate();
    let header = LogoutRequest { operation, itt, ..LogoutRequest::default() };
    Outgoing::Immediate(Pdu::bare(header.with_reason(LogoutReason::CLOSE_SESSION)))
}
