//! A session with a target.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use lunshadow_control::InitiatorName;
use lunshadow_iscsi::discovery::{InitiatorTextExchange, SendTargets, parse_targets};
use lunshadow_iscsi::login::{InitiatorChap, InitiatorLoginConfig, LoginPath, NegotiatedSession};
use lunshadow_iscsi::negotiation::Preferences;
use lunshadow_iscsi::pdu::{
    DataOut, FINAL, Isid, NopOut, Opcode, Operation, Pdu, ScsiCommand, Tag, TaskAttribute, TaskFunction,
    TaskManagementRequest, TaskResponse,
};
use lunshadow_iscsi::serial::SerialNumber;
use lunshadow_iscsi::transfer::WritePlan;
use lunshadow_scsi::{Cdb, LunAddress};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, ToSocketAddrs};
use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;

use crate::connection::{Connection, logout_request};
use crate::discovery::DiscoveredTarget;
use crate::error::{ConnectionError, InitiatorError};
use crate::task::{DataDirection, Reply, ScsiResponse, ScsiTask, Task, UnitAttention};
use crate::writer::{DataOutSequence, Outgoing, Writer};
use crate::{login, reader};

/// Text that a SendTargets may be answered with: some thousands of targets.
const TARGET_LIST_BYTES_MAX: usize = 1 << 20;

/// How to log in.
#[derive(Clone, Debug)]
pub struct SessionConfig {
    /// The initiator's name.
    pub initiator_name: InitiatorName,
    /// The target; `None` for a discovery session.
    pub target_name: Option<String>,
    /// The session's identity at this end. Two sessions of one initiator with one target have different ones; a session with
    /// the one of another takes its place.
    pub isid: Isid,
    /// How the ends prove who they are; `None` if they need not.
    pub chap: Option<InitiatorChap>,
    /// What to offer.
    pub preferences: Preferences,
    /// How long the login may take.
    pub login_limit: Duration,
    /// How long a command may take. A target that needs longer cannot be trusted any more, and the connection is given up.
    pub command_limit: Duration,
}

/// A session with a target, over one connection. Clones share it; the connection closes when the last one is dropped.
#[derive(Clone)]
pub struct Session {
    shared: Arc<Shared>,
}

struct Shared {
    connection: Arc<Connection>,
    command_limit: Duration,
    tasks: [AbortHandle; 2],
}

impl SessionConfig {
    /// A normal session with `target_name`: a random ISID, the default preferences, 15 s for the login and 60 s for a command.
    #[must_use]
    pub fn new(initiator_name: InitiatorName, target_name: &str) -> Self {
        Self { target_name: Some(target_name.to_owned()), ..Self::discovery(initiator_name) }
    }

    /// A discovery session with the same settings.
    #[must_use]
    pub fn discovery(initiator_name: InitiatorName) -> Self {
        Self {
            initiator_name,
            target_name: None,
            isid: Isid::random_type(rand::random(), rand::random()),
            chap: None,
            preferences: Preferences::default(),
            login_limit: Duration::from_secs(15),
            command_limit: Duration::from_secs(60),
        }
    }
}

impl Session {
    /// Logs in to `target_name` at a portal.
    ///
    /// # Errors
    /// See [`InitiatorError`].
    pub async fn login(
        portal: impl ToSocketAddrs,
        initiator_name: &InitiatorName,
        target_name: &str,
    ) -> Result<Self, InitiatorError> {
        Self::connect(portal, SessionConfig::new(initiator_name.clone(), target_name)).await
    }

    /// Logs in at a portal as `config` says.
    ///
    /// # Errors
    /// See [`InitiatorError`].
    pub async fn connect(portal: impl ToSocketAddrs, config: SessionConfig) -> Result<Self, InitiatorError> {
        let connected = tokio::time::timeout(config.login_limit, TcpStream::connect(portal)).await;
        let limit = config.login_limit;
        let stream = connected.map_err(|_| ConnectionError::TimedOut { limit })?;
        let stream = stream.map_err(|error| InitiatorError::Connect(Arc::new(error)))?;
        // Every PDU goes out in one write: to wait for more only costs time.
        stream.set_nodelay(true).map_err(InitiatorError::io)?;
        Self::over(stream, config).await
    }

    /// Logs in over a stream that is connected to a portal already.
    ///
    /// # Errors
    /// See [`InitiatorError`].
    pub async fn over<S>(mut stream: S, config: SessionConfig) -> Result<Self, InitiatorError>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let SessionConfig { initiator_name, target_name, isid, chap, preferences, login_limit, command_limit } = config;
        let login_config = InitiatorLoginConfig {
            initiator_name: initiator_name.to_string(),
            initiator_alias: None,
            target_name,
            isid,
            path: LoginPath::SecurityThenOperational,
            chap,
            preferences,
            first_cmd_sn: SerialNumber(1),
        };
        let logged_in = tokio::time::timeout(login_limit, login::log_in(&mut stream, login_config)).await;
        let (session, buffer) = logged_in.map_err(|_| ConnectionError::TimedOut { limit: login_limit })??;
        tracing::debug!(identity = ?session.identity, parameters = ?session.parameters, "logged in");

        let (connection, work) = Connection::new(session);
        let connection = Arc::new(connection);
        let (read_half, write_half) = tokio::io::split(stream);
        let shared = connection.clone();
        let reading = tokio::spawn(async move {
            tokio::select! {
                ending = reader::run(read_half, buffer, &shared) => shared.end(ending),
                () = shared.ended() => {}
            }
        });
        let shared = connection.clone();
        let writing = tokio::spawn(async move {
            tokio::select! {
                result = Writer::new(write_half, &shared).run(work) => {
                    if let Err(ending) = result {
                        shared.end(ending);
                    }
                }
                () = shared.ended() => {}
            }
        });
        let tasks = [reading.abort_handle(), writing.abort_handle()];
        Ok(Self { shared: Arc::new(Shared { connection, command_limit, tasks }) })
    }

    /// What was agreed at login.
    #[must_use]
    pub fn negotiated(&self) -> &NegotiatedSession {
        &self.shared.connection.session
    }

    /// Runs a SCSI command. Any number may be under way; those that the target's command window has no room for wait.
    ///
    /// A command whose future is dropped goes on at the target; its outcome is thrown away.
    ///
    /// # Errors
    /// See [`InitiatorError`]. What the logical unit answers, an error or not, is in the response's status.
    pub async fn command(
        &self,
        lun: LunAddress,
        cdb: &Cdb,
        direction: DataDirection,
    ) -> Result<ScsiResponse, InitiatorError> {
        let (length, flags) = match &direction {
            DataDirection::None => (0, 0),
            DataDirection::In(length) => (*length, ScsiCommand::READ),
            DataDirection::Out(data) => {
                let too_much = |_| InitiatorError::TooMuchData { len_bytes: data.len() };
                (u32::try_from(data.len()).map_err(too_much)?, ScsiCommand::WRITE)
            }
        };
        let header = ScsiCommand {
            flags: flags | TaskAttribute::SIMPLE.0,
            lun,
            expected_data_transfer_length: length.into(),
            cdb: cdb.padded(),
            ..ScsiCommand::default()
        };
        self.request(|itt, reply| {
            let outgoing = self.scsi_request(ScsiCommand { itt, ..header }, &direction);
            (Task::Scsi(ScsiTask::new(lun, &direction, reply)), outgoing)
        })
        .await
    }

    /// The command's PDU with its immediate data, and the unsolicited data behind it.
    fn scsi_request(&self, mut header: ScsiCommand, direction: &DataDirection) -> Outgoing {
        let DataDirection::Out(data) = direction else {
            header.flags |= FINAL;
            return Outgoing::Numbered(Pdu::bare(header), None);
        };
        let length = header.expected_data_transfer_length.get();
        let plan = WritePlan::new(&self.negotiated().parameters, length);
        let unsolicited = (!plan.unsolicited.is_empty()).then(|| DataOutSequence {
            template: DataOut { itt: header.itt, ttt: Tag::default(), ..DataOut::default() },
            data: data.clone(),
            range: plan.unsolicited,
        });
        if unsolicited.is_none() {
            header.flags |= FINAL;
        }
        Outgoing::Numbered(Pdu::new(header, data.slice(..plan.immediate.end as usize)), unsolicited)
    }

    /// Sends a task management function that names no task.
    ///
    /// # Errors
    /// See [`InitiatorError`]; a function that the target refuses is not one of them.
    pub async fn task_management(
        &self,
        function: TaskFunction,
        lun: LunAddress,
    ) -> Result<TaskResponse, InitiatorError> {
        let operation = Operation::new(Opcode::TASK_MANAGEMENT_REQUEST).immediate();
        let header = TaskManagementRequest {
            operation,
            lun,
            referenced_task: Tag::default(),
            ..TaskManagementRequest::default()
        };
        let header = header.with_function(function);
        self.request(|itt, reply| {
            let pdu = Pdu::bare(TaskManagementRequest { itt, ..header });
            (Task::Management(reply), Outgoing::Immediate(pdu))
        })
        .await
    }

    /// Asks whether the target is there; it sends `data` back.
    ///
    /// # Errors
    /// See [`InitiatorError`].
    pub async fn ping(&self, data: Bytes) -> Result<Bytes, InitiatorError> {
        let operation = Operation::new(Opcode::NOP_OUT).immediate();
        self.request(|itt, reply| {
            let header = NopOut { operation, itt, ttt: Tag::default(), ..NopOut::default() };
            (Task::Ping(reply), Outgoing::Immediate(Pdu::new(header, data)))
        })
        .await
    }

    /// Asks for targets and their addresses.
    ///
    /// # Errors
    /// See [`InitiatorError`].
    pub async fn send_targets(&self, which: &SendTargets) -> Result<Vec<DiscoveredTarget>, InitiatorError> {
        let text = which.to_keys().encode();
        let answer = self.request(|itt, reply| {
            let (exchange, request) = InitiatorTextExchange::start(itt, text, TARGET_LIST_BYTES_MAX);
            (Task::Text(exchange, reply), Outgoing::Numbered(request, None))
        });
        Ok(parse_targets(&answer.await?))
    }

    /// Unit attentions of all logical units from now on, each once. The queue ends with the connection.
    #[must_use]
    pub fn unit_attentions(&self) -> mpsc::UnboundedReceiver<UnitAttention> {
        self.shared.connection.subscribe()
    }

    /// Logs out. Commands that are still under way fail, and so does every later one.
    ///
    /// # Errors
    /// See [`InitiatorError`].
    pub async fn logout(&self) -> Result<(), InitiatorError> {
        self.request(|itt, reply| (Task::Logout(reply), logout_request(itt))).await
    }

    /// Puts a request under way and waits for its outcome.
    async fn request<T>(&self, build: impl FnOnce(Tag, Reply<T>) -> (Task, Outgoing)) -> Result<T, InitiatorError> {
        let (reply, outcome) = oneshot::channel();
        self.shared.connection.begin(|itt| build(itt, reply))?;
        let limit = self.shared.command_limit;
        match tokio::time::timeout(limit, outcome).await {
            // A task is only ever dropped together with the runtime that its connection ran on.
            Ok(outcome) => outcome.unwrap_or_else(|_| Err(ConnectionError::Closed.into())),
            Err(_) => {
                let ending = ConnectionError::TimedOut { limit };
                self.shared.connection.end(ending.clone());
                Err(ending.into())
            }
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("identity", &self.negotiated().identity).finish_non_exhaustive()
    }
}
