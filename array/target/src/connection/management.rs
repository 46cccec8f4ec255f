//! Task management (RFC 7143 11.5, SAM-5 7).

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use lunshadow_iscsi::pdu::{Pdu, Tag, TaskFunction, TaskManagementRequest, TaskManagementResponse, TaskResponse};
use lunshadow_iscsi::serial::SerialNumber;
use lunshadow_scsi::{AdditionalSense, TaskManagementFunctions};
use tokio::time::timeout;

use super::fence::Fenced;
use super::full_feature::{Event, FullFeature};
use crate::session::Session;
use crate::tasks::{Accepted, Ended, Slot};

/// What a function has done so far: its response, which goes out when these commands touch storage no more.
type Managed = (TaskResponse, Vec<Ended>);

/// How long a reset waits for data that was asked for. Some initiators, open-iscsi by default, send none after it.
const DATA_TIME: Duration = Duration::from_secs(1);

/// The functions that [`FullFeature::manage`] has.
pub(crate) const FUNCTIONS: TaskManagementFunctions = TaskManagementFunctions {
    abort_task: true,
    abort_task_set: true,
    clear_aca: false,
    clear_task_set: true,
    logical_unit_reset: true,
    target_reset: true,
};

impl FullFeature<'_> {
    /// Begins a task management function. Its response comes as an event, so that the connection goes on meanwhile.
    pub(super) fn manage(&mut self, session: &Arc<Session>, request: &TaskManagementRequest, slot: Option<Slot>) {
        self.managing.insert(request.itt);
        let function = request.function();
        let (response, ended) = match function {
            TaskFunction::ABORT_TASK => self.abort_task(session, request),
            TaskFunction::ABORT_TASK_SET => self.abort_task_set(session, request),
            TaskFunction::CLEAR_TASK_SET => self.clear_task_set(session, request),
            TaskFunction::LOGICAL_UNIT_RESET => self.reset_unit(session, request),
            TaskFunction::TARGET_WARM_RESET | TaskFunction::TARGET_COLD_RESET => self.reset_target(session),
            TaskFunction::CLEAR_ACA => (TaskResponse::FUNCTION_NOT_SUPPORTED, Vec::new()),
            // RFC 7143 §7.2.2 MUST: a target that does not move tasks between connections says so.
            TaskFunction::TASK_REASSIGN => (TaskResponse::REASSIGNMENT_NOT_SUPPORTED, Vec::new()),
            _ => (TaskResponse::FUNCTION_REJECTED, Vec::new()),
        };
        tracing::info!(?function, ?response, "task management");
        let (itt, session) = (request.itt, Arc::clone(session));
        let reset_unit = match function {
            TaskFunction::LOGICAL_UNIT_RESET => self.shared.device_server.unit(&session.nexus, request.lun),
            _ => None,
        };
        // RFC 7143 §4.2.3.3 MUST NOT: the response to a multi-task abort comes before the tasks that it affects are over.
        self.jobs.begin(async move {
            let mut over = pin!(async {
                for ended in ended {
                    ended.over().await;
                }
            });
            if !is_reset(function) {
                over.await;
            } else if timeout(DATA_TIME, &mut over).await.is_err() {
                session.tasks.give_up_data(|accepted| reset_unit.is_none() || accepted.unit == reset_unit);
                over.await;
            }
            Event::Managed { itt, function, response, slot }
        });
    }

    // RFC 7143 §11.6.1 MUST: the end of a task set is answered when the initiator has acknowledged all answers before.
    pub(super) fn managed(&mut self, itt: Tag, function: TaskFunction, response: TaskResponse, slot: Option<Slot>) {
        if !matches!(function, TaskFunction::ABORT_TASK_SET | TaskFunction::CLEAR_TASK_SET) {
            return self.answer_managed(itt, response, slot);
        }
        self.fence.enter(Fenced { itt, response, from: self.outlet.next_stat_sn(), slot });
        self.pass_fence();
        if !self.fence.is_empty() {
            self.hurry();
        }
    }

    /// The initiator has said which answer it expects next.
    pub(super) fn acknowledged(&mut self, exp_stat_sn: SerialNumber) {
        self.fence.acknowledge(exp_stat_sn);
        self.pass_fence();
    }

    fn pass_fence(&mut self) {
        while let Some(Fenced { itt, response, slot, .. }) = self.fence.next() {
            self.answer_managed(itt, response, slot);
        }
    }

    /// Answers what waits although the initiator, which logs out, has not acknowledged all.
    pub(super) fn lift_fence(&mut self) {
        while let Some(Fenced { itt, response, slot, .. }) = self.fence.last() {
            self.answer_managed(itt, response, slot);
        }
    }

    // RFC 7143 §11.5.1 MUST: a task management function is answered.
    fn answer_managed(&mut self, itt: Tag, response: TaskResponse, slot: Option<Slot>) {
        drop(slot);
        self.managing.remove(&itt);
        let header = TaskManagementResponse { response, itt, ..TaskManagementResponse::default() };
        self.outlet.send(Pdu::bare(header), None);
    }

    /// A command that has not come, or waits for one that has not, is as good as aborted when nobody waits for it any more (RFC 7143 11.6.1).
    fn abort_task(&mut self, session: &Session, request: &TaskManagementRequest) -> Managed {
        // RFC 7143 §11.5.1 MUST: the abort of task management is answered with function rejected.
        if self.managing.contains(&request.referenced_task) {
            return (TaskResponse::FUNCTION_REJECTED, Vec::new());
        }
        let ended = session
            .tasks
            .end(|accepted| accepted.command.itt == request.referenced_task && accepted.command.lun == request.lun);
        if ended.count > 0 {
            return (TaskResponse::FUNCTION_COMPLETE, vec![ended]);
        }
        let (aborted, own) = (request.ref_cmd_sn.into(), request.cmd_sn.into());
        let response = if self.outlet.pass_over(aborted, own) {
            TaskResponse::FUNCTION_COMPLETE
        } else {
            // RFC 7143 §7.11 MUST: the abort of a command that was answered finds no task.
            TaskResponse::TASK_DOES_NOT_EXIST
        };
        (response, Vec::new())
    }

    // RFC 7143 §11.5.1 MUST: the function that ends a task set waits for the data that this session was asked for.
    fn abort_task_set(&self, session: &Session, request: &TaskManagementRequest) -> Managed {
        let Some(unit) = self.shared.device_server.unit(&session.nexus, request.lun) else { return NO_UNIT };
        (TaskResponse::FUNCTION_COMPLETE, vec![session.tasks.end_after_data(|accepted| accepted.unit == Some(unit))])
    }

    /// The nexuses whose commands were cleared, this one apart, are told (SAM-5 5.14).
    fn clear_task_set(&self, session: &Session, request: &TaskManagementRequest) -> Managed {
        let Some(unit) = self.shared.device_server.unit(&session.nexus, request.lun) else { return NO_UNIT };
        let mut ended = Vec::new();
        for other in self.shared.sessions.all() {
            let is_own = std::ptr::eq(&raw const *other, session);
            let is_meant = |accepted: &Accepted| accepted.unit == Some(unit);
            let cleared = if is_own { other.tasks.end_after_data(is_meant) } else { other.tasks.end(is_meant) };
            if cleared.count > 0 && !is_own {
                other.nexus.post(Some(unit), AdditionalSense::COMMANDS_CLEARED_BY_ANOTHER);
            }
            ended.push(cleared);
        }
        (TaskResponse::FUNCTION_COMPLETE, ended)
    }

    /// All nexuses learn of a reset, the one that asked for it included (SAM-5 6.3.3).
    fn reset_unit(&self, session: &Session, request: &TaskManagementRequest) -> Managed {
        let Some(unit) = self.shared.device_server.unit(&session.nexus, request.lun) else { return NO_UNIT };
        let ended = self.end_everywhere(session, |accepted| accepted.unit == Some(unit));
        self.shared.device_server.reset(Some(unit));
        (TaskResponse::FUNCTION_COMPLETE, ended)
    }

    fn reset_target(&self, session: &Session) -> Managed {
        let ended = self.end_everywhere(session, |_| true);
        self.shared.device_server.reset(None);
        (TaskResponse::FUNCTION_COMPLETE, ended)
    }

    /// Ends commands of all sessions.
    // RFC 7143 §4.2.3.3 MUST: the functions that end more than one task wait for the data that the session which asks for them was asked for.
    fn end_everywhere(&self, session: &Session, is_meant: impl Fn(&Accepted) -> bool) -> Vec<Ended> {
        let end = |other: &Arc<Session>| {
            let is_own = std::ptr::eq(&raw const **other, session);
            if is_own { other.tasks.end_after_data(&is_meant) } else { other.tasks.end(&is_meant) }
        };
        self.shared.sessions.all().iter().map(end).collect()
    }
}

const fn is_reset(function: TaskFunction) -> bool {
    matches!(
        function,
        TaskFunction::LOGICAL_UNIT_RESET | TaskFunction::TARGET_WARM_RESET | TaskFunction::TARGET_COLD_RESET
    )
}

const NO_UNIT: Managed = (TaskResponse::LUN_DOES_NOT_EXIST, Vec::new());
